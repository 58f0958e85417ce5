//! Writes the rows of a flush as files: one for each day with many rows, one for all the rest.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::files::{WriterParts, Written, write_file};
use super::memory::Chunk;
use super::sort::{Place, places_in_file_order};
use super::{FileEntry, STORE_DIR, StoreError};
use crate::disk::{self, Disk, OpenMode};
use crate::registry::SharedRegistry;

/// Files of one flush: days beyond go to the mixed one with the rest, so that a backfill of years stays a few files.
pub const FILES_PER_FLUSH_MAX: usize = 8;

/// Directory of files that hold rows of many days.
const MIXED: &str = "mixed";
const TEMP_SUFFIX: &str = ".tmp";
const DAY_US: i64 = 86_400_000_000;

/// Makes the files of the store.
#[derive(Debug)]
pub(super) struct RunWriter {
    disk: Arc<dyn Disk>,
    registry: SharedRegistry,
    parts: WriterParts,
    partition_rows_min: u64,
    next_file_no: Arc<AtomicU64>,
    /// Directories that are known to be durable.
    directories: BTreeSet<String>,
}

impl RunWriter {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        registry: SharedRegistry,
        partition_rows_min: u64,
        next_file_no: u64,
    ) -> Result<Self, StoreError> {
        let parts = WriterParts::new().map_err(|error| StoreError::writing(STORE_DIR, error))?;
        let next_file_no = Arc::new(AtomicU64::new(next_file_no));
        Ok(Self { disk, registry, parts, partition_rows_min, next_file_no, directories: BTreeSet::new() })
    }

    /// Another one whose files have numbers of their own.
    pub(super) fn beside(&self) -> Result<Self, StoreError> {
        let parts = WriterParts::new().map_err(|error| StoreError::writing(STORE_DIR, error))?;
        Ok(Self {
            disk: self.disk.clone(),
            registry: self.registry.clone(),
            parts,
            partition_rows_min: self.partition_rows_min,
            next_file_no: self.next_file_no.clone(),
            directories: BTreeSet::new(),
        })
    }

    /// Writes all rows of the chunks. After an error no file of this flush is left that anything names.
    pub(super) fn write(&mut self, chunks: &[Arc<Chunk>]) -> Result<Vec<FileEntry>, StoreError> {
        let places = places_in_file_order(chunks);
        let mut files = Vec::new();
        for (directory, places) in partitions(places, self.partition_rows_min) {
            match self.write_run(&directory, &places, chunks) {
                Ok(file) => files.push(file),
                Err(error) => {
                    self.remove(&files);
                    return Err(error);
                }
            }
        }
        Ok(files)
    }

    /// Removes files that no commit names, as far as the disk lets us: what stays is swept at the next start.
    pub(super) fn remove(&self, files: &[FileEntry]) {
        for file in files {
            if let Err(error) = disk::remove_durably(&*self.disk, &file.path) {
                tracing::warn!(path = file.path, %error, "can't remove an unused store file; the next start will");
            }
        }
    }

    /// Temp file → sync → rename → sync directory.
    fn write_run(
        &mut self,
        name: &str,
        places: &[Place],
        chunks: &[Arc<Chunk>],
    ) -> Result<FileEntry, StoreError> {
        let directory = disk::join(STORE_DIR, name);
        self.make_directory(&directory)?;
        let file_no = self.next_file_no.fetch_add(1, Ordering::Relaxed);
        let path = disk::join(&directory, &format!("run-{file_no:012}.parquet"));
        let temp = format!("{path}{TEMP_SUFFIX}");
        let written = self
            .disk
            .create(&temp, OpenMode::Write)
            .map_err(StoreError::disk("create", &temp))
            .and_then(|file| {
                let written = write_file(&mut self.parts, &self.registry, file, places, chunks);
                written.map_err(|error| StoreError::writing(&temp, error))
            })
            .and_then(|written| {
                let renamed = disk::rename_durably(&*self.disk, &temp, &path);
                renamed.map(|()| written).map_err(StoreError::disk("rename to", &path))
            });
        let Written { bytes, crc32c, bounds } = match written {
            Ok(written) => written,
            Err(error) => {
                // Best effort: the space may be what is missing. The next start sweeps what stays.
                let _ = self.disk.remove(&temp);
                let _ = self.disk.remove(&path);
                return Err(error);
            }
        };
        Ok(FileEntry {
            file_no,
            path,
            row_count: places.len() as u64,
            bytes,
            crc32c,
            time_min_us: bounds.time_min_us,
            time_max_us: bounds.time_max_us,
            datastream_min: bounds.datastream_min,
            datastream_max: bounds.datastream_max,
        })
    }

    fn make_directory(&mut self, directory: &str) -> Result<(), StoreError> {
        if self.directories.contains(directory) {
            return Ok(());
        }
        make_durable_directory(&*self.disk, directory)?;
        if self.directories.len() == DIRECTORIES_MAX {
            self.directories.pop_first();
        }
        self.directories.insert(directory.to_owned());
        Ok(())
    }
}

