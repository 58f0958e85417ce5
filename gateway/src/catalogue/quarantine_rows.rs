//! Quarantined payloads as they are kept: one entry per cause, under the message's position.

use std::sync::Arc;

use codecs::mqtt::topic::filter_matches;
use serde::Serialize;

/// The most entries that one list gives.
pub const QUARANTINE_LIST_MAX: usize = 10_000;

/// What one entry takes beside its texts and its payload, for the budget.
const ENTRY_BYTES: u64 = 96;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuarantineEntry {
    /// `message_no`.
    pub position: u64,
    /// 0, 1, … where one message has several entries.
    pub ordinal: u32,
    pub receive_time_us: i64,
    /// Byte offset in the payload where it went wrong.
    pub offset: u32,
    /// Readings affected; 0 = the message could not be read at all.
    pub readings: u16,
    pub reason: String,
    pub sentence: String,
    pub topic: String,
    pub client: String,
    /// Code of the agency; empty = none.
    pub agency: String,
    pub payload_bytes: u32,
}

impl QuarantineEntry {
    /// What counts against `quarantine.client_bytes_max` and `quarantine.bytes_max`.
    pub fn bytes(&self) -> u64 {
        let texts = self.reason.len()
            + self.sentence.len()
            + self.topic.len()
            + self.client.len()
            + self.agency.len();
        ENTRY_BYTES + texts as u64 + u64::from(self.payload_bytes)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineItem {
    pub entry: QuarantineEntry,
    pub payload: Vec<u8>,
}

/// `None` = any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineFilter {
    pub reason: Option<String>,
    pub client: Option<String>,
    pub agency: Option<String>,
    /// An MQTT topic filter.
    pub topic: Option<String>,
    /// Receive time, µs since 1970 UTC: `from_us .. to_us`.
    pub from_us: Option<i64>,
    pub to_us: Option<i64>,
    /// Entries older than this one only: its position and ordinal.
    pub before: Option<(u64, u32)>,
    /// Never more than [`QUARANTINE_LIST_MAX`].
    pub limit: usize,
}

impl Default for QuarantineFilter {
    fn default() -> Self {
        Self {
            reason: None,
            client: None,
            agency: None,
            topic: None,
            from_us: None,
            to_us: None,
            before: None,
            limit: 100,
        }
    }
}

impl QuarantineFilter {
    pub fn includes(&self, entry: &QuarantineEntry) -> bool {
        let equal = |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted == text);
        equal(&self.reason, &entry.reason)
            && equal(&self.client, &entry.client)
            && equal(&self.agency, &entry.agency)
            && self.from_us.is_none_or(|from| entry.receive_time_us >= from)
            && self.to_us.is_none_or(|to| entry.receive_time_us < to)
            && self.before.is_none_or(|before| (entry.position, entry.ordinal) < before)
            && self.includes_topic(&entry.topic)
    }

    pub fn includes_topic(&self, topic: &str) -> bool {
        self.topic.as_ref().is_none_or(|filter| filter == topic || filter_matches(filter, topic))
    }

    pub fn limit(&self) -> usize {
        self.limit.min(QUARANTINE_LIST_MAX)
    }
}

/// What is kept, and what earlier builds pushed out to keep their budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QuarantineTotals {
    pub entries: u64,
    pub bytes: u64,
    pub dropped_entries: u64,
    pub dropped_bytes: u64,
}

/// New entries, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantineDelta {
    pub items: Vec<Arc<QuarantineItem>>,
}
