//! The whole gateway in one thread, on simulated clock, network, disk and catalogue, driven by a seed, against a reference
//! model (`docs/simulation.md`).
//!
//! ```text
//!  clients ── bytes ──▶ network ──▶ SimulatedGateway: shards, writer, pipeline, keeper, compactor, router
//!     │                                │            │
//!     ▼                                ▼            ▼
//!   model ◀── rows, books, quarantine ─ view      disk, catalogue, clock ◀── faults, crashes, planted bugs
//! ```

mod actions;
mod bugs;
mod catalogue;
mod client;
mod clock;
mod damage;
mod disk;
mod expiry;
mod feeds;
mod life;
mod model;
mod network;
mod operators;
mod plan;
mod run;
mod story;
mod traffic;
mod view;

pub use bugs::{BUGS, Bug};
pub use plan::Options;
pub use run::{Report, Violation, calm, run};
