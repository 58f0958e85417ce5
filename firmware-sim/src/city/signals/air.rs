//! Air quality and weather.
//!
//! Dust is what the city emits (traffic, kitchens, port, kilns: more in wards), times how little the air moves (inversion, calm),
//! less what rain washes out. Ozone is the sun's work on the same exhaust.

use super::{STATUS_MEASURING, View, rounded};
use crate::city::noise;
use crate::message::Reading;

const PURPOSE_PLUME: u64 = 16;
/// Air of a reference station is the mean of this many looks per period.
const LOOKS_PER_MEAN: u32 = 6;

/// µg/m³.
#[derive(Clone, Copy, Default)]
struct Air {
    pm2_5: f64,
    pm10: f64,
    no2: f64,
    so2: f64,
    co: f64,
    o3: f64,
}

fn air(view: &View<'_>, time_s: f64) -> Air {
    let (station, sky) = (view.station, view.sky);
    let local = crate::city::sky::Local::at(time_s);
    let (rush, lid) = (local.rush(), sky.inversion(time_s));
    let (wind, _) = sky.wind(station.place, time_s);
    let plume = noise::smooth(sky.seed, station.stream(PURPOSE_PLUME), time_s, 3.0 * 3600.0);
    let stillness = (1.0 + 1.9 * lid) * (2.5 / (wind + 1.0)).clamp(0.4, 1.3);
    let washed = 1.0 / (1.0 + sky.rain_mm_h(station.place, time_s) / 6.0);
    let emission = 0.55 + 0.55 * station.character;
    let pm2_5 =
        (20.0 * emission + 16.0 * rush * emission) * stillness * (0.4 + 0.6 * washed) * (1.0 + 0.25 * plume);
    let no2 = (9.0 + 38.0 * rush) * emission * stillness.sqrt() * (1.0 + 0.15 * plume);
    let sun = sky.sunlight(station.place, time_s);
    Air {
        pm2_5,
        pm10: pm2_5 * (1.35 + 0.4 * washed * (1.0 - lid)),
        no2,
        so2: 7.0 + 9.0 * station.character * stillness * (1.0 + 0.4 * plume),
        co: 420.0 + 900.0 * rush * emission * stillness.sqrt(),
        o3: (28.0 + 110.0 * sun - 0.35 * no2).max(2.0),
    }
}

/// Hourly means, as the law has it.
pub(super) fn reference(mut view: View<'_>) -> Vec<Reading> {
    let period_s = view.station.interval_s;
    let mut mean = Air::default();
    for look in 0..LOOKS_PER_MEAN {
        let back_s = f64::from(period_s) * (f64::from(look) + 0.5) / f64::from(LOOKS_PER_MEAN);
        let part = air(&view, view.time_s - back_s);
        let share = 1.0 / f64::from(LOOKS_PER_MEAN);
        mean.pm2_5 += part.pm2_5 * share;
        mean.pm10 += part.pm10 * share;
        mean.no2 += part.no2 * share;
        mean.so2 += part.so2 * share;
        mean.co += part.co * share;
        mean.o3 += part.o3 * share;
    }
    let mut reading = |property: &'static str, value: f64, decimals: i32| {
        let value = (value * (1.0 + 0.02 * view.noise())).max(0.1);
        Reading::number(property, rounded(value, decimals), "ug/m3")
            .with_status(Some(STATUS_MEASURING))
            .with_period_s(period_s)
    };
    vec![
        reading("pm2_5", mean.pm2_5, 1),
        reading("pm10", mean.pm10, 1),
        reading("no2", mean.no2, 1),
        reading("so2", mean.so2, 1),
        reading("co", mean.co, 0),
        reading("o3", mean.o3, 1),
    ]
}

/// A cheap box on a lamp post.
pub(super) fn sensor(mut view: View<'_>) -> Vec<Reading> {
    let air = air(&view, view.time_s);
    let (place, time_s, sky) = (view.station.place, view.time_s, view.sky);
    let scale = 0.9 + 0.2 * view.station.character;
    vec![
        Reading::number("pm2_5", rounded(air.pm2_5 * scale * (1.0 + 0.05 * view.noise()), 1), "ug/m3"),
        Reading::number("pm10", rounded(air.pm10 * scale * (1.0 + 0.05 * view.noise()), 1), "ug/m3"),
        Reading::number(
            "air_temperature",
            rounded(sky.temperature(place, time_s) + 0.3 * view.noise(), 1),
            "Cel",
        ),
        Reading::number(
            "relative_humidity",
            rounded((sky.humidity(place, time_s) + view.noise()).min(100.0), 0),
            "%",
        ),
    ]
}

pub(super) fn weather(mut view: View<'_>) -> Vec<Reading> {
    let (place, time_s, sky) = (view.station.place, view.time_s, view.sky);
    let period_s = view.station.interval_s;
    let (wind, direction) = sky.wind(place, time_s);
    let wind = (wind + 0.4 * view.noise()).max(0.0);
    let gust = wind * (1.5 + 0.2 * view.noise());
    let temperature = sky.temperature(place, time_s) + 0.1 * view.noise();
    vec![
        Reading::number("air_temperature", rounded(temperature, 1), "Cel"),
        Reading::number(
            "relative_humidity",
            rounded((sky.humidity(place, time_s) + view.noise()).min(100.0), 0),
            "%",
        ),
        Reading::number("air_pressure", rounded(sky.pressure(time_s) + 0.1 * view.noise(), 1), "hPa"),
        Reading::number("wind_speed", rounded(wind, 1), "m/s").with_period_s(period_s),
        Reading::number("wind_gust", rounded(gust, 1), "m/s").with_period_s(period_s),
        Reading::number(
            "wind_direction",
            rounded(direction + 8.0 * view.noise(), 0).rem_euclid(360.0),
            "deg",
        ),
        Reading::number("rain", super::water::rain_sum_mm(&view), "mm").with_period_s(period_s),
        Reading::number("solar_radiation", rounded(1000.0 * sky.sunlight(place, time_s), 0), "W/m2"),
    ]
}
