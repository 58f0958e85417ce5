//! Start, full logs, full disks, damage: the stages on a simulated disk, with the real catalogue (P1, P2, A1-5, A1-7).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::channel::bounded;
use tempfile::TempDir;

use super::EngineError;
use super::bounds::{Sizes, flush_bytes, journal_config};
use super::open::Opened;
use super::stages::{Now, Stages};
use super::world::World;
use crate::catalogue::CATALOGUE_FILE;
use crate::cli::{Damage, Exit};
use crate::config::Config;
use crate::disk::{Disk, SimDisk};
use crate::health::Trouble;
use crate::journal::JournalFrame;
use crate::keeper::run_keeper;
use crate::log::{AlignedBuf, FrameMeta, JOURNAL_DIR, KIND_MESSAGE, LogError, LogId, Prepared, recover};
use crate::pipeline::{PipelineLinks, run_pipeline};
use crate::record::{Message, QOS_1};

const MIB: u64 = 1 << 20;
/// A frame of the log starts there in a fresh segment.
const FIRST_FRAME: u64 = 4096;

/// A data directory whose logs and files lie on a simulated disk.
struct Bench {
    _directory: TempDir,
    disk: SimDisk,
    config: Arc<Config>,
}

/// Small logs, and nothing is flushed before its time.
fn config() -> Config {
    let mut config = Config::default();
    config.mqtt.shards = 1;
    config.mqtt.packet_bytes_max = 300 << 10;
    config.journal.segment_bytes_max = 4 * MIB;
    config.journal.log_bytes_max = 4 * config.observation_segment_bytes();
    config.store.flush_interval_ms = 3_600_000;
    config.store.flush_rows_max = 10_000_000;
    config.store.rows_in_memory_max = 10_000_000;
    config
}

impl Bench {
    fn new(mut config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        config.data_dir = directory.path().to_owned();
        Self { _directory: directory, disk: SimDisk::new(7), config: Arc::new(config) }
    }

    fn open(&self, damage: Damage) -> Result<Opened, EngineError> {
        let world = World::of_machine(&self.config)?;
        Opened::open(&self.config, damage, World { disk: Arc::new(self.disk.clone()), ..world })
    }

    /// Writes frames to the journal as a gateway would that is killed afterwards; stops where the log takes no more.
    fn journal(&self, frames: impl IntoIterator<Item = Vec<(String, Vec<u8>)>>) -> u64 {
        self.append(frames.into_iter().map(|messages| (buffer_of(&messages), messages.len() as u32)))
    }

    fn append(&self, frames: impl IntoIterator<Item = (AlignedBuf, u32)>) -> u64 {
        let id = LogId::random().unwrap();
        let config = journal_config(&self.config, &Sizes::default(), &Damage::Refuse, id, 1);
        let (_, mut log) = recover(Arc::new(self.disk.clone()), JOURNAL_DIR, config).unwrap();
        for (buffer, count) in frames {
            let mut buffer = [buffer];
            while log.prepare_step().unwrap() == Prepared::Progress {}
            match log.append(&mut buffer, count, count, now_us()) {
                Ok(_) => {}
                Err(error) => {
                    assert!(error.is_backpressure(), "{error}");
                    break;
                }
            }
        }
        log.next_message_no() - 1
    }
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { client: b"c", topic: topic.as_bytes(), payload, ..Message::of_flags(QOS_1, 1) }
}

fn buffer_of(messages: &[(String, Vec<u8>)]) -> AlignedBuf {
    let mut buffer = AlignedBuf::new(16 << 20);
    for (topic, payload) in messages {
        push(&mut buffer, &message(topic, payload));
    }
    buffer
}

fn push(buffer: &mut AlignedBuf, message: &Message<'_>) {
    let head = message.head();
    let [agency, client, topic, properties, payload] = message.parts();
    let body: [&[u8]; 6] = [&head, agency, client, topic, properties, payload];
    buffer.push_record(KIND_MESSAGE, message.flags(), 1, &body).unwrap();
}

/// Frames as the pipeline gets them from the writer.
struct Frames {
    next_message_no: u64,
    next_frame_no: u64,
}

