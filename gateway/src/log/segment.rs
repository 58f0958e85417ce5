//! Segment files: their names, their headers, and reading frames out of one.

use std::io;

use super::LogError;
use super::format::{
    FORMAT_VERSION, FRAME_HEADER_LEN, FrameCheck, FrameMeta, HeaderFault, LogId, LogKind, SEGMENT_HEADER_LEN,
    SegmentHeader, checksum_seed,
};
use super::gaps::AcceptedDamage;
use crate::disk::{BLOCK_BYTES, Disk, DiskFile, OpenMode, join};

const BLOCK: u64 = BLOCK_BYTES as u64;
/// Where the first frame of a segment starts.
pub(crate) const FIRST_FRAME_OFFSET: u64 = SEGMENT_HEADER_LEN as u64;

/// A segment that may hold frames.
pub(crate) fn segment_path(dir: &str, epoch: u64) -> String {
    join(dir, &format!("{epoch:016x}.seg"))
}

/// A file that is being made into a segment; whatever stands in it is of no value.
pub(crate) fn temp_path(dir: &str, epoch: u64) -> String {
    join(dir, &format!("{epoch:016x}.new"))
}

/// The epochs found in a log's directory, ascending.
#[derive(Debug, Default)]
pub(crate) struct SegmentFiles {
    pub(crate) segments: Vec<u64>,
    pub(crate) temps: Vec<u64>,
}

impl SegmentFiles {
    pub(crate) fn list(disk: &dyn Disk, dir: &str) -> Result<Self, LogError> {
        let names = disk.list(dir).map_err(|source| io_error(dir, "listing the directory", source))?;
        let mut files = Self::default();
        for name in names {
            let Some((hex, suffix)) = name.split_once('.') else { continue };
            let Ok(epoch) = u64::from_str_radix(hex, 16) else { continue };
            match suffix {
                "seg" => files.segments.push(epoch),
                "new" => files.temps.push(epoch),
                _ => {}
            }
        }
        files.segments.sort_unstable();
        Ok(files)
    }

    /// Higher than every epoch seen, so that none is used twice.
    pub(crate) fn next_epoch(&self) -> u64 {
        self.segments.iter().chain(&self.temps).max().map_or(1, |epoch| epoch.saturating_add(1))
    }
}

pub(crate) fn io_error(path: &str, operation: &'static str, source: io::Error) -> LogError {
    LogError::Io { path: path.to_owned(), operation, source }
}

/// Refuses a log of another format, whatever else is wrong with it, and writes nothing.
pub fn check_format(disk: &dyn Disk, dir: &str, kind: LogKind) -> Result<(), LogError> {
    let Ok(files) = SegmentFiles::list(disk, dir) else { return Ok(()) };
    for epoch in files.segments {
        let opened = SegmentFile::open(disk, dir, epoch, kind, &AcceptedDamage::default());
        if let Err(error @ LogError::OtherFormat { .. }) = opened {
            return Err(error);
        }
    }
    Ok(())
}

/// A segment's header as far as it is known: `header` is `None` where it is damaged and that was accepted.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) path: String,
    pub(crate) epoch: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) header: Option<SegmentHeader>,
    file: Box<dyn DiskFile>,
}

