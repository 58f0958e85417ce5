//! Time as text and as epoch µs, UTC.
//!
//! In: RFC 3339 with a zone ([`parse_rfc3339`]), or a decimal number of epoch seconds, ms, µs or ns that is told apart by
//! its magnitude ([`parse_epoch`], [`epoch_us`]):
//!
//! | number n          | read as | covers                  |
//! |-------------------|---------|-------------------------|
//! | 0 ≤ n < 10^11     | s       | 1970 to the upper bound |
//! | 10^11 ≤ n < 10^14 | ms      | March 1973 and later    |
//! | 10^14 ≤ n < 10^17 | µs      | March 1973 and later    |
//! | 10^17 ≤ n         | ns      | March 1973 and later    |
//!
//! Whatever lies outside [`TIME_US_MIN`] to [`TIME_US_MAX`] is an error. Digits finer than 1 µs are cut off. Out:
//! `2026-11-21T01:05:00Z` with a fraction of three or six digits where there is one ([`write_rfc3339`]).

/// 1900-01-01T00:00:00Z. Nothing was measured automatically before.
pub const TIME_US_MIN: i64 = -2_208_988_800_000_000;
/// 2199-12-31T23:59:59.999999Z.
pub const TIME_US_MAX: i64 = 7_258_118_399_999_999;

/// Longest time text in bytes: RFC 3339 with an offset and more digits of a fraction than any clock has.
const TEXT_BYTES_MAX: usize = 64;

const MILLISECONDS_FROM: u64 = 100_000_000_000;
const MICROSECONDS_FROM: u64 = 100_000_000_000_000;
const NANOSECONDS_FROM: u64 = 100_000_000_000_000_000;

const US_PER_S: i64 = 1_000_000;
const S_PER_DAY: i64 = 86_400;

/// Days before the first of each month of a year without leap day.
const DAYS_BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const DAYS_OF_MONTH: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Why a time was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error(
        "the time is not RFC 3339: expected a form like 2026-11-21T08:05:00+07:00 and found something else at \
         character {position}"
    )]
    Form {
        /// From 1.
        position: usize,
    },
    #[error("the time has no zone: end it with Z or an offset like +07:00")]
    NoZone,
    #[error("the time has a {field} of {value}, which does not exist")]
    Field { field: &'static str, value: u32 },
    #[error("the time is not a decimal number of epoch seconds, ms, µs or ns")]
    NotANumber,
    #[error("the time lies outside the years 1900 to 2199 (a number: 1970 to 2199)")]
    Absurd,
}

impl TimeError {
    /// Readable, but not a time at which anything was measured.
    pub const fn is_absurd(self) -> bool {
        matches!(self, Self::Absurd)
    }
}

/// Reads RFC 3339; `T` and `Z` may be small, a space may stand for `T`. Second 60 becomes the last µs of second 59, so that
/// a leap second stays before what follows it. Returns epoch µs, UTC.
pub fn parse_rfc3339(text: &str) -> Result<i64, TimeError> {
    let bytes = text.as_bytes();
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(TimeError::Form { position: TEXT_BYTES_MAX + 1 });
    }
    let year = digits(bytes, 0, 4)?;
    expect(bytes, 4, b"-")?;
    let month = digits(bytes, 5, 2)?;
    expect(bytes, 7, b"-")?;
    let day = digits(bytes, 8, 2)?;
    expect(bytes, 10, b"Tt ")?;
    let hour = digits(bytes, 11, 2)?;
    expect(bytes, 13, b":")?;
    let minute = digits(bytes, 14, 2)?;
    expect(bytes, 16, b":")?;
    let second = digits(bytes, 17, 2)?;

    in_range("month", month, 1, 12)?;
    in_range("day", day, 1, days_of_month(year, month))?;
    in_range("hour", hour, 0, 23)?;
    in_range("minute", minute, 0, 59)?;
    in_range("second", second, 0, 60)?;

    let mut at = 19;
    let mut fraction_us = 0;
    if bytes.get(at) == Some(&b'.') {
        let length = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return Err(TimeError::Form { position: at + 2 });
        }
        fraction_us = millionths(&bytes[at + 1..at + 1 + length]);
        at += 1 + length;
    }
    let offset_s = zone(bytes, at)?;

    let days = days_from_date(year, month, day);
    let (second, fraction_us) = if second == 60 { (59, 999_999) } else { (second, fraction_us) };
    let time_s =
        days * S_PER_DAY + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second) - offset_s;
    in_bounds(time_s * US_PER_S + i64::from(fraction_us))
}

