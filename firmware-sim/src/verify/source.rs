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
                rows_by_http(base, &datastream, ANSWER_ROWS_MAX, &mut comparison)?;
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
fn rows_by_http(
    base: &str,
    datastream: &str,
    answer_rows_max: usize,
    comparison: &mut Comparison,
) -> Result<(), VerifyError> {
    let name = percent_encoded(datastream);
    let mut periods: Vec<(Option<i64>, Option<i64>)> = vec![(None, None)];
    while let Some((from, to)) = periods.pop() {
        let limit = answer_rows_max + 1;
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
        if rows.len() <= answer_rows_max {
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
                format!("{datastream} has more than {answer_rows_max} rows at {}", format_utc(middle));
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

    use crate::ledger::{Session, Writer};
    use std::io::Write;
    use std::net::TcpListener;

    /// Rows of one datastream at the given times, in epoch µs.
    const TIMES_US: [i64; 6] = [0, 0, 1_000_000, 2_000_000, 2_000_000, 3_000_000];

    fn parameter<'a>(request: &'a str, name: &str) -> Option<&'a str> {
        let line = request.lines().next()?.split(' ').nth(1)?;
        line.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Answers as the gateway would: settled at the second question, at most `limit` rows, `to` not included. Rows come
    /// newest first, because no order is promised.
    fn serve(listener: &TcpListener) {
        let mut questions = 0;
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let mut request = String::new();
            let mut input = BufReader::new(connection.try_clone().expect("a second handle"));
            while input.read_line(&mut request).is_ok_and(|bytes| bytes > 2) {}
            let time = |name| {
                let text = parameter(&request, name)?.replace("%3A", ":");
                crate::time::parse(&text)
            };
            let body = if request.contains("/api/v1/ledger") {
                questions += 1;
                format!(
                    r#"{{"messages":{{"pending":{}}},"observations":{{"unresolved":0}}}}"#,
                    2 - questions.min(2)
                )
            } else {
                let (from, to) = (time("from").unwrap_or(i64::MIN), time("to").unwrap_or(i64::MAX));
                let limit =
                    parameter(&request, "limit").and_then(|limit| limit.parse().ok()).expect("a limit");
                let rows = TIMES_US.iter().enumerate().filter(|(_, time_us)| (from..to).contains(*time_us));
                rows.rev().take(limit).map(|(number, time_us)| {
                    let time = format_utc(*time_us);
                    format!("{{\"datastream\":\"a/s/p\",\"phenomenon_time\":\"{time}\",\"result\":{number}}}\n")
                }).collect()
            };
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            connection.write_all((head + &body).as_bytes()).expect("answered");
        }
    }

    #[test]
    fn rows_come_by_http_whole_though_answers_are_short() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::spawn(move || serve(&listener));
        wait_until_settled(&base).expect("settled at the second question");

        let ledger =
            [Ok::<_, crate::ledger::LedgerError>(crate::ledger::Line::Session(Session::new("run", None)))];
        let mut comparison = Comparison::new(ledger).expect("a ledger");
        // Two rows at one time fit into an answer of two, so every half can be had.
        rows_by_http(&base, "a/s/p", 2, &mut comparison).expect("rows");
        assert_eq!(comparison.finish(Revisions::All).rows_of_other_stations, TIMES_US.len() as u64);

        let mut comparison =
            Comparison::new([Ok::<_, crate::ledger::LedgerError>(crate::ledger::Line::Resent(1))])
                .expect("a ledger");
        let error = rows_by_http(&base, "a/s/p", 1, &mut comparison).expect_err("two rows at one time");
        assert!(error.to_string().contains("more than 1 rows at 1970-01-01T00:00:0"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn rows_come_from_the_program_and_its_failure_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = directory.path().join("truth.ndjson");
        let mut writer = Writer::open(&ledger, &Session::new("run", None)).expect("opens");
        let mut sent = crate::ledger::Sent {
            sent: 0,
            client: "c".into(),
            packet: 1,
            topic: "obs/a/s".to_owned(),
            format: crate::ledger::Format::Json,
            qos: 1,
            kind: crate::ledger::Kind::Reading,
            time_us: Some(0),
            seq: None,
            readings: vec![crate::message::Reading::text("state", "on")],
        };
        writer.sent(&mut sent).expect("written");
        writer.acked(1).expect("written");
        drop(writer);
        let gateway = directory.path().join("gateway");
        let source = Source::Program { gateway: gateway.clone(), data_dir: directory.path().to_owned() };
        let program = |text: &str| {
            std::fs::write(&gateway, text).expect("written");
            std::fs::set_permissions(&gateway, std::fs::Permissions::from_mode(0o755)).expect("executable");
            verify_files(&ledger, &source, Revisions::All)
        };
        let script = "#!/bin/sh\n\
            echo datastream,phenomenon_time,kind,result,unit,period_s,status,revision,seq\n\
            [ \"$6\" = a ] && echo a/s/state,1970-01-01T00:00:00Z,text,on,,,,0,\n";
        let report = program(script).expect("compared");
        assert!(report.is_clean() && report.rows_compared == 1, "{report}");
        let error = program(&format!("{script}exit 3\n")).expect_err("the failure counts");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn names_with_qualifiers_go_into_a_query_string() {
        assert_eq!(percent_encoded("a/b/flow;class=car"), "a%2Fb%2Fflow%3Bclass%3Dcar");
        assert_eq!(percent_encoded("µ"), "%C2%B5");
    }
}
