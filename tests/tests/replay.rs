//! A1-9, A1-10: the recorded series of `firmware-sim/data`, published over MQTT with their original times, are queried back
//! number for number; and the store's files say the same to a reader that has nothing of ours.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use codecs::time::parse_rfc3339;
use e2e_tests::{Gateway, Row, Simulator, new_data_dir, python, repository, sensor_gateway, verify};

/// Messages that the recorded series make where all readings of one time go into one message.
const MESSAGES: u64 = 9_911;

/// The store's files against `query --revisions --format csv`, and the documented view against `query`.
const DUCKDB: &str = r#"
import collections, csv, datetime, sys
import duckdb
store, all_revisions, in_force = sys.argv[1:]
files = f"read_parquet('{store}/*/run-*.parquet')"
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
def time_us(text):
    return (datetime.datetime.fromisoformat(text.replace('Z', '+00:00')) - EPOCH) // datetime.timedelta(microseconds=1)
def of_csv(row):
    value = {'number': float, 'boolean': lambda text: text == 'true', 'text': str, 'null': lambda text: None}[row['kind']](row['result'])
    return (row['datastream'], time_us(row['phenomenon_time']), row['kind'], value, row['unit'], int(row['period_s'] or 0),
            row['status'], int(row['quality']), int(row['revision']), int(row['position']), time_us(row['result_time']))
def of_csv_file(path):
    with open(path, newline='', encoding='utf-8') as file:
        return collections.Counter(of_csv(row) for row in csv.DictReader(file))
columns = """datastream, epoch_us(phenomenon_time), kind, number, text, boolean, coalesce(unit, ''), period_s,
             coalesce(status, ''), quality, revision, position, epoch_us(result_time)"""
def of_parquet(query):
    rows = duckdb.sql(query).fetchall()
    return collections.Counter((row[0], row[1], row[2], {'number': row[3], 'text': row[4], 'boolean': row[5], 'null': None}[row[2]], *row[6:]) for row in rows)
def compare(what, files, queried):
    if files != queried:
        sys.exit(f'{what}: only in the files {list((files - queried))[:3]}, only queried {list((queried - files))[:3]}')
compare('all revisions', of_parquet(f'select {columns} from {files}'), of_csv_file(all_revisions))
view = f"""select * from {files} qualify row_number() over (
           partition by datastream_id, phenomenon_time, ordinal order by revision desc, position) = 1"""
compare('in force', of_parquet(f'select {columns} from ({view})'), of_csv_file(in_force))
print(duckdb.sql(f'select count(*) from {files}').fetchall()[0][0])
"#;

#[test]
fn a1_9_recorded_series_are_queried_back_number_for_number() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &["--set", "store.flush_interval_ms=300"]);
    let mqtt = gateway.mqtt.to_string();
    let replay = |format: &str| {
        let recorded = recorded("");
        let args = ["replay", "--broker", &mqtt, "--data", &recorded.to_string_lossy(), "--format", format];
        let truth = directory.path().join(format!("{format}.ndjson"));
        Simulator::start(&truth, &[&args[..], &["--clients", "3"]].concat()).finish()
    };
    let json = replay("json");
    let first = gateway.wait_until_flushed(MESSAGES);
    assert_eq!(first["messages"]["decoded"], MESSAGES, "everything recorded is readable: {first}");
    // The same readings in another form are no new ones.
    let flatbuffers = replay("flatbuffers");
    let second = gateway.wait_until_flushed(2 * MESSAGES);
    assert_eq!(second["messages"]["decoded"], 2 * MESSAGES, "{second}");
    for part in ["inserted", "corrected"] {
        assert_eq!(second["observations"][part], first["observations"][part], "{part}: {second}");
    }
    gateway.kill9();

    for truth in [json, flatbuffers] {
        let report = verify(&truth, &data_dir);
        assert!(report["rows_compared"].as_u64().is_some_and(|rows| rows > 30_000), "{report}");
    }
    let rows = write_rows(&data_dir, &directory.path().join("all.csv"), &["--revisions"]);
    write_rows(&data_dir, &directory.path().join("in_force.csv"), &[]);
    let count = python(
        DUCKDB,
        &[
            &data_dir.join("store").to_string_lossy(),
            &directory.path().join("all.csv").to_string_lossy(),
            &directory.path().join("in_force.csv").to_string_lossy(),
        ],
    );
    assert_eq!(count.trim(), rows.to_string());

    as_recorded(&data_dir);
    converted(&data_dir);
}

fn recorded(name: &str) -> PathBuf {
    repository().join("firmware-sim/data").join(name)
}

/// Writes the answer of a query into a file; gives its number of rows.
fn write_rows(data_dir: &Path, file: &Path, args: &[&str]) -> usize {
    let data_dir = data_dir.to_string_lossy();
    let text =
        sensor_gateway(&[&["query", "--data-dir", &data_dir, "--format", "csv"], args].concat()).success();
    fs::write(file, &text).expect("the file is writable");
    e2e_tests::parse_csv(&text).len()
}

