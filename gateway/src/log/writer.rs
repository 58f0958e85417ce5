//! [`LogWriter`]: one frame = one durable write, straight from the buffers in which the records were collected.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::format::{FRAME_HEADER_LEN, FrameMeta, LogId, Stamp, checksum_seed, seal};
use super::prepare::Preparing;
use super::segment::FIRST_FRAME_OFFSET;
use super::{AlignedBuf, LogConfig, LogError, Position};
use crate::disk::{BLOCK_BYTES, Disk, DiskFile};

/// Parts that one frame can have: one buffer per shard, and then some.
pub const FRAME_PARTS_MAX: usize = 64;

/// Appends frames to a log that [`super::recover`] opened. One owner; nothing in it waits or sleeps.
#[derive(Debug)]
pub struct LogWriter {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: String,
    pub(super) config: LogConfig,
    pub(super) log_id: LogId,
    /// A write or sync failed: nothing is written any more.
    pub(super) failed: bool,
    pub(super) current: Option<Current>,
    pub(super) ready: VecDeque<Ready>,
    /// Segments with frames that are still needed, ascending; the last one is `current`.
    pub(super) live: VecDeque<Live>,
    /// Segments whose content is not needed any more, lowest first.
    pub(super) spare: VecDeque<Spare>,
    /// The same where they go to the archive.
    pub(super) to_archive: VecDeque<Spare>,
    pub(super) preparing: Preparing,
    pub(super) next_epoch: u64,
    pub(super) next_frame_no: u64,
    pub(super) next_record_no: u64,
    pub(super) next_message_no: u64,
    pub(super) last_stamp: Stamp,
}

/// The segment that frames are appended to.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) path: String,
    pub(super) epoch: u64,
    pub(super) offset: u64,
    pub(super) segment_bytes: u64,
}

/// A segment with a durable header and name, and no frame of its epoch.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) path: String,
    pub(super) epoch: u64,
    pub(super) segment_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Live {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) first_record_no: u64,
    pub(super) first_message_no: u64,
    pub(super) first_received_us: i64,
}

/// What a log has, for those who watch it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// Segments with frames that somebody needs, that stand ready, and that may be used again.
    pub live: usize,
    pub ready: usize,
    pub spare: usize,
    pub bytes: u64,
    /// First record of the oldest live segment, and the receive time of its first frame; 0 where there is none.
    pub oldest_record_no: u64,
    pub oldest_received_us: i64,
}

#[derive(Debug)]
pub(super) struct Spare {
    pub(super) path: String,
    pub(super) bytes: u64,
}

/// Where the next frame goes.
enum Place {
    Current,
    NextSegment,
}

