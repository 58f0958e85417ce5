//! The one-pass reader of the usual shape: borrowed, no allocation.
//!
//! Usual means: valid UTF-8 and JSON, no escapes, every known member once, extra members without objects or arrays in them,
//! `tags` flat, every reading an object, message `time` and `seq` readable. Anything else makes it give up (`None`), and
//! the slow reader reads the message from its beginning; so this reader never has to word a message's error.

use super::super::number::{self, Number};
use super::super::{MessageInfo, READINGS_PER_MESSAGE_MAX, ReadingSink};
use super::members::{self, Member, READING_MEMBERS, ReadingMembers, Scalar, TAGS_MAX, Tags};

/// Reads a canonical message. `None`: unusual or wrong; the sink may have got readings by then.
pub(super) fn message(text: &str, sink: &mut impl ReadingSink) -> Option<MessageInfo> {
    let mut reader = Reader { text, at: 0 };
    let mut info = MessageInfo::default();
    let mut time = Member::default();
    let mut seq = Member::default();
    // The array is read where it stands if the message's time is known by then, else after the last member.
    let mut readings_at = None;
    let mut readings_read = false;

    reader.take(b'{')?;
    loop {
        match reader.key()? {
            "time" if is_first(&time) => {
                time = reader.scalar()?;
                info.time_us = members::time_us(time).ok()?;
            }
            "seq" if is_first(&seq) => {
                seq = reader.scalar()?;
                info.seq = members::seq(seq).ok()?;
            }
            "readings" if readings_at.is_none() => {
                reader.peek()?;
                readings_at = Some(reader.at);
                if is_first(&time) {
                    reader.skip_array()?;
                } else {
                    reader.readings(&mut info, sink)?;
                    readings_read = true;
                }
            }
            "time" | "seq" | "readings" => return None,
            _ => {
                reader.scalar()?;
            }
        }
        if reader.is_last(b'}')? {
            break;
        }
    }
    reader.end()?;
    reader.at = readings_at?;
    if !readings_read {
        reader.readings(&mut info, sink)?;
    }
    Some(info)
}

/// Reads the object of one reading on a topic that names its property; see [`message`].
pub(super) fn reading_object<'a>(
    text: &'a str,
    found: &mut ReadingMembers<'a>,
    tags: &mut Tags<'a>,
) -> Option<()> {
    let mut reader = Reader { text, at: 0 };
    reader.reading_members(found, tags)?;
    reader.end()
}

fn is_first(member: &Member<'_>) -> bool {
    member.scalar == Scalar::Absent
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next byte that is not white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if !number::is_white_space(byte) {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// After a member or element: `false` before the next one, `true` behind the closing bracket.
    #[inline]
    fn is_last(&mut self, close: u8) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        if byte == b',' { Some(false) } else { (byte == close).then_some(true) }
    }

    /// Nothing but white space may follow.
    fn end(&mut self) -> Option<()> {
        match self.peek() {
            None => Some(()),
            Some(_) => None,
        }
    }

    #[inline]
    fn key(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let key = self.string()?;
        self.take(b':')?;
        Some(key)
    }

    /// A string's characters, from behind its opening quote to behind its closing one.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|byte| STOPS[usize::from(*byte)])?;
        if rest[length] != b'"' {
            return None;
        }
        let start = self.at;
        self.at += length + 1;
        self.text.get(start..start + length)
    }

    #[inline]
    fn scalar(&mut self) -> Option<Member<'a>> {
        let first = self.peek()?;
        let offset = self.at;
        let scalar = match first {
            b'"' => {
                self.at += 1;
                Scalar::Text(self.string()?)
            }
            b'-' | b'0'..=b'9' => Scalar::Number(self.number()?),
            b't' => self.word("true", Scalar::Boolean(true))?,
            b'f' => self.word("false", Scalar::Boolean(false))?,
            b'n' => self.word("null", Scalar::Null)?,
            _ => return None,
        };
        Some(Member { scalar, offset })
    }

    fn number(&mut self) -> Option<Number<'a>> {
        let (number, end) = number::scan(self.text, self.at)?;
        self.at = end;
        Some(number)
    }

    fn word(&mut self, word: &str, scalar: Scalar<'a>) -> Option<Scalar<'a>> {
        let end = self.at + word.len();
        if self.text.as_bytes().get(self.at..end)? != word.as_bytes() {
            return None;
        }
        self.at = end;
        Some(scalar)
    }

    /// Goes behind an array without looking at what is in it.
    fn skip_array(&mut self) -> Option<()> {
        self.take(b'[')?;
        let mut depth = 1_usize;
        while depth > 0 {
            match *self.text.as_bytes().get(self.at)? {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                b'"' => {
                    self.at += 1;
                    self.string()?;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        Some(())
    }

    fn readings(&mut self, info: &mut MessageInfo, sink: &mut impl ReadingSink) -> Option<()> {
        self.take(b'[')?;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        let mut name_buffer = String::new();
        let mut tags = Tags::new();
        for index in 0..READINGS_PER_MESSAGE_MAX {
            let mut found = ReadingMembers::default();
            self.reading_members(&mut found, &mut tags)?;
            match members::finish(&found, &tags, None, info.time_us, &mut name_buffer) {
                Ok(reading) => {
                    info.readings += 1;
                    sink.reading(reading);
                }
                Err(error) => {
                    info.bad_readings += 1;
                    sink.bad_reading(index, members::property_as_sent(&found), error);
                }
            }
            if self.is_last(b']')? {
                return Some(());
            }
        }
        None
    }

    /// Fills in the members of one reading and its tags.
    fn reading_members(&mut self, found: &mut ReadingMembers<'a>, tags: &mut Tags<'a>) -> Option<()> {
        self.take(b'{')?;
        found.offset = self.at - 1;
        tags.clear();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let slot = match self.key()? {
                "property" => members::PROPERTY,
                "value" => members::VALUE,
                "unit" => members::UNIT,
                "status" => members::STATUS,
                "time" => members::TIME,
                "period_s" => members::PERIOD_S,
                "tags" => members::TAGS,
                "seq" => members::SEQ,
                _ => {
                    self.scalar()?;
                    READING_MEMBERS.len()
                }
            };
            if let Some(member) = found.members.get_mut(slot) {
                if !is_first(member) {
                    return None;
                }
                *member = if slot == members::TAGS && self.peek()? == b'{' {
                    let offset = self.at;
                    self.tags(tags)?;
                    Member { scalar: Scalar::Object, offset }
                } else {
                    self.scalar()?
                };
            }
            if self.is_last(b'}')? {
                return Some(());
            }
        }
    }

    fn tags(&mut self, tags: &mut Tags<'a>) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        while tags.len() < TAGS_MAX {
            tags.push((self.key()?, self.scalar()?));
            if self.is_last(b'}')? {
                return Some(());
            }
        }
        None
    }
}

/// Bytes at which a string without escapes ends or is no longer one.
const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        stops[byte] = true;
        byte += 1;
    }
    stops[b'"' as usize] = true;
    stops[b'\\' as usize] = true;
    stops
};
