use std::sync::Arc;
use crate::disk::Disk;
use super::{FrameMeta, LogError, LogKind, Position, Records};

/// One frame; the payload is valid until the next call.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> { pub meta: FrameMeta, pub payload: &'a [u8] }
impl<'a> Frame<'a> {
    pub fn records(&self) -> Records<'a> { super::records(self.payload) }
}
#[derive(Debug)]
pub struct LogReader { disk: Arc<dyn Disk> }
impl LogReader {
    /// Starts with the frame that contains `from` (or will contain it).
    pub fn open(_disk: Arc<dyn Disk>, _dir: &str, _kind: LogKind, _from: Position) -> Result<Self, LogError> { unimplemented!() }
    /// The next frame if its records are at or below `durable_record_no` (the writer's durable number); never beyond.
    pub fn next_frame(&mut self, _durable_record_no: u64) -> Result<Option<Frame<'_>>, LogError> { unimplemented!("{:?}", self.disk) }
}
