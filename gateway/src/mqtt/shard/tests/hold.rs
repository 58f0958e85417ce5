//! B1-3: what a connection can do while the journal is full, and how that ends.

use codecs::mqtt::frame_len;

use super::*;

impl Bench {
    fn connect_v5(&mut self, client: &str) -> (u32, Peer) {
        let (slot, peer) = self.accept();
        let body = [b"\0\x04MQTT\x05\x02\0\x0a\0", &text(client)[..]].concat();
        peer.send(&[&[0x10, body.len() as u8], &body[..]].concat());
        self.read(slot);
        assert_eq!(peer.take()[0], 0x20);
        (slot, peer)
    }

    /// Another client takes all room that there is (two buffers of 64 KiB).
    fn fill_journal(&mut self) -> Peer {
        let (slot, peer) = self.connect("filler");
        peer.send(&publish_bytes(1, 16_000).repeat(10));
        self.read(slot);
        // And what is left at the end of a buffer, to the last message of the smallest size.
        let (slot, small) = self.connect("f");
        while self.shard.hold_messages < 3 {
            small.send(b"\x32\x05\0\x01t\0\x01");
            self.read(slot);
        }
        peer
    }

    fn pass(&mut self, us: u64) {
        self.now_us += us;
        self.shard.tick(self.now_us);
    }

    fn refused(&self, reason: &'static str) -> (u64, u64) {
        let of = |family| sum_of(family, &[reason]);
        (of(&self.metrics.mqtt_messages_refused), of(&self.metrics.mqtt_qos0_dropped))
    }
}

/// PUBLISH of 5.0 with a payload of one byte.
fn publish_v5(qos: u8, id: u8) -> Vec<u8> {
    let id: &[u8] = if qos == 0 { &[] } else { &[0, id] };
    let body = [&text("t")[..], id, &[0, b'x']].concat();
    [&[0x30 | qos << 1, body.len() as u8], &body[..]].concat()
}

/// The packets of `bytes`: their first byte, their identifier and the reason code (0 where there is none).
fn acks(bytes: &[u8]) -> Vec<(u8, u8, u8)> {
    let mut rest = bytes;
    let mut all = Vec::new();
    while let Some(len) = frame_len(rest, 1 << 20).expect("whole packets") {
        let start = if rest[1] & 0x80 == 0 { 2 } else { 3 };
        all.push((rest[0], rest[start + 1], if len > start + 2 { rest[start + 2] } else { 0 }));
        rest = &rest[len..];
    }
    all
}

/// No deadlock: a bridge that publishes and subscribes on one connection acknowledges deliveries, subscribes and pings while
/// its own messages wait; then they are journaled and acknowledged in their order.
#[test]
fn b1_3_a_bridge_goes_on_while_its_messages_wait() {
    let mut bench = Bench::new(MqttLimits::default());
    let (slot, bridge) = bench.connect("bridge");
    let id = bench.subscribe(slot, &bridge);
    bench.fill_journal();
    bridge.send(&(1..=5).flat_map(|id| publish_bytes(id, 1_000)).collect::<Vec<u8>>());
    bench.read(slot);
    assert!(bench.shard.hold_bytes >= 5_000);
    // Three times the window of 3.1.1: it only goes on if the acks of the bridge are read.
    for round in 0..3 {
        bench.deliver(id, b"down", 100, false);
        let delivered = bridge.take();
        assert_eq!(delivered.len() / 11, 100, "round {round}: the window is open again");
        let acks: Vec<u8> = delivered.chunks(11).flat_map(|packet| [0x40, 2, packet[5], packet[6]]).collect();
        bridge.send(&acks);
        bridge.send(&[0xC0, 0]);
        bridge.send(&publish_bytes(10 + round, 1_000));
        bench.read(slot);
        assert_eq!(bridge.take(), [0xD0, 0], "PINGRESP, and no PUBACK yet");
    }
    bridge.send(b"\x82\x06\0\x02\0\x01u\x01");
    bench.read(slot);
    assert!(matches!(bench.requests()[..], [RouterRequest::Subscribe { packet_id: 2, .. }]));
    for _ in 0..4 {
        bench.durable();
    }
    let ids: Vec<u8> = acks(&bridge.take()).iter().map(|ack| ack.1).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 10, 11, 12], "[MQTT-4.6.0-2]");
    assert_eq!((bench.shard.hold_bytes, bench.shard.hold_messages), (0, 0));
    assert_eq!(bench.metrics.mqtt_hold_bytes.get(), 0);
}

