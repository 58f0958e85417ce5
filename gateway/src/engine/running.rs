//! The threads of a running gateway, and their stop.
//!
//! Stop, in order: shards take nothing in any more and end when all acks of durable messages are out; the writer writes
//! what they handed over and ends; pipeline and keeper work off their queues and come back from their threads; what is
//! durable is settled into the store; the router ends when nobody sends to it any more.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::EngineError;
use super::assembly::Assembly;
use super::change_port::{RunningPort, Settling};
use super::descriptors::Descriptors;
use super::open::Opened;
use super::stages::{Now, Stages};
use super::view::EngineView;
use super::world::World;
use crate::cli::{Damage, Failure, Running};
use crate::clock::Clock;
use crate::config::Config;
use crate::feeds::router::ShardLink;
use crate::feeds::run_router;
use crate::journal::{Lanes, run_writer};
use crate::keeper::{Keeper, KeeperBallast, run_compactor, run_keeper};
use crate::mqtt::ShardMessage;
use crate::mqtt::listener::{ShardLoop, ShardSender, ShardThread, bind};
use crate::pipeline::{Pipeline, PipelineLinks, run_pipeline};
use crate::query::GatewayView;
use crate::settle::wait_of_thread;
use crate::things::Directory;

type Handle<T> = JoinHandle<Option<T>>;

/// A gateway whose threads run.
pub(super) struct RunningEngine {
    mqtt_addr: SocketAddr,
    view: Arc<EngineView>,
    clock: Arc<dyn Clock>,
    lanes: Arc<Lanes>,
    failed: Receiver<Failure>,
    stop_shards: Arc<AtomicBool>,
    stop_writer: Arc<AtomicBool>,
    stop_keeper: Arc<AtomicBool>,
    /// Dropped to stop the compactor.
    stop_compactor: Sender<()>,
    shard_senders: Vec<ShardSender>,
    shards: Vec<Handle<()>>,
    writer: Handle<()>,
    pipeline: Handle<(Pipeline, PipelineLinks)>,
    keeper: Handle<(Keeper, KeeperBallast)>,
    compactor: Handle<()>,
    router: Handle<()>,
    /// The data directory is ours until this is dropped.
    http_connections_max: usize,
    _lock: Box<dyn Any + Send>,
}

impl std::fmt::Debug for RunningEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningEngine").field("mqtt_addr", &self.mqtt_addr).finish_non_exhaustive()
    }
}

