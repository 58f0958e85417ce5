//! Queries: order, windows, limits, kinds; rows through many pages and row groups.

use std::sync::Arc;

use super::*;
use crate::cancel::Cancel;
use crate::disk::SimDisk;
use crate::store::{NumberRow, NumberValue, Order, StoreError};

fn world() -> World {
    World::new(Arc::new(SimDisk::new(1)))
}

#[test]
fn a1_6_every_kind_and_field_comes_back_from_memory_and_from_files() {
    let mut world = world();
    let mut store = world.start();
    let values = [
        StoredValue::Number(38.4),
        StoredValue::Number(-0.0),
        StoredValue::Number(f64::MIN_POSITIVE),
        StoredValue::Boolean(true),
        StoredValue::Boolean(false),
        StoredValue::Text("mưa to".into()),
        StoredValue::Text("".into()),
        StoredValue::Text("x".repeat(256).into()),
        StoredValue::Null,
    ];
    let readings: Vec<Reading> = (0..)
        .zip(values)
        .map(|(at, value)| Reading {
            datastream: at as u32 % DATASTREAMS,
            time_us: at * 1_000 - 3_000,
            ordinal: at as u16 % 3,
            value,
            unit: at as u32 % 3,
            status: 3 * (at as u32 % 2),
            seq: (at % 2 == 0).then_some(u64::MAX - 1 - at as u64),
        })
        .collect();
    world.inserted(&mut store, &readings);
    let expected: Vec<_> =
        (0..).zip(&readings).map(|(obs_no, reading)| expected(reading, obs_no, 0)).collect();
    assert_eq!(query(&store, &Query::default()), expected);
    world.flush(&mut store);
    assert_eq!(store.reader().counts().rows_in_memory, 0);
    assert_eq!(query(&store, &Query::default()), expected);
    let StoredValue::Number(zero) = query(&store, &Query::default())[1].value else { panic!() };
    assert!(zero.is_sign_negative(), "a number comes back bit by bit");
    assert_eq!(query(&world.start(), &Query::default()), expected);
}

#[test]
fn ranges_orders_and_limits() {
    let mut world = world();
    let mut store = world.start();
    for from in [0, 10, 20] {
        let readings: Vec<_> =
            (from..from + 10).map(|time| reading(time as u32 % 3, time, time as f64)).collect();
        world.inserted(&mut store, &readings);
        if from < 20 {
            world.flush(&mut store);
        }
    }
    let times = |query: Query| -> Vec<i64> {
        store.reader().query(&query).unwrap().iter().map(|row| row.time_us).collect()
    };
    let all = Query::default;
    assert_eq!(times(all()), (0..30).collect::<Vec<_>>());
    assert_eq!(times(Query { order: Order::NewestFirst, ..all() }), (0..30).rev().collect::<Vec<_>>());
    assert_eq!(times(Query { from_us: 8, to_us: 11, ..all() }), [8, 9, 10]);
    assert_eq!(times(Query { from_us: 8, to_us: 11, order: Order::NewestFirst, ..all() }), [10, 9, 8]);
    assert_eq!(times(Query { limit: Some(2), order: Order::NewestFirst, ..all() }), [29, 28]);
    assert_eq!(times(Query { datastreams: vec![2, 2, 77], limit: Some(3), ..all() }), [2, 5, 8]);
    assert!(times(Query { datastreams: vec![77], ..all() }).is_empty());
    assert!(times(Query { limit: Some(0), ..all() }).is_empty());
    assert!(times(Query { from_us: 5, to_us: 5, ..all() }).is_empty());
    assert!(times(Query { from_us: 5, to_us: 5, order: Order::NewestFirst, ..all() }).is_empty());
    assert!(times(Query { from_us: 9, to_us: 3, ..all() }).is_empty());
}

/// 2023-11-15.
const START_US: i64 = 1_700_006_400_000_000;

/// 150,000 rows: three row groups with many pages in one file, all kinds, more different numbers than a dictionary takes.
#[test]
fn a1_6_a_large_run_comes_back_number_for_number() {
    let mut world = world();
    world.registry = registry(500);
    world.config = StoreConfig { scan_rows_max: 20_000, ..StoreConfig::default() };
    let mut store = world.start();
    let mut readings = Vec::new();
    for at in 0..150_000u64 {
        let mixed = at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let value = match mixed % 100 {
            0 => StoredValue::Null,
            1 => StoredValue::Boolean(mixed % 3 == 0),
            2 => StoredValue::Text(format!("code {}", mixed % 50).into()),
            _ if at < 70_000 => StoredValue::Number((mixed % 400) as f64 / 10.0),
            _ => StoredValue::Number(mixed as f64),
        };
        readings.push(Reading {
            datastream: (at % 500) as u32,
            time_us: START_US + (at / 500) as i64 * 60_000_000 + (mixed % 1_000) as i64,
            ordinal: 0,
            value,
            unit: (mixed % 3) as u32,
            status: if mixed % 10 == 0 { 3 } else { 0 },
            seq: (at % 500 < 300).then_some(at / 500),
        });
    }
    for part in readings.chunks(1_500) {
        world.inserted(&mut store, part);
    }
    let mut all: Vec<_> =
        (0..).zip(&readings).map(|(obs_no, reading)| expected(reading, obs_no, 0)).collect();
    all.sort_by_key(|row| (row.time_us, row.datastream));
    assert_eq!(world.flush(&mut store), 150_000);
    assert_eq!(world.files.len(), 1, "{:?}", world.files);
    let mut scan = store.reader().scan(&Query::default());
    let mut count = 0;
    for (at, row) in scan.by_ref().enumerate() {
        let row = row.unwrap();
        assert!(row == all[at], "row {at}: {row:?} instead of {:?}", all[at]);
        count += 1;
    }
    assert_eq!(count, all.len());
    assert!(scan.rows_held_max <= 2 * 20_000, "{} rows were held", scan.rows_held_max);

    let datastreams = vec![7, 499];
    let (from_us, to_us) = (START_US + 3_600_000_000, START_US + 7_200_000_000);
    let some = Query { datastreams: datastreams.clone(), from_us, to_us, ..Query::default() };
    all.retain(|row| datastreams.contains(&row.datastream) && (from_us..to_us).contains(&row.time_us));
    assert_eq!(all.len(), 120);
    assert_eq!(query(&store, &some), all);
}

