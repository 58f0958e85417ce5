//! A1-2: a PUBLISH is decoded without allocation, and encoded without one into a buffer that has been used before.
//! Decoding the other packets, and refusing a malformed one, allocates nothing either.
//!
//! A test binary of its own, because it counts what the global allocator does.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use codecs::mqtt::{
    Ack, Delivery, Packet, PacketId, Properties, PropertiesBuffer, Property, PropertyOwner, ProtocolVersion,
    Publish, QoS, decode, encode_delivery, encode_puback, encode_publish, frame_len,
};

struct Counting;

thread_local! {
    // Per thread, so that the test harness and other tests do not count.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and nothing to measure.
    let _ = ALLOCATIONS.try_with(|it| it.set(it.get() + 1));
}

// SAFETY: every call goes to the system allocator unchanged; counting touches no heap (a const thread local).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.with(Cell::get);
    let result = work();
    (ALLOCATIONS.with(Cell::get) - before, result)
}

fn properties() -> PropertiesBuffer {
    let mut properties = PropertiesBuffer::new(PropertyOwner::Publish);
    for property in [
        Property::PayloadFormatIndicator(true),
        Property::MessageExpiryInterval(60),
        Property::ContentType("application/json"),
        Property::TopicAlias(3),
        Property::UserProperty("site", "Hà Nội"),
        Property::UserProperty("site", "Huế"),
    ] {
        properties.push(property).expect("legal");
    }
    properties
}

fn publish<'a>(properties: Properties<'a>, payload: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "obs/H24.05/KHI003/pm2_5",
        packet_id: PacketId::new(7),
        properties,
        payload,
    }
}

#[test]
fn the_counter_counts() {
    let (count, boxed) = allocations(|| std::hint::black_box(Box::new(1)));
    assert_eq!((count, *boxed), (1, 1));
}

#[test]
fn a_publish_is_decoded_without_allocation() {
    let payload = [b'1'; 256];
    let buffer = properties();
    for (version, properties) in
        [(ProtocolVersion::V3_1_1, Properties::EMPTY), (ProtocolVersion::V5, buffer.as_properties())]
    {
        let mut bytes = Vec::new();
        let sent = publish(properties, &payload);
        encode_publish(&mut bytes, version, &sent).expect("legal");
        let (count, user_properties) = allocations(|| {
            let length = frame_len(&bytes, 1 << 20).expect("a sound header").expect("whole");
            let Ok(Packet::Publish(received)) = decode(&bytes[..length], version) else {
                panic!("a PUBLISH")
            };
            assert!(received == sent);
            // Borrowed: the payload lies in the frame.
            assert!(bytes.as_ptr_range().contains(&received.payload.as_ptr()));
            received.properties.user_properties().count()
        });
        assert_eq!(count, 0, "{version}");
        assert_eq!(user_properties, if version == ProtocolVersion::V5 { 2 } else { 0 });
    }
}

#[test]
fn a_used_buffer_is_encoded_into_without_allocation() {
    let buffer = properties();
    let publish = publish(buffer.as_properties(), b"38.4");
    let delivery = Delivery {
        publish,
        message_expiry_interval_s: Some(59),
        topic_alias: None,
        subscription_identifiers: &[1, 300],
    };
    let ack = Ack::success(PacketId::new(7).expect("7"));
    let mut out = Vec::new();
    let mut encode = || {
        out.clear();
        for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
            encode_publish(&mut out, version, &publish).expect("legal");
            encode_delivery(&mut out, version, &delivery).expect("legal");
            encode_puback(&mut out, version, &ack).expect("legal");
        }
    };
    encode();
    let (count, ()) = allocations(encode);
    assert_eq!(count, 0);
}

#[test]
fn other_packets_and_refusals_allocate_nothing() {
    let frames: [&[u8]; 6] = [
        b"\x10\x15\0\x04MQTT\x04\xC2\0\x3c\0\x01c\0\x01u\0\x01p",
        b"\x82\x0d\0\x01\0\x03a/+\0\0\x03b/#\x01",
        b"\xA2\x0c\0\x01\0\x03a/+\0\x03b/#",
        b"\x40\x02\0\x07",
        // A wildcard in a topic, and text that is not UTF-8.
        b"\x30\x05\0\x03a/+",
        b"\x30\x04\0\x02\xc3\x28",
    ];
    for frame in frames {
        let (count, _) = allocations(|| match decode(frame, ProtocolVersion::V3_1_1) {
            Ok(Packet::Subscribe(subscribe)) => subscribe.subscriptions().count(),
            Ok(_) => 0,
            Err(error) => error.statements().len(),
        });
        assert_eq!(count, 0, "{frame:02x?}");
    }
}