fn series(data_dir: &Path, datastream: &str) -> HashMap<i64, Row> {
    let data_dir = data_dir.to_string_lossy();
    let text =
        sensor_gateway(&["query", "--data-dir", &data_dir, "--format", "csv", "--datastream", datastream])
            .success();
    let time = |row: &Row| parse_rfc3339(&row["phenomenon_time"]).expect("a time");
    e2e_tests::parse_csv(&text).into_iter().map(|row| (time(&row), row)).collect()
}

/// The columns with these names of a plain CSV, where all of them have something.
fn columns<const N: usize>(name: &str, wanted: [&str; N]) -> Vec<[String; N]> {
    let text = fs::read_to_string(recorded(name)).expect("the recorded file is there");
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let places = wanted.map(|column| header.iter().position(|name| *name == column).expect("a column"));
    let records = lines.map(|line| line.split(',').collect::<Vec<_>>());
    records
        .map(|record| places.map(|place| record[place].to_owned()))
        .filter(|values| values.iter().all(|value| !value.is_empty() && value != "NA"))
        .collect()
}

fn assert_series(data_dir: &Path, datastream: &str, unit: &str, expected: &[(String, f64)], tolerance: f64) {
    let rows = series(data_dir, datastream);
    assert!(expected.len() > 400, "{datastream}: {} values", expected.len());
    for (time, number) in expected {
        let time_us = parse_rfc3339(time).expect("a recorded time");
        let row = rows.get(&time_us).unwrap_or_else(|| panic!("{datastream} has no row at {time}"));
        let found: f64 = row["result"].parse().expect("a number");
        let is_equal = (found - number).abs() <= tolerance * number.abs().max(1.0);
        assert!(is_equal && row["unit"] == unit, "{datastream} at {time}: {row:?}, recorded {number} {unit}");
    }
}

/// Read from the files by this test, equal to the last bit.
fn as_recorded(data_dir: &Path) {
    let tide: Vec<(String, f64)> =
        columns("water/noaa_8461490_6min_2013-01.csv", ["time_utc", "water_level_m_mhw"])
            .map_numbers(|value| value);
    assert_series(data_dir, "NOAA-COOPS/8461490/water_level", "m", &tide, 0.0);
    let hanoi: Vec<f64> = columns("air/hanoi_pm25_2018.csv", ["Raw Conc.", "Conc. Unit"])
        .iter()
        .map(|[value, unit]| {
            assert_eq!(unit, "UG/M3");
            value.parse().expect("a recorded number")
        })
        .collect();
    let mut rows: Vec<(i64, Row)> = series(data_dir, "US-STATE/Hanoi/pm2_5").into_iter().collect();
    rows.sort_unstable_by_key(|(time_us, _)| *time_us);
    assert!(rows.iter().all(|(_, row)| row["unit"] == "ug/m3"), "Hanoi's UG/M3 are µg/m³: {:?}", rows[0]);
    let found: Vec<f64> = rows.iter().filter_map(|(_, row)| row["result"].parse().ok()).collect();
    let is_recorded = found.iter().all(|number| hanoi.contains(number));
    assert!(found.len() > 600 && is_recorded, "{} of Hanoi's values are found", found.len());
}

/// Units converted by the definitions, computed here.
fn converted(data_dir: &Path) {
    const TOLERANCE: f64 = 1e-13;
    let temperatures: Vec<(String, f64)> =
        columns("weather/nyc_ewr_hourly_2013_h1.csv", ["time_hour", "temp"])
            .map_numbers(|fahrenheit| (fahrenheit - 32.0) / 1.8);
    assert_series(data_dir, "NWS/EWR/air_temperature", "Cel", &temperatures, TOLERANCE);
    let discharge: Vec<(String, f64)> =
        columns("water/usgs_01589330_5min_2018-06.csv", ["datetimeUTC", "USGS:01589330:00060:00000"])
            .map_numbers(|cubic_feet| cubic_feet * 0.028_316_846_592);
    assert_series(data_dir, "USGS/01589330/discharge", "m3/s", &discharge, TOLERANCE);
    let gauge: Vec<(String, f64)> =
        columns("water/usgs_01589330_5min_2018-06.csv", ["datetimeUTC", "USGS:01589330:00065:00000"])
            .map_numbers(|feet| feet * 0.3048);
    assert_series(data_dir, "USGS/01589330/water_level", "m", &gauge, TOLERANCE);
}

trait MapNumbers {
    fn map_numbers(self, convert: impl Fn(f64) -> f64) -> Vec<(String, f64)>;
}

impl MapNumbers for Vec<[String; 2]> {
    fn map_numbers(self, convert: impl Fn(f64) -> f64) -> Vec<(String, f64)> {
        let number = |value: String| convert(value.parse().expect("a recorded number"));
        self.into_iter().map(|[time, value]| (time, number(value))).collect()
    }
}
