//! Where rows come from: a file, the gateway's HTTP interface, or its command line.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::rows::{Row, RowsError, read};
use super::{Comparison, Report, Revisions, VerifyError};
use crate::ledger::Reader;
use crate::time::format_utc;

/// Most rows of one HTTP answer; at 300 bytes each far below what the gateway answers at once.
const ANSWER_ROWS_MAX: usize = 50_000;
/// How long the gateway may take to process what is durable and to classify late readings.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
const SETTLE_POLL: Duration = Duration::from_millis(200);

/// Where the rows are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Output of `sensor-gateway query`, CSV or NDJSON.
    File(PathBuf),
    /// `http://HOST:PORT` of a running gateway.
    Http(String),
    /// The gateway's program and its data directory; works beside a running gateway and without one.
    Program { gateway: PathBuf, data_dir: PathBuf },
}

/// Compares a ledger file with the rows of a source.
pub fn verify_files(ledger: &Path, source: &Source, revisions: Revisions) -> Result<Report, VerifyError> {
    let mut comparison = Comparison::new(Reader::open(ledger)?)?;
    let revisions = match source {
        Source::File(path) => {
            let failed = |error| RowsError::Source(format!("{} cannot be read: {error}", path.display()));
            for row in read(BufReader::new(File::open(path).map_err(failed)?))? {
                comparison.row(&row?);
            }
            revisions
        }
        Source::Http(base) => {
            let base = base.trim_end_matches('/');
            wait_until_settled(base)?;
            for datastream in comparison.datastreams() {
                rows_by_http(base, &datastream, &mut comparison)?;
            }
            Revisions::All
        }
        Source::Program { gateway, data_dir } => {
            let agency_of = |name: String| name.split('/').next().map(str::to_owned);
            let agencies: BTreeSet<String> =
                comparison.datastreams().into_iter().filter_map(agency_of).collect();
            for agency in agencies {
                rows_by_program(gateway, data_dir, &agency, &mut comparison)?;
            }
            Revisions::All
        }
    };
    Ok(comparison.finish(revisions))
}

fn http_failed(url: &str, error: &impl std::fmt::Display) -> RowsError {
    RowsError::Source(format!("GET {url}: {error}"))
}

fn get(url: &str) -> Result<Option<impl BufRead + use<>>, RowsError> {
    match ureq::get(url).call() {
        Ok(answer) => Ok(Some(BufReader::new(answer.into_body().into_reader()))),
        // A datastream that the gateway does not know has no rows.
        Err(ureq::Error::StatusCode(404)) => Ok(None),
        Err(error) => Err(http_failed(url, &error)),
    }
}

#[derive(Deserialize)]
struct Ledger {
    messages: Messages,
    observations: Observations,
}

#[derive(Deserialize)]
struct Messages {
    pending: u64,
}

#[derive(Deserialize)]
struct Observations {
    unresolved: u64,
}

/// Rows that wait for their place among earlier ones cannot be queried yet, so they would count as lost.
fn wait_until_settled(base: &str) -> Result<(), RowsError> {
    let url = format!("{base}/api/v1/ledger");
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    loop {
        let Some(answer) = get(&url)? else {
            return Err(http_failed(&url, &"not found; is this the gateway's HTTP address?"));
        };
        let ledger: Ledger = serde_json::from_reader(answer).map_err(|error| http_failed(&url, &error))?;
        let (pending, unresolved) = (ledger.messages.pending, ledger.observations.unresolved);
        if pending == 0 && unresolved == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let seconds = SETTLE_TIMEOUT.as_secs();
            return Err(RowsError::Source(format!(
                "the gateway has not settled within {seconds} s: {pending} messages pending, {unresolved} readings unresolved"
            )));
        }
        std::thread::sleep(SETTLE_POLL);
    }
}

/// All revisions of one datastream. A period with more rows than one answer may have is asked for in two halves, so that
/// nothing depends on the order of the rows.
fn rows_by_http(base: &str, datastream: &str, comparison: &mut Comparison) -> Result<(), VerifyError> {
    let name = percent_encoded(datastream);
    let mut periods: Vec<(Option<i64>, Option<i64>)> = vec![(None, None)];
    while let Some((from, to)) = periods.pop() {
        let limit = ANSWER_ROWS_MAX + 1;
        let mut url = format!(
            "{base}/api/v1/observations?datastream={name}&revisions=true&format=ndjson&limit={limit}"
        );
        for (parameter, time_us) in [("from", from), ("to", to)] {
            if let Some(time_us) = time_us {
                url += &format!("&{parameter}={}", percent_encoded(&format_utc(time_us)));
            }
        }
        let Some(mut answer) = get(&url)? else { continue };
        if answer.fill_buf().map_err(RowsError::from)?.is_empty() {
            continue;
        }
        let rows: Vec<Row> = read(answer)?.collect::<Result<_, _>>()?;
        if rows.len() <= ANSWER_ROWS_MAX {
            rows.iter().for_each(|row| comparison.row(row));
            continue;
        }
        let mut times: Vec<i64> = rows.iter().map(|row| row.time_us).collect();
        times.sort_unstable();
        // The first half ends before the time in the middle, so that time must not be the first one.
        let middle = times[times.len() / 2];
        let split = if middle > times[0] {
            Some(middle)
        } else {
            times.into_iter().find(|time_us| *time_us > middle)
        };
        let Some(split) = split else {
            let sentence =
                format!("{datastream} has more than {ANSWER_ROWS_MAX} rows at {}", format_utc(middle));
            return Err(RowsError::Source(sentence).into());
        };
        periods.extend([(Some(split), to), (from, Some(split))]);
    }
    Ok(())
}

fn rows_by_program(
    gateway: &Path,
    data_dir: &Path,
    agency: &str,
    comparison: &mut Comparison,
) -> Result<(), VerifyError> {
    let failed = |error: String| RowsError::Source(format!("{} query: {error}", gateway.display()));
    let mut child = Command::new(gateway)
        .args(["query", "--revisions", "--format", "csv", "--datastream", agency, "--data-dir"])
        .arg(data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(output) = child.stdout.take() {
        for row in read(BufReader::new(output))? {
            comparison.row(&row?);
        }
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(status.to_string()).into()) }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_qualifiers_go_into_a_query_string() {
        assert_eq!(percent_encoded("a/b/flow;class=car"), "a%2Fb%2Fflow%3Bclass%3Dcar");
        assert_eq!(percent_encoded("µ"), "%C2%B5");
    }
}
