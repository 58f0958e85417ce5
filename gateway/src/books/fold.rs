//! The fold itself.

use std::collections::BTreeMap;
use std::iter::{Peekable, Zip};
use std::ops::RangeFrom;
use std::slice;

use super::hour::Hour;
use super::ledger::{LedgerFilter, LedgerPart, Scope};
use super::settlements::Settlements;
use super::unresolved::UnresolvedRows;
use super::{digest::hour_digest, hour_of};
use crate::catalogue::{
    BookCounts, BookKey, BookQuery, BookRow, BookTotals, BooksDelta, BooksSnapshot, Checkpoint, HourDigest,
};
use crate::observation::{
    Classification, MessageEntry, MessageOutcome, ObservationFrame, Outcome, OutcomeKind, Row,
};
use crate::registry::Registry;

#[derive(Debug)]
pub struct Books {
    keys_per_hour_max: usize,
    /// The last frame folded.
    frame_no: u64,
    next_message_no: u64,
    /// The hour of the newest frame; those before it are over.
    newest_hour: i64,
    /// Nothing is booked before this hour any more.
    first_open_hour: i64,
    last_digest: HourDigest,
    totals: BookTotals,
    /// Hours that are open, or closed and not committed yet.
    hours: BTreeMap<i64, Hour>,
    /// As many as the store keeps late rows (`late_rows_max`).
    unresolved: UnresolvedRows,
    /// Which state of them the catalogue has, and which the delta that is under way brings.
    unresolved_committed: u64,
    unresolved_in_delta: u64,
    settlements: Settlements,
    unknown_outcomes: u64,
}

/// The rows of a frame with their `obs_no`.
type FrameRows<'a> = Peekable<Zip<RangeFrom<u64>, slice::Iter<'a, Row>>>;

/// The rows of one message by class.
#[derive(Debug, Default)]
struct Tally {
    inserted: u64,
    duplicate: u64,
    unresolved: u64,
}

impl Tally {
    fn add_to(&self, message: &MessageEntry, counts: &mut BookCounts) {
        match message.message_outcome() {
            MessageOutcome::Decoded => counts.decoded += 1,
            MessageOutcome::Partial => counts.partial += 1,
            MessageOutcome::Quarantined => counts.quarantined_messages += 1,
            MessageOutcome::Ignored => counts.ignored += 1,
        }
        counts.quarantined_readings += u64::from(message.quarantined_readings);
        counts.inserted += self.inserted;
        counts.duplicate += self.duplicate;
        counts.unresolved += self.unresolved;
    }
}

/// Where an outcome is counted.
pub(super) fn count_of(counts: &mut BookCounts, kind: OutcomeKind) -> &mut u64 {
    match kind {
        OutcomeKind::Inserted => &mut counts.inserted,
        OutcomeKind::Corrected => &mut counts.corrected,
        OutcomeKind::Duplicate => &mut counts.duplicate,
        OutcomeKind::Outranked => &mut counts.outranked,
    }
}

impl Books {
    /// Goes on where a commit left off; the frames behind its checkpoint are folded in next.
    pub fn new(keys_per_hour_max: usize, checkpoint: &Checkpoint, snapshot: &BooksSnapshot) -> Self {
        let mut hours: BTreeMap<i64, Hour> =
            snapshot.hours.iter().map(|hour| (hour.hour, Hour::restored(hour))).collect();
        for row in &snapshot.rows {
            hours.entry(row.hour).or_default().restore_row(row);
        }
        let unresolved = UnresolvedRows::restored(&snapshot.unresolved, &hours);
        let first_open_hour = snapshot.last_closed.map_or(i64::MIN, |(hour, _)| hour + 1);
        Self {
            keys_per_hour_max,
            frame_no: checkpoint.observation_frame_no,
            next_message_no: checkpoint.next_message_no,
            newest_hour: hours.last_key_value().map_or(first_open_hour, |(hour, _)| *hour),
            first_open_hour,
            last_digest: snapshot.last_closed.map_or([0; 32], |(_, digest)| digest),
            totals: snapshot.totals,
            hours,
            unresolved_committed: unresolved.changes(),
            unresolved_in_delta: unresolved.changes(),
            unresolved,
            settlements: Settlements::new(checkpoint, snapshot),
            unknown_outcomes: 0,
        }
    }

