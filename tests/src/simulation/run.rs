//! One seed from beginning to end, and what became of it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use codecs::mqtt::ProtocolVersion;
use gateway::catalogue::MemoryCatalogue;
use gateway::config::Config;
use gateway::disk::{Disk, OpenMode, Random, SimDisk};
use gateway::engine::Sizes;
use gateway::engine::simulated::{Hands, SimulatedGateway};
use gateway::observation::{ObservationFrame, Outcome, OutcomeKind};
use gateway::pipeline::Go;

use super::bugs::Bug;
use super::catalogue;
use super::client::Client;
use super::clock::SimClock;
use super::disk::Shared;
use super::expiry::Expiry;
use super::feeds::Feeds;
use super::model::Model;
use super::network::SimNetwork;
use super::operators::Operators;
use super::plan::{Options, Plan, config, strict};
use super::story::Story;
use super::traffic::Traffic;

/// What a run that found nothing wrong has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Of everything that happened: the same for the same seed.
    pub hash: u64,
    pub messages: u64,
    pub rows: u64,
    pub crashes: u64,
    pub faults: u64,
    pub starts: u64,
    pub damages: u64,
    /// Ends that took commits of the catalogue with its write-ahead log.
    pub wals_lost: u64,
    pub questions: u64,
    /// Quarantined messages that a replay decoded, wholly or in part, and entries that were erased.
    pub replayed: u64,
    pub erased: u64,
    /// Commits that took files away, before the last life; segments that were used again by then.
    pub merges: u64,
    pub segments_reused: u64,
    /// Outcomes of late rows, and those that stored one.
    pub late: u64,
    pub late_stored: u64,
    pub corrected: u64,
    pub outranked: u64,
    /// Rows that retention removed.
    pub expired: u64,
    /// Starts that did not get to their end.
    pub starts_broken_off: u64,
    /// PUBLISHes that were refused with 0x97.
    pub refused: u64,
    /// Operators' sessions during which the gateway ended.
    pub sessions_broken_off: u64,
    pub sessions_on_a_full_disk: u64,
    /// Of the simulated disk.
    pub steps: u64,
}

/// What went wrong.
#[derive(Clone, Debug)]
pub struct Violation {
    pub options: Options,
    pub sentence: String,
}

impl std::ops::AddAssign for Report {
    /// Of many runs together; the hash means nothing then.
    fn add_assign(&mut self, other: Self) {
        self.hash ^= other.hash;
        self.messages += other.messages;
        self.rows += other.rows;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.starts += other.starts;
        self.starts_broken_off += other.starts_broken_off;
        self.damages += other.damages;
        self.wals_lost += other.wals_lost;
        self.questions += other.questions;
        self.replayed += other.replayed;
        self.erased += other.erased;
        self.sessions_broken_off += other.sessions_broken_off;
        self.sessions_on_a_full_disk += other.sessions_on_a_full_disk;
        self.merges += other.merges;
        self.segments_reused += other.segments_reused;
        self.late += other.late;
        self.late_stored += other.late_stored;
        self.corrected += other.corrected;
        self.outranked += other.outranked;
        self.expired += other.expired;
        self.refused += other.refused;
        self.steps += other.steps;
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {}: {}\n  again: {}", self.options.seed, self.sentence, self.options.command())
    }
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_SIMULATING: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs a seed. A check that fails is a panic inside, of the simulation or of the gateway; here it becomes a sentence.
pub fn run(options: Options) -> Result<Report, Violation> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_SIMULATING.with_borrow(|is| *is) {
                let place = info.location().map_or(String::new(), |place| format!(" ({place})"));
                let text = info.payload_as_str().unwrap_or("a panic without words");
                PANIC.with_borrow_mut(|panic| *panic = Some(format!("{text}{place}")));
            } else {
                before(info);
            }
        }));
    });
    IS_SIMULATING.with_borrow_mut(|is| *is = true);
    let result = catch_unwind(AssertUnwindSafe(|| Run::new(options).simulate()));
    IS_SIMULATING.with_borrow_mut(|is| *is = false);
    result.map_err(|_| {
        let sentence = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
        Violation { options, sentence }
    })
}

/// A run of the seed without faults: a sweep puts its crashes into each of its steps of the disk.
pub fn calm(seed: u64) -> Result<Report, Violation> {
    run(Options { seed, calm: true, ..Options::default() })
}

pub(super) struct Run {
    pub(super) options: Options,
    pub(super) random: Random,
    pub(super) plan: Plan,
    pub(super) config: Arc<Config>,
    /// Refuses what `config` takes: readings that are too old for it, stations that are too many.
    pub(super) strict_config: Arc<Config>,
    pub(super) sizes: Sizes,
    pub(super) clock: Arc<SimClock>,
    pub(super) disk: SimDisk,
    pub(super) shared: Arc<Shared>,
    pub(super) catalogue: MemoryCatalogue,
    pub(super) network: SimNetwork,
    pub(super) gateway: Option<SimulatedGateway>,
    pub(super) operators: Option<Operators>,
    pub(super) hands: SimHands,
    pub(super) model: Arc<Mutex<Model>>,
    pub(super) feeds: Feeds,
    pub(super) clients: Vec<Client>,
    pub(super) traffic: Traffic,
    pub(super) report: Report,
    pub(super) is_last: bool,
    /// No stage is lazy.
    pub(super) in_a_hurry: bool,
    /// In the last round, a router or a shard had something to hand on.
    pub(super) is_delivering: bool,
}

