//! A1-5, A1-10 and the issue's paragraph on bad input: what a start finds, what a stop leaves behind, and what makes a start
//! fail, with its exit code and one clear line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use codecs::mqtt::{Packet, ProtocolVersion};
use e2e_tests::{
    Gateway, RawMqtt, Row, RunOutput, frame_places, new_data_dir, parse_csv, sensor_gateway, wait_until,
};
use serde_json::Value;

const SMALL_SEGMENTS: [&str; 2] = ["--set", "journal.segment_bytes_max=4194304"];
/// Nothing is flushed before the stop: what a start finds, it finds in the logs.
const NEVER_FLUSHED: [&str; 4] =
    ["--set", "journal.segment_bytes_max=4194304", "--set", "store.flush_interval_ms=3600000"];

fn query(data_dir: &Path) -> Vec<Row> {
    let data_dir = data_dir.to_string_lossy();
    parse_csv(
        &sensor_gateway(&["query", "--revisions", "--data-dir", &data_dir, "--format", "csv"]).success(),
    )
}

fn connect(gateway: &Gateway, client_id: &str) -> RawMqtt {
    RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, client_id)
}

/// Publishes dated readings with these values one by one, so that each has a journal frame of its own.
fn publish_readings(gateway: &Gateway, client_id: &str, numbers: RangeInclusive<u16>) {
    let mut client = connect(gateway, client_id);
    for number in numbers {
        let payload = format!(r#"{{"time":{},"value":{number}}}"#, 1_700_000_000 + u32::from(number));
        client.send_publish("obs/A/S/pm2_5", number, payload.as_bytes());
        client.expect_puback(number);
    }
}

/// Waits until so many messages are durable and processed; gives that ledger.
fn processed(gateway: &Gateway, messages: u64) -> Value {
    wait_until("all messages to be processed", || {
        let ledger = gateway.ledger();
        (ledger["processed"].as_u64() == Some(messages)).then_some(ledger)
    })
}

/// A start that must fail: its exit code and its one line.
fn fails_to_start(data_dir: &Path, args: &[&str], code: i32) -> String {
    let Err(output) = Gateway::try_start(&[], data_dir, args) else {
        panic!("the gateway started with {args:?}");
    };
    one_line(&output, code)
}

fn one_line(output: &RunOutput, code: i32) -> String {
    assert_eq!(output.code, Some(code), "{}", output.stderr);
    assert_eq!(output.stderr.trim_end().lines().count(), 1, "one clear line: {}", output.stderr);
    assert_eq!(output.stdout, "");
    output.stderr.clone()
}

fn assert_says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
}

#[test]
fn sigterm_drains_and_what_was_acked_is_found_without_a_gateway() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &NEVER_FLUSHED);
    publish_readings(&gateway, "station", 1..=300);
    // `terminate` demands exit 0 within ten seconds.
    gateway.terminate();
    let rows = query(&data_dir);
    let results: Vec<u16> = rows.iter().map(|row| row["result"].parse().expect("a whole number")).collect();
    assert_eq!(results, (1..=300).collect::<Vec<u16>>());
    let gateway = Gateway::start(&data_dir, &SMALL_SEGMENTS);
    assert_eq!(query(&data_dir), rows);
    gateway.terminate();
    assert_eq!(query(&data_dir), rows);
}

#[test]
fn one_gateway_at_a_time_uses_a_directory() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &SMALL_SEGMENTS);
    let line = fails_to_start(&data_dir, &SMALL_SEGMENTS, 2);
    assert_says(&line, &[&data_dir.to_string_lossy(), "another gateway"]);
    // The first one is none the worse for it.
    publish_readings(&gateway, "station", 1..=3);
    gateway.kill9();
    let gateway = Gateway::start(&data_dir, &SMALL_SEGMENTS);
    assert_eq!(query(&data_dir).len(), 3);
    gateway.terminate();
}

