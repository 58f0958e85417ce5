//! [`LogReader`]: frames in order, from a given record or message on, beside a running writer or without one.
//!
//! The reader never looks beyond the number that its caller says is durable, so what it finds there must be the next
//! frame, whole; anything else is an error. It opens segments by itself and needs nothing from the writer but that
//! number. Segments that it still needs must not be released: releasing follows the readers' cursors.

use std::sync::Arc;

use super::format::{FRAME_HEADER_LEN, FrameMeta, LogKind};
use super::gaps::AcceptedDamage;
use super::record::{Records, records};
use super::segment::{FIRST_FRAME_OFFSET, FrameSource, SegmentFile, SegmentFiles, common_log_id};
use super::{LogError, Position};
use crate::disk::{BLOCK_BYTES, Disk};

const READ_AHEAD_BYTES: usize = 64 << 10;
/// Between listing and opening, the writer may rename a released segment; then the directory is listed again.
const LISTINGS_MAX: usize = 16;

/// One frame; the payload is valid until the next call.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub meta: FrameMeta,
    /// The bytes behind the frame header, padding included: for [`records`].
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    pub fn records(&self) -> Records<'a> {
        records(self.payload)
    }
}

/// A segment with a frame in it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    epoch: u64,
    first: FrameMeta,
    first_offset: u64,
}

/// What must come next.
#[derive(Clone, Copy, Debug)]
struct Expected {
    frame_no: u64,
    record_no: u64,
}

#[derive(Debug)]
pub struct LogReader {
    disk: Arc<dyn Disk>,
    dir: String,
    kind: LogKind,
    from: Position,
    damage: AcceptedDamage,
    /// By epoch; where two segments hold the same frame, the higher epoch takes over from its first frame on.
    entries: Vec<Entry>,
    source: Option<FrameSource>,
    offset: u64,
    expected: Option<Expected>,
    /// Behind an accepted gap: the next frame stands at some later block.
    searching: bool,
}

impl LogReader {
    /// Starts with the frame that contains `from`, or will contain it.
    pub fn open(disk: Arc<dyn Disk>, dir: &str, kind: LogKind, from: Position) -> Result<Self, LogError> {
        let damage = AcceptedDamage::load(&*disk, dir)?;
        let mut reader = Self {
            disk,
            dir: dir.to_owned(),
            kind,
            from,
            damage,
            entries: Vec::new(),
            source: None,
            offset: 0,
            expected: None,
            searching: false,
        };
        reader.refresh()?;
        reader.start()?;
        Ok(reader)
    }

