//! All connections of one thread.
//!
//! `step` is told which sockets are ready and what others sent; in between it reads many connections, appends to one
//! journal buffer, hands that over once, and writes what the journal and the router released. It never blocks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use codecs::mqtt::{ProtocolVersion, ReasonCode};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::connection::{Connection, State};
use super::delivery::{ConnectionId, RouterRequest, ShardMessage};
use super::limits::MqttLimits;
use super::log_limit::LogLimit;
use super::session::{Close, Context, Counts, Will};
use super::socket::Socket;
use crate::health::Health;
use crate::journal::JournalPort;
use crate::metrics::{Metrics, add_by_reason};
use crate::quarantine_quota::QuarantineQuota;

mod closing;
mod hold;
mod opening;
mod reading;
mod release;

/// Bytes read from one connection before the others have their turn.
const READ_TURN_BYTES: usize = 256 << 10;
/// Connections looked at per timer tick, at least; so every connection has its turn within a second or so.
const TIMER_SLOTS_MIN: usize = 8_192;
/// Room that an incomplete packet may keep beyond twice its length.
const PARTIAL_SPARE_BYTES: usize = 1 << 10;
/// A connection that has been silent for so long gives back the room that its last burst needed.
const IDLE_US: u64 = 2_000_000;

/// A socket that can be read or written again.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    pub slot: u32,
    pub readable: bool,
    pub writable: bool,
    /// The peer sends nothing more; what it sent before is still to be read.
    pub read_closed: bool,
}

/// What is the same for all shards.
#[derive(Debug)]
pub struct ShardShared {
    pub limits: MqttLimits,
    pub metrics: Arc<Metrics>,
    /// Open connections of all shards.
    pub connections: AtomicI64,
    pub mapping_version: u32,
    pub quota: Arc<QuarantineQuota>,
    pub health: Arc<Health>,
    /// By shard: for how long its oldest PUBLISH has waited for the journal, in ms; 0 = none waits.
    pub held_ms: Box<[AtomicU64]>,
    /// Makes ids for clients that leave theirs empty: unique over restarts.
    pub client_id_seed: u64,
}

/// What the gauges of the hold pool say of this shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reported {
    bytes: usize,
    messages: usize,
    connections: usize,
    partial_bytes: usize,
}

/// Connections for other shards, and requests for the router, that a step made.
#[derive(Debug, Default)]
pub struct ShardOutput {
    pub messages: Vec<(usize, ShardMessage)>,
    pub requests: Vec<RouterRequest>,
}

