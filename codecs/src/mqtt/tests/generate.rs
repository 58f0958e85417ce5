//! Random legal packets of both versions. The differential tests of the `tests` crate use this file too, so it knows the
//! codec only through `super::api`, its public face.
//!
//! Strings are leaked: the packets borrow, and a test process is short.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::api::{
    Ack, Auth, ConnAck, Connect, Disconnect, EncodeError, Packet, PacketId, PacketType, Properties,
    PropertiesBuffer, Property, PropertyOwner, ProtocolVersion, Publish, QoS, ReasonCode, RetainHandling,
    Subscription, SubscriptionOptions, Will, encode_packet, encode_suback, encode_subscribe, encode_unsuback,
    encode_unsubscribe,
};

/// A packet as it goes into the encoder.
#[derive(Debug, Clone)]
pub(crate) enum Model {
    Packet(Packet<'static>),
    Subscribe(PacketId, Vec<Subscription<'static>>, Properties<'static>),
    SubAck(PacketId, Vec<ReasonCode>, Properties<'static>),
    Unsubscribe(PacketId, Vec<&'static str>, Properties<'static>),
    UnsubAck(PacketId, Vec<ReasonCode>, Properties<'static>),
}

impl Model {
    pub(crate) fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Packet(packet) => encode_packet(out, version, packet),
            Self::Subscribe(id, list, properties) => {
                encode_subscribe(out, version, *id, list.iter().copied(), *properties)
            }
            Self::SubAck(id, codes, properties) => {
                encode_suback(out, version, *id, codes.iter().copied(), *properties)
            }
            Self::Unsubscribe(id, filters, properties) => {
                encode_unsubscribe(out, version, *id, filters.iter().copied(), *properties)
            }
            Self::UnsubAck(id, codes, properties) => {
                encode_unsuback(out, version, *id, codes.iter().copied(), *properties)
            }
        }
    }
}

fn leak(text: String) -> &'static str {
    text.leak()
}

/// Characters of every encoded length, the byte order mark among them; no U+0000.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        8 => proptest::char::range('!', '~'),
        1 => select(vec!['\u{feff}', 'é', 'ộ', '漢', '😀', '\u{1}', '\u{7f}', '\u{ffff}', '\u{10ffff}', ' ']),
        1 => any::<char>().prop_filter("U+0000 is not legal", |&character| character != '\0'),
    ]
}

pub(crate) fn text() -> impl Strategy<Value = &'static str> {
    vec(character(), 0..12).prop_map(|characters| leak(characters.into_iter().collect()))
}

/// Text without `/`, `+` and `#`.
fn level() -> impl Strategy<Value = String> {
    vec(character(), 0..6)
        .prop_map(|characters| characters.into_iter().filter(|it| !matches!(it, '/' | '+' | '#')).collect())
}

pub(crate) fn topic_name() -> impl Strategy<Value = &'static str> {
    vec(level(), 1..5).prop_map(|levels| {
        let name = levels.join("/");
        if name.is_empty() { "/" } else { leak(name) }
    })
}

/// A legal filter; never a shared one.
pub(crate) fn filter() -> impl Strategy<Value = &'static str> {
    let level = prop_oneof![3 => level(), 1 => Just("+".to_owned())];
    (vec(level, 1..5), any::<bool>()).prop_map(|(mut levels, multi_level)| {
        if multi_level {
            levels.push("#".to_owned());
        }
        let filter = levels.join("/");
        if filter.is_empty() { "/" } else { leak(filter) }
    })
}

fn shared_filter() -> impl Strategy<Value = &'static str> {
    ("[a-z]{1,5}", filter()).prop_map(|(share_name, filter)| leak(format!("$share/{share_name}/{filter}")))
}

fn binary() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        1 => vec(any::<u8>(), 100..300),
    ]
    .prop_map(|bytes| &*bytes.leak())
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_filter_map("never zero", PacketId::new)
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

