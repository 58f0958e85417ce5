//! B1-6: `journal verify` beside a gateway, without one, and where the gateway refuses to start; planted damage wherever it may
//! be; `journal dump`; what an accepted gap costs. Sums are compared with what was sent, not with the gateway's own counts.

mod cells;
mod faults;
mod laundry;
mod lost;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{Gateway, RawMqtt, RunOutput, frame_places, new_data_dir, sensor_gateway, wait_until};
use serde_json::Value;

const SETTINGS: [&str; 4] =
    ["--set", "journal.segment_bytes_max=4194304", "--set", "store.flush_interval_ms=200"];

fn journal(data_dir: &Path, arguments: &[&str]) -> RunOutput {
    let data_dir = data_dir.to_string_lossy();
    sensor_gateway(&[&["journal"], arguments, &["--data-dir", &data_dir]].concat())
}

/// Exit code and report.
fn verify(data_dir: &Path) -> (i32, Value) {
    let output = journal(data_dir, &["verify", "--format", "json"]);
    let report = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {:?} {} {}", output.code, output.stdout, output.stderr));
    (output.code.expect("it ends by itself"), report)
}

fn is_fine(data_dir: &Path) -> Value {
    let (code, report) = verify(data_dir);
    assert_eq!(code, 0, "{report:#}");
    report
}

fn count(report: &Value, what: &str) -> u64 {
    let lines = report["checked"].as_array().expect("a list");
    let line =
        lines.iter().find(|line| line["what"] == what).unwrap_or_else(|| panic!("no {what}: {report:#}"));
    line["count"].as_u64().expect("a number")
}

fn payload(number: u16) -> String {
    match number % 10 {
        // Twice, corrected, late, and not to be decoded.
        7 => r#"{"time":1700000000,"readings":[{"property":"pm2_5","value":1}]}"#.to_owned(),
        8 => format!(r#"{{"time":1700000000,"readings":[{{"property":"pm2_5","value":{number}}}]}}"#),
        9 => format!("no JSON {number}"),
        _ => {
            let time = 1_700_000_001 + u32::from(number);
            format!(
                r#"{{"time":{time},"readings":[{{"property":"pm2_5","value":{number}}},{{"property":"no2","value":"hỏng"}}]}}"#
            )
        }
    }
}

/// One by one, so that each message has a journal frame of its own.
fn publish(gateway: &Gateway, numbers: std::ops::Range<u16>) {
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "verify");
    for number in numbers {
        client.send_publish(&format!("obs/A/S{}", number % 3), number + 1, payload(number).as_bytes());
        client.expect_puback(number + 1);
    }
}

/// A client that numbers its messages.
struct Sender {
    client: RawMqtt,
    sent: u64,
}

impl Sender {
    fn new(gateway: &Gateway, sent: u64) -> Self {
        Self { client: RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "box"), sent }
    }

    /// A message, and its ack.
    fn send(&mut self, payload: &str) {
        self.sent += 1;
        let id = self.sent as u16;
        self.client.send_publish("obs/A/S", id, payload.as_bytes());
        self.client.expect_puback(id);
    }

    fn send_all(&mut self, payloads: &[String]) {
        payloads.iter().for_each(|payload| self.send(payload));
    }
}

/// Every file below a directory with its bytes; SQLite's index of its own log is no data.
fn contents(data_dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut contents = BTreeMap::new();
    let mut waiting = vec![data_dir.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if !path.ends_with("control.sock") {
                contents.insert(path.clone(), fs::read(&path).expect("a readable file"));
            }
        }
    }
    contents
}

#[test]
fn b1_6_all_is_fine_beside_a_gateway_after_kill_9_and_after_a_stop_and_nothing_is_written() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    for round in 0..5 {
        publish(&gateway, round * 60..round * 60 + 60);
        // In whatever state it is: frames under way, rows unresolved, files being written.
        let report = is_fine(&data_dir);
        assert_eq!(report["beside_gateway"], true);
    }
    gateway.wait_until_flushed(300);
    let report = is_fine(&data_dir);
    // 210 messages with two readings; one time of each of the three stations came with 1 and ten other values, 20 times; 30
    // in quarantine.
    assert_eq!(count(&report, "journal messages"), 300);
    assert_eq!(count(&report, "quarantine entries"), 30);
    let rows = count(&report, "store rows");
    let sent = 210 * 2 + 3 * 11;
    assert_eq!(rows, sent, "{report:#}");
    assert_eq!(count(&report, "observations in force"), 210 * 2 + 3);
    gateway.kill9();

    for _ in 0..2 {
        let before = contents(&data_dir);
        let report = is_fine(&data_dir);
        assert_eq!((report["beside_gateway"].clone(), count(&report, "store rows")), (false.into(), sent));
        assert_eq!(contents(&data_dir), before, "verify changed something");
        Gateway::start(&data_dir, &SETTINGS).terminate();
    }
    let text = journal(&data_dir, &["verify"]).success();
    assert!(text.contains("fine: nothing is inconsistent"), "{text}");
}

