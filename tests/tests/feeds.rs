//! A1-7: normalised feeds, their retained values over restarts, ordinary topics beside them, and who may publish where.

use std::collections::{BTreeMap, BTreeSet};

use e2e_tests::wire::{
    BOTH, Connect, Pair, Received, V3, V5, connect, publish, received, shared, start, subscribed, take,
    unsubscribe,
};
use e2e_tests::{Gateway, RawMqtt};
use serde_json::{Value, json};

/// One feed message without the parts that differ from run to run.
fn observation(message: &Received) -> Value {
    let mut value: Value =
        serde_json::from_str(message.payload()).unwrap_or_else(|error| panic!("{error}: {message:?}"));
    let strip = |value: &mut Value| {
        let object = value.as_object_mut().expect("an observation is an object");
        let result_time = object.remove("resultTime").expect("every observation has its resultTime");
        assert!(result_time.as_str().is_some_and(|time| time.ends_with('Z')), "{result_time}");
        assert!(object.remove("position").is_some_and(|position| position.is_u64()));
        assert!(object.remove("quality").is_some_and(|quality| quality.is_u64()));
    };
    match value.get_mut("observations").and_then(Value::as_array_mut) {
        Some(observations) => observations.iter_mut().for_each(strip),
        None => strip(&mut value),
    }
    value
}

fn publish_json(client: &mut RawMqtt, topic: &str, payload: &Value) {
    client.send(&publish(V3, 2, topic, 5, payload.to_string().as_bytes()));
    client.expect_puback(5);
}

/// A client that sees these feeds; RAP shows which messages are retained ones.
fn watch(gateway: &Gateway, client: &str, filter: &str) -> RawMqtt {
    let mut watch = connect(gateway, V5, client);
    assert_eq!(subscribed(&mut watch, V5, &[(filter, 1 | 8)]), [1]);
    watch
}

/// All retained messages of the subscriptions before have been read: the answer to another SUBSCRIBE comes behind them.
fn nothing_more(client: &mut RawMqtt, version: codecs::mqtt::ProtocolVersion) {
    assert_eq!(subscribed(client, version, &[("nothing/more", 0)]), [0]);
}

#[test]
fn every_kind_of_result_on_its_feeds() {
    let own = shared();
    let mut properties = watch(&own.gateway, "kinds-properties", "feed/v1/+/KINDS/+/+");
    let mut stations = watch(&own.gateway, "kinds-stations", "feed/v1/+/KINDS/+");
    let mut publisher = connect(&own.gateway, V3, "kinds");
    let message = json!({"time": "2025-11-21T08:05:00+07:00", "seq": 1042, "readings": [
        {"property": "pm2_5", "value": 38.4, "unit": "ug/m3"},
        {"property": "water_level", "value": 1.27, "unit": "m", "status": "00", "time": "2025-11-21T08:04:30+07:00"},
        {"property": "rainfall", "value": 3, "unit": "mm", "period_s": 3600},
        {"property": "door", "value": true},
        {"property": "note", "value": "Mực nước \"cao\"\n"},
        {"property": "air_temperature", "value": null},
    ]});
    publish_json(&mut publisher, "obs/KINDS/ST1", &message);
    let at = |name: &str, rest: Value| {
        let mut all = json!({"datastream": format!("KINDS/ST1/{name}"), "phenomenonTime": "2025-11-21T01:05:00Z", "seq": 1042});
        all.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        all
    };
    let expected = [
        ("environment", "pm2_5", at("pm2_5", json!({"result": 38.4, "unit": "ug/m3"}))),
        (
            "water",
            "water_level",
            at(
                "water_level",
                json!({"result": 1.27, "unit": "m", "status": "00", "phenomenonTime": "2025-11-21T01:04:30Z"}),
            ),
        ),
        ("water", "rainfall", at("rainfall", json!({"result": 3, "unit": "mm", "period_s": 3600}))),
        ("other", "door", at("door", json!({"result": true}))),
        ("other", "note", at("note", json!({"result": "Mực nước \"cao\"\n"}))),
        ("environment", "air_temperature", at("air_temperature", json!({"result": null}))),
    ];
    let mut by_station: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (domain, property, expected) in &expected {
        let message = take(&mut properties, V5);
        let got = observation(&message);
        // The catalogue says which domain and unit a property has; the test only demands that it is one of them.
        let mut levels = message.topic().split('/');
        assert_eq!((levels.next(), levels.next()), (Some("feed"), Some("v1")));
        let its_domain = levels.next().unwrap_or_default();
        assert_eq!(levels.collect::<Vec<_>>(), ["KINDS", "ST1", property]);
        if *property != "rainfall" && *property != "air_temperature" {
            assert_eq!(its_domain, *domain);
        }
        if *property == "air_temperature" {
            assert_eq!(got["result"], Value::Null);
            assert!(got.get("result").is_some(), "null is there, not left out");
        } else {
            assert_eq!(got, *expected);
        }
        assert!(message.retain(), "{message:?}");
        by_station.entry(if its_domain == *domain { domain } else { "?" }).or_default().push(got);
    }
    // One message per domain, all observations of the message in it, not retained.
    let mut seen = 0;
    while seen < expected.len() {
        let message = take(&mut stations, V5);
        assert!(!message.retain());
        assert_eq!(message.topic().split('/').count(), 5);
        seen += observation(&message)["observations"].as_array().expect("a list").len();
    }
    assert_eq!(seen, expected.len());
    // And nothing of a station is retained.
    let mut late = watch(&own.gateway, "kinds-late", "feed/v1/+/KINDS/+");
    nothing_more(&mut late, V5);
}