/// Where waiting makes no sense any more, 5.0 clients are told for each message in its turn, behind what was acknowledged; and
/// the connection stays.
#[test]
fn b1_3_v5_clients_are_told_when_waiting_makes_no_sense() {
    let mut bench = Bench::new(MqttLimits::default());
    let (slot, peer) = bench.connect_v5("a");
    peer.send(&publish_v5(1, 1));
    bench.read(slot);
    bench.fill_journal();
    let received = bench.metrics.mqtt_messages_received.get();
    for (qos, id) in [(1, 2), (0, 0), (1, 3)] {
        peer.send(&publish_v5(qos, id));
        bench.read(slot);
    }
    bench.pass(14 * SECOND);
    assert!(peer.take().is_empty(), "it may still be journaled");
    peer.send(&[0xC0, 0]);
    bench.read(slot);
    bench.pass(2 * SECOND);
    assert_eq!(peer.take(), [0xD0, 0], "the refusals wait for the ack before them");
    bench.durable();
    assert_eq!(acks(&peer.take()), [(0x40, 1, 0), (0x40, 2, 0x97), (0x40, 3, 0x97)]);
    assert_eq!(bench.refused("held_too_long"), (2, 1));
    for _ in 0..3 {
        bench.durable();
    }
    assert_eq!(bench.metrics.mqtt_messages_received.get(), received, "nothing of it was journaled");
    peer.send(&publish_v5(1, 2));
    bench.read(slot);
    bench.durable();
    assert_eq!(acks(&peer.take()), [(0x40, 2, 0)], "when there is space, work goes on");
}

/// 3.1.1 has no such answer: closed without PUBACK. Who sent at QoS 0 only loses messages, which are counted.
#[test]
fn b1_3_v3_clients_are_closed_unacknowledged_when_waiting_makes_no_sense() {
    let mut bench = Bench::new(MqttLimits { hold_ms_max: 10_000, ..MqttLimits::default() });
    let (slot, peer) = bench.connect("qos-1");
    let (lossy_slot, lossy) = bench.connect("qos-0");
    bench.fill_journal();
    peer.send(&[publish_bytes(1, 100), publish_bytes(2, 100)].concat());
    bench.read(slot);
    lossy.send(b"\x30\x04\0\x01tx");
    bench.read(lossy_slot);
    bench.pass(8 * SECOND);
    lossy.send(&[0xC0, 0]);
    bench.read(lossy_slot);
    lossy.take();
    bench.pass(4 * SECOND);
    assert!(peer.take().is_empty() && peer.wire().write_closed);
    assert_eq!(bench.shard.hold_messages, 0, "the filler is given up, too");
    lossy.send(&[0xC0, 0]);
    bench.read(lossy_slot);
    assert_eq!(lossy.take(), [0xD0, 0], "it stays");
    let (refused, dropped) = bench.refused("held_too_long");
    assert!(refused >= 3, "both, and the filler's: {refused}");
    assert_eq!(dropped, 1);
}

/// A full share of the pool stops reading for a while, which is all that a short flood notices; without progress it is given
/// up, and reading goes on.
#[test]
fn b1_3_a_full_share_stops_reading_and_is_given_up_without_progress() {
    let limits = MqttLimits { hold_bytes_max: 16 << 10, receive_max: u16::MAX, ..MqttLimits::default() };
    let mut bench = Bench::new(limits);
    let (slot, peer) = bench.connect_v5("loud");
    let (other_slot, other) = bench.connect("other");
    bench.fill_journal();
    let flood: Vec<u8> = (1..=200).flat_map(|id| publish_v5(1, id)).collect();
    peer.send(&flood.repeat(20));
    for _ in 0..5 {
        bench.read(slot);
    }
    assert!(bench.shard.hold_bytes <= (16 << 10) + (64 << 10), "its own share and the filler's");
    let before = bench.shard.hold_messages;
    let unread = peer.wire().to_gateway.len();
    peer.send(&flood);
    bench.read(slot);
    assert_eq!((bench.shard.hold_messages, peer.wire().to_gateway.len()), (before, unread + flood.len()));
    other.send(&[0xC0, 0]);
    bench.read(other_slot);
    assert_eq!(other.take(), [0xD0, 0]);
    bench.pass(4 * SECOND);
    assert_eq!(bench.refused("hold_full"), (0, 0));
    bench.pass(2 * SECOND);
    let (refused, _) = bench.refused("hold_full");
    assert!(refused as usize >= before / 2 && refused > 100, "{refused}");
    assert!(acks(&peer.take()).iter().all(|ack| ack.0 == 0x40 && ack.2 == 0x97));
}

/// What all hold together has a bound; connections that find none of it are not read.
#[test]
fn b1_3_the_pool_of_a_shard_is_bounded() {
    let limits = MqttLimits { hold_pool_bytes_max: 128 << 10, ..MqttLimits::default() };
    let mut bench = Bench::new(limits);
    let clients: Vec<_> = (0..60).map(|number| bench.connect(&format!("c{number}"))).collect();
    bench.fill_journal();
    for (slot, peer) in &clients {
        peer.send(&publish_bytes(1, 3_000));
        peer.send(&publish_bytes(2, 3_000));
        bench.read(*slot);
        assert!(bench.shard.hold_bytes <= 128 << 10);
    }
    for _ in 0..200 {
        bench.durable();
    }
    for (number, (_, peer)) in clients.iter().enumerate() {
        assert_eq!(peer.take(), [0x40, 2, 0, 1, 0x40, 2, 0, 2], "client {number}: all, in order");
    }
    assert_eq!((bench.shard.hold_bytes, bench.shard.partial_bytes), (0, 0));
}

