//! The command line of the load tool.

use std::str::FromStr;

use clap::Parser;

/// Messages of a run that says neither `--messages` nor `--duration-s`.
pub(super) const MESSAGES_DEFAULT: u64 = 1_000_000;
/// Packet identifiers end at 65,535, so no more can be in flight.
const IN_FLIGHT_MAX: usize = 65_535;

/// Publishes over MQTT 3.1.1 to any broker and reports rate, ack latency and the server's CPU per message.
#[derive(Clone, Debug, Parser)]
pub struct LoadOptions {
    /// Where the broker listens; with --start, a gateway's `ready` line replaces it
    #[arg(long, default_value = "127.0.0.1:1883")]
    pub connect: String,
    /// Connections that publish
    #[arg(long, default_value_t = 50)]
    pub connections: usize,
    /// Unacknowledged messages per connection (QoS 1)
    #[arg(long, default_value_t = 100)]
    pub in_flight: usize,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub qos: u8,
    /// bytes:N | json | json:N (padded to N bytes) | flatbuffers | bare
    #[arg(long, default_value = "json:256")]
    pub payload: PayloadKind,
    /// Readings per message (json and flatbuffers)
    #[arg(long, default_value_t = 1)]
    pub readings: usize,
    /// Topic; `{n}` is the number of the connection. Default: load/{n} for bytes, obs/load/station{n} for readings
    #[arg(long)]
    pub topic: Option<String>,
    /// Messages to publish [default: 1000000]
    #[arg(long, conflicts_with = "duration_s")]
    pub messages: Option<u64>,
    /// Publish for so long instead
    #[arg(long)]
    pub duration_s: Option<f64>,
    /// Messages per second over all connections, each at its own even beat; without it as fast as acks come
    #[arg(long)]
    pub rate: Option<f64>,
    /// Messages published before anything is measured
    #[arg(long, default_value_t = 20_000)]
    pub warm_up_messages: u64,
    /// Further connections that subscribe (QoS 0); what they get is counted
    #[arg(long, default_value_t = 0)]
    pub subscribers: usize,
    /// What they subscribe to
    #[arg(long, default_value = "#")]
    pub subscribe: String,
    /// Server process whose CPU and memory are measured
    #[arg(long)]
    pub pid: Option<u32>,
    /// HTTP address of a gateway: quiet is then what its ledger says, not an idle CPU
    #[arg(long)]
    pub http: Option<String>,
    /// Shell command that starts the server; it is measured, and stopped at the end
    #[arg(long, conflicts_with = "pid")]
    pub start: Option<String>,
    /// Give up if the server is not quiet so long after the last ack
    #[arg(long, default_value_t = 120)]
    pub quiet_timeout_s: u64,
    /// First column of the table
    #[arg(long, default_value = "server")]
    pub label: String,
    /// What an ack of this server means, for the table: "synced", "in memory"
    #[arg(long, default_value = "not stated")]
    pub durability: String,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
    /// Measure nothing: read JSON lines of earlier runs and print them as a table with ratios to the first
    #[arg(long, value_name = "FILE")]
    pub ratios: Option<String>,
}

impl LoadOptions {
    /// What clap cannot check by itself.
    pub fn check(&self) -> Result<(), String> {
        if self.connections == 0 || self.in_flight == 0 || self.in_flight > IN_FLIGHT_MAX {
            return Err(format!("--connections must be above 0 and --in-flight 1 to {IN_FLIGHT_MAX}"));
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e7)) {
            return Err("--rate must be above 0 and at most 10,000,000 messages/s".to_owned());
        }
        if self.duration_s.is_some_and(|seconds| !(seconds > 0.0 && seconds <= 86_400.0)) {
            return Err("--duration-s must be above 0 and at most a day".to_owned());
        }
        if self.topic_of(self.connections).len() > 1000 {
            return Err("--topic must stay below 1,000 bytes".to_owned());
        }
        Ok(())
    }

    pub fn topic_of(&self, connection: usize) -> String {
        let pattern = self.topic.as_deref().unwrap_or(match self.payload {
            PayloadKind::Bytes { .. } => "load/{n}",
            PayloadKind::Json { .. } | PayloadKind::FlatBuffers => "obs/load/station{n}",
            PayloadKind::Bare => "obs/load/station{n}/pm2_5",
        });
        pattern.replace("{n}", &connection.to_string())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// So many equal bytes: no reading in it.
    Bytes { len: usize },
    /// Canonical JSON, padded with an extra member if a length is given.
    Json { len: Option<usize> },
    /// The gateway's telemetry message.
    FlatBuffers,
    /// A bare number.
    Bare,
}

impl FromStr for PayloadKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, len) = match text.split_once(':') {
            Some((name, len)) => {
                let len: usize = len.parse().map_err(|_| format!("`{len}` is not a number of bytes"))?;
                if len > 1 << 20 {
                    return Err("at most 1,048,576 bytes".to_owned());
                }
                (name, Some(len))
            }
            None => (text, None),
        };
        match (name, len) {
            ("bytes", Some(len)) => Ok(Self::Bytes { len }),
            ("json", len) => Ok(Self::Json { len }),
            ("flatbuffers", None) => Ok(Self::FlatBuffers),
            ("bare", None) => Ok(Self::Bare),
            _ => Err("expected bytes:N, json, json:N, flatbuffers or bare".to_owned()),
        }
    }
}
