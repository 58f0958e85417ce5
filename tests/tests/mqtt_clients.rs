//! A1-10: clients that others wrote: mosquitto's, paho's, rumqttc. One binary, its defaults.

use std::sync::mpsc::channel;
use std::thread;

use e2e_tests::wire::{V3, V5, connect, publish, shared, start, subscribed, take};
use e2e_tests::{DEADLINE, MosquittoSub, mosquitto_pub, python_file, repository};
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::{Event, MqttOptions, Packet, QoS};

#[test]
fn mosquitto_clients_of_both_versions() {
    let own = shared();
    let mqtt = own.gateway.mqtt;
    for version in ["311", "5"] {
        let topic = format!("mosquitto/{version}/t");
        let all = format!("mosquitto/{version}/#");
        let level = format!("mosquitto/{version}/+");
        let by_hash = MosquittoSub::start(mqtt, &["-V", version, "-q", "1", "-t", &all]);
        let by_plus =
            MosquittoSub::start(mqtt, &["-V", version, "-q", "0", "-t", &level, "-t", "mosquitto/other"]);
        let qualities = if version == "5" { &["0", "1"][..] } else { &["0", "1", "2"] };
        for qos in qualities {
            mosquitto_pub(mqtt, &["-V", version, "-q", qos, "-t", &topic, "-m", qos], b"");
            for subscriber in [&by_hash, &by_plus] {
                assert_eq!(subscriber.next_message(), (false, topic.clone(), (*qos).to_owned()));
            }
        }
        // 1,000 lines, each a message, in order.
        let lines: String = (0..1000).map(|i| format!("{i}\n")).collect();
        mosquitto_pub(mqtt, &["-V", version, "-q", "1", "-t", &topic, "-l"], lines.as_bytes());
        for i in 0..1000 {
            assert_eq!(by_hash.next_message().2, i.to_string());
            assert_eq!(by_plus.next_message().2, i.to_string());
        }
        // Retained, for who comes later; then removed.
        mosquitto_pub(mqtt, &["-V", version, "-q", "1", "-r", "-t", &topic, "-m", "kept"], b"");
        let late = MosquittoSub::start(mqtt, &["-V", version, "-t", &level]);
        assert_eq!(late.next_message(), (true, topic.clone(), "kept".to_owned()));
        mosquitto_pub(mqtt, &["-V", version, "-r", "-n", "-t", &topic], b"");
        assert_eq!(late.next_message(), (false, topic.clone(), String::new()));
        // A large one.
        let large = "x".repeat(200 << 10);
        mosquitto_pub(mqtt, &["-V", version, "-q", "1", "-t", &topic, "-s"], large.as_bytes());
        assert!(late.next_message().2 == large, "200 KiB come back as they were sent");
        // A will of a client that is killed.
        let will = format!("mosquitto/{version}/will");
        drop(MosquittoSub::start(
            mqtt,
            &[
                "-V",
                version,
                "-t",
                "none",
                "--will-topic",
                &will,
                "--will-payload",
                "gone",
                "--will-qos",
                "1",
            ],
        ));
        assert_eq!(late.next_message(), (false, will, "gone".to_owned()));
    }
}

#[test]
fn paho() {
    let own = shared();
    let (host, port) = (own.gateway.mqtt.ip().to_string(), own.gateway.mqtt.port().to_string());
    for version in ["3", "5"] {
        let output =
            python_file(&repository().join("tests/scripts/paho_round_trip.py"), &[&host, &port, version]);
        assert_eq!(output.trim(), "fine");
    }
}

