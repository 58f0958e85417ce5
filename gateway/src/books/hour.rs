//! One open hour in memory.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::catalogue::{BookCounts, BookHour, BookKey, BookRow, HourDigest, OTHER_ID};

#[derive(Debug, Default)]
pub(super) struct Hour {
    pub(super) first_message_no: u64,
    pub(super) next_message_no: u64,
    pub(super) digest: Option<HourDigest>,
    /// The catalogue has something else.
    pub(super) head_changed: bool,
    pub(super) unresolved: u64,
    slots: Vec<Slot>,
    index: HashMap<BookKey, u32, RandomState>,
}

#[derive(Debug)]
struct Slot {
    key: BookKey,
    counts: BookCounts,
    /// The catalogue has something else.
    changed: bool,
}

impl Hour {
    pub(super) fn restored(hour: &BookHour) -> Self {
        Self {
            first_message_no: hour.first_message_no,
            next_message_no: hour.next_message_no,
            digest: hour.digest,
            ..Self::default()
        }
    }

    pub(super) fn restore_row(&mut self, row: &BookRow) {
        let slot = self.insert(row.key);
        self.slots[slot as usize].counts = row.counts;
        self.slots[slot as usize].changed = false;
        self.unresolved += row.counts.unresolved;
    }

    /// The slot of a key, or of "(other)" where the hour has no room for it.
    pub(super) fn slot(&mut self, key: BookKey, keys_max: usize) -> u32 {
        let candidates = [
            key,
            BookKey { station: OTHER_ID, ..key },
            BookKey { agency: key.agency, client: OTHER_ID, station: OTHER_ID },
        ];
        for (round, candidate) in candidates.into_iter().enumerate() {
            if let Some(slot) = self.index.get(&candidate) {
                return *slot;
            }
            if self.slots.len() < keys_max * (round + 1) {
                return self.insert(candidate);
            }
        }
        let other = BookKey { agency: OTHER_ID, client: OTHER_ID, station: OTHER_ID };
        match self.index.get(&other) {
            Some(slot) => *slot,
            None => self.insert(other),
        }
    }

    fn insert(&mut self, key: BookKey) -> u32 {
        let slot = self.slots.len() as u32;
        self.slots.push(Slot { key, counts: BookCounts::default(), changed: true });
        self.index.insert(key, slot);
        slot
    }

    pub(super) fn find(&self, key: &BookKey) -> Option<u32> {
        self.index.get(key).copied()
    }

    pub(super) fn key(&self, slot: u32) -> BookKey {
        self.slots[slot as usize].key
    }

    /// The counts of a slot, to be changed.
    pub(super) fn counts_mut(&mut self, slot: u32) -> &mut BookCounts {
        let slot = &mut self.slots[slot as usize];
        slot.changed = true;
        &mut slot.counts
    }

    pub(super) fn note_messages(&mut self, first_message_no: u64, next_message_no: u64) {
        if self.next_message_no == 0 {
            self.first_message_no = first_message_no;
        }
        self.next_message_no = next_message_no;
        self.head_changed = true;
    }

    pub(super) fn head(&self, hour: i64) -> BookHour {
        BookHour {
            hour,
            first_message_no: self.first_message_no,
            next_message_no: self.next_message_no,
            digest: self.digest,
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&BookKey, &BookCounts)> {
        self.slots.iter().map(|slot| (&slot.key, &slot.counts))
    }

    pub(super) fn changed_rows(&self, hour: i64) -> impl Iterator<Item = BookRow> {
        let changed = self.slots.iter().filter(|slot| slot.changed);
        changed.map(move |slot| BookRow { hour, key: slot.key, counts: slot.counts })
    }

    /// The catalogue has this row now; what was counted meanwhile still has to follow.
    pub(super) fn row_committed(&mut self, row: &BookRow) {
        if let Some(slot) = self.find(&row.key) {
            let slot = &mut self.slots[slot as usize];
            slot.changed = slot.counts != row.counts;
        }
    }
}