/// Rows of one time can't be parted; the window must come to an end all the same.
#[test]
fn many_rows_of_one_time_are_given_in_one_window() {
    let mut world = world();
    world.registry = registry(9_000);
    world.config = StoreConfig { scan_rows_max: 100, flush_rows_max: 100_000, ..config() };
    let mut store = world.start();
    for time_us in [1, 2, 3] {
        let readings: Vec<_> = (0..9_000).map(|datastream| reading(datastream, time_us, 1.0)).collect();
        world.inserted(&mut store, &readings);
    }
    world.flush(&mut store);
    let rows = query(&store, &Query::default());
    assert_eq!(rows.len(), 27_000);
    assert!(rows.is_sorted_by_key(|row| (row.time_us, row.datastream)));
}

#[test]
fn small_frames_do_not_make_many_chunks() {
    let mut world = world();
    world.config = StoreConfig::default();
    let mut store = world.start();
    for time_us in 0..10_000 {
        let value = StoredValue::Text(format!("t{time_us}").into());
        world.inserted(&mut store, &[Reading { value, ..reading(1, time_us, 0.0) }]);
    }
    let chunks = store.reader().shared.view().chunks.len();
    assert!(chunks <= 16, "{chunks} chunks");
    let rows = query(&store, &Query::default());
    assert!((0..10_000).zip(&rows).all(|(at, row)| row.value == StoredValue::Text(format!("t{at}").into())));
    assert_eq!(rows.len(), 10_000);
}

/// Units and statuses that the registry does not know are read as they stand in the file.
#[test]
fn a_store_beside_another_catalogue_keeps_its_units() {
    let mut world = world();
    let mut store = world.start();
    world.inserted(&mut store, &[Reading { status: 3, ..reading(1, 1_000, 1.0) }]);
    world.flush(&mut store);
    world.registry = Arc::new(RwLock::new(Registry::default()));
    let rows = query(&world.start(), &Query::default());
    assert_eq!((&*rows[0].unit, &*rows[0].status), ("ug/m3", "00"));
}

/// A2-5: a chart's rows are the numbers and booleans of the same query, in order, whatever else lies between.
#[test]
fn a2_5_numbers_are_those_of_the_whole_rows() {
    let mut world = world();
    let mut store = world.start();
    let value = |at: i64| match at % 7 {
        0 => StoredValue::Boolean(at % 2 == 0),
        1 => StoredValue::Text("mưa".into()),
        2 => StoredValue::Null,
        _ => StoredValue::Number(at as f64 / 3.0),
    };
    for part in [0..6_000_i64, 6_000..9_000, 9_000..9_500] {
        let last = part.end == 9_500;
        let readings: Vec<Reading> = part
            .map(|at| Reading {
                datastream: at as u32 % 3,
                time_us: at * 1_000,
                ordinal: 0,
                value: value(at),
                unit: at as u32 % 3,
                status: 0,
                seq: None,
            })
            .collect();
        world.inserted(&mut store, &readings);
        if !last {
            world.flush(&mut store);
        }
    }
    for asked in [
        Query::default(),
        Query { datastreams: vec![1], from_us: 2_000_000, to_us: 9_200_000, ..Query::default() },
        Query { datastreams: vec![2], from_us: 5, to_us: 5, ..Query::default() },
    ] {
        let expected: Vec<(u32, i64, f64)> = query(&store, &asked)
            .iter()
            .filter_map(|row| match row.value {
                StoredValue::Number(number) => Some((row.datastream, row.time_us, number)),
                StoredValue::Boolean(value) => {
                    Some((row.datastream, row.time_us, f64::from(u8::from(value))))
                }
                _ => None,
            })
            .collect();
        let mut found = Vec::new();
        let mut each = |row: NumberRow| {
            let value = match row.value {
                NumberValue::Number(number) => number,
                NumberValue::Boolean(value) => f64::from(u8::from(value)),
            };
            found.push((row.datastream, row.time_us, value));
        };
        store.reader().numbers(&asked, &Cancel::default(), &mut each).unwrap();
        assert_eq!(found, expected);
        let rows = query(&store, &asked).len();
        let more = |limit| store.reader().has_more_than(&asked, limit, &Cancel::default()).unwrap();
        assert_eq!((rows > 0 && more(rows - 1), more(rows)), (rows > 0, false));
    }
    let cancel = Cancel::default();
    cancel.cancel();
    let ended = store.reader().numbers(&Query::default(), &cancel, &mut |_| {});
    assert!(matches!(ended, Err(StoreError::Cancelled)), "a part is not the whole: {ended:?}");
}
