//! The reader for everything unusual: escapes, nested extra members, members twice, wrong types, and every broken message.
//!
//! serde_json checks the text and finds the members; each is kept as its raw text, so that a reading with something wrong
//! in it costs that reading only and every error knows its place.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::number;
use super::super::{DecodeError, ErrorKind, MessageInfo, READINGS_PER_MESSAGE_MAX, ReadingSink};
use super::members::{self, Member, READING_MEMBERS, ReadingMembers, Scalar, TAGS_MAX, Tags};

/// A JSON text that has been checked once as a whole.
pub(super) struct Checked<'a> {
    /// Valid JSON: the payload, with NaN and infinities blanked out.
    json: Cow<'a, str>,
    payload: &'a str,
}

impl<'a> Checked<'a> {
    /// Checks UTF-8 and JSON.
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let payload = std::str::from_utf8(payload).map_err(|error| {
            DecodeError::new(ErrorKind::NotUtf8, error.valid_up_to(), "the payload is not UTF-8 here")
        })?;
        if payload.bytes().all(number::is_white_space) {
            return Err(DecodeError::new(ErrorKind::Empty, 0, "the payload is empty"));
        }
        let json = blank_not_finite(payload);
        if let Err(error) = serde_json::from_str::<&RawValue>(&json) {
            return Err(syntax_error(payload, &error));
        }
        Ok(Self { json, payload })
    }

    /// The whole text without white space round it.
    fn root(&self) -> &str {
        self.json.trim_matches(|character| matches!(character, ' ' | '\t' | '\n' | '\r'))
    }

    /// Where a part of [`Self::root`] starts in the payload.
    fn offset(&self, part: &str) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.json.as_ptr() as usize)
    }

    /// The value of a raw text; strings go through `text`, which has the unescaped form.
    fn member<'m>(&self, raw: &'m str, text: &'m Unescaped<'m>) -> Member<'m> {
        let offset = self.offset(raw);
        let scalar = match raw.as_bytes().first() {
            Some(b'"') => match text {
                Unescaped::Text(text) => Scalar::Text(text),
                Unescaped::Broken => Scalar::BrokenText,
            },
            Some(b't') => Scalar::Boolean(true),
            Some(b'f') => Scalar::Boolean(false),
            Some(b'n') => Scalar::Null,
            Some(b'{') => Scalar::Object,
            Some(b'[') if self.payload.as_bytes().get(offset) == Some(&b'[') => Scalar::Array,
            Some(b'[') => Scalar::NotFinite,
            Some(_) => number::scan(raw, 0).map_or(Scalar::Absent, |(number, _)| Scalar::Number(number)),
            None => Scalar::Absent,
        };
        Member { scalar, offset }
    }
}

/// Reads a canonical message.
pub(super) fn message(
    checked: &Checked<'_>,
    sink: &mut impl ReadingSink,
) -> Result<MessageInfo, DecodeError> {
    let root = checked.root();
    if !root.starts_with('{') {
        return Err(DecodeError::new(
            ErrorKind::NotAnObject,
            checked.offset(root),
            "a message is a JSON object with a member `readings`; this JSON is something else",
        ));
    }
    let [time, seq, readings] = object(checked, root, &["time", "seq", "readings"])?;
    let text = Unescaped::of(time.unwrap_or_default());
    let time_us = members::time_us(time.map(|raw| checked.member(raw, &text)).unwrap_or_default())?;
    let text = Unescaped::of(seq.unwrap_or_default());
    let seq = members::seq(seq.map(|raw| checked.member(raw, &text)).unwrap_or_default())?;
    let mut info = MessageInfo { seq, time_us, ..MessageInfo::default() };

    let Some(readings) = readings else {
        return Err(DecodeError::new(
            ErrorKind::ReadingsMissing,
            checked.offset(root),
            "the message has no `readings`",
        ));
    };
    let readings_offset = checked.offset(readings);
    if !readings.starts_with('[') || checked.payload.as_bytes().get(readings_offset) != Some(&b'[') {
        return Err(DecodeError::new(
            ErrorKind::MemberType,
            readings_offset,
            "`readings` must be an array of objects",
        ));
    }
    let mut elements = Vec::new();
    collect(Elements(&mut elements), readings, checked)?;
    if let Some(excess) = elements.get(READINGS_PER_MESSAGE_MAX) {
        return Err(DecodeError::new(
            ErrorKind::TooManyReadings,
            checked.offset(excess),
            format!("the message has more than {READINGS_PER_MESSAGE_MAX} readings; send several messages"),
        ));
    }
    for (index, element) in elements.into_iter().enumerate() {
        let mut property = None;
        let read = reading(checked, element, None, time_us, &mut property, &mut |reading, _| {
            sink.reading(reading);
            Ok(())
        });
        match read {
            Ok(()) => info.readings += 1,
            Err(error) => {
                info.bad_readings += 1;
                sink.bad_reading(index, property.as_deref(), error);
            }
        }
    }
    Ok(info)
}

