//! Messages on their way to one subscriber: the window of unacknowledged QoS 1 messages and what waits behind it.

use std::collections::VecDeque;

use codecs::mqtt::{Delivery as EncodedDelivery, PacketId, ProtocolVersion, Publish, QoS, encode_delivery};
use hashbrown::HashSet;

use super::delivery::Delivery;
use super::refusal::Undelivered;
use super::session::DeliveryQueue;

/// The part of a session that sends PUBLISH packets.
#[derive(Debug)]
pub(super) struct Outgoing {
    version: ProtocolVersion,
    /// The subscriber's Receive Maximum, bounded.
    window: usize,
    /// The subscriber's Maximum Packet Size.
    packet_bytes_max: usize,
    open: HashSet<u16>,
    next_packet_id: u16,
    /// Encoded already; they wait for room in the window and get their packet identifier when they leave.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    packet: Box<[u8]>,
    packet_id_offset: usize,
    /// When Message Expiry Interval ends; it is the first property of the packet.
    expires_us: Option<u64>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// In the output, or waiting for the window.
    Taken,
    /// Larger than the subscriber takes, or a QoS 0 message while much is unsent.
    Dropped(Undelivered),
    /// The subscriber's queue is full: it is to be cut off.
    QueueFull,
}

impl Outgoing {
    pub(super) fn new(version: ProtocolVersion, window: u16, packet_bytes_max: usize) -> Self {
        Self {
            version,
            window: usize::from(window),
            packet_bytes_max,
            open: HashSet::new(),
            next_packet_id: 1,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Bytes that wait for the window.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Room that is not needed now.
    pub(super) fn give_back_room(&mut self) {
        self.open.shrink_to_fit();
        self.waiting.shrink_to_fit();
    }

    pub(super) fn deliver(
        &mut self,
        publish: &Publish<'_>,
        delivery: &Delivery,
        queue: DeliveryQueue<'_>,
    ) -> Sent {
        let DeliveryQueue { out, queue_bytes_max, now_us } = queue;
        let queued_bytes = out.len() + self.waiting_bytes;
        if publish.qos == QoS::AtMostOnce && queued_bytes > queue_bytes_max / 2 {
            return Sent::Dropped(Undelivered::Slow);
        }
        if queued_bytes > queue_bytes_max {
            return Sent::QueueFull;
        }
        let start = out.len();
        let id = match publish.qos {
            QoS::AtMostOnce => None,
            _ if self.open.len() < self.window && self.waiting.is_empty() => Some(self.free_packet_id()),
            // Any identifier: it is replaced when the packet leaves.
            _ => PacketId::new(1),
        };
        let encoded = encode_delivery(
            out,
            self.version,
            &EncodedDelivery {
                publish: Publish { packet_id: id, ..*publish },
                message_expiry_interval_s: delivery.message_expiry_interval_s,
                topic_alias: None,
                subscription_identifiers: &delivery.subscription_identifiers,
            },
        );
        if encoded.is_err() || out.len() - start > self.packet_bytes_max {
            out.truncate(start);
            return Sent::Dropped(Undelivered::TooLarge);
        }
        if let Some(id) = id {
            if self.open.len() < self.window && self.waiting.is_empty() {
                self.open.insert(id.get());
            } else {
                let expires_us = (self.version == ProtocolVersion::V5)
                    .then_some(delivery.message_expiry_interval_s)
                    .flatten()
                    .map(|interval_s| now_us + u64::from(interval_s) * 1_000_000);
                self.wait(out, start, publish.topic.len(), expires_us);
            }
        }
        Sent::Taken
    }

    /// The subscriber acknowledged; what waited moves up. Returns how many messages had expired and were dropped.
    pub(super) fn acknowledged(&mut self, packet_id: PacketId, now_us: u64, out: &mut Vec<u8>) -> u64 {
        self.open.remove(&packet_id.get());
        let mut expired = 0;
        while self.open.len() < self.window
            && let Some(mut next) = self.waiting.pop_front()
        {
            if let Some(expires_us) = next.expires_us {
                if expires_us <= now_us {
                    self.waiting_bytes -= next.packet.len();
                    expired += 1;
                    continue;
                }
                set_message_expiry(&mut next, expires_us - now_us);
            }
            let id = self.free_packet_id();
            let at = next.packet_id_offset;
            next.packet[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
            out.extend_from_slice(&next.packet);
            self.waiting_bytes -= next.packet.len();
            self.open.insert(id.get());
        }
        expired
    }

    /// Takes the packet that was just encoded at `start` out of the output again.
    fn wait(&mut self, out: &mut Vec<u8>, start: usize, topic_len: usize, expires_us: Option<u64>) {
        let packet: Box<[u8]> = out[start..].into();
        out.truncate(start);
        // The topic follows the fixed header (first byte and the length's one to four bytes), the identifier the topic.
        let length_bytes = variable_byte_integer_len(&packet[1..]);
        self.waiting_bytes += packet.len();
        self.waiting.push_back(Waiting {
            packet,
            packet_id_offset: 1 + length_bytes + 2 + topic_len,
            expires_us,
        });
    }

    /// The window is far smaller than the number of identifiers, so one is free.
    fn free_packet_id(&mut self) -> PacketId {
        loop {
            let id = PacketId::new(self.next_packet_id);
            self.next_packet_id = self.next_packet_id.wrapping_add(1);
            if let Some(id) = id
                && !self.open.contains(&id.get())
            {
                return id;
            }
        }
    }
}

/// What is left of its life when a message leaves [MQTT-3.3.2-6].
fn set_message_expiry(waiting: &mut Waiting, left_us: u64) {
    let properties = waiting.packet_id_offset + 2;
    let at = properties + variable_byte_integer_len(&waiting.packet[properties..]) + 1;
    let left_s = u32::try_from(left_us.div_ceil(1_000_000)).unwrap_or(u32::MAX);
    waiting.packet[at..at + 4].copy_from_slice(&left_s.to_be_bytes());
}

fn variable_byte_integer_len(bytes: &[u8]) -> usize {
    1 + bytes.iter().take_while(|byte| **byte & 0x80 != 0).count()
}

#[cfg(test)]
mod tests {
    use codecs::mqtt::{Packet, Properties, decode};

    use super::*;
    use crate::mqtt::{ConnectionId, DeliveryPlace};

    const SECOND: u64 = 1_000_000;

    struct Subscriber {
        outgoing: Outgoing,
        out: Vec<u8>,
        version: ProtocolVersion,
    }

    impl Subscriber {
        fn new(version: ProtocolVersion, window: u16, packet_bytes_max: usize) -> Self {
            Self { outgoing: Outgoing::new(version, window, packet_bytes_max), out: Vec::new(), version }
        }

        fn deliver(
            &mut self,
            qos: QoS,
            payload: &[u8],
            expiry_s: Option<u32>,
            queue_bytes_max: usize,
        ) -> Sent {
            let delivery = Delivery {
                connection: ConnectionId { shard: 0, slot: 0, generation: 0 },
                place: DeliveryPlace::Publication(0),
                qos,
                retain: false,
                message_expiry_interval_s: expiry_s,
                subscription_identifiers: vec![200],
            };
            let publish = Publish {
                dup: false,
                qos,
                retain: false,
                topic: "a/topic",
                packet_id: None,
                properties: Properties::EMPTY,
                payload,
            };
            let queue = DeliveryQueue { out: &mut self.out, queue_bytes_max, now_us: SECOND };
            self.outgoing.deliver(&publish, &delivery, queue)
        }

        /// Packet identifier, payload and expiry of what is in the output; empties it.
        fn sent(&mut self) -> Vec<(u16, Vec<u8>, Option<u32>)> {
            let mut rest = &self.out[..];
            let mut all = Vec::new();
            while let Some(len) = codecs::mqtt::frame_len(rest, 1 << 20).expect("whole packets") {
                let Ok(Packet::Publish(publish)) = decode(&rest[..len], self.version) else {
                    panic!("a PUBLISH")
                };
                let id = publish.packet_id.map_or(0, PacketId::get);
                all.push((id, publish.payload.to_vec(), publish.properties.message_expiry_interval_s()));
                rest = &rest[len..];
            }
            self.out.clear();
            all
        }

        fn acknowledge(&mut self, id: u16, now_us: u64) -> u64 {
            self.outgoing.acknowledged(PacketId::new(id).expect("not 0"), now_us, &mut self.out)
        }
    }

    /// Long payloads make the length of the packet two and three bytes long: the identifier is set in the right place.
    #[test]
    fn what_waits_leaves_in_order_with_its_own_identifier() {
        for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
            let mut subscriber = Subscriber::new(version, 2, 1 << 20);
            let payloads: Vec<Vec<u8>> =
                [1, 50, 127, 128, 5_000, 20_000].iter().map(|len| vec![7; *len]).collect();
            for payload in &payloads {
                assert_eq!(subscriber.deliver(QoS::AtLeastOnce, payload, None, 1 << 20), Sent::Taken);
            }
            let mut got = subscriber.sent();
            assert_eq!(got.iter().map(|sent| sent.0).collect::<Vec<_>>(), [1, 2]);
            assert_eq!(subscriber.acknowledge(99, SECOND), 0);
            assert!(subscriber.sent().is_empty(), "an ack of nothing opens no window");
            for id in 1..=4 {
                subscriber.acknowledge(id, SECOND);
                let next = subscriber.sent();
                assert_eq!(next.len(), 1);
                got.extend(next);
            }
            assert_eq!(got.iter().map(|sent| sent.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
            assert!(got.iter().map(|sent| &sent.1).eq(&payloads));
            assert_eq!(subscriber.outgoing.waiting_bytes(), 0);
        }
    }

    #[test]
    fn what_waits_may_expire() {
        let mut subscriber = Subscriber::new(ProtocolVersion::V5, 1, 1 << 20);
        for (payload, expiry_s) in [("open", None), ("soon", Some(5)), ("late", Some(60)), ("never", None)] {
            subscriber.deliver(QoS::AtLeastOnce, payload.as_bytes(), expiry_s, 1 << 20);
        }
        subscriber.sent();
        assert_eq!(subscriber.acknowledge(1, 6 * SECOND), 1, "one has expired");
        assert_eq!(subscriber.sent(), [(2, b"late".to_vec(), Some(55))]);
        assert_eq!(subscriber.acknowledge(2, 7 * SECOND), 0);
        assert_eq!(subscriber.sent(), [(3, b"never".to_vec(), None)]);
        assert_eq!(subscriber.outgoing.waiting_bytes(), 0);
    }

    #[test]
    fn queue_and_packet_size_are_bounded() {
        let mut subscriber = Subscriber::new(ProtocolVersion::V5, 1, 100);
        assert_eq!(
            subscriber.deliver(QoS::AtLeastOnce, &[0; 100], None, 1_000),
            Sent::Dropped(Undelivered::TooLarge),
            "above Maximum Packet Size"
        );
        assert!(subscriber.out.is_empty() && subscriber.outgoing.open.is_empty());
        let mut taken = 0;
        while subscriber.deliver(QoS::AtLeastOnce, &[0; 50], None, 1_000) == Sent::Taken {
            taken += 1;
            assert!(subscriber.out.len() + subscriber.outgoing.waiting_bytes() <= 1_000 + 100);
        }
        assert!(taken > 10);
        assert_eq!(subscriber.deliver(QoS::AtMostOnce, b"x", None, 1_000), Sent::Dropped(Undelivered::Slow));
    }

    #[test]
    fn identifiers_wrap_round_those_in_use() {
        let mut subscriber = Subscriber::new(ProtocolVersion::V3_1_1, 2, 1 << 20);
        subscriber.deliver(QoS::AtLeastOnce, b"x", None, 1 << 20);
        subscriber.outgoing.next_packet_id = u16::MAX;
        subscriber.deliver(QoS::AtLeastOnce, b"x", None, 1 << 20);
        subscriber.acknowledge(u16::MAX, 0);
        subscriber.deliver(QoS::AtLeastOnce, b"x", None, 1 << 20);
        let ids: Vec<u16> = subscriber.sent().into_iter().map(|sent| sent.0).collect();
        assert_eq!(ids, [1, u16::MAX, 2], "neither 0 nor one that is open");
    }
}
