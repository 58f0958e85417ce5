//! Compaction: many small files of one folder become few large ones. Rows stay as they are, every revision of them.
//!
//! ```text
//!  files of the view ──pick──▶ read ▶ sort ▶ write (as a flush does) ──▶ Compaction ──▶ caller's SQLite commit ──compacted──▶ view
//!                                                                                     replaced files: removed when no scan has them
//! ```
//!
//! A file with half of [`COMPACTION_ROWS_MAX`] rows is never merged again. Of the others in a folder the smallest are merged,
//! at least [`super::StoreConfig::compaction_files_min`] at once and no file that outweighs the rest: so a row is written some log₂(rows of a file / rows of a
//! flush) times at most, a day is not rewritten for a few late rows, and what stays small are a handful of files per folder.
//! Rows of many days (`mixed`) get into files of their days as soon as a merge has enough of them.
//!
//! *Retention.* Rows that have expired ([`crate::retention`]) are left out of what is written, and files are looked through for
//! them: one whose rows have all expired goes without being written again, another one is written again once a quarter of it
//! has expired, or any row of it a month ago.
//!
//! *Damage.* A file is merged only if its bytes are those that were committed: rows of a damaged one, written anew under a
//! checksum of their own, would pass for sound ever after. It stays where it is, is read as before, and is looked at again:
//! once it has been put back from a backup it counts like any other.
//!
//! Only one compaction is on its way at a time: the caller asks for the next when it has committed the last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::check::check_bytes;
use super::files::read_file;
use super::memory::Chunk;
use super::row::{KeyBounds, RowSink, Version};
use super::run::RunWriter;
use super::shared::{Shared, Symbols};
use super::{FileEntry, StoreError};
use crate::disk;
use crate::retention::{Horizon, REMOVAL_MARGIN_US};

/// Rows that one compaction takes: 64 bytes of memory each while it works, and 16 for the order.
pub const COMPACTION_ROWS_MAX: u64 = 1 << 20;
/// Bytes of text results that one compaction holds; it takes fewer files where they would be more.
pub const COMPACTION_TEXT_BYTES_MAX: usize = 64 << 20;
/// Files that replace others. The caller commits both changes in one transaction and gives this to
/// [`super::Store::compacted`]; without a commit the next start sweeps what was added.
#[derive(Debug)]
pub struct Compaction {
    pub files_added: Vec<FileEntry>,
    pub files_removed: Vec<u64>,
    /// Rows of the removed files that have expired, and are not in the added ones.
    pub rows_expired: u64,
}

/// Picks and merges; works beside the store's own thread.
#[derive(Debug)]
pub struct Compactor {
    shared: Arc<Shared>,
    writer: RunWriter,
    /// Fewer small files are left alone.
    files_min: usize,
    free_bytes_min: u64,
    /// Files that cannot be written again as they are: a unit or status of theirs is not in the registry.
    excluded: BTreeSet<u64>,
    /// Files whose bytes are not those that were committed, or that can't be read.
    damaged: BTreeSet<u64>,
    /// The one of them that was looked at last.
    looked_again: u64,
    /// Steps in which nothing was worth it.
    idle_steps: u32,
    /// When a file was looked through for expired rows, by the time that [`Retention`](crate::retention::Retention) knows.
    looked_us: BTreeMap<u64, i64>,
}

/// In one of so many idle steps a damaged file is looked at again.
const IDLE_STEPS_PER_LOOK: u32 = 10;
/// A file with expired rows is looked through once in so long.
const LOOK_AGAIN_US: i64 = 6 * 3_600_000_000;
/// One that was worth it and could not be written, mostly for want of space, after so long: others have their turn before.
const TRY_AGAIN_US: i64 = 60_000_000;
/// So many bytes are looked through in one step: behind it the compactor pauses.
const LOOK_BYTES_MAX: u64 = 64 << 20;
/// A file is written again when one row in so many has expired …
const EXPIRED_SHARE: u64 = 4;
/// … or when one has so much longer ago than its time was over.
const EXPIRED_SINCE_US: i64 = 30 * 86_400_000_000;

impl Compactor {
    pub(super) fn new(shared: Arc<Shared>, writer: RunWriter, files_min: usize, free_bytes_min: u64) -> Self {
        Self {
            shared,
            writer,
            files_min,
            free_bytes_min,
            excluded: BTreeSet::new(),
            damaged: BTreeSet::new(),
            looked_again: 0,
            idle_steps: 0,
            looked_us: BTreeMap::new(),
        }
    }

