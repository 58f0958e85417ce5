use std::sync::Arc;
use crate::disk::Disk;
use super::{FrameMeta, Gap, LogConfig, LogError, LogKind, LogWriter};

/// What stands in a log, found without changing it.
#[derive(Clone, Debug)]
pub struct LogSummary {
    pub last: Option<FrameMeta>,
    pub first_available_record_no: u64,
    pub first_available_message_no: u64,
    /// Missing in the middle and accepted before.
    pub gaps: Vec<Gap>,
    pub torn_tail: bool,
}
/// What [`recover`] found and did.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The last frame, now durable in a new segment; none in a new log.
    pub last: Option<FrameMeta>,
    pub first_available_record_no: u64,
    pub first_available_message_no: u64,
    /// Accepted just now: to be recorded by the caller.
    pub new_gaps: Vec<Gap>,
    /// An unfinished frame stood at the end; it was never acknowledged.
    pub torn_tail: bool,
}
/// Reads a log without changing anything.
pub fn inspect(_disk: &dyn Disk, _dir: &str, _kind: LogKind) -> Result<LogSummary, LogError> { unimplemented!() }
/// Opens a log, or makes one.
pub fn recover(_disk: Arc<dyn Disk>, _dir: &str, _config: LogConfig) -> Result<(Recovered, LogWriter), LogError> { unimplemented!() }
