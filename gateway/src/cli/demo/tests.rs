//! A1-12: the demo as a whole, with the real engine, real sockets and a real directory.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use clap::Parser;
use crossbeam::channel::{Receiver, Sender, bounded};

use super::screen::Screen;
use super::{Signal, demo_until};
use crate::cli::{Arguments, Command, Exit, Failure};
use crate::engine::Engine;

const FREE: [&str; 4] = ["--mqtt-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
/// Little files: a test needs no long journals.
const SMALL: [&str; 4] =
    ["--set", "journal.segment_bytes_max=8388608", "--set", "journal.log_bytes_max=268435456"];

/// Runs a demo; what it showed, and how it ended.
fn demo(
    data_dir: &Path,
    options: &[&str],
    stop: &Receiver<Signal>,
    is_terminal: bool,
) -> (String, Result<(), Failure>) {
    let data_dir = data_dir.to_str().expect("a path of a test");
    let fixed = ["sensor-gateway", "demo", "--data-dir", data_dir];
    let all = fixed.iter().chain(&SMALL).chain(options);
    let arguments = Arguments::try_parse_from(all).expect("valid usage");
    let Command::Demo(demo) = &arguments.command else { panic!("it is a demo") };
    let mut out = Vec::new();
    let result = demo_until(&arguments.common, demo, &Engine, stop, &mut Screen::new(&mut out, is_terminal));
    (String::from_utf8(out).expect("text"), result)
}

/// Nobody stops it.
fn endless() -> (Sender<Signal>, Receiver<Signal>) {
    bounded(1)
}

/// The number behind a line's name in the tables.
fn count(out: &str, name: &str) -> u64 {
    let line = out.lines().find(|line| line.trim_start().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{out}"));
    let number = line.trim_start()[name.len()..].trim().replace(',', "");
    number.parse().unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn a_demo_proves_that_nothing_was_lost_and_goes_on_from_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("demo-data");
    let (_sender, stop) = endless();
    let options = [&FREE[..], &["--duration-s", "2", "--stations", "20", "--rate", "200"]].concat();

    let (out, result) = demo(&data_dir, &options, &stop, false);
    assert_eq!(result, Ok(()), "{out}");
    assert!(out.contains("recorded messages of air, water, weather and traffic are replayed"), "{out}");
    assert!(out.contains("verify: fine\nbooks: balanced\n"), "{out}");
    let (sent, acked) = (count(&out, "sent by the devices"), count(&out, "acknowledged"));
    let received = count(&out, "received");
    assert_eq!(sent, acked, "{out}");
    assert_eq!(received, acked, "{out}");
    assert!(count(&out, "decoded") > 9_000, "the recorded readings are among them: {out}");
    assert!(count(&out, "corrected") > 0, "{out}");
    assert!(count(&out, "duplicate") > 0, "{out}");
    assert!(!out.contains('\u{1b}'), "control sequences are for terminals: {out}");
    assert!(!out.contains("The subscriber saw 0 messages"), "{out}");

    // Once more, on a terminal: the replay is not repeated, the books go on, the old readings are proved again.
    let (again, result) = demo(&data_dir, &options, &stop, true);
    assert_eq!(result, Ok(()), "{again}");
    assert!(again.contains("The recorded readings are among them"), "{again}");
    assert!(again.contains("verify: fine\nbooks: balanced\n"), "{again}");
    let more = count(&again, "received") - received;
    assert!(more > 0 && more < 3_000, "{again}");
    assert!(again.contains("  feed/v1/"), "the block shows what is fed: {again}");
}

#[test]
fn a_replay_that_was_cut_short_starts_over_and_stores_nothing_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_sender, stop) = endless();
    let options = [&FREE[..], &["--duration-s", "1", "--stations", "5"]].concat();
    let (out, result) = demo(dir.path(), &options, &stop, false);
    assert_eq!(result, Ok(()), "{out}");

    // The devices died before the last acknowledgement of the replay came; the stations were never there.
    let ledger = dir.path().join("truth.ndjson");
    let text = fs::read_to_string(&ledger).expect("readable");
    let stations = text.match_indices("{\"session\"").nth(1).expect("a session of the stations").0;
    let (replay, stations) = text.split_at(stations);
    let acked = replay.rfind("{\"acked\"").expect("acknowledged");
    let end = acked + replay[acked..].find('\n').expect("a whole line") + 1;
    let cut = format!("{}{}{stations}", &replay[..acked], &replay[end..]);
    fs::write(&ledger, cut).expect("writable");

    let (again, result) = demo(dir.path(), &options, &stop, false);
    assert_eq!(result, Ok(()), "{again}");
    assert!(again.contains("it starts over"), "{again}");
    assert!(again.contains("recorded messages were acknowledged"), "{again}");
    let readings = count(&out, "inserted") + count(&out, "corrected");
    assert!(count(&again, "duplicate") - count(&out, "duplicate") > readings / 2, "{out}{again}");
    assert!(count(&again, "inserted") - count(&out, "inserted") < 100, "{out}{again}");
}

