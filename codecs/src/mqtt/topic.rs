//! Topic names and topic filters: what is legal, and which filter matches which name (section 4.7 of both standards).

use std::fmt;

use super::error::Rule;

/// What is wrong with a topic name or filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicError {
    Empty,
    /// More than 65,535 bytes of UTF-8.
    TooLong,
    NullCharacter,
    /// `+` or `#` in a topic name.
    WildcardInName,
    /// `#` is not alone in the last level of the filter.
    MultiLevelWildcard,
    /// `+` shares its level with other characters.
    SingleLevelWildcard,
    /// `$share//…`: no name of the group.
    ShareNameMissing,
    /// A wildcard in the name of the group, or no filter behind it.
    ShareNameInvalid,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic must have at least one character",
            Self::TooLong => "a topic has at most 65,535 bytes",
            Self::NullCharacter => "a topic must not contain U+0000",
            Self::WildcardInName => "a topic name must not contain the wildcards '+' and '#'",
            Self::MultiLevelWildcard => "'#' must be a level of its own and the last one, as in 'a/#'",
            Self::SingleLevelWildcard => "'+' must be a level of its own, as in 'a/+/b'",
            Self::ShareNameMissing => "a shared subscription is written '$share/{name}/{filter}', and the name is missing",
            Self::ShareNameInvalid => {
                "a shared subscription is written '$share/{name}/{filter}': no wildcard in the name, a filter behind it"
            }
        })
    }
}

impl std::error::Error for TopicError {}

impl TopicError {
    pub(super) const fn rule(self) -> Rule {
        match self {
            Self::Empty => Rule::TopicEmpty,
            Self::TooLong => Rule::TopicTooLong,
            Self::NullCharacter => Rule::TopicNullCharacter,
            Self::WildcardInName => Rule::TopicWildcard,
            Self::MultiLevelWildcard => Rule::FilterMultiLevelWildcard,
            Self::SingleLevelWildcard => Rule::FilterSingleLevelWildcard,
            Self::ShareNameMissing => Rule::ShareNameMissing,
            Self::ShareNameInvalid => Rule::ShareNameInvalid,
        }
    }
}

/// A string of a packet: well-formed UTF-8 without U+0000.
#[inline]
pub(super) fn text(bytes: &[u8], utf8: Rule, null_character: Rule) -> Result<&str, Rule> {
    let text = std::str::from_utf8(bytes).map_err(|_| utf8)?;
    // A fold without an early exit: the compiler makes vector instructions of it.
    if bytes.iter().fold(false, |found, &byte| found | (byte == 0)) {
        return Err(null_character);
    }
    Ok(text)
}

/// Whether all bytes are ASCII and none is U+0000, `+` or `#`.
#[inline]
fn is_plain_name(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks_exact(8);
    let mut found = 0;
    for chunk in &mut chunks {
        if let Ok(chunk) = chunk.try_into() {
            found |= not_plain(u64::from_le_bytes(chunk));
        }
    }
    let rest_is_plain =
        chunks.remainder().iter().all(|byte| byte.is_ascii() && !matches!(byte, 0 | b'+' | b'#'));
    found == 0 && rest_is_plain
}

/// Zero exactly when all eight bytes are plain.
#[inline]
const fn not_plain(word: u64) -> u64 {
    /// Has a high bit set exactly when one of the eight bytes is zero: subtracting 1 borrows into it only there, or
    /// where it was set before, which `!word` takes out.
    const fn has_zero(word: u64) -> u64 {
        word.wrapping_sub(EACH) & !word
    }
    const EACH: u64 = 0x0101_0101_0101_0101;
    const PLUS: u64 = EACH * b'+' as u64;
    const HASH: u64 = EACH * b'#' as u64;
    (word | has_zero(word) | has_zero(word ^ PLUS) | has_zero(word ^ HASH)) & (EACH << 7)
}

