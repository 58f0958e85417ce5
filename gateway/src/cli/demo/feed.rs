//! A subscriber of the demo: what it sees shows that normalised readings come out again.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use codecs::time::parse_rfc3339;
use firmware_sim::watch::{self, WatchConfig, Watched};
use serde_json::Value;

use crate::cli::Failure;

/// Every datastream's own topic: domain, agency, station, property.
const FILTER: &str = "feed/v1/+/+/+/+";
/// Lines that are kept for the screen.
const LINES_MAX: usize = 6;
/// Time between two messages that are shown, and their number is a multiple of this: the first reading of a message comes
/// after a pause, so time alone would always choose the same property of a station.
const SHOWN_EVERY: Duration = Duration::from_millis(300);
const SHOWN_MULTIPLE: u64 = 7;
/// Longest line; a station may send texts of 256 bytes.
const LINE_CHARACTERS_MAX: usize = 160;
/// The city's clocks.
const UTC_OFFSET_S: i64 = 7 * 3600;

/// `agency/station` → what people call it.
pub(super) type StationNames = HashMap<String, String>;

#[derive(Debug, Default)]
struct Seen {
    messages: u64,
    last_shown: Option<Instant>,
    lines: VecDeque<String>,
}

/// Listens on a thread of its own.
#[derive(Debug)]
pub(super) struct FeedWatch {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl FeedWatch {
    pub(super) fn start(broker: SocketAddr, names: StationNames) -> Result<Self, Failure> {
        let config = WatchConfig {
            broker: broker.to_string(),
            client_id: "demo-subscriber".to_owned(),
            filter: FILTER.to_owned(),
        };
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let body = {
            let (seen, stop) = (seen.clone(), stop.clone());
            move || {
                let watched = watch::run(&config, &stop, &mut |message| see(&seen, &names, message));
                if let Err(error) = watched {
                    tracing::warn!(%error, "the demo's subscriber ended");
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("subscriber".to_owned())
            .spawn(body)
            .map_err(|error| Failure::environment(format!("starting the subscriber: {error}")))?;
        Ok(Self { seen, stop, thread })
    }

    /// How many messages arrived, and some of the latest, oldest first.
    pub(super) fn latest(&self) -> (u64, Vec<String>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.messages, seen.lines.iter().cloned().collect())
    }

    /// Ends it; says how many messages arrived.
    pub(super) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the demo's subscriber ended by a bug");
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).messages
    }
}

fn see(seen: &Mutex<Seen>, names: &StationNames, message: Watched<'_>) {
    // Retained ones are of earlier.
    if message.retained {
        return;
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.messages += 1;
    let now = Instant::now();
    let is_early = seen.last_shown.is_some_and(|last| now - last < SHOWN_EVERY);
    if is_early || !seen.messages.is_multiple_of(SHOWN_MULTIPLE) {
        return;
    }
    seen.last_shown = Some(now);
    if seen.lines.len() == LINES_MAX {
        seen.lines.pop_front();
    }
    seen.lines.push_back(line(names, message.topic, message.payload));
}

/// `08:05:00  Trạm mưa Đồ Sơn: rain 3.2 mm`; a station without a name has its code.
fn line(names: &StationNames, topic: &str, payload: &[u8]) -> String {
    // The gateway's own form; anything else would be its bug, and is shown as it is.
    let out =
        of_feed(names, payload).unwrap_or_else(|| format!("{topic} {}", String::from_utf8_lossy(payload)));
    // Names come from devices, and a terminal obeys control characters.
    let printable = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    out.chars().take(LINE_CHARACTERS_MAX).map(printable).collect()
}

fn of_feed(names: &StationNames, payload: &[u8]) -> Option<String> {
    let feed: Value = serde_json::from_slice(payload).ok()?;
    let datastream = feed["datastream"].as_str()?;
    let (station, property) = datastream.rsplit_once('/')?;
    let name = names.get(station).map_or(station, String::as_str);
    let time_s = parse_rfc3339(feed["phenomenonTime"].as_str()?).ok()?.div_euclid(1_000_000) + UTC_OFFSET_S;
    let (hours, minutes, seconds) =
        (time_s.rem_euclid(86_400) / 3600, time_s.rem_euclid(3600) / 60, time_s.rem_euclid(60));
    let mut out = format!("{hours:02}:{minutes:02}:{seconds:02}  {name}: {property} ");
    let _ = match &feed["result"] {
        // As short as a person reads it: the store has all digits.
        Value::Number(number) => {
            let rounded = (number.as_f64()? * 1e3).round() / 1e3;
            write!(out, "{rounded}")
        }
        Value::String(text) => write!(out, "{text}"),
        other => write!(out, "{other}"),
    };
    if let Some(unit) = feed["unit"].as_str().filter(|unit| *unit != "1") {
        let _ = write!(out, " {unit}");
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_message_is_one_line_that_a_terminal_can_show() {
        let names = StationNames::from([("a/b".to_owned(), "Trạm mưa Đồ Sơn".to_owned())]);
        let payload = br#"{"datastream":"a/b/rain","phenomenonTime":"2026-11-21T01:05:00Z","result":3.20000001,"unit":"mm"}"#;
        assert_eq!(
            line(&names, "feed/v1/disaster/a/b/rain", payload),
            "08:05:00  Trạm mưa Đồ Sơn: rain 3.2 mm"
        );
        let other =
            br#"{"datastream":"a/x/flow;lane=1","phenomenonTime":"2026-11-21T20:00:00Z","result":true}"#;
        assert_eq!(line(&names, "", other), "03:00:00  a/x: flow;lane=1 true");
        let hostile = line(&names, "feed/v1/air/a/b/c\u{1b}[2J", b"\x1b]0;title\x07\n");
        assert!(!hostile.contains(char::is_control), "{hostile:?}");
    }
}
