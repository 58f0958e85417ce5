//! The ledger against the rows of a store: is every acknowledged reading there, once, as it was sent?
//!
//! What counts as right follows the gateway's contract (`design.md` §4.2):
//! - A dated reading has the key (datastream, period, time). Each different content (value, unit, status) that was sent under
//!   a key is one revision, repetitions are none. The latest new content is in force, the earlier ones stay findable.
//! - An undated reading with a sequence number is one row, however often it was sent; without one it is a row per sending.
//! - A number is expected in the catalogue's unit where the sent unit converts to it, and then bit for bit.
//! - What was sent and never acknowledged may be there, once, or not.
//! - Garbage is expected in quarantine, that is: not among the rows; the same holds for readings of a clock that is years off.
//!
//! Memory: about 200 bytes per reading of the ledger while it is loaded; rows are looked at one by one. One message must not
//! carry the same property twice at one time.

mod expected;
mod report;
pub mod rows;
pub mod source;

use std::collections::HashMap;

use expected::{Content, Expected, Outcome, number_bits};
pub use report::{EXAMPLES_MAX, Finding, Report};
pub use rows::{Row, RowsError};

use crate::ledger::{LedgerError, Line};
use crate::message::Value;
use crate::time::format_utc;

/// Which revisions the rows show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Revisions {
    /// All of them.
    All,
    /// Those in force only.
    InForce,
    /// To be told from the rows: with corrections among them, but never two revisions of one key, they are those in force.
    #[default]
    Unknown,
}

/// Why no comparison was possible.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Rows(#[from] RowsError),
    #[error("the ledger is damaged: message {0} is out of turn")]
    NumbersNotDense(u64),
    #[error("the ledger is damaged: message {0} was acknowledged before it was sent")]
    AckWithoutSend(u64),
}

/// (series, time in epoch µs).
type Key = (u32, i64);
/// A revision number and the index of the content that the row held; `None` where it held none that was sent.
type SeenRevision = (u32, Option<usize>);

/// A ledger that was read, ready to be compared.
#[derive(Debug)]
pub struct Comparison {
    expected: Expected,
    report: Report,
    /// Of keys with several contents, and of rows that fit none: revisions and what they hold.
    seen: HashMap<Key, Vec<SeenRevision>>,
    /// Undated rows without sequence number that fit nothing, per series.
    unmatched: HashMap<u32, Vec<String>>,
    /// Some row is a correction; some key has more than one revision.
    has_corrections: bool,
    has_history: bool,
}

/// Compares a ledger with rows.
pub fn verify<L, R>(
    ledger: impl IntoIterator<Item = Result<Line, L>>,
    rows: impl IntoIterator<Item = Result<Row, R>>,
    revisions: Revisions,
) -> Result<Report, VerifyError>
where
    VerifyError: From<L> + From<R>,
{
    let mut comparison = Comparison::new(ledger)?;
    for row in rows {
        comparison.row(&row?);
    }
    Ok(comparison.finish(revisions))
}

impl Comparison {
    /// Reads the ledger.
    pub fn new<L>(ledger: impl IntoIterator<Item = Result<Line, L>>) -> Result<Self, VerifyError>
    where
        VerifyError: From<L>,
    {
        let expected = Expected::load(ledger)?;
        let report = Report {
            messages_sent: expected.messages.len() as u64,
            messages_acked: expected.messages.iter().filter(|message| message.acked).count() as u64,
            messages_garbage: expected.messages_garbage,
            readings_sent: expected.readings_sent,
            readings_acked: expected.readings_acked,
            rows_required: expected.dated.iter().filter(|dated| dated.acked).count() as u64
                + expected.undated.values().map(|undated| u64::from(undated.rows_min)).sum::<u64>(),
            ..Report::default()
        };
        Ok(Self {
            expected,
            report,
            seen: HashMap::new(),
            unmatched: HashMap::new(),
            has_corrections: false,
            has_history: false,
        })
    }

    /// Names of the datastreams that the ledger has readings of.
    pub fn datastreams(&self) -> Vec<String> {
        self.expected.datastreams()
    }

    /// Takes one row of the store, in any order.
    pub fn row(&mut self, row: &Row) {
        let station_end = row.datastream.match_indices('/').nth(1).map_or(row.datastream.len(), |(at, _)| at);
        if !self.expected.stations.contains(&row.datastream[..station_end]) {
            self.report.rows_of_other_stations += 1;
            return;
        }
        self.report.rows_compared += 1;
        self.has_corrections |= row.revision > 0;
        let Some(series) = self.expected.find_series(&row.datastream, row.period_s) else {
            self.report.unexpected.add(|| format!("{row}: nothing of this datastream and period was sent"));
            return;
        };
        let key = self.expected.key(series, row.time_us);
        if key.is_empty() {
            self.undated_row(series, row);
        } else {
            self.dated_row(key, row);
        }
    }

