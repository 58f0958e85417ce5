//! Packets as lines of text, the common tongue in which the codecs are compared. One line per field; properties are
//! `Name=value`, those of a will have `will.` in front, repeated ones are numbered so that their order counts.

use codecs::mqtt::{Ack, Packet, Properties, Property, ProtocolVersion, ReasonCode};

pub(crate) type Lines = Vec<String>;

/// Makes property lines; both oracles use it too, so that only names and values have to agree.
#[derive(Debug)]
pub(crate) struct PropertyLines<'l> {
    lines: &'l mut Lines,
    prefix: &'static str,
    user_properties: usize,
    subscription_identifiers: usize,
}

impl<'l> PropertyLines<'l> {
    pub(crate) fn new(lines: &'l mut Lines, prefix: &'static str) -> Self {
        Self { lines, prefix, user_properties: 0, subscription_identifiers: 0 }
    }

    pub(crate) fn number(&mut self, name: &str, value: impl Into<u64>) {
        self.lines.push(format!("{}{name}={}", self.prefix, value.into()));
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.lines.push(format!("{}{name}={value:?}", self.prefix));
    }

    pub(crate) fn binary(&mut self, name: &str, value: &[u8]) {
        self.lines.push(format!("{}{name}={value:02x?}", self.prefix));
    }

    pub(crate) fn subscription_identifier(&mut self, value: impl Into<u64>) {
        let index = self.subscription_identifiers;
        self.number(&format!("SubscriptionIdentifier[{index}]"), value);
        self.subscription_identifiers += 1;
    }

    pub(crate) fn user_property(&mut self, name: &str, value: &str) {
        self.text(&format!("UserProperty[{}] {name:?}", self.user_properties), value);
        self.user_properties += 1;
    }
}

/// A reason code by its name in lower case letters and digits only.
pub(crate) fn code(name: &str) -> String {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("code={}", name.to_ascii_lowercase())
}

fn our_code(reason_code: ReasonCode) -> String {
    code(reason_code.name())
}

fn properties(lines: &mut Lines, prefix: &'static str, properties: Properties<'_>) {
    let mut out = PropertyLines::new(lines, prefix);
    for property in properties {
        let name = format!("{:?}", property.id());
        match property {
            Property::PayloadFormatIndicator(value)
            | Property::RequestProblemInformation(value)
            | Property::RequestResponseInformation(value)
            | Property::RetainAvailable(value)
            | Property::WildcardSubscriptionAvailable(value)
            | Property::SubscriptionIdentifierAvailable(value)
            | Property::SharedSubscriptionAvailable(value) => out.number(&name, value),
            Property::MaximumQoS(value) => out.number(&name, value.bits()),
            Property::ServerKeepAlive(value)
            | Property::ReceiveMaximum(value)
            | Property::TopicAliasMaximum(value)
            | Property::TopicAlias(value) => out.number(&name, value),
            Property::MessageExpiryInterval(value)
            | Property::SessionExpiryInterval(value)
            | Property::WillDelayInterval(value)
            | Property::MaximumPacketSize(value) => out.number(&name, value),
            Property::SubscriptionIdentifier(value) => out.subscription_identifier(value),
            Property::ContentType(value)
            | Property::ResponseTopic(value)
            | Property::AssignedClientIdentifier(value)
            | Property::AuthenticationMethod(value)
            | Property::ResponseInformation(value)
            | Property::ServerReference(value)
            | Property::ReasonString(value) => out.text(&name, value),
            Property::CorrelationData(value) | Property::AuthenticationData(value) => {
                out.binary(&name, value);
            }
            Property::UserProperty(name, value) => out.user_property(name, value),
        }
    }
}

fn ack(lines: &mut Lines, kind: &str, ack: &Ack<'_>) {
    lines.push(kind.to_owned());
    lines.push(format!("packet_id={}", ack.packet_id));
    lines.push(our_code(ack.reason_code));
    properties(lines, "", ack.properties);
}