pub struct Shard {
    index: usize,
    shard_count: usize,
    shared: Arc<ShardShared>,
    journal: JournalPort,
    slots: Vec<Option<Connection>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    by_client: HashMap<Arc<str>, u32, RandomState>,
    /// One hash for all shards: who owns a client id.
    client_hasher: foldhash::quality::FixedState,
    read_buffer: Box<[u8]>,
    ready: Vec<u32>,
    ready_now: Vec<u32>,
    /// Connections that wait for room in the journal, in the order of their turns.
    waiting: VecDeque<ConnectionId>,
    /// Not all of them have had the turn that is due.
    turns_left: bool,
    hold_bytes: usize,
    hold_messages: usize,
    /// Of connected clients and of those that wait for the journal.
    will_bytes: usize,
    /// As the metrics have them.
    reported: Reported,
    dirty: Vec<u32>,
    dirty_now: Vec<u32>,
    /// Connections whose oldest waiting ack needs this batch, oldest batch first; one entry for each batch in flight.
    ack_waiting: VecDeque<(u64, Vec<ConnectionId>)>,
    /// The gateway stops: nothing is read any more.
    stopping: bool,
    wills: VecDeque<(Arc<str>, ProtocolVersion, Will)>,
    partial_bytes: usize,
    timer_slot: usize,
    made_client_ids: u64,
    /// Of the quarantine's quota, as of this wake-up.
    quota_version: u64,
    counts: Counts,
    log_limit: LogLimit,
    output: ShardOutput,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("index", &self.index)
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl Shard {
    pub fn new(index: usize, shard_count: usize, shared: Arc<ShardShared>, journal: JournalPort) -> Self {
        Self {
            index,
            shard_count,
            shared,
            journal,
            slots: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            by_client: HashMap::default(),
            client_hasher: foldhash::quality::FixedState::default(),
            read_buffer: vec![0; READ_TURN_BYTES].into(),
            ready: Vec::new(),
            ready_now: Vec::new(),
            waiting: VecDeque::new(),
            turns_left: false,
            hold_bytes: 0,
            hold_messages: 0,
            will_bytes: 0,
            reported: Reported::default(),
            dirty: Vec::new(),
            dirty_now: Vec::new(),
            ack_waiting: VecDeque::new(),
            stopping: false,
            wills: VecDeque::new(),
            partial_bytes: 0,
            timer_slot: 0,
            made_client_ids: 0,
            quota_version: 0,
            counts: Counts::default(),
            log_limit: LogLimit::default(),
            output: ShardOutput::default(),
        }
    }

    /// Takes a new connection; the slot under which its readiness is to be reported, or `None` when there are too many.
    pub fn accept(&mut self, socket: Box<dyn Socket>, now_us: u64) -> Option<u32> {
        self.shared.metrics.mqtt_connections_accepted.inc();
        if self.shared.connections.load(Ordering::Relaxed) >= self.shared.limits.connections_max as i64 {
            self.shared.metrics.mqtt_connections_refused.inc();
            return None;
        }
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        Some(self.insert(socket, now_us))
    }

    /// Open connections of all shards.
    pub fn connections(&self) -> usize {
        usize::try_from(self.shared.connections.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The socket of a slot, to register it with a poll loop.
    pub fn socket(&mut self, slot: u32) -> Option<&mut dyn Socket> {
        self.slots.get_mut(slot as usize)?.as_mut().map(Connection::socket)
    }

    /// True where the next step has something to do whether or not a socket becomes ready.
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty() || ((self.turns_left || !self.ready.is_empty()) && !self.stopping)
    }

    /// What the last steps made for others.
    pub fn take_output(&mut self) -> &mut ShardOutput {
        &mut self.output
    }

    /// One wake-up.
    pub fn step(&mut self, now_us: u64, readiness: &[Readiness]) {
        for event in readiness {
            if event.read_closed
                && let Some(connection) = self.slots.get_mut(event.slot as usize).and_then(Option::as_mut)
            {
                connection.read_closed = true;
            }
            if event.readable {
                self.mark_ready(event.slot);
            }
            if event.writable {
                self.mark_dirty(event.slot);
            }
        }
        self.quota_version = self.shared.quota.version();
        self.publish_wills();
        self.retry_held(now_us);
        self.read_ready(now_us);
        self.journal.hand_over();
        self.release_acks(now_us);
        self.flush_dirty(now_us);
        self.add_counts();
    }

    /// A message of the router or of another shard; returns the slot of a connection that is new here.
    pub fn handle_message(&mut self, message: ShardMessage, now_us: u64) -> Option<u32> {
        match message {
            ShardMessage::Adopt { socket, bytes } => {
                let slot = self.insert(socket, now_us);
                self.partial_bytes += bytes.len();
                if let Some(connection) = self.connection(slot) {
                    connection.partial = bytes;
                }
                self.process_partial(slot, now_us);
                self.mark_ready(slot);
                return self.connection(slot).is_some().then_some(slot);
            }
            ShardMessage::Deliver(batch) => self.deliver(&batch, now_us),
            ShardMessage::Subscribed { connection, packet_id, codes } => {
                self.answer(connection, |session, out| session.handle_subscribed(packet_id, &codes, out));
            }
            ShardMessage::Unsubscribed { connection, packet_id, codes } => {
                self.answer(connection, |session, out| session.handle_unsubscribed(packet_id, &codes, out));
            }
        }
        None
    }

    /// Timers: late CONNECTs, silent clients, closed connections whose peer does not let go.
    pub fn tick(&mut self, now_us: u64) {
        let turn = TIMER_SLOTS_MIN.max(self.slots.len() / 4).min(self.slots.len());
        for _ in 0..turn {
            self.timer_slot = if self.timer_slot + 1 >= self.slots.len() { 0 } else { self.timer_slot + 1 };
            self.check_timers(self.timer_slot as u32, now_us);
            self.check_held(self.timer_slot as u32, now_us);
        }
        self.release_acks(now_us);
        self.flush_dirty(now_us);
        self.report_held(now_us);
        self.add_counts();
    }

    /// From now on nothing is read; what was taken is still acknowledged.
    pub fn stop_reading(&mut self) {
        self.stopping = true;
    }

    /// Says goodbye to everybody: the gateway stops. Acks of what is durable are sent first.
    pub fn shut_down(&mut self, now_us: u64) {
        self.journal.hand_over();
        self.release_acks(now_us);
        for slot in 0..self.slots.len() as u32 {
            if matches!(self.slots[slot as usize], Some(Connection { state: State::Open(_), .. })) {
                let close = Close::new(ReasonCode::SERVER_SHUTTING_DOWN, "", "the gateway stops");
                self.end(slot, Some(&close), now_us);
            }
        }
        // Their wills.
        self.journal.hand_over();
        if !self.wills.is_empty() {
            tracing::warn!(wills = self.wills.len(), "the journal is full, so wills are lost with the stop");
        }
        self.flush_dirty(now_us);
        self.add_counts();
    }

    /// True where nothing of a client waits for durability any more.
    pub fn is_quiet(&self) -> bool {
        self.ack_waiting.is_empty() && self.wills.is_empty()
    }

    fn insert(&mut self, socket: Box<dyn Socket>, now_us: u64) -> u32 {
        let deadline_us = now_us + self.shared.limits.connect_timeout_ms * 1_000;
        let connection = Connection::new(socket, now_us, deadline_us);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.generations.push(0);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some(connection);
        slot
    }

    fn connection(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// A connection, and what its session needs to handle a packet.
    fn connection_and_context(&mut self, slot: u32, now_us: u64) -> Option<(&mut Connection, Context<'_>)> {
        let connection = self.slots.get_mut(slot as usize)?.as_mut()?;
        let context = Context {
            journal: &mut self.journal,
            requests: &mut self.output.requests,
            limits: &self.shared.limits,
            counts: &mut self.counts,
            now_us,
            mapping_version: self.shared.mapping_version,
            quota: &self.shared.quota,
            quota_version: self.quota_version,
        };
        Some((connection, context))
    }

    fn connection_id(&self, slot: u32) -> ConnectionId {
        ConnectionId { shard: self.index as u16, slot, generation: self.generations[slot as usize] }
    }

    fn current(&self, id: ConnectionId) -> bool {
        self.generations.get(id.slot as usize) == Some(&id.generation)
            && self.slots[id.slot as usize].is_some()
    }

    fn mark_ready(&mut self, slot: u32) {
        if let Some(connection) = self.slots.get_mut(slot as usize).and_then(Option::as_mut)
            && !connection.ready
        {
            connection.ready = true;
            self.ready.push(slot);
        }
    }

    fn mark_dirty(&mut self, slot: u32) {
        if let Some(connection) = self.slots.get_mut(slot as usize).and_then(Option::as_mut)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    fn check_timers(&mut self, slot: u32, now_us: u64) {
        let Some(connection) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let silent_us = now_us.saturating_sub(connection.last_received_us);
        if silent_us >= IDLE_US {
            connection.give_back_room();
        }
        match &connection.state {
            State::Connecting { deadline_us } if *deadline_us <= now_us => {
                self.refuse(slot, now_us, None, "no CONNECT within mqtt.connect_timeout_ms");
            }
            State::Closing { deadline_us } if *deadline_us <= now_us => self.drop_connection(slot),
            State::Open(session)
                if !connection.stalled
                    && !connection.draining
                    && session.silence_max_us().is_some_and(|most_us| silent_us > most_us) =>
            {
                let statement = match session.version() {
                    ProtocolVersion::V3_1_1 => "MQTT-3.1.2-24",
                    ProtocolVersion::V5 => "MQTT-3.1.2-22",
                };
                let close = Close::new(
                    ReasonCode::KEEP_ALIVE_TIMEOUT,
                    statement,
                    "nothing was received for one and a half times Keep Alive",
                );
                self.end(slot, Some(&close), now_us);
                self.flush_dirty(now_us);
            }
            _ => {}
        }
    }

    fn add_counts(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        let metrics = &self.shared.metrics;
        metrics.mqtt_messages_received.inc_by(counts.received);
        for (reason, count) in counts.refused.each() {
            add_by_reason(&metrics.mqtt_messages_refused, reason, count);
        }
        for (reason, count) in counts.qos0_dropped.each() {
            add_by_reason(&metrics.mqtt_qos0_dropped, reason, count);
        }
        metrics.mqtt_messages_sent.inc_by(counts.sent);
        for (reason, count) in counts.undelivered.each() {
            add_by_reason(&metrics.mqtt_messages_dropped, reason, count);
        }
        let now = Reported {
            bytes: self.hold_bytes,
            messages: self.hold_messages,
            connections: self.waiting.len(),
            partial_bytes: self.partial_bytes,
        };
        if now != self.reported {
            // The gauges are sums over all shards.
            let before = std::mem::replace(&mut self.reported, now);
            let change = |now: usize, before: usize| now as i64 - before as i64;
            metrics.mqtt_hold_bytes.inc_by(change(now.bytes, before.bytes));
            metrics.mqtt_hold_messages.inc_by(change(now.messages, before.messages));
            metrics.mqtt_hold_connections.inc_by(change(now.connections, before.connections));
            metrics.mqtt_partial_bytes.inc_by(change(now.partial_bytes, before.partial_bytes));
        }
        metrics.mqtt_connections.set(self.shared.connections.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests;
