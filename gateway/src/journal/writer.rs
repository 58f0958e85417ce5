//! The one writer: what waits in the lanes becomes one frame per sync.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::frame::JournalFrame;
use super::lane::{Batch, Lanes};
use crate::log::{AlignedBuf, FRAME_PARTS_MAX, FrameMeta, LogError, LogStatus, LogWriter, Position};
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
    pub fn step(&mut self, now_us: i64) -> Result<WriterStep, LogError> {
        if self.parts.is_empty() {
            self.collect();
        }
        if self.parts.is_empty() {
            return Ok(WriterStep::Idle);
        }
        let bytes: u64 =
            self.parts.iter().map(|part| part.len().next_multiple_of(crate::disk::BLOCK_BYTES) as u64).sum();
        let record_count = self.origins.iter().map(|origin| origin.record_count).sum();
        let message_count = self.origins.iter().map(|origin| origin.message_count).sum();
        // Operators' changes wait for room like messages do: the reserve is for what frees something.
        if message_count == 0 && !self.log.has_room(bytes) {
            return Ok(WriterStep::Blocked);
        }
        match self.log.append(&mut self.parts, record_count, message_count, now_us) {
            Ok(meta) => {
                self.publish(meta);
                Ok(WriterStep::Wrote)
            }
            Err(error) if error.is_backpressure() => Ok(WriterStep::Blocked),
            Err(error) => Err(error),
        }
    }

    /// The stamp of the last frame; `i64::MIN` before the first.
    pub(super) fn last_time_us(&self) -> i64 {
        self.log.last_time_us()
    }

    /// One small step towards the next ready segment, if one is needed; true = there is more to do.
    pub fn prepare_step(&mut self) -> Result<bool, LogError> {
        if !self.log.needs_preparation() {
            return Ok(false);
        }
        Ok(self.log.prepare_step()? == crate::log::Prepared::Progress)
    }

    /// Segments whose records are all covered by synced observation frames may be used again.
    pub fn release_processed(&mut self) {
        let next = self.lanes.positions.next_unprocessed_record.load(Ordering::Acquire);
        self.log.release_before(Position::Record(next));
        if let Some(status) = self.log.changed_status(&self.status) {
            self.metrics.logs.tell("journal", &status);
            self.metrics.logs.holds("journal", "pipeline", next);
            self.status = status;
        }
    }

    fn collect(&mut self) {
        let frame_bytes_max = self.log.frame_bytes_max() as usize;
        let lanes = self.lanes.count();
        let mut frame_bytes = 0;
        let mut bytes = 0;
        for turn in 0..lanes {
            let shard = (self.next_lane + turn) % lanes;
            let mut slot = self.lanes.slot(shard);
            while self.parts.len() < FRAME_PARTS_MAX
                && let Some(batch) = slot.batches.pop_front_if(|batch| {
                    frame_bytes + batch.buffer.len().next_multiple_of(crate::disk::BLOCK_BYTES)
                        <= frame_bytes_max
                })
            {
                let Batch { buffer, batch_no, record_count, message_count, retained } = batch;
                bytes += buffer.len();
                frame_bytes += buffer.len().next_multiple_of(crate::disk::BLOCK_BYTES);
                self.parts.push(buffer);
                self.origins.push(Origin { shard, batch_no, record_count, message_count, retained });
            }
        }
        self.next_lane = (self.next_lane + 1) % lanes;
        self.lanes.take_waiting(bytes);
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
