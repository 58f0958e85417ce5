//! Payloads as people look at them.

use serde_json::{Map, Value, json};

use crate::query::hex;

/// Bytes of a payload that are shown; `payload_bytes` tells how many there are.
const SHOWN_BYTES_MAX: usize = 16 << 10;

/// Adds `payload_bytes`, `payload_hex` and `payload_text` (null where the payload is not UTF-8).
pub(super) fn show(payload: &[u8], object: &mut Map<String, Value>) {
    let shown = &payload[..payload.len().min(SHOWN_BYTES_MAX)];
    let text =
        std::str::from_utf8(payload).ok().map(|text| &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]);
    object.insert("payload_bytes".to_owned(), json!(payload.len()));
    object.insert("payload_hex".to_owned(), json!(hex(shown)));
    object.insert("payload_text".to_owned(), json!(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(payload: &[u8]) -> Value {
        let mut object = Map::new();
        show(payload, &mut object);
        Value::Object(object)
    }

    #[test]
    fn a2_5_payloads_are_shown_in_hex_and_as_text_where_they_are_one() {
        assert_eq!(
            shown("ư\n".as_bytes()),
            json!({"payload_bytes": 3, "payload_hex": "c6b00a", "payload_text": "ư\n"})
        );
        assert_eq!(shown(b"\xff"), json!({"payload_bytes": 1, "payload_hex": "ff", "payload_text": null}));
        assert_eq!(shown(b""), json!({"payload_bytes": 0, "payload_hex": "", "payload_text": ""}));
    }

    #[test]
    fn a2_5_a_long_payload_is_cut_and_says_how_long_it_is() {
        // The cut lies within a character.
        let payload = format!("x{}", "ư".repeat(20_000));
        let json = shown(payload.as_bytes());
        assert_eq!(json["payload_bytes"], 40_001);
        assert_eq!(json["payload_hex"].as_str().unwrap().len(), 2 * SHOWN_BYTES_MAX);
        assert_eq!(json["payload_text"].as_str().unwrap().len(), SHOWN_BYTES_MAX - 1);
    }
}