#[test]
fn a_reading_that_was_acknowledged_and_is_not_in_the_store_fails_the_demo() {
    let dir = tempfile::tempdir().expect("a directory");
    let at_once = || {
        let (sender, stop) = endless();
        sender.send(Signal).expect("there is room");
        demo(dir.path(), &FREE, &stop, false)
    };
    let (out, result) = at_once();
    assert_eq!(result, Ok(()), "{out}");

    // It was never sent to this gateway: as if it had been lost.
    let lost = concat!(
        r#"{"session":"2026-11-21T00:00:00Z","format_version":1,"command":"run"}"#,
        "\n",
        r#"{"sent":1,"client":"x","packet":1,"topic":"obs/A/B","format":"json","qos":1,"kind":"reading","#,
        r#""time":"2026-11-21T00:00:00Z","readings":[{"property":"pm2_5","value":1.5,"unit":"ug/m3"}]}"#,
        "\n{\"acked\":1}\n",
    );
    let ledger = dir.path().join("truth.ndjson");
    let text = fs::read_to_string(&ledger).expect("readable") + lost;
    fs::write(&ledger, text).expect("writable");

    let (out, result) = at_once();
    assert_eq!(result.as_ref().map_err(|failure| failure.exit), Err(Exit::CheckFailed), "{out}");
    assert_eq!(count(&out, "lost"), 1, "{out}");
    assert!(out.contains("A/B/pm2_5 at 2026-11-21T00:00:00Z"), "{out}");
    assert!(out.contains("verify: NOT fine"), "{out}");
    let books = format!("books: {} messages were acknowledged, but only", count(&out, "acknowledged"));
    assert!(out.contains(&books), "{out}");
}

#[test]
fn data_of_another_gateway_are_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("catalogue.sqlite"), "").expect("writable");
    let (_sender, stop) = endless();
    let (out, result) = demo(dir.path(), &FREE, &stop, false);
    let failure = result.expect_err("refused");
    assert_eq!((failure.exit, out.as_str()), (Exit::Environment, ""));
    assert!(failure.sentence.contains("is no directory of a demo"), "{failure}");
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
}

#[test]
fn a_taken_port_is_one_line_with_its_remedy() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    let (_sender, stop) = endless();
    for (option, other) in [("--mqtt-listen", "--http-listen"), ("--http-listen", "--mqtt-listen")] {
        let options = [option, &addr, other, "127.0.0.1:0"];
        let (_, result) = demo(&dir.path().join("demo-data"), &options, &stop, false);
        let failure = result.expect_err("refused");
        assert_eq!(failure.exit, Exit::Environment);
        assert!(failure.sentence.starts_with(&format!("{addr} is taken")), "{failure}");
        assert!(failure.sentence.ends_with(&format!("with {option} 127.0.0.1:0")), "{failure}");
        assert!(!failure.sentence.contains('\n'), "{failure}");
    }
    assert!(!dir.path().join("demo-data").exists(), "nothing is made before the ports are free");
}
