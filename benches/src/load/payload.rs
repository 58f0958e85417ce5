//! Payloads whose time, sequence number and values move on with every message, written in place where the form allows it.

use codecs::payload::Value;
use codecs::payload::flatbuffers::{self, EncodeReading};

use super::options::PayloadKind;
use super::timestamp::{TEXT_BYTES, Timestamps, write_digits};

/// Property and unit of the readings of a message, in this order. All values stay within 10 and 60.
const PROPERTIES: [(&str, &str); 16] = [
    ("pm2_5", "ug/m3"),
    ("pm10", "ug/m3"),
    ("no2", "ug/m3"),
    ("so2", "ug/m3"),
    ("o3", "ug/m3"),
    ("co", "ug/m3"),
    ("pm1", "ug/m3"),
    ("air_temperature", "Cel"),
    ("relative_humidity", "%"),
    ("noise", "dB{A}"),
    ("no", "ug/m3"),
    ("nox", "ug/m3"),
    ("h2s", "ug/m3"),
    ("nh3", "ug/m3"),
    ("battery_level", "%"),
    ("battery_voltage", "V"),
];
/// Ten digits, so that the text never changes its length.
const SEQ_START: u64 = 1_000_000_000;
const SEQ_DIGITS: usize = 10;
/// `38.42`: hundredths from 10.00 to 59.99.
const VALUE_BYTES: usize = 5;
const HUNDREDTHS_MIN: u64 = 1_000;
const HUNDREDTHS_COUNT: u64 = 5_000;

/// The payloads of one station.
#[derive(Debug)]
pub(super) struct PayloadSource {
    times: Timestamps,
    seq: u64,
    /// Drifts slowly, as a sensor does.
    hundredths: u64,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Fixed(Vec<u8>),
    Json { template: Vec<u8>, time_at: usize, seq_at: usize, values_at: Vec<usize> },
    FlatBuffers { readings: usize },
    Bare([u8; VALUE_BYTES]),
}

impl PayloadSource {
    pub(super) fn new(kind: PayloadKind, readings: usize, station: usize) -> Result<Self, String> {
        if readings == 0 || readings > PROPERTIES.len() {
            return Err(format!("--readings must be 1 to {}", PROPERTIES.len()));
        }
        let takes_readings = matches!(kind, PayloadKind::Json { .. } | PayloadKind::FlatBuffers);
        if readings > 1 && !takes_readings {
            return Err("--readings needs --payload json or flatbuffers".to_owned());
        }
        let form = match kind {
            PayloadKind::Bytes { len } => Form::Fixed(vec![b'x'; len]),
            PayloadKind::Json { len } => json_template(readings, len)?,
            PayloadKind::FlatBuffers => Form::FlatBuffers { readings },
            PayloadKind::Bare => Form::Bare(*b"00.00"),
        };
        let hundredths = station as u64 * 37 % HUNDREDTHS_COUNT;
        Ok(Self { times: Timestamps::new(), seq: SEQ_START, hundredths, form })
    }

    /// Readings in one message.
    pub(super) fn readings(kind: PayloadKind, readings: usize) -> usize {
        if matches!(kind, PayloadKind::Bytes { .. }) { 0 } else { readings }
    }

    /// The next payload, until the next call.
    pub(super) fn next<'a>(&'a mut self, now_us: i64, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        self.seq += 1;
        self.hundredths = (self.hundredths + 7) % HUNDREDTHS_COUNT;
        match &mut self.form {
            Form::Fixed(bytes) => bytes,
            Form::Json { template, time_at, seq_at, values_at } => {
                let time_us = self.times.next_us(now_us);
                template[*time_at..*time_at + TEXT_BYTES].copy_from_slice(self.times.text(time_us));
                write_digits(&mut template[*seq_at..*seq_at + SEQ_DIGITS], self.seq);
                for (index, &at) in values_at.iter().enumerate() {
                    write_value(&mut template[at..at + VALUE_BYTES], self.hundredths + index as u64 * 311);
                }
                template
            }
            Form::FlatBuffers { readings } => {
                let time_us = self.times.next_us(now_us);
                let value = |index: usize| hundredths_of(self.hundredths + index as u64 * 311) as f64 / 100.0;
                let mut list = [EncodeReading {
                    property: "",
                    value: Value::Null,
                    unit: None,
                    status: None,
                    time_us: None,
                    period_s: None,
                }; PROPERTIES.len()];
                for (index, reading) in list[..*readings].iter_mut().enumerate() {
                    reading.property = PROPERTIES[index].0;
                    reading.value = Value::Number(value(index));
                }
                *scratch = flatbuffers::encode(Some(time_us), Some(self.seq), &list[..*readings]);
                scratch
            }
            Form::Bare(text) => {
                write_value(text, self.hundredths);
                text
            }
        }
    }
}

