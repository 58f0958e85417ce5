//! Which layout a recorded file has, told from its first line, and its messages.

use std::path::Path;

use super::table::FormatError;
use super::{air, traffic, water, weather};
use crate::message::Message;

/// The recorded layouts that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Beijing,
    Hanoi,
    OpenAq,
    UsgsJson,
    UsgsCsv,
    Kotzebue,
    Noaa,
    Airport,
    Buoy,
    Interstate,
    Detector,
}

impl Layout {
    /// What the first line of each must have, for detection and for the error message.
    const MARKS: [(Self, &'static [&'static str], &'static str); 11] = [
        (
            Self::Beijing,
            &["PM2.5", "TEMP", "WSPM", "station"],
            "Beijing hourly air (No,year,month,day,hour,PM2.5,…,station)",
        ),
        (
            Self::Hanoi,
            &["Date (LT)", "Raw Conc.", "QC Name"],
            "AirNow PM2.5 (Site,Parameter,Date (LT),…,QC Name)",
        ),
        (
            Self::OpenAq,
            &["date.utc", "location", "parameter", "value", "unit"],
            "OpenAQ long (city,country,date.utc,…)",
        ),
        (Self::UsgsJson, &["TimeSeriesResponse"], "USGS instantaneous values as WaterML JSON"),
        (Self::UsgsCsv, &["datetimeUTC", "USGS:"], "USGS instantaneous values as CSV (datetimeUTC,USGS:…)"),
        (
            Self::Kotzebue,
            &["time", "sea_surface_height_above_sea_level"],
            "IOOS sea level (time,timestamp,…)",
        ),
        (
            Self::Noaa,
            &["station", "time_utc", "water_level_m_mhw"],
            "NOAA 6-minute level (station,time_utc,…)",
        ),
        (Self::Airport, &["origin", "dewp", "time_hour"], "airport weather (origin,year,month,…,time_hour)"),
        (Self::Buoy, &["#YY", "MM", "DD", "hh", "mm"], "NDBC realtime text (#YY MM DD hh mm …)"),
        (
            Self::Interstate,
            &["holiday", "date_time", "traffic_volume"],
            "I-94 hourly volume (holiday,temp,…)",
        ),
        (
            Self::Detector,
            &["timestamp", "value"],
            "loop detector (timestamp,value; quantity_station in the file's name)",
        ),
    ];

    /// The layout whose marks the first line has.
    pub fn detect(text: &str) -> Option<Self> {
        // WaterML is one long line; its type stands near the beginning.
        let first_line = text.lines().next().unwrap_or_default();
        let end = (0..=first_line.len().min(4096)).rev().find(|end| first_line.is_char_boundary(*end))?;
        let head = &first_line[..end];
        let words: Vec<&str> =
            head.split([',', ' ']).map(|word| word.trim_matches(['"', '\u{feff}'])).collect();
        let has = |mark: &&str| {
            let is_part = mark.contains(' ') || mark.ends_with(':') || *mark == "TimeSeriesResponse";
            if is_part { head.contains(*mark) } else { words.contains(mark) }
        };
        Self::MARKS.iter().find(|(_, marks, _)| marks.iter().all(has)).map(|(layout, _, _)| *layout)
    }

    /// A line for each layout.
    pub fn known() -> impl Iterator<Item = &'static str> {
        Self::MARKS.iter().map(|(_, _, name)| *name)
    }

    /// All messages of a file in the order in which it has them.
    pub fn read(self, path: &Path, text: &str) -> Result<Vec<Message>, FormatError> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        match self {
            Self::Beijing => air::beijing(text),
            Self::Hanoi => air::hanoi(text),
            Self::OpenAq => air::openaq(text),
            Self::UsgsJson => water::usgs_json(text),
            Self::UsgsCsv => water::usgs_csv(text),
            Self::Kotzebue => water::kotzebue(text),
            Self::Noaa => water::noaa(text),
            Self::Airport => weather::airport(text),
            Self::Buoy => weather::buoy(buoy_station(&stem), text),
            Self::Interstate => traffic::interstate(text),
            Self::Detector => {
                let kind = traffic::detector_kind(&stem).ok_or_else(|| FormatError {
                    line: 1,
                    reason: format!(
                        "`timestamp,value` does not say what was measured, so the file's name must hold one of occupancy, \
                         speed, traveltime; `{stem}` does not"
                    ),
                })?;
                traffic::detector(stem.rsplit('_').next().unwrap_or(&stem), kind, text)
            }
        }
    }
}

/// `ndbc_41002_10min_2018` → `41002`.
fn buoy_station(stem: &str) -> &str {
    let rest = stem.strip_prefix("ndbc_").unwrap_or(stem);
    rest.split('_').next().unwrap_or(rest)
}
