-- Tables of catalogue.db. Times are µs since 1970 UTC; unsigned 64-bit numbers lie in their signed twin. Every row ends in the
-- CRC-32C of its other values (row_sums.rs says of which bytes).

CREATE TABLE checkpoint (
    id                   INTEGER PRIMARY KEY CHECK (id = 1),
    observation_frame_no INTEGER NOT NULL,
    next_obs_no          INTEGER NOT NULL,
    next_record_no       INTEGER NOT NULL,
    next_message_no      INTEGER NOT NULL,
    store                TEXT NOT NULL,
    row_crc32c           INTEGER NOT NULL
) STRICT;

CREATE TABLE agencies (id INTEGER PRIMARY KEY, code TEXT NOT NULL, row_crc32c INTEGER NOT NULL) STRICT;
CREATE TABLE clients (id INTEGER PRIMARY KEY, name TEXT NOT NULL, row_crc32c INTEGER NOT NULL) STRICT;
CREATE TABLE symbols (id INTEGER PRIMARY KEY, text TEXT NOT NULL, row_crc32c INTEGER NOT NULL) STRICT;
CREATE TABLE stations (id INTEGER PRIMARY KEY, agency INTEGER NOT NULL, code TEXT NOT NULL, row_crc32c INTEGER NOT NULL) STRICT;
CREATE TABLE datastreams (
    id       INTEGER PRIMARY KEY,
    station  INTEGER NOT NULL,
    property TEXT NOT NULL,
    period_s INTEGER NOT NULL,
    domain   TEXT NOT NULL,
    unit     INTEGER NOT NULL,
    row_crc32c INTEGER NOT NULL
) STRICT;

CREATE TABLE datastream_states (
    datastream      INTEGER PRIMARY KEY,
    watermark_us    INTEGER NOT NULL,
    kind            INTEGER NOT NULL,
    value           INTEGER NOT NULL,
    text            TEXT NOT NULL,
    ordinal         INTEGER NOT NULL,
    quality         INTEGER NOT NULL,
    flags           INTEGER NOT NULL,
    unit            INTEGER NOT NULL,
    status          INTEGER NOT NULL,
    seq_plus_1      INTEGER NOT NULL,
    revision        INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    result_time_us  INTEGER NOT NULL,
    last_undated_us INTEGER NOT NULL,
    observations    INTEGER NOT NULL,
    -- Of the source whose value is in force.
    rank            INTEGER NOT NULL,
    row_crc32c      INTEGER NOT NULL
) STRICT;

CREATE TABLE files (
    file_no        INTEGER PRIMARY KEY,
    path           TEXT NOT NULL,
    row_count      INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    time_min_us    INTEGER NOT NULL,
    time_max_us    INTEGER NOT NULL,
    datastream_min INTEGER NOT NULL,
    datastream_max INTEGER NOT NULL,
    -- CRC-32C of the whole file.
    crc32c         INTEGER NOT NULL,
    row_crc32c     INTEGER NOT NULL
) STRICT;

-- Files that an operator gave up (`run --accept-lost-file`). Their rows were flushed, and are nowhere.
CREATE TABLE lost_files (
    file_no        INTEGER PRIMARY KEY,
    path           TEXT NOT NULL,
    row_count      INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    time_min_us    INTEGER NOT NULL,
    time_max_us    INTEGER NOT NULL,
    datastream_min INTEGER NOT NULL,
    datastream_max INTEGER NOT NULL,
    -- CRC-32C of the whole file.
    crc32c         INTEGER NOT NULL,
    row_crc32c     INTEGER NOT NULL
) STRICT;

-- Retained messages of clients.
CREATE TABLE retained (
    topic           BLOB NOT NULL UNIQUE,
    message_no      INTEGER NOT NULL,
    receive_time_us INTEGER NOT NULL,
    qos             INTEGER NOT NULL,
    properties      BLOB NOT NULL,
    payload         BLOB NOT NULL,
    row_crc32c      INTEGER NOT NULL
) STRICT;

-- The re-send window: 32 bytes a mark, oldest first.
CREATE TABLE resend_marks (id INTEGER PRIMARY KEY CHECK (id = 1), marks BLOB NOT NULL, row_crc32c INTEGER NOT NULL) STRICT;

-- Hour first, so that a commit touches neighbouring pages.
CREATE TABLE book_rows (
    hour                 INTEGER NOT NULL,
    agency               INTEGER NOT NULL,
    client               INTEGER NOT NULL,
    station              INTEGER NOT NULL,
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
    row_crc32c           INTEGER NOT NULL,
    PRIMARY KEY (hour, agency, client, station)
) STRICT, WITHOUT ROWID;

