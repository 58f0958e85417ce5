//! The router: one thread that sees every durable message and every observation, in order, and who wants them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use codecs::mqtt::topic::filter_matches;
use codecs::mqtt::{Properties, PropertyOwner, QoS};
use crossbeam::channel::{Receiver, select};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::form;
use super::last_values::{LastValue, LastValues};
use super::matching::{Matches, REMEMBERED_SUBSCRIPTIONS_MAX, Subscription, Subscriptions};
use super::retained_store::RetainedStore;
use super::tap::ObservationTap;
use crate::clock::Clock;
use crate::journal::JournalFrame;
use crate::metrics::Metrics;
use crate::mqtt::{
    ConnectionId, Delivery, DeliveryBatch, DeliveryPlace, DeliverySource, FilterRequest, Publication,
    RouterRequest, ShardMessage,
};
use crate::observation::{Classification, MessageEntry, ObservationFrame};
use crate::registry::{Datastream, Registry, SharedRegistry};

/// Retained messages that are sent to a subscriber at once; the next ones follow when it has taken these.
const RETAINED_BATCH: usize = 256;
/// The same in bytes of payload; one message may go over it. A quarter of the least `mqtt.session_queue_bytes_max`, so that
/// it never fills a queue that has room for it.
const RETAINED_BATCH_BYTES: usize = 16 << 10;

/// Sends a batch to a shard; waits while its inbox is full.
pub trait ShardLink: Send {
    fn send(&self, shard: u16, message: ShardMessage);
}

pub struct Router {
    subscriptions: Subscriptions,
    subscriptions_per_client_max: usize,
    frames_wanted: Arc<AtomicBool>,
    tap: Arc<ObservationTap>,
    retained: RetainedStore,
    last_values: LastValues,
    registry: SharedRegistry,
    shards: Box<dyn ShardLink>,
    shard_count: usize,
    metrics: Arc<Metrics>,
    /// Retained messages that subscribers still have to get.
    backlogs: HashMap<ConnectionId, VecDeque<Backlog>, RandomState>,
    /// What each datastream's feed topics reach, for the current subscriptions.
    feed_matches: FeedMatches,
    /// Reused: deliveries of one group, by shard.
    deliveries: Vec<Vec<Delivery>>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("subscriptions", &self.subscriptions.len()).finish_non_exhaustive()
    }
}

/// The retained messages for one new subscription.
#[derive(Debug)]
struct Backlog {
    filter: Box<str>,
    qos: QoS,
    identifier: Option<u32>,
    topics: VecDeque<Arc<str>>,
    datastreams: VecDeque<u32>,
}

#[derive(Debug, Default)]
struct FeedMatches {
    version: u64,
    /// Subscriptions in all lists together.
    held: usize,
    by_datastream: Vec<Option<FeedTopics>>,
}

#[derive(Clone, Debug)]
struct FeedTopics {
    property_topic: Arc<str>,
    property: Matches,
    station_topic: Arc<str>,
    station: Matches,
}

/// What a router starts from.
#[derive(Debug)]
pub struct RouterStart {
    pub retained: RetainedStore,
    pub last_values: LastValues,
    pub registry: SharedRegistry,
    pub subscriptions_per_client_max: usize,
    /// Set while there are subscriptions: journal frames without retained messages are of use to the router then only.
    pub frames_wanted: Arc<AtomicBool>,
    pub tap: Arc<ObservationTap>,
}

impl Router {
    pub fn new(
        start: RouterStart,
        shards: Box<dyn ShardLink>,
        shard_count: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.retained_messages.set(start.retained.len() as i64);
        metrics.retained_bytes.set(start.retained.bytes() as i64);
        metrics.feed_messages.set(metrics.processed_messages.get());
        Self {
            subscriptions: Subscriptions::default(),
            subscriptions_per_client_max: start.subscriptions_per_client_max,
            frames_wanted: start.frames_wanted,
            tap: start.tap,
            retained: start.retained,
            last_values: start.last_values,
            registry: start.registry,
            shards,
            shard_count,
            metrics,
            backlogs: HashMap::default(),
            feed_matches: FeedMatches::default(),
            deliveries: vec![Vec::new(); shard_count],
        }
    }

