//! The books: what became of every message and every reading, as a fold over the observation log (design §4.4, P6).
//!
//! - [`Books::apply`] folds a frame in; frames that were folded before are passed over.
//! - [`Books::delta`] → commit → [`Books::committed`]: the counts travel in the commit that names their checkpoint.
//! - [`Books::ledger`] answers at any instant, committed or not.
//!
//! Counts lie under (hour, agency, client, station); the hour is that of the message's journal frame, also for outcomes
//! that arrive later. Memory holds the open hours only: one, for a moment two, and as many as late rows keep open
//! (bounded by the store, which classifies its late rows at each flush). An hour has at most
//! `3 × keys_per_hour_max + 1` rows of about 120 bytes: what finds no room is counted for the station "(other)" of its
//! client, then for the client "(other)" of its agency, then for the agency "(other)". Closed hours are immutable, lie
//! in the catalogue and form a chain of digests (`docs/format/books.md`). What operators settle afterwards ([`settlements`])
//! is dated, changes no hour, and is added to every answer.

mod digest;
mod fold;
mod hour;
mod ledger;
mod settlements;
mod unresolved;

#[cfg(test)]
mod model_test;
#[cfg(test)]
mod tests;

pub use digest::{hour_digest, settlement_digest};
pub use fold::Books;
pub use ledger::{Ledger, LedgerFilter, LedgerPart, MessageLedger, ObservationLedger, SettledLedger};

/// The name of what found no room of its own in an hour.
pub const OTHER_NAME: &str = "(other)";

const HOUR_US: i64 = 3_600_000_000;

/// The book hour of a receive time: hours since 1970 UTC.
pub fn hour_of(time_us: i64) -> i64 {
    time_us.div_euclid(HOUR_US)
}
