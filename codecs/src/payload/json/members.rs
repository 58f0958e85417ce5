//! From the members of a JSON object to a reading: what each member may hold and what is said when it does not.
//!
//! Both readers end here, so that they can differ only in how they find the members.

use super::super::number::Number;
use super::super::{
    DecodeError, ErrorKind, Reading, STATUS_BYTES_MAX, TEXT_BYTES_MAX, UNIT_BYTES_MAX, Value,
};
use crate::name::{self, PropertyName, QUALIFIERS_MAX};
use crate::time::{self, TimeError};
use std::borrow::Cow;

/// A member's value, found but not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Scalar<'a> {
    #[default]
    Absent,
    Null,
    Boolean(bool),
    Number(Number<'a>),
    Text(&'a str),
    /// NaN or an infinity in place of a value: no JSON, but so common that it costs one reading only.
    NotFinite,
    /// A string with an escape that stands for no character.
    BrokenText,
    Object,
    Array,
}

impl Scalar<'_> {
    const fn is_absent(self) -> bool {
        matches!(self, Self::Absent | Self::Null)
    }

    const fn type_name(self) -> &'static str {
        match self {
            Self::Absent => "nothing",
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::NotFinite => "NaN or an infinity",
            Self::BrokenText => "a string with a broken \\u escape",
            Self::Object => "an object",
            Self::Array => "an array",
        }
    }
}

/// A value and where it starts in the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Member<'a> {
    pub(super) scalar: Scalar<'a>,
    pub(super) offset: usize,
}

impl Member<'_> {
    fn wrong_type(self, name: &str, expected: &str) -> DecodeError {
        DecodeError::new(
            ErrorKind::MemberType,
            self.offset,
            format!("`{name}` must be {expected} and is {}", self.scalar.type_name()),
        )
    }
}

/// The members that mean something in the object of one reading, in the order of [`READING_MEMBERS`].
pub(super) const READING_MEMBERS: [&str; 8] =
    ["property", "value", "unit", "status", "time", "period_s", "tags", "seq"];
pub(super) const PROPERTY: usize = 0;
pub(super) const VALUE: usize = 1;
pub(super) const UNIT: usize = 2;
pub(super) const STATUS: usize = 3;
pub(super) const TIME: usize = 4;
pub(super) const PERIOD_S: usize = 5;
pub(super) const TAGS: usize = 6;
pub(super) const SEQ: usize = 7;

/// The members of one reading.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadingMembers<'a> {
    /// Where the object starts.
    pub(super) offset: usize,
    pub(super) members: [Member<'a>; READING_MEMBERS.len()],
}

/// The pairs of `tags`, at most [`TAGS_MAX`]. Takes no memory while there are none.
pub(super) type Tags<'a> = Vec<(&'a str, Member<'a>)>;
/// One more than a name may have, so that the excess is seen.
pub(super) const TAGS_MAX: usize = QUALIFIERS_MAX + 1;

/// Makes the reading. `property` is the topic's where the topic names it; `name_buffer` takes a name that has to be written
/// anew.
pub(super) fn finish<'a>(
    found: &ReadingMembers<'a>,
    tags: &[(&'a str, Member<'a>)],
    topic_property: Option<&'a str>,
    message_time_us: Option<i64>,
    name_buffer: &'a mut String,
) -> Result<Reading<'a>, DecodeError> {
    let members = &found.members;
    let property_member = members[PROPERTY];
    let (property, property_offset) = match (topic_property, property_member.scalar) {
        (Some(property), _) => (property, found.offset),
        (None, Scalar::Text(property)) => (property, property_member.offset),
        (None, Scalar::Absent | Scalar::Null) => {
            return Err(DecodeError::new(
                ErrorKind::PropertyMissing,
                found.offset,
                "the reading has no `property`",
            ));
        }
        (None, _) => return Err(property_member.wrong_type("property", "a string")),
    };
    let property = property_name(property, property_offset, members[TAGS], tags, name_buffer)?;
    let value = value(members[VALUE], found.offset)?;
    let unit = short_text(members[UNIT], "unit", UNIT_BYTES_MAX, ErrorKind::UnitTooLong)?;
    let status = short_text(members[STATUS], "status", STATUS_BYTES_MAX, ErrorKind::StatusTooLong)?;
    let time_us = time_us(members[TIME])?.or(message_time_us);
    let period_s = period_s(members[PERIOD_S])?;
    Ok(Reading { property, value, unit, status, time_us, period_s })
}

/// The property as sent, for the report about a reading that cannot be read.
pub(super) fn property_as_sent<'a>(found: &ReadingMembers<'a>) -> Option<&'a str> {
    match found.members[PROPERTY].scalar {
        Scalar::Text(property) => Some(property),
        _ => None,
    }
}

/// RFC 3339 text or epoch number of a `time` member; `None` if it is absent or null.
pub(super) fn time_us(member: Member<'_>) -> Result<Option<i64>, DecodeError> {
    let time = match member.scalar {
        scalar if scalar.is_absent() => return Ok(None),
        Scalar::Text(text) => time::parse_rfc3339(text),
        Scalar::Number(number) => time::parse_epoch(number.text),
        Scalar::NotFinite => Err(TimeError::NotANumber),
        _ => {
            let expected = "an RFC 3339 string or a number of epoch seconds, ms, µs or ns";
            let mut error = member.wrong_type("time", expected);
            error.kind = ErrorKind::TimeUnreadable;
            return Err(error);
        }
    };
    time.map(Some).map_err(|error| time_error(error, member.offset))
}

