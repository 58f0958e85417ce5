//! The one writer: what waits in the lanes becomes one frame per sync.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::frame::JournalFrame;
use super::lane::{Batch, Lanes};
use super::stamp::Stamps;
use crate::clock::TimeFloor;
use crate::log::{
    AlignedBuf, FRAME_PARTS_MAX, FrameMeta, LogError, LogStatus, LogWriter, Position, Prepared, SegmentRoom,
    Stamp,
};
use crate::metrics::Metrics;

/// Where durable frames go. Implementations must not block: the buffers bound how many frames there can be.
pub trait FrameConsumer: Send {
    fn accept(&mut self, frame: &Arc<JournalFrame>);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterStep {
    /// One frame was written.
    Wrote,
    /// Nothing waits.
    Idle,
    /// Something waits, but no segment is ready for it (no space): try again later.
    Blocked,
}

pub struct JournalWriter {
    log: LogWriter,
    pub(super) lanes: Arc<Lanes>,
    consumers: Vec<Box<dyn FrameConsumer>>,
    metrics: Arc<Metrics>,
    /// Reused: the frame being made, with the shard that each part came from.
    parts: Vec<AlignedBuf>,
    origins: Vec<Origin>,
    next_lane: usize,
    /// As it was told last.
    status: LogStatus,
}

#[derive(Clone, Copy, Debug)]
struct Origin {
    shard: usize,
    batch_no: u64,
    record_count: u32,
    message_count: u32,
    retained: bool,
}

impl std::fmt::Debug for JournalWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalWriter").field("log", &self.log).finish_non_exhaustive()
    }
}

impl JournalWriter {
    pub fn new(
        log: LogWriter,
        lanes: Arc<Lanes>,
        consumers: Vec<Box<dyn FrameConsumer>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut writer = Self {
            log,
            lanes,
            consumers,
            metrics,
            parts: Vec::new(),
            origins: Vec::new(),
            next_lane: 0,
            status: LogStatus::default(),
        };
        writer.release_processed();
        writer
    }

    /// Writes one frame of what waits. When it returns, the frame is durable, its acks are free to leave and its
    /// consumers have it.
    pub fn step(&mut self, now: impl Into<Stamp>) -> Result<WriterStep, LogError> {
        let now = now.into();
        if self.parts.is_empty() {
            self.collect();
        }
        if self.parts.is_empty() {
            return Ok(WriterStep::Idle);
        }
        match self.write(now)? {
            WriterStep::Blocked => self.write_changes(now),
            other => Ok(other),
        }
    }

    fn write(&mut self, now: Stamp) -> Result<WriterStep, LogError> {
        let record_count = self.origins.iter().map(|origin| origin.record_count).sum();
        let message_count = self.origins.iter().map(|origin| origin.message_count).sum();
        match self.log.append(&mut self.parts, record_count, message_count, now) {
            Ok(meta) => {
                self.publish(meta);
                Ok(WriterStep::Wrote)
            }
            Err(error) if error.is_backpressure() => Ok(WriterStep::Blocked),
            Err(error) => Err(error),
        }
    }

    /// What stamps the next frames: it goes on from the last one.
    pub fn stamps(&self, floor: Arc<TimeFloor>) -> Stamps {
        Stamps::new(self.log.last_stamp(), floor)
    }

    /// There is no room for messages. Operators' changes alone may use the reserve: among them are those that free something.
    fn write_changes(&mut self, now: Stamp) -> Result<WriterStep, LogError> {
        let control_lane = self.lanes.control_lane();
        // Those that already stand in the frame come first. Between lanes there is no order to keep.
        let blocked: Vec<(AlignedBuf, Origin)> = self.parts.drain(..).zip(self.origins.drain(..)).collect();
        let (changes, messages): (Vec<_>, Vec<_>) =
            blocked.into_iter().partition(|(_, origin)| origin.shard == control_lane);
        (self.parts, self.origins) = changes.into_iter().unzip();
        let are_fetched = self.parts.is_empty() && !messages.is_empty();
        if are_fetched {
            let bytes = self.collect_lane(control_lane, 0);
            self.lanes.take_waiting(bytes.1);
        }
        let step = match self.parts.is_empty() || messages.is_empty() {
            // Nothing else than what was tried before.
            true => Ok(WriterStep::Blocked),
            false => self.write(now),
        };
        if are_fetched {
            // With the messages they may be more than a frame.
            self.give_back_changes(control_lane);
        }
        let (parts, origins): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        self.parts.extend(parts);
        self.origins.extend(origins);
        step
    }

