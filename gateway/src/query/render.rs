//! Rows of observations as CSV, JSON, NDJSON or a table.

use std::fmt::Write as _;
use std::io::{self, Write};

use codecs::payload::Value;
use codecs::time::write_rfc3339;

use super::{Format, ObservationRow};
use crate::observation::ResultKind;

/// The columns of the outside contract, in their order.
pub const COLUMNS: [&str; 12] = [
    "datastream",
    "phenomenon_time",
    "result_time",
    "kind",
    "result",
    "unit",
    "period_s",
    "quality",
    "status",
    "revision",
    "seq",
    "position",
];

/// Rows of a table that are held back to measure how wide its columns are.
const TABLE_ROWS_MEASURED: usize = 1_000;

/// Writes rows one by one; memory does not grow with their number.
pub struct RowWriter<'a> {
    format: Format,
    out: &'a mut dyn Write,
    rows: u64,
    line: String,
    table: CellTable,
}

impl std::fmt::Debug for RowWriter<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RowWriter").field("format", &self.format).field("rows", &self.rows).finish()
    }
}

impl<'a> RowWriter<'a> {
    pub fn new(format: Format, out: &'a mut dyn Write) -> Self {
        Self { format, out, rows: 0, line: String::new(), table: CellTable::new(&COLUMNS) }
    }

    pub fn row(&mut self, row: &ObservationRow<'_>) -> io::Result<()> {
        self.line.clear();
        match self.format {
            Format::Csv => {
                if self.rows == 0 {
                    self.line.push_str(&COLUMNS.join(","));
                    self.line.push('\n');
                }
                push_csv(&mut self.line, row);
                self.line.push('\n');
            }
            Format::Json => {
                self.line.push_str(if self.rows == 0 { "[" } else { ",\n" });
                push_json(&mut self.line, row);
            }
            Format::Ndjson => {
                push_json(&mut self.line, row);
                self.line.push('\n');
            }
            Format::Table => {
                self.rows += 1;
                return self.table.row(table_cells(row), self.out);
            }
        }
        self.rows += 1;
        self.out.write_all(self.line.as_bytes())
    }

    /// Ends the answer; one without rows is whole too.
    pub fn finish(mut self) -> io::Result<()> {
        match self.format {
            Format::Csv if self.rows == 0 => writeln!(self.out, "{}", COLUMNS.join(",")),
            Format::Csv | Format::Ndjson => Ok(()),
            Format::Json if self.rows == 0 => self.out.write_all(b"[]\n"),
            Format::Json => self.out.write_all(b"]\n"),
            Format::Table => self.table.finish(self.out),
        }
    }
}

/// Appends the shortest text that reads back as the same number, without a fraction where it has none: `38.4`, `38`,
/// `1e300`, `-0.0`.
pub fn write_number(number: f64, out: &mut String) {
    let start = out.len();
    // Writing to a String can't fail, here and below.
    let _ = write!(out, "{number:?}");
    if out.ends_with(".0") && &out[start..] != "-0.0" {
        out.truncate(out.len() - 2);
    }
}

fn kind(value: &Value<'_>) -> ResultKind {
    match value {
        Value::Number(_) => ResultKind::Number,
        Value::Boolean(_) => ResultKind::Boolean,
        Value::Text(_) => ResultKind::Text,
        Value::Null => ResultKind::Null,
    }
}

fn push_csv(line: &mut String, row: &ObservationRow<'_>) {
    push_csv_text(line, row.datastream);
    line.push(',');
    write_rfc3339(row.phenomenon_time_us, line);
    line.push(',');
    write_rfc3339(row.result_time_us, line);
    let _ = write!(line, ",{},", kind(&row.result).as_str());
    match row.result {
        Value::Number(number) => write_number(number, line),
        Value::Boolean(boolean) => line.push_str(if boolean { "true" } else { "false" }),
        Value::Text("") => line.push_str("\"\""),
        Value::Text(text) => push_csv_text(line, text),
        Value::Null => {}
    }
    line.push(',');
    push_csv_text(line, row.unit.unwrap_or_default());
    line.push(',');
    push_optional(line, row.period_s, "");
    let _ = write!(line, ",{},", row.quality);
    push_csv_text(line, row.status.unwrap_or_default());
    let _ = write!(line, ",{},", row.revision);
    push_optional(line, row.seq, "");
    let _ = write!(line, ",{}", row.position);
}

