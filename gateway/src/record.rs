//! The journal's records: messages, here, and what operators change ([`Control`]).
//!
//! The message record: a PUBLISH as it came, with what the gateway knew about its sender.
//!
//! Body, little endian, behind the log's generic record header (`docs/format/log.md`); the header's `flags` and `user`
//! carry QoS, DUP, RETAIN, protocol version, whether its connection sent none with a packet identifier before, and that
//! packet identifier:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | door ([`Door`]) |
//! | 1 | 1 | agency length |
//! | 2 | 2 | client length |
//! | 4 | 2 | topic length |
//! | 6 | 2 | zero |
//! | 8 | 4 | properties length |
//! | 12 | 4 | payload length |
//! | 16 | 4 | mapping version |
//! | 20 | … | agency, client, topic, properties, payload, one after the other |
//!
//! The receive time is the frame's; `record_no` and `message_no` follow from the place in the frame.

mod control;

pub use control::{BookedEntry, CONTROL_HEAD_LEN, Control, KIND_CONTROL, REFUSED_BYTES_MAX};

use codecs::mqtt::{ProtocolVersion, QoS};

/// Length of the fixed part of a message record's body.
pub const MESSAGE_HEAD_LEN: usize = 20;

const FLAG_QOS: u8 = 0b0000_0011;
const FLAG_DUP: u8 = 0b0000_0100;
const FLAG_RETAIN: u8 = 0b0000_1000;
const FLAG_V5: u8 = 0b0001_0000;
const FLAG_FIRST: u8 = 0b0010_0000;

/// Flags of a message of QoS 1 and nothing else.
#[cfg(test)]
pub(crate) const QOS_1: u8 = 1;

/// The way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Door {
    Mqtt = 1,
}

/// One message, borrowed from a frame or about to be appended to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub qos: QoS,
    pub dup: bool,
    pub retain: bool,
    pub version: ProtocolVersion,
    pub door: Door,
    /// The first message with a packet identifier on its connection: what follows may be re-sends of an earlier connection,
    /// in their old order [MQTT-4.6.0-1].
    pub first: bool,
    /// Zero at QoS 0.
    pub packet_id: u16,
    pub mapping_version: u32,
    /// Agency of the publisher's credential; empty where it has none (anonymous on loopback).
    pub agency: &'a [u8],
    pub client: &'a [u8],
    pub topic: &'a [u8],
    /// MQTT 5 properties, raw, without their length; what must not be forwarded (topic alias) is already out.
    pub properties: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// `flags` of the record header.
    pub fn flags(&self) -> u8 {
        let mut flags = self.qos as u8;
        if self.dup {
            flags |= FLAG_DUP;
        }
        if self.retain {
            flags |= FLAG_RETAIN;
        }
        if self.version == ProtocolVersion::V5 {
            flags |= FLAG_V5;
        }
        if self.first {
            flags |= FLAG_FIRST;
        }
        flags
    }

    /// The fixed part of the body. The caller has checked that every length fits its field.
    pub fn head(&self) -> [u8; MESSAGE_HEAD_LEN] {
        let mut head = [0; MESSAGE_HEAD_LEN];
        head[0] = self.door as u8;
        head[1] = self.agency.len() as u8;
        head[2..4].copy_from_slice(&(self.client.len() as u16).to_le_bytes());
        head[4..6].copy_from_slice(&(self.topic.len() as u16).to_le_bytes());
        head[8..12].copy_from_slice(&(self.properties.len() as u32).to_le_bytes());
        head[12..16].copy_from_slice(&(self.payload.len() as u32).to_le_bytes());
        head[16..20].copy_from_slice(&self.mapping_version.to_le_bytes());
        head
    }

    /// The variable parts in the order in which they follow the head.
    pub fn parts(&self) -> [&'a [u8]; 5] {
        [self.agency, self.client, self.topic, self.properties, self.payload]
    }

    /// What the record header says of a message, and nothing else.
    pub fn of_flags(flags: u8, packet_id: u16) -> Self {
        Self {
            qos: match flags & FLAG_QOS {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            },
            dup: flags & FLAG_DUP != 0,
            retain: flags & FLAG_RETAIN != 0,
            version: if flags & FLAG_V5 != 0 { ProtocolVersion::V5 } else { ProtocolVersion::V3_1_1 },
            door: Door::Mqtt,
            first: flags & FLAG_FIRST != 0,
            packet_id,
            mapping_version: 0,
            agency: b"",
            client: b"",
            topic: b"",
            properties: b"",
            payload: b"",
        }
    }

    /// Reads a record of kind [`crate::log::KIND_MESSAGE`]; `None` when the lengths do not fit (a checked frame never has that).
    pub fn parse(flags: u8, user: u16, body: &'a [u8]) -> Option<Self> {
        let head = body.get(..MESSAGE_HEAD_LEN)?;
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]) as usize;
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let mut rest = &body[MESSAGE_HEAD_LEN..];
        let mut take = |len: usize| -> Option<&'a [u8]> {
            let (part, tail) = rest.split_at_checked(len)?;
            rest = tail;
            Some(part)
        };
        let agency = take(head[1] as usize)?;
        let client = take(u16_at(2))?;
        let topic = take(u16_at(4))?;
        let properties = take(u32_at(8) as usize)?;
        let payload = take(u32_at(12) as usize)?;
        Some(Self {
            door: match head[0] {
                1 => Door::Mqtt,
                _ => return None,
            },
            mapping_version: u32_at(16),
            agency,
            client,
            topic,
            properties,
            payload,
            ..Self::of_flags(flags, user)
        })
    }
}
