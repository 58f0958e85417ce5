//! `firmware-sim city`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{FormatArg, parse_rate, parse_time, with_control};
use crate::city::{City, CityConfig, CityControl, CityFaults, Region, Storm};
use crate::client::ClientOptions;
use crate::time;

#[derive(Args)]
pub(super) struct CityArgs {
    /// MQTT broker, HOST:PORT.
    #[arg(long, default_value = "127.0.0.1:1883")]
    broker: String,
    /// Stations; a larger city has the same ones and more.
    #[arg(long, default_value_t = 1000)]
    stations: usize,
    /// The same seed gives the same stations, signals and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// At most so many MQTT connections; each is an edge box for stations of one region.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Cover the past since then (RFC 3339), or so long ago (`90m`, `36h`, `7d`), then go on with the clock.
    #[arg(long, value_parser = parse_from)]
    from: Option<i64>,
    /// Cover the past so many times faster than the clock; without it as fast as the broker acknowledges.
    #[arg(long, value_parser = parse_rate, requires = "from")]
    speed: Option<f64>,
    /// End after this time; without end the city goes on until it is stopped.
    #[arg(long)]
    duration_s: Option<f64>,
    /// End after this many messages.
    #[arg(long)]
    messages: Option<u64>,
    /// All intervals between measurements times this.
    #[arg(long, default_value_t = 1.0)]
    interval_scale: f64,
    /// One form of the payloads for all; without it a form that fits the kind of station.
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// 0 or 1.
    #[arg(long, default_value_t = 1)]
    qos: u8,
    /// Most messages of one connection that wait for their PUBACK.
    #[arg(long, default_value_t = 100)]
    in_flight: u16,
    /// Beginning of the client ids; a number follows.
    #[arg(long, default_value = "city")]
    client_prefix: String,
    /// Seconds to wait for the next PUBACK at the end, and for a broker at the beginning.
    #[arg(long, default_value_t = 30)]
    drain_timeout_s: u64,
    /// Truth ledger to append to.
    #[arg(long, default_value = "truth.ndjson")]
    ledger: PathBuf,
    /// Write stations.csv and agencies.csv for the gateway into this folder.
    #[arg(long)]
    things_out: Option<PathBuf>,
    /// Only write these files.
    #[arg(long, requires = "things_out")]
    things_only: bool,
    #[command(flatten)]
    faults: FaultArgs,
    /// A storm begins so many seconds after the start; with a minus before it (`=-7200`): the region has been cut off since.
    #[arg(long, requires = "storm_duration_s", allow_negative_numbers = true)]
    storm_start_s: Option<f64>,
    /// Seconds without network.
    #[arg(long, requires = "storm_start_s")]
    storm_duration_s: Option<f64>,
    /// Who is cut off: all, islands, or a former district (`Đồ Sơn`, `do son`).
    #[arg(long, default_value = "islands", value_parser = Region::parse)]
    storm_region: Region,
}

/// Shares from 0 to 1.
#[derive(Args)]
struct FaultArgs {
    /// A little of every fault; those below count where they are given.
    #[arg(long)]
    some_faults: bool,
    /// Share of stations with a wrong clock.
    #[arg(long)]
    wrong_clocks: Option<f64>,
    /// Share of stations that are silent, at any time.
    #[arg(long)]
    silent: Option<f64>,
    /// Share of stations whose values stand still, at any time.
    #[arg(long)]
    stuck: Option<f64>,
    /// Share of stations that have their neighbour's sensors, at any time.
    #[arg(long)]
    swapped: Option<f64>,
    /// Share of stations that send in another unit, with or without saying so, at any time.
    #[arg(long)]
    changed_units: Option<f64>,
    /// Share of stations with a battery that runs down or is dead, at any time.
    #[arg(long)]
    dead_batteries: Option<f64>,
    /// Probability that an undecodable message is sent as well.
    #[arg(long)]
    garbage: Option<f64>,
    /// Probability that a message is sent twice.
    #[arg(long)]
    duplicates: Option<f64>,
}

