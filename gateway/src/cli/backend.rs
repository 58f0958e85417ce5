//! What the commands need of the engine.

use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam::channel::Receiver;

use crate::config::Config;
use crate::query::GatewayView;

/// Exit codes of the outside contract, beside 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    CheckFailed = 1,
    /// Wrong usage, configuration or environment.
    Environment = 2,
    /// A log failed, or what is kept is damaged.
    Journal = 3,
}

/// A command that could not do its work: what stderr says, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// One clear sentence; one line each where several things are wrong.
    pub sentence: String,
    /// A start that fails like this succeeds when the disk has space again.
    pub waits_for_space: bool,
    /// Somebody else has the data directory, or its catalogue, now.
    pub is_in_use: bool,
}

impl Failure {
    pub fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentence: sentence.into(), waits_for_space: false, is_in_use: false }
    }

    pub fn environment(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Environment, sentence)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentence)
    }
}

/// What to do about a log with frames missing in its middle, and about store files that are missing or damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Damage {
    #[default]
    Refuse,
    /// Go on without them; the log records what is missing.
    AcceptGap,
    /// Give the rows of the store files with these numbers up; the catalogue records which they were.
    AcceptLostFiles(Vec<u64>),
}

/// What somebody wants of a directory that no gateway runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The directory is let go as soon as it can answer.
    Read,
    /// It is held for as long as the view lives, and the view takes changes.
    Change,
}

/// Makes gateways out of configurations.
pub trait Backend: Debug {
    /// Starts a gateway; when it returns, the MQTT listener accepts.
    fn start(&self, config: Arc<Config>, damage: Damage) -> Result<Box<dyn Running>, Failure>;

    /// Opens the data directory of a gateway that does not run: takes its lock and reads the tails of the logs, without
    /// changing what they say. Fails if another process holds the lock. What can only be read is read, if that is all that is wanted.
    fn open_offline(&self, config: Arc<Config>, access: Access) -> Result<Arc<dyn GatewayView>, Failure>;

    /// A view of what is there, for as long as a start has to wait for space ([`Failure::waits_for_space`]). It writes nothing, holds
    /// no lock, takes `damage` as the start does, and says of itself that the disk is full.
    fn open_while_full(&self, config: Arc<Config>, damage: Damage) -> Result<Arc<dyn GatewayView>, Failure>;
}

/// A gateway that runs.
pub trait Running: Debug {
    /// The MQTT listener's address with its real port.
    fn mqtt_addr(&self) -> SocketAddr;

    /// The share of the process's descriptors that HTTP has.
    fn http_connections_max(&self) -> usize;

    fn view(&self) -> Arc<dyn GatewayView>;

    /// Tells when the gateway can't go on (a journal write failed); it takes no message any more from then on.
    fn failed(&self) -> Receiver<Failure>;

    /// Stops taking messages in, makes durable and flushes what was acknowledged, closes.
    fn stop(self: Box<Self>) -> Result<(), Failure>;
}
