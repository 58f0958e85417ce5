//! Why a PUBLISH is not taken, or a message not delivered: reason codes, sentences for clients, labels of metrics.

use std::marker::PhantomData;

use codecs::mqtt::ReasonCode;

use crate::quarantine_quota::QuotaRefusal;

/// Why a client's PUBLISH never reached the journal. 5.0 clients get a PUBACK with reason code and sentence in its turn;
/// 3.1.1 has no such answer, so the connection is closed without PUBACK; at QoS 0 the message is dropped. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishRefusal {
    /// `feed/`, `event/` or `$SYS/`.
    ReservedTopic,
    TopicTooLong,
    /// The client's share of the quarantine is used up.
    QuarantineClient,
    /// The whole quarantine is full, and this client has added to it.
    QuarantineTotal,
    /// The journal is full and so is the room for what waits for it.
    HoldFull,
    /// It waited for room in the journal too long.
    HeldTooLong,
    /// The connection ended while it waited for room in the journal.
    ConnectionEnded,
}

impl PublishRefusal {
    pub const ALL: [Self; 7] = [
        Self::ReservedTopic,
        Self::TopicTooLong,
        Self::QuarantineClient,
        Self::QuarantineTotal,
        Self::HoldFull,
        Self::HeldTooLong,
        Self::ConnectionEnded,
    ];

    pub fn reason(self) -> ReasonCode {
        match self {
            Self::ReservedTopic => ReasonCode::NOT_AUTHORIZED,
            Self::TopicTooLong => ReasonCode::TOPIC_NAME_INVALID,
            Self::QuarantineClient
            | Self::QuarantineTotal
            | Self::HoldFull
            | Self::HeldTooLong
            | Self::ConnectionEnded => ReasonCode::QUOTA_EXCEEDED,
        }
    }

    pub fn sentence(self) -> &'static str {
        match self {
            Self::ReservedTopic => "clients may not publish to feed/, event/ and $SYS/",
            Self::TopicTooLong => "the topic is longer than mqtt.topic_bytes_max",
            Self::QuarantineClient => {
                "this client's share of the quarantine is used up (quarantine.client_bytes_max): correct the payload"
            }
            Self::QuarantineTotal => {
                "the quarantine, to which this client has added, is full (quarantine.bytes_max): correct the payload"
            }
            Self::HoldFull => {
                "the journal is full and so is the room to wait for it (mqtt.hold_bytes_max): send it later"
            }
            Self::HeldTooLong => "the journal has been full for longer than mqtt.hold_ms_max: send it later",
            Self::ConnectionEnded => "the connection ended while the journal was full",
        }
    }

    /// A breach of the topic rules ends a 3.1.1 connection at any QoS.
    pub fn is_of_topic(self) -> bool {
        matches!(self, Self::ReservedTopic | Self::TopicTooLong)
    }

    /// The value of the metrics' label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::ReservedTopic => "reserved_topic",
            Self::TopicTooLong => "topic_too_long",
            Self::QuarantineClient => "quarantine_client",
            Self::QuarantineTotal => "quarantine_total",
            Self::HoldFull => "hold_full",
            Self::HeldTooLong => "held_too_long",
            Self::ConnectionEnded => "connection_ended",
        }
    }
}

impl From<QuotaRefusal> for PublishRefusal {
    fn from(refusal: QuotaRefusal) -> Self {
        match refusal {
            QuotaRefusal::Client => Self::QuarantineClient,
            QuotaRefusal::Total => Self::QuarantineTotal,
        }
    }
}

/// Why a message did not reach a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Larger than the subscriber's Maximum Packet Size.
    TooLarge,
    /// QoS 0 while half of the subscriber's queue is used.
    Slow,
    /// The subscriber's queue was full, for which it was cut off.
    QueueFull,
    /// Its Message Expiry Interval ran out while it waited.
    Expired,
    /// The subscriber had left.
    Left,
}

impl Undelivered {
    pub const ALL: [Self; 5] = [Self::TooLarge, Self::Slow, Self::QueueFull, Self::Expired, Self::Left];

    /// The value of the metrics' label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::Left => "left",
        }
    }
}

/// One of a closed list that a metric counts.
pub trait Reason: Copy + 'static {
    const ALL: &'static [Self];

    /// Its place in [`Self::ALL`].
    fn index(self) -> usize;

    /// The value of the metrics' label `reason`.
    fn label(self) -> &'static str;
}

impl Reason for PublishRefusal {
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        self.label()
    }
}

impl Reason for Undelivered {
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        self.label()
    }
}

/// Counts per reason of one wake-up.
#[derive(Clone, Copy, Debug)]
pub struct ReasonCounts<R, const N: usize>([u64; N], PhantomData<R>);

pub(super) type RefusalCounts = ReasonCounts<PublishRefusal, { PublishRefusal::ALL.len() }>;
pub(super) type UndeliveredCounts = ReasonCounts<Undelivered, { Undelivered::ALL.len() }>;

impl<R, const N: usize> Default for ReasonCounts<R, N> {
    fn default() -> Self {
        Self([0; N], PhantomData)
    }
}

impl<R: Reason, const N: usize> ReasonCounts<R, N> {
    pub fn add(&mut self, reason: R, count: u64) {
        self.0[reason.index()] += count;
    }

    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        R::ALL.iter().map(|reason| reason.label()).zip(self.0).filter(|(_, count)| *count > 0)
    }
}
