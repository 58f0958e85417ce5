//! Topics and JSON of `feed/v1` (outside contract, design §7).

use std::fmt::Write;

use super::last_values::LastValue;
use crate::observation::ResultKind;
use crate::registry::{Datastream, Registry};

/// `feed/v1/{domain}/{agency}/{station}/{property}`.
pub(super) fn property_topic(datastream: &Datastream) -> String {
    format!("feed/v1/{}/{}", datastream.domain, datastream.name)
}

/// `feed/v1/{domain}/{agency}/{station}`.
pub(super) fn station_topic(registry: &Registry, datastream: &Datastream) -> String {
    let station = registry.station(datastream.station);
    format!("feed/v1/{}/{}/{}", datastream.domain, registry.agency(station.agency), station.code)
}

/// Appends one observation as JSON.
pub(super) fn write_observation(
    out: &mut String,
    registry: &Registry,
    datastream: &Datastream,
    value: &LastValue,
    late: bool,
) {
    out.push_str("{\"datastream\":");
    write_string(out, &datastream.name);
    out.push_str(",\"phenomenonTime\":\"");
    codecs::time::write_rfc3339(value.time_us, out);
    out.push_str("\",\"resultTime\":\"");
    codecs::time::write_rfc3339(value.result_time_us, out);
    out.push_str("\",\"result\":");
    match value.kind {
        ResultKind::Number => write_number(out, f64::from_bits(value.value)),
        ResultKind::Boolean => out.push_str(if value.value == 0 { "false" } else { "true" }),
        ResultKind::Text => write_string(out, value.text.as_deref().unwrap_or("")),
        ResultKind::Null => out.push_str("null"),
    }
    if value.unit != 0 {
        out.push_str(",\"unit\":");
        write_string(out, registry.symbol(value.unit));
    }
    // Writing to a String cannot fail.
    let _ = write!(out, ",\"quality\":{}", value.quality);
    if value.status != 0 {
        out.push_str(",\"status\":");
        write_string(out, registry.symbol(value.status));
    }
    if datastream.period_s != 0 {
        let _ = write!(out, ",\"period_s\":{}", datastream.period_s);
    }
    if let Some(seq) = value.seq {
        let _ = write!(out, ",\"seq\":{seq}");
    }
    let _ = write!(out, ",\"position\":{}", value.position);
    if value.revision != 0 {
        let _ = write!(out, ",\"revision\":{}", value.revision);
    }
    if late {
        out.push_str(",\"late\":true");
    }
    out.push('}');
}

/// The same with `agency`, `station`, `property` and `domain` beside.
pub fn write_named_observation(
    out: &mut String,
    registry: &Registry,
    datastream: &Datastream,
    value: &LastValue,
    late: bool,
) {
    write_observation(out, registry, datastream, value, late);
    out.pop();
    let station = registry.station(datastream.station);
    for (member, text) in [
        ("agency", registry.agency(station.agency)),
        ("station", &station.code),
        ("property", &datastream.property),
        ("domain", &datastream.domain),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(out, ",\"{member}\":");
        write_string(out, text);
    }
    out.push('}');
}

/// A number as JSON: the shortest text that reads back as the same `f64`.
fn write_number(out: &mut String, number: f64) {
    match serde_json::Number::from_f64(number) {
        Some(number) => {
            let text = number.to_string();
            out.push_str(text.strip_suffix(".0").unwrap_or(&text));
        }
        None => out.push_str("null"),
    }
}

fn write_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}
