//! Messages to topics and payload bytes, in the three forms of the gateway's contract.

use std::fmt::Write as _;

use codecs::payload::Value as CodecValue;
use codecs::payload::flatbuffers::{EncodeReading, encode as encode_flatbuffers};

use crate::ledger::Format;
use crate::message::{Message, Reading, Value};
use crate::time;

/// How a device writes the time into JSON. Real ones differ, so the simulated ones do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeStyle {
    /// RFC 3339 with the station's own offset.
    #[default]
    LocalText,
    /// RFC 3339, UTC.
    UtcText,
    EpochSeconds,
    EpochMilliseconds,
}

/// One MQTT PUBLISH, and the part of the message that it carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    pub topic: String,
    pub payload: Vec<u8>,
    /// What the payload says: a bare value, for example, has neither time nor sequence number.
    pub message: Message,
}

/// Encodes a message: one payload, or one for each reading with [`Format::Bare`].
///
/// A bare payload is a plain `38.4`, `true` or `false` where the reading is just that (undated, unnumbered); a reading that
/// needs more (text, null, unit other than the catalogue's, status, period) becomes the JSON object of one reading.
pub fn encode(message: Message, format: Format, style: TimeStyle) -> Vec<Encoded> {
    let topic = format!("obs/{}/{}", message.agency, message.station);
    match format {
        Format::Bare => {
            let readings = message.readings.iter();
            readings.map(|reading| encode_bare(&topic, &message, reading, style)).collect()
        }
        Format::Flatbuffers => {
            let payload = flatbuffers(&message);
            vec![Encoded { topic, payload, message }]
        }
        Format::Json => {
            let payload = json(&message, style).into_bytes();
            vec![Encoded { topic, payload, message }]
        }
    }
}

fn encode_bare(topic: &str, message: &Message, reading: &Reading, style: TimeStyle) -> Encoded {
    let topic = format!("{topic}/{}", reading.property);
    let mut reading = reading.clone();
    let time_us = reading.time_us.take().or(message.time_us);
    let is_plain = reading.status.is_none()
        && reading.period_s.is_none()
        && matches!(reading.value, Value::Number(_) | Value::Boolean(_))
        && reading.unit.as_deref().is_none_or(|unit| is_unit_of_the_catalogue(&reading.property, unit));
    if is_plain {
        reading.unit = None;
        let payload = reading.value.to_string().into_bytes();
        let message = Message { time_us: None, seq: None, readings: vec![reading], ..message.clone() };
        return Encoded { topic, payload, message };
    }
    let message = Message { time_us, readings: vec![reading], ..message.clone() };
    let mut out = String::from("{");
    write_head(&mut out, &message, style);
    write_reading(&mut out, &message.readings[0], style, message.utc_offset_s, false);
    out.push('}');
    Encoded { topic, payload: out.into_bytes(), message }
}

/// A value without unit is in the catalogue's unit, so only a reading in that unit may lose it.
fn is_unit_of_the_catalogue(property: &str, unit: &str) -> bool {
    let base = property.split(';').next().unwrap_or_default();
    codecs::property_catalogue::property(base).is_some_and(|entry| entry.unit == Some(unit))
}

fn json(message: &Message, style: TimeStyle) -> String {
    let mut out = String::with_capacity(64 + 64 * message.readings.len());
    out.push('{');
    write_head(&mut out, message, style);
    out.push_str("\"readings\":[");
    for (index, reading) in message.readings.iter().enumerate() {
        out.push_str(if index == 0 { "{" } else { ",{" });
        write_reading(&mut out, reading, style, message.utc_offset_s, true);
        out.push('}');
    }
    out.push_str("]}");
    out
}

/// `"time":…,"seq":…,` as far as there is something to say.
fn write_head(out: &mut String, message: &Message, style: TimeStyle) {
    if let Some(time_us) = message.time_us {
        out.push_str("\"time\":");
        write_time(out, time_us, style, message.utc_offset_s);
        out.push(',');
    }
    if let Some(seq) = message.seq {
        // Writing to a `String` cannot fail, here and below.
        let _ = write!(out, "\"seq\":{seq},");
    }
}

fn write_reading(
    out: &mut String,
    reading: &Reading,
    style: TimeStyle,
    utc_offset_s: i32,
    with_property: bool,
) {
    if with_property {
        out.push_str("\"property\":");
        write_text(out, &reading.property);
        out.push(',');
    }
    out.push_str("\"value\":");
    match &reading.value {
        Value::Text(text) => write_text(out, text),
        other => {
            let _ = write!(out, "{other}");
        }
    }
    if let Some(unit) = &reading.unit {
        out.push_str(",\"unit\":");
        write_text(out, unit);
    }
    if let Some(status) = &reading.status {
        out.push_str(",\"status\":");
        write_text(out, status);
    }
    if let Some(period_s) = reading.period_s {
        let _ = write!(out, ",\"period_s\":{period_s}");
    }
    if let Some(time_us) = reading.time_us {
        out.push_str(",\"time\":");
        write_time(out, time_us, style, utc_offset_s);
    }
}

