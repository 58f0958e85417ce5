//! Where late rows are counted until their outcomes come.

use std::collections::BTreeMap;

use super::hour::Hour;
use crate::catalogue::{BookKey, UnresolvedRun};

/// By ascending `obs_no`, found by halving: rows come in that order, and leave in any.
#[derive(Debug, Default)]
pub(super) struct UnresolvedRows {
    rows: Vec<Entry>,
    /// Entries that have their outcome and are not swept yet; never more than half.
    resolved: usize,
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    obs_no: u64,
    hour: i64,
    slot: u32,
    resolved: bool,
}

impl UnresolvedRows {
    pub(super) fn restored(runs: &[UnresolvedRun], hours: &BTreeMap<i64, Hour>) -> Self {
        let mut rows = Self::default();
        for run in runs {
            let key = BookKey { agency: run.agency, client: run.client, station: run.station };
            // A run's hour is open and has the row that counts it: both came from the same commit.
            if let Some(slot) = hours.get(&run.hour).and_then(|hour| hour.find(&key)) {
                for obs_no in run.first_obs_no..run.first_obs_no + u64::from(run.count) {
                    rows.push(obs_no, run.hour, slot);
                }
            }
        }
        rows
    }

    pub(super) fn push(&mut self, obs_no: u64, hour: i64, slot: u32) {
        self.rows.push(Entry { obs_no, hour, slot, resolved: false });
        self.changes += 1;
    }

    /// Hour and slot of a row that waits, which from here on does not.
    pub(super) fn take(&mut self, obs_no: u64) -> Option<(i64, u32)> {
        let at = self.rows.binary_search_by_key(&obs_no, |entry| entry.obs_no).ok()?;
        let entry = &mut self.rows[at];
        if entry.resolved {
            return None;
        }
        entry.resolved = true;
        let place = (entry.hour, entry.slot);
        self.changes += 1;
        self.resolved += 1;
        if self.resolved * 2 > self.rows.len() {
            self.rows.retain(|entry| !entry.resolved);
            self.resolved = 0;
        }
        Some(place)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len() - self.resolved
    }

    /// Changes with every change.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn runs(&self, hours: &BTreeMap<i64, Hour>) -> Vec<UnresolvedRun> {
        let mut runs: Vec<UnresolvedRun> = Vec::new();
        let mut last = None;
        for entry in self.rows.iter().filter(|entry| !entry.resolved) {
            let place = (entry.hour, entry.slot);
            match runs.last_mut() {
                Some(run)
                    if last == Some(place) && run.first_obs_no + u64::from(run.count) == entry.obs_no =>
                {
                    run.count += 1;
                }
                _ => {
                    // A row is unresolved only while its hour is open, and open hours are in memory.
                    let Some(hour) = hours.get(&entry.hour) else { continue };
                    let BookKey { agency, client, station } = hour.key(entry.slot);
                    let first_obs_no = entry.obs_no;
                    runs.push(UnresolvedRun {
                        first_obs_no,
                        hour: entry.hour,
                        count: 1,
                        agency,
                        client,
                        station,
                    });
                    last = Some(place);
                }
            }
        }
        runs
    }
}
