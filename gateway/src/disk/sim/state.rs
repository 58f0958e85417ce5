//! What the simulated disk holds: files with a page cache above durable sectors, and names with operations that no
//! directory sync has covered yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};

use super::random::Random;
use super::{Crash, Fault, FaultKind, FaultOn};
use crate::disk::parent;

/// What a power loss does with everything that was not synced.
#[derive(Clone, Copy, Debug)]
enum Fate {
    AllLost,
    AllThere,
    Mixed,
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    /// What a read gives.
    cache: Vec<u8>,
    /// What a power loss leaves.
    durable: Vec<u8>,
    /// Sectors written since the last sync, with their earlier contents, oldest first.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    size_changed: bool,
}

impl Inode {
    fn sector(&self, index: usize, sector_bytes: usize) -> Vec<u8> {
        let start = (index * sector_bytes).min(self.cache.len());
        let end = ((index + 1) * sector_bytes).min(self.cache.len());
        self.cache[start..end].to_vec()
    }

    fn write(&mut self, offset: usize, bytes: &[u8], sector_bytes: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        for index in offset / sector_bytes..end.div_ceil(sector_bytes) {
            let before = self.sector(index, sector_bytes);
            self.dirty.entry(index).or_default().push(before);
        }
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.size_changed = true;
        }
        self.cache[offset..end].copy_from_slice(bytes);
    }

    fn persist_sector(&mut self, index: usize, content: &[u8], sector_bytes: usize) {
        let start = index * sector_bytes;
        let end = start + content.len();
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(content);
    }

    fn sync_range(&mut self, offset: usize, end: usize, sector_bytes: usize) {
        for index in offset / sector_bytes..end.div_ceil(sector_bytes) {
            if self.dirty.remove(&index).is_some() {
                let content = self.sector(index, sector_bytes);
                self.persist_sector(index, &content, sector_bytes);
            }
        }
    }

    /// Only what is dirty: what a failed sync dropped stays lost.
    fn sync(&mut self, sector_bytes: usize) {
        for index in std::mem::take(&mut self.dirty).into_keys() {
            let content = self.sector(index, sector_bytes);
            self.persist_sector(index, &content, sector_bytes);
        }
        self.durable.resize(self.cache.len(), 0);
        self.size_changed = false;
    }

    /// Each sector that was not synced is there, lost, or an older version; then nothing is unsynced any more.
    fn settle(&mut self, fate: Fate, random: &mut Random, sector_bytes: usize) {
        for (index, versions) in std::mem::take(&mut self.dirty) {
            let choice = match fate {
                Fate::AllLost => 0,
                Fate::AllThere => 100,
                Fate::Mixed => random.below(100),
            };
            let content = match choice {
                0..45 => continue,
                // The oldest version is what the last sync left: choosing it is the same as losing the write.
                45..60 => versions[random.below(versions.len() as u64) as usize].clone(),
                _ => self.sector(index, sector_bytes),
            };
            self.persist_sector(index, &content, sector_bytes);
        }
        if self.size_changed {
            let kept = match fate {
                Fate::AllLost => false,
                Fate::AllThere => true,
                Fate::Mixed => random.chance(50),
            };
            if kept {
                self.durable.resize(self.cache.len(), 0);
            }
            self.size_changed = false;
        }
    }

    fn after_power_loss(&mut self) {
        self.cache.clone_from(&self.durable);
    }
}

/// A change of names that no directory sync has covered.
#[derive(Clone, Debug)]
enum NameChange {
    MakeDir(String),
    Create(String, u64),
    Rename(String, String, u64),
    Remove(String, u64),
}

