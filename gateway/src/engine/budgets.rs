//! Every budget of the gateway with what is used of it now, and for how many hours the rest lasts at the present rate.
//!
//! Used amounts are read from the gauges that the stages keep. Samples of the last ten minutes give the rate; they are taken
//! by whoever calls [`Budgets::sample`] now and then, which is [`crate::health::Health::watch`] on the keeper's thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Config;
use crate::disk::Disk;
use crate::health::{Budget, Budgets, Lag};
use crate::journal::Lanes;
use crate::metrics::Metrics;
use crate::quarantine_quota::QuarantineQuota;

/// Between two samples.
const SAMPLE_US: u64 = 10_000_000;
/// Ten minutes of them.
const SAMPLES_MAX: usize = 61;
/// A shorter time says nothing about a rate.
const RATE_US_MIN: u64 = 30_000_000;
/// Beyond a hundred years it is "never".
const HOURS_MAX: f64 = 876_000.0;

/// Reads gauges, lanes, quota and disk; keeps a bounded history.
#[derive(Debug)]
pub(super) struct GaugedBudgets {
    metrics: Arc<Metrics>,
    disk: Arc<dyn Disk>,
    lanes: Arc<Lanes>,
    quota: Arc<QuarantineQuota>,
    limits: Limits,
    history: Mutex<VecDeque<Sample>>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    log_bytes: u64,
    rows_in_memory: u64,
    late_rows: u64,
    hold_bytes: u64,
    partial_bytes: u64,
    retained_messages: u64,
    retained_bytes: u64,
}

#[derive(Clone, Debug)]
struct Sample {
    at_us: u64,
    /// What was left, in the order of [`GaugedBudgets::raw`].
    left: Vec<u64>,
}

impl GaugedBudgets {
    pub(super) fn new(
        config: &Config,
        metrics: Arc<Metrics>,
        disk: Arc<dyn Disk>,
        lanes: Arc<Lanes>,
        quota: Arc<QuarantineQuota>,
    ) -> Self {
        let shards = config.mqtt.shard_count() as u64;
        let limits = Limits {
            log_bytes: config.journal.log_bytes_max,
            rows_in_memory: config.store.rows_in_memory_max as u64,
            late_rows: config.store.late_rows_max as u64,
            hold_bytes: shards * config.mqtt.hold_pool_bytes_max as u64,
            partial_bytes: shards * config.mqtt.partial_bytes_max as u64,
            retained_messages: config.mqtt.retained_messages_max as u64,
            retained_bytes: config.mqtt.retained_bytes_max as u64,
        };
        Self { metrics, disk, lanes, quota, limits, history: Mutex::default() }
    }

    fn history(&self) -> std::sync::MutexGuard<'_, VecDeque<Sample>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In an order that never changes.
    fn raw(&self) -> Vec<Budget> {
        let Limits { log_bytes, rows_in_memory, late_rows, .. } = self.limits;
        let budget = |budget, setting, unit, used: u64, limit: u64| Budget {
            budget,
            setting: Some(setting),
            unit,
            used: Some(used),
            limit: Some(limit),
            left: limit.saturating_sub(used),
            hours_left: None,
        };
        let metrics = &self.metrics;
        let gauge = |gauge: &prometheus_client::metrics::gauge::Gauge<i64, std::sync::atomic::AtomicI64>| {
            gauge.get().max(0) as u64
        };
        let (buffers_used, buffers) = self.lanes.buffers_in_use();
        vec![
            Budget {
                budget: "disk",
                setting: None,
                unit: "bytes",
                used: None,
                limit: None,
                left: self.disk.free_space().unwrap_or(0),
                hours_left: None,
            },
            budget("journal", "journal.log_bytes_max", "bytes", gauge(&metrics.journal_log_bytes), log_bytes),
            budget(
                "observation_log",
                "journal.log_bytes_max",
                "bytes",
                gauge(&metrics.observation_log_bytes),
                log_bytes,
            ),
            Budget {
                setting: None,
                ..budget("journal_buffers", "", "buffers", buffers_used as u64, buffers as u64)
            },
            budget(
                "rows_in_memory",
                "store.rows_in_memory_max",
                "rows",
                gauge(&metrics.store_rows_in_memory),
                rows_in_memory,
            ),
            budget(
                "late_rows",
                "store.late_rows_max",
                "rows",
                gauge(&metrics.store_rows_unresolved),
                late_rows,
            ),
            budget(
                "hold_pool",
                "mqtt.hold_pool_bytes_max",
                "bytes",
                gauge(&metrics.mqtt_hold_bytes),
                self.limits.hold_bytes,
            ),
            budget(
                "incomplete_packets",
                "mqtt.partial_bytes_max",
                "bytes",
                gauge(&metrics.mqtt_partial_bytes),
                self.limits.partial_bytes,
            ),
            budget(
                "retained_messages",
                "mqtt.retained_messages_max",
                "messages",
                gauge(&metrics.retained_messages),
                self.limits.retained_messages,
            ),
            budget(
                "retained_bytes",
                "mqtt.retained_bytes_max",
                "bytes",
                gauge(&metrics.retained_bytes),
                self.limits.retained_bytes,
            ),
            budget("quarantine", "quarantine.bytes_max", "bytes", self.quota.bytes(), self.quota.bytes_max()),
        ]
    }
}

