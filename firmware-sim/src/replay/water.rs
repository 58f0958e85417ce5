//! Recorded water: USGS instantaneous values (WaterML as JSON, and CSV), Kotzebue sea level, NOAA 6-minute tide.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::message;
use super::table::{FormatError, each_record};
use crate::message::{Message, Reading, Text, Value, legal_name};
use crate::time;

const USGS_AGENCY: &str = "USGS";
const KOTZEBUE_AGENCY: &str = "IOOS";
const NOAA_AGENCY: &str = "NOAA-COOPS";

/// Property and unit of a USGS parameter code, the unit as the service writes it.
fn usgs_parameter(code: &str) -> Option<(&'static str, &'static str)> {
    match code {
        "00060" => Some(("discharge", "ft3/s")),
        "00065" => Some(("water_level", "ft")),
        "00045" => Some(("rain", "in")),
        "00010" => Some(("water_temperature", "deg C")),
        _ => None,
    }
}

fn usgs_property(code: &str) -> Text {
    usgs_parameter(code)
        .map_or_else(|| Cow::Owned(format!("usgs_{}", legal_name(code))), |(name, _)| name.into())
}

/// `USGS:01589330:00060:00000` → site and parameter.
fn usgs_series(name: &str) -> Option<(&str, &str)> {
    let mut parts = name.split(':').skip(1);
    Some((parts.next()?, parts.next()?))
}

#[derive(Deserialize)]
struct WaterMl {
    value: WaterMlValue,
}

#[derive(Deserialize)]
struct WaterMlValue {
    #[serde(rename = "timeSeries")]
    time_series: Vec<TimeSeries>,
}

#[derive(Deserialize)]
struct TimeSeries {
    name: String,
    variable: Variable,
    values: Vec<Values>,
}

#[derive(Deserialize)]
struct Variable {
    unit: Unit,
    #[serde(rename = "noDataValue")]
    no_data_value: f64,
}

#[derive(Deserialize)]
struct Unit {
    #[serde(rename = "unitCode")]
    unit_code: String,
}

#[derive(Deserialize)]
struct Values {
    value: Vec<Measured>,
}

#[derive(Deserialize)]
struct Measured {
    value: String,
    qualifiers: Vec<String>,
    #[serde(rename = "dateTime")]
    date_time: String,
}

/// USGS WaterML as JSON: values are text, `noDataValue` = missing (null), qualifiers are the status (`P,Ice`). Series of one
/// site that have a value at the same time go into one message.
pub(super) fn usgs_json(text: &str) -> Result<Vec<Message>, FormatError> {
    let answer: WaterMl = serde_json::from_str(text)
        .map_err(|error| FormatError { line: error.line() as u64, reason: error.to_string() })?;
    let mut messages: Vec<Message> = Vec::new();
    let mut index_of: HashMap<(String, i64), usize> = HashMap::new();
    for series in answer.value.time_series {
        let bad =
            |reason: String| FormatError { line: 1, reason: format!("series {}: {reason}", series.name) };
        let (site, parameter) =
            usgs_series(&series.name).ok_or_else(|| bad("no USGS series name".to_owned()))?;
        for measured in series.values.iter().flat_map(|values| &values.value) {
            let number: f64 =
                measured.value.parse().map_err(|_| bad(format!("`{}` is no number", measured.value)))?;
            let is_missing = number == series.variable.no_data_value || !number.is_finite();
            let value = if is_missing { Value::Null } else { Value::Number(number) };
            let mut reading = Reading::new(usgs_property(parameter), value, None);
            reading.unit = Some(Cow::Owned(series.variable.unit.unit_code.clone()));
            reading.status = status_of(&measured.qualifiers.join(","));
            let time_us = time::parse(&measured.date_time)
                .ok_or_else(|| bad(format!("`{}` is no date and time", measured.date_time)))?;
            if let Some(index) = index_of.get(&(site.to_owned(), time_us)) {
                messages[*index].readings.push(reading);
                continue;
            }
            index_of.insert((site.to_owned(), time_us), messages.len());
            let instant = Some((time_us, time::offset_s_of(&measured.date_time)));
            messages.extend(message(USGS_AGENCY, legal_name(site), instant, vec![reading]));
        }
    }
    Ok(messages)
}

/// USGS as CSV: `datetimeUTC`, then qualifiers and value for each series.
pub(super) fn usgs_csv(text: &str) -> Result<Vec<Message>, FormatError> {
    let header = text.lines().next().unwrap_or_default();
    let columns: Vec<&str> = header
        .split(',')
        .map(str::trim)
        .filter(|name| name.starts_with("USGS:") && !name.ends_with("_qualifiers"))
        .collect();
    let mut messages = Vec::new();
    each_record(text, |record| {
        let instant = Some((record.instant("datetimeUTC")?, 0));
        let mut site = "";
        let mut readings = Vec::with_capacity(columns.len());
        for column in &columns {
            let parameter;
            (site, parameter) = usgs_series(column)
                .ok_or_else(|| record.error(format!("{column} is no USGS series name")))?;
            let unit = usgs_parameter(parameter).map(|(_, unit)| unit);
            let mut reading = Reading::new(usgs_property(parameter), record.value(column)?, unit);
            reading.status = status_of(record.text(&format!("{column}_qualifiers")));
            readings.push(reading);
        }
        messages.extend(message(USGS_AGENCY, legal_name(site), instant, readings));
        Ok(())
    })?;
    Ok(messages)
}

fn status_of(qualifiers: &str) -> Option<Text> {
    (!qualifiers.is_empty()).then(|| Cow::Owned(qualifiers.to_owned()))
}

/// Kotzebue: metres above mean higher high water; spikes and negative values are kept.
pub(super) fn kotzebue(text: &str) -> Result<Vec<Message>, FormatError> {
    let mut messages = Vec::new();
    each_record(text, |record| {
        let level = record.value("sea_surface_height_above_sea_level")?;
        let reading = Reading::new("water_level", level, Some("m"));
        let instant = Some((record.instant("time")?, 0));
        messages.extend(message(KOTZEBUE_AGENCY, "kotzebue".to_owned(), instant, vec![reading]));
        Ok(())
    })?;
    Ok(messages)
}

/// NOAA: metres above mean high water.
pub(super) fn noaa(text: &str) -> Result<Vec<Message>, FormatError> {
    let mut messages = Vec::new();
    each_record(text, |record| {
        let reading = Reading::new("water_level", record.value("water_level_m_mhw")?, Some("m"));
        let instant = Some((record.instant("time_utc")?, 0));
        messages.extend(message(NOAA_AGENCY, legal_name(record.text("station")), instant, vec![reading]));
        Ok(())
    })?;
    Ok(messages)
}
