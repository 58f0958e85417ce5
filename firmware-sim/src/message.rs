//! What a simulated device says, before it is put into bytes: the truth that the ledger keeps.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use serde::{Deserialize as DeriveDeserialize, Serialize as DeriveSerialize};

/// A name, unit or status: nearly always a constant of the program, and owned only when it came out of a file.
pub type Text = Cow<'static, str>;

/// The result of one reading. As JSON: a number, `true`, `false`, a string, or `null` = missing.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Always finite.
    Number(f64),
    Boolean(bool),
    Text(String),
    Null,
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Boolean(boolean) => write!(formatter, "{boolean}"),
            Self::Text(text) => write!(formatter, "{text:?}"),
            Self::Null => formatter.write_str("null"),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Null => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number, a boolean, a string or null")
    }

    fn visit_bool<E: de::Error>(self, boolean: bool) -> Result<Value, E> {
        Ok(Value::Boolean(boolean))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// One reading.
#[derive(Clone, Debug, PartialEq, DeriveSerialize, DeriveDeserialize)]
pub struct Reading {
    /// Catalogue code, with qualifiers in sorted order where one place has several: `flow;class=car`.
    pub property: Text,
    pub value: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Text>,
    /// The period in seconds that a count, mean or sum covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_s: Option<u32>,
    /// Epoch µs; only where it differs from the message's time.
    #[serde(
        default,
        rename = "time",
        with = "crate::time::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub time_us: Option<i64>,
}

impl Reading {
    /// A reading without status, period and time of its own.
    pub fn new(property: impl Into<Text>, value: Value, unit: Option<&'static str>) -> Self {
        let unit = unit.map(Cow::Borrowed);
        Self { property: property.into(), value, unit, status: None, period_s: None, time_us: None }
    }

    pub fn number(property: impl Into<Text>, number: f64, unit: &'static str) -> Self {
        Self::new(property, Value::Number(number), Some(unit))
    }

    pub fn text(property: impl Into<Text>, text: &str) -> Self {
        Self::new(property, Value::Text(text.to_owned()), None)
    }

    #[must_use]
    pub fn with_status(mut self, status: Option<impl Into<Text>>) -> Self {
        self.status = status.map(Into::into);
        self
    }

    #[must_use]
    pub fn with_period_s(mut self, period_s: u32) -> Self {
        self.period_s = Some(period_s);
        self
    }
}

/// Readings that one station sends together.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub agency: Text,
    pub station: Text,
    /// Epoch µs; `None` = undated.
    pub time_us: Option<i64>,
    /// Offset of the clock on the station's wall from UTC. Matters only for how the time is written.
    pub utc_offset_s: i32,
    pub seq: Option<u64>,
    pub readings: Vec<Reading>,
}

/// Makes a legal agency or station name of any text: other characters than `A–Z a–z 0–9 . _ -` become `-`.
pub fn legal_name(text: &str) -> String {
    let is_legal = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
    let name: String = text
        .trim()
        .chars()
        .take(64)
        .map(|character| if is_legal(character) { character } else { '-' })
        .collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_survives_json_bit_for_bit() {
        // 10.357019999999999 is one of the recorded wind speeds that a careless reader gets one bit wrong.
        let values = [
            Value::Number(10.357_019_999_999_999),
            Value::Number(-0.1),
            Value::Number(3.0),
            Value::Number(1e300),
            Value::Boolean(true),
            Value::Text("Mist \"x\"\n".to_owned()),
            Value::Null,
        ];
        for value in values {
            let text = serde_json::to_string(&value).expect("a value can be written");
            assert_eq!(serde_json::from_str::<Value>(&text).expect("and read"), value, "{text}");
        }
    }

    #[test]
    fn names_become_legal() {
        assert_eq!(legal_name("London Westminster"), "London-Westminster");
        assert_eq!(legal_name("  "), "unnamed");
        assert_eq!(legal_name(&"é".repeat(99)), "-".repeat(64));
    }
}
