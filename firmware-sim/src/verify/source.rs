//! Where rows come from: a file, the gateway's HTTP interface, or its command line.

use std::collections::HashSet;
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

/// Rows per HTTP answer.
const PAGE_ROWS: usize = 50_000;
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
            for datastream in comparison.datastreams() {
                rows_by_program(gateway, data_dir, &datastream, &mut comparison)?;
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

/// All revisions of one datastream, page by page in order of time. A page begins with the time at which the last one ended,
/// so rows of that time come twice and are told apart here.
fn rows_by_http(base: &str, datastream: &str, comparison: &mut Comparison) -> Result<(), VerifyError> {
    let name = percent_encoded(datastream);
    let mut limit = PAGE_ROWS;
    let mut from: Option<i64> = None;
    let mut seen: HashSet<String> = HashSet::new();
    loop {
        let mut url = format!(
            "{base}/api/v1/observations?datastream={name}&revisions=true&format=ndjson&limit={limit}"
        );
        if let Some(from) = from {
            url += &format!("&from={}", percent_encoded(&format_utc(from)));
        }
        let Some(mut answer) = get(&url)? else { return Ok(()) };
        if answer.fill_buf().map_err(RowsError::from)?.is_empty() {
            return Ok(());
        }
        let mut page: Vec<Row> = Vec::new();
        for row in read(answer)? {
            page.push(row?);
        }
        let last = page.iter().map(|row| row.time_us).max();
        let is_full = page.len() >= limit;
        let mut is_new = false;
        for row in page {
            let is_at_the_seam = Some(row.time_us) == from;
            if is_at_the_seam && seen.contains(&format!("{row:?}")) {
                continue;
            }
            is_new = true;
            comparison.row(&row);
            if Some(row.time_us) == last {
                if Some(row.time_us) != from {
                    from = last;
                    seen.clear();
                }
                seen.insert(format!("{row:?}"));
            }
        }
        if !is_full {
            return Ok(());
        }
        if !is_new {
            // More revisions at one time than fit into a page.
            limit *= 2;
        }
    }
}

fn rows_by_program(
    gateway: &Path,
    data_dir: &Path,
    datastream: &str,
    comparison: &mut Comparison,
) -> Result<(), VerifyError> {
    let failed = |error: String| RowsError::Source(format!("{} query: {error}", gateway.display()));
    let mut child = Command::new(gateway)
        .args(["query", "--revisions", "--format", "csv", "--datastream", datastream, "--data-dir"])
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
