//! What a run found, as a line of a table and as JSON; several runs as ratios.

use serde::{Deserialize, Serialize};

use super::CpuSnapshot;
use super::driver::{Driver, Phase};
use super::options::{LoadOptions, PayloadKind};
use super::payload::PayloadSource;
use super::process::Memory;

/// One run. CPU figures are µs per message of the measured phase, until the server was quiet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub label: String,
    /// What an ack of this server means, as the caller stated it.
    pub durability: String,
    pub payload: String,
    pub readings_per_message: usize,
    pub qos: u8,
    pub connections: usize,
    pub in_flight: usize,
    pub subscribers: usize,
    /// Messages per second that were asked for; absent: as fast as acks came.
    pub rate: Option<f64>,
    pub cores: usize,
    pub messages: u64,
    pub elapsed_s: f64,
    pub messages_per_s: f64,
    /// Absent with QoS 0.
    pub ack_p50_us: Option<f64>,
    pub ack_p99_us: Option<f64>,
    pub ack_max_us: Option<f64>,
    /// Absent where no server process was named.
    pub cpu_us: Option<f64>,
    pub cpu_user_us: Option<f64>,
    pub cpu_system_us: Option<f64>,
    /// All threads of the kernel, not only what this server caused.
    pub kernel_threads_us: f64,
    /// This tool itself: near 1 / rate, it was the limit.
    pub load_tool_us: f64,
    /// From the last ack until the server was quiet.
    pub quiet_s: f64,
    pub resident_mib: Option<f64>,
    pub resident_max_mib: Option<f64>,
    /// Messages that subscribers got.
    pub deliveries: u64,
}

impl Outcome {
    pub(super) fn new(
        options: &LoadOptions,
        driver: &Driver,
        phase: Phase,
        quiet_s: f64,
        before: &CpuSnapshot,
        after: &CpuSnapshot,
        memory: Option<Memory>,
    ) -> Self {
        let per_message_us = |seconds: f64| seconds * 1e6 / phase.messages.max(1) as f64;
        let server = after.server.zip(before.server).map(|(after, before)| after - before);
        let quantile_us = |quantile: f64| {
            (options.qos > 0).then(|| driver.latency_ns.value_at_quantile(quantile) as f64 / 1e3)
        };
        Self {
            label: options.label.clone(),
            durability: options.durability.clone(),
            payload: payload_text(options.payload),
            readings_per_message: PayloadSource::readings(options.payload, options.readings),
            qos: options.qos,
            connections: options.connections,
            in_flight: options.in_flight,
            subscribers: options.subscribers,
            rate: options.rate,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            messages: phase.messages,
            elapsed_s: phase.elapsed_s,
            messages_per_s: phase.messages as f64 / phase.elapsed_s,
            ack_p50_us: quantile_us(0.5),
            ack_p99_us: quantile_us(0.99),
            ack_max_us: quantile_us(1.0),
            cpu_us: server.map(|time| per_message_us(time.total_s())),
            cpu_user_us: server.map(|time| per_message_us(time.user_s)),
            cpu_system_us: server.map(|time| per_message_us(time.system_s)),
            kernel_threads_us: per_message_us((after.kernel_threads - before.kernel_threads).total_s()),
            load_tool_us: per_message_us((after.load_tool - before.load_tool).total_s()),
            quiet_s,
            resident_mib: memory.map(|memory| memory.resident_mib),
            resident_max_mib: memory.map(|memory| memory.resident_max_mib),
            deliveries: driver.deliveries,
        }
    }

    /// Header and one line.
    pub fn table(&self) -> String {
        format!("{TABLE_HEAD}\n{}", self.line())
    }

    fn line(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {} × {} | {} | {} | {:.0} | {} / {} / {} | {} ({} + {}) | {:.2} | {} / {} | {} |",
            self.label,
            self.durability,
            self.payload,
            self.readings_per_message,
            self.connections,
            self.in_flight,
            self.qos,
            self.messages,
            self.messages_per_s,
            milliseconds(self.ack_p50_us),
            milliseconds(self.ack_p99_us),
            milliseconds(self.ack_max_us),
            two_digits(self.cpu_us),
            two_digits(self.cpu_user_us),
            two_digits(self.cpu_system_us),
            self.kernel_threads_us,
            whole(self.resident_mib),
            whole(self.resident_max_mib),
            self.cores,
        )
    }

    /// Server and kernel threads.
    fn cpu_with_kernel_us(&self) -> Option<f64> {
        Some(self.cpu_us? + self.kernel_threads_us)
    }
}

const TABLE_HEAD: &str = "| server | ack means | payload | readings | connections × in flight | QoS | messages | \
    messages/s | ack p50 / p99 / max ms | CPU µs/message (user + system) | kernel threads µs | RSS / peak MiB | cores |\n\
    |---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// All runs with their ratios to the first: above 1 in "rate", below 1 in "CPU" and "ack p99" is better than the first.
pub fn ratio_table(outcomes: &[Outcome]) -> String {
    let mut text = TABLE_HEAD.to_owned();
    for outcome in outcomes {
        text.push('\n');
        text.push_str(&outcome.line());
    }
    let Some(first) = outcomes.first() else { return text };
    text.push_str(&format!(
        "\n\n| compared with {} | rate | CPU | CPU with kernel threads | ack p99 |\n",
        first.label
    ));
    text.push_str("|---|---|---|---|---|");
    for outcome in outcomes {
        let ratio = |of: Option<f64>, to: Option<f64>| match of.zip(to) {
            Some((of, to)) if to > 0.0 => format!("{:.2}", of / to),
            _ => "–".to_owned(),
        };
        text.push_str(&format!(
            "\n| {} | {} | {} | {} | {} |",
            outcome.label,
            ratio(Some(outcome.messages_per_s), Some(first.messages_per_s)),
            ratio(outcome.cpu_us, first.cpu_us),
            ratio(outcome.cpu_with_kernel_us(), first.cpu_with_kernel_us()),
            ratio(outcome.ack_p99_us, first.ack_p99_us),
        ));
    }
    text
}

fn payload_text(kind: PayloadKind) -> String {
    match kind {
        PayloadKind::Bytes { len } => format!("{len} B"),
        PayloadKind::Json { len: None } => "JSON".to_owned(),
        PayloadKind::Json { len: Some(len) } => format!("JSON {len} B"),
        PayloadKind::FlatBuffers => "FlatBuffers".to_owned(),
        PayloadKind::Bare => "bare".to_owned(),
    }
}

fn milliseconds(us: Option<f64>) -> String {
    us.map_or("–".to_owned(), |us| format!("{:.2}", us / 1e3))
}

fn two_digits(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.2}"))
}

fn whole(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.0}"))
}
