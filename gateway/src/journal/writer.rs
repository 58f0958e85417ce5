//! The one writer: what waits in the lanes becomes one frame per sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::frame::JournalFrame;
use super::lane::{Batch, Lanes, WRITE_AT_ONCE_BYTES};
use crate::clock::Clock;
use crate::health::{Health, Trouble};
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
    lanes: Arc<Lanes>,
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
        let record_count = self.origins.iter().map(|origin| origin.record_count).sum();
        let message_count = self.origins.iter().map(|origin| origin.message_count).sum();
        match self.log.append(&mut self.parts, record_count, message_count, now_us) {
            Ok(meta) => {
                self.publish(meta);
                Ok(WriterStep::Wrote)
            }
            Err(error) if error.is_backpressure() => Ok(WriterStep::Blocked),
            Err(error) => Err(error),
        }
    }

    /// One small step towards the next ready segment, if one is needed; true = there is more to do.
    pub fn prepare_step(&mut self) -> Result<bool, LogError> {
        if !self.log.needs_preparation() {
            return Ok(false);
        }
        Ok(self.log.prepare_step()? == crate::log::Prepared::Progress)
    }

    /// Segments whose messages are all covered by synced observation frames may be used again.
    pub fn release_processed(&mut self) {
        let processed = self.lanes.positions.processed_messages.load(Ordering::Acquire);
        self.log.release_before(Position::Message(processed + 1));
        if let Some(status) = self.log.changed_status(&self.status) {
            self.metrics.logs.tell("journal", &status);
            self.metrics.logs.holds("journal", "pipeline", processed + 1);
            self.status = status;
        }
    }

    fn collect(&mut self) {
        let frame_bytes_max = self.log.frame_bytes_max() as usize;
        let shards = self.lanes.config().shards;
        let mut frame_bytes = 0;
        let mut bytes = 0;
        for turn in 0..shards {
            let shard = (self.next_lane + turn) % shards;
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
        self.next_lane = (self.next_lane + 1) % shards.max(1);
        self.lanes.take_waiting(bytes);
    }

    fn publish(&mut self, meta: FrameMeta) {
        self.metrics.journal_frames.inc();
        let bytes: usize = self.parts.iter().map(AlignedBuf::len).sum();
        self.metrics.journal_bytes.inc_by(bytes as u64);
        let durable = meta.first_message_no + u64::from(meta.message_count) - 1;
        self.metrics.durable_messages.set(durable as i64);
        // First the position, then the consumers, then the acks: whoever hears of an ack finds the message counted.
        self.lanes.positions.durable_messages.store(durable, Ordering::Release);
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

/// How long the writer sleeps at most before it looks whether space has come back or it is to stop.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// The writer's thread: sleeps while nothing waits, keeps the gap between syncs unless much waits, prepares segments in
/// between. Returns when `stop` is set and nothing waits any more.
pub fn run_writer(
    mut writer: JournalWriter,
    clock: &dyn Clock,
    sync_gap_us: u64,
    health: &Health,
    stop: &AtomicBool,
) -> Result<(), LogError> {
    let lanes = writer.lanes.clone();
    lanes.set_writer(std::thread::current());
    let mut last_sync_us = 0;
    loop {
        let step = if gap_is_over(&lanes, clock, last_sync_us, sync_gap_us, stop) {
            lanes.writer_busy();
            let step = writer.step(clock.receive_time_us())?;
            health.set(Trouble::JournalSpace, step == WriterStep::Blocked);
            if step == WriterStep::Wrote {
                last_sync_us = clock.monotonic_us();
                writer.release_processed();
            }
            step
        } else {
            continue;
        };
        let more_to_prepare = writer.prepare_step()?;
        match step {
            WriterStep::Wrote => {}
            // What waits was never acknowledged.
            WriterStep::Blocked if stop.load(Ordering::Acquire) => return Ok(()),
            WriterStep::Blocked if !more_to_prepare => {
                writer.release_processed();
                std::thread::park_timeout(PAUSE_MAX);
            }
            WriterStep::Blocked => {}
            WriterStep::Idle if more_to_prepare => {}
            WriterStep::Idle if stop.load(Ordering::Acquire) => return Ok(()),
            WriterStep::Idle => {
                lanes.writer_idle();
                // A batch handed over before the line above did not wake this thread: look once more.
                if lanes.waiting_bytes() == 0 {
                    std::thread::park_timeout(PAUSE_MAX * 10);
                }
                lanes.writer_busy();
            }
        }
    }
}

fn gap_is_over(
    lanes: &Lanes,
    clock: &dyn Clock,
    last_sync_us: u64,
    sync_gap_us: u64,
    stop: &AtomicBool,
) -> bool {
    let waiting = lanes.waiting_bytes();
    let elapsed_us = clock.monotonic_us().saturating_sub(last_sync_us);
    if waiting == 0
        || waiting >= WRITE_AT_ONCE_BYTES
        || elapsed_us >= sync_gap_us
        || stop.load(Ordering::Acquire)
    {
        return true;
    }
    lanes.writer_in_gap();
    if lanes.waiting_bytes() < WRITE_AT_ONCE_BYTES {
        std::thread::park_timeout(Duration::from_micros(sync_gap_us - elapsed_us));
    }
    lanes.writer_busy();
    false
}
