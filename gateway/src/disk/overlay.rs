//! A disk that is read and never written: what is written stays in memory, over the files that are there. So a directory that
//! cannot be written (a full disk, a read-only file system, somebody else's rights) can be opened and asked like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BLOCK_BYTES, Disk, DiskFile, OpenMode, parent};

/// What may be written in all: what the logs hold beyond the last commit is bounded by the journal's buffers and by the store's
/// memory, and comes to much less. Blocks of zeros, of which new segments consist, take none of it.
const BYTES_MAX: u64 = 512 << 20;

const BLOCK: u64 = BLOCK_BYTES as u64;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Clones share what was written.
#[derive(Clone)]
pub struct OverlayDisk {
    base: Arc<dyn Disk>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    names: Mutex<Names>,
    bytes: AtomicU64,
    shows_real_space: AtomicBool,
}

#[derive(Default)]
struct Names {
    /// Over the names of the base; `None`: it is gone.
    files: BTreeMap<String, Option<Arc<Mutex<Content>>>>,
    dirs: BTreeSet<String>,
}

/// A file that was made, renamed or opened for writing here.
struct Content {
    /// What stands below, and how much of it counts.
    base: Option<(Box<dyn DiskFile>, u64)>,
    size: u64,
    /// By offset / 4 KiB.
    blocks: BTreeMap<u64, Box<[u8; BLOCK_BYTES]>>,
}

impl OverlayDisk {
    pub fn new(base: Arc<dyn Disk>) -> Self {
        Self { base, shared: Arc::default() }
    }

    /// From now on [`Disk::free_space`] tells what the disk below has, not what may still be written here.
    pub fn show_real_space(&self) {
        self.shared.shows_real_space.store(true, Ordering::Release);
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // Every change is whole before anything could panic.
        self.shared.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file as it is here, brought here if it is not.
    fn take(&self, names: &mut Names, path: &str) -> io::Result<Arc<Mutex<Content>>> {
        match names.files.get(path) {
            Some(Some(content)) => Ok(content.clone()),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            None => {
                let file = self.base.open(path, OpenMode::Read)?;
                let size = file.size()?;
                let content = Content { base: Some((file, size)), size, blocks: BTreeMap::new() };
                let content = Arc::new(Mutex::new(content));
                names.files.insert(path.to_owned(), Some(content.clone()));
                Ok(content)
            }
        }
    }

    fn file(&self, content: Arc<Mutex<Content>>) -> Box<dyn DiskFile> {
        Box::new(OverlayFile { content, shared: self.shared.clone() })
    }
}

impl fmt::Debug for OverlayDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverlayDisk").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Disk for OverlayDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.names().dirs.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let names = self.names();
        let mut found: BTreeSet<String> = match self.base.list(dir) {
            Ok(found) => found.into_iter().collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && names.dirs.contains(dir) => {
                BTreeSet::new()
            }
            Err(error) => return Err(error),
        };
        let of_dir =
            |path: &str| (parent(path) == dir).then(|| path.rsplit('/').next().unwrap_or(path).to_owned());
        for (path, file) in &names.files {
            match (of_dir(path), file) {
                (Some(name), Some(_)) => drop(found.insert(name)),
                (Some(name), None) => drop(found.remove(&name)),
                (None, _) => {}
            }
        }
        found.extend(names.dirs.iter().filter(|path| !path.is_empty()).filter_map(|path| of_dir(path)));
        Ok(found.into_iter().collect())
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut names = self.names();
        // Files that are written are opened for that before somebody reads what is new in them.
        if mode == OpenMode::Read && !names.files.contains_key(path) {
            return self.base.open(path, mode);
        }
        Ok(self.file(self.take(&mut names, path)?))
    }

    fn create(&self, path: &str, _: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        if self.size_of(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Arc::new(Mutex::new(Content { base: None, size: 0, blocks: BTreeMap::new() }));
        self.names().files.insert(path.to_owned(), Some(content.clone()));
        Ok(self.file(content))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names();
        let content = self.take(&mut names, from)?;
        names.files.insert(from.to_owned(), None);
        names.files.insert(to.to_owned(), Some(content));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.size_of(path)?;
        self.names().files.insert(path.to_owned(), None);
        Ok(())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn size_of(&self, path: &str) -> io::Result<u64> {
        match self.names().files.get(path) {
            Some(Some(content)) => Ok(lock(content).size),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            None => self.base.size_of(path),
        }
    }

    fn free_space(&self) -> io::Result<u64> {
        // What is laid out in advance is zeros, which take nothing here.
        if self.shared.shows_real_space.load(Ordering::Acquire) {
            self.base.free_space()
        } else {
            Ok(u64::MAX)
        }
    }
}

struct OverlayFile {
    content: Arc<Mutex<Content>>,
    shared: Arc<Shared>,
}

impl fmt::Debug for OverlayFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverlayFile").field("size", &lock(&self.content).size).finish_non_exhaustive()
    }
}

fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Content {
    /// The block as it is now.
    fn block(&self, number: u64) -> io::Result<[u8; BLOCK_BYTES]> {
        if let Some(block) = self.blocks.get(&number) {
            return Ok(**block);
        }
        let mut block = ZEROS;
        let at = number * BLOCK;
        if let Some((file, size)) = &self.base
            && at < *size
        {
            let count = (size - at).min(BLOCK) as usize;
            file.read_at(at, &mut block[..count])?;
        }
        Ok(block)
    }

    fn is_below(&self, number: u64) -> bool {
        self.base.as_ref().is_some_and(|(_, size)| number * BLOCK < *size)
    }

    fn write(&mut self, mut at: u64, mut bytes: &[u8], shared: &Shared) -> io::Result<()> {
        while !bytes.is_empty() {
            let (number, from) = (at / BLOCK, (at % BLOCK) as usize);
            let count = bytes.len().min(BLOCK_BYTES - from);
            let mut block = if count == BLOCK_BYTES { ZEROS } else { self.block(number)? };
            block[from..from + count].copy_from_slice(&bytes[..count]);
            let is_known = self.blocks.contains_key(&number);
            if is_known || self.is_below(number) || block != ZEROS {
                if !is_known && shared.bytes.fetch_add(BLOCK, Ordering::Relaxed) >= BYTES_MAX {
                    shared.bytes.fetch_sub(BLOCK, Ordering::Relaxed);
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.blocks.insert(number, Box::new(block));
            }
            at += count as u64;
            self.size = self.size.max(at);
            bytes = &bytes[count..];
        }
        Ok(())
    }
}

impl DiskFile for OverlayFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let content = lock(&self.content);
        let count = content.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let from = (at % BLOCK) as usize;
            let step = (count - done).min(BLOCK_BYTES - from);
            buf[done..done + step].copy_from_slice(&content.block(at / BLOCK)?[from..from + step]);
            done += step;
        }
        Ok(count)
    }

    fn write_at(&mut self, mut offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut content = lock(&self.content);
        for part in parts {
            content.write(offset, part, &self.shared)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn write_durable(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.write_at(offset, parts)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.content).size)
    }

    fn set_size(&mut self, bytes: u64) -> io::Result<()> {
        let mut content = lock(&self.content);
        if bytes < content.size {
            let rest = (bytes % BLOCK) as usize;
            let kept = content.blocks.split_off(&bytes.div_ceil(BLOCK));
            self.shared.bytes.fetch_sub(kept.len() as u64 * BLOCK, Ordering::Relaxed);
            if let Some((_, size)) = &mut content.base {
                *size = bytes.min(*size);
            }
            if let Some(block) = content.blocks.get_mut(&(bytes / BLOCK)) {
                block[rest..].fill(0);
            }
        }
        content.size = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Crash, SimDisk, write_file_durably};

    fn bytes_of(disk: &dyn Disk, path: &str) -> io::Result<Vec<u8>> {
        let file = disk.open(path, OpenMode::Read)?;
        let mut bytes = vec![0; file.size()? as usize];
        let got = file.read_at(0, &mut bytes)?;
        assert_eq!(got, bytes.len());
        Ok(bytes)
    }

    /// B1-2: everything can be done that a start does, and the disk below has seen no step of it.
    #[test]
    fn b1_2_what_is_written_stays_above_and_the_disk_below_is_untouched() {
        let below = SimDisk::new(1);
        below.create_dir("log").unwrap();
        write_file_durably(&below, "log/a", &[7; 5_000]).unwrap();
        write_file_durably(&below, "log/b", b"b").unwrap();
        below.crash(Crash::Kill);
        below.restart();
        let steps = below.steps();
        let disk = OverlayDisk::new(Arc::new(below.clone()));

        disk.rename("log/a", "log/c").unwrap();
        let mut file = disk.open("log/c", OpenMode::Write).unwrap();
        file.write_at(4_095, &mut [IoSlice::new(&[1, 2])]).unwrap();
        file.write_at(5_001, &mut [IoSlice::new(b"x")]).unwrap();
        let mut expected = vec![7; 5_000];
        expected[4_095..4_097].copy_from_slice(&[1, 2]);
        expected.extend([0, b'x']);
        assert_eq!(bytes_of(&disk, "log/c").unwrap(), expected);
        file.set_size(4_096).unwrap();
        file.set_size(8_192).unwrap();
        expected.truncate(4_096);
        expected.resize(8_192, 0);
        assert_eq!(bytes_of(&disk, "log/c").unwrap(), expected, "what was cut off does not come back");

        disk.remove("log/b").unwrap();
        assert_eq!(disk.remove("log/b").unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.create_dir("new").unwrap();
        disk.create("new/d", OpenMode::Write).unwrap();
        assert!(disk.create("new/d", OpenMode::Write).is_err());
        assert_eq!(disk.list("log").unwrap(), ["c"]);
        assert_eq!(disk.list("new").unwrap(), ["d"]);
        assert_eq!(disk.list("").unwrap(), ["log", "new"]);
        assert!(disk.list("none").is_err());
        assert!(bytes_of(&disk, "log/a").is_err() && bytes_of(&disk, "log/b").is_err());

        assert_eq!(below.steps(), steps);
        assert_eq!(below.list("log").unwrap(), ["a", "b"]);
    }

    #[test]
    fn b1_2_what_may_be_written_has_a_bound_and_zeros_take_none_of_it() {
        let disk = OverlayDisk::new(Arc::new(SimDisk::new(1)));
        let mut file = disk.create("segment", OpenMode::Write).unwrap();
        let (zeros, ones) = (vec![0; 1 << 20], vec![1; 1 << 20]);
        for at in 0..1_024 {
            file.write_at(at << 20, &mut [IoSlice::new(&zeros)]).unwrap();
        }
        let written =
            (0..).take_while(|at| file.write_at(at << 20, &mut [IoSlice::new(&ones)]).is_ok()).count();
        assert_eq!(written as u64, BYTES_MAX >> 20);
        assert_eq!(file.size().unwrap(), 1 << 30);
    }
}