impl NameChange {
    fn directories(&self) -> [&str; 2] {
        match self {
            Self::MakeDir(path) | Self::Create(path, _) | Self::Remove(path, _) => [parent(path); 2],
            Self::Rename(from, to, _) => [parent(from), parent(to)],
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    files: BTreeMap<String, u64>,
    directories: BTreeSet<String>,
}

impl Names {
    pub(super) fn file(&self, path: &str) -> io::Result<u64> {
        self.files.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn has_dir(&self, dir: &str) -> bool {
        dir.is_empty() || self.directories.contains(dir)
    }

    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        if !self.has_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let all = self.files.keys().chain(&self.directories);
        let mut names: Vec<String> = all
            .filter(|path| !path.is_empty() && parent(path) == dir)
            .map(|path| path.rsplit('/').next().unwrap_or(path).to_owned())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Applies a change; one whose ground is gone (an earlier change was lost) has no effect.
    fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::MakeDir(path) if self.has_dir(parent(path)) => {
                self.directories.insert(path.clone());
            }
            NameChange::Create(path, inode) if self.has_dir(parent(path)) => {
                self.files.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to, inode)
                if self.files.get(from) == Some(inode) && self.has_dir(parent(to)) =>
            {
                self.files.remove(from);
                self.files.insert(to.clone(), *inode);
            }
            NameChange::Remove(path, inode) if self.files.get(path) == Some(inode) => {
                self.files.remove(path);
            }
            _ => {}
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) random: Random,
    pub(super) sector_bytes: usize,
    /// Steps that changed something, or tried to.
    pub(super) steps: u64,
    /// Handles of an earlier life are dead.
    pub(super) life: u64,
    pub(super) down: bool,
    pub(super) crash_at: Option<(u64, Crash)>,
    pub(super) faults: Vec<Fault>,
    pub(super) capacity: u64,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    pub(super) names: Names,
    durable_names: Names,
    pending: Vec<NameChange>,
}

/// What becomes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Done,
    Fails(FaultKind),
    /// The crash comes in the middle of it.
    Crashes(Crash),
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let sector_bytes = if random.chance(50) { 512 } else { 4096 };
        Self {
            random,
            sector_bytes,
            steps: 0,
            life: 0,
            down: false,
            crash_at: None,
            faults: Vec::new(),
            capacity: u64::MAX,
            inodes: BTreeMap::new(),
            next_inode: 1,
            names: Names::default(),
            durable_names: Names::default(),
            pending: Vec::new(),
        }
    }

    pub(super) fn alive(&self) -> io::Result<()> {
        if self.down { Err(io::Error::other("the simulated machine is down")) } else { Ok(()) }
    }

    /// Counts a fault of that kind of call, if one is due.
    pub(super) fn fault(&mut self, on: FaultOn) -> Option<FaultKind> {
        for fault in self.faults.iter_mut().filter(|fault| fault.on == on && fault.nth > 0) {
            fault.nth -= 1;
            if fault.nth == 0 {
                return Some(fault.kind);
            }
        }
        None
    }

    pub(super) fn step(&mut self, on: FaultOn) -> io::Result<Step> {
        self.alive()?;
        self.steps += 1;
        if let Some((_, crash)) = self.crash_at.take_if(|(at, _)| *at == self.steps) {
            return Ok(Step::Crashes(crash));
        }
        Ok(self.fault(on).map_or(Step::Done, Step::Fails))
    }

    pub(super) fn crash(&mut self, crash: Crash) {
        self.life += 1;
        self.down = true;
        if crash == Crash::Kill {
            return;
        }
        let fate = match self.random.below(4) {
            0 => Fate::AllLost,
            1 => Fate::AllThere,
            _ => Fate::Mixed,
        };
        for inode in self.inodes.values_mut() {
            inode.settle(fate, &mut self.random, self.sector_bytes);
            inode.after_power_loss();
        }
        for change in std::mem::take(&mut self.pending) {
            let kept = match fate {
                Fate::AllLost => false,
                Fate::AllThere => true,
                Fate::Mixed => self.random.chance(50),
            };
            if kept {
                self.durable_names.apply(&change);
            }
        }
        self.names = self.durable_names.clone();
        let named: BTreeSet<u64> = self.names.files.values().copied().collect();
        self.inodes.retain(|number, _| named.contains(number));
    }

    pub(super) fn inode(&self, number: u64) -> io::Result<&Inode> {
        self.inodes.get(&number).ok_or_else(|| io::Error::other("no such inode"))
    }

