//! A shard over simulated sockets and a journal whose progress the test decides.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use codecs::mqtt::QoS;

use super::opening::owner_of;
use super::*;
use crate::journal::{Lanes, LanesConfig};
use crate::metrics::sum_of;
use crate::mqtt::limits::LINGER_MS;
use crate::mqtt::{Delivery, DeliveryBatch, DeliveryPlace, DeliverySource, Publication};

mod hold;

const SECOND: u64 = 1_000_000;

#[derive(Debug, Default)]
struct Wire {
    to_gateway: VecDeque<u8>,
    ended: bool,
    from_gateway: Vec<u8>,
    /// What the peer's window still takes.
    window: usize,
    write_closed: bool,
    dropped: bool,
}

/// The peer's end of a simulated socket.
#[derive(Clone, Debug)]
struct Peer(Arc<Mutex<Wire>>);

impl Peer {
    fn wire(&self) -> std::sync::MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, bytes: &[u8]) {
        self.wire().to_gateway.extend(bytes);
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.wire().from_gateway)
    }
}

struct FakeSocket(Peer);

impl io::Read for FakeSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.wire();
        if wire.to_gateway.is_empty() && !wire.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.to_gateway.read(buffer)
    }
}

impl io::Write for FakeSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.wire();
        let count = bytes.len().min(wire.window);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.window -= count;
        wire.from_gateway.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for FakeSocket {
    fn drop(&mut self) {
        self.0.wire().dropped = true;
    }
}

impl Socket for FakeSocket {
    fn shutdown_write(&mut self) {
        self.0.wire().write_closed = true;
    }

    fn peer_ip(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    }

    fn tcp_stream(&mut self) -> Option<&mut mio::net::TcpStream> {
        None
    }
}

/// Shard, journal, clock.
struct Bench {
    shard: Shard,
    lanes: Arc<Lanes>,
    metrics: Arc<Metrics>,
    quota: Arc<QuarantineQuota>,
    now_us: u64,
}

impl Bench {
    fn new(limits: MqttLimits) -> Self {
        Self::of_shards(limits, 1)
    }

    fn of_shards(limits: MqttLimits, shard_count: usize) -> Self {
        let lanes =
            Lanes::new(LanesConfig { shards: shard_count, buffer_bytes: 64 << 10, buffers_per_shard: 2 });
        let metrics = Arc::new(Metrics::default());
        let quota = Arc::new(QuarantineQuota::new(1_000, 10_000, []));
        let shared = Arc::new(ShardShared {
            limits,
            metrics: metrics.clone(),
            connections: AtomicI64::new(0),
            mapping_version: 1,
            quota: quota.clone(),
            health: Arc::default(),
            held_ms: [AtomicU64::new(0)].into(),
            client_id_seed: 7,
        });
        let shard = Shard::new(0, shard_count, shared, JournalPort::new(lanes.clone(), 0));
        Self { shard, lanes, metrics, quota, now_us: SECOND }
    }

    fn accept(&mut self) -> (u32, Peer) {
        let peer = Peer(Arc::new(Mutex::new(Wire { window: usize::MAX, ..Wire::default() })));
        let slot = self.shard.accept(Box::new(FakeSocket(peer.clone())), self.now_us).expect("room");
        (slot, peer)
    }

    /// A client of 3.1.1 that has its CONNACK.
    fn connect(&mut self, client: &str) -> (u32, Peer) {
        let (slot, peer) = self.accept();
        peer.send(&connect_bytes(client, 2, b""));
        self.read(slot);
        assert_eq!(peer.take(), [0x20, 2, 0, 0]);
        (slot, peer)
    }

    fn read(&mut self, slot: u32) {
        self.shard
            .step(self.now_us, &[Readiness { slot, readable: true, writable: false, read_closed: false }]);
    }

    fn step(&mut self) {
        self.shard.step(self.now_us, &[]);
    }

    fn durable(&mut self) {
        self.lanes.write_all(0);
        self.step();
    }

    fn requests(&mut self) -> Vec<RouterRequest> {
        std::mem::take(&mut self.shard.take_output().requests)
    }

