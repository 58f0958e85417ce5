//! Lives of a gateway: opened, used, ended by a crash, a fault or a stop, opened again.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use gateway::catalogue::{Catalogue, MemoryCatalogue, QuarantineFilter};
use gateway::cli::{Damage, Exit, Failure};
use gateway::disk::{Crash, Disk, Fault, FaultKind, FaultOn};
use gateway::engine::World;
use gateway::engine::simulated::{SimulatedGateway, Stage};
use gateway::log::LogId;
use gateway::settle::{Change, Selection, SettleRequest};

use super::bugs::Bug;
use super::catalogue::SimCatalogue;
use super::disk::SeenDisk;
use super::operators::Operators;
use super::run::Run;
use super::view::Asked;

/// Starts that may fail one behind the other; then the faults end.
const STARTS_WITH_FAULTS_MAX: u64 = 4;
/// A gateway that nobody disturbs must be done with everything before this.
const QUIET_ROUNDS_MAX: u64 = 3_000;

impl Run {
    /// Opens the gateway, however many tries the faults cost.
    pub(super) fn open(&mut self) {
        if self.options.has_random_faults() && self.random.chance(self.plan.damage_percent) {
            self.damage();
        }
        for attempt in 0.. {
            let disturbed = self.options.has_random_faults() && attempt < STARTS_WITH_FAULTS_MAX;
            if disturbed && self.random.chance(25) {
                let step = self.disk.steps() + 1 + self.random.below(80);
                let crash = self.some_crash();
                self.disk.crash_at(step, crash);
            } else if disturbed && self.random.chance(12) {
                self.plan_fault(60);
            }
            if let Some((step, crash)) = self.options.crash_at
                && step > self.disk.steps()
            {
                self.disk.crash_at(step, crash);
            }
            match self.try_open(Damage::Refuse) {
                Ok(()) if self.disk.is_down() => {
                    self.report.starts_broken_off += 1;
                    self.ended("the machine went down behind the start");
                }
                Ok(()) => {
                    self.hands.waits = 0;
                    self.started();
                    // Power loss behind a recovery.
                    if disturbed && self.random.chance(12) {
                        self.crash(Crash::PowerLoss);
                    } else {
                        return;
                    }
                }
                Err(failure) => {
                    let expected = self.disk.is_down() || self.shared.errors() > 0;
                    assert!(expected, "the gateway does not start: {failure} (exit {:?})", failure.exit);
                    self.report.starts_broken_off += 1;
                    self.ended(&format!("no start: {failure}"));
                }
            }
        }
    }

    pub(super) fn try_open(&mut self, damage: Damage) -> Result<(), Failure> {
        self.report.starts += 1;
        self.story().tell(|| format!("start {}", self.report.starts));
        self.shared.opening(true);
        let disk = Arc::new(SeenDisk::new(self.disk.clone(), self.shared.clone()));
        let catalogue = SimCatalogue::new(self.catalogue.clone(), self.disk.clone(), self.shared.clone());
        let mut ids = self.random.clone();
        let world = World {
            disk,
            catalogue: Box::new(catalogue),
            clock: self.clock.clone(),
            sizes: self.sizes.clone(),
            new_log_id: Box::new(move || {
                let id = u128::from(ids.next_u64()) << 64 | u128::from(ids.next_u64());
                Ok(LogId(id.to_le_bytes()))
            }),
            readers: None,
            lock: Box::new(()),
        };
        let is_lenient = self.random.chance(50) || self.is_last;
        self.story().tell(|| format!("lenient: {is_lenient}"));
        let config = if is_lenient { &self.config } else { &self.strict_config };
        let opened = SimulatedGateway::open(config, damage, world);
        self.shared.opening(false);
        let gateway = opened?;
        let (operators, wait) = Operators::new();
        gateway.take_changes(wait)?;
        self.operators = Some(operators);
        self.gateway = Some(gateway);
        Ok(())
    }

