//! From readable sockets to packets, whole and unfinished, and to whoever handles them.

use codecs::mqtt::{Packet, ReasonCode, decode, frame_len};

use super::super::connection::{Connection, ReadOutcome, State};
use super::super::session::{Close, Flow};
use super::{PARTIAL_SPARE_BYTES, READ_TURN_BYTES, Shard};

/// Why a connection's turn of reading ended.
enum Turn {
    Drained,
    More,
    Stalled,
    Gone,
}

/// What a frame came to.
pub(super) enum FrameOutcome {
    Next,
    Stalled,
    Over,
}

impl Shard {
    pub(super) fn read_ready(&mut self, now_us: u64) {
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
            self.check_partial_budget(now_us);
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
        self.check_partial_budget(now_us);
    }

    /// Where the budget of all incomplete packets is used up, the connection that holds the most is closed: not whoever comes
    /// last with a packet in two parts.
    fn check_partial_budget(&mut self, now_us: u64) {
        while self.partial_bytes > self.shared.limits.partial_bytes_max {
            let held =
                |slot: &Option<Connection>| slot.as_ref().map_or(0, |connection| connection.partial.len());
            let largest = (0..).zip(&self.slots).max_by_key(|(_, slot)| held(slot));
            let Some((slot, _)) = largest.filter(|(_, slot)| held(slot) > 0) else { return };
            let sentence = "too many incomplete packets are held (mqtt.partial_bytes_max)";
            match self.connection(slot).map(|connection| &connection.state) {
                Some(State::Open(_)) => {
                    self.end(slot, Some(&Close::new(ReasonCode::QUOTA_EXCEEDED, "", sentence)), now_us);
                }
                Some(State::Connecting { .. }) => self.refuse(slot, now_us, None, sentence),
                // A connection that closes has given up its packet.
                Some(State::Closing { .. }) | None => return,
            }
        }
    }

    pub(super) fn process_partial(&mut self, slot: u32, now_us: u64) {
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
        let Some((connection, mut context)) = self.connection_and_context(slot, now_us) else {
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
}
