//! Messages on their way: QoS, filters, retained ones, properties, windows, order.

use std::thread;
use std::time::Duration;

use e2e_tests::wire::{
    self, BOTH, Connect, Pair, V3, V5, ack, codes, connect, packet, publish, publish_with, received, shared,
    start, subscribe, subscribe_with, subscribed, take, unsubscribe,
};

use crate::breaches::level;

/// 3.1.1 4.3.3-2: repeats are not delivered twice; after PUBCOMP the identifier is free.
#[test]
fn inbound_qos_2_of_3_1_1_is_exactly_once() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V3, "qos2");
    assert_eq!(pair.subscribe("qos2/#", 2), 1);
    for round in ["first", "second"] {
        pair.a.send(&publish(V3, 4, "qos2/t", 5, round.as_bytes()));
        assert_eq!(pair.a.read_packet().bytes, [0x50, 2, 0, 5]);
        pair.a.send(&publish(V3, 0xC, "qos2/t", 5, round.as_bytes()));
        assert_eq!(pair.a.read_packet().bytes, [0x50, 2, 0, 5]);
        pair.a.send(&ack(0x62, 5));
        assert_eq!(pair.a.read_packet().bytes, [0x70, 2, 0, 5]);
        let message = pair.take();
        assert_eq!((message.payload(), message.flags), (round, 2), "granted QoS 1, DUP 0");
        pair.expect_nothing_else();
    }
}

/// 3.1.1 4.3.2-2, 3.3.1-3; 5.0 4.3.2-5: after PUBACK the same identifier is a new message, whatever DUP says.
#[test]
fn qos_1_duplicates_are_new_messages_and_dup_is_not_passed_on() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "dup");
        pair.subscribe("dup/t", 1);
        pair.publish(0, "dup/t", "same");
        pair.publish(8, "dup/t", "same");
        assert_eq!([pair.take().flags, pair.take().flags], [2, 2]);
        pair.expect_nothing_else();
    }
}

/// 3.1.1 3.8.4-6, 5.0 3.8.4-8: the lower of published and granted; 4.3.1-1, 4.3.2-1.
#[test]
fn delivery_qos_is_the_lower_one() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "lower");
        for granted in 0..=2 {
            pair.subscribe("lower/t", granted);
            pair.a.send(&publish(version, 0, "lower/t", 0, b"q0"));
            pair.publish(0, "lower/t", "q1");
            let mut expected = vec![("q0".to_owned(), 0), ("q1".to_owned(), granted.min(1))];
            if version == V3 {
                pair.a.send(&publish(version, 4, "lower/t", 3, b"q2"));
                assert_eq!(pair.a.read_packet().bytes, [0x50, 2, 0, 3]);
                pair.a.send(&ack(0x62, 3));
                assert_eq!(pair.a.read_packet().bytes, [0x70, 2, 0, 3]);
                expected.push(("q2".to_owned(), granted.min(1)));
            }
            for expected in expected {
                let message = pair.take();
                assert_eq!(
                    (message.payload().to_owned(), message.flags >> 1),
                    expected,
                    "DUP 0, granted {granted}"
                );
            }
            pair.expect_nothing_else();
        }
    }
}

#[test]
fn filters_match_as_the_standard_has_it() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "match");
        for (filter, matching, other) in [
            ("match/a/+", &["match/a/1", "match/a/"][..], &["match/a", "match/a/1/2", "match/b/1"][..]),
            ("match/b/#", &["match/b", "match/b/", "match/b/1/2"], &["match/bb"]),
            ("match/+/c", &["match//c", "match/x/c"], &["match/c"]),
            // 3.1.1 1.5.3-3, 5.0 1.5.4-3, 4.7.3-4
            ("match/\u{FEFF}a", &["match/\u{FEFF}a"], &["match/a"]),
            ("match/\u{E9}", &["match/\u{E9}"], &["match/e\u{301}", "match/\u{C9}", "/match/\u{E9}"]),
        ] {
            pair.subscribe(filter, 0);
            for topic in other.iter().chain(matching) {
                pair.publish(0, topic, filter);
            }
            for topic in matching {
                assert_eq!(pair.take().topic(), *topic, "3.3.2-3 for {filter}");
            }
            pair.expect_nothing_else();
            pair.b.send(&unsubscribe(version, 5, &[filter]));
            assert_eq!(pair.b.read_packet().bytes[0], 0xB0);
        }
        // 4.7.2-1
        pair.subscribe("$match/#", 0);
        pair.publish(0, "$match/x", "named");
        assert_eq!(pair.take().topic(), "$match/x");
        pair.b.send(&unsubscribe(version, 6, &["$match/#"]));
        assert_eq!(pair.b.read_packet().bytes[0], 0xB0);
        pair.subscribe("+/x", 0);
        pair.publish(0, "$match/x", "by wildcard");
        pair.expect_nothing_else();
    }
}