    /// Folds a frame in. Frames come in order; those that are in already are passed over.
    pub fn apply(&mut self, frame: &ObservationFrame) {
        if frame.frame_no <= self.frame_no {
            return;
        }
        // Messages that no frame has were missing in the journal, which an operator accepted.
        let covered = frame.info.next_message_no.saturating_sub(self.next_message_no);
        let came = frame.messages.iter().filter(|message| !message.is_replayed()).count();
        self.totals.lost += covered.saturating_sub(came as u64);
        let mut rows = (frame.first_obs_no..).zip(&frame.rows).peekable();
        let mut index = 0;
        // Messages of one journal frame have one time and therefore one hour.
        let one_hour = |a: &MessageEntry, b: &MessageEntry| {
            a.stamp_us() == b.stamp_us() && a.is_replayed() == b.is_replayed()
        };
        for messages in frame.messages.chunk_by(one_hour) {
            if messages[0].is_replayed() {
                self.apply_replayed(messages, index, &mut rows);
            } else {
                self.apply_messages(messages, index, &mut rows);
            }
            index += messages.len() as u32;
        }
        for settlement in &frame.settlements {
            self.settlements.apply(settlement, &mut self.totals.settled);
        }
        debug_assert!(rows.next().is_none(), "rows lie in the order of their messages");
        for outcome in &frame.outcomes {
            self.apply_outcome(outcome);
        }
        self.frame_no = frame.frame_no;
        self.next_message_no = self.next_message_no.max(frame.info.next_message_no);
        self.newest_hour = self.newest_hour.max(hour_of(frame.info.time_us));
    }