/// Reads a decimal number (JSON's grammar, not below 0) of epoch seconds, ms, µs or ns by magnitude. Digits are exact, not
/// taken through a float, unless there is an exponent. Returns epoch µs.
pub fn parse_epoch(text: &str) -> Result<i64, TimeError> {
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'-') && bytes.len() > 1 {
        return Err(TimeError::Absurd);
    }
    let whole = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if whole == 0 {
        return Err(TimeError::NotANumber);
    }
    let fraction = match bytes.get(whole) {
        None => &[][..],
        Some(b'.') if bytes[whole + 1..].iter().all(u8::is_ascii_digit) => &bytes[whole + 1..],
        Some(b'.' | b'e' | b'E') => return parse_epoch_float(text),
        Some(_) => return Err(TimeError::NotANumber),
    };
    let mut count: u64 = 0;
    for byte in &bytes[..whole] {
        count = count
            .checked_mul(10)
            .and_then(|count| count.checked_add(u64::from(byte - b'0')))
            .ok_or(TimeError::Absurd)?;
    }
    // A fraction of a µs or ns is finer than 1 µs.
    let fraction_us = match count {
        0..MILLISECONDS_FROM => i64::from(millionths(fraction)),
        MILLISECONDS_FROM..MICROSECONDS_FROM => i64::from(millionths(fraction)) / 1_000,
        _ => 0,
    };
    in_bounds(whole_us(count) + fraction_us)
}

/// Epoch µs of a whole number of seconds, ms, µs or ns, by magnitude.
pub fn epoch_us(count: i64) -> Result<i64, TimeError> {
    in_bounds(whole_us(u64::try_from(count).map_err(|_| TimeError::Absurd)?))
}

fn whole_us(count: u64) -> i64 {
    let us = match count {
        0..MILLISECONDS_FROM => count * 1_000_000,
        MILLISECONDS_FROM..MICROSECONDS_FROM => count * 1_000,
        MICROSECONDS_FROM..NANOSECONDS_FROM => count,
        NANOSECONDS_FROM.. => count / 1_000,
    };
    // Every arm stays below 2^63.
    us.cast_signed()
}

/// Checks epoch µs against [`TIME_US_MIN`] and [`TIME_US_MAX`].
pub fn in_bounds(time_us: i64) -> Result<i64, TimeError> {
    if (TIME_US_MIN..=TIME_US_MAX).contains(&time_us) { Ok(time_us) } else { Err(TimeError::Absurd) }
}

/// Appends `2026-11-21T01:05:00Z`; ms or µs digits only where they are not zero. Any `i64` is written: outside the years 0
/// to 9999 the year has a sign or more digits.
pub fn write_rfc3339(time_us: i64, out: &mut String) {
    let (year, month, day) = date_from_days(time_us.div_euclid(S_PER_DAY * US_PER_S));
    let in_day_us = time_us.rem_euclid(S_PER_DAY * US_PER_S);
    let (second, fraction_us) = (in_day_us / US_PER_S, in_day_us % US_PER_S);
    if (0..=9999).contains(&year) {
        push_digits(out, year, 4);
    } else {
        out.push_str(&year.to_string());
    }
    for (separator, number) in
        [('-', month), ('-', day), ('T', second / 3600), (':', second / 60 % 60), (':', second % 60)]
    {
        out.push(separator);
        push_digits(out, number, 2);
    }
    if fraction_us != 0 {
        out.push('.');
        if fraction_us % 1_000 == 0 {
            push_digits(out, fraction_us / 1_000, 3);
        } else {
            push_digits(out, fraction_us, 6);
        }
    }
    out.push('Z');
}

/// Like [`write_rfc3339`], as a new string.
pub fn format_rfc3339(time_us: i64) -> String {
    let mut out = String::with_capacity(27);
    write_rfc3339(time_us, &mut out);
    out
}

fn push_digits(out: &mut String, number: i64, width: u32) {
    for place in (0..width).rev() {
        // One decimal digit always fits.
        out.push(char::from(b'0' + (number / 10_i64.pow(place) % 10) as u8));
    }
}

fn digits(bytes: &[u8], at: usize, length: usize) -> Result<u32, TimeError> {
    let mut number = 0;
    for position in at..at + length {
        match bytes.get(position) {
            Some(byte) if byte.is_ascii_digit() => number = number * 10 + u32::from(byte - b'0'),
            _ => return Err(TimeError::Form { position: position + 1 }),
        }
    }
    Ok(number)
}

fn expect(bytes: &[u8], at: usize, allowed: &[u8]) -> Result<(), TimeError> {
    match bytes.get(at) {
        Some(byte) if allowed.contains(byte) => Ok(()),
        _ => Err(TimeError::Form { position: at + 1 }),
    }
}

