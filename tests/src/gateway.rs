//! The real binary: started, asked, stopped, killed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::http_get;
use crate::ledger::count;
use crate::paths::binary;
use crate::wait::{DEADLINE, wait_until};

/// SIGTERM drains and ends within this (outside contract).
const TERMINATE_MAX: Duration = Duration::from_secs(10);

/// One row of `query --format csv`, by column name.
pub type Row = HashMap<String, String>;

/// What a subcommand did.
#[derive(Debug)]
pub struct RunOutput {
    /// `None`: ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl RunOutput {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: std::str::from_utf8(&output.stdout).expect("stdout is UTF-8").to_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Stdout of a run that exited 0.
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// A command of the binary, for tests that need more than [`sensor_gateway`]. The environment is this process's without
/// `SENSOR_GATEWAY_…`.
pub fn sensor_gateway_command(args: &[&str]) -> Command {
    let mut command = Command::new(binary("sensor-gateway"));
    clean_environment(&mut command);
    command.args(args).stdin(Stdio::null());
    command
}

/// `journal verify` of a data directory whose gateway runs or not; panics with what it found.
pub fn assert_verified(data_dir: &Path) {
    let output = sensor_gateway(&["journal", "verify", "--data-dir", &data_dir.to_string_lossy()]);
    assert_eq!(output.code, Some(0), "journal verify:\n{}\n{}", output.stdout, output.stderr);
}

/// Runs a subcommand that ends by itself.
pub fn sensor_gateway(args: &[&str]) -> RunOutput {
    RunOutput::of(&sensor_gateway_command(args).output().expect("the binary can be run"))
}

fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SENSOR_GATEWAY_") {
            command.env_remove(name);
        }
    }
}

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    pub mqtt: SocketAddr,
    pub http: SocketAddr,
    data_dir: PathBuf,
    stderr_path: PathBuf,
    /// Behind a lock, so that tests can share a gateway.
    stdout: Mutex<Receiver<String>>,
}

impl Gateway {
    /// Starts `sensor-gateway run` on free ports of loopback and waits for its `ready` line. `extra_args` may hold
    /// `--mqtt-listen` or `--http-listen` for ports of their own.
    pub fn start(data_dir: &Path, extra_args: &[&str]) -> Self {
        Self::start_wrapped(&[], data_dir, extra_args)
    }

    /// Like [`Gateway::start`] under another program that becomes the gateway's parent without being the child of this
    /// process: `&["strace", "-D", "-f", "-o", FILE]`.
    pub fn start_wrapped(wrapper: &[&str], data_dir: &Path, extra_args: &[&str]) -> Self {
        Self::try_start(wrapper, data_dir, extra_args).unwrap_or_else(|output| {
            panic!("the gateway did not start: exit code {:?}\n{}", output.code, output.stderr)
        })
    }

