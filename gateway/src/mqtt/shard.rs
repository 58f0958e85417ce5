//! All connections of one thread.
//!
//! `step` is told which sockets are ready and what others sent; in between it reads many connections, appends to one
//! journal buffer, hands that over once, and writes what the journal and the router released. It never blocks.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use codecs::mqtt::{Packet, ProtocolVersion, ReasonCode, decode, frame_len};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::connect;
use super::connection::{Connection, ReadOutcome, State};
use super::delivery::{ConnectionId, RouterRequest, ShardMessage};
use super::limits::{LINGER_MS, MqttLimits};
use super::log_limit::LogLimit;
use super::session::{Close, Context, Counts, Flow, Session, Will};
use super::socket::Socket;
use crate::health::Health;
use crate::journal::JournalPort;
use crate::metrics::{Metrics, add_by_reason};
use crate::record::{Door, Message};
use crate::sinks::QuarantineQuota;

mod hold;
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

/// Why a connection's turn of reading ended.
enum Turn {
    Drained,
    More,
    Stalled,
    Gone,
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
        self.release_acks();
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
        self.release_acks();
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
        self.release_acks();
        for slot in 0..self.slots.len() as u32 {
            if matches!(self.slots[slot as usize], Some(Connection { state: State::Open(_), .. })) {
                let close = Close::new(ReasonCode::SERVER_SHUTTING_DOWN, "", "the gateway stops");
                self.end(slot, Some(&close), now_us);
            }
        }
        // Their wills.
        self.journal.hand_over();
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

    fn read_ready(&mut self, now_us: u64) {
        if self.stopping {
            return;
        }
        let mut ready = std::mem::replace(&mut self.ready, std::mem::take(&mut self.ready_now));
        for slot in ready.drain(..) {
            let Some(connection) = self.connection(slot) else { continue };
            connection.ready = false;
            if connection.stalled || connection.draining {
                // Read again when the journal has taken what it sent; or never.
                continue;
            }
            match self.read_turn(slot, now_us) {
                Turn::Drained | Turn::Stalled => {}
                Turn::More => self.mark_ready(slot),
                Turn::Gone if self.drain(slot) => {}
                Turn::Gone => self.end(slot, None, now_us),
            }
        }
        self.ready_now = ready;
    }

    /// Reads one connection until it has nothing more or had its turn.
    fn read_turn(&mut self, slot: u32, now_us: u64) -> Turn {
        let mut budget = READ_TURN_BYTES;
        loop {
            let mut buffer = std::mem::take(&mut self.read_buffer);
            let turn = self.read_once(slot, &mut buffer, now_us, &mut budget);
            self.read_buffer = buffer;
            if let Some(turn) = turn {
                return turn;
            }
            if budget == 0 {
                return Turn::More;
            }
        }
    }

    fn read_once(&mut self, slot: u32, buffer: &mut [u8], now_us: u64, budget: &mut usize) -> Option<Turn> {
        let Some(connection) = self.connection(slot) else { return Some(Turn::Drained) };
        let count = match connection.read(buffer) {
            ReadOutcome::Bytes(count) => count,
            ReadOutcome::Drained => return Some(Turn::Drained),
            ReadOutcome::Ended => return Some(Turn::Gone),
        };
        connection.last_received_us = now_us;
        *budget = budget.saturating_sub(count);
        if matches!(connection.state, State::Closing { .. }) {
            return None;
        }
        if connection.partial.is_empty() {
            let used = self.process(slot, &buffer[..count], now_us);
            self.keep_rest(slot, &buffer[used..count], now_us);
        } else {
            connection.partial.extend_from_slice(&buffer[..count]);
            self.partial_bytes += count;
            self.process_partial(slot, now_us);
            self.check_partial_budget(slot, now_us);
        }
        if self.connection(slot).is_some_and(|connection| connection.stalled) {
            return Some(Turn::Stalled);
        }
        // A short read means that the socket is empty, and the poll loop reports when that changes. The end of the stream
        // was perhaps reported together with these bytes, and will not be reported again.
        let end_follows = self.connection(slot).is_some_and(|connection| connection.read_closed);
        (count < buffer.len() && !end_follows).then_some(Turn::Drained)
    }

    fn keep_rest(&mut self, slot: u32, rest: &[u8], now_us: u64) {
        if rest.is_empty() {
            return;
        }
        let Some(connection) = self.connection(slot) else { return };
        if matches!(connection.state, State::Closing { .. }) {
            return;
        }
        connection.partial.extend_from_slice(rest);
        self.partial_bytes += rest.len();
        self.check_partial_budget(slot, now_us);
    }

