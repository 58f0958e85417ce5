//! The pipeline as a stage: durable journal frames and the store's outcomes in, synced observation frames out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::decode::MessageDecoder;
use super::progress::KeeperProgress;
use crate::health::{Health, Trouble};
use crate::journal::{Entry, JournalFrame, Lanes};
use crate::log::{
    AlignedBuf, FrameMeta, LogError, LogStatus, LogWriter, Position, Prepared, SegmentRoom, Stamp,
};
use crate::metrics::Metrics;
use crate::observation::{
    FrameInfo, MessageEntry, ObservationFrame, Outcome, Quarantined, ResendMark, RetainedChange, Row,
    Settled, Settlement, json_record_bytes, write_frame,
};
use crate::pipeline::mapping::MAPPING_VERSION;
use crate::record::{Control, Message};
use crate::retained::RetainedBudget;
use crate::store::CLASSIFY_ROWS_MAX;

/// A frame is closed when its rows and payloads come to this much; one message more always fits behind it.
pub const FRAME_BYTES_TARGET: usize = 1 << 20;

/// Between two steps towards the next segment.
const PREPARE_PAUSE_US: u64 = 1_000;
/// Bytes of the largest outcome frame: a batch of the store, and the headers round it.
const OUTCOME_FRAME_BYTES_MAX: usize = CLASSIFY_ROWS_MAX * size_of::<Outcome>() + (4 << 10);

/// What surrounds a pipeline: where its frames go, where the store's outcomes come from, and what happens while there is no
/// room.
pub trait Surroundings {
    /// Takes a synced frame. May wait: the journal's buffers then push back.
    fn accept(&mut self, frame: &Arc<ObservationFrame>);

    /// The store's outcomes, if any wait.
    fn outcomes(&mut self) -> Option<Vec<Outcome>>;

    /// The observation log has no room: waits for some, or makes it.
    fn wait_for_room(&mut self) -> Go;
}

/// What those say who were asked to wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Try again.
    On,
    /// The gateway stops, or there is nothing to wait for: what is decoded and not written is decoded again at the next start.
    Stop,
}

/// Which of the two buffers is written. Outcomes have one of their own: they are what lets go of old frames, so they must not
/// wait behind a frame that waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Messages,
    Outcomes,
}

