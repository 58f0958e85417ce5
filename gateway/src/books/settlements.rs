//! Settlements: what replays and erasures change afterwards, beside the hours and never in them.
//!
//! Each is a dated row that never changes, linked to the one before by its digest. The counts that they move are kept as signed
//! differences under the hour and key of the message, by the frame of the log up to which a commit has them: what is in memory
//! and what is committed never overlap in an answer.

use std::collections::BTreeMap;

use super::digest::settlement_digest;
use super::fold::count_of;
use super::hour_of;
use crate::catalogue::{
    BookCounts, BookKey, BookQuery, BooksDelta, BooksSnapshot, Checkpoint, HourDigest, SettledCounts,
    SettlementRow, UnresolvedRun,
};
use crate::observation::{Classification, MessageEntry, MessageOutcome, Outcome, Settled, Settlement};
use crate::registry::Registry;

#[derive(Debug)]
pub(super) struct Settlements {
    /// Number and digest of the last one that is committed.
    last: (u64, HourDigest),
    /// Those behind it, without digests. A replay waits for its commit after some thousands, so there are no more than that.
    rows: Vec<SettlementRow>,
    /// Differences since the commit that had the frames up to `committed_frame_no`.
    changes: BTreeMap<(i64, BookKey), SettledCounts>,
    committed_frame_no: u64,
    /// Hour and key of the rows of replayed messages that wait for their outcome, by `obs_no`; as many as the store keeps late
    /// rows at most.
    unresolved: BTreeMap<u64, (i64, BookKey)>,
    unresolved_changed: bool,
}

impl Settlements {
    pub(super) fn new(checkpoint: &Checkpoint, snapshot: &BooksSnapshot) -> Self {
        let mut unresolved = BTreeMap::new();
        for run in &snapshot.settled_unresolved {
            let key = BookKey { agency: run.agency, client: run.client, station: run.station };
            let obs_nos = run.first_obs_no..run.first_obs_no + u64::from(run.count);
            unresolved.extend(obs_nos.map(|obs_no| (obs_no, (run.hour, key))));
        }
        Self {
            last: snapshot.last_settlement.unwrap_or((0, [0; 32])),
            rows: Vec::new(),
            changes: BTreeMap::new(),
            committed_frame_no: checkpoint.observation_frame_no,
            unresolved,
            unresolved_changed: false,
        }
    }

    pub(super) fn apply(&mut self, settlement: &Settlement, totals: &mut SettledCounts) {
        if !settlement.changes_books() {
            return;
        }
        let entry = &settlement.entry;
        let hour = hour_of(entry.stamp_us());
        let from = BookKey { agency: entry.agency, client: entry.client, station: entry.station };
        let mut row = SettlementRow {
            settlement_no: self.last.0 + self.rows.len() as u64 + 1,
            record_no: settlement.record_no,
            settled_us: settlement.settled_us,
            position: entry.position,
            ordinal: entry.ordinal,
            hour,
            erased: false,
            from,
            from_outcome: entry.outcome,
            from_readings: u64::from(entry.readings),
            to: from,
            to_outcome: settlement.outcome() as u8,
            to_readings: u64::from(entry.readings),
            rows: 0,
            digest: [0; 32],
        };
        match &settlement.settled {
            Settled::Erased => {
                row.erased = true;
                let mut counts =
                    SettledCounts { erased_readings: row.from_readings, ..SettledCounts::default() };
                if row.from_outcome == MessageOutcome::Quarantined as u8 {
                    counts.erased_messages = 1;
                }
                self.add((hour, from), &counts, totals);
            }
            Settled::Replayed { agency, client, station, rows, remaining } => {
                row.to = BookKey { agency: *agency, client: *client, station: *station };
                row.to_readings = remaining.as_ref().map_or(0, |remaining| u64::from(remaining.readings));
                row.rows = u64::from(*rows);
                let mut taken = SettledCounts::default();
                taken.change(|counts| message(counts, row.from_outcome, row.from_readings), -1);
                self.add((hour, from), &taken, totals);
                let mut given = SettledCounts { messages: 1, readings: row.rows, ..SettledCounts::default() };
                given.change(|counts| message(counts, row.to_outcome, row.to_readings), 1);
                self.add((hour, row.to), &given, totals);
            }
        }
        self.rows.push(row);
    }

