//! Compares late rows with what is stored (design §4.2).
//!
//! Under one key (datastream, time, ordinal), a row whose value, unit and status equal those of *any* stored revision is a
//! duplicate; another one is a correction with the next revision; a row whose key is not stored is inserted. An undated row
//! has no key: it is another reading than whatever has its time already, and gets the next free ordinal there. A stored row
//! is looked at once and not kept: what a key remembers is its highest revision and which late rows it has met.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::StoreError;
use super::files::read_file;
use super::late::LateRow;
use super::memory::Chunk;
use super::row::{KeyBounds, RowSink, Version};
use super::shared::{Shared, Symbols, View};
use crate::observation::{Outcome, OutcomeKind, ResultKind, Row};

/// Rows of one batch, so that its outcomes (24 bytes each) fit in one log frame of 1 MiB.
pub const CLASSIFY_ROWS_MAX: usize = 32_768;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    time_us: i64,
    datastream: u32,
    ordinal: u16,
}

impl Key {
    fn of(row: &Version) -> Self {
        Self { time_us: row.time_us, datastream: row.datastream, ordinal: row.ordinal }
    }
}

/// What makes two rows of one key the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Content {
    key: Key,
    kind: u8,
    bits: u64,
    text: Box<[u8]>,
    unit: u32,
    status: u32,
}

impl Content {
    fn of(row: &Version, text: &[u8]) -> Self {
        let bits = match row.kind() {
            // The two zeros are one value.
            ResultKind::Number if f64::from_bits(row.value) == 0.0 => 0,
            ResultKind::Number | ResultKind::Boolean => row.value,
            ResultKind::Text | ResultKind::Null => 0,
        };
        Self {
            key: Key::of(row),
            kind: row.kind,
            bits,
            text: text.into(),
            unit: row.unit,
            status: row.status,
        }
    }
}

/// Outcomes of a batch of late rows, in the batch's order.
pub(super) fn classify(shared: &Shared, view: &View, batch: &[&LateRow]) -> Result<Vec<Outcome>, StoreError> {
    let mut look_up = LookUp::new(batch);
    look_up.in_memory(&view.chunks);
    look_up.in_files(shared, view)?;
    Ok(batch.iter().map(|late| look_up.settle(late)).collect())
}

struct LookUp {
    /// By time, to find those that a file can have.
    by_time: Vec<(i64, u32)>,
    /// By datastream, to find those that a row group or page can have.
    by_datastream: Vec<(u32, i64)>,
    wanted: HashSet<(u32, i64), RandomState>,
    /// Highest revision of the keys of the batch that are stored.
    revisions: HashMap<Key, Option<u32>, RandomState>,
    /// Contents of the batch; true = stored.
    contents: HashMap<Content, bool, RandomState>,
    /// Highest ordinal at the times (of a datastream) of the batch's undated rows; `None` = nothing is stored there.
    ordinals: HashMap<(u32, i64), Option<u16>, RandomState>,
}

impl LookUp {
    fn new(batch: &[&LateRow]) -> Self {
        let mut by_time: Vec<_> = batch.iter().map(|late| (late.row.time_us, late.row.datastream)).collect();
        by_time.sort_unstable();
        by_time.dedup();
        let mut by_datastream: Vec<_> =
            by_time.iter().map(|(time_us, datastream)| (*datastream, *time_us)).collect();
        by_datastream.sort_unstable();
        Self {
            wanted: by_datastream.iter().copied().collect(),
            by_time,
            by_datastream,
            revisions: batch.iter().map(|late| (Key::of(&late.row), None)).collect(),
            contents: batch.iter().map(|late| (Content::of(&late.row, &late.text), false)).collect(),
            ordinals: batch
                .iter()
                .filter(|late| is_undated(&late.row))
                .map(|late| ((late.row.datastream, late.row.time_us), None))
                .collect(),
        }
    }

    fn in_memory(&mut self, chunks: &[Arc<Chunk>]) {
        for chunk in chunks {
            chunk.give(self);
        }
    }

    fn in_files(&mut self, shared: &Shared, view: &View) -> Result<(), StoreError> {
        let mut symbols = Symbols::new(shared.registry.clone());
        for file in view.files.iter() {
            let bounds = file.bounds();
            let from = self.by_time.partition_point(|(time_us, _)| *time_us < bounds.time_min_us);
            let in_time =
                self.by_time[from..].iter().take_while(|(time_us, _)| *time_us <= bounds.time_max_us);
            let datastreams = bounds.datastream_min..=bounds.datastream_max;
            if in_time.into_iter().any(|(_, datastream)| datastreams.contains(datastream)) {
                let file = (file.file_no, file.path.as_str());
                read_file(&*shared.disk, &shared.footers, &mut symbols, file, self)?;
            }
        }
        Ok(())
    }

    /// To be called in `obs_no` order: each row sees those before it.
    fn settle(&mut self, late: &LateRow) -> Outcome {
        let mut row = late.row;
        if is_undated(&row) {
            row.ordinal = self.free_ordinal(&row);
        }
        let outcome = |kind: OutcomeKind, revision| Outcome {
            obs_no: late.obs_no,
            revision,
            kind: kind as u8,
            zero: 0,
            ordinal: row.ordinal,
            message_no: row.position,
        };
        let known = self.contents.insert(Content::of(&row, &late.text), true);
        if known == Some(true) {
            return outcome(OutcomeKind::Duplicate, 0);
        }
        self.see_ordinal(&row);
        let highest = self.revisions.entry(Key::of(&row)).or_default();
        match *highest {
            Some(revision) => {
                *highest = Some(revision + 1);
                outcome(OutcomeKind::Corrected, revision + 1)
            }
            None => {
                *highest = Some(0);
                outcome(OutcomeKind::Inserted, 0)
            }
        }
    }

    /// The first ordinal behind all that are taken. (Were all 65,536 taken, it would be a revision of the last.)
    fn free_ordinal(&self, row: &Version) -> u16 {
        let highest = self.ordinals.get(&(row.datastream, row.time_us)).copied().flatten();
        highest.map_or(0, |highest| highest.saturating_add(1))
    }

    fn see_ordinal(&mut self, row: &Version) {
        if let Some(highest) = self.ordinals.get_mut(&(row.datastream, row.time_us)) {
            *highest = (*highest).max(Some(row.ordinal));
        }
    }
}

fn is_undated(row: &Version) -> bool {
    row.flags & Row::FLAG_UNDATED != 0
}

impl RowSink for LookUp {
    fn may_match(&self, bounds: &KeyBounds) -> bool {
        let from = (bounds.datastream_min, bounds.time_min_us);
        let start = self.by_datastream.partition_point(|key| *key < from);
        let mut keys = self.by_datastream[start..].iter();
        let mut keys_within =
            keys.by_ref().take_while(|(datastream, _)| *datastream <= bounds.datastream_max);
        keys_within.any(|(_, time_us)| (bounds.time_min_us..=bounds.time_max_us).contains(time_us))
    }

    fn matches(&mut self, datastream: u32, time_us: i64) -> bool {
        self.wanted.contains(&(datastream, time_us))
    }

    fn take(&mut self, row: &Version, text: &[u8]) {
        self.see_ordinal(row);
        let Some(highest) = self.revisions.get_mut(&Key::of(row)) else { return };
        *highest = Some(highest.map_or(row.revision, |highest| highest.max(row.revision)));
        if let Some(stored) = self.contents.get_mut(&Content::of(row, text)) {
            *stored = true;
        }
    }
}
