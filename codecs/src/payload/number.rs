//! JSON numbers: grammar and exact value.

/// A number as it stands in the payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number<'a> {
    pub(super) text: &'a str,
    /// The nearest float; not finite where the number is outside the range of a float.
    pub(super) value: f64,
}

impl Number<'_> {
    /// The value if it is whole and not negative. Exact also above 2^53 as long as it is written as plain digits.
    pub(super) fn whole(self) -> Option<u64> {
        if self.text.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.text.parse().ok();
        }
        let exact = self.value.fract() == 0.0 && (0.0..=WHOLE_FLOAT_MAX).contains(&self.value);
        exact.then_some(self.value as u64)
    }
}

/// 2^53: up to here every whole number is a float.
const WHOLE_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// White space between JSON tokens.
pub(super) const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Powers of ten that a float holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Digits that fit a `u64` without looking.
const DIGITS_MAX: usize = 19;

/// Reads the number that starts at `start`. Returns it and where it ends, or `None` if no JSON number stands there. What
/// follows is the caller's business.
///
/// A mantissa below 2^53 with a power of ten up to 22 is one float operation on two exact floats, hence rounded once and
/// right; everything else goes to the standard library, which is right as well and slower.
pub(super) fn scan(text: &str, start: usize) -> Option<(Number<'_>, usize)> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10);
    let negative = bytes.get(start) == Some(&b'-');
    let mut at = start + usize::from(negative);
    let mut mantissa: u64 = 0;

    let whole_start = at;
    while let Some(digit) = digit(at) {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    let whole_digits = at - whole_start;
    if whole_digits == 0 || (whole_digits > 1 && bytes[whole_start] == b'0') {
        return None;
    }

    let mut fraction_digits = 0;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        let fraction_start = at;
        while let Some(digit) = digit(at) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            at += 1;
        }
        fraction_digits = at - fraction_start;
        if fraction_digits == 0 {
            return None;
        }
    }

    let mut plain = true;
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        plain = false;
        at += 1;
        if matches!(bytes.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        let exponent_start = at;
        while digit(at).is_some() {
            at += 1;
        }
        if at == exponent_start {
            return None;
        }
    }

    let text = text.get(start..at)?;
    let exact = plain
        && whole_digits + fraction_digits <= DIGITS_MAX
        && mantissa <= WHOLE_FLOAT_MAX as u64
        && fraction_digits < EXACT_POWERS.len();
    let value = if exact {
        let magnitude = mantissa as f64 / EXACT_POWERS[fraction_digits];
        if negative { -magnitude } else { magnitude }
    } else {
        // JSON's grammar is a part of the standard library's.
        text.parse().unwrap_or(f64::NAN)
    };
    Some((Number { text, value }, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grammar_is_that_of_json() {
        for text in ["0", "-0", "1.5", "-1.5e3", "1E+2", "1e-2", "0.0", "123456789012345678901234567890"] {
            let (number, end) = scan(text, 0).expect(text);
            assert_eq!((number.text, end), (text, text.len()));
            assert_eq!(number.value.to_bits(), text.parse::<f64>().expect(text).to_bits(), "{text}");
        }
        for text in
            ["", "-", "+1", ".5", "5.", "01", "1e", "1e+", "-.5", "NaN", "Infinity", "-Infinity", "0x1"]
        {
            assert!(scan(text, 0).is_none_or(|(_, end)| end < text.len()), "{text}");
        }
        assert_eq!(scan("01", 0), None);
        assert_eq!(scan("[12]", 1).map(|(number, end)| (number.value, end)), Some((12.0, 3)));
    }

    #[test]
    fn whole_numbers_are_exact() {
        let whole = |text| scan(text, 0).and_then(|(number, _)| number.whole());
        assert_eq!(whole("18446744073709551615"), Some(u64::MAX));
        assert_eq!(whole("18446744073709551616"), None);
        assert_eq!(whole("9007199254740993"), Some(9_007_199_254_740_993));
        assert_eq!(whole("1042.0"), Some(1042));
        assert_eq!(whole("1e3"), Some(1000));
        assert_eq!(whole("1e300"), None);
        assert_eq!(whole("0.5"), None);
        assert_eq!(whole("-1"), None);
    }

    proptest! {
        #[test]
        fn values_are_those_of_the_standard_library(text in "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?") {
            let (number, end) = scan(&text, 0).expect("a JSON number");
            prop_assert_eq!(end, text.len());
            prop_assert_eq!(number.value.to_bits(), text.parse::<f64>().expect("a number").to_bits());
        }

        #[test]
        fn shortest_forms_of_floats_come_back(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            for text in [format!("{value}"), format!("{value:e}")] {
                let (number, _) = scan(&text, 0).expect("a JSON number");
                prop_assert_eq!(number.value.to_bits(), value.to_bits(), "{}", text);
            }
        }
    }
}