#[test]
fn an_environment_that_does_not_do_is_named_in_one_line() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = listener.local_addr().expect("it is bound").to_string();
    for option in ["--mqtt-listen", "--http-listen"] {
        let line = fails_to_start(&data_dir, &[option, &taken], 2);
        assert_says(&line, &[&taken, "in use"]);
    }
    let file = directory.path().join("file");
    fs::write(&file, "not a directory").expect("writable");
    for path in [file.clone(), file.join("below")] {
        let listen = ["--mqtt-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
        let output = sensor_gateway(&[&["run", "--data-dir", &path.to_string_lossy()], &listen[..]].concat());
        assert_says(&one_line(&output, 2), &[&file.to_string_lossy()]);
    }
    assert_eq!(fs::read_to_string(&file).expect("still a file"), "not a directory");
    // Promise P7: nobody else's network without authentication.
    let line = fails_to_start(&data_dir, &["--mqtt-listen", "0.0.0.0:0"], 2);
    assert_says(&line, &["0.0.0.0:0", "authentication"]);
}

#[test]
fn configuration_errors_name_file_line_key_and_what_was_expected() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let file = directory.path().join("gateway.toml");
    let file_text = file.to_string_lossy().into_owned();
    let cases = [
        ("[mqtt]\nshards = \"two\"\n", "2: mqtt.shards: expected a whole number"),
        ("[mqtt]\n\nshardz = 2\n", "3: mqtt.shardz: unknown"),
        ("[nonsense]\na = 1\n", "nonsense"),
        ("[mqtt\n", "1"),
        ("[journal]\nsegment_bytes_max = 5\n", "2: journal.segment_bytes_max: expected"),
    ];
    for (text, expected) in cases {
        fs::write(&file, text).expect("writable");
        let line = fails_to_start(&data_dir, &["--config", &file_text], 2);
        assert_says(&line, &[&format!("{file_text}:"), expected]);
        let checked = sensor_gateway(&["config", "check", &file_text]);
        assert_eq!(one_line(&checked, 2), line, "`config check` says the same");
    }
    assert!(!data_dir.exists(), "nothing was made");
    let line = fails_to_start(&data_dir, &["--set", "mqtt.shards=many"], 2);
    assert_says(&line, &["mqtt.shards", "expected a whole number", "many"]);
    let line =
        fails_to_start(&data_dir, &["--config", &directory.path().join("absent").to_string_lossy()], 2);
    assert_says(&line, &["absent"]);
}

/// The segment of a log that holds the most frames, and these.
fn fullest_segment(log_dir: &Path) -> (PathBuf, Vec<(usize, usize)>) {
    let entries = fs::read_dir(log_dir).expect("the log's directory is there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let segments = paths.filter(|path| path.extension().is_some_and(|extension| extension == "seg"));
    let places = segments.map(|path| {
        let places = frame_places(&path);
        (path, places)
    });
    places.max_by_key(|(_, places)| places.len()).expect("there is a segment")
}

fn flip_byte(path: &Path, offset: usize) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("the segment is there");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset as u64)).and_then(|_| file.read_exact(&mut byte)).expect("readable");
    file.seek(SeekFrom::Start(offset as u64))
        .and_then(|_| file.write_all(&[byte[0] ^ 0x10]))
        .expect("writable");
}

#[test]
fn a1_5_damage_in_the_middle_of_a_log_refuses_the_start_with_exit_3() {
    for log in ["journal", "observations"] {
        let directory = new_data_dir();
        let data_dir = directory.path().join("data");
        let gateway = Gateway::start(&data_dir, &NEVER_FLUSHED);
        // One reading for each frame of both logs.
        for number in 1..=20 {
            publish_readings(&gateway, "station", number..=number);
            processed(&gateway, number.into());
        }
        gateway.kill9();
        let (segment, places) = fullest_segment(&data_dir.join(log));
        assert!(places.len() > 5, "{log}: {} frames", places.len());
        let (offset, _) = places[places.len() / 2];
        flip_byte(&segment, offset + 80);
        let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
        for _ in 0..2 {
            let line = fails_to_start(&data_dir, &NEVER_FLUSHED, 3);
            assert_says(&line, &[log, &name, &offset.to_string()]);
        }
        let asked = sensor_gateway(&["query", "--data-dir", &data_dir.to_string_lossy()]);
        assert_eq!(asked.code, Some(3), "{log}: a query does not pass over damage: {}", asked.stderr);
        if log == "journal" {
            dump_gives_what_is_whole(&data_dir, places.len() as u64 / 2 + 1);
        }
        // Nothing was changed by trying.
        flip_byte(&segment, offset + 80);
        Gateway::start(&data_dir, &NEVER_FLUSHED).terminate();
        assert_eq!(query(&data_dir).len(), 20, "{log}");
    }
}

