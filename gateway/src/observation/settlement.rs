//! What a control record did to one entry of the quarantine.

use serde::{Deserialize, Serialize};

use super::row::MessageOutcome;
use crate::record::BookedEntry;

/// From what an entry was to what it is now. Its rows, if it brought any, are those of the frame's replayed message of this
/// position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Of the control record.
    pub record_no: u64,
    /// Time of the control record's journal frame, µs since 1970 UTC.
    pub settled_us: i64,
    /// What it was.
    pub entry: BookedEntry,
    /// Name of its sender.
    pub client: String,
    pub settled: Settled,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// Decoded again, under these numbers of the registry.
    Replayed {
        agency: u32,
        client: u32,
        station: u32,
        /// Rows that it brought.
        rows: u32,
        /// What still cannot be decoded; `None` = nothing, the entry leaves.
        remaining: Option<Remaining>,
    },
    /// An operator took it out.
    Erased,
}

/// What stays in quarantine, with the present build's reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// [`MessageOutcome`] as u8: partial or quarantined.
    pub outcome: u8,
    pub readings: u16,
    pub offset: u32,
    pub reason: String,
    pub sentence: String,
    /// Bit *i* = reading *i*; empty = all.
    pub refused: Vec<u8>,
}

impl Settlement {
    /// Whether the books change by it. A message that is refused as before only gets the present reason.
    pub fn changes_books(&self) -> bool {
        match &self.settled {
            Settled::Erased => true,
            Settled::Replayed { remaining: None, .. } => true,
            Settled::Replayed { rows, remaining: Some(remaining), .. } => {
                *rows > 0
                    || remaining.readings != self.entry.readings
                    || remaining.outcome != self.entry.outcome
            }
        }
    }

    /// The message's outcome as the books have it from now on.
    pub fn outcome(&self) -> MessageOutcome {
        MessageOutcome::from_u8(match &self.settled {
            // It stays what it was: nothing of it could be decoded, and now nobody will.
            Settled::Erased => self.entry.outcome,
            Settled::Replayed { remaining, .. } => {
                remaining.as_ref().map_or(MessageOutcome::Decoded as u8, |remaining| remaining.outcome)
            }
        })
    }
}
