//! Files that are not what was written: flipped bits in frames and headers, segments and store files of a wrong length. Put
//! on the disk while no gateway runs. What counts is known from the frames alone (`docs/format/log.md`), without any code of
//! the gateway.

use std::collections::BTreeMap;
use std::io::IoSlice;

use gateway::cli::{Damage, Exit};
use gateway::disk::{Disk, OpenMode, SimDisk};

use super::run::Run;
use crate::journal_count::frame_at;

const BLOCK: usize = 4096;
const LOGS: [&str; 2] = ["journal", "observations"];

/// A frame that recovery has to find where it stands.
#[derive(Clone, Debug)]
struct Place {
    path: String,
    offset: usize,
    length: usize,
    frame_no: u64,
    /// It is the only one of its segment.
    is_alone: bool,
    /// Nothing lies before it.
    is_first: bool,
    /// An older segment has it too: recovery wrote it again.
    is_twice: bool,
}

/// A whole file as it was.
struct Backup {
    path: String,
    bytes: Vec<u8>,
}

impl Run {
    /// Damages something, looks what a start says, and repairs it, as somebody with a backup would. True where something was
    /// damaged.
    pub(super) fn damage(&mut self) -> bool {
        let log = LOGS[self.random.below(2) as usize];
        let mut places = places(&self.disk, log);
        // Damage of the last frame with nothing behind it cannot be told from a write that was torn by a crash.
        let last = places.iter().map(|place| place.frame_no).max();
        places.retain(|place| Some(place.frame_no) != last);
        // A log may begin later, and what stands twice is not missing: nobody has to see that.
        places.retain(|place| !(place.is_twice || place.is_first && place.is_alone));
        match self.random.below(10) {
            0..6 if !places.is_empty() => self.damage_frame(&places),
            6 | 7 if !places.is_empty() => self.damage_segment(&places),
            _ => return self.damage_store_file(),
        }
        self.report.damages += 1;
        true
    }

    /// One bit of a frame that has valid ones behind it, in an old segment or in the middle of the last one.
    fn damage_frame(&mut self, places: &[Place]) {
        let place = places[self.random.below(places.len() as u64) as usize].clone();
        let backup = backup(&self.disk, &place.path);
        let at = place.offset + self.random.below(place.length as u64) as usize;
        let bit = 1 << self.random.below(8);
        self.story().tell(|| format!("damage: bit {bit:#x} of byte {at} of {place:?}"));
        let flipped = [backup.bytes[at] ^ bit];
        self.disk.damage(&place.path, at as u64, &flipped).unwrap_or_else(|error| panic!("{error}"));
        self.must_be_refused(&format!("{place:?}"));
        restore(&self.disk, &backup);
    }

    /// The header of a segment that holds frames, or its length.
    fn damage_segment(&mut self, places: &[Place]) {
        let place = places[self.random.below(places.len() as u64) as usize].clone();
        let backup = backup(&self.disk, &place.path);
        let what = if self.random.chance(50) {
            let at = 8 + self.random.below((BLOCK - 8) as u64) as usize;
            let flipped = [backup.bytes[at] ^ 0x10];
            // A version that is higher is another matter, and has its own sentence.
            if (12..16).contains(&at) {
                return;
            }
            self.disk.damage(&place.path, at as u64, &flipped).unwrap_or_else(|error| panic!("{error}"));
            format!("byte {at} of the header of {}", place.path)
        } else {
            let length = self.random.below(backup.bytes.len() as u64);
            set_length(&self.disk, &place.path, length);
            format!("{} cut to {length} bytes", place.path)
        };
        self.story().tell(|| format!("damage: {what}"));
        self.must_be_refused(&what);
        restore(&self.disk, &backup);
    }

    /// A store file that the catalogue names has another length.
    fn damage_store_file(&mut self) -> bool {
        use gateway::catalogue::Catalogue;
        let snapshot = self.catalogue.clone().load().unwrap_or_default();
        if snapshot.files.is_empty() {
            return false;
        }
        let file = &snapshot.files[self.random.below(snapshot.files.len() as u64) as usize];
        let backup = backup(&self.disk, &file.path);
        let length = match self.random.below(3) {
            0 => file.bytes + 1 + self.random.below(5_000),
            _ => self.random.below(file.bytes),
        };
        set_length(&self.disk, &file.path, length);
        let what = format!("{} has {length} bytes instead of {}", file.path, file.bytes);
        self.story().tell(|| format!("damage: {what}"));
        self.must_be_refused(&what);
        restore(&self.disk, &backup);
        self.report.damages += 1;
        true
    }

    /// A start says no, with exit 3, whatever else is wrong.
    fn must_be_refused(&mut self, what: &str) {
        match self.try_open(Damage::Refuse) {
            Ok(()) => panic!("damage passed unseen: {what}"),
            Err(failure) => assert_eq!(failure.exit, Exit::Journal, "{what}: {failure}"),
        }
    }
}

/// The frames of a log that count, each where it counts: in the segment of the highest epoch.
fn places(disk: &SimDisk, log: &str) -> Vec<Place> {
    let mut by_number: BTreeMap<u64, Place> = BTreeMap::new();
    let mut names = disk.list(log).unwrap_or_default();
    names.retain(|name| name.ends_with(".seg"));
    names.sort();
    for name in names {
        let path = format!("{log}/{name}");
        let bytes = backup(disk, &path).bytes;
        let epoch = u64::from_str_radix(name.trim_end_matches(".seg"), 16).unwrap_or_default();
        let mut found = Vec::new();
        let mut at = BLOCK;
        while let Some(frame) = frame_at(&bytes, at, &bytes[16..32], epoch) {
            let mut number = [0; 8];
            number.copy_from_slice(&frame[24..32]);
            found.push((at, frame.len(), u64::from_le_bytes(number)));
            at += frame.len();
        }
        for (offset, length, frame_no) in &found {
            // The highest epoch wins: what stands from here on in lower ones does not count.
            let before = by_number.split_off(frame_no);
            let place = Place {
                path: path.clone(),
                offset: *offset,
                length: *length,
                frame_no: *frame_no,
                is_alone: found.len() == 1,
                is_first: false,
                is_twice: before.contains_key(frame_no),
            };
            by_number.insert(*frame_no, place);
        }
    }
    let mut places: Vec<Place> = by_number.into_values().collect();
    if let Some(first) = places.first_mut() {
        first.is_first = true;
    }
    places
}

fn backup(disk: &SimDisk, path: &str) -> Backup {
    let read = disk.open(path, OpenMode::Read).and_then(|file| {
        let mut bytes = vec![0; file.size()? as usize];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    });
    Backup { path: path.to_owned(), bytes: read.unwrap_or_else(|error| panic!("{path}: {error}")) }
}

fn restore(disk: &SimDisk, backup: &Backup) {
    let written = disk.open(&backup.path, OpenMode::Write).and_then(|mut file| {
        file.set_size(backup.bytes.len() as u64)?;
        file.write_at(0, &mut [IoSlice::new(&backup.bytes)])?;
        file.sync()
    });
    written.unwrap_or_else(|error| panic!("{}: {error}", backup.path));
}

fn set_length(disk: &SimDisk, path: &str, length: u64) {
    let set = disk.open(path, OpenMode::Write).and_then(|mut file| {
        file.set_size(length)?;
        file.sync()
    });
    set.unwrap_or_else(|error| panic!("{path}: {error}"));
}
