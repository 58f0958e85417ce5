//! `run --accept-lost-file`: a store file that is missing or damaged is given up, in one commit before anything else is opened.

use super::EngineError;
use crate::catalogue::{BooksDelta, Catalogue, Commit};
use crate::disk::{Disk, rename_durably};
use crate::store::{FileEntry, check_bytes};

/// Behind the name of a damaged file that is given up: the start's sweep leaves it where it is.
const SUFFIX: &str = ".lost";

/// The catalogue names these files as lost from here on. Of those that it names so already nothing is changed.
pub(super) fn accept_lost_files(
    disk: &dyn Disk,
    catalogue: &mut dyn Catalogue,
    file_nos: &[u64],
) -> Result<(), EngineError> {
    let refused = |file_no: u64, reason: String| EngineError::LossNotAccepted { file_no, reason };
    let snapshot = catalogue.load()?;
    let mut lost: Vec<FileEntry> = Vec::new();
    for &file_no in file_nos {
        let is_known = |files: &[FileEntry]| files.iter().any(|file| file.file_no == file_no);
        if is_known(&snapshot.lost_files) || is_known(&lost) {
            continue;
        }
        let Some(file) = snapshot.files.iter().find(|file| file.file_no == file_no) else {
            return Err(refused(file_no, "the catalogue names no such file".to_owned()));
        };
        if check_bytes(disk, file).is_ok() {
            return Err(refused(file_no, format!("{} is whole, so nothing of it is lost", file.path)));
        }
        lost.push(file.clone());
    }
    if lost.is_empty() {
        return Ok(());
    }
    for file in &lost {
        // Before the commit: behind it the file would be swept. A crash in between leaves it missing, which asks for the same.
        if disk.size_of(&file.path).is_ok() {
            let kept = format!("{}{SUFFIX}", file.path);
            rename_durably(disk, &file.path, &kept)
                .map_err(|source| EngineError::Io { what: format!("renaming to {kept}"), source })?;
        }
    }
    let mut datastream_states = snapshot.datastream_states;
    datastream_states.retain(|(datastream, state)| {
        lost.iter().any(|file| may_hold(file, *datastream, state.watermark_us))
    });
    datastream_states.iter_mut().for_each(|(_, state)| state.lose());
    let books = BooksDelta { totals: snapshot.books.totals, ..BooksDelta::default() };
    let checkpoint = snapshot.checkpoint;
    let commit =
        Commit { checkpoint, books, datastream_states, files_lost: lost.clone(), ..Commit::default() };
    catalogue.commit(&commit)?;
    for FileEntry { path, row_count, file_no, .. } in &lost {
        tracing::warn!(
            file_no,
            rows = row_count,
            "the store goes on without {path}, as --accept-lost-file asked for: its rows are lost until they are sent again"
        );
    }
    Ok(())
}

fn may_hold(file: &FileEntry, datastream: u32, time_us: i64) -> bool {
    (file.datastream_min..=file.datastream_max).contains(&datastream)
        && (file.time_min_us..=file.time_max_us).contains(&time_us)
}
