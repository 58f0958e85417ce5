//! Random lives of a log on the simulated disk, against a dull model: a list of the frames whose append returned (A1-5).
//!
//! After every crash each of them must be there, byte for byte and in order, and nothing else except the one frame
//! whose append was running. A failing seed is printed as a command. Planted bugs prove that the harness can fail.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::format::{FRAME_HEADER_LEN, FrameMeta, LogId, LogKind, checksum_seed, seal};
use super::segment::Run;
use super::writer::{Current, LogWriter};
use super::{AlignedBuf, LogConfig, LogError, LogReader, Position, Prepared, recover};
use crate::disk::{Crash, Disk, DiskFile, Fault, FaultKind, FaultOn, OpenMode, Random, SimDisk};

const DIR: &str = "journal";
const SEEDS: u64 = 400;
const LIVES: u64 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlantedBug {
    /// A durable write returns before its sync.
    AckBeforeSync,
    /// Frames of a segment's former life pass: the epoch is not looked at.
    StaleFrameAccepted,
    /// What recovery read at the end counts as durable and is not written again.
    TailTrusted,
}

/// What recovery does under [`PlantedBug::TailTrusted`]: it goes on behind the last frame, in the same segment.
pub(super) fn trust_tail(path: String, writer: &mut LogWriter, run: &Run) -> Result<FrameMeta, LogError> {
    let file = writer
        .disk
        .open(&path, OpenMode::WriteDurable)
        .map_err(|source| super::segment::io_error(&path, "opening", source))?;
    let (epoch, offset, segment_bytes) = (run.last.epoch, run.end, writer.config.segment_bytes);
    writer.current = Some(Current { file, path, epoch, offset, segment_bytes });
    Ok(run.last)
}

/// The disk of [`PlantedBug::AckBeforeSync`].
#[derive(Debug)]
struct LyingDisk(SimDisk);

#[derive(Debug)]
struct LyingFile(Box<dyn DiskFile>);

impl Disk for LyingDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LyingFile(self.0.open(path, mode)?)))
    }
    fn create(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LyingFile(self.0.create(path, mode)?)))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn size_of(&self, path: &str) -> io::Result<u64> {
        self.0.size_of(path)
    }
    fn free_space(&self) -> io::Result<u64> {
        self.0.free_space()
    }
}

impl DiskFile for LyingFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }
    fn write_at(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.0.write_at(offset, parts)
    }
    fn write_durable(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.0.write_at(offset, parts)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn set_size(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_size(bytes)
    }
}