pub struct Pipeline {
    decoder: MessageDecoder,
    retained: RetainedBudget,
    log: LogWriter,
    lanes: Arc<Lanes>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    progress: Arc<KeeperProgress>,
    frame: ObservationFrame,
    /// Of what has no fixed size: definitions, settlements, quarantined and retained messages.
    payload_bytes: usize,
    /// Definitions of the frame that are in it.
    definitions_counted: usize,
    frame_bytes_target: usize,
    buffer: AlignedBuf,
    outcome_buffer: AlignedBuf,
    /// Of the last frame that was written.
    written: FrameInfo,
    build: u32,
    next_message_no: u64,
    next_record_no: u64,
    last_prepared_us: u64,
    /// Of the log, as it was told last.
    status: LogStatus,
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
    /// Time of the last observation frame, 0 where there is none.
    pub time_us: i64,
    pub progress: Arc<KeeperProgress>,
    /// A frame is closed at this size: [`FRAME_BYTES_TARGET`] but for a simulation.
    pub frame_bytes_target: usize,
    /// Capacity of a frame: that size and the largest message on top.
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
        lanes: Arc<Lanes>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Self {
        let build =
            crc32c::crc32c(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).as_bytes());
        Self {
            decoder: start.decoder,
            retained: start.retained,
            log,
            lanes,
            metrics,
            health,
            progress: start.progress,
            frame: ObservationFrame::default(),
            payload_bytes: 0,
            definitions_counted: 0,
            frame_bytes_target: start.frame_bytes_target,
            buffer: AlignedBuf::new(start.frame_bytes_max),
            outcome_buffer: AlignedBuf::new(OUTCOME_FRAME_BYTES_MAX),
            written: FrameInfo {
                first_message_no: start.next_message_no,
                next_message_no: start.next_message_no,
                next_record_no: start.next_record_no,
                time_us: start.time_us,
                mapping_version: MAPPING_VERSION,
                build,
                zero: 0,
            },
            build,
            next_message_no: start.next_message_no,
            next_record_no: start.next_record_no,
            last_prepared_us: 0,
            status: LogStatus::default(),
        }
    }

    /// Decodes one durable journal frame; observation frames are written as they fill, the last one by
    /// [`close`](Self::close). Messages that a frame covers already are passed over, so that recovery may hand in a frame
    /// again.
    pub fn step(
        &mut self,
        journal: &JournalFrame,
        surroundings: &mut dyn Surroundings,
    ) -> Result<(), LogError> {
        let malformed = |message_no| LogError::Malformed { frame_no: journal.meta.frame_no, message_no };
        let end_message_no = journal.meta.next_message_no();
        let mut following_no = journal.meta.first_message_no;
        for (record_no, entry) in (journal.meta.first_record_no..).zip(journal.entries()) {
            match entry.map_err(|_| malformed(following_no))? {
                Entry::Message(_, message) => {
                    let message_no = following_no;
                    following_no += 1;
                    if message_no < self.next_message_no {
                        continue;
                    }
                    self.take_message(&message, message_no, journal.meta.stamp);
                }
                Entry::Control(control) => {
                    if record_no < self.next_record_no {
                        continue;
                    }
                    self.take_control(&control, record_no, journal.meta.stamp);
                }
            }
            self.next_record_no = record_no + 1;
            if self.frame_bytes() >= self.frame_bytes_target {
                self.close_frame(surroundings)?;
            }
        }
        if following_no != end_message_no {
            return Err(malformed(following_no));
        }
        self.next_record_no = journal.meta.next_record_no();
        Ok(())
    }

    fn take_message(&mut self, message: &Message<'_>, message_no: u64, stamp: Stamp) {
        self.frame.info.time_us = stamp.time_us;
        self.decoder.decode(message, message_no, stamp, &mut self.frame);
        if message.retain
            && self.retained.admit(message.topic, message.properties.len(), message.payload.len())
        {
            self.payload_bytes += message.payload.len() + message.properties.len() + message.topic.len();
            self.frame.retained.push(RetainedChange {
                message_no,
                receive_time_us: stamp.received_us(),
                qos: message.qos as u8,
                topic: message.topic.to_vec(),
                properties: message.properties.to_vec(),
                payload: message.payload.to_vec(),
            });
        }
        let last = self.frame.quarantined.last().filter(|last| last.message_no == message_no);
        self.payload_bytes += last.map_or(0, Quarantined::record_bytes);
        self.count_definitions();
        self.next_message_no = message_no + 1;
    }

    fn take_control(&mut self, control: &Control<'_>, record_no: u64, stamp: Stamp) {
        self.frame.info.time_us = stamp.time_us;
        let settled_us = stamp.received_us();
        let settled = match control {
            Control::Replay { entry, refused, message } => {
                self.decoder.replay(entry, refused, message, settled_us, &mut self.frame)
            }
            Control::Erase { .. } => Settled::Erased,
        };
        let client = String::from_utf8_lossy(control.client()).into_owned();
        let entry = *control.entry();
        let settlement = Settlement { record_no, settled_us, entry, client, settled };
        self.payload_bytes += json_record_bytes(&settlement);
        self.frame.settlements.push(settlement);
        self.count_definitions();
    }

    /// Of the definitions that are new in the frame.
    fn count_definitions(&mut self) {
        if self.definitions_counted < self.frame.definitions.len() {
            let new = &self.frame.definitions[self.definitions_counted..];
            self.payload_bytes += new.iter().map(json_record_bytes).sum::<usize>();
            self.definitions_counted = self.frame.definitions.len();
        }
    }

    /// Writes what was decoded and is not written yet.
    pub fn close(&mut self, surroundings: &mut dyn Surroundings) -> Result<(), LogError> {
        let nothing = self.frame.messages.is_empty() && self.frame.settlements.is_empty();
        if nothing { Ok(()) } else { self.close_frame(surroundings) }
    }

    /// Appends the outcomes that wait, as a frame of their own. What is decoded and not written yet comes behind it.
    pub fn take_outcomes(&mut self, surroundings: &mut dyn Surroundings) -> Result<(), LogError> {
        let Some(outcomes) = surroundings.outcomes() else { return Ok(()) };
        let info = FrameInfo { first_message_no: self.written.next_message_no, ..self.written };
        let frame = ObservationFrame { info, outcomes, ..ObservationFrame::default() };
        self.outcome_buffer.clear();
        let record_count = write_frame(&frame, &mut self.outcome_buffer)
            .map_err(|_| self.too_large(frame.outcomes.len() * size_of::<Outcome>()))?;
        let meta = self.append(Kind::Outcomes, record_count, 0, info.time_us, surroundings)?;
        self.publish(frame, &meta, surroundings);
        Ok(())
    }

    /// Whether the keeper cannot take more rows now.
    pub fn holds(&self) -> bool {
        self.progress.hold()
    }

    /// What the next segment of the observation log wants of the disk.
    pub fn segment_room(&self) -> SegmentRoom {
        self.log.segment_room()
    }

    /// One small step towards the next ready segment.
    pub fn prepare_step(&mut self) -> Result<Prepared, LogError> {
        self.log.release_before(Position::Record(self.progress.needed_from()));
        if let Some(status) = self.log.changed_status(&self.status) {
            self.metrics.logs.tell("observations", &status);
            self.status = status;
        }
        if self.log.needs_preparation() { self.log.prepare_step() } else { Ok(Prepared::Ready) }
    }

    /// The same, not more often than every millisecond: a prepared segment is worth a little time in between, but not the
    /// latency of every frame.
    pub fn prepare_if_due(&mut self, monotonic_us: u64) -> Result<(), LogError> {
        if monotonic_us.saturating_sub(self.last_prepared_us) > PREPARE_PAUSE_US {
            self.prepare_step()?;
            self.last_prepared_us = monotonic_us;
        }
        Ok(())
    }

    fn frame_bytes(&self) -> usize {
        self.frame.rows.len() * size_of::<Row>()
            + self.frame.messages.len() * size_of::<MessageEntry>()
            + self.frame.texts.len()
            + self.frame.resend_marks.len() * size_of::<ResendMark>()
            + self.payload_bytes
    }

    fn close_frame(&mut self, surroundings: &mut dyn Surroundings) -> Result<(), LogError> {
        let first = self.frame.messages.iter().find(|entry| !entry.is_replayed());
        let first_message_no = first.map_or(self.next_message_no, |entry| entry.message_no);
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
            write_frame(&self.frame, &mut self.buffer).map_err(|_| self.too_large(self.frame_bytes()))?;
        let (row_count, time_us) = (self.frame.rows.len() as u32, self.frame.info.time_us);
        let meta = self.append(Kind::Messages, record_count, row_count, time_us, surroundings)?;
        let frame = std::mem::take(&mut self.frame);
        (self.payload_bytes, self.definitions_counted) = (0, 0);
        // The next frame will be about as large.
        self.frame.rows.reserve(frame.rows.len());
        self.frame.messages.reserve(frame.messages.len());
        self.publish(frame, &meta, surroundings);
        Ok(())
    }

    fn too_large(&self, bytes: usize) -> LogError {
        LogError::FrameTooLarge {
            bytes: bytes as u64,
            parts: 1,
            bytes_max: self.log.frame_bytes_max(),
            parts_max: 1,
        }
    }

    /// Writes a buffer as a frame. While there is no room nothing is lost: the journal holds the messages, the store the late
    /// rows.
    fn append(
        &mut self,
        kind: Kind,
        record_count: u32,
        row_count: u32,
        time_us: i64,
        surroundings: &mut dyn Surroundings,
    ) -> Result<FrameMeta, LogError> {
        loop {
            let buffer = match kind {
                Kind::Messages => &mut self.buffer,
                Kind::Outcomes => &mut self.outcome_buffer,
            };
            let bytes = buffer.len() as u64;
            // A frame without rows counts no "messages" of this log, and still must leave the reserve to outcomes.
            let result = if kind == Kind::Messages && !self.log.has_room(bytes) {
                Err(LogError::NoSegmentReady)
            } else {
                self.log.append(std::slice::from_mut(buffer), record_count, row_count, time_us)
            };
            match result {
                Ok(meta) => {
                    self.health.set(Trouble::ObservationLogFull, false);
                    self.progress.set_wants_room(false);
                    self.metrics.observation_frames.inc();
                    self.metrics.observation_bytes.inc_by(bytes);
                    self.metrics.observation_log_bytes.set(self.log.bytes_in_use() as i64);
                    return Ok(meta);
                }
                Err(error) if error.is_backpressure() => match self.prepare_step()? {
                    Prepared::Progress | Prepared::Ready => {}
                    Prepared::NoSpace | Prepared::BudgetFull => {
                        self.health.set(Trouble::ObservationLogFull, true);
                        self.progress.set_wants_room(true);
                        if kind == Kind::Messages {
                            self.take_outcomes(surroundings)?;
                        }
                        if surroundings.wait_for_room() == Go::Stop {
                            return Err(error);
                        }
                    }
                },
                Err(error) => return Err(error),
            }
        }
    }

    fn publish(
        &mut self,
        mut frame: ObservationFrame,
        meta: &FrameMeta,
        surroundings: &mut dyn Surroundings,
    ) {
        frame.frame_no = meta.frame_no;
        frame.first_record_no = meta.first_record_no;
        frame.end_record_no = meta.first_record_no + u64::from(meta.record_count);
        frame.first_obs_no = meta.first_message_no;
        self.written = frame.info;
        let processed = frame.info.next_message_no - 1;
        self.metrics.observations.inc_by(frame.rows.len() as u64);
        self.metrics.messages_quarantined.inc_by(frame.quarantined.len() as u64);
        self.metrics
            .unkeyed_messages
            .inc_by(frame.messages.iter().map(|entry| u64::from(entry.unkeyed)).sum());
        self.metrics.processed_messages.set(processed as i64);
        self.metrics.quarantine_settled.inc_by(frame.settlements.len() as u64);
        let next_record_no = frame.info.next_record_no;
        surroundings.accept(&Arc::new(frame));
        // Last: whoever reads this number finds the frame with every consumer.
        self.lanes.positions.processed_messages.store(processed, Ordering::Release);
        self.lanes.positions.next_unprocessed_record.store(next_record_no, Ordering::Release);
    }
}
