//! `rumqttd`: the readers `V4` (3.1.1) and `V5`. They keep properties in structs, so their order is not compared.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use codecs::mqtt::{PACKET_SIZE_MAX, ProtocolVersion};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{
    ConnAckProperties, ConnectProperties, LastWill, LastWillProperties, Login, Packet, Protocol, Publish,
    PublishProperties, RetainForwardRule, SubscribeReasonCode,
};

use crate::ours::{Lines, PropertyLines, code, subscription};

/// What the oracle makes of one frame. A panic counts as a refusal.
pub(crate) fn decode(frame: &[u8], version: ProtocolVersion) -> Result<Lines, String> {
    let mut stream = BytesMut::from(frame);
    let packet = catch_unwind(AssertUnwindSafe(|| match version {
        ProtocolVersion::V3_1_1 => V4.read_mut(&mut stream, PACKET_SIZE_MAX),
        ProtocolVersion::V5 => V5.read_mut(&mut stream, PACKET_SIZE_MAX),
    }))
    .map_err(|_| "panic".to_owned())?
    .map_err(|error| format!("{error:?}"))?;
    if !stream.is_empty() {
        return Err(format!("{} bytes left over", stream.len()));
    }
    Ok(describe(packet))
}

fn bytes_as_text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl PropertyLines<'_> {
    fn optional_number(&mut self, name: &str, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    fn optional_text(&mut self, name: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn optional_binary(&mut self, name: &str, value: Option<&Bytes>) {
        if let Some(value) = value {
            self.binary(name, value);
        }
    }

    fn user_properties(&mut self, list: &[(String, String)]) {
        for (name, value) in list {
            self.user_property(name, value);
        }
    }
}

fn connect_properties(lines: &mut Lines, properties: &ConnectProperties) {
    let mut out = PropertyLines::new(lines, "");
    out.optional_number("SessionExpiryInterval", properties.session_expiry_interval);
    out.optional_number("ReceiveMaximum", properties.receive_maximum);
    out.optional_number("MaximumPacketSize", properties.max_packet_size);
    out.optional_number("TopicAliasMaximum", properties.topic_alias_max);
    out.optional_number("RequestResponseInformation", properties.request_response_info);
    out.optional_number("RequestProblemInformation", properties.request_problem_info);
    out.user_properties(&properties.user_properties);
    out.optional_text("AuthenticationMethod", properties.authentication_method.as_ref());
    out.optional_binary("AuthenticationData", properties.authentication_data.as_ref());
}

fn will(lines: &mut Lines, will: &LastWill, properties: Option<&LastWillProperties>) {
    let topic = bytes_as_text(&will.topic);
    lines.push(format!("will qos={} retain={} topic={topic:?}", will.qos as u8, will.retain));
    lines.push(format!("will payload={:02x?}", &will.message[..]));
    let Some(properties) = properties else { return };
    let mut out = PropertyLines::new(lines, "will.");
    out.optional_number("WillDelayInterval", properties.delay_interval);
    out.optional_number("PayloadFormatIndicator", properties.payload_format_indicator);
    out.optional_number("MessageExpiryInterval", properties.message_expiry_interval);
    out.optional_text("ContentType", properties.content_type.as_ref());
    out.optional_text("ResponseTopic", properties.response_topic.as_ref());
    out.optional_binary("CorrelationData", properties.correlation_data.as_ref());
    out.user_properties(&properties.user_properties);
}

/// The reader knows user name and password only as a pair of strings; an absent one is an empty one.
fn login(login: Option<&Login>) -> [String; 2] {
    let or_none = |text: &String| Some(text.clone()).filter(|it| !it.is_empty());
    let user_name = login.and_then(|it| or_none(&it.username));
    let password = login.and_then(|it| or_none(&it.password)).map(String::into_bytes);
    [format!("user_name={user_name:?}"), format!("password={password:02x?}")]
}

fn publish(lines: &mut Lines, publish: &Publish, properties: Option<&PublishProperties>) {
    // Flags and packet identifier are private; `serialize` shows them.
    let raw = publish.serialize();
    lines.extend([
        "PUBLISH".to_owned(),
        format!("dup={} qos={} retain={}", raw[0] & 8 != 0, raw[0] >> 1 & 3, publish.retain),
        format!("topic={:?}", bytes_as_text(&publish.topic)),
        format!("packet_id={}", u16::from_be_bytes([raw[1], raw[2]])),
        format!("payload={:02x?}", &publish.payload[..]),
    ]);
    let Some(properties) = properties else { return };
    let mut out = PropertyLines::new(lines, "");
    out.optional_number("PayloadFormatIndicator", properties.payload_format_indicator);
    out.optional_number("MessageExpiryInterval", properties.message_expiry_interval);
    out.optional_number("TopicAlias", properties.topic_alias);
    out.optional_text("ResponseTopic", properties.response_topic.as_ref());
    out.optional_binary("CorrelationData", properties.correlation_data.as_ref());
    out.user_properties(&properties.user_properties);
    for &identifier in &properties.subscription_identifiers {
        out.subscription_identifier(identifier as u64);
    }
    out.optional_text("ContentType", properties.content_type.as_ref());
}

fn connack_properties(lines: &mut Lines, properties: &ConnAckProperties) {
    let mut out = PropertyLines::new(lines, "");
    out.optional_number("SessionExpiryInterval", properties.session_expiry_interval);
    out.optional_number("ReceiveMaximum", properties.receive_max);
    out.optional_text("ReasonString", properties.reason_string.as_ref());
    out.user_properties(&properties.user_properties);
}

/// Reason String and User Properties.
type AckProperties<'p> = (&'p Option<String>, &'p [(String, String)]);

fn ack(lines: &mut Lines, kind: &str, packet_id: u16, reason: &str, properties: Option<AckProperties<'_>>) {
    lines.extend([kind.to_owned(), format!("packet_id={packet_id}"), code(reason)]);
    reason_string_and_user_properties(lines, properties);
}

fn reason_string_and_user_properties(lines: &mut Lines, properties: Option<AckProperties<'_>>) {
    if let Some((reason_string, user_properties)) = properties {
        let mut out = PropertyLines::new(lines, "");
        out.optional_text("ReasonString", reason_string.as_ref());
        out.user_properties(user_properties);
    }
}

macro_rules! ack_properties {
    ($properties:expr) => {
        $properties.as_ref().map(|it| (&it.reason_string, &it.user_properties[..]))
    };
}

fn granted(reason: SubscribeReasonCode) -> String {
    match reason {
        SubscribeReasonCode::QoS0 => "granted=0".to_owned(),
        SubscribeReasonCode::QoS1 => "granted=1".to_owned(),
        SubscribeReasonCode::QoS2 => "granted=2".to_owned(),
        SubscribeReasonCode::Success(qos) => format!("granted={}", qos as u8),
        SubscribeReasonCode::Unspecified => code("unspecified error"),
        SubscribeReasonCode::ImplementationSpecific => code("implementation specific error"),
        SubscribeReasonCode::PkidInUse => code("packet identifier in use"),
        SubscribeReasonCode::SubscriptionIdNotSupported => code("subscription identifiers not supported"),
        other => code(&format!("{other:?}")),
    }
}

/// A name of a code that is written otherwise in the standard.
fn standard_name(name: &str) -> &str {
    match name {
        "BadUserNamePassword" => "Bad User Name or Password",
        "RefusedProtocolVersion" => "Unsupported Protocol Version",
        "ServiceUnavailable" => "Server unavailable",
        "SharedSubscriptionNotSupported" => "Shared Subscriptions not supported",
        other => other,
    }
}

fn describe(packet: Packet) -> Lines {
    let mut lines = Vec::new();
    match packet {
        Packet::Connect(connect, properties, last_will, will_properties, credentials) => {
            lines.extend([
                "CONNECT".to_owned(),
                format!("clean_start={}", connect.clean_session),
                format!("keep_alive_s={}", connect.keep_alive),
                format!("client_id={:?}", connect.client_id),
            ]);
            lines.extend(login(credentials.as_ref()));
            if let Some(last_will) = &last_will {
                will(&mut lines, last_will, will_properties.as_ref());
            }
            if let Some(properties) = &properties {
                connect_properties(&mut lines, properties);
            }
        }
        Packet::ConnAck(connack, properties) => {
            lines.extend([
                "CONNACK".to_owned(),
                format!("session_present={}", connack.session_present),
                code(standard_name(&format!("{:?}", connack.code))),
            ]);
            if let Some(properties) = &properties {
                connack_properties(&mut lines, properties);
            }
        }
        Packet::Publish(packet, properties) => publish(&mut lines, &packet, properties.as_ref()),
        Packet::PubAck(packet, properties) => {
            ack(
                &mut lines,
                "PUBACK",
                packet.pkid,
                &format!("{:?}", packet.reason),
                ack_properties!(properties),
            );
        }
        Packet::PubRec(packet, properties) => {
            ack(
                &mut lines,
                "PUBREC",
                packet.pkid,
                &format!("{:?}", packet.reason),
                ack_properties!(properties),
            );
        }
        Packet::PubRel(packet, properties) => {
            ack(
                &mut lines,
                "PUBREL",
                packet.pkid,
                &format!("{:?}", packet.reason),
                ack_properties!(properties),
            );
        }
        Packet::PubComp(packet, properties) => {
            ack(
                &mut lines,
                "PUBCOMP",
                packet.pkid,
                &format!("{:?}", packet.reason),
                ack_properties!(properties),
            );
        }
        Packet::Subscribe(packet, properties) => {
            lines.extend(["SUBSCRIBE".to_owned(), format!("packet_id={}", packet.pkid)]);
            lines.extend(packet.filters.iter().map(|it| {
                let retain_handling = match it.retain_forward_rule {
                    RetainForwardRule::OnEverySubscribe => 0,
                    RetainForwardRule::OnNewSubscribe => 1,
                    RetainForwardRule::Never => 2,
                };
                subscription(&it.path, it.qos as u8, it.nolocal, it.preserve_retain, retain_handling)
            }));
            if let Some(properties) = &properties {
                let mut out = PropertyLines::new(&mut lines, "");
                if let Some(identifier) = properties.id {
                    out.subscription_identifier(identifier as u64);
                }
                out.user_properties(&properties.user_properties);
            }
        }
        Packet::SubAck(packet, properties) => {
            lines.extend(["SUBACK".to_owned(), format!("packet_id={}", packet.pkid)]);
            lines.extend(packet.return_codes.iter().map(|&it| granted(it)));
            reason_string_and_user_properties(&mut lines, ack_properties!(properties));
        }
        Packet::Unsubscribe(packet, properties) => {
            lines.extend(["UNSUBSCRIBE".to_owned(), format!("packet_id={}", packet.pkid)]);
            lines.extend(packet.filters.iter().map(|filter| format!("filter={filter:?}")));
            if let Some(properties) = &properties {
                PropertyLines::new(&mut lines, "").user_properties(&properties.user_properties);
            }
        }
        Packet::UnsubAck(packet, properties) => {
            lines.extend(["UNSUBACK".to_owned(), format!("packet_id={}", packet.pkid)]);
            lines.extend(packet.reasons.iter().map(|it| code(&format!("{it:?}"))));
            reason_string_and_user_properties(&mut lines, ack_properties!(properties));
        }
        Packet::PingReq(_) => lines.push("PINGREQ".to_owned()),
        Packet::PingResp(_) => lines.push("PINGRESP".to_owned()),
        Packet::Disconnect(packet, properties) => {
            let name = format!("{:?}", packet.reason_code);
            lines.extend(["DISCONNECT".to_owned(), code(standard_name(&name))]);
            if let Some(properties) = &properties {
                let mut out = PropertyLines::new(&mut lines, "");
                out.optional_number("SessionExpiryInterval", properties.session_expiry_interval);
                out.optional_text("ReasonString", properties.reason_string.as_ref());
                out.user_properties(&properties.user_properties);
                out.optional_text("ServerReference", properties.server_reference.as_ref());
            }
        }
    }
    lines
}
