//! A1-5: what a log does about damage, foreign files, other formats, a full disk and a failing one.

use std::sync::Arc;

use gateway::disk::{Disk, Fault, FaultKind, FaultOn, OpenMode, SimDisk};
use gateway::log::{
    AlignedBuf, FlawKind, Frame, FrameMeta, FrameVisitor, LogConfig, LogError, LogId, LogKind, LogReader,
    LogReport, LogWriter, Position, Prepared, check, check_format, recover,
};

const DIR: &str = "journal";
const SEGMENT_BYTES: u64 = 64 << 10;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        frame_bytes_max: 16 << 10,
        log_bytes_max: 8 * SEGMENT_BYTES,
        ..LogConfig::new(LogKind::Journal, LogId([7; 16]))
    }
}

fn open(disk: &SimDisk, config: LogConfig) -> Result<(gateway::log::Recovered, LogWriter), LogError> {
    recover(Arc::new(disk.clone()), DIR, config)
}

fn part(number: u64, bytes: usize) -> AlignedBuf {
    let mut part = AlignedBuf::new(16 << 10);
    part.push_record(1, 0, 0, &[&number.to_le_bytes(), &vec![number as u8; bytes]]).unwrap();
    part
}

/// Frame n carries one record with the number n.
fn append(writer: &mut LogWriter, bytes: usize) -> Result<FrameMeta, LogError> {
    let number = writer.next_record_no();
    writer.append(&mut [part(number, bytes)], 1, 1, 0)
}

fn fill(writer: &mut LogWriter, frames: u64, bytes: usize) -> Vec<FrameMeta> {
    let frames = (0..frames).map(|_| {
        while writer.prepare_step().unwrap() == Prepared::Progress {}
        append(writer, bytes).unwrap()
    });
    frames.collect()
}

fn read(disk: &SimDisk, from: u64, durable: u64) -> Result<Vec<u64>, LogError> {
    let mut reader = LogReader::open(Arc::new(disk.clone()), DIR, LogKind::Journal, Position::Record(from))?;
    let mut found = Vec::new();
    while let Some(frame) = reader.next_frame(durable)? {
        for record in frame.records() {
            found.push(u64::from_le_bytes(*record.unwrap().body.first_chunk().unwrap()));
        }
    }
    Ok(found)
}

/// Takes every frame and looks at none.
struct Nobody;