/// Late values are told, marked, and do not become the retained one; a re-send is told to nobody.
#[test]
fn late_values_are_marked_and_not_retained() {
    let own = shared();
    let topic = "feed/v1/environment/LATE/ST1/pm2_5";
    let mut live = watch(&own.gateway, "late-watch", topic);
    let mut publisher = connect(&own.gateway, V3, "late");
    let reading =
        |time: &str, value: f64| json!({"time": time, "readings": [{"property": "pm2_5", "value": value}]});
    publish_json(&mut publisher, "obs/LATE/ST1", &reading("2025-11-21T10:00:00Z", 10.0));
    publish_json(&mut publisher, "obs/LATE/ST1", &reading("2025-11-21T10:00:00Z", 10.0));
    publish_json(&mut publisher, "obs/LATE/ST1", &reading("2025-11-21T09:00:00Z", 9.0));
    publish_json(&mut publisher, "obs/LATE/ST1", &reading("2025-11-21T11:00:00Z", 11.0));
    let got: Vec<(bool, Value, Value)> = (0..3)
        .map(|_| take(&mut live, V5))
        .map(|message| {
            let value = observation(&message);
            (message.retain(), value["result"].clone(), value["late"].clone())
        })
        .collect();
    assert_eq!(
        got,
        [(true, json!(10), Value::Null), (false, json!(9), json!(true)), (true, json!(11), Value::Null)],
        "forward: retained; late: marked, not retained; the duplicate: not at all"
    );
    publish_json(&mut publisher, "obs/LATE/ST1", &reading("2025-11-21T10:30:00Z", 10.5));
    assert_eq!(observation(&take(&mut live, V5))["late"], json!(true));
    let mut later = watch(&own.gateway, "late-later", topic);
    let message = take(&mut later, V5);
    assert_eq!((message.retain(), observation(&message)["result"].clone()), (true, json!(11)));
    nothing_more(&mut later, V5);
}