/// B1-6: exit 1 where damage hides a message that was asked for, and everything else is given; 0 where it hides none.
fn dump_gives_what_is_whole(data_dir: &Path, damaged: u64) {
    let dump = |positions: &str| {
        let data_dir = data_dir.to_string_lossy();
        sensor_gateway(&["journal", "dump", "--data-dir", &data_dir, "--position", positions])
    };
    let all = dump("1..");
    assert_eq!((all.code, all.stdout.lines().count()), (Some(1), 19), "{}", all.stderr);
    assert!(all.stderr.contains("damage hides messages that were asked for"), "{}", all.stderr);
    assert_eq!(dump(&damaged.to_string()).code, Some(1));
    assert_eq!(dump(&format!("1..{}", damaged - 1)).success().lines().count() as u64, damaged - 1);
    assert_eq!(dump(&format!("{}..", damaged + 1)).success().lines().count() as u64, 20 - damaged);
}

/// Everything in a data directory, by path.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.insert(path.clone(), fs::read(&path).expect("readable"));
        }
    }
    found
}

fn assert_unchanged(data_dir: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let now = files(data_dir);
    let paths: BTreeSet<&PathBuf> = now.keys().chain(before.keys()).collect();
    let changed: Vec<_> = paths.into_iter().filter(|path| now.get(*path) != before.get(*path)).collect();
    assert!(changed.is_empty(), "nothing is written: {changed:?}");
}

fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("it is there");
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes)).expect("writable");
}

/// A stopped gateway's directory with one store file at least; the file.
fn stopped(directory: &Path) -> (PathBuf, PathBuf) {
    let data_dir = directory.join("data");
    let gateway =
        Gateway::start(&data_dir, &[&SMALL_SEGMENTS[..], &["--set", "store.flush_interval_ms=200"]].concat());
    publish_readings(&gateway, "station", 1..=20);
    gateway.wait_until_flushed(20);
    gateway.terminate();
    let store = files(&data_dir.join("store")).into_keys().next().expect("a store file");
    (data_dir, store)
}

/// Data of another build: one sentence that says which build reads them, exit 2, and nothing was written (B1-6).
#[test]
fn b1_6_another_format_is_refused_before_anything_is_written() {
    let directory = new_data_dir();
    let (data_dir, _) = stopped(directory.path());
    let set_format = |format: i64| {
        let catalogue = rusqlite::Connection::open(data_dir.join("catalogue.db")).expect("it opens");
        let found: i64 =
            catalogue.pragma_query_value(None, "user_version", |row| row.get(0)).expect("readable");
        catalogue.pragma_update(None, "user_version", format).expect("writable");
        found
    };
    let known = set_format(0);
    for (format, age) in [(known - 1, "older"), (known + 1, "newer")] {
        set_format(format);
        let before = files(&data_dir);
        let line = fails_to_start(&data_dir, &SMALL_SEGMENTS, 2);
        assert_says(
            &line,
            &[
                "catalogue.db",
                &format!(
                    "written in format {format}, this build reads format {known}: start the {age} build that wrote it"
                ),
                "(docs/operations/damage.md, \"other_format\")",
            ],
        );
        assert_unchanged(&data_dir, &before);
    }
    set_format(known);

    let (segment, _) = fullest_segment(&data_dir.join("journal"));
    let header = fs::read(&segment).expect("readable")[..4096].to_vec();
    let mut older = header.clone();
    older[12..16].copy_from_slice(&1_u32.to_le_bytes());
    let sum = crc32c::crc32c(&older[12..]);
    older[8..12].copy_from_slice(&sum.to_le_bytes());
    write_at(&segment, 0, &older);
    let before = files(&data_dir);
    let line = fails_to_start(&data_dir, &[&SMALL_SEGMENTS[..], &["--accept-gap"]].concat(), 2);
    assert_says(&line, &["journal/", "start the older build that wrote it", "\"other_format\""]);
    assert_unchanged(&data_dir, &before);

    write_at(&segment, 0, &header);
    Gateway::start(&data_dir, &SMALL_SEGMENTS).terminate();
    assert_eq!(query(&data_dir).len(), 20);
}

