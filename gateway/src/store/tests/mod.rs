//! Tests of the store (A1-6): directed ones by concern, and a model.

mod compact;
mod crash;
mod late;
mod model;
mod query;
mod rank;
mod retention;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use super::{Compaction, FileEntry, Query, Store, StoreConfig, StoreCursor, StoredRow, StoredValue};
use crate::disk::Disk;
use crate::metrics::Metrics;
use crate::observation::{
    Classification, Definition, FrameInfo, MessageEntry, ObservationFrame, Outcome, ResultKind, Row, TextSpan,
};
use crate::registry::{Registry, SharedRegistry};

pub(super) const DATASTREAMS: u32 = 6;
pub(super) const SYMBOLS: [&str; 4] = ["", "ug/m3", "m", "00"];

pub(super) fn registry(datastreams: u32) -> SharedRegistry {
    let mut registry = Registry::default();
    registry.apply(&Definition::Agency { id: 1, code: "H24.05".into() });
    registry.apply(&Definition::Station { id: 1, agency: 1, code: "KHI003".into() });
    for (id, text) in (0..).zip(SYMBOLS).skip(1) {
        registry.apply(&Definition::Symbol { id, text: text.into() });
    }
    for id in 0..datastreams {
        let property = format!("property_{id}");
        let period_s = 60 * (id % 2);
        let domain = "environment".into();
        registry.apply(&Definition::Datastream { id, station: 1, property, period_s, domain, unit: 1 });
    }
    Arc::new(RwLock::new(registry))
}

/// Small bounds, so that everything happens soon.
pub(super) fn config() -> StoreConfig {
    StoreConfig {
        flush_interval_ms: 10_000,
        flush_rows_max: 200,
        rows_in_memory_max: 400,
        late_interval_ms: 1_000,
        late_rows_max: 200,
        partition_rows_min: 20,
        scan_rows_max: 4_096,
        compaction_files_min: 2,
        reader_grace_ms: 1,
        ..StoreConfig::default()
    }
}

/// A reading as a test says it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) datastream: u32,
    pub(super) time_us: i64,
    pub(super) ordinal: u16,
    pub(super) value: StoredValue,
    pub(super) unit: u32,
    pub(super) status: u32,
    pub(super) seq: Option<u64>,
}

pub(super) fn reading(datastream: u32, time_us: i64, number: f64) -> Reading {
    let value = StoredValue::Number(number);
    Reading { datastream, time_us, ordinal: 0, value, unit: 1, status: 0, seq: None }
}

/// What survives a crash beside the disk: the observation log and the catalogue.
#[derive(Debug)]
pub(super) struct World {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) registry: SharedRegistry,
    pub(super) config: StoreConfig,
    pub(super) log: Vec<Arc<ObservationFrame>>,
    pub(super) files: Vec<FileEntry>,
    pub(super) cursor: StoreCursor,
    pub(super) next_obs_no: u64,
}

impl World {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            registry: registry(DATASTREAMS),
            config: config(),
            log: Vec::new(),
            files: Vec::new(),
            cursor: StoreCursor::default(),
            next_obs_no: 0,
        }
    }

    /// Opens a store and applies the log, as a start does.
    pub(super) fn start(&self) -> Store {
        let mut store = Store::open(
            self.disk.clone(),
            self.config.clone(),
            self.files.clone(),
            self.cursor,
            self.registry.clone(),
            Arc::new(Metrics::default()),
        )
        .unwrap();
        let from = self.cursor.refold_from_frame.saturating_sub(FIRST_FRAME) as usize;
        for frame in &self.log[from..] {
            store.apply(frame).unwrap();
        }
        store
    }

    /// Appends a frame to the log and applies it.
    pub(super) fn frame(
        &mut self,
        store: &mut Store,
        readings: &[(Reading, Classification)],
        outcomes: &[Outcome],
    ) -> Arc<ObservationFrame> {
        let frame =
            Arc::new(frame(FIRST_FRAME + self.log.len() as u64, self.next_obs_no, readings, outcomes));
        self.next_obs_no += readings.len() as u64;
        self.log.push(frame.clone());
        store.apply(&frame).unwrap();
        frame
    }

    pub(super) fn inserted(&mut self, store: &mut Store, readings: &[Reading]) {
        let rows: Vec<_> =
            readings.iter().map(|reading| (reading.clone(), Classification::Inserted)).collect();
        self.frame(store, &rows, &[]);
    }

    /// Brings late rows, has them classified and applies the outcomes.
    pub(super) fn late(&mut self, store: &mut Store, readings: &[Reading]) -> Vec<Outcome> {
        let rows: Vec<_> =
            readings.iter().map(|reading| (reading.clone(), Classification::Unresolved)).collect();
        self.frame(store, &rows, &[]);
        let outcomes = store.classify_due(0, true).unwrap().unwrap();
        self.frame(store, &[], &outcomes);
        outcomes
    }

    /// Merges files until nothing is worth it; gives how often that was.
    pub(super) fn compact(&mut self, store: &mut Store) -> usize {
        let mut compactor = store.compactor().unwrap();
        let mut times = 0;
        while let Some(compaction) = compactor.step().unwrap() {
            self.exchange(&compaction);
            store.compacted(compaction);
            times += 1;
        }
        times
    }

    /// What the catalogue's transaction does.
    pub(super) fn exchange(&mut self, compaction: &Compaction) {
        self.files.retain(|file| !compaction.files_removed.contains(&file.file_no));
        self.files.extend(compaction.files_added.iter().cloned());
    }

    /// Flushes and commits.
    pub(super) fn flush(&mut self, store: &mut Store) -> u64 {
        let Some(flush) = store.flush(0, true).unwrap() else { return 0 };
        let rows = flush.rows;
        self.files.extend(flush.files_added.iter().cloned());
        self.cursor = flush.cursor;
        store.committed(flush);
        rows
    }
}

