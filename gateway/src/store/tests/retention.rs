//! Retention (B1-7): what has expired is not shown, goes with a compaction, and is counted once, whatever step a crash hits.

use std::sync::Arc;

use codecs::property_catalogue::Domain;

use super::compact::{files_on, names};
use super::*;
use crate::disk::{Crash, SimDisk};
use crate::registry::SharedRegistry;
use crate::retention::{REMOVAL_MARGIN_US, RetentionSpans};

const DAY_US: i64 = 86_400_000_000;
const NOW_US: i64 = 100 * DAY_US;

/// Datastreams 0 and 1 are traffic, kept for 10 days; 2 and 3 environment, kept for ever.
fn registry() -> SharedRegistry {
    let mut registry = Registry::default();
    registry.apply(&Definition::Agency { id: 1, code: "A".into() });
    registry.apply(&Definition::Station { id: 1, agency: 1, code: "S".into() });
    for (id, text) in (0..).zip(SYMBOLS).skip(1) {
        registry.apply(&Definition::Symbol { id, text: text.into() });
    }
    for id in 0..4 {
        let domain = if id < 2 { "traffic" } else { "environment" }.to_owned();
        let property = format!("p{id}");
        registry.apply(&Definition::Datastream { id, station: 1, property, period_s: 0, domain, unit: 1 });
    }
    Arc::new(RwLock::new(registry))
}

/// Files: one wholly expired (day 50), one half (day 60: traffic and environment), one that nothing expires in (day 95).
fn world(disk: &SimDisk) -> (World, Store) {
    let mut world = World::new(Arc::new(disk.clone()));
    world.registry = registry();
    world.config.compaction_files_min = 100;
    world.config.retention = RetentionSpans::of_days(|domain| if domain == Domain::Traffic { 10 } else { 0 });
    let mut store = world.start();
    for (day, datastreams) in [(50, 0..2), (60, 1..3), (95, 0..4)] {
        let readings: Vec<Reading> = datastreams
            .flat_map(|datastream| (0..10).map(move |minute| (datastream, minute)))
            .map(|(datastream, minute)| reading(datastream, day * DAY_US + minute * 60_000_000, 1.0))
            .collect();
        world.inserted(&mut store, &readings);
        world.flush(&mut store);
    }
    (world, store)
}

/// Merges and commits until nothing is worth it; gives the rows that expired.
fn expire(world: &mut World, store: &mut Store) -> u64 {
    let mut compactor = store.compactor().unwrap();
    let mut expired = 0;
    while let Some(compaction) = compactor.step().unwrap() {
        expired += compaction.rows_expired;
        world.exchange(&compaction);
        store.compacted(compaction);
    }
    expired
}

#[test]
fn b1_7_expired_rows_are_not_shown_and_go_once() {
    let disk = SimDisk::new(0);
    let (mut world, mut store) = world(&disk);
    assert_eq!(query(&store, &all_revisions()).len(), 80);
    assert_eq!(expire(&mut world, &mut store), 0, "nothing expires before the time is known");
    store.tell_time(NOW_US);
    let shown = query(&store, &all_revisions());
    assert_eq!(shown.len(), 50, "hidden before any file is touched");
    assert!(shown.iter().all(|row| row.datastream >= 2 || row.time_us >= 90 * DAY_US));
    assert_eq!(expire(&mut world, &mut store), 30);
    assert_eq!(expire(&mut world, &mut store), 0);
    assert_eq!(query(&store, &all_revisions()), shown);
    assert_eq!(store.reader().counts().rows_in_files, 50);
    assert_eq!(world.files.iter().map(|file| file.row_count).sum::<u64>(), 50);
    store.sweep(0, false);
    store.sweep(1_000_000, false);
    assert_eq!(files_on(&disk), names(&world), "replaced files are gone");
    drop(store);
    let store = world.start();
    store.tell_time(NOW_US);
    assert_eq!(query(&store, &all_revisions()), shown);
}

