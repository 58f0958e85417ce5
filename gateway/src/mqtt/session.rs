//! The protocol of one connection after CONNECT, without socket and clock.
//!
//! Methods come in two kinds: `handle_*` take what happened (a packet, durable progress, an answer of the router) and
//! append what is to be sent to `out`; getters tell the shard what it must know for timers. Order of calls: any, but
//! nothing after an `Err(Close)`.
//!
//! PUBACKs and PUBRECs leave in the order of their PUBLISH packets and wait for the journal; a refusal waits its turn
//! in the same queue. PINGRESP, SUBACK and PUBCOMP may overtake them.

use std::collections::VecDeque;
use std::sync::Arc;

use codecs::mqtt::topic::SharedFilter;
use codecs::mqtt::{
    Ack, Disconnect, Packet, PacketId, Properties, PropertiesBuffer, Property, PropertyOwner,
    ProtocolVersion, Publish, QoS, ReasonCode, Subscribe, Unsubscribe, encode_disconnect, encode_pingresp,
    encode_puback, encode_pubcomp, encode_pubrec, encode_pubrel, encode_suback, encode_unsuback,
};
use hashbrown::HashMap;

use super::delivery::{ConnectionId, Delivery, FilterRequest, RouterRequest};
use super::limits::{MqttLimits, ROUTER_REQUESTS_OPEN_MAX};
use super::outgoing::{Outgoing, Sent};
use super::refusal::{PublishRefusal, Undelivered};
use crate::pipeline::mapping::is_observation_topic;
use crate::record::{Door, Message};

mod parts;

pub use parts::{Close, Context, Counts, DeliveryQueue, Flow, SessionParameters, Will};

#[derive(Debug)]
pub struct Session {
    parameters: SessionParameters,
    connection: ConnectionId,
    acks: VecDeque<PendingAck>,
    /// Inbound QoS 2 (3.1.1): identifiers between PUBLISH and PUBREL, with the batch that PUBREC waits for.
    incoming_qos2: HashMap<u16, u64>,
    outgoing: Outgoing,
    /// A message with a packet identifier was journaled.
    identified: bool,
    /// The router may know this connection.
    subscribed: bool,
    router_requests_open: u32,
    /// Room that CONNECT took for the will, also where DISCONNECT has taken the will away.
    will_bytes: usize,
    /// The quota's version under which `quota_refusal` was asked for; 0 = never.
    quota_version: u64,
    quota_refusal: Option<PublishRefusal>,
}

#[derive(Clone, Copy, Debug)]
struct PendingAck {
    batch_no: u64,
    packet_id: PacketId,
    kind: AckKind,
    /// `None` where it acknowledges.
    refusal: Option<PublishRefusal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckKind {
    PubAck,
    PubRec,
}

impl Session {
    pub fn new(parameters: SessionParameters, connection: ConnectionId) -> Self {
        let outgoing = Outgoing::new(parameters.version, parameters.send_window, parameters.packet_bytes_max);
        Self {
            will_bytes: parameters.will.as_ref().map_or(0, Will::bytes),
            parameters,
            connection,
            acks: VecDeque::new(),
            incoming_qos2: HashMap::new(),
            outgoing,
            identified: false,
            subscribed: false,
            router_requests_open: 0,
            quota_version: 0,
            quota_refusal: None,
        }
    }

    pub fn version(&self) -> ProtocolVersion {
        self.parameters.version
    }

    pub fn client(&self) -> &Arc<str> {
        &self.parameters.client
    }

    /// One and a half times Keep Alive; `None` where it is switched off.
    pub fn silence_max_us(&self) -> Option<u64> {
        (self.parameters.keep_alive_s > 0).then(|| u64::from(self.parameters.keep_alive_s) * 1_500_000)
    }

    /// The batch that the oldest waiting ack needs.
    pub fn oldest_pending_batch(&self) -> Option<u64> {
        self.acks.front().map(|ack| ack.batch_no)
    }

    /// The router may hold subscriptions of this connection and must hear when it ends.
    pub fn subscribed(&self) -> bool {
        self.subscribed
    }

    /// Bytes of messages that wait for room in the window of unacknowledged ones.
    pub fn waiting_bytes(&self) -> usize {
        self.outgoing.waiting_bytes()
    }

    /// Queues shrink to what they hold.
    pub fn give_back_room(&mut self) {
        self.acks.shrink_to_fit();
        self.incoming_qos2.shrink_to_fit();
        self.outgoing.give_back_room();
    }