    /// The connection that goes over the budget of all incomplete packets is closed.
    fn check_partial_budget(&mut self, slot: u32, now_us: u64) {
        if self.partial_bytes <= self.shared.limits.partial_bytes_max {
            return;
        }
        let sentence = "too many incomplete packets are held (mqtt.partial_bytes_max)";
        match self.connection(slot) {
            Some(Connection { partial, .. }) if partial.is_empty() => {}
            Some(Connection { state: State::Open(_), .. }) => {
                self.end(slot, Some(&Close::new(ReasonCode::QUOTA_EXCEEDED, "", sentence)), now_us);
            }
            Some(Connection { state: State::Connecting { .. }, .. }) => {
                self.refuse(slot, now_us, None, sentence)
            }
            _ => {}
        }
    }

    fn process_partial(&mut self, slot: u32, now_us: u64) {
        let Some(connection) = self.connection(slot) else { return };
        let mut partial = std::mem::take(&mut connection.partial);
        let used = self.process(slot, &partial, now_us);
        self.partial_bytes -= used.min(partial.len());
        let Some(connection) = self.connection(slot) else {
            self.partial_bytes -= partial.len() - used;
            return;
        };
        if matches!(connection.state, State::Closing { .. }) {
            self.partial_bytes -= partial.len() - used;
            return;
        }
        if used < partial.len() {
            partial.drain(..used);
            // What is counted is what is held.
            if partial.capacity() > 2 * partial.len() + PARTIAL_SPARE_BYTES {
                partial.shrink_to_fit();
            }
            connection.partial = partial;
        }
    }

    /// Handles all whole packets at the start of `bytes`; returns how many bytes they were.
    fn process(&mut self, slot: u32, bytes: &[u8], now_us: u64) -> usize {
        let mut used = 0;
        let listed = self.ack_batch(slot);
        while used < bytes.len() {
            let rest = &bytes[used..];
            let frame_end = match frame_len(rest, self.shared.limits.packet_bytes_max) {
                Ok(Some(len)) if len <= rest.len() => len,
                Ok(_) => break,
                Err(error) => {
                    self.end_malformed(slot, &error, now_us);
                    used = bytes.len();
                    break;
                }
            };
            match self.handle_frame(slot, &rest[..frame_end], rest, now_us) {
                FrameOutcome::Next => used += frame_end,
                FrameOutcome::Stalled => break,
                FrameOutcome::Over => {
                    used = bytes.len();
                    break;
                }
            }
        }
        self.list_acks(slot, listed);
        used
    }

