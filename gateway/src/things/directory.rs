//! What the operator says about agencies and stations, and the communes of the city.
//!
//! Two CSV files, read at start; a bad line is an error with file, line, column and a sentence:
//! - stations: `agency,station,name,name_en,commune,latitude,longitude` (`name_en`, `commune` and both coordinates may be
//!   empty; `commune` is the official five-digit code; coordinates are degrees, WGS 84),
//! - agencies: `agency,name,name_en`.
//!
//! The communes come with the gateway (`gateway/console/map/communes.csv`, its licence beside it).

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use codecs::name;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::Serialize;

use super::csv::{self, Line};

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;
const COMMUNES: &str = include_str!("../../console/map/communes.csv");

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThingsError {
    #[error("{file}: {sentence}")]
    File { file: String, sentence: String },
    /// Lines count from 1, the header is the first.
    #[error("{file}:{line}: {column}: {sentence}")]
    Line { file: String, line: usize, column: String, sentence: String },
}

/// One commune, ward or special zone. Coordinates are those of a place within it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Commune {
    /// Five digits.
    pub code: String,
    pub name: String,
    /// With what it is: `Phường Ngô Quyền`.
    pub full_name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub latitude: f64,
    pub longitude: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgencyFacts {
    pub name: String,
    pub name_en: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StationFacts {
    pub name: String,
    pub name_en: Option<String>,
    pub commune: Option<Arc<Commune>>,
    pub place: Option<Place>,
}

/// Degrees, WGS 84.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub longitude: f64,
    pub latitude: f64,
}

type Named<K, V> = HashMap<K, V, RandomState>;

#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// In the order of their codes.
    communes: Vec<Arc<Commune>>,
    agencies: Named<Arc<str>, AgencyFacts>,
    stations: Named<(Arc<str>, Arc<str>), Arc<StationFacts>>,
}

impl Directory {
    /// The communes, and nothing about agencies and stations.
    pub fn of_communes() -> Result<Self, ThingsError> {
        let mut communes = Vec::new();
        let columns = ["code", "name", "full_name", "type", "lat", "lon"];
        csv::read("communes.csv", COMMUNES, columns, |line| {
            let [code, name, full_name, kind, ..] = &line.cells;
            let place = place(line, 4, 5)?.ok_or_else(|| line.bad(4, "a commune has a place"))?;
            communes.push(Arc::new(Commune {
                code: code.to_string(),
                name: name.to_string(),
                full_name: full_name.to_string(),
                kind: kind.to_string(),
                latitude: place.latitude,
                longitude: place.longitude,
            }));
            Ok(())
        })?;
        communes.sort_by(|a, b| a.code.cmp(&b.code));
        Ok(Self { communes, ..Self::default() })
    }

    /// Reads the operator's files; an empty path means that there is none.
    pub fn load(stations_file: &Path, agencies_file: &Path) -> Result<Self, ThingsError> {
        let mut directory = Self::of_communes()?;
        for (file, read) in [
            (agencies_file, Self::read_agencies as fn(&mut Self, &str, &str) -> Result<(), ThingsError>),
            (stations_file, Self::read_stations),
        ] {
            if !file.as_os_str().is_empty() {
                let text = text_of(file)?;
                read(&mut directory, &file.display().to_string(), &text)?;
            }
        }
        Ok(directory)
    }

    /// `file` is its name for errors.
    pub fn read_agencies(&mut self, file: &str, text: &str) -> Result<(), ThingsError> {
        csv::read(file, text, ["agency", "name", "name_en"], |line| {
            let agency = agency(line, 0)?;
            let facts = AgencyFacts { name: required(line, 1)?, name_en: optional(line, 2) };
            match self.agencies.insert(agency, facts) {
                None => Ok(()),
                Some(_) => Err(line.bad(0, "this agency stands in the file twice")),
            }
        })
    }

    /// `file` is its name for errors.
    pub fn read_stations(&mut self, file: &str, text: &str) -> Result<(), ThingsError> {
        let columns = ["agency", "station", "name", "name_en", "commune", "latitude", "longitude"];
        csv::read(file, text, columns, |line| {
            let agency = agency(line, 0)?;
            let code = line.cells[1].trim();
            let station = name::station(code).map_err(|error| line.bad(1, error.to_string()))?;
            let commune = match line.cells[4].trim() {
                "" => None,
                code => Some(self.commune(code).cloned().ok_or_else(|| {
                    line.bad(
                        4,
                        format!("there is no commune {code:?}; it is a code of five digits like 11329"),
                    )
                })?),
            };
            let facts = StationFacts {
                name: required(line, 2)?,
                name_en: optional(line, 3),
                commune,
                place: place(line, 5, 6)?,
            };
            match self.stations.insert((agency, Arc::from(&*station)), Arc::new(facts)) {
                None => Ok(()),
                Some(_) => Err(line.bad(1, "this station stands in the file twice")),
            }
        })
    }

    pub fn communes(&self) -> &[Arc<Commune>] {
        &self.communes
    }

    pub fn commune(&self, code: &str) -> Option<&Arc<Commune>> {
        let at = self.communes.binary_search_by(|commune| commune.code.as_str().cmp(code)).ok()?;
        self.communes.get(at)
    }

    pub fn agency(&self, code: &str) -> Option<&AgencyFacts> {
        self.agencies.get(code)
    }

    pub(super) fn agencies(&self) -> impl Iterator<Item = &Arc<str>> {
        self.agencies.keys()
    }

    pub(super) fn station(&self, agency: &Arc<str>, code: &Arc<str>) -> Option<&Arc<StationFacts>> {
        self.stations.get(&(agency.clone(), code.clone()))
    }

    pub(super) fn stations(&self) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        self.stations.keys()
    }
}

fn text_of(path: &Path) -> Result<String, ThingsError> {
    let bad = |sentence: String| ThingsError::File { file: path.display().to_string(), sentence };
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(bad(format!("the file has more than {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        bad(format!("line {line} is not UTF-8; save the file in that encoding"))
    })
}

fn agency<const COLUMNS: usize>(line: &Line<'_, COLUMNS>, column: usize) -> Result<Arc<str>, ThingsError> {
    let code =
        name::agency(line.cells[column].trim()).map_err(|error| line.bad(column, error.to_string()))?;
    Ok(Arc::from(&*code))
}

fn required<const COLUMNS: usize>(line: &Line<'_, COLUMNS>, column: usize) -> Result<String, ThingsError> {
    optional(line, column).ok_or_else(|| line.bad(column, "it is empty"))
}

fn optional<const COLUMNS: usize>(line: &Line<'_, COLUMNS>, column: usize) -> Option<String> {
    Some(line.cells[column].trim()).filter(|cell| !cell.is_empty()).map(str::to_owned)
}

fn place<const COLUMNS: usize>(
    line: &Line<'_, COLUMNS>,
    latitude: usize,
    longitude: usize,
) -> Result<Option<Place>, ThingsError> {
    let degrees = |column: usize, max: f64| match line.cells[column].trim() {
        "" => Ok(None),
        cell => cell.parse().ok().filter(|degrees: &f64| degrees.abs() <= max).map(Some).ok_or_else(|| {
            line.bad(column, format!("expected degrees from -{max} to {max}, found {cell:?}"))
        }),
    };
    match (degrees(latitude, 90.0)?, degrees(longitude, 180.0)?) {
        (Some(latitude), Some(longitude)) => Ok(Some(Place { longitude, latitude })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(line.bad(longitude, "it is empty and the latitude is not")),
        (None, Some(_)) => Err(line.bad(latitude, "it is empty and the longitude is not")),
    }
}
