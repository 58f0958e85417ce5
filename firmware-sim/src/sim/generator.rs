//! The messages of one client: its stations in turn, with the faults that were asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::client::{Planned, Source};
use crate::control::{Control, add};
use crate::ledger::Kind;
use crate::message::{Message, Reading, Text, Value};
use crate::payload::encode;
use crate::random::Random;
use crate::sim::garbage::{garbage, planned_garbage};
use crate::sim::station::Station;
use crate::sim::{Faults, FormatChoice, Times};

/// Most messages that a client holds back at a time.
const HELD_MESSAGES_MAX: usize = 1000;
/// By how many messages of its client a message is delayed at most.
const DELAY_MESSAGES_MAX: u64 = 20;
/// Most messages that a station skips at once.
const GAP_MESSAGES_MAX: u64 = 20;
/// Offset of the simulated city's clocks.
const UTC_OFFSET_S: i32 = 7 * 3600;

/// How the messages of one client are made.
#[derive(Clone, Debug)]
pub(crate) struct GeneratorOptions {
    pub(crate) agency: Text,
    pub(crate) format: FormatChoice,
    pub(crate) times: Times,
    pub(crate) faults: Faults,
    /// Messages of every kind after which the source is at its end.
    pub(crate) messages_max: Option<u64>,
}

pub(crate) struct Generator {
    options: GeneratorOptions,
    /// Stations with their number in the whole run.
    stations: Vec<(usize, Station)>,
    next_station: usize,
    random: Random,
    /// Messages that were made together and go out one by one.
    ready: VecDeque<Planned>,
    /// Messages that go out when `made` has reached the number beside them.
    held: Vec<(u64, Planned)>,
    made: u64,
    control: Arc<Control>,
}

impl Generator {
    pub(crate) fn new(
        options: GeneratorOptions,
        stations: Vec<(usize, Station)>,
        random: Random,
        control: Arc<Control>,
    ) -> Self {
        let (ready, held) = (VecDeque::new(), Vec::new());
        Self { options, stations, next_station: 0, random, ready, held, made: 0, control }
    }

    /// Makes the next message of the next station, and what goes wrong with it.
    fn make(&mut self, now_us: i64) {
        let faults = self.options.faults;
        let at = self.next_station;
        self.next_station = (at + 1) % self.stations.len();
        if self.random.chance(faults.gaps) {
            let steps = self.random.between(1, GAP_MESSAGES_MAX);
            self.stations[at].1.skip(steps);
            add(&self.control.gaps, steps);
        }
        if self.random.chance(faults.garbage) {
            let (topic, payload) = garbage(&mut self.random, &self.options.agency, &self.stations[at].1.name);
            self.ready.push_back(planned_garbage(&self.options.agency, topic, payload));
        }
        let message = self.measure(at, now_us);
        let correction = if message.time_us.is_some() && self.random.chance(faults.corrections) {
            self.corrected(at, &message)
        } else {
            None
        };
        let format = self.options.format.of_station(self.stations[at].0);
        let style = self.stations[at].1.time_style;
        for encoded in encode(message, format, style) {
            let planned = Planned { encoded, format, kind: Kind::Reading };
            if self.random.chance(faults.duplicates) {
                self.hold(Planned { kind: Kind::Duplicate, ..planned.clone() }, 0);
            }
            if self.random.chance(faults.reorder) && self.held.len() < HELD_MESSAGES_MAX {
                add(&self.control.reordered, 1);
                self.hold(planned, 1);
            } else {
                self.ready.push_back(planned);
            }
        }
        for encoded in correction.into_iter().flat_map(|message| encode(message, format, style)) {
            // A plain bare value has no time, so it cannot correct anything.
            if encoded.message.time_us.is_some() {
                self.hold(Planned { encoded, format, kind: Kind::Correction }, 1);
            }
        }
    }

    fn measure(&mut self, at: usize, now_us: i64) -> Message {
        let station = &mut self.stations[at].1;
        let time_us = match self.options.times {
            Times::Undated => None,
            Times::Clock => Some(station.next_time_us(now_us)),
            Times::Steps { start_us, step_us } => Some(start_us + step_us * station.step as i64),
        };
        Message {
            agency: self.options.agency.clone(),
            station: station.name.clone().into(),
            time_us,
            utc_offset_s: UTC_OFFSET_S,
            seq: Some(station.next_seq()),
            readings: station.measure(),
        }
    }

    /// The same message with its first value changed, or nothing where that value is missing.
    fn corrected(&mut self, at: usize, message: &Message) -> Option<Message> {
        let mut correction = message.clone();
        let first: &mut Reading = correction.readings.first_mut()?;
        first.value = match &first.value {
            Value::Number(number) => Value::Number((number * 100.0).round() / 100.0 + 10.0),
            Value::Boolean(boolean) => Value::Boolean(!boolean),
            Value::Text(text) => Value::Text(format!("{text} (corrected)")),
            Value::Null => return None,
        };
        correction.seq = Some(self.stations[at].1.next_seq());
        Some(correction)
    }

    fn hold(&mut self, planned: Planned, delay_min: u64) {
        if self.held.len() < HELD_MESSAGES_MAX {
            let release_at = self.made + self.random.between(delay_min, DELAY_MESSAGES_MAX);
            self.held.push((release_at, planned));
        }
    }
}

impl Source for Generator {
    fn next(&mut self, now_us: i64) -> Option<Planned> {
        if self.options.messages_max.is_some_and(|max| self.made >= max) || self.stations.is_empty() {
            return None;
        }
        let released = self.held.iter().position(|(release_at, _)| *release_at <= self.made);
        let planned = match released {
            // A copy or correction that overtook its original would only change the roles of the two.
            Some(at) if self.ready.is_empty() => self.held.remove(at).1,
            _ => loop {
                if let Some(planned) = self.ready.pop_front() {
                    break planned;
                }
                self.make(now_us);
                if self.ready.is_empty() && !self.held.is_empty() {
                    break self.held.remove(0).1;
                }
            },
        };
        self.made += 1;
        Some(planned)
    }
}