impl SegmentFile {
    /// `Ok(None)`: the file went away since it was listed.
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &str,
        epoch: u64,
        kind: LogKind,
        damage: &AcceptedDamage,
    ) -> Result<Option<Self>, LogError> {
        let path = segment_path(dir, epoch);
        let file = match disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(&path, "opening", source)),
        };
        let size = file.size().map_err(|source| io_error(&path, "reading the size", source))?;
        let mut block = vec![0; SEGMENT_HEADER_LEN];
        let got =
            file.read_at(0, &mut block).map_err(|source| io_error(&path, "reading the header", source))?;
        let checked = SegmentHeader::decode(&block[..got]).and_then(|header| check(header, epoch, size));
        let header = match checked {
            Ok(header) => Some(header),
            Err(HeaderFault::OtherFormat(found)) => {
                return Err(LogError::OtherFormat { path, found, known: FORMAT_VERSION });
            }
            Err(HeaderFault::Damaged(_) | HeaderFault::Short { .. }) if damage.takes_header(epoch) => None,
            Err(HeaderFault::Damaged(reason)) => return Err(LogError::BadHeader { path, reason }),
            Err(HeaderFault::Short { expected }) => {
                return Err(LogError::ShortSegment { path, expected, found: size });
            }
        };
        if header.is_some_and(|header| header.kind != kind) {
            return Err(LogError::Foreign { path, what: "another kind of log" });
        }
        let segment_bytes = header.map_or(size - size % BLOCK, |header| header.segment_bytes);
        Ok(Some(Self { path, epoch, segment_bytes, header, file }))
    }

    /// To read frames out of it, `read_ahead_bytes` at a time.
    pub(crate) fn into_frames(self, log_id: LogId, read_ahead_bytes: usize) -> FrameSource {
        let check = FrameCheck {
            seed: checksum_seed(log_id),
            epoch: self.epoch,
            // Not the configured bound: that may have been larger when the frame was written.
            frame_bytes_max: self.segment_bytes.saturating_sub(FIRST_FRAME_OFFSET),
            #[cfg(test)]
            stale_frames_pass: false,
        };
        FrameSource {
            path: self.path,
            segment_bytes: self.segment_bytes,
            check,
            file: self.file,
            read_ahead_bytes,
            buffer: Vec::new(),
            buffer_offset: 0,
            frame: (0, 0),
        }
    }
}

fn check(header: SegmentHeader, epoch: u64, size: u64) -> Result<SegmentHeader, HeaderFault> {
    if header.epoch != epoch {
        return Err(HeaderFault::Damaged("its epoch is not that of its name"));
    }
    if !header.segment_bytes.is_multiple_of(BLOCK) || header.segment_bytes < 2 * BLOCK {
        return Err(HeaderFault::Damaged("its size is impossible"));
    }
    if size < header.segment_bytes {
        return Err(HeaderFault::Short { expected: header.segment_bytes });
    }
    Ok(header)
}

/// The id that all headers share.
pub(crate) fn common_log_id<'a>(
    files: impl Iterator<Item = &'a SegmentFile>,
) -> Result<Option<LogId>, LogError> {
    let mut common = None;
    for file in files {
        let Some(header) = file.header else { continue };
        match common {
            None => common = Some(header.log_id),
            Some(log_id) if log_id == header.log_id => {}
            Some(_) => {
                return Err(LogError::Foreign {
                    path: file.path.clone(),
                    what: "its log id is a different one",
                });
            }
        }
    }
    Ok(common)
}

/// Checked frames of one segment.
#[derive(Debug)]
pub(crate) struct FrameSource {
    pub(crate) path: String,
    pub(crate) segment_bytes: u64,
    pub(crate) check: FrameCheck,
    file: Box<dyn DiskFile>,
    read_ahead_bytes: usize,
    buffer: Vec<u8>,
    buffer_offset: u64,
    /// Start and end in `buffer` of the frame found last.
    frame: (usize, usize),
}

impl FrameSource {
    /// The frame that starts at `offset`, if a whole and undamaged one of this segment does.
    pub(crate) fn frame_at(&mut self, offset: u64) -> Result<Option<FrameMeta>, LogError> {
        if offset + BLOCK > self.segment_bytes {
            return Ok(None);
        }
        let Some(start) = self.buffered(offset, FRAME_HEADER_LEN)? else { return Ok(None) };
        let Some(meta) = self.check.header(&self.buffer[start..]) else { return Ok(None) };
        let len = meta.len as usize;
        let Some(start) = self.buffered(offset, len)? else { return Ok(None) };
        // Looked at again: the bytes may have been read anew.
        let frame = &self.buffer[start..start + len];
        if self.check.header(frame) != Some(meta) || !self.check.sum_fits(frame) {
            return Ok(None);
        }
        self.frame = (start, start + len);
        Ok(Some(meta))
    }

    /// The header at `offset` of a frame that is not whole: what a crash in the middle of a write leaves.
    pub(crate) fn torn_frame_at(&mut self, offset: u64) -> Result<bool, LogError> {
        if offset + BLOCK > self.segment_bytes || self.frame_at(offset)?.is_some() {
            return Ok(false);
        }
        let Some(start) = self.buffered(offset, FRAME_HEADER_LEN)? else { return Ok(false) };
        Ok(self.check.header(&self.buffer[start..]).is_some())
    }

