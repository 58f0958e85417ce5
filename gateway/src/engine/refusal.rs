//! Why a start is refused, as the page for operators has it: `docs/operations/damage.md` has a part for each, and a test
//! compares the two.

use super::EngineError;
use crate::catalogue::CatalogueError;
use crate::cli::Exit;
use crate::keeper::KeeperError;
use crate::log::LogError;
use crate::query::QueryError;
use crate::store::StoreError;
use crate::verify::Fault;

/// A refusal that no [`Fault`] of `journal verify` describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRefusal {
    BugOrOtherBuild,
    CatalogueForeign,
    Configuration,
    DirectoryInUse,
    GapNotAccepted,
    LogFailure,
    LossNotAccepted,
    NoSpace,
    OtherFormat,
    SystemError,
}

impl StartRefusal {
    pub const ALL: [Self; 10] = [
        Self::BugOrOtherBuild,
        Self::CatalogueForeign,
        Self::Configuration,
        Self::DirectoryInUse,
        Self::GapNotAccepted,
        Self::LogFailure,
        Self::LossNotAccepted,
        Self::NoSpace,
        Self::OtherFormat,
        Self::SystemError,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::BugOrOtherBuild => "bug_or_other_build",
            Self::CatalogueForeign => "catalogue_foreign",
            Self::Configuration => "configuration",
            Self::DirectoryInUse => "directory_in_use",
            Self::GapNotAccepted => "gap_not_accepted",
            Self::LogFailure => "log_failure",
            Self::LossNotAccepted => "loss_not_accepted",
            Self::NoSpace => "no_space",
            Self::OtherFormat => "other_format",
            Self::SystemError => "system_error",
        }
    }

    /// What is kept is not what was written, or a log cannot be relied on any more; or else something round the gateway.
    fn exit(self) -> Exit {
        match self {
            Self::BugOrOtherBuild | Self::CatalogueForeign | Self::GapNotAccepted | Self::LogFailure => {
                Exit::Journal
            }
            Self::Configuration
            | Self::DirectoryInUse
            | Self::LossNotAccepted
            | Self::NoSpace
            | Self::OtherFormat
            | Self::SystemError => Exit::Environment,
        }
    }
}

/// A part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Fault(Fault),
    StartRefusal(StartRefusal),
}

impl Topic {
    /// The word that heads the part.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.code(),
            Self::StartRefusal(refusal) => refusal.code(),
        }
    }

    /// Whatever `journal verify` would find is corruption.
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Fault(_) => Exit::Journal,
            Self::StartRefusal(refusal) => refusal.exit(),
        }
    }
}

impl From<Fault> for Topic {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<StartRefusal> for Topic {
    fn from(refusal: StartRefusal) -> Self {
        Self::StartRefusal(refusal)
    }
}

impl EngineError {
    /// Of a question: what is kept is damaged, or something else is in the way.
    pub(super) fn of_question(&self) -> QueryError {
        let failure = self.failure();
        if failure.exit == Exit::Journal {
            QueryError::Damaged(failure.sentence)
        } else {
            QueryError::Failed(self.to_string())
        }
    }