impl FrameVisitor for Nobody {
    fn frame(&mut self, _frame: &Frame<'_>, _path: &str, _offset: u64) {}
    fn progress(&mut self, _bytes: u64) {}
}

/// What `journal verify` finds in the log.
fn report(disk: &SimDisk) -> LogReport {
    check(disk, DIR, LogKind::Journal, false, &mut Nobody).unwrap()
}

/// Two segments and a bit: frames of 8 KiB, seven in a segment.
fn three_segments() -> (SimDisk, Vec<FrameMeta>) {
    let disk = SimDisk::new(1);
    let (_, mut writer) = open(&disk, config()).unwrap();
    let frames = fill(&mut writer, 17, 8000);
    assert_eq!([frames[6].epoch, frames[7].epoch, frames[16].epoch], [1, 2, 3]);
    (disk, frames)
}

fn segment(epoch: u64) -> String {
    format!("{DIR}/{epoch:016x}.seg")
}

/// Where the n-th frame of `three_segments` stands in its segment.
fn offset(frame_no: u64) -> u64 {
    4096 + (frame_no - 1) % 7 * 8192
}

#[test]
fn damage_in_the_middle_is_refused_and_a_gap_must_be_accepted() {
    for damaged in [2, 7, 8, 13] {
        let (disk, frames) = three_segments();
        let epoch = frames[damaged as usize - 1].epoch;
        disk.damage(&segment(epoch), offset(damaged) + 5000, &[0xee]).unwrap();
        let Err(LogError::Corrupt { path, gap, .. }) = open(&disk, config()) else {
            panic!("damage to frame {damaged} was not noticed");
        };
        assert_eq!(path, segment(epoch.min(frames[damaged as usize - 2].epoch)));
        assert_eq!((gap.first_frame_no, gap.last_frame_no), (damaged, damaged));
        assert_eq!((gap.first_record_no, gap.last_record_no), (damaged, damaged));
        assert_eq!(report(&disk).flaws[0].kind, FlawKind::FramesMissing(gap));
        assert!(matches!(read(&disk, 1, 17), Err(LogError::Unreadable { .. })));

        let (found, mut writer) = open(&disk, LogConfig { accept_gap: true, ..config() }).unwrap();
        assert_eq!(found.new_gaps, [gap]);
        assert_eq!(append(&mut writer, 10).unwrap().frame_no, 18);
        let wanted: Vec<u64> = (1..=18).filter(|number| *number != damaged).collect();
        assert_eq!(read(&disk, 1, 18).unwrap(), wanted);
        drop(writer);

        let (found, _) = open(&disk, config()).expect("accepted once is accepted");
        assert_eq!(found.new_gaps, []);
        assert_eq!(read(&disk, 1, 18).unwrap(), wanted);
        assert_eq!(report(&disk).accepted, [gap]);
    }
}

#[test]
fn several_frames_and_a_damaged_beginning_are_one_gap_each() {
    let (disk, _) = three_segments();
    for frame_no in [1, 4, 5] {
        disk.damage(&segment(1), offset(frame_no) + 100, &[0xee]).unwrap();
    }
    let (found, mut writer) = open(&disk, LogConfig { accept_gap: true, ..config() }).unwrap();
    let frames: Vec<_> = found.new_gaps.iter().map(|gap| (gap.first_frame_no, gap.last_frame_no)).collect();
    assert_eq!(frames, [(0, 1), (4, 5)]);
    assert_eq!(found.first_available_record_no, 2);
    assert_eq!(read(&disk, 2, 17).unwrap(), [2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]);
    assert!(matches!(read(&disk, 1, 17), Err(LogError::Released { first_record_no: 2, .. })));
    // Once the front is released, the rest stands without asking again.
    writer.release_before(Position::Record(9));
    while writer.prepare_step().unwrap() == Prepared::Progress {}
    drop(writer);
    open(&disk, config()).unwrap();
}

#[test]
fn damage_with_nothing_valid_behind_is_the_torn_tail() {
    let (disk, frames) = three_segments();
    disk.damage(&segment(3), offset(17) + 5000, &[0xee]).unwrap();
    let (found, writer) = open(&disk, config()).unwrap();
    assert!(found.torn_tail);
    let last = found.last.unwrap();
    assert_eq!(last, FrameMeta { epoch: last.epoch, ..frames[15] });
    assert!(last.epoch > 3, "written again into a new segment");
    assert_eq!(writer.next_record_no(), 17);
    assert_eq!(read(&disk, 1, 16).unwrap(), (1..=16).collect::<Vec<_>>());
}

#[test]
fn a_missing_segment_in_the_middle_is_a_gap() {
    let (disk, _) = three_segments();
    disk.remove(&segment(2)).unwrap();
    let Err(LogError::Corrupt { gap, .. }) = open(&disk, config()) else { panic!("not noticed") };
    assert_eq!((gap.first_record_no, gap.last_record_no), (8, 14));
}

#[test]
fn a_damaged_header_is_refused_and_its_frames_are_kept_when_accepted() {
    let (disk, _) = three_segments();
    disk.damage(&segment(2), 20, &[1, 2, 3]).unwrap();
    assert!(matches!(open(&disk, config()), Err(LogError::BadHeader { .. })));
    let (found, _) = open(&disk, LogConfig { accept_gap: true, ..config() }).unwrap();
    assert_eq!(found.new_gaps, []);
    open(&disk, config()).unwrap();
    assert_eq!(read(&disk, 1, 17).unwrap(), (1..=17).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_was_cut_short_is_refused_as_such_and_its_frames_are_kept_when_accepted() {
    let (disk, _) = three_segments();
    let bytes = disk.size_of(&segment(3)).unwrap();
    disk.open(&segment(3), OpenMode::Write).unwrap().set_size(bytes - 5_000).unwrap();
    let Err(LogError::ShortSegment { expected, found, .. }) = open(&disk, config()) else {
        panic!("not noticed")
    };
    assert_eq!((expected, found), (bytes, bytes - 5_000));
    open(&disk, LogConfig { accept_gap: true, ..config() }).unwrap();
    assert_eq!(read(&disk, 1, 15).unwrap(), (1..=15).collect::<Vec<_>>());
}

#[test]
fn b1_6_other_formats_other_logs_and_other_kinds_are_refused_in_one_sentence() {
    for (found, age) in [(9, "newer"), (1, "older")] {
        let (disk, _) = three_segments();
        let mut header = vec![0; 4096];
        disk.open(&segment(2), OpenMode::Read).unwrap().read_at(0, &mut header).unwrap();
        header[12..16].copy_from_slice(&u32::to_le_bytes(found));
        let crc = crc32c::crc32c(&header[12..]);
        header[8..12].copy_from_slice(&crc.to_le_bytes());
        disk.damage(&segment(2), 0, &header).unwrap();
        let sentence = format!(
            "{}: written in format {found}, this build reads format 3: start the {age} build that wrote it",
            segment(2)
        );
        let error = open(&disk, LogConfig { accept_gap: true, ..config() }).unwrap_err();
        assert_eq!(error.to_string(), sentence);
        let error = check_format(&disk, "journal", LogKind::Journal).unwrap_err();
        assert_eq!(error.to_string(), sentence);
    }

    // A version that is damaged is damage.
    let (disk, _) = three_segments();
    disk.damage(&segment(2), 12, &1u32.to_le_bytes()).unwrap();
    assert!(matches!(open(&disk, config()), Err(LogError::BadHeader { .. })));
    check_format(&disk, "journal", LogKind::Journal).unwrap();

    let (disk, _) = three_segments();
    let observations = LogConfig { kind: LogKind::Observations, ..config() };
    assert!(matches!(open(&disk, observations), Err(LogError::Foreign { .. })));

    let other = SimDisk::new(2);
    drop(open(&other, LogConfig { new_log_id: LogId([8; 16]), ..config() }).unwrap());
    let mut header = vec![0; 4096];
    other.open(&segment(2), OpenMode::Read).unwrap().read_at(0, &mut header).unwrap();
    disk.damage(&segment(2), 0, &header).unwrap();
    assert!(matches!(open(&disk, config()), Err(LogError::Foreign { .. })));
}

/// A valid frame of the segment's former life, with exactly the number that is expected: only the epoch tells.
#[test]
fn a_stale_frame_with_the_expected_number_does_not_pass() {
    let (disk, frames) = three_segments();
    let mut frame = vec![0; 8192];
    disk.open(&segment(3), OpenMode::Read).unwrap().read_at(offset(17), &mut frame).unwrap();
    let (found, mut writer) = open(&disk, config()).unwrap();
    let epoch = found.last.unwrap().epoch;
    drop(writer);
    // Back to frame 16 as the last one, with the old frame 17 where the next one would stand.
    let (disk, _) = three_segments();
    disk.damage(&segment(3), offset(17), &[0; 8192]).unwrap();
    (_, writer) = open(&disk, config()).unwrap();
    assert_eq!(writer.next_record_no(), 17);
    drop(writer);
    disk.damage(&segment(epoch), 4096 + 8192, &frame).unwrap();
    let (found, _) = open(&disk, config()).unwrap();
    assert_eq!(found.last.unwrap().frame_no, 16, "{:?}", frames[16]);
}

#[test]
fn a_failed_write_or_sync_is_the_end_of_the_writer() {
    for on in [FaultOn::Write, FaultOn::Sync] {
        let (disk, _) = three_segments();
        let (_, mut writer) = open(&disk, config()).unwrap();
        disk.fail(Fault { on, nth: 1, kind: FaultKind::Io });
        assert!(matches!(append(&mut writer, 100), Err(LogError::Fatal { .. })));
        assert!(matches!(append(&mut writer, 100), Err(LogError::Failed)));
        assert!(matches!(writer.prepare_step(), Err(LogError::Failed)));
        let (found, _) = open(&disk, config()).unwrap();
        assert!([17, 18].contains(&found.last.unwrap().frame_no));
    }
}

#[test]
fn a_full_disk_pushes_back_and_work_goes_on_when_space_returns() {
    let disk = SimDisk::new(5);
    let (_, mut writer) = open(&disk, config()).unwrap();
    assert_eq!(writer.ready_segments(), 2);
    disk.set_capacity(2 * SEGMENT_BYTES + 100);
    let mut written = 0;
    let error = loop {
        assert_ne!(writer.prepare_step().unwrap(), Prepared::BudgetFull);
        match append(&mut writer, 8000) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_backpressure());
    assert_eq!(written, 14, "both ready segments were used up");
    assert_eq!(writer.prepare_step().unwrap(), Prepared::NoSpace);
    assert_eq!(disk.list(DIR).unwrap().len(), 2, "nothing is tried that cannot succeed");
    disk.set_capacity(u64::MAX);
    // A quota is not in what the disk says of itself.
    disk.fail(Fault { on: FaultOn::Write, nth: 1, kind: FaultKind::NoSpace });
    assert_eq!(writer.prepare_step().unwrap(), Prepared::Progress);
    assert_eq!(writer.prepare_step().unwrap(), Prepared::NoSpace);
    assert_eq!(disk.list(DIR).unwrap().len(), 2, "the file that did not fit is gone");
    let frames = fill(&mut writer, 5, 8000);
    assert_eq!(frames[4].frame_no, 19);
}

#[test]
fn the_budget_pushes_back_until_something_is_released() {
    let disk = SimDisk::new(5);
    let (_, mut writer) = open(&disk, LogConfig { log_bytes_max: 4 * SEGMENT_BYTES, ..config() }).unwrap();
    let mut last = 0;
    while let Ok(meta) = append(&mut writer, 8000) {
        last = meta.last_record_no();
        while writer.prepare_step().unwrap() == Prepared::Progress {}
    }
    assert_eq!((last, writer.log_bytes()), (28, 4 * SEGMENT_BYTES));
    assert_eq!(writer.prepare_step().unwrap(), Prepared::BudgetFull);
    writer.release_before(Position::Message(8));
    let frames = fill(&mut writer, 5, 8000);
    assert_eq!((frames[4].frame_no, frames[4].epoch), (33, 5));
    assert_eq!(writer.log_bytes(), 4 * SEGMENT_BYTES);
}

#[test]
fn the_reserve_is_for_frames_without_messages() {
    let disk = SimDisk::new(5);
    let limits = LogConfig { log_bytes_max: 4 * SEGMENT_BYTES, reserve_bytes: 16 << 10, ..config() };
    let (_, mut writer) = open(&disk, limits).unwrap();
    while append(&mut writer, 8000).is_ok() {
        while writer.prepare_step().unwrap() == Prepared::Progress {}
    }
    let mut control = [part(99, 3000)];
    while writer.append(&mut control, 1, 1, 0).is_ok() {}
    assert!(!writer.has_room(4096));
    assert!(writer.append(&mut control, 1, 1, 0).unwrap_err().is_backpressure());
    for _ in 0..4 {
        writer.append(&mut control, 1, 0, 0).unwrap();
    }
    assert!(writer.append(&mut control, 1, 0, 0).unwrap_err().is_backpressure());
}

/// Zeros take no space that the flush needs which lets go of segments (A1-7).
#[test]
fn a_segment_leaves_the_space_that_others_need() {
    let disk = SimDisk::new(5);
    let margin = 10 * SEGMENT_BYTES;
    let limits = LogConfig { free_bytes_min: margin, ..config() };
    let (_, mut writer) = open(&disk, limits).unwrap();
    fill(&mut writer, 1, 8000);
    while writer.prepare_step().unwrap() == Prepared::Progress {}
    let used = u64::MAX - disk.free_space().unwrap();
    disk.set_capacity(used + margin + SEGMENT_BYTES - 1);
    let files = disk.list("journal").unwrap();
    while append(&mut writer, 8000).is_ok() {}
    assert_eq!(writer.prepare_step().unwrap(), Prepared::NoSpace);
    assert_eq!(disk.list("journal").unwrap(), files, "nothing is tried that cannot succeed");
    disk.set_capacity(used + margin + SEGMENT_BYTES);
    assert_eq!(writer.prepare_step().unwrap(), Prepared::Progress);
    // Somebody else takes space while the zeros are written.
    disk.set_capacity(used + margin);
    while writer.prepare_step().unwrap() == Prepared::Progress {}
    assert_eq!(disk.free_space().unwrap(), margin, "given back");
    disk.set_capacity(u64::MAX);
    while writer.prepare_step().unwrap() == Prepared::Progress {}
    append(&mut writer, 8000).unwrap();
}

#[test]
fn impossible_frames_and_configurations_are_refused() {
    let disk = SimDisk::new(5);
    let (_, mut writer) = open(&disk, config()).unwrap();
    assert!(matches!(writer.append(&mut [], 1, 1, 0), Err(LogError::EmptyFrame)));
    assert!(matches!(writer.append(&mut [part(1, 1)], 0, 0, 0), Err(LogError::EmptyFrame)));
    let mut large = [part(1, 9000), part(2, 9000)];
    assert!(matches!(writer.append(&mut large, 2, 2, 0), Err(LogError::FrameTooLarge { bytes: 24576, .. })));
    for wrong in [
        LogConfig { segment_bytes: 5000, ..config() },
        LogConfig { frame_bytes_max: SEGMENT_BYTES, ..config() },
        LogConfig { log_bytes_max: 3 * SEGMENT_BYTES, ..config() },
        LogConfig { reserve_bytes: SEGMENT_BYTES, ..config() },
    ] {
        assert!(matches!(open(&SimDisk::new(1), wrong), Err(LogError::Config(_))));
    }
}

#[test]
fn released_segments_go_to_the_archive_where_one_is_set() {
    let disk = SimDisk::new(5);
    let (_, mut writer) = open(&disk, LogConfig { archive_dir: Some("archive".into()), ..config() }).unwrap();
    fill(&mut writer, 17, 8000);
    writer.release_before(Position::Record(15));
    while writer.prepare_step().unwrap() == Prepared::Progress {}
    assert_eq!(disk.list("archive").unwrap(), ["0000000000000001.seg", "0000000000000002.seg"]);
    assert_eq!(read(&disk, 15, 17).unwrap(), [15, 16, 17]);
}

/// Restarts without new frames reuse the same space.
#[test]
fn restarts_do_not_eat_space() {
    let (disk, _) = three_segments();
    let sizes: Vec<u64> = (0..6).map(|_| open(&disk, config()).unwrap().1.log_bytes()).collect();
    assert_eq!(sizes[1..], vec![sizes[1]; 5], "{sizes:?}");
}

/// B1-7: a start reads what is needed. Damage below is no reason to refuse it, and `journal verify` finds it all the same.
#[test]
fn b1_7_segments_below_what_is_needed_are_not_read_at_a_start() {
    let needed = |record_no| LogConfig {
        needed_from: Some(Position::Record(record_no)),
        unneeded_bytes_read: 0,
        ..config()
    };
    // Frames 1 to 7, 8 to 14, 15 to 17 stand in one segment each.
    for (damaged, needed_from, is_refused) in [
        (3, 8, false),
        (3, 7, true),
        (3, 17, false),
        (10, 17, false),
        (10, 14, true),
        (16, 17, true),
        (7, 8, false),
    ] {
        let (disk, frames) = three_segments();
        let epoch = frames[damaged as usize - 1].epoch;
        disk.damage(&segment(epoch), offset(damaged) + 5000, &[0xee]).unwrap();
        let opened = open(&disk, needed(needed_from));
        let context = format!("frame {damaged} is damaged, {needed_from} is needed");
        assert_eq!(opened.is_err(), is_refused, "{context}");
        let FlawKind::FramesMissing(gap) = &report(&disk).flaws[0].kind else { panic!("{context}") };
        assert_eq!((gap.first_frame_no, gap.last_frame_no), (damaged, damaged), "{context}");
        if let Ok((found, mut writer)) = opened {
            assert_eq!((found.first_available_record_no, writer.next_record_no()), (1, 18), "{context}");
            assert_eq!(read(&disk, needed_from, 17).unwrap(), (needed_from..=17).collect::<Vec<_>>());
            assert_eq!(append(&mut writer, 10).unwrap().frame_no, 18);
            writer.release_before(Position::Record(needed_from));
            while writer.prepare_step().unwrap() == Prepared::Progress {}
            drop(writer);
            open(&disk, needed(needed_from)).expect("and again");
        }
    }
}

/// A little of what is not needed is checked all the same: usually that is everything.
#[test]
fn b1_7_the_newest_segments_are_read_whatever_is_needed() {
    for (unneeded_bytes_read, is_refused) in [(0, false), (SEGMENT_BYTES, false), (2 * SEGMENT_BYTES, true)] {
        let (disk, _) = three_segments();
        disk.damage(&segment(1), offset(3) + 5000, &[0xee]).unwrap();
        let needed_from = Some(Position::Record(17));
        let opened = open(&disk, LogConfig { needed_from, unneeded_bytes_read, ..config() });
        assert_eq!(opened.is_err(), is_refused, "{unneeded_bytes_read}");
    }
}

/// A damaged beginning, or a segment that is gone, is noticed whatever is needed.
#[test]
fn b1_7_an_unneeded_segment_that_does_not_begin_with_a_frame_is_read() {
    let (disk, _) = three_segments();
    disk.damage(&segment(2), offset(8) + 5000, &[0xee]).unwrap();
    let needed = LogConfig { needed_from: Some(Position::Record(17)), unneeded_bytes_read: 0, ..config() };
    assert!(matches!(open(&disk, needed), Err(LogError::Corrupt { .. })));
}
