//! A1-12, A2-3: the demo as a whole, with the real engine, real sockets and a real directory.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use clap::Parser;
use crossbeam::channel::{Receiver, bounded};

use super::screen::Screen;
use super::{Signal, demo_until};
use crate::cli::{Arguments, Command, Exit, Failure};
use crate::engine::Engine;

const FREE: [&str; 4] = ["--mqtt-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
/// Little files: a test needs no long journals.
const SMALL: [&str; 4] =
    ["--set", "journal.segment_bytes_max=8388608", "--set", "journal.log_bytes_max=268435456"];

/// A city of a moment.
const SHORT: [&str; 4] = ["--duration-s", "1", "--past-h", "0.2"];
/// No demo of a test has so many.
const ENOUGH: u64 = 100_000;

/// Runs a demo; what it showed, and how it ended.
fn demo_of(
    messages_max: u64,
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
    let mut screen = Screen::new(&mut out, is_terminal);
    let result = demo_until(&arguments.common, demo, messages_max, &Engine, stop, &mut screen);
    (String::from_utf8(out).expect("text"), result)
}

/// Runs a demo that nobody stops.
fn demo(data_dir: &Path, options: &[&str], is_terminal: bool) -> (String, Result<(), Failure>) {
    // Not dropped before the end: that would be a stop.
    let (_sender, stop) = bounded(1);
    demo_of(ENOUGH, data_dir, &[&FREE, options].concat(), &stop, is_terminal)
}

/// A count of the tables, by its name.
fn count(out: &str, name: &str) -> u64 {
    let number = |line: &str| {
        let rest = line.trim_start().trim_start_matches(['=', '+']).trim_start().strip_prefix(name)?;
        rest.strip_prefix("  ")?.split_whitespace().next()?.replace(',', "").parse().ok()
    };
    let tables = out.find("\nMessages\n").map_or("", |at| &out[at..]);
    tables.lines().find_map(number).unwrap_or_else(|| panic!("no {name} in\n{out}"))
}

fn one_line(out: &str) -> String {
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_demo_proves_that_nothing_was_lost_and_goes_on_from_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("demo-data");
    let options = [&SHORT[..], &["--stations", "60"]].concat();

    let (out, result) = demo(&data_dir, &options, false);
    assert_eq!(result, Ok(()), "{out}");
    let text = one_line(&out);
    assert!(text.contains("Open in a browser: http://127.0.0.1:"), "{out}");
    assert!(text.contains("recorded messages were acknowledged in"), "{out}");
    assert!(text.contains("Proved: nothing lost, nothing doubled, nothing altered."), "{out}");
    assert!(text.contains("All figures are of this run, the first one"), "{out}");
    let (sent, acked) = (count(&out, "sent"), count(&out, "acknowledged"));
    let received = count(&out, "received");
    assert_eq!((sent, received), (acked, acked), "{out}");
    assert!(count(&out, "decoded") > 9_000, "the recorded readings are among them: {out}");
    assert!(!out.contains('\u{1b}'), "control sequences are for terminals: {out}");
    assert!(!text.contains("subscriber of the feed got 0 messages"), "{out}");
    for name in ["stations.csv", "agencies.csv"] {
        assert!(data_dir.join("things").join(name).exists(), "{name} tells the gateway of the city");
    }

    // Once more, on a terminal: the replay is not repeated, the city is the same, the books go on, all of it is proved again.
    let (again, result) = demo(&data_dir, &SHORT, true);
    assert_eq!(result, Ok(()), "{again}");
    let text = one_line(&again);
    assert!(text.contains("It goes on where it stopped: same city"), "{again}");
    assert!(text.contains("60 stations of Hải Phòng send live"), "{again}");
    assert!(!text.contains("recorded messages"), "{again}");
    assert!(text.contains("All figures are of all 2 runs"), "{again}");
    assert!(text.contains("Proved: nothing lost"), "{again}");
    assert!(text.contains("this run all runs"), "the block says what its figures are of: {again}");
    let more = count(&again, "received") - received;
    assert!(more < 2_000, "the past is not sent again: {again}");
    let facts = fs::read_to_string(data_dir.join("demo.json")).expect("readable");
    assert!(!facts.contains("\"covered_until_us\":null"), "all of it is acknowledged: {facts}");
}

/// The demo halves the intervals; a station of an hour (30 minutes here) that is well must not be "late".
#[test]
fn a_healthy_station_of_the_city_is_fresh_unless_the_user_says_otherwise() {
    let limits = |options: &[&str]| {
        let all = ["sensor-gateway", "demo"].iter().chain(options);
        let arguments = Arguments::try_parse_from(all).expect("valid usage");
        let api = super::load(&arguments.common).expect("a good configuration").api;
        (api.fresh_max_s, api.late_max_s)
    };
    assert_eq!(limits(&[]), (2400, 7200));
    assert_eq!(limits(&["--set", "api.fresh_max_s=60"]), (60, 7200));
    assert_eq!(limits(&["--set", "api.late_max_s=1000"]), (1000, 1000));
}

#[test]
fn the_city_of_a_directory_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let (out, result) = demo(dir.path(), &[&SHORT[..], &["--stations", "20"]].concat(), false);
    assert_eq!(result, Ok(()), "{out}");
    for other in [["--stations", "30"], ["--seed", "2"]] {
        let (out, result) = demo(dir.path(), &other, false);
        let failure = result.expect_err("another city");
        assert_eq!((failure.exit, out.as_str()), (Exit::Environment, ""));
        assert!(failure.sentence.contains("holds a city of 20 stations made from seed 1"), "{failure}");
        assert!(failure.sentence.contains("leave --stations and --seed out"), "{failure}");
    }
}

