//! Telemetry message → readings.

use flatbuffers::{InvalidFlatbuffer, VerifierOptions};

use super::super::{
    DecodeError, ErrorKind, MessageInfo, READINGS_PER_MESSAGE_MAX, Reading, ReadingSink, STATUS_BYTES_MAX,
    TEXT_BYTES_MAX, UNIT_BYTES_MAX, Value,
};
use super::{has_identifier, telemetry};
use crate::name::{self, PropertyName};
use crate::property_catalogue;
use crate::time;
use std::borrow::Cow;

/// What the verifier lets pass. The depth is that of the schema (message, reading) with room for tables in readings; the
/// tables are the message and its readings; the apparent size holds 1024 readings with every text at its longest twice
/// over, and stops a message that shows one large text in every reading.
const VERIFIER_OPTIONS: VerifierOptions = VerifierOptions {
    max_depth: 4,
    max_tables: 1 + READINGS_PER_MESSAGE_MAX,
    max_apparent_size: 2 << 20,
    ignore_missing_null_terminator: false,
};

pub(in super::super) fn decode(
    payload: &[u8],
    sink: &mut impl ReadingSink,
) -> Result<MessageInfo, DecodeError> {
    if payload.is_empty() {
        return Err(DecodeError::new(ErrorKind::Empty, 0, "the payload is empty"));
    }
    if !has_identifier(payload) {
        return Err(DecodeError::new(
            ErrorKind::FlatbufferInvalid,
            4,
            "the payload does not have the file identifier SGT1 of a telemetry message",
        ));
    }
    let message = flatbuffers::root_with_opts::<telemetry::Message<'_>>(&VERIFIER_OPTIONS, payload)
        .map_err(|error| invalid(&error))?;

    let location = message._tab.loc();
    let time_us = checked_time(message.time_us(), location)?;
    let seq = message.seq().map(u64::from).or(message.seq_wide());
    let mut info = MessageInfo { seq, time_us, ..MessageInfo::default() };
    let mut name_buffer = String::new();
    let mut index = 0;
    if let Some(number) = message.number() {
        let property =
            Property { number: message.property_number(), name: message.property(), qualifiers: None };
        let reading = in_place(number, property, location, time_us, &mut name_buffer);
        deliver(reading, index, message.property(), &mut info, sink);
        index += 1;
    } else if message.property().is_some() || message.property_number() != 0 {
        let error = DecodeError::new(
            ErrorKind::ValueMissing,
            location,
            "the message names a property but has no `number`; other results stand in `readings`",
        );
        deliver(Err(error), index, message.property(), &mut info, sink);
        index += 1;
    }
    let Some(readings) = message.readings() else {
        if index > 0 {
            return Ok(info);
        }
        return Err(DecodeError::new(
            ErrorKind::ReadingsMissing,
            location,
            "the message has neither a `number` nor `readings`",
        ));
    };
    if index + readings.len() > READINGS_PER_MESSAGE_MAX {
        return Err(too_many_readings(location));
    }
    for reading in readings {
        deliver(finish(reading, time_us, &mut name_buffer), index, reading.property(), &mut info, sink);
        index += 1;
    }
    Ok(info)
}

fn deliver(
    reading: Result<Reading<'_>, DecodeError>,
    index: usize,
    property: Option<&str>,
    info: &mut MessageInfo,
    sink: &mut impl ReadingSink,
) {
    match reading {
        Ok(reading) => {
            info.readings += 1;
            sink.reading(reading);
        }
        Err(error) => {
            info.bad_readings += 1;
            sink.bad_reading(index, property, error);
        }
    }
}

/// The one number that stands in the message itself.
fn in_place<'a>(
    number: f64,
    property: Property<'a>,
    location: usize,
    time_us: Option<i64>,
    name_buffer: &'a mut String,
) -> Result<Reading<'a>, DecodeError> {
    let property = property.checked(location, name_buffer)?;
    let value = finite(number, location)?;
    Ok(Reading { property, value, unit: None, status: None, time_us, period_s: None })
}

fn finish<'a>(
    reading: telemetry::Reading<'a>,
    message_time_us: Option<i64>,
    name_buffer: &'a mut String,
) -> Result<Reading<'a>, DecodeError> {
    let location = reading._tab.loc();
    let property = Property {
        number: reading.property_number(),
        name: reading.property(),
        qualifiers: reading.qualifiers(),
    };
    let property = property.checked(location, name_buffer)?;
    let value = value(reading, location)?;
    let unit = short_text(reading.unit(), "unit", UNIT_BYTES_MAX, ErrorKind::UnitTooLong, location)?;
    let status =
        short_text(reading.status(), "status", STATUS_BYTES_MAX, ErrorKind::StatusTooLong, location)?;
    let time_us = checked_time(reading.time_us(), location)?.or(message_time_us);
    let period_s = Some(reading.period_s()).filter(|seconds| *seconds > 0);
    Ok(Reading { property, value, unit, status, time_us, period_s })
}

