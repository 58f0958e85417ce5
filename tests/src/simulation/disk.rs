//! The simulated disk as the gateway sees it: everything it does is noted, questions are asked in between, and planted bugs
//! lie to it.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gateway::disk::{Disk, DiskFile, OpenMode, Random, SimDisk};

use super::bugs::Bug;
use super::story::Story;

/// A frame of a log begins so (`docs/format/log.md`).
const FRAME_MAGIC: &[u8] = b"SGfr";

/// Called between two steps of the disk.
pub(super) type Probe = Box<dyn FnMut(&str) + Send>;

#[derive(Debug)]
pub(super) struct SeenDisk {
    disk: SimDisk,
    shared: Arc<Shared>,
}

/// What disk, catalogue and simulation share.
pub(super) struct Shared {
    state: Mutex<State>,
    probe: Mutex<Option<Probe>>,
    pub(super) story: Story,
    bug: Option<Bug>,
}

struct State {
    random: Random,
    /// Errors that the disk gave while it was up.
    errors: u64,
    /// A write or sync of a log's file failed otherwise than for space.
    log_failed: Option<String>,
    is_opening: bool,
    /// Somewhere room was missing since the catalogue's write-ahead log was known to be empty.
    room_was_missing: bool,
    probe_percent: u64,
    /// Commits that took files away; segments that were used again.
    merges: u64,
    reuses: u64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(seed: u64, story: Story, bug: Option<Bug>, probe_percent: u64) -> Arc<Self> {
        let state = State {
            random: Random::new(seed),
            errors: 0,
            log_failed: None,
            is_opening: false,
            room_was_missing: false,
            probe_percent,
            merges: 0,
            reuses: 0,
        };
        Arc::new(Self { state: Mutex::new(state), probe: Mutex::default(), story, bug })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bug(&self) -> Option<Bug> {
        self.bug
    }

    pub(super) fn set_probe(&self, probe: Option<Probe>) {
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = probe;
    }

    /// A gateway is being opened, or has been.
    pub(super) fn opening(&self, is_opening: bool) {
        let mut state = self.state();
        state.is_opening = is_opening;
        if is_opening {
            state.errors = 0;
            state.log_failed = None;
        }
    }

    pub(super) fn is_opening(&self) -> bool {
        self.state().is_opening
    }

    /// Where room is missing, what commits allow to go does not wait for the write-ahead log.
    pub(super) fn note_room_missing(&self) {
        self.state().room_was_missing = true;
    }

    pub(super) fn note_wal_empty(&self) {
        self.state().room_was_missing = false;
    }

    pub(super) fn room_was_missing(&self) -> bool {
        self.state().room_was_missing
    }

    pub(super) fn errors(&self) -> u64 {
        self.state().errors
    }

    pub(super) fn log_failed(&self) -> Option<String> {
        self.state().log_failed.clone()
    }

    pub(super) fn note_merge(&self) {
        self.state().merges += 1;
    }

    pub(super) fn merges_and_reuses(&self) -> (u64, u64) {
        let state = self.state();
        (state.merges, state.reuses)
    }

    pub(super) fn chance(&self, percent: u64) -> bool {
        self.state().random.chance(percent)
    }

    /// Asks in between, now and then.
    pub(super) fn between(&self, what: &str) {
        let percent = self.state().probe_percent;
        if self.chance(percent)
            && let Ok(mut probe) = self.probe.try_lock()
            && let Some(probe) = probe.as_mut()
        {
            probe(what);
        }
    }

    pub(super) fn note<T>(
        &self,
        disk: &SimDisk,
        what: &str,
        path: &str,
        result: io::Result<T>,
    ) -> io::Result<T> {
        match &result {
            Ok(_) => self.story.tell(|| format!("    disk: {what} {path}")),
            Err(error) if disk.is_down() => {
                self.story.tell(|| format!("    disk: {what} {path}: down, {error}"))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {}
            Err(error) => {
                self.story.tell(|| format!("    disk: {what} {path}: {error}"));
                let mut state = self.state();
                state.errors += 1;
                let is_log = path.ends_with(".seg") || path.ends_with(".new");
                if is_log && what != "read" && !gateway::disk::is_no_space(error) && !state.is_opening {
                    state.log_failed = Some(format!("{what} {path}: {error}"));
                }
            }
        }
        result
    }

    /// `call` is the call, or what it is for.
    fn lies(&self, call: &str, path: &str) -> bool {
        let is_opening = self.state().is_opening;
        self.bug.is_some_and(|bug| bug.lies_about(call, path, is_opening))
    }
}

impl SeenDisk {
    pub(super) fn new(disk: SimDisk, shared: Arc<Shared>) -> Self {
        Self { disk, shared }
    }

    fn file(&self, path: &str, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let (disk, shared) = (self.disk.clone(), self.shared.clone());
        Box::new(SeenFile { inner, path: path.to_owned(), disk, shared })
    }

    fn step<T>(&self, what: &str, path: &str, call: impl FnOnce(&SimDisk) -> io::Result<T>) -> io::Result<T> {
        if path.starts_with("store") {
            self.shared.between(what);
        }
        let result = call(&self.disk);
        self.shared.note(&self.disk, what, path, result)
    }
}

impl Disk for SeenDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.step("make directory", dir, |disk| disk.create_dir(dir))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(path, self.disk.open(path, mode)?))
    }

    fn create(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let inner = self.step("create", path, |disk| disk.create(path, mode))?;
        Ok(self.file(path, inner))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let renamed = self.step("rename to", to, |disk| disk.rename(from, to));
        // Under its next epoch.
        if renamed.is_ok() && from.ends_with(".seg") && to.ends_with(".new") {
            self.shared.state().reuses += 1;
        }
        renamed
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        if self.shared.lies("remove", path) {
            return Ok(());
        }
        self.step("remove", path, |disk| disk.remove(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        if self.shared.lies("sync_dir", dir) {
            return Ok(());
        }
        self.step("sync directory", dir, |disk| disk.sync_dir(dir))
    }

    fn size_of(&self, path: &str) -> io::Result<u64> {
        self.disk.size_of(path)
    }

    fn free_space(&self) -> io::Result<u64> {
        self.disk.free_space()
    }
}

#[derive(Debug)]
struct SeenFile {
    inner: Box<dyn DiskFile>,
    path: String,
    disk: SimDisk,
    shared: Arc<Shared>,
}

impl SeenFile {
    fn step<T>(
        &mut self,
        what: &str,
        call: impl FnOnce(&mut dyn DiskFile) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.path.starts_with("store") {
            self.shared.between(what);
        }
        let result = call(&mut *self.inner);
        self.shared.note(&self.disk, what, &self.path, result)
    }
}

impl DiskFile for SeenFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read_at(offset, buf);
        match result {
            Ok(count) => Ok(count),
            Err(_) => self.shared.note(&self.disk, "read", &self.path, result),
        }
    }

    fn write_at(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.step("write", |file| file.write_at(offset, parts))
    }

    fn write_durable(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let is_frame = parts.first().is_some_and(|part| part.starts_with(FRAME_MAGIC));
        if is_frame && self.shared.lies("frame", &self.path) {
            return self.step("write (lie)", |file| file.write_at(offset, parts));
        }
        let result = self.step("write durably", |file| file.write_durable(offset, parts));
        if is_frame && result.is_err() && self.shared.lies("failed frame", &self.path) && !self.disk.is_down()
        {
            return Ok(());
        }
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.shared.lies("sync", &self.path) {
            return Ok(());
        }
        self.step("sync", |file| file.sync())
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn set_size(&mut self, bytes: u64) -> io::Result<()> {
        self.step("set the size of", |file| file.set_size(bytes))
    }
}
