//! From CONNECT to a session of this shard, a connection of another one, or a refusal.

use std::hash::BuildHasher;

use codecs::mqtt::{Connect, Packet, ProtocolVersion, ReasonCode, decode};

use super::super::connect::{self, ConnectRefusal};
use super::super::connection::State;
use super::super::delivery::ShardMessage;
use super::super::session::{Close, Session, SessionParameters, Will};
use super::Shard;
use super::reading::FrameOutcome;

impl Shard {
    /// The first packet: a session of this shard, a connection for another one, or a refusal.
    pub(super) fn handle_connect(
        &mut self,
        slot: u32,
        frame: &[u8],
        rest: &[u8],
        now_us: u64,
    ) -> FrameOutcome {
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
                    let refusal = ConnectRefusal { reason: error.reason_code(), sentence: "" };
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
            Ok((_, Some(parameters))) => self.open(slot, &connect, parameters, now_us),
            Err(refusal) => self.refuse_connect(slot, connect.version, refusal, now_us),
        }
    }

    /// Makes the session of a client that this shard owns; an older one of the same client ends.
    fn open(
        &mut self,
        slot: u32,
        connect: &Connect<'_>,
        parameters: SessionParameters,
        now_us: u64,
    ) -> FrameOutcome {
        let will_bytes = parameters.will.as_ref().map_or(0, Will::bytes);
        if self.will_bytes + will_bytes > self.shared.limits.will_bytes_max {
            let refusal = connect::no_room_for_will(connect.version);
            return self.refuse_connect(slot, connect.version, refusal, now_us);
        }
        if let Some(older) = self.by_client.get(&parameters.client).copied() {
            let close = Close::new(ReasonCode::SESSION_TAKEN_OVER, "", "the client connected again");
            self.end(older, Some(&close), now_us);
        }
        let id = self.connection_id(slot);
        let Some(connection) = self.slots[slot as usize].as_mut() else { return FrameOutcome::Over };
        connect::write_connack(connect, &parameters, &self.shared.limits, &mut connection.out);
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

    fn refuse_connect(
        &mut self,
        slot: u32,
        version: ProtocolVersion,
        refusal: ConnectRefusal,
        now_us: u64,
    ) -> FrameOutcome {
        let mut connack = Vec::new();
        connect::write_refusal(version, refusal, &mut connack);
        self.refuse(slot, now_us, Some(&connack), refusal.sentence);
        FrameOutcome::Over
    }

    /// Gives a connection to the shard that owns its client id.
    fn hand_off(&mut self, slot: u32, owner: usize, bytes: &[u8]) {
        let Some(connection) = self.remove(slot) else { return };
        let message = ShardMessage::Adopt { socket: connection.into_socket(), bytes: bytes.to_vec() };
        self.output.messages.push((owner, message));
    }

    pub(super) fn refuse(&mut self, slot: u32, now_us: u64, connack: Option<&[u8]>, sentence: &str) {
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
}

pub(super) fn owner_of(hasher: &foldhash::quality::FixedState, shard_count: usize, client: &str) -> usize {
    (hasher.hash_one(client) % shard_count as u64) as usize
}
