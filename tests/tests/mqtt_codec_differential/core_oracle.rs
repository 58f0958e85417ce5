//! `mqtt-protocol-core`: its packets' `parse` functions, which take what follows the fixed header.

use std::panic::catch_unwind;
use std::sync::Arc;

use codecs::mqtt::ProtocolVersion;
use mqtt_protocol_core::mqtt::packet::{Properties, Property, Qos, SubEntry, v3_1_1, v5_0};

use crate::ours::{Lines, PropertyLines, code, subscription};

/// What the oracle makes of one frame with a sound header. A panic counts as a refusal.
pub(crate) fn decode(frame: &[u8], version: ProtocolVersion) -> Result<Lines, String> {
    let header_len = 1 + frame[1..].iter().take_while(|&&byte| byte & 0x80 != 0).count() + 1;
    let body = &frame[header_len..];
    let (lines, consumed) = catch_unwind(|| match version {
        ProtocolVersion::V3_1_1 => decode_3_1_1(frame[0], body),
        ProtocolVersion::V5 => decode_5(frame[0], body),
    })
    .map_err(|_| "panic".to_owned())??;
    // `parse` leaves it to its caller to see that nothing is left over.
    if consumed == body.len() { Ok(lines) } else { Err(format!("{} bytes left over", body.len() - consumed)) }
}

type Parsed = Result<(Lines, usize), String>;

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

fn properties(lines: &mut Lines, prefix: &'static str, properties: &Properties) {
    let mut out = PropertyLines::new(lines, prefix);
    for property in properties {
        match property {
            Property::PayloadFormatIndicator(it) => out.number("PayloadFormatIndicator", it.val()),
            Property::MessageExpiryInterval(it) => out.number("MessageExpiryInterval", it.val()),
            Property::ContentType(it) => out.text("ContentType", it.val()),
            Property::ResponseTopic(it) => out.text("ResponseTopic", it.val()),
            Property::CorrelationData(it) => out.binary("CorrelationData", it.val()),
            Property::SubscriptionIdentifier(it) => out.subscription_identifier(it.val()),
            Property::SessionExpiryInterval(it) => out.number("SessionExpiryInterval", it.val()),
            Property::AssignedClientIdentifier(it) => out.text("AssignedClientIdentifier", it.val()),
            Property::ServerKeepAlive(it) => out.number("ServerKeepAlive", it.val()),
            Property::AuthenticationMethod(it) => out.text("AuthenticationMethod", it.val()),
            Property::AuthenticationData(it) => out.binary("AuthenticationData", it.val()),
            Property::RequestProblemInformation(it) => out.number("RequestProblemInformation", it.val()),
            Property::WillDelayInterval(it) => out.number("WillDelayInterval", it.val()),
            Property::RequestResponseInformation(it) => out.number("RequestResponseInformation", it.val()),
            Property::ResponseInformation(it) => out.text("ResponseInformation", it.val()),
            Property::ServerReference(it) => out.text("ServerReference", it.val()),
            Property::ReasonString(it) => out.text("ReasonString", it.val()),
            Property::ReceiveMaximum(it) => out.number("ReceiveMaximum", it.val()),
            Property::TopicAliasMaximum(it) => out.number("TopicAliasMaximum", it.val()),
            Property::TopicAlias(it) => out.number("TopicAlias", it.val()),
            Property::MaximumQos(it) => out.number("MaximumQoS", it.val()),
            Property::RetainAvailable(it) => out.number("RetainAvailable", it.val()),
            Property::UserProperty(it) => out.user_property(it.key(), it.val()),
            Property::MaximumPacketSize(it) => out.number("MaximumPacketSize", it.val()),
            Property::WildcardSubscriptionAvailable(it) => {
                out.number("WildcardSubscriptionAvailable", it.val());
            }
            Property::SubscriptionIdentifierAvailable(it) => {
                out.number("SubscriptionIdentifierAvailable", it.val());
            }
            Property::SharedSubscriptionAvailable(it) => out.number("SharedSubscriptionAvailable", it.val()),
        }
    }
}

fn qos(qos: Qos) -> u8 {
    match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    }
}

fn entries(lines: &mut Lines, entries: &[SubEntry]) {
    for entry in entries {
        let options = entry.sub_opts();
        let (qos, retain_handling) = (qos(options.qos()), options.rh() as u8);
        lines.push(subscription(entry.topic_filter(), qos, options.nl(), options.rap(), retain_handling));
    }
}

/// The code of a SUBACK: the oracle's names of the granted QoS differ from the standard's.
fn granted(name: &str) -> String {
    match name {
        "SuccessMaximumQos0" | "GrantedQos0" => "granted=0".to_owned(),
        "SuccessMaximumQos1" | "GrantedQos1" => "granted=1".to_owned(),
        "SuccessMaximumQos2" | "GrantedQos2" => "granted=2".to_owned(),
        other => code(other),
    }
}

