//! Why a catalogue cannot be opened or committed, in sentences for operators.

use std::path::PathBuf;

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use thiserror::Error;

use crate::formats::age_of_build;

/// Why a call to a catalogue failed; [`is_backpressure`](CatalogueError::is_backpressure) says whether it may be tried again.
#[derive(Debug, Error)]
pub enum CatalogueError {
    #[error("{}: no space for a commit: {reason}; free some space", path.display())]
    NoSpace { path: PathBuf, reason: String },
    #[error("{}: another process holds the write lock; end it, the commit is tried again", path.display())]
    Busy { path: PathBuf },
    #[error(
        "{}: written in format {found}, this build reads format {known}: start the {} build that wrote it",
        path.display(), age_of_build(found, known)
    )]
    OtherFormat { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{}: it is empty and there are logs or store files beside it; restore it from a backup, or move it out of the directory \
         to have it made anew from the logs, where they reach back to the first message",
        path.display()
    )]
    Empty { path: PathBuf },
    #[error("{}: this is not a catalogue of the sensor gateway; move it out of the data directory", path.display())]
    Foreign { path: PathBuf },
    #[error("an earlier commit to the catalogue failed; nothing more is committed, start the gateway again")]
    Failed,
    /// The operating system does not let SQLite read or write.
    #[error("{}: {source}; look at the directory's rights, file system and disk", path.display())]
    System { path: PathBuf, source: rusqlite::Error },
    #[error("{}: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
}

impl CatalogueError {
    /// Nothing was committed and nothing is lost: the same call may succeed later.
    pub fn is_backpressure(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::Busy { .. })
    }

    /// The file may be read; what keeps it from being written is the disk, the mount or its rights.
    pub fn is_unwritable(&self) -> bool {
        let is_one = |error: &rusqlite::ffi::Error| {
            matches!(error.code, ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied)
        };
        match self {
            Self::NoSpace { .. } => true,
            Self::System { source: rusqlite::Error::SqliteFailure(error, _), .. } => is_one(error),
            _ => false,
        }
    }

    pub(crate) fn of_sqlite(path: &std::path::Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match &source {
            rusqlite::Error::SqliteFailure(error, _)
                if error.code == ErrorCode::DiskFull || error.extended_code == SQLITE_IOERR_SHMSIZE =>
            {
                Self::NoSpace { path, reason: source.to_string() }
            }
            rusqlite::Error::SqliteFailure(error, _)
                if matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) =>
            {
                Self::Busy { path }
            }
            rusqlite::Error::SqliteFailure(error, _)
                if matches!(
                    error.code,
                    ErrorCode::ReadOnly
                        | ErrorCode::CannotOpen
                        | ErrorCode::PermissionDenied
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::OutOfMemory
                ) =>
            {
                Self::System { path, source }
            }
            rusqlite::Error::SqliteFailure(error, _) if error.code == ErrorCode::NotADatabase => {
                Self::Foreign { path }
            }
            _ => Self::Sqlite { path, source },
        }
    }
}
