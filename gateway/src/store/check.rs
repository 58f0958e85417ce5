//! Checks store files against their catalogue rows, without changing anything (`journal verify`).

use std::io;
use std::ops::RangeInclusive;
use std::sync::PoisonError;

use super::files::{FooterCache, check_content, read_file};
use super::row::{KeyBounds, RowSink, Version};
use super::shared::Symbols;
use super::{FileEntry, StoreError};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::observation::ResultKind;
use crate::registry::SharedRegistry;

const READ_BYTES: usize = 1 << 20;

/// Something in a file that is not what the catalogue, its footer or its checksum says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFlaw {
    pub kind: FileFlawKind,
    pub offset: Option<u64>,
    /// Row in the file, from 0.
    pub row: Option<u64>,
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFlawKind {
    Bounds,
    Checksum,
    Length,
    Missing,
    Order,
    Reference,
    Rows,
    Unreadable,
}

impl FileFlaw {
    pub(super) fn new(kind: FileFlawKind, offset: Option<u64>, what: String) -> Self {
        Self { kind, offset, row: None, what }
    }
}

/// What others need to know of a row that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckedRow {
    pub datastream: u32,
    pub time_us: i64,
    pub ordinal: u16,
    pub revision: u32,
    pub position: u64,
    pub result_time_us: i64,
    pub kind: u8,
    /// As in [`crate::observation::Row::value`]; of a text its CRC-32C.
    pub value: u64,
    pub unit: u32,
    pub status: u32,
    pub quality: u8,
    pub flags: u8,
    pub seq_plus_1: u64,
}

impl CheckedRow {
    fn of(row: &Version, text: &[u8]) -> Self {
        Self {
            datastream: row.datastream,
            time_us: row.time_us,
            ordinal: row.ordinal,
            revision: row.revision,
            position: row.position,
            result_time_us: row.result_time_us,
            kind: row.kind,
            value: match row.kind() {
                ResultKind::Text => u64::from(crc32c::crc32c(text)),
                _ => row.value,
            },
            unit: row.unit,
            status: row.status,
            quality: row.quality,
            flags: row.flags,
            seq_plus_1: row.seq_plus_1,
        }
    }
}

/// Reads the whole file twice: its bytes for the checksum, its rows for everything else, which go to `each`.
pub fn check_file(
    disk: &dyn Disk,
    registry: &SharedRegistry,
    entry: &FileEntry,
    each: &mut dyn FnMut(&CheckedRow),
) -> Vec<FileFlaw> {
    let path = &entry.path;
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return vec![FileFlaw::new(FileFlawKind::Missing, None, "there is no such file".to_owned())];
        }
        Err(error) => return vec![FileFlaw::new(FileFlawKind::Unreadable, None, error.to_string())],
    };
    let mut flaws = Vec::new();
    let size = match checksum(&*file) {
        Ok((size, crc32c)) => {
            if size != entry.bytes {
                let what = format!("it has {size} bytes, the catalogue says {}", entry.bytes);
                flaws.push(FileFlaw::new(FileFlawKind::Length, Some(size.min(entry.bytes)), what));
            } else if crc32c != entry.crc32c {
                let what = "the checksum of its bytes is not the one that the catalogue has".to_owned();
                // What its rows would say then is nobody's word.
                return vec![FileFlaw::new(FileFlawKind::Checksum, None, what)];
            }
            size
        }
        Err((offset, error)) => {
            return vec![FileFlaw::new(FileFlawKind::Unreadable, Some(offset), error.to_string())];
        }
    };
    let mut symbols = Symbols::new(registry.clone());
    let names = registry.read().unwrap_or_else(PoisonError::into_inner);
    let content = check_content(file, size, path, (&names, &mut symbols), &mut flaws, &mut |row, text| {
        each(&CheckedRow::of(row, text));
    });
    let Some(content) = content else { return flaws };
    if content.rows != entry.row_count {
        let what = format!("it has {} rows, the catalogue says {}", content.rows, entry.row_count);
        flaws.push(FileFlaw::new(FileFlawKind::Rows, None, what));
    }
    if flaws.is_empty() && content.bounds != entry.bounds() {
        let what = "its datastreams and times are not those that the catalogue says".to_owned();
        flaws.push(FileFlaw::new(FileFlawKind::Bounds, None, what));
    }
    if symbols.has_unknown() && flaws.is_empty() {
        let what = "it has a unit or status that the catalogue does not have".to_owned();
        flaws.push(FileFlaw::new(FileFlawKind::Reference, None, what));
    }
    flaws
}

