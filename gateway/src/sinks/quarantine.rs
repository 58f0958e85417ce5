//! Quarantine as a destination: what could not be decoded, with what came, its reason and its position (design P2).
//!
//! Entries wait in memory until the next commit and then lie in the catalogue, in the transaction that moves the
//! checkpoint: each frame's entries are there exactly once. Lists see both. Memory is bounded by
//! [`PENDING_BYTES_MAX`] and one frame, if the caller commits when [`Quarantine::wants_commit`] says so; the catalogue
//! by [`QuarantineQuota`]: what would go beyond is refused before it is acknowledged, and nothing here is ever dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::catalogue::{
    CatalogueError, Checkpoint, History, QUARANTINE_LIST_MAX, QuarantineChange, QuarantineDelta,
    QuarantineEntry, QuarantineFilter, QuarantineItem, QuarantineOrder, QuarantinePage, QuarantineWalk,
    RemainingEntry,
};
use crate::observation::{MessageEntry, MessageOutcome, ObservationFrame, Quarantined, Settled, Settlement};
use crate::quarantine_quota::QuarantineQuota;
use crate::record::BookedEntry;
use crate::registry::Registry;

/// With more than this in memory it is time for a commit.
pub const PENDING_BYTES_MAX: u64 = 8 << 20;

/// Entries, and bytes of payloads, that an export reads at once.
const EXPORTED_AT_ONCE: usize = 256;
const EXPORTED_BYTES_AT_ONCE: usize = 1 << 20;
/// A change of an entry that waits for its commit, its reason and sentence included, generously.
const CHANGE_BYTES: u64 = 1024;

#[derive(Debug)]
pub struct Quarantine {
    quota: Arc<QuarantineQuota>,
    /// The last frame taken in.
    frame_no: u64,
    /// In the order of their positions.
    pending: VecDeque<Arc<QuarantineItem>>,
    pending_bytes: u64,
    /// What settlements do to entries, in order.
    changes: Vec<QuarantineChange>,
}

impl Quarantine {
    /// `quota` knows what the catalogue holds up to the checkpoint.
    pub fn new(quota: Arc<QuarantineQuota>, checkpoint: &Checkpoint) -> Self {
        Self {
            quota,
            frame_no: checkpoint.observation_frame_no,
            pending: VecDeque::new(),
            pending_bytes: 0,
            changes: Vec::new(),
        }
    }

    /// Takes a frame's entries. Frames come in order; those that are in already are passed over. `registry` knows the
    /// agencies of the frame.
    pub fn apply(&mut self, frame: &ObservationFrame, registry: &Registry) {
        if frame.frame_no <= self.frame_no {
            return;
        }
        let (mut position, mut ordinal) = (0, 0);
        // Both lie in the order of the positions, replayed messages aside.
        let mut messages = frame.messages.iter().filter(|message| !message.is_replayed()).peekable();
        for quarantined in &frame.quarantined {
            ordinal = if quarantined.message_no == position { ordinal + 1 } else { 0 };
            position = quarantined.message_no;
            while messages.next_if(|message| message.message_no < position).is_some() {}
            let message = messages.peek().copied().filter(|message| message.message_no == position);
            let item = item(quarantined, ordinal, message, registry);
            self.pending_bytes += item.entry.bytes();
            self.quota.add(&item.entry.client, item.entry.bytes());
            self.pending.push_back(Arc::new(item));
        }
        for settlement in &frame.settlements {
            let change = change(settlement);
            let BookedEntry { bytes, text_bytes, .. } = settlement.entry;
            match &change.remaining {
                None => self.quota.release(&settlement.client, u64::from(bytes)),
                // Only what is said of it is longer or shorter now.
                Some(RemainingEntry { remaining, .. }) => {
                    self.quota
                        .add(&settlement.client, (remaining.reason.len() + remaining.sentence.len()) as u64);
                    self.quota.release(&settlement.client, u64::from(text_bytes));
                }
            }
            self.pending_bytes += CHANGE_BYTES;
            self.changes.push(change);
        }
        self.frame_no = frame.frame_no;
    }

    /// So much waits in memory that the caller should commit before it takes another frame.
    pub fn wants_commit(&self) -> bool {
        self.pending_bytes >= PENDING_BYTES_MAX
    }

    pub fn quota(&self) -> &QuarantineQuota {
        &self.quota
    }

    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// What the next commit has to add. One delta at a time; one whose commit failed is just dropped.
    pub fn delta(&self) -> QuarantineDelta {
        QuarantineDelta { items: self.pending.iter().cloned().collect(), changes: self.changes.clone() }
    }

