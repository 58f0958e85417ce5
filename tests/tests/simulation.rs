//! B1-1: the whole gateway in one thread, against the reference model (`docs/simulation.md`). More seeds:
//! `cargo run --profile e2e -p e2e-tests --bin simulate -- --seeds 10000`.

use e2e_tests::simulation::{BUGS, Bug, Options, Report, calm, run};
use gateway::disk::Crash;

/// Seeds of every build.
const SEEDS: u64 = 300;
/// A planted bug is found within so many.
const SEEDS_FOR_A_BUG: u64 = 300;
/// A sweep takes a seed whose calm run merges files and uses segments again, in few enough steps for all of them.
const SWEEP_STEPS: std::ops::RangeInclusive<u64> = 120..=330;

#[test]
fn b1_1_a_few_hundred_seeds() {
    let mut failed = Vec::new();
    let mut done = Report::default();
    for seed in 1..=SEEDS {
        match run(Options::of_seed(seed)) {
            Ok(report) => done += report,
            Err(violation) => failed.push(format!("{violation}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // What never happens is not tested.
    for (what, count) in [
        ("ends of a gateway", done.crashes),
        ("ends by a fault", done.faults),
        ("starts that broke off", done.starts_broken_off),
        ("damaged files", done.damages),
        ("write-ahead logs of the catalogue that were lost", done.wals_lost),
        ("merges", done.merges),
        ("segments used again", done.segments_reused),
        ("late rows", done.late),
        ("late rows that were stored", done.late_stored),
        ("corrections", done.corrected),
        ("outranked rows", done.outranked),
        ("rows that retention removed", done.expired),
        ("replayed messages", done.replayed),
        ("erased entries", done.erased),
        ("operators' sessions that broke off", done.sessions_broken_off),
        ("operators' sessions on a full disk", done.sessions_on_a_full_disk),
        ("refused messages", done.refused),
    ] {
        assert!(count >= SEEDS / 50, "{what}: only {count} in {SEEDS} seeds: {done:#?}");
    }
}

#[test]
fn b1_1_a_seed_repeats_step_by_step() {
    for seed in 1..=20 {
        let options = Options::of_seed(seed);
        let [first, second] = [run(options), run(options)].map(|report| report.map(|it| it.hash).ok());
        assert!(first.is_some(), "seed {seed} fails");
        assert_eq!(first, second, "seed {seed} went another way the second time");
    }
}

/// A crash in the middle of every step of the disk: of flush, compaction, commit, of making and reusing segments.
#[test]
fn b1_1_a_crash_at_every_step() {
    let is_worth_it = |report: &Report| {
        SWEEP_STEPS.contains(&report.steps) && report.merges > 0 && report.segments_reused > 0
    };
    let found = (1..2_000).find_map(|seed| calm(seed).ok().filter(is_worth_it).map(|report| (seed, report)));
    let (seed, report) = found.unwrap_or_else(|| panic!("no seed is small enough for a sweep"));
    for crash in [Crash::Kill, Crash::PowerLoss] {
        for step in 1..=report.steps {
            let options = Options { crash_at: Some((step, crash)), ..Options::of_seed(seed) };
            run(options).unwrap_or_else(|violation| panic!("{crash:?} at step {step}: {violation}"));
        }
    }
}

fn is_caught(bug: Bug) {
    let found = (1..=SEEDS_FOR_A_BUG)
        .find_map(|seed| run(Options { bug: Some(bug), ..Options::of_seed(seed) }).err())
        .unwrap_or_else(|| panic!("{bug:?} was planted, and {SEEDS_FOR_A_BUG} seeds found nothing"));
    assert!(
        bug.sentences().iter().any(|sentence| found.sentence.contains(sentence)),
        "{bug:?} was planted, and something else was found: {found}"
    );
}

macro_rules! planted {
    ($($name:ident: $bug:ident,)*) => {
        $(#[test]
        fn $name() {
            is_caught(Bug::$bug);
        })*

        #[test]
        fn b1_1_every_planted_bug_has_a_test() {
            assert_eq!([$(Bug::$bug),*], BUGS);
        }
    };
}

planted! {
    b1_1_planted_ack_before_sync_is_caught: AckBeforeSync,
    b1_1_planted_checkpoint_ahead_is_caught: CheckpointAhead,
    b1_1_planted_cursor_before_file_is_caught: CursorBeforeFile,
    b1_1_planted_duplicates_inserted_is_caught: DuplicatesInserted,
    b1_1_planted_failed_sync_believed_is_caught: FailedSyncBelieved,
    b1_1_planted_feed_moves_back_is_caught: FeedMovesBack,
    b1_1_planted_file_not_synced_is_caught: FileNotSynced,
    b1_1_planted_late_row_counted_twice_is_caught: LateRowCountedTwice,
    b1_1_planted_observations_before_sync_is_caught: ObservationsBeforeSync,
    b1_1_planted_orphans_kept_is_caught: OrphansKept,
    b1_1_planted_outcome_frame_twice_is_caught: OutcomeFrameTwice,
    b1_1_planted_quarantine_dropped_is_caught: QuarantineDropped,
    b1_1_planted_recovered_tail_trusted_is_caught: RecoveredTailTrusted,
    b1_1_planted_rename_not_synced_is_caught: RenameNotSynced,
    b1_1_planted_rules_forgotten_is_caught: RulesForgotten,
    b1_1_planted_settlement_forgotten_is_caught: SettlementForgotten,
}