    /// What must be so at once behind a start.
    fn started(&mut self) {
        self.check_between();
        if self.shared.errors() == 0 {
            self.check_store_files();
        }
        let Some(gateway) = &self.gateway else { return };
        let (view, model) = (gateway.view(), self.model.clone());
        let (disk, shared) = (self.disk.clone(), self.shared.clone());
        let probe = move |what: &str| {
            if disk.is_down() {
                return;
            }
            let Ok(mut model) = model.try_lock() else { return };
            shared.story.tell(|| format!("    asked before {what}"));
            match Asked::in_between(&*view) {
                Ok(asked) => model.check_instant(&asked),
                Err(error) => assert!(shared.errors() > 0, "no answer: {error}"),
            }
        };
        self.shared.set_probe(Some(Box::new(probe)));
    }

    /// No file but those that the catalogue names.
    fn check_store_files(&self) {
        let mut found = BTreeSet::new();
        for folder in self.disk.list("store").unwrap_or_default() {
            let folder = format!("store/{folder}");
            for name in self.disk.list(&folder).unwrap_or_default() {
                found.insert(format!("{folder}/{name}"));
            }
        }
        let snapshot = self.catalogue.clone().load();
        let named: BTreeSet<String> =
            snapshot.into_iter().flat_map(|snapshot| snapshot.files).map(|file| file.path).collect();
        assert_eq!(found, named, "store files that are there, and those that the catalogue names");
    }

    pub(super) fn live(&mut self) {
        if self.options.has_random_faults() {
            if self.random.chance(50) {
                let step = self.disk.steps() + 20 + self.random.below(600);
                let crash = self.some_crash();
                self.disk.crash_at(step, crash);
            }
            if self.random.chance(self.plan.faults_percent) {
                self.plan_fault(120);
            }
        }
        for index in 0..self.clients.len() {
            if self.random.chance(80) {
                self.connect(index, false);
            }
        }
        for _ in 0..self.plan.actions_of_a_life {
            if !self.act() {
                return;
            }
        }
        if !self.options.has_random_faults() {
            self.quiet();
            return self.end_sweep();
        }
        match self.random.below(10) {
            0..3 => self.stop(),
            3..5 => {
                if self.quiet() {
                    let crash = self.some_crash();
                    self.crash(crash);
                }
            }
            _ => {
                let crash = self.some_crash();
                self.crash(crash);
            }
        }
    }

    /// Behind the crash of a sweep, or where none came.
    fn end_sweep(&mut self) {
        if self.gateway.is_some() {
            self.stop();
        }
    }

    fn some_crash(&mut self) -> Crash {
        if self.random.chance(40) { Crash::Kill } else { Crash::PowerLoss }
    }

    fn plan_fault(&mut self, calls: u64) {
        let on = match self.random.below(6) {
            0 => FaultOn::Read,
            1 => FaultOn::Directory,
            2 | 3 => FaultOn::Write,
            _ => FaultOn::Sync,
        };
        let kind = if self.random.chance(50) { FaultKind::Io } else { FaultKind::NoSpace };
        if kind == FaultKind::NoSpace {
            self.shared.note_room_missing();
        }
        let nth = 1 + self.random.below(calls);
        self.story().tell(|| format!("planned: call {nth} of {on:?} fails, {kind:?}"));
        self.disk.fail(Fault { on, nth, kind });
    }

    /// One thing happens; false where the gateway's life is over.
    fn act(&mut self) -> bool {
        let publish = self.plan.publish_percent;
        let drop = self.plan.drop_percent;
        match self.random.below(100) {
            0..40 => {
                let stage = self.some_stage();
                return self.turn(stage);
            }
            40..46 => {
                self.operators_go_on();
                return self.turn_all();
            }
            action @ 46..68 if action < 46 + publish => self.publish(),
            68..78 => self.arrive(),
            78..88 => self.read(),
            88..92 => self.pass_time(),
            92..95 => self.connect_one(),
            action @ 95..99 if action < 95 + drop => self.drop_one(),
            99 if self.plan.kept_days.is_some() && self.random.chance(40) => return self.days_pass(),
            99 => match self.random.below(8) {
                0 => self.check_between(),
                1 | 6 | 7 => self.fill_disk(),
                2 => self.ping_or_forget(),
                4 | 5 => self.operate(),
                3 if self.random.chance(30) => return self.quiet(),
                _ => {}
            },
            _ => {}
        }
        true
    }

