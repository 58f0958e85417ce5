//! An observation frame in memory and its record form in the log.

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::row::{MessageEntry, Outcome, Row};
use super::settlement::Settlement;
use crate::log::{AlignedBuf, BufferFull, FrameMeta, records};

const KIND_INFO: u8 = 16;
const KIND_DEFINITION: u8 = 17;
const KIND_MESSAGES: u8 = 18;
const KIND_ROWS: u8 = 19;
const KIND_TEXTS: u8 = 20;
const KIND_QUARANTINED: u8 = 21;
const KIND_RETAINED: u8 = 22;
const KIND_RESEND_MARKS: u8 = 23;
const KIND_OUTCOMES: u8 = 24;
const KIND_SETTLEMENT: u8 = 25;

/// Everything that one step of the pipeline made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservationFrame {
    /// Number of this frame in the observation log.
    pub frame_no: u64,
    /// The log's number of the frame's first record, and of the record after its last.
    pub first_record_no: u64,
    pub end_record_no: u64,
    /// `obs_no` of the first row; row `i` has `first_obs_no + i`.
    pub first_obs_no: u64,
    pub info: FrameInfo,
    pub definitions: Vec<Definition>,
    pub messages: Vec<MessageEntry>,
    /// In journal order; the rows of one message lie together, in the order of `messages`.
    pub rows: Vec<Row>,
    pub texts: Vec<u8>,
    pub quarantined: Vec<Quarantined>,
    pub retained: Vec<RetainedChange>,
    pub resend_marks: Vec<ResendMark>,
    pub outcomes: Vec<Outcome>,
    /// In the order of their control records.
    pub settlements: Vec<Settlement>,
}

/// What a frame covers and what made it, 48 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FrameInfo {
    /// Covers the messages `first_message_no .. next_message_no`.
    pub first_message_no: u64,
    pub next_message_no: u64,
    /// Every journal record below is processed once this frame is durable.
    pub next_record_no: u64,
    /// Stamp of the newest message covered, µs since 1970 UTC.
    pub time_us: i64,
    /// Version of the mapping that routed the topics.
    pub mapping_version: u32,
    /// CRC-32C of the build's version string: which decoders ran.
    pub build: u32,
    pub zero: u64,
}

/// A name and the number that stands for it from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    Agency {
        id: u32,
        code: String,
    },
    Client {
        id: u32,
        name: String,
    },
    Datastream {
        id: u32,
        station: u32,
        /// Property with its qualifiers, canonical: `flow;class=motorcycle;lane=1`.
        property: String,
        /// 0 = instantaneous.
        period_s: u32,
        domain: String,
        /// Symbol of the canonical unit, 0 = none.
        unit: u32,
    },
    Station {
        id: u32,
        agency: u32,
        code: String,
    },
    /// A status or a unit.
    Symbol {
        id: u32,
        text: String,
    },
}

/// A message that could not be decoded, or not wholly, with what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    pub message_no: u64,
    pub receive_time_us: i64,
    /// Byte offset in the payload where it went wrong.
    pub offset: u32,
    /// How many readings of the message are affected; 0 = the message could not be read at all.
    pub readings: u16,
    /// Closed list of words, e.g. `not_json`.
    pub reason: String,
    /// The decoder's sentence.
    pub sentence: String,
    pub topic: String,
    pub client: String,
    /// As in its message record, for a replay.
    pub flags: u8,
    pub packet_id: u16,
    pub properties: Vec<u8>,
    /// Which readings are affected: bit *i* = reading *i*; empty = all.
    pub refused: Vec<u8>,
    pub payload: Vec<u8>,
}

/// A client's retained message was set (or, with an empty payload, removed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedChange {
    pub message_no: u64,
    pub receive_time_us: i64,
    pub qos: u8,
    pub topic: Vec<u8>,
    pub properties: Vec<u8>,
    pub payload: Vec<u8>,
}

/// A mark by which a re-send of an undated message is recognised, 32 bytes (`pipeline::resend` says what each kind holds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ResendMark {
    pub key: u64,
    pub content: u64,
    pub message_no: u64,
    pub time_us: i64,
}

