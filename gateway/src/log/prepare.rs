//! Making segments ready, one small step at a time, so that it fits between two appends.
//!
//! A new segment: create `{epoch}.new` → zeros, 1 MiB a step, each durable → sync → header → rename to `{epoch}.seg` →
//! sync directory. A used one: rename to `{epoch}.new` under its next epoch → sync directory → header → rename → sync
//! directory. So a `.new` file never holds anything of value, and a `.seg` file always has a whole header.
//!
//! A full disk is an answer, not an error: the file being made is removed and a later step begins again. Any other
//! error of a write, sync or rename ends the writer.

use std::io::{self, IoSlice};

use super::format::{SEGMENT_HEADER_LEN, SegmentHeader};
use super::segment::{segment_path, temp_path};
use super::writer::{LogWriter, Ready, Spare};
use super::{LogError, READY_SEGMENTS, SPARE_SEGMENTS_MAX};
use crate::disk::{
    BLOCK_BYTES, DiskFile, OpenMode, create_dir_durably, is_no_space, join, parent, remove_durably, rename_durably,
};

/// Zeros written by one step.
const FILL_STEP_BYTES: u64 = 1 << 20;
const ZERO_BLOCK_BYTES: usize = 64 << 10;

#[repr(align(4096))]
struct ZeroBlock([u8; ZERO_BLOCK_BYTES]);
static ZEROS: ZeroBlock = ZeroBlock([0; ZERO_BLOCK_BYTES]);

#[repr(align(4096))]
struct HeaderBlock([u8; SEGMENT_HEADER_LEN]);

/// What a [`LogWriter::prepare_step`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// Nothing to do: enough segments stand ready.
    Ready,
    /// One step was done; more are needed.
    Progress,
    /// The disk is full: try again later.
    NoSpace,
    /// The log has its `log_bytes_max`: release something.
    BudgetFull,
}

/// A segment on its way; the file is `{epoch}.new`.
#[derive(Debug)]
pub(super) enum Preparing {
    Idle,
    Filling { file: Box<dyn DiskFile>, epoch: u64, filled: u64 },
    NeedsHeader { file: Box<dyn DiskFile>, epoch: u64 },
    NeedsName { file: Box<dyn DiskFile>, epoch: u64 },
}

impl LogWriter {
    /// One small step (at most 1 MiB written, or one change of a name) towards [`READY_SEGMENTS`] ready segments.
    /// Without need it costs nothing. Call it between appends until it says `Ready`.
    pub fn prepare_step(&mut self) -> Result<Prepared, LogError> {
        self.prepare_step_within(self.config.log_bytes_max)
    }

    /// Whether [`LogWriter::prepare_step`] has something to do.
    pub fn needs_preparation(&self) -> bool {
        !matches!(self.preparing, Preparing::Idle)
            || self.ready.len() < READY_SEGMENTS
            || self.spare.len() > SPARE_SEGMENTS_MAX
            || !self.to_archive.is_empty()
    }

    pub(super) fn prepare_step_within(&mut self, log_bytes_max: u64) -> Result<Prepared, LogError> {
        if self.failed {
            return Err(LogError::Failed);
        }
        match std::mem::replace(&mut self.preparing, Preparing::Idle) {
            Preparing::Idle => self.begin(log_bytes_max),
            Preparing::Filling { file, epoch, filled } => self.fill(file, epoch, filled),
            Preparing::NeedsHeader { file, epoch } => self.put_header(file, epoch),
            Preparing::NeedsName { file, epoch } => self.put_name(file, epoch),
        }
    }

    fn begin(&mut self, log_bytes_max: u64) -> Result<Prepared, LogError> {
        if let Some(spare) = self.to_archive.pop_front() {
            return self.archive(spare);
        }
        if self.ready.len() >= READY_SEGMENTS {
            let Some(spare) = self.spare.pop_front_if(|_| self.spare_len > SPARE_SEGMENTS_MAX) else {
                return Ok(Prepared::Ready);
            };
            return self.remove_spare(&spare);
        }
        match self.spare.pop_front() {
            Some(spare) if spare.bytes == self.config.segment_bytes => self.reuse(spare),
            Some(spare) => self.remove_spare(&spare),
            None if self.log_bytes() + self.config.segment_bytes > log_bytes_max => Ok(Prepared::BudgetFull),
            None => self.create(),
        }
    }
}
