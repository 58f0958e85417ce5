//! Names of agencies, stations and properties.
//!
//! 1 to 64 characters of `A–Z a–z 0–9 . _ -`, and letters of other scripts, which are brought into Unicode's normal form C
//! (so that one name typed in two ways is one name). A property may carry qualifiers: `flow;class=motorcycle;lane=1`, a base
//! name and pairs `key=value` behind semicolons; its canonical form has them sorted by key. All 64 characters count.
//!
//! The ASCII case that is canonical already is checked in one pass and borrowed.

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Longest agency, station or property (with its qualifiers), in characters of the normalised form.
pub const NAME_CHARACTERS_MAX: usize = 64;
/// Most qualifiers of one property. Bounds the sorting; five class-lane-direction-like pairs fill a name anyway.
pub const QUALIFIERS_MAX: usize = 8;
/// Longer names are refused before they are normalised: no normal form C is shorter than a fifth of the text in bytes.
const NAME_BYTES_MAX: usize = NAME_CHARACTERS_MAX * 4 * 5;

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    Agency,
    Station,
    Property,
}

impl fmt::Display for NameKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Agency => "agency",
            Self::Station => "station",
            Self::Property => "property",
        })
    }
}

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the {kind} is empty; a name has 1 to {NAME_CHARACTERS_MAX} characters")]
    Empty { kind: NameKind },
    #[error("the {kind} has more than {NAME_CHARACTERS_MAX} characters")]
    TooLong { kind: NameKind },
    #[error(
        "the {kind} has the character {character:?} at position {position}; allowed are letters, digits and . _ -{}",
        if *.kind == NameKind::Property { ", and ; = for qualifiers" } else { "" }
    )]
    Character {
        kind: NameKind,
        character: char,
        /// In characters of the normalised name, from 1.
        position: usize,
    },
    #[error("the property has a qualifier {qualifier:?} that is not of the form key=value")]
    Qualifier { qualifier: String },
    #[error("the property has the qualifier {key} twice with different values")]
    QualifierTwice { key: String },
    #[error("the property has more than {QUALIFIERS_MAX} qualifiers")]
    TooManyQualifiers,
}

/// A checked property name in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PropertyName<'a>(&'a str);

impl<'a> PropertyName<'a> {
    /// Takes a name that is valid and canonical as it stands; `None` if [`property`] would refuse or change it.
    pub fn from_canonical(name: &'a str) -> Option<Self> {
        matches!(property(name), Ok(Cow::Borrowed(_))).then_some(Self(name))
    }

    /// For results of [`property`] and [`with_qualifiers`].
    pub(crate) const fn from_checked(name: &'a str) -> Self {
        Self(name)
    }

    /// The whole name: `flow;class=motorcycle;lane=1`.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The name without qualifiers: `flow`.
    pub fn base(self) -> &'a str {
        base(self.0)
    }

    /// The qualifiers in canonical order.
    pub fn qualifiers(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split(';').skip(1).filter_map(|pair| pair.split_once('='))
    }
}

impl fmt::Display for PropertyName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

/// The part of a property name before its qualifiers.
pub fn base(property: &str) -> &str {
    property.split_once(';').map_or(property, |(base, _)| base)
}

/// Checks and normalises an agency code.
pub fn agency(name: &str) -> Result<Cow<'_, str>, NameError> {
    plain(NameKind::Agency, name)
}

/// Checks and normalises a station code.
pub fn station(name: &str) -> Result<Cow<'_, str>, NameError> {
    plain(NameKind::Station, name)
}

/// Checks a property name and brings it into canonical form. Borrowed if it is canonical already.
pub fn property(name: &str) -> Result<Cow<'_, str>, NameError> {
    let class = ascii_class(name);
    if class == Class::Name && (1..=NAME_CHARACTERS_MAX).contains(&name.len()) {
        return Ok(Cow::Borrowed(name));
    }
    let name =
        if class == Class::Other { normalised(NameKind::Property, name)? } else { Cow::Borrowed(name) };
    check_characters(NameKind::Property, &name)?;
    if is_canonical(&name) {
        return Ok(name);
    }
    let mut out = String::new();
    with_qualifiers(&name, &[], &mut out)?;
    Ok(Cow::Owned(out))
}

