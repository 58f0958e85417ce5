//! Planted bugs: each breaks one promise, in what surrounds the gateway, so that the product has no hook for them. Tests
//! prove that the simulation finds each one.

use std::sync::Arc;

use gateway::catalogue::Commit;
use gateway::observation::{ObservationFrame, Outcome, OutcomeKind};
use gateway::store::FileEntry;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A frame of the journal counts as durable before its sync (P1).
    AckBeforeSync,
    /// The transaction moves the checkpoint past a message that it does not reflect (P2).
    CheckpointAhead,
    /// The cursor is committed before the files that it speaks of (P2).
    CursorBeforeFile,
    /// Late rows that are known already are stored again (P3).
    DuplicatesInserted,
    /// What a failed sync left is believed, and the gateway goes on (P1).
    FailedSyncBelieved,
    /// Feeds of two frames leave in the wrong order, so a retained value moves back (design §3.6).
    FeedMovesBack,
    /// A store file is named before its bytes are durable (P2).
    FileNotSynced,
    /// A late row is counted twice (P6).
    LateRowCountedTwice,
    /// An observation frame counts as durable before its sync (P2, P6).
    ObservationsBeforeSync,
    /// A restart leaves files that no transaction names.
    OrphansKept,
    /// The store's outcomes reach the log twice (P3, P6).
    OutcomeFrameTwice,
    /// A payload that could not be decoded is not kept (P2).
    QuarantineDropped,
    /// What recovery read back counts as durable and is not made so (P1).
    RecoveredTailTrusted,
    /// A store file's new name is not made durable (P2).
    RenameNotSynced,
    /// Ranks, or the datastreams whose times are kept, are not applied (design §4.2).
    RulesForgotten,
    /// A commit leaves out what a replay or an erasure took out of the quarantine (P2, B1-5).
    SettlementForgotten,
}

pub const BUGS: [Bug; 16] = [
    Bug::AckBeforeSync,
    Bug::CheckpointAhead,
    Bug::CursorBeforeFile,
    Bug::DuplicatesInserted,
    Bug::FailedSyncBelieved,
    Bug::FeedMovesBack,
    Bug::FileNotSynced,
    Bug::LateRowCountedTwice,
    Bug::ObservationsBeforeSync,
    Bug::OrphansKept,
    Bug::OutcomeFrameTwice,
    Bug::QuarantineDropped,
    Bug::RecoveredTailTrusted,
    Bug::RenameNotSynced,
    Bug::RulesForgotten,
    Bug::SettlementForgotten,
];

/// What planted bugs remember from one commit to the next.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// What [`Bug::CursorBeforeFile`] left out.
    files: Vec<FileEntry>,
    /// Of [`Bug::LateRowCountedTwice`]: late rows that wait, and those that were counted once more.
    unresolved: u64,
    late_counted: u64,
}

