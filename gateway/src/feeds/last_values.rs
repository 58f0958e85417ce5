//! The newest observation of each datastream: the retained value of its feed. It only moves forward in phenomenonTime; at its
//! time it follows corrections once the store has confirmed them.

use std::collections::VecDeque;

use std::sync::Arc;

use crate::catalogue::DatastreamState;
use crate::observation::{Classification, ObservationFrame, Outcome, OutcomeKind, ResultKind, Row};

/// One observation with everything that its feed message says.
#[derive(Clone, Debug, PartialEq)]
pub struct LastValue {
    pub time_us: i64,
    pub kind: ResultKind,
    pub value: u64,
    pub text: Option<Arc<str>>,
    pub status: u32,
    pub unit: u32,
    pub quality: u8,
    pub seq: Option<u64>,
    pub position: u64,
    pub result_time_us: i64,
    pub ordinal: u16,
    /// 0 = as first stored.
    pub revision: u32,
}

impl LastValue {
    /// The observation of a row.
    pub fn of_row(frame: &ObservationFrame, row: &Row) -> Self {
        let message = frame.messages.get(row.message as usize);
        Self {
            time_us: row.time_us,
            kind: row.result_kind(),
            value: row.value,
            text: (row.result_kind() == ResultKind::Text).then(|| {
                let span = row.text_span();
                let bytes = frame.texts.get(span.offset as usize..(span.offset + span.len) as usize);
                String::from_utf8_lossy(bytes.unwrap_or_default()).as_ref().into()
            }),
            status: row.status,
            unit: row.unit,
            quality: row.quality,
            seq: row.seq(),
            position: message.map_or(0, |message| message.message_no),
            result_time_us: message.map_or(0, |message| message.receive_time_us),
            ordinal: row.ordinal,
            revision: 0,
        }
    }

    /// The observation at a datastream's watermark; `None` = there is none yet.
    pub fn of_state(state: &DatastreamState) -> Option<Self> {
        if state.watermark_us == i64::MIN {
            return None;
        }
        Some(Self {
            time_us: state.watermark_us,
            kind: state.kind,
            value: state.value,
            text: (state.kind == ResultKind::Text).then(|| state.text.as_str().into()),
            status: state.status,
            unit: state.unit,
            quality: state.quality,
            seq: state.seq_plus_1.checked_sub(1),
            position: state.position,
            result_time_us: state.result_time_us,
            ordinal: state.ordinal,
            revision: state.revision,
        })
    }
}

/// Readings at the time of the newest value that may wait for what the store says of them. Where there are more, the oldest
/// are given up: the retained value then does not follow those corrections; store and `/api/v1/latest` do.
pub const UNRESOLVED_VALUES_MAX: usize = 65_536;

/// By datastream.
#[derive(Debug, Default)]
pub struct LastValues {
    values: Vec<Option<LastValue>>,
    /// Unresolved readings at the time of the newest value, by rising `obs_no`.
    unresolved: VecDeque<Unresolved>,
}

#[derive(Debug)]
struct Unresolved {
    obs_no: u64,
    datastream: u32,
    /// The outcome says which ordinal it has.
    is_kept: bool,
    /// `None` = settled.
    value: Option<LastValue>,
}

impl LastValues {
    /// Sets a value from the catalogue.
    pub fn set(&mut self, datastream: u32, value: LastValue) {
        let index = datastream as usize;
        if self.values.len() <= index {
            self.values.resize(index + 1, None);
        }
        self.values[index] = Some(value);
    }

    /// Folds a frame in: rows at or behind the newest time count, and corrections there.
    pub fn apply(&mut self, frame: &ObservationFrame) {
        for outcome in &frame.outcomes {
            if let Some((datastream, value)) = self.settle(outcome) {
                let is_newest = |last: &LastValue| {
                    value.time_us == last.time_us
                        && (value.ordinal, value.revision) >= (last.ordinal, last.revision)
                };
                if self.get(datastream).is_some_and(is_newest) {
                    self.set(datastream, value);
                }
            }
        }
        for (obs_no, row) in (frame.first_obs_no..).zip(&frame.rows) {
            match row.classified() {
                Classification::Inserted => {
                    if self.get(row.datastream).is_none_or(|last| row.time_us >= last.time_us) {
                        self.set(row.datastream, LastValue::of_row(frame, row));
                    }
                }
                Classification::Unresolved => self.wait(frame, obs_no, row),
                Classification::Duplicate => {}
            }
        }
    }

    /// A frame that the values reflect already: only what it left unresolved counts.
    pub fn apply_reflected(&mut self, frame: &ObservationFrame) {
        for outcome in &frame.outcomes {
            self.settle(outcome);
        }
        for (obs_no, row) in (frame.first_obs_no..).zip(&frame.rows) {
            if row.classified() == Classification::Unresolved {
                self.wait(frame, obs_no, row);
            }
        }
    }

    fn wait(&mut self, frame: &ObservationFrame, obs_no: u64, row: &Row) {
        if self.get(row.datastream).is_none_or(|last| row.time_us != last.time_us) {
            return;
        }
        if self.unresolved.len() == UNRESOLVED_VALUES_MAX {
            self.unresolved.pop_front();
        }
        self.unresolved.push_back(Unresolved {
            obs_no,
            datastream: row.datastream,
            is_kept: row.flags & (Row::FLAG_SAME_TIME_KEPT | Row::FLAG_UNDATED) != 0,
            value: Some(LastValue::of_row(frame, row)),
        });
    }

    /// Takes the row of an outcome out; gives it if it is stored now.
    fn settle(&mut self, outcome: &Outcome) -> Option<(u32, LastValue)> {
        let at = self.unresolved.binary_search_by_key(&outcome.obs_no, |waiting| waiting.obs_no).ok()?;
        let waiting = &mut self.unresolved[at];
        let (datastream, is_kept, value) = (waiting.datastream, waiting.is_kept, waiting.value.take());
        while matches!(self.unresolved.front(), Some(Unresolved { value: None, .. })) {
            self.unresolved.pop_front();
        }
        let is_stored = matches!(outcome.outcome_kind(), OutcomeKind::Inserted | OutcomeKind::Corrected);
        let mut value = value.filter(|_| is_stored)?;
        value.revision = outcome.revision;
        if is_kept {
            value.ordinal = outcome.ordinal;
        }
        Some((datastream, value))
    }

    pub fn get(&self, datastream: u32) -> Option<&LastValue> {
        self.values.get(datastream as usize)?.as_ref()
    }
}
