//! The newest observation of each datastream: the retained value of its feed.

use std::sync::Arc;

use crate::catalogue::DatastreamState;
use crate::observation::{Classification, ObservationFrame, ResultKind, Row};

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
        })
    }
}

/// By datastream.
#[derive(Debug, Default)]
pub struct LastValues {
    values: Vec<Option<LastValue>>,
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

    /// Folds a row in: only newer rows count, and they only move forward.
    pub fn fold(&mut self, frame: &ObservationFrame, row: &Row) {
        if row.classified() != Classification::Inserted {
            return;
        }
        let newest = self.get(row.datastream).is_none_or(|last| row.time_us >= last.time_us);
        if newest {
            self.set(row.datastream, LastValue::of_row(frame, row));
        }
    }

    pub fn get(&self, datastream: u32) -> Option<&LastValue> {
        self.values.get(datastream as usize)?.as_ref()
    }
}
