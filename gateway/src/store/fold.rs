//! The store itself: the fold over frames, and its flush. The rules stand on the page of [`crate::store`].

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use super::classify::{CLASSIFY_ROWS_MAX, ORDINALS_MAX, classify};
use super::compact::{Compaction, Compactor};
use super::files::FooterCache;
use super::late::{LateBuffer, LateRow};
use super::memory::{Chunk, Memory};
use super::row::Version;
use super::run::{RunWriter, check_and_sweep};
use super::shared::{Shared, StoreReader, View};
use super::{FileEntry, StoreConfig, StoreCursor, StoreError};
use crate::disk::Disk;
use crate::metrics::Metrics;
use crate::observation::{Classification, ObservationFrame, Outcome, OutcomeKind, ResultKind, Row};
use crate::registry::SharedRegistry;
use crate::retention::Retention;

/// See the module page of [`crate::store`].
#[derive(Debug)]
pub struct Store {
    config: StoreConfig,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
    writer: RunWriter,
    memory: Memory,
    late: LateBuffer,
    /// Frame that [`Self::apply`] expects; `None` before the first frame of a fresh store.
    expected_frame: Option<u64>,
    /// What the last commit said.
    committed: StoreCursor,
    /// Stamp of the oldest frame that the next flush will cover.
    unflushed_since_us: Option<i64>,
    flush_is_out: bool,
    /// Files that compaction replaced, and since when that is known.
    replaced: Vec<(Option<u64>, Arc<FileEntry>)>,
}

/// Files that are written and not yet committed. The caller commits them with the cursor (and the books) in one
/// transaction, then gives this back to [`Store::committed`], or to [`Store::abandoned`] if the transaction failed.
#[derive(Debug)]
pub struct Flush {
    pub files_added: Vec<FileEntry>,
    pub cursor: StoreCursor,
    pub rows: u64,
    unflushed_since_us: Option<i64>,
}

/// When the caller must stop bringing frames. Frames with outcomes must still come through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub must_flush: bool,
    pub must_classify: bool,
}

