//! One simulated MQTT client: keeps a connection, publishes what its source gives, and enters sends and PUBACKs into the
//! ledger. MQTT 3.1.1, clean session.
//!
//! A lost connection is opened again with growing, jittered delays. rumqttc forgets unacknowledged messages when the broker
//! kept no session, so they are handed in again here: with DUP and their old packet id, as the standard has it.

mod pace;
mod tracker;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, Outgoing, Publish, QoS, Request,
};
use tokio::time::{Instant, sleep_until, timeout};

use crate::control::{Control, add};
use crate::ledger::{Episode, Format, Kind, LedgerError, Sent, Writer};
use crate::payload::Encoded;
use crate::random::Random;

pub(crate) use pace::Pace;
use tracker::{Handed, Tracker};

/// Longest wait before the next attempt to connect; short, because gateways under test come back quickly.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(2);
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(50);
/// How often a client looks whether it was asked to stop.
const TICK: Duration = Duration::from_millis(50);
/// Messages that go into the ledger with one write.
const BATCH_MESSAGES_MAX: usize = 64;
/// Largest packet either way; more than any message of this crate.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// How long a goodbye may take.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A message that is ready to go out.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) encoded: Encoded,
    pub(crate) format: Format,
    pub(crate) kind: Kind,
}

/// Where a client's messages come from.
pub(crate) trait Source {
    /// The next message, or `None` when there are no more. `now_us` is the device's clock.
    fn next(&mut self, now_us: i64) -> Option<Planned>;

    /// Microseconds until the next message is there; 0 = now, or never again.
    fn wait_us(&mut self, _now_us: i64) -> u64 {
        0
    }

    /// True while the client has no network: its connection breaks off, and it does not try for another.
    fn is_cut_off(&mut self, _now_us: i64) -> bool {
        false
    }

    /// What went wrong since the last call, for the ledger; at the end of the run also what was still going on.
    fn take_episodes(&mut self, _is_over: bool) -> Vec<Episode> {
        Vec::new()
    }
}

/// What a client's loop goes on with.
enum Next {
    Event(Box<Result<Event, ConnectionError>>),
    CutOff,
    /// Everything is done or given up.
    Over,
}

/// What all clients of a run have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientOptions {
    /// `HOST:PORT`.
    pub broker: String,
    /// Client ids are this, a dash and a number.
    pub client_prefix: String,
    /// 0 or 1.
    pub qos: u8,
    /// Most messages of one client that wait for their PUBACK.
    pub in_flight_max: u16,
    /// Publish unacknowledged messages again after a reconnect.
    pub resend_after_reconnect: bool,
    /// At the end: how long to wait for the next PUBACK. Also how long a client that has never been connected tries.
    pub drain_timeout: Duration,
    /// How long a client that lost its connection tries to get it back before it gives up.
    pub give_up_after: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            broker: "127.0.0.1:1883".to_owned(),
            client_prefix: "firmware-sim".to_owned(),
            qos: 1,
            in_flight_max: 100,
            resend_after_reconnect: true,
            drain_timeout: Duration::from_secs(30),
            give_up_after: Duration::from_secs(60),
        }
    }
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("`{0}` is not a broker address: expected HOST:PORT, for example 127.0.0.1:1883")]
    BadAddress(String),
    #[error("no MQTT broker answers at {broker}: {reason}")]
    NoBroker { broker: String, reason: String },
    #[error("the MQTT client refused a message: {0}")]
    Client(#[from] rumqttc::ClientError),
    #[error("the run could not be started: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("{0}")]
    BadConfiguration(String),
    #[error(transparent)]
    Replay(#[from] crate::replay::ReplayError),
}

/// What the clients of one run share. They all live on one thread.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) options: Rc<ClientOptions>,
    pub(crate) ledger: Rc<RefCell<Writer>>,
    pub(crate) control: Arc<Control>,
    /// Nothing is sent after this instant.
    pub(crate) ends_at: Option<Instant>,
}

/// Splits `HOST:PORT`.
pub(crate) fn host_and_port(broker: &str) -> Result<(String, u16), RunError> {
    let bad = || RunError::BadAddress(broker.to_owned());
    if let Ok(address) = broker.parse::<SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    let (host, port) = broker.rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().map_err(|_| bad())?;
    if host.is_empty() { Err(bad()) } else { Ok((host.to_owned(), port)) }
}

