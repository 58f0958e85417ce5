//! The command line: `firmware-sim run | city | replay | verify`.
//!
//! Exit 0: fine; 1: verify found something; 2: wrong usage or environment.

mod city;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::client::{ClientOptions, RunError};
use crate::control::{Control, Summary};
use crate::replay::{self, ReplayConfig};
use crate::sim::{self, Faults, FormatChoice, SimConfig, Times};
use crate::time;
use crate::verify::Revisions;
use crate::verify::source::{Source, verify_files};

const EXIT_FOUND: u8 = 1;
const EXIT_USAGE: u8 = 2;
/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(
    name = "firmware-sim",
    version,
    about = "Simulated devices with a truth ledger for the sensor gateway"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish seeded signals of simulated stations.
    Run(RunArgs),
    /// Publish what the stations of Hải Phòng measure: the past up to now, then live, with faults and storms.
    City(Box<city::CityArgs>),
    /// Publish recorded series, as recorded or moved to now.
    Replay(ReplayArgs),
    /// Compare a truth ledger with the rows of a store.
    Verify(VerifyArgs),
}

#[derive(Args)]
struct ClientArgs {
    /// MQTT broker, HOST:PORT.
    #[arg(long, default_value = "127.0.0.1:1883")]
    broker: String,
    /// MQTT clients; every station is carried by one of them.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// 0 or 1.
    #[arg(long, default_value_t = 1)]
    qos: u8,
    /// Most messages of one client that wait for their PUBACK.
    #[arg(long, default_value_t = 100)]
    in_flight: u16,
    /// Beginning of the client ids; a number follows.
    #[arg(long)]
    client_prefix: Option<String>,
    /// Seconds to wait for the next PUBACK at the end, and for a broker at the beginning.
    #[arg(long, default_value_t = 30)]
    drain_timeout_s: u64,
    /// Truth ledger to append to.
    #[arg(long, default_value = "truth.ndjson")]
    ledger: PathBuf,
    /// Form of the payloads.
    #[arg(long, value_enum, default_value = "json")]
    format: FormatArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatArg {
    /// Canonical JSON, several readings in one message.
    Json,
    /// One reading per message, a plain value where that says all.
    Bare,
    Flatbuffers,
    /// Station by station another one.
    Mixed,
}

impl From<FormatArg> for FormatChoice {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Json => Self::Json,
            FormatArg::Bare => Self::Bare,
            FormatArg::Flatbuffers => Self::Flatbuffers,
            FormatArg::Mixed => Self::Mixed,
        }
    }
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[arg(long, default_value_t = 10)]
    stations: usize,
    /// The same seed gives the same signals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Messages per second of all stations together, for example `200` or `200/s`; without rate and interval as fast as the
    /// broker acknowledges.
    #[arg(long, value_parser = parse_rate, conflicts_with = "interval_ms")]
    rate: Option<f64>,
    /// Time between two messages of one station.
    #[arg(long)]
    interval_ms: Option<u64>,
    /// End after this time; without end the simulation runs until it is stopped.
    #[arg(long)]
    duration_s: Option<f64>,
    /// End after this many messages.
    #[arg(long)]
    messages: Option<u64>,
    /// Agency of all stations.
    #[arg(long, default_value = "H24.05")]
    agency: String,
    /// Readings without time; the gateway takes the time of receipt.
    #[arg(long, conflicts_with = "start_time")]
    undated: bool,
    /// Time of the first message of every station (RFC 3339) instead of the clock; makes every byte repeatable.
    #[arg(long, value_parser = parse_time)]
    start_time: Option<i64>,
    /// With --start-time: time between two messages of one station.
    #[arg(long, default_value_t = 60_000, requires = "start_time")]
    step_ms: i64,
    /// Probability that a message is sent once more.
    #[arg(long, default_value_t = 0.0)]
    duplicates: f64,
    /// Probability that a message is sent after later ones.
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// Probability that a station skips some messages.
    #[arg(long, default_value_t = 0.0)]
    gaps: f64,
    /// Probability that an undecodable message is sent as well.
    #[arg(long, default_value_t = 0.0)]
    garbage: f64,
    /// Probability that a message is followed by another with the same time and another value.
    #[arg(long, default_value_t = 0.0)]
    corrections: f64,
    /// After a reconnect, publish unacknowledged messages again (with DUP); without it they are left to their fate.
    #[arg(long)]
    resend_after_reconnect: bool,
}

