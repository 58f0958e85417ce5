//! From a data directory to stages that can run: database, then the tails of both logs.
//!
//! 1. The directory's lock, so that nobody else writes.
//! 2. The catalogue's snapshot: names, states, books, files, and the checkpoint they reflect.
//! 3. The observation log from where the checkpoint needs it: folded into everything.
//! 4. The journal from the first message that no observation frame covers: run through the pipeline.
//!
//! Nothing listens yet, so nobody sees a state in between.

use std::fs::{File, TryLockError};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use codecs::property_catalogue;
use crossbeam::channel::{Receiver, Sender, bounded};

use super::EngineError;
use crate::books::Books;
use crate::catalogue::{Catalogue, DatastreamState, Snapshot, SqliteCatalogue};
use crate::cli::Damage;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::disk::{Ballast, Disk, OsDisk};
use crate::feeds::{LastValue, LastValues, RetainedStore};
use crate::health::Health;
use crate::journal::{JournalFrame, Lanes, LanesConfig};
use crate::keeper::{Keeper, KeeperBallast, KeeperCursor, KeeperParts, Shared};
use crate::log::{
    AlignedBuf, LogConfig, LogId, LogKind, LogReader, LogWriter, Position, Prepared, Recovered, recover,
};
use crate::metrics::Metrics;
use crate::observation::{ObservationFrame, Outcome, parse_frame};
use crate::pipeline::dictionary::{Dictionary, DictionaryLimits};
use crate::pipeline::hot::HotRow;
use crate::pipeline::resend::ResendWindow;
use crate::pipeline::stage::{Go, PipelineStart};
use crate::pipeline::{KeeperProgress, MessageDecoder, ObservationConsumer, Pipeline, TimeBounds};
use crate::registry::{Registry, SharedRegistry};
use crate::retained::RetainedBudget;
use crate::sinks::Quarantine;
use crate::store::{Store, StoreConfig, StoreReader};

pub(super) const JOURNAL_DIR: &str = "journal";
const OBSERVATIONS_DIR: &str = "observations";
const LOCK_FILE: &str = "lock";
const BALLAST_FILE: &str = "ballast";
/// Room for a flush and the commit that lets go of the logs.
const BALLAST_BYTES: u64 = 16 << 20;

/// Buffers of a shard: being filled, being written, and in flight behind the writer.
pub(super) const BUFFERS_PER_SHARD: usize = 16;
/// Observation frames that wait for the keeper, and for the router.
pub(super) const OBSERVATION_FRAMES_WAITING_MAX: usize = 16;
/// Batches of outcomes that wait for the pipeline; the store has one out at a time.
const OUTCOMES_WAITING_MAX: usize = 1;
const AGENCIES_MAX: u32 = 10_000;
/// Different statuses and units of the whole gateway.
const SYMBOLS_MAX: u32 = 65_536;

/// Everything of a data directory, ready to run.
pub(super) struct Opened {
    pub(super) config: Arc<Config>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) registry: SharedRegistry,
    pub(super) books: Shared<Books>,
    pub(super) quarantine: Shared<Quarantine>,
    pub(super) store: StoreReader,
    pub(super) journal: LogWriter,
    pub(super) stages: Stages,
    pub(super) ballast: KeeperBallast,
    pub(super) retained: RetainedStore,
    pub(super) last_values: LastValues,
    /// Observation frames for the router.
    pub(super) router_frames: Receiver<Arc<ObservationFrame>>,
    /// Held for as long as the directory is in use.
    pub(super) lock: File,
}

/// Pipeline and keeper with the queues between them.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) pipeline: Pipeline,
    pub(super) keeper: Keeper,
    pub(super) keeper_frames: Receiver<Arc<ObservationFrame>>,
    pub(super) outcomes: Receiver<Vec<Outcome>>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("data_dir", &self.config.data_dir).finish_non_exhaustive()
    }
}