#[test]
fn wildcard_subscribers_do_not_see_dollar_topics() {
    // A gateway of its own: `#` sees what all others publish.
    let own = start(&[]);
    let mut pair = Pair::new(&own.gateway, V3, "dollar");
    pair.subscribe("#", 0);
    pair.publish(0, "$t/x", "hidden");
    pair.publish(0, "t/x", "seen");
    assert_eq!(pair.take().payload(), "seen");
    pair.expect_nothing_else();
}

/// 3.10.4-1 to -3: character by character; nothing new afterwards.
#[test]
fn unsubscribe_ends_exactly_that_subscription() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "unsubscribe");
        pair.subscribe("unsubscribe/a/#", 1);
        pair.b.send(&unsubscribe(version, 2, &["unsubscribe/a/b", "unsubscribe/A/#"]));
        let answer = pair.b.read_packet().bytes;
        let expected: &[u8] = if version == V5 { &[0x11, 0x11] } else { &[] };
        assert_eq!(codes(&answer, version, 0xB0, 2), expected);
        pair.publish(0, "unsubscribe/a/b", "1");
        let open = received(&mut pair.b, version);
        pair.b.send(&unsubscribe(version, 3, &["unsubscribe/a/#"]));
        let expected: &[u8] = if version == V5 { &[0] } else { &[] };
        assert_eq!(codes(&pair.b.read_packet().bytes, version, 0xB0, 3), expected);
        pair.b.send(&ack(0x40, open.id));
        pair.publish(0, "unsubscribe/a/b", "2");
        pair.expect_nothing_else();
    }
}

/// 3.1.1 3.3.1-5 to -12, 3.8.4-3; 5.0 3.3.1-5 to -9, 3.8.4-4.
#[test]
fn retained_messages_are_kept_replaced_and_removed() {
    let own = shared();
    for version in BOTH {
        let base = format!("retained/{}", level(version));
        let mut pair = Pair::new(&own.gateway, version, "retained");
        let filter = format!("{base}/#");
        let topics: Vec<String> = ["t1", "t2", "t3"].iter().map(|topic| format!("{base}/{topic}")).collect();
        pair.publish(1, &topics[0], "old");
        pair.publish(1, &topics[0], "new");
        pair.a.send(&publish(version, 1, &topics[1], 0, b"at most once"));
        pair.publish(0, &topics[0], "not retained");
        pair.publish(1, &topics[2], "");
        for _ in 0..2 {
            // Again at the second SUBSCRIBE of the same filter.
            pair.subscribe(&filter, 1);
            let mut got: Vec<(String, String, u8)> = (0..2)
                .map(|_| pair.take())
                .map(|m| (m.topic().into(), m.payload().into(), m.flags))
                .collect();
            got.sort();
            let expected =
                [(topics[0].clone(), "new".into(), 3), (topics[1].clone(), "at most once".into(), 1)];
            assert_eq!(got, expected);
            pair.expect_nothing_else();
        }
        // Live: RETAIN 0 for an established subscription; the empty one is delivered and removes.
        pair.publish(1, &topics[1], "live");
        let message = pair.take();
        assert_eq!((message.payload(), message.flags), ("live", 2), "3.1.1 3.3.1-9, 5.0 3.3.1-12");
        pair.publish(1, &topics[1], "");
        let message = pair.take();
        assert_eq!((message.payload(), message.flags), ("", 2), "3.1.1 3.3.1-10, 5.0 3.3.1-6");
        pair.subscribe(&topics[1], 1);
        pair.expect_nothing_else();
        pair.b.send(&unsubscribe(version, 4, &[&filter, &topics[1]]));
        assert_eq!(pair.b.read_packet().bytes[0], 0xB0);
        // 3.1.1 3.1.2-7: not part of a session.
        let (old, _) = Connect::new(version, "retained-other").open(&own.gateway);
        old.drop_connection();
        pair.subscribe(&topics[0], 0);
        let message = pair.take();
        assert_eq!((message.payload(), message.flags), ("new", 1), "QoS is the granted one");
    }
}

/// 5.0 3.3.1-9 to -13.
#[test]
fn retain_handling_and_retain_as_published() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "handling");
    pair.publish(1, "handling/t", "kept");
    for (options, first, second) in [(0x00, true, true), (0x10, true, false), (0x20, false, false)] {
        for expected in [first, second] {
            pair.subscribe("handling/t", options);
            if expected {
                assert_eq!(pair.take().payload(), "kept", "options {options:02x}");
            }
            pair.expect_nothing_else();
        }
        pair.b.send(&unsubscribe(V5, 4, &["handling/t"]));
        assert_eq!(pair.b.read_packet().bytes[0], 0xB0);
    }
    pair.subscribe("handling/live", 0x08 | 1);
    pair.publish(1, "handling/live", "1");
    pair.publish(0, "handling/live", "0");
    assert_eq!([pair.take().flags, pair.take().flags], [3, 2]);
}