/// Flips one bit; gives it back when dropped.
struct Flipped {
    path: PathBuf,
    offset: u64,
    byte: u8,
}

impl Flipped {
    fn new(path: &Path, offset: u64, bit: u8) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the file is there");
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("the byte is there");
        file.write_all_at(&[byte[0] ^ (1 << bit)], offset).expect("the file can be written");
        Self { path: path.to_owned(), offset, byte: byte[0] }
    }
}

impl Drop for Flipped {
    fn drop(&mut self) {
        let file = OpenOptions::new().write(true).open(&self.path).expect("the file is there");
        file.write_all_at(&[self.byte], self.offset).expect("the file can be written");
    }
}

/// The segments of a log that have frames: path, and offset and length of each.
fn segments(log: &Path) -> Vec<(PathBuf, Vec<(u64, u64)>)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(log).expect("a directory").flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    let segments = paths.into_iter().map(|path| {
        let frames =
            frame_places(&path).into_iter().map(|(offset, len)| (offset as u64, len as u64)).collect();
        (path, frames)
    });
    segments.filter(|(_, frames): &(_, Vec<_>)| !frames.is_empty()).collect()
}

/// Places with data in them: path in the data directory, first and last byte of a part.
fn places(data_dir: &Path) -> Vec<(String, u64, u64)> {
    let mut places = Vec::new();
    for log in ["journal", "observations"] {
        for (path, frames) in segments(&data_dir.join(log)) {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            places.push((format!("{log}/{name}"), 0, 4_095));
            places.extend(
                frames.into_iter().map(|(offset, len)| (format!("{log}/{name}"), offset, offset + len - 1)),
            );
        }
    }
    for (path, bytes) in contents(&data_dir.join("store")) {
        let name = path.strip_prefix(data_dir).expect("below it").to_string_lossy().into_owned();
        let end = bytes.len() as u64 - 1;
        places.extend((0..8).map(|part| (name.clone(), end * part / 8, end * (part + 1) / 8)));
    }
    places
}

#[test]
fn b1_6_a_flipped_bit_is_found_wherever_it_is() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let mut reader = None;
    for round in 0..2 {
        let gateway = Gateway::start(&data_dir, &SETTINGS);
        reader = (round == 1).then(|| reader_of_catalogue(&data_dir));
        publish(&gateway, round * 30..round * 30 + 30);
        gateway.wait_until_flushed(u64::from(round) * 30 + 30);
        gateway.terminate();
    }
    is_fine(&data_dir);
    find_flipped(&data_dir, &places(&data_dir), 80);
    // The catalogue: first what lies in its write-ahead log, since somebody read meanwhile, of whose last frame nobody knows
    // whether it was ever whole; then all of its rows and indices, in the main file.
    find_flipped(&data_dir, &wal_frames(&data_dir), 20);
    drop(reader);
    let catalogue = data_dir.join("catalogue.db");
    fold_write_ahead_log(&data_dir);
    let cells: Vec<_> = cells::places(&catalogue)
        .into_iter()
        .map(|(first, last)| ("catalogue.db".to_owned(), first, last))
        .collect();
    assert!(cells.len() > 100, "{} cells", cells.len());
    find_flipped(&data_dir, &cells, 120);
    is_fine(&data_dir);
}

/// Holds a view of the catalogue, so that what is committed from now on stays in the write-ahead log.
fn reader_of_catalogue(data_dir: &Path) -> rusqlite::Connection {
    let reader = rusqlite::Connection::open(data_dir.join("catalogue.db")).expect("a catalogue");
    reader.execute_batch("BEGIN; SELECT * FROM checkpoint").expect("it can be read");
    reader
}

