//! A client: CONNECT, PUBLISH at every QoS, re-sends in their old order, acks, subscriptions. Whatever it knows it has from
//! the bytes that reached it.

use codecs::mqtt::ProtocolVersion;

use super::feeds::{Feeds, Subscriber};
use super::model::{Meaning, MessageId, Model};
use super::network::Link;
use super::story::Story;
use crate::wire;

const FEED_FILTER: &str = "feed/v1/#";
const PLAIN_FILTER: &str = "plain/#";

#[derive(Debug)]
struct InFlight {
    packet_id: u16,
    message: MessageId,
    qos: u8,
    retain: bool,
    /// Behind PUBREC: only PUBREL is sent again.
    released: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    version: ProtocolVersion,
    pub(super) link: Option<Link>,
    /// CONNACK has come.
    pub(super) online: bool,
    in_flight: Vec<InFlight>,
    next_packet_id: u16,
    input: Vec<u8>,
    pub(super) subscriber: Option<Subscriber>,
    pub(super) subscribed: bool,
    /// Sent when the connection breaks off.
    will: Option<MessageId>,
    /// Number of the connection.
    connection: u64,
    /// SUBSCRIBEs without an answer, and the lowest QoS of those of this connection.
    subscribes_open: u32,
    subscribed_qos: u8,
}

impl Client {
    pub(super) fn new(name: String, version: ProtocolVersion, subscribes: bool) -> Self {
        Self {
            name,
            version,
            link: None,
            online: false,
            in_flight: Vec::new(),
            next_packet_id: 0,
            input: Vec::new(),
            subscriber: subscribes.then(Subscriber::default),
            subscribed: false,
            will: None,
            connection: 0,
            subscribes_open: 0,
            subscribed_qos: 1,
        }
    }

