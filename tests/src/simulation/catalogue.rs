//! The catalogue: commits are one atomic step that costs a write and a sync of the simulated disk, so that faults and
//! crashes come before, in and behind them.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway::catalogue::{
    Catalogue, CatalogueError, Commit, CommitFault, History, MemoryCatalogue, Snapshot,
};
use gateway::disk::{Disk, OpenMode, SimDisk, is_no_space};

use super::bugs::Delayed;
use super::disk::Shared;

/// Stands for the database: each commit writes it.
pub(super) const FILE: &str = "catalogue.db";
/// A commit of a database finds no space where the disk has less.
pub(super) const COMMIT_BYTES: u64 = 256 << 10;

pub(super) struct SimCatalogue {
    memory: MemoryCatalogue,
    disk: SimDisk,
    shared: Arc<Shared>,
    /// Of a planted bug: what a commit left out.
    delayed: Delayed,
    is_loaded: bool,
}

impl SimCatalogue {
    pub(super) fn new(memory: MemoryCatalogue, disk: SimDisk, shared: Arc<Shared>) -> Self {
        Self { memory, disk, shared, delayed: Delayed::default(), is_loaded: false }
    }

    fn failed(&self) -> CatalogueError {
        CatalogueError::Failed
    }
}

impl Catalogue for SimCatalogue {
    fn load(&mut self) -> Result<Snapshot, CatalogueError> {
        if self.disk.is_down() {
            return Err(self.failed());
        }
        self.is_loaded = true;
        self.memory.load()
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), CatalogueError> {
        self.shared.between("commit");
        if self.shared.is_opening() {
            // A start commits to make room in a log.
            self.shared.note_room_missing();
        }
        let planted;
        let commit = match self.shared.bug() {
            Some(bug) => {
                planted = bug.spoil_commit(commit, &mut self.delayed);
                &planted
            }
            None => commit,
        };
        if !self.disk.is_down() && self.disk.free_space().is_ok_and(|bytes| bytes < COMMIT_BYTES) {
            let full = Err(io::Error::from(io::ErrorKind::StorageFull));
            let reason = self.shared.note::<()>(&self.disk, "commit", FILE, full);
            let reason = reason.err().map(|error| error.to_string()).unwrap_or_default();
            return Err(CatalogueError::NoSpace { path: PathBuf::from(FILE), reason });
        }
        let written = self.disk.open(FILE, OpenMode::Write).and_then(|mut file| {
            file.write_at(0, &mut [IoSlice::new(&[1; 4096])])?;
            Ok(file)
        });
        let mut file = match self.shared.note(&self.disk, "write", FILE, written) {
            Ok(file) => file,
            Err(error) if is_no_space(&error) => {
                return Err(CatalogueError::NoSpace { path: PathBuf::from(FILE), reason: error.to_string() });
            }
            Err(_) => return Err(self.failed()),
        };
        let synced = file.sync();
        match self.shared.note(&self.disk, "sync", FILE, synced) {
            Ok(()) => {
                self.memory.commit(commit)?;
                self.shared.story.tell(|| {
                    format!(
                        "    commit: frame {}, files +{} -{}",
                        commit.checkpoint.observation_frame_no,
                        commit.files_added.len(),
                        commit.files_removed.len()
                    )
                });
                if !commit.files_removed.is_empty() {
                    self.shared.note_merge();
                }
                self.shared.between("committed");
                Ok(())
            }
            Err(_) => {
                // Nobody was told whether it got there.
                let fault = if self.shared.chance(50) { CommitFault::DoneAndLost } else { CommitFault::Lost };
                self.memory.fail_commit(0, fault);
                self.memory.commit(commit)
            }
        }
    }

    /// While the gateway runs, a reader is in the way now and then; none stays for long.
    fn empty_wal(&mut self, wait: Duration) -> Result<bool, CatalogueError> {
        self.shared.between("empty the write-ahead log");
        if self.disk.is_down() {
            return Err(self.failed());
        }
        if self.is_loaded && wait.is_zero() && self.shared.chance(25) {
            return Ok(false);
        }
        let is_empty = self.memory.empty_wal(wait);
        if !self.is_loaded {
            self.shared.note_wal_empty();
        }
        self.shared.between("emptied the write-ahead log");
        is_empty
    }

    fn history(&self) -> Result<Box<dyn History>, CatalogueError> {
        self.memory.history()
    }
}
