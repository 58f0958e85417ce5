//! From a data directory to stages that can run: database, then the tails of both logs.
//!
//! 1. The world: first the directory's lock, so that nobody else writes.
//! 2. The catalogue's snapshot: names, states, books, files, and the checkpoint they reflect.
//! 3. The observation log from where the checkpoint needs it: folded into everything.
//! 4. The journal from the first message that no observation frame covers: run through the pipeline.
//!
//! Nothing listens yet, so nobody sees a state in between.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crossbeam::channel::bounded;

use super::EngineError;
use super::bounds::{
    dictionary_limits, flush_bytes, journal_config, observations_config, store_config, time_bounds,
};
use super::budgets::GaugedBudgets;
use super::lost_files::accept_lost_files;
use super::rebuild::{Rebuilt, fold_feeds, grow_hot_rows, hot_rows, resend_of};
use super::stages::{Now, Stages};
use super::world::World;
use crate::books::Books;
use crate::catalogue::Snapshot;
use crate::cli::Damage;
use crate::clock::{Clock, TimeFloor};
use crate::config::Config;
use crate::disk::{Ballast, Disk};
use crate::feeds::{LastValues, RetainedStore};
use crate::health::Health;
use crate::journal::{JournalFrame, Lanes, LanesConfig};
use crate::keeper::{Keeper, KeeperBallast, KeeperCursor, KeeperParts, Shared};
use crate::log::{
    AlignedBuf, JOURNAL_DIR, LogConfig, LogError, LogKind, LogReader, LogWriter, OBSERVATIONS_DIR, Position,
    Prepared, Recovered, recover,
};
use crate::metrics::Metrics;
use crate::observation::{ObservationFrame, parse_frame};
use crate::pipeline::dictionary::Dictionary;
use crate::pipeline::hot::HotRow;
use crate::pipeline::stage::PipelineStart;
use crate::pipeline::{KeeperProgress, MessageDecoder, Pipeline};
use crate::quarantine_quota::QuarantineQuota;
use crate::registry::{Registry, SharedRegistry};
use crate::retention::RetentionClock;
use crate::rules::{Ranks, SameTime};
use crate::sinks::Quarantine;
use crate::store::{Store, StoreConfig, StoreError, StoreReader};

const BALLAST_FILE: &str = "ballast";

/// Buffers of a shard: being filled, being written, and in flight behind the writer.
pub(super) const BUFFERS_PER_SHARD: usize = 16;
/// Observation frames that wait for the keeper, and for the router.
pub(super) const OBSERVATION_FRAMES_WAITING_MAX: usize = 16;
/// Batches of outcomes that wait for the pipeline; the store has one out at a time.
const OUTCOMES_WAITING_MAX: usize = 1;

/// Everything of a data directory, ready to run.
pub(super) struct Opened {
    pub(super) config: Arc<Config>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) time_floor: Arc<TimeFloor>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) registry: SharedRegistry,
    pub(super) books: Shared<Books>,
    pub(super) quarantine: Shared<Quarantine>,
    pub(super) quota: Arc<QuarantineQuota>,
    pub(super) store: StoreReader,
    pub(super) journal: LogWriter,
    pub(super) stages: Stages,
    pub(super) retained: RetainedStore,
    pub(super) last_values: LastValues,
    /// Held for as long as the directory is in use.
    pub(super) lock: Box<dyn Any + Send>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("data_dir", &self.config.data_dir).finish_non_exhaustive()
    }
}

