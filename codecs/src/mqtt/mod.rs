//! MQTT 3.1.1 and 5.0 packets: borrowed decoding, encoding into a reusable buffer.
//!
//! The way in is [`frame_len`] (how long is the packet at the start of this buffer?) and then [`decode()`] on exactly
//! that many bytes. Nothing is copied or allocated: every string, payload and property of a [`Packet`] points into
//! the frame. The way out are the `encode_*` functions; each appends one packet to a `Vec<u8>` and leaves the buffer
//! as it was when it returns an error.
//!
//! A packet that breaks the standard is a [`DecodeError`]; it names the conformance statement (for instance
//! `MQTT-3.3.1-4`) that was broken, for the version that the connection speaks. What needs the state of a session
//! (topic aliases, announced limits, rights, order of packets) is judged by the session, not here.
//!
//! Shapes: lengths are bytes; intervals end in `_s` (seconds); a packet identifier is never zero ([`PacketId`]).

mod decode;
mod encode;
mod error;
mod frame;
mod packet;
mod properties;
mod property;
mod reader;
mod reason;
mod subscription;
#[cfg(test)]
mod tests;
pub mod topic;

pub use decode::decode;
pub use encode::{
    Delivery, EncodeError, encode_auth, encode_connack, encode_connect, encode_delivery, encode_disconnect,
    encode_packet, encode_pingreq, encode_pingresp, encode_puback, encode_pubcomp, encode_publish,
    encode_pubrec, encode_pubrel, encode_suback, encode_subscribe, encode_unsuback, encode_unsubscribe,
};
pub use error::{DecodeError, Rule};
pub use frame::{PACKET_SIZE_MAX, frame_len};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, ProtocolVersion, Publish, QoS,
    Will,
};
pub use properties::{Properties, PropertiesBuffer, PropertyIter};
pub use property::{Property, PropertyId, PropertyOwner};
pub use reason::ReasonCode;
pub use subscription::{
    FilterIter, ReasonCodeIter, RetainHandling, SubAck, Subscribe, Subscription, SubscriptionIter,
    SubscriptionOptions, UnsubAck, Unsubscribe,
};