impl Frames {
    fn next(&mut self, messages: &[(String, Vec<u8>)]) -> Arc<JournalFrame> {
        let count = messages.len() as u32;
        let meta = FrameMeta {
            epoch: 1,
            frame_no: self.next_frame_no,
            first_record_no: self.next_message_no,
            first_message_no: self.next_message_no,
            record_count: count,
            message_count: count,
            stamp: now_us().into(),
            len: 0,
        };
        self.next_frame_no += 1;
        self.next_message_no += u64::from(count);
        Arc::new(JournalFrame::recovered(meta, buffer_of(messages)))
    }
}

fn new_frames() -> Frames {
    Frames { next_message_no: 1, next_frame_no: 1 }
}

fn readings(from: usize, count: usize) -> Vec<(String, Vec<u8>)> {
    (from..from + count).map(|n| (format!("obs/A/S{}/flow", n % 10), n.to_string().into_bytes())).collect()
}

fn now_of(opened: &Opened) -> Now {
    Now { receive_us: opened.clock.receive_time_us(), monotonic_us: opened.clock.monotonic_us() }
}

fn processed(opened: &Opened) -> u64 {
    opened.lanes.positions.processed_messages.load(Ordering::Acquire)
}

/// A journal at its budget, of which everything can be processed: a start releases it, and so does the next one.
#[test]
fn a1_5_a_start_with_a_full_journal_succeeds() {
    let bench = Bench::new(config());
    let frame = || vec![("city/lamp".to_owned(), vec![b'x'; 250 << 10]); 3];
    let written = bench.journal(std::iter::repeat_with(frame));
    assert!(written > 30, "{written}");
    let mut opened = bench.open(Damage::Refuse).unwrap();
    assert_eq!(processed(&opened), written);
    opened.prepare_segments().unwrap();
    assert!(!opened.journal.needs_preparation());
}

/// The tail of the journal makes more observations than the observation log may have: what is full is committed and used again.
#[test]
fn a1_5_a_start_with_a_full_observation_log_succeeds() {
    let bench = Bench::new(config());
    let mut expected = 0;
    for start in 0..4 {
        expected = bench.journal((0..14).map(|frame| readings((start * 14 + frame) * 15_000, 15_000)));
        let mut opened = bench.open(Damage::Refuse).unwrap();
        assert_eq!(processed(&opened), expected);
        opened.prepare_segments().unwrap();
        // Killed.
    }
    let mut opened = bench.open(Damage::Refuse).unwrap();
    opened.settle().unwrap();
    assert_eq!(opened.store.counts().rows_in_files, expected);
}

/// One journal frame that makes more observation frames than any queue has places: without a thread nobody would take them.
#[test]
fn a1_5_a_start_with_a_frame_of_garbage_does_not_hang() {
    let mut config = config();
    config.journal.frame_bytes_max = 8 * MIB;
    config.journal.segment_bytes_max = 32 * MIB;
    config.journal.log_bytes_max = 4 * config.observation_segment_bytes();
    let bench = Bench::new(config);
    let written = bench.journal([vec![("obs/a".to_owned(), b"1".to_vec()); 120_000]]);
    let opened = bench.open(Damage::Refuse).unwrap();
    assert_eq!(processed(&opened), written);
    assert!(opened.metrics.observation_frames.get() > 17, "{}", opened.metrics.observation_frames.get());
}

/// Client identifiers of control characters are six times as long when they are written down; no observation frame gets larger
/// than its buffer for it (P2: the gateway could not start again).
#[test]
fn b1_1_names_that_grow_when_they_are_written_fit_their_frames() {
    let bench = Bench::new(config());
    let mut buffer = AlignedBuf::new(1 << 20);
    for number in 0..3_000 {
        let client = format!("{number:04}{}", "\u{1}".repeat(252));
        push(&mut buffer, &Message { client: client.as_bytes(), ..message("city/lamp", b"") });
    }
    let written = bench.append([(buffer, 3_000)]);
    let opened = bench.open(Damage::Refuse).unwrap();
    assert_eq!((written, processed(&opened)), (3_000, 3_000));
}

