//! `rumqttd-peer`: rumqttd as a broker to compare with, its limits raised so that none of them is what is measured.
//! It keeps messages in memory only and acknowledges before it has stored anything.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use rumqttd::{Broker, Config};
use serde_json::json;

#[derive(Debug, Parser)]
struct Options {
    /// Where to listen for MQTT 3.1.1
    #[arg(long, default_value = "127.0.0.1:1884")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let config: Config = match serde_json::from_value(config(options.listen)) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("rumqttd-peer: rumqttd does not take this configuration: {error}");
            return ExitCode::from(2);
        }
    };
    match Broker::new(config).start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rumqttd-peer: {error}");
            ExitCode::from(2)
        }
    }
}

/// rumqttd's own example configuration with larger limits and without console, metrics and cluster.
fn config(listen: SocketAddr) -> serde_json::Value {
    json!({
        "id": 0,
        "router": {
            "max_connections": 10_010,
            "max_outgoing_packet_count": 200,
            "max_segment_size": 100 << 20,
            "max_segment_count": 10,
        },
        "v4": {
            "1": {
                "name": "v4-1",
                "listen": listen,
                "next_connection_delay_ms": 1,
                "connections": {
                    "connection_timeout_ms": 60_000,
                    "max_payload_size": 1 << 20,
                    "max_inflight_count": 1_000,
                    "dynamic_filters": true,
                },
            },
        },
    })
}