/// F2: beside a gateway a damaged write-ahead log is told before a crash makes it count; without that log everything is there all
/// the same; a clean stop leaves nothing in it.
#[test]
fn b1_6_the_write_ahead_log_is_verified_beside_a_gateway_and_its_loss_costs_nothing() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    publish(&gateway, 0..30);
    gateway.wait_until_flushed(30);
    let reader = reader_of_catalogue(&data_dir);
    for messages in 3..6 {
        publish(&gateway, messages * 10..messages * 10 + 10);
        gateway.wait_until_flushed(u64::from(messages) * 10 + 10);
    }
    assert!(gateway.metric("catalogue_commits_in_wal") > 0);
    let rows = count(&is_fine(&data_dir), "store rows");
    find_flipped(&data_dir, &wal_frames(&data_dir)[..1], 1);
    is_fine(&data_dir);
    gateway.kill9();

    let copy = directory.path().join("copy");
    let status = std::process::Command::new("cp").arg("-a").arg(&data_dir).arg(&copy).status();
    assert!(status.is_ok_and(|status| status.success()));
    drop(reader);
    fs::remove_file(copy.join("catalogue.db-wal")).expect("it was there");
    is_fine(&copy);
    let gateway = Gateway::start(&copy, &SETTINGS);
    gateway.wait_until_flushed(60);
    assert_eq!(count(&is_fine(&copy), "store rows"), rows);
    gateway.terminate();
    let left = fs::metadata(copy.join("catalogue.db-wal")).map_or(0, |log| log.len());
    assert_eq!(left, 0, "a clean stop leaves nothing there");
    is_fine(&copy);
}

/// F5: damage that a question or a start meets ends it with 3 and the part of the page.
#[test]
fn b1_6_damage_met_by_a_question_or_a_start_exits_3() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    publish(&gateway, 0..7);
    gateway.wait_until_flushed(7);
    gateway.terminate();
    let (path, bytes) = contents(&data_dir.join("store")).into_iter().next().expect("a store file");
    fs::write(path, vec![7; bytes.len()]).expect("written");
    let query = sensor_gateway(&["query", "--data-dir", &data_dir.to_string_lossy()]);
    assert_eq!(query.code, Some(3), "{}", query.stderr);
    assert!(query.stderr.contains("damage.md, \"file_unreadable\""), "{}", query.stderr);
    fs::write(data_dir.join("journal/accepted-damage"), "no list\n").expect("written");
    let Err(refused) = Gateway::try_start(&[], &data_dir, &SETTINGS) else {
        panic!("it started with a list that cannot be read")
    };
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("damage.md, \"accepted_damage\""), "{}", refused.stderr);
}

/// Everything into the catalogue's main file.
fn fold_write_ahead_log(data_dir: &Path) {
    let catalogue = rusqlite::Connection::open(data_dir.join("catalogue.db")).expect("a catalogue");
    let busy = catalogue.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    assert_eq!(busy, Ok(0), "nobody else has it");
}

/// The frames of SQLite's write-ahead log but the last.
fn wal_frames(data_dir: &Path) -> Vec<(String, u64, u64)> {
    const FRAME: u64 = 24 + 4_096;
    let length = fs::metadata(data_dir.join("catalogue.db-wal")).expect("it was not folded in").len();
    let frames = (length - 32) / FRAME;
    assert!(frames > 2, "{frames} frames");
    // Those of the last commit: what is behind them may be of a former life of the file.
    (0..frames - 1)
        .map(|frame| ("catalogue.db-wal".to_owned(), 32 + frame * FRAME, 32 + (frame + 1) * FRAME - 1))
        .collect()
}

/// Flips a bit in about so many of the places, one after the other, spread over all of them; which byte and bit of a place is
/// up to its number. Each is found, named by its file, and by its frame in a log.
fn find_flipped(data_dir: &Path, places: &[(String, u64, u64)], count: usize) {
    for (number, (name, first, last)) in places.iter().enumerate().step_by(1 + places.len() / count) {
        let number = number as u64;
        let offset = first + number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (last - first + 1);
        let flipped = Flipped::new(&data_dir.join(name), offset, (number % 8) as u8);
        let (code, report) = verify(data_dir);
        drop(flipped);
        let found = &report["findings"][0];
        assert_eq!(
            (code, found["file"].as_str()),
            (1, Some(name.as_str())),
            "byte {offset} ({first}–{last}) of {name}: {report:#}"
        );
        if name.ends_with(".seg") || name.ends_with("-wal") {
            assert_eq!(found["offset"].as_u64(), Some(*first), "byte {offset} of {name}: {found:#}");
        }
        assert!(
            found["code"].is_string() && !found["what"].as_str().unwrap_or_default().is_empty(),
            "{found:#}"
        );
    }
}

