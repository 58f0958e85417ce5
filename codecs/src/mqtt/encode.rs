//! Packets to bytes. Each function appends one packet to a buffer that the caller reuses, or appends nothing and says
//! why.
//!
//! In 3.1.1 properties and reason codes do not exist: they are left out where a packet is written for that version, so
//! that one session code serves both. Strings are taken as they are; topics and filters are checked by [`topic`].
//!
//! [`topic`]: super::topic

use thiserror::Error;

use super::frame::PublishFlags;
use super::packet::{
    Ack, Auth, Connect, Disconnect, Packet, PacketId, PacketType, ProtocolVersion, Publish, QoS,
};
use super::properties::Properties;
use super::property::{Property, PropertyId, VARIABLE_BYTE_INTEGER_MAX};
use super::reason::ReasonCode;
use super::subscription::Subscription;

/// Why a packet can't be written. The buffer is left as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    #[error("a string or binary field has {bytes} bytes; MQTT fields have at most 65,535")]
    FieldTooLong { bytes: usize },
    #[error("the packet would have {bytes} bytes behind its header; MQTT packets have at most 268,435,455")]
    PacketTooLarge { bytes: usize },
    #[error("a PUBLISH has a packet identifier exactly when its QoS is above 0")]
    PacketIdMismatch,
    #[error("a PUBLISH at QoS 0 is never a duplicate")]
    DupAtQoS0,
    #[error("MQTT 3.1.1 has no CONNACK return code for {0}; close the connection without CONNACK")]
    NoReturnCode(ReasonCode),
    #[error("MQTT 3.1.1 takes a password only together with a user name")]
    PasswordWithoutUserName,
    #[error("MQTT 3.1.1 has no AUTH packet")]
    NoAuthPacket,
    #[error("a list of filters or codes must have at least one entry")]
    EmptyList,
    #[error("the reason code {0} is not in the table of this packet")]
    ReasonCodeNotAllowed(ReasonCode),
    #[error("the property {0:?} is not allowed in this packet")]
    PropertyNotAllowed(PropertyId),
    #[error("the property {0:?} may occur only once in this packet")]
    PropertyTwice(PropertyId),
    #[error("the value of the property {0:?} is not legal")]
    PropertyValue(PropertyId),
}

/// A message on its way to one subscriber: the PUBLISH with what is particular to this delivery.
///
/// Topic alias, message expiry and subscription identifiers of `publish.properties` belong to the hop from the publisher
/// to the server; they are left out and the ones named here written instead. All other properties are copied unaltered
/// and in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    pub publish: Publish<'a>,
    /// What is left of the message's life, if it was given one.
    pub message_expiry_interval_s: Option<u32>,
    /// At least 1. With an alias that the receiver knows already, leave `publish.topic` empty.
    pub topic_alias: Option<u16>,
    /// Of the subscriptions that match, those that have one.
    pub subscription_identifiers: &'a [u32],
}

/// Appends a property with its identifier.
pub(super) fn property(out: &mut Vec<u8>, property: Property<'_>) -> Result<(), EncodeError> {
    out.push(property.id() as u8);
    match property {
        Property::PayloadFormatIndicator(value)
        | Property::RequestProblemInformation(value)
        | Property::RequestResponseInformation(value)
        | Property::RetainAvailable(value)
        | Property::WildcardSubscriptionAvailable(value)
        | Property::SubscriptionIdentifierAvailable(value)
        | Property::SharedSubscriptionAvailable(value) => out.push(u8::from(value)),
        Property::MaximumQoS(qos) => out.push(qos.bits()),
        Property::ServerKeepAlive(value)
        | Property::ReceiveMaximum(value)
        | Property::TopicAliasMaximum(value)
        | Property::TopicAlias(value) => out.extend_from_slice(&value.to_be_bytes()),
        Property::MessageExpiryInterval(value)
        | Property::SessionExpiryInterval(value)
        | Property::WillDelayInterval(value)
        | Property::MaximumPacketSize(value) => out.extend_from_slice(&value.to_be_bytes()),
        Property::SubscriptionIdentifier(value) => {
            if value > VARIABLE_BYTE_INTEGER_MAX {
                return Err(EncodeError::PropertyValue(PropertyId::SubscriptionIdentifier));
            }
            variable_byte_integer(out, value);
        }
        Property::ContentType(value)
        | Property::ResponseTopic(value)
        | Property::AssignedClientIdentifier(value)
        | Property::AuthenticationMethod(value)
        | Property::ResponseInformation(value)
        | Property::ServerReference(value)
        | Property::ReasonString(value) => field(out, value.as_bytes())?,
        Property::CorrelationData(value) | Property::AuthenticationData(value) => field(out, value)?,
        Property::UserProperty(name, value) => {
            field(out, name.as_bytes())?;
            field(out, value.as_bytes())?;
        }
    }
    Ok(())
}

