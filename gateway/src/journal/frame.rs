//! A durable frame on its way through the consumers.

use std::sync::Arc;

use super::lane::Lanes;
use crate::log::{AlignedBuf, FrameMeta, KIND_MESSAGE, RECORD_HEADER_LEN, Record, records};
use crate::record::{Control, KIND_CONTROL, Message};

/// The buffers of one synced frame. They return to their shards when the last consumer lets go.
#[derive(Debug)]
pub struct JournalFrame {
    pub meta: FrameMeta,
    /// At least one message has RETAIN set.
    pub retained: bool,
    parts: Vec<(usize, AlignedBuf)>,
    /// `None` for a frame that was read back in recovery: its buffers belong to nobody.
    lanes: Option<Arc<Lanes>>,
}

impl JournalFrame {
    pub(super) fn new(
        meta: FrameMeta,
        retained: bool,
        parts: Vec<(usize, AlignedBuf)>,
        lanes: Arc<Lanes>,
    ) -> Self {
        Self { meta, retained, parts, lanes: Some(lanes) }
    }

    /// A frame read back from the log.
    pub fn recovered(meta: FrameMeta, payload: AlignedBuf) -> Self {
        Self { meta, retained: true, parts: vec![(0, payload)], lanes: None }
    }

    /// Bytes of all parts.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, buffer)| buffer.len()).sum()
    }

    /// All records in order: the first has the frame's first `record_no`, and each message the next `message_no`. The frame's
    /// checksum was right, so an error is a bug of its writer, not damage; what follows it has no certain number.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry<'_>, Malformed>> {
        self.parts.iter().enumerate().flat_map(|(part, (_, buffer))| {
            let payload = buffer.payload();
            records(payload).map(move |record| {
                let record = record.map_err(|_| Malformed)?;
                if record.kind == KIND_CONTROL {
                    return Control::parse(record.flags, record.body).map(Entry::Control).ok_or(Malformed);
                }
                let message = parse(&record).ok_or(Malformed)?;
                let offset = record.body.as_ptr() as usize - payload.as_ptr() as usize - RECORD_HEADER_LEN;
                Ok(Entry::Message(Place { part: part as u32, offset: offset as u32 }, message))
            })
        })
    }

    /// The messages alone, with the place by which [`message_at`](Self::message_at) finds them again.
    pub fn messages(&self) -> impl Iterator<Item = Result<(Place, Message<'_>), Malformed>> {
        self.entries().filter_map(|entry| match entry {
            Ok(Entry::Message(place, message)) => Some(Ok((place, message))),
            Ok(Entry::Control(_)) => None,
            Err(malformed) => Some(Err(malformed)),
        })
    }

    pub fn message_at(&self, place: Place) -> Option<Message<'_>> {
        let payload = self.parts.get(place.part as usize)?.1.payload();
        parse(&records(payload.get(place.offset as usize..)?).next()?.ok()?)
    }
}

fn parse<'a>(record: &Record<'a>) -> Option<Message<'a>> {
    if record.kind != KIND_MESSAGE {
        return None;
    }
    Message::parse(record.flags, record.user, record.body)
}

/// One record of a frame.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    Message(Place, Message<'a>),
    Control(Control<'a>),
}

/// A record of a checked frame that is none, or not what it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Where a record lies in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    part: u32,
    offset: u32,
}

impl Drop for JournalFrame {
    fn drop(&mut self) {
        if let Some(lanes) = &self.lanes {
            for (shard, buffer) in self.parts.drain(..) {
                lanes.give_back(shard, buffer);
            }
        }
    }
}
