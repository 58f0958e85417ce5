//! What a commit allows to go, store files that it replaced and frames that it covers, goes when the commit stands in `catalogue.db`
//! itself: damage to SQLite's write-ahead log takes the catalogue back behind commits that stand only there, and then all that
//! the older state names must be there. Where room is missing it goes at once: a reader whose view keeps commits in that log
//! must not keep anybody from being acknowledged.

use std::time::Duration;

use super::{Keeper, KeeperError};

/// Between two attempts while a reader is in the way.
const AGAIN_US: u64 = 1_000_000;
/// How long the end of a gateway waits for readers.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// The commits that stand in the write-ahead log.
#[derive(Debug, Default)]
pub(super) struct InWal {
    commits: u64,
    /// A restart from the last of them needs nothing of the observation log below this record.
    needed_from_record_no: u64,
    next_attempt_us: u64,
}

impl InWal {
    pub(super) fn committed(&mut self, needed_from_record_no: u64) {
        self.commits += 1;
        self.needed_from_record_no = needed_from_record_no;
    }

    pub(super) fn has_some(&self) -> bool {
        self.commits > 0
    }
}

impl Keeper {
    /// After an error nobody knows what `catalogue.db` has: the next start does.
    pub(super) fn empty_wal(&mut self, wait: Duration) -> Result<(), KeeperError> {
        if self.in_wal.has_some() && self.catalogue.empty_wal(wait)? {
            self.let_go();
            self.in_wal.commits = 0;
        }
        self.metrics.catalogue_commits_in_wal.set(self.in_wal.commits as i64);
        self.metrics.logs.holds("observations", "catalogue_wal", self.progress.needed_from());
        Ok(())
    }

    /// The same where an attempt behind a commit did not succeed.
    pub(super) fn empty_wal_again(&mut self, monotonic_us: u64) -> Result<(), KeeperError> {
        if !self.in_wal.has_some() || monotonic_us < self.in_wal.next_attempt_us {
            return Ok(());
        }
        self.in_wal.next_attempt_us = monotonic_us.saturating_add(AGAIN_US);
        self.empty_wal(Duration::ZERO)
    }

    /// The last attempt of a gateway that ends: whoever copies the directory then has everything in `catalogue.db`.
    pub fn empty_wal_at_end(&mut self) -> Result<(), KeeperError> {
        self.empty_wal(LAST_WAIT)?;
        if self.in_wal.has_some() {
            tracing::warn!(
                commits = self.in_wal.commits,
                "somebody reads the catalogue: commits stay in catalogue.db-wal until the next start"
            );
        }
        Ok(())
    }

    /// Lets the observation log go up to what the last commit needs, wherever that stands.
    pub fn let_go(&mut self) {
        if self.in_wal.has_some() {
            self.progress.set_needed_from(self.in_wal.needed_from_record_no);
        }
    }
}
