//! Where the demo runs: its ports and its directory.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use firmware_sim::ledger::{LedgerError, Line, Reader};

use crate::cli::Failure;
use crate::config::Config;

/// What was sent and acknowledged, in the data directory.
const LEDGER_NAME: &str = "truth.ndjson";
/// As the sessions of a replay are named in the ledger.
const REPLAY: &str = "replay";

/// A demo's directory.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) ledger: PathBuf,
    /// All recorded messages were acknowledged in an earlier run.
    pub(super) is_replayed: bool,
}

/// A taken port is the likeliest trouble of a first start, so it gets its remedy.
pub(super) fn check_ports(config: &Config) -> Result<(), Failure> {
    for (option, what, addr) in [
        ("--mqtt-listen", "an MQTT broker or another gateway", config.mqtt.listen),
        ("--http-listen", "a web server or another gateway", config.http.listen),
    ] {
        let Err(error) = TcpListener::bind(addr) else { continue };
        let sentence = if error.kind() == io::ErrorKind::AddrInUse {
            let ip = addr.ip();
            format!(
                "{addr} is taken, perhaps by {what}: stop that program, or take a free port with {option} {ip}:0"
            )
        } else {
            format!("{option} {addr}: {error}")
        };
        return Err(Failure::environment(sentence));
    }
    Ok(())
}

impl Place {
    /// Makes the directory, or takes the one of an earlier demo. Another gateway's data stay untouched: they would be mixed
    /// with invented ones for ever.
    pub(super) fn open(data_dir: &Path, recorded_messages: u64) -> Result<Self, Failure> {
        let at = data_dir.display();
        let failed = |error: io::Error| Failure::environment(format!("{at}: {error}"));
        fs::create_dir_all(data_dir).map_err(failed)?;
        let ledger = data_dir.join(LEDGER_NAME);
        if !ledger.exists() {
            if fs::read_dir(data_dir).map_err(failed)?.next().is_some() {
                return Err(Failure::environment(format!(
                    "{at} is no directory of a demo: it has no {LEDGER_NAME}, but other files; name a new one with --data-dir"
                )));
            }
            File::create_new(&ledger).map_err(failed)?;
        }
        let is_replayed = is_replayed(&ledger, recorded_messages).map_err(|error| {
            Failure::environment(format!("{}: {error}; remove {at} to begin anew", ledger.display()))
        })?;
        Ok(Self { ledger, is_replayed })
    }
}

/// Some session of the ledger is a replay with every message acknowledged.
fn is_replayed(ledger: &Path, recorded_messages: u64) -> Result<bool, LedgerError> {
    let mut is_replay = false;
    let mut acked = 0;
    for line in Reader::open(ledger)? {
        match line? {
            Line::Session(session) => {
                is_replay = session.command == REPLAY;
                acked = 0;
            }
            Line::Acked(_) if is_replay => acked += 1,
            _ => {}
        }
        if is_replay && acked == recorded_messages {
            return Ok(true);
        }
    }
    Ok(false)
}
