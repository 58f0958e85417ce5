//! Packets from bytes. Every function below reads one packet type behind its fixed header; the error is a [`Rule`], to
//! which [`decode`] adds the version.

use super::error::{DecodeError, Rule};
use super::frame::{PublishFlags, check_first_byte};
use super::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, ProtocolVersion, Publish, QoS,
    Will,
};
use super::properties::Properties;
use super::property::PropertyOwner;
use super::reader::{Reader, VariableByteInteger, variable_byte_integer};
use super::reason::ReasonCode;
use super::subscription::{SubAck, Subscribe, SubscriptionOptions, UnsubAck, Unsubscribe};
use super::topic::{self, SharedFilter, validate_filter};

/// Decodes one packet. `frame` is exactly that packet, as [`frame_len`](super::frame_len) measured it.
///
/// A CONNECT says itself which version it is, and `version` does not matter for it; everything else is read by `version`.
/// Nothing is allocated; the packet borrows from the frame.
#[inline]
pub fn decode(frame: &[u8], version: ProtocolVersion) -> Result<Packet<'_>, DecodeError> {
    let (&first_byte, rest) =
        frame.split_first().ok_or(DecodeError::new(Rule::FrameLengthMismatch, version))?;
    let packet_type = check_first_byte(first_byte).map_err(|rule| DecodeError::new(rule, version))?;
    let (body, minimal) = body(rest).map_err(|rule| DecodeError::new(rule, version))?;
    if packet_type == PacketType::Connect {
        return connect(body, minimal).map(Packet::Connect);
    }
    packet(packet_type, first_byte, body, minimal, version).map_err(|rule| DecodeError::new(rule, version))
}

/// What follows the Remaining Length, and whether that was written in as few bytes as possible.
#[inline]
fn body(rest: &[u8]) -> Result<(&[u8], bool), Rule> {
    match variable_byte_integer(rest) {
        VariableByteInteger::Value { value, length, minimal } => {
            let body = rest.get(length..).unwrap_or_default();
            if body.len() != value as usize {
                return Err(Rule::FrameLengthMismatch);
            }
            Ok((body, minimal))
        }
        VariableByteInteger::Incomplete => Err(Rule::FrameLengthMismatch),
        VariableByteInteger::TooLong => Err(Rule::RemainingLengthTooLong),
    }
}

#[inline]
fn packet(
    packet_type: PacketType,
    first_byte: u8,
    body: &[u8],
    minimal: bool,
    version: ProtocolVersion,
) -> Result<Packet<'_>, Rule> {
    // 3.1.1 recommends no more than that; only 5.0 makes it a rule.
    if !minimal && version == ProtocolVersion::V5 {
        return Err(Rule::VariableByteIntegerNotMinimal);
    }
    Ok(match packet_type {
        PacketType::Publish => Packet::Publish(publish(first_byte, body, version)?),
        PacketType::PubAck => Packet::PubAck(ack(packet_type, Rule::PubAckCode, body, version)?),
        PacketType::PubRec => Packet::PubRec(ack(packet_type, Rule::PubRecCode, body, version)?),
        PacketType::PubRel => Packet::PubRel(ack(packet_type, Rule::PubRelCode, body, version)?),
        PacketType::PubComp => Packet::PubComp(ack(packet_type, Rule::PubCompCode, body, version)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe(body, version)?),
        PacketType::SubAck => Packet::SubAck(suback(body, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe(body, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(unsuback(body, version)?),
        PacketType::PingReq => end(&Reader::new(body)).map(|()| Packet::PingReq)?,
        PacketType::PingResp => end(&Reader::new(body)).map(|()| Packet::PingResp)?,
        PacketType::Disconnect => Packet::Disconnect(disconnect(body, version)?),
        PacketType::Auth => Packet::Auth(auth(body, version)?),
        PacketType::ConnAck => Packet::ConnAck(connack(body, version)?),
        // `decode` has turned to `connect` for it: there the version is not known beforehand.
        PacketType::Connect => return Err(Rule::ConnectTruncated),
    })
}

#[inline]
fn publish(first_byte: u8, body: &[u8], version: ProtocolVersion) -> Result<Publish<'_>, Rule> {
    let PublishFlags { dup, qos, retain } = PublishFlags::from_byte(first_byte)?;
    let mut reader = Reader::new(body);
    let topic = reader.binary().ok_or(Rule::Truncated)?;
    let topic = topic::name(topic, Rule::TopicUtf8, Rule::TopicWildcard)?;
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(packet_id(&mut reader, Rule::PacketIdZero)?),
    };
    let properties = match version {
        ProtocolVersion::V3_1_1 if topic.is_empty() => return Err(Rule::TopicEmpty),
        ProtocolVersion::V3_1_1 => Properties::EMPTY,
        ProtocolVersion::V5 => properties(&mut reader, PropertyOwner::Publish, Rule::PropertyLengthMissing)?,
    };
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
}