impl Opened {
    pub(super) fn open(config: &Arc<Config>, damage: Damage) -> Result<Self, EngineError> {
        let lock = lock_data_dir(config)?;
        let disk: Arc<dyn Disk> = Arc::new(
            OsDisk::open(&config.data_dir)
                .map_err(|source| EngineError::Io { what: config.data_dir.display().to_string(), source })?,
        );
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let metrics = Arc::new(Metrics::default());
        let health = Arc::new(Health::default());
        let mut catalogue = SqliteCatalogue::open(&config.data_dir)?;
        let snapshot = catalogue.load()?;
        let registry = registry_of(&snapshot);

        let (observations, mut tail) = open_observations(&disk, config, damage, &snapshot)?;
        let mut rebuilt = Rebuilt::new(config, &snapshot);
        let cursor = KeeperCursor::of_checkpoint(&snapshot.checkpoint)?;
        let store = Store::open(
            disk.clone(),
            store_config(config),
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
        let quarantine =
            Arc::new(Mutex::new(Quarantine::new(config.quarantine.bytes_max, &snapshot.checkpoint)));
        let progress = Arc::new(KeeperProgress::new(cursor.refold_from_record_no));
        let (to_pipeline, outcomes) = bounded(OUTCOMES_WAITING_MAX);
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
                commit_interval_ms: config.store.flush_interval_ms,
            },
            Box::new(catalogue),
            to_pipeline,
            progress.clone(),
        );

