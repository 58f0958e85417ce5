use std::sync::Arc;
use crate::disk::Disk;
use super::{AlignedBuf, FrameMeta, LogError, Position, Prepared};
/// Parts that one frame can have: more than there are shards.
pub const FRAME_PARTS_MAX: usize = 64;

#[derive(Debug)]
pub struct LogWriter { disk: Arc<dyn Disk> }

impl LogWriter {
    /// One frame = one durable write of all parts. When it returns, the frame is durable.
    pub fn append(&mut self, _parts: &mut [AlignedBuf], _record_count: u32, _message_count: u32, _now_us: i64) -> Result<FrameMeta, LogError> { unimplemented!("{:?}", self.disk) }
    /// One small step (at most 1 MiB written, or one file operation) towards two ready segments.
    pub fn prepare_step(&mut self) -> Result<Prepared, LogError> { unimplemented!() }
    /// Whether `prepare_step` has something to do.
    pub fn needs_preparation(&self) -> bool { unimplemented!() }
    /// Everything below the position may go. Segments wholly below are used again (or archived) by `prepare_step`.
    pub fn release_before(&mut self, _position: Position) { unimplemented!() }
    pub fn next_record_no(&self) -> u64 { unimplemented!() }
    pub fn next_message_no(&self) -> u64 { unimplemented!() }
    pub fn next_frame_no(&self) -> u64 { unimplemented!() }
    pub fn ready_segments(&self) -> usize { unimplemented!() }
    /// Bytes that can be appended before another segment must be ready.
    pub fn bytes_available(&self) -> u64 { unimplemented!() }
    /// Bytes of all segments of the log on the disk.
    pub fn log_bytes(&self) -> u64 { unimplemented!() }
    pub fn frame_bytes_max(&self) -> u64 { unimplemented!() }
}
