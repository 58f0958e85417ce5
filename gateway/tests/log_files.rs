//! A1-5: the log on the real file system: bytes as `docs/format/log.md` says, reopening, and no allocation per append.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use gateway::disk::{Disk, OsDisk, read_file};
use gateway::log::{
    AlignedBuf, FRAME_HEADER_LEN, LogConfig, LogId, LogKind, LogReader, Position, Prepared, recover,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 20,
        frame_bytes_max: 256 << 10,
        log_bytes_max: 16 << 20,
        ..LogConfig::new(LogKind::Journal, LogId(*b"0123456789abcdef"))
    }
}

fn disk() -> (tempfile::TempDir, Arc<dyn Disk>) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
    (dir, disk)
}

#[test]
fn frames_come_back_after_reopening() {
    let (_dir, disk) = disk();
    let mut written = Vec::new();
    for life in 0..3u64 {
        let (found, mut writer) = recover(disk.clone(), "journal", config()).unwrap();
        assert_eq!(found.last.map_or(0, |last| last.frame_no), 20 * life);
        assert_eq!(writer.ready_segments(), 2);
        for number in 0..20u64 {
            let mut parts = [AlignedBuf::new(200 << 10), AlignedBuf::new(200 << 10)];
            let body = vec![(life * 20 + number) as u8; 1 + 4000 * number as usize];
            for part in &mut parts {
                part.push_record(1, 2, 3, &[&body]).unwrap();
            }
            let meta = writer.append(&mut parts, 2, 2, 1000 - number as i64).unwrap();
            assert_eq!((meta.first_record_no, meta.stamp.time_us), (1 + 2 * written.len() as u64, 1000));
            written.push(body);
            while writer.prepare_step().unwrap() == Prepared::Progress {}
        }
    }
    let mut reader = LogReader::open(disk, "journal", LogKind::Journal, Position::Message(1)).unwrap();
    for (number, body) in written.iter().enumerate() {
        let frame = reader.next_frame(120).unwrap().unwrap();
        assert_eq!(frame.meta.frame_no, number as u64 + 1);
        let records: Vec<_> = frame.records().map(|record| record.unwrap()).collect();
        assert_eq!(records.len(), 2);
        assert!(records.iter().all(|record| record.body == body && (record.flags, record.user) == (2, 3)));
    }
    assert!(reader.next_frame(120).unwrap().is_none());
}

/// The worked example of `docs/format/log.md`, byte for byte.
#[test]
fn bytes_on_the_disk_are_those_of_the_format_page() {
    let (_dir, disk) = disk();
    let (_, mut writer) = recover(disk.clone(), "journal", config()).unwrap();
    let mut parts = [AlignedBuf::new(8192), AlignedBuf::new(8192)];
    parts[0].push_record(1, 0x11, 0x2233, &[b"hello"]).unwrap();
    parts[1].push_record(2, 0, 0, &[b"control!"]).unwrap();
    writer.append(&mut parts, 2, 1, 0x0006_0000_1234_5678).unwrap();
    let file = read_file(&*disk, "journal/0000000000000001.seg", 1 << 20).unwrap();
    assert_eq!(file.len(), 1 << 20);
    let hex = |range: std::ops::Range<usize>| {
        file[range].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(hex(0..16), "53 47 4c 4f 47 53 45 47 84 07 fe 0e 03 00 00 00");
    assert_eq!(&file[16..32], b"0123456789abcdef");
    assert_eq!(hex(32..56), "01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 00 10 00 00 00 00 00");
    assert!(file[56..4096].iter().all(|byte| *byte == 0));
    assert_eq!(hex(4096..4112), "53 47 66 72 25 be 3e 43 00 20 00 00 02 00 00 00");
    assert_eq!(hex(4112..4136), "01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00");
    assert_eq!(hex(4136..4160), "01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 78 56 34 12 00 00 06 00");
    assert_eq!(hex(4160..4176), "0d 00 00 00 01 11 33 22 68 65 6c 6c 6f 00 00 00");
    assert!(file[4176..8192].iter().all(|byte| *byte == 0));
    assert_eq!(hex(8192..8200), "40 00 00 00 00 00 00 00");
    assert_eq!(hex(8256..8272), "10 00 00 00 02 00 00 00 63 6f 6e 74 72 6f 6c 21");
    // The checksum by hand: the log's id, then the frame from byte 8 on.
    let sum = crc32c::crc32c_append(crc32c::crc32c(b"0123456789abcdef"), &file[4104..12288]);
    assert_eq!(sum.to_le_bytes(), file[4100..4104]);
}

#[test]
fn an_append_allocates_nothing() {
    let (_dir, disk) = disk();
    let (_, mut writer) = recover(disk, "journal", config()).unwrap();
    let mut parts = [AlignedBuf::with_capacity(64 << 10), AlignedBuf::with_capacity(64 << 10)];
    let body = [5u8; 300];
    let mut round = |parts: &mut [AlignedBuf]| {
        for part in &mut *parts {
            part.clear();
            while part.push_record(1, 0, 0, &[&body]).is_ok() {}
            assert!(part.len() > 60 << 10);
        }
        writer.append(parts, 400, 400, 1).unwrap();
    };
    round(&mut parts);
    let before = ALLOCATIONS.get();
    for _ in 0..5 {
        round(&mut parts);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

/// File systems without `O_DIRECT` get the other way; both must read back alike. (`/dev/shm` may be either.)
#[test]
fn every_file_system_at_hand_takes_the_log() {
    let shm = std::path::Path::new("/dev/shm");
    let Ok(dir) = tempfile::tempdir_in(shm) else { return };
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(dir.path()).unwrap());
    let (_, mut writer) = recover(disk.clone(), "journal", config()).unwrap();
    let mut parts = [AlignedBuf::new(8192)];
    parts[0].push(&[0; 4096 - FRAME_HEADER_LEN]).unwrap();
    writer.append(&mut parts, 1, 0, 1).unwrap();
    drop(writer);
    let (found, _) = recover(disk, "journal", config()).unwrap();
    assert_eq!(found.last.unwrap().frame_no, 1);
}
