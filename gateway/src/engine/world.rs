//! What a gateway gets from outside: disk, catalogue, clock. The real ones of a data directory, or simulated ones.

use std::any::Any;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::EngineError;
use super::bounds::Sizes;
use crate::catalogue::{Catalogue, SqliteCatalogue};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::disk::{Disk, LOCK_FILE, OsDisk, OverlayDisk, ReadersGate};
use crate::log::{JOURNAL_DIR, LogId, LogKind, OBSERVATIONS_DIR, check_format};

/// Everything that a gateway touches beside its sockets.
pub struct World {
    /// Logs, store files and ballast.
    pub disk: Arc<dyn Disk>,
    pub catalogue: Box<dyn Catalogue>,
    pub clock: Arc<dyn Clock>,
    pub sizes: Sizes,
    /// Names a log that is made.
    pub new_log_id: Box<dyn FnMut() -> io::Result<LogId> + Send>,
    /// Commands that may read the store without this gateway; `None`: there are none.
    pub readers: Option<ReadersGate>,
    /// Keeps others away from the directory until it is dropped.
    pub lock: Box<dyn Any + Send>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl World {
    /// The machine, and the data directory of the configuration, which is locked first.
    pub(super) fn of_machine(config: &Config) -> Result<Self, EngineError> {
        let lock = lock_data_dir(config)?;
        let disk = OsDisk::open(&config.data_dir)
            .map_err(|source| EngineError::Io { what: config.data_dir.display().to_string(), source })?;
        let readers = ReadersGate::open(&config.data_dir)
            .map_err(|source| EngineError::Io { what: config.data_dir.display().to_string(), source })?;
        // Before anything is written; the catalogue looks after its own.
        for (dir, kind) in [(JOURNAL_DIR, LogKind::Journal), (OBSERVATIONS_DIR, LogKind::Observations)] {
            check_format(&disk, dir, kind)?;
        }
        Ok(Self {
            disk: Arc::new(disk),
            catalogue: Box::new(SqliteCatalogue::open(&config.data_dir)?),
            clock: Arc::new(SystemClock::new()),
            sizes: Sizes::default(),
            new_log_id: Box::new(LogId::random),
            readers: Some(readers),
            lock: Box::new(lock),
        })
    }

    /// The same directory read only, and whatever is written kept in memory; with its disk, which then tells real free space on
    /// demand.
    pub(super) fn of_copy(config: &Config) -> Result<(Self, OverlayDisk), EngineError> {
        let data_dir = &config.data_dir;
        let lock = share_data_dir(data_dir)?;
        let below = OsDisk::open_existing(data_dir)
            .map_err(|source| EngineError::Io { what: data_dir.display().to_string(), source })?;
        for (dir, kind) in [(JOURNAL_DIR, LogKind::Journal), (OBSERVATIONS_DIR, LogKind::Observations)] {
            check_format(&below, dir, kind)?;
        }
        let disk = OverlayDisk::new(Arc::new(below));
        let world = Self {
            disk: Arc::new(disk.clone()),
            catalogue: Box::new(SqliteCatalogue::open_copy(data_dir)?),
            clock: Arc::new(SystemClock::new()),
            sizes: Sizes::default(),
            new_log_id: Box::new(LogId::random),
            readers: None,
            lock: Box::new(lock),
        };
        Ok((world, disk))
    }
}

/// For somebody who only reads: nobody writes meanwhile. `None` where there is no file to lock: no gateway ever ran there.
fn share_data_dir(data_dir: &Path) -> Result<Option<File>, EngineError> {
    let io = |source| EngineError::Io { what: data_dir.display().to_string(), source };
    let lock = match File::open(data_dir.join(LOCK_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(io)?,
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => {
            Err(EngineError::Locked { data_dir: data_dir.display().to_string() })
        }
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn lock_data_dir(config: &Config) -> Result<File, EngineError> {
    let data_dir = &config.data_dir;
    let io = |source| EngineError::Io { what: data_dir.display().to_string(), source };
    std::fs::create_dir_all(data_dir).map_err(io)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(data_dir.join(LOCK_FILE))
        .map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(EngineError::Locked { data_dir: data_dir.display().to_string() })
        }
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}
