//! Late rows: duplicates, corrections and new rows, against files, memory and each other.

use std::slice::from_ref;
use std::sync::Arc;

use super::*;
use crate::disk::SimDisk;
use crate::observation::OutcomeKind::{self, Corrected, Duplicate, Inserted};

fn world() -> World {
    World::new(Arc::new(SimDisk::new(1)))
}

fn kinds(outcomes: &[Outcome]) -> Vec<(OutcomeKind, u32)> {
    outcomes.iter().map(|outcome| (outcome.outcome_kind(), outcome.revision)).collect()
}

#[test]
fn a1_6_a_late_row_is_new_when_its_key_is_not_stored() {
    let mut world = world();
    let mut store = world.start();
    world.inserted(&mut store, &[reading(1, 1_000, 1.0), reading(1, 3_000, 3.0)]);
    let outcomes = world.late(&mut store, &[reading(1, 2_000, 2.0), reading(2, 1_000, 1.0)]);
    assert_eq!(kinds(&outcomes), [(Inserted, 0), (Inserted, 0)]);
    assert_eq!(outcomes[0].message_no, 1_002, "an outcome names the message of its row");
    let rows = query(&store, &Query { datastreams: vec![1], ..Query::default() });
    assert_eq!(rows.iter().map(|row| row.time_us).collect::<Vec<_>>(), [1_000, 2_000, 3_000]);
}

