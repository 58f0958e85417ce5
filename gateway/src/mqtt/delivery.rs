//! What shards and router say to each other.

use std::sync::Arc;

use codecs::mqtt::{Properties, PropertyOwner, Publish, QoS, ReasonCode, SubscriptionOptions};

use super::Socket;
use crate::journal::{JournalFrame, Place};

/// One connection for as long as it lives; the slot is used again, with another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub shard: u16,
    pub slot: u32,
    pub generation: u32,
}

/// Shard to router.
#[derive(Debug)]
pub enum RouterRequest {
    Left {
        connection: ConnectionId,
    },
    /// The connection has taken what a batch with [`DeliveryBatch::more`] brought.
    More {
        connection: ConnectionId,
    },
    Subscribe {
        connection: ConnectionId,
        client: Arc<str>,
        packet_id: u16,
        filters: Vec<FilterRequest>,
    },
    Unsubscribe {
        connection: ConnectionId,
        packet_id: u16,
        filters: Vec<String>,
    },
}

/// One filter of a SUBSCRIBE.
#[derive(Debug)]
pub struct FilterRequest {
    pub filter: String,
    pub options: SubscriptionOptions,
    pub subscription_identifier: Option<u32>,
    /// The session refuses it already; the router only keeps the place in the SUBACK.
    pub refusal: Option<ReasonCode>,
}

/// To a shard.
pub enum ShardMessage {
    /// A connection whose CONNECT another shard has read; `bytes` starts with it.
    Adopt {
        socket: Box<dyn Socket>,
        bytes: Vec<u8>,
    },
    Deliver(DeliveryBatch),
    Subscribed {
        connection: ConnectionId,
        packet_id: u16,
        codes: Vec<ReasonCode>,
    },
    Unsubscribed {
        connection: ConnectionId,
        packet_id: u16,
        codes: Vec<ReasonCode>,
    },
}

impl std::fmt::Debug for ShardMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Adopt { .. } => "Adopt",
            Self::Deliver(_) => "Deliver",
            Self::Subscribed { .. } => "Subscribed",
            Self::Unsubscribed { .. } => "Unsubscribed",
        })
    }
}

/// Messages for connections of one shard, in order.
#[derive(Debug)]
pub struct DeliveryBatch {
    pub source: DeliverySource,
    pub deliveries: Vec<Delivery>,
    /// More retained messages wait for this connection: ask with [`RouterRequest::More`] when it has taken these.
    pub more: Option<ConnectionId>,
}

/// Where the bytes of a batch's messages lie. A shard copies what it queues, so nothing is held for long.
#[derive(Clone, Debug)]
pub enum DeliverySource {
    /// [`Delivery::place`] is a place in the frame.
    Journal(Arc<JournalFrame>),
    /// [`Delivery::place`] is an index.
    Publications(Arc<Vec<Publication>>),
}

/// A message that does not lie in a journal frame: feeds and retained messages.
#[derive(Clone, Debug)]
pub struct Publication {
    pub topic: Arc<str>,
    /// MQTT 5 properties, raw.
    pub properties: Arc<[u8]>,
    pub payload: Arc<[u8]>,
}

/// One message for one connection.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub connection: ConnectionId,
    pub place: DeliveryPlace,
    /// The lower of published and granted.
    pub qos: QoS,
    pub retain: bool,
    /// What is left of the message's life.
    pub message_expiry_interval_s: Option<u32>,
    pub subscription_identifiers: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
pub enum DeliveryPlace {
    Journal(Place),
    Publication(u32),
}

impl DeliverySource {
    /// The message of a delivery as a PUBLISH that still lacks its packet identifier.
    pub fn publish(&self, delivery: &Delivery) -> Option<Publish<'_>> {
        let (topic, properties, payload) = match (self, delivery.place) {
            (Self::Journal(frame), DeliveryPlace::Journal(place)) => {
                let message = frame.message_at(place)?;
                (std::str::from_utf8(message.topic).ok()?, message.properties, message.payload)
            }
            (Self::Publications(list), DeliveryPlace::Publication(index)) => {
                let publication = list.get(index as usize)?;
                (&*publication.topic, &*publication.properties, &*publication.payload)
            }
            _ => return None,
        };
        Some(Publish {
            dup: false,
            qos: delivery.qos,
            retain: delivery.retain,
            topic,
            packet_id: None,
            properties: if properties.is_empty() {
                Properties::EMPTY
            } else {
                Properties::parse(PropertyOwner::Publish, properties).ok()?
            },
            payload,
        })
    }
}