fn write_time(out: &mut String, time_us: i64, style: TimeStyle, utc_offset_s: i32) {
    // A style that cannot say the time exactly gives way to text.
    let _ = match style {
        TimeStyle::EpochSeconds if time_us % 1_000_000 == 0 => write!(out, "{}", time_us / 1_000_000),
        TimeStyle::EpochMilliseconds if time_us % 1_000 == 0 => write!(out, "{}", time_us / 1_000),
        TimeStyle::LocalText => write!(out, "\"{}\"", time::format_with_offset(time_us, utc_offset_s)),
        _ => write!(out, "\"{}\"", time::format_utc(time_us)),
    };
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        let _ = match character {
            '"' | '\\' => write!(out, "\\{character}"),
            control if control < ' ' => write!(out, "\\u{:04x}", u32::from(control)),
            other => write!(out, "{other}"),
        };
    }
    out.push('"');
}

fn flatbuffers(message: &Message) -> Vec<u8> {
    let readings: Vec<EncodeReading<'_>> = message
        .readings
        .iter()
        .map(|reading| EncodeReading {
            property: &reading.property,
            value: match &reading.value {
                Value::Number(number) => CodecValue::Number(*number),
                Value::Boolean(boolean) => CodecValue::Boolean(*boolean),
                Value::Text(text) => CodecValue::Text(text),
                Value::Null => CodecValue::Null,
            },
            unit: reading.unit.as_deref(),
            status: reading.status.as_deref(),
            time_us: reading.time_us,
            period_s: reading.period_s,
        })
        .collect();
    encode_flatbuffers(message.time_us, message.seq, &readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let mut late = Reading::number("water_level", 1.27, "m").with_status(Some("00"));
        late.time_us = time::parse("2026-11-21T01:04:30Z");
        Message {
            agency: "H24.05".into(),
            station: "KHI003".into(),
            time_us: time::parse("2026-11-21T01:05:00Z"),
            utc_offset_s: 7 * 3600,
            seq: Some(1042),
            readings: vec![Reading::number("pm2_5", 38.4, "ug/m3"), late],
        }
    }

    fn payload_text(encoded: &Encoded) -> &str {
        std::str::from_utf8(&encoded.payload).expect("JSON is UTF-8")
    }

    #[test]
    fn json_is_the_canonical_message_of_the_contract() {
        let encoded = encode(message(), Format::Json, TimeStyle::LocalText);
        assert_eq!(encoded[0].topic, "obs/H24.05/KHI003");
        assert_eq!(
            payload_text(&encoded[0]),
            r#"{"time":"2026-11-21T08:05:00+07:00","seq":1042,"readings":[{"property":"pm2_5","value":38.4,"unit":"ug/m3"},"#
                .to_owned()
                + r#"{"property":"water_level","value":1.27,"unit":"m","status":"00","time":"2026-11-21T08:04:30+07:00"}]}"#
        );
    }

    #[test]
    fn what_is_written_is_what_an_independent_reader_reads() {
        let mut odd = message();
        odd.readings.push(Reading::text("state", "a\"b\\c\u{1}\n µ"));
        odd.readings.push(Reading::new("pump_running", Value::Boolean(true), None));
        odd.readings.push(Reading::new("level", Value::Null, None).with_period_s(3600));
        let encoded = encode(odd, Format::Json, TimeStyle::EpochMilliseconds);
        let read: serde_json::Value = serde_json::from_slice(&encoded[0].payload).expect("JSON");
        assert_eq!(read["time"], 1_795_223_100_000_i64);
        assert_eq!(read["readings"][2]["value"], "a\"b\\c\u{1}\n µ");
        assert_eq!(read["readings"][3]["value"], true);
        assert_eq!(read["readings"][4]["value"], serde_json::Value::Null);
        assert_eq!(read["readings"][4]["period_s"], 3600);
    }

    #[test]
    fn bare_is_a_plain_value_where_it_can_be_and_the_truth_says_so() {
        let encoded = encode(message(), Format::Bare, TimeStyle::UtcText);
        assert_eq!(
            (encoded[0].topic.as_str(), payload_text(&encoded[0])),
            ("obs/H24.05/KHI003/pm2_5", "38.4")
        );
        assert_eq!((encoded[0].message.time_us, encoded[0].message.seq), (None, None));
        assert_eq!(encoded[0].message.readings[0].unit, None);
        assert_eq!(
            payload_text(&encoded[1]),
            r#"{"time":"2026-11-21T01:04:30Z","seq":1042,"value":1.27,"unit":"m","status":"00"}"#
        );
    }
}
