//! A gateway without threads: the same stages and queues, moved turn by turn by somebody who decides about order, time,
//! network and faults. For the simulation (`docs/simulation.md`).
//!
//! What a thread waits for, nobody waits for here: a queue that is full is emptied by turns of the stage behind it, as its
//! thread would do meanwhile, and a pipeline without room asks [`Hands::wait_for_room`].

use std::any::Any;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam::channel::{Sender, TrySendError};

use super::EngineError;
use super::assembly::Assembly;
use super::change_port::{RunningPort, Settling};
use super::open::Opened;
use super::stages::{Now, Stages};
use super::view::EngineView;
use super::world::World;
use crate::cli::{Damage, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::feeds::router::ShardLink;
use crate::feeds::{Router, RouterInputs};
use crate::health::Health;
use crate::journal::{Lanes, WriterTurn, WriterTurns};
use crate::keeper::{CompactorInputs, CompactorTurn, Keeper, KeeperBallast, KeeperTurns};
use crate::mqtt::{Readiness, RouterRequest, Shard, ShardMessage, Socket};
use crate::observation::{ObservationFrame, Outcome};
use crate::pipeline::{Go, Pipeline, PipelineLinks, Surroundings};
use crate::query::GatewayView;
use crate::settle::Wait;
use crate::things::Directory;

/// Turns that a stopping gateway gives its shards to send what they owe.
const STOP_TURNS_MAX: usize = 1_000;

/// What can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Shard(usize),
    /// Timers of a shard.
    Tick(usize),
    Writer,
    Pipeline,
    Keeper,
    Compactor,
    RouterFrame,
    RouterObservations,
    RouterRequest,
}

/// What a poll loop would report of a socket, once.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketEvents {
    pub readable: bool,
    pub writable: bool,
    pub read_closed: bool,
}

/// The poll loop. A socket is known by the address of its peer.
pub trait Network {
    /// A shard owns the socket now: what it may do is reported anew.
    fn register(&mut self, peer: IpAddr);

    /// What happened since the last time.
    fn events(&mut self, peer: IpAddr) -> Option<SocketEvents>;
}

/// What goes from stage to stage passes through these hands.
pub trait Hands {
    /// The pipeline has no room in its log; the stages behind it have had a turn.
    fn wait_for_room(&mut self) -> Go;

    /// Outcomes on their way to the pipeline.
    fn outcomes(&mut self, next: Option<Vec<Outcome>>) -> Option<Vec<Outcome>> {
        next
    }

    /// A frame on its way to the router; what is to be handed over now.
    fn to_router(&mut self, frame: &Arc<ObservationFrame>) -> Vec<Arc<ObservationFrame>> {
        vec![frame.clone()]
    }
}

/// See the module page.
pub struct SimulatedGateway {
    shards: Vec<SimulatedShard>,
    inboxes: Inboxes,
    to_router: Sender<RouterRequest>,
    writer: WriterTurns,
    pipeline: Pipeline,
    links: PipelineLinks,
    behind: Behind,
    view: Arc<EngineView>,
    clock: Arc<dyn Clock>,
    config: Arc<Config>,
    lanes: Arc<Lanes>,
    _lock: Box<dyn Any + Send>,
}

impl std::fmt::Debug for SimulatedGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedGateway").finish_non_exhaustive()
    }
}

struct SimulatedShard {
    shard: Shard,
    slots: Vec<u32>,
    unsent: VecDeque<RouterRequest>,
}

impl SimulatedGateway {
    /// Opens and prepares what the command `run` does before it listens.
    pub fn open(config: &Arc<Config>, damage: Damage, world: World) -> Result<Self, Failure> {
        Self::try_open(config, damage, world).map_err(|error| error.failure())
    }