#[derive(Args)]
struct ReplayArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Folder with recorded series, searched with its subfolders.
    #[arg(long, required_unless_present = "file")]
    data: Option<PathBuf>,
    /// Single recorded files.
    #[arg(long, num_args = 1..)]
    file: Vec<PathBuf>,
    /// Move the times of each file so that its newest is now.
    #[arg(long)]
    shift_to_now: bool,
    /// Messages per second, for example `500`; without it as fast as the broker acknowledges.
    #[arg(long, value_parser = parse_rate)]
    speed: Option<f64>,
    /// Only so many messages, the same share of each file.
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("source").required(true)))]
struct VerifyArgs {
    /// Truth ledger of `run` and `replay`.
    #[arg(long)]
    ledger: PathBuf,
    /// Rows as written by `sensor-gateway query --revisions --format csv` (or ndjson).
    #[arg(long, group = "source")]
    rows: Option<PathBuf>,
    /// HTTP address of a running gateway, for example http://127.0.0.1:8080; waits until nothing is pending there.
    #[arg(long, group = "source")]
    gateway_http: Option<String>,
    /// The gateway's program; its `query` is run on --data-dir.
    #[arg(long, group = "source", requires = "data_dir")]
    gateway_bin: Option<PathBuf>,
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The rows of --rows are those in force only (`query` without --revisions); otherwise told from the rows.
    #[arg(long)]
    in_force_only: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 =
        text.trim_end_matches("/s").parse().map_err(|_| "expected a number, for example 200".to_owned())?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("the rate must be above 0".to_owned()) }
}

fn parse_time(text: &str) -> Result<i64, String> {
    time::parse(text).ok_or_else(|| "expected RFC 3339, for example 2026-11-21T08:00:00+07:00".to_owned())
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(sentence) => {
            eprintln!("firmware-sim: {sentence}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Run(args) => {
            let config = sim_config(args)?;
            with_control(|control| sim::run(&config, control))
        }
        Command::City(args) => city::run(*args),
        Command::Replay(args) => {
            let config = replay_config(args);
            with_control(|control| {
                let loaded = replay::load(&config.paths)?;
                for series in &loaded.series {
                    let (path, count) = (series.path.display(), series.messages.len());
                    eprintln!("{path}: {:?}, {count} messages", series.layout);
                }
                if !loaded.passed_over.is_empty() {
                    eprintln!(
                        "{} other files hold no recorded series and are left out",
                        loaded.passed_over.len()
                    );
                }
                replay::run_loaded(&config, loaded.series, control)
            })
        }
        Command::Verify(args) => verify(args),
    }
}

fn client_options(args: &ClientArgs, prefix: String, resend_after_reconnect: bool) -> ClientOptions {
    ClientOptions {
        broker: args.broker.clone(),
        client_prefix: args.client_prefix.clone().unwrap_or(prefix),
        qos: args.qos,
        in_flight_max: args.in_flight,
        resend_after_reconnect,
        drain_timeout: Duration::from_secs(args.drain_timeout_s),
        ..ClientOptions::default()
    }
}

fn sim_config(args: RunArgs) -> Result<SimConfig, String> {
    let rate_of_interval = |interval_ms: u64| args.stations as f64 * 1000.0 / interval_ms.max(1) as f64;
    let duration = args.duration_s.map(Duration::try_from_secs_f64).transpose();
    let times = match args.start_time {
        _ if args.undated => Times::Undated,
        Some(start_us) => Times::Steps { start_us, step_us: args.step_ms.saturating_mul(1000) },
        None => Times::Clock,
    };
    Ok(SimConfig {
        client: client_options(&args.client, format!("sim-{}", args.seed), args.resend_after_reconnect),
        stations: args.stations,
        clients: args.client.clients,
        seed: args.seed,
        messages_per_s: args.rate.or(args.interval_ms.map(rate_of_interval)),
        duration: duration.map_err(|error| format!("--duration-s: {error}"))?,
        messages_max: args.messages,
        format: args.client.format.into(),
        agency: args.agency,
        times,
        faults: Faults {
            duplicates: args.duplicates,
            reorder: args.reorder,
            gaps: args.gaps,
            garbage: args.garbage,
            corrections: args.corrections,
        },
        ledger: args.client.ledger,
    })
}

