//! Simulated devices and edge boxes for the sensor gateway: what they send is known, so what the gateway kept can be proved.
//!
//! Entry points, each usable from another program as well as from the command line:
//! - [`sim::run`]: N stations with seeded signals over C MQTT clients, with duplicates, disorder, gaps, garbage, corrections;
//! - [`replay::run`]: recorded series, as recorded or moved to now;
//! - [`watch::run`]: a subscriber;
//! - [`ledger::Writer`] and [`ledger::Reader`]: the truth ledger, what was sent and acknowledged;
//! - [`verify::verify`]: the ledger against the rows of a store.
//!
//! `sim::run` and `replay::run` block their thread and bring their own runtime; stop and watch them through
//! [`control::Control`]. Nothing here depends on the gateway.

pub mod cli;
mod client;
pub mod control;
pub mod csv;
pub mod ledger;
pub mod message;
pub mod payload;
mod random;
pub mod replay;
pub mod sim;
pub mod time;
pub mod verify;
pub mod watch;

pub use client::{ClientOptions, RunError};
pub use control::{Control, Summary};
