//! The devices of the demo, on a thread of their own: they know the gateway's MQTT address and nothing else of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use firmware_sim::replay::{self, ReplayConfig, Series};
use firmware_sim::sim::{self, Faults, FormatChoice, SimConfig};
use firmware_sim::{ClientOptions, Control, RunError, time};

use crate::cli::Failure;

/// MQTT clients of the simulated stations: each is an edge box that carries its share of them.
const CLIENTS_MAX: usize = 10;
const REPLAY_CLIENTS: usize = 4;
/// How long the devices wait for one more acknowledgement at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);
/// A little of everything that goes wrong outside, as probabilities per message.
const FAULTS: Faults =
    Faults { duplicates: 0.01, reorder: 0.01, gaps: 0.002, garbage: 0.002, corrections: 0.005 };

#[derive(Debug)]
pub(super) struct DevicesConfig {
    pub(super) broker: SocketAddr,
    pub(super) ledger: PathBuf,
    /// To be replayed first.
    pub(super) recorded: Option<Vec<Series>>,
    pub(super) stations: usize,
    pub(super) messages_per_s: f64,
    /// Of the simulated stations.
    pub(super) duration: Option<Duration>,
    /// Messages of the simulated stations.
    pub(super) messages_max: u64,
}

/// What the devices tell. A stop that was asked for is not told.
#[derive(Debug)]
pub(super) enum Event {
    /// All recorded messages are acknowledged; the stations begin.
    Replayed {
        messages: u64,
        took: Duration,
    },
    TimeOver,
    /// `messages_max` are sent.
    Full,
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Devices {
    /// The counts of this run, replay and stations together.
    pub(super) control: Arc<Control>,
    pub(super) events: Receiver<Event>,
    thread: JoinHandle<()>,
}

impl Devices {
    pub(super) fn start(config: DevicesConfig) -> Result<Self, Failure> {
        let control = Control::new();
        // One replay, one end.
        let (sender, events) = bounded(2);
        let body = {
            let control = control.clone();
            move || run(config, &control, &sender)
        };
        let thread = std::thread::Builder::new()
            .name("devices".to_owned())
            .spawn(body)
            .map_err(|error| Failure::environment(format!("starting the devices: {error}")))?;
        Ok(Self { control, events, thread })
    }

    /// Nothing is sent any more; waits for what is not acknowledged yet.
    pub(super) fn stop(self) -> Result<(), Failure> {
        self.control.stop();
        self.thread
            .join()
            .map_err(|_| Failure::environment("the simulated devices ended by a bug of the demo"))?;
        match self.events.try_iter().find_map(|event| match event {
            Event::Failed(sentence) => Some(sentence),
            _ => None,
        }) {
            Some(sentence) => Err(Failure::environment(sentence)),
            None => Ok(()),
        }
    }
}

fn run(config: DevicesConfig, control: &Arc<Control>, events: &Sender<Event>) {
    // The channel has room for all of them, and the one who listens outlives the thread.
    let tell = |event| drop(events.send(event));
    let is_timed = config.duration.is_some();
    let outcome = publish(config, control, &tell);
    let gave_up = control.summary().clients_gave_up;
    match outcome {
        Err(error) => tell(Event::Failed(format!("the simulated devices: {error}"))),
        Ok(()) if gave_up > 0 => tell(Event::Failed(format!(
            "{gave_up} simulated devices lost their connection to the gateway and did not get it back"
        ))),
        Ok(()) if control.is_stopped() => {}
        Ok(()) => tell(if is_timed { Event::TimeOver } else { Event::Full }),
    }
}

fn publish(config: DevicesConfig, control: &Arc<Control>, tell: &dyn Fn(Event)) -> Result<(), RunError> {
    let client = |prefix: &str| ClientOptions {
        broker: config.broker.to_string(),
        client_prefix: prefix.to_owned(),
        drain_timeout: DRAIN_TIMEOUT,
        ..ClientOptions::default()
    };
    if let Some(recorded) = config.recorded {
        let began = Instant::now();
        let replay = ReplayConfig {
            client: client("demo-replay"),
            clients: REPLAY_CLIENTS,
            ledger: config.ledger.clone(),
            ..ReplayConfig::default()
        };
        let messages = replay::run_loaded(&replay, recorded, control)?.messages_acked;
        if control.is_stopped() {
            return Ok(());
        }
        tell(Event::Replayed { messages, took: began.elapsed() });
    }
    let stations = SimConfig {
        client: client("demo-station"),
        stations: config.stations,
        clients: CLIENTS_MAX.min(config.stations),
        // Other signals in every run; the times of the readings are the clock's, so none comes twice.
        seed: time::now_us().unsigned_abs(),
        messages_per_s: Some(config.messages_per_s),
        duration: config.duration,
        messages_max: Some(config.messages_max),
        format: FormatChoice::Mixed,
        faults: FAULTS,
        ledger: config.ledger,
        ..SimConfig::default()
    };
    sim::run(&stations, control)?;
    Ok(())
}
