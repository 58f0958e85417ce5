//! Canonical JSON messages and bare values (`docs/format/json.md`).
//!
//! Two readers: [`fast`] for the usual shape, [`slow`] for the rest. [`fast`] gives up rather than judge, so every message's
//! error comes from [`slow`]; what a member may hold is said once, in [`members`]. Property tests compare the two.

mod fast;
mod members;
mod slow;

#[cfg(test)]
mod tests;

use super::number;
use super::{DecodeError, ErrorKind, MessageInfo, Reading, ReadingSink, Value};
use crate::name::{self, PropertyName};
use members::{ReadingMembers, Tags};

pub(super) fn decode_message(
    payload: &[u8],
    sink: &mut impl ReadingSink,
) -> Result<MessageInfo, DecodeError> {
    if let Ok(text) = std::str::from_utf8(payload)
        && let Some(info) = fast::message(text, sink)
    {
        return Ok(info);
    }
    sink.discard();
    slow::message(&slow::Checked::new(payload)?, sink)
}

/// Reads a number, `true`, `false`, or the object of one reading.
pub(super) fn decode_bare(
    topic_property: Option<&str>,
    payload: &[u8],
    sink: &mut impl ReadingSink,
) -> Result<MessageInfo, DecodeError> {
    let Some(property) = topic_property else {
        return Err(DecodeError::new(
            ErrorKind::PropertyMissing,
            0,
            "a bare value needs a topic that names its property: obs/{agency}/{station}/{property}",
        ));
    };
    let start = payload.iter().take_while(|byte| number::is_white_space(**byte)).count();
    let white_at_end =
        payload[start..].iter().rev().take_while(|byte| number::is_white_space(**byte)).count();
    let trimmed = &payload[start..payload.len() - white_at_end];
    if trimmed.first() == Some(&b'{') {
        return decode_object(property, payload, sink);
    }
    let value = bare_value(trimmed, start)?;
    let checked = name::property(property)
        .map_err(|error| DecodeError::new(ErrorKind::NameInvalid, 0, error.to_string()))?;
    let property = PropertyName::from_checked(&checked);
    sink.reading(Reading { property, value, unit: None, status: None, time_us: None, period_s: None });
    Ok(MessageInfo { readings: 1, ..MessageInfo::default() })
}

fn decode_object(
    property: &str,
    payload: &[u8],
    sink: &mut impl ReadingSink,
) -> Result<MessageInfo, DecodeError> {
    let (mut found, mut tags) = (ReadingMembers::default(), Tags::new());
    if let Ok(text) = std::str::from_utf8(payload)
        && let Some(()) = fast::reading_object(text, &mut found, &mut tags)
    {
        let mut name_buffer = String::new();
        let reading = members::finish(&found, &tags, Some(property), None, &mut name_buffer)?;
        let seq = members::seq(found.members[members::SEQ])?;
        sink.reading(reading);
        return Ok(MessageInfo { seq, time_us: reading.time_us, readings: 1, bad_readings: 0 });
    }
    slow::reading_object(&slow::Checked::new(payload)?, property, sink)
}

/// The value of a payload that is nothing but one word or number; `offset` is where it starts.
fn bare_value(trimmed: &[u8], offset: usize) -> Result<Value<'static>, DecodeError> {
    match trimmed {
        b"" => return Err(DecodeError::new(ErrorKind::Empty, 0, "the payload is empty")),
        b"true" => return Ok(Value::Boolean(true)),
        b"false" => return Ok(Value::Boolean(false)),
        _ => {}
    }
    let text = std::str::from_utf8(trimmed).map_err(|error| {
        DecodeError::new(ErrorKind::NotUtf8, offset + error.valid_up_to(), "the payload is not UTF-8 here")
    })?;
    match number::scan(text, 0) {
        Some((number, end)) if end == text.len() && number.value.is_finite() => {
            Ok(Value::Number(number.value))
        }
        Some((_, end)) if end == text.len() => Err(DecodeError::new(
            ErrorKind::BadNumber,
            offset,
            "the value is larger than a 64-bit float can hold",
        )),
        _ if is_not_finite(text) => Err(members::not_finite(offset)),
        scanned => Err(DecodeError::new(
            ErrorKind::NotJson,
            offset + scanned.map_or(0, |(_, end)| end),
            "the payload is not a bare value: expected a number like -12.5, true, false, or a JSON object with `value`",
        )),
    }
}

/// Every usual spelling of NaN and the infinities, to say what is wrong with them.
fn is_not_finite(text: &str) -> bool {
    let text = text.trim_start_matches(['+', '-']);
    ["nan", "inf", "infinity"].iter().any(|word| text.eq_ignore_ascii_case(word))
}