#[test]
fn b1_6_a_refused_start_can_be_verified_and_an_accepted_gap_is_counted_and_told() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    publish(&gateway, 0..20);
    gateway.wait_until_flushed(20);
    gateway.terminate();
    // The tail of a journal that was not processed yet: the observation log and the catalogue of before.
    let saved = directory.path().join("saved");
    fs::create_dir(&saved).expect("made");
    for name in ["observations", "store", "catalogue.db", "catalogue.db-wal"] {
        if data_dir.join(name).exists() {
            let copied =
                std::process::Command::new("cp").arg("-a").arg(data_dir.join(name)).arg(&saved).status();
            assert!(copied.is_ok_and(|status| status.success()));
        }
    }
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    publish(&gateway, 20..40);
    gateway.wait_until_flushed(40);
    gateway.kill9();
    for name in ["observations", "store", "catalogue.db", "catalogue.db-wal", "catalogue.db-shm"] {
        let path = data_dir.join(name);
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
        if saved.join(name).exists() {
            fs::rename(saved.join(name), &path).expect("put back");
        }
    }
    is_fine(&data_dir);
    // A frame in the middle of the unprocessed messages.
    let newest = segments(&data_dir.join("journal")).pop().expect("a segment");
    let (path, frames) = newest;
    let (offset, _) = frames[frames.len() - 5];
    std::mem::forget(Flipped::new(&path, offset + 100, 3));

    let Err(refused) = Gateway::try_start(&[], &data_dir, &SETTINGS) else {
        panic!("it started on a damaged journal")
    };
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("damage.md, \"frames_missing\""), "{}", refused.stderr);
    let (code, report) = verify(&data_dir);
    let found = &report["findings"][0];
    assert_eq!(
        (code, found["code"].as_str(), found["offset"].as_u64()),
        (1, Some("frames_missing"), Some(offset)),
        "{report:#}"
    );

    let gateway = Gateway::start(&data_dir, &[&SETTINGS[..], &["--accept-gap"]].concat());
    let ledger = wait_until("everything that is left to be processed", || {
        let ledger = gateway.ledger();
        (ledger["processed"].as_u64() == Some(40) && ledger["observations"]["unresolved"] == 0)
            .then_some(ledger)
    });
    assert_eq!(
        (ledger["lost"].as_u64(), ledger["messages"]["received"].as_u64()),
        (Some(1), Some(39)),
        "{ledger}"
    );
    gateway.terminate();
    let report = is_fine(&data_dir);
    assert!(report["notes"].to_string().contains("which an operator accepted"), "{report:#}");
    let table = sensor_gateway(&["ledger", "--data-dir", &data_dir.to_string_lossy()]).success();
    assert!(table.contains("lost messages: 1"), "{table}");
}

#[test]
fn b1_6_dump_gives_back_what_was_sent_byte_by_byte() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    publish(&gateway, 0..30);
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let text = journal(&data_dir, &[&["dump"], arguments].concat()).success();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let all = lines(&[]);
    assert_eq!(all.len(), 30);
    for (number, line) in (0..).zip(&all) {
        assert_eq!(line["position"], u64::from(number) + 1);
        assert_eq!(line["topic"], format!("obs/A/S{}", number % 3));
        assert_eq!(line["payload_hex"], hex(payload(number).as_bytes()), "{line}");
        assert_eq!(line["payload_text"], payload(number));
    }
    assert_eq!(lines(&["--station", "A/S1"]).len(), 10);
    assert_eq!(lines(&["--position", "5..7", "--station", "A/S1"]).len(), 1);
    let time = all[10]["receiveTime"].as_str().expect("a time");
    let from_then = lines(&["--from", time]).len();
    assert_eq!(lines(&["--to", time]).len() + from_then, 30);
    assert!((1..=20).contains(&from_then));
    gateway.terminate();

    let raw = directory.path().join("raw");
    journal(&data_dir, &["dump", "--format", "raw", "--output", &raw.to_string_lossy()]).success();
    for number in 0..30 {
        let file = raw.join(format!("{:020}.bin", u64::from(number) + 1));
        assert_eq!(fs::read(file).expect("a file for each"), payload(number).as_bytes());
    }
    let output = journal(&data_dir, &["dump", "--position", "4", "--format", "hex"]);
    assert_eq!(output.stdout.trim(), hex(payload(3).as_bytes()));
    // F4: of a segment that is cut to nothing no frame says what stood there.
    let (path, _) = segments(&data_dir.join("journal")).remove(0);
    let bytes = fs::read(&path).expect("it can be read");
    fs::write(&path, "").expect("it can be written");
    let hidden = journal(&data_dir, &["dump"]);
    assert_eq!(hidden.code, Some(1), "{} {}", hidden.stdout, hidden.stderr);
    assert!(hidden.stderr.contains("damage hides messages"), "{}", hidden.stderr);
    fs::write(&path, bytes).expect("it can be written");
    let wrong = journal(&data_dir, &["dump", "--station", "A"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("expected AGENCY/STATION"), "{}", wrong.stderr);
}

#[test]
fn b1_6_what_cannot_be_checked_says_so() {
    let directory = new_data_dir();
    let nothing = journal(directory.path(), &["verify"]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.stderr.contains("there is no gateway's data in this directory"), "{}", nothing.stderr);
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0, "nothing is made");
}