/// Writes the canonical form of `name` (which may carry qualifiers itself) with further qualifiers into `out`, which is
/// cleared first. A pair that stands twice is written once; the same key with two values is an error.
pub fn with_qualifiers(name: &str, further: &[(&str, &str)], out: &mut String) -> Result<(), NameError> {
    for (key, value) in further {
        let ambiguous = key.is_empty() || value.is_empty() || key.contains([';', '=']) || value.contains(';');
        if ambiguous {
            return Err(NameError::Qualifier { qualifier: format!("{key}={value}") });
        }
    }
    let mut parts = name.split(';');
    let base = parts.next().unwrap_or_default();
    if base.is_empty() {
        return Err(NameError::Empty { kind: NameKind::Property });
    }
    if let Some(before) = base.find('=') {
        let position = base[..before].chars().count() + 1;
        return Err(NameError::Character { kind: NameKind::Property, character: '=', position });
    }
    let mut pairs = [("", ""); QUALIFIERS_MAX];
    let mut count = 0;
    let own = parts.map(|part| match part.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key, value)),
        _ => Err(NameError::Qualifier { qualifier: part.to_owned() }),
    });
    for pair in own.chain(further.iter().copied().map(Ok)) {
        *pairs.get_mut(count).ok_or(NameError::TooManyQualifiers)? = pair?;
        count += 1;
    }
    let pairs = &mut pairs[..count];
    pairs.sort_unstable();

    out.clear();
    out.push_str(base);
    let mut earlier = ("", "");
    for &(key, value) in pairs.iter() {
        if (key, value) == earlier {
            continue;
        }
        if key == earlier.0 {
            return Err(NameError::QualifierTwice { key: key.to_owned() });
        }
        earlier = (key, value);
        for part in [";", key, "=", value] {
            out.push_str(part);
        }
    }
    if ascii_class(out) == Class::Other {
        let form_c = normalised(NameKind::Property, out)?.into_owned();
        *out = form_c;
    }
    check_characters(NameKind::Property, out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing but `A–Z a–z 0–9 . _ -`.
    Name,
    /// These and `; =`.
    Qualified,
    /// Anything else.
    Other,
}

const NAME: u8 = 0;
const QUALIFIED: u8 = 1;
const OTHER: u8 = 2;

/// Class of every byte; a name's class is the `or` of its bytes' classes.
const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0;
    while byte < 128 {
        let character = byte as u8;
        if character.is_ascii_alphanumeric() || matches!(character, b'.' | b'_' | b'-') {
            classes[byte] = NAME;
        } else if matches!(character, b';' | b'=') {
            classes[byte] = QUALIFIED;
        }
        byte += 1;
    }
    classes
};

fn ascii_class(name: &str) -> Class {
    match name.bytes().fold(NAME, |class, byte| class | CLASSES[usize::from(byte)]) {
        NAME => Class::Name,
        QUALIFIED => Class::Qualified,
        _ => Class::Other,
    }
}

fn plain(kind: NameKind, name: &str) -> Result<Cow<'_, str>, NameError> {
    if ascii_class(name) == Class::Name && (1..=NAME_CHARACTERS_MAX).contains(&name.len()) {
        return Ok(Cow::Borrowed(name));
    }
    let name = normalised(kind, name)?;
    check_characters(kind, &name)?;
    Ok(name)
}

fn normalised(kind: NameKind, name: &str) -> Result<Cow<'_, str>, NameError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { kind });
    }
    Ok(if is_nfc(name) { Cow::Borrowed(name) } else { Cow::Owned(name.nfc().collect()) })
}

/// Length and characters of a normalised name.
fn check_characters(kind: NameKind, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    for (index, character) in name.chars().enumerate() {
        if index == NAME_CHARACTERS_MAX {
            return Err(NameError::TooLong { kind });
        }
        let allowed = match character {
            ';' | '=' => kind == NameKind::Property,
            '\0'..='\x7f' => CLASSES[character as usize] == NAME,
            _ => character.is_alphabetic(),
        };
        if !allowed {
            return Err(NameError::Character { kind, character, position: index + 1 });
        }
    }
    Ok(())
}

