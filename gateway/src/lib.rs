//! The sensor gateway as a library: every stage is a struct with `step`, threads are thin loops round it.
//!
//! The way of a reading (`docs/architecture.md`): [`mqtt`] → [`journal`] → [`pipeline`] → observation log
//! ([`observation`]) → [`store`], [`feeds`], quarantine; [`catalogue`] keeps the control state, [`books`] the counts.

pub mod api;
pub mod books;
pub mod cancel;
pub mod catalogue;
pub mod cli;
pub mod clock;
pub mod config;
pub mod disk;
pub mod engine;
pub mod feeds;
mod formats;
pub mod health;
pub mod http;
pub mod journal;
pub mod keeper;
pub mod log;
pub mod metrics;
pub mod mqtt;
pub mod observation;
pub mod parameters;
pub mod pipeline;
pub mod quarantine_quota;
pub mod query;
pub mod record;
pub mod registry;
pub mod retained;
pub mod retention;
pub mod rules;
pub mod settle;
pub mod sinks;
pub mod store;
pub mod things;
pub mod verify;
