//! Counts a journal's messages without any code of the gateway: written from `docs/format/log.md`, `docs/format/json.md`
//! and `docs/format/telemetry.md` alone, to hold the gateway's books against.
//!
//! Segments are used again once their messages are processed, so a journal is looked at between starts, and what was seen
//! is kept by `message_no`. Those numbers are dense: a message that nobody could count any more shows as a hole.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::Path;

const BLOCK: usize = 4096;
const FRAME_HEADER_LEN: usize = 64;
const RECORD_HEADER_LEN: usize = 8;
const KIND_PAD: u8 = 0;
const KIND_MESSAGE: u8 = 1;
/// Fixed part of a message record's body.
const MESSAGE_HEAD_LEN: usize = 20;

/// A message as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalMessage {
    pub client: String,
    pub topic: String,
    pub payload: Vec<u8>,
}

/// What should become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Decoded { readings: u64 },
    Quarantined { readings: u64 },
    Ignored,
}

/// Sums in the books' words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub received: u64,
    pub decoded: u64,
    pub quarantined: u64,
    pub ignored: u64,
    /// Readings, those in quarantine included.
    pub readings: u64,
    pub readings_quarantined: u64,
}

/// Everything seen so far, by `message_no`.
#[derive(Debug, Default)]
pub struct JournalCount {
    messages: BTreeMap<u64, JournalMessage>,
}

impl JournalCount {
    /// Reads the journal of a gateway that does not run; returns how many messages were new.
    pub fn add(&mut self, journal_dir: &Path) -> u64 {
        let mut new = 0;
        for (message_no, message) in read_journal(journal_dir) {
            match self.messages.entry(message_no) {
                Entry::Vacant(place) => {
                    place.insert(message);
                    new += 1;
                }
                Entry::Occupied(seen) => {
                    assert_eq!(*seen.get(), message, "message {message_no} is not what it was before");
                }
            }
        }
        let last = self.messages.last_key_value().map_or(0, |(last, _)| *last);
        assert_eq!(
            last,
            self.messages.len() as u64,
            "numbers are missing: segments were used again before they were counted, or messages are lost"
        );
        new
    }

    /// Sums over the messages of one client, or of all.
    pub fn sums(&self, client: Option<&str>) -> Sums {
        let mut sums = Sums::default();
        for message in self.messages.values() {
            if client.is_some_and(|client| client != message.client) {
                continue;
            }
            sums.received += 1;
            match fate(&message.topic, &message.payload) {
                Fate::Decoded { readings } => {
                    sums.decoded += 1;
                    sums.readings += readings;
                }
                Fate::Quarantined { readings } => {
                    sums.quarantined += 1;
                    sums.readings += readings;
                    sums.readings_quarantined += readings;
                }
                Fate::Ignored => sums.ignored += 1,
            }
        }
        sums
    }

    /// Names of all clients.
    pub fn clients(&self) -> Vec<String> {
        let mut clients: Vec<String> = self.messages.values().map(|message| message.client.clone()).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }
}

/// Where the valid frames of a segment of either log lie: offset and length, in order.
pub fn frame_places(segment: &Path) -> Vec<(usize, usize)> {
    let bytes = fs::read(segment).expect("a segment can be read");
    let (log_id, epoch) = (&bytes[16..32], u64_at(&bytes, 40));
    let mut places = Vec::new();
    let mut at = BLOCK;
    while let Some(frame) = frame_at(&bytes, at, log_id, epoch) {
        places.push((at, frame.len()));
        at += frame.len();
    }
    places
}

/// Changes the frame of a segment that begins at `offset` and gives it the checksum of what it says then: what no disk does, and
/// a build with a bug might.
pub fn rewrite_frame(segment: &Path, offset: usize, change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(segment).expect("a segment can be read");
    let log_id: [u8; 16] = bytes[16..32].try_into().expect("16 bytes");
    let length = u32_at(&bytes, offset + 8) as usize;
    let frame = &mut bytes[offset..offset + length];
    change(frame);
    let checksum = crc32c(&[&log_id, &frame[8..]]);
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
    fs::write(segment, bytes).expect("a segment can be written");
}

/// The messages of a journal in order; several segments may hold the same frame (docs/format/log.md, "Recovery").
fn read_journal(dir: &Path) -> BTreeMap<u64, JournalMessage> {
    let mut messages = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("the journal's directory is there") {
        let path = entry.expect("its entries can be read").path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let segment = fs::read(&path).expect("a segment can be read");
            let name = path.file_stem().expect("a segment has a name").to_string_lossy();
            let epoch = u64::from_str_radix(&name, 16).expect("a segment is named by its epoch");
            read_segment(&segment, epoch, &mut messages);
        }
    }
    messages
}