/// Runs clients side by side on this thread until all of them have ended.
pub(crate) fn run_clients(
    options: &ClientOptions,
    duration: Option<Duration>,
    ledger: Writer,
    control: &Arc<Control>,
    sources: Vec<(Box<dyn Source>, Pace)>,
) -> Result<(), RunError> {
    host_and_port(&options.broker)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    let local = tokio::task::LocalSet::new();
    let ledger = Rc::new(RefCell::new(ledger));
    let outcome = local.block_on(&runtime, async {
        let shared = Shared {
            options: Rc::new(options.clone()),
            ledger: Rc::clone(&ledger),
            control: Arc::clone(control),
            ends_at: duration.map(|duration| Instant::now() + duration),
        };
        let mut tasks = tokio::task::JoinSet::new();
        for (index, (source, pace)) in sources.into_iter().enumerate() {
            let (mut client, mut event_loop) = Client::new(index, source, pace, shared.clone())?;
            tasks.spawn_local(async move { client.run(&mut event_loop).await });
        }
        let mut first_error = None;
        while let Some(outcome) = tasks.join_next().await {
            let failure = match outcome {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(error) => RunError::Runtime(error.into()),
            };
            // The others end in good order, so that the ledger is as complete as it can be.
            control.stop();
            first_error.get_or_insert(failure);
        }
        first_error.map_or(Ok(()), Err)
    });
    let flushed = ledger.borrow_mut().flush();
    outcome.and(flushed.map_err(RunError::from))
}

struct Client {
    id: String,
    mqtt: AsyncClient,
    source: Box<dyn Source>,
    shared: Shared,
    tracker: Tracker,
    pace: Pace,
    random: Random,
    packets: u64,
    connected: bool,
    was_connected: bool,
    /// The source has no more messages, or the time is over.
    finished: bool,
    /// When the connection came or went, an acknowledgement arrived, or the last message was handed over.
    last_progress: Instant,
    last_error: String,
}

impl Client {
    fn new(
        index: usize,
        source: Box<dyn Source>,
        pace: Pace,
        shared: Shared,
    ) -> Result<(Self, EventLoop), RunError> {
        let (host, port) = host_and_port(&shared.options.broker)?;
        let id = format!("{}-{index}", shared.options.client_prefix);
        let mut options = MqttOptions::new(&id, host, port);
        options.set_clean_session(true);
        options.set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        // The window is kept here. Twice as many packet ids spare rumqttc collisions when acks come out of order.
        options.set_inflight(shared.options.in_flight_max.saturating_mul(2));
        let (mqtt, mut event_loop) = AsyncClient::new(options, usize::from(shared.options.in_flight_max));
        event_loop.network_options.set_tcp_nodelay(true);
        let client = Self {
            id,
            mqtt,
            source,
            shared,
            tracker: Tracker::default(),
            pace,
            random: Random::new(index as u64, 0xc11e),
            packets: 0,
            connected: false,
            was_connected: false,
            finished: false,
            last_progress: Instant::now(),
            last_error: "there was no time to try".to_owned(),
        };
        Ok((client, event_loop))
    }
}

impl Client {
    async fn run(&mut self, event_loop: &mut EventLoop) -> Result<(), RunError> {
        let mut delay = RECONNECT_DELAY_MIN;
        loop {
            let event = match self.next_event(event_loop).await? {
                Next::Event(event) => *event,
                Next::CutOff => {
                    self.connection_lost(event_loop)?;
                    self.stay_cut_off().await?;
                    continue;
                }
                Next::Over => break,
            };
            match event {
                Ok(event) => {
                    if matches!(event, Event::Incoming(Incoming::ConnAck(_))) {
                        delay = RECONNECT_DELAY_MIN;
                        self.connected(event_loop)?;
                    }
                    self.handle(&event)?;
                }
                Err(error) => {
                    self.connection_lost(event_loop)?;
                    self.last_error = error.to_string();
                    if !self.was_connected && self.is_out_of_patience() {
                        break;
                    }
                    let jitter = 0.5 + self.random.unit();
                    self.pause(delay.mul_f64(jitter)).await;
                    delay = (delay * 2).min(RECONNECT_DELAY_MAX);
                }
            }
        }
        if !self.was_connected && !self.shared.control.is_stopped() {
            let broker = self.shared.options.broker.clone();
            return Err(RunError::NoBroker { broker, reason: self.last_error.clone() });
        }
        self.say_goodbye(event_loop).await;
        self.note_episodes(true)?;
        self.shared.ledger.borrow_mut().flush()?;
        Ok(())
    }