    /// Merges what is worth it, if anything is. After an error nothing has changed; it may be tried again.
    pub fn step(&mut self) -> Result<Option<Compaction>, StoreError> {
        let files = self.shared.view().files;
        self.damaged.retain(|file_no| files.iter().any(|file| file.file_no == *file_no));
        let mut compaction = self.expire(&files)?;
        if compaction.is_none() {
            let picked = pick(&files, |file| self.is_left_out(file), self.files_min);
            compaction = self.merge(&picked)?;
        }
        if compaction.is_none() {
            self.idle_steps = (self.idle_steps + 1) % IDLE_STEPS_PER_LOOK;
            if self.idle_steps == 0 {
                self.look_again(&files);
            }
        }
        Ok(compaction)
    }

    /// Some files can't be merged before somebody puts them back.
    pub fn has_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    fn is_left_out(&self, file: &FileEntry) -> bool {
        self.excluded.contains(&file.file_no) || self.damaged.contains(&file.file_no)
    }

    /// Has the next damaged file been put back?
    fn look_again(&mut self, files: &[Arc<FileEntry>]) {
        let next = self.damaged.range(self.looked_again + 1..).next().or_else(|| self.damaged.first());
        let Some(file_no) = next.copied() else { return };
        self.looked_again = file_no;
        let Some(file) = files.iter().find(|file| file.file_no == file_no) else { return };
        if check_bytes(&*self.shared.disk, file).is_ok() {
            tracing::info!(path = file.path, "the store file is whole again");
            self.shared.footers.forget(file_no);
            self.damaged.remove(&file_no);
        }
    }

    /// The file stays as it is and is merged no more, which is told once: it is not read here again before it is whole.
    fn leave_damaged(&mut self, file: &FileEntry, error: &StoreError) {
        tracing::error!(
            path = file.path,
            "{error}; until then it is served as it is and merged with no other (docs/operations/damage.md, \"{}\")",
            error.damage_code()
        );
        self.damaged.insert(file.file_no);
    }

    /// Writes the rows of these files once more, without those that have expired.
    fn merge(&mut self, picked: &[Arc<FileEntry>]) -> Result<Option<Compaction>, StoreError> {
        // The files stay beside what replaces them for a while.
        let bytes = self.free_bytes_min.saturating_add(picked.iter().map(|file| file.bytes).sum());
        if picked.is_empty() || self.shared.disk.free_space().is_ok_and(|free| free < bytes) {
            return Ok(None);
        }
        let horizon = self.shared.retention.horizon(REMOVAL_MARGIN_US);
        let mut merged = Merged { chunk: Chunk::with_capacity(0), horizon, seen: 0 };
        let mut files_removed = Vec::new();
        let mut rows = 0;
        for file in picked {
            let mut symbols = Symbols::new(self.shared.registry.clone());
            let named = (file.file_no, file.path.as_str());
            let Shared { disk, footers, .. } = &*self.shared;
            let read = check_bytes(&**disk, file);
            let read = read.and_then(|()| read_file(&**disk, footers, &mut symbols, named, &mut merged));
            let read = read.and_then(|()| {
                let is_whole = merged.seen == rows + file.row_count;
                if is_whole { Ok(()) } else { Err(StoreError::WrongRowCount { path: file.path.clone() }) }
            });
            if let Err(error) = read {
                self.leave_damaged(file, &error);
                return Ok(None);
            }
            if symbols.has_unknown() {
                tracing::warn!(
                    path = file.path,
                    "not compacted: it has units or statuses that the catalogue lacks"
                );
                self.excluded.insert(file.file_no);
                return Ok(None);
            }
            rows += file.row_count;
            files_removed.push(file.file_no);
            if merged.chunk.texts.len() > COMPACTION_TEXT_BYTES_MAX {
                break;
            }
        }
        let rows_expired = rows - merged.chunk.rows.len() as u64;
        let files_added = self.writer.write(&[Arc::new(merged.chunk)])?;
        Ok(Some(Compaction { files_added, files_removed, rows_expired }))
    }

