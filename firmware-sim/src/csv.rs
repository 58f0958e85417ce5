//! Comma-separated text as in RFC 4180: quoted fields, doubled quotes, line breaks inside quotes.

use std::io::{self, BufRead};

/// Longest record that is taken; the bound on what a file that is no CSV can make a reader hold.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    #[error("reading failed: {0}")]
    Read(#[from] io::Error),
    #[error("line {0}: a quoted field is not closed, or has text behind its closing quote")]
    Quotes(u64),
    #[error("line {0}: longer than {RECORD_BYTES_MAX} bytes")]
    TooLong(u64),
    #[error("line {0}: not UTF-8")]
    NotUtf8(u64),
}

/// Reads records one by one.
#[derive(Debug)]
pub struct CsvReader<R> {
    input: R,
    raw: Vec<u8>,
    /// Line on which the latest record began, from 1, and the one after it.
    line: u64,
    next_line: u64,
}

impl<R: BufRead> CsvReader<R> {
    pub fn new(input: R) -> Self {
        Self { input, raw: Vec::new(), line: 0, next_line: 1 }
    }

    /// The line on which the latest record began, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next record; empty lines are passed over.
    pub fn record(&mut self) -> Result<Option<Vec<String>>, CsvError> {
        loop {
            self.raw.clear();
            self.line = self.next_line;
            // A record goes on while a quote is open.
            loop {
                let length = self.input.read_until(b'\n', &mut self.raw)?;
                if self.raw.len() > RECORD_BYTES_MAX {
                    return Err(CsvError::TooLong(self.line));
                }
                self.next_line += 1;
                let quotes = self.raw.iter().filter(|byte| **byte == b'"').count();
                if length == 0 || quotes % 2 == 0 {
                    break;
                }
            }
            if self.raw.is_empty() {
                return Ok(None);
            }
            while matches!(self.raw.last(), Some(b'\n' | b'\r')) {
                self.raw.pop();
            }
            if !self.raw.is_empty() {
                break;
            }
        }
        let text = std::str::from_utf8(&self.raw).map_err(|_| CsvError::NotUtf8(self.line))?;
        // Excel and its friends put a byte order mark in front of the first record.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        fields(text).map(Some).ok_or(CsvError::Quotes(self.line))
    }
}

fn fields(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = closing_quote(quoted)?;
            fields.push(quoted[..end].replace("\"\"", "\""));
            rest = &quoted[end + 1..];
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            fields.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

/// Where the quote that closes a field stands; two quotes in a row are one quote of the text.
fn closing_quote(quoted: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let quote = from + quoted[from..].find('"')?;
        if !quoted[quote + 1..].starts_with('"') {
            return Some(quote);
        }
        from = quote + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str) -> Vec<Vec<String>> {
        let mut reader = CsvReader::new(text.as_bytes());
        std::iter::from_fn(|| reader.record().expect("good")).collect()
    }

    #[test]
    fn quotes_commas_and_line_breaks() {
        assert_eq!(records("a,b,c\r\n1,,3\n"), [["a", "b", "c"], ["1", "", "3"]]);
        assert_eq!(records("\u{feff}\"a\",\"b,\"\"x\"\"\",c"), [["a", "b,\"x\"", "c"]]);
        assert_eq!(records("\"two\nlines\",x\n\n\ny,z\n"), [["two\nlines", "x"], ["y", "z"]]);
        assert_eq!(records("\"\",\"\"\n"), [["", ""]]);
        assert_eq!(records(""), Vec::<Vec<String>>::new());
    }

    #[test]
    fn damage_is_an_error_with_its_line() {
        for bad in ["a\n\"open\n", "a\n\"x\"y\n"] {
            let mut reader = CsvReader::new(bad.as_bytes());
            reader.record().expect("the first is good");
            assert_eq!(
                reader.record().expect_err("bad").to_string().split(':').next(),
                Some("line 2"),
                "{bad:?}"
            );
        }
    }
}
