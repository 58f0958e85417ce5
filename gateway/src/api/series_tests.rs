//! A2-5: down-sampling.

use proptest::prelude::*;

use super::*;

const MINUTE_US: i64 = 60_000_000;
/// 2026-11-20T17:00:00Z: midnight in Việt Nam.
const MIDNIGHT_US: i64 = 1_795_194_000_000_000;

fn buckets(from_us: i64, to_us: i64, points: usize, values: &[Point]) -> Value {
    let mut buckets = Buckets::new(from_us, to_us, points);
    values.iter().for_each(|(time_us, value)| buckets.add(*time_us, *value));
    let mut answer = json!({});
    buckets.write(&mut answer);
    answer
}

#[test]
fn a2_5_buckets_hold_min_mean_max_last_and_count_and_empty_ones_are_left_out() {
    let at = |minute: i64| MIDNIGHT_US + minute * MINUTE_US;
    let values = [(at(0), 1.0), (at(1), 5.0), (at(14), 3.0), (at(45), -1.0)];
    let answer = buckets(at(0), at(60), 4, &values);
    assert_eq!(
        answer,
        json!({
            "method": "buckets", "bucket_ms": 900_000,
            "time_ms": [at(0) / 1000, at(45) / 1000], "min": [1.0, -1.0], "mean": [3.0, -1.0], "max": [5.0, -1.0],
            "last": [3.0, -1.0], "count": [3, 1],
        })
    );
}

#[test]
fn a2_5_buckets_begin_at_midnight_in_viet_nam() {
    for (span_us, points, width_ms) in [
        (60 * MINUTE_US, 60, 60_000),
        (DAY_US, 24, 3_600_000),
        (31 * DAY_US, 31, 86_400_000),
        (31 * DAY_US, 20, 2 * 86_400_000),
        (DAY_US, 500, 300_000),
        (30 * DAY_US, 500, 7_200_000),
    ] {
        assert_eq!(bucket_width_us(MIDNIGHT_US, MIDNIGHT_US + span_us, points) / MS, width_ms);
    }
    // A month that begins in the middle of a day still has days from midnight to midnight.
    let from_us = MIDNIGHT_US + 5 * 3_600_000 * MS;
    let answer = buckets(from_us, from_us + 30 * DAY_US, 31, &[(from_us, 1.0), (MIDNIGHT_US + DAY_US, 2.0)]);
    assert_eq!(answer["bucket_ms"], 86_400_000);
    assert_eq!(answer["time_ms"], json!([MIDNIGHT_US / MS, (MIDNIGHT_US + DAY_US) / MS]));
}

/// A device's clock may be ahead by so much, and its newest value must be seen.
#[test]
fn a2_5_without_an_end_the_period_reaches_as_far_as_clocks_may_be_ahead() {
    let asked = |more: &[(&str, &str)]| {
        let all = [&[("datastream", "a/b/c")], more].concat();
        let all: Vec<_> = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let given = Given::new(&all, &crate::api::Question::Series.parameters()).unwrap();
        SeriesQuery::of(&given, MIDNIGHT_US, 5 * MINUTE_US).unwrap()
    };
    let query = asked(&[]);
    assert_eq!((query.from_us, query.to_us), (MIDNIGHT_US - DAY_US, MIDNIGHT_US + 5 * MINUTE_US));
    let query = asked(&[("to", "2026-11-19T17:00:00Z")]);
    assert_eq!((query.from_us, query.to_us), (MIDNIGHT_US - 2 * DAY_US, MIDNIGHT_US - DAY_US));
    let query = asked(&[("from", "2026-11-21T17:00:00Z")]);
    assert_eq!((query.from_us, query.to_us), (MIDNIGHT_US + DAY_US, MIDNIGHT_US + DAY_US + 1));
}

#[test]
fn a2_5_large_values_do_not_overflow_the_mean() {
    let values: Vec<Point> = (0..10).map(|at| (MIDNIGHT_US + at, f64::MAX)).collect();
    let answer = buckets(MIDNIGHT_US, MIDNIGHT_US + MINUTE_US, 2, &values);
    let mean = answer["mean"][0].as_f64().unwrap();
    assert!(mean > 0.999 * f64::MAX, "{mean}");
}

#[test]
fn a2_5_a_line_keeps_its_ends_and_its_spikes() {
    let value = |at: i64| if at == 20_000 { 1_000.0 } else { (at as f64 / 500.0).sin() };
    let (from_us, to_us) = (MIDNIGHT_US, MIDNIGHT_US + 43_200 * MINUTE_US);
    let mut candidates = Candidates::new(from_us, to_us, 300);
    (0..43_200).for_each(|at| candidates.add(from_us + at * MINUTE_US, value(at)));
    assert!(
        candidates.points().len() <= 2 * CANDIDATES_PER_POINT * 300 + 2,
        "memory does not grow with the rows"
    );
    let line = lttb(&candidates.points(), 300);
    assert_eq!(line.len(), 300);
    assert_eq!((line[0].0, line[299].0), (from_us, to_us - MINUTE_US));
    assert!(line.iter().any(|(_, value)| *value == 1_000.0), "the spike is there");
    assert!(
        line.iter().all(|(time_us, y)| *y == value((time_us - from_us) / MINUTE_US)),
        "only real observations"
    );
}

proptest! {
    #[test]
    fn a2_5_points_are_never_more_than_asked_for(
        from in -60_000_000_000_000_000_i64..200_000_000_000_000_000,
        span in 1_i64..60_000_000_000_000_000,
        points in 2_usize..=5_000,
        values in proptest::collection::vec((0.0..1.0, -1e9..1e9), 0..200),
    ) {
        let mut values: Vec<Point> =
            values.into_iter().map(|(at, value): (f64, f64)| (from + ((at * span as f64) as i64).min(span - 1), value)).collect();
        values.sort_by_key(|(time_us, _)| *time_us);
        let answer = buckets(from, from + span, points, &values);
        let times = answer["time_ms"].as_array().unwrap();
        prop_assert!(times.len() <= points);
        let count: u64 = answer["count"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
        prop_assert_eq!(count, values.len() as u64, "every value is in a bucket");
        let width_us = answer["bucket_ms"].as_i64().unwrap() * MS;
        for time_ms in times {
            let midnight = (time_ms.as_i64().unwrap() * MS + ZONE_US).rem_euclid(width_us.min(DAY_US));
            prop_assert_eq!(midnight, 0);
        }

        let mut candidates = Candidates::new(from, from + span, points);
        values.iter().for_each(|(time_us, value)| candidates.add(*time_us, *value));
        let line = lttb(&candidates.points(), points);
        prop_assert!(line.len() <= points);
        prop_assert!(line.is_sorted_by_key(|(time_us, _)| *time_us));
        prop_assert!(line.iter().all(|point| values.contains(point)));
        prop_assert_eq!(line.first(), values.first().filter(|_| !line.is_empty()));
    }
}
