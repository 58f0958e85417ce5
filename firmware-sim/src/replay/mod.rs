//! `firmware-sim replay`: publishes recorded series as they were recorded.
//!
//! Every record is one message; its faults stay in it as far as a gateway can see them. How each layout is mapped, and what
//! becomes of missing values, flags and units, stands in `firmware-sim/data/README.md` and beside each reader.

mod air;
mod extract;
mod layout;
mod table;
mod traffic;
mod water;
mod weather;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::client::{ClientOptions, Pace, Planned, RunError, Source, run_clients};
use crate::control::{Control, Summary};
use crate::ledger::{Kind, Session, Writer};
use crate::message::{Message, Reading};
use crate::payload::{Encoded, TimeStyle, encode};
use crate::sim::FormatChoice;
use crate::time::now_us;

pub use extract::extract;
pub use layout::Layout;
pub use table::FormatError;

/// Largest recorded file that is read; files are held in memory as a whole.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// How deep a data folder is searched.
const FOLDER_DEPTH_MAX: usize = 8;
const HOUR_S: u32 = 3600;

/// What to replay.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayConfig {
    pub client: ClientOptions,
    /// Files and folders. A folder is searched for files of known layouts; a file must have one.
    pub paths: Vec<PathBuf>,
    /// Move the times of each file so that its newest is now; the distances stay.
    pub shift_to_now: bool,
    /// Messages per second of all clients together; `None` is as fast as the broker acknowledges.
    pub messages_per_s: Option<f64>,
    /// Only so many messages, the same share of each file.
    pub messages_max: Option<usize>,
    pub clients: usize,
    pub format: FormatChoice,
    pub ledger: PathBuf,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            client: ClientOptions {
                client_prefix: "firmware-sim-replay".to_owned(),
                ..ClientOptions::default()
            },
            paths: Vec::new(),
            shift_to_now: false,
            messages_per_s: None,
            messages_max: None,
            clients: 1,
            format: FormatChoice::Json,
            ledger: PathBuf::from("truth.ndjson"),
        }
    }
}

/// Why recorded series could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{} cannot be read: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{} has more than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLong(PathBuf),
    #[error("{}: no known layout of recorded series; known are:\n  {}", .0.display(), Layout::known().collect::<Vec<_>>().join("\n  "))]
    UnknownLayout(PathBuf),
    #[error("{}: {error}", path.display())]
    Format { path: PathBuf, error: FormatError },
    #[error("no recorded series in {}; name a folder with --data or files with --file", list(.0))]
    Nothing(Vec<PathBuf>),
}

fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "nothing".to_owned();
    }
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// One recorded file.
#[derive(Clone, Debug)]
pub struct Series {
    pub path: PathBuf,
    pub layout: Layout,
    /// In the order of the file.
    pub messages: Vec<Message>,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub series: Vec<Series>,
    /// Files in folders that hold no recorded series.
    pub passed_over: Vec<PathBuf>,
}

/// Reads files and the files in folders.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, ReplayError> {
    let mut loaded = Loaded::default();
    for path in paths {
        if path.is_dir() {
            load_folder(path, 0, &mut loaded)?;
        } else {
            let series = load_file(path)?.ok_or_else(|| ReplayError::UnknownLayout(path.clone()))?;
            loaded.series.push(series);
        }
    }
    if loaded.series.iter().all(|series| series.messages.is_empty()) {
        return Err(ReplayError::Nothing(paths.to_vec()));
    }
    Ok(loaded)
}

fn load_folder(folder: &Path, depth: usize, loaded: &mut Loaded) -> Result<(), ReplayError> {
    let failed = |error| ReplayError::Read { path: folder.to_owned(), error };
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if depth < FOLDER_DEPTH_MAX {
                load_folder(&path, depth + 1, loaded)?;
            }
            continue;
        }
        match load_file(&path)? {
            Some(series) => loaded.series.push(series),
            None => loaded.passed_over.push(path),
        }
    }
    Ok(())
}

/// The series of a file, or `None` where it has no known layout.
fn load_file(path: &Path) -> Result<Option<Series>, ReplayError> {
    let failed = |error| ReplayError::Read { path: path.to_owned(), error };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(ReplayError::TooLong(path.to_owned()));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(None) };
    series_of(path, text)
}

/// The series of a file's text; of its path only the name counts.
fn series_of(path: &Path, text: &str) -> Result<Option<Series>, ReplayError> {
    let Some(layout) = Layout::detect(text) else { return Ok(None) };
    let messages =
        layout.read(path, text).map_err(|error| ReplayError::Format { path: path.to_owned(), error })?;
    Ok(Some(Series { path: path.to_owned(), layout, messages }))
}