impl Store {
    /// `files` and `cursor` as the catalogue has them. Removes files that it does not name.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: StoreConfig,
        files: Vec<FileEntry>,
        cursor: StoreCursor,
        registry: SharedRegistry,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let next_file_no = check_and_sweep(&*disk, &files, config.keep_unnamed)?.max(config.file_no_min);
        let writer = RunWriter::new(disk.clone(), registry.clone(), config.partition_rows_min, next_file_no)?;
        let mut view = View::default();
        add_files(&mut view, files);
        let shared = Shared {
            disk,
            registry: registry.clone(),
            footers: FooterCache::default(),
            scan_rows_max: config.scan_rows_max,
            retention: Retention::new(config.retention, registry.clone()),
            view: RwLock::new(view),
        };
        let store = Self {
            config,
            metrics,
            shared: Arc::new(shared),
            writer,
            memory: Memory::default(),
            late: LateBuffer::default(),
            expected_frame: (cursor != StoreCursor::default()).then_some(cursor.refold_from_frame),
            committed: cursor,
            unflushed_since_us: None,
            flush_is_out: false,
            replaced: Vec::new(),
        };
        store.publish(store.shared.view.write().unwrap_or_else(PoisonError::into_inner));
        Ok(store)
    }

    pub fn reader(&self) -> StoreReader {
        StoreReader { shared: self.shared.clone() }
    }

    /// What merges this store's files.
    pub fn compactor(&self) -> Result<Compactor, StoreError> {
        Ok(Compactor::new(
            self.shared.clone(),
            self.writer.beside()?,
            self.config.compaction_files_min,
            self.config.free_bytes_min,
        ))
    }

    /// Nothing ever expires.
    pub fn keeps_for_ever(&self) -> bool {
        self.config.retention.is_for_ever()
    }

    /// By which time rows expire, see [`crate::retention::RetentionClock`]. Late rows that wait hold it back: what they repeat must still be there.
    pub fn tell_time(&self, now_us: i64) {
        let waiting_us = self.late.oldest().map_or(i64::MAX, |late| late.row.result_time_us);
        self.shared.retention.tell_time(now_us.min(waiting_us));
    }

    /// Folds the next frame of the observation log. After an error the store must not be used further: what it holds is
    /// not what the log says.
    pub fn apply(&mut self, frame: &Arc<ObservationFrame>) -> Result<(), StoreError> {
        self.apply_telling(frame, &mut |_, _| ())
    }

    /// The same; `stored` gets each late row that the frame's outcomes bring into the store, with its text.
    pub(crate) fn apply_telling(
        &mut self,
        frame: &Arc<ObservationFrame>,
        stored: &mut dyn FnMut(&Version, &[u8]),
    ) -> Result<(), StoreError> {
        if let Some(expected) = self.expected_frame.filter(|expected| *expected != frame.frame_no) {
            return Err(StoreError::FrameGap { expected, found: frame.frame_no });
        }
        let in_files = frame.frame_no < self.committed.next_frame;
        let mut chunk =
            Chunk::with_capacity(if in_files { 0 } else { frame.rows.len() + frame.outcomes.len() });
        for outcome in &frame.outcomes {
            self.settle(frame.frame_no, outcome, in_files, &mut chunk, stored)?;
        }
        for (obs_no, row) in (frame.first_obs_no..).zip(&frame.rows) {
            match row.classified() {
                Classification::Duplicate => {}
                Classification::Inserted if in_files => {}
                Classification::Inserted => {
                    let (version, text) = version(frame, row)?;
                    chunk.push(version, text);
                }
                Classification::Unresolved => {
                    let (row, text) = version(frame, row)?;
                    let (frame_no, frame_us) = (frame.frame_no, frame.info.time_us);
                    self.late.push(LateRow { obs_no, frame_no, frame_us, row, text: text.into() });
                }
            }
        }
        self.expected_frame = Some(frame.frame_no + 1);
        if !in_files {
            self.unflushed_since_us.get_or_insert(frame.info.time_us);
        }
        if !chunk.rows.is_empty() {
            self.memory.push(chunk);
        }
        self.publish(self.shared.view.write().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    fn settle(
        &mut self,
        frame_no: u64,
        outcome: &Outcome,
        in_files: bool,
        chunk: &mut Chunk,
        tell: &mut dyn FnMut(&Version, &[u8]),
    ) -> Result<(), StoreError> {
        let Some(late) = self.late.settle(outcome.obs_no) else {
            // Of a frame that files reflect, an outcome may belong to a row from before the refold.
            if in_files {
                return Ok(());
            }
            return Err(StoreError::UnknownOutcome { frame_no, obs_no: outcome.obs_no });
        };
        if !matches!(outcome.outcome_kind(), OutcomeKind::Inserted | OutcomeKind::Corrected) {
            return Ok(());
        }
        let ordinal = if late.row.takes_free_ordinal() { outcome.ordinal } else { late.row.ordinal };
        let row = Version { revision: outcome.revision, ordinal, ..late.row };
        tell(&row, &late.text);
        if !in_files {
            chunk.push(row, &late.text);
        }
        Ok(())
    }

    /// Classifies the oldest late rows if they are due (or `force`) and no batch is out. The outcomes must go to the
    /// observation log; they take effect when they come back through [`Self::apply`]. Not to be called before the whole
    /// log was applied.
    pub fn classify_due(&mut self, now_us: i64, force: bool) -> Result<Option<Vec<Outcome>>, StoreError> {
        let Some(oldest) = self.late.oldest() else { return Ok(None) };
        let due = force
            || is_older(oldest.frame_us, now_us, self.config.late_interval_ms)
            || self.late.len() >= self.config.late_rows_max / 2
            || self.late.text_bytes() >= self.config.text_bytes_in_memory_max;
        if !due || self.late.batch_is_out() {
            return Ok(None);
        }
        let batch = self.late.oldest_rows(CLASSIFY_ROWS_MAX);
        let outcomes = classify(&self.shared, &self.shared.view(), &batch)?;
        tell_overflow(&self.metrics, &batch, &outcomes);
        if let Some(last) = outcomes.last() {
            self.late.batch_went_out(outcomes.len() as u64, last.obs_no);
        }
        Ok(Some(outcomes))
    }

    /// Writes what is in memory into files if that is due (or `force`), there is something to commit, and no flush is
    /// out. After an error nothing has changed; it may be tried again (see [`StoreError::is_no_space`]).
    pub fn flush(&mut self, now_us: i64, force: bool) -> Result<Option<Flush>, StoreError> {
        let Some(next_frame) = self.expected_frame else { return Ok(None) };
        let due = force
            || self.memory.rows >= self.config.flush_rows_max
            || self.memory.text_bytes >= self.config.text_bytes_in_memory_max
            || self
                .unflushed_since_us
                .is_some_and(|since| is_older(since, now_us, self.config.flush_interval_ms));
        let cursor = StoreCursor {
            refold_from_frame: self.late.oldest().map_or(next_frame, |late| late.frame_no),
            // While a refold is under way, what the last commit covered stays covered.
            next_frame: next_frame.max(self.committed.next_frame),
        };
        if !due || self.flush_is_out || cursor == self.committed || next_frame < self.committed.next_frame {
            return Ok(None);
        }
        let files_added = self.writer.write(&self.memory.chunks)?;
        self.memory.frozen = self.memory.chunks.len();
        self.flush_is_out = true;
        let unflushed_since_us = mem::take(&mut self.unflushed_since_us);
        Ok(Some(Flush { files_added, cursor, rows: self.memory.rows, unflushed_since_us }))
    }

    /// The transaction with the flush's files and cursor is durable: from here on its rows are read from the files.
    pub fn committed(&mut self, flush: Flush) {
        self.memory.drop_frozen();
        self.committed = flush.cursor;
        self.flush_is_out = false;
        self.metrics.store_flushes.inc();
        self.metrics.store_rows_flushed.inc_by(flush.rows);
        self.metrics.store_bytes_flushed.inc_by(flush.files_added.iter().map(|file| file.bytes).sum());
        let mut view = self.shared.view.write().unwrap_or_else(PoisonError::into_inner);
        add_files(&mut view, flush.files_added);
        self.publish(view);
    }

    /// The transaction failed: its files are removed, and the rows will be flushed again.
    pub fn abandoned(&mut self, flush: Flush) {
        self.writer.remove(&flush.files_added);
        self.memory.frozen = 0;
        self.flush_is_out = false;
        self.unflushed_since_us = flush.unflushed_since_us.or(self.unflushed_since_us);
    }

    /// The transaction with this exchange of files is durable.
    pub fn compacted(&mut self, compaction: Compaction) {
        let removed: BTreeSet<u64> = compaction.files_removed.into_iter().collect();
        self.metrics.store_compactions.inc();
        self.metrics.store_rows_expired.inc_by(compaction.rows_expired);
        if compaction.rows_expired > 0 {
            tracing::info!(
                rows = compaction.rows_expired,
                files = removed.len(),
                kept = %self.shared.retention.spans(),
                "retention removed rows that are older than their domain is kept"
            );
        }
        self.metrics
            .store_rows_compacted
            .inc_by(compaction.files_added.iter().map(|file| file.row_count).sum());
        let mut view = self.shared.view.write().unwrap_or_else(PoisonError::into_inner);
        let files = Arc::make_mut(&mut view.files);
        let replaced: Vec<_> = files.extract_if(.., |file| removed.contains(&file.file_no)).collect();
        view.counts.files -= replaced.len() as u64;
        view.counts.rows_in_files -= replaced.iter().map(|file| file.row_count).sum::<u64>();
        view.counts.bytes_in_files -= replaced.iter().map(|file| file.bytes).sum::<u64>();
        add_files(&mut view, compaction.files_added);
        self.publish(view);
        self.replaced.extend(replaced.into_iter().map(|file| (None, file)));
    }

    /// A compaction that is not committed: its files are removed, and what it was to replace stays.
    pub fn dropped(&mut self, compaction: &Compaction) {
        self.writer.remove(&compaction.files_added);
    }

    /// Whether files wait to be removed.
    pub fn has_replaced(&self) -> bool {
        !self.replaced.is_empty()
    }

    /// Removes replaced files that nobody reads any more; readers from outside have no grace where space is missing.
    pub fn sweep(&mut self, monotonic_us: u64, space_is_missing: bool) {
        let grace_us = if space_is_missing { 0 } else { self.config.reader_grace_ms * 1_000 };
        // Scans hold the entries of the files that they read.
        let unused = |(since_us, file): &mut (Option<u64>, Arc<FileEntry>)| {
            let since_us = *since_us.get_or_insert(monotonic_us);
            monotonic_us.saturating_sub(since_us) >= grace_us && Arc::strong_count(file) == 1
        };
        let unused: Vec<FileEntry> =
            self.replaced.extract_if(.., unused).map(|(_, file)| Arc::unwrap_or_clone(file)).collect();
        self.writer.remove(&unused);
    }

    /// Whether the bounds of memory are reached.
    pub fn pressure(&self) -> Pressure {
        Pressure {
            must_flush: self.memory.rows >= self.config.rows_in_memory_max
                || self.memory.text_bytes >= 2 * self.config.text_bytes_in_memory_max,
            must_classify: self.late.len() >= self.config.late_rows_max
                || self.late.text_bytes() >= 2 * self.config.text_bytes_in_memory_max,
        }
    }

    /// The last cursor that was committed.
    pub fn cursor(&self) -> StoreCursor {
        self.committed
    }

    /// Shows readers what is in memory now, in one step with whatever else changed in the view.
    fn publish(&self, mut view: RwLockWriteGuard<'_, View>) {
        let unchanged = |(old, new): (&Arc<Chunk>, &Arc<Chunk>)| Arc::ptr_eq(old, new);
        let same = view.chunks.iter().zip(&self.memory.chunks).take_while(|pair| unchanged(*pair)).count();
        view.chunks.truncate(same);
        view.chunks.extend_from_slice(&self.memory.chunks[same..]);
        view.counts.rows_in_memory = self.memory.rows;
        view.counts.rows_unresolved = self.late.len();
        self.metrics.store_rows_in_memory.set(self.memory.rows as i64);
        self.metrics.store_rows_unresolved.set(self.late.len() as i64);
        let counts = &view.counts;
        if self.metrics.store_file_rows.get() != counts.rows_in_files as i64
            || self.metrics.store_files.get() != counts.files as i64
        {
            self.metrics.store_files.set(counts.files as i64);
            self.metrics.store_file_rows.set(counts.rows_in_files as i64);
            self.metrics.store_file_bytes.set(counts.bytes_in_files as i64);
            self.metrics.store_levels.tell(view.files.iter().map(|file| file.row_count));
        }
    }
}

fn add_files(view: &mut View, files: Vec<FileEntry>) {
    view.counts.files += files.len() as u64;
    view.counts.rows_in_files += files.iter().map(|file| file.row_count).sum::<u64>();
    view.counts.bytes_in_files += files.iter().map(|file| file.bytes).sum::<u64>();
    Arc::make_mut(&mut view.files).extend(files.into_iter().map(Arc::new));
}

/// A reading that takes a free ordinal corrects nothing; where there is none left it is kept as a revision all the same.
fn tell_overflow(metrics: &Metrics, batch: &[&LateRow], outcomes: &[Outcome]) {
    let is_revision = |(late, outcome): &(&&LateRow, &Outcome)| {
        late.row.takes_free_ordinal() && outcome.outcome_kind() == OutcomeKind::Corrected
    };
    let count = batch.iter().zip(outcomes).filter(is_revision).count() as u64;
    if count > 0 && metrics.store_same_time_overflows.inc_by(count) == 0 {
        tracing::warn!(
            "a datastream has more than {ORDINALS_MAX} readings of one time: further ones are stored as revisions of the last one \
             and counted (store_same_time_overflows); its times are too coarse (pipeline.same_time_keep)"
        );
    }
}

fn is_older(since_us: i64, now_us: i64, interval_ms: u64) -> bool {
    let interval_us = i64::try_from(interval_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
    now_us.saturating_sub(since_us) >= interval_us
}

/// The row as the store keeps it, and its text.
fn version<'a>(frame: &'a ObservationFrame, row: &Row) -> Result<(Version, &'a [u8]), StoreError> {
    let malformed = |what| StoreError::MalformedFrame { frame_no: frame.frame_no, what };
    let message = frame.messages.get(row.message as usize);
    let message = message.ok_or_else(|| malformed("has a row without its message"))?;
    let text = match row.result_kind() {
        ResultKind::Text => {
            let span = row.text_span();
            let rest = frame.texts.get(span.offset as usize..);
            let text = rest.and_then(|rest| rest.get(..span.len as usize));
            text.ok_or_else(|| malformed("has a row whose text lies outside"))?
        }
        _ => &[],
    };
    let version = Version {
        time_us: row.time_us,
        value: row.value,
        seq_plus_1: row.seq_plus_1,
        position: message.message_no,
        result_time_us: message.receive_time_us,
        datastream: row.datastream,
        unit: row.unit,
        status: row.status,
        revision: 0,
        ordinal: row.ordinal,
        kind: row.kind,
        quality: row.quality,
        flags: row.flags,
        rank: row.rank,
    };
    Ok((version, text))
}