/// Store file or catalogue gone or damaged: exit 3, and the sentence names its part of the page (B1-6).
#[test]
fn b1_6_a_damaged_store_or_catalogue_refuses_the_start_with_exit_3() {
    let directory = new_data_dir();
    let (data_dir, store_file) = stopped(directory.path());
    let whole = fs::read(&store_file).expect("readable");
    let name = store_file.file_name().expect("a name").to_string_lossy().into_owned();
    fs::remove_file(&store_file).expect("it can be removed");
    assert_says(
        &fails_to_start(&data_dir, &SMALL_SEGMENTS, 3),
        &[&name, "(docs/operations/damage.md, \"file_missing\")"],
    );
    fs::write(&store_file, &whole[..whole.len() - 1]).expect("written");
    assert_says(&fails_to_start(&data_dir, &SMALL_SEGMENTS, 3), &[&name, "\"file_length\""]);
    fs::write(&store_file, &whole).expect("written");

    let catalogue = data_dir.join("catalogue.db");
    let bytes = fs::read(&catalogue).expect("readable");
    write_at(&catalogue, 100, &[0xff; 64]);
    assert_says(&fails_to_start(&data_dir, &SMALL_SEGMENTS, 3), &["catalogue.db", "\"catalogue_damaged\""]);
    write_at(&catalogue, 0, &[0x7f; 16]);
    assert_says(&fails_to_start(&data_dir, &SMALL_SEGMENTS, 3), &["catalogue.db", "\"catalogue_foreign\""]);
    fs::write(&catalogue, &bytes).expect("written");
    let gateway = Gateway::start(&data_dir, &SMALL_SEGMENTS);

    // Who holds which log is told from the start on, in numbers of records.
    let (_, metrics) = gateway.http_get("/metrics");
    for holder in
        ["journal\",holder=\"pipeline", "observations\",holder=\"flush", "observations\",holder=\"late_rows"]
    {
        let line = format!("sensor_gateway_log_needed_from{{log=\"{holder}\"}} ");
        assert!(metrics.lines().any(|found| found.starts_with(&line)), "{line} in {metrics}");
    }
    assert!(metrics.contains("{log=\"journal\",holder=\"pipeline\"} 21\n"), "the next record: {metrics}");
    gateway.terminate();
    assert_eq!(query(&data_dir).len(), 20);
}

#[test]
fn a1_5_an_observation_log_that_is_gone_behind_the_checkpoint_refuses_the_start_with_exit_3() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway =
        Gateway::start(&data_dir, &[&SMALL_SEGMENTS[..], &["--set", "store.flush_interval_ms=200"]].concat());
    publish_readings(&gateway, "station", 1..=20);
    gateway.wait_until_flushed(20);
    gateway.kill9();
    let (segment, _) = fullest_segment(&data_dir.join("observations"));
    fs::remove_file(segment).expect("it can be removed");
    let line = fails_to_start(&data_dir, &NEVER_FLUSHED, 3);
    assert_says(&line, &["observation"]);
}

#[test]
fn a1_5_a_torn_tail_is_accepted_and_costs_nothing_that_was_acked() {
    // The beginning of a frame whose rest never reached the disk.
    for log in ["journal", "observations"] {
        let directory = new_data_dir();
        let data_dir = directory.path().join("data");
        let gateway = Gateway::start(&data_dir, &NEVER_FLUSHED);
        publish_readings(&gateway, "station", 1..=20);
        gateway.kill9();
        let (segment, places) = fullest_segment(&data_dir.join(log));
        let (offset, length) = *places.last().expect("frames");
        let bytes = fs::read(&segment).expect("readable");
        let mut file = OpenOptions::new().write(true).open(&segment).expect("the segment is there");
        file.seek(SeekFrom::Start((offset + length) as u64)).expect("a place");
        file.write_all(&bytes[offset..offset + 1024]).expect("writable");
        drop(file);
        Gateway::start(&data_dir, &NEVER_FLUSHED).terminate();
        assert_eq!(query(&data_dir).len(), 20, "{log}");
    }
}

