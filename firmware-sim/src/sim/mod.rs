//! `firmware-sim run`: N simulated stations over C MQTT clients, with faults by option, repeatable by seed.

mod garbage;
mod generator;
mod station;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{ClientOptions, Pace, RunError, Source, run_clients};
use crate::control::{Control, Summary};
use crate::ledger::{Format, Session, Writer};
use crate::message::legal_name;
use crate::random::Random;

pub(crate) use garbage::{garbage, planned_garbage};
use generator::{Generator, GeneratorOptions};
pub use station::{Station, StationKind};

/// Most stations of one run; each takes a few hundred bytes.
pub const STATIONS_MAX: usize = 1_000_000;
/// Most clients of one run; each takes a connection and some kilobytes.
pub const CLIENTS_MAX: usize = 10_000;

/// Which form a station's payloads have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FormatChoice {
    #[default]
    Json,
    Bare,
    Flatbuffers,
    /// One after the other, station by station.
    Mixed,
}

impl FormatChoice {
    /// The form of the station with this number.
    pub fn of_station(self, index: usize) -> Format {
        match self {
            Self::Json => Format::Json,
            Self::Bare => Format::Bare,
            Self::Flatbuffers => Format::Flatbuffers,
            // Stations of one kind stand five apart, so that every kind gets every form.
            Self::Mixed => [Format::Json, Format::Flatbuffers, Format::Bare][(index + index / 5) % 3],
        }
    }
}

/// Which phenomenon times the readings have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// The clock, to the millisecond.
    #[default]
    Clock,
    /// Start and step: makes every byte of a run repeatable.
    Steps { start_us: i64, step_us: i64 },
    /// None; the gateway takes the time of receipt.
    Undated,
}

/// How often something goes wrong, as probabilities from 0 to 1 per message.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Sent once more, a little later.
    pub duplicates: f64,
    /// Sent after messages that were made later.
    pub reorder: f64,
    /// A station skips some messages and their sequence numbers.
    pub gaps: f64,
    /// A message more that nothing can decode.
    pub garbage: f64,
    /// The same time again with another value, a little later.
    pub corrections: f64,
}

/// What to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct SimConfig {
    pub client: ClientOptions,
    pub stations: usize,
    pub clients: usize,
    pub seed: u64,
    /// Messages per second of all clients together; `None` is as fast as the broker acknowledges.
    pub messages_per_s: Option<f64>,
    /// The run ends after this time, or after this many messages of all clients, or when it is stopped.
    pub duration: Option<Duration>,
    pub messages_max: Option<u64>,
    pub format: FormatChoice,
    pub agency: String,
    pub times: Times,
    pub faults: Faults,
    pub ledger: PathBuf,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            client: ClientOptions::default(),
            stations: 10,
            clients: 1,
            seed: 1,
            messages_per_s: Some(10.0),
            duration: None,
            messages_max: None,
            format: FormatChoice::Json,
            agency: "H24.05".to_owned(),
            times: Times::Clock,
            faults: Faults::default(),
            ledger: PathBuf::from("truth.ndjson"),
        }
    }
}

/// Runs the simulation on the calling thread, in a runtime of its own, until it is over or `control` stops it.
pub fn run(config: &SimConfig, control: &Arc<Control>) -> Result<Summary, RunError> {
    check(config)?;
    let ledger = Writer::open(&config.ledger, &Session::new("run", Some(config.seed)))?;
    let sources = (0..config.clients)
        .map(|index| {
            let share = config.messages_per_s.map(|rate| rate / config.clients as f64);
            let pace = Pace::new(share, index as f64 / config.clients as f64);
            (Box::new(generator(config, index, control)) as Box<dyn Source>, pace)
        })
        .collect();
    run_clients(&config.client, config.duration, ledger, control, sources)?;
    Ok(control.summary())
}

fn generator(config: &SimConfig, client: usize, control: &Arc<Control>) -> Generator {
    let stations = (client..config.stations)
        .step_by(config.clients)
        .map(|index| (index, Station::new(config.seed, index)));
    let clients = config.clients as u64;
    let share = |messages: u64| messages / clients + u64::from((client as u64) < messages % clients);
    let options = GeneratorOptions {
        agency: config.agency.clone().into(),
        format: config.format,
        times: config.times,
        faults: config.faults,
        messages_max: config.messages_max.map(share),
    };
    let random = Random::new(config.seed, (client as u64 + 1) << 32);
    Generator::new(options, stations.collect(), random, Arc::clone(control))
}

fn check(config: &SimConfig) -> Result<(), RunError> {
    let bad = |sentence: String| Err(RunError::BadConfiguration(sentence));
    if config.stations == 0 || config.stations > STATIONS_MAX {
        return bad(format!("stations must be 1 to {STATIONS_MAX}, not {}", config.stations));
    }
    if config.clients == 0 || config.clients > CLIENTS_MAX || config.clients > config.stations {
        let most = CLIENTS_MAX.min(config.stations);
        return bad(format!("clients must be 1 to {most} (no more than stations), not {}", config.clients));
    }
    if config.messages_per_s.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        return bad("the rate must be a number above 0 (leave it out to send as fast as possible)".to_owned());
    }
    let Faults { duplicates, reorder, gaps, garbage, corrections } = config.faults;
    if ![duplicates, reorder, gaps, garbage, corrections].iter().all(|chance| (0.0..=1.0).contains(chance)) {
        return bad(
            "probabilities (duplicates, reorder, gaps, garbage, corrections) must be 0 to 1".to_owned()
        );
    }
    if config.client.qos > 1 {
        return bad(format!("qos must be 0 or 1, not {}", config.client.qos));
    }
    if config.client.in_flight_max == 0 {
        return bad("the window must hold at least one message".to_owned());
    }
    if legal_name(&config.agency) != config.agency {
        return bad(format!("`{}` is no agency code: 1 to 64 of A–Z a–z 0–9 . _ -", config.agency));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
