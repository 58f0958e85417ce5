//! For tests: does the gateway's decoder find in a payload what the ledger says is in it?

use codecs::payload::{self, DecodeError, Format, ReadingSink};

use crate::client::Planned;
use crate::ledger::Kind;
use crate::message::Value;

/// What a decoder finds, as text.
#[derive(Default)]
struct Found(Vec<String>);

impl ReadingSink for Found {
    fn reading(&mut self, reading: payload::Reading<'_>) {
        let value = match reading.value {
            payload::Value::Number(number) => Value::Number(number),
            payload::Value::Boolean(boolean) => Value::Boolean(boolean),
            payload::Value::Text(text) => Value::Text(text.to_owned()),
            payload::Value::Null => Value::Null,
        };
        let (property, unit, status) = (reading.property.as_str(), reading.unit, reading.status);
        self.0.push(format!(
            "{property} {value} {unit:?} {status:?} {:?} {:?}",
            reading.time_us, reading.period_s
        ));
    }

    fn bad_reading(&mut self, _index: usize, _property: Option<&str>, _error: DecodeError) {}

    fn discard(&mut self) {
        self.0.clear();
    }
}

/// Panics where payload and ledger disagree; returns the form of the payload, or `None` for garbage.
pub(crate) fn check(planned: &Planned) -> Option<Format> {
    let message = &planned.encoded.message;
    let mut levels = planned.encoded.topic.split('/').skip(1);
    let (is_station, property) = (levels.nth(1).is_some(), levels.next());
    let is_topic = is_station && levels.next().is_none();
    let payload = planned.encoded.payload.as_slice();
    let format = if property.is_some() { Some(Format::Bare) } else { payload::detect(None, payload) };
    let mut found = Found::default();
    let info = format.map(|format| payload::decode(format, property, payload, &mut found));
    if planned.kind == Kind::Garbage {
        assert!(!is_topic || found.0.is_empty(), "{:?}", String::from_utf8_lossy(payload));
        return None;
    }
    assert_eq!(info.and_then(Result::ok).map(|info| info.seq), Some(message.seq));
    let sent: Vec<String> = message
        .readings
        .iter()
        .map(|reading| {
            let time_us = reading.time_us.or(message.time_us);
            let (unit, status) = (reading.unit.as_deref(), reading.status.as_deref());
            let (property, value) = (&reading.property, &reading.value);
            format!("{property} {value} {unit:?} {status:?} {time_us:?} {:?}", reading.period_s)
        })
        .collect();
    assert_eq!(found.0, sent);
    format
}
