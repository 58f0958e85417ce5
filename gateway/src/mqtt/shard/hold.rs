//! While the journal has no room: PUBLISH packets wait in the hold pool, everything else goes on (design §3.1, B1-3).
//!
//! ```text
//!  PUBLISH ── room? ──▶ journal
//!     │ no, or an older one of this connection waits
//!     ▼
//!  held (mqtt.hold_bytes_max of the connection, mqtt.hold_pool_bytes_max of the shard) ── room again, in turns ──▶ journal
//!     │ used up
//!     ▼
//!  stalled: the connection is not read ── FULL_US without progress, or the oldest waits for mqtt.hold_ms_max ──▶ given up:
//!     5.0: each PUBLISH is answered with 0x97 in its turn; 3.1.1: closed without PUBACK; QoS 0: dropped. All are counted.
//! ```
//!
//! Connections get their turns one after the other, [`TURN_BYTES`] each, before anything new is read: a loud one cannot take
//! what comes free from the others.

use std::sync::atomic::Ordering;

use codecs::mqtt::{Packet, decode, frame_len};

use super::super::connection::{Connection, State};
use super::super::held::Held;
use super::super::refusal::PublishRefusal;
use super::super::session::Flow;
use super::Shard;
use super::reading::FrameOutcome;
use crate::health::Trouble;

/// What one connection may journal of what it holds before the next one has its turn.
const TURN_BYTES: usize = 64 << 10;
/// A connection whose room in the pool is used up is not read for so long without progress; then it is given up.
const FULL_US: u64 = 5_000_000;

/// Clients that wait for so long are a state that `/ready` tells.
const TOLD_MS: u64 = 1_000;

/// How a turn ended.
enum HeldTurn {
    /// Nothing of it waits any more.
    Empty,
    More,
    /// The journal has no room.
    Full {
        progress: bool,
    },
    Gone,
}