    /// The oldest file from which retention is worth taking something.
    fn expire(&mut self, files: &[Arc<FileEntry>]) -> Result<Option<Compaction>, StoreError> {
        let Some(horizon) = self.shared.retention.horizon(REMOVAL_MARGIN_US) else { return Ok(None) };
        let now_us = self.shared.retention.now_us();
        let there: BTreeSet<u64> = files.iter().map(|file| file.file_no).collect();
        self.looked_us.retain(|file_no, _| there.contains(file_no));
        let mut looked_bytes = 0;
        for file in files {
            if looked_bytes >= LOOK_BYTES_MAX {
                break;
            }
            if file.time_min_us >= horizon.newest_us() {
                continue;
            }
            // Whatever is in it, its rows have expired by what the catalogue says.
            let is_over = file.time_max_us < horizon.all_before_us();
            if !is_over && self.is_left_out(file) {
                continue;
            }
            let looked_us = self.looked_us.get(&file.file_no).copied().unwrap_or(i64::MIN);
            if now_us.saturating_sub(looked_us) < LOOK_AGAIN_US {
                continue;
            }
            let (expired, longest_us) = if is_over {
                (file.row_count, i64::MAX)
            } else {
                looked_bytes += file.bytes;
                self.expired_rows(file, &horizon)
            };
            if expired == file.row_count {
                self.looked_us.insert(file.file_no, now_us);
                let files_removed = vec![file.file_no];
                return Ok(Some(Compaction {
                    files_added: Vec::new(),
                    files_removed,
                    rows_expired: expired,
                }));
            }
            let is_worth_it =
                expired > 0 && (expired >= file.row_count / EXPIRED_SHARE || longest_us >= EXPIRED_SINCE_US);
            if is_worth_it && file.row_count <= COMPACTION_ROWS_MAX {
                let soon_us = now_us.saturating_sub(LOOK_AGAIN_US - TRY_AGAIN_US);
                self.looked_us.insert(file.file_no, soon_us);
                let Some(compaction) = self.merge(std::slice::from_ref(file))? else { continue };
                self.looked_us.insert(file.file_no, now_us);
                return Ok(Some(compaction));
            }
            self.looked_us.insert(file.file_no, now_us);
        }
        Ok(None)
    }

    /// How many rows have expired, and for how long the first of them has. Nobody knows of a damaged file: none.
    fn expired_rows(&mut self, file: &FileEntry, horizon: &Horizon) -> (u64, i64) {
        let mut count = Expired { horizon, rows: 0, longest_us: 0 };
        let mut symbols = Symbols::new(self.shared.registry.clone());
        let named = (file.file_no, file.path.as_str());
        let Shared { disk, footers, .. } = &*self.shared;
        let read = read_file(&**disk, footers, &mut symbols, named, &mut count);
        // A file that is to go for what its rows say must be the one that was committed.
        let read = read.and_then(|()| if count.rows > 0 { check_bytes(&**disk, file) } else { Ok(()) });
        let (rows, longest_us) = (count.rows, count.longest_us);
        match read {
            Ok(()) => (rows, longest_us),
            Err(error) => {
                self.leave_damaged(file, &error);
                (0, 0)
            }
        }
    }
}

/// The files of the folder that gains most, smallest first; empty if no merge is worth it.
fn pick(
    files: &[Arc<FileEntry>],
    is_left_out: impl Fn(&FileEntry) -> bool,
    files_min: usize,
) -> Vec<Arc<FileEntry>> {
    let mut folders: BTreeMap<&str, Vec<&Arc<FileEntry>>> = BTreeMap::new();
    for file in files {
        if file.row_count < COMPACTION_ROWS_MAX / 2 && !is_left_out(file) {
            folders.entry(disk::parent(&file.path)).or_default().push(file);
        }
    }
    let picks = folders.into_values().map(|files| pick_of_folder(files, files_min));
    let best = picks.max_by_key(Vec::len).unwrap_or_default();
    best.into_iter().cloned().collect()
}

fn pick_of_folder(mut files: Vec<&Arc<FileEntry>>, files_min: usize) -> Vec<&Arc<FileEntry>> {
    files.sort_unstable_by_key(|file| (file.row_count, file.file_no));
    let mut worth = 0;
    let mut rows = 0;
    for (at, file) in files.iter().enumerate() {
        let before = rows;
        rows += file.row_count;
        if rows > COMPACTION_ROWS_MAX {
            break;
        }
        if at + 1 >= files_min && file.row_count <= before {
            worth = at + 1;
        }
    }
    files.truncate(worth);
    files
}