    /// Like [`Gateway::start_wrapped`]; the error is what a gateway that ended before it was ready left behind.
    pub fn try_start(wrapper: &[&str], data_dir: &Path, extra_args: &[&str]) -> Result<Self, RunOutput> {
        Starting::new(wrapper, data_dir, extra_args).ready()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Everything written to stderr since this start.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr_path).unwrap_or_default()
    }

    /// Lines of stdout behind the `ready` line, as far as they have come.
    pub fn stdout_lines(&self) -> Vec<String> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).try_iter().collect()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill9(mut self) {
        self.child.kill().expect("the gateway can be killed");
        self.child.wait().expect("the child can be waited for");
    }

    /// SIGTERM; it must end with exit code 0 in time. Gives the lines it printed on stdout since it was ready.
    pub fn terminate(mut self) -> Vec<String> {
        self.signal("TERM");
        let started = Instant::now();
        let status = self.wait_for_exit();
        let stderr = self.stderr();
        assert_eq!(status.code(), Some(0), "after SIGTERM: {status}; stderr:\n{stderr}");
        // The contract's limit, which is generous: this is no measurement.
        assert!(started.elapsed() <= TERMINATE_MAX, "draining took {:?}", started.elapsed());
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).iter().collect()
    }

    /// Sends a signal by name (`TERM`, `INT`, `STOP`, `CONT`, …).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} {}", self.pid());
    }

    /// Waits until it has ended by itself or by a signal sent before.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        wait_until("the gateway to end", || self.child.try_wait().expect("the child can be waited for"))
    }

    pub fn http_get(&self, path: &str) -> (u16, String) {
        http_get(self.http, path)
    }

    /// `GET /api/v1/ledger`, with `?…` if `filter` is not empty.
    /// A number of `/metrics`, by its name without `sensor_gateway_`: the sum over its labels, or what the labels say that are
    /// given (`NAME{reason="…"}`), 0 where no such case was counted yet. Panics where the gateway has no such metric.
    pub fn metric(&self, sample: &str) -> u64 {
        let (_, page) = self.http_get("/metrics");
        let sample = format!("sensor_gateway_{sample}");
        let name = sample.split('{').next().unwrap_or(&sample);
        let of_name = page.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        let described = format!("# TYPE {} ", name.trim_end_matches("_total"));
        assert!(page.contains(&described), "no {name} in:\n{page}");
        let labels = sample.strip_prefix(name).unwrap_or_default();
        let samples = of_name.filter(|(found, _)| match labels {
            "" => found.is_empty() || found.starts_with('{'),
            _ => *found == labels,
        });
        let sum: f64 = samples.map(|(_, value)| value.parse::<f64>().expect("a number")).sum();
        assert_eq!(sum.fract(), 0.0, "{sample} is a whole number");
        sum as u64
    }

    /// Messages received, of all clients.
    pub fn received(&self) -> u64 {
        count(&self.ledger(), "messages", "received")
    }

    pub fn ledger_where(&self, filter: &str) -> Value {
        let question_mark = if filter.is_empty() { "" } else { "?" };
        let (status, body) = self.http_get(&format!("/api/v1/ledger{question_mark}{filter}"));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    pub fn ledger(&self) -> Value {
        self.ledger_where("")
    }

    /// Waits until at least `received` messages are in the journal and all that was accepted is processed, resolved and
    /// flushed; gives that ledger.
    pub fn wait_until_flushed(&self, received: u64) -> Value {
        let mut last = Value::Null;
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            last = self.ledger();
            let messages = |name: &str| count(&last, "messages", name);
            let observations = |name: &str| count(&last, "observations", name);
            if messages("received") >= received
                && messages("pending") == 0
                && observations("unresolved") == 0
                && observations("flushed") == observations("inserted") + observations("corrected")
            {
                return last;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{received} messages were not received and flushed after {DEADLINE:?}; the ledger: {last}");
    }

    /// Waits until all that was accepted is decoded, whether or not it is in a file.
    pub fn wait_until_processed(&self) {
        wait_until("messages to be decoded", || {
            (count(&self.ledger(), "messages", "pending") == 0).then_some(())
        });
    }

    /// Rows of `query --format csv` beside this gateway.
    pub fn query_csv(&self, args: &[&str]) -> Vec<Row> {
        query_csv(&self.data_dir, args)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("stderr of the gateway in {}:\n{}", self.data_dir.display(), self.stderr());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Rows of `query --format csv` on a data directory, with or without a gateway running on it.
pub(crate) fn query_csv(data_dir: &Path, args: &[&str]) -> Vec<Row> {
    let data_dir = data_dir.to_string_lossy();
    let mut all = vec!["query", "--data-dir", &data_dir, "--format", "csv"];
    all.extend_from_slice(args);
    parse_csv(&sensor_gateway(&all).success())
}

/// CSV as RFC 4180 has it, with a header.
pub fn parse_csv(text: &str) -> Vec<Row> {
    let mut records = split_csv(text).into_iter();
    let Some(header) = records.next() else { return Vec::new() };
    records
        .map(|record| {
            assert_eq!(record.len(), header.len(), "as many fields as columns: {record:?}");
            header.iter().cloned().zip(record).collect()
        })
        .collect()
}

fn split_csv(text: &str) -> Vec<Vec<String>> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    assert!(!quoted && field.is_empty() && record.is_empty(), "the last line of a CSV ends with a line feed");
    records
}

/// A gateway that has not said `ready`. Dropping it kills it.
#[derive(Debug)]
pub struct Starting {
    /// `None` once it was handed over.
    child: Option<Child>,
    data_dir: PathBuf,
    stderr_path: PathBuf,
    stdout: Receiver<String>,
}

impl Starting {
    /// Does not wait for anything; arguments as [`Gateway::try_start`] has them.
    pub fn new(wrapper: &[&str], data_dir: &Path, extra_args: &[&str]) -> Self {
        let stderr_path = new_stderr_path(data_dir);
        let mut child = spawn(wrapper, data_dir, extra_args, &stderr_path);
        let stdout = read_lines(&mut child);
        Self { child: Some(child), data_dir: data_dir.to_owned(), stderr_path, stdout }
    }

    /// Waits for the `ready` line; the error is what a gateway that ended before left behind.
    pub fn ready(mut self) -> Result<Gateway, RunOutput> {
        let mut before = Vec::new();
        let started = Instant::now();
        loop {
            match self.stdout.recv_timeout(DEADLINE.saturating_sub(started.elapsed())) {
                Ok(line) => {
                    if let Some((mqtt, http)) = parse_ready(&line) {
                        let child = self.child.take().expect("it is handed over once");
                        let (_, nothing) = channel();
                        let stdout = Mutex::new(std::mem::replace(&mut self.stdout, nothing));
                        let (data_dir, stderr_path) = (self.data_dir.clone(), self.stderr_path.clone());
                        return Ok(Gateway { child, mqtt, http, data_dir, stderr_path, stdout });
                    }
                    before.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let mut child = self.child.take().expect("it is handed over once");
                    let status = child.wait().expect("the child can be waited for");
                    return Err(RunOutput {
                        code: status.code(),
                        stdout: before.join("\n"),
                        stderr: self.stderr(),
                    });
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no ready line after {DEADLINE:?}; stderr:\n{}", self.stderr());
                }
            }
        }
    }

    /// Whether it has said `ready`, which it does once.
    pub fn has_said_ready(&self) -> bool {
        self.stdout.try_iter().any(|line| parse_ready(&line).is_some())
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr_path).unwrap_or_default()
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it is handed over once");
        let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -TERM");
        child.wait().expect("the child can be waited for")
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(wrapper: &[&str], data_dir: &Path, extra_args: &[&str], stderr_path: &Path) -> Child {
    let gateway = binary("sensor-gateway");
    let mut command = match wrapper.split_first() {
        Some((program, args)) => {
            let mut command = Command::new(program);
            command.args(args).arg(gateway);
            command
        }
        None => Command::new(gateway),
    };
    clean_environment(&mut command);
    command.arg("run").arg("--data-dir").arg(data_dir);
    for option in ["--mqtt-listen", "--http-listen"] {
        if !extra_args.contains(&option) {
            command.args([option, "127.0.0.1:0"]);
        }
    }
    let stderr = File::create(stderr_path).expect("the directory beside the data directory is writable");
    command
        .args(extra_args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// A file of its own for every start: beside the data directory, so that the gateway does not find it in there.
fn new_stderr_path(data_dir: &Path) -> PathBuf {
    let name = data_dir.file_name().expect("a data directory has a name").to_string_lossy();
    let parent = data_dir.parent().expect("a data directory has a parent");
    (0..)
        .map(|start| parent.join(format!("{name}.stderr.{start}")))
        .find(|path| !path.exists())
        .expect("there are more numbers than starts")
}

fn read_lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let stdout = child.stdout.take().expect("stdout is piped");
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// `ready mqtt=ADDR http=ADDR`
fn parse_ready(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (mqtt, http) = line.strip_prefix("ready mqtt=")?.split_once(" http=")?;
    Some((mqtt.parse().ok()?, http.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_read() {
        let found = parse_ready("ready mqtt=127.0.0.1:1883 http=127.0.0.1:8080");
        assert_eq!(found, Some(("127.0.0.1:1883".parse().unwrap(), "127.0.0.1:8080".parse().unwrap())));
        assert_eq!(parse_ready("ready mqtt=127.0.0.1:1883"), None);
    }

    #[test]
    fn csv_with_quotes_is_read() {
        let rows = parse_csv("a,b\r\n1,\"x, \"\"y\"\"\nz\"\n,2\n");
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0]["a"].as_str(), rows[0]["b"].as_str()), ("1", "x, \"y\"\nz"));
        assert_eq!((rows[1]["a"].as_str(), rows[1]["b"].as_str()), ("", "2"));
    }
}