/// All retained values of a wildcard filter come, whatever their number; after a restart and after kill -9 too.
#[test]
fn retained_values_outlive_restarts_and_come_without_cut_off() {
    const STATIONS: usize = 30;
    const PROPERTIES: usize = 100;
    let own = start(&[]);
    let mut publisher = connect(&own.gateway, V3, "values");
    let mut expected: BTreeMap<String, f64> = BTreeMap::new();
    for round in 0..2 {
        for station in 0..STATIONS {
            let readings: Vec<Value> = (0..PROPERTIES)
                .map(|property| {
                    let value = (round * 1_000_000 + station * 1_000 + property) as f64;
                    expected.insert(format!("feed/v1/other/MANY/S{station}/p{property}"), value);
                    json!({"property": format!("p{property}"), "value": value})
                })
                .collect();
            let time = format!("2025-11-21T0{round}:00:00Z");
            publish_json(
                &mut publisher,
                &format!("obs/MANY/S{station}"),
                &json!({"time": time, "readings": readings}),
            );
        }
    }
    publisher.send(&publish(V3, 3, "ordinary/kept", 6, b"kept"));
    publisher.expect_puback(6);
    own.gateway.wait_until_flushed(2 * STATIONS as u64 + 1);
    check_retained(&own.gateway, &expected);
    let dir = own.dir;
    own.gateway.terminate();
    let gateway = Gateway::start(dir.path(), &e2e_tests::wire::arguments(&[]));
    check_retained(&gateway, &expected);
    // A value after the flush, then kill -9 at once behind the ack.
    let mut publisher = connect(&gateway, V3, "values");
    let last = json!({"time": "2025-11-21T05:00:00Z", "readings": [{"property": "p7", "value": -7}]});
    publish_json(&mut publisher, "obs/MANY/S3", &last);
    gateway.kill9();
    expected.insert("feed/v1/other/MANY/S3/p7".to_owned(), -7.0);
    let gateway = Gateway::start(dir.path(), &e2e_tests::wire::arguments(&[]));
    check_retained(&gateway, &expected);
}

fn check_retained(gateway: &Gateway, expected: &BTreeMap<String, f64>) {
    let mut late = connect(gateway, V3, "values-late");
    assert_eq!(subscribed(&mut late, V3, &[("feed/#", 1)]), [1]);
    let mut got = BTreeMap::new();
    while got.len() < expected.len() {
        let message = take(&mut late, V3);
        assert!(message.retain());
        let value = observation(&message)["result"].as_f64().expect("a number");
        assert!(got.insert(message.topic().to_owned(), value).is_none(), "each topic once: {message:?}");
    }
    assert!(got == *expected, "other values than the newest");
    nothing_more(&mut late, V3);
    // At QoS 0, where nothing paces the subscriber but its socket.
    let mut late = connect(gateway, V3, "values-late-0");
    assert_eq!(subscribed(&mut late, V3, &[("feed/v1/other/MANY/+/+", 0), ("ordinary/#", 0)]), [0, 0]);
    let topics: BTreeSet<String> =
        (0..=expected.len()).map(|_| take(&mut late, V3).topic().to_owned()).collect();
    assert_eq!(topics.len(), expected.len() + 1);
    assert!(topics.contains("ordinary/kept"));
    nothing_more(&mut late, V3);
}

/// What was not sent yet is not sent after UNSUBACK [MQTT-3.10.4-2].
#[test]
fn unsubscribing_ends_the_retained_values_too() {
    let own = start(&[]);
    let mut publisher = connect(&own.gateway, V3, "stop-values");
    let readings: Vec<Value> = (0..1_000).map(|i| json!({"property": format!("p{i}"), "value": i})).collect();
    for part in readings.chunks(100) {
        publish_json(
            &mut publisher,
            "obs/STOP/S",
            &json!({"time": "2025-11-21T01:00:00Z", "readings": part}),
        );
    }
    own.gateway.wait_until_flushed(10);
    // A window of one: the rest waits for acks.
    let (mut slow, _) =
        Connect { properties: vec![0x21, 0, 1], ..Connect::new(V5, "stop-values-slow") }.open(&own.gateway);
    assert_eq!(subscribed(&mut slow, V5, &[("feed/#", 1)]), [1]);
    let mut open = received(&mut slow, V5);
    slow.send(&unsubscribe(V5, 9, &["feed/#"]));
    assert_eq!(slow.read_packet().bytes[0], 0xB0);
    // What was begun may come: a batch, not all.
    let mut came = 1;
    loop {
        slow.send(&[&[0x40, 2][..], &open.id.to_be_bytes(), &[0xC0, 0]].concat());
        let mut bytes = slow.read_packet().bytes;
        let mut more = None;
        while bytes[0] != 0xD0 {
            more = Some(e2e_tests::wire::parse_publish(&bytes, V5));
            came += 1;
            bytes = slow.read_packet().bytes;
        }
        match more {
            Some(message) => open = message,
            None => break,
        }
    }
    assert!(came < 1_000, "{came} retained values came");
}