    /// Publishes what is due until rumqttc has something to say.
    async fn next_event(&mut self, event_loop: &mut EventLoop) -> Result<Next, RunError> {
        // rumqttc's poll may lose a packet when it is dropped half way, so it is kept until it has an answer, or until the
        // connection goes anyway.
        let mut poll = std::pin::pin!(event_loop.poll());
        loop {
            if self.is_cut_off() {
                return Ok(Next::CutOff);
            }
            let wake_at = self.publish_due()?;
            self.note_episodes(false)?;
            if self.finished && (self.tracker.outstanding() == 0 || self.is_out_of_patience()) {
                if self.tracker.outstanding() > 0 && !self.connected {
                    add(&self.shared.control.clients_gave_up, 1);
                }
                return Ok(Next::Over);
            }
            let is_bounded = self.shared.ends_at.is_some();
            if !self.connected && self.was_connected && !is_bounded && self.is_given_up() {
                add(&self.shared.control.clients_gave_up, 1);
                return Ok(Next::Over);
            }
            tokio::select! {
                biased;
                event = &mut poll => return Ok(Next::Event(Box::new(event))),
                () = sleep_until(wake_at) => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        self.shared.ends_at.is_some_and(|end| Instant::now() >= end) || self.shared.control.is_stopped()
    }

    /// A client that is to end gets its network back, so that it learns what became of its last messages.
    fn is_cut_off(&mut self) -> bool {
        !self.finished && !self.is_over() && self.source.is_cut_off(crate::time::now_us())
    }

    async fn stay_cut_off(&mut self) -> Result<(), RunError> {
        while self.is_cut_off() {
            self.note_episodes(false)?;
            tokio::time::sleep(TICK).await;
        }
        self.last_progress = Instant::now();
        Ok(())
    }

    fn note_episodes(&mut self, is_over: bool) -> Result<(), RunError> {
        note(self.source.take_episodes(is_over), &mut self.shared.ledger.borrow_mut())
    }

    fn is_out_of_patience(&self) -> bool {
        self.last_progress.elapsed() > self.shared.options.drain_timeout
            || (self.shared.control.is_stopped() && !self.was_connected)
    }

    fn is_given_up(&self) -> bool {
        self.last_progress.elapsed() > self.shared.options.give_up_after
    }

    /// Hands over what is due and fits into the window; returns when to look again.
    fn publish_due(&mut self) -> Result<Instant, RunError> {
        let now = Instant::now();
        if self.is_over() {
            self.finish();
        }
        if self.finished || !self.connected {
            return Ok(now + TICK);
        }
        let wait_us = self.source.wait_us(crate::time::now_us());
        if wait_us > 0 {
            return Ok(now + Duration::from_micros(wait_us).min(TICK));
        }
        let window = usize::from(self.shared.options.in_flight_max);
        let room = window.saturating_sub(self.tracker.outstanding()).min(BATCH_MESSAGES_MAX);
        let due = self.pace.due(now, room);
        if due > 0 {
            self.publish(due)?;
        }
        let may_send_more = self.tracker.outstanding() < window && !self.finished;
        Ok(if may_send_more { self.pace.next_due(now).min(now + TICK) } else { now + TICK })
    }

    fn publish(&mut self, count: usize) -> Result<(), RunError> {
        let first_new = self.tracker.queued().count();
        let (since, now_us) = (Instant::now(), crate::time::now_us());
        let mut is_last = false;
        {
            let mut ledger = self.shared.ledger.borrow_mut();
            for index in 0..count {
                if index > 0 && self.source.wait_us(now_us) > 0 {
                    break;
                }
                let Some(planned) = self.source.next(crate::time::now_us()) else {
                    is_last = true;
                    break;
                };
                note(self.source.take_episodes(false), &mut ledger)?;
                self.packets += 1;
                let control = &self.shared.control;
                count_planned(control, &planned);
                let mut sent = Sent {
                    sent: 0,
                    client: self.id.clone().into(),
                    packet: self.packets,
                    topic: planned.encoded.topic,
                    format: planned.format,
                    qos: self.shared.options.qos,
                    kind: planned.kind,
                    time_us: planned.encoded.message.time_us,
                    seq: planned.encoded.message.seq,
                    readings: planned.encoded.message.readings,
                };
                let number = ledger.sent(&mut sent)?;
                let readings = u32::try_from(sent.readings.len()).unwrap_or(u32::MAX);
                let payload = planned.encoded.payload;
                self.tracker.queue(Handed { number, readings, topic: sent.topic, payload, since });
            }
            ledger.flush()?;
        }
        for message in self.tracker.queued().skip(first_new) {
            self.mqtt.try_publish(message.topic.as_str(), self.qos(), false, message.payload.clone())?;
        }
        if is_last {
            self.finish();
        }
        Ok(())
    }

    /// From here on only acknowledgements are waited for.
    fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            self.last_progress = Instant::now();
        }
    }

