//! What may be typed.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, ConfigError, Sources, load};

use super::Failure;

/// Largest configuration file that is read.
const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Debug, Parser)]
#[command(
    name = "sensor-gateway",
    version,
    about = "Takes in sensor readings over MQTT, durably, and keeps the books."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub common: CommonArguments,
}

#[derive(Args, Clone, Debug, Default)]
pub struct CommonArguments {
    /// Configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<String>,
    /// Directory of everything the gateway keeps
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address of the MQTT listener [default: 127.0.0.1:1883]
    #[arg(long, global = true, value_name = "ADDR")]
    pub mqtt_listen: Option<String>,
    /// Address of the HTTP listener [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDR")]
    pub http_listen: Option<String>,
    /// Any other setting; may be repeated (`config reference` lists all)
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C
    Run(RunArguments),
    /// Start a gateway and a simulated city on this machine, and prove at the end that no reading was lost
    Demo(DemoArguments),
    /// Print observations
    Query(QueryArguments),
    /// Print the books: what became of every message and every reading
    Ledger(LedgerArguments),
    /// What could not be decoded: list, export, decode again
    Quarantine(QuarantineArguments),
    /// Check everything that is kept, and get original messages back
    Journal(JournalArguments),
    /// The configuration
    Config(ConfigArguments),
}

#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// Start although a log has frames missing in its middle: what they held is lost, the log records which they were
    #[arg(long)]
    pub accept_gap: bool,
    /// Start without store file NUMBER (run-000000000012.parquet: 12), which is missing or damaged: its rows are given up, and
    /// whoever has them may send them again; may be given several times
    #[arg(long, value_name = "NUMBER", conflicts_with = "accept_gap")]
    pub accept_lost_file: Vec<u64>,
}

#[derive(Args, Clone, Debug)]
pub struct DemoArguments {
    /// Stations of the city [default: 1000, or those that the directory has]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub stations: Option<u32>,
    /// Another seed makes another city [default: 1, or that of the directory]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Hours of the past that the stations send first, as far as no earlier run has sent them
    #[arg(long, value_name = "HOURS", default_value_t = 3.0, value_parser = parse_hours)]
    pub past_h: f64,
    /// Cut a region off at first; then it sends all that it kept at once
    #[arg(long)]
    pub storm: bool,
    /// End after so many seconds of live readings instead of on Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub duration_s: Option<u32>,
}

/// Longest past of a demo: a month.
const PAST_H_MAX: f64 = 744.0;

fn parse_hours(text: &str) -> Result<f64, String> {
    let hours = text.parse().ok();
    hours
        .filter(|hours: &f64| (0.0..=PAST_H_MAX).contains(hours))
        .ok_or_else(|| format!("expected hours from 0 to {PAST_H_MAX}"))
}

