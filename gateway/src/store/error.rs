//! What can go wrong in the store.

use std::io;

use parquet::errors::ParquetError;
use thiserror::Error;

use crate::disk;
use crate::formats::age_of_build;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("nobody waits for the answer any more")]
    Cancelled,
    #[error("store: can't {action} {path}: {source}")]
    Disk { action: &'static str, path: String, source: io::Error },
    #[error(
        "store file {path} can't be read ({source}): restore it from a backup, or give its rows up with run --accept-lost-file"
    )]
    Damaged { path: String, source: ParquetError },
    #[error("store file {path} could not be encoded ({source}): this is a bug of the gateway")]
    Encode { path: String, source: ParquetError },
    #[error(
        "store file {path}: written in format {found}, this build reads format {known}: start the {} build that wrote it",
        age_of_build(found, known)
    )]
    OtherFormat { path: String, found: u32, known: u32 },
    #[error(
        "store file {path} has {found} bytes and the catalogue says {expected}: restore the file from a backup"
    )]
    WrongSize { path: String, expected: u64, found: u64 },
    #[error(
        "store file {path}: the checksum of its bytes is not the one that the catalogue has: restore the file from a backup"
    )]
    WrongChecksum { path: String },
    #[error(
        "store file {path} does not hold as many rows as the catalogue says: restore the file from a backup"
    )]
    WrongRowCount { path: String },
    #[error(
        "the store expected observation frame {expected} and got {found}: the observation log has a gap or was not read from the cursor on"
    )]
    FrameGap { expected: u64, found: u64 },
    #[error("observation frame {frame_no} {what}: another build wrote it or this one has a bug")]
    MalformedFrame { frame_no: u64, what: &'static str },
    #[error(
        "observation frame {frame_no} settles row {obs_no}, which is not unresolved: the log was not read from the cursor on, or this is a bug"
    )]
    UnknownOutcome { frame_no: u64, obs_no: u64 },
}

impl StoreError {
    /// The disk is full: push back and try again when space returns; nothing is lost.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if disk::is_no_space(source))
    }

    /// Which part of `docs/operations/damage.md` is about it, where reading a file that was committed ended in this.
    pub fn damage_code(&self) -> &'static str {
        match self {
            Self::Disk { source, .. } if source.kind() == io::ErrorKind::NotFound => "file_missing",
            Self::WrongChecksum { .. } => "file_checksum",
            Self::WrongSize { .. } => "file_length",
            Self::WrongRowCount { .. } => "file_rows",
            _ => "file_unreadable",
        }
    }

    pub(super) fn disk(action: &'static str, path: &str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { action, path, source }
    }

    /// An error of the parquet crate while reading `path`; errors of the disk below it come out as such.
    pub(super) fn reading(path: &str, error: ParquetError) -> Self {
        match into_io(error) {
            Ok(source) => Self::Disk { action: "read", path: path.to_owned(), source },
            Err(source) => Self::Damaged { path: path.to_owned(), source },
        }
    }

    pub(super) fn writing(path: &str, error: ParquetError) -> Self {
        match into_io(error) {
            Ok(source) => Self::Disk { action: "write", path: path.to_owned(), source },
            Err(source) => Self::Encode { path: path.to_owned(), source },
        }
    }
}

fn into_io(error: ParquetError) -> Result<io::Error, ParquetError> {
    match error {
        ParquetError::External(inner) => {
            inner.downcast::<io::Error>().map(|error| *error).map_err(ParquetError::External)
        }
        other => Err(other),
    }
}
