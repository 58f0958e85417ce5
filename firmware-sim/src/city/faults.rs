//! What goes wrong at stations: wrong clocks, silent and stuck sensors, swapped sensors, changed units, dead batteries.
//!
//! All of it is a function of seed, station and time, like the signals. Faults that come and go do so in episodes of six hours
//! of a station's own; in each, a station has the fault with the probability that was asked for. What is sent is what the
//! ledger says: a faulty reading is a true record of what a faulty station sent. Each episode has a line of its own there.

use super::noise;
use super::signals::rounded;
use super::stations::Station;
use crate::ledger::Fault;
use crate::message::{Reading, Text, Value};

const EPISODE_US: i64 = 6 * 3600 * 1_000_000;
const HOUR_US: i64 = 3600 * 1_000_000;
const MINUTE_US: i64 = 60 * 1_000_000;
const WEEK_US: i64 = 7 * 24 * HOUR_US;
/// A clock that is ahead stays within what gateways take: theirs may differ by five minutes.
const AHEAD_MINUTES_MAX: u64 = 4;
/// Where a clock that lost its battery starts to count: 1 January 2000.
const RESET_CLOCK_US: i64 = 946_684_800_000_000;
/// When that happened, 1 January 2026.
const RESET_AT_US: i64 = 1_767_225_600_000_000;
/// An empty battery: its station falls silent after two thirds of the episode.
const BATTERY_LIFE_US: i64 = EPISODE_US / 3 * 2;

/// How much of everything goes wrong, 0 to 1: shares of stations, and of messages where it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CityFaults {
    /// Clocks that are fast, slow, an hour zone off, or years off.
    pub clocks: f64,
    /// Sends nothing.
    pub silent: f64,
    /// Sends the same values again and again.
    pub stuck: f64,
    /// Pairs of stations that have each other's sensors.
    pub swapped: f64,
    /// Numbers in another unit, with and without saying so.
    pub units: f64,
    /// Battery runs down, then silence. Of those that have one.
    pub batteries: f64,
    /// Of messages: one more that nothing can decode.
    pub garbage: f64,
    /// Of messages: sent twice.
    pub duplicates: f64,
}

impl CityFaults {
    /// A little of everything, as in any city.
    pub const SOME: Self = Self {
        clocks: 0.01,
        silent: 0.01,
        stuck: 0.01,
        swapped: 0.005,
        units: 0.005,
        batteries: 0.02,
        garbage: 0.001,
        duplicates: 0.005,
    };

    pub(super) fn all(self) -> [f64; 8] {
        let Self { clocks, silent, stuck, swapped, units, batteries, garbage, duplicates } = self;
        [clocks, silent, stuck, swapped, units, batteries, garbage, duplicates]
    }
}

/// Streams of chance of a station, one per fault.
#[derive(Clone, Copy)]
enum Chance {
    Clock = 64,
    Silent,
    Stuck,
    Units,
    Battery,
    Swapped,
}

/// The faults of one station.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    seed: u64,
    faults: CityFaults,
    clock: Clock,
    /// Its stream of chance for everything but swaps, and the one that it shares with its neighbour.
    stream: u64,
    pair_stream: u64,
    has_battery: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Clock {
    Right,
    Off(i64),
    /// Loses this share of time, and is set right once a week.
    Slow(f64),
    /// Counts from 2000 on.
    Reset,
}

impl Condition {
    pub(super) fn new(seed: u64, faults: CityFaults, station: &Station, pair_stream: u64) -> Self {
        let stream = station.stream(0);
        let mut random = noise::random(seed, stream + Chance::Clock as u64, 0);
        let is_wrong = random.chance(faults.clocks) && !station.has_no_clock;
        let clock = match random.between(0, 4) {
            _ if !is_wrong => Clock::Right,
            // Somebody took UTC for local time.
            0 => Clock::Off(-7 * HOUR_US),
            1 => Clock::Off(-(random.between(10, 180) as i64) * MINUTE_US),
            2 => Clock::Off(random.between(1, AHEAD_MINUTES_MAX) as i64 * MINUTE_US),
            3 => Clock::Slow(1e-5 + 2e-4 * random.unit()),
            _ => Clock::Reset,
        };
        let has_battery = station.facts().has_battery;
        Self { seed, faults, clock, stream, pair_stream, has_battery }
    }

    /// When the episode began that `time_us` lies in, and whether the station has this fault in it.
    fn span(&self, fault: Chance, probability: f64, time_us: i64) -> (i64, bool) {
        let stream =
            if matches!(fault, Chance::Swapped) { self.pair_stream } else { self.stream } + fault as u64;
        let phase_us = (noise::unit(self.seed, stream, i64::MIN) * EPISODE_US as f64) as i64;
        let number = (time_us - phase_us).div_euclid(EPISODE_US);
        (number * EPISODE_US + phase_us, noise::unit(self.seed, stream, number) < probability)
    }

    /// When the episode began that `time_us` lies in, if the station has this fault in it.
    fn episode(&self, fault: Chance, probability: f64, time_us: i64) -> Option<i64> {
        if probability <= 0.0 {
            return None;
        }
        let (begin_us, has_it) = self.span(fault, probability, time_us);
        has_it.then_some(begin_us)
    }

