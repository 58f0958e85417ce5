-- Settlements in the books, and what a replay of a quarantined message needs.

-- Dated, and never changed; `digest` is the chain over them.
CREATE TABLE settlements (
    settlement_no INTEGER PRIMARY KEY,
    record_no     INTEGER NOT NULL,
    settled_us    INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    ordinal       INTEGER NOT NULL,
    hour          INTEGER NOT NULL,
    erased        INTEGER NOT NULL,
    from_agency   INTEGER NOT NULL,
    from_client   INTEGER NOT NULL,
    from_station  INTEGER NOT NULL,
    from_outcome  INTEGER NOT NULL,
    from_readings INTEGER NOT NULL,
    to_agency     INTEGER NOT NULL,
    to_client     INTEGER NOT NULL,
    to_station    INTEGER NOT NULL,
    to_outcome    INTEGER NOT NULL,
    to_readings   INTEGER NOT NULL,
    rows          INTEGER NOT NULL,
    digest        BLOB NOT NULL
) STRICT;

-- Differences to book_rows, signed: what the frames of one commit changed.
CREATE TABLE settled_rows (
    hour                 INTEGER NOT NULL,
    agency               INTEGER NOT NULL,
    client               INTEGER NOT NULL,
    station              INTEGER NOT NULL,
    frame_no             INTEGER NOT NULL,
    decoded              INTEGER NOT NULL,
    partial              INTEGER NOT NULL,
    quarantined_messages INTEGER NOT NULL,
    ignored              INTEGER NOT NULL,
    inserted             INTEGER NOT NULL,
    corrected            INTEGER NOT NULL,
    outranked            INTEGER NOT NULL,
    duplicate            INTEGER NOT NULL,
    unresolved           INTEGER NOT NULL,
    quarantined_readings INTEGER NOT NULL,
    messages             INTEGER NOT NULL,
    readings             INTEGER NOT NULL,
    erased_messages      INTEGER NOT NULL,
    erased_readings      INTEGER NOT NULL,
    PRIMARY KEY (hour, agency, client, station, frame_no)
) STRICT, WITHOUT ROWID;

-- The sum of settled_rows, in the order of its counts: 14 signed numbers of 8 bytes, little endian.
CREATE TABLE settled_totals (id INTEGER PRIMARY KEY CHECK (id = 1), counts BLOB NOT NULL) STRICT;

-- As book_unresolved, for the rows of replayed messages.
CREATE TABLE settled_unresolved (id INTEGER PRIMARY KEY CHECK (id = 1), runs BLOB NOT NULL) STRICT;

ALTER TABLE quarantine RENAME TO quarantine_before;

-- `outcome` is NULL where an older build kept too little for a replay. The payload stands last: a list does not read its pages.
CREATE TABLE quarantine (
    position        INTEGER NOT NULL,
    ordinal         INTEGER NOT NULL,
    receive_time_us INTEGER NOT NULL,
    byte_offset     INTEGER NOT NULL,
    readings        INTEGER NOT NULL,
    reason          TEXT NOT NULL,
    sentence        TEXT NOT NULL,
    topic           TEXT NOT NULL,
    client          TEXT NOT NULL,
    agency          TEXT NOT NULL,
    payload_bytes   INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    outcome         INTEGER,
    book_agency     INTEGER NOT NULL,
    book_client     INTEGER NOT NULL,
    book_station    INTEGER NOT NULL,
    settled         INTEGER NOT NULL,
    flags           INTEGER NOT NULL,
    packet_id       INTEGER NOT NULL,
    properties      BLOB NOT NULL,
    refused         BLOB NOT NULL,
    payload         BLOB NOT NULL,
    PRIMARY KEY (position, ordinal)
) STRICT;
INSERT INTO quarantine
    SELECT position, ordinal, receive_time_us, byte_offset, readings, reason, sentence, topic, client, agency,
           payload_bytes, bytes, NULL, 0, 0, 0, 0, 0, 0, x'', x'', payload
    FROM quarantine_before;
DROP TABLE quarantine_before;
CREATE INDEX quarantine_by_reason ON quarantine (reason, position, ordinal);
-- The bytes for the sums of the quota at start, which then read no payload.
CREATE INDEX quarantine_by_client ON quarantine (client, position, ordinal, bytes);
CREATE INDEX quarantine_by_agency ON quarantine (agency, position, ordinal);
CREATE INDEX quarantine_by_time ON quarantine (receive_time_us, position);