/// Appends the shortest encoding. The value is at most [`VARIABLE_BYTE_INTEGER_MAX`].
#[inline]
fn variable_byte_integer(out: &mut Vec<u8>, mut value: u32) {
    while value > 0x7F {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const fn variable_byte_integer_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends a string or binary data with its two-byte length.
#[inline]
fn field(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    let length = u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong { bytes: bytes.len() })?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends what `content` writes, with its length as variable byte integer in front.
fn length_prefixed(
    out: &mut Vec<u8>,
    content: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    // One byte is enough for nearly all lengths; where it is not, the content moves.
    let start = out.len();
    out.push(0);
    content(out)?;
    let bytes = out.len() - start - 1;
    let length = packet_length(bytes)?;
    let length_bytes = variable_byte_integer_len(length);
    if length_bytes > 1 {
        out.resize(out.len() + length_bytes - 1, 0);
        out.copy_within(start + 1..start + 1 + bytes, start + length_bytes);
    }
    let mut rest = length;
    for byte in &mut out[start..start + length_bytes] {
        *byte = (rest & 0x7F) as u8 | if rest > 0x7F { 0x80 } else { 0 };
        rest >>= 7;
    }
    Ok(())
}

fn packet_length(bytes: usize) -> Result<u32, EncodeError> {
    match u32::try_from(bytes) {
        Ok(length) if length <= VARIABLE_BYTE_INTEGER_MAX => Ok(length),
        _ => Err(EncodeError::PacketTooLarge { bytes }),
    }
}

/// Appends a packet whose body `content` writes; on an error the buffer is as before.
fn packet(
    out: &mut Vec<u8>,
    first_byte: u8,
    content: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.push(first_byte);
    length_prefixed(out, content).inspect_err(|_| out.truncate(start))
}

/// The Property Length and the properties, in 5.0.
fn properties(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    properties: Properties<'_>,
) -> Result<(), EncodeError> {
    if version == ProtocolVersion::V5 {
        variable_byte_integer(out, packet_length(properties.as_bytes().len())?);
        out.extend_from_slice(properties.as_bytes());
    }
    Ok(())
}

fn check_code(packet_type: PacketType, reason_code: ReasonCode) -> Result<(), EncodeError> {
    if reason_code.allowed_in(packet_type) {
        Ok(())
    } else {
        Err(EncodeError::ReasonCodeNotAllowed(reason_code))
    }
}

/// Appends any packet. The version of a CONNECT is its own.
pub fn encode_packet(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    packet: &Packet<'_>,
) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(connect) => encode_connect(out, connect),
        Packet::ConnAck(connack) => {
            encode_connack(out, version, connack.session_present, connack.reason_code, connack.properties)
        }
        Packet::Publish(publish) => encode_publish(out, version, publish),
        Packet::PubAck(ack) => encode_puback(out, version, ack),
        Packet::PubRec(ack) => encode_pubrec(out, version, ack),
        Packet::PubRel(ack) => encode_pubrel(out, version, ack),
        Packet::PubComp(ack) => encode_pubcomp(out, version, ack),
        Packet::Subscribe(subscribe) => encode_subscribe(
            out,
            version,
            subscribe.packet_id,
            subscribe.subscriptions(),
            subscribe.properties,
        ),
        Packet::SubAck(suback) => {
            encode_suback(out, version, suback.packet_id, suback.reason_codes(), suback.properties)
        }
        Packet::Unsubscribe(unsubscribe) => encode_unsubscribe(
            out,
            version,
            unsubscribe.packet_id,
            unsubscribe.filters(),
            unsubscribe.properties,
        ),
        Packet::UnsubAck(unsuback) => {
            encode_unsuback(out, version, unsuback.packet_id, unsuback.reason_codes(), unsuback.properties)
        }
        Packet::PingReq => {
            encode_pingreq(out);
            Ok(())
        }
        Packet::PingResp => {
            encode_pingresp(out);
            Ok(())
        }
        Packet::Disconnect(disconnect) => encode_disconnect(out, version, disconnect),
        Packet::Auth(auth) => encode_auth(out, version, auth),
    }
}

