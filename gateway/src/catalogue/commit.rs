//! What one commit changes, and what a start gets back.

use super::book_rows::{BooksDelta, BooksSnapshot};
use super::quarantine_rows::{QuarantineDelta, QuarantineTotals};
use crate::observation::{Definition, ResendMark, ResultKind, RetainedChange};
use crate::store::FileEntry;

/// How far the state of a commit reaches. Numbers start at 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Every observation frame up to this one is in the registry, the datastream states, the retained messages, the books
    /// and the quarantine; 0 = none yet.
    pub observation_frame_no: u64,
    /// The next number after those frames.
    pub next_obs_no: u64,
    pub next_record_no: u64,
    pub next_message_no: u64,
    /// The store's own cursor in its own form (JSON); empty = none yet.
    pub store: String,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            observation_frame_no: 0,
            next_obs_no: 1,
            next_record_no: 1,
            next_message_no: 1,
            store: String::new(),
        }
    }
}

/// Everything that one commit changes.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub checkpoint: Checkpoint,
    pub definitions: Vec<Definition>,
    pub files_added: Vec<FileEntry>,
    /// By `file_no`; carried out before `files_added`.
    pub files_removed: Vec<u64>,
    /// Files that are given up: they are no files any more, and remembered as lost.
    pub files_lost: Vec<FileEntry>,
    pub books: BooksDelta,
    /// The states that changed, by datastream.
    pub datastream_states: Vec<(u32, DatastreamState)>,
    /// In order; an empty payload removes.
    pub retained: Vec<RetainedChange>,
    /// The whole window, oldest first; `None` leaves it as it is.
    pub resend_marks: Option<Vec<ResendMark>>,
    pub quarantine: QuarantineDelta,
    /// Closed hours of the books before this one go, but for the last; their sums and the digest of the last of them stay.
    pub forget_books_before: Option<i64>,
}

/// What a start gets back. All lists are in the order of their numbers (retained messages: of their topics).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub checkpoint: Checkpoint,
    /// In an order that [`crate::registry::Registry::apply`] takes.
    pub definitions: Vec<Definition>,
    pub files: Vec<FileEntry>,
    /// What an operator gave up (`--accept-lost-file`): rows that were flushed and are in no file.
    pub lost_files: Vec<FileEntry>,
    pub books: BooksSnapshot,
    pub datastream_states: Vec<(u32, DatastreamState)>,
    pub retained: Vec<RetainedChange>,
    pub resend_marks: Vec<ResendMark>,
    pub quarantine: QuarantineTotals,
    /// Bytes in quarantine of each client that has some, as [`super::QuarantineEntry::bytes`] counts them.
    pub quarantine_of_clients: Vec<(String, u64)>,
}

impl DatastreamState {
    /// Of `flags`, beside those of the row: the value was in a file that is lost, perhaps. It may be sent again, so that a row
    /// equal to it is no duplicate before the store says so.
    pub const FLAG_LOST: u8 = 128;

    pub fn is_lost(&self) -> bool {
        self.flags & Self::FLAG_LOST != 0
    }

    /// The value may be in one of these files. What is stored at its time from now on takes its place.
    pub fn lose(&mut self) {
        self.flags |= Self::FLAG_LOST;
        self.ordinal = 0;
        self.revision = 0;
    }
}

/// The hot state of a datastream: what the pipeline's row and the feed's retained value are rebuilt from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatastreamState {
    /// Greatest phenomenonTime, µs since 1970 UTC; the value below is the one in force at it.
    pub watermark_us: i64,
    pub kind: ResultKind,
    /// As in [`crate::observation::Row::value`]; 0 for a text.
    pub value: u64,
    /// The result where `kind` is text, else empty.
    pub text: String,
    pub ordinal: u16,
    pub quality: u8,
    pub flags: u8,
    pub rank: u8,
    /// Symbols.
    pub unit: u32,
    pub status: u32,
    pub seq_plus_1: u64,
    pub revision: u32,
    /// `message_no` of the value.
    pub position: u64,
    pub result_time_us: i64,
    /// The time that the last undated reading got; 0 = none yet.
    pub last_undated_us: i64,
    /// Rows made for this datastream, whatever became of them.
    pub observations: u64,
}
