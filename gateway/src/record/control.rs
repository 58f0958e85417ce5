//! Control records: what an operator changes goes through the journal, so that it is in force at one place among the messages.
//!
//! A control record has a `record_no` and no `message_no`; the record header's `flags` hold its kind, `user` is zero. Body,
//! little endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | position of the quarantined message |
//! | 8 | 8 | its receive time, µs since 1970 UTC |
//! | 16 | 4 | ordinal of the entry |
//! | 20 | 12 | agency, client and station under which the books have it |
//! | 32 | 2 | readings in quarantine; 0 = the message could not be read at all |
//! | 34 | 1 | outcome of the message in the books: 1 partial, 2 quarantined |
//! | 35 | 1 | flags of its message record |
//! | 36 | 2 | its packet identifier |
//! | 38 | 2 | length of the set of refused readings; erase: of the client's name |
//! | 40 | 4 | bytes of the entry in the quarantine's budget |
//! | 44 | 4 | of these, bytes of its reason and sentence |
//! | 48 | 4 | seconds that the receive time is behind the stamp of the message's frame |
//! | 52 | … | replay: that set (bit *i* = reading *i*; empty = all), then the body of its message record; erase: the client's name |

use serde::{Deserialize, Serialize};

use super::Message;
use crate::log::{Stamp, stamp_us};

/// Kind of a control record in the journal.
pub const KIND_CONTROL: u8 = 2;

const CONTROL_REPLAY: u8 = 1;
const CONTROL_ERASE: u8 = 2;

/// Length of the fixed part of a control record's body.
pub const CONTROL_HEAD_LEN: usize = 52;
/// Longest set of refused readings.
pub const REFUSED_BYTES_MAX: usize = codecs::payload::READINGS_PER_MESSAGE_MAX / 8;

/// An entry of the quarantine as the books have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookedEntry {
    pub position: u64,
    pub ordinal: u32,
    /// Receive time of the message, µs since 1970 UTC.
    pub receive_time_us: i64,
    /// By how much it is behind the stamp of the message's frame, see [`Stamp`].
    pub behind_s: u32,
    /// Numbers of the registry, 0 = none, or those of "(other)".
    pub agency: u32,
    pub client: u32,
    pub station: u32,
    /// Readings in quarantine; 0 = the message could not be read at all.
    pub readings: u16,
    /// [`crate::observation::MessageOutcome`] as u8: partial or quarantined.
    pub outcome: u8,
    /// What it takes of the quarantine's budget, and of that its reason and sentence. 0 where nobody asks.
    pub bytes: u32,
    pub text_bytes: u32,
}

impl BookedEntry {
    /// Of the journal frame of its message: its hour is the book hour.
    pub fn stamp_us(&self) -> i64 {
        stamp_us(self.receive_time_us, self.behind_s)
    }

    /// The message's receive time where that is not later than `now_us`; else one up to a second before. The stamp stays.
    pub fn received_before(&self, now_us: i64) -> Stamp {
        let too_late_us = self.receive_time_us.saturating_sub(now_us).max(0);
        let too_late_s = u32::try_from((too_late_us as u64).div_ceil(1_000_000)).unwrap_or(u32::MAX);
        Stamp { time_us: self.stamp_us(), behind_s: self.behind_s.saturating_add(too_late_s) }
    }
}

/// What an operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// Decode a quarantined message again.
    Replay {
        entry: BookedEntry,
        /// Readings that were refused; empty = all. Those that are not in it are stored already.
        refused: &'a [u8],
        message: Message<'a>,
    },
    /// Take an entry out of the quarantine for good.
    Erase {
        entry: BookedEntry,
        /// Name of the sender.
        client: &'a [u8],
    },
}