#[derive(Debug, Error)]
#[error(
    "observation frame {frame_no}: {what}; the log passed its checksum, so another build wrote it or this one has a bug"
)]
pub struct ParseError {
    frame_no: u64,
    what: &'static str,
}

/// What a definition or a settlement takes as a record: they are written as JSON, whose length no rule of thumb bounds.
pub fn json_record_bytes(value: &impl Serialize) -> usize {
    // Strings and numbers always serialise. Record header, length and padding.
    serde_json::to_vec(value).unwrap_or_default().len() + 24
}

impl Quarantined {
    /// What it takes as a record.
    pub fn record_bytes(&self) -> usize {
        let texts = self.reason.len() + self.sentence.len() + self.topic.len() + self.client.len();
        // Numbers, lengths, record header, padding.
        texts + self.properties.len() + self.refused.len() + self.payload.len() + 96
    }
}

/// Appends the frame's records to `buf`; returns how many records they are.
pub fn write_frame(frame: &ObservationFrame, buf: &mut AlignedBuf) -> Result<u32, BufferFull> {
    let mut count = 0;
    let mut push = |kind: u8, user: u16, parts: &[&[u8]]| -> Result<(), BufferFull> {
        count += 1;
        buf.push_record(kind, 0, user, parts)
    };
    push(KIND_INFO, 0, &[bytemuck::bytes_of(&frame.info)])?;
    for definition in &frame.definitions {
        // A struct of strings and numbers always serialises.
        let json = serde_json::to_vec(definition).unwrap_or_default();
        push(KIND_DEFINITION, 0, &[&(json.len() as u32).to_le_bytes(), &json])?;
    }
    // Each array lies behind its element count, on a boundary of eight bytes (record header 8 + count 8).
    let mut push_array = |kind: u8, len: usize, bytes: &[u8]| -> Result<(), BufferFull> {
        if len == 0 { Ok(()) } else { push(kind, 0, &[&(len as u64).to_le_bytes(), bytes]) }
    };
    push_array(KIND_MESSAGES, frame.messages.len(), bytemuck::cast_slice(&frame.messages))?;
    push_array(KIND_ROWS, frame.rows.len(), bytemuck::cast_slice(&frame.rows))?;
    push_array(KIND_TEXTS, frame.texts.len(), &frame.texts)?;
    push_array(KIND_RESEND_MARKS, frame.resend_marks.len(), bytemuck::cast_slice(&frame.resend_marks))?;
    push_array(KIND_OUTCOMES, frame.outcomes.len(), bytemuck::cast_slice(&frame.outcomes))?;
    for item in &frame.quarantined {
        let mut head = Writer::default();
        head.u64(item.message_no)
            .u64(item.receive_time_us as u64)
            .u32(item.offset)
            .u32(u32::from(item.readings));
        head.bytes(item.reason.as_bytes()).bytes(item.sentence.as_bytes());
        head.bytes(item.topic.as_bytes()).bytes(item.client.as_bytes());
        head.u32(u32::from(item.flags) << 16 | u32::from(item.packet_id));
        head.bytes(&item.properties).bytes(&item.refused);
        head.u32(item.payload.len() as u32);
        push(KIND_QUARANTINED, 0, &[&head.0, &item.payload])?;
    }
    for item in &frame.retained {
        let mut head = Writer::default();
        head.u64(item.message_no).u64(item.receive_time_us as u64).u32(u32::from(item.qos));
        head.bytes(&item.topic).bytes(&item.properties);
        head.u32(item.payload.len() as u32);
        push(KIND_RETAINED, 0, &[&head.0, &item.payload])?;
    }
    for settlement in &frame.settlements {
        // Strings and numbers always serialise.
        let json = serde_json::to_vec(settlement).unwrap_or_default();
        push(KIND_SETTLEMENT, 0, &[&(json.len() as u32).to_le_bytes(), &json])?;
    }
    Ok(count)
}