pub(crate) fn describe(packet: &Packet<'_>, version: ProtocolVersion) -> Lines {
    let mut lines = Vec::new();
    match packet {
        Packet::Connect(connect) => {
            lines.extend([
                "CONNECT".to_owned(),
                format!("clean_start={}", connect.clean_start),
                format!("keep_alive_s={}", connect.keep_alive_s),
                format!("client_id={:?}", connect.client_id),
                format!("user_name={:?}", connect.user_name),
                format!("password={:02x?}", connect.password),
            ]);
            if let Some(will) = connect.will {
                lines.push(format!(
                    "will qos={} retain={} topic={:?}",
                    will.qos.bits(),
                    will.retain,
                    will.topic
                ));
                lines.push(format!("will payload={:02x?}", will.payload));
                properties(&mut lines, "will.", will.properties);
            }
            properties(&mut lines, "", connect.properties);
        }
        Packet::ConnAck(connack) => {
            lines.extend([
                "CONNACK".to_owned(),
                format!("session_present={}", connack.session_present),
                our_code(connack.reason_code),
            ]);
            properties(&mut lines, "", connack.properties);
        }
        Packet::Publish(publish) => {
            lines.extend([
                "PUBLISH".to_owned(),
                format!("dup={} qos={} retain={}", publish.dup, publish.qos.bits(), publish.retain),
                format!("topic={:?}", publish.topic),
                format!("packet_id={}", publish.packet_id.map_or(0, |id| id.get())),
                format!("payload={:02x?}", publish.payload),
            ]);
            properties(&mut lines, "", publish.properties);
        }
        Packet::PubAck(it) => ack(&mut lines, "PUBACK", it),
        Packet::PubRec(it) => ack(&mut lines, "PUBREC", it),
        Packet::PubRel(it) => ack(&mut lines, "PUBREL", it),
        Packet::PubComp(it) => ack(&mut lines, "PUBCOMP", it),
        Packet::Subscribe(subscribe) => {
            lines.push("SUBSCRIBE".to_owned());
            lines.push(format!("packet_id={}", subscribe.packet_id));
            for it in subscribe.subscriptions() {
                lines.push(subscription(
                    it.filter,
                    it.options.qos.bits(),
                    it.options.no_local,
                    it.options.retain_as_published,
                    it.options.retain_handling as u8,
                ));
            }
            properties(&mut lines, "", subscribe.properties);
        }
        Packet::SubAck(suback) => {
            lines.push("SUBACK".to_owned());
            lines.push(format!("packet_id={}", suback.packet_id));
            lines.extend(suback.reason_codes().map(|it| granted(it, version)));
            properties(&mut lines, "", suback.properties);
        }
        Packet::Unsubscribe(unsubscribe) => {
            lines.push("UNSUBSCRIBE".to_owned());
            lines.push(format!("packet_id={}", unsubscribe.packet_id));
            lines.extend(unsubscribe.filters().map(|filter| format!("filter={filter:?}")));
            properties(&mut lines, "", unsubscribe.properties);
        }
        Packet::UnsubAck(unsuback) => {
            lines.push("UNSUBACK".to_owned());
            lines.push(format!("packet_id={}", unsuback.packet_id));
            lines.extend(unsuback.reason_codes().map(our_code));
            properties(&mut lines, "", unsuback.properties);
        }
        Packet::PingReq => lines.push("PINGREQ".to_owned()),
        Packet::PingResp => lines.push("PINGRESP".to_owned()),
        Packet::Disconnect(disconnect) => {
            lines.push("DISCONNECT".to_owned());
            lines.push(match disconnect.reason_code {
                ReasonCode::NORMAL_DISCONNECTION => code("Normal disconnection"),
                other => our_code(other),
            });
            properties(&mut lines, "", disconnect.properties);
        }
        Packet::Auth(auth) => {
            lines.push("AUTH".to_owned());
            lines.push(our_code(auth.reason_code));
            properties(&mut lines, "", auth.properties);
        }
    }
    lines
}

pub(crate) fn subscription(
    filter: &str,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
) -> String {
    format!(
        "filter={filter:?} qos={qos} no_local={no_local} retain_as_published={retain_as_published} \
         retain_handling={retain_handling}"
    )
}

fn granted(reason_code: ReasonCode, version: ProtocolVersion) -> String {
    match (reason_code, version) {
        (ReasonCode(qos @ 0..=2), _) => format!("granted={qos}"),
        (_, ProtocolVersion::V3_1_1) => code("failure"),
        (other, ProtocolVersion::V5) => our_code(other),
    }
}
