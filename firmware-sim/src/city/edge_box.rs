//! The messages of one connection: its stations in the order of their times, what goes wrong, and what a storm holds back.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::faults::Condition;
use super::noise;
use super::signals::{Instrument, STATUS_MEASURING};
use super::sky::UTC_OFFSET_S;
use super::stations::Station;
use super::storm::{CityControl, Storm};
use crate::client::{Planned, Source};
use crate::control::add;
use crate::ledger::{Episode, Fault, Format, Kind};
use crate::message::Message;
use crate::payload::encode;
use crate::sim::{garbage, planned_garbage};
use crate::time;

/// What a station without store does not send within this time is gone.
const STORELESS_US: i64 = 30_000_000;
/// Stations measure at round times and send within this, each at its own moment.
const SEND_DELAY_US_MAX: f64 = 300e6;
/// How often the counts of what waits are brought up to date.
const REPORT_US: i64 = 1_000_000;
/// Most measurements that are passed over (silent stations) before other connections get their turn.
const PASSED_OVER_MAX: usize = 10_000;
const PURPOSE_DELAY: u64 = 3;
const PURPOSE_MESSAGE: u64 = 4;

/// How time passes for a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Course {
    /// The first moment that is covered, and when the run began, both epoch µs.
    pub(super) from_us: i64,
    pub(super) begun_us: i64,
    /// The past runs so much faster than the clock; `None` is as fast as it is acknowledged.
    pub(super) speed: Option<f64>,
}

impl Course {
    /// Up to where the stations have measured; never ahead of the clock.
    pub(super) fn position_us(self, now_us: i64) -> i64 {
        match self.speed {
            None => now_us,
            Some(speed) => {
                let passed_us = (now_us - self.begun_us) as f64 * speed;
                self.from_us.saturating_add(passed_us as i64).min(now_us)
            }
        }
    }
}

/// A station on its edge box.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) instrument: Instrument,
    /// The station whose sensors this one has while they are swapped.
    pub(super) neighbour: Option<Instrument>,
    pub(super) condition: Condition,
    pub(super) garbage: f64,
    pub(super) duplicates: f64,
    /// Number of the next measurement since 1970.
    slot: i64,
    interval_us: i64,
    delay_us: i64,
    /// The ledger knows of the faults up to then, and of the next one from then on.
    told_us: i64,
    tell_again_us: i64,
    /// Measurements that are gone, since the last one that was not.
    missed: Option<Missed>,
}

/// Measurements that are gone, one after the other: times of the first and the last one, and how many.
#[derive(Clone, Copy, Debug)]
struct Missed {
    from_us: i64,
    last_us: i64,
    measurements: u64,
}

impl Device {
    pub(super) fn new(
        instrument: Instrument,
        neighbour: Option<Instrument>,
        condition: Condition,
        seed: u64,
        from_us: i64,
    ) -> Self {
        let station = &instrument.station;
        let interval_us = station.interval_us();
        let spread_us = (0.9 * interval_us as f64).min(SEND_DELAY_US_MAX);
        let delay_us = (spread_us * noise::unit(seed, station.stream(PURPOSE_DELAY), 0)) as i64;
        // Rounded up: the first measurement that is sent from `from_us` on.
        let slot = -(delay_us - from_us).div_euclid(interval_us);
        Self {
            instrument,
            neighbour,
            condition,
            garbage: 0.0,
            duplicates: 0.0,
            slot,
            interval_us,
            delay_us,
            told_us: i64::MIN,
            tell_again_us: i64::MIN,
            missed: None,
        }
    }

    /// The time of the next measurement.
    fn time_us(&self) -> i64 {
        self.slot * self.interval_us
    }

