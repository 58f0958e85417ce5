//! A subscriber of the demo: what it sees shows that normalised readings come out again.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    pub(super) fn start(broker: SocketAddr) -> Result<Self, Failure> {
        let config = WatchConfig {
            broker: broker.to_string(),
            client_id: "demo-subscriber".to_owned(),
            filter: FILTER.to_owned(),
        };
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let body = {
            let (seen, stop) = (seen.clone(), stop.clone());
            move || {
                let watched = watch::run(&config, &stop, &mut |message| see(&seen, message));
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

fn see(seen: &Mutex<Seen>, message: Watched<'_>) {
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
    seen.lines.push_back(line(message.topic, message.payload));
}

/// `feed/v1/environment/H24.05/KHI003/pm2_5  38.4 ug/m3  2026-11-21T01:05:00Z`.
fn line(topic: &str, payload: &[u8]) -> String {
    let mut out = topic.to_owned();
    // The gateway's own form; anything else would be its bug, and is shown as it is.
    match serde_json::from_slice::<Value>(payload) {
        Ok(feed) => {
            let _ = write!(out, "  {}", feed["result"]);
            for text in [&feed["unit"], &feed["phenomenonTime"]].into_iter().filter_map(Value::as_str) {
                let _ = write!(out, "  {text}");
            }
        }
        Err(_) => {
            let _ = write!(out, "  {}", String::from_utf8_lossy(payload));
        }
    }
    // Names come from devices, and a terminal obeys control characters.
    let printable = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    out.chars().take(LINE_CHARACTERS_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_feed_message_is_one_line_that_a_terminal_can_show() {
        let payload =
            br#"{"datastream":"a/b/c","phenomenonTime":"2026-11-21T01:05:00Z","result":38.4,"unit":"ug/m3"}"#;
        assert_eq!(
            line("feed/v1/air/a/b/c", payload),
            "feed/v1/air/a/b/c  38.4  ug/m3  2026-11-21T01:05:00Z"
        );
        let hostile = line("feed/v1/air/a/b/c\u{1b}[2J", b"\x1b]0;title\x07\n");
        assert!(!hostile.contains(char::is_control), "{hostile:?}");
    }
}
