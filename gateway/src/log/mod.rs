//! The log: one format for the journal (raw messages) and the observation log (normalised rows).
//!
//! Bytes, numbers and worked crash examples stand in `docs/format/log.md`. In short: segments of a fixed size,
//! written with zeros before first use; in them *frames*, each one durable write that starts on 4 KiB; in a frame
//! *records*. A CRC-32C covers the log's id, the segment's epoch, the numbers and the payload, and a reader demands
//! exactly the next frame.
//!
//! - [`recover`] opens a log: checks it, re-writes the last frame, gives the [`LogWriter`].
//! - [`LogWriter::append`] = one frame = one durable write; when it returns, the frame may be acknowledged.
//! - [`LogWriter::prepare_step`] does one small step towards two ready segments; called between appends.
//! - [`LogReader`] reads frames in order, never beyond what its caller says is durable.
//! - [`check()`] reads a whole log without changing it and names what is wrong with it.
//! - [`AlignedBuf`] is where records are collected, so that a frame goes to the disk without a copy.
//!
//! Order of positions, always: `appended ≥ durable ≥ processed`. Numbers start at 1; 0 means "none yet".

mod buffer;
mod check;
mod format;
mod gaps;
mod prepare;
mod reader;
mod record;
mod recovery;
mod segment;
mod writer;

#[cfg(test)]
mod model_test;

use std::io;

use crate::formats::age_of_build;

pub use buffer::{AlignedBuf, BufferFull};
pub use check::{Flaw, FlawKind, FrameVisitor, LogReport, check};
pub use format::{FORMAT_VERSION, FRAME_HEADER_LEN, FrameMeta, LogId, LogKind, Stamp, stamp_us};
pub use gaps::Gap;
pub use prepare::{Prepared, SegmentRoom};
pub use reader::{Frame, LogReader};
pub use record::{KIND_MESSAGE, KIND_PAD, RECORD_HEADER_LEN, Record, RecordError, Records, records};
pub use recovery::{Recovered, recover};
pub use segment::check_format;
pub use writer::{FRAME_PARTS_MAX, LogStatus, LogWriter};

/// Directory of the journal, in the data directory.
pub const JOURNAL_DIR: &str = "journal";
/// Directory of the observation log.
pub const OBSERVATIONS_DIR: &str = "observations";

/// Default of [`LogConfig::unneeded_bytes_read`]: half a second of a slow disk.
const UNNEEDED_BYTES_READ: u64 = 256 << 20;

/// How many segments stand ready before the gateway accepts connections, and are kept so afterwards.
pub const READY_SEGMENTS: usize = 2;
/// Released segments that wait to be used again; more are removed.
pub const SPARE_SEGMENTS_MAX: usize = 2;

/// How a log is laid out. Take [`LogConfig::new`] and change fields.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub kind: LogKind,
    /// Size of a segment file; a multiple of 4 KiB that holds the header and the largest frame.
    pub segment_bytes: u64,
    /// Largest frame, header and padding included; a multiple of 4 KiB.
    pub frame_bytes_max: u64,
    /// All segments together, ready ones included; beyond, preparing stops (backpressure).
    pub log_bytes_max: u64,
    /// Room that only frames without messages may use (control records), while no further segment is ready.
    pub reserve_bytes: u64,
    /// Released segments are moved there instead of being used again.
    pub archive_dir: Option<String>,
    /// Free space of the disk that a new segment must leave to others.
    pub free_bytes_min: u64,
    /// Start although frames are missing in the middle; what is lost is recorded (`--accept-gap`).
    pub accept_gap: bool,
    /// Nothing replaces records from here on: a gap that reaches them is not accepted, whatever `accept_gap` says.
    pub indispensable_from_record_no: u64,
    /// Nothing below is needed any more: of segments that lie below as a whole, and further back than `unneeded_bytes_read`,
    /// only the beginning is read, so that a start takes as long as what is needed, however much is kept.
    pub needed_from: Option<Position>,
    /// So much of what is not needed is read and checked all the same, the newest segments first.
    pub unneeded_bytes_read: u64,
    /// The id of a log that has none yet.
    pub new_log_id: LogId,
    #[cfg(test)]
    pub(crate) planted_bug: Option<model_test::PlantedBug>,
}

