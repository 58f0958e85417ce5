//! B1-3: what clients, operators and other clients see while a budget is full, on the real binary.

use std::thread;
use std::time::{Duration, Instant};

use codecs::mqtt::{Packet, ReasonCode};
use e2e_tests::wire::{self, BOTH, Connect, V3, V5, ack, connect, publish, subscribe, subscribed};
use e2e_tests::{Gateway, RawMqtt, SmallDisk, new_data_dir, wait_until};
use serde_json::Value;

/// Not the defaults, so that the test need not wait as long as a client would.
const SHORT_HOLD: [&str; 4] = ["--set", "mqtt.hold_ms_max=3000", "--set", "mqtt.hold_bytes_max=65536"];

/// A client that waits longer for an ack than this, again and again, does not get its turn.
const STARVED: Duration = Duration::from_secs(2);

fn ready(gateway: &Gateway) -> (u16, Value) {
    let (status, body) = gateway.http_get("/ready");
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// The answer to a PUBLISH of QoS 1: its reason code and sentence, or `None` where the connection was closed.
fn answer(client: &mut RawMqtt) -> Option<(u8, String)> {
    let frame = client.next_packet()?;
    match frame.packet() {
        Packet::PubAck(ack) => {
            Some((ack.reason_code.value(), ack.properties.reason_string().unwrap_or("").to_owned()))
        }
        Packet::Disconnect(_) => None,
        other => panic!("neither PUBACK nor the end: {other:?}"),
    }
}

/// Publishes until the gateway says that there is no room, first much at once, then the smallest frames.
fn fill_journal(gateway: &Gateway) -> RawMqtt {
    let mut filler = connect(gateway, V5, "filler");
    for payload in [vec![b'x'; 60_000], vec![b'x'; 1]] {
        let mut sent = 0;
        loop {
            filler.send(&publish(V5, 2, "fill/up", 1, &payload));
            match answer(&mut filler) {
                Some((0 | 0x10, _)) => sent += 1,
                Some((0x97, sentence)) => {
                    assert!(sentence.contains("mqtt.hold"), "{sentence}");
                    break;
                }
                other => panic!("{other:?}"),
            }
            assert!(sent < 20_000, "the disk is full");
        }
    }
    filler
}

/// No deadlock, honest answers, a state with cause, remedy and hours, and work that goes on by itself.
#[test]
fn b1_3_a_full_journal_answers_everything_else_and_tells_the_truth() {
    let disk = SmallDisk::new(96);
    let wrapper = disk.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let settings = [&SmallDisk::SETTINGS[..], &SHORT_HOLD].concat();
    let gateway = Gateway::start_wrapped(&wrapper, &disk.data_dir(), &settings);
    // Retained messages: deliveries that are there while nothing becomes durable.
    let mut retainer = connect(&gateway, V3, "retainer");
    for number in 1..=150_u16 {
        retainer.send(&publish(V3, 3, format!("kept/{number}"), number, b"x"));
        retainer.expect_puback(number);
    }
    let mut bridges: Vec<RawMqtt> =
        BOTH.into_iter().map(|version| connect(&gateway, version, &format!("bridge-{version:?}"))).collect();
    let will = Connect::new(V3, "dying").will("will/of", b"dying", 1, false, &[]);
    let (dying, _) = will.open(&gateway);
    let mut watcher = connect(&gateway, V3, "watcher");
    assert_eq!(subscribed(&mut watcher, V3, &[("will/of", 0), ("leaving", 0)]), [0, 0]);

    disk.fill();
    wait_until("/ready to say so", || (ready(&gateway).0 == 503).then_some(()));
    // The ballast's space would last for long: somebody else takes that too.
    disk.fill();
    let mut filler = fill_journal(&gateway);

    // A bridge publishes and subscribes on one connection: pings, subscriptions, deliveries and their acks go on.
    for (bridge, version) in bridges.iter_mut().zip(BOTH) {
        bridge.send(&publish(version, 2, "obs/A/S/flow", 1, b"1"));
        bridge.expect_alive();
        // More than the window of a 3.1.1 subscriber: it has to be read that it acknowledges.
        bridge.send(&subscribe(version, 9, &[("kept/+", 1)]));
        assert_eq!(bridge.read_packet().bytes[0], 0x90, "SUBACK");
        for _ in 0..150 {
            let message = wire::received(bridge, version);
            assert!(message.topic().starts_with("kept/"));
            bridge.send(&ack(0x40, message.id));
        }
    }
    // A client that leaves, and one that dies: what they said before, and its will, wait.
    let mut leaving = connect(&gateway, V3, "leaving");
    leaving.send(&[publish(V3, 0, "leaving", 0, b"goodbye"), vec![0xE0, 0]].concat());
    dying.drop_connection();

    let (status, answer_of_ready) = ready(&gateway);
    assert_eq!(status, 503);
    let states = answer_of_ready["states"].as_array().expect("a list").clone();
    let full: Vec<&Value> = states.iter().filter(|state| state["blocks"] == true).collect();
    assert!(!full.is_empty(), "{answer_of_ready}");
    for state in &full {
        assert!(state["cause"].as_str().is_some_and(|cause| cause.contains("disk is full")), "{state}");
        assert!(state["remedy"].as_str().is_some_and(|remedy| remedy.contains("free some space")), "{state}");
        assert!(state.get("hours_left").is_some(), "{state}");
        let budgets = answer_of_ready["budgets"].as_array().expect("a list");
        assert!(budgets.iter().any(|budget| budget["budget"] == state["budget"]), "{answer_of_ready}");
        let name = state["state"].as_str().expect("a word");
        assert_eq!(gateway.metric(&format!("state{{state=\"{name}\"}}")), 1);
    }
    let budgets = answer_of_ready["budgets"].as_array().expect("a list");
    for name in
        ["disk", "journal", "observation_log", "rows_in_memory", "late_rows", "hold_pool", "quarantine"]
    {
        let budget = budgets.iter().find(|budget| budget["budget"] == name);
        assert!(budget.is_some_and(|budget| budget["left"].is_u64()), "{name}: {budgets:?}");
        let hours = format!("sensor_gateway_budget_hours_left{{budget=\"{name}\"}}");
        assert!(gateway.http_get("/metrics").1.contains(&hours), "{name}");
    }
    // Waiting makes no sense any more: 5.0 is told, 3.1.1 closed without PUBACK.
    let (v3, v5) = bridges.split_at_mut(1);
    let (code, sentence) = answer(&mut v5[0]).expect("a PUBACK");
    assert_eq!((code, sentence.contains("mqtt.hold_ms_max")), (ReasonCode::QUOTA_EXCEEDED.value(), true));
    assert!(v3[0].next_packet().is_none(), "closed, and no PUBACK before it");
    assert!(gateway.metric("mqtt_messages_refused_total{reason=\"held_too_long\"}") >= 2);
    v5[0].expect_alive();
    let received = gateway.ledger()["messages"]["received"].clone();

    disk.free();
    wait_until("/ready", || (ready(&gateway).0 == 200).then_some(()));
    // What was refused is sent again; nobody had to do anything at the gateway.
    v5[0].send(&publish(V5, 2, "obs/A/S/flow", 1, b"1"));
    assert_eq!(answer(&mut v5[0]).expect("a PUBACK").0 & 0x80, 0);
    filler.send(&publish(V5, 2, "fill/up", 1, b"x"));
    assert_eq!(answer(&mut filler).expect("a PUBACK").0 & 0x80, 0);
    let rows = wait_until("the reading", || {
        let (_, rows) = gateway.http_get("/api/v1/observations?datastream=A/S/flow&format=ndjson");
        Some(rows.lines().count()).filter(|rows| *rows > 0)
    });
    assert_eq!(rows, 1, "what was refused was not journaled");
    assert_eq!(wire::received(&mut watcher, V3).topic(), "will/of");
    let after = gateway.ledger()["messages"]["received"].clone();
    assert!(after.as_u64() > received.as_u64());
    let log = wait_until("the log to say that it has ended", || {
        Some(gateway.stderr()).filter(|log| log.contains("has ended; work goes on"))
    });
    assert!(log.contains("free some space in the data directory"), "{log}");
    gateway.terminate();
}

/// A client whose garbage fills its share of the quarantine is refused before the ack; others notice nothing; it is so after
/// a restart, too.
#[test]
fn b1_3_garbage_beyond_the_share_is_refused_before_the_ack() {
    let directory = new_data_dir();
    let settings = ["--set", "quarantine.client_bytes_max=8192", "--set", "store.flush_interval_ms=300"];
    let gateway = Gateway::start(directory.path(), &settings);
    let garbage = [b'?'; 600];
    let mut bad = connect(&gateway, V5, "bad");
    let mut taken = 0;
    let sentence = loop {
        bad.send(&publish(V5, 2, "obs/A/BAD", 1, &garbage));
        match answer(&mut bad).expect("a 5.0 client stays") {
            (0x97, sentence) => break sentence,
            (code, _) => assert_eq!(code & 0x80, 0),
        }
        taken += 1;
        // The share is counted where the message is decoded, which is after its ack.
        thread::sleep(Duration::from_millis(5));
        assert!(taken < 1_000, "its share is used up");
    };
    assert!(sentence.contains("quarantine.client_bytes_max"), "{sentence}");
    let (status, answer_of_ready) = ready(&gateway);
    assert_eq!(status, 200, "the gateway is ready for everybody else");
    wait_until("the state", || {
        let (_, answer) = ready(&gateway);
        answer["states"].as_array()?.iter().find(|state| state["state"] == "quarantine_full")?;
        Some(())
    });
    assert!(answer_of_ready["reasons"].as_array().is_some_and(Vec::is_empty));
    let mut good = connect(&gateway, V3, "good");
    good.send_publish("obs/A/GOOD/flow", 1, b"1");
    good.expect_puback(1);
    bad.send(&publish(V5, 2, "other/topic", 2, b"x"));
    assert_eq!(answer(&mut bad).expect("a PUBACK").0 & 0x80, 0, "only what is decoded can be quarantined");
    let kept = gateway.ledger()["messages"]["quarantined"].as_u64();
    assert_eq!(kept, Some(taken), "everything that was acknowledged is kept");
    gateway.terminate();

    let gateway = Gateway::start(directory.path(), &settings);
    let mut bad = connect(&gateway, V5, "bad");
    bad.send(&publish(V5, 2, "obs/A/BAD", 1, &garbage));
    assert_eq!(answer(&mut bad).expect("a PUBACK").0, 0x97, "the sums are those of the catalogue");
    let mut old = connect(&gateway, V3, "bad");
    old.send(&publish(V3, 0, "obs/A/BAD", 0, &garbage));
    old.expect_alive();
    old.send(&publish(V3, 2, "obs/A/BAD", 1, &garbage));
    assert!(old.expect_close().is_empty(), "3.1.1: closed without PUBACK");
    let dropped = "mqtt_qos0_dropped_total{reason=\"quarantine_client\"}";
    assert_eq!(gateway.metric(dropped), 1);
    gateway.terminate();
}

/// One loud client beside twenty quiet ones: every quiet message is acknowledged while the flood goes on, which has no end, and
/// in the middle within [`STARVED`]: far above what a loaded machine needs, far below what a line behind a flood would be.
#[test]
fn b1_3_a_loud_client_leaves_the_others_their_acks() {
    let directory = new_data_dir();
    let gateway = Gateway::start(directory.path(), &["--set", "mqtt.shards=1"]);
    let mut quiet: Vec<RawMqtt> =
        (0..20).map(|number| connect(&gateway, V5, &format!("quiet-{number}"))).collect();
    let mut round = |name: &str| {
        let mut latencies: Vec<Duration> = Vec::new();
        for _ in 0..5 {
            for (number, client) in quiet.iter_mut().enumerate() {
                let start = Instant::now();
                client.send(&publish(V5, 2, format!("obs/A/Q{number}/flow"), 1, b"1"));
                assert_eq!(answer(client).expect("it stays connected").0 & 0x80, 0);
                latencies.push(start.elapsed());
            }
        }
        latencies.sort();
        println!(
            "{name}: ack p50 {:?}, p99 {:?}, most {:?}",
            latencies[latencies.len() / 2],
            latencies[latencies.len() * 99 / 100],
            latencies[latencies.len() - 1]
        );
        assert!(latencies[latencies.len() / 2] < STARVED, "{name}: the others are starved");
    };
    round("before");
    let address = gateway.mqtt;
    let loud: Vec<_> = (0..2)
        .map(|number| {
            let mut client = RawMqtt::connect(address, V3, &format!("loud-{number}"));
            let flood = publish(V3, 0, "obs/A/LOUD/flow", 0, b"1").repeat(2_000);
            thread::spawn(move || while client.try_send(&flood).is_ok() {})
        })
        .collect();
    let before = gateway.ledger()["messages"]["received"].as_u64();
    wait_until("the flood", || {
        (gateway.ledger()["messages"]["received"].as_u64() > before.map(|count| count + 100_000))
            .then_some(())
    });
    round("during");
    assert!(loud.iter().all(|loud| !loud.is_finished()), "the loud ones are slowed down, not closed");
    // Another connection under the same name ends them.
    for number in 0..2 {
        RawMqtt::connect(address, V3, &format!("loud-{number}")).drop_connection();
    }
    for loud in loud {
        loud.join().expect("it ends with its connection");
    }
    round("after");
    gateway.terminate();
}