    /// What begins to go wrong with the next measurement.
    fn tell_faults(&mut self, episodes: &mut Vec<Episode>) {
        let time_us = self.time_us();
        if time_us < self.tell_again_us {
            return;
        }
        let station = full_name(&self.instrument.station);
        if self.told_us == i64::MIN {
            let clock = self.condition.clock_fault();
            episodes.extend(clock.map(|fault| Episode::of_station(fault, station.clone(), time_us, None)));
        }
        let with = self.neighbour.as_ref().map(|neighbour| full_name(&neighbour.station));
        self.tell_again_us = self.condition.tell(time_us, self.told_us, |fault, from_us, until_us| {
            let mut episode = Episode::of_station(fault, station.clone(), from_us, Some(until_us));
            if fault == Fault::Swapped {
                episode.with = with.clone();
            }
            // The last station of its kind may have no neighbour to swap with.
            if fault != Fault::Swapped || with.is_some() {
                episodes.push(episode);
            }
        });
        self.told_us = time_us;
    }

    fn miss(&mut self) {
        let time_us = self.time_us();
        let missed =
            self.missed.get_or_insert(Missed { from_us: time_us, last_us: time_us, measurements: 0 });
        missed.last_us = time_us;
        missed.measurements += 1;
    }

    /// The measurements that were missed, when that is over.
    fn take_missed(&mut self) -> Option<Episode> {
        let Missed { from_us, last_us, measurements } = self.missed.take()?;
        let station = full_name(&self.instrument.station);
        let mut episode =
            Episode::of_station(Fault::Missed, station, from_us, Some(last_us + self.interval_us));
        episode.measurements = Some(measurements);
        Some(episode)
    }

    /// When the next measurement goes out.
    fn due_us(&self) -> i64 {
        self.time_us() + self.delay_us
    }

    /// Measurements from the next one on that are due up to a moment.
    fn due_until(&self, us: i64) -> u64 {
        let span_us = us - self.due_us();
        if span_us < 0 { 0 } else { (span_us / self.interval_us) as u64 + 1 }
    }
}

fn full_name(station: &Station) -> String {
    format!("{}/{}", station.agency.code, station.code)
}

/// Everything that a connection carries.
pub(super) struct EdgeBox {
    number: usize,
    seed: u64,
    course: Course,
    devices: Vec<Device>,
    /// When each station's next message is due, and which that is.
    queue: BinaryHeap<Reverse<(i64, usize)>>,
    /// Stations that a storm holds back.
    held: Vec<usize>,
    ready: VecDeque<Planned>,
    /// When what is ready was due.
    ready_due_us: i64,
    /// Not in the ledger yet; taken at every turn of the client, which passes over [`PASSED_OVER_MAX`] measurements at most.
    episodes: Vec<Episode>,
    control: Arc<CityControl>,
    /// Of the whole city.
    messages_left: Rc<Cell<u64>>,
    storms: Vec<Storm>,
    storms_version: u64,
    reported_us: i64,
    waiting: u64,
    is_behind: bool,
    was_cut_off: bool,
}

impl EdgeBox {
    pub(super) fn new(
        number: usize,
        seed: u64,
        course: Course,
        devices: Vec<Device>,
        control: Arc<CityControl>,
        messages_left: Rc<Cell<u64>>,
    ) -> Self {
        let queue = devices.iter().enumerate().map(|(at, device)| Reverse((device.due_us(), at))).collect();
        control.boxes_behind.fetch_add(1, Ordering::Relaxed);
        control.report_sent(number, course.from_us);
        let mut edge_box = Self {
            number,
            seed,
            course,
            devices,
            queue,
            held: Vec::new(),
            ready: VecDeque::new(),
            ready_due_us: i64::MAX,
            episodes: Vec::new(),
            storms: Vec::new(),
            storms_version: control.version(),
            control,
            messages_left,
            reported_us: 0,
            waiting: 0,
            is_behind: true,
            was_cut_off: false,
        };
        edge_box.read_storms();
        edge_box
    }

    /// Reads the list of storms. One connection enters them into the ledger for all.
    fn read_storms(&mut self) {
        let storms = self.control.storm_list();
        for (at, storm) in storms.iter().enumerate() {
            let is_new = self.number == 0 && self.storms.get(at) != Some(storm);
            // One that lies beyond all years will not come in this run.
            if let Some(from_us) = time::writable(storm.from_us).filter(|_| is_new) {
                let until_us = time::writable(storm.until_us);
                self.episodes.push(Episode::storm(storm.region.to_string(), from_us, until_us));
            }
        }
        self.storms = storms;
    }

