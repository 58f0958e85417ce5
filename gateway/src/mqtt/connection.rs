//! A socket with its session and its unfinished bytes.

use std::io::{self, Read, Write};

use super::held::Held;
use super::refusal::PublishRefusal;
use super::session::Session;
use super::socket::Socket;

/// Unsent bytes beyond which the buffer is given back when it is empty again.
const OUTPUT_KEPT_BYTES: usize = 1 << 10;

/// One connection of a shard.
pub(super) struct Connection {
    socket: Box<dyn Socket>,
    pub(super) state: State,
    /// The start of a packet whose rest has not come, or packets that the journal could not take yet.
    pub(super) partial: Vec<u8>,
    /// Encoded and not yet written.
    pub(super) out: Vec<u8>,
    pub(super) last_received_us: u64,
    /// In the shard's list of connections to read.
    pub(super) ready: bool,
    /// In the shard's list of connections to write.
    pub(super) dirty: bool,
    /// PUBLISH packets that wait for room in the journal.
    pub(super) held: Option<Box<Held>>,
    /// Its room in the hold pool is used up: not read meanwhile.
    pub(super) stalled: bool,
    pub(super) stalled_since_us: u64,
    /// In the shard's line of connections that wait for the journal.
    pub(super) waits_for_turn: bool,
    /// What waits is being refused, for this reason.
    pub(super) giving_up: Option<PublishRefusal>,
    /// The client has left, and what it sent before still waits for the journal.
    pub(super) draining: bool,
    /// The peer will send nothing more: it is read until the end of the stream shows, however short a read is.
    pub(super) read_closed: bool,
    /// The router has more retained messages for it, when it has taken what it got.
    pub(super) wants_more: bool,
}

pub(super) enum State {
    /// Waits for CONNECT until the deadline.
    Connecting {
        deadline_us: u64,
    },
    Open(Box<Session>),
    /// Everything is said; the last bytes go out and what still comes in is thrown away.
    Closing {
        deadline_us: u64,
    },
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    Bytes(usize),
    /// Nothing more for now.
    Drained,
    /// The peer is gone.
    Ended,
}

impl Connection {
    pub(super) fn new(socket: Box<dyn Socket>, now_us: u64, connect_deadline_us: u64) -> Self {
        Self {
            socket,
            state: State::Connecting { deadline_us: connect_deadline_us },
            partial: Vec::new(),
            out: Vec::new(),
            last_received_us: now_us,
            ready: false,
            dirty: false,
            held: None,
            stalled: false,
            stalled_since_us: 0,
            waits_for_turn: false,
            giving_up: None,
            draining: false,
            read_closed: false,
            wants_more: false,
        }
    }

    pub(super) fn socket(&mut self) -> &mut dyn Socket {
        &mut *self.socket
    }

    pub(super) fn into_socket(self) -> Box<dyn Socket> {
        self.socket
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Open(session) => Some(session),
            _ => None,
        }
    }

    /// Bytes that wait to be written or for room in the window of unacknowledged messages.
    pub(super) fn queued_bytes(&self) -> usize {
        let waiting = match &self.state {
            State::Open(session) => session.waiting_bytes(),
            _ => 0,
        };
        self.out.len() + waiting
    }

    /// Buffers shrink to what they hold.
    pub(super) fn give_back_room(&mut self) {
        self.out.shrink_to_fit();
        self.partial.shrink_to_fit();
        if let State::Open(session) = &mut self.state {
            session.give_back_room();
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        loop {
            return match self.socket.read(buffer) {
                Ok(0) => ReadOutcome::Ended,
                Ok(count) => ReadOutcome::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ReadOutcome::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => ReadOutcome::Ended,
            };
        }
    }

    /// Writes what it can; false = the peer is gone.
    pub(super) fn flush(&mut self) -> bool {
        let mut written = 0;
        let alive = loop {
            if written == self.out.len() {
                break true;
            }
            match self.socket.write(&self.out[written..]) {
                Ok(0) => break false,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        if written == self.out.len() {
            if self.out.capacity() > OUTPUT_KEPT_BYTES {
                self.out = Vec::new();
            } else {
                self.out.clear();
            }
        } else {
            self.out.drain(..written);
        }
        alive
    }
}