impl LogConfig {
    pub fn new(kind: LogKind, new_log_id: LogId) -> Self {
        Self {
            kind,
            segment_bytes: 64 << 20,
            frame_bytes_max: 1 << 20,
            log_bytes_max: 16 << 30,
            reserve_bytes: 0,
            archive_dir: None,
            free_bytes_min: 0,
            accept_gap: false,
            indispensable_from_record_no: u64::MAX,
            needed_from: None,
            unneeded_bytes_read: UNNEEDED_BYTES_READ,
            new_log_id,
            #[cfg(test)]
            planted_bug: None,
        }
    }
}

/// A place in a log. Where the observation log is meant, `Message` counts observations (`obs_no`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Record(u64),
    Message(u64),
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "{path}: {operation} failed: {source}; nothing more is written to this log, start the gateway again"
    )]
    Fatal { path: String, operation: &'static str, source: io::Error },
    #[error("an earlier write to this log failed; nothing more is written, start the gateway again")]
    Failed,
    #[error("no segment is ready for the next frame; try again when space has been freed")]
    NoSegmentReady,
    #[error("{path}: no space to prepare a segment: {source}; free some space")]
    NoSpace { path: String, source: io::Error },
    #[error("{path}: {operation} failed: {source}")]
    Io { path: String, operation: &'static str, source: io::Error },
    #[error(
        "{path}: damaged at byte {offset}: frames {} to {} (records {} to {}) are missing and later ones are there; \
         restore the file, or start with --accept-gap to go on without them",
        gap.first_frame_no, gap.last_frame_no, gap.first_record_no, gap.last_record_no
    )]
    Corrupt { path: String, offset: u64, gap: Gap },
    #[error("{path}: the segment header is damaged ({reason}); restore the file, or start with --accept-gap")]
    BadHeader { path: String, reason: &'static str },
    #[error(
        "{path}: the segment was cut short: it has {found} bytes, its header says {expected}; restore the file, or start with \
         --accept-gap"
    )]
    ShortSegment { path: String, expected: u64, found: u64 },
    #[error(
        "{path}: written in format {found}, this build reads format {known}: start the {} build that wrote it",
        age_of_build(found, known)
    )]
    OtherFormat { path: String, found: u32, known: u32 },
    #[error(
        "{path}: this is not the list of accepted damage that was written; restore it, or move it out of the directory and \
         start with --accept-gap"
    )]
    AcceptedDamage { path: String },
    #[error("{path}: this file belongs to another log ({what}); move it out of the directory")]
    Foreign { path: String, what: &'static str },
    #[error("{path}: record {record_no} is durable but frame {frame_no} cannot be read at byte {offset}")]
    Unreadable { path: String, offset: u64, frame_no: u64, record_no: u64 },
    #[error("{wanted:?} has been released; the log {path} starts at record {first_record_no}")]
    Released { path: String, wanted: Position, first_record_no: u64 },
    #[error(
        "a frame of {bytes} bytes in {parts} parts is above the limit of {bytes_max} bytes, {parts_max} parts"
    )]
    FrameTooLarge { bytes: u64, parts: usize, bytes_max: u64, parts_max: usize },
    #[error(
        "journal frame {frame_no}: message {message_no} cannot be read though the frame passed its checksum: \
         another build wrote it or this one has a bug"
    )]
    Malformed { frame_no: u64, message_no: u64 },
    #[error(
        "{path}: damaged at byte {offset}: frames {} to {} (records {} to {}) are missing, and nothing else holds what stood \
         there; restore the file from a backup",
        gap.first_frame_no, gap.last_frame_no, gap.first_record_no, gap.last_record_no
    )]
    Indispensable { path: String, offset: u64, gap: Gap },
    #[error("a frame needs at least one record")]
    EmptyFrame,
    #[error("log configuration: {0}")]
    Config(&'static str),
}

impl LogError {
    /// Nothing was written and nothing is lost: the same call may succeed later.
    pub fn is_backpressure(&self) -> bool {
        matches!(self, Self::NoSegmentReady | Self::NoSpace { .. })
    }
}
