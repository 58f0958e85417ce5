//! Payloads and topics that no gateway can make a reading of.

use crate::client::Planned;
use crate::ledger::{Format, Kind};
use crate::message::{Message, Text};
use crate::payload::Encoded;
use crate::random::Random;

/// A topic below `obs/` and a payload that must end in quarantine as a whole.
pub(crate) fn garbage(random: &mut Random, agency: &str, station: &str) -> (String, Vec<u8>) {
    let topic = format!("obs/{agency}/{station}");
    let text = |text: &str| text.as_bytes().to_vec();
    match random.between(0, 9) {
        0 => (topic, text(r#"{"time":"2026-11-21T08:05:00+07:00","readings":[{"property":"pm2_5","val"#)),
        1 => {
            // 0xFF first: neither JSON nor a FlatBuffers root offset.
            let length = random.between(8, 200);
            let bytes = (0..length).map(|_| random.next_u64().to_le_bytes()[0]);
            (topic, std::iter::once(0xff).chain(bytes).collect())
        }
        2 => (topic, b"{\"readings\":[{\"property\":\"state\",\"value\":\"\xc3\x28\"}]}".to_vec()),
        3 => (topic, text(r#"{"hello":"world"}"#)),
        4 => (topic, text("ERROR 17: sensor bus timeout")),
        5 => (topic, text(r#"{"readings":42}"#)),
        6 => (topic, text(r#"{"readings":[{"property":"pm2_5","value":NaN}]}"#)),
        7 => (topic, text(r#"{"time":"yesterday","readings":[{"property":"pm2_5","value":1.5}]}"#)),
        8 => (format!("obs/{agency}"), text(r#"{"readings":[{"property":"pm2_5","value":1.5}]}"#)),
        _ => (format!("{topic}/pm2_5/extra"), text("1.5")),
    }
}

/// Garbage as it is planned: the ledger knows of no readings in it.
pub(crate) fn planned_garbage(agency: &Text, topic: String, payload: Vec<u8>) -> Planned {
    let message = Message {
        agency: agency.clone(),
        station: Text::Borrowed(""),
        time_us: None,
        utc_offset_s: 0,
        seq: None,
        readings: Vec::new(),
    };
    Planned { encoded: Encoded { topic, payload, message }, format: Format::Json, kind: Kind::Garbage }
}