/// Whether base and qualifiers are well formed and the keys strictly ascend.
fn is_canonical(name: &str) -> bool {
    let mut parts = name.split(';');
    let base = parts.next().unwrap_or_default();
    let mut earlier = "";
    let mut count = 0;
    !base.is_empty()
        && !base.contains('=')
        && parts.all(|part| {
            let Some((key, value)) = part.split_once('=') else { return false };
            let ascends = key > earlier;
            earlier = key;
            count += 1;
            ascends && !value.is_empty() && count <= QUALIFIERS_MAX
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_names_are_borrowed() {
        for name in ["pm2_5", "a", "flow;class=motorcycle;lane=1", "mực_nước", "A-Z.0_9", &"x".repeat(64)]
        {
            assert!(matches!(property(name), Ok(Cow::Borrowed(text)) if text == name), "{name}");
            assert_eq!(PropertyName::from_canonical(name).map(PropertyName::as_str), Some(name));
        }
        assert!(matches!(agency("H24.05"), Ok(Cow::Borrowed("H24.05"))));
        assert!(matches!(station("KHI003"), Ok(Cow::Borrowed("KHI003"))));
    }

    #[test]
    fn qualifiers_are_sorted() {
        assert_eq!(property("flow;lane=1;class=motorcycle").as_deref(), Ok("flow;class=motorcycle;lane=1"));
        assert_eq!(property("flow;lane=1;lane=1").as_deref(), Ok("flow;lane=1"));
        assert_eq!(PropertyName::from_canonical("flow;lane=1;class=a"), None);
        let name = PropertyName::from_canonical("flow;class=motorcycle;lane=1").expect("canonical");
        assert_eq!(name.base(), "flow");
        assert_eq!(name.qualifiers().collect::<Vec<_>>(), [("class", "motorcycle"), ("lane", "1")]);
    }

    #[test]
    fn tags_join_the_qualifiers_of_the_name() {
        let mut out = String::from("left over");
        with_qualifiers("flow;lane=1", &[("class", "motorcycle"), ("lane", "1")], &mut out).expect("valid");
        assert_eq!(out, "flow;class=motorcycle;lane=1");
        assert_eq!(
            with_qualifiers("flow;lane=1", &[("lane", "2")], &mut out),
            Err(NameError::QualifierTwice { key: "lane".to_owned() })
        );
        for pair in [("a;b", "c"), ("a=b", "c"), ("a", "b;c"), ("", "c"), ("a", "")] {
            assert!(matches!(with_qualifiers("flow", &[pair], &mut out), Err(NameError::Qualifier { .. })));
        }
        assert!(matches!(
            with_qualifiers("flow", &[("direction", "to town")], &mut out),
            Err(NameError::Character { character: ' ', position: 18, .. })
        ));
        assert_eq!(with_qualifiers("flow", &[("a", "1"); 9], &mut out), Err(NameError::TooManyQualifiers));
    }

    #[test]
    fn letters_of_other_scripts_are_composed() {
        // e, circumflex, dot below: three characters become one.
        assert_eq!(station("Tie\u{0302}\u{0323}n").as_deref(), Ok("Tiện"));
        assert_eq!(property("mu\u{031b}a;kie\u{0302}\u{0309}u=rao").as_deref(), Ok("mưa;kiểu=rao"));
        assert!(matches!(agency("Hải"), Ok(Cow::Borrowed("Hải"))));
        let decomposed = "e\u{0302}\u{0323}".repeat(64);
        assert_eq!(station(&decomposed).map(|name| name.chars().count()), Ok(64));
    }

    #[test]
    fn refused_names_say_where() {
        let message = station("KHI 003").expect_err("a space").to_string();
        assert_eq!(
            message,
            "the station has the character ' ' at position 4; allowed are letters, digits and . _ -"
        );
        let message = property("pm2,5").expect_err("a comma").to_string();
        assert!(
            message.contains("','") && message.contains("position 4") && message.contains("; ="),
            "{message}"
        );
        assert_eq!(agency(""), Err(NameError::Empty { kind: NameKind::Agency }));
        assert_eq!(agency(&"x".repeat(65)), Err(NameError::TooLong { kind: NameKind::Agency }));
        assert_eq!(property(&"ệ".repeat(65)), Err(NameError::TooLong { kind: NameKind::Property }));
        assert_eq!(property(&"ệ".repeat(100_000)), Err(NameError::TooLong { kind: NameKind::Property }));
        assert!(matches!(station("a;b=c"), Err(NameError::Character { character: ';', position: 2, .. })));
        for name in ["a/b", "a+", "#", "a\0", "a\u{200b}", "½", "a\u{0301}\u{0489}", "trạm 1", "\u{feff}a"]
        {
            assert!(matches!(station(name), Err(NameError::Character { .. })), "{name:?}");
            assert!(matches!(property(name), Err(NameError::Character { .. })), "{name:?}");
        }
        for name in ["flow;", "flow;;lane=1", "flow;lane", "flow;=1", "flow;lane="] {
            assert!(matches!(property(name), Err(NameError::Qualifier { .. })), "{name}");
        }
        assert!(matches!(property(";lane=1"), Err(NameError::Empty { .. })));
        assert!(matches!(property("a=b"), Err(NameError::Character { character: '=', position: 2, .. })));
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(name in "[a-zé̀;=.1]{0,20}|\\PC{0,20}") {
            if let Ok(canonical) = property(&name) {
                prop_assert!(matches!(property(&canonical), Ok(Cow::Borrowed(_))), "{:?}", canonical);
                prop_assert!(canonical.chars().count() <= NAME_CHARACTERS_MAX);
            }
            if let Ok(plain) = station(&name) {
                prop_assert!(matches!(station(&plain), Ok(Cow::Borrowed(_))));
                prop_assert_eq!(property(&name), Ok(plain));
            }
        }
    }
}
