//! MQTT codec: what a shard does for every message, without sockets (A1-2).

use std::hint::black_box;

use codecs::mqtt::{
    Ack, PacketId, Properties, PropertiesBuffer, Property, PropertyOwner, ProtocolVersion, Publish, QoS,
    decode, encode_puback, encode_publish, frame_len,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const PACKET_SIZE_MAX: usize = 1 << 20;
const PAYLOAD_BYTES: usize = 256;

fn publish_bytes(version: ProtocolVersion, properties: Properties<'_>) -> Vec<u8> {
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "obs/H24.05/KHI003",
        packet_id: PacketId::new(1042),
        properties,
        payload: &[b'x'; PAYLOAD_BYTES],
    };
    let mut bytes = Vec::new();
    encode_publish(&mut bytes, version, &publish).expect("a plain PUBLISH");
    bytes
}

fn decode_publish(criterion: &mut Criterion) {
    let mut with_properties = PropertiesBuffer::new(PropertyOwner::Publish);
    for property in [Property::MessageExpiryInterval(3600), Property::ContentType("application/json")] {
        with_properties.push(property).expect("a PUBLISH may have it");
    }
    let cases = [
        ("3.1.1", ProtocolVersion::V3_1_1, Properties::EMPTY),
        ("5.0 without properties", ProtocolVersion::V5, Properties::EMPTY),
        ("5.0 with two properties", ProtocolVersion::V5, with_properties.as_properties()),
    ];
    let mut group = criterion.benchmark_group("decode PUBLISH");
    group.throughput(Throughput::Elements(1));
    for (name, version, properties) in cases {
        let bytes = publish_bytes(version, properties);
        group.bench_with_input(BenchmarkId::from_parameter(name), &bytes[..], |bencher, bytes| {
            bencher.iter(|| {
                let bytes = black_box(bytes);
                let len = frame_len(bytes, PACKET_SIZE_MAX).expect("a legal header").expect("a whole packet");
                decode(&bytes[..len], version).expect("a legal packet").packet_type()
            });
        });
    }
    group.finish();
}

fn encode_acks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode PUBACK");
    group.throughput(Throughput::Elements(1));
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let ack = Ack::success(PacketId::new(1042).expect("not zero"));
        let mut out = Vec::with_capacity(64);
        group.bench_function(BenchmarkId::from_parameter(version), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_puback(&mut out, version, black_box(&ack)).expect("a plain PUBACK");
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode_publish, encode_acks);
criterion_main!(benches);
