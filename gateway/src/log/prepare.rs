//! Making segments ready, one small step at a time, so that it fits between two appends.
//!
//! A new segment: create `{epoch}.new` → zeros, 1 MiB a step, each durable → sync → header → rename to `{epoch}.seg` →
//! sync directory. A used one: rename to `{epoch}.new` under its next epoch → sync directory → header → rename → sync
//! directory. So a `.new` file never holds anything of value, and a `.seg` file always has a whole header.
//!
//! A full disk is an answer, not an error: the file being made is removed and a later step begins again. It is full already
//! when a segment would take of the `free_bytes_min` that others need, such as the flush that releases segments. Any other
//! error of a write, sync or rename ends the writer.

use std::io::{self, IoSlice};

use super::format::{SEGMENT_HEADER_LEN, SegmentHeader};
use super::segment::{segment_path, temp_path};
use super::writer::{LogWriter, Ready};
use super::{LogError, READY_SEGMENTS, SPARE_SEGMENTS_MAX};
use crate::disk::{DiskFile, OpenMode, create_dir_durably, is_no_space, join, parent, remove_durably};

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

/// What the next new segment wants of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRoom {
    pub segment_bytes: u64,
    /// The segment, and what is left to others.
    pub needed_bytes: u64,
    /// None: the disk does not say.
    pub free_bytes: Option<u64>,
}

impl LogWriter {
    pub fn segment_room(&self) -> SegmentRoom {
        let segment_bytes = self.config.segment_bytes;
        SegmentRoom {
            segment_bytes,
            needed_bytes: segment_bytes.saturating_add(self.config.free_bytes_min),
            free_bytes: self.disk.free_space().ok(),
        }
    }

    /// One small step (at most 1 MiB written, or one change of a name) towards [`READY_SEGMENTS`] ready segments.
    /// Without need it costs nothing. Call it between appends until it says `Ready`.
    pub fn prepare_step(&mut self) -> Result<Prepared, LogError> {
        self.prepare_step_within(self.config.log_bytes_max, self.config.free_bytes_min)
    }

    /// Whether [`LogWriter::prepare_step`] has something to do.
    pub fn needs_preparation(&self) -> bool {
        !matches!(self.preparing, Preparing::Idle)
            || self.ready.len() < READY_SEGMENTS
            || self.spare.len() > SPARE_SEGMENTS_MAX
            || !self.to_archive.is_empty()
    }

    pub(super) fn prepare_step_within(
        &mut self,
        log_bytes_max: u64,
        free_bytes_min: u64,
    ) -> Result<Prepared, LogError> {
        if self.failed {
            return Err(LogError::Failed);
        }
        match std::mem::replace(&mut self.preparing, Preparing::Idle) {
            Preparing::Idle => self.begin(log_bytes_max, free_bytes_min),
            Preparing::Filling { file, epoch, filled } => {
                // Another log, or a stranger, may have taken it meanwhile.
                if self.leaves(free_bytes_min, self.config.segment_bytes - filled)? {
                    self.fill(file, epoch, filled)
                } else {
                    drop(file);
                    self.remove_temp(epoch)
                }
            }
            Preparing::NeedsHeader { file, epoch } => self.put_header(file, epoch),
            Preparing::NeedsName { file, epoch } => self.put_name(file, epoch),
        }
    }

    fn begin(&mut self, log_bytes_max: u64, free_bytes_min: u64) -> Result<Prepared, LogError> {
        if !self.to_archive.is_empty() {
            return self.archive_one();
        }
        if self.ready.len() >= READY_SEGMENTS {
            return if self.spare.len() > SPARE_SEGMENTS_MAX {
                self.remove_spare()
            } else {
                Ok(Prepared::Ready)
            };
        }
        match self.spare.front() {
            Some(spare) if spare.bytes == self.config.segment_bytes => self.reuse_spare(),
            Some(_) => self.remove_spare(),
            None if self.log_bytes() + self.config.segment_bytes > log_bytes_max => Ok(Prepared::BudgetFull),
            None => {
                let has_space = self.leaves(free_bytes_min, self.config.segment_bytes)?;
                if has_space { self.create() } else { Ok(Prepared::NoSpace) }
            }
        }
    }

    /// Whether the disk has that much beside what is left to others.
    fn leaves(&mut self, free_bytes_min: u64, bytes: u64) -> Result<bool, LogError> {
        let dir = self.dir.clone();
        let free =
            self.disk.free_space().map_err(|source| self.fatal(&dir, "asking for free space", source))?;
        Ok(free >= bytes.saturating_add(free_bytes_min))
    }

    /// Archiving, reusing and removing go from the lowest segment up, each durable before the next: so a crash never
    /// leaves a hole in what is still there.
    fn archive_one(&mut self) -> Result<Prepared, LogError> {
        let (Some(spare), Some(dir)) = (self.to_archive.front(), &self.config.archive_dir) else {
            return Ok(Prepared::Ready);
        };
        let from = spare.path.clone();
        let name = from.rsplit('/').next().unwrap_or(&from);
        let to = join(dir, name);
        let moved = create_dir_durably(&*self.disk, dir).and_then(|()| self.disk.rename(&from, &to));
        if let Err(source) = moved {
            return self.full_or_fatal(&from, "moving to the archive", source);
        }
        self.to_archive.pop_front();
        for dir in [parent(&to), parent(&from)] {
            self.disk.sync_dir(dir).map_err(|source| self.fatal(dir, "syncing the directory", source))?;
        }
        Ok(Prepared::Progress)
    }