#[test]
fn a1_5_an_observation_frame_that_was_lost_is_made_again_from_the_journal() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &NEVER_FLUSHED);
    publish_readings(&gateway, "station", 1..=20);
    let before = processed(&gateway, 20);
    gateway.kill9();
    let (segment, places) = fullest_segment(&data_dir.join("observations"));
    flip_byte(&segment, places.last().expect("frames").0 + 80);
    let gateway = Gateway::start(&data_dir, &NEVER_FLUSHED);
    assert_eq!(gateway.ledger()["messages"], before["messages"]);
    gateway.terminate();
    assert_eq!(query(&data_dir).len(), 20);
}

#[test]
fn a1_5_a_journal_that_ends_before_what_was_processed_refuses_the_start() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &NEVER_FLUSHED);
    publish_readings(&gateway, "station", 1..=20);
    processed(&gateway, 20);
    gateway.kill9();
    let (segment, places) = fullest_segment(&data_dir.join("journal"));
    flip_byte(&segment, places.last().expect("frames").0 + 80);
    let line = fails_to_start(&data_dir, &NEVER_FLUSHED, 3);
    assert_says(&line, &["journal"]);
}

/// What a new subscriber gets at once: topic and payload of the retained messages.
fn retained(gateway: &Gateway, filter: &str, count: usize) -> Vec<(String, String)> {
    let mut client = connect(gateway, "subscriber");
    client.subscribe(filter, 0);
    let mut messages: Vec<(String, String)> = (0..count)
        .map(|_| {
            let frame = client.read_packet();
            let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH: {frame:?}") };
            assert!(publish.retain, "{publish:?}");
            (publish.topic.to_owned(), String::from_utf8(publish.payload.to_vec()).expect("text"))
        })
        .collect();
    client.expect_alive();
    messages.sort_unstable();
    messages
}

#[test]
fn a1_7_retained_messages_and_feed_values_are_kept_over_restart_and_kill9() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let mut gateway = Gateway::start(&data_dir, &NEVER_FLUSHED);
    let mut client = connect(&gateway, "station");
    let mut publish_retained = |topic: &str, packet_id: u16, payload: &[u8]| {
        let mut bytes = client.publish_bytes(topic, packet_id, payload);
        bytes[0] |= 1;
        client.send(&bytes);
        client.expect_puback(packet_id);
    };
    publish_retained("city/lamp/1", 1, b"off");
    publish_retained("city/lamp/2", 2, b"on");
    publish_retained("city/lamp/1", 3, b"on");
    publish_retained("city/lamp/3", 4, b"on");
    // Empty: removed.
    publish_retained("city/lamp/2", 5, b"");
    publish_readings(&gateway, "meter", 1..=3);
    processed(&gateway, 8);
    let lamps = [("city/lamp/1".to_owned(), "on".to_owned()), ("city/lamp/3".to_owned(), "on".to_owned())];
    let feed = "feed/v1/environment/A/S/pm2_5";
    let value = retained(&gateway, feed, 1);
    assert_says(&value[0].1, &["\"result\":3", "\"datastream\":\"A/S/pm2_5\""]);
    for turn in ["kill -9", "restart", "kill -9 after a restart"] {
        assert_eq!(retained(&gateway, "city/#", 2), lamps, "before {turn}");
        if turn.starts_with("kill") {
            gateway.kill9()
        } else {
            drop(gateway.terminate())
        }
        gateway = Gateway::start(&data_dir, &NEVER_FLUSHED);
        assert_eq!(retained(&gateway, "city/#", 2), lamps, "after {turn}");
        assert_eq!(retained(&gateway, feed, 1), value, "after {turn}");
    }
}
