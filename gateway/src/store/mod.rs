//! The embedded store: a pure fold over observation frames, kept in Parquet files and in memory.
//!
//! ```text
//!  frame ──apply──▶ memory (chunks) ──flush──▶ temp file ▶ sync ▶ rename ▶ sync dir ──▶ caller's SQLite commit ──committed──▶ files
//!             └───▶ late buffer ──classify_due──▶ outcomes ──(observation log)──▶ apply
//! ```
//!
//! One thread owns the [`Store`]; any number of threads query through a [`StoreReader`].
//!
//! # Rules
//!
//! *Fold.* Rows that the pipeline classified as inserted go to memory, duplicates nowhere, unresolved ones to the late
//! buffer. An outcome moves its row from the late buffer to memory (inserted, corrected) or drops it (duplicate,
//! outranked). A row can be queried once it is in memory.
//!
//! *Cursor* ([`StoreCursor`]). Everything that frames below `next_frame` brought to memory is in files; rows that those
//! frames left unresolved are not. `refold_from_frame` is the oldest frame with such a row, or `next_frame`. A restart
//! applies the log from `refold_from_frame` on. Of a frame below `next_frame` only two things count: its unresolved rows
//! enter the late buffer, and its outcomes take rows out of it (those rows are in files already, or dropped). Frames from
//! `next_frame` on are applied in full. So no row is folded twice and none is missed, whatever the late buffer held.
//!
//! *Classification.* One batch of late rows at a time: the next starts when every outcome of the last one came back
//! through [`Store::apply`]. After a restart the caller applies the whole log before it classifies, so a row whose outcome
//! is in the log is never classified again. A batch is a prefix of the late buffer in `obs_no` order; keys are compared
//! with files and memory, then with earlier rows of the batch.
//!
//! *Exactly once.* The files of a flush count when the caller's transaction names them. Until [`Store::committed`] their
//! rows are read from memory, from then on from the files; the change is one step for readers. Files that no
//! transaction names are removed when the store is opened.
//!
//! *Compaction.* Files are merged beside all this ([`compact`]); the exchange is one transaction and one step for readers. A
//! replaced file is removed when no scan has it any more and [`StoreConfig::reader_grace_ms`] has passed, for readers from
//! outside; a crash leaves it to the sweep of the next start.
//!
//! # Bounds
//!
//! Rows in memory ([`StoreConfig::rows_in_memory_max`], [`StoreConfig::text_bytes_in_memory_max`]) and late rows
//! ([`StoreConfig::late_rows_max`]) are passed by what is on its way when the caller heeds [`Store::pressure`] (the gateway: 16
//! queued frames, and those that one journal frame makes); one
//! flush makes at most [`FILES_PER_FLUSH_MAX`] files; a scan holds [`StoreConfig::scan_rows_max`] rows and one page of
//! each column; classification holds [`CLASSIFY_ROWS_MAX`] keys.

mod check;
mod classify;
mod compact;
mod error;
mod files;
mod fold;
mod late;
mod memory;
mod row;
mod run;
mod scan;
mod shared;
mod sort;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::retention::RetentionSpans;

pub use check::{CheckedRow, FileFlaw, FileFlawKind, check_bytes, check_file, is_store_file, rows_within};
pub use classify::{CLASSIFY_ROWS_MAX, ORDINALS_MAX};
pub use compact::{COMPACTION_ROWS_MAX, COMPACTION_TEXT_BYTES_MAX, Compaction, Compactor};
pub use error::StoreError;
pub use fold::{Flush, Pressure, Store};
pub(crate) use row::Version;
pub use row::{StoredRow, StoredValue};
pub use run::FILES_PER_FLUSH_MAX;
pub use scan::{NumberRow, NumberValue, Order, Query, Scan};
pub use shared::{StoreCounts, StoreReader};

/// Directory of the store's files, in the data directory.
pub const STORE_DIR: &str = "store";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Age of the oldest unflushed row (by receive time) at which a flush is due.
    pub flush_interval_ms: u64,
    /// Rows in memory at which a flush is due.
    pub flush_rows_max: u64,
    /// Rows in memory at which [`Pressure::must_flush`] is set.
    pub rows_in_memory_max: u64,
    /// Bytes of text results in memory at which a flush is due; at twice as many [`Pressure::must_flush`] is set.
    pub text_bytes_in_memory_max: u64,
    /// Age of the oldest late row (by receive time) at which classification is due.
    pub late_interval_ms: u64,
    /// Late rows at which [`Pressure::must_classify`] is set; at half of it classification is due.
    pub late_rows_max: u64,
    /// Rows of a flush from which a day (UTC, of phenomenonTime) gets a file of its own.
    pub partition_rows_min: u64,
    /// Rows that one scan holds at once.
    pub scan_rows_max: usize,
    /// So many small files of one folder are merged; fewer are left alone.
    pub compaction_files_min: usize,
    /// Space that a compaction leaves for what matters more.
    pub free_bytes_min: u64,
    /// How long a file stays after compaction replaced it.
    pub reader_grace_ms: u64,
    /// Somebody reads without this store: files that the catalogue does not name stay until the next start.
    pub keep_unnamed: bool,
    /// Numbers below were given to files already, which are lost.
    pub file_no_min: u64,
    /// How long observations are kept.
    pub retention: RetentionSpans,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            flush_interval_ms: 10_000,
            flush_rows_max: 500_000,
            rows_in_memory_max: 1_000_000,
            text_bytes_in_memory_max: 32 << 20,
            late_interval_ms: 1_000,
            late_rows_max: 262_144,
            partition_rows_min: 10_000,
            scan_rows_max: 262_144,
            compaction_files_min: 8,
            free_bytes_min: 0,
            reader_grace_ms: 60_000,
            keep_unnamed: false,
            file_no_min: 1,
            retention: RetentionSpans::default(),
        }
    }
}

/// One file of the store, as the catalogue keeps it. All bounds are inclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub file_no: u64,
    /// In the data directory: `store/2026-11-21/run-000000000012.parquet`.
    pub path: String,
    pub row_count: u64,
    pub bytes: u64,
    /// CRC-32C of the whole file.
    pub crc32c: u32,
    pub time_min_us: i64,
    pub time_max_us: i64,
    pub datastream_min: u32,
    pub datastream_max: u32,
}

/// How far the files reflect the observation log; see the module page for the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreCursor {
    /// A restart applies the log from here on; the log must keep its frames from here on.
    pub refold_from_frame: u64,
    /// What frames below brought to memory is in files.
    pub next_frame: u64,
}