fn push_json(line: &mut String, row: &ObservationRow<'_>) {
    line.push_str("{\"datastream\":");
    push_json_text(line, row.datastream);
    line.push_str(",\"phenomenon_time\":\"");
    write_rfc3339(row.phenomenon_time_us, line);
    line.push_str("\",\"result_time\":\"");
    write_rfc3339(row.result_time_us, line);
    let _ = write!(line, "\",\"kind\":\"{}\",\"result\":", kind(&row.result).as_str());
    match row.result {
        Value::Number(number) => write_number(number, line),
        Value::Boolean(boolean) => line.push_str(if boolean { "true" } else { "false" }),
        Value::Text(text) => push_json_text(line, text),
        Value::Null => line.push_str("null"),
    }
    line.push_str(",\"unit\":");
    push_json_optional(line, row.unit);
    line.push_str(",\"period_s\":");
    push_optional(line, row.period_s, "null");
    let _ = write!(line, ",\"quality\":{},\"status\":", row.quality);
    push_json_optional(line, row.status);
    let _ = write!(line, ",\"revision\":{},\"seq\":", row.revision);
    push_optional(line, row.seq, "null");
    let _ = write!(line, ",\"position\":{}}}", row.position);
}

fn table_cells(row: &ObservationRow<'_>) -> Vec<String> {
    let mut result = String::new();
    match row.result {
        Value::Number(number) => write_number(number, &mut result),
        Value::Boolean(boolean) => result.push_str(if boolean { "true" } else { "false" }),
        Value::Text(text) => result = printable(text),
        Value::Null => {}
    }
    vec![
        printable(row.datastream),
        codecs::time::format_rfc3339(row.phenomenon_time_us),
        codecs::time::format_rfc3339(row.result_time_us),
        kind(&row.result).as_str().to_owned(),
        result,
        printable(row.unit.unwrap_or_default()),
        row.period_s.map_or(String::new(), |period| period.to_string()),
        row.quality.to_string(),
        printable(row.status.unwrap_or_default()),
        row.revision.to_string(),
        row.seq.map_or(String::new(), |seq| seq.to_string()),
        row.position.to_string(),
    ]
}

fn push_optional(line: &mut String, value: Option<impl std::fmt::Display>, absent: &str) {
    match value {
        Some(value) => {
            let _ = write!(line, "{value}");
        }
        None => line.push_str(absent),
    }
}

fn push_json_text(line: &mut String, text: &str) {
    // A string always serialises.
    line.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn push_json_optional(line: &mut String, text: Option<&str>) {
    match text {
        Some(text) => push_json_text(line, text),
        None => line.push_str("null"),
    }
}

/// Quoted where RFC 4180 or a reader that trims blanks asks for it.
fn push_csv_text(line: &mut String, text: &str) {
    let plain = !text.contains(['"', ',', '\n', '\r']) && text.trim().len() == text.len();
    if plain {
        line.push_str(text);
    } else {
        line.push('"');
        line.push_str(&text.replace('"', "\"\""));
        line.push('"');
    }
}

/// One CSV line of texts.
pub(super) fn write_csv_line(cells: &[String], out: &mut dyn Write) -> io::Result<()> {
    let mut line = String::new();
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        push_csv_text(&mut line, cell);
    }
    line.push('\n');
    out.write_all(line.as_bytes())
}

/// For a terminal: control characters, which a device may have sent, are written as escapes.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// A table whose columns are as wide as its first rows need; the rest streams through.
#[derive(Debug)]
pub(super) struct CellTable {
    widths: Vec<usize>,
    /// Header and rows that are held back; empty once the widths are fixed.
    held: Vec<Vec<String>>,
    fixed: bool,
}

impl CellTable {
    pub(super) fn new(columns: &[&str]) -> Self {
        let header: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { widths: vec![0; columns.len()], held: vec![header], fixed: false }
    }

    pub(super) fn row(&mut self, cells: Vec<String>, out: &mut dyn Write) -> io::Result<()> {
        if self.fixed {
            return self.write_line(&cells, out);
        }
        self.held.push(cells);
        if self.held.len() > TABLE_ROWS_MEASURED { self.release(out) } else { Ok(()) }
    }

    pub(super) fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.fixed { Ok(()) } else { self.release(out) }
    }

    fn release(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.fixed = true;
        for cells in &self.held {
            for (width, cell) in self.widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let held = std::mem::take(&mut self.held);
        held.iter().try_for_each(|cells| self.write_line(cells, out))
    }

    fn write_line(&self, cells: &[String], out: &mut dyn Write) -> io::Result<()> {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&self.widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        out.write_all(line.as_bytes())
    }
}
