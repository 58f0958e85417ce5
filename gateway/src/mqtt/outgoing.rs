//! Messages on their way to one subscriber: the window of unacknowledged QoS 1 messages and what waits behind it.

use std::collections::VecDeque;

use codecs::mqtt::{Delivery as EncodedDelivery, PacketId, ProtocolVersion, Publish, QoS, encode_delivery};
use hashbrown::HashSet;

use super::delivery::Delivery;

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
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// In the output, or waiting for the window.
    Taken,
    /// Larger than the subscriber takes, or a QoS 0 message while much is unsent.
    Dropped,
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

    pub(super) fn deliver(
        &mut self,
        publish: &Publish<'_>,
        delivery: &Delivery,
        out: &mut Vec<u8>,
        queue_bytes_max: usize,
    ) -> Sent {
        let queued_bytes = out.len() + self.waiting_bytes;
        if publish.qos == QoS::AtMostOnce && queued_bytes > queue_bytes_max / 2 {
            return Sent::Dropped;
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
            return Sent::Dropped;
        }
        if let Some(id) = id {
            if self.open.len() < self.window && self.waiting.is_empty() {
                self.open.insert(id.get());
            } else {
                self.wait(out, start, publish.topic.len());
            }
        }
        Sent::Taken
    }

    /// The subscriber acknowledged; what waited moves up. False: no such message is open.
    pub(super) fn acknowledged(&mut self, packet_id: PacketId, out: &mut Vec<u8>) -> bool {
        let known = self.open.remove(&packet_id.get());
        while self.open.len() < self.window
            && let Some(mut next) = self.waiting.pop_front()
        {
            let id = self.free_packet_id();
            let at = next.packet_id_offset;
            next.packet[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
            out.extend_from_slice(&next.packet);
            self.waiting_bytes -= next.packet.len();
            self.open.insert(id.get());
        }
        known
    }

    /// Takes the packet that was just encoded at `start` out of the output again.
    fn wait(&mut self, out: &mut Vec<u8>, start: usize, topic_len: usize) {
        let packet: Box<[u8]> = out[start..].into();
        out.truncate(start);
        // The topic follows the fixed header (first byte and the length's one to four bytes), the identifier the topic.
        let length_bytes = 1 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count();
        self.waiting_bytes += packet.len();
        self.waiting.push_back(Waiting { packet, packet_id_offset: 1 + length_bytes + 2 + topic_len });
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
