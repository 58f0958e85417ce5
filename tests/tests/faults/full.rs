//! A disk without one free byte, the ballast's space gone too; and one that can only be read.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{
    Gateway, RawMqtt, RunOutput, SmallDisk, Starting, binary, frame_places, http_get, try_http_get,
    wait_until,
};
use serde_json::Value;

use super::load::{assert_balanced, same_ports};

const SMALL: [&str; 8] = [
    "--set",
    "journal.segment_bytes_max=4194304",
    "--set",
    "journal.log_bytes_max=67108864",
    // Nothing is in a file or in the catalogue: it has to be made of the logs.
    "--set",
    "store.flush_interval_ms=3600000",
    "--set",
    "store.flush_rows_max=50000",
];
const QUESTIONS: [&str; 6] = [
    "query",
    "query --datastream A/S/flow --limit 2 --format json",
    "ledger --format json",
    "quarantine list",
    "quarantine show 11 --format json",
    "journal verify",
];

/// Ten readings and a message that cannot be decoded, then `kill -9`.
fn filled_directory(disk: &SmallDisk, wrapper: &[&str]) -> Vec<String> {
    let gateway = Gateway::start_wrapped(wrapper, &disk.data_dir(), &SMALL);
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V5, "station");
    for id in 1..=11_u16 {
        let payload = if id == 11 { "no number".to_owned() } else { id.to_string() };
        client.send_publish("obs/A/S/flow", id, payload.as_bytes());
        client.expect_puback(id);
    }
    gateway.wait_until_processed();
    let ports = same_ports(&gateway);
    gateway.kill9();
    ports
}

fn ask(disk: &SmallDisk, wrapper: &[&str], question: &str) -> RunOutput {
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(binary("sensor-gateway"))
        .args(question.split(' '))
        .arg("--data-dir")
        .arg(disk.data_dir())
        .output()
        .expect("the binary can be run");
    RunOutput::of(&output)
}

/// All files with what is in them, but for what fills the disk.
fn contents(disk: &SmallDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![disk.seen_from_outside()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("it can be read") {
            let entry = entry.expect("it can be read");
            let kind = entry.file_type().expect("its kind is known");
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() && entry.file_name() != "filler" {
                files.insert(entry.path(), fs::read(entry.path()).expect("it can be read"));
            }
        }
    }
    files
}

/// The same answers whatever the disk is like, and not one byte of it touched, the ballast included.
fn assert_answered(disk: &SmallDisk, wrapper: &[&str]) {
    let before = contents(disk);
    assert_questions_answered(disk, wrapper);
    let after = contents(disk);
    let changed: Vec<&Path> = before
        .keys()
        .chain(after.keys())
        .filter(|path| before.get(*path) != after.get(*path))
        .map(PathBuf::as_path)
        .collect();
    assert!(changed.is_empty(), "questions have changed {changed:?}");
    // What must write is refused with a sentence.
    let change = ask(disk, wrapper, "quarantine erase --all");
    assert_eq!(change.code, Some(2), "{}", change.stderr);
}

fn assert_questions_answered(disk: &SmallDisk, wrapper: &[&str]) {
    let listed = |output: RunOutput| output.success();
    assert_eq!(listed(ask(disk, wrapper, QUESTIONS[0])).lines().count(), 1 + 10);
    for question in QUESTIONS {
        let answer = ask(disk, wrapper, question);
        assert_eq!(answer.code, Some(0), "{question}: {}", answer.stderr);
    }
    let ledger: Value = serde_json::from_str(&listed(ask(disk, wrapper, QUESTIONS[2]))).expect("JSON");
    assert_eq!(ledger["messages"]["received"], 11, "{ledger}");
    assert_eq!(ledger["messages"]["quarantined"], 1, "{ledger}");
    let list = listed(ask(disk, wrapper, QUESTIONS[3]));
    assert!(list.contains("obs/A/S/flow"), "what is not committed is listed too: {list}");
}

fn start_that_waits(disk: &SmallDisk, wrapper: &[&str], arguments: &[&str], http: SocketAddr) -> Starting {
    let starting = Starting::new(wrapper, &disk.data_dir(), arguments);
    wait_until("an answer", || try_http_get(http, "/ready"));
    wait_until("a word that it waits", || starting.stderr().contains("waiting for space").then_some(()));
    starting
}