    fn dated_row(&mut self, key: std::ops::Range<usize>, row: &Row) {
        let first = &self.expected.dated[key.start];
        let place = (first.series, first.time_us);
        let found = key.clone().find(|index| {
            let dated = &self.expected.dated[*index];
            self.is_content(row, dated.content, dated.sent_unit)
        });
        let Some(found) = found else {
            let sent = self.describe_dated(key.end - 1);
            self.report.altered.add(|| format!("{row}: sent was {sent}"));
            self.seen.entry(place).or_default().push((row.revision, None));
            return;
        };
        let seq_plus_1 = row.seq.map_or(0, |seq| seq.saturating_add(1));
        let is_seq_known = self.expected.dated[found].seq_plus_1 == seq_plus_1
            || self.expected.later_seqs.get(&(found as u32)).is_some_and(|seqs| seqs.contains(&seq_plus_1));
        if !is_seq_known {
            let sent = self.describe_dated(found);
            self.report.altered.add(|| format!("{row}: the sequence number differs, sent was {sent}"));
        }
        let dated = &mut self.expected.dated[found];
        dated.rows += 1;
        if dated.rows > 1 {
            let rows = dated.rows;
            self.report.doubled.add(|| format!("{row}: the same reading for the {rows}. time"));
        } else if !dated.acked {
            self.report.rows_unacked += 1;
        }
        if key.len() > 1 {
            let seen = self.seen.entry(place).or_default();
            if seen.iter().any(|(revision, index)| *revision == row.revision && *index != Some(found)) {
                self.report.doubled.add(|| format!("{row}: a second row with this revision"));
            }
            seen.push((row.revision, Some(found)));
            self.has_history |= seen.len() > 1;
        }
    }

    fn undated_row(&mut self, series: u32, row: &Row) {
        let seq_plus_1 = row.seq.map_or(0, |seq| seq.saturating_add(1));
        let key = self.undated_content(row).map(|content| (series, seq_plus_1, content));
        let found = key.filter(|(_, _, content)| {
            let undated = key.and_then(|key| self.expected.undated.get(&key));
            undated.is_some_and(|undated| {
                self.is_content(row, Content { unit: undated.unit, ..*content }, undated.sent_unit)
            })
        });
        if let Some(undated) = found.and_then(|key| self.expected.undated.get_mut(&key)) {
            undated.rows += 1;
            if undated.rows > undated.rows_max {
                self.report.doubled.add(|| format!("{row}: the same undated reading once more"));
            } else if undated.rows > undated.rows_min {
                self.report.rows_unacked += 1;
            }
        } else if seq_plus_1 != 0 && self.expected.undated_seqs.contains(&(series, seq_plus_1)) {
            self.report.altered.add(|| format!("{row}: another value was sent with this sequence number"));
            self.unmatched.entry(series).or_default().push(String::new());
        } else {
            self.unmatched.entry(series).or_default().push(row.to_string());
        }
    }

    /// A row's content as a key among the undated ones, or `None` where no such text was ever sent.
    fn undated_content(&self, row: &Row) -> Option<Content> {
        let texts = &self.expected.texts;
        let result = match &row.value {
            Value::Number(number) => Outcome::Number(number_bits(*number)),
            Value::Boolean(boolean) => Outcome::Boolean(*boolean),
            Value::Text(text) => Outcome::Text(texts.find(text)?),
            Value::Null => Outcome::Null,
        };
        Some(Content { result, unit: 0, status: texts.find(&row.status)? })
    }

    /// Is the row what was sent? The unit of a number must be the canonical one, or the sent one where both are the same
    /// number, or none where none was sent; results without unit may carry any of these.
    fn is_content(&self, row: &Row, content: Content, sent_unit: u32) -> bool {
        let texts = &self.expected.texts;
        let is_result = match (&row.value, content.result) {
            (Value::Number(number), Outcome::Number(bits)) => number_bits(*number) == bits,
            (Value::Boolean(boolean), Outcome::Boolean(sent)) => *boolean == sent,
            (Value::Text(text), Outcome::Text(sent)) => text == texts.text(sent),
            (Value::Null, Outcome::Null) => true,
            _ => false,
        };
        let is_unit = if matches!(row.value, Value::Number(_)) {
            let unit = row.unit.as_str();
            unit == texts.text(content.unit) || unit == texts.text(sent_unit)
        } else {
            true
        };
        is_result && is_unit && row.status == texts.text(content.status)
    }

    fn describe_dated(&self, index: usize) -> String {
        let dated = &self.expected.dated[index];
        self.describe(dated.content, dated.seq_plus_1, dated.message)
    }

