//! Three domains, three ages, kept for different times.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;

use e2e_tests::{Gateway, Random, Row, assert_balanced, count, kill_seed, milliseconds, wait_until};

use super::{DAY_S, Directory, json, now_s, publish_all, rows, run};

/// All rows in one flush, at the end of the run.
const ONE_FLUSH: [&str; 2] = ["--set", "store.flush_interval_ms=3600000"];
/// Water stays for ever.
const KEEP: [&str; 6] = [
    "--set",
    "retention.traffic_days=30",
    "--set",
    "retention.environment_days=10",
    "--set",
    "store.flush_interval_ms=200",
];
const OF_EACH: i64 = 200;
const AGES_S: [i64; 3] = [40 * DAY_S, 20 * DAY_S, 3_600];
/// Traffic of 40 days, environment of 40 and of 20.
const EXPIRED: u64 = 3 * OF_EACH as u64;
const KEPT: usize = 6 * OF_EACH as usize;
const MESSAGES: u64 = 3 * OF_EACH as u64;
const KILLS_MIN: usize = 4;
const KILLS_MAX: usize = 40;

fn messages(now_s: i64) -> Vec<(String, String)> {
    let payload = |time: i64, value: i64| {
        format!(
            r#"{{"time":{time},"readings":[{{"property":"flow","value":{value}}},{{"property":"pm2_5","value":{value}}},
               {{"property":"water_level","value":{value}}}]}}"#
        )
    };
    let of_age = |age_s: i64| (0..OF_EACH).map(move |number| (now_s - age_s + number, number));
    AGES_S
        .into_iter()
        .flat_map(of_age)
        .map(|(time, value)| ("obs/A/S".to_owned(), payload(time, value)))
        .collect()
}

/// A directory in which everything is stored and nothing has expired yet.
fn filled(data_dir: &Path, messages: &[(String, String)]) {
    let gateway = Gateway::start(data_dir, &ONE_FLUSH);
    publish_all(&gateway, "box", messages);
    wait_until("all to be decoded", || {
        (count(&gateway.ledger(), "messages", "decoded") == MESSAGES).then_some(())
    });
    gateway.terminate();
    assert_eq!(rows(data_dir, &ONE_FLUSH).len(), KEPT + EXPIRED as usize);
}

/// What may be shown, whether or not the rest is gone.
fn assert_only_kept(rows: &[Row], now_s: i64, when: &str) {
    let kept = |row: &Row| {
        let time_s = codecs::time::parse_rfc3339(&row["phenomenon_time"]).expect("a time") / 1_000_000;
        let days = (now_s - time_s) / DAY_S;
        match row["datastream"].as_str() {
            "A/S/flow" => days < 30,
            "A/S/pm2_5" => days < 10,
            _ => true,
        }
    };
    assert_eq!(rows.iter().filter(|row| !kept(row)).count(), 0, "{when}");
    assert_eq!(rows.len(), KEPT, "{when}");
}

#[test]
fn b1_7_what_has_expired_is_not_shown_goes_is_counted_and_is_not_taken_in_again() {
    let (directory, now_s) = (Directory::new(), now_s());
    let data_dir = &directory.path;
    let sent = messages(now_s);
    filled(data_dir, &sent);
    let gateway = Gateway::start(data_dir, &KEEP);
    assert_only_kept(&gateway.query_csv(&["--revisions"]), now_s, "at once");
    wait_until("files without what has expired", || (gateway.ledger()["expired"] == EXPIRED).then_some(()));
    assert_eq!(gateway.metric("store_rows_expired_total"), EXPIRED);
    assert_only_kept(&gateway.query_csv(&["--revisions"]), now_s, "behind the compaction");
    let report = json(data_dir, &["journal", "verify"], &KEEP);
    assert!(report["checked"].to_string().contains("store rows"), "{report}");

    // Once more, all of it: what is kept is a duplicate, what is gone is not taken in.
    publish_all(&gateway, "box", &sent);
    let ledger = gateway.wait_until_flushed(2 * MESSAGES);
    assert_balanced(&ledger);
    let of = |name: &str| count(&ledger, "observations", name);
    assert_eq!(
        (of("inserted"), of("duplicate"), of("quarantined"), of("corrected")),
        (KEPT as u64 + EXPIRED, KEPT as u64, EXPIRED, 0),
        "{ledger}"
    );
    assert_eq!(count(&ledger, "messages", "partial"), 2 * OF_EACH as u64, "{ledger}");
    let listed = json(data_dir, &["quarantine", "list", "--reason", "retention", "--limit", "10000"], &KEEP);
    let listed = listed.as_array().expect("a list").iter();
    let readings: u64 = listed.map(|entry| entry["readings"].as_u64().expect("a number")).sum();
    assert_eq!(readings, EXPIRED, "by reason");
    assert_eq!(ledger["expired"], EXPIRED, "not once more");
    assert_only_kept(&gateway.query_csv(&["--revisions"]), now_s, "behind the re-send");
    gateway.terminate();
    assert_only_kept(&rows(data_dir, &KEEP), now_s, "without a gateway");
    run(data_dir, &["journal", "verify"], &KEEP);
    // Kept for ever again: what is gone stays gone, and the sums say so.
    let gateway = Gateway::start(data_dir, &ONE_FLUSH);
    assert_eq!(
        (gateway.query_csv(&["--revisions"]).len(), &gateway.ledger()["expired"]),
        (KEPT, &EXPIRED.into())
    );
}

#[test]
fn b1_7_kill_9_around_the_removal_counts_nothing_twice() {
    let mut random = Random::new(kill_seed());
    let (directory, now_s) = (Directory::new(), now_s());
    filled(&directory.path, &messages(now_s));
    let (mut before, mut behind) = (0, 0);
    for life in 0..KILLS_MAX {
        // Each life begins with the whole directory.
        let copy = directory.beside(&format!("copy-{life}"));
        let status = Command::new("cp").arg("-r").args([&directory.path, &copy]).status();
        assert!(status.is_ok_and(|status| status.success()), "the directory can be copied");
        let gateway = Gateway::start(&copy, &KEEP);
        if life % 2 == 0 {
            // The instant of the kill is what chance decides.
            sleep(milliseconds(&mut random, 0, 32));
        } else {
            assert_only_kept(&gateway.query_csv(&["--revisions"]), now_s, "beside the removal");
            sleep(milliseconds(&mut random, 0, 512));
        }
        gateway.kill9();
        let ledger = json(&copy, &["ledger"], &KEEP);
        assert_balanced(&ledger);
        let expired = ledger["expired"].as_u64().expect("a number");
        assert!(expired <= EXPIRED, "{ledger}");
        if expired < EXPIRED {
            before += 1
        } else {
            behind += 1
        }
        assert_only_kept(&rows(&copy, &KEEP), now_s, "after the kill");
        run(&copy, &["journal", "verify"], &KEEP);
        // The next life ends what this one has begun, and counts what was counted once.
        let gateway = Gateway::start(&copy, &KEEP);
        wait_until("files without what has expired", || {
            (gateway.ledger()["expired"] == EXPIRED).then_some(())
        });
        assert_only_kept(&gateway.query_csv(&["--revisions"]), now_s, "in the next life");
        gateway.terminate();
        run(&copy, &["journal", "verify"], &KEEP);
        std::fs::remove_dir_all(&copy).expect("the copy can go");
        println!("life {life}: {expired} of {EXPIRED} were gone at the kill");
        if life + 1 >= KILLS_MIN && before > 0 && behind > 0 {
            return;
        }
    }
    panic!("no kill on one side of the removal: {before} before, {behind} behind");
}