/// 5.0 3.8.3-3.
#[test]
fn no_local_keeps_a_client_from_its_own_messages() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "local");
    pair.subscribe("local/t", 4);
    pair.b.send(&publish(V5, 2, "local/t", 3, b"mine"));
    pair.b.expect_puback(3);
    pair.publish(0, "local/t", "theirs");
    assert_eq!(pair.take().payload(), "theirs");
    pair.expect_nothing_else();
}

/// 3.1.1 3.3.5-1; 5.0 3.3.4-2 to -5: one copy, the highest QoS, all identifiers. 3.8.4-3: the same filter replaces.
#[test]
fn overlapping_subscriptions() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "overlap");
        for (filter, qos, identifier) in [("overlap/#", 0, 1), ("overlap/b", 2, 300), ("overlap/+", 0, 0)] {
            let property: &[u8] = match identifier {
                1 => &[0x0B, 1],
                300 => &[0x0B, 0xAC, 2],
                _ => &[],
            };
            let property = if version == V5 { property } else { &[] };
            pair.b.send(&subscribe_with(version, 8, property, &[(filter, qos)]));
            assert_eq!(codes(&pair.b.read_packet().bytes, version, 0x90, 8), [qos.min(1)]);
        }
        pair.publish(0, "overlap/b", "x");
        let message = pair.take();
        assert_eq!(message.qos(), 1);
        if version == V5 {
            let (one, two) = ([0x0B, 1, 0x0B, 0xAC, 2], [0x0B, 0xAC, 2, 0x0B, 1]);
            assert!(message.properties == one || message.properties == two, "{message:02x?}");
        }
        pair.expect_nothing_else();
        pair.subscribe("overlap/b", 0);
        pair.publish(0, "overlap/b", "y");
        assert_eq!(pair.take().qos(), 0, "the subscription was replaced");
        pair.expect_nothing_else();
    }
}

/// 5.0 3.3.2-4, -6, -15 to -18, -20: what goes with a message reaches the subscriber, live and retained.
#[test]
fn properties_are_passed_on() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "properties");
    let passed = [
        &[1, 1][..],
        b"\x03\0\x04text",
        b"\x08\0\x05reply",
        b"\x09\0\x03\x00\xFF\x10",
        b"\x26\0\x01b\0\x011\x26\0\x01a\0\x012\x26\0\x01b\0\x013\x26\0\0\0\0",
    ]
    .concat();
    let expiry = [2, 0, 0, 0, 60];
    let sent = [&expiry[..], &passed].concat();
    pair.subscribe("properties/#", 1);
    pair.a.send(&publish_with(V5, 3, "properties/t", 2, &sent, b"x"));
    pair.a.expect_puback(2);
    assert_eq!(pair.take().properties, sent, "live, at once: the whole interval is left");
    pair.subscribe("properties/#", 1);
    let retained = pair.take().properties;
    assert_eq!((retained[0], &retained[5..]), (2, &passed[..]));
    let left_s = u32::from_be_bytes(retained[1..5].try_into().expect("four bytes"));
    assert!((1..=60).contains(&left_s), "{left_s}");
    // The same message for a 3.1.1 subscriber: no properties.
    let mut old = connect(&own.gateway, V3, "properties-old");
    old.send(&subscribe(V3, 2, &[("properties/t", 0)]));
    assert_eq!(old.read_packet().bytes[0], 0x90);
    assert_eq!(take(&mut old, V3).payload(), "x");
}

/// 5.0 3.3.2-5: a retained message, and one that waits for the window, are deleted when they expire; 3.3.2-6 else.
#[test]
fn messages_expire() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "expire");
    let connect = Connect { properties: vec![0x21, 0, 1], ..Connect::new(V5, "expire-window") };
    let (mut narrow, _) = connect.open(&own.gateway);
    assert_eq!(subscribed(&mut narrow, V5, &[("expire/#", 1)]), [1]);
    pair.publish(0, "expire/open", "fills the window");
    let open = received(&mut narrow, V5);
    for (topic, expiry_s) in [("expire/soon", 1), ("expire/late", 100)] {
        pair.a.send(&publish_with(V5, 3, topic, 2, &[2, 0, 0, 0, expiry_s], b"x"));
        pair.a.expect_puback(2);
    }
    // The standard's own second, and one more for the machine.
    thread::sleep(Duration::from_millis(2_000));
    narrow.send(&ack(0x40, open.id));
    let message = take(&mut narrow, V5);
    assert_eq!(message.topic(), "expire/late");
    let left_s = u32::from_be_bytes(message.properties[1..5].try_into().expect("four bytes"));
    assert!((1..=98).contains(&left_s), "{left_s}");
    pair.subscribe("expire/+", 1);
    assert_eq!(pair.take().topic(), "expire/late");
    pair.expect_nothing_else();
}