/// Whether the bytes of a file are those that were committed: what is made of others would pass for sound ever after.
pub fn check_bytes(disk: &dyn Disk, entry: &FileEntry) -> Result<(), StoreError> {
    let path = &entry.path;
    let file = disk.open(path, OpenMode::Read).map_err(StoreError::disk("open", path))?;
    let (found, crc32c) = checksum(&*file).map_err(|(_, error)| StoreError::disk("read", path)(error))?;
    if found != entry.bytes {
        return Err(StoreError::WrongSize { path: path.clone(), expected: entry.bytes, found });
    }
    if crc32c != entry.crc32c {
        return Err(StoreError::WrongChecksum { path: path.clone() });
    }
    Ok(())
}

/// Length and CRC-32C; an error comes with its offset.
fn checksum(file: &dyn DiskFile) -> Result<(u64, u32), (u64, io::Error)> {
    let mut buffer = vec![0; READ_BYTES];
    let (mut offset, mut crc) = (0, 0);
    loop {
        let got = file.read_at(offset, &mut buffer).map_err(|error| (offset, error))?;
        if got == 0 {
            return Ok((offset, crc));
        }
        crc = crc32c::crc32c_append(crc, &buffer[..got]);
        offset += got as u64;
    }
}

/// The rows of these datastreams and times, of one file.
pub fn rows_within(
    disk: &dyn Disk,
    registry: &SharedRegistry,
    entry: &FileEntry,
    datastreams: RangeInclusive<u32>,
    times_us: RangeInclusive<i64>,
    each: &mut dyn FnMut(&CheckedRow),
) -> Result<(), StoreError> {
    let bounds = KeyBounds {
        datastream_min: *datastreams.start(),
        datastream_max: *datastreams.end(),
        time_min_us: *times_us.start(),
        time_max_us: *times_us.end(),
    };
    let mut within = Within { bounds, each };
    if !within.may_match(&entry.bounds()) {
        return Ok(());
    }
    let mut symbols = Symbols::new(registry.clone());
    let named = (entry.file_no, entry.path.as_str());
    read_file(disk, &FooterCache::default(), &mut symbols, named, &mut within)
}

struct Within<'a> {
    bounds: KeyBounds,
    each: &'a mut dyn FnMut(&CheckedRow),
}

impl RowSink for Within<'_> {
    fn may_match(&self, bounds: &KeyBounds) -> bool {
        let own = &self.bounds;
        bounds.datastream_min <= own.datastream_max
            && bounds.datastream_max >= own.datastream_min
            && bounds.time_min_us <= own.time_max_us
            && bounds.time_max_us >= own.time_min_us
    }

    fn matches(&mut self, datastream: u32, time_us: i64) -> bool {
        let own = &self.bounds;
        (own.datastream_min..=own.datastream_max).contains(&datastream)
            && (own.time_min_us..=own.time_max_us).contains(&time_us)
    }

    fn numbers_only(&self) -> bool {
        true
    }

    fn take(&mut self, row: &Version, text: &[u8]) {
        (self.each)(&CheckedRow::of(row, text));
    }
}

/// Whether a name in a folder of the store is that of a file which only a commit makes count.
pub fn is_store_file(path: &str) -> bool {
    super::run::is_ours(path)
}
