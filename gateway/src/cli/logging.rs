//! Where the gateway says what it does: lines on stderr, as many as `SENSOR_GATEWAY_LOG` asks for.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::LevelFilter;

use super::Failure;

const VARIABLE: &str = "SENSOR_GATEWAY_LOG";

/// Once per process. Commands that only ask say nothing below a warning unless they are told to.
pub(super) fn set_up(of_run: bool) -> Result<(), Failure> {
    let level = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse::<LevelFilter>().map_err(|_| {
            let words = "off, error, warn, info, debug or trace";
            Failure::environment(format!("{VARIABLE}: expected {words}, found {text:?}"))
        })?,
        _ if of_run => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        // It would tell a failed write on stderr, and panic when that fails: a full disk under the log must not end the gateway.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .try_init()
        .map_err(|error| Failure::environment(format!("logging: {error}")))
}