/// Appends a CONNECT of the version `connect.version`.
pub fn encode_connect(out: &mut Vec<u8>, connect: &Connect<'_>) -> Result<(), EncodeError> {
    if connect.version == ProtocolVersion::V3_1_1 && connect.password.is_some() && connect.user_name.is_none()
    {
        return Err(EncodeError::PasswordWithoutUserName);
    }
    let will_flags = match connect.will {
        Some(will) => 0b100 | will.qos.bits() << 3 | u8::from(will.retain) << 5,
        None => 0,
    };
    let flags = u8::from(connect.clean_start) << 1
        | will_flags
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.user_name.is_some()) << 7;
    packet(out, PacketType::Connect.first_byte(), |out| {
        field(out, b"MQTT")?;
        out.push(connect.version.level());
        out.push(flags);
        out.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
        properties(out, connect.version, connect.properties)?;
        field(out, connect.client_id.as_bytes())?;
        if let Some(will) = connect.will {
            properties(out, connect.version, will.properties)?;
            field(out, will.topic.as_bytes())?;
            field(out, will.payload)?;
        }
        if let Some(user_name) = connect.user_name {
            field(out, user_name.as_bytes())?;
        }
        if let Some(password) = connect.password {
            field(out, password)?;
        }
        Ok(())
    })
}

/// Appends a CONNACK. A refusal never says that a session is present (3.1.1 MQTT-3.2.2-4, 5.0 MQTT-3.2.2-6).
pub fn encode_connack(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    session_present: bool,
    reason_code: ReasonCode,
    connack_properties: Properties<'_>,
) -> Result<(), EncodeError> {
    let code = match version {
        ProtocolVersion::V3_1_1 => {
            reason_code.connect_return_code().ok_or(EncodeError::NoReturnCode(reason_code))?
        }
        ProtocolVersion::V5 => {
            check_code(PacketType::ConnAck, reason_code)?;
            reason_code.value()
        }
    };
    packet(out, PacketType::ConnAck.first_byte(), |out| {
        out.push(u8::from(session_present && code == 0));
        out.push(code);
        properties(out, version, connack_properties)
    })
}

/// The first byte of a PUBLISH, and its packet identifier, if flags and identifier fit together.
#[inline]
fn publish_header(publish: &Publish<'_>) -> Result<(u8, Option<PacketId>), EncodeError> {
    if publish.packet_id.is_some() != (publish.qos != QoS::AtMostOnce) {
        return Err(EncodeError::PacketIdMismatch);
    }
    if publish.dup && publish.qos == QoS::AtMostOnce {
        return Err(EncodeError::DupAtQoS0);
    }
    let flags = PublishFlags { dup: publish.dup, qos: publish.qos, retain: publish.retain };
    Ok((flags.to_first_byte(), publish.packet_id))
}

/// Appends a PUBLISH with its properties as they are. For forwarding see [`encode_delivery`].
#[inline]
pub fn encode_publish(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    publish: &Publish<'_>,
) -> Result<(), EncodeError> {
    let (first_byte, packet_id) = publish_header(publish)?;
    let topic_len = u16::try_from(publish.topic.len())
        .map_err(|_| EncodeError::FieldTooLong { bytes: publish.topic.len() })?;
    let properties_len = match version {
        ProtocolVersion::V3_1_1 => 0,
        ProtocolVersion::V5 => {
            let length = packet_length(publish.properties.as_bytes().len())?;
            variable_byte_integer_len(length) + length as usize
        }
    };
    let packet_id_len = if packet_id.is_some() { 2 } else { 0 };
    let remaining_length =
        packet_length(2 + publish.topic.len() + packet_id_len + properties_len + publish.payload.len())?;

    // From here on nothing fails, so nothing needs to be taken back.
    out.reserve(1 + 4 + remaining_length as usize);
    out.push(first_byte);
    variable_byte_integer(out, remaining_length);
    out.extend_from_slice(&topic_len.to_be_bytes());
    out.extend_from_slice(publish.topic.as_bytes());
    if let Some(packet_id) = packet_id {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
    }
    properties(out, version, publish.properties)?;
    out.extend_from_slice(publish.payload);
    Ok(())
}