    pub(super) fn is_v3(&self) -> bool {
        self.version == ProtocolVersion::V3_1_1
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn has_retained_in_flight(&self) -> bool {
        self.in_flight.iter().any(|it| it.retain)
    }

    /// Whether something waits that only DUP and the order of re-sends recognise.
    pub(super) fn has_undated_in_flight(&self, model: &Model) -> bool {
        self.in_flight.iter().any(|it| {
            matches!(&model.messages[it.message].meaning, Meaning::Readings(readings)
                if readings.iter().any(|reading| reading.time_us.is_none()))
        })
    }

    /// `will`: a plain message that the gateway publishes when this connection breaks off.
    pub(super) fn connect(&mut self, link: Link, will: Option<MessageId>, model: &mut Model, story: &Story) {
        story.tell(|| format!("{} connects, {} in flight", self.name, self.in_flight.len()));
        let mut connect = wire::Connect::new(self.version, self.name.clone());
        if let Some(id) = will {
            let message = &model.messages[id];
            connect = connect.will(&message.topic.clone(), &message.payload.clone(), 1, false, &[]);
            // Nobody tells this client whether it was published.
            model.copy_sent(id, &self.name, 0, 1);
        }
        self.will = will;
        self.connection = model.next_connection();
        (self.subscribes_open, self.subscribed_qos) = (0, 1);
        link.send(&connect.bytes());
        self.link = Some(link);
        self.online = false;
        self.subscribed = false;
        self.input.clear();
    }

    /// What is in flight stays, to be sent again.
    pub(super) fn lost_connection(&mut self, model: &mut Model) {
        // Without CONNACK nobody knows whether the gateway has it.
        if self.online
            && let Some(id) = self.will.take()
        {
            model.will_is_due(id, &self.name);
        }
        if let Some(subscriber) = &mut self.subscriber {
            subscriber.since = None;
        }
        self.link = None;
        self.online = false;
        self.subscribed = false;
    }

    /// The device starts anew and remembers nothing.
    pub(super) fn forget(&mut self) {
        self.in_flight.clear();
    }

    pub(super) fn publish(&mut self, id: MessageId, qos: u8, retain: bool, model: &mut Model, story: &Story) {
        let mut packet_id = 0;
        if qos > 0 {
            self.next_packet_id += 1;
            packet_id = self.next_packet_id;
            self.in_flight.push(InFlight { packet_id, message: id, qos, retain, released: false });
        }
        self.send_publish(id, packet_id, qos, retain, false, model, story);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a PUBLISH")]
    fn send_publish(
        &self,
        id: MessageId,
        packet_id: u16,
        qos: u8,
        retain: bool,
        dup: bool,
        model: &mut Model,
        story: &Story,
    ) {
        let Some(link) = &self.link else { return };
        model.copy_sent(id, &self.name, self.connection, qos);
        let message = &model.messages[id];
        story.tell(|| {
            format!(
                "{} sends message {id} as packet {packet_id}, qos {qos}, dup {dup}, retain {retain}: {} {}",
                self.name,
                message.topic,
                message.payload.escape_ascii()
            )
        });
        let flags = u8::from(dup) << 3 | qos << 1 | u8::from(retain);
        link.send(&wire::publish(self.version, flags, &message.topic, packet_id, &message.payload));
    }

    pub(super) fn ping(&self) {
        if let Some(link) = &self.link {
            link.send(&[0xC0, 0]);
        }
    }

    pub(super) fn disconnect(&mut self, story: &Story) {
        story.tell(|| format!("{} disconnects", self.name));
        self.will = None;
        if let Some(link) = &self.link {
            link.send(&[0xE0, 0]);
        }
    }

    pub(super) fn subscribe(&mut self, feeds: &Feeds, qos: u8, story: &Story) {
        let (Some(link), Some(subscriber)) = (&self.link, &mut self.subscriber) else { return };
        story.tell(|| format!("{} subscribes", self.name));
        // Answers to an earlier subscription of this connection may still come.
        if !self.subscribed {
            subscriber.subscribes(feeds);
        }
        self.subscribes_open += 1;
        self.subscribed_qos = self.subscribed_qos.min(qos);
        self.next_packet_id += 1;
        let filters = [(FEED_FILTER, qos), (PLAIN_FILTER, qos)];
        link.send(&wire::subscribe(self.version, self.next_packet_id, &filters));
        self.subscribed = true;
    }

    /// Reads up to so many bytes.
    pub(super) fn read(&mut self, count: usize, feeds: &mut Feeds, model: &mut Model, story: &Story) {
        let Some(link) = self.link.clone() else { return };
        self.input.extend(link.take(count));
        while let Some((first, body)) = next_packet(&mut self.input) {
            self.packet(first, &body, feeds, model, story);
        }
        if link.is_closed() && !link.has_bytes() {
            story.tell(|| format!("{}: the gateway closed the connection", self.name));
            link.end(false);
            self.lost_connection(model);
        }
    }

    fn packet(&mut self, first: u8, body: &[u8], feeds: &mut Feeds, model: &mut Model, story: &Story) {
        let packet_id = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let is_refused = body.get(2).is_some_and(|reason| *reason >= 0x80);
        match first >> 4 {
            2 => {
                assert_eq!(body[1], 0, "{} was refused: {body:02x?}", self.name);
                story.tell(|| format!("{} is online", self.name));
                self.online = true;
                self.send_again(model, story);
            }
            4 => {
                let id = packet_id(0);
                story.tell(|| format!("{}: PUBACK {id}", self.name));
                let Some(place) = self.in_flight.iter().position(|it| it.packet_id == id && it.qos == 1)
                else {
                    panic!("{} got PUBACK {id}, which nothing in flight has", self.name)
                };
                let it = self.in_flight.remove(place);
                if is_refused {
                    assert_eq!(body[2], 0x97, "{} was refused: {body:02x?}", self.name);
                    model.copy_refused(it.message, &self.name);
                } else {
                    model.copy_acked(it.message, &self.name);
                }
            }
            5 => {
                let id = packet_id(0);
                story.tell(|| format!("{}: PUBREC {id}", self.name));
                let Some(it) = self.in_flight.iter_mut().find(|it| it.packet_id == id && it.qos == 2) else {
                    panic!("{} got PUBREC {id}, which nothing in flight has", self.name)
                };
                if !it.released {
                    it.released = true;
                    model.copy_acked(it.message, &self.name);
                }
                self.send(&wire::ack(0x62, id));
            }
            7 => {
                let id = packet_id(0);
                story.tell(|| format!("{}: PUBCOMP {id}", self.name));
                self.in_flight.retain(|it| it.packet_id != id);
            }
            3 => self.delivered(first, body, feeds, model, story),
            9 => {
                self.subscribes_open -= 1;
                if let Some(subscriber) = &mut self.subscriber {
                    let is_sure = self.subscribes_open == 0 && self.subscribed_qos == 1;
                    subscriber.since = is_sure.then(|| subscriber.since.unwrap_or(model.now));
                }
            }
            11 | 13 => {}
            14 => story.tell(|| format!("{}: DISCONNECT {body:02x?}", self.name)),
            _ => panic!("{} got a packet {first:#x} {body:02x?}", self.name),
        }
    }

    fn delivered(&mut self, first: u8, body: &[u8], feeds: &mut Feeds, model: &mut Model, story: &Story) {
        let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8_lossy(&body[2..2 + topic_len]).into_owned();
        let mut at = 2 + topic_len;
        let mut packet_id = 0;
        if first & 6 != 0 {
            packet_id = u16::from_be_bytes([body[at], body[at + 1]]);
            at += 2;
        }
        if !self.is_v3() {
            // One byte is enough for the properties that there can be.
            at += 1 + usize::from(body[at]);
        }
        let payload = &body[at..];
        story.tell(|| format!("{} gets {first:#x} {topic} {}", self.name, String::from_utf8_lossy(payload)));
        let Some(subscriber) = &mut self.subscriber else { panic!("{} has no subscription", self.name) };
        subscriber.delivered(&topic, payload, first >> 1 & 3, first & 1 == 1, feeds, model);
        if packet_id != 0 {
            self.send(&wire::ack(0x40, packet_id));
        }
    }

    fn send(&self, bytes: &[u8]) {
        if let Some(link) = &self.link {
            link.send(bytes);
        }
    }

    /// Everything in flight, in its old order [MQTT-4.6.0-1].
    fn send_again(&self, model: &mut Model, story: &Story) {
        for it in &self.in_flight {
            if it.released {
                self.send(&wire::ack(0x62, it.packet_id));
            } else {
                self.send_publish(it.message, it.packet_id, it.qos, it.retain, true, model, story);
            }
        }
    }
}

/// Takes a whole packet off the front: first byte and body.
fn next_packet(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let first = *input.first()?;
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = *input.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte < 0x80 {
            break;
        }
    }
    if input.len() < at + length {
        return None;
    }
    let body = input[at..at + length].to_vec();
    input.drain(..at + length);
    Some((first, body))
}