    /// Routes the messages of a durable journal frame.
    pub fn step_journal(&mut self, frame: &Arc<JournalFrame>) {
        let routed = self.subscriptions.len() > 0;
        // At a malformed record the pipeline ends the gateway.
        for (place, message) in frame.messages().map_while(Result::ok) {
            if message.retain {
                let is_kept = self.retained.set(&message, frame.meta.stamp.received_us());
                self.metrics.retained_messages_refused.inc_by(u64::from(!is_kept));
            }
            if !routed {
                continue;
            }
            let matches = self.subscriptions.matches(message.topic);
            deliver(
                &mut self.deliveries,
                &matches,
                &Outgoing {
                    place: DeliveryPlace::Journal(place),
                    qos: message.qos,
                    retain: message.retain,
                    message_expiry_interval_s: message_expiry_interval_s(message.properties),
                    publisher: Some(message.client),
                },
            );
        }
        self.metrics.retained_messages.set(self.retained.len() as i64);
        self.metrics.retained_bytes.set(self.retained.bytes() as i64);
        self.send(&DeliverySource::Journal(frame.clone()));
    }

    /// Publishes the feeds of a synced observation frame.
    pub fn step_observations(&mut self, frame: &Arc<ObservationFrame>) {
        self.tap.offer(frame);
        self.last_values.apply(frame);
        self.metrics.feed_messages.set(frame.info.next_message_no as i64 - 1);
        if !self.subscriptions.reach_feeds() {
            return;
        }
        let registry = self.registry.clone();
        let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
        let mut publications = Vec::new();
        for rows in frame.rows.chunk_by(|a, b| a.message == b.message) {
            let mut stations: Vec<(FeedTopics, String)> = Vec::new();
            let message = rows.first().and_then(|row| frame.messages.get(row.message as usize));
            // Also where it is newer than everything before: subscribers should know that it comes late.
            let is_replayed = message.is_some_and(MessageEntry::is_replayed);
            for row in rows.iter().filter(|row| row.classified() != Classification::Duplicate) {
                let topics = self.feed_topics(&registry, row.datastream);
                if topics.property.is_empty() && topics.station.is_empty() {
                    continue;
                }
                let late = row.classified() == Classification::Unresolved || is_replayed;
                let mut json = String::with_capacity(256);
                let datastream = registry.datastream(row.datastream);
                form::write_observation(
                    &mut json,
                    &registry,
                    datastream,
                    &LastValue::of_row(frame, row),
                    late,
                );
                if !topics.station.is_empty() {
                    match stations.iter_mut().find(|(held, _)| held.station_topic == topics.station_topic) {
                        Some((_, all)) => {
                            all.push(',');
                            all.push_str(&json);
                        }
                        None => stations.push((topics.clone(), format!("{{\"observations\":[{json}"))),
                    }
                }
                if !topics.property.is_empty() {
                    self.publish(&mut publications, &topics.property_topic, &topics.property, json, !late);
                }
            }
            for (topics, mut all) in stations {
                all.push_str("]}");
                self.publish(&mut publications, &topics.station_topic, &topics.station, all, false);
            }
        }
        drop(registry);
        self.send(&DeliverySource::Publications(Arc::new(publications)));
    }

    pub fn step_request(&mut self, request: RouterRequest, now_us: i64) {
        match request {
            RouterRequest::Subscribe { connection, client, packet_id, filters } => {
                // Before SUBACK: what is published after it must come by.
                self.frames_wanted.store(true, Ordering::Release);
                self.subscribe(connection, &client, packet_id, &filters, now_us);
            }
            RouterRequest::Unsubscribe { connection, packet_id, filters } => {
                let codes =
                    filters.iter().map(|filter| self.subscriptions.unsubscribe(connection, filter)).collect();
                // What was not sent yet is not sent any more [MQTT-3.10.4-2].
                if let Some(backlogs) = self.backlogs.get_mut(&connection) {
                    backlogs.retain(|backlog| !filters.iter().any(|filter| **filter == *backlog.filter));
                }
                self.shards
                    .send(connection.shard, ShardMessage::Unsubscribed { connection, packet_id, codes });
            }
            RouterRequest::Left { connection } => {
                self.subscriptions.left(connection);
                self.backlogs.remove(&connection);
            }
            RouterRequest::More { connection } => self.send_backlog(connection, now_us),
        }
        self.metrics.mqtt_subscriptions.set(self.subscriptions.len() as i64);
        self.frames_wanted.store(self.subscriptions.len() > 0, Ordering::Release);
    }

    fn subscribe(
        &mut self,
        connection: ConnectionId,
        client: &Arc<str>,
        packet_id: u16,
        filters: &[FilterRequest],
        now_us: i64,
    ) {
        let mut codes = Vec::with_capacity(filters.len());
        for request in filters {
            let subscribed =
                self.subscriptions.subscribe(connection, client, request, self.subscriptions_per_client_max);
            codes.push(subscribed.code);
            if subscribed.send_retained {
                let backlog = self.backlog(request);
                if !backlog.topics.is_empty() || !backlog.datastreams.is_empty() {
                    let backlogs = self.backlogs.entry(connection).or_default();
                    // The same filter again starts anew.
                    backlogs.retain(|held| held.filter != backlog.filter);
                    backlogs.push_back(backlog);
                }
            }
        }
        self.shards.send(connection.shard, ShardMessage::Subscribed { connection, packet_id, codes });
        self.send_backlog(connection, now_us);
    }