/// A damaged front of the journal that nobody has processed: refused, then accepted, and behind it everything is there.
#[test]
fn a1_5_a_damaged_front_of_the_journal_can_be_accepted() {
    let bench = Bench::new(config());
    let written = bench.journal((0..3).map(|frame| readings(frame * 10, 10)));
    bench.disk.damage("journal/0000000000000001.seg", FIRST_FRAME + 100, b"#").unwrap();
    let error = bench.open(Damage::Refuse).unwrap_err();
    assert!(error.to_string().contains("--accept-gap"), "{error}");
    assert_eq!(error.failure().exit, Exit::Journal);
    for damage in [Damage::AcceptGap, Damage::Refuse] {
        let opened = bench.open(damage).unwrap();
        assert_eq!(processed(&opened), written);
        assert_eq!(opened.metrics.processed_messages.get(), written as i64);
    }
    let mut opened = bench.open(Damage::Refuse).unwrap();
    opened.settle().unwrap();
    assert_eq!(opened.store.counts().rows_in_files, 20);
}

/// Observations that no file holds cannot be given up: the start is refused whatever the operator says, and stays so.
#[test]
fn a1_5_a_gap_in_the_observation_log_is_accepted_only_below_the_checkpoint() {
    let segment = "observations/0000000000000001.seg";
    let bench = Bench::new(config());
    bench.journal((0..4).map(|frame| readings(frame * 10, 10)));
    let mut opened = bench.open(Damage::Refuse).unwrap();
    opened.prepare_segments().unwrap();
    drop(opened);
    bench.disk.damage(segment, FIRST_FRAME + 100, b"#").unwrap();
    for damage in [Damage::Refuse, Damage::AcceptGap, Damage::Refuse] {
        let error = bench.open(damage).unwrap_err();
        assert_eq!(error.failure().exit, Exit::Journal, "{error}");
        assert!(!error.to_string().contains("--accept-gap"), "no offer that cannot be kept: {error}");
    }

    let bench = Bench::new(config());
    bench.journal((0..4).map(|frame| readings(frame * 10, 10)));
    let mut opened = bench.open(Damage::Refuse).unwrap();
    opened.settle().unwrap();
    drop(opened);
    bench.disk.damage(segment, FIRST_FRAME + 100, b"#").unwrap();
    let error = bench.open(Damage::Refuse).unwrap_err();
    assert!(error.to_string().contains("--accept-gap"), "{error}");
    let mut opened = bench.open(Damage::AcceptGap).unwrap();
    opened.settle().unwrap();
    assert_eq!(opened.store.counts().rows_in_files, 40, "in files before");
}

/// A full disk at start: the ballast's space goes to the flush, before anything is given up.
#[test]
fn a1_7_a_start_on_a_full_disk_flushes_with_the_ballasts_space() {
    let mut config = config();
    config.store.flush_rows_max = 1_000;
    let bench = Bench::new(config);
    bench.journal([readings(0, 100)]);
    let mut opened = bench.open(Damage::Refuse).unwrap();
    opened.prepare_segments().unwrap();
    drop(opened);
    assert_eq!(bench.disk.size_of("ballast").unwrap(), flush_bytes(&bench.config, &Sizes::default()));
    bench.disk.set_capacity(0);
    assert_eq!(bench.disk.free_space().unwrap(), 0);
    let written = bench.journal([readings(100, 100)]);
    let mut opened = bench.open(Damage::Refuse).unwrap();
    assert_eq!(processed(&opened), written);
    // What the simulated disk calls full is whatever is in use: the ballast's share is what may be used now.
    bench.disk.set_capacity(u64::MAX);
    let used = u64::MAX - bench.disk.free_space().unwrap();
    bench.disk.set_capacity(used);
    opened.settle().unwrap();
    assert_eq!(opened.store.counts().rows_in_files, written);
    assert!(bench.disk.size_of("ballast").is_err(), "it was given away");
}

