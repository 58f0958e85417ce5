//! `journal verify`: reads everything that a gateway keeps and names what is inconsistent. It never writes, and it does not
//! go through the gateway's opening: it is needed most on a directory with which the gateway refuses to start.
//!
//! ```text
//!  catalogue (one read transaction = the cut) ─▶ observation log ─▶ journal ─▶ store files ─▶ the books' sums
//! ```
//!
//! Beside a running gateway the cut is a commit. Both logs are listed after it, so they reach at least as far; segments that
//! are given up and files that are replaced meanwhile are no inconsistencies. Without a gateway the directory's lock is held,
//! so that none starts.
//!
//! - [`fault`]: the list of everything that can be found, with meaning and remedy.
//! - [`logs`], [`observations`]: segments, frames, records; references and coverage; the recount.
//! - [`wal`]: the catalogue's write-ahead log. - [`files`]: store files. - [`books`]: sums.
//! - [`report`], [`progress`]: what is told.

mod books;
mod fault;
mod files;
mod finding;
mod logs;
mod observations;
mod progress;
mod report;
mod wal;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;

pub use fault::Fault;
pub use finding::{Finding, PAGE};
pub use progress::Progress;
pub use report::{Checked, FINDINGS_MAX, Report};

use crate::catalogue::{BookHour, CATALOGUE_FILE, CatalogueCut, CatalogueError, Snapshot};
use crate::disk::{Disk, LOCK_FILE, OsDisk};
use crate::keeper::KeeperCursor;
use crate::log::{JOURNAL_DIR, LogError, LogKind, LogReport, OBSERVATIONS_DIR, check};
use crate::registry::{Registry, SharedRegistry};
use crate::store::STORE_DIR;
use files::{Files, Stored};
use logs::JournalVisitor;
use observations::{Cut, ObservationsVisitor};

/// Why a directory cannot be checked at all.
#[derive(Debug, Error)]
pub enum VerifyError {
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("{}: there is no gateway's data in this directory; name the right one with --data-dir", path.display())]
    Nothing { path: PathBuf },
}

/// Checks everything in `data_dir`.
pub fn verify(data_dir: &Path, progress: &Progress) -> Result<Report, VerifyError> {
    let io = |source| VerifyError::Io { path: data_dir.to_owned(), source };
    let has = |name: &str| data_dir.join(name).exists();
    if ![CATALOGUE_FILE, JOURNAL_DIR, OBSERVATIONS_DIR].into_iter().any(has) {
        return Err(VerifyError::Nothing { path: data_dir.to_owned() });
    }
    let lock = lock(data_dir).map_err(io)?;
    let disk = OsDisk::open_existing(data_dir).map_err(io)?;
    let beside_gateway = matches!(lock, Lock::Taken);
    let checked = Verification { data_dir, disk: &disk, beside_gateway, progress }.run();
    progress.end();
    drop(lock);
    checked
}

/// Who has the directory.
enum Lock {
    /// A gateway.
    Taken,
    /// We do, for as long as this lives; `None` where there is no file to lock: a copy, or a backup.
    Ours { _file: Option<File> },
}

/// Shared with other checks, and against a gateway that starts.
fn lock(data_dir: &Path) -> std::io::Result<Lock> {
    let file = match File::open(data_dir.join(LOCK_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Lock::Ours { _file: None }),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Lock::Ours { _file: Some(file) }),
        Err(TryLockError::WouldBlock) => Ok(Lock::Taken),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

struct Verification<'a> {
    data_dir: &'a Path,
    disk: &'a dyn Disk,
    beside_gateway: bool,
    progress: &'a Progress,
}