    /// What could not be written stands first in its lane again.
    fn give_back_changes(&mut self, control_lane: usize) {
        let bytes: usize = self.parts.iter().map(AlignedBuf::len).sum();
        let mut slot = self.lanes.slot(control_lane);
        for (buffer, origin) in self.parts.drain(..).zip(self.origins.drain(..)).rev() {
            let Origin { batch_no, record_count, message_count, retained, .. } = origin;
            slot.batches.push_front(Batch { buffer, batch_no, record_count, message_count, retained });
        }
        drop(slot);
        if bytes > 0 {
            self.lanes.announce(bytes);
        }
    }

    /// What the next segment wants of the disk.
    pub fn segment_room(&self) -> SegmentRoom {
        self.log.segment_room()
    }

    /// One small step towards the next ready segment, if one is needed.
    pub fn prepare_step(&mut self) -> Result<Prepared, LogError> {
        if self.log.needs_preparation() { self.log.prepare_step() } else { Ok(Prepared::Ready) }
    }

    /// Segments whose records are all covered by synced observation frames may be used again.
    pub fn release_processed(&mut self) {
        let next = self.lanes.positions.next_unprocessed_record.load(Ordering::Acquire);
        self.log.release_before(Position::Record(next));
        if let Some(status) = self.log.changed_status(&self.status) {
            self.metrics.logs.tell("journal", &status);
            self.metrics.journal_log_bytes.set(self.log.bytes_in_use() as i64);
            self.status = status;
        }
    }

    fn collect(&mut self) {
        let lanes = self.lanes.count();
        let mut frame_bytes = 0;
        let mut bytes = 0;
        for turn in 0..lanes {
            let added = self.collect_lane((self.next_lane + turn) % lanes, frame_bytes);
            frame_bytes += added.0;
            bytes += added.1;
        }
        self.next_lane = (self.next_lane + 1) % lanes;
        self.lanes.take_waiting(bytes);
    }

    /// What fits of one lane behind `frame_bytes`; how much that is in the frame, and without padding.
    fn collect_lane(&mut self, shard: usize, frame_bytes: usize) -> (usize, usize) {
        let frame_bytes_max = self.log.frame_bytes_max() as usize;
        let (mut added, mut bytes) = (0, 0);
        let mut slot = self.lanes.slot(shard);
        while self.parts.len() < FRAME_PARTS_MAX
            && let Some(batch) = slot.batches.pop_front_if(|batch| {
                frame_bytes + added + batch.buffer.len().next_multiple_of(crate::disk::BLOCK_BYTES)
                    <= frame_bytes_max
            })
        {
            let Batch { buffer, batch_no, record_count, message_count, retained } = batch;
            bytes += buffer.len();
            added += buffer.len().next_multiple_of(crate::disk::BLOCK_BYTES);
            self.parts.push(buffer);
            self.origins.push(Origin { shard, batch_no, record_count, message_count, retained });
        }
        (added, bytes)
    }