pub(super) fn time_error(error: TimeError, offset: usize) -> DecodeError {
    let kind = if error.is_absurd() { ErrorKind::TimeAbsurd } else { ErrorKind::TimeUnreadable };
    DecodeError::new(kind, offset, error.to_string())
}

/// The sender's sequence number; `None` if it is absent or null.
pub(super) fn seq(member: Member<'_>) -> Result<Option<u64>, DecodeError> {
    match member.scalar {
        scalar if scalar.is_absent() => Ok(None),
        Scalar::Number(number) if number.whole().is_some() => Ok(number.whole()),
        scalar => Err(DecodeError::new(
            ErrorKind::SeqInvalid,
            member.offset,
            format!("`seq` must be a whole number from 0 to {} and is {}", u64::MAX, shown(scalar)),
        )),
    }
}

fn period_s(member: Member<'_>) -> Result<Option<u32>, DecodeError> {
    let seconds = match member.scalar {
        scalar if scalar.is_absent() => return Ok(None),
        Scalar::Number(number) => number.whole().and_then(|seconds| u32::try_from(seconds).ok()),
        _ => None,
    };
    match seconds {
        Some(seconds) => Ok(Some(seconds).filter(|seconds| *seconds > 0)),
        None => Err(DecodeError::new(
            ErrorKind::PeriodInvalid,
            member.offset,
            format!(
                "`period_s` must be a whole number of seconds up to {} and is {}",
                u32::MAX,
                shown(member.scalar)
            ),
        )),
    }
}

fn shown(scalar: Scalar<'_>) -> Cow<'_, str> {
    match scalar {
        Scalar::Number(number) => Cow::Borrowed(number.text.get(..40).unwrap_or(number.text)),
        other => Cow::Borrowed(other.type_name()),
    }
}

fn property_name<'a>(
    property: &'a str,
    offset: usize,
    tags_member: Member<'_>,
    tags: &[(&'a str, Member<'a>)],
    name_buffer: &'a mut String,
) -> Result<PropertyName<'a>, DecodeError> {
    if tags.is_empty() {
        if !matches!(tags_member.scalar, Scalar::Absent | Scalar::Null | Scalar::Object) {
            return Err(tags_member.wrong_type("tags", "an object of strings, numbers and booleans"));
        }
        return match name::property(property) {
            Ok(Cow::Borrowed(name)) => Ok(PropertyName::from_checked(name)),
            Ok(Cow::Owned(name)) => {
                *name_buffer = name;
                Ok(PropertyName::from_checked(name_buffer))
            }
            Err(error) => Err(DecodeError::new(ErrorKind::NameInvalid, offset, error.to_string())),
        };
    }
    let mut pairs = Vec::with_capacity(tags.len());
    for (key, member) in tags {
        let value = match member.scalar {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.text,
            Scalar::Boolean(true) => "true",
            Scalar::Boolean(false) => "false",
            Scalar::Null => continue,
            _ => return Err(member.wrong_type(key, "a string, number or boolean, as in all `tags`,")),
        };
        pairs.push((*key, value));
    }
    match name::with_qualifiers(property, &pairs, name_buffer) {
        Ok(()) => Ok(PropertyName::from_checked(name_buffer)),
        Err(error) => Err(DecodeError::new(ErrorKind::NameInvalid, offset, error.to_string())),
    }
}

fn value(member: Member<'_>, reading_offset: usize) -> Result<Value<'_>, DecodeError> {
    match member.scalar {
        Scalar::Number(number) if number.value.is_finite() => Ok(Value::Number(number.value)),
        Scalar::Number(_) => Err(DecodeError::new(
            ErrorKind::BadNumber,
            member.offset,
            "the value is larger than a 64-bit float can hold",
        )),
        Scalar::NotFinite => Err(not_finite(member.offset)),
        Scalar::Boolean(boolean) => Ok(Value::Boolean(boolean)),
        Scalar::Text(text) if text.len() <= TEXT_BYTES_MAX => Ok(Value::Text(text)),
        Scalar::Text(text) => Err(DecodeError::new(
            ErrorKind::ValueTooLong,
            member.offset,
            format!("the text value has {} bytes, the most is {TEXT_BYTES_MAX}", text.len()),
        )),
        Scalar::Null => Ok(Value::Null),
        Scalar::Absent => Err(DecodeError::new(
            ErrorKind::ValueMissing,
            reading_offset,
            "the reading has no `value`; send null if it is missing",
        )),
        Scalar::BrokenText | Scalar::Object | Scalar::Array => {
            Err(member.wrong_type("value", "a number, boolean, string or null"))
        }
    }
}

pub(super) fn not_finite(offset: usize) -> DecodeError {
    DecodeError::new(
        ErrorKind::BadNumber,
        offset,
        "NaN and infinities are not values; send null for a missing value",
    )
}

fn short_text<'a>(
    member: Member<'a>,
    name: &str,
    bytes_max: usize,
    too_long: ErrorKind,
) -> Result<Option<&'a str>, DecodeError> {
    match member.scalar {
        scalar if scalar.is_absent() => Ok(None),
        Scalar::Text("") => Ok(None),
        Scalar::Text(text) if text.len() <= bytes_max => Ok(Some(text)),
        Scalar::Text(text) => Err(DecodeError::new(
            too_long,
            member.offset,
            format!("`{name}` has {} bytes, the most is {bytes_max}", text.len()),
        )),
        _ => Err(member.wrong_type(name, "a string")),
    }
}
