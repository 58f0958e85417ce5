-- Checksums of store files, messages that are lost, and what retention took away.

-- CRC-32C of the whole file; NULL: written by a build before checksums.
ALTER TABLE files ADD COLUMN crc32c INTEGER;

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
    quarantined_readings INTEGER NOT NULL
) STRICT;
INSERT INTO removals VALUES (1, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