#[inline]
fn packet_id(reader: &mut Reader<'_>, zero: Rule) -> Result<PacketId, Rule> {
    PacketId::new(reader.u16().ok_or(Rule::Truncated)?).ok_or(zero)
}

/// Nothing may follow the last field.
#[inline]
fn end(reader: &Reader<'_>) -> Result<(), Rule> {
    if reader.is_empty() { Ok(()) } else { Err(Rule::TrailingBytes) }
}

/// A Property Length and the properties. `missing` is the rule that is broken where the packet ends before them.
#[inline]
fn properties<'a>(
    reader: &mut Reader<'a>,
    owner: PropertyOwner,
    missing: Rule,
) -> Result<Properties<'a>, Rule> {
    match variable_byte_integer(reader.rest()) {
        VariableByteInteger::Value { value, length, minimal: true } => {
            reader.take(length).ok_or(Rule::Truncated)?;
            let bytes = reader.take(value as usize).ok_or(Rule::PropertiesTruncated)?;
            Properties::parse(owner, bytes).map_err(|error| error.rule())
        }
        VariableByteInteger::Value { minimal: false, .. } => Err(Rule::VariableByteIntegerNotMinimal),
        VariableByteInteger::Incomplete => Err(missing),
        VariableByteInteger::TooLong => Err(Rule::VariableByteIntegerTooLong),
    }
}

fn ack(
    packet_type: PacketType,
    wrong_code: Rule,
    body: &[u8],
    version: ProtocolVersion,
) -> Result<Ack<'_>, Rule> {
    let mut reader = Reader::new(body);
    let packet_id = packet_id(&mut reader, Rule::AckPacketIdZero)?;
    // The plain form is all there is in 3.1.1 and means success in 5.0.
    if reader.is_empty() {
        return Ok(Ack::success(packet_id));
    }
    if version == ProtocolVersion::V3_1_1 {
        return Err(Rule::TrailingBytes);
    }
    let (reason_code, properties) =
        code_and_properties(&mut reader, packet_type, wrong_code, PropertyOwner::Ack)?;
    Ok(Ack { packet_id, reason_code, properties })
}

/// A reason code and then, or not, the properties; and nothing behind them.
fn code_and_properties<'a>(
    reader: &mut Reader<'a>,
    packet_type: PacketType,
    wrong_code: Rule,
    owner: PropertyOwner,
) -> Result<(ReasonCode, Properties<'a>), Rule> {
    let reason_code = ReasonCode(reader.u8().ok_or(Rule::Truncated)?);
    if !reason_code.allowed_in(packet_type) {
        return Err(wrong_code);
    }
    if reader.is_empty() {
        return Ok((reason_code, Properties::EMPTY));
    }
    let properties = properties(reader, owner, Rule::PropertyLengthMissing)?;
    end(reader)?;
    Ok((reason_code, properties))
}

/// The properties of the packets that must have a Property Length in 5.0 and never have one in 3.1.1.
fn versioned_properties<'a>(
    reader: &mut Reader<'a>,
    owner: PropertyOwner,
    version: ProtocolVersion,
) -> Result<Properties<'a>, Rule> {
    match version {
        ProtocolVersion::V3_1_1 => Ok(Properties::EMPTY),
        ProtocolVersion::V5 => properties(reader, owner, Rule::PropertyLengthMissing),
    }
}

