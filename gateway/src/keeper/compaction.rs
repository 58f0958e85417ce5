//! The compactor beside the keeper: it merges files, the keeper commits the exchange. Of all that needs space it gives way
//! first: a compaction that stands in the way of a flush is dropped, and none begins while the store finds no space.

use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, select};

use super::{Keeper, KeeperError};
use crate::health::{Health, Trouble};
use crate::store::{Compaction, Compactor, StoreError};

/// Between two looks for files that are worth merging.
const PAUSE: Duration = Duration::from_secs(1);
/// After a compaction that failed or was dropped. What it was to merge stays readable as it is.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// What became of a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    /// There was no space.
    Dropped,
}

/// The keeper's end of the compaction.
pub(super) struct CompactionPort {
    compactions: Receiver<Compaction>,
    fates: Sender<Fate>,
}

/// The compactor with its end.
#[derive(Debug)]
pub struct CompactorInputs {
    compactor: Compactor,
    to_keeper: Sender<Compaction>,
    fates: Receiver<Fate>,
}

impl Keeper {
    /// From here on the store's files are merged by [`run_compactor`] at the other end.
    pub fn start_compaction(&mut self) -> Result<CompactorInputs, KeeperError> {
        let (to_keeper, compactions) = bounded(1);
        let (fates, answers) = bounded(1);
        self.compactions = Some(CompactionPort { compactions, fates });
        Ok(CompactorInputs { compactor: self.store.compactor()?, to_keeper, fates: answers })
    }

    pub(super) fn take_compaction(&mut self) {
        if self.compaction.is_none() {
            self.compaction = self.compactions.as_ref().and_then(|port| port.compactions.try_recv().ok());
        }
    }

    /// The transaction with the exchange of files is durable.
    pub(super) fn compaction_committed(&mut self) {
        if let Some(compaction) = self.compaction.take() {
            self.store.compacted(compaction);
            self.tell_compactor(Fate::Committed);
        }
    }

    /// Gives the space of a compaction back; false if none waits.
    pub(super) fn drop_compaction(&mut self) -> bool {
        let Some(compaction) = self.compaction.take() else { return false };
        self.store.dropped(&compaction);
        self.tell_compactor(Fate::Dropped);
        true
    }

    fn tell_compactor(&self, fate: Fate) {
        if let Some(port) = &self.compactions {
            // One compaction, one answer: there is room.
            let _ = port.fates.try_send(fate);
        }
    }
}

impl CompactorInputs {
    /// Merges what is worth it and hands it to the keeper, unless there is no space for what matters more; false: nothing done.
    pub fn merge(&mut self, health: &Health) -> Result<bool, StoreError> {
        if health.has(Trouble::DiskFull) {
            return Ok(false);
        }
        let compaction = self.compactor.step();
        health.set(Trouble::StoreFileDamaged, self.compactor.has_damaged());
        let Some(compaction) = compaction? else { return Ok(false) };
        // A keeper that is gone commits nothing; the next start sweeps the files.
        Ok(self.to_keeper.send(compaction).is_ok())
    }
}

/// What a turn of the compactor came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactorTurn {
    /// A compaction is in the keeper's hands, and what became of it is not known yet.
    Waits,
    /// Nothing more before this has passed.
    Pauses(Duration),
}

/// A turn, in a thread or in a simulation.
impl CompactorInputs {
    pub fn turn(&mut self, health: &Health) -> CompactorTurn {
        match self.merge(health) {
            Ok(true) => CompactorTurn::Waits,
            Ok(false) => CompactorTurn::Pauses(PAUSE),
            Err(error) => {
                tracing::warn!("store files were not merged, which is tried again: {error}");
                CompactorTurn::Pauses(RETRY_PAUSE)
            }
        }
    }

    /// What became of the compaction, if that is known, as the pause to make.
    pub fn try_fate(&self) -> Option<Duration> {
        self.fates.try_recv().ok().map(|fate| pause_behind(Some(fate)))
    }
}

fn pause_behind(fate: Option<Fate>) -> Duration {
    match fate {
        Some(Fate::Committed) => Duration::ZERO,
        Some(Fate::Dropped) | None => RETRY_PAUSE,
    }
}

/// The compactor's thread. Ends when the other end of `stop` is gone.
pub fn run_compactor(inputs: &mut CompactorInputs, health: &Health, stop: &Receiver<()>) {
    loop {
        let pause = match inputs.turn(health) {
            CompactorTurn::Pauses(pause) => pause,
            CompactorTurn::Waits => select! {
                recv(inputs.fates) -> fate => pause_behind(fate.ok()),
                recv(stop) -> _ => return,
            },
        };
        if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
