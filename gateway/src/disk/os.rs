//! The real file system, rooted at the data directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{BLOCK_BYTES, Disk, DiskFile, OpenMode};

#[derive(Clone, Debug)]
pub struct OsDisk {
    root: PathBuf,
}

impl OsDisk {
    /// `root` is made if it is not there.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.canonicalize()? })
    }

    /// Makes nothing: for reading what is there.
    pub fn open_existing(root: &Path) -> io::Result<Self> {
        Ok(Self { root: root.canonicalize()? })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn open_with(&self, path: &str, options: &OpenOptions, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let full = self.path(path);
        if mode != OpenMode::WriteDurable {
            return Ok(Box::new(OsFile { file: options.open(&full)?, writes: Writes::Cached }));
        }
        let mut direct = options.clone();
        direct.custom_flags(libc::O_DIRECT | libc::O_DSYNC);
        match direct.open(&full) {
            Ok(file) if takes_direct(&file) => Ok(Box::new(OsFile { file, writes: Writes::Direct })),
            Ok(_) => self.open_cached(path, options),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.open_cached(path, options),
            Err(error) => Err(error),
        }
    }

    /// The fallback, decided once per file. A file that the first attempt made is opened again.
    fn open_cached(&self, path: &str, options: &OpenOptions) -> io::Result<Box<dyn DiskFile>> {
        tracing::info!(
            path,
            "no O_DIRECT on this file system: writing through the page cache with fdatasync"
        );
        let mut again = options.clone();
        again.create_new(false).create(true);
        Ok(Box::new(OsFile { file: again.open(self.path(path))?, writes: Writes::Cached }))
    }
}

/// Some file systems take the flag and refuse the first transfer; a read finds out without changing anything.
fn takes_direct(file: &File) -> bool {
    #[repr(align(4096))]
    struct Block([MaybeUninit<u8>; BLOCK_BYTES]);
    let mut block = Block([MaybeUninit::uninit(); BLOCK_BYTES]);
    // SAFETY: the pointer and length describe `block`, which outlives the call; what is read is not looked at.
    let got = unsafe { libc::pread(file.as_raw_fd(), block.0.as_mut_ptr().cast(), BLOCK_BYTES, 0) };
    got >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL)
}

impl Disk for OsDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        fs::create_dir_all(self.path(dir))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            // A name that is no UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        self.open_with(path, OpenOptions::new().read(true).write(mode != OpenMode::Read), mode)
    }

    fn create(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        self.open_with(path, OpenOptions::new().read(true).write(true).create_new(true), mode)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.path(dir))?.sync_all()
    }

    fn size_of(&self, path: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(path))?.len())
    }

    fn free_space(&self) -> io::Result<u64> {
        let path = std::ffi::CString::new(self.root.as_os_str().as_bytes())?;
        let mut stat = MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: the path ends with NUL and `stat` has room for the answer.
        if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so it filled `stat`.
        let stat = unsafe { stat.assume_init() };
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// `O_DIRECT|O_DSYNC`: durable when the call returns.
    Direct,
    /// Page cache; durable after `fdatasync`.
    Cached,
}

#[derive(Debug)]
struct OsFile {
    file: File,
    writes: Writes,
}

impl DiskFile for OsFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while got < buf.len() {
            match self.file.read_at(&mut buf[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }

    fn write_at(&mut self, mut offset: u64, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let count = parts.len().min(IOV_MAX) as libc::c_int;
            let at = libc::off_t::try_from(offset).map_err(io::Error::other)?;
            // SAFETY: `IoSlice` has the layout of `iovec`, and the slices live as long as `parts`.
            let wrote = unsafe { libc::pwritev(self.file.as_raw_fd(), parts.as_ptr().cast(), count, at) };
            if wrote < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            if wrote == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            offset += wrote as u64;
            IoSlice::advance_slices(&mut parts, wrote as usize);
        }
        Ok(())
    }

    fn write_durable(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.write_at(offset, parts)?;
        if self.writes == Writes::Cached { self.file.sync_data() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_size(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
}

/// Parts that one system call takes (Linux: 1,024).
const IOV_MAX: usize = 1024;