/// Reads the object of one reading on a topic that names its property.
pub(super) fn reading_object(
    checked: &Checked<'_>,
    topic_property: &str,
    sink: &mut impl ReadingSink,
) -> Result<MessageInfo, DecodeError> {
    let mut info = MessageInfo { readings: 1, ..MessageInfo::default() };
    reading(checked, checked.root(), Some(topic_property), None, &mut None, &mut |reading, seq| {
        info.seq = members::seq(seq)?;
        info.time_us = reading.time_us;
        sink.reading(reading);
        Ok(())
    })?;
    Ok(info)
}

/// Reads one element of `readings` and lends it, with its member `seq`, to `take`. `property_as_sent` is filled as soon as
/// it is known.
fn reading(
    checked: &Checked<'_>,
    raw: &str,
    topic_property: Option<&str>,
    message_time_us: Option<i64>,
    property_as_sent: &mut Option<String>,
    take: &mut impl FnMut(super::super::Reading<'_>, Member<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let offset = checked.offset(raw);
    let is_object = raw.starts_with('{');
    if !is_object {
        return Err(DecodeError::new(ErrorKind::NotAnObject, offset, "a reading must be a JSON object"));
    }
    let raws = object(checked, raw, &READING_MEMBERS)?;
    let texts = raws.map(|raw| Unescaped::of(raw.unwrap_or_default()));
    let mut found = ReadingMembers { offset, ..ReadingMembers::default() };
    for (slot, member) in found.members.iter_mut().enumerate() {
        if let Some(raw) = raws[slot] {
            *member = checked.member(raw, &texts[slot]);
        }
    }
    *property_as_sent = members::property_as_sent(&found).map(str::to_owned);

    let mut tag_raws = Vec::new();
    if let Some(raw) = raws[members::TAGS].filter(|raw| raw.starts_with('{')) {
        collect(Pairs(&mut tag_raws), raw, checked)?;
    }
    let tag_texts: Vec<_> = tag_raws.iter().map(|(_, raw)| Unescaped::of(raw)).collect();
    if tag_raws.len() > TAGS_MAX {
        return Err(DecodeError::new(
            ErrorKind::NameInvalid,
            found.members[members::TAGS].offset,
            crate::name::NameError::TooManyQualifiers.to_string(),
        ));
    }
    let tags: Tags<'_> = tag_raws
        .iter()
        .zip(&tag_texts)
        .map(|((key, raw), text)| (key.as_str(), checked.member(raw, text)))
        .collect();
    let mut name_buffer = String::new();
    let reading = members::finish(&found, &tags, topic_property, message_time_us, &mut name_buffer)?;
    take(reading, found.members[members::SEQ])
}

/// A string's characters.
enum Unescaped<'a> {
    Text(Cow<'a, str>),
    /// An escape stands for no character (half of a surrogate pair).
    Broken,
}

impl<'a> Unescaped<'a> {
    /// Of a raw string; whatever else the raw text is comes back as it is.
    fn of(raw: &'a str) -> Self {
        match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) if !inner.contains('\\') => Self::Text(Cow::Borrowed(inner)),
            Some(_) => {
                serde_json::from_str(raw).map_or(Self::Broken, |text: String| Self::Text(Cow::Owned(text)))
            }
            None => Self::Text(Cow::Borrowed(raw)),
        }
    }
}

