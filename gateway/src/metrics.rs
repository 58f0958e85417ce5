//! Every counter and gauge of the gateway: one list gives the field, its OpenMetrics name and its help text.
//!
//! Stages hold an `Arc<Metrics>` and count per wake-up or frame, not per message, where the hot path is concerned.

use std::sync::atomic::{AtomicI64, AtomicU64};

use crate::health::{Budget, Lag};
use crate::log::LogStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One counter for each value of a label; label and values are words of a closed list.
pub type ByReason = Family<[(&'static str, &'static str); 1], Counter<u64, AtomicU64>>;

/// One gauge for each value of a label.
pub type ByName = Family<[(&'static str, &'static str); 1], Gauge<f64, AtomicU64>>;

macro_rules! metrics {
    (
        counters { $($counter:ident: $counter_help:literal,)* }
        by_reason { $($family:ident: $family_help:literal,)* }
        gauges { $($gauge:ident: $gauge_help:literal,)* }
        by_name { $($named:ident: $named_help:literal,)* }
    ) => {
        #[derive(Debug, Default)]
        pub struct Metrics {
            /// Segments of the logs, and who needs them.
            pub logs: LogMetrics,
            /// Files of the store by size.
            pub store_levels: StoreLevels,
            $(#[doc = $counter_help] pub $counter: Counter<u64, AtomicU64>,)*
            $(#[doc = $family_help] pub $family: ByReason,)*
            $(#[doc = $gauge_help] pub $gauge: Gauge<i64, AtomicI64>,)*
            $(#[doc = $named_help] pub $named: ByName,)*
        }

        impl Metrics {
            /// Registers all of them under `sensor_gateway_…`; the exposition adds `_total` to counters.
            pub fn register(&self, registry: &mut Registry) {
                let registry = registry.sub_registry_with_prefix("sensor_gateway");
                self.logs.register(registry);
                self.store_levels.register(registry);
                $(registry.register(stringify!($counter), $counter_help, self.$counter.clone());)*
                $(registry.register(stringify!($family), $family_help, self.$family.clone());)*
                $(registry.register(stringify!($gauge), $gauge_help, self.$gauge.clone());)*
                $(registry.register(stringify!($named), $named_help, self.$named.clone());)*
            }
        }
    };
}

/// Adds what was counted for one value of the label `reason`.
pub fn add_by_reason(family: &ByReason, reason: &'static str, count: u64) {
    family.get_or_create(&[("reason", reason)]).inc_by(count);
}

impl Metrics {
    /// What is only worked out when somebody asks.
    pub fn set_budgets(
        &self,
        budgets: &[Budget],
        lags: &[Lag],
        states: impl Iterator<Item = (&'static str, bool)>,
    ) {
        for budget in budgets {
            let set = |family: &ByName, value: f64| {
                family.get_or_create(&[("budget", budget.budget)]).set(value);
            };
            if let (Some(used), Some(limit)) = (budget.used, budget.limit) {
                set(&self.budget_used, used as f64);
                set(&self.budget_limit, limit as f64);
            }
            set(&self.budget_left, budget.left as f64);
            set(&self.budget_hours_left, budget.hours_left.unwrap_or(f64::INFINITY));
        }
        for lag in lags {
            let behind = lag.behind_messages as f64;
            self.destination_behind_messages.get_or_create(&[("destination", lag.destination)]).set(behind);
        }
        for (state, is_present) in states {
            self.state.get_or_create(&[("state", state)]).set(f64::from(u8::from(is_present)));
        }
    }
}

/// The sum over all reasons that were there.
#[cfg(test)]
pub fn sum_of(family: &ByReason, reasons: &[&'static str]) -> u64 {
    reasons.iter().map(|reason| family.get_or_create(&[("reason", reason)]).get()).sum()
}

metrics! {
    counters {
        mqtt_connections_accepted: "TCP connections accepted",
        mqtt_connections_refused: "Connections closed before a successful CONNACK",
        mqtt_messages_received: "PUBLISH packets taken into the journal",
        mqtt_messages_sent: "PUBLISH packets sent to subscribers",
        mqtt_protocol_errors: "Connections closed for a malformed packet or a protocol error",
        mqtt_subscribers_cut_off: "Subscribers disconnected because their queue was full",
        journal_frames: "Frames written and synced to the journal",
        journal_bytes: "Bytes written to the journal, with padding",
        observation_frames: "Frames written and synced to the observation log",
        observation_bytes: "Bytes written to the observation log, with padding",
        observations: "Rows made by the pipeline",
        messages_quarantined: "Messages that could not be decoded, or not wholly",
        quarantine_settled: "Entries of the quarantine that were decoded again or erased",
        retained_messages_refused: "Messages with RETAIN that were routed but not kept: mqtt.retained_messages_max or mqtt.retained_bytes_max",
        unkeyed_messages: "Messages with undated readings and nothing to recognise a re-send by",
        store_flushes: "Flushes committed",
        store_rows_flushed: "Rows written to store files",
        store_bytes_flushed: "Bytes of the store files of flushes",
        store_compactions: "Compactions committed",
        store_rows_compacted: "Rows written once more by compactions",
        store_same_time_overflows: "Readings beyond 4,096 of one datastream and time, stored as revisions of the last one",
        store_rows_expired: "Rows that retention took out of store files",
    }
    by_reason {
        mqtt_messages_refused: "PUBLISH packets of QoS 1 and 2 refused before the journal, so never acknowledged as taken",
        mqtt_qos0_dropped: "PUBLISH packets of QoS 0 dropped before the journal",
        mqtt_messages_dropped: "Messages not delivered to a subscriber",
    }
    gauges {
        mqtt_connections: "Connections that are open now",
        mqtt_hold_bytes: "Room taken by PUBLISH packets that wait for the journal",
        mqtt_hold_messages: "PUBLISH packets that wait for the journal",
        mqtt_hold_connections: "Connections that wait for the journal",
        mqtt_hold_oldest_ms: "How long the oldest of them has waited, as of the last quarter of a second",
        mqtt_subscriptions: "Subscriptions that are held now",
        durable_messages: "Messages synced in the journal (message_no of the last one)",
        processed_messages: "Messages covered by a synced observation frame",
        store_rows_in_memory: "Rows that are not in a store file yet",
        store_rows_unresolved: "Late rows that wait to be classified",
        store_files: "Files of the embedded store",
        store_file_bytes: "Bytes of the store's files; divided by store_file_rows: the space of an observation",
        store_file_rows: "Rows in the store's files, every revision",
        retained_messages: "Retained messages of clients",
        datastreams: "Datastreams known",
        mqtt_partial_bytes: "Room taken by packets that have not come whole",
        journal_log_bytes: "Bytes of the journal's segments that are still needed, with those that stand ready",
        observation_log_bytes: "Bytes of the observation log's segments that are still needed, with those that stand ready",
        store_messages: "Messages that a commit of the store reflects",
        catalogue_commits_in_wal: "Commits that stand in catalogue.db-wal and not in catalogue.db itself: what they replace is kept until they do",
        feed_messages: "Messages whose observations the feeds have taken",
        retained_bytes: "Topics, properties and payloads of retained messages of clients",
        quarantine_bytes: "Bytes in quarantine",
    }
    by_name {
        budget_used: "What is used of a budget, in its unit (see /ready)",
        budget_limit: "What a budget has",
        budget_left: "What is left of a budget",
        budget_hours_left: "Hours that the rest of a budget lasts at the rate of the last ten minutes; +Inf = it is not filling",
        destination_behind_messages: "Messages that are processed (pipeline: durable) and have not reached a destination",
        state: "1 while the gateway is in this state (see /ready for cause and remedy)",
    }
}

/// The logs' segments, by log (`journal`, `observations`) and state or holder.
#[derive(Debug, Default)]
pub struct LogMetrics {
    segments: Family<SegmentLabels, Gauge<i64, AtomicI64>>,
    bytes: Family<LogLabels, Gauge<i64, AtomicI64>>,
    oldest_record: Family<LogLabels, Gauge<i64, AtomicI64>>,
    oldest_time_seconds: Family<LogLabels, Gauge<i64, AtomicI64>>,
    needed_from_record: Family<HolderLabels, Gauge<i64, AtomicI64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SegmentLabels {
    log: &'static str,
    state: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LogLabels {
    log: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HolderLabels {
    log: &'static str,
    holder: &'static str,
}

impl LogMetrics {
    /// What the writer of a log has. Not for every frame: a family looks its members up.
    pub fn tell(&self, log: &'static str, status: &LogStatus) {
        for (state, count) in [("live", status.live), ("ready", status.ready), ("spare", status.spare)] {
            self.segments.get_or_create(&SegmentLabels { log, state }).set(count as i64);
        }
        self.bytes.get_or_create(&LogLabels { log }).set(status.bytes as i64);
        self.oldest_record.get_or_create(&LogLabels { log }).set(status.oldest_record_no as i64);
        let seconds = status.oldest_received_us.div_euclid(1_000_000);
        self.oldest_time_seconds.get_or_create(&LogLabels { log }).set(seconds);
    }

    /// `record_no` of the first record that a holder still needs.
    pub fn holds(&self, log: &'static str, holder: &'static str, from: u64) {
        self.needed_from_record.get_or_create(&HolderLabels { log, holder }).set(from as i64);
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("log_segments", "Segments of a log, by state", self.segments.clone());
        registry.register("log_bytes", "Bytes of all segments of a log", self.bytes.clone());
        registry.register(
            "log_oldest_record",
            "The first record that a log still has",
            self.oldest_record.clone(),
        );
        registry.register(
            "log_oldest_time_seconds",
            "When the oldest segment of a log was begun, as a Unix time",
            self.oldest_time_seconds.clone(),
        );
        registry.register(
            "log_needed_from",
            "The first record (record_no, as log_oldest_record) of a log that a holder still needs; segments that end before all of them go",
            self.needed_from_record.clone(),
        );
    }
}

/// Files of the store by their rows: each merge brings rows some levels up.
#[derive(Debug, Default)]
pub struct StoreLevels {
    files: Family<LevelLabels, Gauge<i64, AtomicI64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    rows: &'static str,
}

/// The last level is never merged again.
const LEVELS: [(&str, u64); 4] =
    [("below_8192", 8_192), ("below_65536", 65_536), ("below_524288", 524_288), ("full", u64::MAX)];

impl StoreLevels {
    pub fn tell(&self, row_counts: impl Iterator<Item = u64>) {
        let mut files = [0; LEVELS.len()];
        for rows in row_counts {
            files[LEVELS.iter().position(|(_, bound)| rows < *bound).unwrap_or(LEVELS.len() - 1)] += 1;
        }
        for ((rows, _), count) in LEVELS.into_iter().zip(files) {
            self.files.get_or_create(&LevelLabels { rows }).set(count);
        }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "store_files_by_rows",
            "Files of the embedded store, by their rows",
            self.files.clone(),
        );
    }
}
