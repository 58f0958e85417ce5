//! The pipeline as a stage: durable journal frames and the store's outcomes in, synced observation frames out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use super::decode::MessageDecoder;
use super::progress::KeeperProgress;
use crate::clock::Clock;
use crate::health::{Health, Trouble};
use crate::journal::{JournalFrame, Lanes};
use crate::log::{AlignedBuf, FrameMeta, LogError, LogWriter, Position, Prepared};
use crate::metrics::Metrics;
use crate::observation::{
    FrameInfo, MessageEntry, MessageOutcome, ObservationFrame, Outcome, ResendMark, RetainedChange, Row,
    write_frame,
};
use crate::pipeline::mapping::MAPPING_VERSION;
use crate::retained::RetainedBudget;

/// A frame is closed when its rows and payloads come to this much; one message more always fits behind it.
const FRAME_BYTES_TARGET: usize = 1 << 20;

/// Where synced observation frames go. Implementations may wait: the journal's buffers then push back.
pub trait ObservationConsumer: Send {
    fn accept(&mut self, frame: &Arc<ObservationFrame>);
}

pub struct Pipeline {
    decoder: MessageDecoder,
    retained: RetainedBudget,
    log: LogWriter,
    consumers: Vec<Box<dyn ObservationConsumer>>,
    lanes: Arc<Lanes>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    progress: Arc<KeeperProgress>,
    frame: ObservationFrame,
    payload_bytes: usize,
    buffer: AlignedBuf,
    build: u32,
    next_message_no: u64,
    next_record_no: u64,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("log", &self.log).finish_non_exhaustive()
    }
}

/// What a pipeline starts from.
pub struct PipelineStart {
    pub decoder: MessageDecoder,
    pub retained: RetainedBudget,
    /// First message that no observation frame covers.
    pub next_message_no: u64,
    pub next_record_no: u64,
    pub progress: Arc<KeeperProgress>,
    /// Capacity of a frame: [`FRAME_BYTES_TARGET`] and the largest message on top.
    pub frame_bytes_max: usize,
}

