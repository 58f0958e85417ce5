//! What goes wrong in one message.

use codecs::payload::{DecodeError, ErrorKind};

use super::reading_set::ReadingSet;

/// Reasons that no decoder gives: the pipeline does.
pub(super) const FORMAT_UNKNOWN: &str = "format_unknown";
pub(super) const TOPIC_INVALID: &str = "topic_invalid";
pub(super) const REGISTRY_LIMIT: &str = "registry_limit";
pub(super) const TIME_OUT_OF_RANGE: &str = "time_out_of_range";
pub(super) const RETENTION: &str = "retention";

/// Every reason there can be for something to be quarantined.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    [FORMAT_UNKNOWN, TOPIC_INVALID, REGISTRY_LIMIT, TIME_OUT_OF_RANGE, RETENTION]
        .into_iter()
        .chain(ErrorKind::ALL.iter().map(|kind| kind.as_str()))
}

/// What went wrong in a message, readings that could not be taken included.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) readings: u16,
    pub(super) first: Option<Fault>,
    /// See [`Faults::refused`]; made for the first one, for most messages have none.
    refused: Option<Box<ReadingSet>>,
}

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) offset: u32,
    pub(super) sentence: String,
}

impl Faults {
    /// The readings that were refused one by one; empty where the whole message was.
    pub(super) fn refused(&self) -> ReadingSet {
        self.refused.as_deref().copied().unwrap_or_default()
    }

    pub(super) fn refuse(&mut self, reading: u16) {
        self.refused.get_or_insert_default().insert(reading);
    }

    /// The first fault's sentence, and how many more there are.
    pub(super) fn sentence(&self) -> String {
        let Some(fault) = &self.first else { return String::new() };
        match self.readings {
            0 | 1 => fault.sentence.clone(),
            count => format!("{} (and {} more readings)", fault.sentence, count - 1),
        }
    }

    pub(super) fn add(&mut self, readings: u16, reason: &'static str, offset: u32, sentence: String) {
        self.readings = self.readings.saturating_add(readings);
        self.first.get_or_insert(Fault { reason, offset, sentence });
    }

    pub(super) fn decode_error(&mut self, readings: u16, error: &DecodeError) {
        self.add(readings, error.kind.as_str(), error.offset, error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// B1-5: the page for operators has a row for each reason, and no other.
    #[test]
    fn b1_5_the_page_and_the_code_have_the_same_reasons() {
        let page = include_str!("../../../docs/operations/quarantine.md");
        let table = page.split("## Reasons, and what to do").nth(1).unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let told: BTreeSet<&str> =
            rows.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`')).collect();
        assert_eq!(told, reasons().collect::<BTreeSet<_>>());
    }
}