/// The CONNACK codes of 3.1.1 in the words of 5.0.
fn return_code(name: &str) -> String {
    code(match name {
        "Accepted" => "Success",
        "UnacceptableProtocolVersion" => "Unsupported Protocol Version",
        "IdentifierRejected" => "Client Identifier not valid",
        "BadUserNameOrPassword" => "Bad User Name or Password",
        other => other,
    })
}

/// The fields that CONNECT has in both versions.
macro_rules! connect_lines {
    ($packet:expr) => {{
        let mut lines = vec![
            "CONNECT".to_owned(),
            format!("clean_start={}", $packet.clean_start()),
            format!("keep_alive_s={}", $packet.keep_alive()),
            format!("client_id={:?}", $packet.client_id()),
            format!("user_name={:?}", $packet.user_name()),
            format!("password={:02x?}", $packet.password()),
        ];
        if $packet.will_flag() {
            lines.push(format!(
                "will qos={} retain={} topic={:?}",
                qos($packet.will_qos()),
                $packet.will_retain(),
                $packet.will_topic().unwrap_or_default()
            ));
            lines.push(format!("will payload={:02x?}", $packet.will_payload().unwrap_or_default()));
        }
        lines
    }};
}

macro_rules! publish_lines {
    ($packet:expr) => {
        vec![
            "PUBLISH".to_owned(),
            format!("dup={} qos={} retain={}", $packet.dup(), qos($packet.qos()), $packet.retain()),
            format!("topic={:?}", $packet.topic_name()),
            format!("packet_id={}", $packet.packet_id().unwrap_or(0)),
            format!("payload={:02x?}", $packet.payload().as_slice()),
        ]
    };
}

macro_rules! unsubscribe_lines {
    ($packet:expr) => {{
        let mut lines = head("UNSUBSCRIBE", $packet.packet_id());
        lines.extend($packet.entries().iter().map(|filter| format!("filter={:?}", filter.as_str())));
        lines
    }};
}

fn head(kind: &str, packet_id: u16) -> Lines {
    vec![kind.to_owned(), format!("packet_id={packet_id}")]
}

fn decode_3_1_1(first_byte: u8, body: &[u8]) -> Parsed {
    let plain_ack = |kind, packet_id| [head(kind, packet_id), vec![code("success")]].concat();
    Ok(match first_byte >> 4 {
        1 => {
            let (packet, consumed) = v3_1_1::Connect::parse(body).map_err(text)?;
            (connect_lines!(packet), consumed)
        }
        2 => {
            let (packet, consumed) = v3_1_1::Connack::parse(body).map_err(text)?;
            let session_present = format!("session_present={}", packet.session_present());
            let name = format!("{:?}", packet.return_code());
            (vec!["CONNACK".to_owned(), session_present, return_code(&name)], consumed)
        }
        3 => {
            let (packet, consumed) =
                v3_1_1::Publish::parse(first_byte & 0xF, Arc::from(body)).map_err(text)?;
            (publish_lines!(packet), consumed)
        }
        4 => v3_1_1::Puback::parse(body)
            .map(|(it, n)| (plain_ack("PUBACK", it.packet_id()), n))
            .map_err(text)?,
        5 => v3_1_1::Pubrec::parse(body)
            .map(|(it, n)| (plain_ack("PUBREC", it.packet_id()), n))
            .map_err(text)?,
        6 => v3_1_1::Pubrel::parse(body)
            .map(|(it, n)| (plain_ack("PUBREL", it.packet_id()), n))
            .map_err(text)?,
        7 => v3_1_1::Pubcomp::parse(body)
            .map(|(it, n)| (plain_ack("PUBCOMP", it.packet_id()), n))
            .map_err(text)?,
        8 => {
            let (packet, consumed) = v3_1_1::Subscribe::parse(body).map_err(text)?;
            let mut lines = head("SUBSCRIBE", packet.packet_id());
            entries(&mut lines, packet.entries());
            (lines, consumed)
        }
        9 => {
            let (packet, consumed) = v3_1_1::Suback::parse(body).map_err(text)?;
            let mut lines = head("SUBACK", packet.packet_id());
            lines.extend(packet.return_codes().iter().map(|it| granted(&format!("{it:?}"))));
            (lines, consumed)
        }
        10 => {
            let (packet, consumed) = v3_1_1::Unsubscribe::parse(body).map_err(text)?;
            (unsubscribe_lines!(packet), consumed)
        }
        11 => v3_1_1::Unsuback::parse(body)
            .map(|(it, n)| (head("UNSUBACK", it.packet_id()), n))
            .map_err(text)?,
        12 => v3_1_1::Pingreq::parse(body).map(|(_, n)| (vec!["PINGREQ".to_owned()], n)).map_err(text)?,
        13 => v3_1_1::Pingresp::parse(body).map(|(_, n)| (vec!["PINGRESP".to_owned()], n)).map_err(text)?,
        14 => v3_1_1::Disconnect::parse(body)
            .map(|(_, n)| (vec!["DISCONNECT".to_owned(), code("normaldisconnection")], n))
            .map_err(text)?,
        other => return Err(format!("no packet type {other} in 3.1.1")),
    })
}

