//! The devices of the demo, on a thread of their own: they know the gateway's MQTT address and nothing else of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use firmware_sim::city::{City, CityConfig, CityControl, CityFaults, Region, Storm};
use firmware_sim::replay::{self, ReplayConfig, Series};
use firmware_sim::{ClientOptions, Control, RunError, time};

use super::phase::Phase;
use crate::cli::Failure;

/// MQTT clients of the city: each is an edge box that carries stations of one region.
const CITY_CLIENTS: usize = 32;
const REPLAY_CLIENTS: usize = 4;
/// Stations measure twice as often as theirs of the same kind outside: there is more to see.
const INTERVAL_SCALE: f64 = 0.5;
/// The newest reading of a healthy station is never older, and never sent later: the longest interval (air quality, an hour
/// outside), what a station takes until it sends (5 min at most), and 5 min in hand.
pub(super) const FRESH_MAX_S: u32 = (3600.0 * INTERVAL_SCALE) as u32 + 300 + 300;
/// What is late by more is waiting: all else was only just measured.
const LATE_US: i64 = 5_000_000;
/// How long the devices wait for one more acknowledgement at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// The city and how long its past is.
#[derive(Debug)]
pub(super) struct CityPlan {
    pub(super) stations: u32,
    pub(super) seed: u64,
    /// What was measured since then is sent first.
    pub(super) from_us: i64,
    pub(super) messages_max: u64,
}

impl CityPlan {
    pub(super) fn build(&self, broker: SocketAddr, ledger: PathBuf) -> Result<City, Failure> {
        City::new(CityConfig {
            client: client(broker, "demo-city"),
            stations: self.stations as usize,
            seed: self.seed,
            connections: CITY_CLIENTS,
            from_us: Some(self.from_us),
            messages_max: Some(self.messages_max),
            interval_scale: INTERVAL_SCALE,
            // A little of everything that goes wrong outside.
            faults: CityFaults::SOME,
            ledger,
            ..CityConfig::default()
        })
        .map_err(|error| Failure::environment(format!("the simulated city: {error}")))
    }
}

#[derive(Debug)]
pub(super) struct DevicesConfig {
    pub(super) broker: SocketAddr,
    pub(super) ledger: PathBuf,
    /// To be sent first.
    pub(super) recorded: Option<Vec<Series>>,
    pub(super) city: City,
    /// Since when a storm holds back what a region measures, epoch µs, and how long it goes on.
    pub(super) storm: Option<(i64, Duration)>,
}

/// What the devices tell. A stop that was asked for is not told.
#[derive(Debug)]
pub(super) enum Event {
    /// All recorded messages are acknowledged; the city begins.
    Replayed {
        messages: u64,
        took: Duration,
    },
    /// The most messages of the directory are sent.
    Full,
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Devices {
    /// The counts of this run, replay and city together.
    pub(super) control: Arc<Control>,
    city: Arc<CityControl>,
    is_replaying: Arc<AtomicBool>,
    pub(super) events: Receiver<Event>,
    thread: JoinHandle<()>,
}

impl Devices {
    pub(super) fn start(config: DevicesConfig) -> Result<Self, Failure> {
        let control = Control::new();
        let city = CityControl::of_run(&control);
        let is_replaying = Arc::new(AtomicBool::new(config.recorded.is_some()));
        // One replay, one end.
        let (sender, events) = bounded(2);
        let body = {
            let (city, is_replaying) = (city.clone(), is_replaying.clone());
            move || run(config, &city, &is_replaying, &sender)
        };
        let thread = std::thread::Builder::new()
            .name("devices".to_owned())
            .spawn(body)
            .map_err(|error| Failure::environment(format!("starting the devices: {error}")))?;
        Ok(Self { control, city, is_replaying, events, thread })
    }

    pub(super) fn phase(&self) -> Phase {
        if self.is_replaying.load(Ordering::Relaxed) {
            Phase::Replay
        } else {
            Phase::of(&self.city, time::now_us())
        }
    }

    /// Nothing is sent any more; waits for what is not acknowledged yet.
    pub(super) fn stop(self) -> Result<Ended, Failure> {
        self.control.stop();
        self.thread
            .join()
            .map_err(|_| Failure::environment("the simulated devices ended by a bug of the demo"))?;
        match self.events.try_iter().find_map(|event| match event {
            Event::Failed(sentence) => Some(sentence),
            _ => None,
        }) {
            Some(sentence) => Err(Failure::environment(sentence)),
            None => Ok(Ended::of(&self.city, time::now_us())),
        }
    }
}

/// What became of the city's measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Epoch µs: all that was to be sent before is sent and acknowledged. None where that can't be said: the city never began, or
    /// some acknowledgement is missing.
    pub(super) covered_until_us: Option<i64>,
    /// Measurements that were kept and not sent.
    pub(super) waiting: u64,
    /// Measurements that are gone, because their station stores nothing and had no network.
    pub(super) missed: u64,
}

impl Ended {
    fn of(city: &CityControl, now_us: i64) -> Self {
        let sent_until_us = city.sent_until_us();
        let is_late = sent_until_us.is_some_and(|until_us| now_us - until_us > LATE_US);
        Self {
            covered_until_us: sent_until_us.filter(|_| city.summary().unacked() == 0),
            waiting: if is_late { city.waiting() } else { 0 },
            missed: city.missed(),
        }
    }
}

fn run(config: DevicesConfig, city: &Arc<CityControl>, is_replaying: &AtomicBool, events: &Sender<Event>) {
    // The channel has room for all of them, and the one who listens outlives the thread.
    let tell = |event| drop(events.send(event));
    let outcome = publish(config, city, is_replaying, &tell);
    let gave_up = city.summary().clients_gave_up;
    match outcome {
        Err(error) => tell(Event::Failed(format!("the simulated devices: {error}"))),
        Ok(()) if gave_up > 0 => tell(Event::Failed(format!(
            "{gave_up} simulated devices lost their connection to the gateway and did not get it back"
        ))),
        Ok(()) if city.run().is_stopped() => {}
        Ok(()) => tell(Event::Full),
    }
}

fn publish(
    config: DevicesConfig,
    city: &Arc<CityControl>,
    is_replaying: &AtomicBool,
    tell: &dyn Fn(Event),
) -> Result<(), RunError> {
    if let Some(recorded) = config.recorded {
        let began = Instant::now();
        let replay = ReplayConfig {
            client: client(config.broker, "demo-replay"),
            clients: REPLAY_CLIENTS,
            ledger: config.ledger,
            ..ReplayConfig::default()
        };
        let messages = replay::run_loaded(&replay, recorded, city.run())?.messages_acked;
        if city.run().is_stopped() {
            return Ok(());
        }
        tell(Event::Replayed { messages, took: began.elapsed() });
    }
    if let Some((from_us, lasts)) = config.storm {
        let until_us = time::now_us().saturating_add_unsigned(lasts.as_micros() as u64);
        city.start_storm(Storm { region: storm_region(&config.city), from_us, until_us });
    }
    is_replaying.store(false, Ordering::Relaxed);
    config.city.run(city)?;
    Ok(())
}

fn client(broker: SocketAddr, prefix: &str) -> ClientOptions {
    ClientOptions {
        broker: broker.to_string(),
        client_prefix: prefix.to_owned(),
        drain_timeout: DRAIN_TIMEOUT,
        ..ClientOptions::default()
    }
}

/// The former district with the most stations.
fn storm_region(city: &City) -> Region {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for station in city.stations() {
        *counts.entry(&station.region).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(region, count)| (*count, *region));
    most.map_or(Region::Islands, |(region, _)| Region::District(region.to_owned()))
}
