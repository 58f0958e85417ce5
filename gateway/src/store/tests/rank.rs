//! Ranks, and datastreams that keep all readings of one time (B1-4).

use std::sync::Arc;

use super::*;
use crate::disk::SimDisk;
use crate::observation::OutcomeKind::{self, Corrected, Duplicate, Inserted, Outranked};
use crate::store::ORDINALS_MAX;

/// Brings late rows with a rank and flags; gives kind, revision and ordinal of each.
fn late(world: &mut World, store: &mut Store, rows: &[(Reading, u8, u8)]) -> Vec<(OutcomeKind, u32, u16)> {
    let readings: Vec<_> =
        rows.iter().map(|(reading, ..)| (reading.clone(), Classification::Unresolved)).collect();
    let mut made = frame(FIRST_FRAME + world.log.len() as u64, world.next_obs_no, &readings, &[]);
    for (row, (_, rank, flags)) in made.rows.iter_mut().zip(rows) {
        (row.rank, row.flags) = (*rank, *flags);
    }
    world.next_obs_no += rows.len() as u64;
    let made = Arc::new(made);
    world.log.push(made.clone());
    store.apply(&made).unwrap();
    let outcomes = store.classify_due(0, true).unwrap().unwrap();
    world.frame(store, &[], &outcomes);
    outcomes.iter().map(|outcome| (outcome.outcome_kind(), outcome.revision, outcome.ordinal)).collect()
}

fn in_force(store: &Store) -> Vec<(u16, f64, u32)> {
    query(store, &Query::default())
        .iter()
        .map(|row| match row.value {
            StoredValue::Number(number) => (row.ordinal, number, row.revision),
            _ => panic!("{row:?}"),
        })
        .collect()
}

/// Each step alone and flushed, flushed and compacted in between, or all in memory.
#[test]
fn b1_4_the_highest_rank_is_in_force_then_the_latest() {
    for flushes in [false, true] {
        let mut world = World::new(Arc::new(SimDisk::new(1)));
        let mut store = world.start();
        let steps = [
            (38.41, 0, (Inserted, 0, 0), 38.41),
            (38.4, 10, (Corrected, 1, 0), 38.4),
            // What ranks lower and says something else is not stored, however often it says so.
            (38.5, 0, (Outranked, 0, 0), 38.4),
            (38.5, 0, (Outranked, 0, 0), 38.4),
            // A late re-send of the superseded value is a duplicate.
            (38.41, 0, (Duplicate, 0, 0), 38.4),
            (38.4, 0, (Duplicate, 0, 0), 38.4),
            (38.4, 10, (Duplicate, 0, 0), 38.4),
            // Among equals the latest counts, and the word of an operator over all.
            (38.3, 10, (Corrected, 2, 0), 38.3),
            (38.4, 10, (Duplicate, 0, 0), 38.3),
            (38.41, 20, (Corrected, 3, 0), 38.41),
            (38.41, 10, (Duplicate, 0, 0), 38.41),
            (38.2, 10, (Outranked, 0, 0), 38.41),
        ];
        for (value, rank, expected, then) in steps {
            let got = late(&mut world, &mut store, &[(reading(1, 1_000, value), rank, 0)]);
            assert_eq!(got, [expected], "{value} with rank {rank}");
            if flushes {
                world.flush(&mut store);
                world.compact(&mut store);
            }
            assert_eq!(in_force(&store)[0].1, then, "behind {value} with rank {rank}");
        }
        let mut store = world.start();
        assert_eq!(in_force(&store), [(0, 38.41, 3)], "after a restart");
        let got = late(&mut world, &mut store, &[(reading(1, 1_000, 7.0), 19, 0)]);
        assert_eq!(got, [(Outranked, 0, 0)], "after a restart");
    }
}

#[test]
fn b1_4_a_higher_rank_guards_also_the_value_that_was_there() {
    let mut world = World::new(Arc::new(SimDisk::new(1)));
    let mut store = world.start();
    let rows = [(5.0, 0), (5.0, 10), (6.0, 0)].map(|(value, rank)| (reading(1, 1_000, value), rank, 0));
    assert_eq!(late(&mut world, &mut store, &rows), [(Inserted, 0, 0), (Corrected, 1, 0), (Outranked, 0, 0)]);
    assert_eq!(in_force(&store), [(0, 5.0, 1)]);
}

#[test]
fn b1_4_kept_readings_of_one_time_get_ordinals_and_resends_are_duplicates() {
    let keep = Row::FLAG_SAME_TIME_KEPT;
    for flushes in [false, true] {
        let mut world = World::new(Arc::new(SimDisk::new(1)));
        let mut store = world.start();
        world.inserted(&mut store, &[reading(1, 1_000, 1.0)]);
        if flushes {
            world.flush(&mut store);
        }
        let kept = |value: f64, seq| (Reading { seq, ..reading(1, 1_000, value) }, 0, keep);
        let got = late(
            &mut world,
            &mut store,
            &[kept(1.1, None), kept(1.0, None), kept(1.2, Some(3)), kept(1.2, Some(3)), kept(1.2, Some(4))],
        );
        assert_eq!(
            got,
            [(Inserted, 0, 1), (Duplicate, 0, 0), (Inserted, 0, 2), (Duplicate, 0, 0), (Inserted, 0, 3)]
        );
        if flushes {
            world.flush(&mut store);
        }
        // From an archive without seq: the value alone decides.
        assert_eq!(
            late(&mut world, &mut store, &[kept(1.2, None), kept(0.9, None)]),
            [(Duplicate, 0, 0), (Inserted, 0, 4)]
        );
        assert_eq!(in_force(&store), [(0, 1.0, 0), (1, 1.1, 0), (2, 1.2, 0), (3, 1.2, 0), (4, 0.9, 0)]);
        let store = world.start();
        assert_eq!(in_force(&store).len(), 5, "after a restart");
    }
}

#[test]
fn b1_4_ordinals_of_one_time_have_a_bound_and_lose_nothing_at_it() {
    let mut world = World::new(Arc::new(SimDisk::new(1)));
    let mut store = world.start();
    let count = u32::from(ORDINALS_MAX) + 2;
    let rows: Vec<_> =
        (0..count).map(|at| (reading(1, 1_000, f64::from(at)), 0, Row::FLAG_SAME_TIME_KEPT)).collect();
    let got = late(&mut world, &mut store, &rows);
    assert_eq!(
        got[count as usize - 3..],
        [(Inserted, 0, ORDINALS_MAX - 1), (Corrected, 1, ORDINALS_MAX - 1), (Corrected, 2, ORDINALS_MAX - 1)]
    );
    assert_eq!(in_force(&store).len(), usize::from(ORDINALS_MAX));
    assert_eq!(query(&store, &all_revisions()).len(), count as usize);
}