    pub(super) fn topic(&self) -> Topic {
        match self {
            Self::Catalogue(error) | Self::Keeper(KeeperError::Catalogue(error)) => of_catalogue(error),
            Self::Descriptors(_) | Self::Io { .. } | Self::Listen { .. } | Self::Things(_) => {
                StartRefusal::SystemError.into()
            }
            Self::Keeper(KeeperError::Cursor { .. }) | Self::Observation(_) | Self::Thread(_) => {
                StartRefusal::BugOrOtherBuild.into()
            }
            Self::Keeper(KeeperError::Store(error)) | Self::Store(error) => of_store(error),
            Self::Locked { .. } => StartRefusal::DirectoryInUse.into(),
            Self::Log(error) => of_log(error),
            Self::LossNotAccepted { .. } => StartRefusal::LossNotAccepted.into(),
            Self::JournalBehind { .. } => Fault::JournalBehind.into(),
            Self::NoSegments { .. } | Self::Unsettled => StartRefusal::NoSpace.into(),
            Self::ObservationsBehind { .. } => Fault::ObservationsBehind.into(),
            Self::ObservationsMissing { .. } => Fault::ObservationsMissing.into(),
        }
    }
}

fn of_catalogue(error: &CatalogueError) -> Topic {
    match error {
        CatalogueError::NoSpace { .. } => StartRefusal::NoSpace.into(),
        CatalogueError::Busy { .. } => StartRefusal::DirectoryInUse.into(),
        CatalogueError::OtherFormat { .. } => StartRefusal::OtherFormat.into(),
        CatalogueError::Empty { .. } => Fault::CatalogueMissing.into(),
        CatalogueError::Foreign { .. } => StartRefusal::CatalogueForeign.into(),
        CatalogueError::Failed => StartRefusal::LogFailure.into(),
        CatalogueError::System { .. } => StartRefusal::SystemError.into(),
        CatalogueError::Sqlite { .. } => Fault::CatalogueDamaged.into(),
    }
}

fn of_store(error: &StoreError) -> Topic {
    match error {
        StoreError::Disk { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Fault::FileMissing.into()
        }
        error if error.is_no_space() => StartRefusal::NoSpace.into(),
        StoreError::Disk { .. } => StartRefusal::SystemError.into(),
        StoreError::Damaged { .. } => Fault::FileUnreadable.into(),
        StoreError::OtherFormat { .. } => StartRefusal::OtherFormat.into(),
        StoreError::WrongChecksum { .. } => Fault::FileChecksum.into(),
        StoreError::WrongSize { .. } => Fault::FileLength.into(),
        StoreError::WrongRowCount { .. } => Fault::FileRows.into(),
        StoreError::Cancelled
        | StoreError::Encode { .. }
        | StoreError::FrameGap { .. }
        | StoreError::MalformedFrame { .. }
        | StoreError::UnknownOutcome { .. } => StartRefusal::BugOrOtherBuild.into(),
    }
}

fn of_log(error: &LogError) -> Topic {
    match error {
        LogError::Fatal { .. } | LogError::Failed => StartRefusal::LogFailure.into(),
        LogError::NoSegmentReady | LogError::NoSpace { .. } => StartRefusal::NoSpace.into(),
        LogError::Io { .. } => StartRefusal::SystemError.into(),
        LogError::Corrupt { .. } | LogError::Unreadable { .. } => Fault::FramesMissing.into(),
        LogError::AcceptedDamage { .. } => Fault::AcceptedDamage.into(),
        LogError::BadHeader { .. } => Fault::SegmentHeader.into(),
        LogError::ShortSegment { .. } => Fault::SegmentLength.into(),
        LogError::OtherFormat { .. } => StartRefusal::OtherFormat.into(),
        LogError::Foreign { .. } => Fault::LogUnreadable.into(),
        LogError::Released { .. } => Fault::JournalMissing.into(),
        LogError::Indispensable { .. } => StartRefusal::GapNotAccepted.into(),
        LogError::Config(_) => StartRefusal::Configuration.into(),
        LogError::FrameTooLarge { .. } | LogError::Malformed { .. } | LogError::EmptyFrame => {
            StartRefusal::BugOrOtherBuild.into()
        }
    }
}

/// The page for operators and the lists in the code are the same (B1-6).
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/operations/damage.md");

    #[test]
    fn b1_6_every_message_has_its_part_on_the_page_and_every_part_its_message() {
        let headings: Vec<&str> =
            PAGE.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
        let codes = Fault::ALL.iter().map(|fault| fault.code());
        let codes: Vec<&str> = codes.chain(StartRefusal::ALL.iter().map(|refusal| refusal.code())).collect();
        let distinct: BTreeSet<&str> = codes.iter().copied().collect();
        assert_eq!(distinct.len(), codes.len(), "a code stands for one thing");
        assert_eq!(headings.iter().copied().collect::<BTreeSet<_>>(), distinct);
        assert_eq!(headings.len(), codes.len(), "a part stands there once");
    }

    #[test]
    fn b1_6_the_page_says_of_each_finding_what_the_command_says_and_what_to_do() {
        for fault in Fault::ALL {
            let heading = format!("### `{}`\n", fault.code());
            let part = PAGE.split(&heading).nth(1).and_then(|rest| rest.split("\n### ").next()).unwrap();
            let mut means = fault.means().chars();
            let means: String = means.next().into_iter().flat_map(char::to_uppercase).chain(means).collect();
            assert!(part.contains(&means), "{}: {part}", fault.code());
            assert!(part.contains("\n1. "), "{} has no steps", fault.code());
        }
    }

