//! CONNECT: from the first packet to the parameters of a session, or to a refusal.

use std::sync::Arc;

use codecs::mqtt::{
    Connect, PropertiesBuffer, Property, PropertyOwner, ProtocolVersion, QoS, ReasonCode,
    Will as ConnectWill, encode_connack,
};

use super::limits::{MqttLimits, SEND_WINDOW_MAX, SEND_WINDOW_V3};
use super::session::{SessionParameters, Will, is_reserved_topic};

/// A CONNECT that is well formed but not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRefusal {
    pub reason: ReasonCode,
    pub sentence: &'static str,
}

/// The id of the session that a CONNECT asks for: the client's own, or one made here where it left it empty.
pub fn client_id(
    connect: &Connect<'_>,
    limits: &MqttLimits,
    made: impl FnOnce() -> String,
) -> Result<Arc<str>, ConnectRefusal> {
    let refuse = |sentence| Err(ConnectRefusal { reason: ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, sentence });
    if connect.client_id.is_empty() {
        if connect.version == ProtocolVersion::V3_1_1 && !connect.clean_start {
            return refuse("an empty Client Identifier needs Clean Session 1");
        }
        return Ok(made().into());
    }
    if connect.client_id.len() > limits.client_id_bytes_max {
        return refuse("the Client Identifier is longer than mqtt.client_id_bytes_max");
    }
    Ok(connect.client_id.into())
}

/// What the session will be like. Credentials are not looked at: this build listens on loopback only.
pub fn accept(
    connect: &Connect<'_>,
    client: Arc<str>,
    limits: &MqttLimits,
) -> Result<SessionParameters, ConnectRefusal> {
    if connect.properties.authentication_method().is_some() {
        return Err(ConnectRefusal {
            reason: ReasonCode::BAD_AUTHENTICATION_METHOD,
            sentence: "no authentication method is offered",
        });
    }
    let will = connect.will.as_ref().map(|will| accept_will(will, connect.version, limits)).transpose()?;
    let keep_alive_s = match (connect.keep_alive_s, limits.keep_alive_s_max) {
        (asked, 0) => asked,
        (0, most) => most,
        (asked, most) => asked.min(most),
    };
    Ok(SessionParameters {
        version: connect.version,
        client,
        keep_alive_s,
        send_window: match connect.version {
            ProtocolVersion::V3_1_1 => SEND_WINDOW_V3,
            ProtocolVersion::V5 => {
                connect.properties.receive_maximum().unwrap_or(u16::MAX).min(SEND_WINDOW_MAX)
            }
        },
        packet_bytes_max: connect
            .properties
            .maximum_packet_size()
            .map_or(codecs::mqtt::PACKET_SIZE_MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        session_expiry_s: connect.properties.session_expiry_interval_s().unwrap_or(0),
        wants_reasons: connect.version == ProtocolVersion::V5
            && connect.properties.request_problem_information() != Some(false),
        will,
    })
}

/// There is no room for this client's will.
pub fn no_room_for_will(version: ProtocolVersion) -> ConnectRefusal {
    let reason = match version {
        ProtocolVersion::V5 => ReasonCode::QUOTA_EXCEEDED,
        ProtocolVersion::V3_1_1 => ReasonCode::SERVER_UNAVAILABLE,
    };
    ConnectRefusal { reason, sentence: "the wills of all clients have used up mqtt.will_bytes_max" }
}

fn accept_will(
    will: &ConnectWill<'_>,
    version: ProtocolVersion,
    limits: &MqttLimits,
) -> Result<Will, ConnectRefusal> {
    if version == ProtocolVersion::V5 && will.qos == QoS::ExactlyOnce {
        return Err(ConnectRefusal {
            reason: ReasonCode::QOS_NOT_SUPPORTED,
            sentence: "Maximum QoS is 1, also for the will",
        });
    }
    if is_reserved_topic(will.topic) {
        return Err(ConnectRefusal {
            reason: ReasonCode::NOT_AUTHORIZED,
            sentence: "clients may not publish to feed/, event/ and $SYS/, also not by a will",
        });
    }
    if will.topic.len() > limits.topic_bytes_max {
        return Err(ConnectRefusal {
            reason: ReasonCode::TOPIC_NAME_INVALID,
            sentence: "the will's topic is longer than mqtt.topic_bytes_max",
        });
    }
    let mut properties = PropertiesBuffer::new(PropertyOwner::Publish);
    for property in will.properties.iter() {
        // Sessions end with their connection here, so the will is published at once whatever delay it asks for.
        if !matches!(property, Property::WillDelayInterval(_)) {
            // It was legal in the will and is legal in a PUBLISH.
            let _ = properties.push(property);
        }
    }
    Ok(Will {
        topic: will.topic.into(),
        payload: will.payload.into(),
        properties: properties.as_properties().as_bytes().into(),
        qos: will.qos,
        retain: will.retain,
    })
}

/// CONNACK for an accepted session. Session Present is 0: sessions end with their connection.
pub fn write_connack(
    connect: &Connect<'_>,
    parameters: &SessionParameters,
    limits: &MqttLimits,
    out: &mut Vec<u8>,
) {
    let mut properties = PropertiesBuffer::new(PropertyOwner::ConnAck);
    if parameters.version == ProtocolVersion::V5 {
        let packet_bytes_max = u32::try_from(limits.packet_bytes_max).unwrap_or(u32::MAX);
        let mut push = |property| {
            // Each of them belongs in CONNACK and is pushed once.
            let _ = properties.push(property);
        };
        push(Property::ReceiveMaximum(limits.receive_max));
        push(Property::MaximumQoS(QoS::AtLeastOnce));
        push(Property::MaximumPacketSize(packet_bytes_max));
        push(Property::SharedSubscriptionAvailable(false));
        if parameters.session_expiry_s > 0 {
            push(Property::SessionExpiryInterval(0));
        }
        if connect.client_id.is_empty() {
            push(Property::AssignedClientIdentifier(&parameters.client));
        }
        if parameters.keep_alive_s != connect.keep_alive_s {
            push(Property::ServerKeepAlive(parameters.keep_alive_s));
        }
    }
    let _ = encode_connack(out, parameters.version, false, ReasonCode::SUCCESS, properties.as_properties());
}

/// CONNACK for a refused one; nothing where 3.1.1 has no return code for the reason.
pub fn write_refusal(version: ProtocolVersion, refusal: ConnectRefusal, out: &mut Vec<u8>) {
    let _ = encode_connack(out, version, false, refusal.reason, codecs::mqtt::Properties::EMPTY);
}