#[test]
fn a_directory_that_has_its_most_messages_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_sender, stop) = bounded(1);
    let options = [&FREE[..], &SHORT, &["--stations", "50"]].concat();
    let (out, result) = demo_of(10_000, dir.path(), &options, &stop, false);
    assert_eq!(result, Ok(()), "{out}");
    assert!(
        one_line(&out).contains("has its 10,000 messages, the most that are compared at the end"),
        "{out}"
    );
    assert_eq!(count(&out, "received"), 10_000, "{out}");
    // The next start can only prove again.
    let (out, result) = demo_of(10_000, dir.path(), &options, &stop, false);
    assert_eq!(result, Ok(()), "{out}");
    assert!(one_line(&out).contains("has its 10,000 messages"), "{out}");
    assert_eq!(count(&out, "received"), 10_000, "{out}");
}

#[test]
fn a_replay_that_was_cut_short_starts_over_and_stores_nothing_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ["--duration-s", "1", "--stations", "5", "--past-h", "0"];
    let (out, result) = demo(dir.path(), &options, false);
    assert_eq!(result, Ok(()), "{out}");

    // The devices died before the last acknowledgement of the replay came; the city was never there.
    let ledger = dir.path().join("truth.ndjson");
    let text = fs::read_to_string(&ledger).expect("readable");
    let city = text.match_indices("{\"session\"").nth(1).expect("a session of the city").0;
    let (replay, city) = text.split_at(city);
    let acked = replay.rfind("{\"acked\"").expect("acknowledged");
    let end = acked + replay[acked..].find('\n').expect("a whole line") + 1;
    let cut = format!("{}{}{city}", &replay[..acked], &replay[end..]);
    fs::write(&ledger, cut).expect("writable");

    let (again, result) = demo(dir.path(), &options, false);
    assert_eq!(result, Ok(()), "{again}");
    assert!(one_line(&again).contains("(what is known already counts as duplicate)"), "{again}");
    assert!(again.contains("recorded messages were acknowledged"), "{again}");
    let readings = count(&out, "inserted") + count(&out, "corrected");
    assert!(count(&again, "duplicate") - count(&out, "duplicate") > readings / 2, "{out}{again}");
    assert!(count(&again, "inserted") - count(&out, "inserted") < 1_000, "{out}{again}");
}

#[test]
fn a_reading_that_was_acknowledged_and_is_not_in_the_store_fails_the_demo() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = [&SHORT[..], &["--stations", "5"]].concat();
    let (out, result) = demo(dir.path(), &options, false);
    assert_eq!(result, Ok(()), "{out}");

    // They were never sent to this gateway: as if they had been lost.
    let mut lost =
        "{\"session\":\"2026-11-21T00:00:00Z\",\"format_version\":1,\"command\":\"run\"}\n".to_owned();
    for number in 1..=1_000 {
        lost += &format!(
            "{{\"sent\":{number},\"client\":\"x\",\"packet\":1,\"topic\":\"obs/A/B\",\"format\":\"json\",\"qos\":1,\
             \"kind\":\"reading\",\"time\":\"2026-11-21T00:00:00Z\",\"readings\":[{{\"property\":\"pm2_5\",\
             \"value\":1.5,\"unit\":\"ug/m3\"}}]}}\n{{\"acked\":{number}}}\n"
        );
    }
    let ledger = dir.path().join("truth.ndjson");
    let text = fs::read_to_string(&ledger).expect("readable") + &lost;
    fs::write(&ledger, text).expect("writable");

    let (out, result) = demo(dir.path(), &options, false);
    let failure = result.expect_err("something is lost");
    assert_eq!(failure.exit, Exit::CheckFailed, "{out}");
    assert_eq!(count(&out, "lost"), 1, "{out}");
    assert!(out.contains("A/B/pm2_5 at 2026-11-21T00:00:00Z"), "{out}");
    assert!(failure.sentence.contains("1 reading lost"), "{failure}");
    assert!(failure.sentence.contains("messages were acknowledged, but only"), "{failure}");
    assert!(!out.contains("Proved"), "{out}");
}

#[test]
fn data_of_another_gateway_are_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("catalogue.sqlite"), "").expect("writable");
    let (out, result) = demo(dir.path(), &[], false);
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
    let (_sender, stop) = bounded(1);
    for (option, other) in [("--mqtt-listen", "--http-listen"), ("--http-listen", "--mqtt-listen")] {
        let options = [option, &addr, other, "127.0.0.1:0"];
        let (_, result) = demo_of(ENOUGH, &dir.path().join("demo-data"), &options, &stop, false);
        let failure = result.expect_err("refused");
        assert_eq!(failure.exit, Exit::Environment);
        assert!(failure.sentence.starts_with(&format!("{addr} is taken")), "{failure}");
        assert!(failure.sentence.ends_with(&format!("with {option} 127.0.0.1:0")), "{failure}");
        assert!(!failure.sentence.contains('\n'), "{failure}");
    }
    assert!(!dir.path().join("demo-data").exists(), "nothing is made before the ports are free");
}