    /// The delta's commit is durable.
    pub fn committed(&mut self, delta: &QuarantineDelta) {
        for item in self.pending.drain(..delta.items.len().min(self.pending.len())) {
            self.pending_bytes -= item.entry.bytes();
        }
        let changes = self.changes.drain(..delta.changes.len().min(self.changes.len()));
        self.pending_bytes -= changes.len() as u64 * CHANGE_BYTES;
    }

    /// What is in memory; [`QuarantineListing`] adds what is committed and needs no lock on this.
    pub fn list(&self, filter: &QuarantineFilter) -> QuarantineListing {
        let mut entries: Vec<QuarantineEntry> = Vec::new();
        for item in self.pending.iter().rev() {
            if entries.len() >= filter.limit() {
                break;
            }
            entries.extend(self.now(&item.entry).filter(|entry| filter.includes(entry)));
        }
        QuarantineListing { filter: filter.clone(), entries, changes: self.changes.clone() }
    }

    /// All entries of one message; [`QuarantineShowing::complete`] looks into the catalogue where there is none in memory.
    pub fn show(&self, position: u64) -> QuarantineShowing {
        let items = self.pending.iter().filter(|item| item.entry.position == position).cloned().collect();
        let changes = self.changes.iter().filter(|change| change.position == position).cloned().collect();
        QuarantineShowing { position, items, changes }
    }

    /// What is in memory; [`QuarantineExport::complete`] has it follow what is committed.
    pub fn export(&self, filter: &QuarantineFilter) -> QuarantineExport {
        let items = self.pending.iter().cloned().collect();
        QuarantineExport { filter: filter.clone(), items, changes: self.changes.clone() }
    }

    /// An entry as settlements left it; `None` = it is gone.
    fn now(&self, entry: &QuarantineEntry) -> Option<QuarantineEntry> {
        changed(entry.clone(), &self.changes)
    }
}

/// A list that lacks what is committed.
#[derive(Clone, Debug)]
pub struct QuarantineListing {
    filter: QuarantineFilter,
    entries: Vec<QuarantineEntry>,
    changes: Vec<QuarantineChange>,
}

