//! The two ways of operators' changes into the journal: through the lanes of a running gateway, or by stages that no thread runs.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::EngineError;
use super::bounds::{dictionary_limits, time_bounds};
use super::open::Opened;
use super::rebuild::{fold_feeds, grow_hot_rows};
use super::stages::{Now, Stages};
use crate::catalogue::History;
use crate::clock::Clock;
use crate::config::Config;
use crate::feeds::{LastValues, RetainedStore};
use crate::journal::{FrameConsumer, JournalFrame, JournalPort, JournalWriter, Lanes, Stamps, WriterStep};
use crate::log::{JOURNAL_DIR, Prepared};
use crate::pipeline::dictionary::Dictionary;
use crate::pipeline::resend::ResendWindow;
use crate::pipeline::{KeeperProgress, MessageDecoder};
use crate::record::Control;
use crate::registry::Registry;
use crate::rules::{Ranks, SameTime};
use crate::settle::{ChangePort, DryRun, SettleError, Wait, wait_until};

/// What a session of `quarantine replay` or `erase` works with.
pub(super) struct Settling {
    pub(super) port: Box<dyn ChangePort>,
    pub(super) history: Box<dyn History>,
    config: Arc<Config>,
}

impl Settling {
    pub(super) fn new(port: Box<dyn ChangePort>, history: Box<dyn History>, config: Arc<Config>) -> Self {
        Self { port, history, config }
    }

    /// A decoder for a dry run, with a copy of the names.
    pub(super) fn dry_run(config: &Config, registry: Registry, now_us: i64) -> DryRun {
        let same_time = SameTime::new(config.pipeline.same_time_keep.clone());
        let mut hot = Vec::new();
        let registry = Arc::new(RwLock::new(registry));
        grow_hot_rows(&mut hot, &registry, &same_time);
        let decoder = MessageDecoder::new(
            Dictionary::new(registry, dictionary_limits(config)),
            hot,
            ResendWindow::new(config.pipeline.resend_window),
            time_bounds(config),
            Ranks::new(config.pipeline.ranks.clone()),
            same_time,
        );
        DryRun::new(decoder, now_us)
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.config.clone()
    }
}

/// Beside the stages of a gateway; `wait` says how one waits for them.
pub(super) struct RunningPort {
    port: JournalPort,
    lanes: Arc<Lanes>,
    progress: Arc<KeeperProgress>,
    /// The last batch that holds something of ours.
    batch_no: u64,
    wait: Wait,
}

impl RunningPort {
    pub(super) fn new(lanes: Arc<Lanes>, progress: Arc<KeeperProgress>, wait: Wait) -> Self {
        Self { port: JournalPort::of_operators(lanes.clone()), lanes, progress, batch_no: 0, wait }
    }
}

impl ChangePort for RunningPort {
    fn body_bytes_max(&self) -> usize {
        self.port.body_bytes_max()
    }

    fn append(&mut self, control: &Control<'_>) -> Result<(), SettleError> {
        let (port, wait, batch_no) = (&mut self.port, &mut self.wait, &mut self.batch_no);
        let appended = || match port.append_control(control) {
            Ok(appended) => {
                *batch_no = appended;
                true
            }
            // The buffers come back when the pipeline is through with them.
            Err(_) => false,
        };
        wait_until(appended, wait)
    }

    fn barrier(&mut self) -> Result<(), SettleError> {
        self.port.hand_over();
        let Self { port, lanes, progress, batch_no, wait } = self;
        wait_until(|| port.durable_batch() >= *batch_no, wait)?;
        // Whatever is durable by now, with all that an earlier run of the gateway left.
        let next = lanes.positions.next_durable_record.load(Ordering::Acquire);
        progress.set_wants_commit(true);
        let committed = wait_until(|| progress.next_uncommitted_record() >= next, wait);
        progress.set_wants_commit(false);
        committed
    }
}

/// Without threads, on a directory that is ours for as long as this lives.
pub(super) struct OfflinePort {
    port: JournalPort,
    writer: JournalWriter,
    stamps: Stamps,
    frames: Receiver<Arc<JournalFrame>>,
    stages: Stages,
    retained: RetainedStore,
    last_values: LastValues,
    clock: Arc<dyn Clock>,
    lanes: Arc<Lanes>,
    _lock: Box<dyn Any + Send>,
}