    #[test]
    fn b1_6_the_page_says_of_each_refusal_what_to_do() {
        for refusal in StartRefusal::ALL {
            let heading = format!("### `{}`\n", refusal.code());
            let part = PAGE.split(&heading).nth(1).and_then(|rest| rest.split("\n### ").next()).unwrap();
            assert!(part.contains("\n1. "), "{} has no steps", refusal.code());
        }
    }

    /// The contract: 3 = a log failed or what is kept is damaged, 2 = everything else; each sentence names its part of the page.
    #[test]
    fn b1_6_every_refused_start_names_its_part_and_damage_exits_3() {
        let path = || "store/mixed/run-000000000007.parquet".to_owned();
        let disk =
            |kind: std::io::ErrorKind| StoreError::Disk { action: "open", path: path(), source: kind.into() };
        let sqlite =
            |code| CatalogueError::of_sqlite(std::path::Path::new("catalogue.db"), sqlite_failure(code));
        let catalogue = |code| EngineError::Catalogue(sqlite(code));
        let cases: [(EngineError, &str, Exit); 14] = [
            (
                LogError::AcceptedDamage { path: "journal/accepted-damage".to_owned() }.into(),
                "accepted_damage",
                Exit::Journal,
            ),
            (
                CatalogueError::Empty { path: "catalogue.db".into() }.into(),
                "catalogue_missing",
                Exit::Journal,
            ),
            (disk(std::io::ErrorKind::NotFound).into(), "file_missing", Exit::Journal),
            (disk(std::io::ErrorKind::PermissionDenied).into(), "system_error", Exit::Environment),
            (StoreError::WrongRowCount { path: path() }.into(), "file_rows", Exit::Journal),
            (
                StoreError::Damaged {
                    path: path(),
                    source: parquet::errors::ParquetError::EOF("short".into()),
                }
                .into(),
                "file_unreadable",
                Exit::Journal,
            ),
            (
                StoreError::OtherFormat { path: path(), found: 1, known: 2 }.into(),
                "other_format",
                Exit::Environment,
            ),
            (catalogue(rusqlite::ffi::SQLITE_CORRUPT), "catalogue_damaged", Exit::Journal),
            (catalogue(rusqlite::ffi::SQLITE_NOTADB), "catalogue_foreign", Exit::Journal),
            (catalogue(rusqlite::ffi::SQLITE_READONLY), "system_error", Exit::Environment),
            (catalogue(rusqlite::ffi::SQLITE_CANTOPEN), "system_error", Exit::Environment),
            (catalogue(rusqlite::ffi::SQLITE_IOERR), "system_error", Exit::Environment),
            (catalogue(rusqlite::ffi::SQLITE_FULL), "no_space", Exit::Environment),
            (EngineError::Locked { data_dir: "data".to_owned() }, "directory_in_use", Exit::Environment),
        ];
        for (error, code, exit) in cases {
            let failure = error.failure();
            assert_eq!(failure.exit, exit, "{failure}");
            assert!(
                failure.sentence.ends_with(&format!("(docs/operations/damage.md, \"{code}\")")),
                "{failure}"
            );
        }
    }

    /// F5: a question that damage keeps from being answered ends as a start does.
    #[test]
    fn b1_6_damage_met_by_a_question_exits_3_and_names_its_part() {
        let damaged = StoreError::Damaged {
            path: "store/mixed/run-000000000007.parquet".to_owned(),
            source: parquet::errors::ParquetError::EOF("short".into()),
        };
        let corrupt = CatalogueError::of_sqlite(
            std::path::Path::new("catalogue.db"),
            sqlite_failure(rusqlite::ffi::SQLITE_CORRUPT),
        );
        let busy = CatalogueError::Busy { path: "catalogue.db".into() };
        let cases = [
            (EngineError::from(damaged), Exit::Journal, "(docs/operations/damage.md, \"file_unreadable\")"),
            (corrupt.into(), Exit::Journal, "(docs/operations/damage.md, \"catalogue_damaged\")"),
            (busy.into(), Exit::Environment, "is tried again"),
        ];
        for (error, exit, end) in cases {
            let failure = crate::cli::failure_of(&error.of_question());
            assert_eq!(failure.exit, exit, "{failure}");
            assert!(failure.sentence.ends_with(end), "{failure}");
        }
    }

    fn sqlite_failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
    }
}
