//! The fixed-size entries of an observation frame. They are written as they lie in memory (little endian only).

use bytemuck::{Pod, Zeroable};

use crate::log::stamp_us;

const _: () = assert!(cfg!(target_endian = "little"), "the observation log is written as it lies in memory");

/// One observation, 48 bytes, at once log entry and flush input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Row {
    /// phenomenonTime, µs since 1970 UTC.
    pub time_us: i64,
    /// By `kind`: the bits of an `f64`, 0 or 1, a [`TextSpan`], or 0 for null.
    pub value: u64,
    /// The sender's `source_seq` + 1; 0 = none.
    pub seq_plus_1: u64,
    /// Index into the frame's messages: position, receive time, client.
    pub message: u32,
    pub datastream: u32,
    /// Symbol of the source's own status; 0 = none.
    pub status: u32,
    /// Symbol of the unit (canonical UCUM, or as sent where `FLAG_UNIT_UNKNOWN` is set); 0 = none.
    pub unit: u32,
    /// 0 except for different values at one time: of one message, or where `FLAG_SAME_TIME_KEPT` is set (then the outcome says).
    pub ordinal: u16,
    /// [`ResultKind`] as u8.
    pub kind: u8,
    /// [`Quality`] as u8.
    pub quality: u8,
    /// [`Classification`] as u8, as the pipeline knew it.
    pub classification: u8,
    pub flags: u8,
    /// Rank of its source: under one key the highest one is in force (design §4.2).
    pub rank: u8,
    pub zero: u8,
}

impl Row {
    /// The unit was sent and is not known: it passes through as sent.
    pub const FLAG_UNIT_UNKNOWN: u8 = 1;
    /// The reading had no time of its own: `time_us` is the receive time, moved on so that it strictly increases.
    pub const FLAG_UNDATED: u8 = 2;
    /// Its datastream keeps all readings of one time: another value there is another ordinal, not a correction.
    pub const FLAG_SAME_TIME_KEPT: u8 = 4;

    pub fn result_kind(&self) -> ResultKind {
        ResultKind::from_u8(self.kind)
    }

    pub fn classified(&self) -> Classification {
        Classification::from_u8(self.classification)
    }

    pub fn seq(&self) -> Option<u64> {
        self.seq_plus_1.checked_sub(1)
    }

    pub fn number(&self) -> f64 {
        f64::from_bits(self.value)
    }

    pub fn text_span(&self) -> TextSpan {
        TextSpan { offset: (self.value >> 32) as u32, len: self.value as u32 }
    }
}

/// Where a text result lies in [`super::ObservationFrame::texts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextSpan {
    pub offset: u32,
    pub len: u32,
}

impl TextSpan {
    pub fn to_bits(self) -> u64 {
        u64::from(self.offset) << 32 | u64::from(self.len)
    }
}

/// Do two non-text results of the same kind mean the same value? (−0.0 and 0.0 do.)
pub fn value_bits_equal(kind: ResultKind, a: u64, b: u64) -> bool {
    a == b || (kind == ResultKind::Number && f64::from_bits(a) == f64::from_bits(b))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ResultKind {
    Number = 0,
    Boolean = 1,
    Text = 2,
    Null = 3,
}

impl ResultKind {
    pub fn from_u8(kind: u8) -> Self {
        match kind {
            0 => Self::Number,
            1 => Self::Boolean,
            2 => Self::Text,
            _ => Self::Null,
        }
    }

    /// The word of the outside contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Text => "text",
            Self::Null => "null",
        }
    }
}

/// QARTOD flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Quality {
    Pass = 1,
    NotEvaluated = 2,
    Suspect = 3,
    Fail = 4,
    Missing = 9,
}

/// What the pipeline could say about a row at once (design §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Classification {
    /// Newer than the watermark: a new row, no look-up needed.
    Inserted = 0,
    /// Equal time and value at the watermark, or a re-send of an undated message.
    Duplicate = 1,
    /// At or before the watermark: must be compared with what is stored; an outcome follows in a later frame.
    Unresolved = 2,
}

impl Classification {
    pub fn from_u8(classification: u8) -> Self {
        match classification {
            0 => Self::Inserted,
            1 => Self::Duplicate,
            _ => Self::Unresolved,
        }
    }
}

/// One message and what became of it, 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MessageEntry {
    pub message_no: u64,
    /// µs since 1970 UTC: `resultTime` of its observations.
    pub receive_time_us: i64,
    pub client: u32,
    /// 0 = none.
    pub agency: u32,
    /// 0 = none.
    pub station: u32,
    pub row_count: u16,
    /// Readings of this message that went to quarantine.
    pub quarantined_readings: u16,
    /// [`MessageOutcome`] as u8.
    pub outcome: u8,
    /// 1: its undated readings had neither `source_seq` nor DUP to recognise a re-send by (`unkeyed`).
    pub unkeyed: u8,
    /// 1: it came earlier and is decoded again; the books count it by its settlement, its rows are those that it brings.
    pub replayed: u8,
    pub zero: u8,
    /// By how much the receive time is behind the frame's stamp, see [`crate::log::Stamp`].
    pub behind_s: u32,
}

impl MessageEntry {
    pub fn message_outcome(&self) -> MessageOutcome {
        MessageOutcome::from_u8(self.outcome)
    }

    /// Of the journal frame that it came in: its hour is the book hour.
    pub fn stamp_us(&self) -> i64 {
        stamp_us(self.receive_time_us, self.behind_s)
    }

    pub fn is_replayed(&self) -> bool {
        self.replayed != 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageOutcome {
    /// Every reading became a row.
    Decoded = 0,
    /// Some readings became rows, others went to quarantine.
    Partial = 1,
    /// Nothing could be taken from it.
    Quarantined = 2,
    /// An ordinary MQTT topic: routed, not decoded.
    Ignored = 3,
}

impl MessageOutcome {
    pub fn from_u8(outcome: u8) -> Self {
        match outcome {
            0 => Self::Decoded,
            1 => Self::Partial,
            2 => Self::Quarantined,
            _ => Self::Ignored,
        }
    }
}

/// What became of a row that was unresolved, 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Outcome {
    pub obs_no: u64,
    /// Revision number of a corrected row (1 = first correction); 0 else.
    pub revision: u32,
    /// [`OutcomeKind`] as u8.
    pub kind: u8,
    pub zero: u8,
    /// Ordinal that an undated row got, or one whose datastream keeps all readings of one time; what others have stands in the row.
    pub ordinal: u16,
    pub message_no: u64,
}

impl Outcome {
    pub fn outcome_kind(&self) -> OutcomeKind {
        match self.kind {
            0 => OutcomeKind::Inserted,
            1 => OutcomeKind::Corrected,
            2 => OutcomeKind::Duplicate,
            _ => OutcomeKind::Outranked,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OutcomeKind {
    Inserted = 0,
    Corrected = 1,
    Duplicate = 2,
    Outranked = 3,
}
