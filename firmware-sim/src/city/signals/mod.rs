//! What a station would measure at a time if nothing were wrong with it.

mod air;
mod life;
mod water;

use super::kinds::StationKind;
use super::noise;
use super::rainfall::{Catchment, Response};
use super::sky::{Local, Sky};
use super::stations::Station;
use crate::message::Reading;
use crate::random::Random;

/// Status of a good value, as stations of Circular 10/2021 send it.
pub(super) const STATUS_MEASURING: &str = "00";
/// Purposes of a station's streams of chance; 0 made the station itself.
const PURPOSE_NOISE: u64 = 1;
const PURPOSE_BATTERY: u64 = 2;

/// A station's sensors. All of it is a function of time; the catchment only remembers what was computed before.
#[derive(Clone, Debug)]
pub(super) struct Instrument {
    pub(super) station: Station,
    sky: Sky,
    catchment: Option<Catchment>,
}

/// One look at the world.
struct View<'a> {
    station: &'a Station,
    sky: Sky,
    time_s: f64,
    local: Local,
    random: Random,
}

impl View<'_> {
    fn noise(&mut self) -> f64 {
        self.random.noise()
    }
}

impl Instrument {
    pub(super) fn new(sky: Sky, station: Station) -> Self {
        let response = match station.kind {
            StationKind::Drain | StationKind::Pumps => Some(Response::DRAIN),
            StationKind::RiverGauge => Some(Response::RIVER),
            _ => None,
        };
        let catchment = response.map(|response| Catchment::new(response, station.place));
        Self { station, sky, catchment }
    }

    /// The readings at a time (epoch µs).
    pub(super) fn measure(&mut self, time_us: i64) -> Vec<Reading> {
        let time_s = time_us as f64 / 1e6;
        let station = &self.station;
        let random = noise::random(self.sky.seed, station.stream(PURPOSE_NOISE), time_us);
        let view = View { station, sky: self.sky, time_s, local: Local::at(time_s), random };
        let catchment = self.catchment.as_mut();
        let mut readings = match (station.kind, catchment) {
            (StationKind::AirReference, _) => air::reference(view),
            (StationKind::AirSensor, _) => air::sensor(view),
            (StationKind::Lighting, _) => life::lighting(view),
            (StationKind::RainGauge, _) => water::rain_gauge(view),
            (StationKind::TideGauge, _) => water::tide_gauge(view),
            (StationKind::Traffic, _) => life::traffic(view),
            (StationKind::Weather, _) => air::weather(view),
            (StationKind::Drain, Some(catchment)) => water::drain(view, catchment),
            (StationKind::Pumps, Some(catchment)) => water::pumps(view, catchment),
            (StationKind::RiverGauge, Some(catchment)) => water::river_gauge(view, catchment),
            // Every kind that asks for a catchment got one above.
            (StationKind::Drain | StationKind::Pumps | StationKind::RiverGauge, None) => Vec::new(),
        };
        if self.station.facts().has_battery {
            readings.push(Reading::number("battery_voltage", self.battery_v(time_s), "V"));
        }
        readings
    }

    /// Full in the afternoon, lower after a dull day.
    fn battery_v(&self, time_s: f64) -> f64 {
        let hour = Local::at(time_s).hour();
        let charge = 0.5 + 0.5 * ((hour - 9.5) / 24.0 * std::f64::consts::TAU).sin();
        let dull = noise::smooth(self.sky.seed, self.station.stream(PURPOSE_BATTERY), time_s, 86_400.0);
        rounded(12.3 + 0.7 * charge + 0.2 * dull, 2)
    }
}

/// Devices send few decimals. The division by a power of ten gives the number that the decimal text means.
pub(super) fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    let rounded = (value * scale).round() / scale;
    // A minus in front of zero would be a value of its own.
    if rounded == 0.0 { 0.0 } else { rounded }
}
