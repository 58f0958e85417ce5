//! The handle on a running city: counts, the storm switch, and the stop.
//!
//! A storm is a region without network for a while. Its stations go on measuring; afterwards they send what they have, all at
//! once, oldest first. Connections that serve nothing but the region break off; on the others the region's stations fall silent.
//! A storm may have begun before the run: then the past before it is covered first, and the hours since then are what waits.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::places::Region;
use super::stations::Station;
use crate::control::{Control, Latencies, Summary};

/// Most storms of one run.
pub const STORMS_MAX: usize = 64;

/// A storm, in epoch µs of this machine's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    pub region: Region,
    pub from_us: i64,
    /// First moment with network again.
    pub until_us: i64,
}

impl Storm {
    pub(super) fn is_on(&self, now_us: i64) -> bool {
        (self.from_us..self.until_us).contains(&now_us)
    }

    pub(super) fn hits(&self, station: &Station) -> bool {
        self.region.holds(&station.region, station.is_island)
    }
}

/// A storm and what it holds back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StormState {
    /// In the order in which the storms were made.
    pub number: usize,
    pub region: String,
    pub from_us: i64,
    pub until_us: i64,
    /// Measured while it lasted and not sent yet; up to a second old. A measurement of a station that sends single values
    /// counts once.
    pub waiting: u64,
}

#[derive(Debug, Default)]
struct Board {
    storms: Vec<Storm>,
    /// By storm and connection.
    waiting: Vec<Vec<u64>>,
    /// By connection: what was due before was sent, epoch µs.
    sent_until_us: Vec<i64>,
}

/// Shared between the thread that runs a city and the one that watches it.
#[derive(Debug, Default)]
pub struct CityControl {
    run: Arc<Control>,
    board: Mutex<Board>,
    /// Changes with the list of storms, so that connections need not lock it to see that it did not.
    version: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) boxes_behind: AtomicUsize,
    pub(super) boxes_cut_off: AtomicUsize,
    pub(super) has_begun: AtomicU64,
}

impl CityControl {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// With a control that exists already, for example one that a signal stops.
    pub fn of_run(run: &Arc<Control>) -> Arc<Self> {
        Arc::new(Self { run: Arc::clone(run), ..Self::default() })
    }

    /// The part that every run has.
    pub fn run(&self) -> &Arc<Control> {
        &self.run
    }

    /// Counts of sent and acknowledged messages.
    pub fn summary(&self) -> Summary {
        self.run.summary()
    }

    pub fn ack_latency(&self) -> Latencies {
        self.run.ack_latency()
    }

    /// Nothing new is sent; the run returns when everything that was sent is acknowledged. A storm is over then.
    pub fn stop(&self) {
        self.run.stop();
    }

    /// Measurements that are not sent yet, of the past, of storms, and of now; up to a second old. What a city has made is what
    /// was sent and this.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Everything that was due before this moment, epoch µs, was given to the MQTT clients; up to a second old. None before the
    /// run has begun. A run that begins at this moment goes on where this one stopped, if all that was sent is acknowledged.
    pub fn sent_until_us(&self) -> Option<i64> {
        self.board().sent_until_us.iter().copied().min()
    }

    /// Measurements that are gone, because their station stores nothing and had no network.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// The past is covered: every connection has caught up with the clock once.
    pub fn is_live(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed) > 0 && self.boxes_behind.load(Ordering::Relaxed) == 0
    }

    /// Connections that a storm keeps away.
    pub fn connections_cut_off(&self) -> usize {
        self.boxes_cut_off.load(Ordering::Relaxed)
    }

    /// Lets a storm come; returns its number, or nothing when there were too many of them.
    pub fn start_storm(&self, storm: Storm) -> Option<usize> {
        let mut board = self.board();
        let number = board.storms.len();
        if number >= STORMS_MAX {
            return None;
        }
        board.storms.push(storm);
        board.waiting.push(Vec::new());
        self.version.fetch_add(1, Ordering::Release);
        Some(number)
    }

    /// Ends a storm before its time.
    pub fn end_storm(&self, number: usize) {
        self.end_storm_at(number, crate::time::now_us());
    }

    pub(super) fn end_storm_at(&self, number: usize, now_us: i64) {
        if let Some(storm) = self.board().storms.get_mut(number) {
            storm.until_us = storm.until_us.min(now_us);
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    pub fn storms(&self) -> Vec<StormState> {
        let board = self.board();
        let states = board.storms.iter().zip(&board.waiting).enumerate();
        states
            .map(|(number, (storm, waiting))| StormState {
                number,
                region: storm.region.to_string(),
                from_us: storm.from_us,
                until_us: storm.until_us,
                waiting: waiting.iter().sum(),
            })
            .collect()
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn storm_list(&self) -> Vec<Storm> {
        self.board().storms.clone()
    }

    /// What one connection holds back, by storm.
    pub(super) fn report_waiting(&self, connection: usize, by_storm: &[u64]) {
        let mut board = self.board();
        for (waiting, count) in board.waiting.iter_mut().zip(by_storm) {
            if waiting.len() <= connection {
                waiting.resize(connection + 1, 0);
            }
            waiting[connection] = *count;
        }
    }

    /// Up to where one connection has sent everything. Connections report in their order first.
    pub(super) fn report_sent(&self, connection: usize, until_us: i64) {
        let mut board = self.board();
        match board.sent_until_us.get_mut(connection) {
            Some(known) => *known = until_us,
            None => board.sent_until_us.push(until_us),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // Nothing that holds the lock can panic half way through a change.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
