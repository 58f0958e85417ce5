//! Compaction: the same rows in fewer files, whatever step of it a crash hits.

use std::sync::Arc;

use super::*;
use crate::disk::{Crash, Fault, FaultKind, FaultOn, OpenMode, SimDisk};

const DAY_US: i64 = 86_400_000_000;

/// Six small files of many days, with corrections and texts among them.
fn world_of_small_files(disk: &SimDisk) -> (World, Store) {
    let mut world = World::new(Arc::new(disk.clone()));
    let mut store = world.start();
    for round in 0..6 {
        let mut readings: Vec<Reading> = (0..12)
            .map(|day| reading(round % 3, day * DAY_US + i64::from(round), f64::from(round)))
            .collect();
        readings.push(Reading {
            value: StoredValue::Text(format!("round {round}").into()),
            ..reading(4, 20 * DAY_US + i64::from(round), 0.0)
        });
        world.inserted(&mut store, &readings);
        world.late(&mut store, &[reading(round % 3, i64::from(round), 77.0)]);
        world.flush(&mut store);
    }
    (world, store)
}

pub(super) fn files_on(disk: &dyn Disk) -> Vec<String> {
    let folders = disk.list("store").unwrap().into_iter().map(|folder| format!("store/{folder}"));
    let files = folders.flat_map(|folder| {
        disk.list(&folder)
            .unwrap()
            .into_iter()
            .map(move |name| format!("{folder}/{name}"))
            .collect::<Vec<_>>()
    });
    let mut files: Vec<String> = files.collect();
    files.sort();
    files
}

pub(super) fn names(world: &World) -> Vec<String> {
    let mut names: Vec<String> = world.files.iter().map(|file| file.path.clone()).collect();
    names.sort();
    names
}

#[test]
fn many_small_files_become_few_with_the_same_rows() {
    let disk = SimDisk::new(0);
    let (mut world, mut store) = world_of_small_files(&disk);
    let before = query(&store, &all_revisions());
    let counts = store.reader().counts();
    assert_eq!(world.files.len(), 6);
    assert!(world.compact(&mut store) > 0);
    assert!(world.files.len() < 6, "{:?}", world.files);
    assert_eq!(query(&store, &all_revisions()), before);
    let after = store.reader().counts();
    assert_eq!((after.rows_in_files, after.files), (counts.rows_in_files, world.files.len() as u64));
    assert!(files_on(&disk).len() > world.files.len(), "readers from outside have their time");
    store.sweep(0, false);
    store.sweep(1_000, false);
    assert_eq!(files_on(&disk), names(&world));
    assert_eq!(query(&world.start(), &all_revisions()), before);
}

#[test]
fn a_crash_at_any_step_of_a_compaction_changes_nothing() {
    let disk = SimDisk::new(0);
    let (_, store) = world_of_small_files(&disk);
    let first = disk.steps();
    store.compactor().unwrap().step().unwrap().unwrap();
    let steps = disk.steps() - first;
    assert!(steps > 5, "the compaction has {steps} steps");
    for crash in [Crash::Kill, Crash::PowerLoss] {
        for step in 0..=steps {
            let disk = SimDisk::new(step);
            let (world, store) = world_of_small_files(&disk);
            let before = query(&store, &all_revisions());
            disk.crash_at(disk.steps() + step, crash);
            let compaction = store.compactor().unwrap().step();
            disk.crash(crash);
            drop((compaction, store));
            disk.restart();
            let store = world.start();
            assert_eq!(query(&store, &all_revisions()), before, "{crash:?} at step {step}");
            assert_eq!(files_on(&disk), names(&world), "orphans are swept; {crash:?} at step {step}");
        }
    }
}

#[test]
fn without_space_files_stay_as_they_are() {
    let disk = SimDisk::new(0);
    let (mut world, mut store) = world_of_small_files(&disk);
    let before = query(&store, &all_revisions());
    disk.fail(Fault { on: FaultOn::Write, nth: 1, kind: FaultKind::NoSpace });
    assert!(store.compactor().unwrap().step().unwrap_err().is_no_space());
    assert_eq!(files_on(&disk), names(&world));
    assert!(world.compact(&mut store) > 0, "and is tried again");
    assert_eq!(query(&store, &all_revisions()), before);
}

#[test]
fn a_file_with_a_unit_that_the_registry_lacks_is_left_alone() {
    let disk = SimDisk::new(0);
    let (mut world, _) = world_of_small_files(&disk);
    // The store beside another catalogue.
    let mut other = Registry::default();
    other.apply(&Definition::Agency { id: 1, code: "H24.05".into() });
    world.registry = Arc::new(RwLock::new(other));
    let mut compactor = world.start().compactor().unwrap();
    assert!((0..20).all(|_| compactor.step().unwrap().is_none()));
}

#[test]
fn a_compaction_leaves_the_space_that_a_flush_needs() {
    let disk = SimDisk::new(0);
    let (mut world, _) = world_of_small_files(&disk);
    let free = disk.free_space().unwrap();
    world.config.free_bytes_min = free;
    assert!(world.start().compactor().unwrap().step().unwrap().is_none());
    world.config.free_bytes_min = free / 2;
    assert!(world.start().compactor().unwrap().step().unwrap().is_some());
}

