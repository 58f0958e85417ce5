//! Compares late rows with what is stored (design §4.2).
//!
//! Under one key (datastream, time, ordinal), a row whose value, unit and status equal those of *any* stored revision is a
//! duplicate; another one is a correction with the next revision; a row whose key is not stored is inserted. A stored row
//! is looked at once and not kept: what a key remembers is its highest revision and rank, and which late rows it has met.
//!
//! *Lost revisions.* Where an operator gave a file up, a revision may be missing below another one. A row whose content is not
//! stored under its key fills the lowest such place: it is the lost one, sent again, and what came after it stays in force.
//!
//! *Ranks.* A row of a lower rank than the revision in force is a duplicate where its content is known, else outranked: stored
//! nowhere. A row of a higher rank than any revision with its content makes a revision also where that content is known:
//! otherwise a later correction of the lower rank would go over the word of the higher one.
//!
//! *Datastreams that keep all readings of one time* ([`crate::observation::Row::FLAG_SAME_TIME_KEPT`]). A row whose content is stored at its time
//! under any ordinal is a duplicate, unless both have a `seq` and these differ; any other gets the next free ordinal. Ranks
//! decide nothing there: of two values nothing says that they mean the same reading.
//!
//! *Undated rows* have no key: each is another reading than whatever has its time already, and gets the next free ordinal there.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::StoreError;
use super::files::read_file;
use super::late::LateRow;
use super::memory::Chunk;
use super::row::{KeyBounds, RowSink, Version};
use super::shared::{Shared, Symbols, View};
use crate::observation::{Outcome, OutcomeKind, ResultKind};

/// Rows of one batch, so that its outcomes (24 bytes each) fit in one log frame of 1 MiB.
pub const CLASSIFY_ROWS_MAX: usize = 32_768;

/// Ordinals of one datastream and time; further values there become revisions of the last one, which is counted and told.
pub const ORDINALS_MAX: u16 = 4_096;

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
    /// What is stored of the keys of the batch; `None` = nothing.
    revisions: HashMap<Key, Option<InForce>, RandomState>,
    /// Contents of the batch; the highest rank with which each is stored.
    contents: HashMap<Content, Option<u8>, RandomState>,
    /// What is stored at the times of the batch's rows that take a free ordinal.
    shared_times: HashMap<(u32, i64), SharedTime, RandomState>,
}

/// Of one key: the highest rank and the latest revision, see [`Version::precedence`].
#[derive(Clone, Copy, Debug)]
struct InForce {
    rank: u8,
    revision: u32,
    /// The first 64 revisions, a bit each.
    stored: u64,
}

impl InForce {
    /// The lowest revision that is not stored, if a later one is.
    fn lost(&self) -> Option<u32> {
        Some(self.stored.trailing_ones()).filter(|lowest| *lowest < self.revision.min(u64::BITS))
    }
}

/// With which `seq` a content is there.
#[derive(Debug, Default)]
struct Numbers {
    is_without: bool,
    seq_plus_1: HashSet<u64, RandomState>,
}

/// The readings of one datastream and time.
#[derive(Debug, Default)]
struct SharedTime {
    next_ordinal: u16,
    /// Highest revision of the last ordinal.
    last_revision: u32,
    /// By contents, with ordinal 0.
    readings: HashMap<Content, Numbers, RandomState>,
}

impl SharedTime {
    fn knows(&self, content: &Content, seq_plus_1: u64) -> bool {
        let Some(numbers) = self.readings.get(content) else { return false };
        seq_plus_1 == 0 || numbers.is_without || numbers.seq_plus_1.contains(&seq_plus_1)
    }

