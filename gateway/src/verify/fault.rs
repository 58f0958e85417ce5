//! Everything that `journal verify` can find, in one list. `docs/operations/damage.md` has a part for each, and a test
//! compares the two.

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $name:ident $code:literal $means:literal $remedy:literal,)*) => {
        /// A kind of inconsistency.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { $($name,)* }

        impl Fault {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word that stands in messages and heads the part of `docs/operations/damage.md`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            pub fn means(self) -> &'static str {
                match self { $(Self::$name => $means,)* }
            }

            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

faults! {
    AcceptedDamage "accepted_damage"
        "the list of damage that an operator accepted cannot be read, so the gateway refuses to start"
        "restore the file accepted-damage from a backup, or move it away and accept the damage again with run --accept-gap",
    BooksChain "books_chain"
        "a closed hour of the books is not what it was when it was closed: a row or a digest was changed"
        "restore catalogue.db from a backup; the sums of that hour cannot be trusted",
    BooksRecount "books_recount"
        "the observation log, counted again, gives other numbers than the books have for that hour"
        "keep a copy of the directory and report it as a bug; restore catalogue.db from a backup if it was edited",
    BooksStore "books_store"
        "the rows in the store files are not as many as the books say were stored"
        "rows are missing or there twice: restore store/ and catalogue.db together from one backup, then let devices re-send",
    BooksSum "books_sum"
        "the parts of the books do not sum to their totals, or messages are in no hour"
        "restore catalogue.db from a backup",
    CatalogueDamaged "catalogue_damaged"
        "SQLite finds the catalogue's file damaged: names, books and the list of store files cannot be trusted"
        "if the file is catalogue.db-wal, start the gateway as usual: it makes those commits anew from the observation log; else \
         restore catalogue.db from a backup that is no older than the observation log reaches back",
    CatalogueMissing "catalogue_missing"
        "there are logs or store files and no catalogue.db, or an empty one: nothing says which store files count"
        "restore catalogue.db from a backup before the gateway starts: a start without it begins with empty books",
    CatalogueReference "catalogue_reference"
        "a row of the catalogue refers to something that is not there, or holds a number that cannot be"
        "restore catalogue.db from a backup",
    CatalogueRow "catalogue_row"
        "a row of the catalogue is not what the gateway wrote: the disk changed a bit of it, or somebody edited it"
        "restore catalogue.db from a backup; check the disk (smartctl, dmesg)",
    FileBounds "file_bounds"
        "the times or datastreams that the catalogue or the file's index says are not those of its rows: queries miss rows"
        "restore the file (and catalogue.db, if that was changed) from a backup",
    FileChecksum "file_checksum"
        "bytes of a store file changed after it was written: values in it may be wrong without looking so"
        "restore the file from a backup; without one, run --accept-lost-file gives its rows up; check the disk (smartctl, dmesg)",
    FileLength "file_length"
        "a store file is shorter or longer than when it was written; the gateway refuses to start"
        "restore the file from a backup; without one, run --accept-lost-file gives its rows up, and devices send them again",
    FileMissing "file_missing"
        "the catalogue names a store file that is not there; the gateway refuses to start"
        "restore the file from a backup; without one, run --accept-lost-file gives its rows up, and devices send them again",
    FileOrder "file_order"
        "rows of a store file are not in the order of their keys, or one key stands twice: queries may miss rows"
        "restore the file from a backup",
    FileReference "file_reference"
        "a row of a store file names a datastream, unit or message that the catalogue does not have: they are not of one time"
        "restore store/ and catalogue.db together from one backup",
    FileRows "file_rows"
        "a store file has another number of rows than the catalogue says"
        "restore the file from a backup",
    FileUnreadable "file_unreadable"
        "a store file is no readable Parquet file of this format"
        "restore the file from a backup; without one, run --accept-lost-file gives its rows up; check the disk (smartctl, dmesg)",
    FrameDamaged "frame_damaged"
        "a frame is damaged whose content stands elsewhere or is needed by nobody: nothing is lost, but the disk changed bytes"
        "nothing has to be restored; check the disk (smartctl, dmesg), the segment is used again by itself",
    FrameTime "frame_time"
        "a frame is older than the one before it, which the writer never makes"
        "keep a copy of the directory and report it as a bug",
    FramesMissing "frames_missing"
        "a frame is damaged or gone and later frames are there: it was durable once, so this is no torn write"
        "back up the directory, restore the segment from a backup; without one, run --accept-gap goes on without what stood there",
    JournalBehind "journal_behind"
        "the journal ends before what the observation log covers: its last frames are damaged, or segments are gone"
        "restore journal/, observations/, store/ and catalogue.db of one backup; without one keep the directory and start with an \
         empty data_dir: nothing acknowledged is lost as far as the observation log covers it",
    JournalMissing "journal_missing"
        "messages that no observation frame covers are not in the journal any more"
        "restore the journal's first segments from a backup; without one they are lost: the senders have to send again",
    LogUnreadable "log_unreadable"
        "the disk does not give the bytes of a segment, or the file is of another log"
        "check the disk (dmesg); copy what can be read with ddrescue, restore the rest from a backup; move a foreign file away",
    ObservationFrame "observation_frame"
        "an observation frame passes its checksum and its content cannot be: another build wrote it, or this one has a bug"
        "keep a copy of the directory and report it as a bug",
    ObservationGap "observation_gap"
        "two observation frames do not cover the messages in between"
        "if run --accept-gap was used on the journal these messages are lost and counted; else keep a copy and report it as a bug",
    ObservationsBehind "observations_behind"
        "the observation log ends before what the catalogue reflects: its last frames are damaged, or segments are gone"
        "restore observations/ from a backup of the same time as catalogue.db, or both from the same older backup",
    ObservationsMissing "observations_missing"
        "frames that a start needs to go on from the catalogue's checkpoint are not in the observation log"
        "restore observations/ and catalogue.db together from one backup",
    QuarantineSum "quarantine_sum"
        "the quarantine does not hold what its totals or the books say was quarantined"
        "restore catalogue.db from a backup",
    RecordMalformed "record_malformed"
        "a frame passes its checksum and its records are not what its header says: another build wrote it, or this one has a bug"
        "keep a copy of the directory and report it as a bug",
    RowTwice "row_twice"
        "one observation is stored twice under one revision, or a revision below it is missing"
        "queries show one of them; keep a copy of the directory and report it as a bug",
    SegmentHeader "segment_header"
        "the first 4 KiB of a segment are damaged; its frames may be whole"
        "restore the segment from a backup, or start with run --accept-gap, which reads its frames all the same",
    SegmentLength "segment_length"
        "a segment file is shorter or longer than it was made"
        "restore the segment from a backup, or start with run --accept-gap, which reads the frames that are there",
    StateWatermark "state_watermark"
        "the catalogue knows an older newest time of a datastream than its store files have, or counts other observations"
        "restore catalogue.db from a backup: with this one a reading could be taken for new that is stored already",
}
