//! What keeper and pipeline tell each other beside frames and outcomes: what only matters in its newest form.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Written by the keeper; `wants_room` by the pipeline, `wants_commit` by an operator's session.
#[derive(Debug)]
pub struct KeeperProgress {
    needed_from_record_no: AtomicU64,
    hold: AtomicBool,
    wants_room: AtomicBool,
    next_uncommitted_record: AtomicU64,
    wants_commit: AtomicBool,
}

impl KeeperProgress {
    pub fn new(needed_from_record_no: u64) -> Self {
        Self {
            needed_from_record_no: AtomicU64::new(needed_from_record_no),
            hold: AtomicBool::new(false),
            wants_room: AtomicBool::new(false),
            next_uncommitted_record: AtomicU64::new(0),
            wants_commit: AtomicBool::new(false),
        }
    }

    /// A restart needs nothing of the observation log below this record.
    pub fn set_needed_from(&self, record_no: u64) {
        self.needed_from_record_no.store(record_no, Ordering::Release);
    }

    pub fn needed_from(&self) -> u64 {
        self.needed_from_record_no.load(Ordering::Acquire)
    }

    /// The keeper's memory is full, or it cannot commit: no further messages are to be decoded. Outcomes still go through,
    /// they are what makes room.
    pub fn set_hold(&self, hold: bool) {
        self.hold.store(hold, Ordering::Release);
    }

    pub fn hold(&self) -> bool {
        self.hold.load(Ordering::Acquire)
    }

    /// The observation log is full: only a commit, however young what it holds, lets go of frames.
    pub fn set_wants_room(&self, wants_room: bool) {
        self.wants_room.store(wants_room, Ordering::Release);
    }

    pub fn wants_room(&self) -> bool {
        self.wants_room.load(Ordering::Acquire)
    }

    /// Every journal record below this one is reflected by a commit of the catalogue.
    pub fn set_next_uncommitted_record(&self, record_no: u64) {
        self.next_uncommitted_record.store(record_no, Ordering::Release);
    }

    pub fn next_uncommitted_record(&self) -> u64 {
        self.next_uncommitted_record.load(Ordering::Acquire)
    }

    /// Somebody waits for a commit, however young what it holds.
    pub fn set_wants_commit(&self, wants_commit: bool) {
        self.wants_commit.store(wants_commit, Ordering::Release);
    }

    pub fn wants_commit(&self) -> bool {
        self.wants_commit.load(Ordering::Acquire)
    }
}
