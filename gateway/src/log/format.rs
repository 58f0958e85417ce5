//! Bytes of segment headers and frame headers (`docs/format/log.md`). All integers little endian.

use std::io;

use crate::disk::BLOCK_BYTES;

/// Format version of segments and of the records in both logs; a reader refuses every other one.
pub const FORMAT_VERSION: u32 = 3;
/// Bytes of a frame header; every [`super::AlignedBuf`] keeps this room at its start.
pub const FRAME_HEADER_LEN: usize = 64;
/// Bytes of a segment header: one block.
pub(crate) const SEGMENT_HEADER_LEN: usize = BLOCK_BYTES;

const SEGMENT_MAGIC: [u8; 8] = *b"SGLOGSEG";
const FRAME_MAGIC: [u8; 4] = *b"SGfr";

/// Which log a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    Journal = 1,
    Observations = 2,
}

/// Random, one per log: a frame of another log, or one forged inside a payload, fails its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogId(pub [u8; 16]);

impl LogId {
    /// From the kernel's random source.
    pub fn random() -> io::Result<Self> {
        let mut id = [0u8; 16];
        // SAFETY: the pointer and length describe `id`, which outlives the call.
        let got = unsafe { libc::getrandom(id.as_mut_ptr().cast(), id.len(), 0) };
        if got == id.len() as isize { Ok(Self(id)) } else { Err(io::Error::last_os_error()) }
    }
}

/// When a writer took a frame, by two times. Stamps order: they never go back, so an hour of the books is a range of positions.
/// The receive time is what a message is judged by; they differ only while a wall clock that was far ahead is right again
/// (docs/words.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// UTC µs; never less than that of the frame before.
    pub time_us: i64,
    /// Whole seconds that the receive time is behind it; 0 in the ordinary case, never more than [`u32::MAX`].
    pub behind_s: u32,
}

impl Stamp {
    pub fn received_us(self) -> i64 {
        self.time_us.saturating_sub(i64::from(self.behind_s) * 1_000_000)
    }
}

/// The stamp of a frame from what is kept of it elsewhere.
pub fn stamp_us(receive_time_us: i64, behind_s: u32) -> i64 {
    receive_time_us.saturating_add(i64::from(behind_s) * 1_000_000)
}

impl From<i64> for Stamp {
    fn from(time_us: i64) -> Self {
        Self { time_us, behind_s: 0 }
    }
}

/// What a frame header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMeta {
    /// Epoch of the segment that the frame stands in.
    pub epoch: u64,
    pub frame_no: u64,
    pub first_record_no: u64,
    /// In the observation log: the first `obs_no`. With `message_count` 0: the number the next message will have.
    pub first_message_no: u64,
    pub record_count: u32,
    pub message_count: u32,
    /// At which the writer took the frame.
    pub stamp: Stamp,
    /// Bytes of the frame with header and padding; a multiple of 4 KiB.
    pub len: u32,
}

impl FrameMeta {
    pub fn next_record_no(&self) -> u64 {
        self.first_record_no.saturating_add(u64::from(self.record_count))
    }

    pub fn last_record_no(&self) -> u64 {
        self.next_record_no().saturating_sub(1)
    }

    pub fn next_message_no(&self) -> u64 {
        self.first_message_no.saturating_add(u64::from(self.message_count))
    }

    /// The highest `message_no` up to and including this frame (0 if there was none yet).
    pub fn last_message_no(&self) -> u64 {
        self.next_message_no().saturating_sub(1)
    }

