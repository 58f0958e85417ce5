//! Measures what goes on, every second, and says it in a block or a line.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use firmware_sim::Control;
use firmware_sim::control::Latencies;

use super::feed::FeedWatch;
use super::screen::Screen;
use super::words::{cut, duration, grouped, latency, mebibytes};
use crate::books::{Ledger, LedgerFilter};
use crate::query::GatewayView;

/// Where no terminal is, a line this often.
const LINE_INTERVAL: Duration = Duration::from_secs(15);
/// Looks that rates and latencies are taken over; there is one every second.
const WINDOW_LOOKS: usize = 10;
/// Folders below the data directory that are looked into for the space they take.
const FOLDER_DEPTH_MAX: usize = 8;

/// One look at the counts that rates are made of.
#[derive(Debug)]
struct Look {
    at: Instant,
    acked: u64,
    stored: u64,
    latencies: Latencies,
}

#[derive(Debug)]
pub(super) struct Meter {
    data_dir: PathBuf,
    devices: Arc<Control>,
    /// The books before this run.
    before: Ledger,
    began: Instant,
    /// At most [`WINDOW_LOOKS`], oldest first.
    looks: VecDeque<Look>,
    last_line: Instant,
}

/// What is shown.
struct Sample {
    seconds: u64,
    ledger: Ledger,
    sent: u64,
    acked: u64,
    messages_per_s: f64,
    readings_per_s: f64,
    /// Median and 99th percentile, µs; none while nothing is acknowledged.
    ack_us: Option<(u64, u64)>,
    disk_bytes: u64,
}

impl Meter {
    pub(super) fn new(data_dir: &Path, devices: Arc<Control>, before: Ledger) -> Self {
        let now = Instant::now();
        Self {
            data_dir: data_dir.to_owned(),
            devices,
            before,
            began: now,
            looks: VecDeque::new(),
            last_line: now,
        }
    }

    /// `phase`: what the devices do.
    pub(super) fn show(
        &mut self,
        phase: &str,
        view: &dyn GatewayView,
        feed: &FeedWatch,
        screen: &mut Screen<'_>,
    ) {
        let is_silent = !screen.is_terminal() && self.last_line.elapsed() < LINE_INTERVAL;
        match view.ledger(&LedgerFilter::default()) {
            Ok(ledger) => {
                let sample = self.look(ledger);
                if screen.is_terminal() {
                    screen.draw(&self.block(phase, &sample, feed));
                } else if !is_silent {
                    self.last_line = Instant::now();
                    screen.say(&self.line(phase, &sample));
                }
            }
            Err(error) if !is_silent => screen.say(&format!("The books can't be read just now: {error}")),
            Err(_) => {}
        }
    }

    fn look(&mut self, ledger: Ledger) -> Sample {
        let summary = self.devices.summary();
        let look = Look {
            at: Instant::now(),
            acked: summary.messages_acked,
            stored: ledger.observations.inserted + ledger.observations.corrected,
            latencies: self.devices.ack_latency(),
        };
        let first = self.looks.front().unwrap_or(&look);
        let elapsed_s = (look.at - first.at).as_secs_f64().max(f64::EPSILON);
        let per_s = |now: u64, then: u64| now.saturating_sub(then) as f64 / elapsed_s;
        let latencies = look.latencies.since(&first.latencies);
        let sample = Sample {
            seconds: self.began.elapsed().as_secs(),
            sent: summary.messages_sent,
            acked: summary.messages_acked,
            messages_per_s: per_s(look.acked, first.acked),
            readings_per_s: per_s(look.stored, first.stored),
            ack_us: latencies.quantile_us(0.5).zip(latencies.quantile_us(0.99)),
            disk_bytes: disk_bytes(&self.data_dir, 0),
            ledger,
        };
        if self.looks.len() == WINDOW_LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(look);
        sample
    }

    fn block(&self, phase: &str, sample: &Sample, feed: &FeedWatch) -> Vec<String> {
        let (now, then) = (&sample.ledger, &self.before);
        let stored = |ledger: &Ledger| ledger.observations.inserted + ledger.observations.corrected;
        let quarantined = |ledger: &Ledger| ledger.messages.quarantined + ledger.messages.partial;
        let row = |name: &str, this: u64, all: &str, remark: &str| {
            format!("  {name:<20}{:>14}{all:>16}   {remark}", grouped(this))
        };
        let of_books = |name: &str, count: &dyn Fn(&Ledger) -> u64, remark: &str| {
            row(name, count(now).saturating_sub(count(then)), &grouped(count(now)), remark)
        };
        let per_s = |rate: f64, thing: &str| format!("{} {thing}/s", grouped(rate.round() as u64));
        let ack = sample.ack_us.map_or("-".to_owned(), |(median, high)| {
            format!("p50 {}, p99 {} (last {WINDOW_LOOKS} s)", latency(median), latency(high))
        });
        let (feed_messages, feed_lines) = feed.latest();
        let mut lines = vec![
            String::new(),
            cut(phase),
            format!("{:<34}{:>44}", duration(sample.seconds), "Ctrl-C ends the demo and shows the proof"),
            format!("  {:<20}{:>14}{:>16}", "", "this run", "all runs"),
            row("messages sent", sample.sent, "", ""),
            row("  acknowledged", sample.acked, "", &per_s(sample.messages_per_s, "messages")),
            of_books("  received", &|ledger| ledger.messages.received, ""),
            of_books("  quarantined", &quarantined, "wholly or in part"),
            of_books("readings stored", &stored, &per_s(sample.readings_per_s, "readings")),
            of_books("  duplicates", &|ledger| ledger.observations.duplicate, "not stored again"),
            format!("  acknowledged in     {ack}"),
            format!("  disk                {}, journals laid out in advance", mebibytes(sample.disk_bytes)),
            format!("  feed                {} messages; some of the latest (UTC+7):", grouped(feed_messages)),
        ];
        lines.extend(feed_lines.into_iter().map(|line| format!("    {line}")));
        lines
    }

    fn line(&self, phase: &str, sample: &Sample) -> String {
        let observations = &sample.ledger.observations;
        let before = &self.before.observations;
        let ack = sample.ack_us.map_or(String::new(), |(median, high)| {
            format!(" (p50 {}, p99 {})", latency(median), latency(high))
        });
        format!(
            "{}: {phase} In this run {} messages acknowledged{ack}, {} readings stored, {} duplicates; {} messages/s; disk {}.",
            duration(sample.seconds),
            grouped(sample.acked),
            grouped(
                (observations.inserted + observations.corrected)
                    .saturating_sub(before.inserted + before.corrected)
            ),
            grouped(observations.duplicate.saturating_sub(before.duplicate)),
            grouped(sample.messages_per_s.round() as u64),
            mebibytes(sample.disk_bytes)
        )
    }
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
