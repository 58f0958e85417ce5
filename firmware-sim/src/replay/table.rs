//! What all recorded tables have in common: a header, records, and fields found by the name of their column.

use jiff::civil::{Date, DateTime};

use crate::csv::CsvReader;
use crate::message::Value;

/// Why a recorded file could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct FormatError {
    pub line: u64,
    pub reason: String,
}

/// One record of a table with its header.
pub(super) struct Record<'a> {
    header: &'a [String],
    fields: &'a [String],
    line: u64,
}

impl<'a> Record<'a> {
    /// The field below this column; an empty one where the column is missing.
    pub(super) fn text(&self, column: &str) -> &'a str {
        let index = self.header.iter().position(|name| name.trim() == column);
        index.and_then(|index| self.fields.get(index)).map_or("", |field| field.trim())
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> FormatError {
        FormatError { line: self.line, reason: reason.into() }
    }

    /// A measured value: the number, or null where the field says that there is none.
    pub(super) fn value(&self, column: &str) -> Result<Value, FormatError> {
        let text = self.text(column);
        match text {
            "" | "NA" | "N/A" | "MM" | "NaN" | "nan" => Ok(Value::Null),
            _ => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Number(number)),
                _ => Err(self.error(format!("`{text}` in column {column} is no number"))),
            },
        }
    }

    pub(super) fn whole<T: std::str::FromStr>(&self, column: &str) -> Result<T, FormatError> {
        let text = self.text(column);
        text.parse()
            .map_err(|_| self.error(format!("`{text}` in column {column} is no whole number of its range")))
    }

    /// A wall-clock hour from columns of its own.
    pub(super) fn hour(&self, columns: [&str; 4]) -> Result<DateTime, FormatError> {
        let [year, month, day, hour] = columns;
        let date = Date::new(self.whole(year)?, self.whole(month)?, self.whole(day)?);
        let hour: i8 = self.whole(hour)?;
        let date = date.map_err(|error| self.error(error.to_string()))?;
        jiff::civil::Time::new(hour, 0, 0, 0)
            .map(|time| date.to_datetime(time))
            .map_err(|error| self.error(error.to_string()))
    }

    /// `2012-10-02 09:00:00`.
    pub(super) fn wall_time(&self, column: &str) -> Result<DateTime, FormatError> {
        let text = self.text(column);
        text.parse().map_err(|_| self.error(format!("`{text}` in column {column} is no date and time")))
    }

    /// RFC 3339, or the same with a space instead of the T.
    pub(super) fn instant(&self, column: &str) -> Result<i64, FormatError> {
        let text = self.text(column);
        crate::time::parse(text)
            .ok_or_else(|| self.error(format!("`{text}` in column {column} is no date and time with a zone")))
    }
}

/// Calls `each` for every record below the header.
pub(super) fn each_record(
    text: &str,
    mut each: impl FnMut(&Record<'_>) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let mut reader = CsvReader::new(text.as_bytes());
    let mut next = || -> Result<(Option<Vec<String>>, u64), FormatError> {
        let record = reader.record();
        let line = reader.line();
        record.map(|record| (record, line)).map_err(|error| FormatError { line, reason: error.to_string() })
    };
    let Some(header) = next()?.0 else { return Ok(()) };
    while let (Some(fields), line) = next()? {
        if fields.len() != header.len() {
            let reason = format!("{} fields below a header of {}", fields.len(), header.len());
            return Err(FormatError { line, reason });
        }
        each(&Record { header: &header, fields: &fields, line })?;
    }
    Ok(())
}
