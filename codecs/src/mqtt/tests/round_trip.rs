//! Encoding and decoding are inverse, for every packet of both versions (A1-2).

use proptest::prelude::*;

use super::api::*;
use super::generate::{self, Model};

/// Whether a decoded packet says the same.
fn says_the_same(model: &Model, packet: &Packet<'_>) -> bool {
    match (model, packet) {
        (Model::Packet(expected), packet) => expected == packet,
        (Model::Subscribe(id, list, properties), Packet::Subscribe(packet)) => {
            packet.packet_id == *id
                && packet.properties == *properties
                && packet.subscriptions().eq(list.iter().copied())
        }
        (Model::SubAck(id, codes, properties), Packet::SubAck(packet)) => {
            packet.packet_id == *id
                && packet.properties == *properties
                && packet.reason_codes().eq(codes.iter().copied())
        }
        (Model::Unsubscribe(id, filters, properties), Packet::Unsubscribe(packet)) => {
            packet.packet_id == *id
                && packet.properties == *properties
                && packet.filters().eq(filters.iter().copied())
        }
        (Model::UnsubAck(id, codes, properties), Packet::UnsubAck(packet)) => {
            packet.packet_id == *id
                && packet.properties == *properties
                && packet.reason_codes().eq(codes.iter().copied())
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn encode_then_decode_gives_the_packet(
        (version, model) in generate::version().prop_flat_map(|it| (Just(it), generate::packet(it)))
    ) {
        // What stood in the buffer before stays.
        let mut out = b"before".to_vec();
        model.encode(version, &mut out).expect("the generated packets are legal");
        let bytes = out.split_off(b"before".len());
        prop_assert_eq!(&out, b"before");
        prop_assert_eq!(frame_len(&bytes, bytes.len()), Ok(Some(bytes.len())));
        let packet = decode(&bytes, version).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(says_the_same(&model, &packet), "{:?} became {:?}", model, packet);
        // And back: the encoder has one way to write each packet.
        let mut again = Vec::new();
        encode_packet(&mut again, version, &packet).expect("it was decoded");
        prop_assert_eq!(again, bytes);
    }

    /// A frame may come byte by byte.
    #[test]
    fn every_prefix_of_every_packet_is_incomplete((_, bytes) in generate::legal_bytes()) {
        for end in 0..bytes.len() {
            prop_assert_eq!(frame_len(&bytes[..end], bytes.len()), Ok(None));
        }
        prop_assert_eq!(frame_len(&bytes, bytes.len()), Ok(Some(bytes.len())));
        let limit = frame_len(&bytes, bytes.len() - 1).map_err(|error| error.rule());
        prop_assert_eq!(limit, Err(Rule::PacketTooLarge));
    }

    #[test]
    fn what_follows_a_packet_does_not_matter(
        (_, mut bytes) in generate::legal_bytes(),
        more in proptest::collection::vec(any::<u8>(), 0..20)
    ) {
        let length = bytes.len();
        bytes.extend(more);
        prop_assert_eq!(frame_len(&bytes, bytes.len()), Ok(Some(length)));
    }

    /// What a server forwards: everything the publisher said, in its order, but the terms of its own hop.
    #[test]
    fn a_delivery_carries_the_message_and_its_own_terms(
        publish in generate::publish(ProtocolVersion::V5),
        message_expiry_interval_s in proptest::option::of(any::<u32>()),
        topic_alias in proptest::option::of(1..=u16::MAX),
        identifiers in proptest::collection::vec(1..=268_435_455u32, 0..4),
    ) {
        let delivery =
            Delivery { publish, message_expiry_interval_s, topic_alias, subscription_identifiers: &identifiers };
        let mut out = Vec::new();
        encode_delivery(&mut out, ProtocolVersion::V5, &delivery).expect("legal");
        let Ok(Packet::Publish(received)) = decode(&out, ProtocolVersion::V5) else {
            return Err(TestCaseError::fail("not a PUBLISH"));
        };
        prop_assert_eq!(Publish { properties: Properties::EMPTY, ..received }, Publish { properties: Properties::EMPTY, ..publish });
        prop_assert_eq!(received.properties.message_expiry_interval_s(), message_expiry_interval_s);
        prop_assert_eq!(received.properties.topic_alias(), topic_alias);
        prop_assert_eq!(received.properties.subscription_identifiers().collect::<Vec<_>>(), identifiers.clone());
        let own = |id| matches!(id, PropertyId::MessageExpiryInterval | PropertyId::TopicAlias | PropertyId::SubscriptionIdentifier);
        let sent: Vec<_> = publish.properties.iter().filter(|it| !own(it.id())).collect();
        let got: Vec<_> = received.properties.iter().filter(|it| !own(it.id())).collect();
        prop_assert_eq!(sent, got);
        // A 3.1.1 subscriber gets the message without properties.
        out.clear();
        if !publish.topic.is_empty() {
            encode_delivery(&mut out, ProtocolVersion::V3_1_1, &delivery).expect("legal");
            let expected = Publish { properties: Properties::EMPTY, ..publish };
            prop_assert_eq!(decode(&out, ProtocolVersion::V3_1_1), Ok(Packet::Publish(expected)));
        }
    }
}

#[test]
fn remaining_lengths_of_one_to_four_bytes() {
    for payload_len in [0, 124, 125, 16_379, 16_380, 2_097_147, 2_097_148] {
        let payload = vec![7; payload_len];
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "a",
            packet_id: None,
            properties: Properties::EMPTY,
            payload: &payload,
        };
        let mut out = Vec::new();
        encode_publish(&mut out, ProtocolVersion::V3_1_1, &publish).expect("legal");
        assert_eq!(frame_len(&out, out.len()), Ok(Some(out.len())));
        assert_eq!(decode(&out, ProtocolVersion::V3_1_1), Ok(Packet::Publish(publish)));
        // The same through the way that shifts the body to make room for the length.
        let delivery = Delivery {
            publish,
            message_expiry_interval_s: Some(9),
            topic_alias: None,
            subscription_identifiers: &[5],
        };
        out.clear();
        encode_delivery(&mut out, ProtocolVersion::V5, &delivery).expect("legal");
        let Ok(Packet::Publish(received)) = decode(&out, ProtocolVersion::V5) else {
            panic!("{payload_len}")
        };
        assert_eq!(received.payload, payload);
    }
}

#[test]
fn what_can_not_be_written_leaves_the_buffer_alone() {
    let id = PacketId::new(1).expect("1");
    let long = "x".repeat(65_536);
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: &long,
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"",
    };
    let v5 = ProtocolVersion::V5;
    let mut out = b"before".to_vec();
    let too_long = Err(EncodeError::FieldTooLong { bytes: 65_536 });
    assert_eq!(encode_publish(&mut out, v5, &publish), too_long);
    let subscription = Subscription { filter: &long, options: SubscriptionOptions::plain(QoS::AtMostOnce) };
    assert_eq!(encode_subscribe(&mut out, v5, id, [subscription], Properties::EMPTY), too_long);
    let no_filters = std::iter::empty::<&str>();
    assert_eq!(
        encode_unsubscribe(&mut out, v5, id, no_filters, Properties::EMPTY),
        Err(EncodeError::EmptyList)
    );
    let wrong = Publish { topic: "a", qos: QoS::AtLeastOnce, ..publish };
    assert_eq!(encode_publish(&mut out, v5, &wrong), Err(EncodeError::PacketIdMismatch));
    let wrong = Publish { topic: "a", packet_id: Some(id), ..publish };
    assert_eq!(encode_publish(&mut out, v5, &wrong), Err(EncodeError::PacketIdMismatch));
    let wrong = Publish { topic: "a", dup: true, ..publish };
    assert_eq!(encode_publish(&mut out, v5, &wrong), Err(EncodeError::DupAtQoS0));
    let code = ReasonCode::BANNED;
    assert_eq!(
        encode_connack(&mut out, ProtocolVersion::V3_1_1, false, code, Properties::EMPTY),
        Err(EncodeError::NoReturnCode(code))
    );
    assert_eq!(
        encode_puback(&mut out, v5, &Ack::with_reason(id, code)),
        Err(EncodeError::ReasonCodeNotAllowed(code))
    );
    let auth = Auth { reason_code: ReasonCode::SUCCESS, properties: Properties::EMPTY };
    assert_eq!(encode_auth(&mut out, ProtocolVersion::V3_1_1, &auth), Err(EncodeError::NoAuthPacket));
    assert_eq!(out, b"before");
}

