//! Every store file: its bytes, its rows, and that no row is there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::fault::Fault;
use super::finding::Finding;
use super::progress::Progress;
use super::report::Report;
use crate::catalogue::{BookHour, DatastreamState};
use crate::disk::{Disk, join};
use crate::observation::ResultKind;
use crate::registry::SharedRegistry;
use crate::store::{
    CheckedRow, FileEntry, FileFlaw, FileFlawKind, STORE_DIR, check_file, is_store_file, rows_within,
};

/// Rows that are compared with one another at once, 48 bytes each.
const ROWS_AT_ONCE: u64 = 4 << 20;

/// What the rows of all files say.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) rows: u64,
    /// Rows by the book hour of their message.
    pub(super) by_hour: BTreeMap<i64, u64>,
    /// Rows and newest time, by datastream.
    datastreams: Vec<(u64, i64)>,
    /// Datastreams whose value in the catalogue was found among the rows.
    values_found: BTreeSet<u32>,
    /// Datastreams whose value in the catalogue is not that of its row.
    values_different: Vec<(u32, String)>,
    /// Files that could not be read to their end: sums of rows say nothing then.
    pub(super) incomplete: bool,
}

pub(super) struct Files<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) registry: &'a SharedRegistry,
    pub(super) progress: &'a Progress,
    pub(super) next_message_no: u64,
    /// Of the books, ascending.
    pub(super) hours: &'a [BookHour],
    /// By datastream.
    pub(super) states: &'a BTreeMap<u32, &'a DatastreamState>,
    /// What an operator gave up.
    pub(super) lost: &'a [FileEntry],
    /// Is this file no longer named by the catalogue? Then whatever is wrong with it is no inconsistency.
    pub(super) is_replaced: &'a dyn Fn(u64) -> bool,
}

impl Files<'_> {
    pub(super) fn check(&self, files: &[FileEntry], report: &mut Report) -> Stored {
        let mut stored = Stored::default();
        let mut replaced = 0;
        for file in files {
            let mut of_file = Stored::default();
            let mut foreign = None;
            let mut each = |row: &CheckedRow| {
                of_file.add(row, self.hours);
                if let Some(state) = self.states.get(&row.datastream) {
                    of_file.compare_value(row, state);
                }
                if row.position >= self.next_message_no {
                    foreign.get_or_insert(row.position);
                }
            };
            let mut flaws = check_file(self.disk, self.registry, file, &mut each);
            self.progress.add(file.bytes);
            if let Some(position) = foreign {
                let what = format!("it has a row of message {position}, which the checkpoint does not cover");
                flaws.push(FileFlaw { kind: FileFlawKind::Reference, offset: None, row: None, what });
            }
            if !flaws.is_empty() && (self.is_replaced)(file.file_no) {
                replaced += 1;
                stored.incomplete = true;
                continue;
            }
            stored.incomplete |= !flaws.is_empty();
            flaws.into_iter().for_each(|flaw| report.find(finding(file, flaw)));
            stored.merge(of_file);
        }
        if replaced > 0 {
            report.note(format!("store/: {replaced} files were replaced by compaction meanwhile"));
        }
        stored
    }

    /// No observation is there twice under one revision, and no revision is missing below another one. Files are read once
    /// more, key columns only, so many rows at a time as fit in memory.
    pub(super) fn check_keys(&self, files: &[FileEntry], stored: &Stored, report: &mut Report) {
        if stored.incomplete {
            report.note("store/: whether rows are there twice was not checked, because files are damaged or were replaced");
            return;
        }
        let time_min_us = files.iter().map(|file| file.time_min_us).min().unwrap_or(0);
        let time_max_us = files.iter().map(|file| file.time_max_us).max().unwrap_or(0);
        let mut in_force = 0;
        for window in windows(&stored.datastreams, time_min_us, time_max_us) {
            let mut rows = Vec::new();
            for file in files {
                let read = rows_within(
                    self.disk,
                    self.registry,
                    file,
                    window.0.clone(),
                    window.1.clone(),
                    &mut |row| rows.push((*row, file.file_no)),
                );
                if read.is_err() {
                    // Read without a flaw a moment ago: replaced by compaction.
                    report.note("store/: whether rows are there twice was not checked to the end: files were replaced meanwhile");
                    return;
                }
            }
            rows.sort_unstable();
            in_force += self.compare(&rows, files, report);
        }
        report.checked("observations in force", in_force, None);
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        if in_force > 0 {
            report.note(format!(
                "store/: {:.1} bytes per observation in force",
                bytes as f64 / in_force as f64
            ));
        }
    }

    /// Gives how many observations the rows are.
    fn compare(&self, rows: &[(CheckedRow, u64)], files: &[FileEntry], report: &mut Report) -> u64 {
        let mut observations = 0;
        let same_key = |a: &(CheckedRow, u64), b: &(CheckedRow, u64)| {
            (a.0.datastream, a.0.time_us, a.0.ordinal) == (b.0.datastream, b.0.time_us, b.0.ordinal)
        };
        for versions in rows.chunk_by(same_key) {
            observations += 1;
            let wrong = (0..).zip(versions).find(|(expected, (row, _))| row.revision != *expected);
            let Some((expected, (row, file_no))) = wrong else { continue };
            let is_twice = versions.windows(2).any(|pair| pair[0].0.revision == pair[1].0.revision);
            if !is_twice && self.is_lost(row) {
                continue;
            }
            let path = files.iter().find(|file| file.file_no == *file_no).map_or("store/", |file| &file.path);
            let registry = self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let name = registry.datastreams().get(row.datastream as usize).map_or("?", |known| &known.name);
            let what = if row.revision < expected {
                format!(
                    "revision {} of this observation is stored twice (message {})",
                    row.revision, row.position
                )
            } else {
                format!("it is revision {} and revision {expected} is not stored", row.revision)
            };
            let number = format!("{name} at {} µs, ordinal {}", row.time_us, row.ordinal);
            report.find(Finding::new(Fault::RowTwice, path, what).number(number));
        }
        observations
    }

    /// A revision of this observation may have been in a file that was given up.
    fn is_lost(&self, row: &CheckedRow) -> bool {
        self.lost.iter().any(|file| {
            (file.datastream_min..=file.datastream_max).contains(&row.datastream)
                && (file.time_min_us..=file.time_max_us).contains(&row.time_us)
        })
    }

    /// Files that no commit names: told, since the next start removes them. Without a catalogue that is every file.
    pub(super) fn orphans(&self, files: &[FileEntry], has_catalogue: bool, report: &mut Report) {
        let named: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let Ok(folders) = self.disk.list(STORE_DIR) else { return };
        let mut orphans = Vec::new();
        for folder in folders {
            let folder = join(STORE_DIR, &folder);
            for name in self.disk.list(&folder).unwrap_or_default() {
                let path = join(&folder, &name);
                if is_store_file(&path) && !named.contains(path.as_str()) {
                    orphans.push(path);
                }
            }
        }
        if let Some(first) = orphans.first().filter(|_| !has_catalogue) {
            report.note(format!(
                "{first} and {} other store files: no catalogue names them; a start that makes the catalogue anew from the logs \
                 removes them and writes their rows again, so copy the directory first",
                orphans.len() - 1
            ));
        } else if let Some(first) = orphans.first() {
            report.note(format!(
                "{first}: the catalogue does not name this file ({} such files): a flush that never ended, or one that \
                 compaction replaced; the next start removes it",
                orphans.len()
            ));
        }
    }
}

