//! The one thread that publishes on all connections and reads their acks.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};

use super::connection::{Connection, Pumped, Role};
use super::error::LoadError;
use super::options::LoadOptions;
use super::pacer::{Pacer, Schedule};
use super::timestamp::epoch_us;

/// A server that says nothing for so long has stopped.
const STALLED_S: u64 = 60;
const EVENTS_PER_POLL: usize = 1024;
const READ_BUFFER_BYTES: usize = 256 << 10;
/// Longest latency that is told apart; longer ones count as this.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// When publishing ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    AfterMessages(u64),
    AfterSeconds(f64),
}

/// What one call of [`Driver::publish`] did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    pub(super) messages: u64,
    /// From the first message to the last ack (QoS 0: to the answer to a PINGREQ behind the last message).
    pub(super) elapsed_s: f64,
}

pub(super) struct Driver {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    options: LoadOptions,
    connections: Vec<Connection>,
    /// Connections that can go on at once.
    runnable: VecDeque<usize>,
    read_buffer: Vec<u8>,
    started: Instant,
    /// Messages that may still be sent in this phase.
    budget: u64,
    in_flight: u64,
    published: u64,
    schedule: Option<Arc<Schedule>>,
    pub(super) latency_ns: Histogram<u64>,
    pub(super) deliveries: u64,
}

