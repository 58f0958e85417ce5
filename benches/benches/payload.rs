//! Payloads to readings: the one-pass JSON reader beside the one for unusual shapes, FlatBuffers, bare values (A1-3).

use std::hint::black_box;

use codecs::payload::flatbuffers::{EncodeReading, encode};
use codecs::payload::{DecodeError, Format, Reading, ReadingSink, Value, decode};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const READINGS: [(&str, f64, &str); 4] = [
    ("pm2_5", 38.42, "ug/m3"),
    ("pm10", 61.07, "ug/m3"),
    ("air_temperature", 31.25, "Cel"),
    ("relative_humidity", 74.5, "%"),
];
const TIME_US: i64 = 1_763_687_100_123_456;
/// An escape in a member that does not matter: the message means the same, and the one-pass reader gives it up.
const UNUSUAL_MEMBER: &str = r#","note":"\u0078""#;

/// Looks at every reading, so that nothing is optimised away.
#[derive(Default)]
struct Sum {
    readings: u32,
    value: f64,
    time_us: i64,
}

impl ReadingSink for Sum {
    fn reading(&mut self, reading: Reading<'_>) {
        let Value::Number(value) = reading.value else { return };
        self.readings += 1;
        self.value += value;
        self.time_us ^= reading.time_us.unwrap_or_default();
    }

    fn bad_reading(&mut self, _: usize, _: Option<&str>, error: DecodeError) {
        panic!("{error}");
    }

    fn discard(&mut self) {
        *self = Self::default();
    }
}

fn json(readings: usize, extra: &str) -> Vec<u8> {
    let list: Vec<String> = READINGS[..readings]
        .iter()
        .map(|(property, value, unit)| {
            format!(r#"{{"property":"{property}","value":{value},"unit":"{unit}"}}"#)
        })
        .collect();
    let time = "2026-11-21T08:05:00.123+07:00";
    format!(r#"{{"time":"{time}","seq":1042,"readings":[{}]{extra}}}"#, list.join(",")).into_bytes()
}

fn flatbuffers(readings: usize) -> Vec<u8> {
    let list: Vec<EncodeReading<'_>> = READINGS[..readings]
        .iter()
        .map(|&(property, value, _)| EncodeReading {
            property,
            value: Value::Number(value),
            unit: None,
            status: None,
            time_us: None,
            period_s: None,
        })
        .collect();
    encode(Some(TIME_US), Some(1042), &list)
}

fn decode_payload(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode payload");
    group.throughput(Throughput::Elements(1));
    let mut bench = |name: &str, readings: usize, format: Format, payload: &[u8]| {
        group.bench_with_input(BenchmarkId::new(name, readings), payload, |bencher, payload| {
            bencher.iter(|| {
                let mut sum = Sum::default();
                decode(format, Some("pm2_5"), black_box(payload), &mut sum).expect("a legal message");
                assert_eq!(sum.readings, readings as u32);
                black_box((sum.value, sum.time_us))
            });
        });
    };
    for readings in [1, READINGS.len()] {
        bench("JSON, one pass", readings, Format::Json, &json(readings, ""));
        bench("JSON, unusual shape", readings, Format::Json, &json(readings, UNUSUAL_MEMBER));
        bench("FlatBuffers", readings, Format::FlatBuffers, &flatbuffers(readings));
    }
    bench("bare", 1, Format::Bare, b"38.42");
    group.finish();
}

criterion_group!(benches, decode_payload);
criterion_main!(benches);