/// Directories that are remembered as durable; the oldest day is forgotten first and costs a sync when it comes again.
const DIRECTORIES_MAX: usize = 1_024;

fn make_durable_directory(disk: &dyn Disk, directory: &str) -> Result<(), StoreError> {
    disk.create_dir(directory).map_err(StoreError::disk("make directory", directory))?;
    let parent = disk::parent(directory);
    disk.sync_dir(parent).map_err(StoreError::disk("sync", parent))?;
    if !parent.is_empty() {
        disk.sync_dir("").map_err(StoreError::disk("sync", "the data directory"))?;
    }
    Ok(())
}

/// Parts the rows by day (UTC, of phenomenonTime), keeping their order. The days with most rows come out for themselves,
/// all others together.
fn partitions(places: Vec<Place>, rows_min: u64) -> Vec<(String, Vec<Place>)> {
    let day_of = |place: &Place| place.time_us.div_euclid(DAY_US);
    let Some(first) = places.first() else { return Vec::new() };
    let only_day = day_of(first);
    let mut days: Vec<(i64, u64)> = if places.iter().all(|place| day_of(place) == only_day) {
        vec![(only_day, places.len() as u64)]
    } else {
        let mut counts: HashMap<i64, u64, RandomState> = HashMap::default();
        for place in &places {
            *counts.entry(day_of(place)).or_default() += 1;
        }
        counts.into_iter().collect()
    };
    let all_days = days.len();
    days.retain(|(_, rows)| *rows >= rows_min);
    days.sort_unstable_by_key(|(day, rows)| (std::cmp::Reverse(*rows), *day));
    let own_files = if days.len() == all_days { FILES_PER_FLUSH_MAX } else { FILES_PER_FLUSH_MAX - 1 };
    if days.len() > own_files {
        days.truncate(FILES_PER_FLUSH_MAX - 1);
    }
    match days[..] {
        [] => return vec![(MIXED.to_owned(), places)],
        [(day, rows)] if rows == places.len() as u64 => return vec![(day_name(day), places)],
        _ => {}
    }
    let slots: HashMap<i64, usize, RandomState> =
        days.iter().enumerate().map(|(at, (day, _))| (*day, at)).collect();
    let mut parts: Vec<(String, Vec<Place>)> =
        days.iter().map(|(day, rows)| (day_name(*day), Vec::with_capacity(*rows as usize))).collect();
    let mut mixed = Vec::new();
    for place in places {
        match slots.get(&day_of(&place)) {
            Some(at) => parts[*at].1.push(place),
            None => mixed.push(place),
        }
    }
    if !mixed.is_empty() {
        parts.push((MIXED.to_owned(), mixed));
    }
    parts
}

/// `2026-11-21`. Days far outside any calendar (the pipeline lets none in) go by their number.
fn day_name(day: i64) -> String {
    let date = day.checked_mul(DAY_US).and_then(|time_us| jiff::Timestamp::from_microsecond(time_us).ok());
    match date {
        Some(date) => date.to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
        None => format!("day-{day}"),
    }
}

