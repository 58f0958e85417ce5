//! P1, P2, P4: a disk that is full and gets space again; a journal that is damaged in its middle.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{
    Gateway, RawMqtt, Simulator, SmallDisk, frame_places, new_data_dir, sensor_gateway, verify, wait_until,
};
use serde_json::Value;

fn received(gateway: &Gateway) -> u64 {
    gateway.ledger()["messages"]["received"].as_u64().expect("a count")
}

/// Nothing is acknowledged that finds no room, `/ready` says why and what to do; when there is space again, work goes on by
/// itself and nothing is missing.
#[test]
fn p2_a_full_disk_holds_acks_back_and_work_goes_on_when_there_is_space() {
    let disk = SmallDisk::new_real(96);
    let data_dir = disk.data_dir();
    let wrapper = disk.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let gateway = Gateway::start_wrapped(&wrapper, &data_dir, &SmallDisk::SETTINGS);
    let mqtt = gateway.mqtt.to_string();
    let truth = data_dir.with_file_name("truth.ndjson");
    let load = "--clients 2 --stations 10 --rate 4000 --in-flight 50 --format json --seed 5 --resend-after-reconnect";
    let args: Vec<&str> = ["run", "--broker", &mqtt].into_iter().chain(load.split(' ')).collect();
    let simulator = Simulator::start(&truth, &args);
    wait_until("a load", || (received(&gateway) > 1_000).then_some(()));

    disk.fill();
    let reasons = wait_until("/ready to say that there is no space", || {
        let (status, body) = gateway.http_get("/ready");
        let ready: Value = serde_json::from_str(&body).expect("JSON");
        (status == 503).then(|| ready["reasons"].to_string())
    });
    assert!(reasons.contains("space"), "{reasons}");
    let (status, _) = gateway.http_get("/health");
    assert_eq!(status, 200, "it lives");
    // The ballast's space would last for long: somebody else takes that too. The journal's last segment fills up; then nothing
    // is taken.
    disk.fill();
    let mut before = 0;
    let stopped_at = wait_until("acks to stop", || {
        // Many times the pause between two messages of the load: an equal count means that none is taken.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = received(&gateway);
        (std::mem::replace(&mut before, now) == now).then_some(now)
    });

    disk.free();
    wait_until("work to go on", || (received(&gateway) > stopped_at + 1_000).then_some(()));
    wait_until("/ready", || (gateway.http_get("/ready").0 == 200).then_some(()));
    let truth = simulator.stop();
    let ledger = gateway.wait_until_flushed(received(&gateway));
    assert_eq!(ledger["messages"]["decoded"], ledger["messages"]["received"], "{ledger}");
    gateway.terminate();
    let report = verify(&truth, &disk.copy());
    assert!(report["rows_required"].as_u64().is_some_and(|rows| rows > 2_000), "{report}");
}

/// The file and the offset of a log's frame number `at`, in the order of writing.
fn frame_in(data_dir: &Path, log: &str, at: usize) -> (PathBuf, u64) {
    let entries = fs::read_dir(data_dir.join(log)).expect("there is a log");
    let mut segments: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.sort();
    let mut places = segments.iter().flat_map(|path| {
        frame_places(path).into_iter().map(move |(offset, _)| (path.clone(), offset as u64))
    });
    places.nth(at).expect("there are so many frames")
}

fn flip_a_bit(path: &Path, offset: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("the segment is there");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut byte)).expect("inside the file");
    byte[0] ^= 1;
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&byte)).expect("the file can be written");
}

