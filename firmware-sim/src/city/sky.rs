//! The weather that all stations share: rain cells that cross the map, nights of inversion, the sun, the air.
//!
//! Everything is a function of seed, place and time. Rain comes in events: of each eight hours some have one, with two to five
//! cells that travel across the map, grow and die. Strengths follow domain.md §2.4: 20 to 90 mm/h in the middle of a cell.

use std::f64::consts::TAU;

use super::noise;

/// Offset of the city's clocks.
pub(super) const UTC_OFFSET_S: i32 = 7 * 3600;
pub(super) const DAY_S: f64 = 86_400.0;
/// At most one rain event begins in each of these.
const EVENT_WINDOW_S: f64 = 8.0 * 3600.0;
/// No cell lives longer, so only two windows can hold rain of one time.
const CELL_LIFE_S_MAX: f64 = 2.5 * 3600.0;
const EVENT_PROBABILITY: f64 = 0.6;
/// Streams of chance; stations have theirs from [`super::stations`] on.
const STREAM_EVENT: u64 = 1;
const STREAM_CELL: u64 = 2;
const STREAM_NIGHT: u64 = 3;
const STREAM_WARMTH: u64 = 4;
const STREAM_PRESSURE: u64 = 5;
const STREAM_WIND: u64 = 6;
const STREAM_WIND_DIRECTION: u64 = 7;
const STREAM_CLOUDS: u64 = 8;

/// A place in kilometres east and north of the middle of the city (20.85 N, 106.60 E).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Place {
    pub(super) east_km: f64,
    pub(super) north_km: f64,
}

impl Place {
    const LATITUDE: f64 = 20.85;
    const LONGITUDE: f64 = 106.6;
    const KM_PER_DEGREE: f64 = 111.2;

    pub(super) fn new(latitude: f64, longitude: f64) -> Self {
        let shrink = Self::LATITUDE.to_radians().cos();
        Self {
            east_km: (longitude - Self::LONGITUDE) * Self::KM_PER_DEGREE * shrink,
            north_km: (latitude - Self::LATITUDE) * Self::KM_PER_DEGREE,
        }
    }

    /// Latitude and longitude.
    pub(super) fn coordinates(self) -> (f64, f64) {
        let shrink = Self::LATITUDE.to_radians().cos();
        (
            Self::LATITUDE + self.north_km / Self::KM_PER_DEGREE,
            Self::LONGITUDE + self.east_km / (Self::KM_PER_DEGREE * shrink),
        )
    }

    pub(super) fn distance_km(self, other: Self) -> f64 {
        (self.east_km - other.east_km).hypot(self.north_km - other.north_km)
    }
}

/// What clock and calendar say in the city.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local {
    /// Since midnight.
    pub(super) day_s: f64,
    /// Days since 1970.
    pub(super) day: i64,
    /// From 0 on 1 January up to 1.
    pub(super) year_part: f64,
}

impl Local {
    pub(super) fn at(time_s: f64) -> Self {
        let local_s = time_s + f64::from(UTC_OFFSET_S);
        let day = (local_s / DAY_S).floor();
        Self { day_s: local_s - day * DAY_S, day: day as i64, year_part: (day / 365.2425).rem_euclid(1.0) }
    }

    pub(super) fn hour(self) -> f64 {
        self.day_s / 3600.0
    }

    pub(super) fn is_weekend(self) -> bool {
        // 1 January 1970 was a Thursday.
        matches!((self.day + 4).rem_euclid(7), 0 | 6)
    }

    /// From 0 at night to 1 in the thick of the morning and evening traffic.
    pub(super) fn rush(self) -> f64 {
        let peak = |at: f64, width: f64| (-((self.hour() - at) / width).powi(2)).exp();
        let rush = peak(7.3, 1.3) + peak(17.3, 1.7) + 0.35 * peak(12.0, 4.0) + 0.3 * peak(20.0, 2.5);
        let weekend = if self.is_weekend() { 0.7 } else { 1.0 };
        (rush * weekend).min(1.0)
    }

    /// From −1 in the middle of January to 1 in the middle of July.
    fn summer(self) -> f64 {
        -(TAU * (self.year_part - 0.04)).cos()
    }
}

/// The weather of one seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sky {
    pub(super) seed: u64,
}