#[test]
fn rumqttc_of_3_1_1() {
    let own = shared();
    let mut options = MqttOptions::new("rumqttc", own.gateway.mqtt.ip().to_string(), own.gateway.mqtt.port());
    options.set_max_packet_size(256 << 10, 256 << 10);
    let (client, mut connection) = rumqttc::Client::new(options, 2_000);
    let (sender, events) = channel();
    thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(packet)) => {
                    if sender.send(packet).is_err() {
                        return;
                    }
                }
                Ok(Event::Outgoing(_)) => {}
                Err(_) => return,
            }
        }
    });
    let next = |what: &str| events.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(matches!(next("CONNACK"), Packet::ConnAck(connack) if !connack.session_present));
    client.subscribe("rumqttc/#", QoS::ExactlyOnce).expect("the queue has room");
    assert!(matches!(next("SUBACK"), Packet::SubAck(_)));
    let mut expected = Vec::new();
    for i in 0..999 {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][i % 3];
        client.publish(format!("rumqttc/{}", i % 4), qos, false, i.to_string()).expect("the queue has room");
        expected.push(i.to_string());
    }
    let mut got = Vec::new();
    let (mut acks, mut completed) = (0, 0);
    while got.len() < 999 || acks < 333 || completed < 333 {
        match next("messages and acks") {
            Packet::Publish(message) => got.push(String::from_utf8_lossy(&message.payload).into_owned()),
            Packet::PubAck(_) => acks += 1,
            Packet::PubComp(_) => completed += 1,
            Packet::PubRec(_) | Packet::PingResp => {}
            other => panic!("{other:?}"),
        }
    }
    // MQTT keeps the order of one QoS (4.6.0-6): QoS 0 need not wait for room in the window of the others.
    for qos in 0..3 {
        let of_qos = |list: &[String]| -> Vec<String> {
            list.iter()
                .filter(|payload| payload.parse::<usize>().is_ok_and(|i| i % 3 == qos))
                .cloned()
                .collect()
        };
        assert_eq!(of_qos(&got), of_qos(&expected), "QoS {qos}");
    }
    assert_eq!(got.len(), expected.len());
    client.disconnect().expect("the queue has room");
}

#[test]
fn rumqttc_of_5_0() {
    let own = shared();
    let mqtt = own.gateway.mqtt;
    let options = rumqttc::v5::MqttOptions::new("rumqttc5", mqtt.ip().to_string(), mqtt.port());
    let (client, mut connection) = rumqttc::v5::Client::new(options, 2_000);
    let (sender, events) = channel();
    thread::spawn(move || {
        for event in connection.iter() {
            let Ok(event) = event else { return };
            if let rumqttc::v5::Event::Incoming(packet) = event
                && sender.send(packet).is_err()
            {
                return;
            }
        }
    });
    use rumqttc::v5::mqttbytes::v5::Packet as Packet5;
    let next = |what: &str| events.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(matches!(next("CONNACK"), Packet5::ConnAck(connack) if !connack.session_present));
    client.subscribe("rumqttc5/+", QoS5::AtLeastOnce).expect("the queue has room");
    assert!(matches!(next("SUBACK"), Packet5::SubAck(_)));
    for i in 0..1000 {
        client.publish("rumqttc5/t", QoS5::AtLeastOnce, false, i.to_string()).expect("the queue has room");
    }
    let (mut got, mut acks) = (0, 0);
    while got < 1000 || acks < 1000 {
        match next("messages and acks") {
            Packet5::Publish(message) => {
                assert_eq!(message.payload, got.to_string().as_bytes());
                got += 1;
            }
            Packet5::PubAck(_) => acks += 1,
            Packet5::PingResp(_) => {}
            other => panic!("{other:?}"),
        }
    }
    client.disconnect().expect("the queue has room");
}

/// 500 connections at once, each publishes and subscribes; then all are gone and counted so.
#[test]
fn five_hundred_connections_at_once() {
    let own = start(&[]);
    let mut clients: Vec<_> = (0..500)
        .map(|i| {
            let version = [V3, V5][i % 2];
            let mut client = connect(&own.gateway, version, &format!("many-{i}"));
            assert_eq!(
                subscribed(&mut client, version, &[("many/all", 1), (&format!("many/{i}"), 1)]),
                [1, 1]
            );
            (client, version)
        })
        .collect();
    for (i, (client, version)) in clients.iter_mut().enumerate() {
        let next = (i + 1) % 500;
        client.send(&publish(*version, 0, format!("many/{next}"), 0, next.to_string().as_bytes()));
    }
    for (i, (client, version)) in clients.iter_mut().enumerate() {
        assert_eq!(take(client, *version).payload(), i.to_string());
    }
    let (first, version) = &mut clients[0];
    first.send(&publish(*version, 0, "many/all", 0, b"all"));
    for (client, version) in &mut clients {
        assert_eq!(take(client, *version).payload(), "all");
    }
    drop(clients);
    e2e_tests::wait_until("all connections to be gone", || {
        let (_, metrics) = own.gateway.http_get("/metrics");
        metrics.contains("\nsensor_gateway_mqtt_connections 0\n").then_some(())
    });
}
