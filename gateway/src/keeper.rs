//! The keeper: what follows the observation log and commits together. It folds frames into store, books and quarantine,
//! has late rows classified, flushes, and makes each commit one transaction of the catalogue that names its checkpoint.
//!
//! ```text
//!  ObservationFrame ─▶ store · books · quarantine · states of datastreams · retained messages · re-send marks
//!                        │ classify_due ─▶ Outcomes ─▶ pipeline (next frame of the log)
//!                        └ flush ─▶ files ─┐
//!  Compactor ─▶ files for others ──────────┤
//!                            everything ───┴─▶ one Commit ─▶ observation log may go up to what a restart needs
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, select};
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
use crate::observation::{
    Classification, Definition, ObservationFrame, Outcome, ResultKind, RetainedChange, Row,
};
use crate::pipeline::KeeperProgress;
use crate::pipeline::resend::ResendWindow;
use crate::registry::SharedRegistry;
use crate::sinks::Quarantine;
use crate::store::{Compaction, Compactor, Flush, Store, StoreCursor, StoreError};

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
    #[error(
        "the catalogue's checkpoint holds a store cursor that this build cannot read ({text}); use the build that wrote it"
    )]
    Cursor { text: String },
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl KeeperError {
    /// Nothing was committed and nothing is lost: space is missing, the same call may succeed later.
    pub fn is_backpressure(&self) -> bool {
        match self {
            Self::Catalogue(error) => error.is_backpressure(),
            Self::Cursor { .. } => false,
            Self::Store(error) => error.is_no_space(),
        }
    }
}

/// What the keeper puts into [`Checkpoint::store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperCursor {
    pub store: StoreCursor,
    /// First record of the first frame that a restart has to read.
    pub refold_from_record_no: u64,
}

impl KeeperCursor {
    /// Of a checkpoint; the start of everything where nothing was committed yet.
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Self, KeeperError> {
        if checkpoint.store.is_empty() {
            return Ok(Self { store: StoreCursor::default(), refold_from_record_no: 1 });
        }
        serde_json::from_str(&checkpoint.store)
            .map_err(|_| KeeperError::Cursor { text: checkpoint.store.clone() })
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
    /// Where the observation log is read from, see [`KeeperCursor`].
    pub refold_from_record_no: u64,
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
    retained_bytes: usize,
    checkpoint: Checkpoint,
    /// First records of the frames that a restart may have to read, by frame number.
    frames: VecDeque<(u64, u64)>,
    /// The record behind the last frame folded.
    end_record_no: u64,
    /// Receive time of the oldest frame that is not committed.
    uncommitted_since_us: Option<i64>,
    commit_interval_us: i64,
    /// Classified, and not yet taken by the pipeline.
    outcomes: Option<Vec<Outcome>>,
    /// Made, and not yet committed.
    compaction: Option<Compaction>,
    compactions: Option<CompactionPort>,
    to_pipeline: Sender<Vec<Outcome>>,
    progress: Arc<KeeperProgress>,
}

/// The keeper's end of the compaction.
struct CompactionPort {
    compactions: Receiver<Compaction>,
    committed: Sender<()>,
}

/// The compactor with its end.
#[derive(Debug)]
pub struct CompactorInputs {
    compactor: Compactor,
    to_keeper: Sender<Compaction>,
    committed: Receiver<()>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}

impl Keeper {
    pub fn new(
        parts: KeeperParts,
        catalogue: Box<dyn Catalogue>,
        to_pipeline: Sender<Vec<Outcome>>,
        progress: Arc<KeeperProgress>,
    ) -> Self {
        let end_record_no = parts.refold_from_record_no;
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
            retained_bytes: 0,
            checkpoint: parts.checkpoint,
            frames: VecDeque::new(),
            end_record_no,
            uncommitted_since_us: None,
            commit_interval_us: parts.commit_interval_ms as i64 * 1_000,
            outcomes: None,
            compaction: None,
            compactions: None,
            to_pipeline,
            progress,
        };
        {
            let mut states = lock(&keeper.states);
            for (datastream, state) in parts.states {
                *state_of(&mut states, datastream) = state;
            }
        }
        keeper
    }