impl Sky {
    /// Rain in mm/h.
    pub(super) fn rain_mm_h(self, place: Place, time_s: f64) -> f64 {
        let window = (time_s / EVENT_WINDOW_S).floor() as i64;
        self.event(window - 1, place, time_s) + self.event(window, place, time_s)
    }

    fn event(self, window: i64, place: Place, time_s: f64) -> f64 {
        let mut event = noise::random(self.seed, STREAM_EVENT, window);
        if event.unit() >= EVENT_PROBABILITY {
            return 0.0;
        }
        let begin_s = (window as f64 + 0.7 * event.unit()) * EVENT_WINDOW_S;
        // Cells of one event travel together, mostly from the sea.
        let direction = TAU * (0.35 + 0.3 * event.unit());
        let speed_km_s = (15.0 + 25.0 * event.unit()) / 3600.0;
        let cells = 2 + (event.unit() * 4.0) as i64;
        (0..cells)
            .map(|cell| {
                let mut cell = noise::random(self.seed, STREAM_CELL, window * 8 + cell);
                let age_s = time_s - begin_s - 0.1 * EVENT_WINDOW_S * cell.unit();
                let life_s = CELL_LIFE_S_MAX * (0.5 + 0.5 * cell.unit());
                if !(0.0..life_s).contains(&age_s) {
                    return 0.0;
                }
                let way_km = speed_km_s * (age_s - life_s / 2.0);
                let middle = Place {
                    east_km: 70.0 * (cell.unit() - 0.5) + way_km * direction.cos(),
                    north_km: 50.0 * (cell.unit() - 0.5) + way_km * direction.sin(),
                };
                let radius_km = 5.0 + 8.0 * cell.unit();
                let peak_mm_h = 20.0 + 70.0 * cell.unit().powi(2);
                let ripeness = (TAU / 2.0 * age_s / life_s).sin();
                peak_mm_h * ripeness * (-(place.distance_km(middle) / radius_km).powi(2)).exp()
            })
            .sum::<f64>()
            .max(0.0)
    }

    /// How well a lid of warm air keeps the city's exhaust near the ground: 0 to 1. Still nights of the cool half of the year,
    /// from evening until the sun has warmed the ground.
    pub(super) fn inversion(self, time_s: f64) -> f64 {
        let local = Local::at(time_s);
        // The night belongs to the day on which it began.
        let night = if local.hour() < 12.0 { local.day - 1 } else { local.day };
        let season = 0.5 - 0.5 * local.summer();
        let strength = noise::unit(self.seed, STREAM_NIGHT, night) * (0.4 + 0.6 * season);
        let hour = local.hour();
        let lid = match hour {
            _ if hour < 6.0 => 1.0,
            _ if hour < 9.5 => (9.5 - hour) / 3.5,
            _ if hour < 18.0 => 0.0,
            _ if hour < 22.0 => (hour - 18.0) / 4.0,
            _ => 1.0,
        };
        if strength < 0.25 { 0.0 } else { strength * lid }
    }

    /// Of the sun above the clouds, 0 to 1.
    pub(super) fn sunlight(self, place: Place, time_s: f64) -> f64 {
        let local = Local::at(time_s);
        let day_length_h = 12.1 + 1.2 * local.summer();
        let height = (TAU / 2.0 * ((local.hour() - 11.8) / day_length_h + 0.5)).sin();
        let is_day = (local.hour() - 11.8).abs() < day_length_h / 2.0;
        let clouds =
            0.45 + 0.45 * noise::smooth(self.seed, STREAM_CLOUDS, time_s + 60.0 * place.east_km, 5400.0);
        let rain = (self.rain_mm_h(place, time_s) / 5.0).min(1.0);
        if is_day { height * (1.0 - 0.7 * clouds) * (1.0 - 0.8 * rain) } else { 0.0 }
    }

    /// In °C.
    pub(super) fn temperature(self, place: Place, time_s: f64) -> f64 {
        let local = Local::at(time_s);
        let day = (TAU * (local.hour() - 9.0) / 24.0).sin();
        let sea = (-place.distance_km(Place::new(20.67, 106.81)) / 25.0).exp();
        let rain = (self.rain_mm_h(place, time_s) / 10.0).min(1.0);
        23.7 + 6.0 * local.summer()
            + day * (3.6 - 1.8 * sea)
            + 2.5 * noise::smooth(self.seed, STREAM_WARMTH, time_s, 3.0 * DAY_S)
            - 3.0 * rain
    }

