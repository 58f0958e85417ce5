//! Recorded traffic: interstate volumes with weather, and the Twin Cities' loop detectors.

use super::table::{FormatError, each_record};
use super::{HOUR_S, message};
use crate::message::{Message, Reading, legal_name};
use crate::time::WallClock;

const AGENCY: &str = "MNDOT";
const INTERSTATE_STATION: &str = "I94-ATR301";

/// I-94: one row for each weather label of an hour, so hours repeat with the same count and other texts; each row is a message
/// of its own, as recorded. US Central wall clock; of the hour that comes twice in autumn the first is meant. 0 K is kept.
pub(super) fn interstate(text: &str) -> Result<Vec<Message>, FormatError> {
    let clock = WallClock::us_central();
    let mut messages = Vec::new();
    each_record(text, |record| {
        let of_the_hour = |property: &'static str, column: &str, unit: &'static str| {
            record.value(column).map(|value| Reading::new(property, value, Some(unit)).with_period_s(HOUR_S))
        };
        let mut readings = vec![
            of_the_hour("flow", "traffic_volume", "veh/h")?,
            Reading::new("air_temperature", record.value("temp")?, Some("K")),
            of_the_hour("rain", "rain_1h", "mm")?,
            of_the_hour("snow", "snow_1h", "mm")?,
            Reading::new("cloud_cover", record.value("clouds_all")?, Some("%")),
            Reading::text("weather", record.text("weather_main")),
            Reading::text("weather_description", record.text("weather_description")),
        ];
        // The name of a holiday stands on the row of its midnight only.
        if !matches!(record.text("holiday"), "None" | "") {
            readings.push(Reading::text("holiday", record.text("holiday")));
        }
        let instant = clock.instant(record.wall_time("date_time")?);
        messages.push(
            message(AGENCY, INTERSTATE_STATION.to_owned(), instant, readings)
                .ok_or_else(|| record.error("the date is out of range"))?,
        );
        Ok(())
    })?;
    Ok(messages)
}

/// What a detector's file holds; only its name says so.
pub(super) fn detector_kind(file_stem: &str) -> Option<(&'static str, &'static str)> {
    let stem = file_stem.to_ascii_lowercase();
    [
        ("occupancy", ("occupancy", "%")),
        ("speed", ("speed", "[mi_i]/h")),
        ("traveltime", ("travel_time", "s")),
        ("travel_time", ("travel_time", "s")),
    ]
    .into_iter()
    .find_map(|(word, kind)| stem.contains(word).then_some(kind))
}

/// Loop detectors: `timestamp,value` at irregular times, US Central wall clock. Detector and quantity stand in the file's name.
pub(super) fn detector(
    station: &str,
    (property, unit): (&'static str, &'static str),
    text: &str,
) -> Result<Vec<Message>, FormatError> {
    let clock = WallClock::us_central();
    let mut messages = Vec::new();
    each_record(text, |record| {
        let reading = Reading::new(property, record.value("value")?, Some(unit));
        let instant = clock.instant(record.wall_time("timestamp")?);
        messages.push(
            message(AGENCY, legal_name(station), instant, vec![reading])
                .ok_or_else(|| record.error("the date is out of range"))?,
        );
        Ok(())
    })?;
    Ok(messages)
}