    fn backlog(&self, request: &FilterRequest) -> Backlog {
        let mut datastreams = VecDeque::new();
        if request.filter.starts_with("feed/") || request.filter.starts_with(['+', '#']) {
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            for (id, datastream) in registry.datastreams().iter().enumerate() {
                let id = id as u32;
                if self.is_retained_value(&registry, id, datastream)
                    && filter_matches(&request.filter, &form::property_topic(datastream))
                {
                    datastreams.push_back(id);
                }
            }
        }
        Backlog {
            filter: request.filter.as_str().into(),
            qos: request.options.qos.min(QoS::AtLeastOnce),
            identifier: request.subscription_identifier,
            topics: self.retained.matching(&request.filter).into(),
            datastreams,
        }
    }

    /// Datastreams that differ only in their period share a topic, which has one retained value: the newest.
    fn is_retained_value(&self, registry: &Registry, id: u32, datastream: &Datastream) -> bool {
        let Some(value) = self.last_values.get(id) else { return false };
        let age = |value: &LastValue| (value.time_us, value.position);
        registry.datastream_ids(&datastream.name).iter().all(|other| {
            *other == id || self.last_values.get(*other).is_none_or(|other| age(other) < age(value))
        })
    }

    /// Sends the next part of a subscriber's retained messages, with their values of now.
    fn send_backlog(&mut self, connection: ConnectionId, now_us: i64) {
        let Some(backlogs) = self.backlogs.get_mut(&connection) else { return };
        let mut publications: Vec<Publication> = Vec::new();
        let mut bytes = 0;
        let mut deliveries = Vec::new();
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        while publications.len() < RETAINED_BATCH
            && bytes < RETAINED_BATCH_BYTES
            && let Some(backlog) = backlogs.front_mut()
        {
            let mut add = |publication: Publication, qos: QoS, message_expiry_interval_s| {
                bytes += publication.payload.len();
                deliveries.push(Delivery {
                    connection,
                    place: DeliveryPlace::Publication(publications.len() as u32),
                    qos: qos.min(backlog.qos),
                    retain: true,
                    message_expiry_interval_s,
                    subscription_identifiers: backlog.identifier.into_iter().collect(),
                });
                publications.push(publication);
            };
            if let Some(topic) = backlog.topics.pop_front() {
                let Some(retained) = self.retained.get(&topic) else { continue };
                let left_us = retained.expires_us.map(|at_us| at_us - now_us);
                if left_us.is_some_and(|left_us| left_us <= 0) {
                    continue;
                }
                let left_s = left_us.map(|left_us| (left_us as u64).div_ceil(1_000_000) as u32);
                add(retained.publication.clone(), retained.qos, left_s);
            } else if let Some(id) = backlog.datastreams.pop_front() {
                let Some(value) = self.last_values.get(id) else { continue };
                let datastream = registry.datastream(id);
                let mut json = String::with_capacity(256);
                form::write_observation(&mut json, &registry, datastream, value, false);
                add(publication(&form::property_topic(datastream).into(), json), QoS::AtLeastOnce, None);
            } else {
                backlogs.pop_front();
            }
        }
        drop(registry);
        let more = !backlogs.is_empty();
        if !more {
            self.backlogs.remove(&connection);
        }
        if deliveries.is_empty() {
            return;
        }
        let source = DeliverySource::Publications(Arc::new(publications));
        let more = more.then_some(connection);
        self.shards.send(connection.shard, ShardMessage::Deliver(DeliveryBatch { source, deliveries, more }));
    }

    fn feed_topics(&mut self, registry: &Registry, datastream: u32) -> FeedTopics {
        let feed_matches = &mut self.feed_matches;
        if feed_matches.version != self.subscriptions.version
            || feed_matches.held > REMEMBERED_SUBSCRIPTIONS_MAX
        {
            *feed_matches = FeedMatches { version: self.subscriptions.version, ..FeedMatches::default() };
        }
        let held = &mut feed_matches.held;
        let index = datastream as usize;
        let by_datastream = &mut feed_matches.by_datastream;
        if by_datastream.len() <= index {
            by_datastream.resize(index + 1, None);
        }
        by_datastream[index]
            .get_or_insert_with(|| {
                let entry = registry.datastream(datastream);
                let property_topic = form::property_topic(entry);
                let station_topic = form::station_topic(registry, entry);
                let property = self.subscriptions.find(&property_topic);
                let station = self.subscriptions.find(&station_topic);
                *held += property.len() + station.len();
                FeedTopics {
                    property,
                    property_topic: property_topic.into(),
                    station,
                    station_topic: station_topic.into(),
                }
            })
            .clone()
    }