fn subscribe(body: &[u8], version: ProtocolVersion) -> Result<Subscribe<'_>, Rule> {
    let mut reader = Reader::new(body);
    let packet_id = packet_id(&mut reader, Rule::PacketIdZero)?;
    let properties = versioned_properties(&mut reader, PropertyOwner::Subscribe, version)?;
    let list = reader.rest();
    if list.is_empty() {
        return Err(Rule::SubscribeEmpty);
    }
    while !reader.is_empty() {
        let shared = filter(&mut reader, Rule::SubscribeFilterUtf8, version)?;
        let options = reader.u8().ok_or(Rule::Truncated)?;
        check_options(options, shared, version)?;
    }
    Ok(Subscribe { packet_id, properties, list })
}

/// Reads and checks one filter; says whether it is a shared one.
fn filter(reader: &mut Reader<'_>, utf8: Rule, version: ProtocolVersion) -> Result<bool, Rule> {
    let filter = reader.binary().ok_or(Rule::Truncated)?;
    let filter = std::str::from_utf8(filter).map_err(|_| utf8)?;
    validate_filter(filter).map_err(|error| error.rule())?;
    match version {
        ProtocolVersion::V3_1_1 => Ok(false),
        ProtocolVersion::V5 => Ok(SharedFilter::parse(filter).map_err(|error| error.rule())?.is_some()),
    }
}

fn check_options(byte: u8, shared: bool, version: ProtocolVersion) -> Result<(), Rule> {
    let reserved_bits = match version {
        ProtocolVersion::V3_1_1 => 0b1111_1100,
        ProtocolVersion::V5 => 0b1100_0000,
    };
    if byte & reserved_bits != 0 {
        return Err(Rule::SubscriptionReservedBits);
    }
    if byte & 0b11 == 0b11 {
        return Err(Rule::SubscriptionQoS3);
    }
    // Reserved bits and QoS are fine, so what `from_byte` may still dislike is the Retain Handling.
    let options = SubscriptionOptions::from_byte(byte).ok_or(Rule::RetainHandling3)?;
    if shared && options.no_local {
        return Err(Rule::NoLocalOnShared);
    }
    Ok(())
}

fn suback(body: &[u8], version: ProtocolVersion) -> Result<SubAck<'_>, Rule> {
    let mut reader = Reader::new(body);
    let packet_id = packet_id(&mut reader, Rule::SubAckPacketIdZero)?;
    let properties = versioned_properties(&mut reader, PropertyOwner::Ack, version)?;
    let codes = reader.rest();
    if codes.is_empty() {
        return Err(Rule::SubAckEmpty);
    }
    let legal = |&code: &u8| match version {
        ProtocolVersion::V3_1_1 => matches!(code, 0..=2 | 0x80),
        ProtocolVersion::V5 => ReasonCode(code).allowed_in(PacketType::SubAck),
    };
    if !codes.iter().all(legal) {
        return Err(Rule::SubAckCode);
    }
    Ok(SubAck { packet_id, properties, codes })
}

fn unsubscribe(body: &[u8], version: ProtocolVersion) -> Result<Unsubscribe<'_>, Rule> {
    let mut reader = Reader::new(body);
    let packet_id = packet_id(&mut reader, Rule::PacketIdZero)?;
    let properties = versioned_properties(&mut reader, PropertyOwner::Unsubscribe, version)?;
    let list = reader.rest();
    if list.is_empty() {
        return Err(Rule::UnsubscribeEmpty);
    }
    while !reader.is_empty() {
        filter(&mut reader, Rule::UnsubscribeFilterUtf8, version)?;
    }
    Ok(Unsubscribe { packet_id, properties, list })
}

