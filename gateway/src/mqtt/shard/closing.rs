//! Ends of connections, and the wills that they leave.

use std::sync::atomic::Ordering;

use codecs::mqtt::{QoS, ReasonCode};

use super::super::connection::{Connection, State};
use super::super::delivery::RouterRequest;
use super::super::limits::LINGER_MS;
use super::super::refusal::PublishRefusal;
use super::super::session::Close;
use super::Shard;
use crate::pipeline::mapping::is_observation_topic;
use crate::record::{Door, Message};

impl Shard {
    pub(super) fn end_malformed(&mut self, slot: u32, error: &codecs::mqtt::DecodeError, now_us: u64) {
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
    pub(super) fn end(&mut self, slot: u32, close: Option<&Close>, now_us: u64) {
        let id = self.connection_id(slot);
        let Some(connection) = self.slots[slot as usize].as_mut() else { return };
        let peer = connection.socket().peer_ip();
        if let State::Open(session) = &connection.state {
            if let Some(close) = close {
                session.write_disconnect(close, &mut connection.out);
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
    pub(super) fn start_closing(&mut self, slot: u32, now_us: u64) {
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

    pub(super) fn remove(&mut self, slot: u32) -> Option<Connection> {
        self.drop_held(slot);
        let connection = self.slots[slot as usize].take()?;
        self.partial_bytes -= connection.partial.len();
        self.generations[slot as usize] = self.generations[slot as usize].wrapping_add(1);
        self.free.push(slot);
        Some(connection)
    }

    pub(super) fn drop_connection(&mut self, slot: u32) {
        if self.remove(slot).is_some() {
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Wills go through the journal like any message, and are refused like any other.
    pub(super) fn publish_wills(&mut self) {
        while let Some((client, version, will)) = self.wills.front() {
            let is_observation = is_observation_topic(will.topic.as_bytes());
            if is_observation
                && let Some(refusal) = self.shared.quota.refusal(client).map(PublishRefusal::from)
            {
                let counts = match will.qos {
                    QoS::AtMostOnce => &mut self.counts.qos0_dropped,
                    QoS::AtLeastOnce | QoS::ExactlyOnce => &mut self.counts.refused,
                };
                counts.add(refusal, 1);
                self.will_bytes -= will.bytes();
                self.wills.pop_front();
                continue;
            }
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
}
