//! The pipeline: runs once per message, in journal order; messages in, one observation frame per step out.
//!
//! ```text
//!  JournalFrame ─▶ mapping (topic → agency, station, property) ─▶ decoder ─▶ rows ─▶ unit, quality ─▶ time, key
//!                     │ cannot be decoded ─▶ quarantined             Outcomes of the store ─┐
//!                     ▼                                                                    ▼
//!                 ObservationFrame ─▶ observation log (synced) ─▶ store, router, quarantine, books
//! ```
//!
//! - [`mapping`]: which topics are observations.
//! - [`dictionary`]: names and their numbers; makes definitions.
//! - [`hot`]: one row per datastream: watermark, last value, unit conversion.
//! - [`decode`]: one message to rows.
//! - [`replay`]: a quarantined message once more.
//! - [`resend`]: recognises re-sends of undated messages.
//! - [`KeeperProgress`]: how far the keeper is, and whether it can take more.
//! - [`stage`]: frames, the observation log.
//! - [`thread`]: the loop round it.
//!
//! The only clock is that of the journal frame, its stamp and receive time, so that the same frames give the same result again.

mod decode;
pub mod dictionary;
mod faults;
pub mod hot;
pub mod mapping;
mod progress;
mod reading_set;
pub mod replay;
#[cfg(test)]
mod replay_tests;
pub mod resend;
pub mod stage;
#[cfg(test)]
mod tests;
pub mod thread;

pub use decode::{MessageDecoder, TimeBounds};
pub use faults::reasons;
pub use hot::last_undated_us;
pub use progress::KeeperProgress;
pub use stage::{Go, Pipeline, Surroundings};
pub use thread::{PipelineLinks, run_pipeline};
