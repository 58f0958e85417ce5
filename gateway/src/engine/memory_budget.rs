//! The memory budget: a sum of named parts, each with the setting that bounds it (P8). Printed at start.
//!
//! A start that waits for space, and a question on a disk that cannot be written, read a copy in memory instead: what the overlay
//! takes (512 MiB) and the catalogue's copy (1 GiB) is theirs alone and no part of the sum.

use crate::config::Config;
use crate::feeds::{LastValue, UNRESOLVED_VALUES_MAX};
use crate::journal::CONTROL_BUFFERS;
use crate::pipeline::hot::HotRow;
use crate::pipeline::stage::FRAME_BYTES_TARGET;
use crate::quarantine_quota::QUOTA_CLIENTS_MAX;
use crate::sinks::PENDING_BYTES_MAX;
use crate::store::{COMPACTION_ROWS_MAX, COMPACTION_TEXT_BYTES_MAX};

use super::bounds::TEXT_BYTES_IN_MEMORY_MAX;
use super::open::{BUFFERS_PER_SHARD, OBSERVATION_FRAMES_WAITING_MAX};
use crate::observation::Row;

/// One part of the budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: &'static str,
    /// What bounds it.
    pub(super) setting: String,
    pub(super) bytes: u64,
}

/// What a row takes in memory until it is flushed, and again while a flush sorts it.
const ROW_BYTES: u64 = 2 * 72;
/// A row while files are merged, and its place in their order.
const COMPACTION_ROW_BYTES: u64 = 64 + 16;
/// A late row with its place in the buffer.
const LATE_ROW_BYTES: u64 = 112;
/// The catalogue's state of a datastream, and its names in the registry and the dictionary.
const DATASTREAM_STATE_BYTES: u64 = 144;
const DATASTREAM_NAME_BYTES: u64 = 300;
/// A connection with its session, idle and without TLS (P8 allows 4 KiB).
const CONNECTION_BYTES: u64 = 1 << 10;

/// What the list of stations takes per datastream, where a station has five.
const STATION_LIST_BYTES: u64 = 48;
/// A reading with its place in the queue, and a text.
const UNRESOLVED_VALUE_BYTES: usize = size_of::<LastValue>() + 64;
/// A client in the quarantine's quota, beside its name.
const QUOTA_CLIENT_BYTES: u64 = 48;
/// Footers of 256 files with eight row groups each.
const STORE_FOOTERS_BYTES: u64 = 32 << 20;
/// A full queue of events, most of them shared.
const LISTENER_BYTES: u64 = 512 << 10;
/// Frames on their way to listeners.
const TAP_FRAMES_MAX: u64 = 4;