    fn remove_spare(&mut self) -> Result<Prepared, LogError> {
        if let Some(spare) = self.spare.pop_front() {
            remove_durably(&*self.disk, &spare.path)
                .map_err(|source| self.fatal(&spare.path, "removing", source))?;
        }
        Ok(Prepared::Progress)
    }

    fn reuse_spare(&mut self) -> Result<Prepared, LogError> {
        let Some(spare) = self.spare.front() else { return Ok(Prepared::Ready) };
        let from = spare.path.clone();
        let epoch = self.take_epoch();
        let path = temp_path(&self.dir, epoch);
        if let Err(source) = self.disk.rename(&from, &path) {
            return self.full_or_fatal(&from, "renaming", source);
        }
        self.spare.pop_front();
        self.sync_own_dir()?;
        let file = self
            .disk
            .open(&path, OpenMode::WriteDurable)
            .map_err(|source| self.fatal(&path, "opening", source))?;
        self.preparing = Preparing::NeedsHeader { file, epoch };
        Ok(Prepared::Progress)
    }

    fn create(&mut self) -> Result<Prepared, LogError> {
        let epoch = self.take_epoch();
        let path = temp_path(&self.dir, epoch);
        match self.disk.create(&path, OpenMode::WriteDurable) {
            Ok(file) => self.preparing = Preparing::Filling { file, epoch, filled: 0 },
            Err(source) => return self.full_or_fatal(&path, "creating", source),
        }
        Ok(Prepared::Progress)
    }

    fn fill(&mut self, mut file: Box<dyn DiskFile>, epoch: u64, filled: u64) -> Result<Prepared, LogError> {
        let step = FILL_STEP_BYTES.min(self.config.segment_bytes - filled) as usize;
        let mut parts = [IoSlice::new(&[]); FILL_STEP_BYTES as usize / ZERO_BLOCK_BYTES];
        for (number, part) in parts.iter_mut().enumerate() {
            let len = step.saturating_sub(number * ZERO_BLOCK_BYTES).min(ZERO_BLOCK_BYTES);
            *part = IoSlice::new(&ZEROS.0[..len]);
        }
        let count = step.div_ceil(ZERO_BLOCK_BYTES);
        if let Err(source) = file.write_durable(filled, &mut parts[..count]) {
            return self.abandon(epoch, "filling with zeros", source);
        }
        let filled = filled + step as u64;
        self.preparing = if filled < self.config.segment_bytes {
            Preparing::Filling { file, epoch, filled }
        } else {
            if let Err(source) = file.sync() {
                return self.abandon(epoch, "syncing", source);
            }
            Preparing::NeedsHeader { file, epoch }
        };
        Ok(Prepared::Progress)
    }

    fn put_header(&mut self, mut file: Box<dyn DiskFile>, epoch: u64) -> Result<Prepared, LogError> {
        let mut block = HeaderBlock([0; SEGMENT_HEADER_LEN]);
        let segment_bytes = self.config.segment_bytes;
        SegmentHeader { log_id: self.log_id, kind: self.config.kind, epoch, segment_bytes }
            .encode(&mut block.0);
        if let Err(source) = file.write_durable(0, &mut [IoSlice::new(&block.0)]) {
            return self.abandon(epoch, "writing the header", source);
        }
        self.preparing = Preparing::NeedsName { file, epoch };
        Ok(Prepared::Progress)
    }

    fn put_name(&mut self, file: Box<dyn DiskFile>, epoch: u64) -> Result<Prepared, LogError> {
        let (from, path) = (temp_path(&self.dir, epoch), segment_path(&self.dir, epoch));
        if let Err(source) = self.disk.rename(&from, &path) {
            return self.abandon(epoch, "renaming", source);
        }
        self.sync_own_dir()?;
        self.ready.push_back(Ready { file, path, epoch, segment_bytes: self.config.segment_bytes });
        Ok(Prepared::Progress)
    }

    fn sync_own_dir(&mut self) -> Result<(), LogError> {
        self.disk.sync_dir(&self.dir).map_err(|source| {
            let dir = self.dir.clone();
            self.fatal(&dir, "syncing the directory", source)
        })
    }

    /// Nothing has changed yet: a full disk may be tried again, everything else is the end.
    fn full_or_fatal(
        &mut self,
        path: &str,
        operation: &'static str,
        source: io::Error,
    ) -> Result<Prepared, LogError> {
        if is_no_space(&source) { Ok(Prepared::NoSpace) } else { Err(self.fatal(path, operation, source)) }
    }

    /// The file being made failed. On a full disk it is removed: what a failed sync left in it proves nothing.
    fn abandon(
        &mut self,
        epoch: u64,
        operation: &'static str,
        source: io::Error,
    ) -> Result<Prepared, LogError> {
        let path = temp_path(&self.dir, epoch);
        if !is_no_space(&source) {
            return Err(self.fatal(&path, operation, source));
        }
        self.remove_temp(epoch)
    }

    fn remove_temp(&mut self, epoch: u64) -> Result<Prepared, LogError> {
        let path = temp_path(&self.dir, epoch);
        remove_durably(&*self.disk, &path).map_err(|source| self.fatal(&path, "removing", source))?;
        Ok(Prepared::NoSpace)
    }

    fn take_epoch(&mut self) -> u64 {
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        epoch
    }
}
