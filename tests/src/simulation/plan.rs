//! What a seed decides before anything happens.

use std::sync::Arc;

use gateway::config::Config;
use gateway::disk::{Crash, Random};
use gateway::engine::Sizes;
use gateway::engine::simulated::Stage;
use gateway::rules::{Pattern, RankRule};
use gateway::store::StoreConfig;

use super::bugs::Bug;

/// One run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub seed: u64,
    /// Print what happens.
    pub tell: bool,
    pub bug: Option<Bug>,
    /// A crash at that step of the disk, and no other fault: for a sweep over all steps.
    pub crash_at: Option<(u64, Crash)>,
    /// No fault at all: to count the steps of a sweep.
    pub calm: bool,
}

impl Options {
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// What repeats the run and tells it.
    pub fn command(&self) -> String {
        let bug = self.bug.map_or(String::new(), |bug| format!(" --bug {bug:?}"));
        let crash_at = self.crash_at.map_or(String::new(), |(step, crash)| {
            let option = if crash == Crash::Kill { "--kill-at" } else { "--power-loss-at" };
            format!(" {option} {step}")
        });
        let seed = self.seed;
        format!("cargo run --profile e2e -p e2e-tests --bin simulate -- --seed {seed}{bug}{crash_at} -v")
    }

    pub(super) fn has_random_faults(&self) -> bool {
        self.crash_at.is_none() && !self.calm
    }
}

/// How lively a seed is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) lives: u64,
    pub(super) actions_of_a_life: u64,
    pub(super) publish_percent: u64,
    pub(super) drop_percent: u64,
    pub(super) probe_percent: u64,
    pub(super) faults_percent: u64,
    pub(super) full_disk_percent: u64,
    pub(super) damage_percent: u64,
    /// An end of the gateway takes the catalogue's write-ahead log with it.
    pub(super) lost_wal_percent: u64,
    /// Dated messages that are large.
    pub(super) large_percent: u64,
    pub(super) clients: u64,
    /// A stage that hardly ever has a turn, so that what it has not done lies in the logs when the gateway ends.
    pub(super) lazy: Option<Stage>,
    pub(super) rules: Rules,
    /// How long observations of the environment are kept.
    pub(super) kept_days: Option<u32>,
}

/// What the operator says about sources and times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rules {
    #[default]
    None,
    /// Client `cN` has rank N modulo 3.
    Ranks,
    /// Of noise, all readings of one time are kept.
    KeptTimes,
}

impl Rules {
    pub(super) fn rank(self, client: &str) -> u8 {
        let number: u8 = client.trim_start_matches('c').parse().unwrap_or(0);
        if self == Self::Ranks { number % 3 } else { 0 }
    }

    pub(super) fn keeps(self, datastream: &str) -> bool {
        self == Self::KeptTimes && datastream.ends_with("/noise")
    }
}

impl Plan {
    pub(super) fn new(random: &mut Random, options: &Options) -> Self {
        Self {
            lives: if options.has_random_faults() { 1 + random.below(5) } else { 1 },
            actions_of_a_life: 150 + random.below(600),
            publish_percent: 8 + random.below(14),
            drop_percent: random.below(4),
            probe_percent: random.below(12),
            faults_percent: if random.chance(60) { 35 } else { 0 },
            full_disk_percent: if random.chance(30) { 80 } else { 0 },
            damage_percent: if random.chance(40) { 60 } else { 0 },
            lost_wal_percent: if random.chance(50) { 70 } else { 0 },
            large_percent: if random.chance(30) { 50 } else { 10 },
            clients: 2 + random.below(4),
            lazy: match random.below(10) {
                0..3 => Some(Stage::Pipeline),
                3 => Some(Stage::Keeper),
                4 | 5 => Some(Stage::Writer),
                _ => None,
            },
            rules: match random.below(10) {
                0..3 => Rules::Ranks,
                3..6 => Rules::KeptTimes,
                _ => Rules::None,
            },
            kept_days: random.chance(30).then(|| 1 + random.below(2) as u32),
        }
    }
}

/// The same for an operator who set it too narrow.
pub(super) fn strict(config: &Config) -> Arc<Config> {
    let mut config = config.clone();
    config.pipeline.backfill_max_days = 1_000;
    config.pipeline.stations_per_agency_max = 3;
    Arc::new(config)
}

/// Small parts, so that segments are recycled, files merged and bounds reached after a few messages.
pub(super) fn config(random: &mut Random, plan: &Plan, bug: Option<Bug>) -> (Arc<Config>, Sizes) {
    let mut config = Config::default();
    match plan.rules {
        _ if bug == Some(Bug::RulesForgotten) => {}
        Rules::None => {}
        Rules::Ranks => {
            config.pipeline.ranks =
                (0..3).map(|rank| RankRule { client: Pattern::new(&format!("c{rank}")), rank }).collect();
            let again = (3..6)
                .map(|number| RankRule { client: Pattern::new(&format!("c{number}*")), rank: number - 3 });
            config.pipeline.ranks.extend(again);
        }
        Rules::KeptTimes => config.pipeline.same_time_keep = vec![Pattern::new("*/noise")],
    }
    config.retention.environment_days = plan.kept_days.unwrap_or(0);
    if random.chance(40) {
        config.mqtt.hold_bytes_max = random.below(2) as usize * (4 << 10);
        config.mqtt.hold_pool_bytes_max = config.mqtt.hold_bytes_max + (4 << 10);
        config.mqtt.hold_ms_max = 100 + random.below(300);
    }
    if random.chance(20) {
        config.quarantine.client_bytes_max = 200 + random.below(800);
    }
    config.mqtt.shards = 1 + random.below(2) as usize;
    config.mqtt.packet_bytes_max = 4 << 10;
    config.mqtt.session_queue_bytes_max = 64 << 10;
    config.mqtt.receive_max = 8 + random.below(20) as u16;
    config.journal.sync_gap_us = if random.chance(50) { 0 } else { 1_000 };
    config.journal.frame_bytes_max = 12 << 10;
    config.journal.segment_bytes_max = (4 + random.below(10)) * (4 << 10) + (4 << 10);
    let observation_frame_bytes = (1 + random.below(8) as usize) << 10;
    let observation_segment = 4 * config.observation_frame_bytes_max_of(observation_frame_bytes as u64);
    config.journal.log_bytes_max = (4 + random.below(5)) * observation_segment.max(64 << 10);
    config.store.flush_interval_ms = 50 + random.below(1_000);
    config.store.flush_rows_max = 5 + random.below(60) as usize;
    config.store.rows_in_memory_max = config.store.flush_rows_max * (1 + random.below(4) as usize);
    config.store.late_rows_max = 4 + random.below(60) as usize;
    let sizes = Sizes {
        observation_frame_bytes,
        commit_bytes: 64 << 10,
        store: StoreConfig {
            late_interval_ms: random.below(300),
            partition_rows_min: 1 + random.below(6),
            compaction_files_min: 2 + random.below(3) as usize,
            reader_grace_ms: random.below(500),
            scan_rows_max: 3 + random.below(50) as usize,
            ..StoreConfig::default()
        },
    };
    (Arc::new(config), sizes)
}