impl Verification<'_> {
    fn run(&self) -> Result<Report, VerifyError> {
        let mut report = Report { beside_gateway: self.beside_gateway, ..Report::default() };
        self.progress.part(CATALOGUE_FILE);
        let catalogue = self.catalogue(&mut report)?;
        let snapshot = catalogue.as_ref().map(|(_, snapshot)| snapshot.clone()).unwrap_or_default();
        self.progress.total(self.bytes(&snapshot));
        let mut registry = Registry::default();
        snapshot.definitions.iter().for_each(|definition| registry.apply(definition));
        let Ok(keeper) = KeeperCursor::of_checkpoint(&snapshot.checkpoint) else {
            let what = "the store's cursor in the checkpoint cannot be read";
            report.find(Finding::new(Fault::CatalogueReference, CATALOGUE_FILE, what));
            report.fine = false;
            return Ok(report);
        };
        let cut = Cut { frame_no: snapshot.checkpoint.observation_frame_no, keeper };

        self.progress.part(OBSERVATIONS_DIR);
        let mut observations = ObservationsVisitor::new(self.progress, &mut registry, cut);
        let before = report.findings_count();
        let log = self.log(OBSERVATIONS_DIR, LogKind::Observations, &mut observations)?;
        logs::tell(&log, "observations/", "observation", None, &mut report);
        observations.findings.drain(..).for_each(|finding| report.find(finding));
        self.log_ends(&log, &snapshot, &cut, catalogue.is_some(), &mut report);
        let log_is_whole = report.findings_count() == before && log.accepted.is_empty();
        self.checked("observation", &log, &mut report);

        self.progress.part(JOURNAL_DIR);
        let mut visitor = JournalVisitor { progress: self.progress, malformed: Vec::new(), payload_bytes: 0 };
        let journal = self.log(JOURNAL_DIR, LogKind::Journal, &mut visitor)?;
        let next = observations.next_message_no.unwrap_or(1).max(snapshot.checkpoint.next_message_no);
        logs::tell(&journal, "journal/", "message", Some(next), &mut report);
        visitor.malformed.into_iter().for_each(|finding| report.find(finding));
        self.journal_ends(&journal, next, &snapshot, &mut report);
        self.checked("journal", &journal, &mut report);
        report.checked("journal messages", journal.messages, Some(visitor.payload_bytes));
        for (range, finding) in observations.uncovered.drain(..) {
            let accepted = journal
                .accepted
                .iter()
                .any(|gap| gap.first_message_no <= range.start && gap.last_message_no + 1 >= range.end);
            // The list of what was accepted outlives the segments; a gap at the front has no beginning.
            if !accepted && snapshot.books.totals.lost == 0 {
                report.find(finding);
            }
        }

        self.progress.part(STORE_DIR);
        let recount = observations.into_recount();
        let registry = Arc::new(RwLock::new(registry));
        let is_all_here = log_is_whole && recount.unflushed.is_empty();
        let hours = match &catalogue {
            Some((cut, _)) => cut.book_hours()?,
            None => Vec::new(),
        };
        let stored =
            self.files(&snapshot, &registry, &hours, (catalogue.is_some(), is_all_here), &mut report);
        if let Some((cut, snapshot)) = &catalogue {
            self.progress.part("books");
            let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
            let observations = log_is_whole.then_some(&recount);
            if !log_is_whole {
                report.note("the books were not compared with the observation log, because that is damaged");
            }
            books::Books { cut, snapshot, registry: &registry, observations, stored: &stored }
                .check(&mut report)?;
            report.checked("catalogue rows", cut.row_count()?, self.disk.size_of(CATALOGUE_FILE).ok());
        }
        report.fine = report.findings.is_empty();
        Ok(report)
    }

    /// The cut, if the catalogue can be read.
    fn catalogue(&self, report: &mut Report) -> Result<Option<(CatalogueCut, Snapshot)>, VerifyError> {
        if !self.data_dir.join(CATALOGUE_FILE).exists() {
            let what = "there is no catalogue";
            report.find(Finding::new(Fault::CatalogueMissing, CATALOGUE_FILE, what));
            return Ok(None);
        }
        if !self.beside_gateway {
            self.write_ahead_log(report)?;
        }
        let mut damaged = |error: CatalogueError| match error {
            CatalogueError::OtherFormat { .. } | CatalogueError::Busy { .. } => Err(error),
            CatalogueError::Empty { .. } => {
                let what = "it is empty: a database without the catalogue's tables";
                report.find(Finding::new(Fault::CatalogueMissing, CATALOGUE_FILE, what));
                Ok(None)
            }
            other => {
                report.find(Finding::new(Fault::CatalogueDamaged, CATALOGUE_FILE, other.to_string()));
                Ok(None)
            }
        };
        let cut = match CatalogueCut::open(self.data_dir, self.beside_gateway) {
            Ok(cut) => cut,
            Err(error) => return Ok(damaged(error)?),
        };
        let read = || {
            Ok((cut.problems()?, cut.wrong_tables()?, cut.wrong_rows()?, cut.broken_rows()?, cut.snapshot()?))
        };
        let (problems, tables, wrong, broken, snapshot) = match read() {
            Ok(read) => read,
            Err(error) => return Ok(damaged(error)?),
        };
        // The cut has made sure of SQLite's index of that log.
        if self.beside_gateway {
            self.write_ahead_log(report)?;
        }
        for problem in problems {
            report.find(Finding::new(Fault::CatalogueDamaged, CATALOGUE_FILE, problem));
        }
        for name in tables {
            let what = "it is not there, or not as this build makes it";
            report.find(
                Finding::new(Fault::CatalogueDamaged, CATALOGUE_FILE, what).number(format!("table {name}")),
            );
        }
        for (table, row) in wrong {
            let what = "the row's checksum is not that of its values";
            report.find(
                Finding::new(Fault::CatalogueRow, CATALOGUE_FILE, what)
                    .number(format!("table {table}, {row}")),
            );
        }
        for (table, what) in broken {
            report.find(
                Finding::new(Fault::CatalogueReference, CATALOGUE_FILE, what)
                    .number(format!("table {table}")),
            );
        }
        Ok(Some((cut, snapshot)))
    }

    /// What was committed and not yet folded into the catalogue's main file.
    fn write_ahead_log(&self, report: &mut Report) -> Result<(), VerifyError> {
        let name = format!("{CATALOGUE_FILE}-wal");
        let path = self.data_dir.join(&name);
        let check = if self.beside_gateway { wal::check_beside_gateway } else { wal::check };
        if let Some(offset) = check(&path).map_err(|source| VerifyError::Io { path, source })? {
            let what = "a frame of SQLite's write-ahead log is damaged, and whole ones stand behind it: commits are taken back";
            report.find(Finding::new(Fault::CatalogueDamaged, name, what).at(offset));
        }
        Ok(())
    }

    /// A log whose directory was never made is an empty one.
    fn log(
        &self,
        dir: &str,
        kind: LogKind,
        visitor: &mut dyn crate::log::FrameVisitor,
    ) -> Result<LogReport, VerifyError> {
        if !self.data_dir.join(dir).exists() {
            return Ok(LogReport::default());
        }
        Ok(check(self.disk, dir, kind, self.beside_gateway, visitor)?)
    }

    fn checked(&self, name: &str, log: &LogReport, report: &mut Report) {
        let (segments, frames, records) = match name {
            "journal" => ("journal segments", "journal frames", "journal records"),
            _ => ("observation segments", "observation frames", "observation records"),
        };
        report.checked(segments, log.segments, Some(log.bytes));
        report.checked(frames, log.frames, None);
        report.checked(records, log.records, None);
        if name == "observation" {
            report.checked("observations", log.messages, None);
        }
    }

    /// What the catalogue reflects, and what a start needs to go on from it, is in the observation log.
    fn log_ends(
        &self,
        log: &LogReport,
        snapshot: &Snapshot,
        cut: &Cut,
        has_catalogue: bool,
        report: &mut Report,
    ) {
        if !has_catalogue {
            return;
        }
        let ends_at = log.last.map_or(0, |last| last.frame_no);
        if ends_at < cut.frame_no {
            let what =
                format!("it ends at frame {ends_at}, the catalogue reflects frames up to {}", cut.frame_no);
            report.find(logs::ends_early(Fault::ObservationsBehind, log, OBSERVATIONS_DIR, what));
            return;
        }
        logs::tell_torn_tail(log, report);
        let needed = cut.keeper.refold_from_record_no;
        // Beside a gateway a later commit may have let go of what this one needed.
        if let Some(first) = log.first
            && first.first_record_no > needed
            && !self.beside_gateway
        {
            let what = format!(
                "it begins at record {}, and record {needed} is needed to go on from the checkpoint",
                first.first_record_no
            );
            report.find(Finding::new(Fault::ObservationsMissing, "observations/", what));
        }
        if let Some(last) = log.last
            && last.frame_no == cut.frame_no
            && last.next_message_no() != snapshot.checkpoint.next_obs_no
        {
            let what = format!(
                "frame {} ends at observation {}, the checkpoint says {}",
                last.frame_no,
                last.last_message_no(),
                snapshot.checkpoint.next_obs_no - 1
            );
            report.find(Finding::new(Fault::ObservationsBehind, "observations/", what));
        }
    }

    /// Between the journal and what is processed (messages below `next`) nothing is missing.
    fn journal_ends(&self, journal: &LogReport, next: u64, snapshot: &Snapshot, report: &mut Report) {
        let durable = journal.last.map_or(0, |last| last.last_message_no());
        if durable + 1 < next {
            let what = format!("it ends at message {durable}, messages up to {} are processed", next - 1);
            report.find(logs::ends_early(Fault::JournalBehind, journal, JOURNAL_DIR, what));
        } else if let records = journal.last.map_or(1, |last| last.next_record_no())
            && records < snapshot.checkpoint.next_record_no
        {
            let next = snapshot.checkpoint.next_record_no;
            let what = format!("it ends at record {}, records up to {} are processed", records - 1, next - 1);
            report.find(logs::ends_early(Fault::JournalBehind, journal, JOURNAL_DIR, what));
        } else {
            logs::tell_torn_tail(journal, report);
        }
        if let Some(first) = journal.first
            && first.first_message_no > next
            && !self.beside_gateway
            && !journal.accepted.iter().any(|gap| gap.last_message_no + 1 == first.first_message_no)
        {
            let what = format!(
                "it begins at message {}, and messages from {next} on are not processed",
                first.first_message_no
            );
            report.find(Finding::new(Fault::JournalMissing, "journal/", what));
        }
    }

    /// `has_catalogue`: it could be read. `is_all_here`: no row waits for a file.
    fn files(
        &self,
        snapshot: &Snapshot,
        registry: &SharedRegistry,
        hours: &[BookHour],
        (has_catalogue, is_all_here): (bool, bool),
        report: &mut Report,
    ) -> Stored {
        let is_all_here = is_all_here && snapshot.books.totals.expired == 0;
        let is_replaced = |file_no: u64| self.beside_gateway && self.is_replaced(file_no);
        let states = snapshot.datastream_states.iter().map(|(id, state)| (*id, state)).collect();
        let files = Files {
            states: &states,
            disk: self.disk,
            registry,
            progress: self.progress,
            next_message_no: snapshot.checkpoint.next_message_no,
            hours,
            lost: &snapshot.lost_files,
            is_replaced: &is_replaced,
        };
        let stored = files.check(&snapshot.files, report);
        files.check_keys(&snapshot.files, &stored, report);
        stored.check_states(&states, is_all_here, report);
        if !self.beside_gateway {
            files.orphans(&snapshot.files, has_catalogue, report);
        }
        let bytes = snapshot.files.iter().map(|file| file.bytes).sum();
        report.checked("store files", snapshot.files.len() as u64, Some(bytes));
        report.checked("store rows", stored.rows, None);
        let lost: u64 = snapshot.lost_files.iter().map(|file| file.row_count).sum();
        if lost > 0 {
            let files = snapshot.lost_files.len();
            report.note(format!(
                "store/: {files} files with {lost} rows were given up with run --accept-lost-file"
            ));
        }
        stored
    }

    /// By a commit after the cut.
    fn is_replaced(&self, file_no: u64) -> bool {
        CatalogueCut::open(self.data_dir, true)
            .and_then(|cut| cut.snapshot())
            .is_ok_and(|snapshot| snapshot.files.iter().all(|file| file.file_no != file_no))
    }

    /// What is going to be read, for the progress.
    fn bytes(&self, snapshot: &Snapshot) -> u64 {
        let logs = [JOURNAL_DIR, OBSERVATIONS_DIR].into_iter().flat_map(|dir| {
            let names = self.disk.list(dir).unwrap_or_default();
            names.into_iter().filter_map(move |name| self.disk.size_of(&format!("{dir}/{name}")).ok())
        });
        logs.sum::<u64>() + snapshot.files.iter().map(|file| file.bytes).sum::<u64>()
    }
}