fn unsuback(body: &[u8], version: ProtocolVersion) -> Result<UnsubAck<'_>, Rule> {
    let mut reader = Reader::new(body);
    let packet_id = packet_id(&mut reader, Rule::SubAckPacketIdZero)?;
    if version == ProtocolVersion::V3_1_1 {
        end(&reader)?;
        return Ok(UnsubAck { packet_id, properties: Properties::EMPTY, codes: &[] });
    }
    let properties = properties(&mut reader, PropertyOwner::Ack, Rule::PropertyLengthMissing)?;
    let codes = reader.rest();
    if codes.is_empty() {
        return Err(Rule::UnsubAckEmpty);
    }
    if !codes.iter().all(|&code| ReasonCode(code).allowed_in(PacketType::UnsubAck)) {
        return Err(Rule::UnsubAckCode);
    }
    Ok(UnsubAck { packet_id, properties, codes })
}

fn disconnect(body: &[u8], version: ProtocolVersion) -> Result<Disconnect<'_>, Rule> {
    let mut reader = Reader::new(body);
    if reader.is_empty() {
        return Ok(Disconnect {
            reason_code: ReasonCode::NORMAL_DISCONNECTION,
            properties: Properties::EMPTY,
        });
    }
    if version == ProtocolVersion::V3_1_1 {
        return Err(Rule::TrailingBytes);
    }
    let (reason_code, properties) = code_and_properties(
        &mut reader,
        PacketType::Disconnect,
        Rule::DisconnectCode,
        PropertyOwner::Disconnect,
    )?;
    Ok(Disconnect { reason_code, properties })
}

fn auth(body: &[u8], version: ProtocolVersion) -> Result<Auth<'_>, Rule> {
    if version == ProtocolVersion::V3_1_1 {
        return Err(Rule::AuthIn311);
    }
    let mut reader = Reader::new(body);
    // §3.15.2.1 allows the empty form, though §3.15.2.2.2 always wants a method: whether it fits is left to the session.
    if reader.is_empty() {
        return Ok(Auth { reason_code: ReasonCode::SUCCESS, properties: Properties::EMPTY });
    }
    let (reason_code, properties) =
        code_and_properties(&mut reader, PacketType::Auth, Rule::AuthCode, PropertyOwner::Auth)?;
    if properties.authentication_method().is_none() {
        return Err(Rule::AuthMethodMissing);
    }
    Ok(Auth { reason_code, properties })
}

fn connack(body: &[u8], version: ProtocolVersion) -> Result<ConnAck<'_>, Rule> {
    let mut reader = Reader::new(body);
    let flags = reader.u8().ok_or(Rule::Truncated)?;
    let code = reader.u8().ok_or(Rule::Truncated)?;
    if flags > 1 {
        return Err(Rule::ConnAckFlags);
    }
    let reason_code = match version {
        ProtocolVersion::V3_1_1 => ReasonCode::from_connect_return_code(code).ok_or(Rule::ConnAckCode)?,
        ProtocolVersion::V5 if ReasonCode(code).allowed_in(PacketType::ConnAck) => ReasonCode(code),
        ProtocolVersion::V5 => return Err(Rule::ConnAckCode),
    };
    let session_present = flags == 1;
    if session_present && reason_code != ReasonCode::SUCCESS {
        return Err(Rule::SessionPresentOnFailure);
    }
    let properties = versioned_properties(&mut reader, PropertyOwner::ConnAck, version)?;
    end(&reader)?;
    Ok(ConnAck { session_present, reason_code, properties })
}

fn connect(body: &[u8], minimal: bool) -> Result<Connect<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let version = protocol_version(&mut reader).map_err(DecodeError::versionless)?;
    if !minimal && version == ProtocolVersion::V5 {
        return Err(DecodeError::new(Rule::VariableByteIntegerNotMinimal, version));
    }
    connect_of(version, reader).map_err(|rule| DecodeError::new(rule, version))
}

