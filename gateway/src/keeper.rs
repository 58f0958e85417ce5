//! The keeper: what follows the observation log and commits together. It folds frames into store, books and quarantine,
//! has late rows classified, flushes, and makes each commit one transaction of the catalogue that names its checkpoint.
//!
//! ```text
//!  ObservationFrame ─▶ store · books · quarantine · states of datastreams · retained messages · re-send marks
//!                        │ classify_due ─▶ Outcomes ─▶ pipeline (next frame of the log)
//!                        └ flush ─▶ files ─┐
//!                            everything ───┴─▶ one Commit ─▶ observation log may go up to what a restart needs
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::books::Books;
use crate::catalogue::{Catalogue, CatalogueError, Checkpoint, Commit, DatastreamState, History};
use crate::clock::Clock;
use crate::disk::{Ballast, Disk};
use crate::feeds::LastValue;
use crate::health::{Health, Trouble};
use crate::metrics::Metrics;
use crate::observation::{Classification, Definition, ObservationFrame, ResultKind, RetainedChange, Row};
use crate::pipeline::resend::ResendWindow;
use crate::pipeline::stage::StoreMessage;
use crate::registry::SharedRegistry;
use crate::sinks::Quarantine;
use crate::store::{Flush, Store, StoreCursor, StoreError};

/// Part of the books' and quarantine's state that others read.
pub type Shared<T> = Arc<Mutex<T>>;

/// Locks a shared part. Whoever panicked while holding it has ended the process's usefulness anyway; the counts are whole.
pub fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Error)]
pub enum KeeperError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl KeeperError {
    /// Nothing was committed and nothing is lost: space is missing, the same call may succeed later.
    pub fn is_backpressure(&self) -> bool {
        match self {
            Self::Catalogue(error) => error.is_backpressure(),
            Self::Store(error) => error.is_no_space(),
        }
    }
}

/// What the keeper puts into [`Checkpoint::store`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperCursor {
    pub store: StoreCursor,
    /// First record of the first frame that a restart has to read.
    pub refold_from_record_no: u64,
}

impl KeeperCursor {
    /// Of a checkpoint; `None` where nothing was committed yet or the text is not ours.
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Option<Self> {
        serde_json::from_str(&checkpoint.store).ok()
    }
}

/// What a keeper is made of.
#[derive(Debug)]
pub struct KeeperParts {
    pub store: Store,
    pub books: Shared<Books>,
    pub quarantine: Shared<Quarantine>,
    pub registry: SharedRegistry,
    pub metrics: Arc<Metrics>,
    pub states: Vec<(u32, DatastreamState)>,
    pub resend: ResendWindow,
    pub checkpoint: Checkpoint,
    pub commit_interval_ms: u64,
}

pub struct Keeper {
    store: Store,
    books: Shared<Books>,
    quarantine: Shared<Quarantine>,
    catalogue: Box<dyn Catalogue>,
    registry: SharedRegistry,
    metrics: Arc<Metrics>,
    /// By datastream.
    states: Shared<Vec<DatastreamState>>,
    changed_states: HashSet<u32, RandomState>,
    resend: ResendWindow,
    resend_changed: bool,
    definitions: Vec<Definition>,
    retained: Vec<RetainedChange>,
    checkpoint: Checkpoint,
    /// First records of the frames that a restart may have to read, by frame number.
    frames: VecDeque<(u64, u64)>,
    /// The record behind the last frame folded.
    end_record_no: u64,
    /// Receive time of the oldest frame that is not committed.
    uncommitted_since_us: Option<i64>,
    commit_interval_us: i64,
    to_pipeline: Sender<StoreMessage>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}

impl Keeper {
    pub fn new(parts: KeeperParts, catalogue: Box<dyn Catalogue>, to_pipeline: Sender<StoreMessage>) -> Self {
        let end_record_no =
            KeeperCursor::of_checkpoint(&parts.checkpoint).map_or(1, |cursor| cursor.refold_from_record_no);
        let keeper = Self {
            store: parts.store,
            books: parts.books,
            quarantine: parts.quarantine,
            catalogue,
            registry: parts.registry,
            metrics: parts.metrics,
            states: Shared::default(),
            changed_states: HashSet::default(),
            resend: parts.resend,
            resend_changed: false,
            definitions: Vec::new(),
            retained: Vec::new(),
            checkpoint: parts.checkpoint,
            frames: VecDeque::new(),
            end_record_no,
            uncommitted_since_us: None,
            commit_interval_us: parts.commit_interval_ms as i64 * 1_000,
            to_pipeline,
        };
        {
            let mut states = lock(&keeper.states);
            for (datastream, state) in parts.states {
                *state_of(&mut states, datastream) = state;
            }
        }
        keeper
    }

