//! What goes wrong in one message.

use codecs::payload::DecodeError;

use super::reading_set::ReadingSet;

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
