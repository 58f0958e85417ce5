//! Every counter and gauge of the gateway: one list gives the field, its OpenMetrics name and its help text.
//!
//! Stages hold an `Arc<Metrics>` and count per wake-up or frame, not per message, where the hot path is concerned.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One counter for each value of a label; label and values are words of a closed list.
pub type ByReason = Family<[(&'static str, &'static str); 1], Counter<u64, AtomicU64>>;

macro_rules! metrics {
    (
        counters { $($counter:ident: $counter_help:literal,)* }
        by_reason { $($family:ident: $family_help:literal,)* }
        gauges { $($gauge:ident: $gauge_help:literal,)* }
    ) => {
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $counter_help] pub $counter: Counter<u64, AtomicU64>,)*
            $(#[doc = $family_help] pub $family: ByReason,)*
            $(#[doc = $gauge_help] pub $gauge: Gauge<i64, AtomicI64>,)*
        }

        impl Metrics {
            /// Registers all of them under `sensor_gateway_…`; the exposition adds `_total` to counters.
            pub fn register(&self, registry: &mut Registry) {
                let registry = registry.sub_registry_with_prefix("sensor_gateway");
                $(registry.register(stringify!($counter), $counter_help, self.$counter.clone());)*
                $(registry.register(stringify!($family), $family_help, self.$family.clone());)*
                $(registry.register(stringify!($gauge), $gauge_help, self.$gauge.clone());)*
            }
        }
    };
}

/// Adds what was counted for one value of the label `reason`.
pub fn add_by_reason(family: &ByReason, reason: &'static str, count: u64) {
    family.get_or_create(&[("reason", reason)]).inc_by(count);
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
        quarantine_bytes: "Bytes in quarantine",
    }
}