impl Opened {
    /// From what `world` has; the real one is [`World::of_machine`].
    pub(super) fn open(config: &Arc<Config>, damage: Damage, world: World) -> Result<Self, EngineError> {
        let World { disk, mut catalogue, clock, sizes, mut new_log_id, readers, lock } = world;
        let mut new_log_id = move || {
            new_log_id()
                .map_err(|source| EngineError::Io { what: "the system's random numbers".to_owned(), source })
        };
        let metrics = Arc::new(Metrics::default());
        let health = Arc::new(Health::default());
        if let Damage::AcceptLostFiles(files) = &damage {
            accept_lost_files(&*disk, &mut *catalogue, files)?;
        }
        let wal_is_empty = catalogue.empty_wal(Duration::ZERO)?;
        let snapshot = catalogue.load()?;
        let registry = registry_of(&snapshot);

        let ballast = Ballast::open(&*disk, BALLAST_FILE, flush_bytes(config, &sizes))
            .map_err(|source| EngineError::Io { what: BALLAST_FILE.to_owned(), source })?;
        let mut ballast = KeeperBallast::new(disk.clone(), ballast);
        let needed = KeeperCursor::of_checkpoint(&snapshot.checkpoint)?.refold_from_record_no;
        let log_config = observations_config(config, &sizes, &damage, new_log_id()?, needed);
        let (last_time_us, observations, mut tail) =
            open_observations(&disk, log_config, needed, &snapshot, &mut ballast)?;
        let mut rebuilt = Rebuilt::new(config, &snapshot);
        let cursor = KeeperCursor::of_checkpoint(&snapshot.checkpoint)?;
        // What the last commits replaced stays, too, while they stand in the write-ahead log.
        let keep_unnamed =
            !wal_is_empty || readers.as_ref().is_some_and(|readers| !readers.while_alone(|| {}));
        let file_no_min = snapshot.lost_files.iter().map(|file| file.file_no + 1).max().unwrap_or(1);
        let store = Store::open(
            disk.clone(),
            StoreConfig { keep_unnamed, file_no_min, ..store_config(config, &sizes) },
            snapshot.files.clone(),
            cursor.store,
            registry.clone(),
            metrics.clone(),
        )?;
        let store_reader = store.reader();
        let books = Arc::new(Mutex::new(Books::new(
            config.books.keys_per_hour_max,
            &snapshot.checkpoint,
            &snapshot.books,
        )));
        let quota = Arc::new(QuarantineQuota::new(
            config.quarantine.client_bytes_max,
            config.quarantine.bytes_max,
            snapshot.quarantine_of_clients.iter().cloned(),
        ));
        metrics.quarantine_bytes.set(quota.bytes() as i64);
        let quarantine = Arc::new(Mutex::new(Quarantine::new(quota.clone(), &snapshot.checkpoint)));
        let progress =
            Arc::new(KeeperProgress::new(if wal_is_empty { cursor.refold_from_record_no } else { 1 }));
        let (to_pipeline, outcomes) = bounded(OUTCOMES_WAITING_MAX);
        let time_floor = Arc::new(TimeFloor::new(config.retention.clock_apart_max_us()));
        let mut keeper = Keeper::new(
            KeeperParts {
                store,
                books: books.clone(),
                quarantine: quarantine.clone(),
                registry: registry.clone(),
                metrics: metrics.clone(),
                states: snapshot.datastream_states.clone(),
                resend: resend_of(config, &snapshot),
                checkpoint: snapshot.checkpoint.clone(),
                refold_from_record_no: cursor.refold_from_record_no,
                wal_is_empty,
                commit_interval_ms: config.store.flush_interval_ms,
                books_days: config.retention.books_days,
                retention_clock: RetentionClock::new(
                    cursor.retention_us,
                    config.retention.clock_leap_max_us(),
                ),
                time_floor: time_floor.clone(),
            },
            catalogue,
            to_pipeline,
            progress.clone(),
        );

        if let Some(readers) = readers {
            keeper.set_readers(readers);
        }
        let same_time = SameTime::new(config.pipeline.same_time_keep.clone());
        let mut hot = hot_rows(&registry, &snapshot.datastream_states, &same_time);
        let mut resend = resend_of(config, &snapshot);
        let mut next_message_no = snapshot.checkpoint.next_message_no;
        let mut next_record_no = snapshot.checkpoint.next_record_no;
        let durable = observations.next_record_no() - 1;
        while let Some(log_frame) = tail.next_frame(durable)? {
            let frame = Arc::new(parse_frame(&log_frame.meta, log_frame.payload)?);
            for definition in &frame.definitions {
                registry.write().unwrap_or_else(PoisonError::into_inner).apply(definition);
            }
            if frame.frame_no > snapshot.checkpoint.observation_frame_no {
                grow_hot_rows(&mut hot, &registry, &same_time);
                fold_hot_rows(&mut hot, &frame)?;
                frame.resend_marks.iter().for_each(|mark| resend.insert(*mark));
                rebuilt.fold(&frame);
                next_message_no = frame.info.next_message_no;
                next_record_no = frame.info.next_record_no;
            } else {
                rebuilt.last_values.apply_reflected(&frame);
            }
            keeper.apply(&frame)?;
        }
        keeper.tell_clock(&*clock);

        let lanes = Lanes::new(LanesConfig {
            shards: config.mqtt.shard_count(),
            buffer_bytes: config.journal.frame_bytes_max as usize,
            buffers_per_shard: BUFFERS_PER_SHARD,
        });
        health.set_budgets(GaugedBudgets::new(
            config,
            metrics.clone(),
            disk.clone(),
            lanes.clone(),
            quota.clone(),
        ));
        let dictionary = Dictionary::new(registry.clone(), dictionary_limits(config));
        let ranks = Ranks::new(config.pipeline.ranks.clone());
        let pipeline = Pipeline::new(
            PipelineStart {
                decoder: MessageDecoder::new(dictionary, hot, resend, time_bounds(config), ranks, same_time),
                retained: rebuilt.pipeline_retained,
                next_message_no,
                next_record_no,
                time_us: last_time_us,
                progress,
                frame_bytes_target: sizes.observation_frame_bytes,
                frame_bytes_max: sizes.observation_frame_bytes_max(config) as usize,
            },
            observations,
            lanes.clone(),
            metrics.clone(),
            health.clone(),
        );
        let log_config = journal_config(config, &sizes, &damage, new_log_id()?, next_record_no);
        let (recovered, journal) = recover_log(&disk, JOURNAL_DIR, &log_config, &mut ballast)?;
        let durable_messages = journal.next_message_no() - 1;
        // A last frame of operators' changes alone has no message; whoever lacks it would give its numbers to others.
        if durable_messages + 1 < next_message_no || journal.next_record_no() < next_record_no {
            return Err(EngineError::JournalBehind {
                journal: durable_messages,
                observed: next_message_no - 1,
            });
        }
        tell_gaps("journal", &recovered);
        if recovered.torn_tail {
            tracing::info!(
                "the journal ended in an unfinished frame, which was never acknowledged; it is gone"
            );
        }
        lanes.positions.durable_messages.store(durable_messages, Ordering::Release);
        lanes.positions.processed_messages.store(next_message_no - 1, Ordering::Release);
        lanes.positions.next_unprocessed_record.store(next_record_no, Ordering::Release);
        lanes.positions.next_durable_record.store(journal.next_record_no(), Ordering::Release);
        metrics.durable_messages.set(durable_messages as i64);
        metrics.processed_messages.set(next_message_no as i64 - 1);
        metrics
            .datastreams
            .set(registry.read().unwrap_or_else(PoisonError::into_inner).datastreams().len() as i64);
        let mut opened = Self {
            config: config.clone(),
            clock,
            time_floor,
            disk: disk.clone(),
            lanes,
            metrics,
            health,
            registry,
            books,
            quarantine,
            quota,
            store: store_reader,
            journal,
            stages: Stages { pipeline, keeper, outcomes, ballast },
            retained: rebuilt.retained,
            last_values: rebuilt.last_values,
            lock,
        };
        let first_record_no = first_unprocessed(next_record_no, &recovered);
        opened.process_journal_tail(&disk, first_record_no)?;
        Ok(opened)
    }