    fn deliver(&mut self, connection: ConnectionId, payload: &[u8], count: usize, more: bool) {
        let publication = Publication { topic: "t".into(), properties: [].into(), payload: payload.into() };
        let delivery = Delivery {
            connection,
            place: DeliveryPlace::Publication(0),
            qos: QoS::AtLeastOnce,
            retain: false,
            message_expiry_interval_s: None,
            subscription_identifiers: Vec::new(),
        };
        let batch = DeliveryBatch {
            source: DeliverySource::Publications(Arc::new(vec![publication])),
            deliveries: vec![delivery; count],
            more: more.then_some(connection),
        };
        self.shard.handle_message(ShardMessage::Deliver(batch), self.now_us);
        self.step();
    }

    /// Subscribes; the connection's id as the router learns it.
    fn subscribe(&mut self, slot: u32, peer: &Peer) -> ConnectionId {
        peer.send(b"\x82\x06\0\x01\0\x01t\x01");
        self.read(slot);
        let requests = self.requests();
        let [RouterRequest::Subscribe { connection, packet_id: 1, .. }] = &requests[..] else {
            panic!("one SUBSCRIBE: {requests:?}")
        };
        let answer =
            ShardMessage::Subscribed { connection: *connection, packet_id: 1, codes: vec![ReasonCode(1)] };
        self.shard.handle_message(answer, self.now_us);
        self.step();
        assert_eq!(peer.take(), [0x90, 3, 0, 1, 1]);
        *connection
    }
}