/// Threads of pipeline and keeper on an observation log that is at its budget at once. Its first rows are late, so that the
/// oldest segment waits for their outcomes; nothing is due for an hour. Somebody reads the catalogue all the time, which is no
/// reason to keep what its last commit allows to go.
#[test]
fn p4_a_full_observation_log_makes_the_keeper_commit_and_outcomes_pass() {
    let bench = Bench::new(config());
    let opened = bench.open(Damage::Refuse).unwrap();
    let reader = rusqlite::Connection::open(bench.config.data_dir.join(CATALOGUE_FILE)).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM checkpoint").unwrap();
    let mut frames = new_frames();
    let dated = |offset_s: i64| {
        let time = codecs::time::format_rfc3339(now_us() + offset_s * 1_000_000);
        let payload = format!(r#"{{"time":"{time}","readings":[{{"property":"x","value":1}}]}}"#);
        ("obs/A/S".to_owned(), payload.into_bytes())
    };
    let late: Vec<_> = (0..2_000).map(|n| dated(-n)).collect();
    let (to_pipeline, journal) = bounded(100);
    to_pipeline.send(frames.next(&late)).unwrap();
    for frame in 0..60 {
        to_pipeline.send(frames.next(&readings(frame * 15_000, 15_000))).unwrap();
    }
    drop(to_pipeline);

    let Opened { stages, clock, health, lanes, metrics, .. } = opened;
    let Stages { mut pipeline, mut keeper, outcomes, mut ballast } = stages;
    let (to_keeper, keeper_frames) = bounded(16);
    let (to_router, router_frames) = bounded(16);
    let stop = Arc::new(AtomicBool::new(false));
    let links = PipelineLinks { frames: journal, outcomes, to_keeper, to_router, gap_us: 0, stop };
    drop(router_frames);
    std::thread::scope(|scope| {
        let keeper_clock = clock.clone();
        scope.spawn(move || {
            let never = AtomicBool::new(false);
            run_keeper(&mut keeper, &mut ballast, &*keeper_clock, &keeper_frames, &health, &never).unwrap();
        });
        run_pipeline(&mut pipeline, &*clock, &links).unwrap();
        drop(links);
    });
    assert_eq!(lanes.positions.processed_messages.load(Ordering::Acquire), frames.next_message_no - 1);
    let log_bytes = metrics.observation_bytes.get();
    assert!(log_bytes > bench.config.journal.log_bytes_max, "it was full: {log_bytes}");
}

/// While the keeper is full nothing further is decoded, not even what is queued behind the frame that filled it; a gateway that
/// stops brings in what was acknowledged all the same.
#[test]
fn p2_a_hold_is_heard_between_frames_and_a_stop_goes_on() {
    let bench = Bench::new(config());
    let opened = bench.open(Damage::Refuse).unwrap();
    let mut frames = new_frames();
    let (to_pipeline, journal) = bounded(100);
    for frame in 0..20 {
        to_pipeline.send(frames.next(&readings(frame * 15_000, 15_000))).unwrap();
    }
    drop(to_pipeline);
    let Opened { stages, clock, lanes, .. } = opened;
    let Stages { mut pipeline, keeper, outcomes, .. } = stages;
    let (to_keeper, keeper_frames) = bounded(0);
    let (to_router, _) = bounded(0);
    let stop = Arc::new(AtomicBool::new(false));
    let links =
        PipelineLinks { frames: journal, outcomes, to_keeper, to_router, gap_us: 0, stop: stop.clone() };
    let passed = std::thread::scope(|scope| {
        let stand_in = scope.spawn(move || {
            let mut passed = 0;
            while keeper_frames.recv_timeout(Duration::from_millis(500)).is_ok() {
                keeper.hold();
                passed += 1;
            }
            stop.store(true, Ordering::Release);
            while keeper_frames.recv().is_ok() {}
            passed
        });
        run_pipeline(&mut pipeline, &*clock, &links).unwrap();
        drop(links);
        stand_in.join().unwrap()
    });
    assert!(passed <= 6, "one journal frame is three observation frames: {passed}");
    assert_eq!(lanes.positions.processed_messages.load(Ordering::Acquire), frames.next_message_no - 1);
}

/// A record that is no message has no number that could be passed over: the gateway ends instead of shifting all that follow.
#[test]
fn p2_an_unreadable_record_ends_the_pipeline() {
    let bench = Bench::new(config());
    let mut opened = bench.open(Damage::Refuse).unwrap();
    let mut buffer = buffer_of(&readings(0, 1));
    buffer.push_record(KIND_MESSAGE, 0, 0, &[b"too short"]).unwrap();
    let whole = new_frames().next(&readings(0, 2));
    let frame = JournalFrame::recovered(whole.meta, buffer);
    let now = now_of(&opened);
    let error = opened.stages.process(&frame, now, &mut |_| {}).unwrap_err();
    assert!(matches!(error, EngineError::Log(LogError::Malformed { message_no: 2, .. })), "{error}");
    assert_eq!(error.failure().exit, Exit::Journal);
}

/// F2: damage to the catalogue's write-ahead log takes back the commits that stand only there: what they let go of is still
/// there. What stands in catalogue.db itself is not taken back, so the rest may go.
#[test]
fn b1_1_commits_that_a_damaged_write_ahead_log_takes_back_have_let_go_of_nothing() {
    for is_read in [false, true] {
        let bench = Bench::new(config());
        let mut opened = bench.open(Damage::Refuse).unwrap();
        opened.prepare_segments().unwrap();
        let mut frames = new_frames();
        let path = bench.config.data_dir.join(CATALOGUE_FILE);
        let reader = rusqlite::Connection::open(&path).unwrap();
        let mut compactor = opened.stages.keeper.start_compaction().unwrap();
        let now = now_of(&opened);
        let mut needed_from = 0;
        for flush in 0..8 {
            let messages = readings(flush * 20_000, 20_000);
            opened.stages.process(&frames.next(&messages), now, &mut |_| {}).unwrap();
            if flush == 1 && is_read {
                reader.execute_batch("BEGIN; SELECT * FROM checkpoint").unwrap();
            }
            needed_from = if flush == 1 { opened.stages.keeper.needed_from() } else { needed_from };
            opened.settle().unwrap();
        }
        assert!(compactor.merge(&opened.health).unwrap());
        opened.stages.keeper.step(now.receive_us).unwrap();
        for later_us in [0, 3_600_000_000] {
            opened.stages.keeper.sweep(now.monotonic_us + later_us, false);
        }
        opened.stages.pipeline.prepare_step().unwrap();
        assert_eq!(opened.metrics.catalogue_commits_in_wal.get() > 0, is_read);
        assert_eq!(opened.stages.keeper.needed_from() == needed_from, is_read, "of the observation log");
        let files = |disk: &SimDisk| -> usize {
            let folders = disk.list("store").unwrap().into_iter();
            folders.map(|folder| disk.list(&format!("store/{folder}")).unwrap().len()).sum()
        };
        assert_eq!(files(&bench.disk) as u64 > opened.store.counts().files, is_read, "replaced files stay");
        // A kill -9, and the log is lost with it.
        let without_log = std::fs::read(&path).unwrap();
        drop((opened, reader));
        for name in ["catalogue.db-wal", "catalogue.db-shm"] {
            let _ = std::fs::remove_file(bench.config.data_dir.join(name));
        }
        std::fs::write(&path, without_log).unwrap();
        // The frames came past the journal.
        bench.journal((0..8).map(|flush| readings(flush * 20_000, 20_000)));
        let mut opened = bench.open(Damage::Refuse).unwrap();
        opened.settle().unwrap();
        assert_eq!(opened.store.counts().rows_in_files, 160_000, "read: {is_read}");
    }
}

/// What needs space gives way in order: a compaction's files make room for the flush, and none begins while there is none.
#[test]
fn a1_7_a_compaction_gives_way_to_a_flush() {
    let bench = Bench::new(config());
    let mut opened = bench.open(Damage::Refuse).unwrap();
    let mut frames = new_frames();
    for flush in 0..8 {
        let now = now_of(&opened);
        opened.stages.process(&frames.next(&readings(flush * 20_000, 20_000)), now, &mut |_| {}).unwrap();
        opened.settle().unwrap();
    }
    let files = opened.store.counts().files;
    let now = now_of(&opened);
    opened.stages.process(&frames.next(&readings(0, 20_000)), now, &mut |_| {}).unwrap();
    let mut compactor = opened.stages.keeper.start_compaction().unwrap();
    assert!(compactor.merge(&opened.health).unwrap());
    let used = u64::MAX - bench.disk.free_space().unwrap();
    bench.disk.set_capacity(used);
    let when_a_flush_is_due_us = now.receive_us + 7_200_000_000;
    opened.stages.keeper.step(when_a_flush_is_due_us).unwrap();
    let counts = opened.store.counts();
    assert_eq!(counts.rows_in_files, 180_000);
    assert!(counts.files > files, "nothing was merged: {} files", counts.files);
    opened.health.set(Trouble::DiskFull, true);
    assert!(!compactor.merge(&opened.health).unwrap());
}