impl Run {
    fn new(options: Options) -> Self {
        let mut random = Random::new(options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let plan = Plan::new(&mut random, &options);
        let (config, sizes) = config(&mut random, &plan, options.bug);
        let strict_config = strict(&config);
        let disk = SimDisk::new(random.next_u64());
        // The database was made when the directory was.
        let made = disk.create(catalogue::FILE, OpenMode::Write).and_then(|mut file| {
            file.write_at(0, &mut [std::io::IoSlice::new(&[0; 4096])])?;
            file.sync()
        });
        made.and_then(|()| disk.sync_dir("")).unwrap_or_else(|error| panic!("a fresh disk: {error}"));
        let clock = Arc::new(SimClock::new());
        let client_bytes_max = config.quarantine.client_bytes_max;
        let expiry = Expiry::new(clock.clone(), plan.kept_days);
        let story = Story::new(options.tell);
        let shared = Shared::new(random.next_u64(), story, options.bug, plan.probe_percent);
        let hands = SimHands {
            disk: disk.clone(),
            shared: shared.clone(),
            clock: clock.clone(),
            bug: options.bug,
            again: None,
            held: None,
            waits: 0,
            late: 0,
            late_stored: 0,
        };
        let clients = (0..plan.clients)
            .map(|number| {
                let version = if random.chance(50) { ProtocolVersion::V3_1_1 } else { ProtocolVersion::V5 };
                Client::new(format!("c{number}"), version, number == 0 || random.chance(25))
            })
            .collect();
        Self {
            options,
            random,
            plan,
            config,
            strict_config,
            sizes,
            clock,
            disk,
            shared,
            catalogue: MemoryCatalogue::default(),
            network: SimNetwork::default(),
            gateway: None,
            operators: None,
            hands,
            model: Arc::new(Mutex::new(Model::new(plan.rules, client_bytes_max, expiry))),
            feeds: Feeds::default(),
            clients,
            traffic: Traffic::new(plan.large_percent),
            report: Report::default(),
            is_last: false,
            in_a_hurry: false,
            is_delivering: false,
        }
    }

    pub(super) fn story(&self) -> &Story {
        &self.shared.story
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn simulate(mut self) -> Report {
        for _ in 0..self.plan.lives {
            self.open();
            self.live();
        }
        self.report.steps = self.disk.steps();
        (self.report.merges, self.report.segments_reused) = self.shared.merges_and_reuses();
        self.last_life();
        self.report.hash = self.story().hash();
        let (messages, questions, refused) = {
            let model = self.model();
            (model.messages.len() as u64, model.questions, model.refused)
        };
        (self.report.late, self.report.late_stored) = (self.hands.late, self.hands.late_stored);
        self.report.messages = messages;
        self.report.questions = questions;
        self.report.refused = refused;
        self.report
    }
}

/// Between the stages.
pub(super) struct SimHands {
    disk: SimDisk,
    shared: Arc<Shared>,
    clock: Arc<SimClock>,
    bug: Option<Bug>,
    again: Option<Vec<Outcome>>,
    held: Option<Arc<ObservationFrame>>,
    pub(super) waits: u64,
    /// Outcomes of late rows, and those of them that brought a row.
    late: u64,
    late_stored: u64,
}

/// A pipeline that waits for so long gets space on the disk …
const WAITS_FOR_SPACE: u64 = 20;
/// … and must then go on before this.
const WAITS_MAX: u64 = 2_000;

impl Hands for SimHands {
    fn wait_for_room(&mut self) -> Go {
        if self.disk.is_down() {
            return Go::Stop;
        }
        self.clock.advance(20_000);
        self.waits += 1;
        self.shared.note_room_missing();
        if self.waits >= WAITS_FOR_SPACE {
            self.disk.set_capacity(u64::MAX);
        }
        assert!(self.waits < WAITS_MAX, "the pipeline never gets room, though the disk has space");
        Go::On
    }

    fn outcomes(&mut self, next: Option<Vec<Outcome>>) -> Option<Vec<Outcome>> {
        for outcome in next.iter().flatten() {
            self.late += 1;
            let is_stored = matches!(outcome.outcome_kind(), OutcomeKind::Inserted | OutcomeKind::Corrected);
            self.late_stored += u64::from(is_stored);
        }
        match self.bug {
            Some(bug) => bug.spoil_outcomes(next, &mut self.again),
            None => next,
        }
    }

    fn to_router(&mut self, frame: &Arc<ObservationFrame>) -> Vec<Arc<ObservationFrame>> {
        match self.bug {
            Some(bug) => bug.spoil_feeds(frame, &mut self.held),
            None => vec![frame.clone()],
        }
    }
}
