//! Commands that read the store of a directory whose gateway may start beside them: `query` of a stopped gateway lets go of the
//! directory's lock and may read for minutes. While such a reader is there, no store file is removed that it may have open
//! next.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use super::is_unwritable;

/// Readers hold it shared; whoever wants to remove store files asks for it alone.
const READERS_FILE: &str = "readers.lock";

/// Held for as long as the store is read.
#[derive(Debug)]
pub struct ReaderLock {
    /// `None`: nothing in the directory can be removed, and no gateway ever ran there.
    _file: Option<File>,
}

/// Asks whether anybody reads.
#[derive(Debug)]
pub struct ReadersGate {
    file: File,
}

impl ReaderLock {
    pub fn take(data_dir: &Path) -> io::Result<Self> {
        let file = match open(data_dir) {
            Ok(file) => file,
            // A lock can be held on a file that cannot be written, too.
            Err(unwritable) if is_unwritable(&unwritable) => match File::open(data_dir.join(READERS_FILE)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { _file: None }),
                opened => opened?,
            },
            Err(error) => return Err(error),
        };
        // Only ever held alone for a moment.
        file.lock_shared()?;
        Ok(Self { _file: Some(file) })
    }
}

impl ReadersGate {
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        Ok(Self { file: open(data_dir)? })
    }

    /// Runs `remove` while nobody reads, and no reader can begin; false: somebody does, and nothing was done.
    pub fn while_alone(&self, remove: impl FnOnce()) -> bool {
        match self.file.try_lock() {
            Ok(()) => {
                remove();
                // It goes with the file in any case.
                let _ = self.file.unlock();
                true
            }
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "{READERS_FILE} cannot be locked: replaced store files stay until the next start");
                false
            }
        }
    }
}

fn open(data_dir: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(data_dir.join(READERS_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b1_6_nothing_is_removed_while_somebody_reads() {
        let dir = tempfile::tempdir().unwrap();
        let gate = ReadersGate::open(dir.path()).unwrap();
        let mut removed = 0;
        let (first, second) = (ReaderLock::take(dir.path()).unwrap(), ReaderLock::take(dir.path()).unwrap());
        assert!(!gate.while_alone(|| removed += 1));
        drop(first);
        assert!(!gate.while_alone(|| removed += 1));
        drop(second);
        assert!(gate.while_alone(|| removed += 1));
        assert_eq!(removed, 1);
        drop(ReaderLock::take(dir.path()).unwrap());
    }
}