fn value(reading: telemetry::Reading<'_>, location: usize) -> Result<Value<'_>, DecodeError> {
    match (reading.number(), reading.boolean(), reading.text(), reading.missing()) {
        (Some(number), None, None, false) => finite(number, location),
        (None, Some(boolean), None, false) => Ok(Value::Boolean(boolean)),
        (None, None, Some(text), false) if text.len() <= TEXT_BYTES_MAX => Ok(Value::Text(text)),
        (None, None, Some(text), false) => Err(DecodeError::new(
            ErrorKind::ValueTooLong,
            location,
            format!("the text value has {} bytes, the most is {TEXT_BYTES_MAX}", text.len()),
        )),
        (None, None, None, true) => Ok(Value::Null),
        (None, None, None, false) => Err(DecodeError::new(
            ErrorKind::ValueMissing,
            location,
            "the reading has no result: set number, boolean, text or missing",
        )),
        _ => Err(DecodeError::new(
            ErrorKind::MemberTwice,
            location,
            "the reading has more than one of number, boolean, text and missing",
        )),
    }
}

fn finite(number: f64, location: usize) -> Result<Value<'static>, DecodeError> {
    if number.is_finite() {
        return Ok(Value::Number(number));
    }
    Err(DecodeError::new(
        ErrorKind::BadNumber,
        location,
        "NaN and infinities are not values; set `missing` for a missing value",
    ))
}

fn checked_time(time_us: Option<i64>, location: usize) -> Result<Option<i64>, DecodeError> {
    time_us
        .map(time::in_bounds)
        .transpose()
        .map_err(|error| DecodeError::new(ErrorKind::TimeAbsurd, location, error.to_string()))
}

fn short_text<'a>(
    text: Option<&'a str>,
    name: &str,
    bytes_max: usize,
    too_long: ErrorKind,
    location: usize,
) -> Result<Option<&'a str>, DecodeError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) if text.len() <= bytes_max => Ok(Some(text)),
        Some(text) => Err(DecodeError::new(
            too_long,
            location,
            format!("`{name}` has {} bytes, the most is {bytes_max}", text.len()),
        )),
    }
}

/// The three ways in which a property is named.
struct Property<'a> {
    number: u16,
    name: Option<&'a str>,
    qualifiers: Option<&'a str>,
}

impl<'a> Property<'a> {
    fn checked(self, location: usize, name_buffer: &'a mut String) -> Result<PropertyName<'a>, DecodeError> {
        let (known, name) = match (self.number, self.name) {
            (0, Some(name)) => (false, name),
            (0, None) => {
                return Err(DecodeError::new(
                    ErrorKind::PropertyMissing,
                    location,
                    "the reading has neither `property` nor `property_number`",
                ));
            }
            (_, Some(_)) => {
                return Err(DecodeError::new(
                    ErrorKind::MemberTwice,
                    location,
                    "the reading has both `property` and `property_number`",
                ));
            }
            (number, None) => match property_catalogue::property_by_number(number) {
                Some(entry) => (true, entry.code),
                None => {
                    return Err(DecodeError::new(
                        ErrorKind::PropertyUnknown,
                        location,
                        format!("the catalogue of this gateway has no property with the number {number}"),
                    ));
                }
            },
        };
        let invalid =
            |error: name::NameError| DecodeError::new(ErrorKind::NameInvalid, location, error.to_string());
        if let Some(qualifiers) = self.qualifiers.filter(|qualifiers| !qualifiers.is_empty()) {
            // Both parts are bounded by the payload; the name's own limit is checked with the rest.
            let whole = format!("{name};{qualifiers}");
            *name_buffer = name::property(&whole).map_err(invalid)?.into_owned();
            return Ok(PropertyName::from_checked(name_buffer));
        }
        if known {
            return Ok(PropertyName::from_checked(name));
        }
        match name::property(name).map_err(invalid)? {
            Cow::Borrowed(name) => Ok(PropertyName::from_checked(name)),
            Cow::Owned(name) => {
                *name_buffer = name;
                Ok(PropertyName::from_checked(name_buffer))
            }
        }
    }
}

fn too_many_readings(location: usize) -> DecodeError {
    DecodeError::new(
        ErrorKind::TooManyReadings,
        location,
        format!("the message has more than {READINGS_PER_MESSAGE_MAX} readings; send several messages"),
    )
}

/// The verifier's verdict as a sentence with a place.
fn invalid(error: &InvalidFlatbuffer) -> DecodeError {
    let (kind, offset, words) = match error {
        InvalidFlatbuffer::Utf8Error { error, range, .. } => {
            let at = range.start + error.valid_up_to();
            return DecodeError::new(ErrorKind::NotUtf8, at, "a text of the message is not UTF-8 here");
        }
        InvalidFlatbuffer::TooManyTables => return too_many_readings(0),
        InvalidFlatbuffer::ApparentSizeTooLarge => {
            (ErrorKind::FlatbufferInvalid, 0, "its parts refer to the same bytes too often")
        }
        InvalidFlatbuffer::DepthLimitReached => {
            (ErrorKind::FlatbufferInvalid, 0, "its tables are nested too deep")
        }
        InvalidFlatbuffer::MissingNullTerminator { range, .. } => {
            (ErrorKind::FlatbufferInvalid, range.end, "a string does not end with a zero byte")
        }
        InvalidFlatbuffer::Unaligned { position, .. } => {
            (ErrorKind::FlatbufferInvalid, *position, "a value does not stand on a multiple of its size")
        }
        InvalidFlatbuffer::RangeOutOfBounds { range, .. } => {
            (ErrorKind::FlatbufferInvalid, range.start, "a part reaches beyond the end of the payload")
        }
        InvalidFlatbuffer::SignedOffsetOutOfBounds { position, .. } => {
            (ErrorKind::FlatbufferInvalid, *position, "a table refers to a place outside the payload")
        }
        InvalidFlatbuffer::MissingRequiredField { .. } | InvalidFlatbuffer::InconsistentUnion { .. } => {
            (ErrorKind::FlatbufferInvalid, 0, "a required part is missing")
        }
    };
    DecodeError::new(kind, offset, format!("the payload is not a valid telemetry message: {words}"))
}