impl std::fmt::Debug for PipelineStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipelineStart")
            .field("next_message_no", &self.next_message_no)
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    pub fn new(
        start: PipelineStart,
        log: LogWriter,
        consumers: Vec<Box<dyn ObservationConsumer>>,
        lanes: Arc<Lanes>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Self {
        Self {
            decoder: start.decoder,
            retained: start.retained,
            log,
            consumers,
            lanes,
            metrics,
            health,
            progress: start.progress,
            frame: ObservationFrame::default(),
            payload_bytes: 0,
            buffer: AlignedBuf::new(start.frame_bytes_max),
            build: crc32c::crc32c(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).as_bytes()),
            next_message_no: start.next_message_no,
            next_record_no: start.next_record_no,
        }
    }

    /// Decodes one durable journal frame; observation frames are written as they fill, the last one by
    /// [`close`](Self::close). Messages that a frame covers already are passed over, so that recovery may hand in a frame
    /// again.
    pub fn step(&mut self, journal: &JournalFrame, wait: &mut dyn FnMut() -> Go) -> Result<(), LogError> {
        let first_message_no = journal.meta.first_message_no;
        for (index, (_, message)) in journal.messages().enumerate() {
            let message_no = first_message_no + index as u64;
            if message_no < self.next_message_no {
                continue;
            }
            self.frame.info.time_us = journal.meta.time_us;
            self.decoder.decode(&message, message_no, journal.meta.time_us, &mut self.frame);
            if message.retain
                && self.retained.admit(message.topic, message.properties.len(), message.payload.len())
            {
                self.payload_bytes += message.payload.len() + message.properties.len() + message.topic.len();
                self.frame.retained.push(RetainedChange {
                    message_no,
                    receive_time_us: journal.meta.time_us,
                    qos: message.qos as u8,
                    topic: message.topic.to_vec(),
                    properties: message.properties.to_vec(),
                    payload: message.payload.to_vec(),
                });
            }
            if self.frame.messages.last().is_some_and(|entry| {
                matches!(entry.message_outcome(), MessageOutcome::Quarantined | MessageOutcome::Partial)
            }) {
                self.payload_bytes +=
                    message.payload.len() + message.topic.len() + message.client.len() + 1024;
            }
            self.next_message_no = message_no + 1;
            if self.frame_bytes() >= FRAME_BYTES_TARGET {
                self.close_frame(wait)?;
            }
        }
        self.next_record_no = journal.meta.first_record_no + u64::from(journal.meta.record_count);
        Ok(())
    }

    /// Writes what was decoded and is not written yet.
    pub fn close(&mut self, wait: &mut dyn FnMut() -> Go) -> Result<(), LogError> {
        if self.frame.messages.is_empty() { Ok(()) } else { self.close_frame(wait) }
    }

    /// Appends the store's outcomes as a frame of their own.
    pub fn step_outcomes(
        &mut self,
        outcomes: Vec<Outcome>,
        wait: &mut dyn FnMut() -> Go,
    ) -> Result<(), LogError> {
        self.close(wait)?;
        self.frame.outcomes = outcomes;
        self.close_frame(wait)
    }

    /// One small step towards the next ready segment.
    pub fn prepare_step(&mut self) -> Result<Prepared, LogError> {
        if self.log.needs_preparation() { self.log.prepare_step() } else { Ok(Prepared::Ready) }
    }

    fn frame_bytes(&self) -> usize {
        self.frame.rows.len() * size_of::<Row>()
            + self.frame.messages.len() * size_of::<MessageEntry>()
            + self.frame.texts.len()
            + self.frame.resend_marks.len() * size_of::<ResendMark>()
            + self.frame.definitions.len() * 256
            + self.payload_bytes
    }

    fn close_frame(&mut self, wait: &mut dyn FnMut() -> Go) -> Result<(), LogError> {
        let first_message_no =
            self.frame.messages.first().map_or(self.next_message_no, |entry| entry.message_no);
        self.frame.info = FrameInfo {
            first_message_no,
            next_message_no: self.next_message_no,
            next_record_no: self.next_record_no,
            time_us: self.frame.info.time_us,
            mapping_version: MAPPING_VERSION,
            build: self.build,
            zero: 0,
        };
        self.buffer.clear();
        let record_count =
            write_frame(&self.frame, &mut self.buffer).map_err(|_| LogError::FrameTooLarge {
                bytes: self.frame_bytes() as u64,
                parts: 1,
                bytes_max: self.log.frame_bytes_max(),
                parts_max: 1,
            })?;
        let row_count = self.frame.rows.len() as u32;
        loop {
            self.log.release_before(Position::Record(self.progress.needed_from()));
            let parts = std::slice::from_mut(&mut self.buffer);
            match self.log.append(parts, record_count, row_count, self.frame.info.time_us) {
                Ok(meta) => {
                    self.health.set(Trouble::ObservationSpace, false);
                    self.metrics.observation_frames.inc();
                    self.metrics.observation_bytes.inc_by(self.buffer.len() as u64);
                    self.publish(&meta);
                    return Ok(());
                }
                // No space: nothing is lost, the journal holds the messages until there is.
                Err(error) if error.is_backpressure() => match self.prepare_step()? {
                    Prepared::Progress | Prepared::Ready => {}
                    Prepared::NoSpace | Prepared::BudgetFull => {
                        self.health.set(Trouble::ObservationSpace, true);
                        if wait() == Go::Stop {
                            return Err(error);
                        }
                    }
                },
                Err(error) => return Err(error),
            }
        }
    }

    fn publish(&mut self, meta: &FrameMeta) {
        let mut frame = std::mem::take(&mut self.frame);
        self.frame.info.time_us = frame.info.time_us;
        self.payload_bytes = 0;
        frame.frame_no = meta.frame_no;
        frame.first_record_no = meta.first_record_no;
        frame.end_record_no = meta.first_record_no + u64::from(meta.record_count);
        frame.first_obs_no = meta.first_message_no;
        // The next frame will be about as large.
        self.frame.rows.reserve(frame.rows.len());
        self.frame.messages.reserve(frame.messages.len());
        let processed = frame.info.next_message_no - 1;
        self.metrics.observations.inc_by(frame.rows.len() as u64);
        self.metrics.messages_quarantined.inc_by(frame.quarantined.len() as u64);
        self.metrics
            .unkeyed_messages
            .inc_by(frame.messages.iter().map(|entry| u64::from(entry.unkeyed)).sum());
        self.metrics.processed_messages.set(processed as i64);
        let frame = Arc::new(frame);
        for consumer in &mut self.consumers {
            consumer.accept(&frame);
        }
        // Last: whoever reads this number finds the frame with every consumer.
        self.lanes.positions.processed_messages.store(processed, Ordering::Release);
    }
}

