//! `GET /api/v1/events`: observations as they come, and the books every two seconds, as server-sent events.
//!
//! ```text
//!  router ──tap (4 frames, never waits)──▶ pump thread ──queue of each listener (never waits)──▶ its connection
//! ```
//!
//! The pump sleeps while nobody listens, and the tap is closed while nobody listens to observations. A listener gets at most [`OBSERVATIONS_PER_S_MAX`], and what its queue can't hold
//! is not kept for it: `event: skipped` says how many observations it missed.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use crossbeam::channel::RecvTimeoutError;
use http_body::Frame;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::books::LedgerFilter;
use crate::feeds::{LastValue, write_named_observation};
use crate::observation::{Classification, MessageEntry, ObservationFrame};
use crate::parameters::{self, BadParameter, Given};
use crate::query::GatewayView;

/// Events that wait for one listener.
const EVENTS_WAITING_MAX: usize = 1_024;
/// More would be of no use on a screen.
const OBSERVATIONS_PER_S_MAX: u32 = 1_000;
/// Rows that are written under one lock of the registry.
const ROWS_AT_ONCE: usize = 256;
const BOOKS_EVERY: Duration = Duration::from_secs(2);
/// How soon the pump sees that the server stops.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const KEEP_ALIVE_S: u32 = 15;
/// What a browser waits before it comes back.
const GREETING: &str = "retry: 3000\n\n";

/// `None` = any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EventFilter {
    /// No observations at all.
    books_only: bool,
    agency: Option<String>,
    /// A code, or `agency/station`.
    station: Option<String>,
    domain: Option<String>,
}

impl EventFilter {
    pub(super) fn of(given: &Given<'_>) -> Result<Self, BadParameter> {
        let filter = Self {
            books_only: given.choice(&parameters::EVENTS_ONLY)? == "books",
            agency: given.text(&parameters::AGENCY)?,
            station: given.text(&parameters::STATION)?,
            domain: given.text(&parameters::DOMAIN)?,
        };
        let narrowed = [&filter.agency, &filter.station, &filter.domain].into_iter().any(Option::is_some);
        if filter.books_only && narrowed {
            let sentence =
                "the books have no filter here; `agency`, `station` and `domain` are for observations";
            return Err(BadParameter::new(parameters::EVENTS_ONLY.name, sentence));
        }
        Ok(filter)
    }

    fn includes(&self, agency: &str, station: &str, domain: &str) -> bool {
        !self.books_only
            && self.agency.as_deref().is_none_or(|wanted| wanted == agency)
            && self.domain.as_deref().is_none_or(|wanted| wanted == domain)
            && self.station.as_deref().is_none_or(|wanted| match wanted.split_once('/') {
                Some((of, code)) => of == agency && code == station,
                None => wanted == station,
            })
    }
}

#[derive(Debug)]
struct Listener {
    filter: EventFilter,
    events: Sender<Bytes>,
    skipped: Arc<AtomicU64>,
    /// Observations that it may still get in this second.
    left: u32,
}

impl Listener {
    fn wants_observations(&self) -> bool {
        !self.filter.books_only
    }

