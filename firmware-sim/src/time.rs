//! Times as text and as epoch µs. Deliberately apart from `codecs::time`: what this crate checks must not be read and
//! written by the code that it checks.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Now, from the system's clock.
pub fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

/// `2026-11-21T01:05:00Z`, with a fraction only where there is one.
pub fn format_utc(time_us: i64) -> String {
    Timestamp::from_microsecond(time_us).map_or_else(|_| format!("{time_us}us"), |time| time.to_string())
}

/// `2026-11-21T08:05:00+07:00`.
pub fn format_with_offset(time_us: i64, utc_offset_s: i32) -> String {
    match (Timestamp::from_microsecond(time_us), Offset::from_seconds(utc_offset_s)) {
        (Ok(time), Ok(offset)) => time.display_with_offset(offset).to_string(),
        _ => format_utc(time_us),
    }
}

/// Reads RFC 3339 with `Z` or an offset.
pub fn parse(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

/// The offset that RFC 3339 text names, 0 for `Z`.
pub fn offset_s_of(text: &str) -> i32 {
    let Some(tail) = text.len().checked_sub(6).and_then(|at| text.get(at..)) else { return 0 };
    let sign = match tail.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return 0,
    };
    let part = |range| tail.get(range).and_then(|digits: &str| digits.parse::<i32>().ok());
    match (part(1..3), part(4..6)) {
        (Some(hours), Some(minutes)) => sign * (hours * 3600 + minutes * 60),
        _ => 0,
    }
}

/// The rule that turns a recorded wall-clock time without zone into an instant.
#[derive(Clone, Debug)]
pub struct WallClock(TimeZone);

impl WallClock {
    /// A clock that never changes for summer time.
    pub fn fixed(hours: i8) -> Self {
        Self(TimeZone::fixed(jiff::tz::offset(hours)))
    }

    /// US Central time by the rule in force since 2007; spelled out, so that no time zone database is needed.
    pub fn us_central() -> Self {
        Self(
            TimeZone::posix("CST6CDT,M3.2.0,M11.1.0")
                .unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(-6))),
        )
    }

    /// Epoch µs and the offset then in force. Of an hour that occurs twice the first is meant.
    pub fn instant(&self, wall: DateTime) -> Option<(i64, i32)> {
        let zoned = wall.to_zoned(self.0.clone()).ok()?;
        Some((zoned.timestamp().as_microsecond(), zoned.offset().seconds()))
    }
}

/// Hours, minutes and seconds of `time_us` moved by `by`; saturates far outside of any recorded time.
pub fn shifted(time_us: i64, by: SignedDuration) -> i64 {
    time_us.saturating_add(i64::try_from(by.as_micros()).unwrap_or(0))
}

/// A moment, if its text can be read back: years from −9999 to 9999.
pub(crate) fn writable(time_us: i64) -> Option<i64> {
    Timestamp::from_microsecond(time_us).ok().map(Timestamp::as_microsecond)
}

/// Serde for a time as RFC 3339 text.
pub(crate) mod required {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time_us: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_utc(*time_us))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

/// Serde for an optional time as RFC 3339 text.
pub(crate) mod optional {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time_us: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        match time_us {
            Some(time_us) => serializer.serialize_str(&super::format_utc(*time_us)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let time_us = super::parse(&text);
        time_us.map(Some).ok_or_else(|| D::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn text_and_microseconds_are_inverse() {
        for text in ["2026-11-21T01:05:00Z", "2014-01-01T00:00:00.5Z", "2014-01-01T00:00:00.000001Z"] {
            assert_eq!(format_utc(parse(text).expect("legal")), text);
        }
        let time_us = parse("2026-11-21T08:05:00+07:00").expect("legal");
        assert_eq!(format_with_offset(time_us, 7 * 3600), "2026-11-21T08:05:00+07:00");
        assert_eq!(offset_s_of("2019-01-24T00:00:00.000-05:00"), -5 * 3600);
        assert_eq!(offset_s_of("2019-01-24T00:00:00Z"), 0);
    }

    #[test]
    fn us_central_changes_for_summer_time() {
        let clock = WallClock::us_central();
        let (winter, offset) = clock.instant(date(2013, 1, 1).at(0, 0, 0, 0)).expect("in range");
        assert_eq!((format_utc(winter).as_str(), offset), ("2013-01-01T06:00:00Z", -6 * 3600));
        let (summer, offset) = clock.instant(date(2013, 7, 1).at(0, 0, 0, 0)).expect("in range");
        assert_eq!((format_utc(summer).as_str(), offset), ("2013-07-01T05:00:00Z", -5 * 3600));
        let (first, _) = clock.instant(date(2012, 11, 4).at(1, 0, 0, 0)).expect("in range");
        assert_eq!(format_utc(first), "2012-11-04T06:00:00Z");
    }
}
