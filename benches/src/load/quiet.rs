//! When a server is done with what it was sent: a gateway says so in its ledger, another server by an idle CPU.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::error::LoadError;
use super::options::LoadOptions;
use super::process;
use super::server::Server;

const LEDGER_PATH: &str = "/api/v1/ledger";
/// Each look costs the gateway some of the CPU that is measured.
const LEDGER_INTERVAL: Duration = Duration::from_millis(250);
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// A process is idle when it took no more CPU than `IDLE_CPU_S` in that time.
const IDLE_WINDOW: Duration = Duration::from_secs(1);
const IDLE_CPU_S: f64 = 0.02;

#[derive(Debug)]
pub(super) struct Quiet {
    sign: Sign,
    timeout: Duration,
}

#[derive(Debug)]
enum Sign {
    Ledger {
        address: String,
        received_before: std::cell::Cell<u64>,
    },
    IdleCpu {
        pid: u32,
    },
    /// Neither is known: do not wait.
    Unknown,
}

impl Quiet {
    pub(super) fn new(server: &Server, options: &LoadOptions) -> Self {
        let sign = match (&server.http_address, server.pid) {
            (Some(address), _) => {
                Sign::Ledger { address: address.clone(), received_before: std::cell::Cell::new(0) }
            }
            (None, Some(pid)) => Sign::IdleCpu { pid },
            (None, None) => Sign::Unknown,
        };
        Self { sign, timeout: Duration::from_secs(options.quiet_timeout_s) }
    }

    /// Before the first message: what the ledger counts from other runs.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        if let Sign::Ledger { address, received_before } = &self.sign {
            received_before.set(Ledger::read(address)?.received);
        }
        Ok(())
    }

    /// Waits until the server is done with all `published` messages; gives the seconds that it took.
    pub(super) fn wait(&self, published: u64) -> Result<f64, LoadError> {
        let started = Instant::now();
        loop {
            let open = match &self.sign {
                Sign::Ledger { address, received_before } => {
                    let open = Ledger::read(address)?.open(received_before.get() + published);
                    if open.is_some() {
                        thread::sleep(LEDGER_INTERVAL);
                    }
                    open
                }
                Sign::IdleCpu { pid } => {
                    let before = process::cpu_time(*pid)?;
                    thread::sleep(IDLE_WINDOW);
                    let taken_s = (process::cpu_time(*pid)? - before).total_s();
                    (taken_s > IDLE_CPU_S).then(|| format!("it still takes {taken_s:.2} s of CPU per second"))
                }
                Sign::Unknown => None,
            };
            let Some(what) = open else { return Ok(started.elapsed().as_secs_f64()) };
            if started.elapsed() > self.timeout {
                return Err(LoadError::NotQuiet { seconds: self.timeout.as_secs(), what });
            }
        }
    }
}

/// The counts of `GET /api/v1/ledger` that tell whether anything is still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ledger {
    received: u64,
    pending: u64,
    unresolved: u64,
    stored: u64,
    flushed: u64,
}

impl Ledger {
    fn read(address: &str) -> Result<Self, LoadError> {
        let failed =
            |reason: String| LoadError::Http { address: address.to_owned(), path: LEDGER_PATH, reason };
        let text = get(address).map_err(|error| failed(error.to_string()))?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| failed("no HTTP answer".to_owned()))?;
        if head.split(' ').nth(1) != Some("200") {
            return Err(failed(head.lines().next().unwrap_or_default().to_owned()));
        }
        Self::parse(body).map_err(failed)
    }

    fn parse(body: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let count = |group: &str, name: &str| {
            json[group][name].as_u64().ok_or_else(|| format!("the ledger has no count {group}.{name}"))
        };
        Ok(Self {
            received: count("messages", "received")?,
            pending: count("messages", "pending")?,
            unresolved: count("observations", "unresolved")?,
            stored: count("observations", "inserted")? + count("observations", "corrected")?,
            flushed: count("observations", "flushed")?,
        })
    }

    /// What is still to be done, in words; `None` when nothing is.
    fn open(self, received_wanted: u64) -> Option<String> {
        let Self { received, pending, unresolved, stored, flushed } = self;
        if received < received_wanted {
            return Some(format!("{received} of {received_wanted} messages are in the journal"));
        }
        if pending > 0 || unresolved > 0 || flushed != stored {
            return Some(format!(
                "pending {pending}, unresolved {unresolved}, flushed {flushed} of {stored}"
            ));
        }
        None
    }
}

fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
    // HTTP/1.0: the answer ends with the connection and is not chunked.
    write!(stream, "GET {LEDGER_PATH} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_means_journaled_processed_resolved_and_flushed() {
        let body = |received, pending, unresolved, flushed| {
            format!(
                r#"{{"durable":9,"processed":9,"messages":{{"received":{received},"pending":{pending}}},
                "observations":{{"inserted":7,"corrected":2,"unresolved":{unresolved},"flushed":{flushed}}}}}"#
            )
        };
        let open = |text: String| Ledger::parse(&text).unwrap().open(10);
        assert_eq!(open(body(10, 0, 0, 9)), None);
        assert!(open(body(9, 0, 0, 9)).is_some());
        assert!(open(body(10, 1, 0, 9)).is_some());
        assert!(open(body(10, 0, 1, 9)).is_some());
        assert!(open(body(10, 0, 0, 8)).is_some());
        assert!(Ledger::parse("{}").is_err());
    }
}
