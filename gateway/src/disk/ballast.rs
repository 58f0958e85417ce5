//! A file of no use but its size: on a full disk, removing it makes room for what frees more (a commit that moves a
//! cursor, a compaction). It is put back when there is space again.

use std::io::{self, IoSlice};

use super::{Disk, OpenMode, is_no_space, remove_durably};

const STEP_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub struct Ballast {
    path: String,
    bytes: u64,
    present: bool,
}

impl Ballast {
    /// Finds the file; one of another size is removed. Takes no space: that is for [`Ballast::restore`].
    pub fn open(disk: &dyn Disk, path: &str, bytes: u64) -> io::Result<Self> {
        let mut ballast = Self { path: path.to_owned(), bytes, present: false };
        match disk.size_of(path) {
            Ok(size) if size == bytes => ballast.present = true,
            Ok(_) => remove_durably(disk, path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(ballast)
    }

    pub fn is_present(&self) -> bool {
        self.present
    }

    /// Gives the space away. Fine if that has happened already.
    pub fn release(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.present {
            remove_durably(disk, &self.path)?;
            self.present = false;
        }
        Ok(())
    }

    /// Takes the space again; `false`: there is none, nothing is left behind.
    pub fn restore(&mut self, disk: &dyn Disk) -> io::Result<bool> {
        if self.present {
            return Ok(true);
        }
        // Others go on writing meanwhile: no attempt that is known to fail.
        if disk.free_space()? < self.bytes {
            return Ok(false);
        }
        match self.fill(disk) {
            Ok(()) => {
                self.present = true;
                Ok(true)
            }
            Err(error) if is_no_space(&error) => {
                match remove_durably(disk, &self.path) {
                    Ok(()) => Ok(false),
                    // Not even its name found room.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn fill(&self, disk: &dyn Disk) -> io::Result<()> {
        // Not zeros: a file system that compresses or punches holes would give no space for them.
        let block: Vec<u8> =
            (0..STEP_BYTES as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut file = disk.create(&self.path, OpenMode::Write)?;
        let mut at = 0;
        while at < self.bytes {
            let step = (self.bytes - at).min(STEP_BYTES as u64) as usize;
            file.write_at(at, &mut [IoSlice::new(&block[..step])])?;
            at += step as u64;
        }
        file.sync()?;
        disk.sync_dir(super::parent(&self.path))
    }
}