    pub fn will_bytes(&self) -> usize {
        self.will_bytes
    }

    pub fn will(&self) -> Option<&Will> {
        self.parameters.will.as_ref()
    }

    /// Takes one packet of the client.
    pub fn handle_packet(
        &mut self,
        packet: &Packet<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow, Close> {
        match packet {
            Packet::Publish(publish) => return self.handle_publish(publish, context),
            Packet::PubAck(ack) => {
                let expired = self.outgoing.acknowledged(ack.packet_id, context.now_us, out);
                context.counts.undelivered.add(Undelivered::Expired, expired);
            }
            Packet::PubRec(ack) => self.handle_pubrec(ack, out)?,
            Packet::PubRel(ack) => self.handle_pubrel(ack, out)?,
            // Nothing is sent at QoS 2, so there is nothing to complete.
            Packet::PubComp(_) => {}
            Packet::Subscribe(subscribe) => self.handle_subscribe(subscribe, context)?,
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(unsubscribe, context)?,
            Packet::PingReq => encode_pingresp(out),
            Packet::Disconnect(disconnect) => return self.handle_disconnect(disconnect),
            Packet::Connect(_) => {
                return Err(self
                    .protocol_error(["MQTT-3.1.0-2", "MQTT-3.1.0-2"], "a second CONNECT on one connection"));
            }
            Packet::Auth(_) => {
                return Err(self.protocol_error(
                    ["MQTT-4.8.0-1", "MQTT-4.12.0-7"],
                    "AUTH without an authentication method in CONNECT",
                ));
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(self.protocol_error(
                    ["MQTT-4.8.0-1", "MQTT-4.13.1-1"],
                    format!("{:?} is sent by servers only", packet.packet_type()),
                ));
            }
        }
        Ok(Flow::Next)
    }

    /// The journal is durable up to this batch of the shard.
    pub fn handle_durable(&mut self, durable_batch: u64, out: &mut Vec<u8>) {
        while let Some(ack) = self.acks.front()
            && ack.batch_no <= durable_batch
        {
            match ack.refusal {
                None => {
                    let packet = Ack::with_reason(ack.packet_id, ReasonCode::SUCCESS);
                    // An ack without properties always fits.
                    let _ = match ack.kind {
                        AckKind::PubAck => encode_puback(out, self.parameters.version, &packet),
                        AckKind::PubRec => encode_pubrec(out, self.parameters.version, &packet),
                    };
                }
                Some(refusal) => self.write_refusal(ack.packet_id, refusal, out),
            }
            self.acks.pop_front();
        }
    }

    /// A PUBACK that says no, with a sentence where the client takes it [MQTT-3.1.2-29, MQTT-3.4.2-2].
    fn write_refusal(&self, packet_id: PacketId, refusal: PublishRefusal, out: &mut Vec<u8>) {
        let mut properties = PropertiesBuffer::new(PropertyOwner::Ack);
        if self.parameters.wants_reasons {
            // It belongs there, and is pushed once.
            let _ = properties.push(Property::ReasonString(refusal.sentence()));
        }
        let packet = Ack { packet_id, reason_code: refusal.reason(), properties: properties.as_properties() };
        let start = out.len();
        let _ = encode_puback(out, self.parameters.version, &packet);
        if out.len() - start > self.parameters.packet_bytes_max {
            out.truncate(start);
            let _ =
                encode_puback(out, self.parameters.version, &Ack::with_reason(packet_id, refusal.reason()));
        }
    }

    /// The router has set the subscriptions.
    pub fn handle_subscribed(&mut self, packet_id: u16, codes: &[ReasonCode], out: &mut Vec<u8>) {
        self.router_requests_open -= 1;
        if let Some(packet_id) = PacketId::new(packet_id) {
            let codes = codes.iter().map(|code| match self.parameters.version {
                ProtocolVersion::V3_1_1 if code.0 >= 0x80 => ReasonCode::UNSPECIFIED_ERROR,
                _ => *code,
            });
            let start = out.len();
            let _ = encode_suback(out, self.parameters.version, packet_id, codes, Properties::EMPTY);
            self.drop_if_too_large(start, out);
        }
    }

    pub fn handle_unsubscribed(&mut self, packet_id: u16, codes: &[ReasonCode], out: &mut Vec<u8>) {
        self.router_requests_open -= 1;
        if let Some(packet_id) = PacketId::new(packet_id) {
            let start = out.len();
            let _ = encode_unsuback(
                out,
                self.parameters.version,
                packet_id,
                codes.iter().copied(),
                Properties::EMPTY,
            );
            self.drop_if_too_large(start, out);
        }
    }

    /// What is larger than the client's Maximum Packet Size is not sent [5.0 MQTT-3.1.2-24, MQTT-3.1.2-25].
    fn drop_if_too_large(&self, start: usize, out: &mut Vec<u8>) {
        if out.len() - start > self.parameters.packet_bytes_max {
            out.truncate(start);
        }
    }

    /// A message for this subscriber.
    pub fn handle_delivery(
        &mut self,
        publish: &Publish<'_>,
        delivery: &Delivery,
        queue: DeliveryQueue<'_>,
        counts: &mut Counts,
    ) -> Result<(), Close> {
        let queue_bytes_max = queue.queue_bytes_max;
        match self.outgoing.deliver(publish, delivery, queue) {
            Sent::Taken => counts.sent += 1,
            Sent::Dropped(reason) => counts.undelivered.add(reason, 1),
            Sent::QueueFull => {
                counts.undelivered.add(Undelivered::QueueFull, 1);
                return Err(Close::new(
                    ReasonCode::QUOTA_EXCEEDED,
                    "",
                    format!(
                        "the subscriber is too slow: {queue_bytes_max} bytes wait for it (mqtt.session_queue_bytes_max)"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The goodbye of our side, with its sentence where the client takes it [MQTT-3.14.2-3]; 3.1.1 has none.
    pub fn write_disconnect(&self, close: &Close, out: &mut Vec<u8>) {
        if self.parameters.version != ProtocolVersion::V5 {
            return;
        }
        let mut properties = PropertiesBuffer::new(PropertyOwner::Disconnect);
        if self.parameters.wants_reasons && !close.sentence.is_empty() {
            // It belongs there, and is pushed once; a sentence that is no MQTT text is left out.
            let _ = properties.push(Property::ReasonString(&close.sentence));
        }
        let start = out.len();
        for properties in [properties.as_properties(), Properties::EMPTY] {
            out.truncate(start);
            let packet = Disconnect { reason_code: close.reason, properties };
            let _ = encode_disconnect(out, ProtocolVersion::V5, &packet);
            if out.len() - start <= self.parameters.packet_bytes_max {
                break;
            }
        }
    }

    /// A PUBLISH alone; see [`Session::handle_packet`].
    pub fn handle_publish(
        &mut self,
        publish: &Publish<'_>,
        context: &mut Context<'_>,
    ) -> Result<Flow, Close> {
        self.check_publish(publish, context.limits)?;
        if let Some(refusal) = refused_topic(publish.topic, context.limits) {
            self.refuse(publish, refusal, context.counts)?;
            return Ok(Flow::Next);
        }
        if let (QoS::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) {
            if let Some(batch_no) = self.incoming_qos2.get(&packet_id.get()) {
                let batch_no = *batch_no;
                // A repetition needs its own PUBREC only if the first one has left.
                if !self.acks.iter().any(|ack| ack.kind == AckKind::PubRec && ack.packet_id == packet_id) {
                    self.push_ack(batch_no, packet_id, AckKind::PubRec);
                }
                return Ok(Flow::Next);
            }
            if self.incoming_qos2.len() >= usize::from(context.limits.receive_max) {
                return Err(Close::new(
                    ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
                    "",
                    "more QoS 2 messages without PUBREL than mqtt.receive_max",
                ));
            }
        }
        if let Some(refusal) = self.refused_by_quota(publish.topic, context) {
            self.refuse(publish, refusal, context.counts)?;
            return Ok(Flow::Next);
        }
        let message = Message {
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            version: self.parameters.version,
            door: Door::Mqtt,
            first: publish.packet_id.is_some() && !self.identified,
            packet_id: publish.packet_id.map_or(0, PacketId::get),
            mapping_version: context.mapping_version,
            agency: b"",
            client: self.parameters.client.as_bytes(),
            topic: publish.topic.as_bytes(),
            properties: publish.properties.as_bytes(),
            payload: publish.payload,
        };
        let Ok(batch_no) = context.journal.append(&message) else {
            return Ok(Flow::JournalFull);
        };
        context.counts.received += 1;
        if let Some(packet_id) = publish.packet_id {
            self.identified = true;
            if publish.qos == QoS::ExactlyOnce {
                self.incoming_qos2.insert(packet_id.get(), batch_no);
                self.push_ack(batch_no, packet_id, AckKind::PubRec);
            } else {
                self.push_ack(batch_no, packet_id, AckKind::PubAck);
            }
        }
        Ok(Flow::Next)
    }

    fn push_ack(&mut self, batch_no: u64, packet_id: PacketId, kind: AckKind) {
        self.acks.push_back(PendingAck { batch_no, packet_id, kind, refusal: None });
    }

    /// Breaches that only a session can see.
    fn check_publish(&self, publish: &Publish<'_>, limits: &MqttLimits) -> Result<(), Close> {
        if self.parameters.version == ProtocolVersion::V3_1_1 {
            return Ok(());
        }
        if publish.qos == QoS::ExactlyOnce {
            return Err(Close::new(ReasonCode::QOS_NOT_SUPPORTED, "MQTT-3.2.2-11", "Maximum QoS is 1"));
        }
        if !publish.properties.is_empty() {
            if publish.properties.topic_alias().is_some() {
                return Err(Close::new(
                    ReasonCode::TOPIC_ALIAS_INVALID,
                    "MQTT-3.2.2-18",
                    "Topic Alias Maximum is 0",
                ));
            }
            if publish.properties.subscription_identifier().is_some() {
                return Err(Close::new(
                    ReasonCode::PROTOCOL_ERROR,
                    "MQTT-3.3.4-6",
                    "a client's PUBLISH has no Subscription Identifier",
                ));
            }
        }
        if publish.topic.is_empty() {
            return Err(Close::new(
                ReasonCode::PROTOCOL_ERROR,
                "MQTT-4.7.3-1",
                "an empty Topic Name without a Topic Alias",
            ));
        }
        if publish.qos == QoS::AtLeastOnce { self.check_receive_maximum(0, limits) } else { Ok(()) }
    }

    /// One more message with an identifier, where `held` of them wait for the journal.
    pub fn check_receive_maximum(&self, held: usize, limits: &MqttLimits) -> Result<(), Close> {
        if self.parameters.version == ProtocolVersion::V5
            && self.acks.len() + held >= usize::from(limits.receive_max)
        {
            return Err(Close::new(
                ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
                "MQTT-3.3.4-7",
                format!("more than {} messages unacknowledged", limits.receive_max),
            ));
        }
        Ok(())
    }

    /// A PUBLISH that is not taken. 5.0 has a reason code for the ack, in its turn; a 3.1.1 client can only be told by
    /// closing, since a PUBACK would mean that the message is durable.
    pub fn refuse(
        &mut self,
        publish: &Publish<'_>,
        refusal: PublishRefusal,
        counts: &mut Counts,
    ) -> Result<(), Close> {
        match publish.packet_id {
            Some(packet_id) => {
                counts.refused.add(refusal, 1);
                if self.parameters.version == ProtocolVersion::V5 {
                    // Behind the acks that wait already.
                    let batch_no = self.acks.back().map_or(0, |ack| ack.batch_no);
                    let kind = AckKind::PubAck;
                    self.acks.push_back(PendingAck { batch_no, packet_id, kind, refusal: Some(refusal) });
                    return Ok(());
                }
            }
            None => {
                counts.qos0_dropped.add(refusal, 1);
                if self.parameters.version == ProtocolVersion::V5 || !refusal.is_of_topic() {
                    return Ok(());
                }
            }
        }
        let statement = if refusal.is_of_topic() { "MQTT-3.3.5-2" } else { "" };
        Err(Close::new(refusal.reason(), statement, refusal.sentence()))
    }

    /// Only what is decoded can end in quarantine. The answer is remembered for as long as the quota's version holds.
    fn refused_by_quota(&mut self, topic: &str, context: &Context<'_>) -> Option<PublishRefusal> {
        if self.quota_version != context.quota_version {
            self.quota_version = context.quota_version;
            self.quota_refusal = context.quota.refusal(&self.parameters.client).map(PublishRefusal::from);
        }
        self.quota_refusal.filter(|_| is_observation_topic(topic.as_bytes()))
    }

    fn handle_pubrec(&mut self, ack: &Ack<'_>, out: &mut Vec<u8>) -> Result<(), Close> {
        // Nothing is sent at QoS 2, so the identifier is unknown here.
        let reason = match self.parameters.version {
            ProtocolVersion::V5 => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
            ProtocolVersion::V3_1_1 => ReasonCode::SUCCESS,
        };
        if ack.reason_code.0 < 0x80 {
            let _ = encode_pubrel(out, self.parameters.version, &Ack::with_reason(ack.packet_id, reason));
        }
        Ok(())
    }

    fn handle_pubrel(&mut self, ack: &Ack<'_>, out: &mut Vec<u8>) -> Result<(), Close> {
        let known = self.incoming_qos2.remove(&ack.packet_id.get()).is_some();
        let reason = match self.parameters.version {
            ProtocolVersion::V5 if !known => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
            _ => ReasonCode::SUCCESS,
        };
        let _ = encode_pubcomp(out, self.parameters.version, &Ack::with_reason(ack.packet_id, reason));
        Ok(())
    }

    fn handle_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        context: &mut Context<'_>,
    ) -> Result<(), Close> {
        self.open_router_request()?;
        let mut filters = Vec::new();
        for subscription in subscribe.subscriptions() {
            // The codec has checked the form of every filter.
            let refusal = if matches!(SharedFilter::parse(subscription.filter), Ok(Some(_)) | Err(_)) {
                Some(ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED)
            } else if subscription.filter.len() > context.limits.topic_bytes_max {
                Some(ReasonCode::TOPIC_FILTER_INVALID)
            } else {
                None
            };
            filters.push(FilterRequest {
                filter: subscription.filter.to_owned(),
                options: subscription.options,
                subscription_identifier: subscribe.properties.subscription_identifier(),
                refusal,
            });
        }
        self.subscribed = true;
        context.requests.push(RouterRequest::Subscribe {
            connection: self.connection,
            client: self.parameters.client.clone(),
            packet_id: subscribe.packet_id.get(),
            filters,
        });
        Ok(())
    }

    fn handle_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        context: &mut Context<'_>,
    ) -> Result<(), Close> {
        self.open_router_request()?;
        context.requests.push(RouterRequest::Unsubscribe {
            connection: self.connection,
            packet_id: unsubscribe.packet_id.get(),
            filters: unsubscribe.filters().map(str::to_owned).collect(),
        });
        Ok(())
    }

    fn open_router_request(&mut self) -> Result<(), Close> {
        if self.router_requests_open >= ROUTER_REQUESTS_OPEN_MAX {
            return Err(Close::new(
                ReasonCode::QUOTA_EXCEEDED,
                "",
                format!("more than {ROUTER_REQUESTS_OPEN_MAX} SUBSCRIBE or UNSUBSCRIBE packets unanswered"),
            ));
        }
        self.router_requests_open += 1;
        Ok(())
    }

    fn handle_disconnect(&mut self, disconnect: &Disconnect<'_>) -> Result<Flow, Close> {
        if disconnect.properties.session_expiry_interval_s().is_some_and(|expiry_s| expiry_s > 0)
            && self.parameters.session_expiry_s == 0
        {
            return Err(Close::new(
                ReasonCode::PROTOCOL_ERROR,
                "5.0 §3.14.2.2.2",
                "DISCONNECT sets a Session Expiry Interval where CONNECT had none",
            ));
        }
        if disconnect.reason_code == ReasonCode::SUCCESS {
            self.parameters.will = None;
        }
        Ok(Flow::Finished)
    }

    fn protocol_error(&self, statements: [&'static str; 2], sentence: impl Into<String>) -> Close {
        let statement = statements[usize::from(self.parameters.version == ProtocolVersion::V5)];
        Close::new(ReasonCode::PROTOCOL_ERROR, statement, sentence)
    }
}

/// Topics that are not for clients.
fn refused_topic(topic: &str, limits: &MqttLimits) -> Option<PublishRefusal> {
    if is_reserved_topic(topic) {
        Some(PublishRefusal::ReservedTopic)
    } else if topic.len() > limits.topic_bytes_max {
        Some(PublishRefusal::TopicTooLong)
    } else {
        None
    }
}

/// Topics that only the gateway publishes to.
pub fn is_reserved_topic(topic: &str) -> bool {
    let level = topic.split_once('/').map_or(topic, |(level, _)| level);
    matches!(level, "feed" | "event" | "$SYS")
}