    /// What goes wrong at `time_us`, for the ledger: tells each episode that began after `told_us` (fault, first moment, first
    /// moment after it), and returns when to ask again: before that, nothing begins.
    pub(super) fn tell(&self, time_us: i64, told_us: i64, mut tell: impl FnMut(Fault, i64, i64)) -> i64 {
        let faults = &self.faults;
        let batteries = if self.has_battery { faults.batteries } else { 0.0 };
        let unit = if self.tells_units() { Fault::ToldUnit } else { Fault::UntoldUnit };
        let mut ask_again_us = i64::MAX;
        for (chance, probability, fault) in [
            (Chance::Silent, faults.silent, Fault::Silent),
            (Chance::Stuck, faults.stuck, Fault::Stuck),
            (Chance::Swapped, faults.swapped, Fault::Swapped),
            (Chance::Units, faults.units, unit),
            (Chance::Battery, batteries, Fault::LowBattery),
        ] {
            if probability <= 0.0 {
                continue;
            }
            let (begin_us, has_it) = self.span(chance, probability, time_us);
            let end_us = begin_us + EPISODE_US;
            ask_again_us = ask_again_us.min(end_us);
            if !has_it || begin_us <= told_us {
                continue;
            }
            if fault == Fault::LowBattery {
                tell(fault, begin_us, begin_us + BATTERY_LIFE_US);
                tell(Fault::DeadBattery, begin_us + BATTERY_LIFE_US, end_us);
            } else {
                tell(fault, begin_us, end_us);
            }
        }
        ask_again_us
    }

    /// What is wrong with the clock, if anything is.
    pub(super) fn clock_fault(&self) -> Option<Fault> {
        match self.clock {
            Clock::Right => None,
            Clock::Off(offset_us) if offset_us > 0 => Some(Fault::ClockAhead),
            Clock::Off(_) => Some(Fault::ClockBehind),
            Clock::Slow(_) => Some(Fault::ClockSlow),
            Clock::Reset => Some(Fault::ClockReset),
        }
    }

    /// Does the logger say so when somebody chooses another unit?
    fn tells_units(&self) -> bool {
        (self.stream / 256).is_multiple_of(2)
    }

    /// No message at all.
    pub(super) fn is_silent(&self, time_us: i64) -> bool {
        self.episode(Chance::Silent, self.faults.silent, time_us).is_some()
            || self.battery(time_us).is_some_and(|age_us| age_us >= BATTERY_LIFE_US)
    }

    /// How long a failing battery has been failing.
    fn battery(&self, time_us: i64) -> Option<i64> {
        let begin_us =
            self.episode(Chance::Battery, self.faults.batteries, time_us).filter(|_| self.has_battery);
        begin_us.map(|begin_us| time_us - begin_us)
    }

    pub(super) fn is_swapped(&self, time_us: i64) -> bool {
        self.episode(Chance::Swapped, self.faults.swapped, time_us).is_some()
    }

    /// The time at which a stuck sensor took the values that it still shows.
    pub(super) fn measured_at(&self, time_us: i64) -> i64 {
        self.episode(Chance::Stuck, self.faults.stuck, time_us).unwrap_or(time_us)
    }

    /// What the station's clock shows at `time_us`, and whether it is years off.
    pub(super) fn clock(&self, time_us: i64) -> (i64, bool) {
        match self.clock {
            Clock::Right => (time_us, false),
            Clock::Off(offset_us) => (time_us + offset_us, false),
            Clock::Slow(loss) => {
                let lost_us = (time_us.rem_euclid(WEEK_US) as f64 * loss) as i64;
                (time_us - lost_us.div_euclid(1000) * 1000, false)
            }
            Clock::Reset => (time_us - RESET_AT_US + RESET_CLOCK_US, true),
        }
    }

    /// Changes the readings of a good station into those of this one.
    pub(super) fn spoil(&self, time_us: i64, readings: &mut [Reading]) {
        if let Some(age_us) = self.battery(time_us) {
            let left = 1.0 - age_us as f64 / BATTERY_LIFE_US as f64;
            for reading in readings.iter_mut().filter(|reading| reading.property == "battery_voltage") {
                reading.value = Value::Number(rounded(9.8 + 2.2 * left.max(0.0), 2));
            }
        }
        if self.episode(Chance::Units, self.faults.units, time_us).is_some() {
            readings.iter_mut().for_each(|reading| change_unit(reading, self.tells_units()));
        }
    }
}

/// Somebody chose another unit in the logger's menu; only some loggers say so.
fn change_unit(reading: &mut Reading, tells: bool) {
    let (Value::Number(number), Some(unit)) = (&reading.value, reading.unit.as_deref()) else { return };
    let (number, unit, decimals) = match unit {
        "Cel" => (number * 1.8 + 32.0, "[degF]", 1),
        "m" => (number * 100.0, "cm", 0),
        "cm" => (number / 100.0, "m", 2),
        "m/s" => (number * 3.6, "km/h", 1),
        "ug/m3" => (number / 1000.0, "mg/m3", 4),
        "hPa" => (number / 10.0, "kPa", 2),
        "W" => (number / 1000.0, "kW", 3),
        "mm" => (number / 10.0, "cm", 2),
        _ => return,
    };
    reading.value = Value::Number(rounded(number, decimals));
    if tells {
        reading.unit = Some(Text::Borrowed(unit));
    }
}