    fn publish(&mut self, meta: FrameMeta) {
        self.metrics.journal_frames.inc();
        let bytes: usize = self.parts.iter().map(AlignedBuf::len).sum();
        self.metrics.journal_bytes.inc_by(bytes as u64);
        self.metrics.journal_log_bytes.set(self.log.bytes_in_use() as i64);
        let durable = meta.first_message_no + u64::from(meta.message_count) - 1;
        self.metrics.durable_messages.set(durable as i64);
        // First the position, then the consumers, then the acks: whoever hears of an ack finds the message counted.
        self.lanes.positions.durable_messages.store(durable, Ordering::Release);
        self.lanes.positions.next_durable_record.store(meta.next_record_no(), Ordering::Release);
        let parts = self.origins.iter().map(|origin| origin.shard).zip(self.parts.drain(..)).collect();
        let retained = self.origins.iter().any(|origin| origin.retained);
        let frame = Arc::new(JournalFrame::new(meta, retained, parts, self.lanes.clone()));
        for consumer in &mut self.consumers {
            consumer.accept(&frame);
        }
        drop(frame);
        // A shard's batches are in order, so its last one in the frame is the highest.
        for (index, origin) in self.origins.iter().enumerate() {
            if self.origins.get(index + 1).is_none_or(|next| next.shard != origin.shard) {
                self.lanes.set_durable_batch(origin.shard, origin.batch_no);
            }
        }
        self.origins.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::disk::{Disk, SimDisk};
    use crate::journal::{Entry, JournalPort, LanesConfig};
    use crate::log::{LogConfig, LogId, LogKind, recover};
    use crate::record::{BookedEntry, Control, Message, QOS_1};

    #[derive(Clone, Debug, Default)]
    struct Seen(Arc<Mutex<Vec<&'static str>>>);

    impl FrameConsumer for Seen {
        fn accept(&mut self, frame: &Arc<JournalFrame>) {
            let words = frame.entries().map(|entry| match entry.expect("whole records") {
                Entry::Message(..) => "message",
                Entry::Control(_) => "change",
            });
            self.0.lock().unwrap().extend(words);
        }
    }

    fn message(payload: &[u8]) -> Message<'_> {
        Message { client: b"c", topic: b"t", payload, ..Message::of_flags(QOS_1, 1) }
    }

    /// B1-3: an operator's change finds room in the reserve while messages do not; and when the reserve is used up it waits,
    /// too, and nothing is lost or out of order when there is room again.
    #[test]
    fn b1_3_a_change_is_journaled_while_the_journal_is_full() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        let config = LogConfig {
            segment_bytes: 64 << 10,
            frame_bytes_max: 16 << 10,
            log_bytes_max: 4 * (64 << 10),
            reserve_bytes: 32 << 10,
            ..LogConfig::new(LogKind::Journal, LogId(*b"log id of a test"))
        };
        let (_, mut log) = recover(disk, "journal", config).unwrap();
        while log.needs_preparation() && log.prepare_step().unwrap() == Prepared::Progress {}
        let lanes = Lanes::new(LanesConfig { shards: 1, buffer_bytes: 16 << 10, buffers_per_shard: 4 });
        let seen = Seen::default();
        let mut writer = JournalWriter::new(log, lanes.clone(), vec![Box::new(seen.clone())], Arc::default());
        let mut shard = JournalPort::new(lanes.clone(), 0);
        let mut operator = JournalPort::of_operators(lanes.clone());
        let change = |operator: &mut JournalPort| {
            let control = Control::Erase { entry: BookedEntry::default(), client: b"c" };
            let batch = operator.append_control(&control);
            operator.hand_over();
            batch
        };
        loop {
            shard.append(&message(&[b'x'; 5_000])).expect("the writer takes what the lane has");
            shard.hand_over();
            if writer.step(1).unwrap() == WriterStep::Blocked {
                break;
            }
        }
        let messages = seen.0.lock().unwrap().len();
        assert!(messages > 3);
        let mut changes = 0;
        loop {
            change(&mut operator).expect("a buffer");
            if writer.step(1).unwrap() == WriterStep::Blocked {
                break;
            }
            changes += 1;
            assert_eq!(operator.durable_batch(), changes, "it may be answered");
            assert!(changes < 100, "the reserve is bounded");
        }
        assert!(changes >= 2, "{changes}");
        assert_eq!(shard.durable_batch(), messages as u64, "no message was acknowledged meanwhile");
        assert_eq!(writer.step(1).unwrap(), WriterStep::Blocked, "tried again, the same");
        // Everything is processed: segments are used again.
        let all = u64::MAX;
        lanes.positions.next_unprocessed_record.store(all, Ordering::Release);
        writer.release_processed();
        while writer.prepare_step().unwrap() == Prepared::Progress {}
        while writer.step(1).unwrap() == WriterStep::Wrote {}
        assert_eq!(shard.durable_batch(), messages as u64 + 1);
        assert_eq!(operator.durable_batch(), changes + 1);
        let seen = seen.0.lock().unwrap();
        assert_eq!(seen.iter().filter(|word| **word == "message").count(), messages + 1);
        assert_eq!(seen.iter().filter(|word| **word == "change").count() as u64, changes + 1);
    }
}
