//! Why a start is refused, as the page for operators has it: `docs/operations/damage.md` has a part for each, and a test
//! compares the two.

use super::EngineError;
use crate::catalogue::CatalogueError;
use crate::keeper::KeeperError;
use crate::log::LogError;
use crate::store::StoreError;
use crate::verify::Fault;

macro_rules! refusals {
    ($($name:ident $code:literal,)*) => {
        /// A refusal that no [`Fault`] of `journal verify` describes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Refusal { $($name,)* }

        impl Refusal {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

refusals! {
    BugOrOtherBuild "bug_or_other_build",
    CatalogueForeign "catalogue_foreign",
    Configuration "configuration",
    DirectoryInUse "directory_in_use",
    GapNotAccepted "gap_not_accepted",
    LogFailure "log_failure",
    OtherFormat "other_format",
    NoSpace "no_space",
    SystemError "system_error",
}

impl EngineError {
    /// The word that heads the part of the page.
    pub(super) fn topic(&self) -> &'static str {
        match self {
            Self::Catalogue(error) | Self::Keeper(KeeperError::Catalogue(error)) => of_catalogue(error),
            Self::Descriptors(_) | Self::Io { .. } | Self::Things(_) => Refusal::SystemError.code(),
            Self::Keeper(KeeperError::Cursor { .. }) | Self::Observation(_) | Self::Thread(_) => {
                Refusal::BugOrOtherBuild.code()
            }
            Self::Keeper(KeeperError::Store(error)) | Self::Store(error) => of_store(error),
            Self::Locked { .. } => Refusal::DirectoryInUse.code(),
            Self::Log(error) => of_log(error),
            Self::JournalBehind { .. } => Fault::JournalBehind.code(),
            Self::NoSegments { .. } => Refusal::NoSpace.code(),
            Self::ObservationsBehind { .. } => Fault::ObservationsBehind.code(),
            Self::ObservationsMissing { .. } => Fault::ObservationsMissing.code(),
        }
    }
}

fn of_catalogue(error: &CatalogueError) -> &'static str {
    match error {
        CatalogueError::NoSpace { .. } => Refusal::NoSpace.code(),
        CatalogueError::Busy { .. } => Refusal::DirectoryInUse.code(),
        CatalogueError::OtherFormat { .. } => Refusal::OtherFormat.code(),
        CatalogueError::Foreign { .. } => Refusal::CatalogueForeign.code(),
        CatalogueError::Failed => Refusal::LogFailure.code(),
        CatalogueError::Sqlite { .. } => Fault::CatalogueDamaged.code(),
    }
}

fn of_store(error: &StoreError) -> &'static str {
    match error {
        StoreError::Disk { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Fault::FileMissing.code()
        }
        error if error.is_no_space() => Refusal::NoSpace.code(),
        StoreError::Disk { .. } => Refusal::SystemError.code(),
        StoreError::Damaged { .. } => Fault::FileUnreadable.code(),
        StoreError::OtherFormat { .. } => Refusal::OtherFormat.code(),
        StoreError::WrongSize { .. } => Fault::FileLength.code(),
        StoreError::WrongRowCount { .. } => Fault::FileRows.code(),
        StoreError::Cancelled
        | StoreError::Encode { .. }
        | StoreError::FrameGap { .. }
        | StoreError::MalformedFrame { .. }
        | StoreError::UnknownOutcome { .. } => Refusal::BugOrOtherBuild.code(),
    }
}

fn of_log(error: &LogError) -> &'static str {
    match error {
        LogError::Fatal { .. } | LogError::Failed => Refusal::LogFailure.code(),
        LogError::NoSegmentReady | LogError::NoSpace { .. } => Refusal::NoSpace.code(),
        LogError::Io { .. } => Refusal::SystemError.code(),
        LogError::Corrupt { .. } | LogError::Unreadable { .. } => Fault::FramesMissing.code(),
        LogError::BadHeader { .. } => Fault::SegmentHeader.code(),
        LogError::OtherFormat { .. } => Refusal::OtherFormat.code(),
        LogError::Foreign { .. } => Fault::LogUnreadable.code(),
        LogError::Released { .. } => Fault::JournalMissing.code(),
        LogError::Indispensable { .. } => Refusal::GapNotAccepted.code(),
        LogError::Config(_) => Refusal::Configuration.code(),
        LogError::FrameTooLarge { .. } | LogError::Malformed { .. } | LogError::EmptyFrame => {
            Refusal::BugOrOtherBuild.code()
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
        let codes: Vec<&str> = codes.chain(Refusal::ALL.iter().map(|refusal| refusal.code())).collect();
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
}
