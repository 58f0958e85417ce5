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

mod ballast;
mod commit;
mod compaction;
mod states;
mod thread;
mod wal;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam::channel::{Sender, TrySendError};
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use ballast::KeeperBallast;
use compaction::CompactionPort;
pub use compaction::{CompactorInputs, CompactorTurn, run_compactor};
use states::{fold_settled, fold_state, state_of};
pub use thread::{KeeperTurns, run_keeper};
use wal::InWal;

use crate::books::Books;
use crate::catalogue::{Catalogue, CatalogueError, Checkpoint, DatastreamState, History};
use crate::clock::{Clock, TimeFloor};
use crate::disk::ReadersGate;
use crate::metrics::Metrics;
use crate::observation::{Definition, ObservationFrame, Outcome, RetainedChange};
use crate::pipeline::KeeperProgress;
use crate::pipeline::resend::ResendWindow;
use crate::registry::SharedRegistry;
use crate::retention::RetentionClock;
use crate::sinks::Quarantine;
use crate::store::{Compaction, Store, StoreCursor, StoreError};

/// Changes of retained messages that wait for a commit; more do not wait for its time.
pub const RETAINED_PENDING_BYTES_MAX: usize = 4 << 20;

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
    /// Time of [`RetentionClock`]; `i64::MIN` where nothing was ever to expire.
    pub retention_us: i64,
}

