//! Rain, tide, rivers, drains and pumps.
//!
//! The tide runs up the rivers: a gauge sees that of Hòn Dấu later and smaller, the farther inland the more. Rain of the upper
//! reaches comes down after hours, that of a street's drain within one.

use super::{STATUS_MEASURING, View, rounded};
use crate::city::kinds::HON_DAU;
use crate::city::rainfall::Catchment;
use crate::city::sky::Place;
use crate::city::{noise, tide};
use crate::message::{Reading, Value};

const PURPOSE_SEICHE: u64 = 32;
/// How fast the tide travels up the rivers, and over which way it falls by e.
const TIDE_KM_PER_S: f64 = 18.0 / 3600.0;
const TIDE_DAMPING_KM: f64 = 45.0;
/// Gauges of the rivers stand on the national datum, which lies this far above the chart zero of Hòn Dấu's.
const DATUM_M: f64 = 1.86;
/// A tipping bucket counts in these.
const BUCKET_MM: f64 = 0.2;
/// Looks per period of a rain sum.
const LOOKS_PER_SUM: u32 = 4;
/// A drain's water stands in the street above this level, metres.
const STREET_LEVEL_M: f64 = 1.6;

/// Rain of the period that ends now.
pub(super) fn rain_sum_mm(view: &View<'_>) -> f64 {
    let period_s = f64::from(view.station.interval_s);
    let looks = (0..LOOKS_PER_SUM).map(|look| {
        let back_s = period_s * (f64::from(look) + 0.5) / f64::from(LOOKS_PER_SUM);
        view.sky.rain_mm_h(view.station.place, view.time_s - back_s)
    });
    let sum_mm = looks.sum::<f64>() / f64::from(LOOKS_PER_SUM) * period_s / 3600.0;
    rounded((sum_mm / BUCKET_MM).round() * BUCKET_MM, 1)
}

pub(super) fn rain_gauge(view: View<'_>) -> Vec<Reading> {
    let intensity = view.sky.rain_mm_h(view.station.place, view.time_s);
    vec![
        Reading::number("rain", rain_sum_mm(&view), "mm").with_period_s(view.station.interval_s),
        Reading::number("rain_intensity", rounded(intensity, 1), "mm/h"),
    ]
}

/// Later and smaller than at Hòn Dấu, around 0.
fn tide_at(place: Place, time_s: f64) -> f64 {
    let (_, latitude, longitude) = HON_DAU;
    let way_km = place.distance_km(Place::new(latitude, longitude)) * 1.2;
    tide::tide_m(time_s - way_km / TIDE_KM_PER_S) * (-way_km / TIDE_DAMPING_KM).exp()
}

pub(super) fn tide_gauge(mut view: View<'_>) -> Vec<Reading> {
    let (_, latitude, longitude) = HON_DAU;
    // Out at sea the tide comes a little earlier, and nothing dampens it.
    let lag_s = view.station.place.distance_km(Place::new(latitude, longitude)) * 12.0;
    let seiche = noise::smooth(view.sky.seed, view.station.stream(PURPOSE_SEICHE), view.time_s, 2400.0);
    let level = tide::level_m(view.time_s - lag_s) + 0.02 * seiche + 0.003 * view.noise();
    let temperature = view.sky.temperature(view.station.place, view.time_s - 6.0 * 3600.0);
    // Bulletins and some loggers speak in centimetres: the gateway's conversion has something to convert.
    let (value, unit) = if view.station.number % 3 == 1 {
        (rounded(level * 100.0, 0), "cm")
    } else {
        (rounded(level, 2), "m")
    };
    vec![
        Reading::number("tide_level", value, unit).with_status(Some(STATUS_MEASURING)),
        Reading::number("water_temperature", rounded(0.5 * temperature + 12.0, 1), "Cel")
            .with_status(Some(STATUS_MEASURING)),
    ]
}

