//! Raw messages out of the journal, as far as their segments are still there.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cancel::Cancel;
use crate::disk::Disk;
use crate::log::{JOURNAL_DIR, KIND_MESSAGE, LogKind, LogReader, Position};
use crate::query::{QueryError, RawMessage};
use crate::record::Message;

/// The messages at `positions`, which are durable and ascending. One that is missing in the answer is gone.
pub(super) fn read(
    disk: &Arc<dyn Disk>,
    positions: &[u64],
    cancel: &Cancel,
) -> Result<HashMap<u64, RawMessage>, QueryError> {
    let mut found = HashMap::new();
    let mut rest = positions;
    while let Some(first) = rest.first() {
        // Segments are recycled beside this: whatever can't be read then was let go.
        let opened = LogReader::open(disk.clone(), JOURNAL_DIR, LogKind::Journal, Position::Message(*first));
        let Ok(mut reader) = opened else {
            rest = &rest[1..];
            continue;
        };
        let before = rest.len();
        while !rest.is_empty() {
            if cancel.is_cancelled() {
                return Err(QueryError::Cancelled);
            }
            // Every position is durable, so the reader never comes to the end of what is.
            let Ok(Some(frame)) = reader.next_frame(u64::MAX) else { break };
            let messages = frame.records().map_while(Result::ok).filter(|record| record.kind == KIND_MESSAGE);
            for (position, record) in (frame.meta.first_message_no..).zip(messages) {
                if rest.first() != Some(&position) {
                    continue;
                }
                rest = &rest[1..];
                if let Some(message) = Message::parse(record.flags, record.user, record.body) {
                    found.insert(position, raw(position, frame.meta.stamp.received_us(), &message));
                }
            }
            // Behind a gap.
            let next = frame.meta.next_message_no();
            rest = &rest[rest.partition_point(|position| *position < next)..];
        }
        if rest.len() == before {
            rest = &rest[1..];
        }
    }
    Ok(found)
}

fn raw(position: u64, receive_time_us: i64, message: &Message<'_>) -> RawMessage {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    RawMessage {
        position,
        receive_time_us,
        client: text(message.client),
        topic: text(message.topic),
        qos: message.qos as u8,
        dup: message.dup,
        payload: message.payload.to_vec(),
    }
}