/// B1-2, B1-3, P2: questions are answered, `/ready` says why nothing is taken, and when space returns work goes on by itself.
#[test]
fn b1_2_a_start_without_a_free_byte_serves_what_is_there_and_goes_on_when_space_returns() {
    let disk = SmallDisk::new_real(96);
    let wrapper = disk.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let ports = filled_directory(&disk, &wrapper);
    let again: Vec<&str> = SMALL.into_iter().chain(ports.iter().map(String::as_str)).collect();
    disk.fill();
    assert!(contents(&disk).keys().any(|path| path.ends_with("ballast")), "the last reserve is there");
    let before = contents(&disk);
    assert_questions_answered(&disk, &wrapper);
    assert!(contents(&disk) == before, "questions leave the reserves as they are");
    disk.remove_reserves();
    disk.fill();
    assert_answered(&disk, &wrapper);

    let address = |at: usize| -> SocketAddr { ports[at].parse().expect("an address") };
    let (mqtt, http) = (address(1), address(3));
    let starting = start_that_waits(&disk, &wrapper, &again, http);
    let (status, body) = http_get(http, "/ready");
    assert!(status == 503 && body.contains("disk_full") && body.contains("free some space"), "{body}");
    assert!(!starting.has_said_ready());
    assert!(TcpStream::connect(mqtt).is_err(), "nothing is taken in");
    let (status, rows) = http_get(http, "/api/v1/observations?format=csv");
    assert_eq!((status, rows.lines().count()), (200, 1 + 10), "{rows}");
    assert_answered(&disk, &wrapper);

    disk.free();
    let gateway = starting.ready().expect("there is space");
    assert_eq!(gateway.http_get("/ready").0, 200);
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V5, "station");
    client.send_publish("obs/A/S/flow", 12, b"12");
    client.expect_puback(12);
    gateway.terminate();
    let gateway = Gateway::start_wrapped(
        &wrapper,
        &disk.data_dir(),
        &[&again[..], &["--set", "store.flush_interval_ms=200"]].concat(),
    );
    let ledger = assert_balanced(&gateway);
    assert_eq!(ledger["observations"]["inserted"], 11, "{ledger}");

    // One that waits ends at once when it is asked to.
    gateway.kill9();
    disk.remove_reserves();
    disk.fill();
    let starting = start_that_waits(&disk, &wrapper, &again, http);
    assert_eq!(starting.terminate().code(), Some(0));
}

/// B1-2: the directory is verified while a start waits, and space comes back meanwhile: the start goes on waiting until the lock is
/// free, and then starts.
#[test]
fn b1_2_a_start_that_waits_outlives_whoever_reads_the_directory_meanwhile() {
    let disk = SmallDisk::new_real(96);
    let wrapper = disk.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let ports = filled_directory(&disk, &wrapper);
    let again: Vec<&str> = SMALL.into_iter().chain(ports.iter().map(String::as_str)).collect();
    disk.remove_reserves();
    disk.fill();
    let http: SocketAddr = ports[3].parse().expect("an address");
    let starting = start_that_waits(&disk, &wrapper, &again, http);
    // What `journal verify` holds for its whole run.
    let lock = File::open(disk.seen_from_outside().join("lock")).expect("a gateway ran there");
    lock.try_lock_shared().expect("one that waits holds no lock");
    disk.free();
    wait_until("a start that finds the directory in use", || {
        starting.stderr().contains("uses this data directory").then_some(())
    });
    let (status, body) = wait_until("an answer", || try_http_get(http, "/ready"));
    assert!(status == 503 && body.contains("disk_full"), "{body}");
    assert!(!starting.has_said_ready());
    drop(lock);
    let gateway = starting.ready().expect("nothing is in the way any more");
    assert_eq!(gateway.received(), 11);
}

/// B1-2, B1-6: a loss that was accepted is accepted while the start waits, too.
#[test]
fn b1_2_b1_6_a_start_that_accepts_a_gap_waits_for_space_like_any_other() {
    let disk = SmallDisk::new_real(96);
    let wrapper = disk.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let ports = filled_directory(&disk, &wrapper);
    let again: Vec<&str> = SMALL.into_iter().chain(ports.iter().map(String::as_str)).collect();
    disk.remove_reserves();
    flip_a_bit_of_frame(&disk.seen_from_outside().join("journal"), 4);
    disk.fill();
    let refused = Gateway::try_start(&wrapper, &disk.data_dir(), &again).expect_err("it is damaged");
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    let http: SocketAddr = ports[3].parse().expect("an address");
    let accepting = [&again[..], &["--accept-gap"]].concat();
    let starting = start_that_waits(&disk, &wrapper, &accepting, http);
    let (status, rows) = http_get(http, "/api/v1/observations?format=csv");
    assert_eq!((status, rows.lines().count()), (200, 1 + 10), "{rows}");
    disk.free();
    starting.ready().expect("there is space, and the loss is accepted");
}

/// Of the first segment.
fn flip_a_bit_of_frame(log: &Path, at: usize) {
    let segments =
        fs::read_dir(log).expect("there is a log").map(|entry| entry.expect("it can be read").path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let segment = segments.filter(is_segment).min().expect("there is a segment");
    let (offset, _) = frame_places(&segment)[at];
    let file = OpenOptions::new().read(true).write(true).open(&segment).expect("the segment is there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset as u64 + 100).expect("inside the file");
    file.write_all_at(&[byte[0] ^ 1], offset as u64 + 100).expect("it can be written");
}

/// B1-2: who only reads needs nothing of the disk but what lies there; who would write is refused, exit 2.
#[test]
fn b1_2_questions_are_answered_on_a_read_only_disk() {
    let disk = SmallDisk::new(96);
    let wrapper = disk.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    filled_directory(&disk, &wrapper);
    disk.set_read_only(true);
    assert_answered(&disk, &wrapper);
    let refused = Gateway::try_start(&wrapper, &disk.data_dir(), &SMALL).expect_err("it is read-only");
    assert_eq!(refused.code, Some(2), "the environment: {}", refused.stderr);
    assert!(refused.stderr.contains("ead-only file system"), "{}", refused.stderr);
    disk.set_read_only(false);
    let gateway = Gateway::start_wrapped(&wrapper, &disk.data_dir(), &SMALL);
    assert_eq!(gateway.received(), 11);
}
