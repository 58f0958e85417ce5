//! What the gateway's operator would know of the stations: `stations.csv` and `agencies.csv`.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::kinds::AGENCIES;
use super::stations::Station;

/// Name of the file with the stations; columns `agency,station,name,name_en,commune,latitude,longitude`.
pub const STATIONS_FILE: &str = "stations.csv";
/// Name of the file with the agencies; columns `agency,name,name_en`.
pub const AGENCIES_FILE: &str = "agencies.csv";

/// Writes both files into a folder, which is made if it is not there.
pub(super) fn write(folder: &Path, stations: &[Station]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(STATIONS_FILE), stations_csv(stations))?;
    std::fs::write(folder.join(AGENCIES_FILE), agencies_csv())
}

fn stations_csv(stations: &[Station]) -> String {
    let mut out = String::from("agency,station,name,name_en,commune,latitude,longitude\n");
    for station in stations {
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            out,
            "{},{},{},{},{},{:.5},{:.5}",
            station.agency.code,
            station.code,
            quoted(&station.name),
            quoted(&station.name_en),
            station.commune,
            station.latitude,
            station.longitude
        );
    }
    out
}

fn agencies_csv() -> String {
    let mut out = String::from("agency,name,name_en\n");
    for agency in AGENCIES {
        let _ = writeln!(out, "{},{},{}", agency.code, quoted(agency.name), quoted(agency.name_en));
    }
    out
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
