//! One transaction for everything that was folded: files, names, books, quarantine, states, and the checkpoint that they
//! reflect.

use super::{Keeper, KeeperCursor, KeeperError, RETAINED_PENDING_BYTES_MAX, lock};
use crate::books::hour_of;
use crate::catalogue::{Checkpoint, Commit};
use crate::store::Flush;
use std::sync::PoisonError;
use std::time::Duration;

impl Keeper {
    /// Flushes and commits what is due; with `force` whatever there is.
    pub fn commit_due(&mut self, now_us: i64, force: bool) -> Result<(), KeeperError> {
        match self.try_commit_due(now_us, force) {
            // A compaction gives way: its files go, or its part of the transaction.
            Err(error) if error.is_backpressure() && self.drop_compaction() => {
                self.try_commit_due(now_us, force)
            }
            other => other,
        }
    }

    fn try_commit_due(&mut self, now_us: i64, force: bool) -> Result<(), KeeperError> {
        let flush = self.store.flush(now_us, force)?;
        let is_old = self
            .uncommitted_since_us
            .is_some_and(|since_us| now_us.saturating_sub(since_us) >= self.commit_interval_us);
        let is_much = self.retained_bytes >= RETAINED_PENDING_BYTES_MAX
            || lock(&self.quarantine).wants_commit()
            || self.lets_expire() && self.retention_clock.wants_commit()
            || (force || self.progress.wants_commit()) && self.uncommitted_since_us.is_some();
        if flush.is_none() && !is_old && !is_much && self.compaction.is_none() {
            return Ok(());
        }
        self.commit(flush)
    }

    /// The hour before which the books are to forget, once in an hour.
    fn forget_books_before(&self) -> Option<i64> {
        let kept_from = hour_of(self.retention_clock.now_us()) - i64::from(self.books_days) * 24;
        (self.books_days > 0 && kept_from > self.books_kept_from).then_some(kept_from)
    }

    fn commit(&mut self, flush: Option<Flush>) -> Result<(), KeeperError> {
        let forget_books_before = self.forget_books_before();
        let cursor = flush.as_ref().map_or_else(|| self.store.cursor(), |flush| flush.cursor);
        let needed_from_frame = cursor.refold_from_frame.min(self.checkpoint.observation_frame_no + 1);
        let refold_from_record_no = self
            .frames
            .iter()
            .find(|(frame_no, _)| *frame_no >= needed_from_frame)
            // No such frame yet: the next one, which follows the last one that was folded.
            .map_or(self.end_record_no, |(_, record_no)| *record_no);
        let retention_us = if self.lets_expire() { self.retention_clock.now_us() } else { i64::MIN };
        let keeper_cursor = KeeperCursor { store: cursor, refold_from_record_no, retention_us };
        let (books, quarantine) = {
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            let expired_rows = self.compaction.as_ref().map_or(0, |compaction| compaction.rows_expired);
            let flushed_rows = flush.as_ref().map_or(0, |flush| flush.rows);
            (lock(&self.books).delta(&registry, flushed_rows, expired_rows), lock(&self.quarantine).delta())
        };
        let commit = Commit {
            checkpoint: Checkpoint {
                // A struct of numbers always serialises.
                store: serde_json::to_string(&keeper_cursor).unwrap_or_default(),
                ..self.checkpoint.clone()
            },
            definitions: self.definitions.clone(),
            files_added: {
                let flushed = flush.iter().flat_map(|flush| &flush.files_added);
                let merged = self.compaction.iter().flat_map(|compaction| &compaction.files_added);
                flushed.chain(merged).cloned().collect()
            },
            files_removed: self.compaction.as_ref().map(|it| it.files_removed.clone()).unwrap_or_default(),
            files_lost: Vec::new(),
            books,
            datastream_states: {
                let states = lock(&self.states);
                let state = |datastream: &u32| (*datastream, states[*datastream as usize].clone());
                self.changed_states.iter().map(state).collect()
            },
            retained: self.retained.clone(),
            resend_marks: self.resend_changed.then(|| self.resend.marks().collect()),
            quarantine,
            forget_books_before,
        };
        if let Err(error) = self.catalogue.commit(&commit) {
            // After any other error nobody knows whether the transaction got there: the next start does, and sweeps the files
            // if it did not.
            if error.is_backpressure()
                && let Some(flush) = flush
            {
                self.store.abandoned(flush);
            }
            return Err(error.into());
        }
        if let Some(flush) = flush {
            self.store.committed(flush);
        }
        self.compaction_committed();
        lock(&self.books).committed(&commit.books);
        lock(&self.quarantine).committed(&commit.quarantine);
        self.checkpoint = commit.checkpoint;
        self.metrics.store_messages.set(self.checkpoint.next_message_no as i64 - 1);
        self.books_kept_from = forget_books_before.unwrap_or(self.books_kept_from);
        self.retention_clock.committed(retention_us);
        self.definitions.clear();
        self.retained.clear();
        self.retained_bytes = 0;
        self.changed_states.clear();
        self.resend_changed = false;
        self.uncommitted_since_us = None;
        while self.frames.front().is_some_and(|(frame_no, _)| *frame_no < needed_from_frame) {
            self.frames.pop_front();
        }
        self.in_wal.committed(refold_from_record_no);
        self.empty_wal(Duration::ZERO)?;
        self.progress.set_next_uncommitted_record(self.checkpoint.next_record_no);
        // What only late rows keep lies before what the next flush needs.
        let record_of = |frame: u64| self.frames.iter().find(|(frame_no, _)| *frame_no >= frame);
        let flush_from = record_of(cursor.next_frame.min(self.checkpoint.observation_frame_no + 1));
        let flush_from = flush_from.map_or(self.end_record_no, |(_, record_no)| *record_no);
        self.metrics.logs.holds("observations", "flush", flush_from);
        self.metrics.logs.holds("observations", "late_rows", refold_from_record_no);
        Ok(())
    }
}