    /// The header without its checksum; `seal` adds that.
    pub(crate) fn encode(&self) -> [u8; FRAME_HEADER_LEN] {
        let mut header = [0u8; FRAME_HEADER_LEN];
        header[0..4].copy_from_slice(&FRAME_MAGIC);
        header[8..12].copy_from_slice(&self.len.to_le_bytes());
        header[12..16].copy_from_slice(&self.record_count.to_le_bytes());
        header[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        header[24..32].copy_from_slice(&self.frame_no.to_le_bytes());
        header[32..40].copy_from_slice(&self.first_record_no.to_le_bytes());
        header[40..48].copy_from_slice(&self.first_message_no.to_le_bytes());
        header[48..52].copy_from_slice(&self.message_count.to_le_bytes());
        header[52..56].copy_from_slice(&self.stamp.behind_s.to_le_bytes());
        header[56..64].copy_from_slice(&self.stamp.time_us.to_le_bytes());
        header
    }

    fn decode(header: &[u8; FRAME_HEADER_LEN]) -> Self {
        Self {
            len: u32_at(header, 8),
            record_count: u32_at(header, 12),
            epoch: u64_at(header, 16),
            frame_no: u64_at(header, 24),
            first_record_no: u64_at(header, 32),
            first_message_no: u64_at(header, 40),
            message_count: u32_at(header, 48),
            stamp: Stamp { time_us: u64_at(header, 56).cast_signed(), behind_s: u32_at(header, 52) },
        }
    }
}

/// Where the checksum of every frame of a log starts: the log's id.
pub(crate) fn checksum_seed(log_id: LogId) -> u32 {
    crc32c::crc32c(&log_id.0)
}

/// Writes the checksum into `header`: the log's id, the header behind the checksum, all payload bytes.
pub(crate) fn seal<'a>(
    header: &mut [u8; FRAME_HEADER_LEN],
    seed: u32,
    payload: impl Iterator<Item = &'a [u8]>,
) {
    let crc = payload.fold(crc32c::crc32c_append(seed, &header[8..]), crc32c::crc32c_append);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// What must hold for bytes to be a frame of this segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameCheck {
    pub(crate) seed: u32,
    pub(crate) epoch: u64,
    pub(crate) frame_bytes_max: u64,
    #[cfg(test)]
    pub(crate) stale_frames_pass: bool,
}

impl FrameCheck {
    /// The frame header at the start of `bytes`, if it can be one of this segment. The checksum is not looked at.
    pub(crate) fn header(&self, bytes: &[u8]) -> Option<FrameMeta> {
        let header: &[u8; FRAME_HEADER_LEN] = bytes.first_chunk()?;
        if header[0..4] != FRAME_MAGIC {
            return None;
        }
        let meta = FrameMeta::decode(header);
        let len = u64::from(meta.len);
        let shape_fits = len >= BLOCK_BYTES as u64
            && len.is_multiple_of(BLOCK_BYTES as u64)
            && len <= self.frame_bytes_max
            && meta.record_count > 0
            && meta.frame_no > 0
            && meta.first_record_no > 0
            && meta.first_message_no > 0
            && meta.first_record_no < 1 << 63
            && meta.first_message_no < 1 << 63;
        #[cfg(test)]
        if self.stale_frames_pass {
            return shape_fits.then_some(meta);
        }
        (shape_fits && meta.epoch == self.epoch).then_some(meta)
    }

    /// What a block has of a frame header of this segment, each for itself: damage leaves most of it.
    pub(crate) fn traits(&self, bytes: &[u8]) -> FrameTraits {
        let Some(header) = bytes.first_chunk::<FRAME_HEADER_LEN>() else { return FrameTraits::default() };
        let meta = FrameMeta::decode(header);
        let len = u64::from(meta.len);
        FrameTraits {
            magic: header[0..4] == FRAME_MAGIC,
            epoch: meta.epoch == self.epoch,
            epoch_is_close: (meta.epoch ^ self.epoch).count_ones() == 1,
            len: len > 0 && len.is_multiple_of(BLOCK_BYTES as u64) && len <= self.frame_bytes_max,
            frame_no: meta.frame_no,
            frame_len: meta.len,
        }
    }

