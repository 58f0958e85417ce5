//! Recorded weather: Newark airport in imperial units, NDBC buoys in fixed-width text.

use jiff::civil::Date;

use super::table::{FormatError, each_record};
use super::{HOUR_S, message};
use crate::message::{Message, Reading, Value, legal_name};
use crate::time::WallClock;

const AIRPORT_AGENCY: &str = "NWS";
const NDBC_AGENCY: &str = "NDBC";

/// (column, property, unit).
const AIRPORT_COLUMNS: [(&str, &str, &str); 9] = [
    ("temp", "air_temperature", "[degF]"),
    ("dewp", "dew_point", "[degF]"),
    ("humid", "relative_humidity", "%"),
    ("wind_dir", "wind_direction", "deg"),
    ("wind_speed", "wind_speed", "[mi_i]/h"),
    ("wind_gust", "wind_gust", "[mi_i]/h"),
    ("precip", "rain", "[in_i]"),
    ("pressure", "air_pressure", "mbar"),
    ("visib", "visibility", "[mi_i]"),
];

/// New York's airports: imperial units as recorded, `NA` = missing. The time is `time_hour` (UTC); the local columns beside
/// it are New York's standard time.
pub(super) fn airport(text: &str) -> Result<Vec<Message>, FormatError> {
    const STANDARD_TIME_S: i32 = -5 * 3600;
    let mut messages = Vec::new();
    each_record(text, |record| {
        let mut readings = Vec::with_capacity(AIRPORT_COLUMNS.len());
        for (column, property, unit) in AIRPORT_COLUMNS {
            let reading = Reading::new(property, record.value(column)?, Some(unit));
            readings.push(if property == "rain" { reading.with_period_s(HOUR_S) } else { reading });
        }
        let instant = Some((record.instant("time_hour")?, STANDARD_TIME_S));
        messages.extend(message(AIRPORT_AGENCY, legal_name(record.text("origin")), instant, readings));
        Ok(())
    })?;
    Ok(messages)
}

/// (column, property); the unit comes from the second header line.
const BUOY_COLUMNS: [(&str, &str); 15] = [
    ("WDIR", "wind_direction"),
    ("WSPD", "wind_speed"),
    ("GST", "wind_gust"),
    ("WVHT", "wave_height"),
    ("DPD", "wave_period_dominant"),
    ("APD", "wave_period_mean"),
    ("MWD", "wave_direction"),
    ("PRES", "air_pressure"),
    ("ATMP", "air_temperature"),
    ("WTMP", "water_temperature"),
    ("DEWP", "dew_point"),
    ("VIS", "visibility"),
    ("PTDY", "air_pressure_tendency"),
    ("TIDE", "water_level"),
    ("ACCUM", "rain"),
];

/// NDBC writes units in a spelling of its own; these are the same ones in UCUM.
fn buoy_unit(unit: &str) -> Option<&'static str> {
    match unit {
        "degT" => Some("deg"),
        "m/s" => Some("m/s"),
        "m" => Some("m"),
        "sec" => Some("s"),
        "hPa" => Some("hPa"),
        "degC" => Some("Cel"),
        "nmi" => Some("[nmi_i]"),
        "ft" => Some("[ft_i]"),
        "mm" => Some("mm"),
        _ => None,
    }
}

/// NDBC realtime text: two header lines (names, units), then values between spaces, UTC, newest first. `MM` = missing, and is
/// sent as such, also for columns that never report. The station stands in the name of the file only.
pub(super) fn buoy(station: &str, text: &str) -> Result<Vec<Message>, FormatError> {
    let clock = WallClock::fixed(0);
    let split = |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let mut lines = text.lines();
    let names = split(lines.next().unwrap_or_default());
    let units = split(lines.next().unwrap_or_default());
    let mut messages = Vec::new();
    for (index, line) in lines.enumerate() {
        let error = |reason: String| FormatError { line: index as u64 + 3, reason };
        let fields = split(line);
        if fields.is_empty() {
            continue;
        }
        if fields.len() != names.len() || names.len() != units.len() || fields.len() < 6 {
            return Err(error(format!("{} values below {} names", fields.len(), names.len())));
        }
        let time_part = |index: usize| -> Result<i16, FormatError> {
            fields[index].parse().map_err(|_| error(format!("`{}` is no part of a date", fields[index])))
        };
        let small = |index: usize| -> Result<i8, FormatError> {
            i8::try_from(time_part(index)?)
                .map_err(|_| error(format!("`{}` is no part of a date", fields[index])))
        };
        let date =
            Date::new(time_part(0)?, small(1)?, small(2)?).map_err(|cause| error(cause.to_string()))?;
        let time =
            jiff::civil::Time::new(small(3)?, small(4)?, 0, 0).map_err(|cause| error(cause.to_string()))?;
        let mut readings = Vec::with_capacity(fields.len() - 5);
        for ((name, unit), field) in names.iter().zip(&units).zip(&fields).skip(5) {
            let property =
                BUOY_COLUMNS.iter().find(|(column, _)| column == name).map(|(_, property)| *property);
            let property = property.ok_or_else(|| error(format!("{name} is an unknown column")))?;
            let value = match field.as_str() {
                "MM" => Value::Null,
                number => {
                    Value::Number(number.parse().map_err(|_| error(format!("`{number}` is no number")))?)
                }
            };
            let reading = Reading::new(property, value, buoy_unit(unit));
            readings.push(if property == "rain" { reading.with_period_s(HOUR_S) } else { reading });
        }
        let instant = clock.instant(date.to_datetime(time));
        let message = message(NDBC_AGENCY, legal_name(station), instant, readings);
        messages.push(message.ok_or_else(|| error("the date is out of range".to_owned()))?);
    }
    Ok(messages)
}
