//! One frame made durable on the real disk below `target/`, in recycled segments as in a gateway that has run for a while
//! (A1-5). Preparing segments is not in the figure: it happens between frames.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gateway::disk::OsDisk;
use gateway::log::{
    AlignedBuf, KIND_MESSAGE, LogConfig, LogId, LogKind, LogWriter, Position, Prepared, recover,
};

const RECORD_BODY_BYTES: usize = 300;

/// A frame's buffer as full as records make it, and how many they are.
fn full_buffer(frame_bytes: usize) -> (AlignedBuf, u32) {
    let mut buffer = AlignedBuf::with_capacity(frame_bytes);
    let mut count = 0;
    while buffer.push_record(KIND_MESSAGE, 0, 0, &[&[b'x'; RECORD_BODY_BYTES]]).is_ok() {
        count += 1;
    }
    (buffer, count)
}

/// Everything so far is processed, so its segments are used again.
fn make_ready(writer: &mut LogWriter) {
    writer.release_before(Position::Message(writer.next_message_no()));
    loop {
        match writer.prepare_step().expect("the disk takes writes") {
            Prepared::Ready => return,
            Prepared::Progress => {}
            other => panic!("no segment can be made ready: {other:?}"),
        }
    }
}

fn append(criterion: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory is writable");
    let disk = Arc::new(OsDisk::open(dir.path()).expect("the target directory is writable"));
    let config = LogConfig::new(LogKind::Journal, LogId([7; 16]));
    let (_, mut writer) = recover(disk, "journal", config).expect("an empty log");
    let mut group = criterion.benchmark_group("append a frame");
    group.sample_size(20);
    for frame_bytes in [4 << 10, 64 << 10, 1 << 20] {
        let (mut buffer, record_count) = full_buffer(frame_bytes);
        group.throughput(Throughput::Bytes(frame_bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{} KiB", frame_bytes >> 10)), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut taken = Duration::ZERO;
                for _ in 0..iterations {
                    make_ready(&mut writer);
                    let started = Instant::now();
                    writer
                        .append(slice::from_mut(&mut buffer), record_count, record_count, 0)
                        .expect("the disk takes writes");
                    taken += started.elapsed();
                }
                taken
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