fn in_range(field: &'static str, value: u32, least: u32, most: u32) -> Result<(), TimeError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(TimeError::Field { field, value }) }
}

/// Seconds east of Greenwich.
fn zone(bytes: &[u8], at: usize) -> Result<i64, TimeError> {
    let (sign, end) = match bytes.get(at) {
        None => return Err(TimeError::NoZone),
        Some(b'Z' | b'z') => (0, at + 1),
        Some(b'+') => (1, at + 6),
        Some(b'-') => (-1, at + 6),
        Some(_) => return Err(TimeError::Form { position: at + 1 }),
    };
    let mut offset_s = 0;
    if sign != 0 {
        let hour = digits(bytes, at + 1, 2)?;
        expect(bytes, at + 3, b":")?;
        let minute = digits(bytes, at + 4, 2)?;
        in_range("zone hour", hour, 0, 23)?;
        in_range("zone minute", minute, 0, 59)?;
        offset_s = sign * (i64::from(hour) * 3600 + i64::from(minute) * 60);
    }
    if bytes.len() > end { Err(TimeError::Form { position: end + 1 }) } else { Ok(offset_s) }
}

/// The first six digits of a decimal fraction, as millionths.
fn millionths(fraction: &[u8]) -> u32 {
    (0..6).fold(0, |sum, index| sum * 10 + fraction.get(index).map_or(0, |byte| u32::from(byte - b'0')))
}

fn parse_epoch_float(text: &str) -> Result<i64, TimeError> {
    let count: f64 = text.parse().map_err(|_| TimeError::NotANumber)?;
    if !(0.0..1e19).contains(&count) {
        return Err(TimeError::Absurd);
    }
    let us_per_count = if count < MILLISECONDS_FROM as f64 {
        1e6
    } else if count < MICROSECONDS_FROM as f64 {
        1e3
    } else if count < NANOSECONDS_FROM as f64 {
        1.0
    } else {
        1e-3
    };
    // `as` saturates, and what saturates is out of bounds.
    in_bounds((count * us_per_count).floor() as i64)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: u32, month: u32) -> u32 {
    if month == 2 && is_leap(i64::from(year)) { 29 } else { DAYS_OF_MONTH[month as usize - 1] }
}

/// Days of all years before `year` since the year 0 of the Gregorian calendar, which counts as a leap year.
fn days_before_year(year: i64) -> i64 {
    let before = year - 1;
    year * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) + 1
}

const DAYS_BEFORE_1970: i64 = 719_528;

fn days_from_date(year: u32, month: u32, day: u32) -> i64 {
    let leap_day = i64::from(month > 2 && is_leap(i64::from(year)));
    days_before_year(i64::from(year)) + DAYS_BEFORE_MONTH[month as usize - 1] + leap_day + i64::from(day)
        - 1
        - DAYS_BEFORE_1970
}