    fn try_open(config: &Arc<Config>, damage: Damage, world: World) -> Result<Self, EngineError> {
        let mut opened = Opened::open(config, damage, world)?;
        opened.prepare_segments()?;
        let view = Arc::new(EngineView::new(&mut opened, Directory::of_communes()?)?);
        let (clock, lanes) = (opened.clock.clone(), opened.lanes.clone());
        let lock = std::mem::replace(&mut opened.lock, Box::new(()));
        let inboxes = Inboxes::default();
        let Assembly {
            shards,
            router_requests,
            writer,
            pipeline,
            links,
            keeper,
            keeper_frames,
            ballast,
            compactor,
            router,
            router_inputs,
            health,
            stop_writer: _,
        } = Assembly::new(opened, &view, Box::new(inboxes.clone()))?;
        inboxes.all().resize_with(shards.len(), VecDeque::new);
        let own = |shard| SimulatedShard { shard, slots: Vec::new(), unsent: VecDeque::new() };
        Ok(Self {
            shards: shards.into_iter().map(own).collect(),
            inboxes,
            to_router: router_requests,
            writer,
            pipeline,
            links,
            behind: Behind {
                turns: KeeperTurns::new(&keeper, &*clock),
                keeper,
                frames: keeper_frames,
                ballast,
                compactor,
                compactor_waits: false,
                compactor_next_us: 0,
                router,
                inputs: router_inputs,
                clock: clock.clone(),
                health,
            },
            view,
            clock,
            config: config.clone(),
            lanes,
            _lock: lock,
        })
    }

    pub fn view(&self) -> Arc<dyn GatewayView> {
        self.view.clone()
    }

    /// From here on the view takes operators' changes. A session asks `wait` whenever it has to wait for the stages; it may run
    /// on a thread of its own that goes on only while whoever moves the stages lets it.
    pub fn take_changes(&self, wait: Wait) -> Result<(), Failure> {
        let keeper = &self.behind.keeper;
        let history = keeper.history().map_err(|error| EngineError::from(error).failure())?;
        let port = RunningPort::new(self.lanes.clone(), keeper.progress(), wait);
        self.view.take_changes(Settling::new(Box::new(port), history, self.config.clone()));
        Ok(())
    }

    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The first shard accepts for all; false where there are too many connections.
    pub fn accept(&mut self, socket: Box<dyn Socket>, network: &mut dyn Network) -> bool {
        let now_us = self.clock.monotonic_us();
        let own = &mut self.shards[0];
        let slot = own.shard.accept(socket, now_us);
        slot.map(|slot| own.register(slot, network)).is_some()
    }

    /// One turn of a stage; true where something was done. After an error the gateway has to be dropped.
    pub fn turn(
        &mut self,
        stage: Stage,
        network: &mut dyn Network,
        hands: &mut dyn Hands,
    ) -> Result<bool, Failure> {
        self.try_turn(stage, network, hands).map_err(|error| error.failure())
    }

    fn try_turn(
        &mut self,
        stage: Stage,
        network: &mut dyn Network,
        hands: &mut dyn Hands,
    ) -> Result<bool, EngineError> {
        let now_us = self.clock.monotonic_us();
        match stage {
            Stage::Shard(index) => return Ok(self.shard_turn(index, network)),
            Stage::Tick(index) => {
                self.shards[index].shard.tick(now_us);
                self.send_output(index);
            }
            Stage::Writer => return Ok(self.writer.turn(&*self.clock, false)? == WriterTurn::Again),
            Stage::Pipeline => return self.pipeline_turn(hands),
            Stage::Keeper => return self.behind.keeper_turn(),
            Stage::Compactor => return Ok(self.behind.compactor_turn()),
            Stage::RouterFrame => return Ok(self.behind.router_frame()),
            Stage::RouterObservations => return Ok(self.behind.router_observations()),
            Stage::RouterRequest => return Ok(self.behind.router_request()),
        }
        Ok(true)
    }

    /// As SIGTERM does it: acks of what is durable leave, everything that was taken gets into the store.
    pub fn stop(mut self, network: &mut dyn Network, hands: &mut dyn Hands) -> Result<(), Failure> {
        self.try_stop(network, hands).map_err(|error| error.failure())
    }