pub(super) fn river_gauge(mut view: View<'_>, catchment: &mut Catchment) -> Vec<Reading> {
    let place = view.station.place;
    let tide = tide_at(place, view.time_s);
    let runoff_mm_h = catchment.arriving_mm_h(view.sky, view.time_s);
    // The upper reaches lie higher and answer stronger.
    let inland = (-place.east_km / 40.0).clamp(0.0, 1.0);
    let level = tide::MEAN_LEVEL_M - DATUM_M
        + tide
        + (0.3 + 0.9 * inland)
        + (0.35 + 0.3 * inland) * runoff_mm_h
        + 0.004 * view.noise();
    let (value, unit) = if view.station.number % 4 == 2 {
        (rounded(level * 100.0, 0), "cm")
    } else {
        (rounded(level, 2), "m")
    };
    let mut readings = vec![Reading::number("water_level", value, unit).with_status(Some(STATUS_MEASURING))];
    if view.station.number.is_multiple_of(2) {
        // The flood runs upstream: negative discharge is normal here.
        let before = tide_at(place, view.time_s - 600.0);
        let discharge = 160.0 + 220.0 * runoff_mm_h - (tide - before) * 4200.0;
        readings.push(
            Reading::number("discharge", rounded(discharge, 0), "m3/s").with_status(Some(STATUS_MEASURING)),
        );
    }
    readings
}

/// Water in a drain, metres above its bed.
fn drain_level_m(view: &View<'_>, arriving_mm_h: f64) -> f64 {
    // High water outside keeps the drain from emptying.
    let backwater = (tide_at(view.station.place, view.time_s) - 0.6).max(0.0) * 0.25;
    0.25 + 0.2 * view.station.character + (0.05 + 0.04 * view.station.character) * arriving_mm_h + backwater
}

pub(super) fn drain(mut view: View<'_>, catchment: &mut Catchment) -> Vec<Reading> {
    let arriving_mm_h = catchment.arriving_mm_h(view.sky, view.time_s);
    let level = drain_level_m(&view, arriving_mm_h) + 0.005 * view.noise();
    let depth_cm = ((level - STREET_LEVEL_M) * 40.0).max(0.0);
    vec![
        Reading::number("water_level", rounded(level.max(0.0), 2), "m"),
        Reading::number("inundation_depth", rounded(depth_cm, 0), "cm"),
    ]
}

/// Pumps that switch on one after the other as the basin fills, and off again well below that.
pub(super) fn pumps(mut view: View<'_>, catchment: &mut Catchment) -> Vec<Reading> {
    let count = 2 + (view.station.character * 3.0) as usize;
    // Whether a float switch is on depends on which of its marks the water passed last.
    let history: Vec<f64> =
        catchment.history(view.sky, view.time_s).map(|rain| drain_level_m(&view, rain)).collect();
    let level = history.first().copied().unwrap_or_default();
    let mut readings = Vec::with_capacity(count + 2);
    for pump in 0..count {
        let on_m = 0.62 + 0.2 * pump as f64;
        let off_m = on_m - 0.12;
        let passed = history.iter().find(|level| **level > on_m || **level < off_m);
        let is_on = passed.is_some_and(|level| *level > on_m);
        let property = PUMPS[pump.min(PUMPS.len() - 1)];
        readings.push(Reading::new(property, Value::Boolean(is_on), None));
    }
    readings.push(Reading::number("water_level", rounded(level + 0.004 * view.noise(), 2), "m"));
    let gate = if tide_at(view.station.place, view.time_s) > 0.4 { 0.0 } else { 100.0 };
    readings.push(Reading::number("gate_opening", gate, "%"));
    readings
}

const PUMPS: [&str; 4] = ["pump_state;pump=1", "pump_state;pump=2", "pump_state;pump=3", "pump_state;pump=4"];

#[cfg(test)]
mod tests {
    use super::*;

    /// A2-1: lag and damping grow up the river.
    #[test]
    fn the_tide_comes_later_and_smaller_inland() {
        let start_s = 1_795_000_000.0;
        let crest = |place: Place| {
            let steps = (0..24 * 12).map(|step| (step, tide_at(place, start_s + f64::from(step) * 300.0)));
            steps.fold((0, f64::MIN), |best, (step, level)| if level > best.1 { (step, level) } else { best })
        };
        let (_, latitude, longitude) = HON_DAU;
        let sea = crest(Place::new(latitude, longitude));
        let (port, inland) = (crest(Place::new(20.866, 106.704)), crest(Place::new(20.981, 106.543)));
        assert!(port.1 < sea.1 && inland.1 < port.1, "{sea:?} {port:?} {inland:?}");
        let lag = |later: (i32, f64), earlier: (i32, f64)| (later.0 - earlier.0).rem_euclid(298);
        assert!(
            (6..40).contains(&lag(port, sea)) && (1..40).contains(&lag(inland, port)),
            "{sea:?} {port:?} {inland:?}"
        );
    }
}