impl QuarantineListing {
    /// Newest first, at most [`QuarantineFilter::limit`]. `page` walks through what is committed, a step at a time.
    pub fn complete<E>(
        self,
        mut page: impl FnMut(&QuarantineWalk<'_>) -> Result<QuarantinePage, E>,
    ) -> Result<Vec<QuarantineEntry>, E> {
        let Self { filter, mut entries, changes } = self;
        // What was in memory may have been committed meanwhile, and everything else committed by then is older.
        let oldest = entries.last().map(|entry| (entry.position, entry.ordinal));
        let older =
            |entry: &QuarantineEntry| oldest.is_none_or(|oldest| (entry.position, entry.ordinal) < oldest);
        let mut walk = QuarantineWalk {
            filter: &filter,
            order: QuarantineOrder::NewestFirst,
            behind: None,
            payloads: false,
            entries_max: QUARANTINE_LIST_MAX,
            looked_at_max: QuarantineWalk::LOOKED_AT_MAX,
            payload_bytes_max: usize::MAX,
        };
        while entries.len() < filter.limit() {
            walk.entries_max = filter.limit() - entries.len();
            let found = page(&walk)?;
            let now = found.items.into_iter().map(|item| item.entry).filter(|entry| older(entry));
            let now = now.filter_map(|entry| changed(entry, &changes));
            entries.extend(now.filter(|entry| filter.includes(entry)));
            let Some(next) = found.next else { break };
            walk.behind = Some(next);
        }
        Ok(entries)
    }
}

/// The entries of one message, if they were in memory.
#[derive(Clone, Debug)]
pub struct QuarantineShowing {
    position: u64,
    items: Vec<Arc<QuarantineItem>>,
    changes: Vec<QuarantineChange>,
}

impl QuarantineShowing {
    /// Empty: nothing of that position is quarantined, or it left.
    pub fn complete(self, history: &mut dyn History) -> Result<Vec<QuarantineItem>, CatalogueError> {
        let mut items: Vec<QuarantineItem> = if self.items.is_empty() {
            history.quarantine_show(self.position)?
        } else {
            self.items.iter().map(|item| item.as_ref().clone()).collect()
        };
        items.retain_mut(|item| change_item(item, &self.changes));
        Ok(items)
    }
}

/// Everything that a filter means, with payloads, oldest first.
#[derive(Clone, Debug)]
pub struct QuarantineExport {
    filter: QuarantineFilter,
    /// What was in memory, as it was.
    items: Vec<Arc<QuarantineItem>>,
    changes: Vec<QuarantineChange>,
}

impl QuarantineExport {
    /// Hands over one entry after the other, in bounded memory. `page` walks through what is committed.
    pub fn complete<E>(
        self,
        mut page: impl FnMut(&QuarantineWalk<'_>) -> Result<QuarantinePage, E>,
        each: &mut dyn FnMut(&QuarantineItem) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut walk = QuarantineWalk {
            filter: &self.filter,
            order: QuarantineOrder::OldestFirst,
            behind: None,
            payloads: true,
            entries_max: EXPORTED_AT_ONCE,
            looked_at_max: QuarantineWalk::LOOKED_AT_MAX,
            payload_bytes_max: EXPORTED_BYTES_AT_ONCE,
        };
        let mut last = None;
        let mut give = |mut item: QuarantineItem| {
            // The catalogue may have been told meanwhile of what was in memory.
            let key = (item.entry.position, item.entry.ordinal);
            if last.is_some_and(|last| key <= last) || !change_item(&mut item, &self.changes) {
                return Ok(());
            }
            last = Some(key);
            if self.filter.includes(&item.entry) { each(&item) } else { Ok(()) }
        };
        loop {
            let QuarantinePage { items, next } = page(&walk)?;
            items.into_iter().try_for_each(&mut give)?;
            let Some(next) = next else { break };
            walk.behind = Some(next);
        }
        self.items.iter().try_for_each(|item| give(item.as_ref().clone()))
    }
}

/// Whether an entry is still there when settlements that are not committed yet are carried out on it.
fn change_item(item: &mut QuarantineItem, changes: &[QuarantineChange]) -> bool {
    let key = (item.entry.position, item.entry.ordinal);
    for change in changes.iter().filter(|change| (change.position, change.ordinal) == key) {
        match &change.remaining {
            Some(remaining) => remaining.change(item),
            None => return false,
        }
    }
    true
}

/// An entry as settlements that are not committed yet left it; `None` = it is gone.
fn changed(mut entry: QuarantineEntry, changes: &[QuarantineChange]) -> Option<QuarantineEntry> {
    let key = (entry.position, entry.ordinal);
    for change in changes.iter().filter(|change| (change.position, change.ordinal) == key) {
        change.remaining.as_ref()?.change_entry(&mut entry);
    }
    Some(entry)
}

fn change(settlement: &Settlement) -> QuarantineChange {
    let BookedEntry { position, ordinal, .. } = settlement.entry;
    let remaining = match &settlement.settled {
        Settled::Replayed { agency, client, station, remaining: Some(remaining), .. } => {
            let settled = settlement.changes_books();
            let booked = BookedEntry {
                readings: remaining.readings,
                outcome: remaining.outcome,
                bytes: 0,
                text_bytes: 0,
                ..settlement.entry
            };
            // Where the books have it by the settlement, they have it under today's names.
            let booked = match settled {
                true => BookedEntry { agency: *agency, client: *client, station: *station, ..booked },
                false => booked,
            };
            Some(RemainingEntry { booked, settled, remaining: remaining.clone() })
        }
        Settled::Replayed { remaining: None, .. } | Settled::Erased => None,
    };
    QuarantineChange { position, ordinal, remaining }
}

fn item(
    quarantined: &Quarantined,
    ordinal: u32,
    message: Option<&MessageEntry>,
    registry: &Registry,
) -> QuarantineItem {
    let agency = message.map_or(0, |message| message.agency);
    let agency = if agency < registry.agency_count() { registry.agency(agency) } else { "" };
    let entry = QuarantineEntry {
        position: quarantined.message_no,
        ordinal,
        receive_time_us: quarantined.receive_time_us,
        offset: quarantined.offset,
        readings: quarantined.readings,
        reason: quarantined.reason.clone(),
        sentence: quarantined.sentence.clone(),
        topic: quarantined.topic.clone(),
        client: quarantined.client.clone(),
        agency: agency.to_owned(),
        payload_bytes: quarantined.payload.len() as u32,
    };
    let booked = BookedEntry {
        position: quarantined.message_no,
        ordinal,
        receive_time_us: quarantined.receive_time_us,
        behind_s: message.map_or(0, |message| message.behind_s),
        agency: message.map_or(0, |message| message.agency),
        client: message.map_or(0, |message| message.client),
        station: message.map_or(0, |message| message.station),
        readings: quarantined.readings,
        outcome: message.map_or(MessageOutcome::Quarantined as u8, |message| message.outcome),
        ..BookedEntry::default()
    };
    QuarantineItem {
        entry,
        booked,
        settled: false,
        flags: quarantined.flags,
        packet_id: quarantined.packet_id,
        properties: quarantined.properties.clone(),
        refused: quarantined.refused.clone(),
        payload: quarantined.payload.clone(),
    }
}
