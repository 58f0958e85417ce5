//! B1-5, promises P2, P3, P6: what could not be decoded is decoded again after the cause is mended, with its own receive time,
//! stored exactly once, settled once in the books; `kill -9` in the middle changes nothing in that.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{
    Gateway, Random, RawMqtt, Row, assert_balanced, assert_verified, count, kill_seed, milliseconds,
    new_data_dir, parse_csv, sensor_gateway, sensor_gateway_command, wait_until,
};
use serde_json::Value;

const COMMON: [&str; 4] =
    ["--set", "journal.segment_bytes_max=4194304", "--set", "store.flush_interval_ms=200"];
/// Nothing older than a day, one datastream per station: what tests send is refused by this, and taken without it.
const STRICT: [&str; 4] =
    ["--set", "pipeline.backfill_max_days=1", "--set", "pipeline.datastreams_per_station_max=1"];
const GARBAGE: &str = r#"{"readings":[{"property":"a","value":oops}"#;

struct Fixture {
    _directory: tempfile::TempDir,
    data_dir: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let directory = new_data_dir();
        let data_dir = directory.path().join("data");
        Self { _directory: directory, data_dir }
    }

    fn start(&self, settings: &[&str]) -> Gateway {
        Gateway::start(&self.data_dir, &[&COMMON[..], settings].concat())
    }

    fn run(&self, args: &[&str]) -> String {
        sensor_gateway(&self.arguments(args)).success()
    }

    fn arguments<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let data_dir = self.data_dir.to_str().expect("the path is text");
        [args, &["--data-dir", data_dir], &COMMON].concat()
    }

    fn json(&self, args: &[&str]) -> Value {
        let text = self.run(&[args, &["--format", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn rows(&self) -> Vec<Row> {
        parse_csv(&self.run(&["query", "--revisions", "--format", "csv"]))
    }

    fn quarantined(&self) -> Vec<(u64, String)> {
        let list = self.json(&["quarantine", "list", "--limit", "10000"]);
        let entry = |entry: &Value| {
            (
                entry["position"].as_u64().expect("a number"),
                entry["reason"].as_str().expect("text").to_owned(),
            )
        };
        list.as_array().expect("a list").iter().map(entry).collect()
    }
}

fn publish_all(gateway: &Gateway, client: &str, messages: &[(String, String)]) {
    let mut connection = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, client);
    // Many at once, so that journal frames are shared.
    for some in messages.chunks(200) {
        let mut bytes = Vec::new();
        for (id, (topic, payload)) in (1_u16..).zip(some) {
            bytes.extend(connection.publish_bytes(topic, id, payload.as_bytes()));
        }
        connection.send(&bytes);
        (1_u16..).zip(some).for_each(|(id, _)| connection.expect_puback(id));
    }
}

fn message(topic: &str, payload: impl Into<String>) -> (String, String) {
    (topic.to_owned(), payload.into())
}

fn times(rows: &[Row], datastream: &str) -> Vec<String> {
    let of = rows.iter().filter(|row| row["datastream"] == datastream);
    of.map(|row| format!("{} {} r{}", row["phenomenon_time"], row["result"], row["revision"])).collect()
}

#[test]
fn b1_5_replay_stores_what_was_refused_once_with_its_own_receive_time() {
    let fixture = Fixture::new();
    let gateway = fixture.start(&STRICT);
    let now = "2024-11-21T01:05:00Z";
    let messages = [
        // 1: refused wholly: too old.
        message("obs/A/S", format!(r#"{{"time":"{now}","readings":[{{"property":"pm2_5","value":1}}]}}"#)),
        // 2, 3: decoded; makes B's only datastream.
        message("obs/A/B/p1", "1"),
        message("obs/A/B/p1", "2"),
        // 4–6: three undated readings of one value, in one journal frame or near it: three readings.
        message("obs/A/B/p2", "7"),
        message("obs/A/B/p2", "7"),
        message("obs/A/B/p2", "7"),
        // 7: partly decoded: the undated p1 is stored at once, p3 is refused, and so is an old p1.
        message(
            "obs/A/B",
            format!(
                r#"{{"readings":[{{"property":"p1","value":3}},{{"property":"p3","value":4}},
                    {{"property":"p1","value":5,"time":"{now}"}}]}}"#
            ),
        ),
        // 8: nobody will ever decode this.
        message("obs/A/S", GARBAGE),
    ];
    publish_all(&gateway, "box", &messages);
    let before = gateway.wait_until_flushed(8);
    assert_eq!((count(&before, "messages", "quarantined"), count(&before, "messages", "partial")), (5, 1));
    assert_eq!(
        (count(&before, "observations", "quarantined"), count(&before, "observations", "total")),
        (6, 9)
    );
    assert_eq!(fixture.rows().len(), 3);

    // The same configuration: nothing changes, and nothing is settled.
    let report = fixture.json(&["quarantine", "replay", "--all"]);
    assert_eq!((report["looked_at"].as_u64(), report["refused"].as_u64()), (Some(6), Some(6)), "{report}");
    let same = gateway.ledger();
    assert_eq!((&same["messages"], &same["settled"]), (&before["messages"], &before["settled"]));
    gateway.terminate();

    // Without a gateway: one message, asked for first and done then.
    let dry = fixture.json(&["quarantine", "replay", "1", "--dry-run"]);
    assert_eq!((dry["decoded"].as_u64(), dry["readings"].as_u64()), (Some(1), Some(1)), "{dry}");
    assert_eq!(fixture.quarantined().len(), 6, "a dry run changes nothing");
    let report = fixture.json(&["quarantine", "replay", "1"]);
    assert_eq!((report["decoded"].as_u64(), report["readings"].as_u64()), (Some(1), Some(1)), "{report}");
    assert_eq!(times(&fixture.rows(), "A/S/pm2_5"), [format!("{now} 1 r0")]);

    // Beside a gateway: the rest. (`--set` of the command line does not reach the gateway; it has the defaults now.)
    let gateway = fixture.start(&[]);
    let mut subscriber = e2e_tests::wire::connect(&gateway, ProtocolVersion::V3_1_1, "watcher");
    e2e_tests::wire::subscribed(&mut subscriber, ProtocolVersion::V3_1_1, &[("feed/#", 1)]);
    let dry = fixture.json(&["quarantine", "replay", "--client", "box", "--dry-run"]);
    assert_eq!(dry["decoded"].as_u64(), Some(4), "{dry}");
    assert_eq!(dry["readings"].as_u64(), Some(5), "{dry}");
    assert_eq!(dry["reasons"].as_object().map(|reasons| reasons.len()), Some(1), "{dry}");
    let report = fixture.json(&["quarantine", "replay", "--all"]);
    for name in ["looked_at", "decoded", "partial", "refused", "readings"] {
        assert_eq!(report[name], dry[name], "what the dry run said: {name}");
    }
    let last = fixture.quarantined();
    assert_eq!(last.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [8]);
    let check = |gateway: &Gateway, when: &str| {
        let ledger = gateway.wait_until_flushed(8);
        assert_balanced(&ledger);
        let messages = |name: &str| count(&ledger, "messages", name);
        let observations = |name: &str| count(&ledger, "observations", name);
        assert_eq!((messages("decoded"), messages("partial"), messages("quarantined")), (7, 0, 1), "{when}");
        assert_eq!(
            (observations("total"), observations("inserted"), observations("quarantined")),
            (9, 9, 0),
            "{when}: {ledger}"
        );
        let settled = |name: &str| count(&ledger, "settled", name);
        assert_eq!((settled("messages"), settled("readings")), (5, 6), "{when}");
        let narrowed = gateway.ledger_where("station=A/B&client=box");
        assert_balanced(&narrowed);
        assert_eq!(
            (count(&narrowed, "messages", "decoded"), count(&narrowed, "observations", "total")),
            (6, 8)
        );
        let rows = fixture.rows();
        let of = |datastream: &str| times(&rows, datastream);
        assert_eq!(of("A/B/p2").len(), 3, "{when}: undated readings do not hide one another: {rows:?}");
        assert_eq!((of("A/B/p1").len(), of("A/B/p3").len(), rows.len()), (4, 1, 9), "{when}");
        let p3 = rows.iter().find(|row| row["datastream"] == "A/B/p3").expect("it is there");
        assert_eq!(p3["phenomenon_time"], p3["result_time"], "undated: the receive time, {when}");
        let p1 = rows.iter().filter(|row| row["datastream"] == "A/B/p1");
        assert_eq!(
            p1.filter(|row| row["position"] == "7").count(),
            2,
            "the one stored at once, the one replayed"
        );
    };
    check(&gateway, "after the replay");
    // What is replayed goes out as late, and is no retained value unless it is newer than everything.
    let mut late = BTreeMap::new();
    while late.len() < 3 {
        let taken = e2e_tests::wire::take(&mut subscriber, ProtocolVersion::V3_1_1);
        let json: Value = serde_json::from_str(taken.payload()).expect("feeds are JSON");
        if json.get("observations").is_none() && json["datastream"] != "A/S/pm2_5" && !taken.retain() {
            assert_eq!(json["late"], true, "{json}");
            late.insert(json["datastream"].to_string(), json["position"].to_string());
        }
    }

    // Again: nothing is left to do; what stays has the reason of this build.
    let report = fixture.json(&["quarantine", "replay", "--all"]);
    assert_eq!((report["looked_at"].as_u64(), report["refused"].as_u64()), (Some(1), Some(1)), "{report}");
    check(&gateway, "after a second replay");
    gateway.kill9();
    let gateway = fixture.start(&[]);
    check(&gateway, "after kill -9");

    // Erased: the books keep it as quarantined, and say that nobody can replay it any more.
    assert_eq!(fixture.json(&["quarantine", "erase", "--all", "--dry-run"])["erased"], 1);
    assert_eq!(fixture.quarantined().len(), 1);
    assert_eq!(fixture.json(&["quarantine", "erase", "8"])["erased"], 1);
    assert_eq!(fixture.quarantined(), []);
    let ledger = gateway.ledger();
    assert_balanced(&ledger);
    assert_eq!(
        (count(&ledger, "messages", "quarantined"), count(&ledger, "settled", "erased_messages")),
        (1, 1)
    );
    assert_verified(&fixture.data_dir);
    gateway.terminate();
    assert_eq!(fixture.json(&["ledger"])["settled"], ledger["settled"], "without a gateway");
    assert_verified(&fixture.data_dir);
}

#[test]
fn b1_5_the_quarantine_is_listed_by_every_filter_says_when_there_is_more_and_is_exported_exactly() {
    let fixture = Fixture::new();
    let gateway = fixture.start(&[]);
    let garbage: Vec<(String, String)> = (0..5)
        .map(|number| message(&format!("obs/A/S{number}"), format!("{{{number}, \"x\u{1b0}\"")))
        .collect();
    publish_all(&gateway, "one", &garbage);
    publish_all(&gateway, "two", &[message("obs/A/S0/p", "\"\n"), message("obs/x", "1")]);
    gateway.wait_until_flushed(7);
    let list = |args: &[&str]| {
        fixture.json(&[&["quarantine", "list"], args].concat()).as_array().expect("a list").len()
    };
    assert_eq!(list(&[]), 7);
    assert_eq!(list(&["--client", "one"]), 5);
    assert_eq!(list(&["--reason", "topic_invalid"]), 1);
    assert_eq!(list(&["--agency", "A", "--client", "two"]), 1);
    assert_eq!(list(&["--topic", "obs/+/S0/#"]), 2);
    assert_eq!(list(&["--position", "3"]), 1);
    assert_eq!(list(&["--to", "2020-01-01T00:00:00Z"]), 0);
    assert_eq!(list(&["--from", "2020-01-01T00:00:00Z", "--limit", "2"]), 2);
    for (query, expected) in
        [("position=3", 1), ("client=one&reason=topic_invalid", 0), ("topic=obs/%2B/S0/%23", 2)]
    {
        let (status, body) = gateway.http_get(&format!("/api/v1/quarantine?{query}"));
        let json: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, json["entries"].as_array().map(Vec::len)), (200, Some(expected)), "{query}");
    }
    for (limit, more) in [("6", true), ("7", false)] {
        let output = sensor_gateway(&fixture.arguments(&["quarantine", "list", "--limit", limit]));
        assert_eq!(output.stderr.contains("there are more"), more, "{limit}: {}", output.stderr);
    }
    // Exported beside a gateway and without one, to a file and to stdout: the payload's bytes exactly, oldest first.
    let beside = fixture.run(&["quarantine", "export", "--client", "one"]);
    gateway.terminate();
    let file = fixture.data_dir.with_extension("ndjson");
    let name = file.to_str().expect("the path is text");
    fixture.run(&["quarantine", "export", "--client", "one", "--output", name]);
    assert_eq!(std::fs::read_to_string(&file).expect("it was written"), beside);
    let payloads: Vec<Vec<u8>> = beside
        .lines()
        .map(|line| {
            unhex(serde_json::from_str::<Value>(line).expect("JSON")["payload_hex"].as_str().expect("text"))
        })
        .collect();
    let sent: Vec<Vec<u8>> = garbage.iter().map(|(_, payload)| payload.as_bytes().to_vec()).collect();
    assert_eq!(payloads, sent);
    let csv = parse_csv(&fixture.run(&["quarantine", "export", "--format", "csv", "--client", "two"]));
    assert_eq!(csv.iter().map(|row| row["payload_text"].as_str()).collect::<Vec<_>>(), ["\"\n", "1"]);
    let usage = sensor_gateway(&fixture.arguments(&["quarantine", "replay"]));
    assert_eq!(usage.code, Some(2));
    assert!(usage.stderr.contains("or all"), "{}", usage.stderr);
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Messages of the kill test: so many that a replay takes several batches.
const MESSAGES: usize = 9_000;
const KILLS: usize = 6;