macro_rules! ack_5 {
    ($kind:literal, $packet:ident, $body:expr) => {{
        let (packet, consumed) = v5_0::$packet::parse($body).map_err(text)?;
        let mut lines = head($kind, packet.packet_id());
        lines.push(packet.reason_code().map_or(code("success"), |it| code(&format!("{it:?}"))));
        if let Some(list) = &packet.props {
            properties(&mut lines, "", list);
        }
        (lines, consumed)
    }};
}

fn decode_5(first_byte: u8, body: &[u8]) -> Parsed {
    Ok(match first_byte >> 4 {
        1 => {
            let (packet, consumed) = v5_0::Connect::parse(body).map_err(text)?;
            let mut lines = connect_lines!(packet);
            properties(&mut lines, "will.", &packet.will_props);
            properties(&mut lines, "", &packet.props);
            (lines, consumed)
        }
        2 => {
            let (packet, consumed) = v5_0::Connack::parse(body).map_err(text)?;
            let session_present = format!("session_present={}", packet.session_present());
            let mut lines =
                vec!["CONNACK".to_owned(), session_present, code(&format!("{:?}", packet.reason_code()))];
            properties(&mut lines, "", &packet.props);
            (lines, consumed)
        }
        3 => {
            let (packet, consumed) = v5_0::Publish::parse(first_byte & 0xF, Arc::from(body)).map_err(text)?;
            let mut lines = publish_lines!(packet);
            properties(&mut lines, "", &packet.props);
            (lines, consumed)
        }
        4 => ack_5!("PUBACK", Puback, body),
        5 => ack_5!("PUBREC", Pubrec, body),
        6 => ack_5!("PUBREL", Pubrel, body),
        7 => ack_5!("PUBCOMP", Pubcomp, body),
        8 => {
            let (packet, consumed) = v5_0::Subscribe::parse(body).map_err(text)?;
            let mut lines = head("SUBSCRIBE", packet.packet_id());
            entries(&mut lines, packet.entries());
            properties(&mut lines, "", &packet.props);
            (lines, consumed)
        }
        9 => {
            let (packet, consumed) = v5_0::Suback::parse(body).map_err(text)?;
            let mut lines = head("SUBACK", packet.packet_id());
            lines.extend(packet.reason_codes().iter().map(|it| granted(&format!("{it:?}"))));
            properties(&mut lines, "", &packet.props);
            (lines, consumed)
        }
        10 => {
            let (packet, consumed) = v5_0::Unsubscribe::parse(body).map_err(text)?;
            let mut lines = unsubscribe_lines!(packet);
            properties(&mut lines, "", &packet.props);
            (lines, consumed)
        }
        11 => {
            let (packet, consumed) = v5_0::Unsuback::parse(body).map_err(text)?;
            let mut lines = head("UNSUBACK", packet.packet_id());
            lines.extend(packet.reason_codes().iter().map(|it| code(&format!("{it:?}"))));
            properties(&mut lines, "", &packet.props);
            (lines, consumed)
        }
        12 => v5_0::Pingreq::parse(body).map(|(_, n)| (vec!["PINGREQ".to_owned()], n)).map_err(text)?,
        13 => v5_0::Pingresp::parse(body).map(|(_, n)| (vec!["PINGRESP".to_owned()], n)).map_err(text)?,
        14 => {
            let (packet, consumed) = v5_0::Disconnect::parse(body).map_err(text)?;
            let name = packet.reason_code().map_or("NormalDisconnection".to_owned(), |it| format!("{it:?}"));
            let mut lines = vec!["DISCONNECT".to_owned(), code(&name)];
            if let Some(list) = &packet.props {
                properties(&mut lines, "", list);
            }
            (lines, consumed)
        }
        15 => {
            let (packet, consumed) = v5_0::Auth::parse(body).map_err(text)?;
            let mut lines = vec!["AUTH".to_owned()];
            lines.push(packet.reason_code().map_or(code("success"), |it| code(&format!("{it:?}"))));
            if let Some(list) = &packet.props {
                properties(&mut lines, "", list);
            }
            (lines, consumed)
        }
        other => return Err(format!("no packet type {other} in 5.0")),
    })
}
