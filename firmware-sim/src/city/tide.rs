//! The tide at Hòn Dấu: `z0 + Σ f·H·cos(V + u − g)`.
//!
//! - `H`, metres: textbook amplitudes (domain.md §2.3, memory). Sa, the yearly 0.10 m, is left out: weather moves the level more.
//! - `g`, degrees, and `z0`: fitted here with those amplitudes to the 48 hours of gauge UHSLC 6502 that domain.md §2.3 quotes
//!   (5 and 26 November 1995); P1 shares the lag of K1, Q1 that of O1, S2 that of M2, because two days can't tell them apart.
//!   The fit misses these hours by 8.5 cm rms, 21 cm at most.
//! - `V`, astronomical arguments in UTC (Schureman's, with their ±90°); `f` and `u`, nodal corrections of the 18.6-year cycle,
//!   for K1, O1, Q1 and M2. Without them the tide of 2026 would be a fifth too small.
//!
//! Good for a simulator, not for a ship.

use std::f64::consts::PI;

/// Mean level above chart zero, metres.
pub const MEAN_LEVEL_M: f64 = 1.962;
/// J2000.0 as epoch seconds.
const J2000_S: f64 = 946_728_000.0;
const DAY_S: f64 = 86_400.0;
const CENTURY_DAYS: f64 = 36_525.0;

/// A harmonic constant. The argument is `hours·T + s·s + h·h + p·p + offset`, where T is the hour angle of the mean sun.
struct Constituent {
    amplitude_m: f64,
    lag_deg: f64,
    hours: f64,
    s: f64,
    h: f64,
    p: f64,
    offset_deg: f64,
    nodal: Nodal,
}

enum Nodal {
    None,
    K1,
    O1,
    M2,
}

#[rustfmt::skip]
const CONSTITUENTS: [Constituent; 6] = [
    // K1, O1, P1, Q1, M2, S2
    Constituent { amplitude_m: 0.72, lag_deg: 339.26, hours: 1.0, s: 0.0, h: 1.0, p: 0.0, offset_deg: -90.0, nodal: Nodal::K1 },
    Constituent { amplitude_m: 0.79, lag_deg: 287.91, hours: 1.0, s: -2.0, h: 1.0, p: 0.0, offset_deg: 90.0, nodal: Nodal::O1 },
    Constituent { amplitude_m: 0.24, lag_deg: 339.26, hours: 1.0, s: 0.0, h: -1.0, p: 0.0, offset_deg: 90.0, nodal: Nodal::None },
    Constituent { amplitude_m: 0.15, lag_deg: 287.91, hours: 1.0, s: -3.0, h: 1.0, p: 1.0, offset_deg: 90.0, nodal: Nodal::O1 },
    Constituent { amplitude_m: 0.06, lag_deg: 196.22, hours: 2.0, s: -2.0, h: 2.0, p: 0.0, offset_deg: 0.0, nodal: Nodal::M2 },
    Constituent { amplitude_m: 0.04, lag_deg: 196.22, hours: 2.0, s: 0.0, h: 0.0, p: 0.0, offset_deg: 0.0, nodal: Nodal::None },
];

impl Nodal {
    /// Factor, and angle in degrees, for the longitude of the moon's node.
    fn correction(&self, node: f64) -> (f64, f64) {
        let (sin, cos, sin2, cos2) = (node.sin(), node.cos(), (2.0 * node).sin(), (2.0 * node).cos());
        match self {
            Self::None => (1.0, 0.0),
            Self::K1 => (1.0060 + 0.1150 * cos - 0.0088 * cos2, -8.86 * sin + 0.68 * sin2),
            Self::O1 => (1.0089 + 0.1871 * cos - 0.0147 * cos2, 10.8 * sin - 1.34 * sin2),
            Self::M2 => (1.0004 - 0.0373 * cos, -2.14 * sin),
        }
    }
}