    /// Takes note of new storms, and of those that are over.
    fn look_at_storms(&mut self, now_us: i64) {
        let version = self.control.version();
        let is_changed = version != self.storms_version;
        if is_changed {
            self.storms_version = version;
            self.read_storms();
        }
        if self.held.is_empty() {
            return;
        }
        let (devices, storms, queue) = (&self.devices, &self.storms, &mut self.queue);
        self.held.retain(|at| {
            let device = &devices[*at];
            let station = &device.instrument.station;
            let is_free = !storms.iter().any(|storm| storm.is_on(now_us) && storm.hits(station));
            if is_free {
                queue.push(Reverse((device.due_us(), *at)));
            }
            !is_free
        });
    }

    /// Can't this station send what was due at `due_us`? What was due before a storm that is older than the run went out then.
    fn is_held(&self, at: usize, due_us: i64, now_us: i64) -> bool {
        let station = &self.devices[at].instrument.station;
        self.storms.iter().any(|storm| {
            storm.is_on(now_us)
                && storm.hits(station)
                && (storm.from_us >= self.course.begun_us || due_us >= storm.from_us)
        })
    }

    fn caught_up(&mut self) {
        if std::mem::take(&mut self.is_behind) {
            self.control.boxes_behind.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Makes the next message if one is due; returns µs until one is.
    fn prepare(&mut self, now_us: i64) -> u64 {
        if !self.ready.is_empty() {
            return 0;
        }
        self.report(now_us);
        let position_us = self.course.position_us(now_us);
        for _ in 0..PASSED_OVER_MAX {
            let Some(&Reverse((due_us, at))) = self.queue.peek() else {
                // All are held back; the end of a storm is looked for at every report.
                self.caught_up();
                return REPORT_US as u64 / 20;
            };
            if due_us > position_us {
                self.caught_up();
                return (due_us - position_us).unsigned_abs();
            }
            self.queue.pop();
            if self.is_held(at, due_us, now_us) {
                self.held.push(at);
                continue;
            }
            let device = &mut self.devices[at];
            let is_gone = device.instrument.station.has_no_clock && now_us - due_us > STORELESS_US;
            device.tell_faults(&mut self.episodes);
            if is_gone {
                add(&self.control.missed, 1);
                device.miss();
            } else {
                self.episodes.extend(device.take_missed());
                self.ready_due_us = due_us;
                self.make(at);
            }
            let device = &mut self.devices[at];
            device.slot += 1;
            self.queue.push(Reverse((device.due_us(), at)));
            if !self.ready.is_empty() {
                return 0;
            }
        }
        1
    }

    /// Measures, spoils and encodes.
    fn make(&mut self, at: usize) {
        let device = &mut self.devices[at];
        let time_us = device.time_us();
        if device.condition.is_silent(time_us) {
            return;
        }
        let measured_us = device.condition.measured_at(time_us);
        let sensors = match &mut device.neighbour {
            Some(neighbour) if device.condition.is_swapped(time_us) => neighbour,
            _ => &mut device.instrument,
        };
        let mut readings = sensors.measure(measured_us);
        device.condition.spoil(time_us, &mut readings);
        let station = &device.instrument.station;
        let format = station.format;
        if format == Format::Bare && !station.has_no_clock {
            // With a status a single value becomes an object, and an object has a time.
            for reading in readings.iter_mut().filter(|reading| reading.status.is_none()) {
                reading.status = Some(STATUS_MEASURING.into());
            }
        }
        let (clock_us, is_misdated) = device.condition.clock(time_us);
        let message = Message {
            agency: station.topic_agency.clone(),
            station: station.topic_station.clone(),
            time_us: (!station.has_no_clock).then_some(clock_us),
            utc_offset_s: UTC_OFFSET_S,
            seq: (!station.has_no_clock).then_some(device.slot.unsigned_abs()),
            readings,
        };
        let mut random = noise::random(self.seed, station.stream(PURPOSE_MESSAGE), time_us);
        if random.chance(device.garbage) {
            let (topic, payload) = garbage(&mut random, &station.topic_agency, &station.topic_station);
            self.ready.push_back(planned_garbage(&station.topic_agency, topic, payload));
        }
        let kind = if is_misdated { Kind::Misdated } else { Kind::Reading };
        for encoded in encode(message, format, station.time_style) {
            let planned = Planned { encoded, format, kind };
            let is_twice = !is_misdated && random.chance(device.duplicates);
            let twin = is_twice.then(|| Planned { kind: Kind::Duplicate, ..planned.clone() });
            self.ready.extend([Some(planned), twin].into_iter().flatten());
        }
    }

    /// Counts what waits.
    fn report(&mut self, now_us: i64) {
        let is_changed = self.storms_version != self.control.version();
        if now_us - self.reported_us < REPORT_US / 20 && !is_changed {
            return;
        }
        self.look_at_storms(now_us);
        if now_us - self.reported_us < REPORT_US && !is_changed {
            return;
        }
        self.reported_us = now_us;
        let position_us = self.course.position_us(now_us);
        let next_due_us = self.devices.iter().map(Device::due_us).min().unwrap_or(i64::MAX);
        let ready_due_us = if self.ready.is_empty() { i64::MAX } else { self.ready_due_us };
        self.control.report_sent(self.number, next_due_us.min(ready_due_us).min(position_us));
        let waiting = self.devices.iter().map(|device| device.due_until(position_us)).sum();
        // Differences, because all connections add up to one count.
        self.control.waiting.fetch_add(waiting, Ordering::Relaxed);
        self.control.waiting.fetch_sub(self.waiting, Ordering::Relaxed);
        self.waiting = waiting;
        if self.storms.is_empty() {
            return;
        }
        let by_storm: Vec<u64> = self
            .storms
            .iter()
            .map(|storm| {
                let hit = self.devices.iter().filter(|device| storm.hits(&device.instrument.station));
                let until_us = storm.until_us.saturating_sub(1).min(position_us);
                let during = |device: &Device| {
                    device
                        .due_until(until_us)
                        .saturating_sub(device.due_until(storm.from_us.saturating_sub(1)))
                };
                hit.map(during).sum()
            })
            .collect();
        self.control.report_waiting(self.number, &by_storm);
    }
}

impl Source for EdgeBox {
    fn next(&mut self, now_us: i64) -> Option<Planned> {
        let left = self.messages_left.get();
        if left == 0 || self.prepare(now_us) > 0 {
            return None;
        }
        self.messages_left.set(left - 1);
        self.ready.pop_front()
    }

    fn wait_us(&mut self, now_us: i64) -> u64 {
        if self.messages_left.get() == 0 { 0 } else { self.prepare(now_us) }
    }

    fn take_episodes(&mut self, is_over: bool) -> Vec<Episode> {
        if is_over {
            self.episodes.extend(self.devices.iter_mut().filter_map(Device::take_missed));
        }
        std::mem::take(&mut self.episodes)
    }

    fn is_cut_off(&mut self, now_us: i64) -> bool {
        self.report(now_us);
        let next_due_us = self.queue.peek().map_or(i64::MAX, |Reverse((due_us, _))| *due_us);
        let is_cut_off = !self.devices.is_empty()
            && self.storms.iter().any(|storm| {
                storm.is_on(now_us)
                    && (storm.from_us >= self.course.begun_us || next_due_us >= storm.from_us)
                    && self.devices.iter().all(|device| storm.hits(&device.instrument.station))
            });
        if is_cut_off != self.was_cut_off {
            self.was_cut_off = is_cut_off;
            if is_cut_off {
                self.control.boxes_cut_off.fetch_add(1, Ordering::Relaxed);
            } else {
                self.control.boxes_cut_off.fetch_sub(1, Ordering::Relaxed);
            }
        }
        is_cut_off
    }
}
