//! What subscribers have seen of feeds and plain messages, and what they may see next.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::Model;
use super::view::{Asked, content};

/// Everything that anybody has seen.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    /// Newest phenomenonTime of each datastream that left as new or as retained.
    newest: BTreeMap<String, i64>,
    /// Number of the newest retained message of each plain topic.
    kept: BTreeMap<String, usize>,
}

/// One subscriber. What it has seen outlives its connections.
#[derive(Debug, Default)]
pub(super) struct Subscriber {
    /// Of the feed, newest time by QoS and datastream: a subscription made anew with QoS 0 may overtake what its QoS 1 one
    /// has in its window ([MQTT-4.6.0-6] orders by topic and QoS).
    live: [BTreeMap<String, i64>; 2],
    /// What left as new, each at most once.
    once: BTreeSet<(String, i64, String)>,
    /// What was known when it subscribed last.
    before: BTreeMap<String, i64>,
    kept_before: BTreeMap<String, usize>,
    /// All that comes has to reach it since then, on the connection that it has.
    pub(super) since: Option<u64>,
    /// What it got for itself, and beside others of its message.
    got: BTreeSet<(String, i64, String)>,
    got_together: BTreeSet<(String, i64, String)>,
    plain_got: BTreeSet<usize>,
    /// Retained values since it subscribed last.
    pub(super) retained: BTreeMap<String, (i64, String)>,
    pub(super) kept: BTreeMap<String, usize>,
}

impl Subscriber {
    pub(super) fn subscribes(&mut self, feeds: &Feeds) {
        self.before.clone_from(&feeds.newest);
        self.kept_before.clone_from(&feeds.kept);
        self.retained.clear();
        self.kept.clear();
    }

    pub(super) fn delivered(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
        feeds: &mut Feeds,
        model: &mut Model,
    ) {
        if !topic.starts_with("feed/") {
            return self.plain(topic, payload, retain, feeds, model);
        }
        let json: Value = serde_json::from_slice(payload).unwrap_or_else(|error| {
            panic!("a feed is no JSON: {error}: {}", String::from_utf8_lossy(payload))
        });
        match json["observations"].as_array() {
            Some(observations) => {
                for observation in observations {
                    let (datastream, time_us, content) = parts(observation);
                    model.observation_delivered(&datastream, time_us, &content);
                    self.got_together.insert((datastream, time_us, content));
                }
            }
            None => self.observation(&json, qos, retain, feeds, model),
        }
    }

    fn observation(&mut self, json: &Value, qos: u8, retain: bool, feeds: &mut Feeds, model: &mut Model) {
        let (datastream, time_us, content) = parts(json);
        model.observation_delivered(&datastream, time_us, &content);
        if !retain {
            self.got.insert((datastream.clone(), time_us, content.clone()));
        }
        if json["late"] == true {
            return;
        }
        if retain {
            let before = self.before.get(&datastream).copied().unwrap_or(i64::MIN);
            assert!(
                time_us >= before,
                "the retained value of {datastream} moved back: {before} was seen before, now {time_us}"
            );
            self.retained.insert(datastream.clone(), (time_us, content));
        } else {
            let live = &mut self.live[usize::from(qos.min(1))];
            let before = live.insert(datastream.clone(), time_us).unwrap_or(i64::MIN);
            assert!(time_us >= before, "the feed of {datastream} moved back from {before} to {time_us}");
            assert!(
                self.once.insert((datastream.clone(), time_us, content.clone())),
                "{content} of {datastream} at {time_us} left twice as new"
            );
        }
        let newest = feeds.newest.entry(datastream).or_insert(time_us);
        *newest = time_us.max(*newest);
    }

    fn plain(&mut self, topic: &str, payload: &[u8], retain: bool, feeds: &mut Feeds, model: &mut Model) {
        let id = model.plain_delivered(topic, payload);
        if !retain {
            self.plain_got.insert(id);
        }
        if !topic.ends_with("/kept") {
            return;
        }
        if retain {
            let before = self.kept_before.get(topic).copied().unwrap_or(0);
            assert!(
                id >= before,
                "the retained message of {topic} moved back: message {before} was seen before, now {id}"
            );
            self.kept.insert(topic.to_owned(), id);
            let newest = feeds.kept.entry(topic.to_owned()).or_insert(id);
            *newest = id.max(*newest);
        }
    }

    /// Nothing waits, and it has been there: nothing that came meanwhile has passed it by.
    pub(super) fn check_complete(&self, name: &str, asked: &Asked, model: &Model) {
        let Some(since) = self.since else { return };
        let (rows, plain) = model.must_have_got(since, asked);
        for row in rows {
            let both = (self.got.contains(&row), self.got_together.contains(&row));
            assert_eq!(both, (true, true), "the subscriber {name} did not get {row:?}");
        }
        for id in plain {
            assert!(self.plain_got.contains(&id), "the subscriber {name} did not get the plain message {id}");
        }
    }

    /// After everything: the retained value of each datastream is its newest row.
    pub(super) fn check_retained(&self, asked: &Asked, model: &Model) {
        let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
        for row in &asked.rows {
            let time_us = newest.entry(&row.datastream).or_insert(row.time_us);
            *time_us = row.time_us.max(*time_us);
        }
        for (datastream, time_us) in newest {
            let Some((retained_us, content)) = self.retained.get(datastream) else {
                panic!("there is no retained value of {datastream}")
            };
            assert_eq!(*retained_us, time_us, "the retained value of {datastream} is not the newest");
            let is_row = asked
                .rows
                .iter()
                .any(|row| row.datastream == datastream && row.time_us == time_us && row.content == *content);
            assert!(is_row, "the retained value of {datastream} is {content}, which is no row");
            let in_force = asked
                .in_force
                .iter()
                .find(|row| row.datastream == datastream && row.time_us == time_us && !model.has_many(row));
            if let Some(row) = in_force {
                assert_eq!(*content, row.content, "the retained value of {datastream} is not in force");
            }
        }
    }

    /// The retained message of a topic is the last one, as far as anybody knows which that is.
    pub(super) fn check_kept(&self, topic: &str, proven: Option<usize>) {
        let kept = self.kept.get(topic).copied();
        assert!(
            kept >= proven,
            "the retained message of {topic} is {kept:?}, though {proven:?} was acknowledged"
        );
    }
}

fn parts(json: &Value) -> (String, i64, String) {
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    let time = text("phenomenonTime").unwrap_or_default();
    let time_us =
        codecs::time::parse_rfc3339(&time).unwrap_or_else(|_| panic!("a feed without a time: {json}"));
    let value = match &json["result"] {
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN).to_string(),
        Value::Bool(value) => value.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Null => "null".to_owned(),
        other => panic!("a feed with a result {other}"),
    };
    let content = content(&value, text("unit").as_deref(), text("status").as_deref());
    (text("datastream").unwrap_or_default(), time_us, content)
}
