//! The hot row of a datastream: all that the pipeline needs to classify its next reading.

use codecs::units::Linear;

use crate::observation::{Classification, ResultKind, Row, value_bits_equal};

/// Readings of one datastream in one journal frame move the time of the last one on by a microsecond each; what is further ahead
/// of the receive time than this comes from a clock that was wrong.
const UNDATED_AHEAD_MAX_US: i64 = 60_000_000;

/// Time from which the next undated reading of a datastream is moved on, once one has got `time_us`. A replayed reading has a time
/// of long ago.
pub fn last_undated_us(last_us: i64, time_us: i64, is_replayed: bool) -> i64 {
    let is_behind = last_us.saturating_sub(time_us) > UNDATED_AHEAD_MAX_US;
    if is_behind && !is_replayed { time_us } else { last_us.max(time_us) }
}

/// One datastream, about two cache lines.
#[derive(Clone, Debug)]
pub struct HotRow {
    /// Greatest phenomenonTime, µs since 1970 UTC; `i64::MIN` = no row yet.
    pub watermark_us: i64,
    /// Time that was given to the last undated reading, see [`last_undated_us`].
    pub last_undated_us: i64,
    /// The row at the watermark that came last.
    pub value: u64,
    pub status: u32,
    pub unit: u32,
    pub ordinal: u16,
    pub kind: ResultKind,
    pub rank: u8,
    /// The datastream keeps all readings of one time.
    pub keeps_same_time: bool,
    /// The row at the watermark was lost with its file, perhaps: only the store knows what is there.
    pub is_lost: bool,
    /// The message that set the watermark.
    pub watermark_message: u64,
    /// The message that touched this datastream last.
    pub last_message: u64,
    /// Symbol of the datastream's unit.
    pub datastream_unit: u32,
    /// Dictionary number of the unit text that `conversion` is for; `u32::MAX` = none yet.
    pub conversion_of: u32,
    pub conversion: Conversion,
    /// Plausible range in the datastream's unit.
    pub plausible: Option<(f64, f64)>,
}

/// What a sent unit means for a datastream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conversion {
    To(Linear),
    /// Kept as it came: the symbol of the unit, and whether it is unknown to the unit table.
    AsSent {
        unit: u32,
        unknown: bool,
    },
}

impl HotRow {
    pub fn new(datastream_unit: u32, plausible: Option<(f64, f64)>, keeps_same_time: bool) -> Self {
        Self {
            watermark_us: i64::MIN,
            last_undated_us: i64::MIN,
            value: 0,
            status: 0,
            unit: 0,
            ordinal: 0,
            kind: ResultKind::Null,
            rank: 0,
            keeps_same_time,
            is_lost: false,
            watermark_message: 0,
            last_message: 0,
            datastream_unit,
            conversion_of: u32::MAX,
            conversion: Conversion::To(Linear::IDENTITY),
            plausible,
        }
    }

    /// What can be said of a row at once, before it is folded in.
    pub fn classify(&self, row: &Row, message_no: u64) -> Classification {
        if row.time_us > self.watermark_us {
            return Classification::Inserted;
        }
        if row.time_us < self.watermark_us {
            return Classification::Unresolved;
        }
        if row.ordinal > 0 && self.watermark_message == message_no {
            // The message that opened this time has another value for it: nobody else can have used that ordinal.
            return Classification::Inserted;
        }
        if self.is_lost || row.flags & Row::FLAG_SAME_TIME_KEPT != 0 {
            // There may be any number of values at this time, and the store knows them all.
            return Classification::Unresolved;
        }
        let kind = row.result_kind();
        // Texts are compared by the store, which has their bytes at hand.
        let equal = kind != ResultKind::Text
            && kind == self.kind
            && row.rank <= self.rank
            && row.ordinal == self.ordinal
            && row.status == self.status
            && row.unit == self.unit
            && value_bits_equal(kind, row.value, self.value);
        if equal { Classification::Duplicate } else { Classification::Unresolved }
    }

    /// Takes over what a row says. The same in the pipeline and when the observation log is read back.
    pub fn fold(&mut self, row: &Row, message_no: u64, is_replayed: bool) {
        self.last_message = message_no;
        if row.classified() == Classification::Duplicate {
            return;
        }
        if row.flags & Row::FLAG_UNDATED != 0 {
            self.last_undated_us = last_undated_us(self.last_undated_us, row.time_us, is_replayed);
        }
        if row.classified() == Classification::Inserted {
            if row.time_us > self.watermark_us {
                self.is_lost = false;
                self.watermark_message = message_no;
            }
            self.watermark_us = row.time_us;
            self.value = row.value;
            self.kind = row.result_kind();
            self.rank = row.rank;
            self.status = row.status;
            self.unit = row.unit;
            self.ordinal = row.ordinal;
        }
    }

    /// The time of an undated reading: the receive time, moved on so that it is new to this datastream. Where it would have to be
    /// moved far, the clock was ahead: then it stays what it is, and the store gives the reading an ordinal of its own.
    pub fn undated_time_us(&self, receive_time_us: i64) -> i64 {
        let next_us = self.last_undated_us.saturating_add(1);
        let is_far = next_us.saturating_sub(receive_time_us) > UNDATED_AHEAD_MAX_US;
        let time_us = if is_far { receive_time_us } else { receive_time_us.max(next_us) };
        if time_us == self.watermark_us { time_us + 1 } else { time_us }
    }
}