    fn try_stop(&mut self, network: &mut dyn Network, hands: &mut dyn Hands) -> Result<(), EngineError> {
        for own in &mut self.shards {
            own.shard.stop_reading();
        }
        for _ in 0..STOP_TURNS_MAX {
            (0..self.shards.len()).for_each(|index| {
                self.shard_turn(index, network);
            });
            if self.shards.iter().all(|own| own.shard.is_quiet()) {
                break;
            }
            self.writer.turn(&*self.clock, false)?;
            self.pipeline_turn(hands)?;
            self.behind.keeper_turn()?;
        }
        let now_us = self.clock.monotonic_us();
        self.shards.iter_mut().for_each(|own| own.shard.shut_down(now_us));
        self.links.stop.store(true, Ordering::Release);
        while self.writer.turn(&*self.clock, true)? != WriterTurn::Ended {}
        while !self.links.frames.is_empty() {
            match self.pipeline_turn(hands) {
                Err(EngineError::Log(error)) if error.is_backpressure() => break,
                other => other?,
            };
        }
        while !self.behind.frames.is_empty() {
            self.behind.keeper_turn()?;
        }
        let now = Now { receive_us: self.clock.receive_time_us(), monotonic_us: now_us };
        let Behind { keeper, ballast, router, .. } = &mut self.behind;
        Stages::settle_parts((&mut self.pipeline, keeper, &self.links.outcomes, ballast), now, &mut |frame| {
            router.step_observations(frame)
        })
    }

    fn shard_turn(&mut self, index: usize, network: &mut dyn Network) -> bool {
        let now_us = self.clock.monotonic_us();
        let messages = std::mem::take(&mut self.inboxes.all()[index]);
        let own = &mut self.shards[index];
        let mut worked = !messages.is_empty() || own.shard.has_work();
        for message in messages {
            if let Some(slot) = own.shard.handle_message(message, now_us) {
                own.register(slot, network);
            }
        }
        let SimulatedShard { shard, slots, .. } = own;
        let mut readiness = Vec::new();
        slots.retain(|slot| {
            let Some(peer) = shard.socket(*slot).map(|socket| socket.peer_ip()) else { return false };
            if let Some(events) = network.events(peer) {
                readiness.push(Readiness {
                    slot: *slot,
                    readable: events.readable || events.read_closed,
                    writable: events.writable,
                    read_closed: events.read_closed,
                });
            }
            true
        });
        worked |= !readiness.is_empty();
        shard.step(now_us, &readiness);
        self.send_output(index);
        worked
    }

    fn send_output(&mut self, index: usize) {
        let own = &mut self.shards[index];
        let output = own.shard.take_output();
        let mut inboxes = self.inboxes.all();
        for (owner, message) in output.messages.drain(..) {
            inboxes[owner].push_back(message);
        }
        own.unsent.extend(output.requests.drain(..));
        while let Some(request) = own.unsent.pop_front() {
            if let Err(TrySendError::Full(request)) = self.to_router.try_send(request) {
                own.unsent.push_front(request);
                break;
            }
        }
    }

    fn pipeline_turn(&mut self, hands: &mut dyn Hands) -> Result<bool, EngineError> {
        let stopping = self.links.stop.load(Ordering::Acquire);
        let mut beside = Beside {
            links: &self.links,
            behind: &mut self.behind,
            writer: &mut self.writer,
            hands,
            failed: None,
        };
        let pipeline = &mut self.pipeline;
        let mut worked = !self.links.outcomes.is_empty();
        let result = pipeline.begin_turn(&mut beside, stopping).and_then(|may_take| {
            if may_take && let Ok(first) = self.links.frames.try_recv() {
                worked = true;
                pipeline.take_frames(first, &self.links.frames, &mut beside, &|| stopping)?;
            }
            pipeline.prepare_if_due(self.clock.monotonic_us())
        });
        beside.failed.map_or(Ok(()), Err)?;
        result?;
        Ok(worked)
    }
}

impl SimulatedShard {
    fn register(&mut self, slot: u32, network: &mut dyn Network) {
        if !self.slots.contains(&slot) {
            self.slots.push(slot);
        }
        if let Some(socket) = self.shard.socket(slot) {
            network.register(socket.peer_ip());
        }
    }
}