impl<'a> Control<'a> {
    /// `flags` of the record header.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Replay { .. } => CONTROL_REPLAY,
            Self::Erase { .. } => CONTROL_ERASE,
        }
    }

    pub fn entry(&self) -> &BookedEntry {
        let (Self::Replay { entry, .. } | Self::Erase { entry, .. }) = self;
        entry
    }

    /// Name of the sender.
    pub fn client(&self) -> &'a [u8] {
        match self {
            Self::Replay { message, .. } => message.client,
            Self::Erase { client, .. } => client,
        }
    }

    /// Calls with the body of the record, in pieces.
    pub fn with_body<T>(&self, take: impl FnOnce(&[&[u8]]) -> T) -> T {
        let head = self.head();
        match self {
            Self::Replay { refused, message, .. } => {
                let message_head = message.head();
                let [agency, client, topic, properties, payload] = message.parts();
                take(&[&head, refused, &message_head, agency, client, topic, properties, payload])
            }
            Self::Erase { client, .. } => take(&[&head, client]),
        }
    }

    /// The fixed part of the body.
    fn head(&self) -> [u8; CONTROL_HEAD_LEN] {
        let entry = self.entry();
        let mut head = [0; CONTROL_HEAD_LEN];
        head[..8].copy_from_slice(&entry.position.to_le_bytes());
        head[8..16].copy_from_slice(&entry.receive_time_us.to_le_bytes());
        for (at, number) in [(16, entry.ordinal), (20, entry.agency), (24, entry.client), (28, entry.station)]
        {
            head[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        head[32..34].copy_from_slice(&entry.readings.to_le_bytes());
        head[34] = entry.outcome;
        let len = match self {
            Self::Replay { refused, message, .. } => {
                head[35] = message.flags();
                head[36..38].copy_from_slice(&message.packet_id.to_le_bytes());
                refused.len()
            }
            Self::Erase { client, .. } => client.len(),
        };
        head[38..40].copy_from_slice(&(len as u16).to_le_bytes());
        head[40..44].copy_from_slice(&entry.bytes.to_le_bytes());
        head[44..48].copy_from_slice(&entry.text_bytes.to_le_bytes());
        head[48..52].copy_from_slice(&entry.behind_s.to_le_bytes());
        head
    }

    /// Reads the body of a record of kind [`KIND_CONTROL`]; `None` when it is none that this build knows.
    pub fn parse(kind: u8, body: &'a [u8]) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<CONTROL_HEAD_LEN>()?;
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let entry = BookedEntry {
            position: u64_at(0),
            receive_time_us: u64_at(8) as i64,
            ordinal: u32_at(16),
            agency: u32_at(20),
            client: u32_at(24),
            station: u32_at(28),
            readings: u16_at(32),
            outcome: head[34],
            bytes: u32_at(40),
            text_bytes: u32_at(44),
            behind_s: u32_at(48),
        };
        let (first, rest) = rest.split_at_checked(usize::from(u16_at(38)))?;
        match kind {
            CONTROL_REPLAY => {
                let message = Message::parse(head[35], u16_at(36), rest)?;
                Some(Self::Replay { entry, refused: first, message })
            }
            CONTROL_ERASE => Some(Self::Erase { entry, client: first }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::QOS_1;
    use codecs::mqtt::ProtocolVersion;

    fn message(payload: &[u8]) -> Message<'_> {
        Message {
            dup: true,
            version: ProtocolVersion::V5,
            mapping_version: 1,
            client: b"station",
            topic: b"obs/H24.05/KHI003",
            properties: &[3, 0, 1, b'x'],
            payload,
            ..Message::of_flags(QOS_1, 513)
        }
    }

    fn body(control: &Control<'_>) -> Vec<u8> {
        control.with_body(|parts| parts.concat())
    }

    #[test]
    fn b1_5_a_control_record_reads_back_as_it_was_written_and_no_cut_one_is_read() {
        let entry = BookedEntry {
            position: u64::MAX - 1,
            ordinal: 2,
            receive_time_us: -5,
            behind_s: u32::MAX - 3,
            agency: 1,
            client: u32::MAX,
            station: 7,
            readings: 3,
            outcome: 1,
            bytes: 4_000,
            text_bytes: 77,
        };
        for control in [
            Control::Replay { entry, refused: &[0b101], message: message(b"{\"readings\":1}") },
            Control::Replay { entry, refused: &[], message: message(b"") },
            Control::Erase { entry, client: b"station" },
        ] {
            let bytes = body(&control);
            assert_eq!(Control::parse(control.kind(), &bytes), Some(control));
            for len in 0..bytes.len() {
                assert_eq!(Control::parse(control.kind(), &bytes[..len]), None, "{len} of {}", bytes.len());
            }
        }
        assert_eq!(
            Control::parse(9, &body(&Control::Erase { entry, client: b"" })),
            None,
            "of a newer build"
        );
    }
}