fn read_segment(segment: &[u8], epoch: u64, messages: &mut BTreeMap<u64, JournalMessage>) {
    assert_eq!(&segment[..8], b"SGLOGSEG", "segment {epoch:x} has no header");
    assert_eq!(u64_at(segment, 40), epoch);
    let log_id = &segment[16..32];
    let mut at = BLOCK;
    let mut last_frame_no = None;
    while let Some(frame) = frame_at(segment, at, log_id, epoch) {
        let frame_no = u64_at(frame, 24);
        assert!(last_frame_no.is_none_or(|last| last + 1 == frame_no), "frame {frame_no} is out of turn");
        last_frame_no = Some(frame_no);
        read_frame(frame, messages);
        at += frame.len();
    }
}

/// The frame that starts at `at`, if a valid one does.
pub(crate) fn frame_at<'a>(segment: &'a [u8], at: usize, log_id: &[u8], epoch: u64) -> Option<&'a [u8]> {
    let rest = segment.get(at..)?;
    if rest.len() < BLOCK || &rest[..4] != b"SGfr" {
        return None;
    }
    let length = u32_at(rest, 8) as usize;
    if length == 0 || !length.is_multiple_of(BLOCK) || length > rest.len() {
        return None;
    }
    let frame = &rest[..length];
    let checksum = crc32c(&[log_id, &frame[8..]]);
    (checksum == u32_at(frame, 4) && u64_at(frame, 16) == epoch).then_some(frame)
}

fn read_frame(frame: &[u8], messages: &mut BTreeMap<u64, JournalMessage>) {
    let (records, in_frame) = (u32_at(frame, 12), u32_at(frame, 48));
    let first_message_no = u64_at(frame, 40);
    let (mut found_records, mut found_messages) = (0, 0);
    let mut at = FRAME_HEADER_LEN;
    while at + RECORD_HEADER_LEN <= frame.len() {
        let length = u32_at(frame, at) as usize;
        if length == 0 {
            at = (at / BLOCK + 1) * BLOCK;
            continue;
        }
        let kind = frame[at + 4];
        found_records += u32::from(kind != KIND_PAD);
        if kind == KIND_MESSAGE {
            let message = read_message(&frame[at + RECORD_HEADER_LEN..at + length]);
            messages.insert(first_message_no + u64::from(found_messages), message);
            found_messages += 1;
        }
        at += length.next_multiple_of(8);
    }
    assert_eq!((found_records, found_messages), (records, in_frame), "the frame's own counts");
}

fn read_message(body: &[u8]) -> JournalMessage {
    let lengths = [
        usize::from(body[1]),
        usize::from(u16_at(body, 2)),
        usize::from(u16_at(body, 4)),
        u32_at(body, 8) as usize,
        u32_at(body, 12) as usize,
    ];
    let mut at = MESSAGE_HEAD_LEN;
    let [_agency, client, topic, _properties, payload] = lengths.map(|length| {
        let part = &body[at..at + length];
        at += length;
        part
    });
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("client and topic are UTF-8");
    JournalMessage { client: text(client), topic: text(topic), payload: payload.to_vec() }
}

/// What the contract says of a message, as far as the simulator's messages go: times are within their bounds.
pub fn fate(topic: &str, payload: &[u8]) -> Fate {
    let levels: Vec<&str> = topic.split('/').collect();
    match levels[..] {
        ["obs", _, _] if payload.first() == Some(&b'{') => json_fate(payload),
        ["obs", _, _] if payload.get(4..8) == Some(b"SGT1") => match flatbuffer_readings(payload) {
            Some(readings) => Fate::Decoded { readings },
            None => Fate::Quarantined { readings: 0 },
        },
        ["obs", _, _, _] => match serde_json::from_slice::<serde_json::Value>(payload) {
            Ok(value) if value.is_number() || value.is_boolean() || value.get("value").is_some() => {
                Fate::Decoded { readings: 1 }
            }
            _ => Fate::Quarantined { readings: 0 },
        },
        ["obs", ..] => Fate::Quarantined { readings: 0 },
        _ => Fate::Ignored,
    }
}