fn replay_config(args: ReplayArgs) -> ReplayConfig {
    ReplayConfig {
        client: client_options(&args.client, "replay".to_owned(), true),
        paths: args.data.into_iter().chain(args.file).collect(),
        shift_to_now: args.shift_to_now,
        messages_per_s: args.speed,
        messages_max: args.limit,
        clients: args.client.clients,
        format: args.client.format.into(),
        ledger: args.client.ledger,
    }
}

/// Runs something that a signal stops and a terminal watches, and prints what it did.
fn with_control(run: impl FnOnce(&Arc<Control>) -> Result<Summary, RunError>) -> Result<ExitCode, String> {
    let control = Control::new();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second signal ends the program at once.
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_USAGE.into(), control.stop_flag())
            .and_then(|_| signal_hook::flag::register(signal, control.stop_flag()))
            .map_err(|error| format!("signals cannot be handled: {error}"))?;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let progress = std::io::stderr().is_terminal().then(|| {
        let (control, is_over) = (Arc::clone(&control), Arc::clone(&is_over));
        std::thread::spawn(move || show_progress(&control, &is_over))
    });
    let outcome = run(&control);
    is_over.store(true, Ordering::Relaxed);
    if let Some(progress) = progress {
        progress.thread().unpark();
        // The thread only prints; what becomes of it does not matter to the result.
        let _ = progress.join();
    }
    let summary = outcome.map_err(|error| error.to_string())?;
    print_summary(&summary);
    if summary.clients_gave_up > 0 {
        return Err(format!(
            "{} clients gave up: their connection did not come back",
            summary.clients_gave_up
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn show_progress(control: &Control, is_over: &AtomicBool) {
    let mut before = 0;
    while !is_over.load(Ordering::Relaxed) {
        let summary = control.summary();
        let rate = summary.messages_acked - before;
        before = summary.messages_acked;
        eprint!(
            "\r{} sent, {} acked ({rate}/s), {} connections lost \x1b[K",
            summary.messages_sent, summary.messages_acked, summary.connections_lost
        );
        std::thread::park_timeout(PROGRESS_INTERVAL);
    }
    eprintln!();
}

fn print_summary(summary: &Summary) {
    println!(
        "sent {} messages with {} readings, acked {} with {}, not acked {}",
        summary.messages_sent,
        summary.readings_sent,
        summary.messages_acked,
        summary.readings_acked,
        summary.unacked()
    );
    println!(
        "of these: {} duplicates, {} corrections, {} garbage, {} years off, {} out of order; {} skipped, {} sent again after {} lost connections",
        summary.duplicates,
        summary.corrections,
        summary.garbage,
        summary.misdated,
        summary.reordered,
        summary.gaps,
        summary.resent,
        summary.connections_lost
    );
}

fn verify(args: VerifyArgs) -> Result<ExitCode, String> {
    let source = match (args.rows, args.gateway_http, args.gateway_bin, args.data_dir) {
        (Some(rows), ..) => Source::File(rows),
        (_, Some(base), ..) => Source::Http(base),
        (.., Some(gateway), Some(data_dir)) => Source::Program { gateway, data_dir },
        _ => return Err("one of --rows, --gateway-http, --gateway-bin with --data-dir is needed".to_owned()),
    };
    let revisions = if args.in_force_only { Revisions::InForce } else { Revisions::Unknown };
    let report = verify_files(&args.ledger, &source, revisions).map_err(|error| error.to_string())?;
    let text = if args.json {
        serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?
    } else {
        report.to_string()
    };
    // A reader that went away is no reason to change the verdict.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_interval_per_station_becomes_a_rate() {
        let cli = Cli::parse_from(["firmware-sim", "run", "--stations", "50", "--interval-ms", "500"]);
        let Command::Run(args) = cli.command else { panic!("run was asked for") };
        assert_eq!(sim_config(args).expect("good").messages_per_s, Some(100.0));
        assert_eq!(parse_rate("250/s"), Ok(250.0));
    }

    #[test]
    fn verify_needs_one_source() {
        assert!(Cli::try_parse_from(["firmware-sim", "verify", "--ledger", "l"]).is_err());
        assert!(
            Cli::try_parse_from(["firmware-sim", "verify", "--ledger", "l", "--gateway-bin", "g"]).is_err()
        );
        assert!(Cli::try_parse_from(["firmware-sim", "verify", "--ledger", "l", "--rows", "r"]).is_ok());
    }
}
