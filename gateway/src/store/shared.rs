//! What the store and its readers share.

use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::files::FooterCache;
use super::memory::Chunk;
use super::row::{KeyBounds, StoredRow, StoredValue, Version};
use super::scan::{NumberRow, Query, Scan};
use super::{FileEntry, StoreError};
use crate::cancel::Cancel;
use crate::disk::Disk;
use crate::observation::{ResultKind, Row};
use crate::registry::SharedRegistry;
use crate::retention::Retention;

/// What can be read at one moment: chunks in memory and files, each row in exactly one of them.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) files: Arc<Vec<Arc<FileEntry>>>,
    pub(super) counts: StoreCounts,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) registry: SharedRegistry,
    pub(super) footers: FooterCache,
    pub(super) scan_rows_max: usize,
    pub(super) retention: Retention,
    pub(super) view: RwLock<View>,
}

impl Shared {
    pub(super) fn view(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Rows in files that a commit names (`flushed` of the outside contract).
    pub rows_in_files: u64,
    pub rows_in_memory: u64,
    pub rows_unresolved: u64,
    pub files: u64,
    pub bytes_in_files: u64,
}

/// Queries the store from any thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct StoreReader {
    pub(super) shared: Arc<Shared>,
}

impl StoreReader {
    /// Rows in the query's order, at most `query.limit` of them.
    pub fn query(&self, query: &Query) -> Result<Vec<StoredRow>, StoreError> {
        self.scan(query).collect()
    }

    /// The same rows one by one, in bounded memory. The scan sees the store as it is now, whatever is flushed meanwhile.
    pub fn scan(&self, query: &Query) -> Scan {
        self.scan_until(query, &Cancel::default())
    }

    /// The same; ends in [`StoreError::Cancelled`] once nobody waits for it.
    pub fn scan_until(&self, query: &Query, cancel: &Cancel) -> Scan {
        Scan::new(self.shared.clone(), query, false, cancel)
    }

    /// The numbers and booleans of the same rows: fewer columns are read, and less is made of them.
    pub fn numbers(
        &self,
        query: &Query,
        cancel: &Cancel,
        each: &mut dyn FnMut(NumberRow),
    ) -> Result<(), StoreError> {
        Scan::new(self.shared.clone(), query, true, cancel).numbers(each)
    }

    /// Has the query more than `limit` rows?
    pub fn has_more_than(&self, query: &Query, limit: usize, cancel: &Cancel) -> Result<bool, StoreError> {
        let query = Query { limit: Some(limit.saturating_add(1)), ..query.clone() };
        Scan::new(self.shared.clone(), &query, true, cancel).has_more_than(limit)
    }

    pub fn counts(&self) -> StoreCounts {
        self.shared.view.read().unwrap_or_else(PoisonError::into_inner).counts
    }
}

impl FileEntry {
    pub(super) fn bounds(&self) -> KeyBounds {
        KeyBounds {
            datastream_min: self.datastream_min,
            datastream_max: self.datastream_max,
            time_min_us: self.time_min_us,
            time_max_us: self.time_max_us,
        }
    }
}

/// Numbers of units and statuses that were read from files: the registry's, and others from the top downwards for texts
/// that the registry does not know (a store that was put beside another catalogue).
#[derive(Debug)]
pub(super) struct Symbols {
    registry: SharedRegistry,
    unknown: Vec<Arc<str>>,
    unknown_ids: HashMap<Arc<str>, u32, RandomState>,
}

impl Symbols {
    pub(super) fn new(registry: SharedRegistry) -> Self {
        Self { registry, unknown: Vec::new(), unknown_ids: HashMap::default() }
    }

    pub(super) fn id(&mut self, text: &[u8]) -> u32 {
        let text = String::from_utf8_lossy(text);
        if let Some(id) = self.registry.read().unwrap_or_else(PoisonError::into_inner).symbol_id(&text) {
            return id;
        }
        if let Some(id) = self.unknown_ids.get(&*text) {
            return *id;
        }
        let id = u32::MAX - self.unknown.len() as u32;
        let text: Arc<str> = text.into();
        self.unknown.push(text.clone());
        self.unknown_ids.insert(text, id);
        id
    }

    /// Whether a text came up that the registry does not know.
    pub(super) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Turns rows into what a query gives, under one lock of the registry.
    pub(super) fn stored_rows<'a>(
        &self,
        rows: impl Iterator<Item = (&'a Version, &'a [u8])>,
    ) -> Vec<StoredRow> {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let symbol = |id: u32| match self.unknown.get((u32::MAX - id) as usize) {
            Some(text) => text.clone(),
            None if id < registry.symbol_count() => registry.symbol(id).clone(),
            None => registry.symbol(0).clone(),
        };
        let stored = rows.map(|(row, text)| StoredRow {
            datastream: row.datastream,
            time_us: row.time_us,
            ordinal: row.ordinal,
            period_s: registry
                .datastreams()
                .get(row.datastream as usize)
                .map_or(0, |datastream| datastream.period_s),
            value: match row.kind() {
                ResultKind::Number => StoredValue::Number(f64::from_bits(row.value)),
                ResultKind::Boolean => StoredValue::Boolean(row.value != 0),
                ResultKind::Text => StoredValue::Text(String::from_utf8_lossy(text).into()),
                ResultKind::Null => StoredValue::Null,
            },
            unit: symbol(row.unit),
            status: symbol(row.status),
            quality: row.quality,
            revision: row.revision,
            seq: row.seq_plus_1.checked_sub(1),
            position: row.position,
            result_time_us: row.result_time_us,
            unit_unknown: row.flags & Row::FLAG_UNIT_UNKNOWN != 0,
            undated: row.is_undated(),
        });
        stored.collect()
    }
}