/// Appends the PUBLISH of a message to one subscriber.
pub fn encode_delivery(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    delivery: &Delivery<'_>,
) -> Result<(), EncodeError> {
    let publish = &delivery.publish;
    let plain = publish.properties.is_empty()
        && delivery.message_expiry_interval_s.is_none()
        && delivery.topic_alias.is_none()
        && delivery.subscription_identifiers.is_empty();
    if plain || version == ProtocolVersion::V3_1_1 {
        return encode_publish(out, version, publish);
    }
    let (first_byte, packet_id) = publish_header(publish)?;
    packet(out, first_byte, |out| {
        field(out, publish.topic.as_bytes())?;
        if let Some(packet_id) = packet_id {
            out.extend_from_slice(&packet_id.get().to_be_bytes());
        }
        length_prefixed(out, |out| delivery_properties(out, delivery))?;
        out.extend_from_slice(publish.payload);
        Ok(())
    })
}

fn delivery_properties(out: &mut Vec<u8>, delivery: &Delivery<'_>) -> Result<(), EncodeError> {
    if let Some(interval_s) = delivery.message_expiry_interval_s {
        property(out, Property::MessageExpiryInterval(interval_s))?;
    }
    match delivery.topic_alias {
        Some(0) => return Err(EncodeError::PropertyValue(PropertyId::TopicAlias)),
        Some(alias) => property(out, Property::TopicAlias(alias))?,
        None => {}
    }
    for &identifier in delivery.subscription_identifiers {
        if identifier == 0 {
            return Err(EncodeError::PropertyValue(PropertyId::SubscriptionIdentifier));
        }
        property(out, Property::SubscriptionIdentifier(identifier))?;
    }
    let mut properties = delivery.publish.properties.iter();
    while let Some((property, bytes)) = properties.next_with_bytes() {
        let of_the_first_hop = matches!(
            property.id(),
            PropertyId::MessageExpiryInterval | PropertyId::TopicAlias | PropertyId::SubscriptionIdentifier
        );
        if !of_the_first_hop {
            out.extend_from_slice(bytes);
        }
    }
    Ok(())
}

/// Appends a PUBACK. In 3.1.1 it can only say that the message was taken, whatever the reason code.
#[inline]
pub fn encode_puback(out: &mut Vec<u8>, version: ProtocolVersion, ack: &Ack<'_>) -> Result<(), EncodeError> {
    encode_ack(out, PacketType::PubAck, version, ack)
}

/// Appends a PUBREC. In 3.1.1 it can only say that the message was taken, whatever the reason code.
#[inline]
pub fn encode_pubrec(out: &mut Vec<u8>, version: ProtocolVersion, ack: &Ack<'_>) -> Result<(), EncodeError> {
    encode_ack(out, PacketType::PubRec, version, ack)
}

#[inline]
pub fn encode_pubrel(out: &mut Vec<u8>, version: ProtocolVersion, ack: &Ack<'_>) -> Result<(), EncodeError> {
    encode_ack(out, PacketType::PubRel, version, ack)
}

#[inline]
pub fn encode_pubcomp(out: &mut Vec<u8>, version: ProtocolVersion, ack: &Ack<'_>) -> Result<(), EncodeError> {
    encode_ack(out, PacketType::PubComp, version, ack)
}

#[inline]
fn encode_ack(
    out: &mut Vec<u8>,
    packet_type: PacketType,
    version: ProtocolVersion,
    ack: &Ack<'_>,
) -> Result<(), EncodeError> {
    let [high, low] = ack.packet_id.get().to_be_bytes();
    let plain = ack.reason_code == ReasonCode::SUCCESS && ack.properties.is_empty();
    if plain || version == ProtocolVersion::V3_1_1 {
        out.extend_from_slice(&[packet_type.first_byte(), 2, high, low]);
        return Ok(());
    }
    check_code(packet_type, ack.reason_code)?;
    packet(out, packet_type.first_byte(), |out| {
        out.extend_from_slice(&[high, low, ack.reason_code.value()]);
        optional_properties(out, ack.properties)
    })
}

/// The properties at the end of a packet that may leave out even their length.
fn optional_properties(out: &mut Vec<u8>, list: Properties<'_>) -> Result<(), EncodeError> {
    if list.is_empty() { Ok(()) } else { properties(out, ProtocolVersion::V5, list) }
}

