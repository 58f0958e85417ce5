//! What is known of each datastream, folded row by row.

use crate::catalogue::DatastreamState;
use crate::feeds::LastValue;
use crate::observation::{Classification, MessageEntry, ObservationFrame, ResultKind, Row};
use crate::pipeline::last_undated_us;
use crate::store::Version;

pub(super) fn state_of(states: &mut Vec<DatastreamState>, datastream: u32) -> &mut DatastreamState {
    let index = datastream as usize;
    if states.len() <= index {
        states.resize_with(index + 1, empty_state);
    }
    &mut states[index]
}

pub(super) fn fold_state(state: &mut DatastreamState, frame: &ObservationFrame, row: &Row) {
    state.observations += 1;
    if row.classified() == Classification::Duplicate {
        return;
    }
    if row.flags & Row::FLAG_UNDATED != 0 {
        let is_replayed = frame.messages.get(row.message as usize).is_some_and(MessageEntry::is_replayed);
        state.last_undated_us = last_undated_us(state.last_undated_us, row.time_us, is_replayed);
    }
    if row.classified() == Classification::Inserted {
        let value = LastValue::of_row(frame, row);
        state.watermark_us = row.time_us;
        state.kind = value.kind;
        state.value = if value.kind == ResultKind::Text { 0 } else { value.value };
        state.text.clear();
        state.text.push_str(value.text.as_deref().unwrap_or(""));
        state.ordinal = row.ordinal;
        state.quality = row.quality;
        state.flags = row.flags;
        state.unit = row.unit;
        state.status = row.status;
        state.seq_plus_1 = row.seq_plus_1;
        state.revision = 0;
        state.rank = row.rank;
        state.position = value.position;
        state.result_time_us = value.result_time_us;
    }
}

/// A late row that was stored. At the watermark it is now the newest value: a correction, or another value of the same time.
/// Tells whether it is.
pub(super) fn fold_settled(state: &mut DatastreamState, row: &Version, text: &[u8]) -> bool {
    // A revision below the one in force fills the place of a lost one.
    if row.time_us != state.watermark_us || (row.ordinal, row.revision) < (state.ordinal, state.revision) {
        return false;
    }
    state.kind = row.kind();
    state.value = if state.kind == ResultKind::Text { 0 } else { row.value };
    state.text.clear();
    if state.kind == ResultKind::Text {
        state.text.push_str(&String::from_utf8_lossy(text));
    }
    state.ordinal = row.ordinal;
    state.quality = row.quality;
    state.flags = row.flags;
    state.unit = row.unit;
    state.status = row.status;
    state.seq_plus_1 = row.seq_plus_1;
    state.revision = row.revision;
    state.rank = row.rank;
    state.position = row.position;
    state.result_time_us = row.result_time_us;
    true
}

/// A datastream without a row.
fn empty_state() -> DatastreamState {
    DatastreamState {
        watermark_us: i64::MIN,
        kind: ResultKind::Null,
        value: 0,
        text: String::new(),
        ordinal: 0,
        quality: 0,
        flags: 0,
        rank: 0,
        unit: 0,
        status: 0,
        seq_plus_1: 0,
        revision: 0,
        position: 0,
        result_time_us: 0,
        last_undated_us: 0,
        observations: 0,
    }
}