    fn skip(&self, observations: u64) {
        self.skipped.fetch_add(observations, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Listeners {
    list: Vec<Listener>,
    /// Somebody new wants to see the books at once.
    books_due: bool,
    pump: Option<Thread>,
}

/// All listeners of a server.
#[derive(Debug)]
pub(super) struct EventHub {
    view: Arc<dyn GatewayView>,
    listeners_max: usize,
    listeners: Mutex<Listeners>,
    stopping: Arc<AtomicBool>,
}

impl EventHub {
    pub(super) fn new(view: Arc<dyn GatewayView>, listeners_max: usize, stopping: Arc<AtomicBool>) -> Self {
        Self { view, listeners_max, listeners: Mutex::default(), stopping }
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new listener's stream; `None` = there are as many as there may be. To be called within the server's runtime.
    pub(super) fn listen(&self, filter: EventFilter) -> Option<EventBody> {
        let mut listeners = self.listeners();
        listeners.list.retain(|listener| !listener.events.is_closed());
        if listeners.list.len() >= self.listeners_max || self.stopping.load(Ordering::Relaxed) {
            return None;
        }
        let (events, receiver) = channel(EVENTS_WAITING_MAX);
        let skipped = Arc::new(AtomicU64::new(0));
        listeners.list.push(Listener {
            filter,
            events,
            skipped: skipped.clone(),
            left: OBSERVATIONS_PER_S_MAX,
        });
        listeners.books_due = true;
        if listeners.list.iter().any(Listener::wants_observations) {
            self.view.tap().set_open(true);
        }
        if let Some(pump) = &listeners.pump {
            pump.unpark();
        }
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(EventBody { greeting: true, events: receiver, skipped, ticks, quiet_s: 0 })
    }

    /// Starts the pump; it ends when the server stops.
    pub(super) fn start(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        let hub = self.clone();
        let pump = std::thread::Builder::new().name("events".to_owned()).spawn(move || hub.pump())?;
        self.listeners().pump = Some(pump.thread().clone());
        Ok(pump)
    }

    /// Lets the pump see that the server stops.
    pub(super) fn wake(&self) {
        if let Some(pump) = &self.listeners().pump {
            pump.unpark();
        }
    }

    fn pump(&self) {
        let tap = self.view.tap().clone();
        let mut second = Instant::now();
        let mut books_at = Instant::now();
        while !self.stopping.load(Ordering::Relaxed) {
            if self.listeners().list.is_empty() {
                std::thread::park_timeout(BOOKS_EVERY);
                continue;
            }
            match tap.frames().recv_timeout(LOOK_EVERY) {
                Ok(frame) => self.publish(&frame),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            let missed = tap.take_missed();
            let books_due = {
                let mut listeners = self.listeners();
                listeners.list.retain(|listener| !listener.events.is_closed());
                if now - second >= Duration::from_secs(1) {
                    second = now;
                    listeners.list.iter_mut().for_each(|listener| listener.left = OBSERVATIONS_PER_S_MAX);
                }
                if missed > 0 {
                    let observers = listeners.list.iter().filter(|listener| listener.wants_observations());
                    observers.for_each(|listener| listener.skip(missed));
                }
                if !listeners.list.iter().any(Listener::wants_observations) {
                    tap.set_open(false);
                }
                std::mem::take(&mut listeners.books_due)
            };
            if books_due || now >= books_at {
                books_at = now + BOOKS_EVERY;
                self.publish_books();
            }
        }
        tap.set_open(false);
        self.listeners().list.clear();
    }

    fn publish_books(&self) {
        // Without an answer the next one tells as much.
        let Ok(ledger) = self.view.ledger(&LedgerFilter::default()) else { return };
        let Ok(json) = serde_json::to_string(&ledger) else { return };
        let event = event("books", &json);
        for listener in &self.listeners().list {
            let _ = listener.events.try_send(event.clone());
        }
    }

    fn publish(&self, frame: &ObservationFrame) {
        let mut json = String::with_capacity(512);
        for rows in frame.rows.chunks(ROWS_AT_ONCE) {
            let registry = self.view.things().registry().read().unwrap_or_else(PoisonError::into_inner);
            let mut listeners = self.listeners();
            for row in rows.iter().filter(|row| row.classified() != Classification::Duplicate) {
                let Some(datastream) = registry.datastreams().get(row.datastream as usize) else { continue };
                let station = registry.station(datastream.station);
                let agency = registry.agency(station.agency);
                let mut made: Option<Bytes> = None;
                for listener in &mut listeners.list {
                    if !listener.filter.includes(agency, &station.code, &datastream.domain) {
                        continue;
                    }
                    if listener.left == 0 {
                        listener.skip(1);
                        continue;
                    }
                    let event = made.get_or_insert_with(|| {
                        json.clear();
                        let message = frame.messages.get(row.message as usize);
                        let late = row.classified() == Classification::Unresolved
                            || message.is_some_and(MessageEntry::is_replayed);
                        let value = LastValue::of_row(frame, row);
                        write_named_observation(&mut json, &registry, datastream, &value, late);
                        event("observation", &json)
                    });
                    match listener.events.try_send(event.clone()) {
                        Ok(()) => listener.left -= 1,
                        Err(TrySendError::Full(_)) => listener.skip(1),
                        // It has gone, and is forgotten at the next look.
                        Err(TrySendError::Closed(_)) => {}
                    }
                }
            }
        }
    }
}

fn event(name: &str, json: &str) -> Bytes {
    format!("event: {name}\ndata: {json}\n\n").into()
}

/// What one listener's connection sends.
pub(super) struct EventBody {
    greeting: bool,
    events: Receiver<Bytes>,
    skipped: Arc<AtomicU64>,
    ticks: Interval,
    /// Seconds since the last event.
    quiet_s: u32,
}

impl http_body::Body for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = &mut *self;
        if std::mem::take(&mut body.greeting) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(GREETING.as_bytes())))));
        }
        // Before the queue, so that a listener that is always behind learns of it too.
        while body.ticks.poll_tick(context).is_ready() {
            let skipped = body.skipped.swap(0, Ordering::Relaxed);
            if skipped > 0 {
                body.quiet_s = 0;
                let event = event("skipped", &format!("{{\"skipped\":{skipped}}}"));
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            body.quiet_s += 1;
            if body.quiet_s > KEEP_ALIVE_S {
                body.quiet_s = 0;
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b": keep-alive\n\n")))));
            }
        }
        let event = ready!(body.events.poll_recv(context));
        body.quiet_s = 0;
        Poll::Ready(event.map(|event| Ok(Frame::data(event))))
    }
}