pub(super) fn parts(config: &Config) -> Vec<Part> {
    let part = |name, setting: &str, bytes| Part { name, setting: setting.to_owned(), bytes };
    let shards = config.mqtt.shard_count() as u64;
    let datastream_bytes = size_of::<HotRow>() as u64
        + size_of::<LastValue>() as u64
        + DATASTREAM_STATE_BYTES
        + DATASTREAM_NAME_BYTES;
    vec![
        part(
            "journal buffers",
            &format!(
                "journal.frame_bytes_max × {BUFFERS_PER_SHARD} per shard, × {CONTROL_BUFFERS} for operators' changes"
            ),
            (shards * BUFFERS_PER_SHARD as u64 + CONTROL_BUFFERS as u64) * config.journal.frame_bytes_max,
        ),
        part("connections", "mqtt.connections_max", config.mqtt.connections_max as u64 * CONNECTION_BYTES),
        part(
            "incomplete packets",
            "mqtt.partial_bytes_max per shard",
            shards * config.mqtt.partial_bytes_max as u64,
        ),
        part(
            "messages that wait for the journal",
            "mqtt.hold_pool_bytes_max per shard",
            shards * config.mqtt.hold_pool_bytes_max as u64,
        ),
        part("wills", "mqtt.will_bytes_max per shard", shards * config.mqtt.will_bytes_max as u64),
        part("retained messages", "mqtt.retained_bytes_max", config.mqtt.retained_bytes_max as u64),
        part(
            "observation frames",
            &format!("two queues of {OBSERVATION_FRAMES_WAITING_MAX} frames, mqtt.packet_bytes_max"),
            2 * OBSERVATION_FRAMES_WAITING_MAX as u64 * config.observation_frame_bytes_max(),
        ),
        part(
            "datastreams",
            "pipeline.datastreams_max",
            u64::from(config.pipeline.datastreams_max) * datastream_bytes,
        ),
        part(
            "rows not flushed",
            "store.rows_in_memory_max and what is on its way",
            (config.store.rows_in_memory_max as u64 + rows_on_their_way(config)) * ROW_BYTES,
        ),
        part("late rows", "store.late_rows_max", config.store.late_rows_max as u64 * LATE_ROW_BYTES),
        part(
            "retained feed values that wait for an outcome",
            &format!("{UNRESOLVED_VALUES_MAX} readings"),
            (UNRESOLVED_VALUES_MAX * UNRESOLVED_VALUE_BYTES) as u64,
        ),
        part(
            "compaction",
            "rows and texts of one merge",
            COMPACTION_ROWS_MAX * COMPACTION_ROW_BYTES + COMPACTION_TEXT_BYTES_MAX as u64,
        ),
        part(
            "texts not flushed",
            &format!("{} MiB, and as much for late rows", (2 * TEXT_BYTES_IN_MEMORY_MAX) >> 20),
            4 * TEXT_BYTES_IN_MEMORY_MAX,
        ),
        part("quarantine not committed", &format!("{} MiB", PENDING_BYTES_MAX >> 20), PENDING_BYTES_MAX),
        part(
            "quarantine quota",
            &format!("{QUOTA_CLIENTS_MAX} clients, mqtt.client_id_bytes_max"),
            QUOTA_CLIENTS_MAX as u64 * (QUOTA_CLIENT_BYTES + config.mqtt.client_id_bytes_max as u64),
        ),
        part(
            "station list",
            "pipeline.datastreams_max",
            u64::from(config.pipeline.datastreams_max) * STATION_LIST_BYTES,
        ),
        part("store footers", "256 files", STORE_FOOTERS_BYTES),
        part(
            "listeners to events",
            "http.event_listeners_max",
            config.http.event_listeners_max as u64 * LISTENER_BYTES
                + TAP_FRAMES_MAX * config.observation_frame_bytes_max(),
        ),
    ]
}

/// Rows that still come when the keeper says that it is full: those of the queued frames, and of one journal frame, in which
/// a reading takes 8 bytes at least.
fn rows_on_their_way(config: &Config) -> u64 {
    let queued = OBSERVATION_FRAMES_WAITING_MAX as u64 * FRAME_BYTES_TARGET as u64 / size_of::<Row>() as u64;
    queued + config.journal.frame_bytes_max / 8
}

/// The sum, then a line for each part, the largest first. What waits for subscribers comes on top: it exists only while they
/// are slow.
pub(super) fn log(config: &Config) {
    for line in lines(config) {
        tracing::info!("{line}");
    }
}

fn lines(config: &Config) -> Vec<String> {
    const MIB: u64 = 1 << 20;
    let mut parts = parts(config);
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let sum: u64 = parts.iter().map(|part| part.bytes).sum();
    let subscriber_kib = config.mqtt.session_queue_bytes_max >> 10;
    let head = format!(
        "memory budget: {} MiB at most, and {subscriber_kib} KiB for each subscriber that is slow \
         (mqtt.session_queue_bytes_max)",
        sum.div_ceil(MIB)
    );
    let rows = parts.iter().map(|part| {
        format!("memory budget: {:>6} MiB  {} ({})", part.bytes.div_ceil(MIB), part.name, part.setting)
    });
    std::iter::once(head).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P8: the sum is that of its parts, each on a line of its own, with what bounds it.
    #[test]
    fn p8_the_budget_is_a_readable_sum() {
        let config = Config::default();
        let lines = lines(&config);
        let parts = parts(&config);
        assert_eq!(lines.len(), parts.len() + 1);
        let sum: u64 = parts.iter().map(|part| part.bytes).sum();
        assert!(lines[0].contains(&format!("{} MiB at most", sum.div_ceil(1 << 20))), "{}", lines[0]);
        for (line, part) in
            parts.iter().map(|part| (lines.iter().find(|line| line.contains(part.name)), part))
        {
            let line = line.expect("each has its line");
            assert!(line.contains(&part.setting) && line.len() < 120, "{line}");
        }
    }
}