/// Checks that the files of the catalogue are there, and removes those that it does not name: a crash came between
/// their making and their commit. Gives the first number that no file has or had here, also where files stay for a reader.
pub(super) fn check_and_sweep(
    disk: &dyn Disk,
    files: &[FileEntry],
    keep_unnamed: bool,
) -> Result<u64, StoreError> {
    make_durable_directory(disk, STORE_DIR)?;
    for file in files {
        let found = disk.size_of(&file.path).map_err(StoreError::disk("find the store file", &file.path))?;
        if found != file.bytes {
            return Err(StoreError::WrongSize { path: file.path.clone(), expected: file.bytes, found });
        }
    }
    let mut next_file_no = files.iter().map(|file| file.file_no + 1).max().unwrap_or(1);
    let named: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for name in disk.list(STORE_DIR).map_err(StoreError::disk("list", STORE_DIR))? {
        let directory = disk::join(STORE_DIR, &name);
        let entries = match disk.list(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
            Err(error) => return Err(StoreError::disk("list", &directory)(error)),
        };
        let paths = entries.iter().map(|entry| disk::join(&directory, entry));
        let orphans: Vec<String> =
            paths.filter(|path| is_ours(path) && !named.contains(path.as_str())).collect();
        next_file_no =
            orphans.iter().filter_map(|path| file_no(path)).fold(next_file_no, |next, no| next.max(no + 1));
        if keep_unnamed {
            continue;
        }
        for path in &orphans {
            disk.remove(path).map_err(StoreError::disk("remove the unused", path))?;
        }
        if !orphans.is_empty() {
            disk.sync_dir(&directory).map_err(StoreError::disk("sync", &directory))?;
            tracing::info!(directory, files = orphans.len(), "removed store files that no commit names");
        }
    }
    Ok(next_file_no)
}

/// Of `…/run-000000000042.parquet`, whole or not.
fn file_no(path: &str) -> Option<u64> {
    let (_, name) = path.rsplit_once("run-")?;
    name.split('.').next()?.parse().ok()
}

/// Only what a flush makes is swept; notes that somebody put there stay.
pub(super) fn is_ours(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let run = name.strip_suffix(TEMP_SUFFIX).unwrap_or(name);
    run.starts_with("run-") && run.ends_with(".parquet")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(day: i64) -> Place {
        let mut place = Place::default();
        place.time_us = day * DAY_US + 5;
        place
    }

    fn summary(places: Vec<Place>, rows_min: u64) -> Vec<(String, usize)> {
        partitions(places, rows_min).into_iter().map(|(name, places)| (name, places.len())).collect()
    }

    #[test]
    fn a_flush_of_one_day_is_one_file() {
        assert_eq!(summary(vec![place(20_778); 3], 3), [("2026-11-21".to_owned(), 3)]);
        assert_eq!(summary(vec![place(20_778); 2], 3), [("mixed".to_owned(), 2)]);
    }

    #[test]
    fn a_backfill_of_years_is_at_most_eight_files() {
        let places: Vec<Place> =
            (0..7_300).flat_map(|day| vec![place(day); 1 + (day == 9) as usize]).collect();
        let parts = summary(places, 1);
        assert_eq!(parts.len(), FILES_PER_FLUSH_MAX);
        assert_eq!(parts[0], ("1970-01-10".to_owned(), 2));
        assert_eq!(parts[7], ("mixed".to_owned(), 7_301 - 8));
    }

    #[test]
    fn eight_full_days_need_no_mixed_file() {
        let places: Vec<Place> = (0..8).flat_map(|day| vec![place(day); 2]).collect();
        assert!(summary(places, 2).iter().all(|(name, rows)| name != "mixed" && *rows == 2));
        let places: Vec<Place> = (0..9).flat_map(|day| vec![place(day); 2]).collect();
        assert_eq!(summary(places, 2).len(), FILES_PER_FLUSH_MAX);
    }

    #[test]
    fn days_before_1970_have_their_own_name() {
        assert_eq!(summary(vec![place(-1)], 1), [("1969-12-31".to_owned(), 1)]);
    }
}
