//! The meeting place of shards and writer: one lane per shard.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use crossbeam::utils::CachePadded;

use crate::log::AlignedBuf;

/// A flood is written as soon as this much waits; less waits for the gap between syncs.
pub(super) const WRITE_AT_ONCE_BYTES: usize = 64 << 10;

/// Buffers of the lane of operators' changes: one is filled while the other is written.
pub const CONTROL_BUFFERS: usize = 2;

#[derive(Clone, Copy, Debug)]
pub struct LanesConfig {
    pub shards: usize,
    /// Capacity of one buffer: a frame may be that long.
    pub buffer_bytes: usize,
    /// Buffers of each shard: being filled, being written, and held by consumers that are behind.
    pub buffers_per_shard: usize,
}

/// Records of one shard that go to the journal together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) buffer: AlignedBuf,
    pub(super) batch_no: u64,
    pub(super) record_count: u32,
    pub(super) message_count: u32,
    /// At least one message has RETAIN set.
    pub(super) retained: bool,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) batches: VecDeque<Batch>,
    pub(super) free: Vec<AlignedBuf>,
    /// The shard found no free buffer and wants to be woken when one returns.
    pub(super) starved: bool,
}

type Waker = Box<dyn Fn() + Send + Sync>;

struct Lane {
    slot: Mutex<Slot>,
    durable_batch: AtomicU64,
    waker: OnceLock<Waker>,
}

/// How far the journal is; `durable ≥ processed` always.
#[derive(Debug, Default)]
pub struct Positions {
    /// Highest `message_no` that is durable; 0 = none yet. Numbers are dense, so it is their count too.
    pub durable_messages: AtomicU64,
    /// Highest `message_no` that a synced observation frame covers.
    pub processed_messages: AtomicU64,
    /// Every journal record below this number is covered by a synced observation frame.
    pub next_unprocessed_record: AtomicU64,
    /// Every journal record below this number is durable.
    pub next_durable_record: AtomicU64,
}

const WRITER_BUSY: u8 = 0;
const WRITER_IN_GAP: u8 = 1;
const WRITER_IDLE: u8 = 2;

/// All lanes, those of the shards and behind them that of operators' changes, shared by shards, writer and the frames in flight.
pub struct Lanes {
    lanes: Vec<CachePadded<Lane>>,
    config: LanesConfig,
    waiting_bytes: AtomicUsize,
    writer_state: AtomicU8,
    writer: OnceLock<Thread>,
    pub positions: Positions,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes")
            .field("config", &self.config)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

impl Lanes {
    pub fn new(config: LanesConfig) -> Arc<Self> {
        let lane = |buffers: usize| {
            let free = (0..buffers).map(|_| AlignedBuf::new(config.buffer_bytes)).collect();
            CachePadded::new(Lane {
                slot: Mutex::new(Slot { free, ..Slot::default() }),
                durable_batch: AtomicU64::new(0),
                waker: OnceLock::new(),
            })
        };
        Arc::new(Self {
            lanes: (0..config.shards)
                .map(|_| config.buffers_per_shard)
                .chain([CONTROL_BUFFERS])
                .map(lane)
                .collect(),
            config,
            waiting_bytes: AtomicUsize::new(0),
            writer_state: AtomicU8::new(WRITER_BUSY),
            writer: OnceLock::new(),
            positions: Positions::default(),
        })
    }

    pub fn config(&self) -> LanesConfig {
        self.config
    }

    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn control_lane(&self) -> usize {
        self.config.shards
    }

    /// All buffers there are: so many frames can be in flight.
    pub fn buffers(&self) -> usize {
        self.config.shards * self.config.buffers_per_shard + CONTROL_BUFFERS
    }

    /// Buffers of the shards that are being filled, written or read, and all of them.
    pub fn buffers_in_use(&self) -> (usize, usize) {
        let all = self.config.shards * self.config.buffers_per_shard;
        let free: usize = (0..self.config.shards).map(|shard| self.slot(shard).free.len()).sum();
        (all.saturating_sub(free), all)
    }

    /// How the writer wakes a shard; set once, before the shard's first message.
    pub fn set_waker(&self, shard: usize, waker: impl Fn() + Send + Sync + 'static) {
        // A second waker for the same shard would be a bug of the start-up code; the first stays.
        let _ = self.lanes[shard].waker.set(Box::new(waker));
    }

    pub(super) fn slot(&self, shard: usize) -> MutexGuard<'_, Slot> {
        // Nothing that runs under this lock can leave a slot half changed, so a poisoned one is still right.
        self.lanes[shard].slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn durable_batch(&self, shard: usize) -> u64 {
        self.lanes[shard].durable_batch.load(Ordering::Acquire)
    }

    pub(super) fn set_durable_batch(&self, shard: usize, batch_no: u64) {
        self.lanes[shard].durable_batch.store(batch_no, Ordering::Release);
        self.wake(shard);
    }

    fn wake(&self, shard: usize) {
        if let Some(waker) = self.lanes[shard].waker.get() {
            waker();
        }
    }

    /// A consumer is done with a buffer.
    pub(super) fn give_back(&self, shard: usize, mut buffer: AlignedBuf) {
        buffer.clear();
        let mut slot = self.slot(shard);
        slot.free.push(buffer);
        if std::mem::take(&mut slot.starved) {
            drop(slot);
            self.wake(shard);
        }
    }

    /// A shard handed over: wake the writer if it sleeps and this is reason enough.
    pub(super) fn announce(&self, added_bytes: usize) {
        let before = self.waiting_bytes.fetch_add(added_bytes, Ordering::SeqCst);
        let crossed = before < WRITE_AT_ONCE_BYTES && before + added_bytes >= WRITE_AT_ONCE_BYTES;
        match self.writer_state.load(Ordering::SeqCst) {
            WRITER_IDLE => self.wake_writer(),
            WRITER_IN_GAP if crossed => self.wake_writer(),
            _ => {}
        }
    }

    pub(super) fn take_waiting(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::SeqCst)
    }

    pub(super) fn set_writer(&self, thread: Thread) {
        let _ = self.writer.set(thread);
    }

    pub fn wake_writer(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    pub(super) fn writer_busy(&self) {
        self.writer_state.store(WRITER_BUSY, Ordering::SeqCst);
    }

    pub(super) fn writer_idle(&self) {
        self.writer_state.store(WRITER_IDLE, Ordering::SeqCst);
    }

    pub(super) fn writer_in_gap(&self) {
        self.writer_state.store(WRITER_IN_GAP, Ordering::SeqCst);
    }
}

#[cfg(test)]
impl Lanes {
    /// Stands in for the writer: what the shard has handed over is durable, its buffers return at once.
    pub(crate) fn write_all(&self, shard: usize) {
        let batches = std::mem::take(&mut self.slot(shard).batches);
        for batch in batches {
            self.take_waiting(batch.buffer.len());
            self.give_back(shard, batch.buffer);
            self.set_durable_batch(shard, batch.batch_no);
        }
    }
}
