//! What leaves: acks that became durable, messages and answers of the router, and the bytes of both.

use codecs::mqtt::ReasonCode;

use super::super::connection::{Connection, State};
use super::super::delivery::{ConnectionId, DeliveryBatch, RouterRequest};
use super::super::refusal::Undelivered;
use super::super::session::{Close, DeliveryQueue, Session};
use super::Shard;

impl Shard {
    pub(super) fn ack_batch(&mut self, slot: u32) -> bool {
        self.connection(slot)
            .and_then(Connection::session)
            .is_some_and(|session| session.oldest_pending_batch().is_some())
    }

    /// After packets were handled: a connection whose first ack began to wait gets its place in the list.
    pub(super) fn list_acks(&mut self, slot: u32, was_listed: bool) {
        if was_listed {
            return;
        }
        let id = self.connection_id(slot);
        let Some(batch) = self
            .connection(slot)
            .and_then(Connection::session)
            .and_then(|session| session.oldest_pending_batch())
        else {
            return;
        };
        self.wait_for_batch(batch, id);
    }

    fn wait_for_batch(&mut self, batch: u64, id: ConnectionId) {
        let at = self.ack_waiting.partition_point(|(waiting, _)| *waiting < batch);
        match self.ack_waiting.get_mut(at) {
            Some((waiting, connections)) if *waiting == batch => connections.push(id),
            _ => self.ack_waiting.insert(at, (batch, vec![id])),
        }
    }

    pub(super) fn release_acks(&mut self, now_us: u64) {
        let out_bytes_max = self.shared.limits.session_queue_bytes_max;
        let durable = self.journal.durable_batch();
        while let Some((batch, _)) = self.ack_waiting.front()
            && *batch <= durable
            && let Some((_, connections)) = self.ack_waiting.pop_front()
        {
            for id in connections {
                if !self.current(id) {
                    continue;
                }
                let Some(connection) = self.slots[id.slot as usize].as_mut() else { continue };
                let State::Open(session) = &mut connection.state else { continue };
                session.handle_durable(durable, &mut connection.out);
                if connection.out.len() > out_bytes_max {
                    let sentence =
                        "it publishes and does not read the acknowledgements (mqtt.session_queue_bytes_max)";
                    self.end(id.slot, Some(&Close::new(ReasonCode::QUOTA_EXCEEDED, "", sentence)), now_us);
                    continue;
                }
                if let Some(next) = session.oldest_pending_batch() {
                    self.wait_for_batch(next, id);
                }
                self.mark_dirty(id.slot);
            }
        }
    }

    pub(super) fn deliver(&mut self, batch: &DeliveryBatch, now_us: u64) {
        let queue_bytes_max = self.shared.limits.session_queue_bytes_max;
        for delivery in &batch.deliveries {
            let id = delivery.connection;
            if !self.current(id) {
                self.counts.undelivered.add(Undelivered::Left, 1);
                continue;
            }
            let Some(publish) = batch.source.publish(delivery) else { continue };
            let Some(connection) = self.slots[id.slot as usize].as_mut() else { continue };
            if connection.draining {
                self.counts.undelivered.add(Undelivered::Left, 1);
                continue;
            }
            let State::Open(session) = &mut connection.state else { continue };
            let queue = DeliveryQueue { out: &mut connection.out, queue_bytes_max, now_us };
            let result = session.handle_delivery(&publish, delivery, queue, &mut self.counts);
            match result {
                Ok(()) => self.mark_dirty(id.slot),
                Err(close) => {
                    self.shared.metrics.mqtt_subscribers_cut_off.inc();
                    self.end(id.slot, Some(&close), now_us);
                }
            }
        }
        if let Some(id) = batch.more
            && self.current(id)
            && let Some(connection) = self.connection(id.slot)
        {
            connection.wants_more = true;
            self.mark_dirty(id.slot);
        }
    }

    pub(super) fn answer(&mut self, id: ConnectionId, handle: impl FnOnce(&mut Session, &mut Vec<u8>)) {
        if !self.current(id) {
            return;
        }
        if let Some(connection) = self.slots[id.slot as usize].as_mut()
            && let State::Open(session) = &mut connection.state
        {
            handle(session, &mut connection.out);
            self.mark_dirty(id.slot);
        }
    }

    pub(super) fn flush_dirty(&mut self, now_us: u64) {
        // Connections that end meanwhile are marked anew: for the next step.
        let mut dirty = std::mem::replace(&mut self.dirty, std::mem::take(&mut self.dirty_now));
        for slot in dirty.drain(..) {
            let Some(connection) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
                continue;
            };
            connection.dirty = false;
            if !connection.flush() {
                // The peer is gone; with a session that is an end without DISCONNECT.
                connection.out = Vec::new();
                if self.drain(slot) {
                    continue;
                }
                let Some(connection) = self.connection(slot) else { continue };
                match connection.state {
                    State::Open(_) => self.end(slot, None, now_us),
                    _ => self.drop_connection(slot),
                }
                continue;
            }
            if matches!(connection.state, State::Closing { .. }) && connection.out.is_empty() {
                connection.socket().shutdown_write();
            }
            if connection.wants_more
                && connection.queued_bytes() <= self.shared.limits.session_queue_bytes_max / 4
            {
                connection.wants_more = false;
                self.output.requests.push(RouterRequest::More { connection: self.connection_id(slot) });
            }
        }
        self.dirty_now = dirty;
    }
}
