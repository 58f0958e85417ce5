//! A sink for tests: owns what it got.

use super::{DecodeError, Reading, ReadingSink, Value};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum OwnedValue {
    /// Bits, so that −0 is not 0.
    Number(u64),
    Boolean(bool),
    Text(String),
    Null,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Owned {
    pub(super) property: String,
    pub(super) value: OwnedValue,
    pub(super) unit: Option<String>,
    pub(super) status: Option<String>,
    pub(super) time_us: Option<i64>,
    pub(super) period_s: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Collected {
    pub(super) readings: Vec<Owned>,
    pub(super) bad: Vec<(usize, Option<String>, DecodeError)>,
}

impl ReadingSink for Collected {
    fn reading(&mut self, reading: Reading<'_>) {
        self.readings.push(Owned {
            property: reading.property.as_str().to_owned(),
            value: match reading.value {
                Value::Number(number) => OwnedValue::Number(number.to_bits()),
                Value::Boolean(boolean) => OwnedValue::Boolean(boolean),
                Value::Text(text) => OwnedValue::Text(text.to_owned()),
                Value::Null => OwnedValue::Null,
            },
            unit: reading.unit.map(str::to_owned),
            status: reading.status.map(str::to_owned),
            time_us: reading.time_us,
            period_s: reading.period_s,
        });
    }

    fn bad_reading(&mut self, index: usize, property: Option<&str>, error: DecodeError) {
        self.bad.push((index, property.map(str::to_owned), error));
    }

    fn discard(&mut self) {
        *self = Self::default();
    }
}