    fn qos(&self) -> QoS {
        if self.shared.options.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
    }

    fn handle(&mut self, event: &Event) -> Result<(), RunError> {
        match event {
            Event::Outgoing(Outgoing::Publish(packet_id)) => self.tracker.published(*packet_id),
            Event::Incoming(Incoming::PubAck(ack)) => {
                if let Some(message) = self.tracker.acked(ack.pkid) {
                    let now = Instant::now();
                    self.last_progress = now;
                    self.shared.control.ack_latency.record(now - message.since);
                    self.shared.ledger.borrow_mut().acked(message.number)?;
                    add(&self.shared.control.messages_acked, 1);
                    add(&self.shared.control.readings_acked, u64::from(message.readings));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Hands over again what the lost connection left undone.
    fn connected(&mut self, event_loop: &mut EventLoop) -> Result<(), RunError> {
        self.connected = true;
        self.was_connected = true;
        self.last_progress = Instant::now();
        self.pace.begin(Instant::now());
        event_loop.pending.clear();
        self.tracker.restart(Instant::now());
        if self.shared.options.resend_after_reconnect {
            let mut ledger = self.shared.ledger.borrow_mut();
            for (packet_id, message) in self.tracker.in_flight() {
                let mut publish = Publish::new(message.topic.as_str(), self.qos(), message.payload.clone());
                publish.pkid = packet_id;
                publish.dup = true;
                event_loop.pending.push_back(Request::Publish(publish));
                ledger.resent(message.number)?;
                add(&self.shared.control.resent, 1);
            }
        } else {
            self.tracker.abandon_in_flight();
        }
        for message in self.tracker.queued() {
            self.mqtt.try_publish(message.topic.as_str(), self.qos(), false, message.payload.clone())?;
        }
        Ok(())
    }

    fn connection_lost(&mut self, event_loop: &mut EventLoop) -> Result<(), RunError> {
        if self.connected {
            add(&self.shared.control.connections_lost, 1);
            self.last_progress = Instant::now();
        }
        self.connected = false;
        // What rumqttc learned before the end must be known before the next connection begins.
        while let Some(event) = event_loop.state.events.pop_front() {
            self.handle(&event)?;
        }
        event_loop.clean();
        event_loop.pending.clear();
        event_loop.state.collision = None;
        self.shared.ledger.borrow_mut().flush()?;
        Ok(())
    }

    /// Waits before the next attempt, but no longer than there is a reason to.
    async fn pause(&mut self, delay: Duration) {
        let until = Instant::now() + delay;
        while Instant::now() < until && !self.shared.control.is_stopped() {
            sleep_until(until.min(Instant::now() + TICK)).await;
        }
        // A stopped client that nobody answers tries at most once per tick.
        if self.shared.control.is_stopped() {
            tokio::time::sleep(TICK).await;
        }
    }

    async fn say_goodbye(&mut self, event_loop: &mut EventLoop) {
        if !self.connected || self.mqtt.try_disconnect().is_err() {
            return;
        }
        let goodbye = async {
            loop {
                match event_loop.poll().await {
                    Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        };
        // A broker that does not take the goodbye loses nothing by its absence.
        let _ = timeout(DISCONNECT_TIMEOUT, goodbye).await;
    }
}

fn note(episodes: Vec<Episode>, ledger: &mut Writer) -> Result<(), RunError> {
    episodes.iter().try_for_each(|episode| ledger.episode(episode)).map_err(RunError::from)
}

fn count_planned(control: &Control, planned: &Planned) {
    add(&control.messages_sent, 1);
    add(&control.readings_sent, planned.encoded.message.readings.len() as u64);
    match planned.kind {
        Kind::Reading => {}
        Kind::Duplicate => add(&control.duplicates, 1),
        Kind::Correction => add(&control.corrections, 1),
        Kind::Garbage => add(&control.garbage, 1),
        Kind::Misdated => add(&control.misdated, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(host_and_port("127.0.0.1:1883").expect("good"), ("127.0.0.1".to_owned(), 1883));
        assert_eq!(host_and_port("[::1]:1883").expect("good"), ("::1".to_owned(), 1883));
        assert_eq!(host_and_port("broker.example:1883").expect("good"), ("broker.example".to_owned(), 1883));
        for bad in ["", "localhost", ":1883", "localhost:mqtt", "localhost:99999"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }
}