/// Any property; whether its packet may have it is seen when it is pushed.
fn property() -> impl Strategy<Value = Property<'static>> {
    prop_oneof![
        any::<bool>().prop_map(Property::PayloadFormatIndicator),
        any::<u32>().prop_map(Property::MessageExpiryInterval),
        text().prop_map(Property::ContentType),
        topic_name().prop_map(Property::ResponseTopic),
        binary().prop_map(Property::CorrelationData),
        prop_oneof![1..=200u32, 1..=268_435_455u32].prop_map(Property::SubscriptionIdentifier),
        any::<u32>().prop_map(Property::SessionExpiryInterval),
        text().prop_map(Property::AssignedClientIdentifier),
        any::<u16>().prop_map(Property::ServerKeepAlive),
        text().prop_map(Property::AuthenticationMethod),
        binary().prop_map(Property::AuthenticationData),
        any::<bool>().prop_map(Property::RequestProblemInformation),
        any::<u32>().prop_map(Property::WillDelayInterval),
        any::<bool>().prop_map(Property::RequestResponseInformation),
        text().prop_map(Property::ResponseInformation),
        text().prop_map(Property::ServerReference),
        text().prop_map(Property::ReasonString),
        (1..=u16::MAX).prop_map(Property::ReceiveMaximum),
        any::<u16>().prop_map(Property::TopicAliasMaximum),
        (1..=u16::MAX).prop_map(Property::TopicAlias),
        select(vec![QoS::AtMostOnce, QoS::AtLeastOnce]).prop_map(Property::MaximumQoS),
        any::<bool>().prop_map(Property::RetainAvailable),
        (text(), text()).prop_map(|(name, value)| Property::UserProperty(name, value)),
        (1..=u32::MAX).prop_map(Property::MaximumPacketSize),
        any::<bool>().prop_map(Property::WildcardSubscriptionAvailable),
        any::<bool>().prop_map(Property::SubscriptionIdentifierAvailable),
        any::<bool>().prop_map(Property::SharedSubscriptionAvailable),
    ]
}

/// Legal properties of a packet; half of the time none, and none in 3.1.1.
pub(crate) fn properties(
    version: ProtocolVersion,
    owner: PropertyOwner,
) -> impl Strategy<Value = Properties<'static>> {
    let count_max = match version {
        ProtocolVersion::V3_1_1 => 1,
        ProtocolVersion::V5 => 40,
    };
    let list = prop_oneof![Just(Vec::new()), vec(property(), 0..count_max)];
    list.prop_map(move |list| {
        let mut buffer = PropertiesBuffer::new(owner);
        for property in list {
            // What may not stand here, or not twice, is left out.
            let _ = buffer.push(property);
        }
        let has = |wanted: fn(&Property<'_>) -> bool| buffer.as_properties().iter().any(|it| wanted(&it));
        let data = has(|it| matches!(it, Property::AuthenticationData(_)));
        let method = has(|it| matches!(it, Property::AuthenticationMethod(_)));
        if data && !method {
            buffer.push(Property::AuthenticationMethod("SCRAM")).expect("allowed wherever the data is");
        }
        let bytes = buffer.as_properties().as_bytes().to_vec().leak();
        Properties::parse(owner, bytes).expect("the buffer takes legal properties only")
    })
}

fn reason_code(version: ProtocolVersion, packet_type: PacketType) -> impl Strategy<Value = ReasonCode> {
    let codes: Vec<ReasonCode> = (0..=u8::MAX)
        .map(ReasonCode)
        .filter(|code| match (version, packet_type) {
            (ProtocolVersion::V5, _) => code.allowed_in(packet_type),
            (ProtocolVersion::V3_1_1, PacketType::ConnAck) => {
                code.connect_return_code().and_then(ReasonCode::from_connect_return_code) == Some(*code)
            }
            (ProtocolVersion::V3_1_1, PacketType::SubAck) => matches!(code.value(), 0..=2 | 0x80),
            (ProtocolVersion::V3_1_1, _) => code.value() == 0,
        })
        .collect();
    prop_oneof![Just(ReasonCode::SUCCESS), select(codes)]
}

fn connect(version: ProtocolVersion) -> impl Strategy<Value = Packet<'static>> {
    let will =
        (qos(), any::<bool>(), topic_name(), binary(), properties(version, PropertyOwner::Will)).prop_map(
            |(qos, retain, topic, payload, properties)| Will { qos, retain, topic, payload, properties },
        );
    (
        any::<bool>(),
        any::<u16>(),
        text(),
        proptest::option::of(will),
        proptest::option::of(text()),
        proptest::option::of(binary()),
        properties(version, PropertyOwner::Connect),
    )
        .prop_map(
            move |(clean_start, keep_alive_s, client_id, will, user_name, password, properties)| {
                let password = password.filter(|_| user_name.is_some() || version == ProtocolVersion::V5);
                Packet::Connect(Connect {
                    version,
                    clean_start,
                    keep_alive_s,
                    client_id,
                    will,
                    user_name,
                    password,
                    properties,
                })
            },
        )
}

fn connack(version: ProtocolVersion) -> impl Strategy<Value = Packet<'static>> {
    let reason_code = reason_code(version, PacketType::ConnAck);
    (any::<bool>(), reason_code, properties(version, PropertyOwner::ConnAck)).prop_map(
        |(session_present, reason_code, properties)| {
            let session_present = session_present && reason_code == ReasonCode::SUCCESS;
            Packet::ConnAck(ConnAck { session_present, reason_code, properties })
        },
    )
}