CREATE TABLE book_hours (
    hour             INTEGER PRIMARY KEY,
    first_message_no INTEGER NOT NULL,
    next_message_no  INTEGER NOT NULL,
    closed           INTEGER NOT NULL,
    digest           BLOB,
    row_crc32c       INTEGER NOT NULL
) STRICT;

-- Late rows that wait for their outcomes: runs of 32 bytes (first_obs_no u64, hour i64, count, agency, client, station
-- u32, little endian), in order.
CREATE TABLE book_unresolved (id INTEGER PRIMARY KEY CHECK (id = 1), runs BLOB NOT NULL, row_crc32c INTEGER NOT NULL) STRICT;

CREATE TABLE book_totals (
    id                   INTEGER PRIMARY KEY CHECK (id = 1),
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
    flushed              INTEGER NOT NULL,
    row_crc32c           INTEGER NOT NULL
) STRICT;

-- lost: messages missing in the journal whose absence an operator accepted. expired: rows that retention took out of store
-- files. The other columns are the sums of the book rows that retention took away, and the end of the chain of digests
-- there: the closed hour whose digest the first hour that is left goes on from.
CREATE TABLE removals (
    id                   INTEGER PRIMARY KEY CHECK (id = 1),
    lost                 INTEGER NOT NULL,
    expired              INTEGER NOT NULL,
    anchor_hour          INTEGER,
    anchor_digest        BLOB,
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
    row_crc32c           INTEGER NOT NULL
) STRICT;
INSERT INTO removals VALUES (1, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

-- Settlements: what replays and erasures changed.

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
    digest        BLOB NOT NULL,
    row_crc32c    INTEGER NOT NULL
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
    row_crc32c           INTEGER NOT NULL,
    PRIMARY KEY (hour, agency, client, station, frame_no)
) STRICT, WITHOUT ROWID;

-- The sum of settled_rows, in the order of its counts: 14 signed numbers of 8 bytes, little endian.
CREATE TABLE settled_totals (id INTEGER PRIMARY KEY CHECK (id = 1), counts BLOB NOT NULL, row_crc32c INTEGER NOT NULL) STRICT;

-- As book_unresolved, for the rows of replayed messages.
CREATE TABLE settled_unresolved (id INTEGER PRIMARY KEY CHECK (id = 1), runs BLOB NOT NULL, row_crc32c INTEGER NOT NULL) STRICT;

-- The payload stands last: a list does not read its pages.
CREATE TABLE quarantine (
    position        INTEGER NOT NULL,
    ordinal         INTEGER NOT NULL,
    receive_time_us INTEGER NOT NULL,
    behind_s        INTEGER NOT NULL,
    byte_offset     INTEGER NOT NULL,
    readings        INTEGER NOT NULL,
    reason          TEXT NOT NULL,
    sentence        TEXT NOT NULL,
    topic           TEXT NOT NULL,
    client          TEXT NOT NULL,
    agency          TEXT NOT NULL,
    payload_bytes   INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    outcome         INTEGER NOT NULL,
    book_agency     INTEGER NOT NULL,
    book_client     INTEGER NOT NULL,
    book_station    INTEGER NOT NULL,
    settled         INTEGER NOT NULL,
    flags           INTEGER NOT NULL,
    packet_id       INTEGER NOT NULL,
    properties      BLOB NOT NULL,
    refused         BLOB NOT NULL,
    payload         BLOB NOT NULL,
    row_crc32c      INTEGER NOT NULL,
    PRIMARY KEY (position, ordinal)
) STRICT;
CREATE INDEX quarantine_by_reason ON quarantine (reason, position, ordinal);
-- The bytes for the sums of the quota at start, which then read no payload.
CREATE INDEX quarantine_by_client ON quarantine (client, position, ordinal, bytes);
CREATE INDEX quarantine_by_agency ON quarantine (agency, position, ordinal);
-- By stamp, which never goes back (docs/words.md), and those whose receive time is another one.
CREATE INDEX quarantine_by_time ON quarantine (receive_time_us + 1000000 * behind_s, position);
CREATE INDEX quarantine_behind ON quarantine (position) WHERE behind_s > 0;

CREATE TABLE quarantine_totals (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    entries INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    row_crc32c INTEGER NOT NULL
) STRICT;
INSERT INTO quarantine_totals VALUES (1, 0, 0, 0);