    fn some_stage(&mut self) -> Stage {
        let shards = self.gateway.as_ref().map_or(1, SimulatedGateway::shard_count) as u64;
        match self.random.below(12) {
            0 | 1 => Stage::Shard(self.random.below(shards) as usize),
            2 => Stage::Tick(self.random.below(shards) as usize),
            3 | 4 => Stage::Writer,
            5 | 6 => Stage::Pipeline,
            7 | 8 => Stage::Keeper,
            9 => Stage::Compactor,
            10 => Stage::RouterFrame,
            _ if self.random.chance(50) => Stage::RouterObservations,
            _ => Stage::RouterRequest,
        }
    }

    /// All stages, in some order.
    fn turn_all(&mut self) -> bool {
        let shards = self.gateway.as_ref().map_or(1, SimulatedGateway::shard_count);
        let mut stages = vec![
            Stage::Writer,
            Stage::Pipeline,
            Stage::Keeper,
            Stage::Compactor,
            Stage::RouterFrame,
            Stage::RouterObservations,
            Stage::RouterRequest,
        ];
        stages.extend((0..shards).map(Stage::Shard));
        self.is_delivering = false;
        while !stages.is_empty() {
            let stage = stages.swap_remove(self.random.below(stages.len() as u64) as usize);
            if !self.turn(stage) {
                return false;
            }
        }
        true
    }

    /// False where the gateway did not survive it.
    fn turn(&mut self, stage: Stage) -> bool {
        if self.plan.lazy == Some(stage) && !self.in_a_hurry && !self.random.chance(4) {
            return true;
        }
        let Some(gateway) = &mut self.gateway else { return false };
        let result = gateway.turn(stage, &mut self.network, &mut self.hands);
        if matches!(result, Ok(true)) {
            self.hands.waits = 0;
            self.is_delivering |= matches!(
                stage,
                Stage::RouterFrame | Stage::RouterObservations | Stage::RouterRequest | Stage::Shard(_)
            );
        }
        self.story().tell(|| format!("  {stage:?}: {result:?}"));
        if self.disk.is_down() {
            self.ended("the machine went down");
            return false;
        }
        match (result, self.shared.log_failed()) {
            (Ok(_), None) => true,
            (Ok(_), Some(what)) => panic!("the gateway goes on although this failed: {what}"),
            (Err(failure), failed) => {
                assert!(self.shared.errors() > 0, "{stage:?} failed although nothing else did: {failure}");
                assert!(
                    failed.is_none() || failure.exit == Exit::Journal,
                    "the log failed, and the exit is {:?}: {failure}",
                    failure.exit
                );
                self.failed(stage, &failure);
                false
            }
        }
    }

    /// A thread ended with an error: the others may go on for a moment, then the process ends.
    fn failed(&mut self, stage: Stage, failure: &Failure) {
        self.report.faults += 1;
        for _ in 0..self.random.below(6) {
            let other = self.some_stage();
            if let Some(gateway) = &mut self.gateway
                && other != stage
                && gateway.turn(other, &mut self.network, &mut self.hands).is_err()
            {
                break;
            }
        }
        self.ended(&format!("{stage:?} failed: {failure}"));
    }

    pub(super) fn crash(&mut self, crash: Crash) {
        self.disk.crash(crash);
        self.ended(&format!("{crash:?}"));
    }

    /// The process is gone: its connections break off, and the machine comes up again.
    pub(super) fn ended(&mut self, why: &str) {
        self.story().tell(|| format!("ended: {why}"));
        self.report.crashes += 1;
        self.shared.set_probe(None);
        self.end_operators();
        self.gateway = None;
        if !self.disk.is_down() {
            let crash = self.some_crash();
            self.disk.crash(crash);
        }
        self.disk.restart();
        self.disk.set_capacity(u64::MAX);
        self.clients_after_the_end();
        self.lose_wal();
    }