/// Appends a SUBSCRIBE. The options of 5.0 are left out in 3.1.1.
pub fn encode_subscribe<'s>(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    packet_id: PacketId,
    subscriptions: impl IntoIterator<Item = Subscription<'s>>,
    subscribe_properties: Properties<'_>,
) -> Result<(), EncodeError> {
    packet(out, PacketType::Subscribe.first_byte(), |out| {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
        properties(out, version, subscribe_properties)?;
        list(out, subscriptions, |out, subscription| {
            field(out, subscription.filter.as_bytes())?;
            out.push(subscription.options.to_byte(version));
            Ok(())
        })
    })
}

/// Appends a SUBACK. In 3.1.1 every failure is 0x80.
pub fn encode_suback(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    packet_id: PacketId,
    reason_codes: impl IntoIterator<Item = ReasonCode>,
    suback_properties: Properties<'_>,
) -> Result<(), EncodeError> {
    packet(out, PacketType::SubAck.first_byte(), |out| {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
        properties(out, version, suback_properties)?;
        list(out, reason_codes, |out, reason_code| {
            check_code(PacketType::SubAck, reason_code)?;
            let code = match version {
                ProtocolVersion::V3_1_1 if reason_code.is_failure() => ReasonCode::UNSPECIFIED_ERROR,
                _ => reason_code,
            };
            out.push(code.value());
            Ok(())
        })
    })
}

/// Appends an UNSUBSCRIBE.
pub fn encode_unsubscribe<'s>(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    packet_id: PacketId,
    filters: impl IntoIterator<Item = &'s str>,
    unsubscribe_properties: Properties<'_>,
) -> Result<(), EncodeError> {
    packet(out, PacketType::Unsubscribe.first_byte(), |out| {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
        properties(out, version, unsubscribe_properties)?;
        list(out, filters, |out, filter| field(out, filter.as_bytes()))
    })
}

/// Appends an UNSUBACK. 3.1.1 has no codes in it.
pub fn encode_unsuback(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    packet_id: PacketId,
    reason_codes: impl IntoIterator<Item = ReasonCode>,
    unsuback_properties: Properties<'_>,
) -> Result<(), EncodeError> {
    packet(out, PacketType::UnsubAck.first_byte(), |out| {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
        if version == ProtocolVersion::V3_1_1 {
            return Ok(());
        }
        properties(out, version, unsuback_properties)?;
        list(out, reason_codes, |out, reason_code| {
            check_code(PacketType::UnsubAck, reason_code)?;
            out.push(reason_code.value());
            Ok(())
        })
    })
}

/// Appends the entries of a list that must not be empty.
fn list<T>(
    out: &mut Vec<u8>,
    entries: impl IntoIterator<Item = T>,
    mut entry: impl FnMut(&mut Vec<u8>, T) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    for item in entries {
        entry(out, item)?;
    }
    if out.len() == start { Err(EncodeError::EmptyList) } else { Ok(()) }
}

#[inline]
pub fn encode_pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingReq.first_byte(), 0]);
}

#[inline]
pub fn encode_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingResp.first_byte(), 0]);
}

/// Appends a DISCONNECT. In 3.1.1 only clients send one, and it has no reason code.
pub fn encode_disconnect(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    disconnect: &Disconnect<'_>,
) -> Result<(), EncodeError> {
    let plain =
        disconnect.reason_code == ReasonCode::NORMAL_DISCONNECTION && disconnect.properties.is_empty();
    if plain || version == ProtocolVersion::V3_1_1 {
        out.extend_from_slice(&[PacketType::Disconnect.first_byte(), 0]);
        return Ok(());
    }
    check_code(PacketType::Disconnect, disconnect.reason_code)?;
    packet(out, PacketType::Disconnect.first_byte(), |out| {
        out.push(disconnect.reason_code.value());
        optional_properties(out, disconnect.properties)
    })
}

/// Appends an AUTH, which exists in 5.0 only.
pub fn encode_auth(out: &mut Vec<u8>, version: ProtocolVersion, auth: &Auth<'_>) -> Result<(), EncodeError> {
    if version == ProtocolVersion::V3_1_1 {
        return Err(EncodeError::NoAuthPacket);
    }
    check_code(PacketType::Auth, auth.reason_code)?;
    packet(out, PacketType::Auth.first_byte(), |out| {
        if auth.reason_code == ReasonCode::SUCCESS && auth.properties.is_empty() {
            return Ok(());
        }
        out.push(auth.reason_code.value());
        properties(out, version, auth.properties)
    })
}