    fn publish(
        &mut self,
        publications: &mut Vec<Publication>,
        topic: &Arc<str>,
        matches: &Matches,
        json: String,
        retain: bool,
    ) {
        let place = DeliveryPlace::Publication(publications.len() as u32);
        let outgoing = Outgoing {
            place,
            qos: QoS::AtLeastOnce,
            retain,
            message_expiry_interval_s: None,
            publisher: None,
        };
        deliver(&mut self.deliveries, matches, &outgoing);
        publications.push(publication(topic, json));
    }

    /// Hands each shard its batch of the group.
    fn send(&mut self, source: &DeliverySource) {
        for shard in 0..self.shard_count {
            if !self.deliveries[shard].is_empty() {
                let deliveries = std::mem::take(&mut self.deliveries[shard]);
                let batch = DeliveryBatch { source: source.clone(), deliveries, more: None };
                self.shards.send(shard as u16, ShardMessage::Deliver(batch));
            }
        }
    }
}

fn publication(topic: &Arc<str>, json: String) -> Publication {
    Publication { topic: topic.clone(), properties: Arc::from([]), payload: json.into_bytes().into() }
}

/// A message on its way to subscriptions.
struct Outgoing<'a> {
    place: DeliveryPlace,
    qos: QoS,
    retain: bool,
    message_expiry_interval_s: Option<u32>,
    publisher: Option<&'a [u8]>,
}

/// Of a message that is routed as it comes.
fn message_expiry_interval_s(properties: &[u8]) -> Option<u32> {
    if properties.is_empty() {
        return None;
    }
    Properties::parse(PropertyOwner::Publish, properties).ok()?.message_expiry_interval_s()
}

/// One copy for each connection, with the highest QoS and all identifiers of its matching subscriptions.
fn deliver(deliveries: &mut [Vec<Delivery>], matches: &[Subscription], message: &Outgoing<'_>) {
    for of_connection in matches.chunk_by(|a, b| a.connection == b.connection) {
        let mut wanted = of_connection
            .iter()
            .filter(|subscription| {
                !(subscription.no_local && message.publisher == Some(subscription.client.as_bytes()))
            })
            .peekable();
        let Some(first) = wanted.peek() else { continue };
        let connection = first.connection;
        let mut qos = QoS::AtMostOnce;
        let mut retain_as_published = false;
        let mut subscription_identifiers = Vec::new();
        for subscription in wanted {
            qos = qos.max(subscription.qos);
            retain_as_published |= subscription.retain_as_published;
            subscription_identifiers.extend(subscription.identifier);
        }
        deliveries[usize::from(connection.shard)].push(Delivery {
            connection,
            place: message.place,
            qos: qos.min(message.qos),
            retain: message.retain && retain_as_published,
            message_expiry_interval_s: message.message_expiry_interval_s,
            subscription_identifiers,
        });
    }
}

/// The three queues of the router's thread.
#[derive(Debug)]
pub struct RouterInputs {
    pub frames: Receiver<Arc<JournalFrame>>,
    pub observations: Receiver<Arc<ObservationFrame>>,
    pub requests: Receiver<RouterRequest>,
}

impl RouterInputs {
    /// What was durable before a request comes before it.
    pub fn answer(&self, router: &mut Router, request: RouterRequest, clock: &dyn Clock) {
        self.frames.try_iter().for_each(|frame| router.step_journal(&frame));
        self.observations.try_iter().for_each(|frame| router.step_observations(&frame));
        router.step_request(request, clock.receive_time_us());
    }
}

/// The router's thread. Ends when both streams of frames have ended.
pub fn run_router(mut router: Router, clock: &dyn Clock, inputs: &RouterInputs) {
    let mut frames = inputs.frames.clone();
    let mut observations = inputs.observations.clone();
    let mut requests = inputs.requests.clone();
    let (mut frames_open, mut observations_open) = (true, true);
    while frames_open || observations_open {
        select! {
            recv(frames) -> frame => match frame {
                Ok(frame) => router.step_journal(&frame),
                Err(_) => { frames_open = false; frames = crossbeam::channel::never(); }
            },
            recv(observations) -> frame => match frame {
                Ok(frame) => router.step_observations(&frame),
                Err(_) => { observations_open = false; observations = crossbeam::channel::never(); }
            },
            recv(requests) -> request => match request {
                Ok(request) => inputs.answer(&mut router, request, clock),
                Err(_) => requests = crossbeam::channel::never(),
            },
        }
    }
}
