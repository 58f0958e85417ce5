//! Where one packet ends and the next begins.

use super::error::DecodeError;

/// The largest packet the standard allows: first byte, four bytes of Remaining Length, 268,435,455 bytes.
pub const PACKET_SIZE_MAX: usize = 1 + 4 + 268_435_455;

pub fn frame_len(_buf: &[u8], _packet_size_max: usize) -> Result<Option<usize>, DecodeError> {
    todo!()
}