    fn handle_frame(&mut self, slot: u32, frame: &[u8], rest: &[u8], now_us: u64) -> FrameOutcome {
        let Some(connection) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return FrameOutcome::Over;
        };
        let session = match &mut connection.state {
            State::Open(session) => session,
            State::Connecting { .. } => return self.handle_connect(slot, frame, rest, now_us),
            State::Closing { .. } => return FrameOutcome::Over,
        };
        let packet = match decode(frame, session.version()) {
            Ok(packet) => packet,
            Err(error) => {
                self.end_malformed(slot, &error, now_us);
                return FrameOutcome::Over;
            }
        };
        if let Packet::Publish(publish) = &packet
            && (connection.held.is_some() || connection.giving_up.is_some())
        {
            return self.hold(slot, frame, publish.packet_id.is_none(), now_us);
        }
        let mut context = Context {
            journal: &mut self.journal,
            requests: &mut self.output.requests,
            limits: &self.shared.limits,
            counts: &mut self.counts,
            now_us,
            mapping_version: self.shared.mapping_version,
            quota: &self.shared.quota,
            quota_version: self.quota_version,
        };
        let had_output = connection.out.len();
        let wants_more = connection.wants_more;
        let flow = session.handle_packet(&packet, &mut context, &mut connection.out);
        let has_output = connection.out.len() > had_output;
        match flow {
            Ok(Flow::Next) => {
                if has_output || wants_more {
                    self.mark_dirty(slot);
                    if self.slots[slot as usize].as_ref().is_some_and(|connection| {
                        connection.out.len() > self.shared.limits.session_queue_bytes_max
                    }) {
                        let sentence =
                            "it sends requests and does not read the answers (mqtt.session_queue_bytes_max)";
                        let close = Close::new(ReasonCode::QUOTA_EXCEEDED, "", sentence);
                        self.end(slot, Some(&close), now_us);
                        return FrameOutcome::Over;
                    }
                }
                FrameOutcome::Next
            }
            Ok(Flow::JournalFull) => {
                let is_qos0 = matches!(&packet, Packet::Publish(publish) if publish.packet_id.is_none());
                self.hold(slot, frame, is_qos0, now_us)
            }
            Ok(Flow::Finished) => {
                if !self.drain(slot) {
                    self.end(slot, None, now_us);
                }
                FrameOutcome::Over
            }
            Err(close) => {
                self.shared.metrics.mqtt_protocol_errors.inc();
                self.end(slot, Some(&close), now_us);
                FrameOutcome::Over
            }
        }
    }

    /// The first packet: a session of this shard, a connection for another one, or a refusal.
    fn handle_connect(&mut self, slot: u32, frame: &[u8], rest: &[u8], now_us: u64) -> FrameOutcome {
        let connect = match decode(frame, ProtocolVersion::V5) {
            Ok(Packet::Connect(connect)) => connect,
            Ok(_) => {
                self.refuse(slot, now_us, None, "the first packet is not CONNECT [MQTT-3.1.0-1]");
                return FrameOutcome::Over;
            }
            Err(error) => {
                let mut connack = Vec::new();
                if error.reason_code() == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION {
                    // In the form of 3.1.1, which every client reads.
                    let refusal = connect::Refusal { reason: error.reason_code(), sentence: "" };
                    connect::write_refusal(ProtocolVersion::V3_1_1, refusal, &mut connack);
                }
                self.refuse(slot, now_us, Some(&connack), &error.to_string());
                return FrameOutcome::Over;
            }
        };
        let made = || loop {
            self.made_client_ids += 1;
            let client =
                format!("auto-{:x}-{}-{}", self.shared.client_id_seed, self.index, self.made_client_ids);
            // One that this shard owns, so that the client finds its session under it when it connects again.
            if owner_of(&self.client_hasher, self.shard_count, &client) == self.index {
                return client;
            }
        };
        let accepted = connect::client_id(&connect, &self.shared.limits, made).and_then(|client| {
            let owner = owner_of(&self.client_hasher, self.shard_count, &client);
            if owner != self.index {
                return Ok((owner, None));
            }
            Ok((owner, Some(connect::accept(&connect, client, &self.shared.limits)?)))
        });
        match accepted {
            Ok((owner, None)) => {
                self.hand_off(slot, owner, rest);
                FrameOutcome::Over
            }
            Ok((_, Some(parameters))) => {
                let will_bytes = parameters.will.as_ref().map_or(0, Will::bytes);
                if self.will_bytes + will_bytes > self.shared.limits.will_bytes_max {
                    let refusal = connect::no_room_for_will(connect.version);
                    let mut connack = Vec::new();
                    connect::write_refusal(connect.version, refusal, &mut connack);
                    self.refuse(slot, now_us, Some(&connack), refusal.sentence);
                    return FrameOutcome::Over;
                }
                if let Some(older) = self.by_client.get(&parameters.client).copied() {
                    let close = Close::new(ReasonCode::SESSION_TAKEN_OVER, "", "the client connected again");
                    self.end(older, Some(&close), now_us);
                }
                let id = self.connection_id(slot);
                let Some(connection) = self.slots[slot as usize].as_mut() else { return FrameOutcome::Over };
                connect::write_connack(&connect, &parameters, &self.shared.limits, &mut connection.out);
                if connection.out.len() > parameters.packet_bytes_max {
                    connection.out.clear();
                    let sentence = "its Maximum Packet Size has no room for CONNACK [MQTT-3.1.2-24]";
                    self.refuse(slot, now_us, None, sentence);
                    return FrameOutcome::Over;
                }
                self.will_bytes += will_bytes;
                self.by_client.insert(parameters.client.clone(), slot);
                connection.state = State::Open(Box::new(Session::new(parameters, id)));
                self.mark_dirty(slot);
                FrameOutcome::Next
            }
            Err(refusal) => {
                let mut connack = Vec::new();
                connect::write_refusal(connect.version, refusal, &mut connack);
                self.refuse(slot, now_us, Some(&connack), refusal.sentence);
                FrameOutcome::Over
            }
        }
    }

    /// Gives a connection to the shard that owns its client id.
    fn hand_off(&mut self, slot: u32, owner: usize, bytes: &[u8]) {
        let Some(connection) = self.remove(slot) else { return };
        let message = ShardMessage::Adopt { socket: connection.into_socket(), bytes: bytes.to_vec() };
        self.output.messages.push((owner, message));
    }

    fn refuse(&mut self, slot: u32, now_us: u64, connack: Option<&[u8]>, sentence: &str) {
        self.shared.metrics.mqtt_connections_refused.inc();
        let Some(connection) = self.slots[slot as usize].as_mut() else { return };
        let peer = connection.socket().peer_ip();
        if self.log_limit.admits(peer, None, now_us) {
            tracing::info!(%peer, "connection refused: {sentence}");
        }
        if let Some(connection) = self.connection(slot)
            && let Some(connack) = connack
        {
            connection.out.extend_from_slice(connack);
        }
        self.start_closing(slot, now_us);
    }

    fn end_malformed(&mut self, slot: u32, error: &codecs::mqtt::DecodeError, now_us: u64) {
        self.shared.metrics.mqtt_protocol_errors.inc();
        if self.connection(slot).is_some_and(|connection| connection.session().is_none()) {
            return self.refuse(slot, now_us, None, &error.to_string());
        }
        let close =
            Close { reason: error.reason_code(), statement: error.statement(), sentence: error.to_string() };
        self.end(slot, Some(&close), now_us);
    }

    /// Ends a connection. With a reason it is our doing: 5.0 clients are told, and the log may say it. The will is
    /// published unless DISCONNECT took it away.
    fn end(&mut self, slot: u32, close: Option<&Close>, now_us: u64) {
        let id = self.connection_id(slot);
        let Some(connection) = self.slots[slot as usize].as_mut() else { return };
        let peer = connection.socket().peer_ip();
        if let State::Open(session) = &connection.state {
            if let Some(close) = close {
                session.write_disconnect(close.reason, &mut connection.out);
                let client = session.client();
                // A stop says goodbye to everybody; one line for each would say nothing.
                if close.reason != ReasonCode::SERVER_SHUTTING_DOWN
                    && self.log_limit.admits(peer, Some(client), now_us)
                {
                    let statement = (!close.statement.is_empty()).then_some(close.statement);
                    tracing::info!(%peer, %client, reason = %close.reason, statement, "connection closed: {}", close.sentence);
                }
            }
            if session.subscribed() {
                self.output.requests.push(RouterRequest::Left { connection: id });
            }
            self.will_bytes -= session.will_bytes();
            if let Some(will) = session.will() {
                self.will_bytes += will.bytes();
                self.wills.push_back((session.client().clone(), session.version(), will.clone()));
            }
            if self.by_client.get(session.client()) == Some(&slot) {
                self.by_client.remove(session.client());
            }
        }
        match close {
            Some(_) => self.start_closing(slot, now_us),
            None => {
                if let Some(connection) = self.connection(slot) {
                    // A last try: PUBACKs that were released in this wake-up.
                    connection.flush();
                }
                self.drop_connection(slot);
            }
        }
        self.publish_wills();
    }

    /// No session any more: what is in the output goes out, then the peer reads an end of stream.
    fn start_closing(&mut self, slot: u32, now_us: u64) {
        self.drop_held(slot);
        let Some(connection) = self.connection(slot) else { return };
        connection.state = State::Closing { deadline_us: now_us + LINGER_MS * 1_000 };
        connection.stalled = false;
        connection.draining = false;
        connection.waits_for_turn = false;
        let partial = std::mem::take(&mut connection.partial);
        self.partial_bytes -= partial.len();
        // The connection id of the session is void from here on.
        self.generations[slot as usize] = self.generations[slot as usize].wrapping_add(1);
        self.mark_dirty(slot);
    }

    fn remove(&mut self, slot: u32) -> Option<Connection> {
        self.drop_held(slot);
        let connection = self.slots[slot as usize].take()?;
        self.partial_bytes -= connection.partial.len();
        self.generations[slot as usize] = self.generations[slot as usize].wrapping_add(1);
        self.free.push(slot);
        Some(connection)
    }

    fn drop_connection(&mut self, slot: u32) {
        if self.remove(slot).is_some() {
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Wills go through the journal like any message.
    fn publish_wills(&mut self) {
        while let Some((client, version, will)) = self.wills.front() {
            let message = Message {
                qos: will.qos,
                dup: false,
                retain: will.retain,
                version: *version,
                door: Door::Mqtt,
                first: false,
                packet_id: 0,
                mapping_version: self.shared.mapping_version,
                agency: b"",
                client: client.as_bytes(),
                topic: will.topic.as_bytes(),
                properties: &will.properties,
                payload: &will.payload,
            };
            if self.journal.append(&message).is_err() {
                break;
            }
            self.counts.received += 1;
            self.will_bytes -= will.bytes();
            self.wills.pop_front();
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

fn owner_of(hasher: &foldhash::quality::FixedState, shard_count: usize, client: &str) -> usize {
    (hasher.hash_one(client) % shard_count as u64) as usize
}

enum FrameOutcome {
    Next,
    Stalled,
    Over,
}

#[cfg(test)]
mod tests;