impl Budgets for GaugedBudgets {
    fn sample(&self, now_us: u64) {
        let is_due = |history: &VecDeque<Sample>| {
            history.back().is_none_or(|last| now_us.saturating_sub(last.at_us) >= SAMPLE_US)
        };
        if !is_due(&self.history()) {
            return;
        }
        let left = self.raw().iter().map(|budget| budget.left).collect();
        let mut history = self.history();
        history.push_back(Sample { at_us: now_us, left });
        if history.len() > SAMPLES_MAX {
            history.pop_front();
        }
    }
    fn all(&self) -> Vec<Budget> {
        let mut budgets = self.raw();
        for budget in &mut budgets {
            budget.hours_left = (budget.left == 0).then_some(0.0);
        }
        let history = self.history();
        if let (Some(first), Some(last)) = (history.front(), history.back()) {
            for (index, budget) in budgets.iter_mut().enumerate() {
                budget.hours_left =
                    hours_left(budget.left, (first.at_us, first.left[index]), (last.at_us, last.left[index]));
            }
        }
        budgets
    }

    fn lags(&self) -> Vec<Lag> {
        let processed = self.metrics.processed_messages.get().max(0);
        let behind = |at: i64| processed.saturating_sub(at).max(0) as u64;
        let durable = self.metrics.durable_messages.get().max(processed);
        vec![
            Lag { destination: "pipeline", behind_messages: (durable - processed) as u64 },
            Lag { destination: "store", behind_messages: behind(self.metrics.store_messages.get()) },
            Lag { destination: "feeds", behind_messages: behind(self.metrics.feed_messages.get()) },
        ]
    }
    fn clients_refused(&self) -> u64 {
        self.quota.clients_refused()
    }
    fn quarantine_is_exhausted(&self) -> bool {
        self.quota.is_exhausted()
    }
}

/// From the first and the last sample of what was left, and what is left now.
fn hours_left(left: u64, first: (u64, u64), last: (u64, u64)) -> Option<f64> {
    if left == 0 {
        return Some(0.0);
    }
    let passed_us = last.0.saturating_sub(first.0);
    if passed_us < RATE_US_MIN || last.1 >= first.1 {
        return None;
    }
    let per_hour = (first.1 - last.1) as f64 / (passed_us as f64 / 3.6e9);
    let hours = left as f64 / per_hour;
    (hours < HOURS_MAX).then(|| (hours * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B1-3: hours at the present rate; never where nothing fills up.
    #[test]
    fn b1_3_hours_left_follow_the_rate() {
        const MINUTE: u64 = 60_000_000;
        assert_eq!(hours_left(600, (0, 1_000), (10 * MINUTE, 900)), Some(1.0));
        assert_eq!(hours_left(0, (0, 1_000), (10 * MINUTE, 900)), Some(0.0));
        assert_eq!(hours_left(600, (0, 900), (10 * MINUTE, 1_000)), None, "it is getting emptier");
        assert_eq!(hours_left(600, (0, 900), (10 * MINUTE, 900)), None);
        assert_eq!(hours_left(600, (0, 1_000), (MINUTE / 3, 900)), None, "too short a time to say");
        assert_eq!(hours_left(u64::MAX, (0, 1_000), (10 * MINUTE, 999)), None, "more than a hundred years");
    }
}
