//! Clients from outside: mosquitto's and Python's, as `tests/setup.sh` installs them.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use crate::paths::repository;
use crate::wait::DEADLINE;

/// Runs `mosquitto_pub` with these arguments against the gateway; `stdin` is for its `-l` and `-s`.
pub fn mosquitto_pub(mqtt: SocketAddr, args: &[&str], stdin: &[u8]) {
    let mut child = mosquitto("mosquitto_pub", mqtt)
        .args(args)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("mosquitto_pub: {error}; run tests/setup.sh"));
    let mut pipe = child.stdin.take().expect("stdin is piped");
    // A client that fails at once closes its stdin: its exit status tells more.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    let output = child.wait_with_output().expect("the child can be waited for");
    assert_success("mosquitto_pub", &output);
}

fn mosquitto(program: &str, mqtt: SocketAddr) -> Command {
    // Line by line, so that what it prints arrives while it runs.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program, "-h", &mqtt.ip().to_string(), "-p", &mqtt.port().to_string()]);
    command
}

/// A `mosquitto_sub` that has its SUBACK. Dropping it ends it.
#[derive(Debug)]
pub struct MosquittoSub {
    child: Child,
    lines: Receiver<String>,
}

impl MosquittoSub {
    /// Subscribes; `args` holds `-t FILTER`, `-q`, `-V` and so on. Payloads must be one line.
    pub fn start(mqtt: SocketAddr, args: &[&str]) -> Self {
        let mut child = mosquitto("mosquitto_sub", mqtt)
            .args(args)
            .args(["-d", "-F", "message %r %t %p"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("mosquitto_sub: {error}; run tests/setup.sh"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let subscriber = Self { child, lines };
        while !subscriber.next_line("the SUBACK of mosquitto_sub").starts_with("Subscribed ") {}
        subscriber
    }

    /// The next message: whether it was retained, its topic, its payload.
    pub fn next_message(&self) -> (bool, String, String) {
        loop {
            let line = self.next_line("a message at mosquitto_sub");
            if let Some(message) = line.strip_prefix("message ") {
                let mut parts = message.splitn(3, ' ');
                let mut part = || parts.next().unwrap_or_default().to_owned();
                return (part() == "1", part(), part());
            }
        }
    }

    fn next_line(&self, what: &str) -> String {
        let started = Instant::now();
        match self.lines.recv_timeout(DEADLINE.saturating_sub(started.elapsed())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("waited {DEADLINE:?} in vain for: {what}"),
            Err(RecvTimeoutError::Disconnected) => panic!("mosquitto_sub ended instead of: {what}"),
        }
    }
}

impl Drop for MosquittoSub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a Python program in the environment with paho-mqtt and duckdb; gives its stdout. Arguments are `sys.argv[1:]`.
pub fn python(program: &str, args: &[&str]) -> String {
    run_python(&["-c", program], args)
}

/// Like [`python`] with a program from a file.
pub fn python_file(path: &Path, args: &[&str]) -> String {
    run_python(&[&path.to_string_lossy()], args)
}

fn run_python(program: &[&str], args: &[&str]) -> String {
    let interpreter = repository().join(".venv/bin/python");
    assert!(interpreter.exists(), "{} is missing; run tests/setup.sh", interpreter.display());
    let output = Command::new(interpreter)
        .args(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the interpreter can be run");
    assert_success("python", &output);
    String::from_utf8(output.stdout).expect("stdout is UTF-8")
}

fn assert_success(program: &str, output: &Output) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {}\n{stdout}\n{stderr}", output.status);
}
