//! Rows of the store as the gateway gives them: CSV or NDJSON with the columns of its contract.

use std::fmt;
use std::io::{self, BufRead};

use serde::Deserialize;

use crate::csv::{CsvError, CsvReader};
use crate::message::Value;
use crate::time;

/// Longest NDJSON line that is taken.
const LINE_BYTES_MAX: usize = 1 << 20;

/// One row, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `{agency}/{station}/{property}`.
    pub datastream: String,
    /// Epoch µs.
    pub time_us: i64,
    pub value: Value,
    /// Empty = none, also for the status.
    pub unit: String,
    pub status: String,
    /// 0 = none.
    pub period_s: u32,
    /// 0 = as first stored.
    pub revision: u32,
    pub seq: Option<u64>,
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { datastream, value, unit, status, revision, .. } = self;
        write!(formatter, "{datastream} at {}: {value}", time::format_utc(self.time_us))?;
        for (name, text) in [("", unit), ("status ", status)] {
            if !text.is_empty() {
                write!(formatter, " {name}{text}")?;
            }
        }
        if let Some(seq) = self.seq {
            write!(formatter, " seq {seq}")?;
        }
        if *revision > 0 { write!(formatter, " revision {revision}") } else { Ok(()) }
    }
}

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error("the rows cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("the rows are no CSV: {0}")]
    Csv(#[from] CsvError),
    #[error(
        "the rows have no column `{0}`; expected is the output of `sensor-gateway query --revisions --format csv`"
    )]
    NoColumn(&'static str),
    #[error("line {line} of the rows: {reason}")]
    BadRow { line: u64, reason: String },
    #[error("{0}")]
    Source(String),
}

/// Reads CSV or NDJSON, whichever it is.
pub fn read<'a>(
    mut input: impl BufRead + 'a,
) -> Result<Box<dyn Iterator<Item = Result<Row, RowsError>> + 'a>, RowsError> {
    let is_json = input.fill_buf()?.first() == Some(&b'{');
    Ok(if is_json { Box::new(Ndjson { input, line: 0 }) } else { Box::new(CsvRows::new(input)?) })
}

struct CsvRows<R> {
    reader: CsvReader<R>,
    /// Where each of [`COLUMNS`] stands; an empty file has none.
    columns: [usize; COLUMNS.len()],
}

const COLUMNS: [&str; 9] =
    ["datastream", "phenomenon_time", "kind", "result", "unit", "period_s", "status", "revision", "seq"];

impl<R: BufRead> CsvRows<R> {
    fn new(input: R) -> Result<Self, RowsError> {
        let mut reader = CsvReader::new(input);
        let mut columns = [0; COLUMNS.len()];
        let header = reader.record()?.ok_or(RowsError::NoColumn(COLUMNS[0]))?;
        for (index, name) in COLUMNS.into_iter().enumerate() {
            let at = header.iter().position(|column| column == name);
            columns[index] = at.ok_or(RowsError::NoColumn(name))?;
        }
        Ok(Self { reader, columns })
    }

    fn row(&mut self) -> Result<Option<Row>, RowsError> {
        let Some(mut fields) = self.reader.record()? else { return Ok(None) };
        let line = self.reader.line();
        let mut take =
            |index: usize| fields.get_mut(self.columns[index]).map(std::mem::take).unwrap_or_default();
        let [datastream, time, kind, result, unit, period_s, status, revision, seq] =
            std::array::from_fn(&mut take);
        let parts = Parts { datastream, time, kind, result, unit, period_s, status, revision, seq };
        parts.into_row().map(Some).map_err(|reason| RowsError::BadRow { line, reason })
    }
}

impl<R: BufRead> Iterator for CsvRows<R> {
    type Item = Result<Row, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row().transpose()
    }
}

struct Parts {
    datastream: String,
    time: String,
    kind: String,
    result: String,
    unit: String,
    period_s: String,
    status: String,
    revision: String,
    seq: String,
}

impl Parts {
    fn into_row(self) -> Result<Row, String> {
        let value = match self.kind.as_str() {
            "number" => {
                Value::Number(self.result.parse().map_err(|_| format!("`{}` is no number", self.result))?)
            }
            "boolean" => {
                Value::Boolean(self.result.parse().map_err(|_| format!("`{}` is no boolean", self.result))?)
            }
            "text" => Value::Text(self.result),
            "null" => Value::Null,
            other => return Err(format!("`{other}` is no kind of result")),
        };
        Ok(Row {
            time_us: time::parse(&self.time).ok_or_else(|| format!("`{}` is no time", self.time))?,
            value,
            period_s: whole(&self.period_s)?.unwrap_or(0),
            revision: whole(&self.revision)?.unwrap_or(0),
            seq: whole(&self.seq)?,
            datastream: self.datastream,
            unit: self.unit,
            status: self.status,
        })
    }
}