pub(crate) fn publish(version: ProtocolVersion) -> impl Strategy<Value = Publish<'static>> {
    let topic = match version {
        ProtocolVersion::V3_1_1 => topic_name().boxed(),
        ProtocolVersion::V5 => prop_oneof![4 => topic_name(), 1 => Just("")].boxed(),
    };
    let properties = properties(version, PropertyOwner::Publish);
    (any::<bool>(), qos(), any::<bool>(), topic, packet_id(), properties, binary()).prop_map(
        |(dup, qos, retain, topic, packet_id, properties, payload)| Publish {
            dup: dup && qos != QoS::AtMostOnce,
            qos,
            retain,
            topic,
            packet_id: Some(packet_id).filter(|_| qos != QoS::AtMostOnce),
            properties,
            payload,
        },
    )
}

fn ack(version: ProtocolVersion, packet_type: PacketType) -> impl Strategy<Value = Packet<'static>> {
    let wrap = match packet_type {
        PacketType::PubAck => Packet::PubAck,
        PacketType::PubRec => Packet::PubRec,
        PacketType::PubRel => Packet::PubRel,
        _ => Packet::PubComp,
    };
    (packet_id(), reason_code(version, packet_type), properties(version, PropertyOwner::Ack)).prop_map(
        move |(packet_id, reason_code, properties)| wrap(Ack { packet_id, reason_code, properties }),
    )
}

fn subscribe(version: ProtocolVersion) -> impl Strategy<Value = Model> {
    let retain_handling =
        select(vec![RetainHandling::AtSubscribe, RetainHandling::AtSubscribeIfNew, RetainHandling::Never]);
    let subscription = (any_filter(version), qos(), any::<bool>(), any::<bool>(), retain_handling).prop_map(
        move |(filter, qos, no_local, retain_as_published, retain_handling)| {
            let options = match version {
                ProtocolVersion::V3_1_1 => SubscriptionOptions::plain(qos),
                ProtocolVersion::V5 => SubscriptionOptions {
                    qos,
                    no_local: no_local && !filter.starts_with("$share/"),
                    retain_as_published,
                    retain_handling,
                },
            };
            Subscription { filter, options }
        },
    );
    (packet_id(), vec(subscription, 1..5), properties(version, PropertyOwner::Subscribe))
        .prop_map(|(packet_id, list, properties)| Model::Subscribe(packet_id, list, properties))
}

fn any_filter(version: ProtocolVersion) -> impl Strategy<Value = &'static str> {
    match version {
        ProtocolVersion::V3_1_1 => filter().boxed(),
        ProtocolVersion::V5 => prop_oneof![4 => filter(), 1 => shared_filter()].boxed(),
    }
}

fn suback(version: ProtocolVersion) -> impl Strategy<Value = Model> {
    let codes = vec(reason_code(version, PacketType::SubAck), 1..5);
    (packet_id(), codes, properties(version, PropertyOwner::Ack))
        .prop_map(|(packet_id, codes, properties)| Model::SubAck(packet_id, codes, properties))
}

fn unsubscribe(version: ProtocolVersion) -> impl Strategy<Value = Model> {
    (packet_id(), vec(any_filter(version), 1..5), properties(version, PropertyOwner::Unsubscribe))
        .prop_map(|(packet_id, filters, properties)| Model::Unsubscribe(packet_id, filters, properties))
}

fn unsuback(version: ProtocolVersion) -> impl Strategy<Value = Model> {
    let count = match version {
        ProtocolVersion::V3_1_1 => 0..1,
        ProtocolVersion::V5 => 1..5,
    };
    let codes = vec(reason_code(version, PacketType::UnsubAck), count);
    (packet_id(), codes, properties(version, PropertyOwner::Ack))
        .prop_map(|(packet_id, codes, properties)| Model::UnsubAck(packet_id, codes, properties))
}

fn disconnect(version: ProtocolVersion) -> impl Strategy<Value = Packet<'static>> {
    (reason_code(version, PacketType::Disconnect), properties(version, PropertyOwner::Disconnect))
        .prop_map(|(reason_code, properties)| Packet::Disconnect(Disconnect { reason_code, properties }))
}

fn auth() -> impl Strategy<Value = Packet<'static>> {
    let version = ProtocolVersion::V5;
    (reason_code(version, PacketType::Auth), properties(version, PropertyOwner::Auth))
        .prop_filter("without a method only the empty form is legal", |(reason_code, properties)| {
            properties.authentication_method().is_some()
                || (*reason_code == ReasonCode::SUCCESS && properties.is_empty())
        })
        .prop_map(|(reason_code, properties)| Packet::Auth(Auth { reason_code, properties }))
}

