//! A2-3, A2-6: the demo as a newcomer runs it, but not on a terminal: the real binary with a storm, a second start, and a
//! SIGINT in the middle. It must end with nothing lost, nothing doubled, and books that balance.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e_tests::{http_get, new_data_dir, sensor_gateway_command, wait_until};
use serde_json::Value;

/// A running demo. Dropping it kills it.
struct Demo {
    child: Child,
    out: PathBuf,
}

impl Demo {
    fn start(dir: &Path, options: &[&str]) -> Self {
        let data_dir = dir.join("demo-data");
        let out = dir.join("out");
        let file = File::create(&out).expect("the directory is writable");
        let errors = file.try_clone().expect("a second handle");
        let child = sensor_gateway_command(&["demo", "--data-dir", &data_dir.to_string_lossy()])
            .args(["--mqtt-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(options)
            .stdout(file)
            .stderr(errors)
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary can be run");
        Self { child, out }
    }

    /// What it said so far, in one line: where lines break is not of interest.
    fn said(&self) -> String {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn wait_until_said(&self, sentence: &str) -> String {
        wait_until(sentence, || Some(self.said()).filter(|said| said.contains(sentence)))
    }

    /// Waits for its end; gives its exit code and all it said.
    fn end(mut self) -> (Option<i32>, String) {
        let status =
            wait_until("the demo to end", || self.child.try_wait().expect("the child can be waited for"));
        (status.code(), fs::read_to_string(&self.out).expect("readable"))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The counts of the table that begins with `title`, by name, in the order of the lines, with their signs.
fn table(out: &str, title: &str) -> Vec<(char, String, u64)> {
    let mut lines = out.lines().skip_while(|line| *line != title).skip(1).peekable();
    assert!(lines.peek().is_some(), "no table {title} in\n{out}");
    let row = |line: &str| {
        let sign = line.trim_start().chars().next().filter(|sign| "=+".contains(*sign)).unwrap_or(' ');
        let rest = line.trim_start().trim_start_matches(sign).trim_start();
        let (name, rest) = rest.split_once("  ")?;
        let count = rest.split_whitespace().next()?.replace(',', "").parse().ok()?;
        Some((sign, name.to_owned(), count))
    };
    lines.take_while(|line| line.is_empty() || line.starts_with(' ')).filter_map(row).collect()
}

/// Every line without a sign that is followed by lines with signs is their sum. Gives the counts by name.
fn balanced(out: &str, title: &str) -> Vec<(String, u64)> {
    let rows = table(out, title);
    let mut sums = 0;
    for (at, (sign, name, total)) in rows.iter().enumerate() {
        let parts: Vec<u64> = rows[at + 1..].iter().take_while(|row| row.0 != ' ').map(|row| row.2).collect();
        if *sign == ' ' && !parts.is_empty() {
            assert_eq!(parts.iter().sum::<u64>(), *total, "{name}\n{out}");
            sums += 1;
        }
    }
    assert!(sums > 0, "{out}");
    rows.into_iter().map(|(_, name, count)| (name, count)).collect()
}

fn count(rows: &[(String, u64)], name: &str) -> u64 {
    rows.iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("no {name} in {rows:?}")).1
}

/// The end of a demo that proves what it has to; gives its messages.
fn assert_proved((code, out): (Option<i32>, String)) -> Vec<(String, u64)> {
    assert_eq!(code, Some(0), "{out}");
    let messages = balanced(&out, "Messages");
    let observations = balanced(&out, "Observations");
    assert_eq!(count(&messages, "sent"), count(&messages, "acknowledged"), "{out}");
    // A storm breaks connections: what was on its way then is sent again, and received twice.
    assert!(count(&messages, "received") >= count(&messages, "acknowledged"), "{out}");
    assert_eq!(count(&messages, "pending") + count(&observations, "unresolved"), 0, "{out}");
    let verify = table(&out, "Sent and acknowledged readings against the rows of the store (verify)");
    let verify: Vec<_> = verify.into_iter().map(|(_, name, count)| (name, count)).collect();
    for name in ["lost", "doubled", "altered", "unexpected"] {
        assert_eq!(count(&verify, name), 0, "{out}");
    }
    assert!(count(&verify, "rows compared") > 0, "{out}");
    assert!(out.contains("Proved: nothing lost, nothing doubled, nothing altered."), "{out}");
    assert!(!out.contains('\u{1b}'), "no control sequences where no terminal is: {out}");
    // Prose and tables fit 80 columns; addresses and commands stay whole.
    let is_long = |line: &&str| line.chars().count() > 80 && !line.contains("--data-dir");
    assert_eq!(out.lines().filter(is_long).collect::<Vec<_>>(), [""; 0]);
    messages
}

#[test]
fn a_demo_with_a_storm_loses_nothing_and_a_second_start_goes_on() {
    let dir = new_data_dir();
    let first =
        Demo::start(dir.path(), &["--storm", "--duration-s", "4", "--stations", "150", "--past-h", "1"]);
    let said = first.wait_until_said("Open in a browser: http://");
    let url = said.split("Open in a browser: http://").nth(1).and_then(|rest| rest.split('/').next());
    let http: SocketAddr = url.and_then(|addr| addr.parse().ok()).expect("the address of the console");
    first.wait_until_said("has had no network for");
    // The gateway knows the city by name, from the files that the demo wrote.
    wait_until("a station with its name and place", || {
        let (status, body) = http_get(http, "/api/v1/stations?agency=H24.06&limit=1");
        assert_eq!(status, 200, "{body}");
        let stations: Value = serde_json::from_str(&body).expect("JSON");
        let station = stations["stations"].get(0)?;
        assert!(station["name"].is_string() && station["latitude"].is_f64(), "{station}");
        Some(())
    });
    let (code, out) = first.end();
    let said = out.split_whitespace().collect::<Vec<_>>().join(" ");
    let phases = [
        "recorded messages were acknowledged",
        "STORM: ",
        "has network again and sends what it kept all at once, oldest first",
        "has sent everything",
        "150 stations of Hải Phòng send live",
        "Stopping",
    ];
    let places: Vec<usize> =
        phases.iter().map(|phase| said.find(phase).unwrap_or_else(|| panic!("no {phase}: {out}"))).collect();
    assert!(places.is_sorted(), "{places:?}: {out}");
    assert!(!said.contains("oldest first: 0 measurements"), "the region kept something: {out}");
    let before = assert_proved((code, out));

    let second = Demo::start(dir.path(), &["--duration-s", "1"]);
    let (code, out) = second.end();
    assert!(out.contains("It goes on where it stopped"), "{out}");
    assert!(!out.contains("recorded messages"), "they are sent once: {out}");
    let after = assert_proved((code, out));
    assert!(count(&after, "received") >= count(&before, "received"));
}

#[test]
fn sigint_in_the_middle_ends_in_order_with_the_proof() {
    let dir = new_data_dir();
    let demo = Demo::start(dir.path(), &["--storm", "--stations", "400", "--past-h", "6"]);
    demo.wait_until_said("has had no network for");
    let status = Command::new("kill").args(["-INT", &demo.child.id().to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()));
    let (code, out) = demo.end();
    assert!(!out.contains("has sent everything"), "it was the middle: {out}");
    assert!(out.contains("the next start sends them,"), "{out}");
    assert_proved((code, out));

    // What was cut short goes on: the past that was not sent is sent now, and no reading is stored twice.
    let (code, out) = Demo::start(dir.path(), &["--duration-s", "1", "--past-h", "6"]).end();
    assert!(out.contains("send live"), "{out}");
    assert_proved((code, out));

    let (code, out) = Demo::start(dir.path(), &["--stations", "401"]).end();
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("holds a city of 400 stations"), "{out}");
}
