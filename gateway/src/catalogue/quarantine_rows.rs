//! Quarantined payloads as they are kept: one entry per cause, under the message's position.

use std::sync::Arc;

use codecs::mqtt::topic::filter_matches;
use serde::Serialize;

use crate::cancel::Cancel;
use crate::observation::Remaining;
use crate::record::BookedEntry;

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

/// An entry with what a replay needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineItem {
    pub entry: QuarantineEntry,
    /// Under which numbers and as which outcome the books have the message.
    pub booked: BookedEntry,
    /// The books have it by a settlement: it was replayed before, and a part is left.
    pub settled: bool,
    /// As in the message record.
    pub flags: u8,
    pub packet_id: u16,
    pub properties: Vec<u8>,
    /// The readings that were refused: bit *i* = reading *i*; empty = all.
    pub refused: Vec<u8>,
    /// Empty in lists.
    pub payload: Vec<u8>,
}

/// What a settlement does to an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineChange {
    pub position: u64,
    pub ordinal: u32,
    /// Where it stays: what it is from now on. Texts that a replay does not change stand as before.
    pub remaining: Option<RemainingEntry>,
}

/// The part of an entry that a replay changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemainingEntry {
    pub booked: BookedEntry,
    /// See [`QuarantineItem::settled`].
    pub settled: bool,
    pub remaining: Remaining,
}

impl RemainingEntry {
    /// Puts it into the entry.
    pub fn change(&self, item: &mut QuarantineItem) {
        self.change_entry(&mut item.entry);
        item.booked = self.booked;
        item.settled |= self.settled;
        item.refused.clone_from(&self.remaining.refused);
    }

    pub fn change_entry(&self, entry: &mut QuarantineEntry) {
        entry.offset = self.remaining.offset;
        entry.readings = self.remaining.readings;
        entry.reason.clone_from(&self.remaining.reason);
        entry.sentence.clone_from(&self.remaining.sentence);
    }
}

/// From which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuarantineOrder {
    NewestFirst,
    OldestFirst,
}

/// Where a walk through the quarantine goes on, and how far this step may go.
#[derive(Clone, Copy, Debug)]
pub struct QuarantineWalk<'a> {
    pub filter: &'a QuarantineFilter,
    pub order: QuarantineOrder,
    /// Entries behind this one, in the order of the walk; beside [`QuarantineFilter::before`].
    pub behind: Option<(u64, u32)>,
    /// With payloads, properties and sets of readings?
    pub payloads: bool,
    /// Most entries that are given.
    pub entries_max: usize,
    /// Most entries that are looked at; so long is the catalogue's reader held.
    pub looked_at_max: usize,
    /// No further entry once payloads came to this.
    pub payload_bytes_max: usize,
}

impl QuarantineWalk<'_> {
    /// Entries that one step looks at: so long a reader of the catalogue is held.
    pub const LOOKED_AT_MAX: usize = 2_000;
}

/// A piece of the quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantinePage {
    pub items: Vec<QuarantineItem>,
    /// Where the next step goes on; `None` = that was the end.
    pub next: Option<(u64, u32)>,
}

impl QuarantineWalk<'_> {
    /// Takes entries in order until a bound is reached; `payload` completes those that are meant.
    pub(super) fn collect<E>(
        &self,
        mut next: impl FnMut() -> Result<Option<QuarantineItem>, E>,
        mut payload: impl FnMut(&mut QuarantineItem) -> Result<(), E>,
    ) -> Result<QuarantinePage, E> {
        let mut page = QuarantinePage::default();
        let (mut looked_at, mut bytes) = (0, 0);
        while let Some(mut item) = next()? {
            let key = (item.entry.position, item.entry.ordinal);
            looked_at += 1;
            if self.is_over(&item) {
                return Ok(page);
            }
            if self.filter.includes(&item.entry) {
                payload(&mut item)?;
                bytes += item.payload.len();
                page.items.push(item);
            }
            if page.items.len() >= self.entries_max
                || looked_at >= self.looked_at_max
                || bytes >= self.payload_bytes_max
            {
                page.next = Some(key);
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// Nothing behind this entry can be meant: stamps never go back, and no receive time is later than its stamp. It may be
    /// earlier, so that a later entry may lie before the end of the time that is asked for.
    fn is_over(&self, item: &QuarantineItem) -> bool {
        let filter = self.filter;
        let position = item.entry.position;
        match self.order {
            QuarantineOrder::NewestFirst => {
                filter.from_us.is_some_and(|from_us| item.booked.stamp_us() < from_us)
                    || filter.position.is_some_and(|wanted| position < wanted)
            }
            QuarantineOrder::OldestFirst => filter.position.is_some_and(|wanted| position > wanted),
        }
    }
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
    /// Of one message.
    pub position: Option<u64>,
    /// Entries older than this one only: its position and ordinal.
    pub before: Option<(u64, u32)>,
    /// Never more than [`QUARANTINE_LIST_MAX`], and one to know whether there is more.
    pub limit: usize,
    /// Ends a search early.
    pub cancel: Cancel,
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
            position: None,
            before: None,
            limit: 100,
            cancel: Cancel::default(),
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
            && self.position.is_none_or(|position| position == entry.position)
            && self.before.is_none_or(|before| (entry.position, entry.ordinal) < before)
            && self.includes_topic(&entry.topic)
    }

    /// Whether it asks for less than everything.
    pub fn narrows(&self) -> bool {
        self.reason.is_some()
            || self.client.is_some()
            || self.agency.is_some()
            || self.topic.is_some()
            || self.from_us.is_some()
            || self.to_us.is_some()
            || self.position.is_some()
    }

    pub fn includes_topic(&self, topic: &str) -> bool {
        self.topic.as_ref().is_none_or(|filter| filter == topic || filter_matches(filter, topic))
    }

    pub fn limit(&self) -> usize {
        self.limit.min(QUARANTINE_LIST_MAX + 1)
    }
}

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QuarantineTotals {
    pub entries: u64,
    pub bytes: u64,
}

/// New entries, in order, and what settlements do to older ones, carried out behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantineDelta {
    pub items: Vec<Arc<QuarantineItem>>,
    pub changes: Vec<QuarantineChange>,
}
