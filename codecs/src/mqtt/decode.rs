//! Packets from bytes.

use super::error::DecodeError;
use super::packet::{Packet, ProtocolVersion};

pub fn decode<'a>(_frame: &'a [u8], _version: ProtocolVersion) -> Result<Packet<'a>, DecodeError> {
    todo!()
}
