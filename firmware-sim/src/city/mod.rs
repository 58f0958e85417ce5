//! `firmware-sim city`: thousands of stations of Hải Phòng that share one weather, one tide and one rush hour.
//!
//! ```text
//!  sky (rain cells, sun, wind, inversion) ─┬▶ signals of a station at a time ─▶ faults ─▶ edge box ─▶ MQTT client ─▶ ledger
//!  tide (harmonic constants) ──────────────┘       (rainfall: drains, rivers)        (schedule, storm)
//! ```
//! Every message is a function of (seed, station, time): two runs of one seed that cover the same hours send the same bytes,
//! whenever they were started, so what comes twice is a duplicate and no contradiction. Stations measure at round times (UTC),
//! `seq` is the number of the measurement since 1970. Station n is the same in a city of any size.
//!
//! Use from another program:
//! ```no_run
//! # use firmware_sim::city::{City, CityConfig, CityControl};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let city = City::new(CityConfig::default())?;
//! city.write_things("demo-data/things".as_ref())?;
//! let control = CityControl::new();
//! // On a thread of its own: returns after `control.stop()`, when everything is acknowledged.
//! let summary = city.run(&control)?;
//! # Ok(()) }
//! ```

mod edge_box;
mod faults;
mod kinds;
mod layout;
mod noise;
mod places;
mod rainfall;
mod signals;
mod sky;
mod stations;
mod storm;
mod things;
pub mod tide;

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use edge_box::{Course, Device, EdgeBox};
use faults::Condition;
use signals::Instrument;
use sky::Sky;

pub use faults::CityFaults;
pub use kinds::{AGENCIES, Agency, StationKind};
pub use places::{Commune, Region, folded};
pub use stations::{STATIONS_MAX, Station};
pub use storm::{CityControl, STORMS_MAX, Storm, StormState};
pub use things::{AGENCIES_FILE, STATIONS_FILE};

use crate::client::{ClientOptions, Pace, RunError, Source, run_clients};
use crate::control::Summary;
use crate::ledger::{Session, Writer};
use crate::sim::{CLIENTS_MAX, FormatChoice};
use crate::time::now_us;

/// How far back a run may begin.
const PAST_MAX: Duration = Duration::from_secs(400 * 86_400);
/// An interval of an hour must not shrink to nothing, nor grow beyond a day.
const INTERVAL_SCALE: std::ops::RangeInclusive<f64> = 0.001..=24.0;

/// What to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct CityConfig {
    pub client: ClientOptions,
    pub stations: usize,
    pub seed: u64,
    /// At most so many MQTT connections; each is an edge box for stations of one region.
    pub connections: usize,
    /// Epoch µs: the stations send what they measured since then, then go on with the clock.
    pub from_us: Option<i64>,
    /// How much faster than the clock the past is covered; `None` is as fast as the broker acknowledges.
    pub speed: Option<f64>,
    /// The run ends after this time, or after so many messages, or when it is stopped.
    pub duration: Option<Duration>,
    pub messages_max: Option<u64>,
    /// All intervals between measurements times this; 0.1 makes a lively demo.
    pub interval_scale: f64,
    /// One form for all; `None` is a form that fits the kind of station.
    pub format: Option<FormatChoice>,
    pub faults: CityFaults,
    pub ledger: PathBuf,
}

impl Default for CityConfig {
    fn default() -> Self {
        Self {
            client: ClientOptions { client_prefix: "city".to_owned(), ..ClientOptions::default() },
            stations: 1000,
            seed: 1,
            connections: 32,
            from_us: None,
            speed: None,
            duration: None,
            messages_max: None,
            interval_scale: 1.0,
            format: None,
            faults: CityFaults::default(),
            ledger: PathBuf::from("truth.ndjson"),
        }
    }
}

/// A city with its stations, ready to run.
#[derive(Clone, Debug)]
pub struct City {
    config: CityConfig,
    stations: Vec<Station>,
}

impl City {
    pub fn new(config: CityConfig) -> Result<Self, RunError> {
        check(&config)?;
        let stations = stations::stations(config.seed, config.stations, config.interval_scale, config.format);
        Ok(Self { config, stations })
    }

    pub fn stations(&self) -> &[Station] {
        &self.stations
    }

