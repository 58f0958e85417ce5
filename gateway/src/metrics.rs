//! Every counter and gauge of the gateway: one list gives the field, its OpenMetrics name and its help text.
//!
//! Stages hold an `Arc<Metrics>` and count per wake-up or frame, not per message, where the hot path is concerned.

use std::sync::atomic::{AtomicI64, AtomicU64};

use crate::budgets::{Budget, Lag};
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
            $(#[doc = $counter_help] pub $counter: Counter<u64, AtomicU64>,)*
            $(#[doc = $family_help] pub $family: ByReason,)*
            $(#[doc = $gauge_help] pub $gauge: Gauge<i64, AtomicI64>,)*
            $(#[doc = $named_help] pub $named: ByName,)*
        }

        impl Metrics {
            /// Registers all of them under `sensor_gateway_…`; the exposition adds `_total` to counters.
            pub fn register(&self, registry: &mut Registry) {
                let registry = registry.sub_registry_with_prefix("sensor_gateway");
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
        retained_messages: "Retained messages of clients",
        datastreams: "Datastreams known",
        mqtt_partial_bytes: "Room taken by packets that have not come whole",
        journal_log_bytes: "Bytes of the journal's segments that are still needed, with those that stand ready",
        observation_log_bytes: "Bytes of the observation log's segments that are still needed, with those that stand ready",
        store_messages: "Messages that a commit of the store reflects",
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
