//! The sensor gateway as a library: every stage is a struct with `step`, threads are thin loops round it.
//!
//! The way of a reading (`docs/architecture.md`): [`mqtt`] → [`journal`] → [`pipeline`] → observation log
//! ([`observation`]) → [`store`], [`feeds`], quarantine; [`catalogue`] keeps the control state, [`books`] the counts.

pub mod books;
pub mod catalogue;
pub mod clock;
pub mod disk;
pub mod feeds;
pub mod journal;
pub mod keeper;
pub mod log;
pub mod metrics;
pub mod mqtt;
pub mod observation;
pub mod pipeline;
pub mod record;
pub mod registry;
pub mod retained;
pub mod sinks;
pub mod store;
