//! Recorded air quality: Beijing (UCI set 501), Hanoi (US embassy monitor), OpenAQ's long layout.

use std::borrow::Cow;

use jiff::civil::DateTime;

use super::table::{FormatError, each_record};
use super::{HOUR_S, message};
use crate::message::{Message, Reading, Value, legal_name};
use crate::time::WallClock;

const BEIJING_AGENCY: &str = "BJMEMC";
const HANOI_AGENCY: &str = "US-STATE";
const OPENAQ_AGENCY: &str = "OPENAQ";

/// (column, property, unit, whether the value stands for the hour before).
const BEIJING_COLUMNS: [(&str, &str, &str, bool); 11] = [
    ("PM2.5", "pm2_5", "ug/m3", true),
    ("PM10", "pm10", "ug/m3", true),
    ("SO2", "so2", "ug/m3", true),
    ("NO2", "no2", "ug/m3", true),
    ("CO", "co", "ug/m3", true),
    ("O3", "o3", "ug/m3", true),
    ("TEMP", "air_temperature", "Cel", false),
    ("PRES", "air_pressure", "hPa", false),
    ("DEWP", "dew_point", "Cel", false),
    ("RAIN", "rain", "mm", true),
    ("WSPM", "wind_speed", "m/s", false),
];

/// Beijing: wall clock UTC+8 without summer time, `NA` = missing, the record's `No` as sequence number. The wind direction
/// is text (`SSE`) and stays text, under a name of its own.
pub(super) fn beijing(text: &str) -> Result<Vec<Message>, FormatError> {
    let clock = WallClock::fixed(8);
    let mut messages = Vec::new();
    each_record(text, |record| {
        let hour = record.hour(["year", "month", "day", "hour"])?;
        let mut readings = Vec::with_capacity(BEIJING_COLUMNS.len() + 1);
        for (column, property, unit, is_of_the_hour) in BEIJING_COLUMNS {
            let reading = Reading::new(property, record.value(column)?, Some(unit));
            readings.push(if is_of_the_hour { reading.with_period_s(HOUR_S) } else { reading });
        }
        let direction = match record.text("wd") {
            "NA" | "" => Value::Null,
            direction => Value::Text(direction.to_owned()),
        };
        readings.push(Reading::new("wind_direction_text", direction, None));
        let station = legal_name(record.text("station"));
        let mut message = message(BEIJING_AGENCY, station, clock.instant(hour), readings)
            .ok_or_else(|| record.error("the date is out of range"))?;
        message.seq = Some(record.whole("No")?);
        messages.push(message);
        Ok(())
    })?;
    Ok(messages)
}

/// Hanoi: wall clock UTC+7 taken literally, so that the hour in which somebody else's summer time leaked in comes twice, as
/// recorded. −999 = missing (null). The monitor's own verdict (`Valid`, `Missing`, `Invalid`, `Suspect`) is the status of the
/// raw concentration, whose value stays whatever it is.
pub(super) fn hanoi(text: &str) -> Result<Vec<Message>, FormatError> {
    const MISSING: f64 = -999.0;
    let clock = WallClock::fixed(7);
    let mut messages = Vec::new();
    each_record(text, |record| {
        let value = |column| -> Result<Value, FormatError> {
            let value = record.value(column)?;
            Ok(if value == Value::Number(MISSING) { Value::Null } else { value })
        };
        let hour: DateTime = record.hour(["Year", "Month", "Day", "Hour"])?;
        let unit = Some(Cow::Owned(record.text("Conc. Unit").to_owned()));
        let mut raw = Reading::new("pm2_5", value("Raw Conc.")?, None)
            .with_status(Some(record.text("QC Name").to_owned()))
            .with_period_s(HOUR_S);
        let mut now_cast = Reading::new("pm2_5_nowcast", value("NowCast Conc.")?, None);
        raw.unit.clone_from(&unit);
        now_cast.unit = unit;
        let index = Reading::new("air_quality_index", value("AQI")?, None);
        let category = match record.text("AQI Category") {
            "N/A" | "" => Value::Null,
            category => Value::Text(category.to_owned()),
        };
        let category = Reading::new("air_quality_category", category, None);
        let station = legal_name(record.text("Site"));
        messages.push(
            message(HANOI_AGENCY, station, clock.instant(hour), vec![raw, now_cast, index, category])
                .ok_or_else(|| record.error("the date is out of range"))?,
        );
        Ok(())
    })?;
    Ok(messages)
}

/// OpenAQ, one value per row: times with `+00:00`, the unit as written there (`µg/m³`), newest first.
pub(super) fn openaq(text: &str) -> Result<Vec<Message>, FormatError> {
    let mut messages = Vec::new();
    each_record(text, |record| {
        let property = match record.text("parameter") {
            "pm25" => Cow::Borrowed("pm2_5"),
            other => Cow::Owned(legal_name(other)),
        };
        let mut reading = Reading::new(property, record.value("value")?, None);
        reading.unit = Some(Cow::Owned(record.text("unit").to_owned()));
        let instant = Some((record.instant("date.utc")?, 0));
        let station = legal_name(record.text("location"));
        messages.extend(message(OPENAQ_AGENCY, station, instant, vec![reading]));
        Ok(())
    })?;
    Ok(messages)
}