/// One loud client cannot starve the rest: with twenty that send one message each now and then beside one that sends without
/// end, each is acknowledged within three frames of the writer.
#[test]
fn b1_3_a_loud_client_does_not_starve_the_others() {
    let mut bench = Bench::new(MqttLimits::default());
    let (loud_slot, loud) = bench.connect("loud");
    let quiet: Vec<_> = (0..20).map(|number| bench.connect(&format!("quiet-{number}"))).collect();
    let flood = publish_bytes(1, 1_000).repeat(300);
    for round in 0..30 {
        loud.wire().window = usize::MAX;
        loud.send(&flood);
        bench.read(loud_slot);
        for (slot, peer) in &quiet {
            peer.send(&publish_bytes(round + 1, 100));
            bench.read(*slot);
        }
        let mut frames = 0;
        while quiet.iter().any(|(_, peer)| peer.wire().from_gateway.is_empty()) {
            // The loud one never pauses.
            loud.send(&flood);
            bench.read(loud_slot);
            bench.durable();
            frames += 1;
            assert!(frames <= 3, "round {round}: somebody waits for the loud one");
        }
        for (_, peer) in &quiet {
            assert_eq!(peer.take(), [0x40, 2, 0, round + 1]);
        }
    }
    assert!(bench.shard.hold_messages > 0, "the loud one has always more than there is room for");
    assert!(loud.take().len() > 4 * 30, "and gets its share");
}

/// Who publishes and leaves while the journal is full is not read any more, but what it sent is journaled; its will comes last.
#[test]
fn b1_3_what_was_sent_before_leaving_is_journaled_when_there_is_room() {
    let mut bench = Bench::new(MqttLimits::default());
    let (goodbye_slot, goodbye) = bench.connect("goodbye");
    let (gone_slot, gone) = bench.accept();
    gone.send(&connect_bytes("gone", 2 | 4, &[text("w"), text("last")].concat()));
    bench.read(gone_slot);
    bench.fill_journal();
    goodbye.send(b"\x30\x04\0\x01tx\xe0\0");
    bench.read(goodbye_slot);
    gone.send(b"\x30\x04\0\x01tx");
    gone.wire().ended = true;
    bench.read(gone_slot);
    bench.read(gone_slot);
    let received = bench.metrics.mqtt_messages_received.get();
    for _ in 0..4 {
        bench.durable();
    }
    assert!(goodbye.wire().dropped && gone.wire().dropped);
    // Two messages, the will, and what the filler had left.
    let taken = bench.metrics.mqtt_messages_received.get() - received;
    assert!(taken >= 4, "{taken}");
    assert_eq!(bench.refused("connection_ended"), (0, 0));
    assert_eq!((bench.shard.will_bytes, bench.shard.wills.len()), (0, 0));
}

/// Wills have a budget from CONNECT on, so none has to be dropped when many clients vanish at once.
#[test]
fn b1_3_wills_have_a_budget() {
    let mut bench = Bench::new(MqttLimits { will_bytes_max: 1_000, ..MqttLimits::default() });
    let will = [text("w"), text(&"x".repeat(60))].concat();
    let mut refused = 0;
    let mut open = Vec::new();
    for number in 0..10 {
        let (slot, peer) = bench.accept();
        peer.send(&connect_bytes(&format!("c{number}"), 2 | 4, &will));
        bench.read(slot);
        match peer.take()[..] {
            [0x20, 2, 0, 0] => open.push((slot, peer)),
            [0x20, 2, 0, 3] => refused += 1,
            ref other => panic!("{other:02x?}"),
        }
    }
    assert!(open.len() >= 3 && refused >= 2, "{} open, {refused} refused", open.len());
    bench.fill_journal();
    for (slot, peer) in &open {
        peer.wire().ended = true;
        bench.read(*slot);
    }
    assert_eq!(bench.shard.wills.len(), open.len(), "they wait for room");
    for _ in 0..4 {
        bench.durable();
    }
    assert_eq!((bench.shard.will_bytes, bench.shard.wills.len()), (0, 0));
}

/// Held messages count against Receive Maximum like those that wait for durability [5.0 MQTT-3.3.4-7].
#[test]
fn b1_3_held_messages_count_against_receive_maximum() {
    let mut bench = Bench::new(MqttLimits { receive_max: 3, ..MqttLimits::default() });
    let (slot, peer) = bench.connect_v5("a");
    bench.fill_journal();
    for id in 1..=3 {
        peer.send(&publish_v5(1, id));
    }
    bench.read(slot);
    assert!(!peer.wire().write_closed);
    peer.send(&publish_v5(1, 4));
    bench.read(slot);
    bench.step();
    let goodbye = peer.take();
    assert_eq!((goodbye[0], goodbye[2]), (0xE0, 0x93), "{goodbye:02x?}");
    assert!(peer.wire().write_closed);
}