    /// The catalogue's write-ahead log is damaged: commits that stood only there were never made.
    fn lose_wal(&mut self) {
        let is_wanted = self.options.has_random_faults() && self.random.chance(self.plan.lost_wal_percent);
        if !is_wanted || self.is_last || self.shared.room_was_missing() {
            return;
        }
        // A flush may be a commit of its own, without a further frame.
        let committed = |catalogue: &MemoryCatalogue| {
            catalogue.clone().load().map(|snapshot| (snapshot.checkpoint, snapshot.files)).ok()
        };
        let before = committed(&self.catalogue);
        self.catalogue.lose_wal();
        if before != committed(&self.catalogue) {
            self.story()
                .tell(|| "the catalogue goes back behind the commits of its write-ahead log".to_owned());
            self.report.wals_lost += 1;
            self.model().commits_lost();
        }
    }

    fn clients_after_the_end(&mut self) {
        let Self { clients, model, feeds, shared, random, network, .. } = self;
        let mut model = model.lock().unwrap_or_else(PoisonError::into_inner);
        for client in clients {
            // What left before the end may still arrive.
            if random.chance(70) {
                client.read(usize::MAX, feeds, &mut model, &shared.story);
            }
            client.lost_connection(&mut model);
            if random.chance(5) {
                client.forget();
            }
        }
        model.wills_may_be_lost();
        network.clear();
    }

    pub(super) fn stop(&mut self) {
        self.story().tell(|| "stop".to_owned());
        self.end_operators();
        let Some(gateway) = self.gateway.take() else { return };
        let result = gateway.stop(&mut self.network, &mut self.hands);
        if let Err(failure) = result {
            let expected = self.disk.is_down() || self.shared.errors() > 0;
            assert!(expected, "the gateway does not stop: {failure}");
        }
        self.ended("stopped");
    }

    /// Everything that clients have to say arrives and is settled; false where the gateway did not survive it.
    pub(super) fn quiet(&mut self) -> bool {
        self.story().tell(|| "waiting for quiet".to_owned());
        self.in_a_hurry = true;
        let survived = self.get_quiet();
        self.in_a_hurry = false;
        survived
    }

    fn get_quiet(&mut self) -> bool {
        self.disk.set_capacity(u64::MAX);
        for round in 0..QUIET_ROUNDS_MAX {
            for index in 0..self.clients.len() {
                if self.clients[index].link.is_none() {
                    self.connect(index, false);
                }
                self.clients[index].link.iter().for_each(|link| {
                    link.arrive(usize::MAX);
                });
            }
            self.operators_go_on();
            if !self.turn_all() {
                return false;
            }
            for index in 0..self.clients.len() {
                self.read_client(index, usize::MAX);
            }
            self.clock.advance(1_000 + self.random.below(30_000));
            if round % 100 == 99 {
                self.make_room_in_quarantine();
            }
            if round % 4 == 3 && self.is_quiet() {
                if let Some(asked) = self.ask() {
                    self.model().check_quiet(&asked);
                    self.model().check_expired(&asked);
                    self.check_subscribers(&asked);
                    self.report.expired = asked.ledger.expired.unwrap_or(0);
                    self.report.rows = asked.rows.len() as u64;
                    self.report.corrected = asked.ledger.observations.corrected;
                    self.report.outranked = asked.ledger.observations.outranked;
                }
                return true;
            }
        }
        let view = self.gateway.as_ref().map(SimulatedGateway::view);
        let ledger = view.and_then(|view| view.ledger(&Default::default()).ok());
        let in_flight: Vec<usize> = self.clients.iter().map(super::client::Client::in_flight).collect();
        panic!("the gateway is not done with what it has: {ledger:?}, in flight {in_flight:?}");
    }

    /// A client whose garbage fills its share is refused until somebody erases some of it.
    fn make_room_in_quarantine(&mut self) {
        self.check_between();
        let positions = self.model().quarantined_positions();
        if !positions.is_empty() && self.operators.as_ref().is_some_and(|operators| !operators.is_busy()) {
            let selection = Selection { positions, filter: QuarantineFilter::default() };
            self.begin_session(SettleRequest { change: Change::Erase, selection, dry_run: false });
        }
    }

