//! Where the demo runs: its ports, its directory, and the city that belongs to the directory.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use firmware_sim::ledger::{LedgerError, Line, Reader};
use serde::{Deserialize, Serialize};

use super::words::{counted, grouped};
use crate::cli::Failure;
use crate::cli::arguments::DemoArguments;
use crate::config::Config;

/// What was sent and acknowledged, in the data directory.
const LEDGER_NAME: &str = "truth.ndjson";
/// [`Facts`], in the data directory; its presence makes a directory a demo's.
const FACTS_NAME: &str = "demo.json";
/// Below the data directory: what the gateway is told of stations and agencies.
const THINGS_NAME: &str = "things";
const FACTS_VERSION: u32 = 1;
/// As the sessions of a replay are named in the ledger.
const REPLAY: &str = "replay";

const STATIONS_DEFAULT: u32 = 1000;
const SEED_DEFAULT: u64 = 1;

/// What a directory remembers of its demo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    format_version: u32,
    pub(super) stations: u32,
    pub(super) seed: u64,
    /// Starts, the present one included.
    pub(super) runs: u64,
    /// Epoch µs: whatever the city measured before was sent.
    pub(super) covered_until_us: Option<i64>,
}

/// A demo's directory.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) data_dir: PathBuf,
    pub(super) ledger: PathBuf,
    pub(super) things: PathBuf,
    pub(super) facts: Facts,
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
    /// Makes the directory, or takes the one of an earlier demo with its city. Another gateway's data stay untouched: they would
    /// be mixed with invented ones for ever.
    pub(super) fn open(
        data_dir: &Path,
        recorded_messages: u64,
        arguments: &DemoArguments,
    ) -> Result<Self, Failure> {
        let at = data_dir.display();
        let failed = |error: io::Error| Failure::environment(format!("{at}: {error}"));
        let mut facts = match read_facts(data_dir)? {
            Some(facts) => {
                check_city(data_dir, &facts, arguments)?;
                facts
            }
            None => {
                fs::create_dir_all(data_dir).map_err(failed)?;
                if fs::read_dir(data_dir).map_err(failed)?.next().is_some() {
                    return Err(Failure::environment(format!(
                        "{at} is no directory of a demo: it has no {FACTS_NAME}, but other files; name a new one with --data-dir"
                    )));
                }
                Facts {
                    format_version: FACTS_VERSION,
                    stations: arguments.stations.unwrap_or(STATIONS_DEFAULT),
                    seed: arguments.seed.unwrap_or(SEED_DEFAULT),
                    runs: 0,
                    covered_until_us: None,
                }
            }
        };
        facts.runs += 1;
        let ledger = data_dir.join(LEDGER_NAME);
        let mut place = Self {
            data_dir: data_dir.to_owned(),
            things: data_dir.join(THINGS_NAME),
            ledger,
            facts,
            is_replayed: false,
        };
        place.write_facts()?;
        if place.ledger.exists() {
            place.is_replayed = is_replayed(&place.ledger, recorded_messages).map_err(|error| {
                Failure::environment(format!(
                    "{}: {error}; remove {at} to begin anew",
                    place.ledger.display()
                ))
            })?;
        } else {
            File::create_new(&place.ledger).map_err(failed)?;
        }
        Ok(place)
    }

    /// Remembers that everything that was measured before `until_us` was sent.
    pub(super) fn cover(&mut self, until_us: i64) -> Result<(), Failure> {
        self.facts.covered_until_us = Some(until_us);
        self.write_facts()
    }

    fn write_facts(&self) -> Result<(), Failure> {
        let path = self.data_dir.join(FACTS_NAME);
        let fresh = self.data_dir.join(format!("{FACTS_NAME}.new"));
        serde_json::to_vec(&self.facts)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&fresh, bytes))
            .and_then(|()| fs::rename(&fresh, &path))
            .map_err(|error| Failure::environment(format!("{}: {error}", path.display())))
    }
}

fn read_facts(data_dir: &Path) -> Result<Option<Facts>, Failure> {
    let path = data_dir.join(FACTS_NAME);
    let at = path.display();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::environment(format!("{at}: {error}"))),
    };
    let remedy = format!("remove {} to begin anew", data_dir.display());
    let facts: Facts = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::environment(format!("{at} is damaged: {error}; {remedy}")))?;
    if facts.format_version > FACTS_VERSION {
        return Err(Failure::environment(format!("{at} is of a newer version of this program; {remedy}")));
    }
    Ok(Some(facts))
}

/// The city of a directory stays as it is: readings of another one would contradict those in the store.
fn check_city(data_dir: &Path, facts: &Facts, arguments: &DemoArguments) -> Result<(), Failure> {
    let stations = arguments.stations.unwrap_or(facts.stations);
    let seed = arguments.seed.unwrap_or(facts.seed);
    if (stations, seed) == (facts.stations, facts.seed) {
        return Ok(());
    }
    let at = data_dir.display();
    Err(Failure::environment(format!(
        "{at} holds a city of {} made from seed {}, and this start asks for {} from seed {seed}: leave --stations and --seed out to \
         go on with that city, or name a new directory with --data-dir",
        counted(facts.stations.into(), "station"),
        facts.seed,
        grouped(stations.into()),
    )))
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
