//! What a gateway gets from outside: disk, catalogue, clock. The real ones of a data directory, or simulated ones.

use std::any::Any;
use std::fs::{File, TryLockError};
use std::io;
use std::sync::Arc;

use super::EngineError;
use super::bounds::Sizes;
use crate::catalogue::{Catalogue, SqliteCatalogue};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::disk::{Disk, LOCK_FILE, OsDisk, ReadersGate};
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
