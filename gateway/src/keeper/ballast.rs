//! The ballast file in the keeper's hands: given away when the disk is full, so that the flush that frees log segments finds
//! room, and put back when there is space again.

use std::sync::Arc;

use crate::disk::{Ballast, Disk};

/// Between two attempts to put the ballast back.
const RESTORE_PAUSE_US: u64 = 10_000_000;

#[derive(Debug)]
pub struct KeeperBallast {
    disk: Arc<dyn Disk>,
    ballast: Ballast,
    next_restore_us: u64,
}

impl KeeperBallast {
    pub fn new(disk: Arc<dyn Disk>, ballast: Ballast) -> Self {
        Self { disk, ballast, next_restore_us: 0 }
    }

    /// Gives the space away; false where that has happened already, or failed and is to be tried again.
    pub fn give_away(&mut self, monotonic_us: u64) -> bool {
        if !self.ballast.is_present() {
            return false;
        }
        self.next_restore_us = monotonic_us + RESTORE_PAUSE_US;
        match self.ballast.release(&*self.disk) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!("the ballast file could not be removed: {error}");
                false
            }
        }
    }

    /// Puts it back if it is gone and there is space; not more often than every ten seconds.
    pub fn restore(&mut self, monotonic_us: u64) {
        if self.ballast.is_present() || monotonic_us < self.next_restore_us {
            return;
        }
        self.next_restore_us = monotonic_us + RESTORE_PAUSE_US;
        if let Err(error) = self.ballast.restore(&*self.disk) {
            tracing::warn!("the ballast file could not be put back: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Fault, FaultKind, FaultOn, SimDisk};

    /// A removal that failed is tried again with the next attempt to flush (A1-7).
    #[test]
    fn a_release_that_failed_is_repeated() {
        let disk = SimDisk::new(1);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut ballast =
            KeeperBallast::new(shared.clone(), Ballast::open(&*shared, "ballast", 4096).unwrap());
        ballast.restore(0);
        disk.fail(Fault { on: FaultOn::Directory, nth: 1, kind: FaultKind::Io });
        assert!(!ballast.give_away(1));
        assert!(ballast.give_away(2));
        assert!(disk.size_of("ballast").is_err());
        assert!(!ballast.give_away(3), "there is no more of it");
    }
}
