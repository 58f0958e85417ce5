//! `retention.books_days`: hours go, their sums and their chain stay, and a replay of what was refused in them is settled.

use e2e_tests::{Gateway, WallClock, assert_balanced, count, wait_until};

use super::{DAY_S, Directory, json, now_s, publish_all, run};

const COMMON: [&str; 4] = ["--set", "store.flush_interval_ms=200", "--set", "retention.books_days=2"];
/// Refuses a station's second datastream.
const STRICT: [&str; 2] = ["--set", "pipeline.datastreams_per_station_max=1"];
/// The gateway was off for days.
const ALLOWED: [&str; 2] = ["--set", "retention.clock_leap_max_hours=200"];
const HOURS: i64 = 3;
const BEGIN_S: i64 = -5 * DAY_S;

#[test]
fn b1_7_b1_5_the_books_forget_hours_balance_and_take_a_replay_into_them() {
    let directory = Directory::new();
    let data_dir = &directory.path;
    let clock = WallClock::new(&directory.beside("wall-clock"), BEGIN_S);
    let gateway = clock.start_gateway(data_dir, &[&COMMON[..], &STRICT].concat());
    let hour_of = |offset_s: i64| (now_s() + offset_s).div_euclid(3_600);
    let begin_hour = hour_of(BEGIN_S);
    // Each hour: one that is decoded, one that is refused.
    for hour in 0..HOURS {
        clock.set(BEGIN_S + hour * 3_600);
        let messages = ["p1", "p2"].map(|property| (format!("obs/A/S/{property}"), hour.to_string()));
        // The wall clock is looked at once a second.
        std::thread::sleep(std::time::Duration::from_millis(1_200));
        publish_all(&gateway, "box", &messages);
        gateway.wait_until_flushed(2 * (hour + 1) as u64);
    }
    let first = gateway.ledger();
    gateway.terminate();
    let received_of = |gateway: &Gateway, hour: i64| {
        let rfc3339 = |hour: i64| codecs::time::format_rfc3339(hour * 3_600_000_000);
        let ledger = gateway.ledger_where(&format!("from={}&to={}", rfc3339(hour), rfc3339(hour + 1)));
        assert_balanced(&ledger);
        count(&ledger, "messages", "received")
    };

    clock.set(0);
    // The first of the hours may be over by a minute: then it is one further.
    let settings = [&COMMON[..], &ALLOWED].concat();
    let gateway = clock.start_gateway(data_dir, &settings);
    publish_all(&gateway, "other", &[("obs/A/T/p1".to_owned(), "1".to_owned())]);
    let ledger = gateway.wait_until_flushed(7);
    wait_until("the books to forget", || {
        // All but the last closed hour.
        ((begin_hour..begin_hour + HOURS - 1).all(|hour| received_of(&gateway, hour) == 0)).then_some(())
    });
    assert_balanced(&ledger);
    assert_eq!((count(&first, "messages", "decoded"), count(&first, "messages", "quarantined")), (3, 3));
    assert_eq!((count(&ledger, "messages", "decoded"), count(&ledger, "messages", "quarantined")), (4, 3));
    let narrowed = gateway.ledger_where("client=box");
    assert_balanced(&narrowed);
    let kept = count(&narrowed, "messages", "received");
    assert_eq!(kept, 2, "the last closed hour stays: {narrowed}");
    run(data_dir, &["journal", "verify"], &[]);

    // Into hours that are there, and into hours that are not.
    let report = json(data_dir, &["quarantine", "replay", "--all"], &[]);
    assert_eq!((report["decoded"].as_u64(), report["readings"].as_u64()), (Some(3), Some(3)), "{report}");
    let check = |gateway: &Gateway, when: &str| {
        let ledger = gateway.wait_until_flushed(7);
        assert_balanced(&ledger);
        let messages = |name: &str| count(&ledger, "messages", name);
        assert_eq!((messages("received"), messages("decoded"), messages("quarantined")), (7, 7, 0), "{when}");
        assert_eq!(count(&ledger, "settled", "messages"), 3, "{when}");
        let narrowed = gateway.ledger_where("client=box");
        assert_balanced(&narrowed);
        let messages = |name: &str| count(&narrowed, "messages", name);
        assert_eq!((messages("received"), messages("decoded"), messages("quarantined")), (2, 2, 0), "{when}");
        assert_eq!(count(&narrowed, "settled", "messages"), 1, "{when}: of the hour that is there");
        assert_eq!(gateway.query_csv(&[]).len(), 7, "{when}");
        run(data_dir, &["journal", "verify"], &[]);
    };
    check(&gateway, "after the replay");
    gateway.kill9();
    run(data_dir, &["journal", "verify"], &[]);
    let gateway = clock.start_gateway(data_dir, &COMMON);
    check(&gateway, "after kill -9");
    gateway.terminate();
    run(data_dir, &["journal", "verify"], &[]);
}