#[test]
fn a1_6_same_value_unit_and_status_as_any_revision_is_a_duplicate() {
    for flushed in [false, true] {
        let mut world = world();
        let mut store = world.start();
        let original = reading(1, 1_000, 1.5);
        world.inserted(&mut store, &[original.clone(), reading(1, 2_000, 2.0)]);
        if flushed {
            world.flush(&mut store);
        }
        let correction = reading(1, 1_000, 9.0);
        assert_eq!(kinds(&world.late(&mut store, from_ref(&correction))), [(Corrected, 1)]);
        if flushed {
            world.flush(&mut store);
        }
        // The earlier revision comes again: it is not in force, and still a duplicate.
        assert_eq!(kinds(&world.late(&mut store, from_ref(&original))), [(Duplicate, 0)]);
        assert_eq!(kinds(&world.late(&mut store, from_ref(&correction))), [(Duplicate, 0)]);
        let other_unit = Reading { unit: 2, ..original.clone() };
        let other_status = Reading { status: 3, ..original.clone() };
        let other_kind = Reading { value: StoredValue::Null, ..original.clone() };
        let outcomes = world.late(&mut store, &[other_unit, other_status, other_kind]);
        assert_eq!(kinds(&outcomes), [(Corrected, 2), (Corrected, 3), (Corrected, 4)]);

        let all = query(&store, &Query { to_us: 1_001, ..all_revisions() });
        assert_eq!(all.iter().map(|row| row.revision).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let in_force = query(&store, &Query { to_us: 1_001, ..Query::default() });
        assert_eq!(in_force, all[4..]);
        assert_eq!(in_force[0].value, StoredValue::Null);
    }
}

#[test]
fn a1_6_rows_of_one_batch_see_those_before_them() {
    let mut world = world();
    let mut store = world.start();
    world.inserted(&mut store, &[reading(1, 9_000, 0.0)]);
    let outcomes = world.late(
        &mut store,
        &[
            reading(1, 1_000, 1.0),
            reading(1, 1_000, 1.0),
            reading(1, 1_000, 2.0),
            reading(1, 1_000, 1.0),
            reading(1, 1_000, 3.0),
        ],
    );
    assert_eq!(
        kinds(&outcomes),
        [(Inserted, 0), (Duplicate, 0), (Corrected, 1), (Duplicate, 0), (Corrected, 2)]
    );
}

#[test]
fn a1_6_values_are_compared_as_values() {
    let mut world = world();
    let mut store = world.start();
    let text = |text: &str| Reading { value: StoredValue::Text(text.into()), ..reading(2, 1_000, 0.0) };
    let boolean = |value| Reading { value: StoredValue::Boolean(value), ..reading(3, 1_000, 0.0) };
    world.inserted(&mut store, &[reading(1, 1_000, 0.0), text("A"), boolean(true)]);
    world.flush(&mut store);
    let outcomes = world.late(
        &mut store,
        &[
            reading(1, 1_000, -0.0),
            text("A"),
            text("B"),
            boolean(true),
            boolean(false),
            reading(2, 1_000, 0.0),
        ],
    );
    let expected =
        [(Duplicate, 0), (Duplicate, 0), (Corrected, 1), (Duplicate, 0), (Corrected, 1), (Corrected, 2)];
    assert_eq!(kinds(&outcomes), expected);
}

#[test]
fn a1_6_ordinals_are_part_of_the_key() {
    let mut world = world();
    let mut store = world.start();
    world.inserted(&mut store, &[reading(1, 1_000, 1.0)]);
    let second = Reading { ordinal: 1, ..reading(1, 1_000, 1.0) };
    assert_eq!(kinds(&world.late(&mut store, &[second.clone(), second])), [(Inserted, 0), (Duplicate, 0)]);
}

#[test]
fn a1_6_one_batch_is_out_at_a_time() {
    let mut world = world();
    let mut store = world.start();
    let late = |time_us| (reading(1, time_us, 1.0), Classification::Unresolved);
    world.frame(&mut store, &[late(1_000), late(2_000)], &[]);
    let first = store.classify_due(0, true).unwrap().unwrap();
    world.frame(&mut store, &[late(1_000)], &[]);
    assert_eq!(store.classify_due(0, true).unwrap(), None);
    world.frame(&mut store, &[], &first[..1]);
    assert_eq!(store.classify_due(0, true).unwrap(), None, "half of the batch is still out");
    world.frame(&mut store, &[], &first[1..]);
    let second = store.classify_due(0, true).unwrap().unwrap();
    assert_eq!(kinds(&second), [(Duplicate, 0)]);
}

#[test]
fn a1_6_classification_is_due_by_age_and_by_number() {
    let mut world = world();
    world.config.late_rows_max = 8;
    let mut store = world.start();
    let late = |time_us| (reading(1, time_us, 1.0), Classification::Unresolved);
    world.frame(&mut store, &[late(1)], &[]);
    assert_eq!(store.classify_due(999_999, false).unwrap(), None);
    let outcomes = store.classify_due(1_000_000, false).unwrap().unwrap();
    world.frame(&mut store, &[], &outcomes);
    world.frame(&mut store, &[late(2), late(3), late(4)], &[]);
    assert_eq!(store.classify_due(0, false).unwrap(), None);
    world.frame(&mut store, &[late(5)], &[]);
    assert!(!store.pressure().must_classify);
    world.frame(&mut store, &[late(6), late(7), late(8), late(9)], &[]);
    assert!(store.pressure().must_classify);
    assert_eq!(store.classify_due(0, false).unwrap().unwrap().len(), 8);
}

/// Years of days lie between a row and its re-send; the key is found by the files' bounds.
#[test]
fn a1_6_a_resend_from_the_far_past_is_found() {
    const DAY_US: i64 = 86_400_000_000;
    let mut world = world();
    let mut store = world.start();
    for day in 0..60 {
        let readings: Vec<_> =
            (0..5).map(|minute| reading(1, day * DAY_US + minute * 60_000_000, 0.5)).collect();
        world.inserted(&mut store, &readings);
        world.flush(&mut store);
    }
    let resends: Vec<_> = (0..60).map(|day| reading(1, day * DAY_US, 0.5)).collect();
    assert!(kinds(&world.late(&mut store, &resends)).iter().all(|outcome| *outcome == (Duplicate, 0)));
    let corrections: Vec<_> = (0..60).map(|day| reading(1, day * DAY_US, 0.75)).collect();
    assert!(kinds(&world.late(&mut store, &corrections)).iter().all(|outcome| *outcome == (Corrected, 1)));
    let gaps: Vec<_> = (0..60).map(|day| reading(1, day * DAY_US + 1, 0.5)).collect();
    assert!(kinds(&world.late(&mut store, &gaps)).iter().all(|outcome| *outcome == (Inserted, 0)));
}

#[test]
fn a1_6_unclassified_rows_are_not_seen_and_survive_a_flush_and_a_restart() {
    let mut world = world();
    let mut store = world.start();
    world.inserted(&mut store, &[reading(1, 5_000, 5.0)]);
    world.frame(&mut store, &[(reading(1, 1_000, 1.0), Classification::Unresolved)], &[]);
    world.inserted(&mut store, &[reading(1, 6_000, 6.0)]);
    world.flush(&mut store);
    assert_eq!(world.cursor, StoreCursor { refold_from_frame: FIRST_FRAME + 1, next_frame: FIRST_FRAME + 3 });
    assert_eq!(store.reader().counts().rows_unresolved, 1);
    let mut store = world.start();
    assert_eq!(store.reader().counts().rows_unresolved, 1);
    assert_eq!(query(&store, &all_revisions()).len(), 2);
    let outcomes = store.classify_due(0, true).unwrap().unwrap();
    world.frame(&mut store, &[], &outcomes);
    let times =
        |store: &Store| query(store, &all_revisions()).iter().map(|row| row.time_us).collect::<Vec<_>>();
    assert_eq!(times(&store), [1_000, 5_000, 6_000]);
    // With the outcome in the log, a restart takes it from there.
    let mut store = world.start();
    assert_eq!(store.classify_due(0, true).unwrap(), None);
    assert_eq!(times(&store), [1_000, 5_000, 6_000]);
    world.flush(&mut store);
    assert_eq!(times(&world.start()), [1_000, 5_000, 6_000]);
}

#[test]
fn an_outcome_for_a_row_that_is_not_late_is_refused() {
    let mut world = world();
    let mut store = world.start();
    world.inserted(&mut store, &[reading(1, 1_000, 1.0)]);
    let outcome = Outcome { obs_no: 0, revision: 0, kind: 0, zero: 0, ordinal: 0, message_no: 1_000 };
    let frame = Arc::new(frame(FIRST_FRAME + 1, 1, &[], &[outcome]));
    let error = store.apply(&frame).unwrap_err();
    assert!(error.to_string().contains("settles row 0"), "{error}");
}

#[test]
fn a_gap_in_the_log_is_refused() {
    let mut world = world();
    let mut store = world.start();
    world.inserted(&mut store, &[reading(1, 1_000, 1.0)]);
    world.inserted(&mut store, &[reading(1, 2_000, 1.0)]);
    world.flush(&mut store);
    let gap = Arc::new(frame(FIRST_FRAME + 3, 2, &[], &[]));
    assert!(store.apply(&gap).is_err());
    assert!(world.start().apply(&gap).is_err(), "after a restart too");
}

/// P3, B1-6: a value whose file was given up goes back to its place below the correction, and what came after it stays in force.
#[test]
fn b1_6_a_lost_revision_that_is_sent_again_does_not_come_into_force() {
    let disk = SimDisk::new(0);
    let mut world = World::new(Arc::new(disk.clone()));
    let mut store = world.start();
    let value = |number: f64| reading(1, 5, number);
    world.inserted(&mut store, &[value(1.0), reading(1, 9, 0.0)]);
    world.flush(&mut store);
    world.late(&mut store, &[value(2.0)]);
    world.late(&mut store, &[value(3.0)]);
    world.flush(&mut store);
    let before = query(&store, &all_revisions());
    drop(store);
    world.files.remove(0);
    let mut store = world.start();
    let sent = [value(1.0), value(2.0), value(3.0), value(1.0), value(4.0), reading(1, 9, 0.0)];
    let outcomes = world.late(&mut store, &sent);
    assert_eq!(
        kinds(&outcomes),
        [(Corrected, 0), (Duplicate, 0), (Duplicate, 0), (Duplicate, 0), (Corrected, 3), (Inserted, 0)]
    );
    let after = query(&store, &all_revisions());
    assert_eq!((before.len(), after.len()), (4, 5));
    let of_key = after.iter().filter(|row| row.time_us == 5);
    let mut revisions: Vec<_> = of_key.map(|row| (row.revision, row.value.clone())).collect();
    revisions.sort_unstable_by_key(|(revision, _)| *revision);
    let expected = [1.0, 2.0, 3.0, 4.0].map(StoredValue::Number);
    assert_eq!(revisions, (0..).zip(expected).collect::<Vec<_>>());
}
