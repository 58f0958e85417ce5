//! A wall clock that leaps: nothing expires by it, however long it lasts and whatever is started again meanwhile.

use std::thread::sleep;
use std::time::Duration;

use e2e_tests::{Gateway, WallClock, count, wait_until};
use serde_json::Value;

use super::{DAY_S, Directory, now_s, publish_all, run};

const KEEP: [&str; 6] = [
    "--set",
    "retention.environment_days=10",
    "--set",
    "retention.books_days=10",
    "--set",
    "store.flush_interval_ms=200",
];
const SIXTY_YEARS_S: i64 = 60 * 365 * DAY_S;
const DATED: usize = 100;

fn has_leapt(gateway: &Gateway) -> bool {
    let (_, body) = gateway.http_get("/ready");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    let states = ready["states"].as_array().expect("a list");
    states.iter().any(|state| state["state"] == "clock_leapt")
}

fn dated(gateway: &Gateway) -> usize {
    gateway.query_csv(&["--datastream", "A/S/pm2_5"]).len()
}

#[test]
fn b1_7_p2_a_wall_clock_that_leaps_takes_nothing_away() {
    let directory = Directory::new();
    let data_dir = &directory.path;
    let clock = WallClock::new(&directory.beside("wall-clock"), 0);
    let gateway = clock.start_gateway(data_dir, &KEEP);
    let first_s = now_s() - 2 * DAY_S;
    let messages: Vec<(String, String)> = (0..DATED as i64)
        .map(|number| {
            let time = first_s + number;
            let payload =
                format!(r#"{{"time":{time},"readings":[{{"property":"pm2_5","value":{number}}}]}}"#);
            ("obs/A/S".to_owned(), payload)
        })
        .collect();
    publish_all(&gateway, "box", &messages);
    gateway.wait_until_flushed(DATED as u64);
    assert!(!has_leapt(&gateway));

    let mut received = DATED as u64;
    let mut undated = |gateway: &Gateway| {
        publish_all(gateway, "box", &[("obs/A/S/no2".to_owned(), received.to_string())]);
        received += 1;
        gateway.wait_until_flushed(received)
    };
    let assert_all_there = |gateway: &Gateway, ledger: &Value, when: &str| {
        // Many turns of the keeper, and more than one look of the compactor.
        sleep(Duration::from_millis(2_500));
        assert_eq!(dated(gateway), DATED, "{when}");
        assert_eq!(gateway.ledger()["expired"], 0, "{when}: {ledger}");
        run(data_dir, &["journal", "verify"], &[]);
    };
    clock.set(SIXTY_YEARS_S);
    wait_until("the state that says so", || has_leapt(&gateway).then_some(()));
    assert_eq!(gateway.http_get("/ready").0, 200, "it serves all the same");
    let ledger = undated(&gateway);
    assert_all_there(&gateway, &ledger, "sixty years ahead");
    gateway.kill9();
    for when in ["started there", "started there again"] {
        let gateway = clock.start_gateway(data_dir, &KEEP);
        wait_until("the state that says so", || has_leapt(&gateway).then_some(()));
        let ledger = undated(&gateway);
        assert_all_there(&gateway, &ledger, when);
        let log = gateway.stderr();
        let told = log.lines().filter(|line| line.contains("WARN") && line.contains("clock_leapt"));
        assert_eq!(told.count(), 1, "{when}, the log says so once: {log}");
        gateway.terminate();
    }
    let gateway = clock.start_gateway(data_dir, &KEEP);
    clock.set(0);
    wait_until("the state to end", || (!has_leapt(&gateway)).then_some(()));
    let ledger = undated(&gateway);
    assert_all_there(&gateway, &ledger, "set right");
    let of_hour = |at_s: i64| {
        let rfc3339 = |at_s: i64| codecs::time::format_rfc3339(at_s * 1_000_000);
        let hour = format!("from={}&to={}", rfc3339(at_s), rfc3339(at_s + 3_600));
        count(&gateway.ledger_where(&hour), "messages", "received")
    };
    assert!(
        of_hour(now_s()) + of_hour(now_s() - 3_600) >= DATED as u64,
        "the books have not forgotten the hour"
    );
    gateway.terminate();

    // The gateway was off for twenty days: it waits for somebody who knows that, and then goes on.
    clock.set(20 * DAY_S);
    let gateway = clock.start_gateway(data_dir, &KEEP);
    wait_until("the state that says so", || has_leapt(&gateway).then_some(()));
    assert_eq!(dated(&gateway), DATED);
    gateway.terminate();
    let allowed = [&KEEP[..], &["--set", "retention.clock_leap_max_hours=1000"]].concat();
    let gateway = clock.start_gateway(data_dir, &allowed);
    wait_until("what has expired to go", || (gateway.ledger()["expired"] == DATED as u64).then_some(()));
    assert_eq!((dated(&gateway), has_leapt(&gateway)), (0, false));
    gateway.terminate();
    // Once is enough.
    let gateway = clock.start_gateway(data_dir, &KEEP);
    assert!(!has_leapt(&gateway));
    gateway.terminate();
    run(data_dir, &["journal", "verify"], &[]);
}