/// A message at an instant (epoch µs and offset in seconds) that is known.
fn message(
    agency: &'static str,
    station: String,
    instant: Option<(i64, i32)>,
    readings: Vec<Reading>,
) -> Option<Message> {
    let (time_us, utc_offset_s) = instant?;
    let (agency, station) = (agency.into(), station.into());
    Some(Message { agency, station, time_us: Some(time_us), utc_offset_s, seq: None, readings })
}

/// Moves all times of a series so that the newest becomes `now_us`.
fn shift_to(series: &mut Series, now_us: i64) {
    let Some(newest) = series.messages.iter().filter_map(|message| message.time_us).max() else { return };
    // Whole seconds, so that times stay as round as they were recorded.
    let shift_us = (now_us - newest).div_euclid(1_000_000) * 1_000_000;
    for message in &mut series.messages {
        message.time_us = message.time_us.map(|time_us| time_us + shift_us);
    }
}

/// Messages of all series in one order: each in the order of its file, and all of them ending together, so that every part
/// of the whole has the same share of each.
fn interleaved(series: Vec<Series>) -> Vec<Message> {
    let mut placed: Vec<(f64, usize, Message)> = Vec::new();
    for (index, series) in series.into_iter().enumerate() {
        let count = series.messages.len() as f64;
        let messages = series.messages.into_iter().enumerate();
        placed.extend(messages.map(|(at, message)| ((at as f64 + 0.5) / count, index, message)));
    }
    placed.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
    placed.into_iter().map(|(_, _, message)| message).collect()
}

/// Which client carries which station: the first that meets it keeps it, so that its messages stay in order.
fn dealt(messages: Vec<Message>, clients: usize) -> Vec<Vec<Message>> {
    let mut hands: Vec<Vec<Message>> = vec![Vec::new(); clients];
    let mut client_of: HashMap<(String, String), usize> = HashMap::new();
    for message in messages {
        let next = client_of.len() % clients;
        let client =
            *client_of.entry((message.agency.to_string(), message.station.to_string())).or_insert(next);
        hands[client].push(message);
    }
    hands
}

struct Recorded {
    messages: std::vec::IntoIter<Message>,
    format: FormatChoice,
    count: usize,
    ready: std::vec::IntoIter<Encoded>,
}

impl Source for Recorded {
    fn next(&mut self, _now_us: i64) -> Option<Planned> {
        loop {
            if let Some(encoded) = self.ready.next() {
                let format = self.format.of_station(self.count);
                return Some(Planned { encoded, format, kind: Kind::Reading });
            }
            let message = self.messages.next()?;
            self.count += 1;
            self.ready =
                encode(message, self.format.of_station(self.count), TimeStyle::LocalText).into_iter();
        }
    }
}

/// Publishes the series on the calling thread until the last message is acknowledged or `control` stops it.
pub fn run(config: &ReplayConfig, control: &Arc<Control>) -> Result<Summary, RunError> {
    let loaded = load(&config.paths)?;
    run_loaded(config, loaded.series, control)
}

/// [`run`] with series that are already loaded.
pub fn run_loaded(
    config: &ReplayConfig,
    mut series: Vec<Series>,
    control: &Arc<Control>,
) -> Result<Summary, RunError> {
    if config.clients == 0 || config.clients > crate::sim::CLIENTS_MAX {
        let most = crate::sim::CLIENTS_MAX;
        return Err(RunError::BadConfiguration(format!(
            "clients must be 1 to {most}, not {}",
            config.clients
        )));
    }
    if config.messages_per_s.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        return Err(RunError::BadConfiguration("the speed must be a number above 0".to_owned()));
    }
    if config.shift_to_now {
        let now_us = now_us();
        series.iter_mut().for_each(|series| shift_to(series, now_us));
    }
    let mut messages = interleaved(series);
    messages.truncate(config.messages_max.unwrap_or(usize::MAX));
    let total = messages.len() as f64;
    let ledger = Writer::open(&config.ledger, &Session::new("replay", None))?;
    let sources = dealt(messages, config.clients)
        .into_iter()
        .filter(|messages| !messages.is_empty())
        .map(|messages| {
            let share = config.messages_per_s.map(|rate| rate * messages.len() as f64 / total);
            let source = Recorded {
                messages: messages.into_iter(),
                format: config.format,
                count: 0,
                ready: Vec::new().into_iter(),
            };
            (Box::new(source) as Box<dyn Source>, Pace::new(share, 0.0))
        })
        .collect();
    run_clients(&config.client, None, ledger, control, sources)?;
    Ok(control.summary())
}

#[cfg(test)]
mod tests;
