//! B1-4, last sentence: queries see one row per key at every instant while flush and compaction run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{Gateway, Random, RawMqtt, http_get, new_data_dir, parse_csv, wait_until};

use crate::scenario::{Books, assert_books};

/// Times that the load goes over again and again; each round adds as many, so that there is always something to flush.
const TIMES: u64 = 100;
/// Readings of a message, and messages between two looks at the books.
const READINGS: u64 = 20;
const WINDOW: u16 = 20;
/// Flush and compaction must have been there so often.
const FLUSHES: u64 = 20;
const COMPACTIONS: u64 = 2;

/// What must be stored: every value under its time, in the order in which they came.
#[derive(Default)]
struct Model {
    revisions: BTreeMap<u64, Vec<u64>>,
    books: Books,
}

impl Model {
    fn take(&mut self, time: u64, value: u64) {
        let known = self.revisions.entry(time).or_default();
        if known.contains(&value) {
            self.books.duplicate += 1;
        } else if known.is_empty() {
            self.books.inserted += 1;
            known.push(value);
        } else {
            self.books.corrected += 1;
            known.push(value);
        }
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks again and again: no key twice, no key that was there before is gone, and no value goes back to a superseded one.
fn look(http: std::net::SocketAddr, stop: &AtomicBool) -> u64 {
    let mut seen: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        let (status, text) = http_get(http, "/api/v1/observations?datastream=A/S/flow&format=csv");
        if status == 404 || text.is_empty() {
            continue;
        }
        assert_eq!(status, 200, "{text}");
        let rows = parse_csv(&text);
        let mut keys = BTreeMap::new();
        for row in &rows {
            let value = (
                row["revision"].parse::<u64>().expect("a number"),
                row["result"].parse::<u64>().expect("a whole number"),
            );
            let double = keys.insert(row["phenomenon_time"].clone(), value);
            assert_eq!(double, None, "look {looks}: two rows of one key: {row:?}");
        }
        for (time, before) in &seen {
            let now = keys.get(time).unwrap_or_else(|| panic!("look {looks}: {time} is gone"));
            assert!(
                now.0 > before.0 || now == before,
                "look {looks}: {time} went from {before:?} to {now:?}"
            );
        }
        seen = keys;
        looks += 1;
    }
    looks
}

#[test]
fn b1_4_queries_see_one_row_per_key_while_flush_and_compaction_run() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let settings = ["--set", "journal.segment_bytes_max=4194304", "--set", "store.flush_interval_ms=100"];
    let gateway = Gateway::start(&data_dir, &settings);
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "station");
    let mut model = Model::default();
    let stop = AtomicBool::new(false);
    let http = gateway.http;
    let looks = thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(|| look(http, &stop)));
        let mut random = Random::new(1);
        let mut times = TIMES;
        // Also where something fails: the readers must end before the scope does.
        let _stop = StopAtEnd(&stop);
        wait_until("flushes and compactions under the load", || {
            times += TIMES;
            for id in 1..=WINDOW {
                let first = random.next_u64();
                let readings: Vec<String> = (0..READINGS)
                    .map(|at| {
                        // No time twice in one message.
                        let time = (first % times + at) % times;
                        // Re-sends, corrections, late re-sends of superseded values.
                        let value = random.next_u64() % 12;
                        model.take(time, value);
                        let time = 1_732_000_000 + 60 * time;
                        format!(r#"{{"property":"flow","value":{value},"time":{time}}}"#)
                    })
                    .collect();
                let payload = format!(r#"{{"readings":[{}]}}"#, readings.join(","));
                client.send_publish("obs/A/S", id, payload.as_bytes());
                model.books.decoded += 1;
            }
            (1..=WINDOW).for_each(|id| client.expect_puback(id));
            let done = gateway.metric("store_flushes_total") >= FLUSHES
                && gateway.metric("store_compactions_total") >= COMPACTIONS;
            let failed = readers.iter().any(thread::ScopedJoinHandle::is_finished);
            (done || failed).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().expect("every look was right")).iter().sum::<u64>()
    });
    assert!(looks > 20, "there were readers beside the load: {looks} looks");
    let ledger = gateway.wait_until_flushed(model.books.decoded);
    assert_books(&ledger, model.books);
    let rows = gateway.query_csv(&["--revisions", "--datastream", "A/S/flow"]);
    let expected: u64 = model.revisions.values().map(|values| values.len() as u64).sum();
    assert_eq!(rows.len() as u64, expected);
}
