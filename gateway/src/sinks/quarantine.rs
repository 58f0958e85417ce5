//! Quarantine as a destination: what could not be decoded, with what came, its reason and its position (design P2).
//!
//! Entries wait in memory until the next commit and then lie in the catalogue, in the transaction that moves the
//! checkpoint: each frame's entries are there exactly once. Lists see both. Memory is bounded by
//! [`PENDING_BYTES_MAX`] and one frame, if the caller commits when [`Quarantine::wants_commit`] says so; the catalogue
//! by [`QuarantineQuota`]: what would go beyond is refused before it is acknowledged, and nothing here is ever dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::catalogue::{
    CatalogueError, Checkpoint, History, QuarantineDelta, QuarantineEntry, QuarantineFilter, QuarantineItem,
};
use crate::observation::{ObservationFrame, Quarantined};
use crate::registry::Registry;
use crate::sinks::QuarantineQuota;

/// With more than this in memory it is time for a commit.
pub const PENDING_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug)]
pub struct Quarantine {
    quota: Arc<QuarantineQuota>,
    /// The last frame taken in.
    frame_no: u64,
    /// In the order of their positions.
    pending: VecDeque<Arc<QuarantineItem>>,
    pending_bytes: u64,
}

impl Quarantine {
    /// `quota` knows what the catalogue holds up to the checkpoint.
    pub fn new(quota: Arc<QuarantineQuota>, checkpoint: &Checkpoint) -> Self {
        Self { quota, frame_no: checkpoint.observation_frame_no, pending: VecDeque::new(), pending_bytes: 0 }
    }

    /// Takes a frame's entries. Frames come in order; those that are in already are passed over. `registry` knows the
    /// agencies of the frame.
    pub fn apply(&mut self, frame: &ObservationFrame, registry: &Registry) {
        if frame.frame_no <= self.frame_no {
            return;
        }
        let (mut position, mut ordinal) = (0, 0);
        for quarantined in &frame.quarantined {
            ordinal = if quarantined.message_no == position { ordinal + 1 } else { 0 };
            position = quarantined.message_no;
            let item = QuarantineItem {
                entry: entry(quarantined, ordinal, agency(frame, position, registry)),
                payload: quarantined.payload.clone(),
            };
            self.pending_bytes += item.entry.bytes();
            self.quota.add(&item.entry.client, item.entry.bytes());
            self.pending.push_back(Arc::new(item));
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
        QuarantineDelta { items: self.pending.iter().cloned().collect() }
    }

    /// The delta's commit is durable.
    pub fn committed(&mut self, delta: &QuarantineDelta) {
        for item in self.pending.drain(..delta.items.len().min(self.pending.len())) {
            self.pending_bytes -= item.entry.bytes();
        }
    }

    /// What is in memory; [`QuarantineListing::complete`] adds what is committed and needs no lock on this.
    pub fn list(&self, filter: &QuarantineFilter) -> QuarantineListing {
        let entries = self.pending.iter().rev().map(|item| &item.entry);
        let entries = entries.filter(|entry| filter.includes(entry)).take(filter.limit()).cloned().collect();
        QuarantineListing { filter: filter.clone(), entries }
    }

    /// All entries of one message; [`QuarantineShowing::complete`] looks into the catalogue where there is none in memory.
    pub fn show(&self, position: u64) -> QuarantineShowing {
        let items = self.pending.iter().filter(|item| item.entry.position == position).cloned().collect();
        QuarantineShowing { position, items }
    }
}

/// A list that lacks what is committed.
#[derive(Clone, Debug)]
pub struct QuarantineListing {
    filter: QuarantineFilter,
    entries: Vec<QuarantineEntry>,
}

impl QuarantineListing {
    /// Newest first, at most [`QuarantineFilter::limit`].
    pub fn complete(self, history: &mut dyn History) -> Result<Vec<QuarantineEntry>, CatalogueError> {
        let Self { filter, mut entries } = self;
        // What was in memory may have been committed meanwhile, and everything else committed by then is older.
        let oldest = entries.last().map(|entry| (entry.position, entry.ordinal));
        let committed = history.quarantine_list(&filter)?;
        let older =
            |entry: &QuarantineEntry| oldest.is_none_or(|oldest| (entry.position, entry.ordinal) < oldest);
        entries.extend(committed.into_iter().filter(older));
        entries.truncate(filter.limit());
        Ok(entries)
    }
}

/// The entries of one message, if they were in memory.
#[derive(Clone, Debug)]
pub struct QuarantineShowing {
    position: u64,
    items: Vec<Arc<QuarantineItem>>,
}

impl QuarantineShowing {
    /// Empty: nothing of that position is quarantined.
    pub fn complete(self, history: &mut dyn History) -> Result<Vec<QuarantineItem>, CatalogueError> {
        if self.items.is_empty() {
            history.quarantine_show(self.position)
        } else {
            Ok(self.items.iter().map(|item| item.as_ref().clone()).collect())
        }
    }
}

fn entry(quarantined: &Quarantined, ordinal: u32, agency: &str) -> QuarantineEntry {
    QuarantineEntry {
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
    }
}

fn agency<'a>(frame: &ObservationFrame, message_no: u64, registry: &'a Registry) -> &'a str {
    let found = frame.messages.binary_search_by_key(&message_no, |message| message.message_no);
    let id = found.map_or(0, |index| frame.messages[index].agency);
    if id < registry.agency_count() { registry.agency(id) } else { "" }
}
