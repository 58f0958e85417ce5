//! Exactly once, whatever step of a flush the crash hits, and whatever the disk makes of it.

use std::sync::Arc;

use super::*;
use crate::disk::{Crash, Fault, FaultKind, FaultOn, SimDisk};

const DAY_US: i64 = 86_400_000_000;

/// A world with rows of two days in files, and rows of three days, late ones among them, in memory.
fn world_before_flush(disk: &SimDisk) -> (World, Store) {
    let mut world = World::new(Arc::new(disk.clone()));
    let mut store = world.start();
    let day = |day: i64, from: i64| -> Vec<Reading> {
        (from..from + 30)
            .map(|minute| reading(1, day * DAY_US + minute * 60_000_000, minute as f64))
            .collect()
    };
    world.inserted(&mut store, &day(1, 0));
    world.inserted(&mut store, &day(2, 0));
    world.flush(&mut store);
    world.inserted(&mut store, &day(2, 30));
    world.inserted(&mut store, &day(3, 0));
    world.inserted(&mut store, &day(4, 0)[..5]);
    world.late(&mut store, &[reading(1, DAY_US, 0.0), reading(1, DAY_US, 7.0), reading(2, DAY_US, 1.0)]);
    let waiting = (reading(1, DAY_US, 8.0), Classification::Unresolved);
    world.frame(&mut store, &[waiting], &[]);
    (world, store)
}

/// Every stored key once, its revisions without a gap.
fn assert_whole(world: &mut World, context: &str) {
    let mut store = world.start();
    let rows = query(&store, &all_revisions());
    assert_eq!(rows.len(), 127, "{context}");
    assert!(
        rows.is_sorted_by_key(|row| (row.time_us, row.datastream, row.ordinal, row.revision)),
        "{context}"
    );
    let in_force = query(&store, &Query::default());
    assert_eq!(in_force.len(), 126, "{context}");
    // The late row that waited over the crash is still there, once.
    let outcomes = store.classify_due(0, true).unwrap().unwrap();
    assert_eq!(outcomes.iter().map(|outcome| outcome.revision).collect::<Vec<_>>(), [2], "{context}");
}

#[test]
fn a1_6_exactly_once_across_a_crash_at_every_step_of_a_flush() {
    let disk = SimDisk::new(0);
    let (_, mut store) = world_before_flush(&disk);
    let first = disk.steps();
    store.flush(0, true).unwrap().unwrap();
    let steps = disk.steps() - first;
    assert!(steps > 10, "the flush has {steps} steps");

    for crash in [Crash::Kill, Crash::PowerLoss] {
        for seed in 0..4 {
            for step in 0..=steps {
                let disk = SimDisk::new(seed);
                let (mut world, mut store) = world_before_flush(&disk);
                disk.crash_at(disk.steps() + step, crash);
                let flushed = store.flush(0, true);
                disk.crash(crash);
                drop((flushed, store));
                disk.restart();
                let context = format!("{crash:?} at step {step} of {steps}, seed {seed}");
                assert_whole(&mut world, &context);
                let names: Vec<_> = world.files.iter().map(|file| file.path.clone()).collect();
                assert_eq!(files_on(&*world.disk), names, "orphans are swept; {context}");
            }
        }
    }
}

fn files_on(disk: &dyn Disk) -> Vec<String> {
    let directories = disk.list("store").unwrap();
    let mut files = Vec::new();
    for directory in directories {
        let directory = format!("store/{directory}");
        files.extend(disk.list(&directory).unwrap().into_iter().map(|name| format!("{directory}/{name}")));
    }
    files
}

#[test]
fn a1_6_what_was_committed_survives_power_loss() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let (mut world, mut store) = world_before_flush(&disk);
        let flush = store.flush(0, true).unwrap().unwrap();
        assert_eq!(flush.files_added.len(), 3, "two full days and the rest: {:?}", flush.files_added);
        // Power goes right after the commit, before the store hears of it.
        world.files.extend(flush.files_added);
        world.cursor = flush.cursor;
        disk.crash(Crash::PowerLoss);
        disk.restart();
        assert_whole(&mut world, &format!("seed {seed}"));
    }
}

#[test]
fn a1_6_a_failed_flush_changes_nothing_and_can_be_repeated() {
    let disk = SimDisk::new(0);
    let (_, mut store) = world_before_flush(&disk);
    store.flush(0, true).unwrap().unwrap();
    for on in [FaultOn::Write, FaultOn::Sync, FaultOn::Directory] {
        for nth in 1..12 {
            let disk = SimDisk::new(nth);
            let (mut world, mut store) = world_before_flush(&disk);
            let before = query(&store, &all_revisions());
            disk.fail(Fault { on, nth, kind: FaultKind::NoSpace });
            match store.flush(0, true) {
                Err(error) => assert!(error.is_no_space(), "{on:?} {nth}: {error}"),
                // The fault lay behind the last call of the flush.
                Ok(flush) => {
                    disk.restart();
                    store.abandoned(flush.unwrap());
                }
            }
            disk.restart();
            assert_eq!(query(&store, &all_revisions()), before);
            assert_eq!(files_on(&disk).len(), world.files.len(), "{on:?} {nth}: what failed is removed");
            world.flush(&mut store);
            assert_eq!(query(&store, &all_revisions()), before);
            assert_whole(&mut world, &format!("{on:?} {nth}"));
        }
    }
}