        let mut hot = hot_rows(&registry, &snapshot.datastream_states);
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
                grow_hot_rows(&mut hot, &registry);
                for row in &frame.rows {
                    hot[row.datastream as usize].fold(row, frame.messages[row.message as usize].message_no);
                }
                frame.resend_marks.iter().for_each(|mark| resend.insert(*mark));
                rebuilt.fold(&frame);
                next_message_no = frame.info.next_message_no;
                next_record_no = frame.info.next_record_no;
            }
            keeper.apply(&frame)?;
        }

        let lanes = Lanes::new(LanesConfig {
            shards: config.mqtt.shard_count(),
            buffer_bytes: config.journal.frame_bytes_max as usize,
            buffers_per_shard: BUFFERS_PER_SHARD,
        });
        let (keeper_sender, keeper_frames) = bounded(OBSERVATION_FRAMES_WAITING_MAX);
        let (router_sender, router_frames) = bounded(OBSERVATION_FRAMES_WAITING_MAX);
        let dictionary = Dictionary::new(registry.clone(), dictionary_limits(config));
        let pipeline = Pipeline::new(
            PipelineStart {
                decoder: MessageDecoder::new(dictionary, hot, resend, time_bounds(config)),
                retained: rebuilt.pipeline_retained,
                next_message_no,
                next_record_no,
                progress,
                frame_bytes_max: observation_frame_bytes_max(config) as usize,
            },
            observations,
            vec![Box::new(FrameSender(keeper_sender)), Box::new(FrameSender(router_sender))],
            lanes.clone(),
            metrics.clone(),
            health.clone(),
        );
        let journal_config = log_config(config, LogKind::Journal, damage, config.journal.frame_bytes_max)?;
        let (recovered, journal) = recover(disk.clone(), JOURNAL_DIR, journal_config)?;
        let durable_messages = journal.next_message_no() - 1;
        if durable_messages + 1 < next_message_no {
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
        metrics.durable_messages.set(durable_messages as i64);
        metrics.processed_messages.set(next_message_no as i64 - 1);
        metrics
            .datastreams
            .set(registry.read().unwrap_or_else(PoisonError::into_inner).datastreams().len() as i64);
        let ballast = Ballast::open(&*disk, BALLAST_FILE, BALLAST_BYTES)
            .map_err(|source| EngineError::Io { what: BALLAST_FILE.to_owned(), source })?;
        let mut opened = Self {
            config: config.clone(),
            clock,
            disk: disk.clone(),
            lanes,
            metrics,
            health,
            registry,
            books,
            quarantine,
            store: store_reader,
            journal,
            ballast: KeeperBallast::new(disk.clone(), ballast),
            stages: Stages { pipeline, keeper, keeper_frames, outcomes },
            retained: rebuilt.retained,
            last_values: rebuilt.last_values,
            router_frames,
            lock,
        };
        opened.process_journal_tail(&disk, next_message_no, durable_messages)?;
        Ok(opened)
    }

    /// Messages that are durable and were not processed when the gateway ended.
    fn process_journal_tail(
        &mut self,
        disk: &Arc<dyn Disk>,
        next_message_no: u64,
        durable_messages: u64,
    ) -> Result<(), EngineError> {
        if durable_messages < next_message_no {
            return Ok(());
        }
        tracing::info!(from = next_message_no, to = durable_messages, "processing the tail of the journal");
        let mut reader =
            LogReader::open(disk.clone(), JOURNAL_DIR, LogKind::Journal, Position::Message(next_message_no))?;
        let durable_records = self.journal.next_record_no() - 1;
        while let Some(frame) = reader.next_frame(durable_records)? {
            let mut buffer = AlignedBuf::new(frame.payload.len() + crate::log::FRAME_HEADER_LEN);
            // The capacity was asked for with the length.
            let _ = buffer.push(frame.payload);
            let frame = JournalFrame::recovered(frame.meta, buffer);
            self.stages.pipeline.step(&frame, &mut no_waiting)?;
            self.stages.pipeline.close(&mut no_waiting)?;
            self.stages.keep_up(self.clock.receive_time_us())?;
            self.drain_feeds();
        }
        Ok(())
    }

    /// Takes in what the pipeline made for the router while no router runs.
    fn drain_feeds(&mut self) {
        while let Ok(frame) = self.router_frames.try_recv() {
            fold_feeds(&frame, &mut self.retained, &mut self.last_values);
        }
    }

    /// Brings everything that is durable into the store, with no thread running.
    pub(super) fn settle(&mut self) -> Result<(), EngineError> {
        let now_us = self.clock.receive_time_us();
        let Self { stages, router_frames, retained, last_values, .. } = self;
        stages.settle(now_us, &mut || {
            while let Ok(frame) = router_frames.try_recv() {
                fold_feeds(&frame, retained, last_values);
            }
        })
    }

    /// Two segments of each log stand ready before anybody may connect.
    pub(super) fn prepare_segments(&mut self) -> Result<(), EngineError> {
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
        for (log, prepared) in [(JOURNAL_DIR, journal), (OBSERVATIONS_DIR, observations)] {
            if prepared != Prepared::Ready {
                return Err(EngineError::NoSegments { log });
            }
        }
        Ok(())
    }
}

impl Stages {
    /// Hands on what the pipeline made while no thread runs.
    fn drain(&mut self) -> Result<(), EngineError> {
        while let Ok(frame) = self.keeper_frames.try_recv() {
            self.keeper.apply(&frame)?;
        }
        Ok(())
    }

    /// What the keeper's thread would do meanwhile: the tail may be longer than memory is large.
    fn keep_up(&mut self, now_us: i64) -> Result<(), EngineError> {
        self.drain()?;
        match self.keeper.step(now_us) {
            Err(error) if error.is_backpressure() => tracing::warn!("no flush is possible: {error}"),
            other => other?,
        }
        if let Ok(outcomes) = self.outcomes.try_recv() {
            self.pipeline.step_outcomes(outcomes, &mut no_waiting)?;
            self.drain()?;
        }
        Ok(())
    }