fn config(random: &mut Random, bug: Option<PlantedBug>) -> LogConfig {
    LogConfig {
        segment_bytes: 64 << 10,
        frame_bytes_max: 32 << 10,
        log_bytes_max: 16 * (64 << 10),
        reserve_bytes: if random.chance(50) { 8 << 10 } else { 0 },
        archive_dir: random.chance(20).then(|| "archive".to_owned()),
        planted_bug: bug,
        ..LogConfig::new(LogKind::Journal, LogId(*b"log id of a test"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelFrame {
    first_record_no: u64,
    first_message_no: u64,
    record_count: u32,
    message_count: u32,
    payload: Vec<u8>,
}

/// The reference model and the disk.
struct World {
    disk: SimDisk,
    seen: Arc<dyn Disk>,
    random: Random,
    config: LogConfig,
    /// Frame n stands at index n − 1.
    acked: Vec<ModelFrame>,
    in_flight: Option<ModelFrame>,
    released_record_no: u64,
    times: BTreeMap<u64, i64>,
    now_us: i64,
    seen_so_far: Seen,
}

/// What the lives came to: a harness that never gets into trouble proves nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    acked: usize,
    kept_unacked: u32,
    torn_tails: u32,
    cut_recoveries: u32,
    released_at_start: u32,
    refused_appends: u32,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.acked += other.acked;
        self.kept_unacked += other.kept_unacked;
        self.torn_tails += other.torn_tails;
        self.cut_recoveries += other.cut_recoveries;
        self.released_at_start += other.released_at_start;
        self.refused_appends += other.refused_appends;
    }
}

type Checked = Result<(), String>;

impl World {
    fn new(seed: u64, bug: Option<PlantedBug>) -> Self {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(random.next_u64());
        let seen: Arc<dyn Disk> = match bug {
            Some(PlantedBug::AckBeforeSync) => Arc::new(LyingDisk(disk.clone())),
            _ => Arc::new(disk.clone()),
        };
        let config = config(&mut random, bug);
        let (acked, times) = (Vec::new(), BTreeMap::new());
        Self {
            disk,
            seen,
            random,
            config,
            acked,
            in_flight: None,
            released_record_no: 1,
            times,
            now_us: 1_000,
            seen_so_far: Seen::default(),
        }
    }

    fn next_numbers(&self) -> (u64, u64) {
        self.acked.last().map_or((1, 1), |frame| {
            (
                frame.first_record_no + u64::from(frame.record_count),
                frame.first_message_no + u64::from(frame.message_count),
            )
        })
    }

    fn durable_record_no(&self) -> u64 {
        self.next_numbers().0 - 1
    }

    /// Opens the log and compares all of it with the model. `None`: the machine went down meanwhile.
    fn recover(&mut self) -> Result<Option<LogWriter>, String> {
        let (found, writer) = match recover(self.seen.clone(), DIR, self.config.clone()) {
            Ok(opened) => opened,
            Err(_) if self.disk.is_down() => {
                self.seen_so_far.cut_recoveries += 1;
                return Ok(None);
            }
            Err(error) => return Err(format!("recovery refused: {error}")),
        };
        let acked = self.acked.len() as u64;
        let last_no = found.last.map_or(0, |last| last.frame_no);
        if last_no == acked + 1
            && let Some(frame) = self.in_flight.take()
        {
            self.acked.push(frame);
            self.seen_so_far.kept_unacked += 1;
        }
        self.in_flight = None;
        self.seen_so_far.torn_tails += u32::from(found.torn_tail);
        self.seen_so_far.released_at_start += u32::from(found.first_available_record_no > 1);
        if last_no != self.acked.len() as u64 {
            return Err(format!("{acked} frames were acked, the log ends with frame {last_no}"));
        }
        let (record_no, message_no) = self.next_numbers();
        if (writer.next_record_no(), writer.next_message_no()) != (record_no, message_no) {
            return Err("the writer goes on with wrong numbers".to_owned());
        }
        if found.first_available_record_no > self.released_record_no {
            let first = found.first_available_record_no;
            return Err(format!("starts at record {first}, released only up to {}", self.released_record_no));
        }
        self.compare(found.first_available_record_no, found.last)?;
        Ok(Some(writer))
    }

    /// Reads everything from `first_record_no` on.
    fn compare(&mut self, first_record_no: u64, last: Option<FrameMeta>) -> Checked {
        let from = Position::Record(first_record_no);
        let mut reader = LogReader::open(self.seen.clone(), DIR, LogKind::Journal, from).map_err(text)?;
        let mut expected = self.acked.iter().position(|frame| frame.first_record_no >= first_record_no);
        while let Some(frame) = reader.next_frame(self.durable_record_no()).map_err(text)? {
            let Some(index) = expected else { return Err("a frame that nobody wrote".to_owned()) };
            check_frame(&self.acked, &mut self.times, index, &frame.meta, frame.payload)?;
            if last.is_some_and(|last| last.frame_no == frame.meta.frame_no && last != frame.meta) {
                return Err("the last frame differs from what recovery said".to_owned());
            }
            expected = (index + 1 < self.acked.len()).then_some(index + 1);
        }
        if let Some(index) = expected {
            return Err(format!("the reader ends before frame {}", index + 1));
        }
        Ok(())
    }

    fn records(&mut self) -> (Vec<AlignedBuf>, u32, u32) {
        let (mut records, mut messages) = (0, 0);
        let mut parts = Vec::new();
        for _ in 0..=self.random.below(3) {
            let mut part = AlignedBuf::new(10 << 10);
            if self.random.chance(10) {
                push_forged_frame(&mut part, self.acked.len() as u64 + 2 + self.random.below(2));
                records += 2;
            }
            for _ in 0..=self.random.below(4) {
                let kind = 1 + self.random.below(2) as u8;
                let body = vec![self.random.next_u64() as u8; self.random.below(1500) as usize];
                if part.push_record(kind, 0, self.random.next_u64() as u16, &[&body]).is_ok() {
                    records += 1;
                    messages += u32::from(kind == 1);
                }
            }
            parts.push(part);
        }
        (parts, records, messages)
    }

    fn append(&mut self, writer: &mut LogWriter) -> Checked {
        let (mut parts, record_count, message_count) = self.records();
        let (first_record_no, first_message_no) = self.next_numbers();
        // The clock may go back.
        self.now_us += self.random.below(200) as i64 - 50;
        let result = writer.append(&mut parts, record_count, message_count, self.now_us);
        let mut payload: Vec<u8> = parts.iter().flat_map(|part| part.as_slice().to_vec()).collect();
        payload.drain(..FRAME_HEADER_LEN);
        let frame = ModelFrame { first_record_no, first_message_no, record_count, message_count, payload };
        match result {
            Ok(meta) => {
                self.acked.push(frame);
                check_numbers(self.acked.len(), &self.acked[self.acked.len() - 1], &meta)
            }
            Err(error) if error.is_backpressure() => {
                self.seen_so_far.refused_appends += 1;
                Ok(())
            }
            Err(_) => {
                self.in_flight = Some(frame);
                Ok(())
            }
        }
    }

    /// Acts until the machine or the writer is down.
    fn live(&mut self, writer: &mut LogWriter) -> Checked {
        let from = Position::Record(self.released_record_no);
        let mut reader = LogReader::open(self.seen.clone(), DIR, LogKind::Journal, from).map_err(text)?;
        for _ in 0..self.random.below(80) {
            match self.random.below(100) {
                0..55 => self.append(writer)?,
                55..80 => match writer.prepare_step() {
                    Ok(Prepared::NoSpace) if self.disk.free_space().is_ok_and(|bytes| bytes > 1 << 30) => {
                        return Err("no space although there is".to_owned());
                    }
                    Ok(_) | Err(_) => {}
                },
                80..88 => {
                    let behind = self.random.below(40);
                    let record_no =
                        self.durable_record_no().saturating_sub(behind).max(self.released_record_no);
                    self.released_record_no = record_no;
                    writer.release_before(Position::Record(record_no));
                }
                88..92 => {
                    self.disk.set_capacity(if self.random.chance(50) { 5 * (64 << 10) } else { u64::MAX })
                }
                92..94 => {
                    let on =
                        [FaultOn::Write, FaultOn::Sync, FaultOn::Directory][self.random.below(3) as usize];
                    self.disk.fail(Fault { on, nth: 1 + self.random.below(4), kind: FaultKind::Io });
                }
                _ => {
                    reader = self.read_on(reader)?;
                }
            }
            if self.disk.is_down() || writer.failed {
                break;
            }
        }
        Ok(())
    }

    /// A reader beside the writer sees every durable frame and none beyond.
    fn read_on(&mut self, mut reader: LogReader) -> Result<LogReader, String> {
        loop {
            match reader.next_frame(self.durable_record_no()) {
                Ok(Some(frame)) => {
                    let index = frame.meta.frame_no as usize - 1;
                    if index >= self.acked.len() {
                        return Err(format!("the reader shows frame {} before it is durable", index + 1));
                    }
                    check_frame(&self.acked, &mut self.times, index, &frame.meta, frame.payload)?;
                }
                Ok(None) => return Ok(reader),
                // What it had not read yet was released: begin again.
                Err(LogError::Released { .. }) => {
                    let from = Position::Record(self.released_record_no);
                    reader = LogReader::open(self.seen.clone(), DIR, LogKind::Journal, from).map_err(text)?;
                }
                Err(error) => return Err(format!("the reader beside the writer: {error}")),
            }
        }
    }

    fn crash_and_restart(&mut self) {
        if !self.disk.is_down() {
            self.disk.crash(if self.random.chance(50) { Crash::Kill } else { Crash::PowerLoss });
        }
        self.disk.restart();
        self.disk.set_capacity(u64::MAX);
    }
}

fn text(error: LogError) -> String {
    error.to_string()
}

fn check_numbers(frame_no: usize, model: &ModelFrame, meta: &FrameMeta) -> Checked {
    let found =
        (meta.frame_no, meta.first_record_no, meta.first_message_no, meta.record_count, meta.message_count);
    let wanted = (
        frame_no as u64,
        model.first_record_no,
        model.first_message_no,
        model.record_count,
        model.message_count,
    );
    if found == wanted {
        Ok(())
    } else {
        Err(format!("frame {frame_no}: numbers {found:?} instead of {wanted:?}"))
    }
}

fn check_frame(
    acked: &[ModelFrame],
    times: &mut BTreeMap<u64, i64>,
    index: usize,
    meta: &FrameMeta,
    payload: &[u8],
) -> Checked {
    let model = &acked[index];
    check_numbers(index + 1, model, meta)?;
    if model.payload != payload {
        return Err(format!("frame {}: other bytes than were written", index + 1));
    }
    let before = times.range(..meta.frame_no).next_back().map_or(i64::MIN, |(_, time)| *time);
    if meta.stamp.time_us < before {
        return Err(format!("frame {}: its time goes back", index + 1));
    }
    if *times.entry(meta.frame_no).or_insert(meta.stamp.time_us) != meta.stamp.time_us {
        return Err(format!("frame {}: its time changed", index + 1));
    }
    Ok(())
}

/// What a client may send: bytes that look like a later frame, on a 4 KiB boundary. It cannot know the log's id.
fn push_forged_frame(part: &mut AlignedBuf, frame_no: u64) {
    let meta = FrameMeta {
        epoch: 3,
        frame_no,
        first_record_no: frame_no * 3,
        first_message_no: frame_no * 2,
        record_count: 1,
        message_count: 1,
        stamp: 5_000.into(),
        len: 4096,
    };
    let mut header = meta.encode();
    seal(&mut header, checksum_seed(LogId([0; 16])), std::iter::once(&[0u8; 4096 - FRAME_HEADER_LEN][..]));
    // The first record fills the block up to the second one's header.
    part.push_record(2, 0, 0, &[&[7; 4096 - FRAME_HEADER_LEN - 8 - 8]]).unwrap();
    part.push_record(2, 0, 0, &[&header, &[0; 4096 - FRAME_HEADER_LEN]]).unwrap();
}

fn run(seed: u64, bug: Option<PlantedBug>) -> Result<Seen, String> {
    let mut world = World::new(seed, bug);
    for _ in 0..LIVES {
        if world.random.chance(70) {
            let reach = if world.random.chance(50) { 20 } else { 150 };
            let step = world.disk.steps() + 1 + world.random.below(reach);
            let crash = if world.random.chance(50) { Crash::Kill } else { Crash::PowerLoss };
            world.disk.crash_at(step, crash);
        }
        if let Some(mut writer) = world.recover()? {
            world.live(&mut writer)?;
        }
        world.crash_and_restart();
    }
    world.recover()?;
    Ok(Seen { acked: world.acked.len(), ..world.seen_so_far })
}

fn command(seed: u64) -> String {
    format!(
        "LOG_MODEL_SEED={seed} cargo test --profile e2e -p gateway log::model_test::one_seed -- --nocapture"
    )
}

#[test]
fn a1_5_acked_frames_survive_every_crash() {
    let mut all = Seen::default();
    for seed in 0..SEEDS {
        match run(seed, None) {
            Ok(seen) => all.add(&seen),
            Err(reason) => panic!("seed {seed}: {reason}\n  again: {}", command(seed)),
        }
    }
    println!("{all:?}");
    let rare =
        [all.kept_unacked, all.torn_tails, all.cut_recoveries, all.released_at_start, all.refused_appends];
    assert!(rare.iter().all(|count| *count > 50), "the lives are too quiet: {all:?}");
}

/// The one of `LOG_MODEL_SEED`; a fixed one without it.
#[test]
fn one_seed() {
    let seed = std::env::var("LOG_MODEL_SEED").map_or(SEEDS, |seed| seed.parse().unwrap());
    if let Err(reason) = run(seed, None) {
        panic!("seed {seed}: {reason}\n  again: {}", command(seed));
    }
}

fn caught(bug: PlantedBug) -> usize {
    let found = (0..SEEDS).filter(|seed| run(*seed, Some(bug)).is_err()).count();
    println!("{bug:?}: caught by {found} of {SEEDS} seeds");
    found
}

#[test]
fn a1_5_planted_bug_ack_before_sync_is_caught() {
    assert!(caught(PlantedBug::AckBeforeSync) > 0);
}

#[test]
fn a1_5_planted_bug_stale_frame_accepted_is_caught() {
    assert!(caught(PlantedBug::StaleFrameAccepted) > 0);
}

#[test]
fn a1_5_planted_bug_recovered_tail_trusted_is_caught() {
    assert!(caught(PlantedBug::TailTrusted) > 0);
}

/// A fixed life with rotation, release and reuse, cut at every single step, by kill and by power loss.
#[test]
fn a1_5_crash_between_any_two_steps() {
    let total = cut_life(u64::MAX, Crash::Kill).unwrap();
    assert!(total > 100, "the life has only {total} steps");
    for crash in [Crash::Kill, Crash::PowerLoss] {
        for step in 1..=total {
            if let Err(reason) = cut_life(step, crash) {
                panic!("{crash:?} at step {step} of {total}: {reason}");
            }
        }
    }
}

fn cut_life(step: u64, crash: Crash) -> Result<u64, String> {
    let mut world = World::new(step.wrapping_mul(31), None);
    world.disk.crash_at(step, crash);
    if let Some(mut writer) = world.recover()? {
        for round in 0..60 {
            world.append(&mut writer)?;
            if round % 9 == 8 {
                world.released_record_no = world.durable_record_no().saturating_sub(30).max(1);
                writer.release_before(Position::Record(world.released_record_no));
            }
            while let Ok(Prepared::Progress) = writer.prepare_step() {}
            if world.disk.is_down() {
                break;
            }
            if writer.failed {
                return Err("the writer gave up on a disk without faults".to_owned());
            }
        }
    }
    let steps = world.disk.steps();
    world.crash_and_restart();
    if let Some(mut writer) = world.recover()? {
        world.append(&mut writer)?;
    }
    world.disk.crash(Crash::PowerLoss);
    world.disk.restart();
    world.recover()?;
    Ok(steps)
}