    /// Whether the checksum would be right if the frame named this segment's epoch.
    pub(crate) fn sum_fits_with_own_epoch(&self, frame: &[u8]) -> bool {
        if frame.len() < FRAME_HEADER_LEN {
            return false;
        }
        let crc = crc32c::crc32c_append(self.seed, &frame[8..16]);
        let crc = crc32c::crc32c_append(crc, &self.epoch.to_le_bytes());
        u32_at(frame, 4) == crc32c::crc32c_append(crc, &frame[24..])
    }

    /// Whether the checksum of a whole frame is right.
    pub(crate) fn sum_fits(&self, frame: &[u8]) -> bool {
        frame.len() >= FRAME_HEADER_LEN && u32_at(frame, 4) == crc32c::crc32c_append(self.seed, &frame[8..])
    }
}

/// See [`FrameCheck::traits`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameTraits {
    pub(crate) magic: bool,
    pub(crate) epoch: bool,
    /// It differs in one bit.
    pub(crate) epoch_is_close: bool,
    pub(crate) len: bool,
    pub(crate) frame_no: u64,
    pub(crate) frame_len: u32,
}

/// What a segment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: LogId,
    pub(crate) kind: LogKind,
    pub(crate) epoch: u64,
    pub(crate) segment_bytes: u64,
}

/// Why a segment header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Damaged(&'static str),
    OtherFormat(u32),
    /// The header is whole, and the file has not as many bytes as it says.
    Short {
        expected: u64,
    },
}

impl SegmentHeader {
    /// Bytes 0 to 56 of the header; the rest of the block is zeros and covered by the checksum.
    pub(crate) fn encode(&self, block: &mut [u8; SEGMENT_HEADER_LEN]) {
        block.fill(0);
        block[0..8].copy_from_slice(&SEGMENT_MAGIC);
        block[12..16].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[16..32].copy_from_slice(&self.log_id.0);
        block[32..36].copy_from_slice(&(self.kind as u32).to_le_bytes());
        block[40..48].copy_from_slice(&self.epoch.to_le_bytes());
        block[48..56].copy_from_slice(&self.segment_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&block[12..]);
        block[8..12].copy_from_slice(&crc.to_le_bytes());
    }

    /// The version is looked at before the checksum: a newer format may sum up differently. All older ones sum up like this one.
    pub(crate) fn decode(block: &[u8]) -> Result<Self, HeaderFault> {
        if block.len() < SEGMENT_HEADER_LEN {
            return Err(HeaderFault::Damaged("the file is shorter than 4 KiB"));
        }
        if block[0..8] != SEGMENT_MAGIC {
            return Err(HeaderFault::Damaged("it does not start with SGLOGSEG"));
        }
        let version = u32_at(block, 12);
        let sum_fits = u32_at(block, 8) == crc32c::crc32c(&block[12..SEGMENT_HEADER_LEN]);
        if version != FORMAT_VERSION {
            let crc = crc32c::crc32c_append(
                crc32c::crc32c(&FORMAT_VERSION.to_le_bytes()),
                &block[16..SEGMENT_HEADER_LEN],
            );
            if u32_at(block, 8) == crc {
                return Err(HeaderFault::Damaged("its version is damaged"));
            }
            if sum_fits || version > FORMAT_VERSION {
                return Err(HeaderFault::OtherFormat(version));
            }
        }
        if !sum_fits {
            return Err(HeaderFault::Damaged("wrong checksum"));
        }
        let kind = match u32_at(block, 32) {
            1 => LogKind::Journal,
            2 => LogKind::Observations,
            _ => return Err(HeaderFault::Damaged("unknown kind of log")),
        };
        let mut id = [0u8; 16];
        id.copy_from_slice(&block[16..32]);
        Ok(Self { log_id: LogId(id), kind, epoch: u64_at(block, 40), segment_bytes: u64_at(block, 48) })
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut raw = [0u8; 4];
    raw.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(raw)
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut raw = [0u8; 8];
    raw.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(raw)
}