/// The log's frames do not start at zero.
pub(super) const FIRST_FRAME: u64 = 7;

/// A frame with one message per row, positions = obs_no + 1,000, received one ms after another.
pub(super) fn frame(
    frame_no: u64,
    first_obs_no: u64,
    readings: &[(Reading, Classification)],
    outcomes: &[Outcome],
) -> ObservationFrame {
    let mut frame = ObservationFrame {
        frame_no,
        first_obs_no,
        info: FrameInfo { time_us: receive_time_us(first_obs_no), ..FrameInfo::default() },
        outcomes: outcomes.to_vec(),
        ..ObservationFrame::default()
    };
    for (obs_no, (reading, classification)) in (first_obs_no..).zip(readings) {
        frame.messages.push(MessageEntry {
            message_no: obs_no + 1_000,
            receive_time_us: receive_time_us(obs_no),
            client: 1,
            agency: 1,
            station: 1,
            row_count: 1,
            quarantined_readings: 0,
            outcome: 0,
            unkeyed: 0,
            replayed: 0,
            zero: 0,
            behind_s: 0,
        });
        let value = match &reading.value {
            StoredValue::Number(number) => number.to_bits(),
            StoredValue::Boolean(boolean) => u64::from(*boolean),
            StoredValue::Text(text) => {
                let offset = frame.texts.len() as u32;
                frame.texts.extend_from_slice(text.as_bytes());
                TextSpan { offset, len: text.len() as u32 }.to_bits()
            }
            StoredValue::Null => 0,
        };
        frame.rows.push(Row {
            time_us: reading.time_us,
            value,
            seq_plus_1: reading.seq.map_or(0, |seq| seq + 1),
            message: (obs_no - first_obs_no) as u32,
            datastream: reading.datastream,
            status: reading.status,
            unit: reading.unit,
            ordinal: reading.ordinal,
            kind: reading.value.kind() as u8,
            quality: if reading.value.kind() == ResultKind::Null { 9 } else { 2 },
            classification: *classification as u8,
            flags: 0,
            rank: 0,
            zero: 0,
        });
    }
    frame
}

pub(super) fn receive_time_us(obs_no: u64) -> i64 {
    1_000 * obs_no as i64
}

/// The row that a query must give for a reading.
pub(super) fn expected(reading: &Reading, obs_no: u64, revision: u32) -> StoredRow {
    StoredRow {
        datastream: reading.datastream,
        time_us: reading.time_us,
        ordinal: reading.ordinal,
        period_s: 60 * (reading.datastream % 2),
        value: reading.value.clone(),
        unit: SYMBOLS[reading.unit as usize].into(),
        status: SYMBOLS[reading.status as usize].into(),
        quality: if reading.value.kind() == ResultKind::Null { 9 } else { 2 },
        revision,
        seq: reading.seq,
        position: obs_no + 1_000,
        result_time_us: receive_time_us(obs_no),
        unit_unknown: false,
        undated: false,
    }
}

/// The dull model of what is stored: every revision under its key (time first, as a scan goes).
pub(super) type Stored = BTreeMap<(i64, u32, u16), Vec<StoredRow>>;

pub(super) fn all_revisions() -> Query {
    Query { revisions: true, ..Query::default() }
}

pub(super) fn query(store: &Store, query: &Query) -> Vec<StoredRow> {
    store.reader().query(query).unwrap()
}
