//! What a store must hold, told from the ledger alone.

use std::collections::{HashMap, HashSet};

use codecs::{property_catalogue, units};

use super::VerifyError;
use crate::ledger::{Kind, Line, Sent};
use crate::message::{Reading, Value};

/// Texts as numbers; 0 is the empty text.
#[derive(Debug)]
pub(super) struct Texts {
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { texts: vec!["".into()], numbers: HashMap::from([("".into(), 0)]) }
    }
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        // The bound is memory: every text is in the ledger, and four thousand million do not fit into one.
        let number = self.texts.len() as u32;
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    pub(super) fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}

/// A result as it is compared: numbers bit for bit, except that there is one zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Number(u64),
    Boolean(bool),
    Text(u32),
    Null,
}

pub(super) fn number_bits(number: f64) -> u64 {
    if number == 0.0 { 0 } else { number.to_bits() }
}

/// What makes two readings under one key the same: a gateway must take the second for a duplicate of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) result: Outcome,
    /// Canonical; 0 for results that are no numbers.
    pub(super) unit: u32,
    pub(super) status: u32,
}

/// One content under a key that was sent with a time; all those of a key lie side by side, in the order of sending.
#[derive(Debug)]
pub(super) struct Dated {
    pub(super) series: u32,
    pub(super) time_us: i64,
    pub(super) content: Content,
    pub(super) sent_unit: u32,
    /// Sequence number plus one of the first sending; 0 = none.
    pub(super) seq_plus_1: u64,
    /// Index of the first message that carried it.
    pub(super) message: u32,
    /// Some message that carried it was acknowledged: it must be there.
    pub(super) acked: bool,
    /// The first one was: its place among the revisions is certain.
    pub(super) first_acked: bool,
    /// Rows found.
    pub(super) rows: u32,
}

/// One content that was sent without a time.
#[derive(Debug)]
pub(super) struct Undated {
    /// Canonical unit; the content in the key has none.
    pub(super) unit: u32,
    pub(super) sent_unit: u32,
    pub(super) message: u32,
    /// At least and at most so many rows.
    pub(super) rows_min: u32,
    pub(super) rows_max: u32,
    pub(super) rows: u32,
    last_session: u32,
}

#[derive(Debug)]
pub(super) struct MessageState {
    pub(super) session: u32,
    pub(super) number: u64,
    pub(super) acked: bool,
}

struct Entry {
    series: u32,
    time_us: i64,
    content: Content,
    sent_unit: u32,
    seq_plus_1: u64,
    message: u32,
}

/// Everything the ledger says.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) texts: Texts,
    /// (datastream name, period) → series.
    series: HashMap<(u32, u32), u32>,
    series_names: Vec<u32>,
    pub(super) stations: HashSet<Box<str>>,
    pub(super) dated: Vec<Dated>,
    /// (series, seq + 1, content without unit).
    pub(super) undated: HashMap<(u32, u64, Content), Undated>,
    /// (series, seq + 1) of undated readings.
    pub(super) undated_seqs: HashSet<(u32, u64)>,
    /// Sequence numbers plus one of later sendings of the dated content with this index.
    pub(super) later_seqs: HashMap<u32, Vec<u64>>,
    pub(super) messages: Vec<MessageState>,
    pub(super) messages_garbage: u64,
    pub(super) readings_sent: u64,
    pub(super) readings_acked: u64,
}

/// The value and unit that the gateway's store holds for what was sent: in the catalogue's unit where there is one and the
/// sent unit converts to it, else as sent.
fn canonical(property: &str, unit: Option<&str>, number: f64) -> (f64, String) {
    let base = property.split(';').next().unwrap_or_default();
    let target = property_catalogue::property(base).and_then(|entry| entry.unit);
    match (unit, target) {
        (None, target) => (number, target.unwrap_or_default().to_owned()),
        (Some(unit), None) => (number, units::normalise(unit).unwrap_or(unit).to_owned()),
        (Some(unit), Some(target)) => match units::conversion(unit, target) {
            Some(linear) => (linear.apply(number), target.to_owned()),
            None => (number, units::normalise(unit).unwrap_or(unit).to_owned()),
        },
    }
}

