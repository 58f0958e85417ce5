//! Simulated devices and edge boxes for the sensor gateway: what they send is known, so what the gateway kept can be proved.
//!
//! Entry points, each usable from another program as well as from the command line:
//! - [`sim::run`]: N stations with seeded signals over C MQTT clients, with duplicates, disorder, gaps, garbage, corrections;
//! - [`city::City::run`]: the stations of Hải Phòng in one weather, with the past up to now, faults and storms;
//! - [`replay::run`]: recorded series, as recorded or moved to now;
//! - [`watch::run`]: a subscriber;
//! - [`ledger::Writer`] and [`ledger::Reader`]: the truth ledger, what was sent and acknowledged;
//! - [`verify::verify`]: the ledger against the rows of a store.
//!
//! `sim::run`, `city::City::run` and `replay::run` block their thread and bring their own runtime; stop and watch them through
//! [`control::Control`] ([`city::CityControl`] for a city). Nothing here depends on the gateway.

pub mod city;
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
#[cfg(test)]
mod truth;
pub mod verify;
pub mod watch;

pub use client::{ClientOptions, RunError};
pub use control::{Control, Summary};