    /// A row that a replayed message brought.
    pub(super) fn row(
        &mut self,
        message: &MessageEntry,
        obs_no: u64,
        class: Classification,
        totals: &mut SettledCounts,
    ) {
        let key = BookKey { agency: message.agency, client: message.client, station: message.station };
        let place = (hour_of(message.stamp_us()), key);
        let mut counts = SettledCounts::default();
        counts.change(
            |counts| match class {
                Classification::Inserted => counts.inserted = 1,
                Classification::Duplicate => counts.duplicate = 1,
                Classification::Unresolved => counts.unresolved = 1,
            },
            1,
        );
        if class == Classification::Unresolved {
            self.unresolved.insert(obs_no, place);
            self.unresolved_changed = true;
        }
        self.add(place, &counts, totals);
    }

    /// Whether the outcome is that of a replayed message's row.
    pub(super) fn outcome(&mut self, outcome: &Outcome, totals: &mut SettledCounts) -> bool {
        let Some(place) = self.unresolved.remove(&outcome.obs_no) else { return false };
        self.unresolved_changed = true;
        let mut counts = SettledCounts::default();
        counts.change(|counts| counts.unresolved = 1, -1);
        counts.change(|counts| *count_of(counts, outcome.outcome_kind()) = 1, 1);
        self.add(place, &counts, totals);
        true
    }

    pub(super) fn unresolved_rows(&self) -> usize {
        self.unresolved.len()
    }

    /// What is in memory of the rows that a query names, by hour, and the frame up to which the catalogue has the rest.
    pub(super) fn uncommitted(&self, query: &BookQuery) -> (BTreeMap<i64, SettledCounts>, u64) {
        let mut sums: BTreeMap<i64, SettledCounts> = BTreeMap::new();
        for ((hour, key), counts) in &self.changes {
            if query.includes_hour(*hour) && query.includes_key(key) {
                sums.entry(*hour).or_default().add(counts);
            }
        }
        (sums, self.committed_frame_no)
    }

    pub(super) fn delta(&self, frame_no: u64, registry: &Registry, delta: &mut BooksDelta) {
        let mut previous = self.last.1;
        for row in &self.rows {
            previous = settlement_digest(&previous, row, registry);
            delta.settlements.push(SettlementRow { digest: previous, ..*row });
        }
        delta.settled = self.changes.iter().map(|((hour, key), counts)| (*hour, *key, *counts)).collect();
        delta.settled_frame_no = frame_no;
        delta.settled_unresolved = self.unresolved_changed.then(|| self.runs());
    }

    pub(super) fn committed(&mut self, delta: &BooksDelta) {
        if let Some(last) = delta.settlements.last() {
            self.last = (last.settlement_no, last.digest);
            self.rows.drain(..delta.settlements.len());
        }
        for (hour, key, counts) in &delta.settled {
            if let Some(changes) = self.changes.get_mut(&(*hour, *key)) {
                changes.subtract(counts);
                if *changes == SettledCounts::default() {
                    self.changes.remove(&(*hour, *key));
                }
            }
        }
        self.committed_frame_no = delta.settled_frame_no;
        // Frames may have been folded in since: then the next delta has all of them once more.
        if delta.settled_unresolved.as_ref().is_some_and(|runs| *runs == self.runs()) {
            self.unresolved_changed = false;
        }
    }

    fn add(&mut self, place: (i64, BookKey), counts: &SettledCounts, totals: &mut SettledCounts) {
        self.changes.entry(place).or_default().add(counts);
        totals.add(counts);
    }

    fn runs(&self) -> Vec<UnresolvedRun> {
        let mut runs: Vec<UnresolvedRun> = Vec::new();
        for (obs_no, (hour, key)) in &self.unresolved {
            let BookKey { agency, client, station } = *key;
            match runs.last_mut() {
                Some(run)
                    if run.first_obs_no + u64::from(run.count) == *obs_no
                        && (run.hour, run.agency, run.client, run.station)
                            == (*hour, agency, client, station) =>
                {
                    run.count += 1;
                }
                _ => runs.push(UnresolvedRun {
                    first_obs_no: *obs_no,
                    hour: *hour,
                    count: 1,
                    agency,
                    client,
                    station,
                }),
            }
        }
        runs
    }
}

fn message(counts: &mut BookCounts, outcome: u8, readings: u64) {
    match MessageOutcome::from_u8(outcome) {
        MessageOutcome::Decoded => counts.decoded = 1,
        MessageOutcome::Partial => counts.partial = 1,
        MessageOutcome::Quarantined => counts.quarantined_messages = 1,
        MessageOutcome::Ignored => counts.ignored = 1,
    }
    counts.quarantined_readings = readings;
}