/// What a thread says that was asked to wait for space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Try again.
    On,
    /// The gateway stops: what is decoded and not written is decoded again at the next start.
    Stop,
}

/// How long the pipeline sleeps at most before it looks for outcomes and whether it is to stop.
const IDLE: Duration = Duration::from_millis(20);
/// A journal frame of at least this much is processed at once.
const SMALL_FRAME_BYTES: usize = 64 << 10;
/// The most time that journal frames may wait to share an observation frame.
const GAP_US_MAX: u64 = 20_000;
/// Journal frames that are processed before the keeper is heard again.
const FRAMES_PER_TURN: usize = 16;

/// What the pipeline's thread listens to.
#[derive(Debug)]
pub struct PipelineInputs {
    pub frames: Receiver<Arc<JournalFrame>>,
    pub outcomes: Receiver<Vec<Outcome>>,
    /// While little comes in, so long journal frames may wait to share one observation frame and its sync: with devices
    /// that send one message each at their own time, syncs are what a message costs.
    pub gap_us: u64,
    pub stop: Arc<AtomicBool>,
}

/// The pipeline's thread. Ends when the writer's end of the queue is gone and everything in it is processed, or when
/// `stop` is set while there is no space for what is in it (the journal keeps that for the next start).
pub fn run_pipeline(
    pipeline: &mut Pipeline,
    clock: &dyn Clock,
    inputs: &PipelineInputs,
) -> Result<(), LogError> {
    let stopping = || inputs.stop.load(Ordering::Acquire);
    let mut wait = || {
        std::thread::sleep(IDLE);
        if stopping() { Go::Stop } else { Go::On }
    };
    let gap = Duration::from_micros(inputs.gap_us.min(GAP_US_MAX));
    let mut last_prepared_us = 0;
    loop {
        let result = run_turn(pipeline, inputs, gap, &mut wait);
        match result {
            Ok(Turn::Next) => {}
            Ok(Turn::Ended) => return Ok(()),
            Err(error) if error.is_backpressure() && stopping() => return Ok(()),
            Err(error) => return Err(error),
        }
        // A prepared segment is worth a little time in between, but not the latency of every frame.
        let now_us = clock.monotonic_us();
        if now_us.saturating_sub(last_prepared_us) > 1_000 {
            pipeline.prepare_step()?;
            last_prepared_us = now_us;
        }
    }
}

enum Turn {
    Next,
    Ended,
}

fn run_turn(
    pipeline: &mut Pipeline,
    inputs: &PipelineInputs,
    gap: Duration,
    wait: &mut dyn FnMut() -> Go,
) -> Result<Turn, LogError> {
    if let Ok(outcomes) = inputs.outcomes.try_recv() {
        pipeline.step_outcomes(outcomes, wait)?;
    }
    if pipeline.progress.hold() {
        return Ok(if wait() == Go::Stop { Turn::Ended } else { Turn::Next });
    }
    match inputs.frames.recv_timeout(IDLE) {
        Ok(frame) => {
            if frame.bytes() < SMALL_FRAME_BYTES && inputs.frames.is_empty() {
                std::thread::sleep(gap);
            }
            pipeline.step(&frame, wait)?;
            // Not held while a frame is written: its buffers are the shards'.
            drop(frame);
            for frame in inputs.frames.try_iter().take(FRAMES_PER_TURN) {
                pipeline.step(&frame, wait)?;
            }
            pipeline.close(wait)?;
            Ok(Turn::Next)
        }
        Err(RecvTimeoutError::Timeout) => Ok(Turn::Next),
        Err(RecvTimeoutError::Disconnected) => Ok(Turn::Ended),
    }
}