/// Clients may not publish to feed/, event/ and $SYS/: 5.0 hears it in the PUBACK, 3.1.1 by the end of the connection.
#[test]
fn reserved_topics_are_refused() {
    let own = shared();
    let mut watch = watch(&own.gateway, "reserved-watch", "feed/v1/other/RESERVED/#");
    assert_eq!(subscribed(&mut watch, V5, &[("event/#", 0), ("$SYS/#", 0)]), [0, 0]);
    for topic in ["feed/v1/other/RESERVED/s/p", "feed", "event/v1/x", "$SYS/x"] {
        let mut client = connect(&own.gateway, V5, "reserved");
        client.send(&publish(V5, 2, topic, 5, b"x"));
        // A PUBACK with its reason code, and the sentence that says why.
        let puback = client.read_packet().bytes;
        assert_eq!((puback[0], &puback[2..5]), (0x40, &[0, 5, 0x87][..]), "{topic}");
        assert!(String::from_utf8_lossy(&puback).contains("clients may not publish to feed/"), "{topic}");
        client.send(&publish(V5, 0, topic, 0, b"x"));
        client.expect_alive();
        for (flags, id) in [(2, 5), (0, 0), (4, 6)] {
            let mut client = connect(&own.gateway, V3, "reserved-old");
            client.send(&publish(V3, flags, topic, id, b"x"));
            assert!(client.expect_close().is_empty(), "{topic}: closed without an ack");
        }
        for version in BOTH {
            let mut client = RawMqtt::open(own.gateway.mqtt, version);
            client.send(&Connect::new(version, "reserved-will").will(topic, b"x", 0, false, &[]).bytes());
            let answer = client.expect_close();
            assert!(
                answer.iter().all(|frame| frame.bytes[0] == 0x20 && frame.bytes[3] != 0),
                "{topic}: {answer:02x?}"
            );
        }
    }
    // None of it went anywhere.
    nothing_more(&mut watch, V5);
    let mut fine = connect(&own.gateway, V5, "reserved-fine");
    for topic in ["feeds/x", "events", "SYS/x", "a/feed/v1"] {
        fine.send(&publish(V5, 2, topic, 5, b"x"));
        fine.expect_puback(5);
    }
}

/// Topics that no rule claims are routed, kept if they ask for it, and `ignored` in the books.
#[test]
fn ordinary_topics_are_routed_and_ignored_in_the_books() {
    let own = start(&[]);
    let mut pair = Pair::new(&own.gateway, V3, "ordinary");
    pair.subscribe("ordinary/#", 1);
    for i in 0..10 {
        pair.publish(u8::from(i == 9), "ordinary/t", &i.to_string());
        assert_eq!(pair.take().payload(), i.to_string());
    }
    // Readings are routed to their subscribers like any message.
    pair.subscribe("obs/#", 0);
    pair.publish(0, "obs/A/S/p", "1.5");
    assert_eq!(pair.take().payload(), "1.5");
    let ledger = own.gateway.wait_until_flushed(11);
    assert_eq!(
        ledger["messages"],
        json!({"received": 11, "decoded": 1, "partial": 0, "quarantined": 0, "ignored": 10, "pending": 0})
    );
    let dir = own.dir;
    own.gateway.kill9();
    let gateway = Gateway::start(dir.path(), &e2e_tests::wire::arguments(&[]));
    let mut late = connect(&gateway, V3, "ordinary-late");
    assert_eq!(subscribed(&mut late, V3, &[("ordinary/#", 1)]), [1]);
    let message = take(&mut late, V3);
    assert_eq!((message.payload(), message.flags), ("9", 3), "retained over kill -9");
    // Removed, and removed it stays.
    let mut publisher = connect(&gateway, V3, "ordinary-remover");
    publisher.send(&publish(V3, 3, "ordinary/t", 7, b""));
    publisher.expect_puback(7);
    gateway.terminate();
    let gateway = Gateway::start(dir.path(), &e2e_tests::wire::arguments(&[]));
    let mut late = connect(&gateway, V3, "ordinary-late");
    assert_eq!(subscribed(&mut late, V3, &[("ordinary/#", 1)]), [1]);
    nothing_more(&mut late, V3);
}
