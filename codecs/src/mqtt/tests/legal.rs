//! Packets that look odd and are legal: a strict codec must take them (A1-2).

use super::api::ProtocolVersion::{V3_1_1, V5};
use super::api::*;
use super::{connect, field, frame};

fn read<'a>(bytes: &'a [u8], version: ProtocolVersion) -> Packet<'a> {
    assert_eq!(frame_len(bytes, bytes.len()), Ok(Some(bytes.len())), "{bytes:02x?}");
    match decode(bytes, version) {
        Ok(packet) => packet,
        Err(error) => panic!("{bytes:02x?} is legal in {version}: {error}"),
    }
}

fn read_connect(bytes: &[u8]) -> Connect<'_> {
    match read(bytes, V3_1_1) {
        Packet::Connect(connect) => connect,
        other => panic!("{other:?}"),
    }
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("not zero")
}

#[test]
fn acknowledgements_of_5_0_may_leave_out_properties_and_reason() {
    for (first_byte, failure) in [(0x40, 0x80), (0x50, 0x97), (0x62, 0x92), (0x70, 0x92)] {
        let ack = |bytes: &[u8]| match read(bytes, V5) {
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                (ack.packet_id, ack.reason_code, ack.properties.reason_string().map(str::to_owned))
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(ack(&frame(first_byte, &[1, 2])), (id(0x0102), ReasonCode::SUCCESS, None));
        assert_eq!(ack(&frame(first_byte, &[1, 2, failure])), (id(0x0102), ReasonCode(failure), None));
        assert_eq!(ack(&frame(first_byte, &[1, 2, 0, 0])), (id(0x0102), ReasonCode::SUCCESS, None));
        let with_reason_string = frame(first_byte, &[1, 2, failure, 4, 31, 0, 1, b'x']);
        assert_eq!(ack(&with_reason_string), (id(0x0102), ReasonCode(failure), Some("x".to_owned())));
    }
}

#[test]
fn disconnect_and_auth_have_short_forms() {
    let disconnect = |bytes: &[u8]| match read(bytes, V5) {
        Packet::Disconnect(disconnect) => disconnect.reason_code,
        other => panic!("{other:?}"),
    };
    assert_eq!(disconnect(&frame(0xE0, &[])), ReasonCode::NORMAL_DISCONNECTION);
    assert_eq!(disconnect(&frame(0xE0, &[4])), ReasonCode::DISCONNECT_WITH_WILL);
    assert_eq!(disconnect(&frame(0xE0, &[0, 0])), ReasonCode::NORMAL_DISCONNECTION);
    assert_eq!(disconnect(&frame(0xE0, &[0, 5, 17, 0, 0, 0, 9])), ReasonCode::NORMAL_DISCONNECTION);
    assert!(matches!(read(&frame(0xE0, &[]), V3_1_1), Packet::Disconnect(_)));
    let Packet::Auth(auth) = read(&[0xF0, 0], V5) else { panic!("AUTH") };
    assert_eq!(auth.reason_code, ReasonCode::SUCCESS);
    let bytes = frame(0xF0, &[0x18, 4, 21, 0, 1, b'm']);
    let Packet::Auth(auth) = read(&bytes, V5) else { panic!("AUTH") };
    assert_eq!(auth.properties.authentication_method(), Some("m"));
}

#[test]
fn a_5_0_password_needs_no_user_name() {
    let bytes = connect(5, 0x42, b"\0\0\x01c\0\x02\xff\0");
    let connect = read_connect(&bytes);
    assert_eq!((connect.user_name, connect.password), (None, Some(&[0xFF, 0][..])));
}

#[test]
fn a_connect_has_its_fields_in_order() {
    // MQTT-3.1.3-1, with everything there is.
    let payload = b"\0\x01c\0\x01t\0\x02\0\xff\0\x01u\0\x01p";
    let bytes = connect(4, 0xF6, payload);
    let will = Will {
        qos: QoS::ExactlyOnce,
        retain: true,
        topic: "t",
        payload: &[0, 0xFF],
        properties: Properties::EMPTY,
    };
    let expected = Connect {
        version: V3_1_1,
        clean_start: true,
        keep_alive_s: 60,
        client_id: "c",
        will: Some(will),
        user_name: Some("u"),
        password: Some(b"p"),
        properties: Properties::EMPTY,
    };
    assert_eq!(read_connect(&connect(4, 0xF6, payload)), Connect { ..expected });
    assert_eq!(bytes[8], 4);

    let bytes =
        connect(5, 0xF6, b"\x05\x11\0\0\0\x09\0\x01c\x05\x18\0\0\0\x07\0\x01t\0\x02\0\xff\0\x01u\0\x01p");
    let v5 = read_connect(&bytes);
    assert_eq!(v5.properties.session_expiry_interval_s(), Some(9));
    assert_eq!(v5.will.and_then(|will| will.properties.will_delay_interval_s()), Some(7));
    let without = Will { properties: Properties::EMPTY, ..v5.will.expect("it has one") };
    let v5 = Connect { version: V3_1_1, properties: Properties::EMPTY, will: Some(without), ..v5 };
    assert_eq!(v5, expected);
}

#[test]
fn empty_client_ids_and_wills_are_left_to_the_session() {
    // 3.1.1 answers an empty id without Clean Session by CONNACK 0x02 (MQTT-3.1.3-8), so it must be decoded.
    assert_eq!(read_connect(&connect(4, 0, b"\0\0")).client_id, "");
    assert_eq!(read_connect(&connect(5, 2, b"\0\0\0")).client_id, "");
    let bytes = connect(4, 0x06, b"\0\0\0\x01t\0\0");
    assert_eq!(read_connect(&bytes).will.map(|will| will.payload), Some(&b""[..]));
    // An empty user name and password are present all the same.
    let bytes = connect(4, 0xC2, b"\0\0\0\0\0\0");
    assert_eq!((read_connect(&bytes).user_name, read_connect(&bytes).password), (Some(""), Some(&b""[..])));
}

#[test]
fn text_keeps_every_character() {
    // MQTT-1.5.3-3, MQTT-1.5.4-3: the byte order mark is a character. Controls and non-characters are only advised against.
    for topic in ["\u{feff}a", "\u{1}", "\u{7f}\u{9f}", "\u{ffff}", "\u{10ffff}", "độ ẩm", " ", "/", "$SYS/x"]
    {
        let bytes = frame(0x30, &field(topic));
        let Packet::Publish(publish) = read(&bytes, V3_1_1) else { panic!("PUBLISH") };
        assert_eq!((publish.topic, publish.payload), (topic, &b""[..]));
    }
}

#[test]
fn a_5_0_publish_may_have_an_empty_topic_and_a_subscription_identifier() {
    // Whether an alias stands for the topic, and who may send an identifier (MQTT-3.3.4-6), is the session's business.
    let bytes = frame(0x30, b"\0\0\x03\x23\0\x07x");
    let Packet::Publish(publish) = read(&bytes, V5) else { panic!("PUBLISH") };
    assert_eq!((publish.topic, publish.properties.topic_alias(), publish.payload), ("", Some(7), &b"x"[..]));
    let bytes = frame(0x30, b"\0\0\0");
    assert!(matches!(read(&bytes, V5), Packet::Publish(publish) if publish.topic.is_empty()));
    let bytes = frame(0x30, b"\0\x01a\x07\x0b\x01\x0b\xff\xff\xff\x7fx");
    let Packet::Publish(publish) = read(&bytes, V5) else { panic!("PUBLISH") };
    assert_eq!(publish.properties.subscription_identifiers().collect::<Vec<_>>(), [1, 268_435_455]);
}

#[test]
fn user_properties_repeat_and_keep_their_order() {
    let bytes = frame(0x30, b"\0\x01a\x19\x26\0\x01b\0\x011\x26\0\x01a\0\x00\x26\0\x01b\0\x011\x26\0\0\0\0");
    let Packet::Publish(publish) = read(&bytes, V5) else { panic!("PUBLISH") };
    let pairs: Vec<_> = publish.properties.user_properties().collect();
    assert_eq!(pairs, [("b", "1"), ("a", ""), ("b", "1"), ("", "")]);
}

#[test]
fn only_5_0_forbids_a_long_form_of_the_remaining_length() {
    assert_eq!(read(&[0xC0, 0x80, 0x80, 0x80, 0x00], V3_1_1), Packet::PingReq);
    let bytes = [&[0x10, 0x8D, 0x00][..], b"\0\x04MQTT\x04\x02\0\x3c\0\x01c"].concat();
    assert_eq!(read_connect(&bytes).client_id, "c");
}

#[test]
fn shared_filters_are_ordinary_in_3_1_1() {
    for filter in ["$share//t", "$share/g", "$share/g/"] {
        let bytes = frame(0x82, &[&[0, 1][..], &field(filter), &[1]].concat());
        let Packet::Subscribe(subscribe) = read(&bytes, V3_1_1) else { panic!("SUBSCRIBE") };
        assert!(subscribe.subscriptions().map(|it| it.filter).eq([filter]));
    }
}

#[test]
fn subscription_options_of_5_0_are_read() {
    let bytes = frame(0x82, b"\x01\x2c\x02\x0b\x05\0\x01#\x2d\0\x01a\x12");
    let Packet::Subscribe(subscribe) = read(&bytes, V5) else { panic!("SUBSCRIBE") };
    assert_eq!(subscribe.packet_id, id(300));
    assert_eq!(subscribe.properties.subscription_identifier(), Some(5));
    let first = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::Never,
    };
    let second = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::AtSubscribeIfNew,
    };
    assert!(
        subscribe.subscriptions().eq([
            Subscription { filter: "#", options: first },
            Subscription { filter: "a", options: second },
        ])
    );
}