/// The raw values of the known members of an object; the others are passed over.
fn object<'r, const N: usize>(
    checked: &Checked<'_>,
    raw: &'r str,
    known: &[&str; N],
) -> Result<[Option<&'r str>; N], DecodeError> {
    let mut slots = [None; N];
    match collect(Members { known, slots: &mut slots }, raw, checked)? {
        None => Ok(slots),
        Some((slot, second)) => Err(DecodeError::new(
            ErrorKind::MemberTwice,
            checked.offset(second),
            format!("`{}` stands twice in one object", known[slot]),
        )),
    }
}

fn collect<'r, V: Visitor<'r>>(
    visitor: V,
    raw: &'r str,
    checked: &Checked<'_>,
) -> Result<V::Value, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    deserializer.deserialize_any(visitor).map_err(|error| {
        // The text is valid as a whole; what is left is an escape in a member's name that stands for no character.
        let mut error = syntax_error(raw, &error);
        error.offset = error.offset.saturating_add(u32::try_from(checked.offset(raw)).unwrap_or(u32::MAX));
        error
    })
}

/// Fills the slots of the known names; the result is the first one that stands twice.
struct Members<'s, 'r> {
    known: &'s [&'s str],
    slots: &'s mut [Option<&'r str>],
}

impl<'r> Visitor<'r> for Members<'_, 'r> {
    type Value = Option<(usize, &'r str)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut twice = None;
        while let Some(slot) = map.next_key_seed(KnownName(self.known))? {
            let Some(slot) = slot else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let raw = map.next_value::<&'r RawValue>()?.get();
            if self.slots[slot].is_some() && twice.is_none() {
                twice = Some((slot, raw));
            }
            self.slots[slot] = Some(raw);
        }
        Ok(twice)
    }
}

/// Reads a member's name as its index among the known ones.
struct KnownName<'s>(&'s [&'s str]);

impl<'r> DeserializeSeed<'r> for KnownName<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'r>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KnownName<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

struct Elements<'s, 'r>(&'s mut Vec<&'r str>);

impl<'r> Visitor<'r> for Elements<'_, 'r> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'r>>(self, mut elements: A) -> Result<(), A::Error> {
        while self.0.len() <= READINGS_PER_MESSAGE_MAX {
            match elements.next_element::<&'r RawValue>()? {
                Some(raw) => self.0.push(raw.get()),
                None => return Ok(()),
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// The pairs of `tags`, at most one more than [`TAGS_MAX`].
struct Pairs<'s, 'r>(&'s mut Vec<(String, &'r str)>);

impl<'r> Visitor<'r> for Pairs<'_, 'r> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<(), A::Error> {
        while self.0.len() <= TAGS_MAX {
            match map.next_entry::<String, &'r RawValue>()? {
                Some((key, raw)) => self.0.push((key, raw.get())),
                None => return Ok(()),
            }
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Replaces the words NaN, Infinity and -Infinity outside strings by an empty array of the same length, which is as wrong as
/// a value but JSON. So a sender that writes them (Python does) loses one reading and not the message.
fn blank_not_finite(payload: &str) -> Cow<'_, str> {
    let bytes = payload.as_bytes();
    let mut blanked = String::new();
    let mut copied = 0;
    let mut in_string = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'N' | b'I' | b'-' if !in_string => {
                if let Some(word) = not_finite_word(&bytes[at..]) {
                    blanked.push_str(&payload[copied..at]);
                    blanked.push('[');
                    blanked.extend(std::iter::repeat_n(' ', word.len() - 2));
                    blanked.push(']');
                    copied = at + word.len();
                    at = copied;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(payload);
    }
    blanked.push_str(&payload[copied..]);
    Cow::Owned(blanked)
}

/// The word for no finite number that stands at the beginning of `bytes`, if any.
pub(super) fn not_finite_word(bytes: &[u8]) -> Option<&'static str> {
    ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| bytes.starts_with(word.as_bytes()))
}

fn syntax_error(text: &str, error: &serde_json::Error) -> DecodeError {
    let line_start: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let offset = (line_start + error.column().saturating_sub(1)).min(text.len());
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    DecodeError::new(ErrorKind::NotJson, offset, format!("the payload is not JSON: {words}"))
}