    /// Folds the next frame of the observation log.
    pub fn apply(&mut self, frame: &Arc<ObservationFrame>) -> Result<(), KeeperError> {
        self.frames.push_back((frame.frame_no, frame.first_record_no));
        self.end_record_no = frame.end_record_no;
        self.store.apply(frame)?;
        if frame.frame_no <= self.checkpoint.observation_frame_no {
            return Ok(());
        }
        lock(&self.books).apply(frame);
        {
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            lock(&self.quarantine).apply(frame, &registry);
            self.metrics.datastreams.set(registry.datastreams().len() as i64);
        }
        {
            let mut states = lock(&self.states);
            for row in &frame.rows {
                self.changed_states.insert(row.datastream);
                fold_state(state_of(&mut states, row.datastream), frame, row);
            }
        }
        self.definitions.extend_from_slice(&frame.definitions);
        self.retained.extend_from_slice(&frame.retained);
        for mark in &frame.resend_marks {
            self.resend.insert(*mark);
            self.resend_changed = true;
        }
        self.checkpoint.observation_frame_no = frame.frame_no;
        self.checkpoint.next_obs_no = frame.first_obs_no + frame.rows.len() as u64;
        self.checkpoint.next_record_no = frame.info.next_record_no;
        self.checkpoint.next_message_no = frame.info.next_message_no;
        self.uncommitted_since_us.get_or_insert(frame.info.time_us);
        Ok(())
    }

    /// Classifies and commits what is due. True where the bounds of memory are reached and frames should wait.
    pub fn step(&mut self, now_us: i64) -> Result<bool, KeeperError> {
        let pressure = self.store.pressure();
        if let Some(outcomes) = self.store.classify_due(now_us, pressure.must_classify)? {
            // One batch is out at a time, so there is room for it; without a pipeline there is nobody to tell.
            let _ = self.to_pipeline.send(StoreMessage::Outcomes(outcomes));
        }
        self.commit_due(now_us, pressure.must_flush)?;
        Ok(pressure.must_flush || pressure.must_classify)
    }

    /// Classifies whatever waits; false when nothing does. The outcomes come back as a frame.
    pub fn classify_all(&mut self, now_us: i64) -> Result<bool, KeeperError> {
        let Some(outcomes) = self.store.classify_due(now_us, true)? else { return Ok(false) };
        let _ = self.to_pipeline.send(StoreMessage::Outcomes(outcomes));
        Ok(true)
    }

    /// Flushes and commits if that is due (or `force`).
    pub fn commit_due(&mut self, now_us: i64, force: bool) -> Result<(), KeeperError> {
        let force = force || lock(&self.quarantine).wants_commit();
        let flush = self.store.flush(now_us, force)?;
        let old_enough =
            self.uncommitted_since_us.is_some_and(|since_us| now_us.saturating_sub(since_us) >= self.commit_interval_us);
        if flush.is_none() && !old_enough && !(force && self.uncommitted_since_us.is_some()) {
            return Ok(());
        }
        self.commit(flush)
    }

    fn commit(&mut self, mut flush: Option<Flush>) -> Result<(), KeeperError> {
        let cursor = flush.as_ref().map_or_else(|| self.store.cursor(), |flush| flush.cursor);
        let needed_from_frame = cursor.refold_from_frame.min(self.checkpoint.observation_frame_no + 1);
        let refold_from_record_no = self
            .frames
            .iter()
            .find(|(frame_no, _)| *frame_no >= needed_from_frame)
            // No such frame yet: the next one, which follows the last one that was folded.
            .map_or(self.end_record_no, |(_, record_no)| *record_no);
        let keeper_cursor = KeeperCursor { store: cursor, refold_from_record_no };
        let (books, quarantine) = {
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            let flushed_rows = flush.as_ref().map_or(0, |flush| flush.rows);
            (lock(&self.books).delta(&registry, flushed_rows), lock(&self.quarantine).delta())
        };
        let commit = Commit {
            checkpoint: Checkpoint {
                // A struct of numbers always serialises.
                store: serde_json::to_string(&keeper_cursor).unwrap_or_default(),
                ..self.checkpoint.clone()
            },
            definitions: self.definitions.clone(),
            files_added: flush.as_mut().map(|flush| flush.files_added.clone()).unwrap_or_default(),
            files_removed: Vec::new(),
            books,
            datastream_states: {
                let states = lock(&self.states);
                let state = |datastream: &u32| (*datastream, states[*datastream as usize].clone());
                self.changed_states.iter().map(state).collect()
            },
            retained: self.retained.clone(),
            resend_marks: self.resend_changed.then(|| self.resend.marks().collect()),
            quarantine,
        };
        if let Err(error) = self.catalogue.commit(&commit) {
            if let Some(flush) = flush {
                self.store.abandoned(flush);
            }
            return Err(error.into());
        }
        if let Some(flush) = flush {
            self.store.committed(flush);
        }
        lock(&self.books).committed(&commit.books);
        lock(&self.quarantine).committed(&commit.quarantine);
        self.checkpoint = commit.checkpoint;
        self.definitions.clear();
        self.retained.clear();
        self.changed_states.clear();
        self.resend_changed = false;
        self.uncommitted_since_us = None;
        while self.frames.front().is_some_and(|(frame_no, _)| *frame_no < needed_from_frame) {
            self.frames.pop_front();
        }
        // The next commit tells it again, so a full queue only delays it.
        let _ = self.to_pipeline.try_send(StoreMessage::Committed { needed_from_record_no: refold_from_record_no });
        Ok(())
    }

