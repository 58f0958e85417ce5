//! Retained messages of clients, as the router holds them.

use std::sync::Arc;

use codecs::mqtt::topic::filter_matches;
use codecs::mqtt::{Properties, PropertyOwner, QoS};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::mqtt::Publication;
use crate::observation::RetainedChange;
use crate::record::Message;
use crate::retained::RetainedBudget;

/// By topic; bounded by its [`RetainedBudget`].
#[derive(Debug)]
pub struct RetainedStore {
    messages: HashMap<Arc<str>, Retained, RandomState>,
    budget: RetainedBudget,
}

#[derive(Clone, Debug)]
pub(super) struct Retained {
    pub(super) publication: Publication,
    pub(super) qos: QoS,
    /// Receive time at which it expires.
    pub(super) expires_us: Option<i64>,
}

impl RetainedStore {
    pub fn new(budget: RetainedBudget) -> Self {
        Self { messages: HashMap::default(), budget }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// A change that the pipeline logged (start-up).
    pub fn restore(&mut self, change: &RetainedChange) {
        let Ok(topic) = std::str::from_utf8(&change.topic) else { return };
        if self.budget.admit(&change.topic, change.properties.len(), change.payload.len()) {
            self.put(topic, change.qos, &change.properties, &change.payload, change.receive_time_us);
        }
    }

    /// A message with RETAIN 1, live; false where there is no room for it.
    pub(super) fn set(&mut self, message: &Message<'_>, receive_time_us: i64) -> bool {
        // The codec has checked it.
        let Ok(topic) = std::str::from_utf8(message.topic) else { return true };
        let is_admitted = self.budget.admit(message.topic, message.properties.len(), message.payload.len());
        if is_admitted {
            self.put(topic, message.qos as u8, message.properties, message.payload, receive_time_us);
        }
        // There may be nothing to remove.
        is_admitted || message.payload.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.budget.bytes()
    }

    fn put(&mut self, topic: &str, qos: u8, properties: &[u8], payload: &[u8], receive_time_us: i64) {
        if payload.is_empty() {
            self.messages.remove(topic);
            return;
        }
        let expiry_s = Properties::parse(PropertyOwner::Publish, properties)
            .ok()
            .and_then(|properties| properties.message_expiry_interval_s());
        let topic: Arc<str> = topic.into();
        let retained = Retained {
            publication: Publication {
                topic: topic.clone(),
                properties: properties.into(),
                payload: payload.into(),
            },
            qos: QoS::from_bits(qos).unwrap_or(QoS::AtMostOnce),
            expires_us: expiry_s
                .map(|expiry_s| receive_time_us.saturating_add(i64::from(expiry_s) * 1_000_000)),
        };
        self.messages.insert(topic, retained);
    }

    pub(super) fn get(&self, topic: &str) -> Option<&Retained> {
        self.messages.get(topic)
    }

    /// Topics that a filter matches, in their order: so that a run of the simulation repeats.
    pub(super) fn matching(&self, filter: &str) -> Vec<Arc<str>> {
        if !filter.contains(['+', '#']) {
            return self.messages.get_key_value(filter).map(|(topic, _)| topic.clone()).into_iter().collect();
        }
        let mut topics: Vec<Arc<str>> =
            self.messages.keys().filter(|topic| filter_matches(filter, topic)).cloned().collect();
        topics.sort_unstable();
        topics
    }
}