    fn apply_messages(&mut self, messages: &[MessageEntry], mut index: u32, rows: &mut FrameRows<'_>) {
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return };
        // Stamps never go back; were they ever to, a closed hour must not change all the same.
        let hour_no = hour_of(first.stamp_us()).max(self.first_open_hour);
        self.newest_hour = self.newest_hour.max(hour_no);
        let hour = self.hours.entry(hour_no).or_default();
        hour.note_messages(first.message_no, last.message_no + 1);
        let mut place: Option<(BookKey, u32)> = None;
        for message in messages {
            let key = BookKey { agency: message.agency, client: message.client, station: message.station };
            let slot = match place {
                Some((placed, slot)) if placed == key => slot,
                _ => hour.slot(key, self.keys_per_hour_max),
            };
            place = Some((key, slot));
            let mut tally = Tally::default();
            while let Some((obs_no, row)) = rows.next_if(|(_, row)| row.message == index) {
                match row.classified() {
                    Classification::Inserted => tally.inserted += 1,
                    Classification::Duplicate => tally.duplicate += 1,
                    Classification::Unresolved => {
                        tally.unresolved += 1;
                        self.unresolved.push(obs_no, hour_no, slot);
                    }
                }
            }
            index += 1;
            hour.unresolved += tally.unresolved;
            tally.add_to(message, hour.counts_mut(slot));
            tally.add_to(message, &mut self.totals.counts);
        }
    }

    /// The rows that replayed messages brought; the messages themselves are counted by their settlements.
    fn apply_replayed(&mut self, messages: &[MessageEntry], mut index: u32, rows: &mut FrameRows<'_>) {
        for message in messages {
            while let Some((obs_no, row)) = rows.next_if(|(_, row)| row.message == index) {
                self.settlements.row(message, obs_no, row.classified(), &mut self.totals.settled);
            }
            index += 1;
        }
    }

    fn apply_outcome(&mut self, outcome: &Outcome) {
        if self.settlements.outcome(outcome, &mut self.totals.settled) {
            return;
        }
        let place = self.unresolved.take(outcome.obs_no);
        // An outcome that is told twice changes nothing the second time.
        let Some((slot, hour)) = place.and_then(|(hour, slot)| Some((slot, self.hours.get_mut(&hour)?)))
        else {
            self.unknown_outcomes += 1;
            return;
        };
        hour.unresolved -= 1;
        for counts in [hour.counts_mut(slot), &mut self.totals.counts] {
            counts.unresolved -= 1;
            *count_of(counts, outcome.outcome_kind()) += 1;
        }
    }

    /// What a commit at this frame has to change; `flushed_rows` are the rows of the store files that it
    /// adds, `expired_rows` those that retention takes out of them. Closes the
    /// hours that are over and have nothing unresolved. One delta at a time; one whose commit failed is just dropped.
    ///
    /// `registry` knows the names of all frames folded.
    pub fn delta(&mut self, registry: &Registry, flushed_rows: u64, expired_rows: u64) -> BooksDelta {
        self.close_hours(registry);
        let mut delta = BooksDelta { totals: self.totals, ..BooksDelta::default() };
        delta.totals.flushed += flushed_rows;
        delta.totals.expired += expired_rows;
        for (hour_no, hour) in &self.hours {
            delta.rows.extend(hour.changed_rows(*hour_no));
            if hour.head_changed {
                delta.hours.push(hour.head(*hour_no));
            }
        }
        self.unresolved_in_delta = self.unresolved.changes();
        if self.unresolved_in_delta != self.unresolved_committed {
            delta.unresolved = Some(self.unresolved.runs(&self.hours));
        }
        self.settlements.delta(self.frame_no, registry, &mut delta);
        delta
    }

    fn close_hours(&mut self, registry: &Registry) {
        for (hour_no, hour) in &mut self.hours {
            if hour.digest.is_some() {
                continue;
            }
            if *hour_no >= self.newest_hour || hour.unresolved > 0 {
                break;
            }
            let mut rows: Vec<BookRow> = hour
                .rows()
                .map(|(key, counts)| BookRow { hour: *hour_no, key: *key, counts: *counts })
                .collect();
            rows.sort_unstable_by_key(|row| row.key);
            let digest = hour_digest(&self.last_digest, &hour.head(*hour_no), &rows, registry);
            hour.digest = Some(digest);
            hour.head_changed = true;
            self.last_digest = digest;
            self.first_open_hour = hour_no + 1;
        }
    }

    /// The delta's commit is durable: closed hours leave the memory. Frames may have been folded in since.
    pub fn committed(&mut self, delta: &BooksDelta) {
        self.totals.flushed = delta.totals.flushed;
        self.totals.expired = delta.totals.expired;
        for row in &delta.rows {
            if let Some(hour) = self.hours.get_mut(&row.hour) {
                hour.row_committed(row);
            }
        }
        for head in &delta.hours {
            if head.digest.is_some() {
                self.hours.remove(&head.hour);
            } else if let Some(hour) = self.hours.get_mut(&head.hour) {
                hour.head_changed = hour.head(head.hour) != *head;
            }
        }
        self.unresolved_committed = self.unresolved_in_delta;
        self.settlements.committed(delta);
    }

    /// The books as they are now, committed or not. `durable` is the number of messages durable in the journal. What lies
    /// in closed hours is added by [`LedgerPart::complete`], which needs neither these books nor a lock on them.
    pub fn ledger(&self, filter: &LedgerFilter, registry: &Registry, durable: u64) -> LedgerPart {
        let processed = self.processed();
        let durable = durable.max(processed);
        let mut part = LedgerPart { durable, processed, ..LedgerPart::default() };
        let query = match filter.scope(registry) {
            Scope::Everything => {
                part.pending = durable - processed;
                part.counts = self.totals.counts;
                part.settled = self.totals.settled;
                part.flushed = Some(self.totals.flushed);
                part.expired = Some(self.totals.expired);
                part.lost = Some(self.totals.lost);
                return part;
            }
            Scope::Nothing => return part,
            Scope::Rows(query) => query,
        };
        // Messages that are pending have no name in the books yet, but an hour: the newest or a later one.
        if query.names_nobody() && query.to_hour.is_none_or(|to| to > self.newest_hour) {
            part.pending = durable - processed;
        }
        for (_, hour) in self.hours.iter().filter(|(hour, _)| query.includes_hour(**hour)) {
            for (_, counts) in hour.rows().filter(|(key, _)| query.includes_key(key)) {
                part.counts.add(counts);
            }
        }
        // Everything before the first hour in memory is closed and committed.
        let first_hour = self.hours.first_key_value().map_or(self.first_open_hour, |(hour, _)| *hour);
        let to_hour = query.to_hour.map_or(first_hour, |to| to.min(first_hour));
        (part.settled_by_hour, part.settled_to_frame_no) = self.settlements.uncommitted(&query);
        part.settled_query = Some(query.clone());
        part.older = Some(BookQuery { to_hour: Some(to_hour), ..query });
        part
    }

    /// Messages covered by the frames folded.
    pub fn processed(&self) -> u64 {
        self.next_message_no.saturating_sub(1)
    }

    /// The last frame folded: what the checkpoint of the next commit has to name.
    pub fn frame_no(&self) -> u64 {
        self.frame_no
    }

    /// Late rows that wait for their outcome.
    pub fn unresolved_rows(&self) -> usize {
        self.unresolved.len() + self.settlements.unresolved_rows()
    }

    #[cfg(test)]
    pub(super) fn hours_in_memory(&self) -> usize {
        self.hours.len()
    }

    /// Outcomes of rows that were not unresolved, since the start; above 0 only after a flush was repeated.
    pub fn unknown_outcomes(&self) -> u64 {
        self.unknown_outcomes
    }
}
