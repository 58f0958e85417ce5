//! The FlatBuffers telemetry message for small devices (`docs/format/telemetry.md`, `codecs/schemas/telemetry.fbs`).
//!
//! A message is verified as a whole before anything is read from it, then read in place.

mod decode;
mod encode;
// Written by the compiler of the schema, which has its own taste.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::use_self
)]
#[rustfmt::skip]
mod telemetry_generated;

#[cfg(test)]
mod tests;

pub(super) use decode::decode;
pub use encode::{EncodeReading, encode};
use telemetry_generated::telemetry;

/// MQTT 5 content type of the message.
pub const CONTENT_TYPE: &str = "application/vnd.sensor-gateway.telemetry";
/// FlatBuffers file identifier, bytes 4 to 7 of every message. Another number stands for a form that readers of this one
/// would misunderstand.
pub const IDENTIFIER: &[u8; 4] = b"SGT1";

pub(super) fn has_identifier(payload: &[u8]) -> bool {
    payload.get(4..8) == Some(IDENTIFIER)
}
