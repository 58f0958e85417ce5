//! The stages of a gateway and the queues between them; threads or a simulation move them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::EngineError;
use super::open::{OBSERVATION_FRAMES_WAITING_MAX, Opened};
use super::stages::Stages;
use super::view::EngineView;
use crate::config::Config;
use crate::feeds::router::{RouterStart, ShardLink};
use crate::feeds::{Router, RouterInputs};
use crate::health::Health;
use crate::journal::{FrameConsumer, JournalFrame, JournalPort, JournalWriter, Lanes, WriterTurns};
use crate::keeper::{CompactorInputs, Keeper, KeeperBallast};
use crate::mqtt::shard::{Shard, ShardShared};
use crate::mqtt::{MqttLimits, RouterRequest};
use crate::observation::ObservationFrame;
use crate::pipeline::mapping::MAPPING_VERSION;
use crate::pipeline::{Pipeline, PipelineLinks};
use crate::query::GatewayView;

/// SUBSCRIBE, UNSUBSCRIBE and ends of connections that wait for the router.
const ROUTER_REQUESTS_MAX: usize = 16_384;

/// While little comes in, so many journal frames share one observation frame.
const SYNCS_PER_OBSERVATION_FRAME: u64 = 4;

/// What moves, stage by stage.
pub(super) struct Assembly {
    pub(super) shards: Vec<Shard>,
    pub(super) router_requests: Sender<RouterRequest>,
    pub(super) writer: WriterTurns,
    pub(super) pipeline: Pipeline,
    pub(super) links: PipelineLinks,
    pub(super) keeper: Keeper,
    pub(super) keeper_frames: Receiver<Arc<ObservationFrame>>,
    pub(super) ballast: KeeperBallast,
    pub(super) compactor: CompactorInputs,
    pub(super) router: Router,
    pub(super) router_inputs: RouterInputs,
    pub(super) health: Arc<Health>,
    /// Set when the shards have ended.
    pub(super) stop_writer: Arc<AtomicBool>,
}

impl Assembly {
    /// `to_shards` takes what the router has for them.
    pub(super) fn new(
        opened: Opened,
        view: &EngineView,
        to_shards: Box<dyn ShardLink>,
    ) -> Result<Self, EngineError> {
        let Opened {
            config,
            clock,
            time_floor,
            lanes,
            metrics,
            health,
            registry,
            quota,
            journal,
            stages,
            retained,
            last_values,
            ..
        } = opened;
        let Stages { pipeline, mut keeper, outcomes, ballast } = stages;
        let shard_count = lanes.config().shards;
        let (router_requests, requests) = bounded(ROUTER_REQUESTS_MAX);
        let frames_wanted = Arc::new(AtomicBool::new(false));
        let router = Router::new(
            RouterStart {
                retained,
                last_values,
                registry,
                subscriptions_per_client_max: config.mqtt.subscriptions_per_client_max,
                frames_wanted: frames_wanted.clone(),
                tap: view.tap().clone(),
            },
            to_shards,
            shard_count,
            metrics.clone(),
        );
        // The buffers bound the frames in flight, so these queues are never full.
        let frames_max = lanes.buffers();
        let (to_router, router_journal) = bounded(frames_max);
        let (to_pipeline, pipeline_journal) = bounded(frames_max);
        let consumers: Vec<Box<dyn FrameConsumer>> = vec![
            Box::new(FrameSender(to_pipeline)),
            Box::new(RouterSender { to_router, wanted: frames_wanted }),
        ];
        let writer = JournalWriter::new(journal, lanes.clone(), consumers, metrics.clone());
        let (to_keeper, keeper_frames) = bounded(OBSERVATION_FRAMES_WAITING_MAX);
        let (observations_to_router, router_observations) = bounded(OBSERVATION_FRAMES_WAITING_MAX);
        let stop_writer = Arc::new(AtomicBool::new(false));
        let links = PipelineLinks {
            frames: pipeline_journal,
            outcomes,
            to_keeper,
            to_router: observations_to_router,
            gap_us: config.journal.sync_gap_us * SYNCS_PER_OBSERVATION_FRAME,
            stop: stop_writer.clone(),
        };
        let compactor = keeper.start_compaction()?;
        let shared = ShardShared {
            limits: limits(&config),
            metrics,
            connections: AtomicI64::new(0),
            mapping_version: MAPPING_VERSION,
            quota,
            health: health.clone(),
            held_ms: (0..shard_count).map(|_| AtomicU64::new(0)).collect(),
            client_id_seed: clock.receive_time_us() as u64,
        };
        Ok(Self {
            shards: shards(shared, &lanes),
            router_requests,
            writer: WriterTurns::new(writer, health.clone(), config.journal.sync_gap_us, time_floor),
            pipeline,
            links,
            keeper,
            keeper_frames,
            ballast,
            compactor,
            router,
            router_inputs: RouterInputs {
                frames: router_journal,
                observations: router_observations,
                requests,
            },
            health,
            stop_writer,
        })
    }
}

/// One for each lane of the journal that connections write to.
fn shards(shared: ShardShared, lanes: &Arc<Lanes>) -> Vec<Shard> {
    let (shared, count) = (Arc::new(shared), lanes.config().shards);
    let shard = |index| Shard::new(index, count, shared.clone(), JournalPort::new(lanes.clone(), index));
    (0..count).map(shard).collect()
}

struct FrameSender(Sender<Arc<JournalFrame>>);

impl FrameConsumer for FrameSender {
    fn accept(&mut self, frame: &Arc<JournalFrame>) {
        // A consumer that is gone has failed, and the gateway is being stopped for it; the frame is durable.
        let _ = self.0.send(frame.clone());
    }
}

/// The router's share: nothing while nobody subscribes, but for messages that it has to keep.
struct RouterSender {
    to_router: Sender<Arc<JournalFrame>>,
    wanted: Arc<AtomicBool>,
}

impl FrameConsumer for RouterSender {
    fn accept(&mut self, frame: &Arc<JournalFrame>) {
        if frame.retained || self.wanted.load(Ordering::Acquire) {
            let _ = self.to_router.send(frame.clone());
        }
    }
}

fn limits(config: &Config) -> MqttLimits {
    let mqtt = &config.mqtt;
    MqttLimits {
        packet_bytes_max: mqtt.packet_bytes_max,
        receive_max: mqtt.receive_max,
        keep_alive_s_max: mqtt.keep_alive_s_max,
        connections_max: mqtt.connections_max,
        connect_timeout_ms: mqtt.connect_timeout_ms,
        session_queue_bytes_max: mqtt.session_queue_bytes_max,
        partial_bytes_max: mqtt.partial_bytes_max,
        hold_bytes_max: mqtt.hold_bytes_max,
        hold_pool_bytes_max: mqtt.hold_pool_bytes_max,
        hold_ms_max: mqtt.hold_ms_max,
        will_bytes_max: mqtt.will_bytes_max,
        client_id_bytes_max: mqtt.client_id_bytes_max,
        topic_bytes_max: mqtt.topic_bytes_max,
    }
}
