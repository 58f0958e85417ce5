//! Tests of the codec as a whole. `statements`: what is refused, and by which statement. `legal`: what must be
//! accepted. `round_trip`: encode and decode are inverse. `robustness`: no bytes make it panic.

use crate::mqtt as api;

mod generate;
mod legal;
mod robustness;
mod round_trip;
mod statements;

/// A packet with a right Remaining Length, up to 127 bytes of body.
fn frame(first_byte: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "test frames are small");
    [&[first_byte, body.len() as u8], body].concat()
}

/// A string or binary field: two bytes of length, then the bytes.
fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// A CONNECT with keep-alive 60 from its flags on; for 5.0 the payload starts with the properties.
fn connect(level: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x10, &[&b"\0\x04MQTT"[..], &[level, flags, 0, 60], payload].concat())
}
