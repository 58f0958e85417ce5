/// Frames that are missing in the middle of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub first_frame_no: u64,
    pub last_frame_no: u64,
    pub first_record_no: u64,
    pub last_record_no: u64,
    pub first_message_no: u64,
    pub last_message_no: u64,
}