fn json_fate(payload: &[u8]) -> Fate {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(payload) else {
        // "Python's NaN … cost only the reading in which they stand": the simulator's garbage has exactly one reading then.
        let is_not_a_number = payload.windows(4).any(|window| window == b":NaN");
        return Fate::Quarantined { readings: u64::from(is_not_a_number) };
    };
    let has_a_bad_time = value["time"].as_str().is_some_and(|time| !time.starts_with("20"));
    match value["readings"].as_array() {
        Some(readings) if !has_a_bad_time => Fate::Decoded { readings: readings.len() as u64 },
        _ => Fate::Quarantined { readings: 0 },
    }
}

/// Readings of a telemetry message, by the byte table of `docs/format/telemetry.md`.
fn flatbuffer_readings(bytes: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let table = word(0)?;
    let slots = table.checked_sub(word(table)?)?;
    let slots_len = usize::from(u16::from_le_bytes(bytes.get(slots..slots + 2)?.try_into().ok()?));
    let field = |id: usize| -> Option<usize> {
        let slot = 4 + 2 * id;
        if slot + 2 > slots_len {
            return None;
        }
        let at = u16::from_le_bytes(bytes.get(slots + slot..slots + slot + 2)?.try_into().ok()?);
        (at != 0).then_some(table + usize::from(at))
    };
    let short_form = u64::from(field(2).is_some());
    let readings = match field(5) {
        Some(at) => word(at + word(at)?)? as u64,
        None => 0,
    };
    Some(short_form + readings)
}

/// CRC-32C (Castagnoli), one byte at a time.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    let mut value = !0;
    for byte in parts.iter().copied().flatten() {
        value = (value >> 8) ^ TABLE[((value ^ u32::from(*byte)) & 0xff) as usize];
    }
    !value
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(&[b"1234", b"56789"]), 0xe306_9283);
    }

    #[test]
    fn the_example_of_the_format_page_is_read() {
        let mut segment = vec![0; 1 << 20];
        let mut put = |at: usize, bytes: &[u8]| segment[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"SGLOGSEG");
        put(16, b"0123456789abcdef");
        put(40, &[1]);
        let head: &[u8] =
            b"SGfr\x25\xbe\x3e\x43\x00\x20\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00";
        put(0x1000, head);
        put(0x1018, &[1]);
        put(0x1020, &[1]);
        put(0x1028, &[1]);
        put(0x1030, b"\x01\x00\x00\x00\x00\x00\x00\x00\x78\x56\x34\x12\x00\x00\x06\x00");
        put(0x1040, b"\x0d\x00\x00\x00\x01\x11\x33\x22hello");
        put(0x2000, &[0x40]);
        put(0x2040, b"\x10\x00\x00\x00\x02\x00\x00\x00control!");
        let frame = frame_at(&segment, 0x1000, b"0123456789abcdef", 1).expect("the frame of the page");
        assert_eq!(frame.len(), 0x2000);
        assert_eq!(frame_at(&segment, 0x1000, b"0123456789abcdef", 2), None, "another life of the segment");
        segment[0x1048] ^= 1;
        assert_eq!(frame_at(&segment, 0x1000, b"0123456789abcdef", 1), None, "damaged");
    }

    #[test]
    fn fates_are_told_apart() {
        let decoded = |readings| Fate::Decoded { readings };
        let quarantined = |readings| Fate::Quarantined { readings };
        assert_eq!(fate("city/lamp", b"on"), Fate::Ignored);
        assert_eq!(fate("obs/a/b/pm2_5", b"38.4"), decoded(1));
        assert_eq!(fate("obs/a/b/pm2_5", b"38,4"), quarantined(0));
        assert_eq!(fate("obs/a/b/c/d", b"1"), quarantined(0));
        assert_eq!(
            fate("obs/a/b", br#"{"readings":[{"property":"a","value":1},{"property":"b","value":2}]}"#),
            decoded(2)
        );
        assert_eq!(fate("obs/a/b", br#"{"readings":[{"property":"a","value":NaN}]}"#), quarantined(1));
        assert_eq!(fate("obs/a/b", br#"{"time":"yesterday","readings":[]}"#), quarantined(0));
        let telemetry = [
            0x1c, 0, 0, 0, 0x53, 0x47, 0x54, 0x31, 0, 0, 0, 0, 0, 0, 0x0e, 0, 0x1c, 0, 0x0c, 0, 8, 0, 0x14,
            0, 0, 0, 6, 0, 0x0e, 0, 0, 0, 0, 0, 1, 0, 0x12, 4, 0, 0, 0x40, 0, 7, 0x2b, 0xf3, 0xbe, 0x60,
            0x06, 0, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x43, 0x40,
        ];
        assert_eq!(fate("obs/a/b", &telemetry), decoded(1));
        assert_eq!(fate("obs/a/b", &telemetry[..20]), quarantined(0));
    }
}