impl Bug {
    /// What the simulation says when it finds it: a part of one of these sentences.
    pub fn sentences(self) -> &'static [&'static str] {
        const GONE: &str = "a row that was there changed or is gone";
        const BOOKS: &str = "the books count other rows than the store has";
        const FILES: &str = "the files have other rows than the books count";
        const ENTRIES: &str = "the books count other entries than the quarantine has";
        const DAMAGED: &str = "damaged at byte";
        const JOURNAL_ENDS: &str = "the journal ends at message";
        const LOG_ENDS: &str = "the observation log ends at frame";
        const NO_FILE: &str = "can't find the store file";
        match self {
            Self::AckBeforeSync => &[JOURNAL_ENDS, DAMAGED, "lost: "],
            Self::CheckpointAhead => &[JOURNAL_ENDS, "positions are not dense"],
            Self::CursorBeforeFile => {
                &[BOOKS, FILES, GONE, NO_FILE, "has a content twice", "revisions of", "lost: "]
            }
            Self::DuplicatesInserted => &["has a content twice", "revisions of "],
            Self::FailedSyncBelieved => &["the gateway goes on although this failed", DAMAGED, JOURNAL_ENDS],
            Self::FeedMovesBack => &["moved back", "there is no retained value", "did not get"],
            Self::FileNotSynced => &["and the catalogue", "can't be read"],
            Self::LateRowCountedTwice => &[BOOKS],
            Self::ObservationsBeforeSync => &[LOG_ENDS, DAMAGED, "a quarantined entry is gone"],
            Self::OrphansKept => &["store files that are there"],
            Self::OutcomeFrameTwice => &["which is not unresolved"],
            Self::QuarantineDropped => &[ENTRIES, "a quarantined entry is gone"],
            Self::RecoveredTailTrusted => &[DAMAGED, LOG_ENDS, JOURNAL_ENDS, "is durable but frame"],
            Self::RenameNotSynced => &[NO_FILE],
            Self::RulesForgotten => &["the row in force is", "rows in force are not one for each key"],
            Self::SettlementForgotten => &[ENTRIES, "is back"],
        }
    }

    /// Whether the disk says that a call was done which was not.
    pub(super) fn lies_about(self, call: &str, path: &str, is_opening: bool) -> bool {
        match self {
            Self::AckBeforeSync => call == "frame" && path.starts_with("journal") && !is_opening,
            Self::ObservationsBeforeSync => {
                call == "frame" && path.starts_with("observations") && !is_opening
            }
            Self::RecoveredTailTrusted => call == "frame" && is_opening,
            Self::FailedSyncBelieved => call == "failed frame",
            Self::FileNotSynced => call == "sync" && path.starts_with("store"),
            Self::RenameNotSynced => call == "sync_dir" && path.starts_with("store/"),
            Self::OrphansKept => call == "remove" && path.starts_with("store") && is_opening,
            _ => false,
        }
    }

    pub(super) fn spoil_commit(self, commit: &Commit, delayed: &mut Delayed) -> Commit {
        let mut commit = commit.clone();
        match self {
            Self::CursorBeforeFile => {
                let files = std::mem::replace(&mut commit.files_added, std::mem::take(&mut delayed.files));
                delayed.files = files;
            }
            Self::CheckpointAhead => commit.checkpoint.next_message_no += 1,
            Self::LateRowCountedTwice => {
                let unresolved = commit.books.totals.counts.unresolved;
                delayed.late_counted += delayed.unresolved.saturating_sub(unresolved);
                delayed.unresolved = unresolved;
                commit.books.totals.counts.inserted += delayed.late_counted;
            }
            Self::QuarantineDropped => commit.quarantine.items.clear(),
            Self::SettlementForgotten => commit.quarantine.changes.clear(),
            _ => {}
        }
        commit
    }

    pub(super) fn spoil_outcomes(
        self,
        next: Option<Vec<Outcome>>,
        again: &mut Option<Vec<Outcome>>,
    ) -> Option<Vec<Outcome>> {
        match self {
            Self::OutcomeFrameTwice => match next {
                Some(outcomes) => {
                    *again = Some(outcomes.clone());
                    Some(outcomes)
                }
                None => again.take(),
            },
            Self::DuplicatesInserted => next.map(|mut outcomes| {
                for outcome in &mut outcomes {
                    if outcome.outcome_kind() == OutcomeKind::Duplicate {
                        outcome.kind = OutcomeKind::Inserted as u8;
                    }
                }
                outcomes
            }),
            _ => next,
        }
    }

    pub(super) fn spoil_feeds(
        self,
        frame: &Arc<ObservationFrame>,
        held: &mut Option<Arc<ObservationFrame>>,
    ) -> Vec<Arc<ObservationFrame>> {
        match (self, held.take()) {
            (Self::FeedMovesBack, None) => {
                *held = Some(frame.clone());
                Vec::new()
            }
            (_, before) => std::iter::once(frame.clone()).chain(before).collect(),
        }
    }
}