/// The stages behind the pipeline.
struct Behind {
    keeper: Keeper,
    turns: KeeperTurns,
    frames: crossbeam::channel::Receiver<Arc<ObservationFrame>>,
    ballast: KeeperBallast,
    compactor: CompactorInputs,
    compactor_waits: bool,
    compactor_next_us: u64,
    router: Router,
    inputs: RouterInputs,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
}

impl Behind {
    fn keeper_turn(&mut self) -> Result<bool, EngineError> {
        let frame = self.frames.try_recv().ok();
        let Self { keeper, turns, ballast, clock, health, .. } = self;
        turns.turn(keeper, ballast, frame.as_ref(), &**clock, health)?;
        Ok(frame.is_some())
    }

    fn compactor_turn(&mut self) -> bool {
        let now_us = self.clock.monotonic_us();
        let pause = if self.compactor_waits {
            self.compactor.try_fate()
        } else if now_us >= self.compactor_next_us {
            match self.compactor.turn(&self.health) {
                CompactorTurn::Waits => {
                    self.compactor_waits = true;
                    return true;
                }
                CompactorTurn::Pauses(pause) => Some(pause),
            }
        } else {
            None
        };
        let Some(pause) = pause else { return false };
        let told = std::mem::take(&mut self.compactor_waits);
        self.compactor_next_us = now_us + pause.as_micros() as u64;
        told
    }

    fn router_frame(&mut self) -> bool {
        let frame = self.inputs.frames.try_recv();
        frame.map(|frame| self.router.step_journal(&frame)).is_ok()
    }

    fn router_observations(&mut self) -> bool {
        let frame = self.inputs.observations.try_recv();
        frame.map(|frame| self.router.step_observations(&frame)).is_ok()
    }

    fn router_request(&mut self) -> bool {
        let Ok(request) = self.inputs.requests.try_recv() else { return false };
        self.inputs.answer(&mut self.router, request, &*self.clock);
        true
    }
}

/// What surrounds the pipeline.
struct Beside<'a> {
    links: &'a PipelineLinks,
    behind: &'a mut Behind,
    writer: &'a mut WriterTurns,
    hands: &'a mut dyn Hands,
    /// The pipeline knows nothing of the others' errors.
    failed: Option<EngineError>,
}

impl Beside<'_> {
    fn keeper_turn(&mut self) {
        if self.failed.is_none() {
            self.failed = self.behind.keeper_turn().err();
        }
    }
}

impl Surroundings for Beside<'_> {
    fn accept(&mut self, frame: &Arc<ObservationFrame>) {
        while self.links.to_keeper.is_full() && self.failed.is_none() {
            self.keeper_turn();
        }
        let _ = self.links.to_keeper.try_send(frame.clone());
        for frame in self.hands.to_router(frame) {
            while self.links.to_router.is_full() {
                self.behind.router_observations();
            }
            let _ = self.links.to_router.try_send(frame);
        }
    }

    fn outcomes(&mut self) -> Option<Vec<Outcome>> {
        self.hands.outcomes(self.links.outcomes.try_recv().ok())
    }

    fn wait_for_room(&mut self) -> Go {
        self.keeper_turn();
        self.behind.compactor_turn();
        if self.failed.is_none() {
            self.failed = self.writer.turn(&*self.behind.clock, false).err().map(EngineError::from);
        }
        if self.failed.is_some() || self.links.stop.load(Ordering::Acquire) {
            return Go::Stop;
        }
        self.hands.wait_for_room()
    }
}

/// What others have for the shards.
#[derive(Clone, Default)]
struct Inboxes(Arc<Mutex<Vec<VecDeque<ShardMessage>>>>);

impl Inboxes {
    fn all(&self) -> MutexGuard<'_, Vec<VecDeque<ShardMessage>>> {
        // Whoever panicked meanwhile has ended the simulation.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShardLink for Inboxes {
    fn send(&self, shard: u16, message: ShardMessage) {
        self.all()[usize::from(shard)].push_back(message);
    }
}