impl KeeperCursor {
    /// Of a checkpoint; the start of everything where nothing was committed yet.
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Self, KeeperError> {
        if checkpoint.store.is_empty() {
            return Ok(Self {
                store: StoreCursor::default(),
                refold_from_record_no: 1,
                retention_us: i64::MIN,
            });
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
    /// Nothing that the checkpoint covers stands in the catalogue's write-ahead log alone.
    pub wal_is_empty: bool,
    pub commit_interval_ms: u64,
    /// Closed hours of the books are kept for so many days; 0 = for ever.
    pub books_days: u32,
    pub retention_clock: RetentionClock,
    /// Is told its time, where anything expires.
    pub time_floor: Arc<TimeFloor>,
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
    /// Stamp of the newest frame folded; `i64::MIN` = none yet.
    newest_frame_us: i64,
    /// Stamp of the oldest frame that is not committed.
    uncommitted_since_us: Option<i64>,
    commit_interval_us: i64,
    books_days: u32,
    retention_clock: RetentionClock,
    time_floor: Arc<TimeFloor>,
    /// Hours of the books before this one are gone, as far as they could go.
    books_kept_from: i64,
    /// Classified, and not yet taken by the pipeline.
    outcomes: Option<Vec<Outcome>>,
    /// Made, and not yet committed.
    compaction: Option<Compaction>,
    compactions: Option<CompactionPort>,
    in_wal: InWal,
    readers: Option<ReadersGate>,
    to_pipeline: Sender<Vec<Outcome>>,
    progress: Arc<KeeperProgress>,
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
        progress.set_next_uncommitted_record(parts.checkpoint.next_record_no);
        parts.metrics.store_messages.set(parts.checkpoint.next_message_no as i64 - 1);
        for holder in ["flush", "late_rows"] {
            parts.metrics.logs.holds("observations", holder, parts.refold_from_record_no);
        }
        let mut in_wal = InWal::default();
        if !parts.wal_is_empty {
            in_wal.committed(parts.refold_from_record_no);
        }
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
            newest_frame_us: i64::MIN,
            uncommitted_since_us: None,
            commit_interval_us: parts.commit_interval_ms as i64 * 1_000,
            books_days: parts.books_days,
            retention_clock: parts.retention_clock,
            time_floor: parts.time_floor,
            books_kept_from: i64::MIN,
            outcomes: None,
            compaction: None,
            compactions: None,
            in_wal,
            readers: None,
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

    /// Folds the next frame of the observation log.
    pub fn apply(&mut self, frame: &Arc<ObservationFrame>) -> Result<(), KeeperError> {
        self.frames.push_back((frame.frame_no, frame.first_record_no));
        self.end_record_no = frame.end_record_no;
        self.newest_frame_us = self.newest_frame_us.max(frame.info.time_us);
        let is_reflected = frame.frame_no <= self.checkpoint.observation_frame_no;
        {
            let Self { store, states, changed_states, .. } = self;
            store.apply_telling(frame, &mut |row, text| {
                if !is_reflected && fold_settled(state_of(&mut lock(states), row.datastream), row, text) {
                    changed_states.insert(row.datastream);
                }
            })?;
        }
        if is_reflected {
            return Ok(());
        }
        lock(&self.books).apply(frame);
        {
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            let mut quarantine = lock(&self.quarantine);
            quarantine.apply(frame, &registry);
            if !frame.quarantined.is_empty() || !frame.settlements.is_empty() {
                self.metrics.quarantine_bytes.set(quarantine.quota().bytes() as i64);
            }
            drop(quarantine);
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

    /// Classifies and commits what is due, and tells the pipeline to hold while the bounds of memory are reached. While the
    /// observation log is full, everything is due.
    pub fn step(&mut self, now_us: i64) -> Result<(), KeeperError> {
        self.store.tell_time(self.retention_clock.now_us());
        let pressure = self.store.pressure();
        let wants_room = self.progress.wants_room();
        self.classify(now_us, pressure.must_classify || wants_room)?;
        self.take_compaction();
        if wants_room {
            // What older commits allow goes in any case: there may be no room for another one.
            self.let_go();
        }
        self.commit_due(now_us, pressure.must_flush || wants_room)?;
        if wants_room {
            self.let_go();
        }
        self.progress.set_hold(self.is_full());
        Ok(())
    }

    /// Both clocks, now and then: by them it is known what has expired.
    pub fn tell_clock(&mut self, clock: &dyn Clock) {
        if self.lets_expire() {
            self.retention_clock.tell(clock.receive_time_us(), clock.monotonic_us());
            self.time_floor.tell(self.retention_clock.now_us());
            self.store.tell_time(self.retention_clock.now_us());
        }
    }

    /// The wall clock is ahead of what it can be, so that nothing expires by it.
    pub fn clock_has_leapt(&self) -> bool {
        self.retention_clock.has_leapt()
    }

    fn lets_expire(&self) -> bool {
        self.books_days > 0 || !self.store.keeps_for_ever()
    }

    /// Whether the bounds of memory are reached.
    pub fn is_full(&self) -> bool {
        let pressure = self.store.pressure();
        pressure.must_flush || pressure.must_classify
    }

    /// Time of the newest frame that was folded, also of those that a start reads again.
    pub fn newest_frame_us(&self) -> i64 {
        self.newest_frame_us
    }

    /// A restart needs nothing of the observation log below this record.
    pub fn needed_from(&self) -> u64 {
        self.progress.needed_from()
    }

    /// What others see of it, and ask of it.
    pub fn progress(&self) -> Arc<KeeperProgress> {
        self.progress.clone()
    }

    /// Removes store files that were replaced and are not read any more, once the commits that replaced them stand in
    /// `catalogue.db` itself, or space is missing.
    pub fn sweep(&mut self, monotonic_us: u64, space_is_missing: bool) {
        let Self { store, readers, in_wal, .. } = self;
        match readers {
            _ if !store.has_replaced() || (in_wal.has_some() && !space_is_missing) => {}
            // A reader gets an error; else nobody would be acknowledged for as long as somebody reads.
            Some(_) if space_is_missing => store.sweep(monotonic_us, true),
            Some(readers) => {
                // Commands that read without this gateway: their files go when they have ended.
                readers.while_alone(|| store.sweep(monotonic_us, false));
            }
            None => store.sweep(monotonic_us, space_is_missing),
        }
    }

    /// Who may read the store without this gateway.
    pub fn set_readers(&mut self, readers: ReadersGate) {
        self.readers = Some(readers);
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

    /// What is known of each datastream, for those who ask.
    pub fn states(&self) -> Shared<Vec<DatastreamState>> {
        self.states.clone()
    }

    /// A view of what is committed, for another thread.
    pub fn history(&self) -> Result<Box<dyn History>, CatalogueError> {
        self.catalogue.history()
    }
}