fn date_from_days(days_since_1970: i64) -> (i64, i64, i64) {
    let days = days_since_1970 + DAYS_BEFORE_1970;
    // 400 years have 146,097 days; the estimate is off by at most one year.
    let mut year = (days * 400).div_euclid(146_097);
    while days_before_year(year + 1) <= days {
        year += 1;
    }
    while days_before_year(year) > days {
        year -= 1;
    }
    let mut day = days - days_before_year(year);
    let mut month = 0;
    loop {
        let length = i64::from(DAYS_OF_MONTH[month]) + i64::from(month == 1 && is_leap(year));
        if day < length {
            return (year, month as i64 + 1, day + 1);
        }
        day -= length;
        month += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        for (text, time_us) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-21T08:05:00+07:00", 1_795_223_100_000_000),
            ("2026-11-21T01:05:00Z", 1_795_223_100_000_000),
            ("2026-11-21t01:05:00z", 1_795_223_100_000_000),
            ("2026-11-21 01:05:00.25-00:00", 1_795_223_100_250_000),
            ("2024-02-29T23:59:59.9999999Z", 1_709_251_199_999_999),
            ("2000-03-01T00:00:00-05:30", 951_888_600_000_000),
            ("1969-12-31T23:59:59.5Z", -500_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_999_999),
        ] {
            assert_eq!(parse_rfc3339(text), Ok(time_us), "{text}");
        }
        assert_eq!(parse_rfc3339("1900-01-01T00:00:00Z"), Ok(TIME_US_MIN));
        assert_eq!(parse_rfc3339("2199-12-31T23:59:59.999999Z"), Ok(TIME_US_MAX));
    }

    #[test]
    fn refused_times_say_why() {
        for (text, error) in [
            ("2026-11-21T08:05:00", TimeError::NoZone),
            ("2026-11-21T08:05:00.5", TimeError::NoZone),
            ("2026-11-21", TimeError::Form { position: 11 }),
            ("21/11/2026 08:05", TimeError::Form { position: 3 }),
            ("", TimeError::Form { position: 1 }),
            ("2026-11-21T08:05:00+0700", TimeError::Form { position: 23 }),
            ("2026-11-21T08:05:00.Z", TimeError::Form { position: 21 }),
            ("2026-11-21T08:05:00Zx", TimeError::Form { position: 21 }),
            ("2026-11-21T08:05:00 Z", TimeError::Form { position: 20 }),
            ("2026-13-21T08:05:00Z", TimeError::Field { field: "month", value: 13 }),
            ("2026-02-29T08:05:00Z", TimeError::Field { field: "day", value: 29 }),
            ("2026-11-21T24:00:00Z", TimeError::Field { field: "hour", value: 24 }),
            ("2026-11-21T08:05:61Z", TimeError::Field { field: "second", value: 61 }),
            ("2026-11-21T08:05:00+24:00", TimeError::Field { field: "zone hour", value: 24 }),
            ("1899-12-31T23:59:59Z", TimeError::Absurd),
            ("2200-01-01T00:00:00Z", TimeError::Absurd),
            ("9999-12-31T23:59:59Z", TimeError::Absurd),
            ("0000-01-01T00:00:00Z", TimeError::Absurd),
        ] {
            assert_eq!(parse_rfc3339(text), Err(error), "{text}");
        }
    }

    #[test]
    fn epochs_by_magnitude() {
        for (text, time_us) in [
            ("0", 0),
            ("1795223100", 1_795_223_100_000_000),
            ("1795223100.25", 1_795_223_100_250_000),
            ("1795223100.1234569", 1_795_223_100_123_456),
            ("1795223100123", 1_795_223_100_123_000),
            ("1795223100123.75", 1_795_223_100_123_750),
            ("1795223100123456", 1_795_223_100_123_456),
            ("1795223100123456.9", 1_795_223_100_123_456),
            ("1795223100123456789", 1_795_223_100_123_456),
            ("1.7952231e9", 1_795_223_100_000_000),
            ("1.7952231e18", 1_795_223_100_000_000),
        ] {
            assert_eq!(parse_epoch(text), Ok(time_us), "{text}");
        }
        for text in
            ["-1", "-1795223100", "7258118400", "99999999999", "1e30", "99999999999999999999", "1e400"]
        {
            assert_eq!(parse_epoch(text), Err(TimeError::Absurd), "{text}");
        }
        for text in ["", "-", "abc", "12a", "1.2.3", "1e", "Infinity", "NaN", "0x10"] {
            assert_eq!(parse_epoch(text), Err(TimeError::NotANumber), "{text}");
        }
        assert_eq!(epoch_us(1_795_223_100), Ok(1_795_223_100_000_000));
        assert_eq!(epoch_us(i64::MAX), Err(TimeError::Absurd));
        assert_eq!(epoch_us(-1), Err(TimeError::Absurd));
    }

    #[test]
    fn written_as_short_as_possible() {
        assert_eq!(format_rfc3339(1_795_223_100_000_000), "2026-11-21T01:05:00Z");
        assert_eq!(format_rfc3339(1_795_223_100_214_000), "2026-11-21T01:05:00.214Z");
        assert_eq!(format_rfc3339(1_795_223_100_214_050), "2026-11-21T01:05:00.214050Z");
        assert_eq!(format_rfc3339(-1), "1969-12-31T23:59:59.999999Z");
        for extreme in [i64::MIN, i64::MAX] {
            assert!(format_rfc3339(extreme).ends_with('Z'));
        }
    }

    proptest! {
        #[test]
        fn written_times_are_read_back(time_us in TIME_US_MIN..=TIME_US_MAX) {
            prop_assert_eq!(parse_rfc3339(&format_rfc3339(time_us)), Ok(time_us));
        }

        #[test]
        fn days_are_counted_one_by_one(days in -25_000_i64..84_000) {
            let (year, month, day) = date_from_days(days);
            prop_assert_eq!(days_from_date(year as u32, month as u32, day as u32), days);
            let (next_year, next_month, next_day) = date_from_days(days + 1);
            let follows = (next_year, next_month, next_day) == (year, month, day + 1)
                || (next_day == 1 && ((next_year, next_month) == (year, month + 1)
                    || (next_year, next_month, month) == (year + 1, 1, 12)));
            prop_assert!(follows);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = parse_rfc3339(&text);
            let _ = parse_epoch(&text);
        }
    }
}