/// Level above chart zero in metres, at epoch seconds.
pub fn level_m(time_s: f64) -> f64 {
    MEAN_LEVEL_M + tide_m(time_s)
}

/// The tide alone, around 0.
pub(super) fn tide_m(time_s: f64) -> f64 {
    let days = (time_s - J2000_S) / DAY_S;
    let centuries = days / CENTURY_DAYS;
    let moon = 218.316_447_7 + 481_267.881_234_21 * centuries;
    let sun = 280.466_46 + 36_000.769_83 * centuries;
    let perigee = 83.353_246_5 + 4_069.013_728_7 * centuries;
    let node = (125.044_52 - 1_934.136_261 * centuries) * PI / 180.0;
    // The mean sun is at its lower transit at midnight.
    let hour_angle = 180.0 + time_s.rem_euclid(DAY_S) / DAY_S * 360.0;
    CONSTITUENTS
        .iter()
        .map(|constituent| {
            let (factor, angle_deg) = constituent.nodal.correction(node);
            let argument_deg = constituent.hours * hour_angle
                + constituent.s * moon
                + constituent.h * sun
                + constituent.p * perigee
                + constituent.offset_deg
                + angle_deg
                - constituent.lag_deg;
            factor * constituent.amplitude_m * (argument_deg * PI / 180.0).cos()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    /// Hours 00 to 23 of local time, millimetres: UHSLC 6502, as domain.md §2.3 quotes them.
    const SPRING: (&str, [i32; 24]) = (
        "1995-11-26T00:00:00+07:00",
        [
            1950, 2430, 2810, 3140, 3390, 3540, 3590, 3560, 3440, 3230, 2910, 2530, 2160, 1790, 1420, 1090,
            850, 690, 590, 480, 420, 440, 600, 920,
        ],
    );
    const NEAP: (&str, [i32; 24]) = (
        "1995-11-05T00:00:00+07:00",
        [
            2020, 2060, 2020, 1950, 1910, 1860, 1840, 1820, 1870, 1890, 1880, 1860, 1820, 1810, 1790, 1750,
            1760, 1740, 1760, 1840, 2000, 2070, 2220, 2350,
        ],
    );

    fn seconds(text: &str) -> f64 {
        time::parse(text).expect("legal") as f64 / 1e6
    }

    /// A2-1: within 9 cm rms and 22 cm at most of every golden hour.
    #[test]
    fn the_tide_is_that_of_the_gauge() {
        let mut squares = 0.0;
        for (day, hours) in [SPRING, NEAP] {
            for (hour, observed_mm) in hours.into_iter().enumerate() {
                let error = level_m(seconds(day) + hour as f64 * 3600.0) - f64::from(observed_mm) / 1000.0;
                assert!(error.abs() <= 0.22, "{day} {hour}: {error:.3} m");
                squares += error * error;
            }
        }
        let rms = (squares / 48.0).sqrt();
        assert!(rms <= 0.09, "{rms:.3} m");
    }

    /// One high water a day, spring and neap within a fortnight, and the range that the port knows.
    #[test]
    fn the_regime_is_diurnal_with_springs_and_neaps() {
        let start = seconds("2026-11-01T00:00:00+07:00");
        let range = |day: i32| {
            let levels =
                (0..=24 * 6).map(|step| level_m(start + f64::from(day) * DAY_S + f64::from(step) * 600.0));
            let (low, high) =
                levels.fold((f64::MAX, f64::MIN), |(low, high), level| (low.min(level), high.max(level)));
            assert!(low > -0.6 && high < 4.6, "day {day}: {low:.2} to {high:.2}");
            high - low
        };
        let ranges: Vec<f64> = (0..14).map(range).collect();
        let (neap, spring) =
            ranges.iter().fold((f64::MAX, 0.0_f64), |(low, high), range| (low.min(*range), high.max(*range)));
        assert!(spring > 2.5 && neap < 1.2, "{ranges:.2?}");
    }
}
