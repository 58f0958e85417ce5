//! Promises P3 and P6: a reading with a time or a sequence number never makes a second row, a correction makes a revision, and
//! values, units, names and times mean what the contract says.
//!
//! - [`scenario`]: what every test does: send, compare rows and every number of the ledger at every turn.
//! - [`redelivery`], [`meaning`]: the first gateway's cases (A1-10).
//! - [`cases`]: the hard cases of design §4.2, each with its books (B1-4).
//! - [`ranks`], [`same_time`]: what the configuration decides.
//! - [`readers`]: one row per key at every instant, under flush and compaction.

mod cases;
mod meaning;
mod ranks;
mod readers;
mod redelivery;
mod same_time;
mod scenario;