impl Expected {
    /// Reads a whole ledger.
    pub(super) fn load<E>(ledger: impl IntoIterator<Item = Result<Line, E>>) -> Result<Self, VerifyError>
    where
        VerifyError: From<E>,
    {
        let mut expected = Self::default();
        let mut entries = Vec::new();
        let mut undated = Vec::new();
        let mut session = 0;
        let mut session_start = 0;
        for line in ledger {
            match line? {
                Line::Session(_) => {
                    session += 1;
                    session_start = expected.messages.len();
                }
                Line::Sent(sent) => {
                    if sent.sent != (expected.messages.len() - session_start) as u64 + 1 {
                        return Err(VerifyError::NumbersNotDense(sent.sent));
                    }
                    expected.enter(&sent, session, &mut entries, &mut undated);
                }
                Line::Acked(number) => {
                    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
                    let message = index.and_then(|index| expected.messages.get_mut(session_start + index));
                    message.ok_or(VerifyError::AckWithoutSend(number))?.acked = true;
                }
                Line::Resent(_) | Line::Episode(_) => {}
            }
        }
        expected.collapse_dated(entries);
        expected.collapse_undated(undated);
        Ok(expected)
    }

    fn enter(&mut self, sent: &Sent, session: u32, dated: &mut Vec<Entry>, undated: &mut Vec<Entry>) {
        let message = self.messages.len() as u32;
        self.messages.push(MessageState { session, number: sent.sent, acked: false });
        if matches!(sent.kind, Kind::Garbage | Kind::Misdated) {
            self.messages_garbage += 1;
        }
        let Some(station) = sent.station() else { return };
        if !self.stations.contains(station) {
            self.stations.insert(station.into());
        }
        // A row of a misdated reading is one that was never asked for.
        if sent.kind == Kind::Misdated {
            return;
        }
        for reading in &sent.readings {
            self.readings_sent += 1;
            let name = self.texts.number(&format!("{station}/{}", reading.property));
            let next_series = self.series_names.len() as u32;
            let series = *self.series.entry((name, reading.period_s.unwrap_or(0))).or_insert(next_series);
            if series == next_series {
                self.series_names.push(name);
            }
            let (content, sent_unit) = self.content(reading);
            let time_us = reading.time_us.or(sent.time_us);
            let entry = Entry {
                series,
                time_us: time_us.unwrap_or_default(),
                content,
                sent_unit,
                seq_plus_1: sent.seq.map_or(0, |seq| seq.saturating_add(1)),
                message,
            };
            if time_us.is_some() { dated.push(entry) } else { undated.push(entry) }
        }
    }

    fn content(&mut self, reading: &Reading) -> (Content, u32) {
        let sent_unit = self.texts.number(reading.unit.as_deref().unwrap_or_default());
        let status = self.texts.number(reading.status.as_deref().unwrap_or_default());
        let (result, unit) = match &reading.value {
            Value::Number(number) => {
                let (number, unit) = canonical(&reading.property, reading.unit.as_deref(), *number);
                (Outcome::Number(number_bits(number)), self.texts.number(&unit))
            }
            Value::Boolean(boolean) => (Outcome::Boolean(*boolean), 0),
            Value::Text(text) => (Outcome::Text(self.texts.number(text)), 0),
            Value::Null => (Outcome::Null, 0),
        };
        (Content { result, unit, status }, sent_unit)
    }