#[test]
fn a_damaged_file_does_not_keep_others_from_being_merged() {
    let disk = SimDisk::new(0);
    let (mut world, _) = world_of_small_files(&disk);
    let damaged = world.files[2].clone();
    disk.damage(&damaged.path, damaged.bytes - 4, b"XXXX").unwrap();
    let mut store = world.start();
    let mut compactor = store.compactor().unwrap();
    assert!(compactor.step().unwrap().is_none() && compactor.has_damaged());
    let compaction = compactor.step().unwrap().expect("the others are worth it");
    assert!(!compaction.files_removed.contains(&damaged.file_no));
    world.exchange(&compaction);
    store.compacted(compaction);
    assert_eq!(world.files.len(), 2);
}

/// P2, B1-6: a wrong value in a file that can still be read is not written anew under a checksum that fits; once the file is
/// put back it counts as whole.
#[test]
fn b1_6_a_merge_launders_no_damaged_file() {
    let disk = SimDisk::new(0);
    let (mut world, mut store) = world_of_small_files(&disk);
    let before = query(&store, &all_revisions());
    let damaged = world.files[2].clone();
    // A bit that changes a value, and that nothing but the checksum sees.
    let at = (FIRST_PAGE..damaged.bytes).find(|at| {
        flip(&disk, &damaged.path, *at);
        let rows = world.start().reader().query(&all_revisions());
        let is_silent = rows.is_ok_and(|rows| rows.len() == before.len() && rows != before);
        if !is_silent {
            flip(&disk, &damaged.path, *at);
        }
        is_silent
    });
    let at = at.expect("there is such a bit");
    let mut compactor = store.compactor().unwrap();
    for _ in 0..3 {
        while let Some(compaction) = compactor.step().unwrap() {
            assert!(!compaction.files_removed.contains(&damaged.file_no));
            world.exchange(&compaction);
            store.compacted(compaction);
        }
    }
    assert!(compactor.has_damaged() && world.files.contains(&damaged));
    flip(&disk, &damaged.path, at);
    (0..20).for_each(|_| {
        if let Some(compaction) = compactor.step().unwrap() {
            world.exchange(&compaction);
            store.compacted(compaction);
        }
    });
    assert!(!compactor.has_damaged(), "it was put back");
    assert_eq!(query(&store, &all_revisions()), before);
}

const FIRST_PAGE: u64 = 4;

fn flip(disk: &SimDisk, path: &str, at: u64) {
    let mut byte = [0];
    disk.open(path, OpenMode::Read).unwrap().read_at(at, &mut byte).unwrap();
    disk.damage(path, at, &[byte[0] ^ 4]).unwrap();
}

/// B1-7: runs of late rows, which lie beside the days they belong to, get into files of those days, and a day that is large
/// already is not written again for them.
#[test]
fn b1_7_late_runs_are_folded_in_when_it_is_worth_it() {
    let disk = SimDisk::new(0);
    let mut world = World::new(Arc::new(disk.clone()));
    let mut store = world.start();
    let day = |day: i64, from: i64, count: i64| -> Vec<Reading> {
        (from..from + count).map(|at| reading(1, day * DAY_US + at * 1_000_000, at as f64)).collect()
    };
    for of in 1..=2 {
        world.inserted(&mut store, &day(of, 0, 150));
        world.flush(&mut store);
    }
    let large: Vec<String> = names(&world);
    assert!(large.iter().all(|name| !name.contains("mixed")), "{large:?}");
    let mut rows = 300;
    for round in 0..6 {
        // A few rows of each day: no day is worth a file of its own.
        let late: Vec<Reading> = (1..=2).flat_map(|of| day(of, 1_000 + round * 10, 6)).collect();
        world.late(&mut store, &late);
        world.flush(&mut store);
        rows += 12;
    }
    assert_eq!(names(&world).iter().filter(|name| name.contains("mixed")).count(), 6);
    assert!(world.compact(&mut store) > 0);
    let after = names(&world);
    assert!(after.iter().all(|name| !name.contains("mixed")), "folded into files of their days: {after:?}");
    assert!(large.iter().all(|name| after.contains(name)), "the large files stay as they are: {after:?}");
    assert_eq!(query(&store, &all_revisions()).len(), rows);
}

/// B1-6: while a command reads without this store, what the catalogue does not name stays where it is.
#[test]
fn b1_6_unnamed_files_stay_while_somebody_reads() {
    let disk = SimDisk::new(0);
    let (mut world, mut store) = world_of_small_files(&disk);
    let before = files_on(&disk);
    world.compact(&mut store);
    drop(store);
    world.config.keep_unnamed = true;
    drop(world.start());
    assert!(before.iter().all(|file| files_on(&disk).contains(file)), "a reader may open them next");
    world.config.keep_unnamed = false;
    drop(world.start());
    assert_eq!(files_on(&disk), names(&world));
}