    /// The next frame, if all its records are at or below `durable_record_no` (the last record of the frame that
    /// [`super::LogWriter::append`] or [`super::recover`] returned last; 0: none).
    pub fn next_frame(&mut self, durable_record_no: u64) -> Result<Option<Frame<'_>>, LogError> {
        let meta = loop {
            match self.expected {
                Some(expected) if expected.record_no > durable_record_no => return Ok(None),
                Some(_) => {}
                None if durable_record_no == 0 => return Ok(None),
                None => {
                    self.refresh()?;
                    self.start()?;
                    if self.expected.is_none() {
                        return Ok(None);
                    }
                    continue;
                }
            }
            if let Some(meta) = self.advance()?
                && self.is_wanted(&meta)
            {
                break meta;
            }
        };
        let frame = self.source.as_ref().map(FrameSource::frame_bytes).unwrap_or_default();
        Ok(Some(Frame { meta, payload: frame.get(FRAME_HEADER_LEN..).unwrap_or_default() }))
    }

    fn is_wanted(&self, meta: &FrameMeta) -> bool {
        match self.from {
            Position::Record(record_no) => meta.next_record_no() > record_no,
            Position::Message(message_no) => meta.next_message_no() > message_no,
        }
    }

    /// One move forward: the next frame, or `None` after a move to another place.
    fn advance(&mut self) -> Result<Option<FrameMeta>, LogError> {
        let Some(expected) = self.expected else { return Ok(None) };
        if self.switch_segment(expected)? {
            return Ok(None);
        }
        let Some(source) = &mut self.source else { return Err(self.unreadable(expected)) };
        let mut found = source.frame_at(self.offset)?;
        if found.is_none_or(|meta| meta.frame_no != expected.frame_no) {
            source.forget_read_ahead();
            found = source.frame_at(self.offset)?;
        }
        match found {
            Some(meta)
                if meta.frame_no == expected.frame_no && meta.first_record_no == expected.record_no =>
            {
                self.offset += u64::from(meta.len);
                self.expected =
                    Some(Expected { frame_no: meta.frame_no + 1, record_no: meta.next_record_no() });
                self.searching = false;
                Ok(Some(meta))
            }
            Some(meta) if meta.frame_no < expected.frame_no => {
                self.offset += u64::from(meta.len);
                Ok(None)
            }
            _ => {
                self.pass_hole(expected)?;
                Ok(None)
            }
        }
    }

    /// Goes to the segment that is in force for the expected frame, if that is another one.
    fn switch_segment(&mut self, expected: Expected) -> Result<bool, LogError> {
        let in_force =
            self.entries.iter().rev().find(|entry| entry.first.frame_no <= expected.frame_no).copied();
        match (in_force, &self.source) {
            (Some(entry), Some(source)) if source.check.epoch >= entry.epoch => Ok(false),
            (Some(entry), _) => {
                self.enter(entry)?;
                Ok(true)
            }
            (None, _) => Ok(false),
        }
    }

    fn enter(&mut self, entry: Entry) -> Result<(), LogError> {
        self.source = self.frames_of(entry.epoch)?;
        self.offset = entry.first_offset;
        self.searching = false;
        // Released meanwhile: what is left decides what the next move finds.
        if self.source.is_none() { self.refresh() } else { Ok(()) }
    }

    /// The expected frame is not where it should be: it stands in a newer segment, or behind an accepted gap.
    fn pass_hole(&mut self, expected: Expected) -> Result<(), LogError> {
        self.refresh()?;
        if self.switch_segment(expected)? {
            return Ok(());
        }
        let block = BLOCK_BYTES as u64;
        if self.searching
            && self.source.as_ref().is_some_and(|source| self.offset + block < source.segment_bytes)
        {
            self.offset += block;
            return Ok(());
        }
        let Some(gap) = self.damage.gap_at(expected.frame_no) else {
            return Err(self.unreadable(expected));
        };
        self.expected = Some(Expected { frame_no: gap.last_frame_no + 1, record_no: gap.last_record_no + 1 });
        self.searching = true;
        Ok(())
    }

    fn unreadable(&self, expected: Expected) -> LogError {
        if let Some(first) = self.entries.first().map(|entry| entry.first)
            && first.frame_no > expected.frame_no
        {
            return self.released(&first);
        }
        LogError::Unreadable {
            path: self.source.as_ref().map_or_else(|| self.dir.clone(), |source| source.path.clone()),
            offset: self.offset,
            frame_no: expected.frame_no,
            record_no: expected.record_no,
        }
    }

    fn released(&self, first: &FrameMeta) -> LogError {
        LogError::Released {
            path: self.dir.clone(),
            wanted: self.from,
            first_record_no: first.first_record_no,
        }
    }

    /// Finds the segment to start in, once there is one.
    fn start(&mut self) -> Result<(), LogError> {
        let at_or_below = |entry: &&Entry| match self.from {
            Position::Record(record_no) => entry.first.first_record_no <= record_no.max(1),
            Position::Message(message_no) => entry.first.first_message_no <= message_no.max(1),
        };
        let Some(lowest) = self.entries.first() else { return Ok(()) };
        let Some(entry) = self.entries.iter().rev().find(at_or_below).copied() else {
            return Err(self.released(&lowest.first));
        };
        self.expected =
            Some(Expected { frame_no: entry.first.frame_no, record_no: entry.first.first_record_no });
        self.enter(entry)
    }

    /// Lists the segments anew and reads the first frame of those that were not known.
    fn refresh(&mut self) -> Result<(), LogError> {
        for _ in 0..LISTINGS_MAX {
            let epochs = SegmentFiles::list(&*self.disk, &self.dir)?.segments;
            let mut entries: Vec<Entry> = Vec::with_capacity(epochs.len());
            let mut all_there = true;
            for epoch in epochs {
                let known = self.entries.iter().find(|entry| entry.epoch == epoch).copied();
                let found = match known {
                    Some(entry) => Found::Entry(entry),
                    None => self.look_into(epoch)?,
                };
                match found {
                    Found::Entry(entry) => {
                        while entries.last().is_some_and(|last| last.first.frame_no >= entry.first.frame_no) {
                            entries.pop();
                        }
                        entries.push(entry);
                    }
                    Found::NoFrame => {}
                    Found::Gone => all_there = false,
                }
            }
            if all_there {
                self.entries = entries;
                return Ok(());
            }
        }
        let source = std::io::Error::other("the segments change all the time");
        Err(super::segment::io_error(&self.dir, "listing the directory", source))
    }

    fn look_into(&self, epoch: u64) -> Result<Found, LogError> {
        let Some(mut source) = self.frames_of(epoch)? else { return Ok(Found::Gone) };
        let mut offset = FIRST_FRAME_OFFSET;
        while offset < source.segment_bytes {
            if let Some(first) = source.frame_at(offset)? {
                return Ok(Found::Entry(Entry { epoch, first, first_offset: offset }));
            }
            if self.damage == AcceptedDamage::default() {
                break;
            }
            offset += BLOCK_BYTES as u64;
        }
        Ok(Found::NoFrame)
    }

    fn frames_of(&self, epoch: u64) -> Result<Option<FrameSource>, LogError> {
        let Some(file) = SegmentFile::open(&*self.disk, &self.dir, epoch, self.kind, &self.damage)? else {
            return Ok(None);
        };
        let log_id = match common_log_id(std::iter::once(&file))? {
            Some(log_id) => Some(log_id),
            None => self.log_id_of_another()?,
        };
        let reason = "and no other segment is left that names the log's id";
        let log_id = log_id.ok_or_else(|| LogError::BadHeader { path: file.path.clone(), reason })?;
        Ok(Some(file.into_frames(log_id, READ_AHEAD_BYTES)))
    }

    /// For a segment whose damaged header was accepted.
    fn log_id_of_another(&self) -> Result<Option<super::LogId>, LogError> {
        for epoch in SegmentFiles::list(&*self.disk, &self.dir)?.segments {
            let file = SegmentFile::open(&*self.disk, &self.dir, epoch, self.kind, &self.damage)?;
            if let Some(log_id) = common_log_id(file.iter())? {
                return Ok(Some(log_id));
            }
        }
        Ok(None)
    }
}

enum Found {
    Entry(Entry),
    NoFrame,
    /// Released and renamed since the directory was listed.
    Gone,
}
