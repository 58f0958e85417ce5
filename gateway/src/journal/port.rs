//! A shard's end of the journal.

use std::sync::Arc;

use super::lane::{Batch, Lanes};
use crate::log::{FRAME_HEADER_LEN, KIND_MESSAGE, RECORD_HEADER_LEN};
use crate::record::{Control, KIND_CONTROL, Message};

/// A shard appends through this; what it appended in one wake-up is handed over once.
#[derive(Debug)]
pub struct JournalPort {
    lanes: Arc<Lanes>,
    shard: usize,
    current: Option<Batch>,
    next_batch_no: u64,
}

/// The journal takes no more now: the shard is woken when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalFull;

impl JournalPort {
    pub fn new(lanes: Arc<Lanes>, shard: usize) -> Self {
        Self { lanes, shard, current: None, next_batch_no: 1 }
    }

    /// The port of operators' changes.
    pub fn of_operators(lanes: Arc<Lanes>) -> Self {
        let lane = lanes.control_lane();
        Self::new(lanes, lane)
    }

    /// Appends one message. Its ack may leave when [`durable_batch`](Self::durable_batch) has reached the number returned.
    pub fn append(&mut self, message: &Message<'_>) -> Result<u64, JournalFull> {
        let head = message.head();
        let [agency, client, topic, properties, payload] = message.parts();
        let parts: [&[u8]; 6] = [&head, agency, client, topic, properties, payload];
        let batch = self.push(KIND_MESSAGE, message.flags(), message.packet_id, &parts)?;
        batch.message_count += 1;
        batch.retained |= message.retain;
        Ok(batch.batch_no)
    }

    /// Appends a change; only through the port [`of_operators`](Self::of_operators).
    pub fn append_control(&mut self, control: &Control<'_>) -> Result<u64, JournalFull> {
        control.with_body(|parts| Ok(self.push(KIND_CONTROL, control.kind(), 0, parts)?.batch_no))
    }

    /// Bytes of a record's body that fit into one buffer.
    pub fn body_bytes_max(&self) -> usize {
        self.lanes.config().buffer_bytes - FRAME_HEADER_LEN - RECORD_HEADER_LEN
    }

    fn push(&mut self, kind: u8, flags: u8, user: u16, parts: &[&[u8]]) -> Result<&mut Batch, JournalFull> {
        if self.current.is_none() {
            self.take_batch()?;
        }
        let fits = self
            .current
            .as_mut()
            .is_some_and(|batch| batch.buffer.push_record(kind, flags, user, parts).is_ok());
        if !fits {
            self.hand_over();
            self.take_empty_batch()?;
            let batch = self.current.as_mut().ok_or(JournalFull)?;
            batch.buffer.push_record(kind, flags, user, parts).map_err(|_| JournalFull)?;
        }
        let batch = self.current.as_mut().ok_or(JournalFull)?;
        batch.record_count += 1;
        Ok(batch)
    }

    /// Gives the writer what was appended since the last time. Call it at the end of every wake-up.
    pub fn hand_over(&mut self) {
        let Some(batch) = self.current.take() else { return };
        let bytes = batch.buffer.len();
        self.lanes.slot(self.shard).batches.push_back(batch);
        self.lanes.announce(bytes);
    }

    /// Everything appended under this batch number or a lower one is durable.
    pub fn durable_batch(&self) -> u64 {
        self.lanes.durable_batch(self.shard)
    }

    /// Takes back the newest batch if the writer has not fetched it yet, else a new one.
    fn take_batch(&mut self) -> Result<(), JournalFull> {
        let mut slot = self.lanes.slot(self.shard);
        if let Some(batch) = slot.batches.pop_back() {
            drop(slot);
            self.lanes.take_waiting(batch.buffer.len());
            self.current = Some(batch);
            return Ok(());
        }
        drop(slot);
        self.take_empty_batch()
    }

    fn take_empty_batch(&mut self) -> Result<(), JournalFull> {
        let mut slot = self.lanes.slot(self.shard);
        let Some(buffer) = slot.free.pop() else {
            slot.starved = true;
            return Err(JournalFull);
        };
        drop(slot);
        self.current = Some(Batch {
            buffer,
            batch_no: self.next_batch_no,
            record_count: 0,
            message_count: 0,
            retained: false,
        });
        self.next_batch_no += 1;
        Ok(())
    }
}