impl OfflinePort {
    pub(super) fn new(opened: Opened) -> Self {
        let Opened {
            clock, time_floor, lanes, metrics, journal, stages, retained, last_values, lock, ..
        } = opened;
        // As many as there are buffers: it is never full.
        let (to_us, frames) = bounded(lanes.buffers());
        let consumers: Vec<Box<dyn FrameConsumer>> = vec![Box::new(Frames(to_us))];
        let writer = JournalWriter::new(journal, lanes.clone(), consumers, metrics);
        Self {
            port: JournalPort::of_operators(lanes.clone()),
            stamps: writer.stamps(time_floor),
            writer,
            frames,
            stages,
            retained,
            last_values,
            clock,
            lanes,
            _lock: lock,
        }
    }

    /// Writes what was appended and runs it through pipeline and keeper.
    fn pump(&mut self) -> Result<(), EngineError> {
        self.port.hand_over();
        let mut settled = false;
        loop {
            match self.writer.step(self.stamps.next(&*self.clock))? {
                WriterStep::Wrote => self.process()?,
                WriterStep::Idle => return Ok(()),
                WriterStep::Blocked => match self.writer.prepare_step()? {
                    Prepared::Progress => {}
                    _ if !settled => {
                        // What is processed may let go of segments.
                        settled = true;
                        self.settle()?;
                        self.writer.release_processed();
                    }
                    prepared => {
                        let room = self.writer.segment_room();
                        return Err(EngineError::no_segments(JOURNAL_DIR, prepared, room));
                    }
                },
            }
        }
    }

    fn process(&mut self) -> Result<(), EngineError> {
        let now = self.now();
        let Self { frames, stages, retained, last_values, writer, .. } = self;
        for frame in frames.try_iter() {
            stages.process(&frame, now, &mut |frame| fold_feeds(frame, retained, last_values))?;
        }
        writer.release_processed();
        Ok(())
    }

    fn settle(&mut self) -> Result<(), EngineError> {
        let now = self.now();
        let Self { stages, retained, last_values, .. } = self;
        stages.settle(now, &mut |frame| fold_feeds(frame, retained, last_values))
    }

    fn now(&self) -> Now {
        Now { receive_us: self.clock.receive_time_us(), monotonic_us: self.clock.monotonic_us() }
    }
}

impl ChangePort for OfflinePort {
    fn body_bytes_max(&self) -> usize {
        self.port.body_bytes_max()
    }

    fn append(&mut self, control: &Control<'_>) -> Result<(), SettleError> {
        if self.port.append_control(control).is_ok() {
            return Ok(());
        }
        self.pump().map_err(failed)?;
        self.port.append_control(control).map(drop).map_err(|_| {
            SettleError::Failed(
                "a record finds no buffer in the journal, which is a bug of the gateway".to_owned(),
            )
        })
    }

    fn barrier(&mut self) -> Result<(), SettleError> {
        self.pump().and_then(|()| self.settle()).map_err(failed)?;
        // A commit that found no space, or the catalogue locked, is left undone without an error.
        let next = self.lanes.positions.next_durable_record.load(Ordering::Acquire);
        if self.stages.keeper.progress().next_uncommitted_record() >= next {
            return Ok(());
        }
        let sentence = "the catalogue takes no commit (see the warning before): free some space in the data directory, or end \
                        what holds catalogue.db, and give the command again; what it has sent is settled then";
        Err(SettleError::Unavailable(sentence.to_owned()))
    }
}

fn failed(error: EngineError) -> SettleError {
    match error {
        EngineError::NoSegments { .. } => SettleError::Unavailable(error.to_string()),
        other => SettleError::Failed(other.to_string()),
    }
}

struct Frames(Sender<Arc<JournalFrame>>);

impl FrameConsumer for Frames {
    fn accept(&mut self, frame: &Arc<JournalFrame>) {
        // The other end lives as long as the writer.
        let _ = self.0.send(frame.clone());
    }
}