    /// Records that are durable and were not processed when the gateway ended.
    fn process_journal_tail(&mut self, disk: &Arc<dyn Disk>, next_record_no: u64) -> Result<(), EngineError> {
        let durable_records = self.journal.next_record_no() - 1;
        if durable_records < next_record_no {
            return Ok(());
        }
        tracing::info!(from = next_record_no, to = durable_records, "processing the tail of the journal");
        let mut reader =
            LogReader::open(disk.clone(), JOURNAL_DIR, LogKind::Journal, Position::Record(next_record_no))?;
        while let Some(frame) = reader.next_frame(durable_records)? {
            let mut buffer = AlignedBuf::new(frame.payload.len() + crate::log::FRAME_HEADER_LEN);
            // The capacity was asked for with the length.
            let _ = buffer.push(frame.payload);
            let frame = JournalFrame::recovered(frame.meta, buffer);
            let now = self.now();
            let Self { stages, retained, last_values, .. } = self;
            let processed =
                stages.process(&frame, now, &mut |frame| fold_feeds(frame, retained, last_values));
            match processed {
                Err(EngineError::Log(error)) if error.is_backpressure() => {
                    let prepared = stages.pipeline.prepare_step()?;
                    let room = stages.pipeline.segment_room();
                    return Err(EngineError::no_segments(OBSERVATIONS_DIR, prepared, room));
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn now(&self) -> Now {
        Now { receive_us: self.clock.receive_time_us(), monotonic_us: self.clock.monotonic_us() }
    }

    /// Brings everything that is durable into the store, with no thread running.
    pub(super) fn settle(&mut self) -> Result<(), EngineError> {
        let now = self.now();
        let Self { stages, retained, last_values, .. } = self;
        stages.settle(now, &mut |frame| fold_feeds(frame, retained, last_values))
    }

    /// Whether everything durable is committed. A commit that found no space is left undone without an error.
    pub(super) fn is_settled(&self) -> bool {
        let next = self.lanes.positions.next_durable_record.load(Ordering::Acquire);
        self.stages.keeper.progress().next_uncommitted_record() >= next
    }

    /// Two segments of each log stand ready before anybody may connect. Where a log is at its budget or the disk is full, what
    /// the last run left is brought into the store first, and lets go of its segments.
    pub(super) fn prepare_segments(&mut self) -> Result<(), EngineError> {
        if self.try_prepare_segments()?.is_some() {
            self.settle()?;
            // A reader of the catalogue is no reason not to start.
            self.stages.keeper.let_go();
            let next = self.lanes.positions.next_unprocessed_record.load(Ordering::Acquire);
            self.journal.release_before(Position::Record(next));
        }
        match self.try_prepare_segments()? {
            None => {
                self.stages.ballast.restore(self.clock.monotonic_us());
                Ok(())
            }
            Some((log, prepared)) => {
                let room = match log {
                    JOURNAL_DIR => self.journal.segment_room(),
                    _ => self.stages.pipeline.segment_room(),
                };
                Err(EngineError::no_segments(log, prepared, room))
            }
        }
    }

    /// The first log for which there is no room, and what is used up.
    fn try_prepare_segments(&mut self) -> Result<Option<(&'static str, Prepared)>, EngineError> {
        let journal = loop {
            match self.journal.needs_preparation() {
                true => match self.journal.prepare_step()? {
                    Prepared::Progress => {}
                    other => break other,
                },
                false => break Prepared::Ready,
            }
        };
        let observations = loop {
            match self.stages.pipeline.prepare_step()? {
                Prepared::Progress => {}
                other => break other,
            }
        };
        let logs = [(JOURNAL_DIR, journal), (OBSERVATIONS_DIR, observations)];
        Ok(logs.into_iter().find(|(_, prepared)| *prepared != Prepared::Ready))
    }
}

fn registry_of(snapshot: &Snapshot) -> SharedRegistry {
    let mut registry = Registry::default();
    snapshot.definitions.iter().for_each(|definition| registry.apply(definition));
    Arc::new(RwLock::new(registry))
}

/// Where the tail of the journal begins: behind a damaged front whose loss was accepted.
fn first_unprocessed(next_record_no: u64, journal: &Recovered) -> u64 {
    let first_available = journal.first_available_record_no;
    let is_accepted = journal.gaps.iter().any(|gap| gap.last_record_no + 1 == first_available);
    if is_accepted { next_record_no.max(first_available) } else { next_record_no }
}

/// A frame that refers to what is not there was made by another build, or is a bug.
fn fold_hot_rows(hot: &mut [HotRow], frame: &ObservationFrame) -> Result<(), StoreError> {
    for row in &frame.rows {
        let (Some(hot), Some(message)) =
            (hot.get_mut(row.datastream as usize), frame.messages.get(row.message as usize))
        else {
            let what = "has a row of a datastream or message that is not defined";
            return Err(StoreError::MalformedFrame { frame_no: frame.frame_no, what });
        };
        hot.fold(row, message.message_no, message.is_replayed());
    }
    Ok(())
}

/// Recovery may need a segment for the last frame; on a full disk the ballast gives it.
fn recover_log(
    disk: &Arc<dyn Disk>,
    dir: &str,
    config: &LogConfig,
    ballast: &mut KeeperBallast,
) -> Result<(Recovered, LogWriter), LogError> {
    match recover(disk.clone(), dir, config.clone()) {
        Err(LogError::NoSpace { .. }) if ballast.give_away(0) => recover(disk.clone(), dir, config.clone()),
        other => other,
    }
}

/// The observation log's writer, and a reader where the checkpoint needs it; before them the time of the last frame.
fn open_observations(
    disk: &Arc<dyn Disk>,
    log_config: LogConfig,
    needed: u64,
    snapshot: &Snapshot,
    ballast: &mut KeeperBallast,
) -> Result<(i64, LogWriter, LogReader), EngineError> {
    let (recovered, writer) = recover_log(disk, OBSERVATIONS_DIR, &log_config, ballast)?;
    tell_gaps("observation log", &recovered);
    // Frames that the catalogue reflects are not folded again, so their numbers must not be given to others.
    let ends_at = recovered.last.map_or(0, |last| last.frame_no);
    let reflected = snapshot.checkpoint.observation_frame_no;
    if ends_at < reflected {
        return Err(EngineError::ObservationsBehind { ends_at, reflected });
    }
    if recovered.last.is_some() && needed < recovered.first_available_record_no {
        return Err(EngineError::ObservationsMissing { first: recovered.first_available_record_no, needed });
    }
    let reader =
        LogReader::open(disk.clone(), OBSERVATIONS_DIR, LogKind::Observations, Position::Record(needed))?;
    Ok((recovered.last.map_or(0, |last| last.stamp.time_us), writer, reader))
}

/// The log has recorded them; the operator is told once.
fn tell_gaps(log: &str, recovered: &Recovered) {
    for gap in &recovered.new_gaps {
        tracing::warn!(
            first_message_no = gap.first_message_no,
            last_message_no = gap.last_message_no,
            "the {log} goes on without frames {} to {}, as --accept-gap asked for",
            gap.first_frame_no,
            gap.last_frame_no
        );
    }
}