impl Shard {
    /// A PUBLISH that found no room, or that must stay behind one that did.
    pub(super) fn hold(&mut self, slot: u32, frame: &[u8], is_qos0: bool, now_us: u64) -> FrameOutcome {
        let (bytes_max, pool_bytes_max) =
            (self.shared.limits.hold_bytes_max, self.shared.limits.hold_pool_bytes_max);
        let Some(connection) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return FrameOutcome::Over;
        };
        if let Some(refusal) = connection.giving_up {
            return self.give_up_packet(slot, frame, refusal, now_us);
        }
        let room = connection.held.as_ref().map_or(0, |held| held.room());
        let needs = Held::needs(frame);
        if room + needs > bytes_max || self.hold_bytes + needs > pool_bytes_max {
            if !connection.stalled {
                connection.stalled = true;
                connection.stalled_since_us = now_us;
            }
            self.wait_for_turn(slot);
            return FrameOutcome::Stalled;
        }
        let held = connection.held.get_or_insert_default();
        let State::Open(session) = &connection.state else { return FrameOutcome::Over };
        if !is_qos0 && let Err(close) = session.check_receive_maximum(held.identified(), &self.shared.limits)
        {
            self.end(slot, Some(&close), now_us);
            return FrameOutcome::Over;
        }
        if held.is_empty() {
            held.progress_us = now_us;
        }
        held.push(frame, is_qos0, now_us);
        let room_now = held.room();
        self.hold_bytes = self.hold_bytes + room_now - room;
        self.hold_messages += 1;
        self.wait_for_turn(slot);
        FrameOutcome::Next
    }

    fn wait_for_turn(&mut self, slot: u32) {
        let id = self.connection_id(slot);
        if let Some(connection) = self.connection(slot)
            && !std::mem::replace(&mut connection.waits_for_turn, true)
        {
            self.waiting.push_back(id);
        }
    }

    /// One turn for each connection that waits, until the journal is full again. Who had a turn goes to the end of the line.
    pub(super) fn retry_held(&mut self, now_us: u64) {
        self.turns_left = false;
        if self.stopping {
            return;
        }
        for _ in 0..self.waiting.len() {
            let Some(id) = self.waiting.pop_front() else { break };
            if !self.current(id) {
                continue;
            }
            match self.journal_held(id.slot, now_us) {
                HeldTurn::Empty | HeldTurn::Gone => {}
                HeldTurn::More => {
                    self.waiting.push_back(id);
                    self.turns_left = true;
                }
                HeldTurn::Full { progress } => {
                    if progress {
                        self.waiting.push_back(id);
                    } else {
                        self.waiting.push_front(id);
                    }
                    self.turns_left = false;
                    break;
                }
            }
        }
    }

    fn journal_held(&mut self, slot: u32, now_us: u64) -> HeldTurn {
        let listed = self.ack_batch(slot);
        let turn = self.journal_packets(slot, now_us);
        self.list_acks(slot, listed);
        let was_read_on = match turn {
            HeldTurn::Gone => return turn,
            HeldTurn::Empty | HeldTurn::More | HeldTurn::Full { progress: true } => {
                self.read_on(slot, now_us)
            }
            HeldTurn::Full { progress: false } => false,
        };
        let Some(connection) = self.connection(slot) else { return HeldTurn::Gone };
        if connection.session().is_none() {
            return HeldTurn::Gone;
        }
        let waits = connection.held.is_some() || connection.stalled;
        connection.waits_for_turn = waits;
        match turn {
            HeldTurn::Empty if waits && !was_read_on => HeldTurn::Full { progress: false },
            HeldTurn::Empty if waits => HeldTurn::More,
            _ if !waits && connection.draining => {
                self.end(slot, None, now_us);
                HeldTurn::Gone
            }
            turn => turn,
        }
    }

    /// A stalled connection goes on with what was read already; true where it got somewhere.
    fn read_on(&mut self, slot: u32, now_us: u64) -> bool {
        let Some(connection) = self.connection(slot) else { return false };
        if !std::mem::take(&mut connection.stalled) {
            return true;
        }
        let (unread, since_us) = (connection.partial.len(), connection.stalled_since_us);
        // It could not speak while it was not read.
        connection.last_received_us = now_us;
        self.process_partial(slot, now_us);
        let Some(connection) = self.connection(slot) else { return true };
        if !connection.stalled {
            self.mark_ready(slot);
            return true;
        }
        let is_progress = connection.partial.len() < unread;
        if !is_progress {
            connection.stalled_since_us = since_us;
        }
        is_progress
    }

    /// As far as journal and turn allow.
    fn journal_packets(&mut self, slot: u32, now_us: u64) -> HeldTurn {
        let Some((connection, mut context)) = self.connection_and_context(slot, now_us) else {
            return HeldTurn::Gone;
        };
        let State::Open(session) = &mut connection.state else { return HeldTurn::Gone };
        let Some(mut held) = connection.held.take() else { return HeldTurn::Empty };
        let (mut turn_bytes, mut taken) = (0, 0);
        let mut over = None;
        let turn = loop {
            let Some(packet) = held.front() else { break HeldTurn::Empty };
            if turn_bytes >= TURN_BYTES {
                break HeldTurn::More;
            }
            // It was decoded when it came.
            if let Ok(Packet::Publish(publish)) = decode(packet.frame, session.version()) {
                match session.handle_publish(&publish, &mut context) {
                    Ok(Flow::JournalFull) => break HeldTurn::Full { progress: turn_bytes > 0 },
                    Ok(_) => {}
                    Err(close) => {
                        over = Some(close);
                        break HeldTurn::Gone;
                    }
                }
            }
            turn_bytes += packet.frame.len();
            taken += 1;
            held.pop_front();
            held.progress_us = now_us;
        };
        let mut room_given_back = 0;
        if held.is_empty() {
            room_given_back = held.room();
        } else {
            connection.held = Some(held);
        }
        self.hold_bytes -= room_given_back;
        self.hold_messages -= taken;
        if let Some(close) = over {
            self.end(slot, Some(&close), now_us);
        }
        turn
    }

    /// Looks whether waiting still makes sense for this connection.
    pub(super) fn check_held(&mut self, slot: u32, now_us: u64) {
        let hold_us_max = self.shared.limits.hold_ms_max * 1_000;
        let Some(connection) = self.connection(slot) else { return };
        let oldest =
            connection.held.as_ref().and_then(|held| Some((held.front()?.since_us, held.progress_us)));
        let since_us = match (oldest, connection.stalled) {
            (None, false) => return,
            (Some((since_us, _)), _) => since_us,
            (None, true) => connection.stalled_since_us,
        };
        let progress_us = oldest.map_or(0, |(_, progress_us)| progress_us).max(connection.stalled_since_us);
        if now_us.saturating_sub(since_us) > hold_us_max {
            self.give_up(slot, PublishRefusal::HeldTooLong, now_us);
        } else if connection.stalled && now_us.saturating_sub(progress_us) > FULL_US {
            self.give_up(slot, PublishRefusal::HoldFull, now_us);
        }
    }

    /// Nothing of what waits was journaled, so nothing is lost: whoever sent it with an identifier still has it.
    fn give_up(&mut self, slot: u32, refusal: PublishRefusal, now_us: u64) {
        let listed = self.ack_batch(slot);
        let Some(connection) = self.connection(slot) else { return };
        connection.giving_up = Some(refusal);
        if let Some(mut held) = connection.held.take() {
            self.hold_bytes -= held.room();
            self.hold_messages -= held.messages() as usize;
            while let Some(packet) = held.front() {
                if matches!(self.give_up_packet(slot, packet.frame, refusal, now_us), FrameOutcome::Over) {
                    self.count_given_up(&mut held, refusal);
                    return;
                }
                held.pop_front();
            }
        }
        // The rest of what was read.
        if let Some(connection) = self.connection(slot)
            && std::mem::take(&mut connection.stalled)
        {
            connection.last_received_us = now_us;
            self.process_partial(slot, now_us);
            self.mark_ready(slot);
        }
        self.list_acks(slot, listed);
        if let Some(connection) = self.connection(slot) {
            connection.giving_up = None;
            if connection.draining {
                self.end(slot, None, now_us);
            }
        }
    }

    /// One packet refused, or the connection over.
    fn give_up_packet(
        &mut self,
        slot: u32,
        frame: &[u8],
        refusal: PublishRefusal,
        now_us: u64,
    ) -> FrameOutcome {
        let Some(Connection { state: State::Open(session), .. }) =
            self.slots.get_mut(slot as usize).and_then(Option::as_mut)
        else {
            return FrameOutcome::Over;
        };
        let Ok(Packet::Publish(publish)) = decode(frame, session.version()) else {
            return FrameOutcome::Next;
        };
        match session.refuse(&publish, refusal, &mut self.counts) {
            Ok(()) => FrameOutcome::Next,
            Err(close) => {
                self.count_unread(slot, refusal);
                self.end(slot, Some(&close), now_us);
                FrameOutcome::Over
            }
        }
    }

    /// Behind the packet for which a connection was closed.
    fn count_given_up(&mut self, held: &mut Held, refusal: PublishRefusal) {
        held.pop_front();
        let identified = held.identified() as u64;
        self.counts.refused.add(refusal, identified);
        self.counts.qos0_dropped.add(refusal, u64::from(held.messages()) - identified);
    }

    /// The connection ends: its QoS 0 messages are lost, the others were never acknowledged.
    pub(super) fn drop_held(&mut self, slot: u32) {
        let Some(connection) = self.connection(slot) else { return };
        let Some(held) = connection.held.take() else { return };
        self.hold_bytes -= held.room();
        self.hold_messages -= held.messages() as usize;
        let of_qos0 = u64::from(held.messages()) - held.identified() as u64;
        self.counts.qos0_dropped.add(PublishRefusal::ConnectionEnded, of_qos0);
    }

    /// A client that left while messages of it wait: the connection stays until they are journaled or given up. False where
    /// nothing waits.
    pub(super) fn drain(&mut self, slot: u32) -> bool {
        let Some(connection) = self.connection(slot) else { return false };
        if connection.held.is_none() || connection.session().is_none() {
            return false;
        }
        connection.draining = true;
        true
    }

    /// What all shards hold longest is told as one number, and as a state of the gateway when it lasts.
    pub(super) fn report_held(&mut self, now_us: u64) {
        let oldest_ms = self.oldest_held_us().map_or(0, |since_us| now_us.saturating_sub(since_us) / 1_000);
        let of_shards = &self.shared.held_ms;
        if of_shards[self.index].swap(oldest_ms, Ordering::Relaxed) == 0 && oldest_ms == 0 {
            return;
        }
        let longest_ms = of_shards.iter().map(|ms| ms.load(Ordering::Relaxed)).max().unwrap_or(0);
        self.shared.metrics.mqtt_hold_oldest_ms.set(longest_ms as i64);
        self.shared.health.set(Trouble::ClientsWait, longest_ms >= TOLD_MS);
    }

    /// Since when the oldest packet of this shard waits, among those next in line.
    fn oldest_held_us(&mut self) -> Option<u64> {
        const LOOKED_AT: usize = 1_024;
        let slots: Vec<u32> = self.waiting.iter().take(LOOKED_AT).map(|id| id.slot).collect();
        let since = |connection: &Connection| {
            let held = connection.held.as_ref().and_then(|held| held.front());
            held.map(|packet| packet.since_us).or(connection.stalled.then_some(connection.stalled_since_us))
        };
        slots
            .into_iter()
            .filter_map(|slot| self.connection(slot).and_then(|connection| since(connection)))
            .min()
    }

    /// Whole packets that were read and wait behind what is held, of a connection that is closed for it.
    fn count_unread(&mut self, slot: u32, refusal: PublishRefusal) {
        let Some(connection) = self.slots.get(slot as usize).and_then(Option::as_ref) else { return };
        let State::Open(session) = &connection.state else { return };
        let mut rest = &connection.partial[..];
        while let Ok(Some(len)) = frame_len(rest, self.shared.limits.packet_bytes_max)
            && let Some(frame) = rest.get(..len)
        {
            if let Ok(Packet::Publish(publish)) = decode(frame, session.version()) {
                match publish.packet_id {
                    Some(_) => self.counts.refused.add(refusal, 1),
                    None => self.counts.qos0_dropped.add(refusal, 1),
                }
            }
            rest = &rest[len..];
        }
    }
}
