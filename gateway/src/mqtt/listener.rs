//! The threads of the front end: a mio loop round each shard; the first one also accepts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

use super::delivery::{RouterRequest, ShardMessage};
use super::shard::{Readiness, Shard};
use crate::clock::Clock;

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_SLOT: usize = 2;
const EVENTS_PER_POLL: usize = 1_024;
/// Timers are looked at this often.
const TICK_US: u64 = 250_000;
/// Messages that wait for a shard. Shards never block, so the router waits here only while a shard is in one wake-up.
const INBOX_MESSAGES_MAX: usize = 4_096;

/// The sending end of a shard's inbox.
#[derive(Clone, Debug)]
pub struct ShardSender {
    sender: Sender<ShardMessage>,
    waker: Arc<Waker>,
}

impl ShardSender {
    /// Waits while the inbox is full; false when the shard has ended.
    pub fn send(&self, message: ShardMessage) -> bool {
        let sent = self.sender.send(message).is_ok();
        self.wake();
        sent
    }

    fn try_send(&self, message: ShardMessage) -> Result<(), ShardMessage> {
        let result = match self.sender.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => Err(message),
        };
        self.wake();
        result
    }

    pub fn wake(&self) {
        // A failure means that the poll loop is gone; then nobody waits.
        let _ = self.waker.wake();
    }
}

/// A shard's poll loop before it runs.
#[derive(Debug)]
pub struct ShardLoop {
    poll: Poll,
    inbox: Receiver<ShardMessage>,
    sender: ShardSender,
}

impl ShardLoop {
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, inbox) = bounded(INBOX_MESSAGES_MAX);
        Ok(Self { poll, inbox, sender: ShardSender { sender, waker } })
    }

    pub fn sender(&self) -> ShardSender {
        self.sender.clone()
    }
}

/// What a shard thread works with.
pub struct ShardThread {
    pub shard: Shard,
    pub shard_loop: ShardLoop,
    /// The first shard accepts for all.
    pub listener: Option<TcpListener>,
    pub peers: Vec<ShardSender>,
    pub router: Sender<RouterRequest>,
    pub clock: Arc<dyn Clock>,
    /// First true: no new connections, no more reading. The thread ends when all acks of durable messages are out.
    pub stop: Arc<AtomicBool>,
    pub next_accept_warning_us: u64,
    /// Connections of all shards that the descriptors allow; further ones wait to be accepted.
    pub accept_max: usize,
}

/// Between two log lines about connections that cannot be accepted.
const ACCEPT_WARNING_PAUSE_US: u64 = 10_000_000;

impl std::fmt::Debug for ShardThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardThread").field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// Binds the MQTT listener.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr)
}

/// How long a stopping shard waits for the journal before it says goodbye all the same.
const STOP_WAIT_US: u64 = 3_000_000;

impl ShardThread {
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut readiness = Vec::with_capacity(EVENTS_PER_POLL);
        if let Some(listener) = &mut self.listener {
            self.shard_loop.poll.registry().register(listener, LISTENER, Interest::READABLE)?;
        }
        let mut next_tick_us = self.clock.monotonic_us() + TICK_US;
        let mut stopping_since_us = None;
        let mut accept = false;
        // Messages for full inboxes and requests that the router had no room for; bounded by the connections' own limits.
        let mut unsent = Vec::new();
        let mut requests = Vec::new();
        loop {
            let now_us = self.clock.monotonic_us();
            let wait_us = if self.shard.has_work() {
                0
            } else if !requests.is_empty() {
                1_000
            } else {
                next_tick_us.saturating_sub(now_us)
            };
            if let Err(error) = self.shard_loop.poll.poll(&mut events, Some(Duration::from_micros(wait_us)))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            let now_us = self.clock.monotonic_us();
            readiness.clear();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    LISTENER => accept = true,
                    Token(token) => readiness.push(Readiness {
                        slot: (token - FIRST_SLOT) as u32,
                        readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                        writable: event.is_writable(),
                        read_closed: event.is_read_closed() || event.is_error(),
                    }),
                }
            }
            if accept && stopping_since_us.is_none() {
                accept = !self.accept_all(now_us);
            }
            while let Ok(message) = self.shard_loop.inbox.try_recv() {
                if let Some(slot) = self.shard.handle_message(message, now_us) {
                    self.register(slot);
                }
            }
            self.shard.step(now_us, &readiness);
            if now_us >= next_tick_us {
                self.shard.tick(now_us);
                next_tick_us = now_us + TICK_US;
            }
            self.send_output(&mut unsent, &mut requests);
            if self.stop.load(Ordering::Acquire) {
                let since_us = *stopping_since_us.get_or_insert(now_us);
                self.shard.stop_reading();
                if self.shard.is_quiet() || now_us - since_us > STOP_WAIT_US {
                    self.shard.shut_down(now_us);
                    self.send_output(&mut unsent, &mut requests);
                    return Ok(());
                }
                next_tick_us = next_tick_us.min(now_us + 1_000);
            }
        }
    }

    /// True when nobody waits any more.
    fn accept_all(&mut self, now_us: u64) -> bool {
        loop {
            let Some(listener) = &self.listener else { return true };
            if self.shard.connections() >= self.accept_max {
                if now_us >= self.next_accept_warning_us {
                    self.next_accept_warning_us = now_us + ACCEPT_WARNING_PAUSE_US;
                    tracing::warn!(
                        connections = self.accept_max,
                        "all descriptors for connections are in use; further clients wait until one leaves: raise the \
                         limit (ulimit -n, LimitNOFILE=)"
                    );
                }
                return false;
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    // Acks are small and leave once per wake-up: waiting for more would only add latency.
                    let _ = stream.set_nodelay(true);
                    if let Some(slot) = self.shard.accept(Box::new(stream), now_us) {
                        self.register(slot);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Out of descriptors, or the peer left already: the next tick tries again.
                    if now_us >= self.next_accept_warning_us {
                        self.next_accept_warning_us = now_us + ACCEPT_WARNING_PAUSE_US;
                        tracing::warn!(%error, "connections cannot be accepted; they wait and are tried again");
                    }
                    return false;
                }
            }
        }
    }

    fn register(&mut self, slot: u32) {
        let token = Token(slot as usize + FIRST_SLOT);
        if let Some(stream) = self.shard.socket(slot).and_then(|socket| socket.tcp_stream())
            && let Err(error) = self.shard_loop.poll.registry().register(
                stream,
                token,
                Interest::READABLE | Interest::WRITABLE,
            )
        {
            tracing::warn!(%error, "a connection could not be watched");
        }
    }

    fn send_output(&mut self, unsent: &mut Vec<(usize, ShardMessage)>, requests: &mut Vec<RouterRequest>) {
        let output = self.shard.take_output();
        for (_, message) in &mut output.messages {
            if let ShardMessage::Adopt { socket, .. } = message
                && let Some(stream) = socket.tcp_stream()
            {
                let _ = self.shard_loop.poll.registry().deregister(stream);
            }
        }
        unsent.append(&mut output.messages);
        requests.append(&mut output.requests);
        for (owner, message) in std::mem::take(unsent) {
            if let Err(message) = self.peers[owner].try_send(message) {
                unsent.push((owner, message));
            }
        }
        // Never wait for the router here: it may be waiting for this shard's inbox.
        let mut kept = Vec::new();
        for request in requests.drain(..) {
            if !kept.is_empty() {
                kept.push(request);
            } else if let Err(TrySendError::Full(request)) = self.router.try_send(request) {
                kept.push(request);
            }
        }
        *requests = kept;
    }
}