    fn inode_mut(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(|| io::Error::other("no such inode"))
    }

    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self.names.files.values().copied().collect();
        named.iter().filter_map(|number| self.inodes.get(number)).map(|inode| inode.cache.len() as u64).sum()
    }

    pub(super) fn size(&self, number: u64) -> io::Result<u64> {
        Ok(self.inode(number)?.cache.len() as u64)
    }

    pub(super) fn read(&self, number: u64, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let cache = &self.inode(number)?.cache;
        let start = usize::try_from(offset).map_err(io::Error::other)?.min(cache.len());
        let count = buf.len().min(cache.len() - start);
        buf[..count].copy_from_slice(&cache[start..start + count]);
        Ok(count)
    }

    pub(super) fn write(&mut self, number: u64, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let step = self.step(FaultOn::Write)?;
        let sector_bytes = self.sector_bytes;
        let mut result = Ok(());
        if step != Step::Done {
            // What stops in the middle leaves the first sectors written.
            let sectors = (bytes.len() / sector_bytes) as u64;
            bytes.truncate(self.random.below(sectors + 1) as usize * sector_bytes);
        }
        let added = (offset + bytes.len()).saturating_sub(self.inode(number)?.cache.len()) as u64;
        let room = self.capacity.saturating_sub(self.used());
        if added > room {
            bytes.truncate(bytes.len() - (added - room) as usize);
            result = Err(FaultKind::NoSpace.error());
        }
        self.inode_mut(number)?.write(offset, &bytes, sector_bytes);
        self.finish(step)?;
        result
    }

    /// Makes a range durable, or the whole file with its size.
    pub(super) fn sync(&mut self, number: u64, range: Option<(u64, u64)>) -> io::Result<()> {
        let step = self.step(FaultOn::Sync)?;
        let sector_bytes = self.sector_bytes;
        match (step, range) {
            (Step::Done, Some((offset, end))) => {
                self.inode_mut(number)?.sync_range(offset as usize, end as usize, sector_bytes);
            }
            (Step::Done, None) => self.inode_mut(number)?.sync(sector_bytes),
            (Step::Fails(_), _) => {
                // The error is told once; the pages count as clean although some never reached the disk.
                let mut random = self.random.clone();
                self.inode_mut(number)?.settle(Fate::Mixed, &mut random, sector_bytes);
                self.random = random;
            }
            (Step::Crashes(_), _) => {}
        }
        self.finish(step)
    }

    pub(super) fn set_size(&mut self, number: u64, bytes: u64) -> io::Result<()> {
        let step = self.step(FaultOn::Write)?;
        if step == Step::Done {
            let inode = self.inode_mut(number)?;
            inode.cache.resize(usize::try_from(bytes).map_err(io::Error::other)?, 0);
            inode.size_changed = true;
        }
        self.finish(step)
    }

    pub(super) fn make_dir(&mut self, dir: &str) -> io::Result<()> {
        if self.names.has_dir(dir) {
            return self.alive();
        }
        self.make_dir(parent(dir))?;
        self.change_names(NameChange::MakeDir(dir.to_owned()))
    }

    pub(super) fn create(&mut self, path: &str) -> io::Result<u64> {
        self.alive()?;
        if self.names.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !self.names.has_dir(parent(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, Inode::default());
        self.change_names(NameChange::Create(path.to_owned(), number))?;
        Ok(number)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.alive()?;
        let number = self.names.file(from)?;
        if !self.names.has_dir(parent(to)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change_names(NameChange::Rename(from.to_owned(), to.to_owned(), number))
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.alive()?;
        let number = self.names.file(path)?;
        self.change_names(NameChange::Remove(path.to_owned(), number))
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let step = self.step(FaultOn::Directory)?;
        let happens = match step {
            Step::Done => true,
            Step::Fails(_) => false,
            Step::Crashes(_) => self.random.chance(50),
        };
        if happens {
            self.names.apply(&change);
            self.pending.push(change);
        }
        self.finish(step)
    }

    pub(super) fn sync_dir(&mut self, dir: &str) -> io::Result<()> {
        self.alive()?;
        if !self.names.has_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let step = self.step(FaultOn::Sync)?;
        if !matches!(step, Step::Crashes(_)) {
            let (mut covered, rest) = self.covered_by_sync(dir);
            if step != Step::Done {
                // A failed sync got to some point; what is behind it still waits.
                let done = self.random.below(covered.len() as u64 + 1) as usize;
                self.pending = covered.split_off(done);
            }
            self.pending.extend(rest);
            for change in covered {
                self.durable_names.apply(&change);
            }
        }
        self.finish(step)
    }

    /// Pending changes in `dir`, with the earlier ones that they build on, and the others.
    fn covered_by_sync(&mut self, dir: &str) -> (Vec<NameChange>, Vec<NameChange>) {
        let mut directories = BTreeSet::from([dir.to_owned()]);
        let (mut covered, mut rest) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            let touched = change.directories().map(str::to_owned);
            if touched.iter().any(|one| directories.contains(one)) {
                directories.extend(touched);
                covered.push(change);
            } else {
                rest.push(change);
            }
        }
        covered.reverse();
        rest.reverse();
        (covered, rest)
    }

    fn finish(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Done => Ok(()),
            Step::Fails(kind) => Err(kind.error()),
            Step::Crashes(crash) => {
                self.crash(crash);
                self.alive()
            }
        }
    }

    /// Changes bytes behind everybody's back.
    pub(super) fn damage(&mut self, path: &str, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let number = self.names.file(path)?;
        let inode = self.inode_mut(number)?;
        for content in [&mut inode.cache, &mut inode.durable] {
            if let Some(place) = content.get_mut(offset..offset + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
        Ok(())
    }
}