#[test]
fn b1_5_kill_9_in_the_middle_of_a_replay_changes_nothing_in_exactly_once() {
    let mut random = Random::new(kill_seed());
    let fixture = Fixture::new();
    let gateway = fixture.start(&STRICT);
    // A third dated, a third undated on a refused datastream (many of one value at one receive time), a third that stays.
    let messages: Vec<(String, String)> = (0..MESSAGES)
        .map(|number| match number % 3 {
            0 => message(
                &format!("obs/A/D{}", number % 7),
                format!(
                    r#"{{"time":{},"readings":[{{"property":"a","value":{number}}},{{"property":"a","value":1,"time":1}}]}}"#,
                    1_600_000_000 + number
                ),
            ),
            1 => message("obs/A/U/p2", "7"),
            _ => message("obs/A/S", GARBAGE),
        })
        .collect();
    publish_all(&gateway, "box", &[message("obs/A/U/p1", "1")]);
    publish_all(&gateway, "box", &messages);
    gateway.wait_until_flushed(MESSAGES as u64 + 1);
    gateway.terminate();

    let third = (MESSAGES / 3) as u64;
    let (mut settled, mut in_the_middle) = (0, 0);
    for kill in 0..KILLS {
        let gateway = fixture.start(&[]);
        let mut replay = sensor_gateway_command(&fixture.arguments(&["quarantine", "replay", "--all"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command can be run");
        if kill < KILLS / 2 {
            // Its first batch is settled: the next one is under way.
            wait_until("the replay to settle something", || {
                let ended = replay.try_wait().expect("the command can be waited for").is_some();
                (ended || count(&gateway.ledger(), "settled", "messages") > settled).then_some(())
            });
            sleep(milliseconds(&mut random, 0, 32));
        } else {
            // The instant of the kill is what chance decides.
            sleep(milliseconds(&mut random, 0, 512));
        }
        gateway.kill9();
        let ended = replay.wait().expect("the command can be waited for");
        let now_settled = assert_books_and_rows_agree(&fixture);
        println!(
            "kill {kill}: {now_settled} of {} settled, the replay ended with {:?}",
            2 * third,
            ended.code()
        );
        in_the_middle += u32::from(settled < now_settled && now_settled < 2 * third);
        settled = now_settled;
    }
    assert!(in_the_middle > 0, "no kill found a replay that had settled something and not everything");
    let gateway = fixture.start(&[]);
    fixture.run(&["quarantine", "replay", "--all"]);
    let ledger = gateway.wait_until_flushed(MESSAGES as u64 + 1);
    assert_balanced(&ledger);
    assert_eq!(
        count(&ledger, "messages", "decoded"),
        third + 1,
        "undated ones and the first message: {ledger}"
    );
    // The second reading of the dated ones lies before 2006: it stays, so the message is partly decoded.
    assert_eq!(count(&ledger, "messages", "partial"), third, "{ledger}");
    assert_eq!(count(&ledger, "messages", "quarantined"), third, "{ledger}");
    assert_eq!(
        count(&ledger, "settled", "messages"),
        2 * third,
        "one settlement for each that changed: {ledger}"
    );
    assert_eq!(count(&ledger, "settled", "readings"), 2 * third, "{ledger}");
    let rows = fixture.rows();
    assert_eq!(rows.len() as u64, 2 * third + 1);
    assert!(rows.iter().all(|row| row["revision"] == "0"), "nothing was taken for a correction");
    let mut positions: Vec<&str> = rows.iter().map(|row| row["position"].as_str()).collect();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), rows.len(), "one row of each message");
    assert_eq!(fixture.quarantined().len() as u64, 2 * third);
    gateway.terminate();
    assert_verified(&fixture.data_dir);
}

/// At every stop: what the books say is stored is what a query gives, and the quarantine holds what they say it does. Gives the
/// messages that are settled.
fn assert_books_and_rows_agree(fixture: &Fixture) -> u64 {
    let ledger = fixture.json(&["ledger"]);
    assert_balanced(&ledger);
    let stored = count(&ledger, "observations", "inserted") + count(&ledger, "observations", "corrected");
    assert_eq!(fixture.rows().len() as u64, stored, "{ledger}");
    let open = count(&ledger, "messages", "quarantined") + count(&ledger, "messages", "partial");
    assert_eq!(fixture.quarantined().len() as u64, open, "{ledger}");
    assert_verified(&fixture.data_dir);
    count(&ledger, "settled", "messages")
}