impl LogWriter {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: &str,
        config: LogConfig,
        log_id: LogId,
        next_epoch: u64,
    ) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            config,
            log_id,
            failed: false,
            current: None,
            ready: VecDeque::new(),
            live: VecDeque::new(),
            spare: VecDeque::new(),
            to_archive: VecDeque::new(),
            preparing: Preparing::Idle,
            next_epoch,
            next_frame_no: 1,
            next_record_no: 1,
            next_message_no: 1,
            last_stamp: Stamp::from(i64::MIN),
        }
    }

    /// Of the last frame; its time is `i64::MIN` before the first.
    pub fn last_stamp(&self) -> Stamp {
        self.last_stamp
    }

    /// Writes all parts as one frame, in one durable write. When it returns, the frame is durable.
    ///
    /// `record_count` counts records that are no pads, `message_count` what `message_no` counts. A frame without
    /// messages may use the reserve. On a backpressure error nothing has changed and the buffers can be filled
    /// further; after any other error of a write the writer is dead. The caller clears the buffers.
    pub fn append(
        &mut self,
        parts: &mut [AlignedBuf],
        record_count: u32,
        message_count: u32,
        stamp: impl Into<Stamp>,
    ) -> Result<FrameMeta, LogError> {
        if self.failed {
            return Err(LogError::Failed);
        }
        let len = self.frame_len(parts, record_count)?;
        if let Place::NextSegment = self.place(len, message_count)? {
            self.open_next_segment();
        }
        let Some(current) = &mut self.current else { return Err(LogError::NoSegmentReady) };
        let Stamp { time_us, behind_s } = stamp.into();
        let meta = FrameMeta {
            epoch: current.epoch,
            frame_no: self.next_frame_no,
            first_record_no: self.next_record_no,
            first_message_no: self.next_message_no,
            record_count,
            message_count,
            stamp: Stamp { time_us: time_us.max(self.last_stamp.time_us), behind_s },
            len,
        };
        if let Err(source) = write_frame(current, parts, &meta, checksum_seed(self.log_id)) {
            let path = current.path.clone();
            return Err(self.fatal(&path, "writing a frame", source));
        }
        self.appended(&meta);
        Ok(meta)
    }

    /// Writes a frame that recovery read back, under its old numbers, into a new segment.
    pub(super) fn rewrite(&mut self, frame: &mut AlignedBuf, old: &FrameMeta) -> Result<FrameMeta, LogError> {
        self.open_next_segment();
        let Some(current) = &mut self.current else { return Err(LogError::NoSegmentReady) };
        let meta = FrameMeta { epoch: current.epoch, ..*old };
        let parts = std::slice::from_mut(frame);
        if let Err(source) = write_frame(current, parts, &meta, checksum_seed(self.log_id)) {
            let path = current.path.clone();
            return Err(self.fatal(&path, "writing the last frame again", source));
        }
        self.appended(&meta);
        Ok(meta)
    }

    fn frame_len(&self, parts: &[AlignedBuf], record_count: u32) -> Result<u32, LogError> {
        let bytes: u64 = parts.iter().map(|part| part.len().next_multiple_of(BLOCK_BYTES) as u64).sum();
        if record_count == 0 || parts.is_empty() {
            return Err(LogError::EmptyFrame);
        }
        let bytes_max = self.config.frame_bytes_max;
        match u32::try_from(bytes) {
            Ok(len) if bytes <= bytes_max && parts.len() <= FRAME_PARTS_MAX => Ok(len),
            _ => Err(LogError::FrameTooLarge {
                bytes,
                parts: parts.len(),
                bytes_max,
                parts_max: FRAME_PARTS_MAX,
            }),
        }
    }

    fn place(&self, len: u32, message_count: u32) -> Result<Place, LogError> {
        let len = u64::from(len);
        let rest = self.current.as_ref().map_or(0, |current| current.segment_bytes - current.offset);
        let (place, rest_after, ready_after) = if len <= rest {
            (Place::Current, rest - len, self.ready.len())
        } else {
            let ready = self.ready.front().ok_or(LogError::NoSegmentReady)?;
            (Place::NextSegment, ready.segment_bytes - FIRST_FRAME_OFFSET - len, self.ready.len() - 1)
        };
        if message_count > 0 && ready_after == 0 && rest_after < self.config.reserve_bytes {
            return Err(LogError::NoSegmentReady);
        }
        Ok(place)
    }

    /// Whether a frame of so many bytes fits and leaves the reserve to frames without messages.
    pub fn has_room(&self, bytes: u64) -> bool {
        let len = u32::try_from(bytes.next_multiple_of(BLOCK_BYTES as u64));
        len.is_ok_and(|len| self.place(len, 1).is_ok())
    }

    fn open_next_segment(&mut self) {
        if let Some(Ready { file, path, epoch, segment_bytes }) = self.ready.pop_front() {
            self.current = Some(Current { file, path, epoch, offset: FIRST_FRAME_OFFSET, segment_bytes });
        }
    }

    /// The frame is durable: count it.
    fn appended(&mut self, meta: &FrameMeta) {
        if let Some(current) = &mut self.current {
            if current.offset == FIRST_FRAME_OFFSET {
                self.live.push_back(Live {
                    path: current.path.clone(),
                    bytes: current.segment_bytes,
                    first_record_no: meta.first_record_no,
                    first_message_no: meta.first_message_no,
                    first_received_us: meta.stamp.received_us(),
                });
            }
            current.offset += u64::from(meta.len);
        }
        self.continue_after(meta);
    }

    pub(super) fn continue_after(&mut self, last: &FrameMeta) {
        self.next_frame_no = last.frame_no + 1;
        self.next_record_no = last.next_record_no();
        self.next_message_no = last.next_message_no();
        self.last_stamp = last.stamp;
    }

    /// Nobody needs anything below `position` any more. Segments wholly below are archived or used again by
    /// [`LogWriter::prepare_step`]; until then, and after a restart, they can still be read.
    pub fn release_before(&mut self, position: Position) {
        while self.live.get(1).is_some_and(|next| match position {
            Position::Record(record_no) => next.first_record_no <= record_no,
            Position::Message(message_no) => next.first_message_no <= message_no,
        }) {
            let Some(Live { path, bytes, .. }) = self.live.pop_front() else { return };
            let goes_to =
                if self.config.archive_dir.is_some() { &mut self.to_archive } else { &mut self.spare };
            goes_to.push_back(Spare { path, bytes });
        }
    }

    pub fn next_record_no(&self) -> u64 {
        self.next_record_no
    }

    pub fn next_message_no(&self) -> u64 {
        self.next_message_no
    }

    pub fn frame_bytes_max(&self) -> u64 {
        self.config.frame_bytes_max
    }

    pub fn ready_segments(&self) -> usize {
        self.ready.len()
    }

    /// Bytes of the segments that cannot be used again yet, those that stand ready included: what counts against
    /// `log_bytes_max` and does not come back by itself.
    pub fn bytes_in_use(&self) -> u64 {
        let unneeded: u64 = self.spare.iter().chain(&self.to_archive).map(|spare| spare.bytes).sum();
        self.log_bytes() - unneeded
    }

    /// The status, if it is not what `last` says. Cheap: the sizes are compared first.
    pub fn changed_status(&self, last: &LogStatus) -> Option<LogStatus> {
        let spare = self.spare.len() + self.to_archive.len();
        let oldest = self.live.front();
        let oldest_record_no = oldest.map_or(0, |live| live.first_record_no);
        let known = (last.live, last.ready, last.spare, last.oldest_record_no);
        if (self.live.len(), self.ready.len(), spare, oldest_record_no) == known {
            return None;
        }
        Some(LogStatus {
            live: self.live.len(),
            ready: self.ready.len(),
            spare,
            bytes: self.log_bytes(),
            oldest_record_no,
            oldest_received_us: oldest.map_or(0, |live| live.first_received_us),
        })
    }

    /// Bytes of all segment files of the log.
    pub fn log_bytes(&self) -> u64 {
        let being_made =
            if matches!(self.preparing, Preparing::Idle) { 0 } else { self.config.segment_bytes };
        let live: u64 = self.live.iter().map(|live| live.bytes).sum();
        let unneeded: u64 = self.spare.iter().chain(&self.to_archive).map(|spare| spare.bytes).sum();
        let ready: u64 = self.ready.iter().map(|ready| ready.segment_bytes).sum();
        live + unneeded + ready + being_made
    }

    pub(super) fn fatal(&mut self, path: &str, operation: &'static str, source: io::Error) -> LogError {
        self.failed = true;
        LogError::Fatal { path: path.to_owned(), operation, source }
    }
}

/// One call to the disk, no allocation, no copy.
fn write_frame(
    current: &mut Current,
    parts: &mut [AlignedBuf],
    meta: &FrameMeta,
    seed: u32,
) -> io::Result<()> {
    for (number, part) in parts.iter_mut().enumerate() {
        part.pad_to_block();
        if number > 0 {
            part.put_pad_header();
        }
    }
    let mut header = meta.encode();
    let payload = parts.iter().enumerate().map(|(number, part)| {
        let start = if number == 0 { FRAME_HEADER_LEN } else { 0 };
        &part.as_slice()[start..]
    });
    seal(&mut header, seed, payload);
    let mut slices = [IoSlice::new(&[]); FRAME_PARTS_MAX];
    let mut count = 0;
    for part in parts.iter_mut() {
        if count == 0 {
            part.as_mut_slice()[..FRAME_HEADER_LEN].copy_from_slice(&header);
        }
        slices[count] = IoSlice::new(part.as_slice());
        count += 1;
    }
    current.file.write_durable(current.offset, &mut slices[..count])
}