    /// In percent.
    pub(super) fn humidity(self, place: Place, time_s: f64) -> f64 {
        let day = (TAU * (Local::at(time_s).hour() - 9.0) / 24.0).sin();
        let rain = (self.rain_mm_h(place, time_s) / 4.0).min(1.0);
        let dry = noise::smooth(self.seed, STREAM_WARMTH, time_s, 3.0 * DAY_S);
        (80.0 - 11.0 * day - 7.0 * dry + 14.0 * rain).clamp(30.0, 100.0)
    }

    /// At sea level, in hPa, with the two waves of every day.
    pub(super) fn pressure(self, time_s: f64) -> f64 {
        let local = Local::at(time_s);
        1011.5 - 7.0 * local.summer()
            + 1.4 * (TAU * (local.hour() - 6.5) / 12.0).sin()
            + 4.0 * noise::smooth(self.seed, STREAM_PRESSURE, time_s, 4.0 * DAY_S)
    }

    /// Mean wind in m/s and where it comes from in degrees: a breeze from the sea by day, squalls under rain cells.
    pub(super) fn wind(self, place: Place, time_s: f64) -> (f64, f64) {
        let breeze = (TAU * (Local::at(time_s).hour() - 9.0) / 24.0).sin();
        let slow = noise::smooth(self.seed, STREAM_WIND, time_s, 6.0 * 3600.0);
        let squall = (self.rain_mm_h(place, time_s) / 8.0).min(6.0);
        let speed = (2.8 + 1.2 * breeze + 1.6 * slow + squall).max(0.2);
        let turn = noise::smooth(self.seed, STREAM_WIND_DIRECTION, time_s, DAY_S / 2.0);
        (speed, (115.0 - 20.0 * breeze + 70.0 * turn).rem_euclid(360.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_come_back() {
        let (latitude, longitude) = Place::new(20.133, 107.732).coordinates();
        assert!((latitude - 20.133).abs() < 1e-9 && (longitude - 107.732).abs() < 1e-9);
    }

    /// A2-1: rain crosses the map: places on the way of a cell get it one after the other, and most of the time it is dry.
    #[test]
    fn rain_crosses_the_map() {
        let sky = Sky { seed: 3 };
        let start_s = 1_795_000_000.0;
        let places: Vec<Place> =
            (-3..=3).map(|step| Place { east_km: f64::from(step) * 12.0, north_km: 0.0 }).collect();
        let (mut wet, mut peaks) = (0, vec![(0.0_f64, 0); places.len()]);
        for step in 0..30 * 144 {
            let time_s = start_s + f64::from(step) * 600.0;
            for (place, peak) in places.iter().zip(&mut peaks) {
                let rain = sky.rain_mm_h(*place, time_s);
                assert!((0.0..200.0).contains(&rain));
                wet += i32::from(rain > 0.5);
                if rain > peak.0 {
                    *peak = (rain, step);
                }
            }
        }
        let share = f64::from(wet) / (30.0 * 144.0 * places.len() as f64);
        assert!((0.01..0.25).contains(&share), "{share}");
        assert!(peaks.iter().all(|(rain, _)| *rain > 10.0), "{peaks:?}");
        let mut steps: Vec<i32> = peaks.iter().map(|(_, step)| *step).collect();
        steps.dedup();
        assert!(steps.len() > 1, "the peaks are not all at one time: {peaks:?}");
    }

    #[test]
    fn an_inversion_holds_at_night_and_not_at_noon() {
        let sky = Sky { seed: 1 };
        let midnight_s = 1_795_000_000.0 - f64::from(1_795_000_000 % 86_400) - f64::from(UTC_OFFSET_S);
        let nights: Vec<f64> =
            (0..60).map(|day| sky.inversion(midnight_s + f64::from(day) * DAY_S)).collect();
        assert!(nights.iter().filter(|night| **night > 0.4).count() > 15, "{nights:?}");
        assert!(nights.contains(&0.0));
        assert!((0..60).all(|day| sky.inversion(midnight_s + (f64::from(day) + 0.5) * DAY_S) == 0.0));
    }
}