fn whole<T: std::str::FromStr>(text: &str) -> Result<Option<T>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| format!("`{text}` is no whole number"))
}

#[derive(Deserialize)]
struct JsonRow {
    datastream: String,
    #[serde(alias = "phenomenonTime")]
    phenomenon_time: String,
    #[serde(default)]
    kind: Option<String>,
    result: Value,
    #[serde(default)]
    unit: Option<String>,
    #[serde(default)]
    period_s: Option<u32>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    revision: Option<u32>,
    #[serde(default)]
    seq: Option<u64>,
}

struct Ndjson<R> {
    input: R,
    line: u64,
}

impl<R: BufRead> Ndjson<R> {
    fn row(&mut self) -> Result<Option<Row>, RowsError> {
        let mut text = Vec::new();
        self.line += 1;
        let limit = LINE_BYTES_MAX as u64 + 1;
        if io::Read::take(&mut self.input, limit).read_until(b'\n', &mut text)? == 0 {
            return Ok(None);
        }
        let bad = |reason: String| RowsError::BadRow { line: self.line, reason };
        if text.len() > LINE_BYTES_MAX {
            return Err(bad(format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        let row: JsonRow = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        let value = row.result;
        let kind = match &value {
            Value::Number(_) => "number",
            Value::Boolean(_) => "boolean",
            Value::Text(_) => "text",
            Value::Null => "null",
        };
        if let Some(stated) = row.kind.filter(|stated| stated != kind) {
            return Err(bad(format!("the kind is `{stated}`, the result a {kind}")));
        }
        Ok(Some(Row {
            time_us: time::parse(&row.phenomenon_time)
                .ok_or_else(|| bad(format!("`{}` is no time", row.phenomenon_time)))?,
            datastream: row.datastream,
            value,
            unit: row.unit.unwrap_or_default(),
            status: row.status.unwrap_or_default(),
            period_s: row.period_s.unwrap_or(0),
            revision: row.revision.unwrap_or(0),
            seq: row.seq,
        }))
    }
}

impl<R: BufRead> Iterator for Ndjson<R> {
    type Item = Result<Row, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Row> {
        let rows = read(text.as_bytes()).expect("a known form");
        rows.collect::<Result<_, _>>().expect("good rows")
    }

    fn row(value: Value, status: &str, seq: Option<u64>) -> Row {
        Row {
            datastream: "H24.05/KHI003/pm2_5".to_owned(),
            time_us: time::parse("2026-11-21T01:05:00Z").expect("good"),
            value,
            unit: "ug/m3".to_owned(),
            status: status.to_owned(),
            period_s: 0,
            revision: 0,
            seq,
        }
    }

    #[test]
    fn csv_and_ndjson_say_the_same() {
        let csv = "datastream,phenomenon_time,result_time,kind,result,unit,period_s,quality,status,revision,seq,position\n\
            H24.05/KHI003/pm2_5,2026-11-21T01:05:00Z,2026-11-21T01:05:01Z,number,38.4,ug/m3,,1,,0,1042,7\n\
            H24.05/KHI003/pm2_5,2026-11-21T01:05:00Z,2026-11-21T01:05:01Z,text,\"a,\"\"b\"\"\",ug/m3,0,1,02,,,7\n\
            H24.05/KHI003/pm2_5,2026-11-21T01:05:00Z,2026-11-21T01:05:01Z,null,,ug/m3,0,9,02,,,7\n";
        let head =
            r#"{"datastream":"H24.05/KHI003/pm2_5","phenomenon_time":"2026-11-21T01:05:00Z","unit":"ug/m3","#;
        let ndjson = format!(
            "{head}\"kind\":\"number\",\"result\":38.4,\"seq\":1042}}\n{head}\"result\":\"a,\\\"b\\\"\",\"status\":\"02\"}}\n\
             {head}\"result\":null,\"status\":\"02\",\"seq\":null}}\n"
        );
        let expected = [
            row(Value::Number(38.4), "", Some(1042)),
            row(Value::Text("a,\"b\"".to_owned()), "02", None),
            row(Value::Null, "02", None),
        ];
        assert_eq!(rows(csv), expected);
        assert_eq!(rows(&ndjson), expected);
    }

    #[test]
    fn what_is_no_output_of_query_is_refused() {
        let error = read(&b"a,b,c\n1,2,3\n"[..]).err().expect("refused");
        assert!(error.to_string().contains("`datastream`"), "{error}");
        assert!(read(&b""[..]).is_err());
    }
}
