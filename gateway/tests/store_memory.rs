//! A1-6: a month of data in the store leaves memory bounded.
//!
//! A counting allocator sees what the process really holds while 2,000 datastreams × 30 days at one reading per 10 minutes
//! (8.64 million rows) go through the store, with re-sends and corrections of rows from anywhere in the month, and while
//! all of it is scanned. The store may hold what is unflushed, what one flush or one scan works on, and the footers that it
//! remembers: none of that grows with the month.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use gateway::disk::OsDisk;
use gateway::metrics::Metrics;
use gateway::observation::{
    Classification, Definition, MessageEntry, ObservationFrame, Outcome, OutcomeKind, ResultKind, Row,
};
use gateway::registry::Registry;
use gateway::store::{Query, Store, StoreConfig, StoreCursor, StoredValue};

const DATASTREAMS: u32 = 2_000;
const STEPS: u32 = 30 * 24 * 6;
const STEP_US: i64 = 600_000_000;
const START_US: i64 = 1_793_000_000_000_000;
/// Every so many steps, this many rows come again from earlier steps; every tenth of them with another value.
const RESEND_EVERY: u32 = 48;
const RESENDS: u32 = 200;

/// What the heap may hold above what it held before, at any moment. A set of the keys alone (16 bytes each, without any
/// overhead) would need 138 MB, the rows 553 MB.
const HEAP_BYTES_MAX: usize = 32 << 20;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator unchanged; only the sizes are added up beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.apply(&Definition::Agency { id: 1, code: "H24.05".into() });
    registry.apply(&Definition::Symbol { id: 1, text: "ug/m3".into() });
    for id in 0..DATASTREAMS {
        registry.apply(&Definition::Station { id: id + 1, agency: 1, code: format!("KHI{id:05}") });
        let property = "pm2_5".to_owned();
        let domain = "environment".to_owned();
        registry.apply(&Definition::Datastream {
            id,
            station: id + 1,
            property,
            period_s: 0,
            domain,
            unit: 1,
        });
    }
    registry
}

fn value(step: u32, datastream: u32) -> f64 {
    f64::from((step * 7 + datastream * 13) % 500) / 10.0
}

struct Log {
    store: Store,
    frame_no: u64,
    obs_no: u64,
}

impl Log {
    fn frame(
        &mut self,
        rows: impl Iterator<Item = (u32, u32, f64)>,
        classification: Classification,
        outcomes: Vec<Outcome>,
    ) {
        let mut frame = ObservationFrame {
            frame_no: self.frame_no,
            first_obs_no: self.obs_no,
            outcomes,
            ..ObservationFrame::default()
        };
        for (step, datastream, value) in rows {
            let message = frame.rows.len() as u32;
            frame.messages.push(MessageEntry {
                message_no: self.obs_no,
                receive_time_us: START_US + i64::from(step) * STEP_US + 250_000,
                client: 1,
                agency: 1,
                station: datastream + 1,
                row_count: 1,
                quarantined_readings: 0,
                outcome: 0,
                unkeyed: 0,
                replayed: 0,
                zero: 0,
                behind_s: 0,
            });
            frame.rows.push(Row {
                time_us: START_US + i64::from(step) * STEP_US,
                value: value.to_bits(),
                seq_plus_1: u64::from(step) + 1,
                message,
                datastream,
                status: 0,
                unit: 1,
                ordinal: 0,
                kind: ResultKind::Number as u8,
                quality: 2,
                classification: classification as u8,
                flags: 0,
                rank: 0,
                zero: 0,
            });
            self.obs_no += 1;
        }
        self.frame_no += 1;
        self.store.apply(&Arc::new(frame)).unwrap();
    }

    /// Flushes when it is due, as the gateway would, with a catalogue that never fails.
    fn flush(&mut self, force: bool) -> u64 {
        let Some(flush) = self.store.flush(0, force).unwrap() else { return 0 };
        let files = flush.files_added.len() as u64;
        self.store.committed(flush);
        files
    }
}

#[test]
fn a1_6_a_month_of_data_leaves_memory_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::open(Path::new(directory.path())).unwrap());
    let config = StoreConfig {
        flush_rows_max: 100_000,
        rows_in_memory_max: 200_000,
        scan_rows_max: 65_536,
        ..StoreConfig::default()
    };
    let shared = Arc::new(RwLock::new(registry()));
    let metrics = Arc::new(Metrics::default());
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let store = Store::open(disk, config, Vec::new(), StoreCursor::default(), shared, metrics).unwrap();
    let mut log = Log { store, frame_no: 0, obs_no: 0 };

    let (mut files, mut corrected) = (0, 0);
    for step in 0..STEPS {
        let rows = (0..DATASTREAMS).map(|datastream| (step, datastream, value(step, datastream)));
        log.frame(rows, Classification::Inserted, Vec::new());
        if step % RESEND_EVERY == RESEND_EVERY - 1 {
            // A stride that is prime to both spreads the re-sends over datastreams and all of the month so far; a cell is
            // hit once.
            let rows = (0..RESENDS).map(|at| {
                let cell = u64::from(step / RESEND_EVERY * RESENDS + at) * 7_919;
                let datastream = (cell % u64::from(DATASTREAMS)) as u32;
                let earlier = (cell / u64::from(DATASTREAMS) % u64::from(step + 1)) as u32;
                let change = if at % 10 == 0 { 1_000.0 + f64::from(step) } else { 0.0 };
                (earlier, datastream, value(earlier, datastream) + change)
            });
            let rows: Vec<_> = rows.collect();
            log.frame(rows.into_iter(), Classification::Unresolved, Vec::new());
            let outcomes = log.store.classify_due(0, true).unwrap().unwrap();
            for (at, outcome) in outcomes.iter().enumerate() {
                let expected = if at % 10 == 0 { OutcomeKind::Corrected } else { OutcomeKind::Duplicate };
                assert_eq!(outcome.outcome_kind(), expected, "re-send {at} after step {step}");
                corrected += u64::from(expected == OutcomeKind::Corrected);
            }
            log.frame(std::iter::empty(), Classification::Inserted, outcomes);
        }
        files += log.flush(false);
    }
    files += log.flush(true);
    let rows = u64::from(STEPS) * u64::from(DATASTREAMS);
    let counts = log.store.reader().counts();
    assert_eq!((counts.rows_in_files, counts.files), (rows + corrected, files));
    let peak_of_writing = PEAK.load(Ordering::Relaxed) - before;

    let mut seen = 0u64;
    for row in log.store.reader().scan(&Query::default()) {
        let row = row.unwrap();
        let (step, datastream) = (seen / u64::from(DATASTREAMS), seen % u64::from(DATASTREAMS));
        assert_eq!((row.time_us, row.datastream), (START_US + step as i64 * STEP_US, datastream as u32));
        let original = value(step as u32, datastream as u32);
        assert!(row.revision > 0 || row.value == StoredValue::Number(original), "{row:?}");
        seen += 1;
    }
    assert_eq!(seen, rows);
    let peak = PEAK.load(Ordering::Relaxed) - before;
    println!(
        "{rows} rows, {files} files: {peak_of_writing} bytes at most while writing, {peak} with the scan"
    );
    assert!(peak > 6_400_000, "the allocator does not count: {peak} bytes are less than the unflushed rows");
    assert!(peak <= HEAP_BYTES_MAX, "{peak} bytes were held at once");
}