    /// What stands at `offset`, where no valid frame is.
    pub(crate) fn resembles_frame(&mut self, offset: u64) -> Result<Option<u64>, LogError> {
        let Some(start) = self.buffered(offset, FRAME_HEADER_LEN)? else { return Ok(None) };
        let traits = self.check.traits(&self.buffer[start..]);
        if traits.epoch && (traits.magic || traits.len) {
            return Ok(Some(traits.frame_no));
        }
        if !traits.magic {
            return Ok(None);
        }
        // A frame of a former life, unless it is only the epoch that is wrong.
        if traits.len && traits.epoch_is_close {
            let len = traits.frame_len as usize;
            if let Some(start) = self.buffered(offset, len)?
                && self.check.sum_fits_with_own_epoch(&self.buffer[start..start + len])
            {
                return Ok(Some(traits.frame_no));
            }
        }
        Ok(None)
    }

    /// `len` bytes as they stand there; `None` if the segment ends before.
    pub(crate) fn bytes_at(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, LogError> {
        if offset + len as u64 > self.segment_bytes {
            return Ok(None);
        }
        Ok(self.buffered(offset, len)?.map(|start| &self.buffer[start..start + len]))
    }

    /// The frame found last, header included.
    pub(crate) fn frame_bytes(&self) -> &[u8] {
        &self.buffer[self.frame.0..self.frame.1]
    }

    /// Reads little: for one look at the beginning.
    pub(crate) fn with_read_ahead<T>(&mut self, bytes: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        let usual = std::mem::replace(&mut self.read_ahead_bytes, bytes);
        let result = read(self);
        self.read_ahead_bytes = usual;
        self.give_back_buffer();
        result
    }

    pub(crate) fn give_back_buffer(&mut self) {
        self.buffer = Vec::new();
    }

    /// What was read ahead may be older than what stands in the file by now.
    pub(crate) fn forget_read_ahead(&mut self) {
        self.buffer.clear();
    }

    /// Where `len` bytes from `offset` stand in the buffer; `None` if the file ends before.
    fn buffered(&mut self, offset: u64, len: usize) -> Result<Option<usize>, LogError> {
        let ahead = offset.checked_sub(self.buffer_offset).map_or(usize::MAX, |ahead| ahead as usize);
        if ahead.saturating_add(len) <= self.buffer.len() {
            return Ok(Some(ahead));
        }
        let rest = usize::try_from(self.segment_bytes - offset).unwrap_or(usize::MAX);
        self.buffer.resize(len.max(self.read_ahead_bytes).min(rest), 0);
        self.buffer_offset = offset;
        let got = self
            .file
            .read_at(offset, &mut self.buffer)
            .map_err(|source| io_error(&self.path, "reading", source))?;
        self.buffer.truncate(got);
        Ok((got >= len).then_some(0))
    }
}

/// Frames that follow one another without a hole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) first: FrameMeta,
    pub(crate) start: u64,
    pub(crate) last: FrameMeta,
    pub(crate) last_offset: u64,
    pub(crate) end: u64,
}

/// All frames of a segment. Behind damage the search goes on in steps of 4 KiB up to the segment's end.
pub(crate) fn scan(source: &mut FrameSource) -> Result<Vec<Run>, LogError> {
    let mut runs: Vec<Run> = Vec::new();
    let mut offset = FIRST_FRAME_OFFSET;
    while offset + BLOCK <= source.segment_bytes {
        let Some(meta) = source.frame_at(offset)? else {
            offset += BLOCK;
            continue;
        };
        let end = offset + u64::from(meta.len);
        match runs.last_mut() {
            Some(run) if run.end == offset && follows(&run.last, &meta) => {
                run.last = meta;
                run.last_offset = offset;
                run.end = end;
            }
            _ => runs.push(Run { first: meta, start: offset, last: meta, last_offset: offset, end }),
        }
        offset = end;
    }
    Ok(runs)
}

pub(crate) fn follows(before: &FrameMeta, frame: &FrameMeta) -> bool {
    frame.frame_no == before.frame_no + 1
        && frame.first_record_no == before.next_record_no()
        && frame.first_message_no == before.next_message_no()
}
