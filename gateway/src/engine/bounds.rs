//! What the configuration means for the parts: their sizes, their limits, and the space that is kept free for them.

use std::sync::Arc;

use crate::cli::Damage;
use crate::config::Config;
use crate::log::{JOURNAL_DIR, LogConfig, LogId, LogKind, Position};
use crate::pipeline::TimeBounds;
use crate::pipeline::dictionary::DictionaryLimits;
use crate::pipeline::stage::FRAME_BYTES_TARGET;
use crate::store::StoreConfig;

const AGENCIES_MAX: u32 = 10_000;
/// Different statuses and units of the whole gateway.
const SYMBOLS_MAX: u32 = 65_536;
/// Text results that wait for a flush; more do not wait for its time.
pub(super) const TEXT_BYTES_IN_MEMORY_MAX: u64 = 4 << 20;

/// Sizes that are no settings. A simulation makes them small, so that what is rare happens often.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// An observation frame is closed when it has come to this much.
    pub observation_frame_bytes: usize,
    /// What one commit writes beside rows.
    pub commit_bytes: u64,
    /// What of the store's sizes is not in the configuration.
    pub store: StoreConfig,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            observation_frame_bytes: FRAME_BYTES_TARGET,
            commit_bytes: COMMIT_BYTES,
            store: StoreConfig::default(),
        }
    }
}

impl Sizes {
    pub(super) fn observation_frame_bytes_max(&self, config: &Config) -> u64 {
        config.observation_frame_bytes_max_of(self.observation_frame_bytes as u64)
    }
}

/// What one commit writes beside rows: entries of the quarantine (8 MiB), retained messages (4 MiB), texts (4 MiB); each may
/// be passed by what is on its way, and the rest of a transaction (names, states, books) is small against the rows' share.
const COMMIT_BYTES: u64 = 16 << 20;
const _: () = assert!(
    crate::sinks::PENDING_BYTES_MAX
        + crate::keeper::RETAINED_PENDING_BYTES_MAX as u64
        + TEXT_BYTES_IN_MEMORY_MAX
        <= COMMIT_BYTES
);
/// What a row takes in a store file, generously.
const FILE_BYTES_PER_ROW: u64 = 32;

/// Space that the next flush and its commit may take, which is what lets go of log segments: the size of the ballast, and what
/// a log leaves free when it makes a segment. A flush has `store.flush_rows_max` rows and what was on its way when it was due:
/// once it failed, the pipeline holds. With the defaults 32 MiB; a small disk takes a smaller `store.flush_rows_max`.
pub(super) fn flush_bytes(config: &Config, sizes: &Sizes) -> u64 {
    let rows = config.store.flush_rows_max as u64;
    (sizes.commit_bytes + rows * FILE_BYTES_PER_ROW).next_multiple_of(1 << 20)
}

/// Space that settling a directory may take without a gateway, generously: all rows that may wait in memory, two commits, what a
/// log and a flush leave free, and a segment of either log.
pub(super) fn settling_bytes(config: &Config, sizes: &Sizes) -> u64 {
    let rows = (config.store.rows_in_memory_max + config.store.late_rows_max) as u64;
    rows * FILE_BYTES_PER_ROW
        + 2 * sizes.commit_bytes
        + flush_bytes(config, sizes)
        + config.journal.segment_bytes_max
        + config.observation_segment_bytes()
}

/// For questions to a directory without a gateway, whose settings may not be at hand: new segments are as large as those
/// that are there, so that a small disk is not filled by a question.
pub(super) fn segments_as_found(mut config: Arc<Config>) -> Arc<Config> {
    let segments = std::fs::read_dir(config.data_dir.join(JOURNAL_DIR)).into_iter().flatten().flatten();
    let newest = segments
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .max();
    let found = newest.and_then(|path| path.metadata().ok()).map_or(0, |metadata| metadata.len());
    // A file that cannot be a segment is for recovery to tell.
    if found % 4_096 == 0 && found > config.journal.frame_bytes_max + 4_096 {
        Arc::make_mut(&mut config).journal.segment_bytes_max = found;
    }
    config
}

/// Records below `needed_from` are processed.
pub(super) fn journal_config(
    config: &Config,
    sizes: &Sizes,
    damage: &Damage,
    id: LogId,
    needed_from: u64,
) -> LogConfig {
    LogConfig {
        segment_bytes: config.journal.segment_bytes_max,
        frame_bytes_max: config.journal.frame_bytes_max,
        // For operators' changes while there is no room for messages: two frames of the largest size.
        reserve_bytes: (2 * config.journal.frame_bytes_max).min(config.journal.segment_bytes_max / 2),
        needed_from: Some(Position::Record(needed_from)),
        ..log_config(config, sizes, LogKind::Journal, damage, id)
    }
}

/// Whatever stands in the observation log from `needed_from_record_no` on has not reached the store.
pub(super) fn observations_config(
    config: &Config,
    sizes: &Sizes,
    damage: &Damage,
    id: LogId,
    needed_from_record_no: u64,
) -> LogConfig {
    let frame_bytes_max = sizes.observation_frame_bytes_max(config);
    let segment_bytes = config.journal.segment_bytes_max.max(4 * frame_bytes_max);
    LogConfig {
        segment_bytes,
        frame_bytes_max,
        // For outcomes (24 bytes each): as many as rows (48 bytes) can stand in the oldest segment and keep it.
        reserve_bytes: segment_bytes / 2,
        indispensable_from_record_no: needed_from_record_no,
        needed_from: Some(Position::Record(needed_from_record_no)),
        ..log_config(config, sizes, LogKind::Observations, damage, id)
    }
}

fn log_config(config: &Config, sizes: &Sizes, kind: LogKind, damage: &Damage, id: LogId) -> LogConfig {
    LogConfig {
        log_bytes_max: config.journal.log_bytes_max,
        free_bytes_min: flush_bytes(config, sizes),
        accept_gap: *damage == Damage::AcceptGap,
        ..LogConfig::new(kind, id)
    }
}

pub(super) fn store_config(config: &Config, sizes: &Sizes) -> StoreConfig {
    StoreConfig {
        flush_interval_ms: config.store.flush_interval_ms,
        flush_rows_max: config.store.flush_rows_max as u64,
        rows_in_memory_max: config.store.rows_in_memory_max as u64,
        late_rows_max: config.store.late_rows_max as u64,
        text_bytes_in_memory_max: TEXT_BYTES_IN_MEMORY_MAX,
        free_bytes_min: flush_bytes(config, sizes),
        retention: config.retention.spans(),
        ..sizes.store.clone()
    }
}

pub(super) fn dictionary_limits(config: &Config) -> DictionaryLimits {
    DictionaryLimits {
        clients_max: config.pipeline.clients_max,
        agencies_max: AGENCIES_MAX,
        stations_per_agency_max: config.pipeline.stations_per_agency_max,
        datastreams_per_station_max: config.pipeline.datastreams_per_station_max,
        datastreams_max: config.pipeline.datastreams_max,
        symbols_max: SYMBOLS_MAX,
    }
}

pub(super) fn time_bounds(config: &Config) -> TimeBounds {
    TimeBounds {
        backfill_max_us: i64::from(config.pipeline.backfill_max_days) * 86_400_000_000,
        clock_skew_max_us: i64::from(config.pipeline.clock_skew_max_s) * 1_000_000,
        retention: config.retention.spans(),
    }
}
