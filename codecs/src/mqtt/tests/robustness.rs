//! No bytes from outside make the codec panic, and what it accepts it can read to the end and write again.

use proptest::collection::vec;
use proptest::prelude::*;

use super::api::*;
use super::generate;

/// Everything a session could ask of a decoded packet.
fn read_all(packet: &Packet<'_>) -> usize {
    let properties = |properties: Properties<'_>| {
        assert_eq!(properties.iter().count() == 0, properties.is_empty());
        properties.iter().count() + properties.user_properties().count()
    };
    match packet {
        Packet::Connect(connect) => {
            properties(connect.properties) + connect.will.map_or(0, |will| properties(will.properties))
        }
        Packet::ConnAck(connack) => properties(connack.properties),
        Packet::Publish(publish) => {
            assert_eq!(publish.packet_id.is_some(), publish.qos != QoS::AtMostOnce);
            properties(publish.properties)
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            properties(ack.properties)
        }
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.subscriptions().all(|it| topic::validate_filter(it.filter).is_ok()));
            properties(subscribe.properties) + subscribe.subscriptions().count()
        }
        Packet::SubAck(suback) => properties(suback.properties) + suback.reason_codes().len(),
        Packet::Unsubscribe(unsubscribe) => {
            assert!(unsubscribe.filters().all(|it| topic::validate_filter(it).is_ok()));
            properties(unsubscribe.properties) + unsubscribe.filters().count()
        }
        Packet::UnsubAck(unsuback) => properties(unsuback.properties) + unsuback.reason_codes().len(),
        Packet::PingReq | Packet::PingResp => 0,
        Packet::Disconnect(disconnect) => properties(disconnect.properties),
        Packet::Auth(auth) => properties(auth.properties),
    }
}

/// Frames and decodes like a connection does. What is accepted means the same after it was written again.
fn swallow(bytes: &[u8], version: ProtocolVersion) -> Result<(), TestCaseError> {
    for frame in [Some(bytes), frame_len(bytes, PACKET_SIZE_MAX).ok().flatten().map(|end| &bytes[..end])] {
        let Some(frame) = frame else { continue };
        match decode(frame, version) {
            Ok(packet) => {
                read_all(&packet);
                let mut again = Vec::new();
                encode_packet(&mut again, version, &packet).expect("what is decoded can be encoded");
                prop_assert_eq!(decode(&again, version), Ok(packet));
            }
            Err(error) => {
                prop_assert!(!error.statements().is_empty());
                prop_assert!(error.reason_code().is_failure());
                prop_assert!(error.to_string().contains(error.statement()));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..64), version in generate::version()) {
        swallow(&bytes, version)?;
    }

    /// A legal first byte and a right Remaining Length, so that the body is reached.
    #[test]
    fn random_bodies_do_no_harm(
        first_byte in prop_oneof![0x30..0x36u8, proptest::sample::select(vec![0x10u8, 0x20, 0x40, 0x62, 0x82, 0x90, 0xA2, 0xB0, 0xE0, 0xF0])],
        body in vec(prop_oneof![0..4u8, any::<u8>()], 0..100),
        version in generate::version(),
    ) {
        swallow(&super::frame(first_byte, &body), version)?;
    }

    #[test]
    fn mutated_packets_do_no_harm((version, bytes) in generate::mutated_bytes()) {
        swallow(&bytes, version)?;
    }

    #[test]
    fn a_packet_read_as_the_other_version_does_no_harm((version, bytes) in generate::legal_bytes()) {
        let other = match version {
            ProtocolVersion::V3_1_1 => ProtocolVersion::V5,
            ProtocolVersion::V5 => ProtocolVersion::V3_1_1,
        };
        swallow(&bytes, other)?;
    }

    #[test]
    fn random_properties_do_no_harm(bytes in vec(prop_oneof![0..45u8, any::<u8>()], 0..40)) {
        for owner in [PropertyOwner::Connect, PropertyOwner::Publish, PropertyOwner::ConnAck] {
            if let Ok(properties) = Properties::parse(owner, &bytes) {
                prop_assert!(properties.iter().all(|property| property.id().allowed_in(owner)));
                prop_assert_eq!(properties.as_bytes(), &bytes[..]);
            }
        }
    }

    /// The two readings of a topic: the one of the decoder and the public one.
    #[test]
    fn topic_checks_agree(bytes in vec(proptest::sample::select(b"aaaaaaaa/+#$\0\xc3\xa9".to_vec()), 0..12)) {
        let legal = std::str::from_utf8(&bytes).is_ok_and(|name| topic::validate_topic_name(name).is_ok());
        let packet = super::frame(0x30, &super::field(&bytes));
        prop_assert_eq!(decode(&packet, ProtocolVersion::V3_1_1).is_ok(), legal);
        let legal = std::str::from_utf8(&bytes).is_ok_and(|filter| topic::validate_filter(filter).is_ok());
        let packet = super::frame(0xA2, &[&[0, 1][..], &super::field(&bytes)].concat());
        prop_assert_eq!(decode(&packet, ProtocolVersion::V3_1_1).is_ok(), legal);
    }

    /// Matching against a plain reading of section 4.7.
    #[test]
    fn filters_match_as_the_standard_says(filter in generate::filter(), name in generate::topic_name()) {
        fn matches(filter: &[&str], name: &[&str]) -> bool {
            match (filter, name) {
                (["#"], _) => true,
                ([], []) => true,
                ([level, filter @ ..], [part, name @ ..]) => {
                    (*level == "+" || level == part) && matches(filter, name)
                }
                _ => false,
            }
        }
        let filter_levels: Vec<&str> = filter.split('/').collect();
        let name_levels: Vec<&str> = name.split('/').collect();
        let hidden = name.starts_with('$') && matches!(filter_levels[0], "+" | "#");
        prop_assert_eq!(
            topic::filter_matches(filter, name),
            !hidden && matches(&filter_levels, &name_levels)
        );
        // A filter made from the name by wildcards matches it, unless the name is a hidden one.
        let plus = vec!["+"; name_levels.len()].join("/");
        prop_assert_eq!(topic::filter_matches(&plus, name), !name.starts_with('$'));
        prop_assert!(topic::filter_matches(name, name));
    }
}
