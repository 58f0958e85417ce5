//! A segment that is used again has frames of its former life behind what is written now. Whatever of them stands where, with
//! whatever number: it is neither a part of the log nor damage (B1-1).

use std::sync::Arc;

use gateway::disk::{Disk, OpenMode, SimDisk};
use gateway::log::{
    AlignedBuf, LogConfig, LogId, LogKind, LogReader, LogWriter, Position, Prepared, recover,
};

const DIR: &str = "journal";
const SEGMENT_BYTES: u64 = 64 << 10;
const HEADER_BYTES: u64 = 4096;
const FRAME_BYTES: u64 = 8192;
const SECTOR_BYTES: u64 = 512;
/// Of one segment.
const FRAMES: u64 = (SEGMENT_BYTES - HEADER_BYTES) / FRAME_BYTES;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        frame_bytes_max: 16 << 10,
        log_bytes_max: 8 * SEGMENT_BYTES,
        ..LogConfig::new(LogKind::Journal, LogId([7; 16]))
    }
}

/// So many further frames, each with one record that has its number.
fn append(writer: &mut LogWriter, frames: u64) {
    for _ in 0..frames {
        while writer.prepare_step().unwrap() == Prepared::Progress {}
        let number = writer.next_record_no();
        let mut part = AlignedBuf::new(16 << 10);
        part.push_record(1, 0, 0, &[&number.to_le_bytes(), &[number as u8; 8000]]).unwrap();
        writer.append(&mut [part], 1, 1, 0).unwrap();
    }
}

fn log_of(frames: u64) -> (SimDisk, LogWriter) {
    let disk = SimDisk::new(1);
    let (_, mut writer) = recover(Arc::new(disk.clone()), DIR, config()).unwrap();
    append(&mut writer, frames);
    (disk, writer)
}

fn segment(epoch: u64) -> String {
    format!("{DIR}/{epoch:016x}.seg")
}

/// Frames that end the third segment of such a log, by number: what a former life leaves.
fn stale_frames(from: u64) -> Vec<(u64, Vec<u8>)> {
    let (disk, _) = log_of(3 * FRAMES);
    let file = disk.open(&segment(3), OpenMode::Read).unwrap();
    let read = |number: u64| {
        let mut frame = vec![0; FRAME_BYTES as usize];
        file.read_at(HEADER_BYTES + (number - 1) % FRAMES * FRAME_BYTES, &mut frame).unwrap();
        (number, frame)
    };
    (from..=3 * FRAMES).map(read).collect()
}

/// A log whose newest segment, of a higher epoch than those frames, has `frames` frames; the number of the last of them.
fn log_with_newest(frames: u64) -> (SimDisk, u64, u64) {
    let (disk, writer) = log_of(2 * FRAMES + 1);
    drop(writer);
    let (found, mut writer) = recover(Arc::new(disk.clone()), DIR, config()).unwrap();
    let epoch = found.last.unwrap().epoch;
    assert!(epoch > 3, "written again into a new segment");
    append(&mut writer, frames - 1);
    (disk, epoch, 2 * FRAMES + frames)
}

fn check(disk: &SimDisk, last: u64, what: &str) {
    let (found, _) =
        recover(Arc::new(disk.clone()), DIR, config()).unwrap_or_else(|it| panic!("{what}: {it}"));
    assert_eq!(found.last.unwrap().frame_no, last, "{what}");
    let mut reader =
        LogReader::open(Arc::new(disk.clone()), DIR, LogKind::Journal, Position::Record(1)).unwrap();
    let mut numbers = Vec::new();
    while let Some(frame) = reader.next_frame(last).unwrap() {
        numbers.push(frame.meta.frame_no);
    }
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "{what}");
}

/// At every sector behind the last frame, so at every offset where a frame can stand, and at those where none can.
#[test]
fn b1_1_a_stale_frame_at_any_offset_is_no_part_of_the_log() {
    let mut tried = 0;
    for frames in 1..FRAMES {
        let end = HEADER_BYTES + frames * FRAME_BYTES;
        let (_, _, last) = log_with_newest(frames);
        for (number, frame) in stale_frames(last + 1) {
            // The expected number everywhere; the others, which would be a gap, where a frame can stand.
            let step = if number == last + 1 { SECTOR_BYTES } else { HEADER_BYTES };
            for offset in (end..=SEGMENT_BYTES - FRAME_BYTES).step_by(step as usize) {
                let (disk, epoch, last) = log_with_newest(frames);
                disk.damage(&segment(epoch), offset, &frame).unwrap();
                check(&disk, last, &format!("frame {number} at {offset} behind {frames} frames"));
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

/// A whole former life behind the newest frame, as a segment has it that was used again.
#[test]
fn b1_1_all_stale_frames_at_once_are_no_part_of_the_log() {
    for frames in 1..FRAMES {
        let (disk, epoch, last) = log_with_newest(frames);
        for (number, frame) in stale_frames(last + 1) {
            let offset = HEADER_BYTES + (number - 1) % FRAMES * FRAME_BYTES;
            disk.damage(&segment(epoch), offset, &frame).unwrap();
        }
        check(&disk, last, &format!("behind {frames} frames"));
    }
}
