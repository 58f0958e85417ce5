//! The simulated stations of a city and their signals.
//!
//! A signal depends on the seed, the station and the number of the message, and on nothing else. Every message moves the
//! signal on by [`SIGNAL_STEP_S`], however fast messages really follow one another: so a tide or a rush hour can be seen in
//! minutes, and a flood of messages still has different values.

use std::f64::consts::TAU;

use crate::message::{Reading, Value};
use crate::payload::TimeStyle;
use crate::random::Random;

/// Signal time between two messages of one station, in seconds.
const SIGNAL_STEP_S: f64 = 60.0;
const DAY_S: f64 = 86_400.0;
/// The principal lunar tide.
const TIDE_S: f64 = 44_714.0;
/// How often a reading is missing, with the status of a broken sensor.
const MISSING_PROBABILITY: f64 = 0.005;

/// Status codes as stations of Circular 10/2021 send them.
const STATUS_MEASURING: &str = "00";
const STATUS_BROKEN: &str = "02";

/// What a station measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StationKind {
    Air,
    Tide,
    Traffic,
    Pump,
    Weather,
}

impl StationKind {
    const ALL: [Self; 5] = [Self::Air, Self::Tide, Self::Traffic, Self::Pump, Self::Weather];

    const fn code(self) -> &'static str {
        match self {
            Self::Air => "KHI",
            Self::Tide => "TRI",
            Self::Traffic => "GTH",
            Self::Pump => "BOM",
            Self::Weather => "KTT",
        }
    }
}

/// One station with the state of its signals.
#[derive(Clone, Debug)]
pub struct Station {
    pub name: String,
    pub kind: StationKind,
    pub time_style: TimeStyle,
    /// Messages so far, skipped ones included.
    pub step: u64,
    seq: u64,
    last_time_us: i64,
    random: Random,
    /// From 0 to 1: how this station differs from its neighbours.
    character: f64,
    /// A slow random walk, for signals with a memory.
    drift: f64,
    pump_runs: bool,
}

impl Station {
    /// The station with this number (from 0) of a seed; the same whichever client carries it.
    pub fn new(seed: u64, index: usize) -> Self {
        let mut random = Random::new(seed, index as u64 + 1);
        let kind = StationKind::ALL[index % StationKind::ALL.len()];
        let styles =
            [TimeStyle::LocalText, TimeStyle::UtcText, TimeStyle::EpochMilliseconds, TimeStyle::EpochSeconds];
        Self {
            name: format!("{}{:03}", kind.code(), index + 1),
            kind,
            time_style: styles[(index / StationKind::ALL.len()) % styles.len()],
            step: 0,
            seq: 0,
            last_time_us: i64::MIN,
            character: random.unit(),
            drift: 0.0,
            pump_runs: false,
            random,
        }
    }

    pub fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// The time of the next message when the clock shows `now_us`: whole milliseconds, and later than the one before.
    pub fn next_time_us(&mut self, now_us: i64) -> i64 {
        let now_ms = now_us - now_us.rem_euclid(1000);
        self.last_time_us = now_ms.max(self.last_time_us.saturating_add(1));
        self.last_time_us
    }

    /// Lets `steps` messages pass unsent.
    pub fn skip(&mut self, steps: u64) {
        self.step += steps;
        self.seq += steps;
    }

    /// The readings of the next message.
    pub fn measure(&mut self) -> Vec<Reading> {
        let signal_s = self.step as f64 * SIGNAL_STEP_S;
        self.step += 1;
        self.drift = self.drift * 0.98 + self.random.noise() * 0.2;
        let mut readings = match self.kind {
            StationKind::Air => self.air(signal_s),
            StationKind::Tide => self.tide(signal_s),
            StationKind::Traffic => self.traffic(signal_s),
            StationKind::Pump => self.pump(signal_s),
            StationKind::Weather => self.weather(signal_s),
        };
        if self.random.chance(MISSING_PROBABILITY) {
            let at = self.random.between(0, readings.len() as u64 - 1) as usize;
            readings[at].value = Value::Null;
            readings[at].status = Some(STATUS_BROKEN.into());
        }
        readings
    }

    fn air(&mut self, signal_s: f64) -> Vec<Reading> {
        let rush = rush_hour(signal_s);
        let pm2_5 = (18.0 + 20.0 * self.character + 22.0 * rush)
            * (1.0 + 0.25 * self.drift + 0.06 * self.random.noise());
        let no2 = 20.0 + 45.0 * rush + 6.0 * self.random.noise();
        vec![
            Reading::number("pm2_5", rounded(pm2_5.max(0.5), 1), "ug/m3").with_status(Some(STATUS_MEASURING)),
            Reading::number("pm10", rounded(pm2_5.max(0.5) * 1.6, 1), "ug/m3")
                .with_status(Some(STATUS_MEASURING)),
            Reading::number("no2", rounded(no2.max(0.0), 1), "ug/m3").with_status(Some(STATUS_MEASURING)),
        ]
    }

    fn tide(&mut self, signal_s: f64) -> Vec<Reading> {
        let level = 0.2
            + 1.1 * (TAU * (signal_s / TIDE_S + 0.1 * self.character)).sin()
            + 0.45 * (TAU * signal_s / DAY_S).sin()
            + 0.05 * self.drift
            + 0.004 * self.random.noise();
        // Some gauges report centimetres, as real ones do: the gateway's conversion has something to convert.
        let (value, unit) =
            if self.character < 0.3 { (rounded(level * 100.0, 1), "cm") } else { (rounded(level, 3), "m") };
        vec![Reading::number("tide_level", value, unit).with_status(Some(STATUS_MEASURING))]
    }

