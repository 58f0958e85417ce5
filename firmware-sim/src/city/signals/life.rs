//! Streets: vehicles by lane, direction and class, and the lighting that burns over them.

use super::{View, rounded};
use crate::message::{Reading, Value};

/// What passes a lane in the thick of the traffic, vehicles per hour.
struct Share {
    flow: &'static str,
    peak: f64,
    /// Share of it that rain keeps at home.
    shy_of_rain: f64,
}

struct Lane {
    /// Outward lanes are full in the morning where inward ones are in the evening.
    is_inward: bool,
    speed: &'static str,
    occupancy: &'static str,
    classes: &'static [Share],
}

macro_rules! lane {
    ($is_inward:expr, $direction:literal, $lane:literal, [$($class:literal $peak:literal $shy:literal),*]) => {
        Lane {
            is_inward: $is_inward,
            speed: concat!("speed;direction=", $direction, ";lane=", $lane),
            occupancy: concat!("occupancy;direction=", $direction, ";lane=", $lane),
            classes: &[$(Share {
                flow: concat!("flow;class=", $class, ";direction=", $direction, ";lane=", $lane),
                peak: $peak,
                shy_of_rain: $shy,
            }),*],
        }
    };
}

/// Motorcycles keep to the outer lane, containers drive to the port.
const LANES: [Lane; 4] = [
    lane!(true, "in", "1", ["car" 260.0 0.1, "motorcycle" 2400.0 0.45]),
    lane!(true, "in", "2", ["car" 620.0 0.1, "container" 90.0 0.0, "truck" 110.0 0.05]),
    lane!(false, "out", "1", ["car" 240.0 0.1, "motorcycle" 2200.0 0.45]),
    lane!(false, "out", "2", ["car" 580.0 0.1, "container" 95.0 0.0, "truck" 120.0 0.05]),
];

pub(super) fn traffic(mut view: View<'_>) -> Vec<Reading> {
    let (period_s, local) = (view.station.interval_s, view.local);
    // Half of the counters watch a street with one lane each way.
    let is_wide = view.station.number.is_multiple_of(2);
    let size = 0.35 + 0.9 * view.station.character;
    let rain = (view.sky.rain_mm_h(view.station.place, view.time_s) / 8.0).min(1.0);
    let mut readings = Vec::with_capacity(18);
    for lane in LANES.iter().filter(|lane| is_wide || lane.speed.ends_with('1')) {
        let tilt = if lane.is_inward == (local.hour() < 12.0) { 1.1 } else { 0.8 };
        let load = (0.06 + 0.94 * local.rush()) * tilt;
        let mut equivalents = 0.0;
        for share in lane.classes {
            let hourly = share.peak * size * load * (1.0 - share.shy_of_rain * rain);
            // Counting is chance: what comes in a period scatters with its root. A whole number passes, then it is per hour.
            let expected = hourly * f64::from(period_s) / 3600.0;
            let count = (expected + 1.6 * expected.sqrt() * view.noise()).round().max(0.0);
            let flow = count * 3600.0 / f64::from(period_s);
            equivalents += flow * if share.flow.contains("motorcycle") { 0.25 } else { 1.4 };
            readings.push(Reading::number(share.flow, rounded(flow, 0), "{veh}/h").with_period_s(period_s));
        }
        let fullness = (equivalents / 1500.0).min(1.0);
        let speed = (52.0 - 34.0 * fullness.powi(2) - 6.0 * rain + 2.0 * view.noise()).max(4.0);
        let occupancy = (3.0 + 55.0 * fullness.powf(1.4) + view.noise()).clamp(0.0, 100.0);
        readings.push(Reading::number(lane.speed, rounded(speed, 1), "km/h").with_period_s(period_s));
        readings.push(Reading::number(lane.occupancy, rounded(occupancy, 1), "%").with_period_s(period_s));
    }
    readings
}

/// Full light from dusk, less late at night, none by day; hours on the clock of the city.
const DUSK_S: f64 = 17.6 * 3600.0;
const LATE_S: f64 = 23.0 * 3600.0;
const EARLY_S: f64 = 4.5 * 3600.0;
const DAWN_S: f64 = 5.7 * 3600.0;
const LATE_LEVEL: f64 = 0.5;
const DAY_S: f64 = 86_400.0;
/// Seconds of full light that a night is worth.
const NIGHT_S: f64 = (LATE_S - DUSK_S) + LATE_LEVEL * (DAY_S - LATE_S + EARLY_S) + (DAWN_S - EARLY_S);
/// The meters were reset on 1 January 2024, day 19 723.
const METER_DAY: i64 = 19_723;

/// Level of the light at a second of the day, and how many seconds of full light the day has had by then.
fn light(day_s: f64) -> (f64, f64) {
    let early = LATE_LEVEL * day_s.min(EARLY_S) + (day_s.min(DAWN_S) - EARLY_S).max(0.0);
    let late = (day_s.min(LATE_S) - DUSK_S).max(0.0) + LATE_LEVEL * (day_s - LATE_S).max(0.0);
    let level = if !(EARLY_S..LATE_S).contains(&day_s) {
        LATE_LEVEL
    } else if !(DAWN_S..DUSK_S).contains(&day_s) {
        1.0
    } else {
        0.0
    };
    (level, early + late)
}

pub(super) fn lighting(mut view: View<'_>) -> Vec<Reading> {
    // Every cabinet has its own idea of dusk, by up to ten minutes.
    let day_s = (view.local.day_s + 1200.0 * (view.station.character - 0.5)).clamp(0.0, DAY_S - 1.0);
    let (level, burnt_s) = light(day_s);
    let lamps_w = 150.0 * (20.0 + 40.0 * view.station.character).round();
    let full_light_s = (view.local.day - METER_DAY) as f64 * NIGHT_S + burnt_s;
    let power = if level > 0.0 { lamps_w * level * (1.0 + 0.01 * view.noise()) } else { 12.0 };
    vec![
        Reading::new("lamp_state", Value::Boolean(level > 0.0), None),
        Reading::number("dimming_level", level * 100.0, "%"),
        Reading::number("active_power", rounded(power, 0), "W"),
        Reading::number("active_energy", rounded(full_light_s * lamps_w / 3.6e6, 1), "kW.h"),
        Reading::number("supply_voltage", rounded(228.0 + 3.0 * view.noise(), 1), "V"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_burns_at_night_and_the_meter_never_runs_back() {
        let mut before = 0.0;
        for minute in 0..1440 {
            let (level, burnt_s) = light(f64::from(minute) * 60.0);
            assert!(burnt_s >= before, "minute {minute}");
            // Dawn at 5:42, dusk at 17:36.
            if !(341..344).contains(&minute) && !(1055..1058).contains(&minute) {
                assert_eq!(level > 0.0, !(342..1056).contains(&minute), "minute {minute}");
            }
            before = burnt_s;
        }
        assert!((light(DAY_S).1 - NIGHT_S).abs() < 1e-6);
    }
}