/// Reads a frame back from the checked payload of a log frame.
pub fn parse_frame(meta: &FrameMeta, payload: &[u8]) -> Result<ObservationFrame, ParseError> {
    let frame_no = meta.frame_no;
    let fail = |what| ParseError { frame_no, what };
    let mut frame = ObservationFrame {
        frame_no,
        first_record_no: meta.first_record_no,
        end_record_no: meta.first_record_no + u64::from(meta.record_count),
        first_obs_no: meta.first_message_no,
        ..ObservationFrame::default()
    };
    for record in records(payload) {
        let record = record.map_err(|_| fail("its records do not fit"))?;
        let body = record.body;
        match record.kind {
            KIND_INFO => {
                let bytes =
                    body.get(..size_of::<FrameInfo>()).ok_or_else(|| fail("its head is too short"))?;
                frame.info = bytemuck::pod_read_unaligned(bytes);
            }
            KIND_DEFINITION => {
                let json = Reader(body).bytes().ok_or_else(|| fail("a definition is too short"))?;
                frame
                    .definitions
                    .push(serde_json::from_slice(json).map_err(|_| fail("a definition can't be read"))?);
            }
            KIND_MESSAGES => frame.messages = array(body).ok_or_else(|| fail("its messages do not fit"))?,
            KIND_ROWS => frame.rows = array(body).ok_or_else(|| fail("its rows do not fit"))?,
            KIND_TEXTS => frame.texts = array(body).ok_or_else(|| fail("its texts do not fit"))?,
            KIND_RESEND_MARKS => {
                frame.resend_marks = array(body).ok_or_else(|| fail("its marks do not fit"))?
            }
            KIND_OUTCOMES => frame.outcomes = array(body).ok_or_else(|| fail("its outcomes do not fit"))?,
            KIND_QUARANTINED => {
                let quarantined = read_quarantined(body);
                frame
                    .quarantined
                    .push(quarantined.ok_or_else(|| fail("a quarantined payload is too short"))?);
            }
            KIND_RETAINED => frame
                .retained
                .push(read_retained(body).ok_or_else(|| fail("a retained message is too short"))?),
            KIND_SETTLEMENT => {
                let json = Reader(body).bytes().ok_or_else(|| fail("a settlement is too short"))?;
                frame
                    .settlements
                    .push(serde_json::from_slice(json).map_err(|_| fail("a settlement can't be read"))?);
            }
            _ => return Err(fail("a record has an unknown kind")),
        }
    }
    Ok(frame)
}

fn array<T: Pod>(body: &[u8]) -> Option<Vec<T>> {
    let (count, bytes) = body.split_at_checked(8)?;
    let count = usize::try_from(u64::from_le_bytes(count.try_into().ok()?)).ok()?;
    let bytes = bytes.get(..count.checked_mul(size_of::<T>())?)?;
    Some(bytemuck::allocation::pod_collect_to_vec(bytes))
}

fn read_quarantined(body: &[u8]) -> Option<Quarantined> {
    let mut reader = Reader(body);
    let message_no = reader.u64()?;
    let receive_time_us = reader.u64()? as i64;
    let offset = reader.u32()?;
    let readings = reader.u32()? as u16;
    let [reason, sentence, topic, client] =
        [reader.string()?, reader.string()?, reader.string()?, reader.string()?];
    let flags_and_id = reader.u32()?;
    Some(Quarantined {
        message_no,
        receive_time_us,
        offset,
        readings,
        reason,
        sentence,
        topic,
        client,
        flags: (flags_and_id >> 16) as u8,
        packet_id: flags_and_id as u16,
        properties: reader.bytes()?.to_vec(),
        refused: reader.bytes()?.to_vec(),
        payload: reader.bytes()?.to_vec(),
    })
}

fn read_retained(body: &[u8]) -> Option<RetainedChange> {
    let mut reader = Reader(body);
    Some(RetainedChange {
        message_no: reader.u64()?,
        receive_time_us: reader.u64()? as i64,
        qos: reader.u32()? as u8,
        topic: reader.bytes()?.to_vec(),
        properties: reader.bytes()?.to_vec(),
        payload: reader.bytes()?.to_vec(),
    })
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.u32(value.len() as u32);
        self.0.extend_from_slice(value);
        self
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn string(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}