fn connect_bytes(client: &str, flags: u8, rest: &[u8]) -> Vec<u8> {
    let body = [b"\0\x04MQTT\x04", &[flags, 0, 10][..], &text(client), rest].concat();
    [&[0x10, body.len() as u8], &body[..]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn publish_bytes(id: u8, payload_len: usize) -> Vec<u8> {
    let len = 5 + payload_len;
    let mut bytes = vec![0x32, (len % 128) as u8 | 0x80, (len / 128) as u8, 0, 1, b't', 0, id];
    bytes.resize(3 + len, b'x');
    bytes
}

#[test]
fn acks_wait_until_their_batch_is_durable_and_keep_their_order() {
    let mut bench = Bench::new(MqttLimits::default());
    let (slot, peer) = bench.connect("a");
    peer.send(&[publish_bytes(1, 200), publish_bytes(2, 200), vec![0xC0, 0]].concat());
    bench.read(slot);
    assert_eq!(peer.take(), [0xD0, 0], "PINGRESP may overtake");
    assert!(!bench.shard.is_quiet());
    bench.step();
    assert!(peer.take().is_empty(), "nothing is durable yet (P1)");
    bench.durable();
    assert_eq!(peer.take(), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
    assert!(bench.shard.is_quiet());
}

/// B1-3: a client whose garbage has filled its share of the quarantine is refused before the journal, under `obs/` only;
/// others notice nothing, and when the share is released it goes on.
#[test]
fn b1_3_a_full_quota_refuses_before_the_journal_and_nobody_else() {
    let mut bench = Bench::new(MqttLimits::default());
    let v5 = |bench: &mut Bench, client: &str| {
        let (slot, peer) = bench.accept();
        let body = [b"\0\x04MQTT\x05\x02\0\x0a\0", &text(client)[..]].concat();
        peer.send(&[&[0x10, body.len() as u8], &body[..]].concat());
        bench.read(slot);
        peer.take();
        (slot, peer)
    };
    let (bad_slot, bad) = v5(&mut bench, "bad");
    let (good_slot, good) = v5(&mut bench, "good");
    let (old_slot, old) = bench.connect("bad-3");
    bench.quota.add("bad", 1_000);
    bench.quota.add("bad-3", 1_000);
    let publish = |flags: u8, topic: &str, id: &[u8], v5: bool| {
        let properties: &[u8] = if v5 { &[0] } else { &[] };
        let body = [&text(topic)[..], id, properties, b"x"].concat();
        [&[0x30 | flags, body.len() as u8], &body[..]].concat()
    };
    let one = [0, 1];
    let two = [0, 2];
    bad.send(&publish(2, "other/topic", &one, true));
    bad.send(&publish(2, "obs/A/S", &two, true));
    bad.send(&publish(0, "obs/A/S", &[], true));
    good.send(&publish(2, "obs/A/S", &one, true));
    bench.read(bad_slot);
    bench.read(good_slot);
    assert!(bad.take().is_empty(), "the refusal waits behind the ack that is not durable yet");
    bench.durable();
    assert_eq!(good.take(), [0x40, 2, 0, 1], "others notice nothing");
    let answers = bad.take();
    assert_eq!(answers[..4], [0x40, 2, 0, 1]);
    assert_eq!(
        (answers[4], &answers[6..9]),
        (0x40, &[0, 2, 0x97][..]),
        "a PUBACK that says no: {answers:02x?}"
    );
    let sentence = String::from_utf8_lossy(&answers);
    assert!(sentence.contains("quarantine.client_bytes_max"), "{sentence}");
    old.send(&publish(0, "obs/A/S", &[], false));
    bench.read(old_slot);
    assert!(!old.wire().write_closed, "QoS 0 is dropped and counted");
    old.send(&publish(2, "obs/A/S", &one, false));
    bench.read(old_slot);
    bench.step();
    assert!(old.take().is_empty() && old.wire().write_closed, "3.1.1: closed without PUBACK");
    assert_eq!(bench.metrics.mqtt_messages_received.get(), 2);
    let refused = ["quarantine_client"];
    assert_eq!(sum_of(&bench.metrics.mqtt_messages_refused, &refused), 2);
    assert_eq!(sum_of(&bench.metrics.mqtt_qos0_dropped, &refused), 2);
    bench.quota.release("bad", 1);
    bad.send(&publish(2, "obs/A/S", &two, true));
    bench.read(bad_slot);
    bench.durable();
    assert_eq!(bad.take(), [0x40, 2, 0, 2]);
}

#[test]
fn a_full_journal_stalls_a_connection_and_goes_on_where_it_was() {
    let mut bench = Bench::new(MqttLimits::default());
    let (slot, peer) = bench.connect("a");
    let (other_slot, other) = bench.connect("b");
    // Two buffers of 64 KiB take some 17 of these; twice that is sent.
    let all: Vec<u8> = (1..=40).flat_map(|id| publish_bytes(id, 7_000)).collect();
    peer.send(&all);
    let mut acked = Vec::new();
    for _ in 0..20 {
        bench.read(slot);
        other.send(&[0xC0, 0]);
        bench.read(other_slot);
        assert_eq!(other.take(), [0xD0, 0], "the others are served meanwhile (P4)");
        bench.durable();
        acked.extend(peer.take());
    }
    let expected: Vec<u8> = (1..=40).flat_map(|id| [0x40, 2, 0, id]).collect();
    assert_eq!(acked, expected, "all, once, in order");
    assert_eq!(bench.metrics.mqtt_messages_received.get(), 40);
    assert_eq!(bench.shard.partial_bytes, 0, "nothing is held any more");
}

#[test]
fn what_comes_for_a_connection_that_is_gone_does_not_reach_the_next_in_its_slot() {
    let mut bench = Bench::new(MqttLimits::default());
    let (slot, peer) = bench.connect("first");
    let old = bench.subscribe(slot, &peer);
    peer.send(&publish_bytes(1, 10));
    bench.read(slot);
    peer.wire().ended = true;
    bench.read(slot);
    assert!(peer.wire().dropped);
    assert!(matches!(bench.requests()[..], [RouterRequest::Left { connection }] if connection == old));
    let (again, next) = bench.connect("second");
    assert_eq!(again, slot, "the slot is used again");
    bench.deliver(old, b"late", 1, true);
    bench.shard.handle_message(
        ShardMessage::Subscribed { connection: old, packet_id: 9, codes: vec![ReasonCode(0)] },
        bench.now_us,
    );
    bench.durable();
    assert!(next.take().is_empty(), "neither message, nor SUBACK, nor PUBACK of the older one");
    assert!(bench.requests().is_empty());
    assert_eq!(sum_of(&bench.metrics.mqtt_messages_dropped, &["left"]), 1);
}

#[test]
fn taking_over_ends_the_older_connection_and_publishes_its_will_once() {
    let mut bench = Bench::new(MqttLimits::default());
    let (first_slot, first) = bench.accept();
    first.send(&connect_bytes("same", 2 | 4, &[text("w"), text("gone")].concat()));
    bench.read(first_slot);
    assert_eq!(first.take(), [0x20, 2, 0, 0]);
    let (second_slot, second) = bench.connect("same");
    assert!(first.wire().write_closed);
    assert_eq!(bench.metrics.mqtt_messages_received.get(), 1, "the will");
    // The older one's end, when it comes, takes nothing from the newer one.
    first.wire().ended = true;
    bench.read(first_slot);
    assert!(first.wire().dropped);
    assert_eq!(bench.metrics.mqtt_messages_received.get(), 1);
    second.send(&[0xC0, 0]);
    bench.read(second_slot);
    assert_eq!(second.take(), [0xD0, 0]);
    let (_third_slot, _third) = bench.connect("same");
    assert!(second.wire().write_closed, "the newer one was still known by its name");
}

#[test]
fn the_rest_of_the_retained_messages_is_asked_for_when_there_is_room() {
    let mut bench = Bench::new(MqttLimits::default());
    let (slot, peer) = bench.connect("a");
    let id = bench.subscribe(slot, &peer);
    peer.wire().window = 0;
    // More than a quarter of the queue waits.
    bench.deliver(id, &[0; 30_000], 10, true);
    assert!(bench.requests().is_empty());
    peer.wire().window = usize::MAX;
    bench
        .shard
        .step(bench.now_us, &[Readiness { slot, readable: false, writable: true, read_closed: false }]);
    assert!(matches!(bench.requests()[..], [RouterRequest::More { connection }] if connection == id));
    bench.step();
    assert!(bench.requests().is_empty(), "once");
}

#[test]
fn a_full_queue_cuts_the_subscriber_off() {
    let mut bench = Bench::new(MqttLimits::default());
    let (slot, peer) = bench.connect("a");
    let id = bench.subscribe(slot, &peer);
    peer.wire().window = 0;
    bench.deliver(id, &[0; 200_000], 10, false);
    assert_eq!(bench.metrics.mqtt_subscribers_cut_off.get(), 1);
    assert!(matches!(bench.requests()[..], [RouterRequest::Left { connection }] if connection == id));
    // The peer may still take what was begun; then the socket goes.
    bench.now_us += LINGER_MS * 1_000;
    bench.shard.tick(bench.now_us);
    assert!(peer.wire().dropped);
    assert!(bench.shard.socket(slot).is_none());
}

#[test]
fn incomplete_packets_are_counted_exactly_and_bounded() {
    let mut bench = Bench::new(MqttLimits { partial_bytes_max: 100_000, ..MqttLimits::default() });
    let mut peers = Vec::new();
    for i in 0..3 {
        let (slot, peer) = bench.connect(&format!("c{i}"));
        // A packet of 60 KiB, whose start comes in two parts.
        peer.send(&[0x30, 0x80, 0xE0, 3]);
        bench.read(slot);
        peer.send(&vec![0; 40_000 - 4]);
        bench.read(slot);
        peers.push((slot, peer));
    }
    assert_eq!(bench.shard.partial_bytes, 80_000);
    assert!(peers[2].1.wire().write_closed, "the one that went over the budget");
    let held: usize = bench.shard.slots.iter().flatten().map(|connection| connection.partial.len()).sum();
    assert_eq!(held, 80_000);
    for (slot, peer) in &peers {
        peer.wire().ended = true;
        bench.read(*slot);
    }
    assert_eq!(bench.shard.partial_bytes, 0);
    // A whole packet and a bit of the next: the room of the whole one is given back.
    let (slot, peer) = bench.connect("d");
    peer.send(&publish_bytes(1, 10_000)[..5_000]);
    bench.read(slot);
    peer.send(&[&publish_bytes(1, 10_000)[5_000..], &[0xC0]].concat());
    bench.read(slot);
    let capacity = bench.shard.slots[slot as usize].as_ref().expect("it is there").partial.capacity();
    assert!(bench.shard.partial_bytes == 1 && capacity <= 1 + 2 * PARTIAL_SPARE_BYTES, "{capacity}");
}

#[test]
fn the_end_of_a_stream_is_seen_behind_its_last_bytes() {
    let mut bench = Bench::new(MqttLimits::default());
    let (slot, peer) = bench.connect("a");
    peer.send(&publish_bytes(1, 10));
    peer.wire().ended = true;
    // One report for both, as an edge-triggered poll gives it.
    bench.shard.step(bench.now_us, &[Readiness { slot, readable: true, writable: false, read_closed: true }]);
    assert!(peer.wire().dropped);
    assert_eq!(bench.metrics.mqtt_messages_received.get(), 1);
}

#[test]
fn timers_end_silent_and_late_connections() {
    let mut bench = Bench::new(MqttLimits::default());
    let (_, late) = bench.accept();
    let (slot, silent) = bench.connect("silent");
    bench.now_us += 10 * SECOND - 1;
    bench.shard.tick(bench.now_us);
    assert!(!late.wire().write_closed);
    silent.send(&[0xC0, 0]);
    bench.read(slot);
    bench.now_us += 1;
    bench.shard.tick(bench.now_us);
    bench.step();
    assert!(late.wire().write_closed, "no CONNECT within connect_timeout_ms");
    // Keep Alive 10: silent since 1 µs less than 10 s.
    bench.now_us += 15 * SECOND - 1;
    bench.shard.tick(bench.now_us);
    assert!(!silent.wire().write_closed, "exactly one and a half times Keep Alive");
    bench.now_us += 1;
    bench.shard.tick(bench.now_us);
    assert!(silent.wire().write_closed);
}

#[test]
fn a_connection_moves_with_its_bytes_to_the_shard_that_owns_its_client() {
    let mut bench = Bench::of_shards(MqttLimits::default(), 4);
    let mut moved = 0;
    for i in 0..40 {
        let client = format!("client-{i}");
        let (slot, peer) = bench.accept();
        let bytes = [connect_bytes(&client, 2, b""), vec![0xC0, 0], vec![0x82, 6]].concat();
        peer.send(&bytes);
        bench.read(slot);
        let messages = std::mem::take(&mut bench.shard.take_output().messages);
        match messages.into_iter().next() {
            Some((owner, ShardMessage::Adopt { bytes: with_it, socket })) => {
                assert_ne!(owner, 0);
                assert_eq!(with_it, bytes, "unread bytes go with it");
                assert!(bench.shard.socket(slot).is_none() && !peer.wire().dropped);
                moved += 1;
                drop(socket);
            }
            Some((_, other)) => panic!("{other:?}"),
            None => assert_eq!(peer.take(), [0x20, 2, 0, 0, 0xD0, 0]),
        }
    }
    assert!((20..40).contains(&moved), "about three of four: {moved}");
    // A made client id belongs to the shard that made it.
    let (slot, peer) = bench.accept();
    peer.send(&connect_bytes("", 2, b""));
    bench.read(slot);
    assert_eq!(peer.take(), [0x20, 2, 0, 0]);
    let made =
        bench.shard.by_client.keys().find(|client| client.starts_with("auto-")).expect("a made id").clone();
    assert_eq!(owner_of(&bench.shard.client_hasher, 4, &made), 0);
}

#[test]
fn a_stopping_shard_reads_no_more_and_publishes_wills() {
    let mut bench = Bench::new(MqttLimits::default());
    let (slot, peer) = bench.accept();
    peer.send(&connect_bytes("a", 2 | 4, &[text("w"), text("gone")].concat()));
    bench.read(slot);
    peer.send(&publish_bytes(1, 10));
    bench.read(slot);
    bench.shard.stop_reading();
    peer.send(&publish_bytes(2, 10));
    bench.read(slot);
    bench.durable();
    assert!(bench.shard.is_quiet());
    bench.shard.shut_down(bench.now_us);
    assert_eq!(
        peer.take(),
        [0x20, 2, 0, 0, 0x40, 2, 0, 1],
        "the second PUBLISH was not taken, so not acknowledged"
    );
    assert!(peer.wire().write_closed);
    assert_eq!(bench.metrics.mqtt_messages_received.get(), 2, "one PUBLISH and the will");
    assert!(bench.lanes.waiting_bytes() > 0, "the will was handed over");
}
