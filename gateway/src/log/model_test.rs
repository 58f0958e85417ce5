use super::segment::Run;
use super::writer::LogWriter;
use super::{FrameMeta, LogError};
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlantedBug {
    StaleFrameAccepted,
    TailTrusted,
}
pub(super) fn trust_tail(_path: String, _w: &mut LogWriter, _run: &Run) -> Result<FrameMeta, LogError> {
    panic!()
}
