//! Bad input and P8: what a stranger can do to the front end, and what it costs. Bounds are stated at each measurement.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use e2e_tests::wire::{
    self, BOTH, Connect, Pair, V3, V5, arguments, connect, packet, publish, start, subscribe, subscribed,
    take, text, unsubscribe,
};
use e2e_tests::{DEADLINE, Gateway, Random, RawMqtt, new_data_dir, wait_until};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Resident memory of the process, in bytes.
fn resident(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("the gateway runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * KIB
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(DEADLINE)).expect("the deadline is not zero");
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// P4: a subscriber that does not read is cut off when its queue is full; nobody else notices.
#[test]
fn a_slow_subscriber_is_cut_off_alone() {
    let own = start(&[]);
    for version in BOTH {
        let before = own.gateway.metric("mqtt_subscribers_cut_off_total");
        let mut pair = Pair::new(&own.gateway, version, "slow");
        let mut slow = connect(&own.gateway, version, "slow");
        assert_eq!(subscribed(&mut slow, version, &[("slow/t", 1)]), [1]);
        assert_eq!(pair.subscribe("slow/t", 1), 1);
        let payload = "x".repeat(100_000);
        let mut sent = 0;
        // Socket buffers of both sides and 1 MiB of queue: far less than 1,000 messages of 100 kB.
        while own.gateway.metric("mqtt_subscribers_cut_off_total") == before {
            pair.publish(0, "slow/t", &payload);
            assert_eq!(pair.take().payload.len(), payload.len());
            sent += 1;
            assert!(sent < 1_000, "the subscriber that does not read is still there");
        }
        pair.publish(0, "slow/t", "others go on");
        assert_eq!(pair.take().payload(), "others go on");
        // What it gets at last: messages in order, perhaps cut short, and no end before its window of 100 was full or its queue.
        slow.drop_connection();
        // A subscriber at QoS 0 loses messages (counted) instead of its connection.
        let dropped = own.gateway.metric("mqtt_messages_dropped_total");
        let mut lossy = connect(&own.gateway, version, "slow");
        assert_eq!(subscribed(&mut lossy, version, &[("slow/t", 0)]), [0]);
        sent = 0;
        while own.gateway.metric("mqtt_messages_dropped_total") == dropped {
            pair.publish(0, "slow/t", &payload);
            pair.take();
            sent += 1;
            assert!(sent < 1_000, "nothing was dropped");
        }
        let first = take(&mut lossy, version);
        assert_eq!((first.qos(), first.payload.len()), (0, payload.len()));
    }
}

/// A subscriber that never acknowledges is cut off too; the window alone (100 messages in 3.1.1) does not end it.
#[test]
fn a_subscriber_that_never_acknowledges_is_cut_off() {
    let own = start(&["mqtt.session_queue_bytes_max=262144"]);
    let mut publisher = connect(&own.gateway, V3, "window-publisher");
    let mut silent = connect(&own.gateway, V5, "window-silent");
    assert_eq!(subscribed(&mut silent, V5, &[("window/t", 1)]), [1]);
    let reader = thread::spawn(move || silent.expect_close());
    let mut id = 0;
    while !reader.is_finished() {
        id = id % 60_000 + 1;
        publisher.send(&publish(V3, 2, "window/t", id, &[b'x'; 1_000]));
        publisher.expect_puback(id);
        assert!(id < 20_000, "1,024 messages of window and 256 KiB of queue are long full");
    }
    let frames = reader.join().expect("the subscriber reads to the end");
    let last = frames.last().expect("a DISCONNECT");
    assert_eq!(wire::disconnect_reason(&last.bytes), 0x97, "Quota exceeded");
    let sentence = String::from_utf8_lossy(&last.bytes);
    assert!(sentence.contains("mqtt.session_queue_bytes_max"), "it is told why (B1-3): {sentence}");
    assert!(frames.len() > 1_000, "its window was used: {}", frames.len());
}

#[test]
fn connections_and_connect_time_are_limited() {
    let own = start(&["mqtt.connections_max=20", "mqtt.connect_timeout_ms=500"]);
    let mut clients: Vec<RawMqtt> =
        (0..20).map(|i| connect(&own.gateway, V3, &format!("limited-{i}"))).collect();
    for _ in 0..10 {
        let mut refused = TcpStream::connect(own.gateway.mqtt).expect("the port is open");
        assert!(read_to_end(&mut refused).is_empty());
    }
    for client in &mut clients {
        client.expect_alive();
    }
    // Room again when some leave.
    clients.truncate(10);
    wait_until("connections to be counted out", || {
        (own.gateway.metric("mqtt_connections") == 10).then_some(())
    });
    // No CONNECT, half a CONNECT: closed in silence, and not before the time.
    for start in [&b""[..], &Connect::new(V3, "half").bytes()[..9]] {
        let mut silent = TcpStream::connect(own.gateway.mqtt).expect("the port is open");
        let started = Instant::now();
        silent.write_all(start).expect("the gateway reads");
        assert!(read_to_end(&mut silent).is_empty());
        assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
    }
    clients.push(connect(&own.gateway, V5, "limited-again"));
    for client in &mut clients {
        client.expect_alive();
    }
}

/// Random bytes, and CONNECT with random bytes behind it, on thousands of connections: never a panic, others are fine, one
/// line per client and period, everything counted.
#[test]
fn floods_of_garbage() {
    let mut own = start(&[]);
    let mut pair = Pair::new(&own.gateway, V5, "garbage-others");
    pair.subscribe("garbage-others/t", 1);
    let mut random = Random::new(0x5EED);
    let errors = own.gateway.metric("mqtt_protocol_errors_total");
    const ROUNDS: usize = 1_500;
    for round in 0..ROUNDS {
        let mut bytes: Vec<u8> = match round % 3 {
            0 => Vec::new(),
            kind => Connect::new(BOTH[kind - 1], "garbage").bytes(),
        };
        let behind_connect = bytes.len();
        bytes.extend((0..random.next_u64() % 200 + 1).map(|_| random.next_u64() as u8));
        if round % 3 != 0 {
            // Type 0 does not exist, so it ends with a breach at the latest.
            bytes[behind_connect] &= 0x0F;
        }
        if round % 3 == 0 {
            // No CONNECT, or a length that cannot be.
            bytes[0] |= 0x20;
        }
        let mut stream = TcpStream::connect(own.gateway.mqtt).expect("the port is open");
        stream.write_all(&bytes).expect("the gateway reads");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = read_to_end(&mut stream);
        if round % 3 == 0 {
            assert!(answer.is_empty(), "{bytes:02x?} → {answer:02x?}");
        }
        if round % 100 == 0 {
            pair.publish(0, "garbage-others/t", &round.to_string());
            assert_eq!(pair.take().payload(), round.to_string());
        }
    }
    assert!(own.gateway.is_running());
    let counted = own.gateway.metric("mqtt_protocol_errors_total") - errors;
    assert!(counted >= ROUNDS as u64 * 2 / 3, "{counted} counted");
    let stderr = own.gateway.stderr();
    assert!(!stderr.contains("panicked"), "{stderr}");
    let lines = stderr.lines().filter(|line| line.contains("closed") || line.contains("refused")).count();
    // One for the address without a client, one for the client "garbage", perhaps once more when the minute is over.
    assert!((2..=6).contains(&lines), "{lines} lines:\n{stderr}");
    wait_until("all of them to be gone", || (own.gateway.metric("mqtt_connections") == 2).then_some(()));
}

#[test]
fn subscriptions_of_a_client_are_limited() {
    let own = start(&["mqtt.subscriptions_per_client_max=10"]);
    for (version, refusal) in [(V3, 0x80), (V5, 0x97)] {
        let mut client = connect(&own.gateway, version, "subscriptions");
        let filters: Vec<String> = (0..12).map(|i| format!("subscriptions/{i}")).collect();
        let all: Vec<(&str, u8)> = filters.iter().map(|filter| (&**filter, 0)).collect();
        let mut expected = vec![0; 10];
        expected.extend([refusal, refusal]);
        assert_eq!(subscribed(&mut client, version, &all), expected);
        assert_eq!(subscribed(&mut client, version, &[("subscriptions/3", 1)]), [1], "one that it has");
        client.send(&unsubscribe(version, 4, &["subscriptions/3"]));
        assert_eq!(client.read_packet().bytes[0], 0xB0);
        assert_eq!(
            subscribed(&mut client, version, &[("subscriptions/11", 0), ("subscriptions/3", 0)]),
            [0, refusal]
        );
    }
    wait_until("the subscriptions to leave with their clients", || {
        (own.gateway.metric("mqtt_subscriptions") == 0).then_some(())
    });
}

/// Requests whose answers nobody reads, and requests in great numbers, end with the connection only.
#[test]
fn floods_of_requests() {
    let own = start(&[]);
    let mut pair = Pair::new(&own.gateway, V3, "requests-others");
    pair.subscribe("requests-others/t", 1);
    for (name, request) in [
        ("PINGREQ", vec![0xC0, 0]),
        ("SUBSCRIBE", subscribe(V3, 1, &[("requests/t", 0)])),
        ("UNSUBSCRIBE", unsubscribe(V3, 1, &["requests/t"])),
        ("PUBREL", vec![0x62, 2, 0, 1]),
        ("PUBLISH without reading PUBACK", publish(V3, 2, "requests/t", 1, b"")),
    ] {
        let mut stream = TcpStream::connect(own.gateway.mqtt).expect("the port is open");
        stream.write_all(&Connect::new(V3, "requests").bytes()).expect("the gateway reads");
        stream.set_write_timeout(Some(Duration::from_millis(200))).expect("not zero");
        let many = request.repeat((64 << 10) / request.len());
        // It ends by being closed, or by being read no further: both are fine, growing is not.
        for _ in 0..300 {
            if stream.write_all(&many).is_err() {
                break;
            }
        }
        pair.publish(0, "requests-others/t", name);
        assert_eq!(pair.take().payload(), name);
    }
    let resident = resident(&own.gateway);
    // 20 MB for each of the five floods were sent; the gateway's journal buffers are 16 MiB per shard.
    assert!(resident < 256 * MIB, "{} MiB", resident / MIB);
}

/// Topics of all depths and in great numbers; filters that come and go. The process stays below a stated size.
#[test]
fn topics_and_filters_in_great_numbers() {
    let own = start(&[]);
    let mut pair = Pair::new(&own.gateway, V5, "topics");
    let deep = "/".repeat(1_000);
    let wide = "+/".repeat(500);
    assert_eq!(pair.subscribe(&wide, 0), 0);
    assert_eq!(pair.subscribe(&format!("{}#", "+/".repeat(500)), 0), 0);
    pair.publish(0, &"a/".repeat(500), "deep");
    assert_eq!(pair.take().payload(), "deep");
    pair.publish(0, &deep, "deeper");
    assert_eq!(pair.take().payload(), "deeper", "the one with #");
    pair.b.send(&unsubscribe(V5, 3, &[&wide, &format!("{}#", "+/".repeat(500))]));
    assert_eq!(pair.b.read_packet().bytes[0], 0xB0);
    assert_eq!(pair.subscribe("topics/#", 0), 0);
    let before = resident(&own.gateway);
    // 10,000 topics of 200 bytes, each seen by the router's memory of matches, and routed.
    let tail = "t".repeat(190);
    for i in 0..10_000 {
        pair.a.send(&publish(V5, 0, format!("topics/{i}/{tail}"), 0, b"x"));
        assert_eq!(pair.take().topic().split('/').nth(1), Some(&*i.to_string()));
    }
    // 20,000 filters that come and go: what is gone is given back.
    for i in 0..200 {
        let filters: Vec<String> = (0..90).map(|n| format!("filters/{i}/{n}/+/{tail}/#")).collect();
        let all: Vec<(&str, u8)> = filters.iter().map(|filter| (&**filter, 0)).collect();
        assert_eq!(subscribed(&mut pair.b, V5, &all), vec![0; 90]);
        let all: Vec<&str> = filters.iter().map(String::as_str).collect();
        pair.b.send(&unsubscribe(V5, 3, &all));
        assert_eq!(pair.b.read_packet().bytes[0], 0xB0);
    }
    let grown = resident(&own.gateway).saturating_sub(before);
    // Remembered matches: 10,000 × (topic 200 B + match 100 B) = 3 MB; the rest is journal buffers seeing use for the first
    // time (16 × 1 MiB), observation frames of ignored messages, allocator slack.
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
}

/// Incomplete packets are held within mqtt.partial_bytes_max, whoever holds them.
#[test]
fn incomplete_packets_are_held_within_their_budget() {
    let own = start(&["mqtt.partial_bytes_max=4194304", "mqtt.shards=1"]);
    let mut pair = Pair::new(&own.gateway, V3, "partial-others");
    pair.subscribe("partial-others/t", 1);
    let before = resident(&own.gateway);
    // 200 × 200 KiB = 39 MiB of the first parts of packets of 250 KiB.
    let whole = publish(V3, 0, "partial/t", 0, &vec![b'x'; 250 << 10]);
    let mut open: Vec<TcpStream> = (0..200)
        .map(|i| {
            let mut stream = TcpStream::connect(own.gateway.mqtt).expect("the port is open");
            stream.write_all(&Connect::new(V3, format!("partial-{i}")).bytes()).expect("the gateway reads");
            // One byte first, so that the rest comes behind a part that is held.
            stream.write_all(&whole[..1]).expect("the gateway reads");
            stream
        })
        .collect();
    for stream in &mut open {
        // The ones over the budget are closed while they write.
        let _ = stream.write_all(&whole[1..200 << 10]);
    }
    wait_until("those over the budget to be closed", || {
        (own.gateway.metric("mqtt_connections") <= 2 + 25).then_some(())
    });
    let grown = resident(&own.gateway).saturating_sub(before);
    assert!(grown < 4 * MIB + 24 * MIB, "{} MiB more", grown / MIB);
    pair.publish(0, "partial-others/t", "others go on");
    assert_eq!(pair.take().payload(), "others go on");
    drop(open);
    wait_until("all of them to be gone", || (own.gateway.metric("mqtt_connections") == 2).then_some(()));
}

/// P8: an idle plaintext connection costs at most 4 KiB of our memory. Counted is the growth of the process's resident
/// memory (VmRSS: connection, session, buffers, tables of the shard, and the allocator's own share) over 2,000 idle
/// connections; the kernel's socket buffers are not our memory and are not in it.
#[test]
fn an_idle_connection_costs_at_most_4_kib() {
    const CONNECTIONS: u64 = 2_000;
    let own = start(&[]);
    // Warm: journal buffers, pipeline and shards have had the same load before; what that set up is not the connections'.
    let mut warm: Vec<RawMqtt> = (0..50).map(|i| connect(&own.gateway, V5, &format!("warm-{i}"))).collect();
    let burst = |version| {
        (1..=100).flat_map(|id| publish(version, 2, "idle/t", id, &[b'x'; 100])).collect::<Vec<u8>>()
    };
    for _ in 0..CONNECTIONS / 50 {
        for client in &mut warm {
            client.send(&burst(V5));
            (1..=100).for_each(|id| client.expect_puback(id));
        }
    }
    own.gateway.wait_until_flushed(100 * CONNECTIONS);
    let before = resident(&own.gateway);
    let mut idle: Vec<RawMqtt> = (0..CONNECTIONS)
        .map(|i| connect(&own.gateway, BOTH[i as usize % 2], &format!("idle-{i:04}")))
        .collect();
    idle.iter_mut().for_each(RawMqtt::expect_alive);
    let each = resident(&own.gateway).saturating_sub(before) / CONNECTIONS;
    println!("an idle connection: {each} bytes");
    assert!(each <= 4 * KIB, "{each} bytes");
    // The same after each has had a burst, once they are idle again.
    for (i, client) in idle.iter_mut().enumerate() {
        client.send(&burst(BOTH[i % 2]));
        (1..=100).for_each(|id| client.expect_puback(id));
    }
    own.gateway.wait_until_flushed(200 * CONNECTIONS);
    let deadline = Instant::now() + DEADLINE;
    let mut each = u64::MAX;
    while each > 4 * KIB && Instant::now() < deadline {
        each = resident(&own.gateway).saturating_sub(before) / CONNECTIONS;
        thread::sleep(Duration::from_millis(200));
    }
    println!("after a burst: {each} bytes");
    assert!(each <= 4 * KIB, "{each} bytes after a burst");
}

/// Payloads that nobody can decode are taken and quarantined, not refused; the next one is read as ever.
#[test]
fn undecodable_payloads_do_no_harm() {
    let dir = new_data_dir();
    let gateway = Gateway::start(dir.path(), &arguments(&[]));
    let mut client = connect(&gateway, V3, "undecodable");
    let mut random = Random::new(7);
    for id in 1..=500 {
        let payload: Vec<u8> = (0..random.next_u64() % 300).map(|_| random.next_u64() as u8).collect();
        client.send(&publish(V3, 2, "obs/A/S", id, &payload));
    }
    (1..=500).for_each(|id| client.expect_puback(id));
    client.send(&packet(0x32, &[&text("obs/A/S/p"), &[0, 1], b"1.5"]));
    client.expect_puback(1);
    let ledger = gateway.wait_until_flushed(501);
    assert_eq!(ledger["messages"]["received"], 501);
    assert_eq!(ledger["messages"]["quarantined"], 500, "{ledger}");
    assert_eq!(ledger["observations"]["inserted"], 1);
    assert!(!gateway.stderr().contains("panicked"));
}