fn protocol_version(reader: &mut Reader<'_>) -> Result<ProtocolVersion, Rule> {
    let name = reader.binary().ok_or(Rule::ConnectTruncated)?;
    if name != b"MQTT" {
        return Err(Rule::ProtocolName);
    }
    let level = reader.u8().ok_or(Rule::ConnectTruncated)?;
    ProtocolVersion::from_level(level).ok_or(Rule::ProtocolLevel)
}

/// The connect flags.
#[derive(Debug, Clone, Copy)]
struct ConnectFlags {
    clean_start: bool,
    /// QoS and Will Retain.
    will: Option<(QoS, bool)>,
    password: bool,
    user_name: bool,
}

fn connect_flags(byte: u8, version: ProtocolVersion) -> Result<ConnectFlags, Rule> {
    if byte & 0b0000_0001 != 0 {
        return Err(Rule::ConnectReservedFlag);
    }
    let will_qos = byte >> 3 & 0b11;
    let will_retain = byte & 0b0010_0000 != 0;
    let will = if byte & 0b0000_0100 != 0 {
        Some((QoS::from_bits(will_qos).ok_or(Rule::WillQoS3)?, will_retain))
    } else if will_qos != 0 {
        return Err(Rule::WillQoSWithoutWill);
    } else if will_retain {
        return Err(Rule::WillRetainWithoutWill);
    } else {
        None
    };
    let password = byte & 0b0100_0000 != 0;
    let user_name = byte & 0b1000_0000 != 0;
    if password && !user_name && version == ProtocolVersion::V3_1_1 {
        return Err(Rule::PasswordWithoutUserName);
    }
    Ok(ConnectFlags { clean_start: byte & 0b0000_0010 != 0, will, password, user_name })
}

/// A CONNECT from its flags on.
fn connect_of(version: ProtocolVersion, mut reader: Reader<'_>) -> Result<Connect<'_>, Rule> {
    let flags = connect_flags(reader.u8().ok_or(Rule::ConnectTruncated)?, version)?;
    let keep_alive_s = reader.u16().ok_or(Rule::ConnectTruncated)?;
    let properties = versioned_properties(&mut reader, PropertyOwner::Connect, version)?;
    let client_id = reader.binary().ok_or(Rule::ClientIdMissing)?;
    let client_id = topic::text(client_id, Rule::ClientIdUtf8, Rule::NullCharacter)?;
    let will = match flags.will {
        Some((qos, retain)) => Some(will(&mut reader, qos, retain, version)?),
        None => None,
    };
    let user_name = if flags.user_name {
        let user_name = reader.binary().ok_or(Rule::UserNameMissing)?;
        Some(topic::text(user_name, Rule::UserNameUtf8, Rule::NullCharacter)?)
    } else {
        None
    };
    let password = if flags.password { Some(reader.binary().ok_or(Rule::PasswordMissing)?) } else { None };
    if !reader.is_empty() {
        return Err(match flags {
            ConnectFlags { user_name: false, password: false, .. } => Rule::UserNameWithoutFlag,
            ConnectFlags { password: false, .. } => Rule::PasswordWithoutFlag,
            _ => Rule::ConnectTrailingBytes,
        });
    }
    Ok(Connect {
        version,
        clean_start: flags.clean_start,
        keep_alive_s,
        client_id,
        will,
        user_name,
        password,
        properties,
    })
}

fn will<'a>(
    reader: &mut Reader<'a>,
    qos: QoS,
    retain: bool,
    version: ProtocolVersion,
) -> Result<Will<'a>, Rule> {
    let properties = match version {
        ProtocolVersion::V3_1_1 => Properties::EMPTY,
        ProtocolVersion::V5 => properties(reader, PropertyOwner::Will, Rule::WillFieldsMissing)?,
    };
    let topic = reader.binary().ok_or(Rule::WillFieldsMissing)?;
    let topic = topic::name(topic, Rule::WillTopicUtf8, Rule::WillTopicWildcard)?;
    if topic.is_empty() {
        return Err(Rule::TopicEmpty);
    }
    let payload = reader.binary().ok_or(Rule::WillFieldsMissing)?;
    Ok(Will { qos, retain, topic, payload, properties })
}
