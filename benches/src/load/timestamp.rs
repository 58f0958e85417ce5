//! Times that move on with every message: the wall clock, and at least 1 µs after the one before.

use std::time::{SystemTime, UNIX_EPOCH};

use codecs::time::format_rfc3339;

const US_PER_S: i64 = 1_000_000;
/// `2026-11-21T01:05:00.123456Z`
pub(super) const TEXT_BYTES: usize = 27;
/// The part in front of the fraction.
const SECOND_BYTES: usize = 19;

/// Strictly increasing times of one station, as a number and as text.
#[derive(Debug)]
pub(super) struct Timestamps {
    last_us: i64,
    /// The second that `text` was written for.
    second: i64,
    text: [u8; TEXT_BYTES],
}

impl Timestamps {
    pub(super) fn new() -> Self {
        Self { last_us: 0, second: i64::MIN, text: *b"1970-01-01T00:00:00.000000Z" }
    }

    /// The next time in epoch µs; `now_us` is read once per batch of messages.
    pub(super) fn next_us(&mut self, now_us: i64) -> i64 {
        self.last_us = now_us.max(self.last_us + 1);
        self.last_us
    }

    /// RFC 3339 with six digits of fraction, always equally long.
    pub(super) fn text(&mut self, time_us: i64) -> &[u8; TEXT_BYTES] {
        let second = time_us.div_euclid(US_PER_S);
        if second != self.second {
            self.second = second;
            let text = format_rfc3339(second * US_PER_S);
            self.text[..SECOND_BYTES].copy_from_slice(&text.as_bytes()[..SECOND_BYTES]);
        }
        write_digits(
            &mut self.text[SECOND_BYTES + 1..TEXT_BYTES - 1],
            time_us.rem_euclid(US_PER_S).unsigned_abs(),
        );
        &self.text
    }
}

/// `value` with leading zeros, as many digits as there is room for.
pub(super) fn write_digits(room: &mut [u8], mut value: u64) {
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

pub(super) fn epoch_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_increase_although_the_clock_stands_still() {
        let mut times = Timestamps::new();
        let all: Vec<i64> = (0..5).map(|_| times.next_us(1_000)).collect();
        assert_eq!(all, [1_000, 1_001, 1_002, 1_003, 1_004]);
        assert_eq!(times.next_us(2_000), 2_000);
    }

    #[test]
    fn text_is_what_the_codec_reads_back() {
        let mut times = Timestamps::new();
        for time_us in
            [1_763_687_100_123_456, 1_763_687_100_999_999, 1_763_687_101_000_000, 1_763_687_101_000_040]
        {
            let text = std::str::from_utf8(times.text(time_us)).unwrap().to_owned();
            assert_eq!(codecs::time::parse_rfc3339(&text), Ok(time_us), "{text}");
        }
    }
}
