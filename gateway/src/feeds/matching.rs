//! Subscriptions of all connections, and which of them a topic reaches.

use std::sync::Arc;

use codecs::mqtt::{QoS, ReasonCode, RetainHandling};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::topic_tree::TopicTree;
use crate::mqtt::{ConnectionId, FilterRequest};

/// Topics whose matches are remembered; the memory starts anew when it is full and when a subscription changes.
const TOPICS_REMEMBERED_MAX: usize = 65_536;

/// Subscriptions in all remembered matches together, since one topic may reach very many.
pub(super) const REMEMBERED_SUBSCRIPTIONS_MAX: usize = 1 << 20;

/// One subscription as matching needs it.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) connection: ConnectionId,
    pub(super) client: Arc<str>,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) identifier: Option<u32>,
}

/// The subscriptions that a topic reaches, those of one connection next to each other.
pub(super) type Matches = Arc<[Subscription]>;

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    tree: TopicTree<Subscription>,
    filters: HashMap<ConnectionId, Vec<Box<str>>, RandomState>,
    remembered: HashMap<Box<[u8]>, Matches, RandomState>,
    remembered_subscriptions: usize,
    /// Subscriptions that may match topics under `feed/`.
    feed_filters: usize,
    /// Grows with every change: what others remember of matches is void then.
    pub(super) version: u64,
}

/// What became of one filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscribed {
    pub(super) code: ReasonCode,
    pub(super) send_retained: bool,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.tree.len()
    }

    pub(super) fn reach_feeds(&self) -> bool {
        self.feed_filters > 0
    }

    pub(super) fn subscribe(
        &mut self,
        connection: ConnectionId,
        client: &Arc<str>,
        request: &FilterRequest,
        subscriptions_per_client_max: usize,
    ) -> Subscribed {
        if let Some(code) = request.refusal {
            return Subscribed { code, send_retained: false };
        }
        let filters = self.filters.entry(connection).or_default();
        let known = filters.iter().any(|filter| **filter == *request.filter);
        if !known && filters.len() >= subscriptions_per_client_max {
            return Subscribed { code: ReasonCode::QUOTA_EXCEEDED, send_retained: false };
        }
        if known {
            self.tree.remove(&request.filter, |subscription| subscription.connection == connection);
        } else {
            filters.push(request.filter.as_str().into());
            self.feed_filters += usize::from(may_match_feeds(&request.filter));
        }
        let qos = request.options.qos.min(QoS::AtLeastOnce);
        self.tree.insert(
            &request.filter,
            Subscription {
                connection,
                client: client.clone(),
                qos,
                no_local: request.options.no_local,
                retain_as_published: request.options.retain_as_published,
                identifier: request.subscription_identifier,
            },
        );
        self.changed();
        Subscribed {
            code: ReasonCode(qos as u8),
            send_retained: match request.options.retain_handling {
                RetainHandling::AtSubscribe => true,
                RetainHandling::AtSubscribeIfNew => !known,
                RetainHandling::Never => false,
            },
        }
    }

    pub(super) fn unsubscribe(&mut self, connection: ConnectionId, filter: &str) -> ReasonCode {
        let Some(filters) = self.filters.get_mut(&connection) else {
            return ReasonCode::NO_SUBSCRIPTION_EXISTED;
        };
        let Some(at) = filters.iter().position(|held| **held == *filter) else {
            return ReasonCode::NO_SUBSCRIPTION_EXISTED;
        };
        filters.swap_remove(at);
        self.forget(connection, filter);
        self.changed();
        ReasonCode::SUCCESS
    }

    pub(super) fn left(&mut self, connection: ConnectionId) {
        let Some(filters) = self.filters.remove(&connection) else { return };
        for filter in filters {
            self.forget(connection, &filter);
        }
        self.changed();
    }

    /// The subscriptions that `topic` reaches; remembered, since the same topics come again and again.
    pub(super) fn matches(&mut self, topic: &[u8]) -> Matches {
        if let Some(matches) = self.remembered.get(topic) {
            return matches.clone();
        }
        if self.remembered.len() >= TOPICS_REMEMBERED_MAX
            || self.remembered_subscriptions >= REMEMBERED_SUBSCRIPTIONS_MAX
        {
            self.forget_matches();
        }
        let matches = std::str::from_utf8(topic).map_or_else(|_| Arc::from([]), |topic| self.find(topic));
        self.remembered_subscriptions += matches.len();
        self.remembered.insert(topic.into(), matches.clone());
        matches
    }

    /// Like [`matches`](Self::matches), for topics that the caller remembers itself.
    pub(super) fn find(&self, topic: &str) -> Matches {
        let mut found = Vec::new();
        self.tree.for_each_match(topic, &mut |subscription: &Subscription| found.push(subscription.clone()));
        found.sort_by_key(|subscription| {
            (subscription.connection.shard, subscription.connection.slot, subscription.connection.generation)
        });
        found.into()
    }

    fn forget(&mut self, connection: ConnectionId, filter: &str) {
        self.tree.remove(filter, |subscription| subscription.connection == connection);
        self.feed_filters -= usize::from(may_match_feeds(filter));
    }

    fn changed(&mut self) {
        self.version += 1;
        self.forget_matches();
    }

    fn forget_matches(&mut self) {
        self.remembered.clear();
        self.remembered_subscriptions = 0;
    }
}

fn may_match_feeds(filter: &str) -> bool {
    let level = filter.split_once('/').map_or(filter, |(level, _)| level);
    matches!(level, "feed" | "+" | "#")
}