/// A legal packet of any type of this version.
pub(crate) fn packet(version: ProtocolVersion) -> BoxedStrategy<Model> {
    let of_both = prop_oneof![
        3 => connect(version).prop_map(Model::Packet),
        1 => connack(version).prop_map(Model::Packet),
        3 => publish(version).prop_map(|publish| Model::Packet(Packet::Publish(publish))),
        1 => ack(version, PacketType::PubAck).prop_map(Model::Packet),
        1 => ack(version, PacketType::PubRec).prop_map(Model::Packet),
        1 => ack(version, PacketType::PubRel).prop_map(Model::Packet),
        1 => ack(version, PacketType::PubComp).prop_map(Model::Packet),
        2 => subscribe(version),
        1 => suback(version),
        1 => unsubscribe(version),
        1 => unsuback(version),
        1 => select(vec![Packet::PingReq, Packet::PingResp]).prop_map(Model::Packet),
        1 => disconnect(version).prop_map(Model::Packet),
    ];
    match version {
        ProtocolVersion::V3_1_1 => of_both.boxed(),
        ProtocolVersion::V5 => prop_oneof![15 => of_both, 1 => auth().prop_map(Model::Packet)].boxed(),
    }
}

pub(crate) fn version() -> impl Strategy<Value = ProtocolVersion> {
    select(vec![ProtocolVersion::V3_1_1, ProtocolVersion::V5])
}

/// The bytes of a legal packet, with its version.
pub(crate) fn legal_bytes() -> impl Strategy<Value = (ProtocolVersion, Vec<u8>)> {
    version().prop_flat_map(|version| {
        packet(version).prop_map(move |model| {
            let mut bytes = Vec::new();
            model.encode(version, &mut bytes).expect("the generated packets are legal");
            (version, bytes)
        })
    })
}

/// One small harm to a packet.
#[derive(Debug, Clone)]
enum Mutation {
    SetByte(usize, u8),
    FlipBit(usize, u8),
    Remove(usize),
    Insert(usize, u8),
    Truncate(usize),
    Append(Vec<u8>),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let interesting =
        prop_oneof![select(vec![0u8, 1, 2, 3, 0x23, 0x2B, 0x7F, 0x80, 0xC3, 0xED, 0xFF]), any::<u8>()];
    // The first bytes hold most of the structure, so they are hit more often.
    let place = prop_oneof![0..16usize, any::<u16>().prop_map(usize::from)];
    prop_oneof![
        4 => (place.clone(), interesting.clone()).prop_map(|(place, byte)| Mutation::SetByte(place, byte)),
        4 => (place.clone(), 0..8u8).prop_map(|(place, bit)| Mutation::FlipBit(place, bit)),
        1 => place.clone().prop_map(Mutation::Remove),
        1 => (place.clone(), interesting).prop_map(|(place, byte)| Mutation::Insert(place, byte)),
        1 => place.prop_map(Mutation::Truncate),
        1 => vec(any::<u8>(), 1..4).prop_map(Mutation::Append),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: Mutation) {
    let length = bytes.len().max(1);
    match mutation {
        Mutation::SetByte(place, byte) => {
            bytes.iter_mut().skip(place % length).take(1).for_each(|it| *it = byte)
        }
        Mutation::FlipBit(place, bit) => {
            bytes.iter_mut().skip(place % length).take(1).for_each(|it| *it ^= 1 << bit);
        }
        Mutation::Remove(place) => {
            if !bytes.is_empty() {
                bytes.remove(place % length);
            }
        }
        Mutation::Insert(place, byte) => bytes.insert(place % length, byte),
        Mutation::Truncate(place) => bytes.truncate(place % length),
        Mutation::Append(more) => bytes.extend(more),
    }
}

/// Writes the Remaining Length anew, so that a harmed body is still one frame.
fn mend_length(bytes: &mut Vec<u8>) {
    let Some(&first_byte) = bytes.first() else { return };
    let old_length = 1 + bytes[1..].iter().take(3).take_while(|&&byte| byte & 0x80 != 0).count();
    let body = bytes.split_off((1 + old_length).min(bytes.len()));
    bytes.clear();
    bytes.push(first_byte);
    let mut length = body.len();
    while length > 0x7F {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(body);
}

/// A legal packet with a few harms, mostly still framed rightly; some come out legal.
pub(crate) fn mutated_bytes() -> impl Strategy<Value = (ProtocolVersion, Vec<u8>)> {
    (legal_bytes(), vec(mutation(), 1..4), proptest::bool::weighted(0.8)).prop_map(
        |((version, mut bytes), mutations, mend)| {
            for mutation in mutations {
                mutate(&mut bytes, mutation);
            }
            if mend {
                mend_length(&mut bytes);
            }
            (version, bytes)
        },
    )
}
