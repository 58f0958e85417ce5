//! What can be wrong with a payload. The kind is the class that quarantine and the books count by; the sentence is for
//! the person who has to repair the sender.

use std::borrow::Cow;
use std::fmt;

/// Why a payload, or one reading in it, could not be read. Closed: quarantine, metrics and documentation list all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// No byte in the payload, or nothing but white space.
    Empty,
    /// Longer than [`super::PAYLOAD_BYTES_MAX`].
    PayloadTooLong,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// Not a JSON text.
    NotJson,
    /// JSON, but not an object where an object must stand.
    NotAnObject,
    /// A known member stands twice in one object, so that nobody can know which one is meant.
    MemberTwice,
    /// A known member has a value of a type that it cannot have.
    MemberType,
    /// A message without `readings`.
    ReadingsMissing,
    /// More readings than [`super::READINGS_PER_MESSAGE_MAX`].
    TooManyReadings,
    /// A reading without a property.
    PropertyMissing,
    /// A property number that the catalogue does not know.
    PropertyUnknown,
    /// A property or qualifier that is not a valid name.
    NameInvalid,
    /// A reading without a value (`null` is a value: missing).
    ValueMissing,
    /// NaN, an infinity, or a number outside the range of a 64-bit float.
    BadNumber,
    /// A text value longer than [`super::TEXT_BYTES_MAX`].
    ValueTooLong,
    /// A unit longer than [`super::UNIT_BYTES_MAX`].
    UnitTooLong,
    /// A status longer than [`super::STATUS_BYTES_MAX`].
    StatusTooLong,
    /// A time that is neither RFC 3339 with a zone nor a number of epoch seconds, ms, µs or ns.
    TimeUnreadable,
    /// A time outside the years that [`crate::time`] accepts.
    TimeAbsurd,
    /// A sequence number that is not a whole number from 0 to 2^64 − 1.
    SeqInvalid,
    /// A period that is not a whole number of seconds from 0 to 2^32 − 1.
    PeriodInvalid,
    /// The FlatBuffers verifier refused the buffer.
    FlatbufferInvalid,
}

impl ErrorKind {
    /// Every kind, in the order of the declaration.
    pub const ALL: [Self; 22] = [
        Self::Empty,
        Self::PayloadTooLong,
        Self::NotUtf8,
        Self::NotJson,
        Self::NotAnObject,
        Self::MemberTwice,
        Self::MemberType,
        Self::ReadingsMissing,
        Self::TooManyReadings,
        Self::PropertyMissing,
        Self::PropertyUnknown,
        Self::NameInvalid,
        Self::ValueMissing,
        Self::BadNumber,
        Self::ValueTooLong,
        Self::UnitTooLong,
        Self::StatusTooLong,
        Self::TimeUnreadable,
        Self::TimeAbsurd,
        Self::SeqInvalid,
        Self::PeriodInvalid,
        Self::FlatbufferInvalid,
    ];

    /// The reason as quarantine, metrics and the ledger spell it. Never changes once published.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::PayloadTooLong => "payload_too_long",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::MemberTwice => "member_twice",
            Self::MemberType => "member_type",
            Self::ReadingsMissing => "readings_missing",
            Self::TooManyReadings => "too_many_readings",
            Self::PropertyMissing => "property_missing",
            Self::PropertyUnknown => "property_unknown",
            Self::NameInvalid => "name_invalid",
            Self::ValueMissing => "value_missing",
            Self::BadNumber => "bad_number",
            Self::ValueTooLong => "value_too_long",
            Self::UnitTooLong => "unit_too_long",
            Self::StatusTooLong => "status_too_long",
            Self::TimeUnreadable => "time_unreadable",
            Self::TimeAbsurd => "time_absurd",
            Self::SeqInvalid => "seq_invalid",
            Self::PeriodInvalid => "period_invalid",
            Self::FlatbufferInvalid => "flatbuffer_invalid",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One thing that is wrong, where it stands in the payload, and a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at byte {offset} of the payload)")]
pub struct DecodeError {
    pub kind: ErrorKind,
    /// Byte offset in the payload, from 0.
    pub offset: u32,
    /// What was wrong and what was expected, without the place.
    pub message: Cow<'static, str>,
}

impl DecodeError {
    pub fn new(kind: ErrorKind, offset: usize, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, offset: u32::try_from(offset).unwrap_or(u32::MAX), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn reasons_are_distinct_and_the_list_is_whole() {
        let reasons: HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(reasons.len(), ErrorKind::ALL.len());
        for (index, kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index, "ALL has the order of the declaration and leaves none out");
        }
    }

    #[test]
    fn the_sentence_ends_with_the_place() {
        let error = DecodeError::new(ErrorKind::BadNumber, 17, "NaN is not a number");
        assert_eq!(error.to_string(), "NaN is not a number (at byte 17 of the payload)");
    }
}