/// A book hour is a range of positions; `i64::MIN` where the books have none (any more) for it.
fn hour_of_position(hours: &[BookHour], position: u64) -> i64 {
    let behind = hours.partition_point(|hour| hour.first_message_no <= position);
    hours[..behind].last().map_or(i64::MIN, |hour| hour.hour)
}

impl Stored {
    fn add(&mut self, row: &CheckedRow, hours: &[BookHour]) {
        self.rows += 1;
        *self.by_hour.entry(hour_of_position(hours, row.position)).or_default() += 1;
        self.count(row.datastream as usize, 1, row.time_us);
    }

    fn count(&mut self, datastream: usize, rows: u64, time_us: i64) {
        // A damaged number must not make the list endless; it is told as a reference that leads nowhere.
        if datastream >= self.datastreams.len() && datastream < DATASTREAMS_MAX {
            self.datastreams.resize(datastream + 1, (0, i64::MIN));
        }
        if let Some((count, newest)) = self.datastreams.get_mut(datastream) {
            *count += rows;
            *newest = time_us.max(*newest);
        }
    }

    /// The catalogue keeps the value of the datastream's newest row, in the revision in force.
    fn compare_value(&mut self, row: &CheckedRow, state: &DatastreamState) {
        let newest = (state.watermark_us, state.ordinal, state.revision);
        // The state says that its value may be nowhere.
        if state.is_lost() || (row.time_us, row.ordinal, row.revision) != newest {
            return;
        }
        self.values_found.insert(row.datastream);
        let value = if state.kind == ResultKind::Text {
            u64::from(crc32c::crc32c(state.text.as_bytes()))
        } else {
            state.value
        };
        let pairs = [
            ("kind", u64::from(row.kind), state.kind as u64),
            ("value", row.value, value),
            ("unit", u64::from(row.unit), u64::from(state.unit)),
            ("status", u64::from(row.status), u64::from(state.status)),
            ("quality", u64::from(row.quality), u64::from(state.quality)),
            ("flags", u64::from(row.flags), u64::from(state.flags)),
            ("seq", row.seq_plus_1, state.seq_plus_1),
            ("position", row.position, state.position),
            ("result time", row.result_time_us as u64, state.result_time_us as u64),
        ];
        if let Some((name, ..)) = pairs.iter().find(|(_, row, state)| row != state) {
            let what = format!("its newest value has another {name} in the catalogue than in its file");
            self.values_different.push((row.datastream, what));
        }
    }

    fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.values_found.extend(other.values_found);
        self.values_different.extend(other.values_different);
        for (hour, rows) in other.by_hour {
            *self.by_hour.entry(hour).or_default() += rows;
        }
        for (datastream, (rows, newest)) in other.datastreams.into_iter().enumerate() {
            if rows > 0 {
                self.count(datastream, rows, newest);
            }
        }
    }

    /// The catalogue's newest time of a datastream is at or above that of its files, and its value is the one there.
    /// `is_all_here`: no row waits for a file, and none expired.
    pub(super) fn check_states(
        &self,
        states: &BTreeMap<u32, &DatastreamState>,
        is_all_here: bool,
        report: &mut Report,
    ) {
        let mut wrong = |datastream: u32, what: String| {
            let finding = Finding::new(Fault::StateWatermark, "catalogue.db", what);
            report.find(finding.number(format!("datastream {datastream}")));
        };
        for (datastream, what) in &self.values_different {
            wrong(*datastream, what.clone());
        }
        for (datastream, state) in states {
            let has_value = state.watermark_us != i64::MIN && !state.is_lost();
            if is_all_here && !self.incomplete && has_value && !self.values_found.contains(datastream) {
                wrong(*datastream, "its newest row, as the catalogue has it, is in no file".to_owned());
            }
        }
        for (datastream, (rows, newest)) in (0..).zip(&self.datastreams) {
            let watermark = states.get(&datastream).map_or(i64::MIN, |state| state.watermark_us);
            if *rows > 0 && watermark < *newest {
                wrong(
                    datastream,
                    format!("its files hold a row of {newest} µs, the catalogue's newest is {watermark} µs"),
                );
            }
        }
    }
}

/// As many as `pipeline.datastreams_max` can be.
const DATASTREAMS_MAX: usize = 100_000_000;

/// Ranges of datastreams, and of times where one datastream is large, that together hold everything.
fn windows(
    datastreams: &[(u64, i64)],
    time_min_us: i64,
    time_max_us: i64,
) -> Vec<(RangeInclusive<u32>, RangeInclusive<i64>)> {
    let mut windows = Vec::new();
    let (mut first, mut rows) = (0, 0);
    for (datastream, (count, _)) in (0u32..).zip(datastreams) {
        if rows > 0 && rows + count > ROWS_AT_ONCE {
            windows.push((first..=datastream - 1, time_min_us..=time_max_us));
            (first, rows) = (datastream, 0);
        }
        rows += count;
        if *count > ROWS_AT_ONCE {
            let parts = i128::from(count.div_ceil(ROWS_AT_ONCE));
            let span = i128::from(time_max_us) - i128::from(time_min_us) + 1;
            let edge = |part: i128| (i128::from(time_min_us) + span * part / parts) as i64;
            windows.extend((0..parts).map(|part| (datastream..=datastream, edge(part)..=edge(part + 1) - 1)));
            (first, rows) = (datastream + 1, 0);
        }
    }
    if rows > 0 {
        windows.push((first..=u32::MAX, time_min_us..=time_max_us));
    }
    windows
}

fn finding(file: &FileEntry, flaw: FileFlaw) -> Finding {
    let fault = match flaw.kind {
        FileFlawKind::Bounds => Fault::FileBounds,
        FileFlawKind::Checksum => Fault::FileChecksum,
        FileFlawKind::Length => Fault::FileLength,
        FileFlawKind::Missing => Fault::FileMissing,
        FileFlawKind::Order => Fault::FileOrder,
        FileFlawKind::Reference => Fault::FileReference,
        FileFlawKind::Rows => Fault::FileRows,
        FileFlawKind::Unreadable => Fault::FileUnreadable,
    };
    let number = flaw.row.map(|row| format!("row {row}"));
    Finding { offset: flaw.offset, number, ..Finding::new(fault, file.path.clone(), flaw.what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows hold every datastream and time exactly once, and none is too large to be sorted in memory (B1-6).
    #[test]
    fn b1_6_windows_cover_everything_once() {
        let sizes = [(3, 9), (ROWS_AT_ONCE, 9), (5 * ROWS_AT_ONCE, 9), (0, i64::MIN), (7, 9)];
        let windows = windows(&sizes, -10, 1_000);
        for datastream in 0..5u32 {
            for time_us in [-10, 0, 195, 500, 1_000] {
                let holding = windows
                    .iter()
                    .filter(|(ids, times)| ids.contains(&datastream) && times.contains(&time_us));
                assert_eq!(holding.count(), 1, "datastream {datastream} at {time_us} in {windows:?}");
            }
        }
        assert_eq!(windows.len(), 1 + 1 + 5 + 1);
    }
}
