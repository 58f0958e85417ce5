//! What goes into a session and comes out of it.

use std::sync::Arc;

use codecs::mqtt::{ProtocolVersion, QoS, ReasonCode};

use super::super::delivery::RouterRequest;
use super::super::limits::MqttLimits;
use super::super::refusal::{RefusalCounts, UndeliveredCounts};
use crate::journal::JournalPort;
use crate::quarantine_quota::QuarantineQuota;

/// What a session needs from its shard while it handles a packet.
#[derive(Debug)]
pub struct Context<'a> {
    pub journal: &'a mut JournalPort,
    pub requests: &'a mut Vec<RouterRequest>,
    pub limits: &'a MqttLimits,
    pub counts: &'a mut Counts,
    pub now_us: u64,
    pub mapping_version: u32,
    pub quota: &'a QuarantineQuota,
    /// Of the quota, read once per wake-up.
    pub quota_version: u64,
}

/// Counted per wake-up, added to the metrics at its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub received: u64,
    /// QoS 1 and 2.
    pub refused: RefusalCounts,
    pub qos0_dropped: RefusalCounts,
    pub sent: u64,
    pub undelivered: UndeliveredCounts,
}

/// What comes after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Next,
    /// The PUBLISH was not taken: hand it in again when the journal has room.
    JournalFull,
    /// The client said goodbye.
    Finished,
}

/// Where a delivery goes.
#[derive(Debug)]
pub struct DeliveryQueue<'a> {
    pub out: &'a mut Vec<u8>,
    /// What may wait, sent and unsent bytes together.
    pub queue_bytes_max: usize,
    pub now_us: u64,
}

/// Why a connection ends by our side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub reason: ReasonCode,
    /// The statement that the client broke, if it did.
    pub statement: &'static str,
    pub sentence: String,
}

impl Close {
    pub fn new(reason: ReasonCode, statement: &'static str, sentence: impl Into<String>) -> Self {
        Self { reason, statement, sentence: sentence.into() }
    }
}

/// A will, kept until the connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub topic: Box<str>,
    pub payload: Box<[u8]>,
    /// What goes with the message (the delay is out).
    pub properties: Box<[u8]>,
    pub qos: QoS,
    pub retain: bool,
}

impl Will {
    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.topic.len() + self.payload.len() + self.properties.len()
    }
}

/// What CONNECT settled.
#[derive(Clone, Debug)]
pub struct SessionParameters {
    pub version: ProtocolVersion,
    pub client: Arc<str>,
    /// 0 = none.
    pub keep_alive_s: u16,
    pub send_window: u16,
    /// The client's Maximum Packet Size.
    pub packet_bytes_max: usize,
    pub session_expiry_s: u32,
    /// The client takes reason strings (5.0, Request Problem Information).
    pub wants_reasons: bool,
    pub will: Option<Will>,
}