    /// Late rows classified, files written, one commit. Without space it stays in the logs, where the next start finds
    /// it. `between` is called after each step, for others who wait for frames.
    pub(super) fn settle(&mut self, now_us: i64, between: &mut dyn FnMut()) -> Result<(), EngineError> {
        loop {
            while let Ok(outcomes) = self.outcomes.try_recv() {
                match self.pipeline.step_outcomes(outcomes, &mut no_waiting) {
                    Err(error) if error.is_backpressure() => {
                        tracing::warn!("late rows have to wait for the next start: {error}");
                        return Ok(());
                    }
                    other => other?,
                }
            }
            self.drain()?;
            between();
            if !self.keeper.classify_all(now_us)? && self.outcomes.is_empty() {
                break;
            }
        }
        match self.keeper.commit_due(now_us, true) {
            Err(error) if error.is_backpressure() => {
                tracing::warn!("the last flush has to wait for the next start: {error}");
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

/// What feeds and retained messages are rebuilt from.
struct Rebuilt {
    retained: RetainedStore,
    pipeline_retained: RetainedBudget,
    last_values: LastValues,
}

impl Rebuilt {
    fn new(config: &Config, snapshot: &Snapshot) -> Self {
        let budget =
            || RetainedBudget::new(config.mqtt.retained_messages_max, config.mqtt.retained_bytes_max);
        let mut rebuilt = Self {
            retained: RetainedStore::new(budget()),
            pipeline_retained: budget(),
            last_values: LastValues::default(),
        };
        for change in &snapshot.retained {
            rebuilt.retained.restore(change);
            rebuilt.pipeline_retained.admit(&change.topic, change.properties.len(), change.payload.len());
        }
        for (datastream, state) in &snapshot.datastream_states {
            if let Some(value) = LastValue::of_state(state) {
                rebuilt.last_values.set(*datastream, value);
            }
        }
        rebuilt
    }

    fn fold(&mut self, frame: &ObservationFrame) {
        fold_feeds(frame, &mut self.retained, &mut self.last_values);
        for change in &frame.retained {
            self.pipeline_retained.admit(&change.topic, change.properties.len(), change.payload.len());
        }
    }
}

fn fold_feeds(frame: &ObservationFrame, retained: &mut RetainedStore, last_values: &mut LastValues) {
    frame.retained.iter().for_each(|change| retained.restore(change));
    frame.rows.iter().for_each(|row| last_values.fold(frame, row));
}

/// While no thread runs nobody makes space, so waiting for it is no use.
fn no_waiting() -> Go {
    Go::Stop
}

struct FrameSender(Sender<Arc<ObservationFrame>>);

impl ObservationConsumer for FrameSender {
    fn accept(&mut self, frame: &Arc<ObservationFrame>) {
        // A consumer that is gone was stopped; what it misses is in the log.
        let _ = self.0.send(frame.clone());
    }
}

fn lock_data_dir(config: &Config) -> Result<File, EngineError> {
    let data_dir = &config.data_dir;
    let io = |source| EngineError::Io { what: data_dir.display().to_string(), source };
    std::fs::create_dir_all(data_dir).map_err(io)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(data_dir.join(LOCK_FILE))
        .map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(EngineError::Locked { data_dir: data_dir.display().to_string() })
        }
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn registry_of(snapshot: &Snapshot) -> SharedRegistry {
    let mut registry = Registry::default();
    snapshot.definitions.iter().for_each(|definition| registry.apply(definition));
    Arc::new(RwLock::new(registry))
}

/// The observation log's writer, and a reader where the checkpoint needs it.
fn open_observations(
    disk: &Arc<dyn Disk>,
    config: &Config,
    damage: Damage,
    snapshot: &Snapshot,
) -> Result<(LogWriter, LogReader), EngineError> {
    let log_config = log_config(config, LogKind::Observations, damage, observation_frame_bytes_max(config))?;
    let (recovered, writer) = recover(disk.clone(), OBSERVATIONS_DIR, log_config)?;
    tell_gaps("observation log", &recovered);
    // Frames that the catalogue reflects are not folded again, so their numbers must not be given to others.
    let ends_at = recovered.last.map_or(0, |last| last.frame_no);
    let reflected = snapshot.checkpoint.observation_frame_no;
    if ends_at < reflected {
        return Err(EngineError::ObservationsBehind { ends_at, reflected });
    }
    let needed = KeeperCursor::of_checkpoint(&snapshot.checkpoint)?.refold_from_record_no;
    if recovered.last.is_some() && needed < recovered.first_available_record_no {
        return Err(EngineError::ObservationsMissing { first: recovered.first_available_record_no, needed });
    }
    let reader =
        LogReader::open(disk.clone(), OBSERVATIONS_DIR, LogKind::Observations, Position::Record(needed))?;
    Ok((writer, reader))
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

/// Largest observation frame: what closes a frame (1 MiB), one message of the largest size behind it, quarantined and
/// retained at once, and its rows and definitions.
pub(super) fn observation_frame_bytes_max(config: &Config) -> u64 {
    (2 * (1 << 20) + 3 * config.mqtt.packet_bytes_max as u64)
        .next_multiple_of(crate::disk::BLOCK_BYTES as u64)
}

fn log_config(
    config: &Config,
    kind: LogKind,
    damage: Damage,
    frame_bytes_max: u64,
) -> Result<LogConfig, EngineError> {
    let new_log_id = LogId::random()
        .map_err(|source| EngineError::Io { what: "the system's random numbers".to_owned(), source })?;
    Ok(LogConfig {
        segment_bytes: config.journal.segment_bytes_max.max(4 * frame_bytes_max),
        frame_bytes_max,
        log_bytes_max: config.journal.log_bytes_max,
        accept_gap: damage == Damage::AcceptGap,
        ..LogConfig::new(kind, new_log_id)
    })
}

fn store_config(config: &Config) -> StoreConfig {
    StoreConfig {
        flush_interval_ms: config.store.flush_interval_ms,
        flush_rows_max: config.store.flush_rows_max as u64,
        rows_in_memory_max: config.store.rows_in_memory_max as u64,
        late_rows_max: config.store.late_rows_max as u64,
        ..StoreConfig::default()
    }
}

fn dictionary_limits(config: &Config) -> DictionaryLimits {
    DictionaryLimits {
        clients_max: config.pipeline.clients_max,
        agencies_max: AGENCIES_MAX,
        stations_per_agency_max: config.pipeline.stations_per_agency_max,
        datastreams_per_station_max: config.pipeline.datastreams_per_station_max,
        datastreams_max: config.pipeline.datastreams_max,
        symbols_max: SYMBOLS_MAX,
    }
}

fn time_bounds(config: &Config) -> TimeBounds {
    TimeBounds {
        backfill_max_us: i64::from(config.pipeline.backfill_max_days) * 86_400_000_000,
        clock_skew_max_us: i64::from(config.pipeline.clock_skew_max_s) * 1_000_000,
    }
}

fn resend_of(config: &Config, snapshot: &Snapshot) -> ResendWindow {
    let mut window = ResendWindow::new(config.pipeline.resend_window);
    snapshot.resend_marks.iter().for_each(|mark| window.insert(*mark));
    window
}

fn hot_rows(registry: &SharedRegistry, states: &[(u32, DatastreamState)]) -> Vec<HotRow> {
    let mut hot = Vec::new();
    grow_hot_rows(&mut hot, registry);
    for (datastream, state) in states {
        let Some(row) = hot.get_mut(*datastream as usize) else { continue };
        row.watermark_us = state.watermark_us;
        row.value = state.value;
        row.kind = state.kind;
        row.status = state.status;
        row.unit = state.unit;
        row.ordinal = state.ordinal;
        row.watermark_message = state.position;
        row.last_message = state.position;
        if state.last_undated_us != 0 {
            row.last_undated_us = state.last_undated_us;
        }
    }
    hot
}

/// A hot row for every datastream that the registry knows.
fn grow_hot_rows(hot: &mut Vec<HotRow>, registry: &SharedRegistry) {
    let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
    for datastream in &registry.datastreams()[hot.len()..] {
        let entry = property_catalogue::property(codecs::name::base(&datastream.property));
        hot.push(HotRow::new(datastream.unit, entry.and_then(|entry| entry.plausible)));
    }
}
