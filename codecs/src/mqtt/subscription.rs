//! SUBSCRIBE, UNSUBSCRIBE and their acknowledgements: lists that stay in the frame and are walked by iterators.
//!
//! The lists were checked when the packet was decoded, so the iterators have no error to report. They check again
//! while they walk (that costs less than it would to prove an `unsafe` shortcut right) and simply end if that fails.

use super::packet::{PacketId, ProtocolVersion, QoS};
use super::properties::Properties;
use super::reader::Reader;
use super::reason::ReasonCode;

/// When retained messages are sent to a new subscription (5.0; in 3.1.1 always `AtSubscribe`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    AtSubscribe = 0,
    AtSubscribeIfNew = 1,
    Never = 2,
}

impl RetainHandling {
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtSubscribe),
            1 => Some(Self::AtSubscribeIfNew),
            2 => Some(Self::Never),
            _ => None,
        }
    }
}

/// The options byte that follows each filter of a SUBSCRIBE. 3.1.1 has the QoS only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// What a 3.1.1 subscription means in the words of 5.0.
    pub const fn plain(qos: QoS) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::AtSubscribe,
        }
    }

    /// The options of a byte whose reserved bits, QoS and retain handling are legal in 5.0.
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        if byte & 0b1100_0000 != 0 {
            return None;
        }
        let (Some(qos), Some(retain_handling)) =
            (QoS::from_bits(byte & 0b11), RetainHandling::from_bits(byte >> 4 & 0b11))
        else {
            return None;
        };
        Some(Self {
            qos,
            no_local: byte & 0b0100 != 0,
            retain_as_published: byte & 0b1000 != 0,
            retain_handling,
        })
    }

    pub(super) const fn to_byte(self, version: ProtocolVersion) -> u8 {
        match version {
            ProtocolVersion::V3_1_1 => self.qos.bits(),
            ProtocolVersion::V5 => {
                self.qos.bits()
                    | (self.no_local as u8) << 2
                    | (self.retain_as_published as u8) << 3
                    | (self.retain_handling as u8) << 4
            }
        }
    }
}

/// One line of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subscription<'a> {
    pub filter: &'a str,
    pub options: SubscriptionOptions,
}

/// SUBSCRIBE: at least one subscription, every filter valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    pub packet_id: PacketId,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    pub(super) list: &'a [u8],
}

impl<'a> Subscribe<'a> {
    pub fn subscriptions(&self) -> SubscriptionIter<'a> {
        SubscriptionIter { reader: Reader::new(self.list) }
    }
}

/// The subscriptions of a SUBSCRIBE, in order.
#[derive(Debug, Clone)]
pub struct SubscriptionIter<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for SubscriptionIter<'a> {
    type Item = Subscription<'a>;

    fn next(&mut self) -> Option<Subscription<'a>> {
        let filter = std::str::from_utf8(self.reader.binary()?).ok()?;
        let options = SubscriptionOptions::from_byte(self.reader.u8()?)?;
        Some(Subscription { filter, options })
    }
}

/// UNSUBSCRIBE: at least one filter, every one valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    pub packet_id: PacketId,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    pub(super) list: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    pub fn filters(&self) -> FilterIter<'a> {
        FilterIter { reader: Reader::new(self.list) }
    }
}

/// The filters of an UNSUBSCRIBE, in order.
#[derive(Debug, Clone)]
pub struct FilterIter<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for FilterIter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.reader.binary()?).ok()
    }
}

/// SUBACK: one code per filter of the SUBSCRIBE (`GRANTED_QOS_0` … or a failure; 3.1.1 knows only
/// `UNSPECIFIED_ERROR` as failure).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubAck<'a> {
    pub packet_id: PacketId,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    pub(super) codes: &'a [u8],
}

impl<'a> SubAck<'a> {
    pub fn reason_codes(&self) -> ReasonCodeIter<'a> {
        ReasonCodeIter { codes: self.codes.iter() }
    }
}

/// UNSUBACK: one code per filter in 5.0, none in 3.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    pub packet_id: PacketId,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    pub(super) codes: &'a [u8],
}

impl<'a> UnsubAck<'a> {
    pub fn reason_codes(&self) -> ReasonCodeIter<'a> {
        ReasonCodeIter { codes: self.codes.iter() }
    }
}

/// The reason codes of a SUBACK or UNSUBACK, in order.
#[derive(Debug, Clone)]
pub struct ReasonCodeIter<'a> {
    codes: std::slice::Iter<'a, u8>,
}

impl Iterator for ReasonCodeIter<'_> {
    type Item = ReasonCode;

    fn next(&mut self) -> Option<ReasonCode> {
        self.codes.next().map(|&code| ReasonCode(code))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.codes.size_hint()
    }
}

impl ExactSizeIterator for ReasonCodeIter<'_> {}