#[test]
fn a_refusal_never_says_session_present() {
    let mut out = Vec::new();
    encode_connack(&mut out, ProtocolVersion::V3_1_1, true, ReasonCode::NOT_AUTHORIZED, Properties::EMPTY)
        .expect("legal");
    encode_connack(&mut out, ProtocolVersion::V5, true, ReasonCode::NOT_AUTHORIZED, Properties::EMPTY)
        .expect("legal");
    assert_eq!(out, [0x20, 2, 0, 5, 0x20, 3, 0, 0x87, 0]);
}

#[test]
fn a_properties_buffer_takes_only_what_a_receiver_would() {
    let mut buffer = PropertiesBuffer::new(PropertyOwner::ConnAck);
    buffer.push(Property::ReceiveMaximum(10)).expect("legal");
    let before = buffer.as_properties().as_bytes().to_vec();
    for (property, error) in [
        (Property::TopicAlias(1), EncodeError::PropertyNotAllowed(PropertyId::TopicAlias)),
        (Property::ReceiveMaximum(11), EncodeError::PropertyTwice(PropertyId::ReceiveMaximum)),
        (Property::MaximumPacketSize(0), EncodeError::PropertyValue(PropertyId::MaximumPacketSize)),
        (Property::MaximumQoS(QoS::ExactlyOnce), EncodeError::PropertyValue(PropertyId::MaximumQoS)),
        (Property::ReasonString("a\0b"), EncodeError::PropertyValue(PropertyId::ReasonString)),
    ] {
        assert_eq!(buffer.push(property), Err(error));
        assert_eq!(buffer.as_properties().as_bytes(), before);
    }
    let long = "x".repeat(65_536);
    assert_eq!(buffer.push(Property::ReasonString(&long)), Err(EncodeError::FieldTooLong { bytes: 65_536 }));
    assert_eq!(buffer.as_properties().as_bytes(), before);
    buffer.clear();
    assert!(buffer.as_properties().is_empty());
}