    /// From here on the store's files are merged by [`run_compactor`] at the other end.
    pub fn start_compaction(&mut self) -> Result<CompactorInputs, KeeperError> {
        let (to_keeper, compactions) = bounded(1);
        let (committed, answers) = bounded(1);
        self.compactions = Some(CompactionPort { compactions, committed });
        Ok(CompactorInputs { compactor: self.store.compactor()?, to_keeper, committed: answers })
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
        for change in &frame.retained {
            self.retained_bytes += change.topic.len() + change.properties.len() + change.payload.len();
            self.retained.push(change.clone());
        }
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

    /// Classifies and commits what is due, and tells the pipeline to hold while the bounds of memory are reached.
    pub fn step(&mut self, now_us: i64) -> Result<(), KeeperError> {
        let pressure = self.store.pressure();
        self.classify(now_us, pressure.must_classify)?;
        if self.compaction.is_none() {
            self.compaction = self.compactions.as_ref().and_then(|port| port.compactions.try_recv().ok());
        }
        self.commit_due(now_us, pressure.must_flush || self.retained_bytes >= RETAINED_PENDING_BYTES_MAX)?;
        let pressure = self.store.pressure();
        self.progress.set_hold(pressure.must_flush || pressure.must_classify);
        Ok(())
    }

    /// Removes store files that were replaced and are not read any more.
    pub fn sweep(&mut self, monotonic_us: u64) {
        self.store.sweep(monotonic_us);
    }

    /// Classifies whatever waits; false when nothing does. The outcomes come back as a frame.
    pub fn classify_all(&mut self, now_us: i64) -> Result<bool, KeeperError> {
        self.classify(now_us, true)
    }

    /// Memory is what it is until space comes back: nothing further is to be decoded.
    pub fn hold(&self) {
        self.progress.set_hold(true);
    }

    fn classify(&mut self, now_us: i64, force: bool) -> Result<bool, KeeperError> {
        if self.outcomes.is_none() {
            self.outcomes = self.store.classify_due(now_us, force)?;
        }
        let Some(outcomes) = self.outcomes.take() else { return Ok(false) };
        if let Err(TrySendError::Full(outcomes)) = self.to_pipeline.try_send(outcomes) {
            self.outcomes = Some(outcomes);
        }
        Ok(true)
    }

    /// Flushes and commits if that is due (or `force`).
    pub fn commit_due(&mut self, now_us: i64, force: bool) -> Result<(), KeeperError> {
        let force = force || lock(&self.quarantine).wants_commit();
        let flush = self.store.flush(now_us, force)?;
        let old_enough = self
            .uncommitted_since_us
            .is_some_and(|since_us| now_us.saturating_sub(since_us) >= self.commit_interval_us);
        let is_due = old_enough || self.compaction.is_some() || force && self.uncommitted_since_us.is_some();
        if flush.is_none() && !is_due {
            return Ok(());
        }
        self.commit(flush)
    }

    fn commit(&mut self, flush: Option<Flush>) -> Result<(), KeeperError> {
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
            files_added: {
                let flushed = flush.iter().flat_map(|flush| &flush.files_added);
                let merged = self.compaction.iter().flat_map(|compaction| &compaction.files_added);
                flushed.chain(merged).cloned().collect()
            },
            files_removed: self.compaction.as_ref().map(|it| it.files_removed.clone()).unwrap_or_default(),
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
        if let Some(compaction) = self.compaction.take() {
            self.store.compacted(compaction);
            if let Some(port) = &self.compactions {
                // One compaction, one answer: there is room.
                let _ = port.committed.try_send(());
            }
        }
        lock(&self.books).committed(&commit.books);
        lock(&self.quarantine).committed(&commit.quarantine);
        self.checkpoint = commit.checkpoint;
        self.definitions.clear();
        self.retained.clear();
        self.retained_bytes = 0;
        self.changed_states.clear();
        self.resend_changed = false;
        self.uncommitted_since_us = None;
        while self.frames.front().is_some_and(|(frame_no, _)| *frame_no < needed_from_frame) {
            self.frames.pop_front();
        }
        self.progress.set_needed_from(refold_from_record_no);
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

    fn release(&mut self, now_us: u64) {
        self.next_restore_us = now_us + RESTORE_PAUSE_US;
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
/// After a flush or commit that found no space.
const RETRY_PAUSE_US: u64 = 1_000_000;
/// Changes of retained messages that wait for a commit; more do not wait for its time.
const RETAINED_PENDING_BYTES_MAX: usize = 16 << 20;

/// The keeper's thread. Ends when the pipeline's end of the queue is gone, or when `stop` is set and the queue is empty.
pub fn run_keeper(
    keeper: &mut Keeper,
    ballast: &mut KeeperBallast,
    clock: &dyn Clock,
    frames: &Receiver<Arc<ObservationFrame>>,
    health: &Health,
    stop: &AtomicBool,
) -> Result<(), KeeperError> {
    let mut time = FrameTime { frame_us: i64::MIN, applied_us: clock.monotonic_us() };
    let mut retry_at_us = 0;
    let mut failing = false;
    loop {
        match frames.recv_timeout(IDLE) {
            Ok(frame) => {
                keeper.apply(&frame)?;
                time = FrameTime { frame_us: frame.info.time_us, applied_us: clock.monotonic_us() };
            }
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Acquire) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let now_us = clock.monotonic_us();
        if now_us < retry_at_us {
            continue;
        }
        match keeper.step(time.now_us(clock)) {
            Ok(()) => {
                failing = false;
                ballast.restore(now_us);
                keeper.sweep(now_us);
            }
            // The pipeline holds, its queue fills, the journal's buffers run out, nobody is acknowledged.
            Err(error) if error.is_backpressure() => {
                keeper.hold();
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("no flush is possible: {error}");
                    ballast.release(now_us);
                }
                retry_at_us = now_us + RETRY_PAUSE_US;
            }
            Err(error) => return Err(error),
        }
        health.set(Trouble::StoreSpace, failing);
    }
}

/// Ages are measured from frame times, which never go back; a clock that is set back must not make everything young.
#[derive(Clone, Copy, Debug)]
struct FrameTime {
    frame_us: i64,
    applied_us: u64,
}

impl FrameTime {
    fn now_us(self, clock: &dyn Clock) -> i64 {
        let since_us = clock.monotonic_us().saturating_sub(self.applied_us) as i64;
        clock.receive_time_us().max(self.frame_us.saturating_add(since_us))
    }
}

/// Between two looks for files that are worth merging.
const COMPACTION_PAUSE: Duration = Duration::from_secs(1);
/// After a compaction that failed. What it was to merge stays readable as it is.
const COMPACTION_RETRY_PAUSE: Duration = Duration::from_secs(60);

/// The compactor's thread. Ends when the other end of `stop` is gone.
pub fn run_compactor(inputs: &mut CompactorInputs, stop: &Receiver<()>) {
    loop {
        let pause = match inputs.compactor.step() {
            Ok(Some(compaction)) => {
                if inputs.to_keeper.send(compaction).is_err() {
                    return;
                }
                // The keeper commits when there is space, which may be long.
                select! {
                    recv(inputs.committed) -> _ => Duration::ZERO,
                    recv(stop) -> _ => return,
                }
            }
            Ok(None) => COMPACTION_PAUSE,
            Err(error) => {
                tracing::warn!("store files were not merged, which is tried again: {error}");
                COMPACTION_RETRY_PAUSE
            }
        };
        if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
