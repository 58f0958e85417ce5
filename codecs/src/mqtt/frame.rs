//! Where one packet ends and the next begins: the fixed header.

use super::error::{DecodeError, Rule};
use super::packet::{PacketType, QoS};
use super::reader::{VariableByteInteger, variable_byte_integer};

/// The largest packet the standard allows: first byte, four bytes of Remaining Length, 268,435,455 bytes.
pub const PACKET_SIZE_MAX: usize = 1 + 4 + 268_435_455;

/// The length of the packet that starts `buf`, header included; `Ok(None)` while `buf` does not yet hold all of it.
///
/// `packet_size_max` counts the whole packet. An error comes as soon as the bytes of the fixed header show it, so a
/// packet that is too large is refused before its body is waited for.
#[inline]
pub fn frame_len(buf: &[u8], packet_size_max: usize) -> Result<Option<usize>, DecodeError> {
    let Some((&first_byte, rest)) = buf.split_first() else {
        return Ok(None);
    };
    check_first_byte(first_byte).map_err(DecodeError::versionless)?;
    match variable_byte_integer(rest) {
        VariableByteInteger::Value { value, length, .. } => {
            let frame_len = 1 + length + value as usize;
            if frame_len > packet_size_max {
                return Err(DecodeError::versionless(Rule::PacketTooLarge));
            }
            Ok((frame_len <= buf.len()).then_some(frame_len))
        }
        VariableByteInteger::Incomplete => Ok(None),
        VariableByteInteger::TooLong => Err(DecodeError::versionless(Rule::RemainingLengthTooLong)),
    }
}

/// The packet type of a first byte whose flags are legal.
#[inline]
pub(super) fn check_first_byte(first_byte: u8) -> Result<PacketType, Rule> {
    let packet_type = PacketType::from_first_byte(first_byte).ok_or(Rule::PacketTypeReserved)?;
    if packet_type == PacketType::Publish {
        let flags = PublishFlags::from_byte(first_byte)?;
        if flags.dup && flags.qos == QoS::AtMostOnce {
            return Err(Rule::DupAtQoS0);
        }
    } else if first_byte != packet_type.first_byte() {
        return Err(match packet_type {
            PacketType::PubRel => Rule::PubRelFlags,
            PacketType::Subscribe => Rule::SubscribeFlags,
            PacketType::Unsubscribe => Rule::UnsubscribeFlags,
            PacketType::Disconnect => Rule::DisconnectFlags,
            PacketType::Auth => Rule::AuthFlags,
            _ => Rule::FixedHeaderFlags,
        });
    }
    Ok(packet_type)
}

/// The low half of the first byte of a PUBLISH.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublishFlags {
    pub(super) dup: bool,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

impl PublishFlags {
    #[inline]
    pub(super) fn from_byte(first_byte: u8) -> Result<Self, Rule> {
        let qos = QoS::from_bits(first_byte >> 1 & 0b11).ok_or(Rule::PublishQoS3)?;
        Ok(Self { dup: first_byte & 0b1000 != 0, qos, retain: first_byte & 0b0001 != 0 })
    }

    pub(super) const fn to_first_byte(self) -> u8 {
        PacketType::Publish.first_byte() | (self.dup as u8) << 3 | self.qos.bits() << 1 | self.retain as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_header_and_for_the_body() {
        assert_eq!(frame_len(&[], 100), Ok(None));
        assert_eq!(frame_len(&[0xC0], 100), Ok(None));
        assert_eq!(frame_len(&[0xC0, 0], 100), Ok(Some(2)));
        assert_eq!(frame_len(&[0xC0, 0, 0x30], 100), Ok(Some(2)));
        assert_eq!(frame_len(&[0x30, 3, 0, 1], 100), Ok(None));
        assert_eq!(frame_len(&[0x30, 0x80], 1000), Ok(None));
        assert_eq!(frame_len(&[0x30, 0xFF, 0xFF, 0xFF], PACKET_SIZE_MAX), Ok(None));
        assert_eq!(frame_len(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], PACKET_SIZE_MAX), Ok(None));
    }

    #[test]
    fn refuses_at_the_first_byte_that_shows_it() {
        let rule =
            |bytes: &[u8], packet_size_max| frame_len(bytes, packet_size_max).map_err(|error| error.rule());
        assert_eq!(rule(&[0x00], 100), Err(Rule::PacketTypeReserved));
        assert_eq!(rule(&[0xC1], 100), Err(Rule::FixedHeaderFlags));
        assert_eq!(rule(&[0x36], 100), Err(Rule::PublishQoS3));
        assert_eq!(rule(&[0x38], 100), Err(Rule::DupAtQoS0));
        assert_eq!(rule(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], PACKET_SIZE_MAX), Err(Rule::RemainingLengthTooLong));
        assert_eq!(rule(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 1 << 20), Err(Rule::PacketTooLarge));
    }

    #[test]
    fn the_limit_counts_the_whole_packet() {
        assert_eq!(frame_len(&[0x30, 98], 100), Ok(None));
        assert_eq!(frame_len(&[0x30, 99], 100).map_err(|error| error.rule()), Err(Rule::PacketTooLarge));
    }
}
