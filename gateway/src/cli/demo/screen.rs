//! What the demo shows: lines that stay, and on a terminal a block below them that is redrawn.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use firmware_sim::{Control, Summary};

use super::feed::FeedWatch;
use crate::books::{Ledger, LedgerFilter};
use crate::query::GatewayView;

/// Where no terminal is, a line this often.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Folders below the data directory that are looked into for the space they take.
const FOLDER_DEPTH_MAX: usize = 8;

/// The terminal, or whatever stands in its place. Nobody has to read it, so what can't be written is left.
pub(super) struct Screen<'a> {
    out: &'a mut dyn Write,
    is_terminal: bool,
    /// Lines of the block on the terminal.
    block_lines: usize,
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a mut dyn Write, is_terminal: bool) -> Self {
        Self { out, is_terminal, block_lines: 0 }
    }

    /// A line that stays; the block comes back below it.
    pub(super) fn say(&mut self, line: &str) {
        let clear = self.clear_block();
        let _ = writeln!(self.out, "{clear}{line}").and_then(|()| self.out.flush());
    }

    /// Draws the block anew. Without wrapping, so that every line of it stays one line on a narrow terminal.
    fn draw(&mut self, lines: &[String]) {
        let clear = self.clear_block();
        let text = lines.join("\n");
        let _ = writeln!(self.out, "{clear}\x1b[?7l{text}\x1b[?7h").and_then(|()| self.out.flush());
        self.block_lines = lines.len();
    }

    /// The control sequence that takes the block away.
    fn clear_block(&mut self) -> String {
        match std::mem::take(&mut self.block_lines) {
            0 => String::new(),
            lines => format!("\r\x1b[{lines}A\x1b[J"),
        }
    }
}

/// What the devices do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Replay,
    Live,
}

/// Measures what goes on.
#[derive(Debug)]
pub(super) struct Meter {
    data_dir: PathBuf,
    devices: Arc<Control>,
    stations: u32,
    pub(super) phase: Phase,
    began: Instant,
    /// When, and how many messages had been received.
    last: (Instant, u64),
    last_line: Instant,
}

/// One look.
struct Sample {
    seconds: u64,
    received_per_s: f64,
    devices: Summary,
    ledger: Ledger,
    disk_bytes: u64,
}

impl Meter {
    /// `received`: messages in the books before anything is sent.
    pub(super) fn new(
        data_dir: &Path,
        devices: Arc<Control>,
        stations: u32,
        phase: Phase,
        received: u64,
    ) -> Self {
        let (data_dir, now) = (data_dir.to_owned(), Instant::now());
        Self { data_dir, devices, stations, phase, began: now, last: (now, received), last_line: now }
    }

    pub(super) fn show(&mut self, view: &dyn GatewayView, feed: &FeedWatch, screen: &mut Screen<'_>) {
        if !screen.is_terminal && self.last_line.elapsed() < LINE_INTERVAL {
            return;
        }
        self.last_line = Instant::now();
        match view.ledger(&LedgerFilter::default()) {
            Ok(ledger) => {
                let sample = self.sample(ledger);
                if screen.is_terminal {
                    screen.draw(&self.block(&sample, feed));
                } else {
                    screen.say(&line(&sample));
                }
            }
            Err(error) => screen.say(&format!("The books can't be read just now: {error}")),
        }
    }

    fn sample(&mut self, ledger: Ledger) -> Sample {
        let now = Instant::now();
        let received = ledger.messages.received;
        let (last, before) = self.last;
        let received_per_s =
            received.saturating_sub(before) as f64 / (now - last).as_secs_f64().max(f64::EPSILON);
        self.last = (now, received);
        Sample {
            seconds: self.began.elapsed().as_secs(),
            received_per_s,
            devices: self.devices.summary(),
            ledger,
            disk_bytes: disk_bytes(&self.data_dir, 0),
        }
    }

    fn block(&self, sample: &Sample, feed: &FeedWatch) -> Vec<String> {
        let Sample { seconds, received_per_s, devices, ledger, disk_bytes } = sample;
        let (messages, observations) = (&ledger.messages, &ledger.observations);
        let phase = match self.phase {
            Phase::Replay => "replay of recorded readings".to_owned(),
            Phase::Live => format!("{} simulated stations", grouped(self.stations.into())),
        };
        let (feed_messages, feed_lines) = feed.latest();
        let mut lines = vec![
            String::new(),
            format!("{phase}, {seconds} s                                   Ctrl-C ends the demo"),
            format!(
                "devices       sent {}, acknowledged {}",
                grouped(devices.messages_sent),
                grouped(devices.messages_acked)
            ),
            format!(
                "messages      received {} ({received_per_s:.0}/s), quarantined {}, pending {}",
                grouped(messages.received),
                grouped(messages.quarantined + messages.partial),
                grouped(messages.pending)
            ),
            format!(
                "observations  stored {}, corrections {}, duplicates {}, unresolved {}",
                grouped(observations.inserted + observations.corrected),
                grouped(observations.corrected),
                grouped(observations.duplicate),
                grouped(observations.unresolved)
            ),
            format!(
                "store         flushed {}, disk {} (journals are laid out in advance)",
                grouped(observations.flushed.unwrap_or(0)),
                mebibytes(*disk_bytes)
            ),
            format!(
                "feed          {} messages to the demo's subscriber, some of them:",
                grouped(feed_messages)
            ),
        ];
        lines.extend(feed_lines.into_iter().map(|line| format!("  {line}")));
        lines
    }
}

fn line(sample: &Sample) -> String {
    let Sample { seconds, received_per_s, devices, ledger, disk_bytes } = sample;
    let (messages, observations) = (&ledger.messages, &ledger.observations);
    format!(
        "{seconds} s: {received_per_s:.0} messages/s, received {}, acknowledged {}, pending {}, quarantined {}; observations \
         stored {}, duplicates {}, flushed {}; disk {}",
        grouped(messages.received),
        grouped(devices.messages_acked),
        grouped(messages.pending),
        grouped(messages.quarantined + messages.partial),
        grouped(observations.inserted + observations.corrected),
        grouped(observations.duplicate),
        grouped(observations.flushed.unwrap_or(0)),
        mebibytes(*disk_bytes)
    )
}

/// `1234567` → `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Space that a folder takes. Files come and go meanwhile; those that are gone take none.
fn disk_bytes(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes_of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth < FOLDER_DEPTH_MAX => disk_bytes(&entry.path(), depth + 1),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(bytes_of).sum()
}
