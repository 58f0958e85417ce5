//! Payloads to readings.
//!
//! Three forms arrive: the canonical JSON message (`docs/format/json.md`), a bare value on a topic that names its property
//! (same page), and the FlatBuffers message for small devices (`docs/format/telemetry.md`). All three end in the same
//! [`Reading`]s, handed to a [`ReadingSink`] one by one, borrowed from the payload, without allocation in the usual case.
//!
//! Times are epoch µs, UTC. Units, status and text are as sent; only the property name is checked and brought into its
//! canonical form. A reading that cannot be read costs that reading ([`ReadingSink::bad_reading`]), a message that cannot
//! be read costs the message ([`DecodeError`]).

mod error;
pub mod flatbuffers;
pub mod json;
mod number;
#[cfg(test)]
mod test_sink;

pub use crate::name::PropertyName;
pub use error::{DecodeError, ErrorKind};

/// Longest payload that is looked at. Keeps every offset in 32 bits and bounds the time one message can take; the MQTT
/// packet limit of the gateway is far below.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Most readings in one message. Buys a bound on what one message can make grow behind the decoder (rows, feed message,
/// frame), and still carries 17 hours of minute values.
pub const READINGS_PER_MESSAGE_MAX: usize = 1024;
/// Longest text or code value in bytes, as the store's text column is specified.
pub const TEXT_BYTES_MAX: usize = 256;
/// Longest unit in bytes. The longest unit of the table has 10; the rest is room for vendors' spellings.
pub const UNIT_BYTES_MAX: usize = 32;
/// Longest status code in bytes. Circular 10/2021 uses two digits, vendors use words.
pub const STATUS_BYTES_MAX: usize = 32;
/// Most qualifiers of one property. The name's 64 characters hold no more than a handful anyway; this bounds the sorting.
pub const QUALIFIERS_MAX: usize = crate::name::QUALIFIERS_MAX;

/// The result of one reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Always finite.
    Number(f64),
    Boolean(bool),
    /// Text or code, at most [`TEXT_BYTES_MAX`] bytes.
    Text(&'a str),
    /// The sender says that the value is missing.
    Null,
}

/// One reading as decoded, borrowed for the length of the sink's call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading<'a> {
    /// Canonical: NFC, qualifiers sorted (`flow;class=motorcycle;lane=1`).
    pub property: PropertyName<'a>,
    pub value: Value<'a>,
    /// As sent; see [`crate::units`].
    pub unit: Option<&'a str>,
    /// As sent.
    pub status: Option<&'a str>,
    /// Epoch µs, UTC: the reading's own time, else the message's; `None` = undated.
    pub time_us: Option<i64>,
    /// Length of the period that a count, mean or sum covers. A sent period of 0 means none.
    pub period_s: Option<u32>,
}

/// What is said once per message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageInfo {
    /// The sender's own sequence number (`source_seq`).
    pub seq: Option<u64>,
    /// Epoch µs, UTC. Readings already carry it where they have no time of their own.
    pub time_us: Option<i64>,
    /// Readings handed to [`ReadingSink::reading`].
    pub readings: u32,
    /// Readings reported to [`ReadingSink::bad_reading`]. Both above zero: the message is "partial".
    pub bad_readings: u32,
}

/// How a payload is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Canonical JSON message on `obs/{agency}/{station}`.
    Json,
    /// Bare value or JSON object of one reading on `obs/{agency}/{station}/{property}`.
    Bare,
    /// FlatBuffers telemetry message on `obs/{agency}/{station}`.
    FlatBuffers,
}

/// Takes the readings of one message, in the order of the payload: every element of its list of readings is told once, by
/// [`reading`](Self::reading) or [`bad_reading`](Self::bad_reading), whatever it is. So the n-th that is told is the n-th of the payload,
/// for every build: quarantine keeps these numbers, and a decoder that is mended must find the same ones.
pub trait ReadingSink {
    fn reading(&mut self, reading: Reading<'_>);

    /// The reading at `index` (from 0) of the payload cannot be read; the others are not touched by that.
    fn bad_reading(&mut self, index: usize, property: Option<&str>, error: DecodeError);

    /// Everything since the beginning of this message is void: either it is read again from its first reading by the
    /// reader for unusual shapes, or [`decode`] is about to return an error.
    fn discard(&mut self);
}

/// Decodes one payload. `topic_property` is the property level of the topic as sent, needed by [`Format::Bare`] and ignored
/// by the others.
///
/// Bad readings go to [`ReadingSink::bad_reading`] and the result is `Ok`; with [`Format::Bare`], where the message is the
/// reading, they are the message's error. After `Err` the sink has been told to [`ReadingSink::discard`].
pub fn decode(
    format: Format,
    topic_property: Option<&str>,
    payload: &[u8],
    sink: &mut impl ReadingSink,
) -> Result<MessageInfo, DecodeError> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(DecodeError::new(
            ErrorKind::PayloadTooLong,
            PAYLOAD_BYTES_MAX,
            format!("the payload has {} bytes, the most that is read is {PAYLOAD_BYTES_MAX}", payload.len()),
        ));
    }
    let result = match format {
        Format::Json => json::decode_message(payload, sink),
        Format::Bare => json::decode_bare(topic_property, payload, sink),
        Format::FlatBuffers => flatbuffers::decode(payload, sink),
    };
    if result.is_err() {
        sink.discard();
    }
    result
}

/// Finds the format of a payload on `obs/{agency}/{station}`: from the MQTT 5 content type if it says something, else from
/// the first bytes. `None`: not a format of this gateway.
///
/// A topic that names a property is always [`Format::Bare`] and needs no detection.
pub fn detect(content_type: Option<&str>, payload: &[u8]) -> Option<Format> {
    let named =
        content_type.map(|text| text.split(';').next().unwrap_or_default().trim()).unwrap_or_default();
    if named.eq_ignore_ascii_case("application/json") || named.eq_ignore_ascii_case("text/json") {
        return Some(Format::Json);
    }
    if named.eq_ignore_ascii_case(flatbuffers::CONTENT_TYPE) {
        return Some(Format::FlatBuffers);
    }
    let says_nothing = named.is_empty()
        || named.eq_ignore_ascii_case("application/octet-stream")
        || named.eq_ignore_ascii_case("text/plain");
    if !says_nothing {
        return None;
    }
    // The JSON test comes first: a FlatBuffers root offset is a multiple of four and so never starts with `{` or `[`.
    match payload.iter().find(|byte| !number::is_white_space(**byte)) {
        Some(b'{' | b'[') => Some(Format::Json),
        _ if flatbuffers::has_identifier(payload) => Some(Format::FlatBuffers),
        _ => None,
    }
}