    fn traffic(&mut self, signal_s: f64) -> Vec<Reading> {
        let rush = rush_hour(signal_s);
        let motorcycles = ((12.0 + 70.0 * rush) * (1.0 + 0.3 * self.random.noise())).max(0.0).round();
        let cars = ((4.0 + 18.0 * rush) * (1.0 + 0.3 * self.random.noise())).max(0.0).round();
        let speed = (48.0 - 26.0 * rush + 4.0 * self.random.noise()).max(3.0);
        let count = |property, number| Reading::number(property, number, "{veh}").with_period_s(60);
        vec![
            count("vehicle_count;class=motorcycle;lane=1", motorcycles),
            count("vehicle_count;class=car;lane=2", cars),
            Reading::number("speed", rounded(speed, 1), "km/h"),
            Reading::number("occupancy", rounded(4.0 + 40.0 * rush + self.random.unit(), 2), "%"),
        ]
    }

    fn pump(&mut self, signal_s: f64) -> Vec<Reading> {
        let level =
            0.9 + 0.6 * (TAU * (signal_s / 7200.0 + self.character)).sin() + 0.02 * self.random.noise();
        // A float switch: on above one mark, off below the other.
        self.pump_runs = if self.pump_runs { level > 0.5 } else { level > 1.3 };
        let mode = match (self.pump_runs, self.random.chance(0.01)) {
            (_, true) => "maintenance",
            (true, false) => "pumping",
            (false, false) => "idle",
        };
        vec![
            Reading::new("pump_state", Value::Boolean(self.pump_runs), None),
            Reading::text("pump_mode", mode),
            Reading::number("water_level", rounded(level, 2), "m"),
        ]
    }

    fn weather(&mut self, signal_s: f64) -> Vec<Reading> {
        let sun = (TAU * (signal_s / DAY_S - 0.3)).sin();
        let temperature = 28.5 + 4.5 * sun + 0.8 * self.drift + 0.1 * self.random.noise();
        let (temperature, unit) = if self.character < 0.3 {
            (rounded(temperature * 1.8 + 32.0, 1), "[degF]")
        } else {
            (rounded(temperature, 1), "Cel")
        };
        let rain = if self.drift > 0.35 { (self.random.unit() * 4.0).round() * 0.2 } else { 0.0 };
        let wind = (2.0 + 1.5 * sun + 0.8 * self.random.noise()).max(0.0);
        vec![
            Reading::number("air_temperature", temperature, unit),
            Reading::number(
                "relative_humidity",
                rounded(78.0 - 12.0 * sun + 3.0 * self.random.noise(), 0),
                "%",
            ),
            Reading::number("air_pressure", rounded(1009.0 + 2.0 * self.drift, 1), "hPa"),
            Reading::number("wind_speed", rounded(wind, 1), "m/s"),
            Reading::number("wind_direction", rounded(self.random.unit() * 359.0, 0), "deg"),
            Reading::number("rain", rounded(rain, 1), "mm").with_period_s(60),
        ]
    }
}

/// From 0 at night to 1 in the thick of the morning and evening traffic.
fn rush_hour(signal_s: f64) -> f64 {
    let hour = (signal_s % DAY_S) / 3600.0;
    let peak = |at: f64, width: f64| (-((hour - at) / width).powi(2)).exp();
    (peak(7.5, 1.5) + peak(17.5, 2.0) + 0.3 * peak(12.0, 3.0)).min(1.0)
}

/// Devices send few decimals. The division by a power of ten gives the number that the decimal text means.
fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    let rounded = (value * scale).round() / scale;
    // A minus in front of zero would be a value of its own.
    if rounded == 0.0 { 0.0 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_few_decimals_and_stay_in_a_plausible_range() {
        for index in 0..10 {
            let mut station = Station::new(3, index);
            for _ in 0..2000 {
                for reading in station.measure() {
                    let Value::Number(number) = reading.value else { continue };
                    assert!(number.to_string().len() <= 7, "{number} of {}", reading.property);
                    assert!((-300.0..=1100.0).contains(&number), "{number} of {}", reading.property);
                }
            }
        }
    }

    #[test]
    fn times_of_a_station_only_grow_even_when_the_clock_does_not() {
        let mut station = Station::new(3, 0);
        assert_eq!(station.next_time_us(5_000_999), 5_000_000);
        assert_eq!(station.next_time_us(5_000_999), 5_000_001);
        assert_eq!(station.next_time_us(4_000_000), 5_000_002);
        assert_eq!(station.next_time_us(6_000_000), 6_000_000);
    }

    #[test]
    fn every_kind_of_result_occurs() {
        let mut kinds = [0; 4];
        for index in 0..5 {
            let mut station = Station::new(1, index);
            for reading in (0..1000).flat_map(|_| station.measure()) {
                kinds[match reading.value {
                    Value::Number(_) => 0,
                    Value::Boolean(_) => 1,
                    Value::Text(_) => 2,
                    Value::Null => 3,
                }] += 1;
            }
        }
        assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
    }
}
