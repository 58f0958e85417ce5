//! Readings → telemetry message, for the simulator, tests and benchmarks.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::super::Value;
use super::telemetry::{self, Message, MessageArgs, Reading, ReadingArgs};
use crate::property_catalogue;

/// One reading for [`encode`]. Nothing is checked, so that tests and the simulator can send what is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncodeReading<'a> {
    /// With its qualifiers; a base name of the catalogue is written as its number.
    pub property: &'a str,
    pub value: Value<'a>,
    pub unit: Option<&'a str>,
    pub status: Option<&'a str>,
    /// `None`: the message's.
    pub time_us: Option<i64>,
    pub period_s: Option<u32>,
}

impl<'a> EncodeReading<'a> {
    /// A plain number.
    pub const fn number(property: &'a str, value: f64) -> Self {
        Self {
            property,
            value: Value::Number(value),
            unit: None,
            status: None,
            time_us: None,
            period_s: None,
        }
    }

    /// Whether it can stand in the message itself.
    fn is_plain_number(&self, message_time_us: Option<i64>) -> Option<f64> {
        match *self {
            Self {
                value: Value::Number(number),
                unit: None,
                status: None,
                time_us,
                period_s: None,
                property,
            } if (time_us.is_none() || time_us == message_time_us)
                && Property::of(property).qualifiers.is_none() =>
            {
                Some(number)
            }
            _ => None,
        }
    }
}

/// Encodes one message. One plain number (no unit, status, time of its own, period or qualifiers behind a number) takes the
/// short form: at most 64 bytes with a property of the catalogue or a name of up to 7 bytes.
pub fn encode(time_us: Option<i64>, seq: Option<u64>, readings: &[EncodeReading<'_>]) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::with_capacity(64 + 64 * readings.len());
    let narrow = seq.and_then(|seq| u32::try_from(seq).ok());
    let numbered = MessageArgs {
        time_us,
        seq: narrow,
        seq_wide: seq.filter(|_| narrow.is_none()),
        ..MessageArgs::default()
    };
    let message = match readings {
        [only] if only.is_plain_number(time_us).is_some() => {
            let property = Property::of(only.property);
            let name = property.name.map(|name| builder.create_string(name));
            let args = MessageArgs {
                number: only.is_plain_number(time_us),
                property: name,
                property_number: property.number,
                ..numbered
            };
            Message::create(&mut builder, &args)
        }
        _ => {
            let tables: Vec<_> =
                readings.iter().map(|reading| encode_reading(&mut builder, reading)).collect();
            let readings = Some(builder.create_vector(&tables));
            Message::create(&mut builder, &MessageArgs { readings, ..numbered })
        }
    };
    telemetry::finish_message_buffer(&mut builder, message);
    builder.finished_data().to_vec()
}

fn encode_reading<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    reading: &EncodeReading<'_>,
) -> WIPOffset<Reading<'b>> {
    let property = Property::of(reading.property);
    // Equal texts of several readings are written once.
    let mut shared = |text: Option<&str>| text.map(|text| builder.create_shared_string(text));
    let (name, qualifiers) = (shared(property.name), shared(property.qualifiers));
    let (unit, status) = (shared(reading.unit), shared(reading.status));
    let text = match reading.value {
        Value::Text(text) => shared(Some(text)),
        _ => None,
    };
    let args = ReadingArgs {
        number: if let Value::Number(number) = reading.value { Some(number) } else { None },
        property_number: property.number,
        property: name,
        qualifiers,
        time_us: reading.time_us,
        boolean: if let Value::Boolean(boolean) = reading.value { Some(boolean) } else { None },
        text,
        missing: reading.value == Value::Null,
        unit,
        status,
        period_s: reading.period_s.unwrap_or(0),
    };
    Reading::create(builder, &args)
}

/// How a property is written: number and qualifiers, or name.
struct Property<'a> {
    number: u16,
    name: Option<&'a str>,
    qualifiers: Option<&'a str>,
}

impl<'a> Property<'a> {
    fn of(property: &'a str) -> Self {
        let (base, qualifiers) = match property.split_once(';') {
            Some((base, qualifiers)) => (base, Some(qualifiers)),
            None => (property, None),
        };
        match property_catalogue::property(base) {
            Some(entry) => Self { number: entry.number, name: None, qualifiers },
            None => Self { number: 0, name: Some(property), qualifiers: None },
        }
    }
}