    fn add(&mut self, row: &Version, content: Content) {
        if row.ordinal >= self.next_ordinal {
            self.next_ordinal = row.ordinal.saturating_add(1);
            self.last_revision = row.revision;
        } else if row.ordinal.saturating_add(1) == self.next_ordinal {
            self.last_revision = self.last_revision.max(row.revision);
        }
        let numbers = self.readings.entry(content).or_default();
        match row.seq_plus_1 {
            0 => numbers.is_without = true,
            seq_plus_1 => {
                numbers.seq_plus_1.insert(seq_plus_1);
            }
        }
    }
}

fn without_ordinal(mut content: Content) -> Content {
    content.key.ordinal = 0;
    content
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
            contents: batch.iter().map(|late| (Content::of(&late.row, &late.text), None)).collect(),
            shared_times: batch
                .iter()
                .filter(|late| late.row.takes_free_ordinal())
                .map(|late| ((late.row.datastream, late.row.time_us), SharedTime::default()))
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
        let (kind, revision, ordinal) = if late.row.takes_free_ordinal() {
            self.settle_free_ordinal(late)
        } else {
            self.settle_revision(late)
        };
        if matches!(kind, OutcomeKind::Inserted | OutcomeKind::Corrected) {
            let ordinal = if late.row.takes_free_ordinal() { ordinal } else { late.row.ordinal };
            self.take(&Version { revision, ordinal, ..late.row }, &late.text);
        }
        Outcome {
            obs_no: late.obs_no,
            revision,
            kind: kind as u8,
            zero: 0,
            ordinal,
            message_no: late.row.position,
        }
    }

    fn settle_revision(&self, late: &LateRow) -> (OutcomeKind, u32, u16) {
        let rank = late.row.rank;
        let known = self.contents.get(&Content::of(&late.row, &late.text)).copied().flatten();
        let in_force = self.revisions.get(&Key::of(&late.row)).copied().flatten();
        if known.is_none()
            && let Some(lost) = in_force.and_then(|in_force| in_force.lost())
        {
            return (OutcomeKind::Corrected, lost, 0);
        }
        match (known, in_force) {
            (Some(as_rank), _) if rank <= as_rank => (OutcomeKind::Duplicate, 0, 0),
            (Some(_), Some(in_force)) if rank < in_force.rank => (OutcomeKind::Duplicate, 0, 0),
            (None, Some(in_force)) if rank < in_force.rank => (OutcomeKind::Outranked, 0, 0),
            (_, Some(in_force)) => (OutcomeKind::Corrected, in_force.revision + 1, 0),
            (_, None) => (OutcomeKind::Inserted, 0, 0),
        }
    }

    fn settle_free_ordinal(&mut self, late: &LateRow) -> (OutcomeKind, u32, u16) {
        let time = self.shared_times.entry((late.row.datastream, late.row.time_us)).or_default();
        if !late.row.is_undated() {
            let content = without_ordinal(Content::of(&late.row, &late.text));
            if time.knows(&content, late.row.seq_plus_1) {
                return (OutcomeKind::Duplicate, 0, 0);
            }
        }
        if time.next_ordinal < ORDINALS_MAX {
            (OutcomeKind::Inserted, 0, time.next_ordinal)
        } else {
            (OutcomeKind::Corrected, time.last_revision + 1, time.next_ordinal - 1)
        }
    }
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
        if !self.shared_times.is_empty()
            && let Some(time) = self.shared_times.get_mut(&(row.datastream, row.time_us))
        {
            time.add(row, without_ordinal(Content::of(row, text)));
        }
        let Some(in_force) = self.revisions.get_mut(&Key::of(row)) else { return };
        let held = in_force.unwrap_or(InForce { rank: row.rank, revision: row.revision, stored: 0 });
        *in_force = Some(InForce {
            rank: held.rank.max(row.rank),
            revision: held.revision.max(row.revision),
            stored: held.stored | 1u64.checked_shl(row.revision).unwrap_or(0),
        });
        if let Some(known) = self.contents.get_mut(&Content::of(row, text)) {
            *known = Some(known.map_or(row.rank, |as_rank| as_rank.max(row.rank)));
        }
    }
}