/// 5.0 3.3.4-9, 3.3.4-10, 4.9.0-1 to -3, 2.2.1-4; 3.1.1 2.3.1-4: the window of the subscriber is kept, all else goes on.
#[test]
fn a_subscribers_receive_maximum_is_kept() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "window");
    let (mut b, _) =
        Connect { properties: vec![0x21, 0, 2], ..Connect::new(V5, "window-two") }.open(&own.gateway);
    assert_eq!(subscribed(&mut b, V5, &[("window/t", 1)]), [1]);
    for i in 0..10 {
        pair.publish(0, "window/t", &i.to_string());
    }
    let mut open = vec![received(&mut b, V5), received(&mut b, V5)];
    b.expect_alive();
    assert_eq!(subscribed(&mut b, V5, &[("window/other", 0)]), [0]);
    pair.publish(0, "window/other", "at most once");
    assert_eq!(take(&mut b, V5).payload(), "at most once");
    for i in 2..10 {
        let done = open.remove(0);
        // PUBACK 0x80 is an ack as well.
        b.send(&packet(0x40, &[&done.id.to_be_bytes(), &[0x80]]));
        let next = received(&mut b, V5);
        assert_eq!(next.payload(), i.to_string());
        assert_ne!(next.id, open[0].id);
        open.push(next);
        b.expect_alive();
    }
}

/// 5.0 3.1.2-24, 3.1.2-25: too large = discarded, and it counts as sent.
#[test]
fn a_subscribers_maximum_packet_size_is_kept() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "size");
    let properties = vec![0x21, 0, 1, 0x27, 0, 0, 0, 100];
    let (mut b, _) = Connect { properties, ..Connect::new(V5, "size-small") }.open(&own.gateway);
    assert_eq!(subscribed(&mut b, V5, &[("size/t", 1)]), [1]);
    pair.publish(0, "size/t", &"x".repeat(200));
    pair.publish(0, "size/t", "fits");
    assert_eq!(take(&mut b, V5).payload(), "fits");
    b.expect_alive();
}

/// 5.0 3.3.4-7: more than Receive Maximum without PUBACK.
#[test]
fn the_gateways_receive_maximum_is_enforced() {
    let own = start(&["mqtt.receive_max=2"]);
    let (mut client, connack) = Connect::new(V5, "many").open(&own.gateway);
    assert!(connack.windows(3).any(|window| window == [0x21, 0, 2]), "announced: {connack:02x?}");
    let flood: Vec<u8> = (1..=200).flat_map(|id| publish(V5, 2, "many/t", id, b"x")).collect();
    let _ = client.try_send(&flood);
    let frames = client.expect_close();
    assert_eq!(frames.last().map(|frame| wire::disconnect_reason(&frame.bytes)), Some(0x93), "{frames:02x?}");
    // 3.1.1 has no such limit at QoS 1, and QoS 2 is bounded by the same number.
    let mut old = connect(&own.gateway, V3, "many-old");
    old.send(&(1..=200).flat_map(|id| publish(V3, 2, "many/t", id, b"x")).collect::<Vec<_>>());
    for id in 1..=200 {
        old.expect_puback(id);
    }
    let _ = old.try_send(&(1..=3).flat_map(|id| publish(V3, 4, "many/t", id, b"x")).collect::<Vec<_>>());
    assert!(old.expect_close().iter().all(|frame| frame.bytes[0] == 0x50), "PUBRECs at most");
}

/// 3.1.1 4.6.0-6, 5.0 4.6.0-5: in order, at each QoS; also to a subscriber that acknowledges.
#[test]
fn messages_keep_their_order() {
    let own = shared();
    for (version, qos) in [(V3, 0), (V3, 1), (V5, 0), (V5, 1)] {
        let mut pair = Pair::new(&own.gateway, version, "order");
        pair.subscribe("order/+", qos);
        let mut all = Vec::new();
        for i in 1..=1000_u16 {
            all.extend(publish(version, qos << 1, format!("order/{}", i % 7), i, i.to_string().as_bytes()));
        }
        let sent = thread::scope(|scope| {
            let a = &mut pair.a;
            let sender = scope.spawn(move || {
                a.send(&all);
                for id in (1..=1000).filter(|_| qos == 1) {
                    a.expect_puback(id);
                }
            });
            for i in 1..=1000 {
                assert_eq!(take(&mut pair.b, version).payload(), i.to_string());
            }
            sender.join()
        });
        sent.expect("PUBACKs came in the order of the PUBLISH packets");
    }
}