impl RunningEngine {
    pub(super) fn start(config: &Arc<Config>, damage: Damage) -> Result<Self, EngineError> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| EngineError::Io { what, source }
        };
        let descriptors = Descriptors::of_process()?;
        // Before the directory is touched: a port in use is the likelier mistake.
        let listener = bind(config.mqtt.listen)
            .map_err(|source| EngineError::Listen { listen: config.mqtt.listen, source })?;
        let mqtt_addr = listener.local_addr().map_err(io("mqtt.listen"))?;
        let directory = Directory::load(&config.things.stations_file, &config.things.agencies_file)?;
        let mut opened = Opened::open(config, damage, World::of_machine(config)?)?;
        opened.prepare_segments()?;
        super::memory_budget::log(config);
        tracing::info!(kept = %config.retention.spans(), "retention: how long observations are kept, by domain");
        if descriptors.mqtt < config.mqtt.connections_max {
            tracing::info!(
                descriptors = descriptors.limit,
                connections = descriptors.mqtt,
                connections_max = config.mqtt.connections_max,
                "the system allows fewer open descriptors than connections: further clients wait"
            );
        }
        let view = Arc::new(EngineView::new(&mut opened, directory)?);
        let (clock, lanes) = (opened.clock.clone(), opened.lanes.clone());
        let lock = std::mem::replace(&mut opened.lock, Box::new(()));
        let spawner = Spawner::new();
        let failed = spawner.failed.clone();

        let shard_count = lanes.config().shards;
        let loops: Vec<ShardLoop> = (0..shard_count)
            .map(|_| ShardLoop::new())
            .collect::<Result<_, _>>()
            .map_err(io("the poll loop"))?;
        let shard_senders: Vec<ShardSender> = loops.iter().map(ShardLoop::sender).collect();
        for (shard, sender) in shard_senders.iter().cloned().enumerate() {
            lanes.set_waker(shard, move || sender.wake());
        }

        let Assembly {
            shards: idle_shards,
            router_requests,
            writer,
            mut pipeline,
            links,
            mut keeper,
            keeper_frames,
            mut ballast,
            mut compactor,
            router,
            router_inputs,
            health,
            stop_writer,
        } = Assembly::new(opened, &view, Box::new(Senders(shard_senders.clone())))?;
        let (stop_shards, stop_keeper) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let port = RunningPort::new(lanes.clone(), keeper.progress(), wait_of_thread(stop_shards.clone()));
        view.take_changes(Settling::new(Box::new(port), keeper.history()?, config.clone()));
        let writer = {
            let (clock, stop) = (clock.clone(), stop_writer.clone());
            spawner.spawn("journal", move || Ok(run_writer(writer, &*clock, &stop)?))?
        };
        // The queues' receiving ends go with their threads: when one fails, its sender notices.
        let pipeline = {
            let clock = clock.clone();
            spawner.spawn("pipeline", move || {
                run_pipeline(&mut pipeline, &*clock, &links)?;
                Ok((pipeline, links))
            })?
        };
        let (stop_compactor, compactor_stop) = bounded(0);
        let compactor = {
            let health = health.clone();
            spawner.spawn("compactor", move || {
                run_compactor(&mut compactor, &health, &compactor_stop);
                Ok(())
            })?
        };
        let keeper = {
            let (clock, stop) = (clock.clone(), stop_keeper.clone());
            spawner.spawn("keeper", move || {
                run_keeper(&mut keeper, &mut ballast, &*clock, &keeper_frames, &health, &stop)?;
                Ok((keeper, ballast))
            })?
        };
        let router = {
            let clock = clock.clone();
            spawner.spawn("router", move || {
                run_router(router, &*clock, &router_inputs);
                Ok(())
            })?
        };
        let mut listener = Some(listener);
        let mut shards = Vec::with_capacity(shard_count);
        for (shard, shard_loop) in idle_shards.into_iter().zip(loops) {
            let thread = ShardThread {
                shard,
                shard_loop,
                listener: listener.take(),
                peers: shard_senders.clone(),
                router: router_requests.clone(),
                clock: clock.clone(),
                stop: stop_shards.clone(),
                next_accept_warning_us: 0,
                accept_max: descriptors.mqtt,
            };
            let run = move || {
                thread.run().map_err(|source| EngineError::Io { what: "the poll loop".into(), source })
            };
            shards.push(spawner.spawn("shard", run)?);
        }
        Ok(Self {
            mqtt_addr,
            view,
            clock,
            lanes,
            failed,
            stop_shards,
            stop_writer,
            stop_keeper,
            stop_compactor,
            shard_senders,
            shards,
            writer,
            pipeline,
            keeper,
            compactor,
            router,
            http_connections_max: descriptors.http,
            _lock: lock,
        })
    }

    fn stop_all(self) -> Result<(), EngineError> {
        drop(self.stop_compactor);
        self.stop_shards.store(true, Ordering::Release);
        self.shard_senders.iter().for_each(ShardSender::wake);
        for shard in self.shards {
            join("shard", shard)?;
        }
        self.stop_writer.store(true, Ordering::Release);
        self.lanes.wake_writer();
        join("journal", self.writer)?;
        let (pipeline, links) = join("pipeline", self.pipeline)?;
        let PipelineLinks { outcomes, to_router, to_keeper, .. } = links;
        drop(to_keeper);
        join("compactor", self.compactor)?;
        self.stop_keeper.store(true, Ordering::Release);
        let (keeper, ballast) = join("keeper", self.keeper)?;
        let mut stages = Stages { pipeline, keeper, outcomes, ballast };
        let now = Now { receive_us: self.clock.receive_time_us(), monotonic_us: self.clock.monotonic_us() };
        let settled = stages.settle(now, &mut |frame| {
            // The router has no reason to end before this.
            let _ = to_router.send(frame.clone());
        });
        drop(to_router);
        join("router", self.router)?;
        settled?;
        Ok(stages.keeper.empty_wal_at_end()?)
    }
}

impl Running for RunningEngine {
    fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt_addr
    }

    fn http_connections_max(&self) -> usize {
        self.http_connections_max
    }

    fn view(&self) -> Arc<dyn GatewayView> {
        self.view.clone()
    }

    fn failed(&self) -> Receiver<Failure> {
        self.failed.clone()
    }

    fn stop(self: Box<Self>) -> Result<(), Failure> {
        self.stop_all().map_err(|error| error.failure())
    }
}

/// Starts threads that tell when they fail.
struct Spawner {
    sender: Sender<Failure>,
    failed: Receiver<Failure>,
}

impl Spawner {
    fn new() -> Self {
        let (sender, failed) = bounded(1);
        Self { sender, failed }
    }

    /// The thread gives `None` where it failed: the failure was told already.
    fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        run: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
    ) -> Result<Handle<T>, EngineError> {
        let mut guard = Guard { name, sender: self.sender.clone(), done: false };
        let body = move || {
            let result = run();
            guard.done = true;
            match result {
                Ok(value) => Some(value),
                Err(error) => {
                    tracing::error!(thread = name, "{error}");
                    // The first failure is the one that counts.
                    let _ = guard.sender.try_send(error.failure());
                    None
                }
            }
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(|source| EngineError::Io { what: format!("starting the {name} thread"), source })
    }
}

/// Tells of a thread that panicked.
struct Guard {
    name: &'static str,
    sender: Sender<Failure>,
    done: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.sender.try_send(EngineError::Thread(self.name).failure());
        }
    }
}

fn join<T>(name: &'static str, handle: Handle<T>) -> Result<T, EngineError> {
    handle.join().ok().flatten().ok_or(EngineError::Thread(name))
}

struct Senders(Vec<ShardSender>);

impl ShardLink for Senders {
    fn send(&self, shard: u16, message: ShardMessage) {
        // A shard that ended has said goodbye to its clients; there is nobody to deliver to.
        let _ = self.0[usize::from(shard)].send(message);
    }
}