fn hundredths_of(drift: u64) -> u64 {
    HUNDREDTHS_MIN + drift % HUNDREDTHS_COUNT
}

fn write_value(room: &mut [u8], drift: u64) {
    let hundredths = hundredths_of(drift);
    write_digits(&mut room[..2], hundredths / 100);
    write_digits(&mut room[3..], hundredths % 100);
}

/// The canonical message with gaps to be filled: `{"time":…,"seq":…,"readings":[…],"pad":"…"}`.
fn json_template(readings: usize, len: Option<usize>) -> Result<Form, String> {
    let mut text = String::from("{\"time\":\"");
    let time_at = text.len();
    text.push_str(&"0".repeat(TEXT_BYTES));
    text.push_str("\",\"seq\":");
    let seq_at = text.len();
    text.push_str(&"0".repeat(SEQ_DIGITS));
    text.push_str(",\"readings\":[");
    let mut values_at = Vec::new();
    for (index, (property, unit)) in PROPERTIES[..readings].iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        text.push_str(&format!("{comma}{{\"property\":\"{property}\",\"value\":"));
        values_at.push(text.len());
        text.push_str(&format!("00.00,\"unit\":\"{unit}\"}}"));
    }
    text.push(']');
    if let Some(len) = len {
        const PAD_MEMBER_BYTES: usize = ",\"pad\":\"\"}".len();
        let pad = len.checked_sub(text.len() + PAD_MEMBER_BYTES).ok_or_else(|| {
            format!("the JSON message alone has {} bytes; --payload json:{len} is too short", text.len() + 1)
        })?;
        text.push_str(&format!(",\"pad\":\"{}\"", "x".repeat(pad)));
    }
    text.push('}');
    Ok(Form::Json { template: text.into_bytes(), time_at, seq_at, values_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::payload::{DecodeError, Format, Reading, ReadingSink, decode};

    #[derive(Default)]
    struct Collected(Vec<(String, f64, Option<i64>)>);

    impl ReadingSink for Collected {
        fn reading(&mut self, reading: Reading<'_>) {
            let Value::Number(value) = reading.value else { panic!("not a number") };
            self.0.push((reading.property.to_string(), value, reading.time_us));
        }
        fn bad_reading(&mut self, _: usize, property: Option<&str>, error: DecodeError) {
            panic!("{property:?}: {error}");
        }
        fn discard(&mut self) {
            self.0.clear();
        }
    }

    fn decoded(kind: PayloadKind, format: Format, readings: usize) -> Vec<Collected> {
        let mut source = PayloadSource::new(kind, readings, 3).unwrap();
        let mut scratch = Vec::new();
        (0..100)
            .map(|_| {
                let payload = source.next(1_763_687_100_123_456, &mut scratch);
                let mut sink = Collected::default();
                decode(format, Some("pm2_5"), payload, &mut sink).unwrap();
                assert_eq!(sink.0.len(), readings);
                assert!(sink.0.iter().all(|(_, value, _)| (10.0..60.0).contains(value)));
                sink
            })
            .collect()
    }

    #[test]
    fn every_message_is_a_legal_one_with_a_later_time() {
        for (kind, format) in [
            (PayloadKind::Json { len: None }, Format::Json),
            (PayloadKind::Json { len: Some(2000) }, Format::Json),
            (PayloadKind::FlatBuffers, Format::FlatBuffers),
        ] {
            for readings in [1, 2, PROPERTIES.len()] {
                let all = decoded(kind, format, readings);
                assert!(all.windows(2).all(|pair| pair[0].0[0].2 < pair[1].0[0].2), "{kind:?}");
            }
        }
        decoded(PayloadKind::Bare, Format::Bare, 1);
    }

    #[test]
    fn padding_gives_the_length_asked_for() {
        let mut source = PayloadSource::new(PayloadKind::Json { len: Some(256) }, 1, 0).unwrap();
        assert_eq!(source.next(1, &mut Vec::new()).len(), 256);
        assert!(PayloadSource::new(PayloadKind::Json { len: Some(64) }, 1, 0).is_err());
    }
}