    /// Writes `stations.csv` and `agencies.csv`, what an operator would tell the gateway of them.
    pub fn write_things(&self, folder: &Path) -> io::Result<()> {
        things::write(folder, &self.stations)
    }

    /// Runs the city on the calling thread, in a runtime of its own, until it is over or `control` stops it.
    pub fn run(&self, control: &Arc<CityControl>) -> Result<Summary, RunError> {
        let begun_us = now_us();
        let from_us = self.config.from_us.unwrap_or(begun_us);
        if begun_us < from_us || begun_us.abs_diff(from_us) > PAST_MAX.as_micros() as u64 {
            return Err(RunError::BadConfiguration(format!(
                "a run can begin up to {} days ago and not in the future",
                PAST_MAX.as_secs() / 86_400
            )));
        }
        let course = Course { from_us, begun_us, speed: self.config.speed };
        let ledger = Writer::open(&self.config.ledger, &Session::new("city", Some(self.config.seed)))?;
        let boxes = self.edge_boxes(course, control);
        control.has_begun.store(1, Ordering::Relaxed);
        let sources =
            boxes.into_iter().map(|one| (Box::new(one) as Box<dyn Source>, Pace::new(None, 0.0))).collect();
        run_clients(&self.config.client, self.config.duration, ledger, control.run(), sources)?;
        Ok(control.summary())
    }

    fn edge_boxes(&self, course: Course, control: &Arc<CityControl>) -> Vec<EdgeBox> {
        let messages_left = Rc::new(Cell::new(self.config.messages_max.unwrap_or(u64::MAX)));
        let by_number: HashMap<(StationKind, usize), usize> =
            self.stations.iter().map(|station| ((station.kind, station.number), station.index)).collect();
        layout::deal(&self.stations, self.config.connections)
            .into_iter()
            .enumerate()
            .map(|(number, indexes)| {
                let devices = indexes.into_iter().map(|index| self.device(index, &by_number, course.from_us));
                let messages_left = Rc::clone(&messages_left);
                EdgeBox::new(
                    number,
                    self.config.seed,
                    course,
                    devices.collect(),
                    Arc::clone(control),
                    messages_left,
                )
            })
            .collect()
    }

    fn device(&self, index: usize, by_number: &HashMap<(StationKind, usize), usize>, from_us: i64) -> Device {
        let (seed, faults) = (self.config.seed, self.config.faults);
        let sky = Sky { seed };
        let station = &self.stations[index];
        let neighbour =
            by_number.get(&(station.kind, station.number ^ 1)).map(|index| &self.stations[*index]);
        let pair_stream = neighbour.map_or(station.stream(0), |other| station.stream(0).min(other.stream(0)));
        let neighbour = neighbour.filter(|_| faults.swapped > 0.0);
        let mut device = Device::new(
            Instrument::new(sky, station.clone()),
            neighbour.map(|other| Instrument::new(sky, other.clone())),
            Condition::new(seed, faults, station, pair_stream),
            seed,
            from_us,
        );
        (device.garbage, device.duplicates) = (faults.garbage, faults.duplicates);
        device
    }
}

fn check(config: &CityConfig) -> Result<(), RunError> {
    let bad = |sentence: String| Err(RunError::BadConfiguration(sentence));
    if config.stations == 0 || config.stations > STATIONS_MAX {
        return bad(format!("stations must be 1 to {STATIONS_MAX}, not {}", config.stations));
    }
    if config.connections == 0 || config.connections > CLIENTS_MAX {
        return bad(format!("connections must be 1 to {CLIENTS_MAX}, not {}", config.connections));
    }
    if !INTERVAL_SCALE.contains(&config.interval_scale) {
        let (least, most) = INTERVAL_SCALE.into_inner();
        return bad(format!("the interval scale must be {least} to {most}, not {}", config.interval_scale));
    }
    if config.speed.is_some_and(|speed| !(speed.is_finite() && speed > 0.0)) {
        return bad(
            "the speed must be a number above 0 (leave it out to send as fast as possible)".to_owned()
        );
    }
    if !config.faults.all().iter().all(|share| (0.0..=1.0).contains(share)) {
        return bad("shares of faults must be 0 to 1".to_owned());
    }
    if config.client.qos > 1 {
        return bad(format!("qos must be 0 or 1, not {}", config.client.qos));
    }
    if config.client.in_flight_max == 0 {
        return bad("the window must hold at least one message".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