#[test]
fn a1_6_readers_see_each_row_once_before_during_and_after_a_commit() {
    let disk = SimDisk::new(0);
    let (mut world, mut store) = world_before_flush(&disk);
    let reader = store.reader();
    let before = reader.query(&all_revisions()).unwrap();
    let scan_from_before = reader.scan(&all_revisions());
    let flush = store.flush(0, true).unwrap().unwrap();
    assert_eq!(reader.query(&all_revisions()).unwrap(), before, "written, not committed");
    assert!(store.flush(0, true).unwrap().is_none(), "one flush at a time");
    // Frames come in meanwhile; their rows stay in memory when the flush is committed.
    world.inserted(&mut store, &[reading(5, 99 * DAY_US, 1.0)]);
    let with_new = reader.query(&all_revisions()).unwrap();
    assert_eq!(with_new.len(), before.len() + 1);
    store.committed(flush);
    assert_eq!(reader.query(&all_revisions()).unwrap(), with_new, "committed");
    assert_eq!(scan_from_before.map(Result::unwrap).collect::<Vec<_>>(), before, "a scan keeps what it saw");
    let counts = reader.counts();
    assert_eq!((counts.rows_in_memory, counts.rows_in_files), (1, before.len() as u64));
}

#[test]
fn a1_6_readers_in_other_threads_never_see_a_row_twice_or_not_at_all() {
    let mut world = World::new(Arc::new(SimDisk::new(0)));
    let mut store = world.start();
    let reader = store.reader();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let rows = reader.query(&Query::default()).unwrap();
                        let times: Vec<_> = rows.iter().map(|row| row.time_us).collect();
                        assert_eq!(times, (0..times.len() as i64).collect::<Vec<_>>());
                        assert!(times.len() >= seen);
                        seen = times.len();
                    }
                })
            })
            .collect();
        for batch in 0..60i64 {
            let readings: Vec<_> = (0..50).map(|at| reading(1, batch * 50 + at, 1.0)).collect();
            world.inserted(&mut store, &readings);
            if batch % 3 == 2 {
                world.flush(&mut store);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(reader.query(&Query::default()).unwrap().len(), 3_000);
}

#[test]
fn a1_6_a_flush_is_due_by_age_and_by_rows_and_memory_pushes_back() {
    let mut world = World::new(Arc::new(SimDisk::new(0)));
    let mut store = world.start();
    assert!(store.flush(i64::MAX, true).unwrap().is_none(), "nothing to flush");
    world.inserted(&mut store, &[reading(1, 1, 1.0)]);
    assert!(store.flush(9_999_999, false).unwrap().is_none());
    let flush = store.flush(10_000_000, false).unwrap().unwrap();
    store.committed(flush);
    assert!(store.flush(i64::MAX, false).unwrap().is_none(), "nothing new");
    let readings: Vec<_> = (2..201).map(|time_us| reading(1, time_us, 1.0)).collect();
    world.inserted(&mut store, &readings);
    assert!(store.flush(0, false).unwrap().is_none());
    world.inserted(&mut store, &[reading(1, 201, 1.0)]);
    assert!(!store.pressure().must_flush);
    let flush = store.flush(0, false).unwrap().unwrap();
    let readings: Vec<_> = (300..500).map(|time_us| reading(1, time_us, 1.0)).collect();
    world.inserted(&mut store, &readings);
    assert!(store.pressure().must_flush);
    store.committed(flush);
    assert!(!store.pressure().must_flush);
}

#[test]
fn a_frame_without_rows_moves_the_cursor() {
    let mut world = World::new(Arc::new(SimDisk::new(0)));
    let mut store = world.start();
    world.inserted(&mut store, &[]);
    let flush = store.flush(i64::MAX, false).unwrap().unwrap();
    assert_eq!((flush.files_added.len(), flush.rows, flush.cursor.next_frame), (0, 0, FIRST_FRAME + 1));
}

#[test]
fn files_that_are_missing_or_cut_are_named_at_the_start() {
    let disk = SimDisk::new(0);
    let (world, _) = world_before_flush(&disk);
    let open = |files: Vec<FileEntry>| {
        let metrics = Arc::new(Metrics::default());
        Store::open(world.disk.clone(), config(), files, world.cursor, world.registry.clone(), metrics)
    };
    let mut files = world.files.clone();
    files[0].bytes += 1;
    let error = open(files).unwrap_err().to_string();
    assert!(error.contains(&world.files[0].path) && error.contains("bytes"), "{error}");
    disk.remove(&world.files[0].path).unwrap();
    let error = open(world.files.clone()).unwrap_err().to_string();
    assert!(error.contains(&world.files[0].path), "{error}");
}

#[test]
fn a_damaged_file_is_an_error_with_its_name() {
    let disk = SimDisk::new(0);
    let (world, _) = world_before_flush(&disk);
    let file = &world.files[0];
    disk.damage(&file.path, file.bytes - 4, b"XXXX").unwrap();
    let error = world.start().reader().query(&Query::default()).unwrap_err().to_string();
    assert!(error.contains(&file.path), "{error}");
}