/// Takes every row that has not expired.
struct Merged {
    chunk: Chunk,
    horizon: Option<Horizon>,
    seen: u64,
}

/// Counts the rows that have expired, and takes none.
struct Expired<'a> {
    horizon: &'a Horizon,
    rows: u64,
    longest_us: i64,
}

impl RowSink for Expired<'_> {
    fn may_match(&self, bounds: &KeyBounds) -> bool {
        bounds.time_min_us < self.horizon.newest_us()
    }

    fn matches(&mut self, datastream: u32, time_us: i64) -> bool {
        let expired_for_us = self.horizon.expired_for_us(datastream, time_us);
        if expired_for_us > 0 {
            self.rows += 1;
            self.longest_us = self.longest_us.max(expired_for_us);
        }
        false
    }

    fn take(&mut self, _row: &Version, _text: &[u8]) {}
}

impl RowSink for Merged {
    fn may_match(&self, _bounds: &KeyBounds) -> bool {
        true
    }

    fn matches(&mut self, datastream: u32, time_us: i64) -> bool {
        self.seen += 1;
        self.horizon.as_ref().is_none_or(|horizon| !horizon.is_expired(datastream, time_us))
    }

    fn take(&mut self, row: &Version, text: &[u8]) {
        self.chunk.push(*row, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(file_no: u64, folder: &str, row_count: u64) -> Arc<FileEntry> {
        Arc::new(FileEntry {
            file_no,
            path: format!("store/{folder}/run-{file_no:012}.parquet"),
            row_count,
            bytes: 1,
            crc32c: 0,
            time_min_us: 0,
            time_max_us: 0,
            datastream_min: 0,
            datastream_max: 0,
        })
    }

    fn picked(files: &[(&str, u64)]) -> Vec<u64> {
        let files: Vec<_> = (1..).zip(files).map(|(no, (folder, rows))| file(no, folder, *rows)).collect();
        pick(&files, |_| false, 8).iter().map(|file| file.file_no).collect()
    }

    #[test]
    fn few_files_and_files_of_many_folders_are_left_alone() {
        assert_eq!(picked(&[("a", 10); 7]), [] as [u64; 0]);
        assert_eq!(
            picked(&[("a", 10), ("b", 10), ("c", 10), ("d", 10), ("e", 10), ("f", 10), ("g", 10), ("h", 10)])
                .len(),
            0
        );
        assert_eq!(picked(&[("a", 10); 8]).len(), 8);
    }

    #[test]
    fn a_large_file_is_not_rewritten_for_a_few_rows() {
        let mut files = vec![("a", 10); 8];
        files.push(("a", 81));
        assert_eq!(picked(&files), [1, 2, 3, 4, 5, 6, 7, 8]);
        files[8].1 = 80;
        assert_eq!(picked(&files).len(), 9);
    }

    #[test]
    fn what_is_large_enough_stays_and_a_merge_has_a_bound() {
        assert_eq!(picked(&[("a", COMPACTION_ROWS_MAX / 2); 20]), [] as [u64; 0]);
        assert_eq!(picked(&[("a", COMPACTION_ROWS_MAX / 10); 20]).len(), 10);
    }

    #[test]
    fn each_row_is_written_a_few_times_only() {
        let mut files: Vec<Arc<FileEntry>> = Vec::new();
        let (mut next, mut written) = (1, 0);
        for _ in 0..8_640 {
            files.push(file(next, "day", 1_000));
            next += 1;
            loop {
                let picked: BTreeSet<u64> =
                    pick(&files, |_| false, 8).iter().map(|file| file.file_no).collect();
                if picked.is_empty() {
                    break;
                }
                let rows = files
                    .iter()
                    .filter(|file| picked.contains(&file.file_no))
                    .map(|file| file.row_count)
                    .sum();
                files.retain(|file| !picked.contains(&file.file_no));
                files.push(file(next, "day", rows));
                (next, written) = (next + 1, written + rows);
            }
        }
        assert!(files.len() <= 40, "{} files for a day", files.len());
        assert!(written <= 8 * 8_640_000, "{written} rows written for 8,640,000");
    }
}