impl FaultArgs {
    fn faults(&self) -> CityFaults {
        let base = if self.some_faults { CityFaults::SOME } else { CityFaults::default() };
        CityFaults {
            clocks: self.wrong_clocks.unwrap_or(base.clocks),
            silent: self.silent.unwrap_or(base.silent),
            stuck: self.stuck.unwrap_or(base.stuck),
            swapped: self.swapped.unwrap_or(base.swapped),
            units: self.changed_units.unwrap_or(base.units),
            batteries: self.dead_batteries.unwrap_or(base.batteries),
            garbage: self.garbage.unwrap_or(base.garbage),
            duplicates: self.duplicates.unwrap_or(base.duplicates),
        }
    }
}

/// A time, or a span before now.
fn parse_from(text: &str) -> Result<i64, String> {
    let span = text.char_indices().last().and_then(|(at, unit)| {
        let unit_s = match unit {
            'm' => 60.0,
            'h' => 3600.0,
            'd' => 86_400.0,
            _ => return None,
        };
        text[..at].parse::<f64>().ok().filter(|count| *count >= 0.0).map(|count| count * unit_s)
    });
    match span {
        Some(span_s) => Ok(time::now_us().saturating_sub((span_s * 1e6) as i64)),
        None => parse_time(text).map_err(|error| format!("{error}, or a span before now such as 36h")),
    }
}

fn seconds(name: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("--{name}: {error}"))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn run(args: CityArgs) -> Result<ExitCode, String> {
    let storm = match (args.storm_start_s, args.storm_duration_s) {
        (Some(start), Some(duration)) => {
            let start_us = micros(seconds("storm-start-s", start.abs())?);
            let start_us = if start < 0.0 { -start_us } else { start_us };
            Some((start_us, micros(seconds("storm-duration-s", duration)?)))
        }
        _ => None,
    };
    let duration = args.duration_s.map(|duration| seconds("duration-s", duration)).transpose()?;
    let config = CityConfig {
        client: ClientOptions {
            broker: args.broker,
            client_prefix: args.client_prefix,
            qos: args.qos,
            in_flight_max: args.in_flight,
            resend_after_reconnect: true,
            drain_timeout: Duration::from_secs(args.drain_timeout_s),
            ..ClientOptions::default()
        },
        stations: args.stations,
        seed: args.seed,
        connections: args.connections,
        from_us: args.from,
        speed: args.speed,
        duration,
        messages_max: args.messages,
        interval_scale: args.interval_scale,
        format: args.format.map(Into::into),
        faults: args.faults.faults(),
        ledger: args.ledger,
    };
    let city = City::new(config).map_err(|error| error.to_string())?;
    if let Some(folder) = &args.things_out {
        let failed = |error| format!("{} cannot be written: {error}", folder.display());
        city.write_things(folder).map_err(failed)?;
        if args.things_only {
            return Ok(ExitCode::SUCCESS);
        }
    }
    with_control(|control| {
        let control = CityControl::of_run(control);
        if let Some((start_us, duration_us)) = storm {
            let from_us = time::now_us().saturating_add(start_us);
            let until_us = from_us.saturating_add(duration_us);
            // The first storm of a run always has its place.
            let _ = control.start_storm(Storm { region: args.storm_region, from_us, until_us });
        }
        let outcome = city.run(&control);
        report(&control);
        outcome
    })
}

/// What the counts of every run do not say.
fn report(control: &CityControl) {
    let latency = control.ack_latency();
    if let (Some(median_us), Some(most_us)) = (latency.quantile_us(0.5), latency.quantile_us(0.99)) {
        let (median, most) = (Duration::from_micros(median_us), Duration::from_micros(most_us));
        println!("PUBACK after {median:?} (p50), {most:?} (p99)");
    }
    if control.missed() > 0 {
        println!("{} measurements are gone: their stations store nothing", control.missed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_a_time_or_a_span() {
        assert_eq!(parse_from("2026-11-21T08:05:00+07:00"), Ok(1_795_223_100_000_000));
        let day_ago = parse_from("1d").expect("a span");
        assert!((time::now_us() - day_ago - 86_400_000_000).abs() < 60_000_000);
        for bad in ["", "d", "-1h", "yesterday", "1w", "ngày"] {
            assert!(parse_from(bad).is_err(), "{bad}");
        }
    }
}