    fn collapse_dated(&mut self, mut entries: Vec<Entry>) {
        // Stable: sendings of one key stay in their order.
        entries.sort_by_key(|entry| (entry.series, entry.time_us));
        let mut key_start = 0;
        for entry in entries {
            let acked = self.messages[entry.message as usize].acked;
            self.readings_acked += u64::from(acked);
            let is_new_key = self
                .dated
                .last()
                .is_none_or(|last| (last.series, last.time_us) != (entry.series, entry.time_us));
            if is_new_key {
                key_start = self.dated.len();
            }
            let known = self.dated[key_start..].iter().position(|dated| dated.content == entry.content);
            if let Some(known) = known {
                let index = key_start + known;
                self.dated[index].acked |= acked;
                if self.dated[index].seq_plus_1 != entry.seq_plus_1 {
                    self.later_seqs.entry(index as u32).or_default().push(entry.seq_plus_1);
                }
                continue;
            }
            let Entry { series, time_us, content, sent_unit, seq_plus_1, message } = entry;
            self.dated.push(Dated {
                series,
                time_us,
                content,
                sent_unit,
                seq_plus_1,
                message,
                acked,
                first_acked: acked,
                rows: 0,
            });
        }
    }

    /// An undated reading with a sequence number is one row for each session that sent it (a new session starts its numbers
    /// again, and whether that is a repetition is for the gateway to say); one without is a row for each sending.
    fn collapse_undated(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let MessageState { acked, session, .. } = self.messages[entry.message as usize];
            self.readings_acked += u64::from(acked);
            let is_numbered = entry.seq_plus_1 != 0;
            if is_numbered {
                self.undated_seqs.insert((entry.series, entry.seq_plus_1));
            }
            let key = (entry.series, entry.seq_plus_1, Content { unit: 0, ..entry.content });
            let undated = self.undated.entry(key).or_insert(Undated {
                unit: entry.content.unit,
                sent_unit: entry.sent_unit,
                message: entry.message,
                rows_min: 0,
                rows_max: 0,
                rows: 0,
                last_session: u32::MAX,
            });
            if !is_numbered {
                undated.rows_min += u32::from(acked);
                undated.rows_max += 1;
                continue;
            }
            undated.rows_min |= u32::from(acked);
            undated.rows_max += u32::from(undated.last_session != session);
            undated.last_session = session;
        }
    }

    pub(super) fn find_series(&self, datastream: &str, period_s: u32) -> Option<u32> {
        self.series.get(&(self.texts.find(datastream)?, period_s)).copied()
    }

    pub(super) fn series_name(&self, series: u32) -> &str {
        self.texts.text(self.series_names[series as usize])
    }

    /// Names of all datastreams, each once.
    pub(super) fn datastreams(&self) -> Vec<String> {
        let names: HashSet<u32> = self.series_names.iter().copied().collect();
        let mut names: Vec<String> = names.into_iter().map(|name| self.texts.text(name).to_owned()).collect();
        names.sort();
        names
    }

    /// Indexes of the contents under a key.
    pub(super) fn key(&self, series: u32, time_us: i64) -> std::ops::Range<usize> {
        let start = self.dated.partition_point(|dated| (dated.series, dated.time_us) < (series, time_us));
        let same = |dated: &&Dated| (dated.series, dated.time_us) == (series, time_us);
        start..start + self.dated[start..].iter().take_while(same).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_expected_in_the_unit_of_the_catalogue() {
        assert_eq!(canonical("pm2_5", Some("ug/m3"), 38.4), (38.4, "ug/m3".to_owned()));
        assert_eq!(canonical("pm2_5", None, 38.4), (38.4, "ug/m3".to_owned()));
        assert_eq!(canonical("water_level", Some("cm"), 127.0), (1.27, "m".to_owned()));
        assert_eq!(canonical("air_temperature", Some("[degF]"), 212.0), (100.0, "Cel".to_owned()));
        assert_eq!(canonical("no_such_property", Some("furlong"), 3.0), (3.0, "furlong".to_owned()));
        assert_eq!(canonical("pm2_5", Some("furlong"), 3.0), (3.0, "furlong".to_owned()));
    }
}
