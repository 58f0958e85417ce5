//! The file system as the gateway sees it: a small trait, so that everything that must survive a crash runs in a
//! simulation too.
//!
//! - [`OsDisk`]: the real one, rooted at the data directory.
//! - [`OverlayDisk`]: reads another one and keeps what is written in memory: for a directory that cannot be written.
//! - [`SimDisk`]: in memory and seeded; power loss, kill, torn, lost, reordered and stale writes, faults on the n-th call.
//!
//! Paths are relative to the data directory, with `/` between parts; `""` is the data directory itself.
//!
//! What a caller may rely on, and no more:
//! - a write is durable after [`DiskFile::sync`], or when [`DiskFile::write_durable`] returned;
//! - a create, rename or remove is durable after [`Disk::sync_dir`] of the directories it touched;
//! - after an error of a sync or of a durable write nothing is known about that file, and a later sync that succeeds
//!   proves nothing.
//!
//! Crash-safe sequences stand here once ([`write_file_durably`], [`rename_durably`], [`remove_durably`]); nobody else
//! needs to call [`Disk::rename`].

mod ballast;
mod os;
mod overlay;
mod readers;
mod sim;

use std::fmt::Debug;
use std::io::{self, IoSlice};

pub use ballast::Ballast;
pub use os::OsDisk;
pub use overlay::OverlayDisk;
pub use readers::{ReaderLock, ReadersGate};
pub use sim::{Crash, Fault, FaultKind, FaultOn, Random, SimDisk};

/// In the data directory; whoever changes anything there holds it.
pub const LOCK_FILE: &str = "lock";
/// What a block device and `O_DIRECT` need: offsets, lengths and addresses are multiples of this.
pub const BLOCK_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading only.
    Read,
    /// Reading and writing through the page cache.
    Write,
    /// For [`DiskFile::write_durable`]: past the page cache where the file system takes that; offsets, lengths and
    /// addresses of all writes and reads are then multiples of [`BLOCK_BYTES`].
    WriteDurable,
}

/// A directory tree. See the module page for what is durable when.
pub trait Disk: Send + Sync + Debug {
    /// Makes a directory and those above it; fine if it exists.
    fn create_dir(&self, dir: &str) -> io::Result<()>;
    /// Names of the files and directories in `dir`, sorted.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;
    /// Makes a new, empty file; fails with `AlreadyExists` if there is one.
    fn create(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;
    /// Replaces `to` if it exists, in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, path: &str) -> io::Result<()>;
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Length of a file in bytes.
    fn size_of(&self, path: &str) -> io::Result<u64>;
    /// Bytes that can still be written.
    fn free_space(&self) -> io::Result<u64>;
}

/// An open file. Dropping it closes it and makes nothing durable.
pub trait DiskFile: Send + Debug {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes all parts one behind the other, in the page cache. The parts are used up.
    fn write_at(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Like `write_at`, and returns only when the bytes are durable. Other bytes of the file may stay undurable.
    fn write_durable(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Makes everything written to this file durable, its length included.
    fn sync(&mut self) -> io::Result<()>;
    fn size(&self) -> io::Result<u64>;
    fn set_size(&mut self, bytes: u64) -> io::Result<()>;
}

/// The directory part of a path (`""` for a file of the data directory itself).
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// `dir` and `name` as one path.
pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// The device is full, or the quota is: the error that pushes back instead of ending the process.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Nothing can be written there until somebody changes rights, mount or free space; it may be read all the same.
pub fn is_unwritable(error: &io::Error) -> bool {
    is_no_space(error)
        || matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Makes a directory that survives a power loss, with those above it.
pub fn create_dir_durably(disk: &dyn Disk, dir: &str) -> io::Result<()> {
    if dir.is_empty() {
        return Ok(());
    }
    create_dir_durably(disk, parent(dir))?;
    disk.create_dir(dir)?;
    disk.sync_dir(parent(dir))
}

/// Renames and syncs the directories on both sides.
pub fn rename_durably(disk: &dyn Disk, from: &str, to: &str) -> io::Result<()> {
    disk.rename(from, to)?;
    disk.sync_dir(parent(to))?;
    if parent(from) != parent(to) {
        disk.sync_dir(parent(from))?;
    }
    Ok(())
}

/// Removes a file and syncs its directory.
pub fn remove_durably(disk: &dyn Disk, path: &str) -> io::Result<()> {
    disk.remove(path)?;
    disk.sync_dir(parent(path))
}

/// Puts a whole small file in place: after a crash there is the old one or the new one, never a mixture.
/// Temp file `{path}.tmp` → sync → rename → sync directory.
pub fn write_file_durably(disk: &dyn Disk, path: &str, bytes: &[u8]) -> io::Result<()> {
    let temp = format!("{path}.tmp");
    match disk.remove(&temp) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = disk.create(&temp, OpenMode::Write)?;
    file.write_at(0, &mut [IoSlice::new(bytes)])?;
    file.sync()?;
    rename_durably(disk, &temp, path)
}

/// The whole of a small file; `bytes_max` guards against something else having been put in its place.
pub fn read_file(disk: &dyn Disk, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let size = file.size()?;
    if size > bytes_max {
        let text = format!("{path} has {size} bytes, more than the {bytes_max} it may have");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    let got = file.read_at(0, &mut bytes)?;
    bytes.truncate(got);
    Ok(bytes)
}
