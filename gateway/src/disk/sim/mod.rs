//! A disk in memory for tests: seeded, with a page cache above durable sectors of 512 bytes or 4 KiB.
//!
//! What it does that a real one may do:
//! - power loss: each sector written since the last sync is there, lost, or an older version, independent of the
//!   others; each create, rename or remove that no directory sync covered happened or not;
//! - kill: everything written stays in the page cache, unsynced as before; handles die;
//! - a crash in the middle of the n-th step ([`SimDisk::crash_at`]), which leaves a part of a write behind;
//! - errors on the n-th call ([`SimDisk::fail`]); a failed sync loses some sectors, and the next one "succeeds";
//! - a full disk ([`SimDisk::set_capacity`]).
//!
//! A durable write makes only its own range durable. Handles opened `WriteDurable` insist on aligned transfers.

mod random;
mod state;

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BLOCK_BYTES, Disk, DiskFile, OpenMode};
pub use random::Random;
use state::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; what it wrote stays in the page cache.
    Kill,
    /// The machine dies.
    PowerLoss,
}

/// The kind of call that a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOn {
    Read,
    Write,
    /// Of a file or a directory; the second half of a durable write too.
    Sync,
    /// Create, rename, remove, making a directory.
    Directory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `EIO`; a write leaves its first sectors behind.
    Io,
    /// `ENOSPC`, likewise.
    NoSpace,
}

impl FaultKind {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Io => libc::EIO,
            Self::NoSpace => libc::ENOSPC,
        })
    }
}

/// The `nth` call (from 1, from now on) of that kind fails, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub on: FaultOn,
    pub nth: u64,
    pub kind: FaultKind,
}

/// Clones share one disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere must not hide its message behind a second panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that all files together may have.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Steps (writes, syncs, changes of names) so far.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// The crash comes in the middle of that step (counted from the disk's beginning); afterwards all calls fail until
    /// [`SimDisk::restart`].
    pub fn crash_at(&self, step: u64, crash: Crash) {
        self.state().crash_at = Some((step, crash));
    }

    /// Crashes now.
    pub fn crash(&self, crash: Crash) {
        self.state().crash(crash);
    }

    pub fn is_down(&self) -> bool {
        self.state().down
    }

    /// The machine is up again; faults and crashes that were planned and did not happen are forgotten.
    pub fn restart(&self) {
        let mut state = self.state();
        state.down = false;
        state.crash_at = None;
        state.faults.clear();
    }

    /// Bit rot: replaces bytes inside a file, durably and without a step.
    pub fn damage(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.state().damage(path, usize::try_from(offset).map_err(io::Error::other)?, bytes)
    }

    fn file(&self, inode: u64, mode: OpenMode, life: u64) -> Box<dyn DiskFile> {
        Box::new(SimFile { disk: self.clone(), inode, mode, life })
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(f, "SimDisk {{ steps: {}, down: {}, bytes: {} }}", state.steps, state.down, state.used())
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.state().make_dir(dir)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        state.names.list(dir)
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        state.alive()?;
        let inode = state.names.file(path)?;
        let life = state.life;
        drop(state);
        Ok(self.file(inode, mode, life))
    }

    fn create(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let inode = state.create(path)?;
        let life = state.life;
        drop(state);
        Ok(self.file(inode, mode, life))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state().rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.state().remove(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.state().sync_dir(dir)
    }

    fn size_of(&self, path: &str) -> io::Result<u64> {
        let state = self.state();
        state.alive()?;
        state.size(state.names.file(path)?)
    }

    fn free_space(&self) -> io::Result<u64> {
        let state = self.state();
        state.alive()?;
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    mode: OpenMode,
    life: u64,
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.alive()?;
        if state.life == self.life { Ok(state) } else { Err(io::Error::other("this handle died in a crash")) }
    }

    fn writable(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        match self.mode {
            OpenMode::Read => Err(io::ErrorKind::PermissionDenied.into()),
            OpenMode::Write => Ok(()),
            OpenMode::WriteDurable => parts.iter().try_for_each(|part| aligned(offset, part)),
        }
    }
}

fn aligned(offset: u64, bytes: &[u8]) -> io::Result<()> {
    let fits = offset.is_multiple_of(BLOCK_BYTES as u64)
        && bytes.len().is_multiple_of(BLOCK_BYTES)
        && bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES);
    if fits { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state()?;
        if self.mode == OpenMode::WriteDurable {
            aligned(offset, buf)?;
        }
        if let Some(kind) = state.fault(FaultOn::Read) {
            return Err(kind.error());
        }
        state.read(self.inode, offset, buf)
    }

    fn write_at(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.writable(offset, parts)?;
        self.state()?.write(self.inode, offset, parts)
    }

    fn write_durable(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.writable(offset, parts)?;
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let mut state = self.state()?;
        state.write(self.inode, offset, parts)?;
        state.sync(self.inode, Some((offset, offset + bytes as u64)))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.state()?.sync(self.inode, None)
    }

    fn size(&self) -> io::Result<u64> {
        self.state()?.size(self.inode)
    }

    fn set_size(&mut self, bytes: u64) -> io::Result<()> {
        if self.mode == OpenMode::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.state()?.set_size(self.inode, bytes)
    }
}

#[cfg(test)]
mod tests;
