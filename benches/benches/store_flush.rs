//! The store's share: folding observation frames into memory, and writing them into synced Parquet files (A1-6). Figures
//! are per row.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway::disk::OsDisk;
use gateway::metrics::Metrics;
use gateway::observation::{
    Classification, Definition, FrameInfo, MessageEntry, ObservationFrame, Quality, ResultKind, Row,
};
use gateway::registry::Registry;
use gateway::store::{Store, StoreConfig, StoreCursor};

const DATASTREAMS: u32 = 50;
const ROWS_PER_FRAME: u64 = 2_000;
const FRAMES: u64 = 100;
const START_US: i64 = 1_763_683_200_000_000;

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.apply(&Definition::Agency { id: 1, code: "bench".to_owned() });
    registry.apply(&Definition::Client { id: 1, name: "bench".to_owned() });
    registry.apply(&Definition::Symbol { id: 1, text: "ug/m3".to_owned() });
    for id in 0..DATASTREAMS {
        registry.apply(&Definition::Station { id: id + 1, agency: 1, code: format!("station{id}") });
        registry.apply(&Definition::Datastream {
            id,
            station: id + 1,
            property: "pm2_5".to_owned(),
            period_s: 0,
            domain: "environment".to_owned(),
            unit: 1,
        });
    }
    registry
}

/// One message with one reading per row, stations in turn, one row a millisecond.
fn frame(frame_no: u64) -> ObservationFrame {
    let first_obs_no = frame_no * ROWS_PER_FRAME;
    let time_us = |obs_no: u64| START_US + 1_000 * obs_no as i64;
    let message = |obs_no: u64| MessageEntry {
        message_no: obs_no,
        receive_time_us: time_us(obs_no),
        client: 1,
        agency: 1,
        station: obs_no as u32 % DATASTREAMS + 1,
        row_count: 1,
        quarantined_readings: 0,
        outcome: 0,
        unkeyed: 0,
        replayed: 0,
        zero: 0,
        behind_s: 0,
    };
    let row = |obs_no: u64| Row {
        time_us: time_us(obs_no),
        // Hundredths that drift, as a sensor's do: what a dictionary can and cannot do is as in reality.
        value: (((obs_no * 7) % 5_000) as f64 / 100.0).to_bits(),
        seq_plus_1: obs_no + 1,
        message: (obs_no - first_obs_no) as u32,
        datastream: obs_no as u32 % DATASTREAMS,
        status: 0,
        unit: 1,
        ordinal: 0,
        kind: ResultKind::Number as u8,
        quality: Quality::Pass as u8,
        classification: Classification::Inserted as u8,
        flags: 0,
        rank: 0,
        zero: 0,
    };
    let numbers = first_obs_no..first_obs_no + ROWS_PER_FRAME;
    ObservationFrame {
        frame_no,
        first_obs_no,
        info: FrameInfo { time_us: time_us(numbers.end), ..FrameInfo::default() },
        messages: numbers.clone().map(message).collect(),
        rows: numbers.map(row).collect(),
        ..ObservationFrame::default()
    }
}

fn apply_and_flush(criterion: &mut Criterion) {
    let registry = Arc::new(RwLock::new(registry()));
    let frames: Vec<Arc<ObservationFrame>> = (1..=FRAMES).map(|frame_no| Arc::new(frame(frame_no))).collect();
    let run = || {
        let dir =
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory is writable");
        let disk = Arc::new(OsDisk::open(dir.path()).expect("the target directory is writable"));
        let config = StoreConfig::default();
        let metrics = Arc::new(Metrics::default());
        let cursor = StoreCursor::default();
        let mut store =
            Store::open(disk, config, Vec::new(), cursor, registry.clone(), metrics).expect("an empty store");
        let started = Instant::now();
        for frame in &frames {
            store.apply(frame).expect("frames in order");
        }
        let applied = started.elapsed();
        let flush = store.flush(START_US, true).expect("the disk takes writes").expect("there are rows");
        let flushed = started.elapsed() - applied;
        assert_eq!(flush.rows, FRAMES * ROWS_PER_FRAME);
        store.committed(flush);
        (applied, flushed)
    };
    let mut group = criterion.benchmark_group("store");
    group.sample_size(10);
    group.throughput(Throughput::Elements(FRAMES * ROWS_PER_FRAME));
    group.bench_function("apply", |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| run().0).sum::<Duration>());
    });
    group.bench_function("flush", |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| run().1).sum::<Duration>());
    });
    group.finish();
}

criterion_group!(benches, apply_and_flush);
criterion_main!(benches);
