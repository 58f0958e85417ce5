//! Operators settle the quarantine: `quarantine replay` decodes what lies there once more, `quarantine erase` takes it out.
//!
//! ```text
//!  catalogue ── a batch, oldest first ──▶ Session ── control records ──▶ journal ──▶ pipeline ──▶ keeper ──▶ one commit
//!      ▲                                     │ waits until the commit has them                              │
//!      └─────────────────────────────────────┴──────────────────────────────────────────────────────────────┘
//! ```
//!
//! Why a position is settled once, whatever dies and however often it is asked for: a control record says what the entry *was*,
//! read from a commit that reflects every control record before it. The session waits for such a commit before it begins and
//! behind each batch, there is one session at a time, and the pipeline takes each record of the journal exactly once. So a record
//! that reached the journal is settled exactly once, at the next start if need be, and one that did not has changed nothing.
//!
//! Bounds: a batch has [`BATCH_ENTRIES`] entries and about [`BATCH_PAYLOAD_BYTES`] of payloads; control records wait for room
//! in the journal, or in its reserve while messages find none, in two buffers of `journal.frame_bytes_max`.

mod dry_run;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

pub use dry_run::DryRun;
pub use session::{ChangePort, SettleError, Wait, run, wait_of_thread, wait_until};

use crate::catalogue::{QuarantineFilter, QuarantineItem};
use crate::record::Message;

/// Entries that are settled before the session waits for their commit.
pub const BATCH_ENTRIES: usize = 4_000;
/// The same in bytes of payloads; one entry may go over it.
pub const BATCH_PAYLOAD_BYTES: usize = 4 << 20;

/// Which entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Those of these messages; empty = all that the filter means.
    pub positions: Vec<u64>,
    pub filter: QuarantineFilter,
}

/// What is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Replay,
    Erase,
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleRequest {
    pub change: Change,
    pub selection: Selection,
    /// Say what would become of them, change nothing.
    pub dry_run: bool,
}

/// What became (or, in a dry run, would become) of the entries looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettleReport {
    pub dry_run: bool,
    pub looked_at: u64,
    /// Decoded wholly: they leave.
    pub decoded: u64,
    /// A part could be decoded, a part stays.
    pub partial: u64,
    /// Nothing changed.
    pub refused: u64,
    /// Rows that they brought (new, corrections and duplicates).
    pub readings: u64,
    pub erased: u64,
    /// What cannot be replayed at all: too little is known of it, or it does not fit into a journal frame of today.
    pub impossible: u64,
    /// Why something stays, by reason.
    pub reasons: BTreeMap<String, u64>,
}

impl SettleReport {
    fn stays(&mut self, reason: &str) {
        match self.reasons.get_mut(reason) {
            Some(count) => *count += 1,
            None => {
                self.reasons.insert(reason.to_owned(), 1);
            }
        }
    }
}

/// The message of an entry as its record had it.
fn message_of(item: &QuarantineItem) -> Message<'_> {
    Message {
        mapping_version: crate::pipeline::mapping::MAPPING_VERSION,
        agency: b"",
        client: item.entry.client.as_bytes(),
        topic: item.entry.topic.as_bytes(),
        properties: &item.properties,
        payload: &item.payload,
        ..Message::of_flags(item.flags, item.packet_id)
    }
}