    /// What is known of each datastream, for those who ask.
    pub fn states(&self) -> Shared<Vec<DatastreamState>> {
        self.states.clone()
    }

    /// A view of what is committed, for another thread.
    pub fn history(&self) -> Result<Box<dyn History>, CatalogueError> {
        self.catalogue.history()
    }
}

fn state_of(states: &mut Vec<DatastreamState>, datastream: u32) -> &mut DatastreamState {
    let index = datastream as usize;
    if states.len() <= index {
        states.resize_with(index + 1, empty_state);
    }
    &mut states[index]
}

fn fold_state(state: &mut DatastreamState, frame: &ObservationFrame, row: &Row) {
    state.observations += 1;
    if row.classified() == Classification::Duplicate {
        return;
    }
    if row.flags & Row::FLAG_UNDATED != 0 {
        state.last_undated_us = state.last_undated_us.max(row.time_us);
    }
    if row.classified() == Classification::Inserted {
        let value = LastValue::of_row(frame, row);
        state.watermark_us = row.time_us;
        state.kind = value.kind;
        state.value = if value.kind == ResultKind::Text { 0 } else { value.value };
        state.text.clear();
        state.text.push_str(value.text.as_deref().unwrap_or(""));
        state.ordinal = row.ordinal;
        state.quality = row.quality;
        state.flags = row.flags;
        state.unit = row.unit;
        state.status = row.status;
        state.seq_plus_1 = row.seq_plus_1;
        state.position = value.position;
        state.result_time_us = value.result_time_us;
    }
}

/// A datastream without a row.
fn empty_state() -> DatastreamState {
    DatastreamState {
        watermark_us: i64::MIN,
        kind: ResultKind::Null,
        value: 0,
        text: String::new(),
        ordinal: 0,
        quality: 0,
        flags: 0,
        unit: 0,
        status: 0,
        seq_plus_1: 0,
        revision: 0,
        position: 0,
        result_time_us: 0,
        last_undated_us: 0,
        observations: 0,
    }
}

/// The ballast file: given away when the disk is full, so that the flush that frees log segments finds room, and put
/// back when there is space again.
#[derive(Debug)]
pub struct KeeperBallast {
    disk: Arc<dyn Disk>,
    ballast: Ballast,
    next_restore_us: u64,
}

/// Between two attempts to put the ballast back.
const RESTORE_PAUSE_US: u64 = 10_000_000;

impl KeeperBallast {
    pub fn new(disk: Arc<dyn Disk>, ballast: Ballast) -> Self {
        Self { disk, ballast, next_restore_us: 0 }
    }

    fn release(&mut self) {
        if let Err(error) = self.ballast.release(&*self.disk) {
            tracing::warn!("the ballast file could not be removed: {error}");
        }
    }

    fn restore(&mut self, now_us: u64) {
        if self.ballast.is_present() || now_us < self.next_restore_us {
            return;
        }
        self.next_restore_us = now_us + RESTORE_PAUSE_US;
        if let Err(error) = self.ballast.restore(&*self.disk) {
            tracing::warn!("the ballast file could not be put back: {error}");
        }
    }
}

/// How long the keeper sleeps at most before it looks what is due.
const IDLE: Duration = Duration::from_millis(50);

/// The keeper's thread. Ends when `stop` is set and everything in the queue is folded.
pub fn run_keeper(
    keeper: &mut Keeper,
    ballast: &mut KeeperBallast,
    clock: &dyn Clock,
    frames: &Receiver<Arc<ObservationFrame>>,
    health: &Health,
    stop: &AtomicBool,
) -> Result<(), KeeperError> {
    let mut warned = false;
    loop {
        match frames.recv_timeout(IDLE) {
            Ok(frame) => keeper.apply(&frame)?,
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Acquire) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        match keeper.step(clock.receive_time_us()) {
            Ok(_) => {
                warned = false;
                ballast.restore(clock.monotonic_us());
                health.set(Trouble::StoreSpace, false);
            }
            // Not fetching further frames is the backpressure: the queue fills, the pipeline waits, the journal's
            // buffers run out, nobody is acknowledged.
            Err(error) if error.is_backpressure() => {
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!("no flush is possible: {error}");
                    ballast.release();
                }
                health.set(Trouble::StoreSpace, true);
                std::thread::sleep(IDLE);
            }
            Err(error) => return Err(error),
        }
    }
}