/// A flipped bit with valid frames behind it is corruption: no start (exit 3), unless the operator accepts the loss. Then all
/// else is there, and what was decoded before is there too.
#[test]
fn a1_5_damage_inside_the_journal_refuses_the_start_until_it_is_accepted() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    // Nothing is flushed, so the journal and the observation log are all there is.
    let settings = ["--set", "store.flush_interval_ms=3600000"];
    let gateway = Gateway::start(&data_dir, &settings);
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "station");
    for id in 1..=10_u16 {
        // One frame each: the next one leaves when this one is acknowledged.
        client.send_publish("obs/A/S/flow", id, id.to_string().as_bytes());
        client.expect_puback(id);
    }
    gateway.kill9();

    let (segment, offset) = frame_in(&data_dir, "journal", 4);
    flip_a_bit(&segment, offset + 100);

    let refused = Gateway::try_start(&[], &data_dir, &settings).expect_err("the journal is damaged");
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("--accept-gap"), "what to do is said: {}", refused.stderr);
    let path = data_dir.to_string_lossy();
    let question = sensor_gateway(&["ledger", "--data-dir", &path]);
    assert_eq!(question.code, Some(3), "no books either: {}", question.stderr);

    let gateway = Gateway::start(&data_dir, &[&settings[..], &["--accept-gap"]].concat());
    assert!(gateway.stderr().contains("--accept-gap"), "the lost range is logged: {}", gateway.stderr());
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "station");
    client.send_publish("obs/A/S/flow", 11, b"11");
    client.expect_puback(11);
    let values = |rows: &[e2e_tests::Row]| rows.iter().map(|row| row["result"].clone()).collect::<Vec<_>>();
    let rows = wait_until("the new reading", || {
        let rows = gateway.query_csv(&[]);
        values(&rows).contains(&"11".to_owned()).then_some(rows)
    });
    let found = values(&rows);
    let missing = (1..=11).filter(|value: &i32| !found.contains(&value.to_string())).count();
    assert!(missing <= 1, "at most the reading of the damaged frame: {found:?}");
    gateway.terminate();
    // The gap is remembered: no second question.
    let gateway = Gateway::start(&data_dir, &settings);
    assert_eq!(values(&gateway.query_csv(&[])), found);
}

/// Observations that are in no file yet exist nowhere else once the journal lets go of them: their loss is never accepted, and
/// the refusal does not offer what it would not keep.
#[test]
fn a1_5_damage_inside_the_observation_log_is_no_question_to_the_operator() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let settings = ["--set", "store.flush_interval_ms=3600000"];
    let gateway = Gateway::start(&data_dir, &settings);
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "station");
    for id in 1..=5_u16 {
        client.send_publish("obs/A/S/flow", id, id.to_string().as_bytes());
        client.expect_puback(id);
        // A frame of the observation log each.
        wait_until("the reading", || (gateway.query_csv(&[]).len() == usize::from(id)).then_some(()));
    }
    gateway.kill9();
    let (segment, offset) = frame_in(&data_dir, "observations", 1);
    flip_a_bit(&segment, offset + 100);
    for arguments in [&settings[..], &[&settings[..], &["--accept-gap"]].concat(), &settings[..]] {
        let refused = Gateway::try_start(&[], &data_dir, arguments).expect_err("the log is damaged");
        assert_eq!(refused.code, Some(3), "{}", refused.stderr);
        assert!(!refused.stderr.contains("--accept-gap"), "{}", refused.stderr);
        assert!(refused.stderr.contains("backup"), "what to do is said: {}", refused.stderr);
    }
}

/// A question to a directory without a gateway makes no larger segments than there are.
#[test]
fn a1_8_a_question_without_a_gateway_does_not_fill_the_disk() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &SmallDisk::SETTINGS);
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "station");
    client.send_publish("obs/A/S/flow", 1, b"1");
    client.expect_puback(1);
    gateway.kill9();
    let path = data_dir.to_string_lossy();
    sensor_gateway(&["query", "--data-dir", &path]).success();
    for entry in fs::read_dir(data_dir.join("journal")).expect("there is a journal") {
        let entry = entry.expect("it can be read");
        assert!(entry.metadata().expect("it can be read").len() <= 4_194_304, "{:?}", entry.path());
    }
}