    fn describe(&self, content: Content, seq_plus_1: u64, message: u32) -> String {
        let texts = &self.expected.texts;
        let value = match content.result {
            Outcome::Number(bits) => Value::Number(f64::from_bits(bits)),
            Outcome::Boolean(boolean) => Value::Boolean(boolean),
            Outcome::Text(text) => Value::Text(texts.text(text).to_owned()),
            Outcome::Null => Value::Null,
        };
        let mut out = value.to_string();
        for (name, text) in [("", texts.text(content.unit)), ("status ", texts.text(content.status))] {
            if !text.is_empty() {
                out += &format!(" {name}{text}");
            }
        }
        if let Some(seq) = seq_plus_1.checked_sub(1) {
            out += &format!(" seq {seq}");
        }
        let message = &self.expected.messages[message as usize];
        let fate = if message.acked { "acked" } else { "not acked" };
        out + &format!(" (message {} of session {}, {fate})", message.number, message.session)
    }

    /// All rows were seen.
    pub fn finish(mut self, revisions: Revisions) -> Report {
        let is_in_force_only = match revisions {
            Revisions::All => false,
            Revisions::InForce => true,
            Revisions::Unknown => self.has_corrections && !self.has_history,
        };
        self.report.only_in_force = is_in_force_only;
        let mut start = 0;
        while start < self.expected.dated.len() {
            let first = &self.expected.dated[start];
            let key = self.expected.key(first.series, first.time_us);
            self.finish_key(key.clone(), is_in_force_only);
            start = key.end;
        }
        self.finish_undated();
        self.report
    }

    fn finish_key(&mut self, key: std::ops::Range<usize>, is_in_force_only: bool) {
        let dated = &self.expected.dated;
        let (series, time_us) = (dated[key.start].series, dated[key.start].time_us);
        let seen = self.seen.get(&(series, time_us)).map_or(&[][..], Vec::as_slice);
        let altered = seen.iter().filter(|(_, index)| index.is_none()).count();
        let is_missing = |index: &usize| dated[*index].acked && dated[*index].rows == 0;
        // A row that was altered is not also lost.
        let lost: Vec<usize> = if is_in_force_only {
            let is_there = altered > 0 || key.clone().any(|index| dated[index].rows > 0);
            key.clone().rev().filter(|_| !is_there).find(is_missing).into_iter().collect()
        } else {
            key.clone().filter(is_missing).skip(altered).collect()
        };
        let where_ = format!("{} at {}", self.expected.series_name(series), format_utc(time_us));
        for index in lost {
            let sent = self.describe_dated(index);
            self.report.lost.add(|| format!("{where_}: {sent}"));
        }
        // Which content is in force, and does one that was certainly stored later rank below it?
        let in_force = seen.iter().max_by_key(|(revision, _)| *revision).and_then(|(_, index)| *index);
        if let Some(in_force) = in_force
            && dated[in_force].first_acked
        {
            let is_stored =
                |index: &usize| dated[*index].rows > 0 || (is_in_force_only && dated[*index].acked);
            if let Some(later) = (in_force + 1..key.end).rev().find(is_stored) {
                let (found, sent) = (self.describe_dated(in_force), self.describe_dated(later));
                self.report.altered.add(|| format!("{where_}: in force is {found}, sent later was {sent}"));
            }
        }
    }

    fn finish_undated(&mut self) {
        let undated = std::mem::take(&mut self.expected.undated);
        let mut missing: Vec<_> =
            undated.iter().filter(|(_, undated)| undated.rows < undated.rows_min).collect();
        missing.sort_by_key(|(_, undated)| undated.message);
        for ((series, seq_plus_1, content), undated) in missing {
            let unmatched = self.unmatched.get_mut(series);
            let mut others = unmatched.map(std::mem::take).unwrap_or_default();
            for _ in undated.rows..undated.rows_min {
                let content = Content { unit: undated.unit, ..*content };
                let sent = self.describe(content, *seq_plus_1, undated.message);
                match others.pop() {
                    // A row that fits nothing stands where one is missing: that one was altered (and told already, where
                    // its sequence number gave it away).
                    Some(row) if row.is_empty() => {}
                    Some(row) => self.report.altered.add(|| format!("{row}: sent was {sent}")),
                    None => {
                        let name = self.expected.series_name(*series).to_owned();
                        self.report.lost.add(|| format!("{name} undated: {sent}"));
                    }
                }
            }
            self.unmatched.insert(*series, others);
        }
        for row in self.unmatched.values().flatten().filter(|row| !row.is_empty()) {
            self.report.unexpected.add(|| format!("{row}: was never sent"));
        }
    }
}

#[cfg(test)]
mod tests;