#[derive(Args, Clone, Debug, Default)]
pub struct QueryArguments {
    /// agency/station/property, agency/station, or agency; all if it is not given
    #[arg(long)]
    pub datastream: Option<String>,
    /// First phenomenonTime (RFC 3339, or an epoch number)
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// End of the period; not included
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Most rows; all if it is not given
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<String>,
    #[arg(long, value_enum, default_value_t = RowFormat::Csv)]
    pub format: RowFormat,
    /// All revisions instead of the one in force
    #[arg(long)]
    pub revisions: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub struct LedgerArguments {
    #[arg(long)]
    pub agency: Option<String>,
    #[arg(long)]
    pub client: Option<String>,
    /// Station, or agency/station
    #[arg(long)]
    pub station: Option<String>,
    /// Receive time, in whole hours
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    #[arg(long, value_enum, default_value_t = PageFormat::Table)]
    pub format: PageFormat,
}

#[derive(Args, Clone, Debug)]
pub struct QuarantineArguments {
    #[command(subcommand)]
    pub command: QuarantineCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List entries, newest first
    List(QuarantineListArguments),
    /// Print everything that was quarantined of one message, with its payload
    Show {
        /// Position of the message, as listed
        position: String,
        #[arg(long, value_enum, default_value_t = PageFormat::Table)]
        format: PageFormat,
    },
    /// Write entries with their payloads, oldest first
    Export(QuarantineExportArguments),
    /// Decode quarantined messages again, with this gateway's build and configuration
    Replay(QuarantineSettleArguments),
    /// Take entries out of the quarantine for good, without decoding them; the books say how many
    Erase(QuarantineSettleArguments),
}

#[derive(Args, Clone, Debug, Default)]
pub struct QuarantineFilterArguments {
    #[arg(long)]
    pub reason: Option<String>,
    #[arg(long)]
    pub client: Option<String>,
    #[arg(long)]
    pub agency: Option<String>,
    /// MQTT topic filter
    #[arg(long)]
    pub topic: Option<String>,
    /// Receive time
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}

#[derive(Args, Clone, Debug, Default)]
pub struct QuarantineListArguments {
    #[command(flatten)]
    pub filter: QuarantineFilterArguments,
    /// Of one message
    #[arg(long)]
    pub position: Option<String>,
    /// Most entries [default: 100]
    #[arg(long, value_name = "ENTRIES")]
    pub limit: Option<String>,
    #[arg(long, value_enum, default_value_t = RowFormat::Table)]
    pub format: RowFormat,
}

#[derive(Args, Clone, Debug, Default)]
pub struct QuarantineExportArguments {
    #[command(flatten)]
    pub filter: QuarantineFilterArguments,
    /// Of one message
    #[arg(long)]
    pub position: Option<String>,
    #[arg(long, value_enum, default_value_t = ExportFormat::Ndjson)]
    pub format: ExportFormat,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub output: Option<String>,
}

#[derive(Args, Clone, Debug, Default)]
pub struct QuarantineSettleArguments {
    /// Positions of messages, as listed
    #[arg(value_name = "POSITION")]
    pub positions: Vec<String>,
    #[command(flatten)]
    pub filter: QuarantineFilterArguments,
    /// Everything that is in quarantine
    #[arg(long)]
    pub all: bool,
    /// Tell what would become of it, change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long, value_enum, default_value_t = PageFormat::Table)]
    pub format: PageFormat,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum ExportFormat {
    #[default]
    Ndjson,
    Csv,
}

impl ExportFormat {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct JournalArguments {
    #[command(subcommand)]
    pub command: JournalCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum JournalCommand {
    /// Check every segment, frame, store file, catalogue row and the sums of the books, beside a running gateway or without
    /// one; exit 1 names the first inconsistency. Nothing is written
    Verify(JournalVerifyArguments),
    /// Print messages as they came, byte by byte, as far as the journal still has them
    Dump(JournalDumpArguments),
}

#[derive(Args, Clone, Debug, Default)]
pub struct JournalVerifyArguments {
    /// List every inconsistency instead of the first
    #[arg(long)]
    pub all: bool,
    #[arg(long, value_enum, default_value_t = PageFormat::Table)]
    pub format: PageFormat,
}

#[derive(Args, Clone, Debug, Default)]
pub struct JournalDumpArguments {
    /// Messages of one station
    #[arg(long, value_name = "AGENCY/STATION")]
    pub station: Option<String>,
    /// First receive time (RFC 3339, or an epoch number)
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// End of the period; not included
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Positions, both included; A.. and ..B are open, a single number is one message
    #[arg(long, value_name = "A..B")]
    pub position: Option<String>,
    #[arg(long, value_enum, default_value_t = DumpFormat::Ndjson)]
    pub format: DumpFormat,
    /// Write into this directory: a file per message (raw, hex), or messages.ndjson
    #[arg(long, value_name = "DIR")]
    pub output: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DumpFormat {
    /// The payloads, nothing between them
    Raw,
    /// A line of hexadecimal digits for each payload
    Hex,
    /// A JSON object for each message: position, receive time, client, topic, properties, payload …
    #[default]
    Ndjson,
}

#[derive(Args, Clone, Debug)]
pub struct ConfigArguments {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file together with environment and options; exit 2 names all that is wrong
    Check {
        /// Instead of `--config FILE`
        file: Option<String>,
    },
    /// Print the reference of all settings (Markdown)
    Reference,
    /// Print a configuration file with every setting in it
    Example,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum RowFormat {
    #[default]
    Csv,
    Json,
    Ndjson,
    Table,
}

impl RowFormat {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Table => "table",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum PageFormat {
    #[default]
    Table,
    Json,
}

impl PageFormat {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
        }
    }
}

impl CommonArguments {
    /// The configuration of file, environment and options.
    pub fn load(&self) -> Result<Config, Failure> {
        self.load_over(Vec::new())
    }

    /// The same, where a command has defaults of its own: key, value.
    pub(super) fn load_over(&self, defaults: Vec<(&'static str, String)>) -> Result<Config, Failure> {
        load(&Sources { defaults, ..self.sources(self.config.as_deref())? })
            .map_err(|error: ConfigError| Failure::environment(error.to_string()))
    }

    pub(super) fn sources(&self, file: Option<&str>) -> Result<Sources, Failure> {
        let file = file.map(|name| Ok::<_, Failure>((name.to_owned(), read(name)?))).transpose()?;
        // Names and values that are no text are not ours, or become wrong values with a name.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .collect();
        let options = [
            ("--data-dir", "data_dir", &self.data_dir),
            ("--mqtt-listen", "mqtt.listen", &self.mqtt_listen),
            ("--http-listen", "http.listen", &self.http_listen),
        ];
        let options = options
            .into_iter()
            .filter_map(|(option, key, value)| Some((option, key, value.clone()?)))
            .collect();
        Ok(Sources { defaults: Vec::new(), file, environment, set: self.set.clone(), options })
    }
}

fn read(name: &str) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| Failure::environment(format!("{name}: can't be read: {error}"));
    let bytes = std::fs::metadata(name).map_err(unreadable)?.len();
    if bytes > CONFIG_FILE_BYTES_MAX {
        let sentence =
            format!("{name}: has {bytes} bytes; a configuration file has at most {CONFIG_FILE_BYTES_MAX}");
        return Err(Failure::environment(sentence));
    }
    std::fs::read_to_string(name).map_err(unreadable)
}