impl Driver {
    /// Opens all connections and waits until every one has its CONNACK (and SUBACK).
    pub(super) fn connect(address: SocketAddr, options: &LoadOptions) -> Result<Self, LoadError> {
        let poll = Poll::new()?;
        let count = options.connections + options.subscribers;
        let waker = Arc::new(Waker::new(poll.registry(), Token(count))?);
        // The bounds are constants that the histogram takes.
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
            .map_err(|error| LoadError::Options(error.to_string()))?;
        let mut driver = Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            waker,
            options: options.clone(),
            connections: Vec::with_capacity(count),
            runnable: VecDeque::new(),
            read_buffer: vec![0; READ_BUFFER_BYTES],
            started: Instant::now(),
            budget: 0,
            in_flight: 0,
            published: 0,
            schedule: options.rate.map(|rate| Arc::new(Schedule::new(options.connections, rate))),
            latency_ns,
            deliveries: 0,
        };
        for number in 0..count {
            let mut connection = Connection::open(address, options, number)?;
            let interests = Interest::READABLE | Interest::WRITABLE;
            driver.poll.registry().register(&mut connection.socket, Token(number), interests)?;
            driver.connections.push(connection);
        }
        driver.turn_until(|driver| driver.connections.iter().all(|connection| connection.ready))?;
        Ok(driver)
    }

    /// Messages published since the connections were opened.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// Takes what has come for subscribers by now.
    pub(super) fn take_deliveries(&mut self) -> Result<(), LoadError> {
        while self.poll_once(Duration::ZERO)? {}
        Ok(())
    }

    pub(super) fn forget_measurements(&mut self) {
        self.latency_ns.reset();
        self.deliveries = 0;
    }

    /// Publishes until `stop`, and returns when every message is acknowledged.
    pub(super) fn publish(&mut self, stop: Stop) -> Result<Phase, LoadError> {
        self.started = Instant::now();
        let deadline = match stop {
            Stop::AfterMessages(messages) => {
                self.budget = messages;
                None
            }
            Stop::AfterSeconds(seconds) => {
                self.budget = u64::MAX;
                Some(self.started + Duration::from_secs_f64(seconds))
            }
        };
        let budget_at_start = self.budget;
        let mut unspent = 0;
        self.start_phase();
        let pacer =
            self.schedule.clone().map(|schedule| Pacer::start(schedule, self.started, self.waker.clone()));
        let mut released = 0;
        loop {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                unspent += std::mem::take(&mut self.budget);
            }
            if let Some(pacer) = &pacer {
                self.release_due(&mut released, pacer.due());
            }
            self.pump_runnable()?;
            if self.budget == 0 && self.in_flight == 0 && self.connections.iter().all(Connection::is_flushed)
            {
                break;
            }
            self.turn(deadline)?;
        }
        drop(pacer);
        let messages = budget_at_start - unspent;
        if self.options.qos == 0 {
            self.barrier()?;
        }
        self.published += messages;
        Ok(Phase { messages, elapsed_s: self.started.elapsed().as_secs_f64() })
    }

    fn start_phase(&mut self) {
        self.runnable.clear();
        for (number, connection) in self.connections.iter_mut().enumerate() {
            if let Role::Publisher(publisher) = &mut connection.role {
                publisher.sent = 0;
                publisher.owed = if self.schedule.is_some() { 0 } else { u64::MAX };
                self.runnable.push_back(number);
            }
        }
    }

    fn release_due(&mut self, released: &mut u64, due: u64) {
        for message in *released..due {
            let number = (message % self.options.connections as u64) as usize;
            if let Role::Publisher(publisher) = &mut self.connections[number].role {
                publisher.owed += 1;
                self.runnable.push_back(number);
            }
        }
        *released = due;
    }

    /// One turn for every connection that can go on.
    fn pump_runnable(&mut self) -> Result<(), LoadError> {
        for _ in 0..self.runnable.len() {
            if let Some(number) = self.runnable.pop_front() {
                self.pump(number)?;
            }
        }
        Ok(())
    }

    fn pump(&mut self, number: usize) -> Result<(), LoadError> {
        let budget_before = self.budget;
        let now_ns = self.started.elapsed().as_nanos() as u64;
        let schedule = self.schedule.as_deref();
        let due_ns = |n| schedule.map(|schedule| schedule.due_ns(number, n));
        let pumped = self.connections[number].pump(&mut self.budget, now_ns, epoch_us(), due_ns)?;
        if self.options.qos > 0 {
            self.in_flight += budget_before - self.budget;
        }
        if pumped == Pumped::More {
            self.runnable.push_back(number);
        }
        Ok(())
    }

    /// Waits for events and takes them; fails when the server has stopped.
    fn turn(&mut self, deadline: Option<Instant>) -> Result<(), LoadError> {
        let stalled = Duration::from_secs(STALLED_S);
        let timeout = match deadline {
            _ if !self.runnable.is_empty() => Duration::ZERO,
            Some(deadline) if self.budget > 0 => {
                deadline.saturating_duration_since(Instant::now()).min(stalled)
            }
            _ => stalled,
        };
        if !self.poll_once(timeout)? && timeout == stalled {
            return Err(LoadError::Stalled { seconds: STALLED_S, in_flight: self.in_flight });
        }
        Ok(())
    }

    /// Whether anything happened within the timeout.
    fn poll_once(&mut self, timeout: Duration) -> Result<bool, LoadError> {
        // Taken out so that connections can be changed while it is read.
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = self.poll.poll(&mut events, Some(timeout));
        let result = match polled {
            Ok(()) => events.iter().try_for_each(|event| self.take_event(event)).map(|()| !events.is_empty()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error.into()),
        };
        self.events = events;
        result
    }

    fn take_event(&mut self, event: &Event) -> Result<(), LoadError> {
        let number = event.token().0;
        if number >= self.connections.len() {
            // The pacer's waker: the loop looks at what is due anyway.
            return Ok(());
        }
        if event.is_readable() {
            self.receive(number)?;
        }
        self.connections[number].flush()?;
        self.pump(number)
    }

    fn receive(&mut self, number: usize) -> Result<(), LoadError> {
        let now_ns = self.started.elapsed().as_nanos() as u64;
        let latency_ns = &mut self.latency_ns;
        let on_ack = |sent_ns: u64| latency_ns.saturating_record(now_ns.saturating_sub(sent_ns).max(1));
        let received = self.connections[number].receive(&mut self.read_buffer, &self.options, on_ack)?;
        self.in_flight -= received.acks;
        self.deliveries += received.deliveries;
        Ok(())
    }

    /// A PINGREQ behind the messages of every publisher: its answer says that the server has read them all.
    fn barrier(&mut self) -> Result<(), LoadError> {
        for number in 0..self.options.connections {
            self.connections[number].ping()?;
        }
        let publishers = self.options.connections;
        self.turn_until(|driver| {
            driver.connections[..publishers].iter().all(|connection| connection.answered)
        })
    }

    fn turn_until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), LoadError> {
        while !done(self) {
            self.turn(None)?;
        }
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        for connection in &mut self.connections {
            connection.disconnect();
        }
    }
}