    fn check_subscribers(&self, asked: &Asked) {
        let model = self.model();
        for client in &self.clients {
            if let Some(subscriber) = &client.subscriber {
                subscriber.check_complete(&client.name, asked, &model);
            }
        }
    }

    fn lost_connection(&mut self, index: usize) {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        self.clients[index].lost_connection(&mut model);
    }

    fn is_quiet(&self) -> bool {
        let Some(gateway) = &self.gateway else { return false };
        if self.is_delivering || self.operators.as_ref().is_some_and(Operators::is_busy) {
            return false;
        }
        let done = self.clients.iter().all(|client| {
            client.online
                && client.in_flight() == 0
                && client.link.as_ref().is_some_and(|link| link.on_the_way() == 0 && !link.has_bytes())
        });
        done && gateway
            .view()
            .ledger(&Default::default())
            .is_ok_and(|ledger| ledger.messages.pending == 0 && ledger.observations.unresolved == 0)
    }

    /// Everything there is to ask; `None` where a planned fault hit the question.
    fn ask(&self) -> Option<Asked> {
        let clients = self.model().clients();
        match Asked::all(&self.gateway.as_ref()?.view(), &self.catalogue, &clients) {
            Ok(asked) => Some(asked),
            Err(error) => {
                assert!(self.shared.errors() > 0, "no answer: {error}");
                None
            }
        }
    }

    fn check_between(&mut self) {
        if let Some(asked) = self.ask() {
            self.model().check_between(&asked);
        }
    }

    /// No faults any more: everything that was ever acknowledged has to be there, before and behind a last restart.
    pub(super) fn last_life(&mut self) {
        self.story().tell(|| "the last life".to_owned());
        self.options.calm = true;
        self.is_last = true;
        self.options.crash_at = None;
        self.disk.restart();
        // With settings that take everything.
        if self.gateway.is_some() {
            self.stop();
        }
        self.open();
        self.shared.opening(true);
        self.shared.opening(false);
        assert!(self.quiet(), "the last life ended early");
        self.replay_everything();
        self.audit();
        self.stop();
        self.open();
        let Some(asked) = self.ask() else { panic!("a healthy disk gives answers") };
        self.model().check_quiet(&asked);
        let observations = &asked.ledger.observations;
        assert_eq!(
            observations.flushed,
            Some(observations.inserted + observations.corrected),
            "a stop left rows that no file has: {observations:?}"
        );
        self.check_store_files();
        if self.options.bug != Some(Bug::OrphansKept) {
            self.shared.set_probe(None);
        }
        self.end_operators();
        self.gateway = None;
    }

    /// With the settings of now, nothing of what may be decoded stays in quarantine.
    fn replay_everything(&mut self) {
        let selection = Selection { positions: Vec::new(), filter: QuarantineFilter::default() };
        self.begin_session(SettleRequest { change: Change::Replay, selection, dry_run: false });
        assert!(self.quiet(), "the last life ended early");
        let Some(asked) = self.ask() else { panic!("a healthy disk gives answers") };
        self.model().check_replayed(&asked);
    }

    /// A subscriber that comes when all is done: what is retained is the newest there is.
    fn audit(&mut self) {
        let index = 0;
        if let Some(link) = self.clients[index].link.take() {
            link.end(true);
        }
        self.lost_connection(index);
        assert!(self.quiet(), "the last life ended early");
        let story = &self.shared.story;
        self.clients[index].subscribe(&self.feeds, 1, story);
        for _ in 0..5 {
            assert!(self.quiet(), "the last life ended early");
        }
        let Some(asked) = self.ask() else { panic!("a healthy disk gives answers") };
        let Some(subscriber) = &self.clients[index].subscriber else { return };
        let model = self.model();
        subscriber.check_retained(&asked, &model);
        for client in &self.clients {
            let topic = format!("plain/{}/kept", client.name);
            subscriber.check_kept(&topic, model.newest_proven(&topic));
        }
    }
}
