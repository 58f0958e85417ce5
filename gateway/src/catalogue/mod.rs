//! Control state: names, datastream states, retained messages, the store's files, books, quarantine, the checkpoint.
//!
//! One thread writes it. A [`Commit`] is one atomic step: everything in it, with its [`Checkpoint`], or nothing; so a
//! restart is [`Catalogue::load`] plus the frames behind the checkpoint. Values in a commit are absolute, never
//! differences, so a commit may be repeated.
//!
//! - [`SqliteCatalogue`]: `catalogue.db` in the data directory (WAL, `synchronous=FULL`); when `commit` returns, it is
//!   durable. A newer format is refused.
//! - [`MemoryCatalogue`]: the same in memory for the simulation; its handle survives the crash of its user, and commits
//!   can be made to fail.
//!
//! What grows with time (closed hours of the books, quarantined payloads) is not part of a snapshot: it is read on
//! demand through [`History`], which a reader on another thread gets from [`Catalogue::history`].

mod book_rows;
mod commit;
mod error;
mod memory;
mod quarantine_rows;
mod sqlite;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use book_rows::{
    BookCounts, BookHour, BookKey, BookQuery, BookRow, BookTotals, BooksDelta, BooksSnapshot, HourDigest,
    OTHER_ID, SettledCounts, SettlementRow, UnresolvedRun,
};
pub use commit::{Checkpoint, Commit, DatastreamState, Snapshot};
pub use error::CatalogueError;
pub use memory::{CommitFault, MemoryCatalogue};
pub use quarantine_rows::{
    QUARANTINE_LIST_MAX, QuarantineChange, QuarantineDelta, QuarantineEntry, QuarantineFilter,
    QuarantineItem, QuarantineOrder, QuarantinePage, QuarantineTotals, QuarantineWalk, RemainingEntry,
};
pub use sqlite::{BookRemovals, CatalogueCut, QuarantineCount, SqliteCatalogue};

/// The file name in the data directory.
pub const CATALOGUE_FILE: &str = "catalogue.db";

pub trait Catalogue: Send {
    /// What the last commit left; an empty catalogue gives an empty snapshot.
    fn load(&mut self) -> Result<Snapshot, CatalogueError>;
    /// All or nothing. After an error that is not backpressure nothing more can be committed.
    fn commit(&mut self, commit: &Commit) -> Result<(), CatalogueError>;
    /// Brings every commit into `catalogue.db` itself and empties the write-ahead log beside it: damage to that log can take no
    /// commit back then. Waits so long for readers. False where a reader's view or a full disk keeps commits there: nothing
    /// is lost, to be tried again.
    fn empty_wal(&mut self, wait: Duration) -> Result<bool, CatalogueError>;
    /// A view of what is committed, for another thread.
    fn history(&self) -> Result<Box<dyn History>, CatalogueError>;
}

/// Committed state that is too large to be kept in memory.
pub trait History: Send {
    /// The sum over the rows of the books that the query names.
    fn book_sums(&mut self, query: &BookQuery) -> Result<BookCounts, CatalogueError>;
    /// The hours of the books from `from_hour` on, in order, at most `limit`.
    fn book_hours(&mut self, from_hour: i64, limit: usize) -> Result<Vec<BookHour>, CatalogueError>;
    /// The rows of one hour in the order of their keys.
    fn book_rows(&mut self, hour: i64) -> Result<Vec<BookRow>, CatalogueError>;
    /// The sum over what settlements changed up to a frame of the observation log, for the rows that the query names in hours
    /// that are not forgotten.
    fn settled_sums(&mut self, query: &BookQuery, frame_no: u64) -> Result<SettledCounts, CatalogueError>;
    /// Settlements behind this number, in order, at most `limit`.
    fn settlements(&mut self, after_no: u64, limit: usize) -> Result<Vec<SettlementRow>, CatalogueError>;
    /// 0 = none yet.
    fn last_settlement_no(&mut self) -> Result<u64, CatalogueError>;
    /// The last hour that the books have forgotten (`retention.books_days`), with all before it.
    fn forgotten_to_hour(&mut self) -> Result<Option<i64>, CatalogueError>;
    /// Whether the books have a row for this hour and key.
    fn has_book_row(&mut self, hour: i64, key: &BookKey) -> Result<bool, CatalogueError>;
    /// A piece of a walk through the quarantine.
    fn quarantine_page(&mut self, walk: &QuarantineWalk<'_>) -> Result<QuarantinePage, CatalogueError>;
    /// All entries of one message with their payloads.
    fn quarantine_show(&mut self, position: u64) -> Result<Vec<QuarantineItem>, CatalogueError>;
    fn quarantine_totals(&mut self) -> Result<QuarantineTotals, CatalogueError>;
}