/// P2, B1-6: a damaged file is not written anew without its expired rows, nor thrown away for times that nobody wrote; one
/// that is over by what the catalogue says goes all the same.
#[test]
fn b1_7_a_damaged_file_is_not_written_anew() {
    let disk = SimDisk::new(0);
    let (mut world, mut store) = world(&disk);
    let shown = query(&store, &all_revisions()).len() as u64;
    // The checksum alone is another one: every row can be read.
    world.files.iter_mut().for_each(|file| file.crc32c ^= 1);
    let files = world.files.clone();
    store = world.start();
    store.tell_time(NOW_US);
    assert_eq!(expire(&mut world, &mut store), 0);
    assert_eq!(world.files, files);
    world.config.retention = RetentionSpans::of_days(|_| 10);
    store = world.start();
    store.tell_time(NOW_US);
    assert_eq!(expire(&mut world, &mut store), shown - files[2].row_count);
    assert_eq!(world.files, files[2..]);
}

#[test]
fn b1_7_rows_stay_a_margin_longer_and_late_rows_hold_the_time_back() {
    let disk = SimDisk::new(0);
    let (mut world, mut store) = world(&disk);
    // The last minute of day 60 and before has just expired.
    store.tell_time(70 * DAY_US + REMOVAL_MARGIN_US - 1);
    assert_eq!(expire(&mut world, &mut store), 20, "day 50 is gone, day 60 only hidden");
    let hidden = query(&store, &all_revisions());
    assert!(hidden.iter().all(|row| row.datastream != 1 || row.time_us >= 95 * DAY_US));
    // A late row of message time 0 waits: the time of the store stands still at it.
    let (mut late_world, mut store) = self::world(&SimDisk::new(1));
    let waiting = (reading(1, 60 * DAY_US, 2.0), Classification::Unresolved);
    late_world.frame(&mut store, &[waiting], &[]);
    store.tell_time(NOW_US);
    assert_eq!(expire(&mut late_world, &mut store), 0, "what it repeats is still there");
}

#[test]
fn b1_7_few_expired_rows_of_a_file_wait_for_a_month() {
    let disk = SimDisk::new(0);
    let mut world = World::new(Arc::new(disk.clone()));
    world.registry = registry();
    world.config.retention = RetentionSpans::of_days(|domain| if domain == Domain::Traffic { 10 } else { 0 });
    let mut store = world.start();
    let rare = reading(0, 80 * DAY_US, 1.0);
    let others = (0..20).map(|minute| reading(2, 80 * DAY_US + minute, 1.0));
    world.inserted(&mut store, &std::iter::once(rare).chain(others).collect::<Vec<_>>());
    world.flush(&mut store);
    store.tell_time(NOW_US);
    assert_eq!(expire(&mut world, &mut store), 0);
    assert_eq!(query(&store, &all_revisions()).len(), 20, "not shown all the same");
    store.tell_time(NOW_US + 21 * DAY_US);
    assert_eq!(expire(&mut world, &mut store), 1);
}

#[test]
fn b1_7_a_crash_at_any_step_of_a_removal_loses_nothing_and_doubles_nothing() {
    let disk = SimDisk::new(0);
    let (_, store) = world(&disk);
    store.tell_time(NOW_US);
    let first = disk.steps();
    // The second step writes the half expired file again.
    let mut compactor = store.compactor().unwrap();
    compactor.step().unwrap().unwrap();
    compactor.step().unwrap();
    let steps = disk.steps() - first;
    for crash in [Crash::Kill, Crash::PowerLoss] {
        for is_committed in [false, true] {
            for step in 0..=steps {
                let disk = SimDisk::new(step);
                let (mut world, mut store) = world(&disk);
                store.tell_time(NOW_US);
                let shown = query(&store, &all_revisions());
                disk.crash_at(disk.steps() + step, crash);
                let mut compactor = store.compactor().unwrap();
                let mut expired = 0;
                while let Ok(Some(compaction)) = compactor.step() {
                    if is_committed {
                        expired += compaction.rows_expired;
                        world.exchange(&compaction);
                        store.compacted(compaction);
                    }
                }
                disk.crash(crash);
                drop((compactor, store));
                disk.restart();
                let mut store = world.start();
                store.tell_time(NOW_US);
                let context = format!("{crash:?} at step {step} of {steps}, committed: {is_committed}");
                assert_eq!(query(&store, &all_revisions()), shown, "{context}");
                expired += expire(&mut world, &mut store);
                assert_eq!(expired, 30, "counted once; {context}");
                assert_eq!(query(&store, &all_revisions()), shown, "{context}");
            }
        }
    }
}
