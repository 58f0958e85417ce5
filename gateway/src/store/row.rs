//! Rows: as the store holds them ([`Version`]) and as a query gives them ([`StoredRow`]).

use std::sync::Arc;

use crate::observation::{ResultKind, Row, TextSpan};

/// One revision of one observation in memory, 64 bytes. Text results lie in the arena of whatever holds the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) time_us: i64,
    /// As in [`crate::observation::Row::value`]; a text span points into the holder's arena.
    pub(crate) value: u64,
    pub(crate) seq_plus_1: u64,
    pub(crate) position: u64,
    pub(crate) result_time_us: i64,
    pub(crate) datastream: u32,
    pub(crate) unit: u32,
    pub(crate) status: u32,
    pub(crate) revision: u32,
    pub(crate) ordinal: u16,
    pub(crate) kind: u8,
    pub(crate) quality: u8,
    pub(crate) flags: u8,
    pub(crate) rank: u8,
}

const _: () = assert!(size_of::<Version>() == 64);

impl Version {
    /// Of the revisions of one key, the greatest is in force: the highest rank first, then the latest. Everything that picks
    /// one asks here.
    pub(super) fn precedence(&self) -> (u8, u32) {
        (self.rank, self.revision)
    }

    pub(crate) fn kind(&self) -> ResultKind {
        ResultKind::from_u8(self.kind)
    }

    pub(super) fn is_undated(&self) -> bool {
        self.flags & Row::FLAG_UNDATED != 0
    }

    /// When it comes late, its ordinal is the next free one of its time, and stands in its outcome.
    pub(super) fn takes_free_ordinal(&self) -> bool {
        self.flags & (Row::FLAG_UNDATED | Row::FLAG_SAME_TIME_KEPT) != 0
    }

    /// The text in `arena`; empty for other kinds.
    pub(super) fn text<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        if self.kind() != ResultKind::Text {
            return &[];
        }
        let span = text_span(self.value);
        arena.get(span.offset as usize..).and_then(|rest| rest.get(..span.len as usize)).unwrap_or_default()
    }

    /// Copies the text into another arena and points there. Arenas stay far below 4 GiB (see the bounds of the store).
    pub(super) fn move_text(&mut self, text: &[u8], arena: &mut Vec<u8>) {
        if self.kind() == ResultKind::Text {
            self.value = TextSpan { offset: arena.len() as u32, len: text.len() as u32 }.to_bits();
            arena.extend_from_slice(text);
        }
    }
}

fn text_span(value: u64) -> TextSpan {
    TextSpan { offset: (value >> 32) as u32, len: value as u32 }
}

/// Inclusive bounds of the keys of a file, row group, page or chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyBounds {
    pub(super) datastream_min: u32,
    pub(super) datastream_max: u32,
    pub(super) time_min_us: i64,
    pub(super) time_max_us: i64,
}

impl KeyBounds {
    pub(super) const EMPTY: Self =
        Self { datastream_min: u32::MAX, datastream_max: 0, time_min_us: i64::MAX, time_max_us: i64::MIN };

    pub(super) fn add(&mut self, datastream: u32, time_us: i64) {
        self.datastream_min = self.datastream_min.min(datastream);
        self.datastream_max = self.datastream_max.max(datastream);
        self.time_min_us = self.time_min_us.min(time_us);
        self.time_max_us = self.time_max_us.max(time_us);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.datastream_min = self.datastream_min.min(other.datastream_min);
        self.datastream_max = self.datastream_max.max(other.datastream_max);
        self.time_min_us = self.time_min_us.min(other.time_min_us);
        self.time_max_us = self.time_max_us.max(other.time_max_us);
    }
}

/// One revision of one observation.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRow {
    pub datastream: u32,
    /// phenomenonTime, µs since 1970 UTC.
    pub time_us: i64,
    pub ordinal: u16,
    /// 0 = instantaneous.
    pub period_s: u32,
    pub value: StoredValue,
    /// Canonical UCUM, or as sent (`unit_unknown`); empty = none.
    pub unit: Arc<str>,
    /// The source's own status; empty = none.
    pub status: Arc<str>,
    /// QARTOD flag, see [`crate::observation::Quality`].
    pub quality: u8,
    /// 0 = as first stored.
    pub revision: u32,
    /// The sender's `source_seq`.
    pub seq: Option<u64>,
    /// `message_no` of the message that brought it.
    pub position: u64,
    /// Receive time, µs since 1970 UTC.
    pub result_time_us: i64,
    pub unit_unknown: bool,
    /// The reading had no time of its own.
    pub undated: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StoredValue {
    Number(f64),
    Boolean(bool),
    Text(Box<str>),
    Null,
}

impl StoredValue {
    pub fn kind(&self) -> ResultKind {
        match self {
            Self::Number(_) => ResultKind::Number,
            Self::Boolean(_) => ResultKind::Boolean,
            Self::Text(_) => ResultKind::Text,
            Self::Null => ResultKind::Null,
        }
    }
}

/// A row out of a file, a chunk or the late buffer, with its text.
pub(super) trait RowSink {
    /// Could a key within these bounds be wanted?
    fn may_match(&self, bounds: &KeyBounds) -> bool;
    /// Is a row of this datastream and time wanted?
    fn matches(&mut self, datastream: u32, time_us: i64) -> bool;
    /// Are numbers and booleans enough? Then texts may come as null, and statuses, qualities, seqs and positions as 0.
    fn numbers_only(&self) -> bool {
        false
    }
    /// Takes a wanted row; a text result's bytes are `text`, not where its span points.
    fn take(&mut self, row: &Version, text: &[u8]);
}