#[test]
fn every_property_is_accepted_exactly_where_table_2_4_has_it() {
    // Written by hand from the standard's table, apart from the one in the code.
    let table: &[(u8, &[u8], &str)] = &[
        (1, &[1], "PW"),
        (2, &[0, 0, 0, 0], "PW"),
        (3, b"\0\x01t", "PW"),
        (8, b"\0\x01t", "PW"),
        (9, b"\0\x01\xff", "PW"),
        (11, &[1], "PS"),
        (17, &[0xFF, 0xFF, 0xFF, 0xFF], "CKD"),
        (18, b"\0\x01i", "K"),
        (19, &[0, 0], "K"),
        (21, b"\0\x01m", "CKX"),
        (22, b"\0\x01d\x15\0\x01m", "CKX"),
        (23, &[0], "C"),
        (24, &[0, 0, 0, 1], "W"),
        (25, &[1], "C"),
        (26, b"\0\0", "K"),
        (28, b"\0\x01s", "KD"),
        (31, b"\0\x01r", "KADX"),
        (33, &[0, 1], "CK"),
        (34, &[0, 0], "CK"),
        (35, &[0, 1], "P"),
        (36, &[1], "K"),
        (37, &[0], "K"),
        (38, b"\0\x01n\0\x01v", "CWKPASUDX"),
        (39, &[0, 0, 0, 1], "CK"),
        (40, &[0], "K"),
        (41, &[0], "K"),
        (42, &[0], "K"),
    ];
    let owners = [
        ('C', PropertyOwner::Connect),
        ('W', PropertyOwner::Will),
        ('K', PropertyOwner::ConnAck),
        ('P', PropertyOwner::Publish),
        ('A', PropertyOwner::Ack),
        ('S', PropertyOwner::Subscribe),
        ('U', PropertyOwner::Unsubscribe),
        ('D', PropertyOwner::Disconnect),
        ('X', PropertyOwner::Auth),
    ];
    assert_eq!(table.len(), PropertyId::ALL.len());
    for &(identifier, value, allowed) in table {
        let bytes = [&[identifier], value].concat();
        for (letter, owner) in owners {
            let result = Properties::parse(owner, &bytes);
            if allowed.contains(letter) {
                let properties = result.unwrap_or_else(|error| panic!("{identifier} in {owner:?}: {error}"));
                assert_eq!(properties.iter().next().map(|it| it.id() as u8), Some(identifier));
            } else {
                let rule = result.map_err(|error| error.rule());
                assert_eq!(rule, Err(Rule::PropertyNotAllowed), "{identifier} in {owner:?}");
            }
        }
    }
}

#[test]
fn connack_codes_of_3_1_1_become_reason_codes_and_go_back() {
    for code in 0..=5 {
        let bytes = frame(0x20, &[0, code]);
        let Packet::ConnAck(connack) = read(&bytes, V3_1_1) else { panic!("CONNACK") };
        assert_eq!(connack.reason_code.connect_return_code(), Some(code));
        let mut out = Vec::new();
        encode_packet(&mut out, V3_1_1, &Packet::ConnAck(connack)).expect("it was decoded");
        assert_eq!(out, bytes);
    }
}