/// A topic name of a packet, perhaps empty: well-formed UTF-8 without U+0000 and wildcards.
#[inline]
pub(super) fn name(bytes: &[u8], utf8: Rule, wildcard: Rule) -> Result<&str, Rule> {
    // Nearly every topic is ASCII. One look at eight bytes at a time answers for UTF-8, U+0000 and wildcards together;
    // `from_utf8` and a second pass made framing and decoding a PUBLISH about twice as dear (43 ns and 24 in one run).
    if is_plain_name(bytes) {
        // SAFETY: every byte is below 0x80, and ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    let name = std::str::from_utf8(bytes).map_err(|_| utf8)?;
    if bytes.contains(&0) {
        return Err(Rule::TopicNullCharacter);
    }
    if name.contains(['+', '#']) {
        return Err(wildcard);
    }
    Ok(name)
}

const TOPIC_BYTES_MAX: usize = u16::MAX as usize;

/// Whether a name may be published to.
pub fn validate_topic_name(name: &str) -> Result<(), TopicError> {
    validate_length(name)?;
    for byte in name.bytes() {
        match byte {
            0 => return Err(TopicError::NullCharacter),
            b'+' | b'#' => return Err(TopicError::WildcardInName),
            _ => {}
        }
    }
    Ok(())
}

fn validate_length(topic: &str) -> Result<(), TopicError> {
    match topic.len() {
        0 => Err(TopicError::Empty),
        1..=TOPIC_BYTES_MAX => Ok(()),
        _ => Err(TopicError::TooLong),
    }
}

/// Whether a filter may be subscribed to. `$share/…` is an ordinary filter here, as it is in 3.1.1; for 5.0 ask
/// [`SharedFilter::parse`] as well.
pub fn validate_filter(filter: &str) -> Result<(), TopicError> {
    validate_length(filter)?;
    let bytes = filter.as_bytes();
    for (index, &byte) in bytes.iter().enumerate() {
        let starts_level = index == 0 || bytes[index - 1] == b'/';
        match byte {
            0 => return Err(TopicError::NullCharacter),
            b'#' if !starts_level || index + 1 != bytes.len() => return Err(TopicError::MultiLevelWildcard),
            b'+' if !starts_level || bytes.get(index + 1).is_some_and(|&next| next != b'/') => {
                return Err(TopicError::SingleLevelWildcard);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a valid filter matches a valid topic name: level by level, byte by byte, without any normalising. A
/// wildcard in the first level does not match a name that starts with `$`.
pub fn filter_matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = name.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(part) if level == "+" || level == part => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

/// The two parts of a shared subscription, `$share/{share_name}/{filter}` (5.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SharedFilter<'a> {
    pub share_name: &'a str,
    /// Valid by itself, and what topic names are matched with.
    pub filter: &'a str,
}

impl<'a> SharedFilter<'a> {
    /// `None` for a filter that is not shared.
    pub fn parse(filter: &'a str) -> Result<Option<Self>, TopicError> {
        let Some(rest) = filter.strip_prefix("$share/") else {
            return Ok(None);
        };
        let (share_name, filter) = match rest.split_once('/') {
            Some(parts) => parts,
            None => (rest, ""),
        };
        if share_name.is_empty() {
            return Err(TopicError::ShareNameMissing);
        }
        if share_name.contains(['+', '#']) || filter.is_empty() {
            return Err(TopicError::ShareNameInvalid);
        }
        validate_filter(filter)?;
        Ok(Some(Self { share_name, filter }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "/", "//", " ", "a/b", "$SYS/x", "\u{feff}a", "độ/ẩm", &"x".repeat(TOPIC_BYTES_MAX)]
        {
            assert_eq!(validate_topic_name(name), Ok(()), "{name:?}");
        }
        assert_eq!(validate_topic_name(""), Err(TopicError::Empty));
        assert_eq!(validate_topic_name("a\0b"), Err(TopicError::NullCharacter));
        assert_eq!(validate_topic_name("a/+"), Err(TopicError::WildcardInName));
        assert_eq!(validate_topic_name("a#"), Err(TopicError::WildcardInName));
        assert_eq!(validate_topic_name(&"x".repeat(TOPIC_BYTES_MAX + 1)), Err(TopicError::TooLong));
    }

    #[test]
    fn the_quick_look_agrees_with_the_plain_one_at_every_place() {
        for length in 0..=24 {
            assert!(is_plain_name(&vec![b'a'; length]));
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    for around in [b'a', 1, b'"', b'*', 0x7F] {
                        let mut bytes = vec![around; length];
                        bytes[place] = byte;
                        let plain = bytes.iter().all(|byte| byte.is_ascii() && !b"\0+#".contains(byte));
                        assert_eq!(is_plain_name(&bytes), plain, "{bytes:02x?}");
                    }
                }
            }
        }
    }

    #[test]
    fn filters() {
        for filter in
            ["a", "#", "+", "/", "+/+", "/+", "+/", "a/#", "a/+/b", "/#", "+/#", "$SYS/#", "$share/g"]
        {
            assert_eq!(validate_filter(filter), Ok(()), "{filter:?}");
        }
        for filter in ["a#", "#/a", "a/#/b", "##", "a/b#", "+#"] {
            assert_eq!(validate_filter(filter), Err(expected_for(filter)), "{filter:?}");
        }
        for filter in ["a+", "+a", "a/b+/c", "a/+b", "++"] {
            assert_eq!(validate_filter(filter), Err(TopicError::SingleLevelWildcard), "{filter:?}");
        }
        assert_eq!(validate_filter(""), Err(TopicError::Empty));
        assert_eq!(validate_filter("a/\0"), Err(TopicError::NullCharacter));
    }

    fn expected_for(filter: &str) -> TopicError {
        // In "+#" both are wrong; the first is named.
        if filter.starts_with('+') { TopicError::SingleLevelWildcard } else { TopicError::MultiLevelWildcard }
    }

    #[test]
    fn matching() {
        for (filter, name) in [
            ("a", "a"),
            ("#", "a/b/c"),
            ("#", "/"),
            ("a/#", "a"),
            ("a/#", "a/"),
            ("a/#", "a/b/c"),
            ("a/+", "a/"),
            ("a/+", "a/b"),
            ("+/+", "/a"),
            ("/+", "/a"),
            ("+", "a"),
            ("+/b/#", "a/b"),
            ("$SYS/#", "$SYS/x"),
            ("$SYS/+", "$SYS/x"),
            ("a/+/$c", "a/b/$c"),
            ("a/#", "a/$b"),
        ] {
            assert!(filter_matches(filter, name), "{filter} should match {name}");
        }
        for (filter, name) in [
            ("a", "A"),
            ("a", "a/"),
            ("a", "/a"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("+", "/a"),
            ("+", "a/b"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("a/b/#", "a/bc"),
            ("a/b", "a"),
            ("é", "e\u{301}"),
            ("a", "\u{feff}a"),
        ] {
            assert!(!filter_matches(filter, name), "{filter} should not match {name}");
        }
    }

    #[test]
    fn shared_filters() {
        assert_eq!(SharedFilter::parse("a/b"), Ok(None));
        assert_eq!(SharedFilter::parse("$share"), Ok(None));
        assert_eq!(
            SharedFilter::parse("$share/g/a/+"),
            Ok(Some(SharedFilter { share_name: "g", filter: "a/+" }))
        );
        assert_eq!(
            SharedFilter::parse("$share/g//"),
            Ok(Some(SharedFilter { share_name: "g", filter: "/" }))
        );
        assert_eq!(SharedFilter::parse("$share//t"), Err(TopicError::ShareNameMissing));
        assert_eq!(SharedFilter::parse("$share/g"), Err(TopicError::ShareNameInvalid));
        assert_eq!(SharedFilter::parse("$share/g/"), Err(TopicError::ShareNameInvalid));
        assert_eq!(SharedFilter::parse("$share/g+/t"), Err(TopicError::ShareNameInvalid));
        assert_eq!(SharedFilter::parse("$share/g/a#"), Err(TopicError::MultiLevelWildcard));
    }
}
