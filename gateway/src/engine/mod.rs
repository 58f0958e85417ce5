//! The engine: opens a data directory, runs the threads, stops them in order.
//!
//! ```text
//!  shards ──▶ journal writer ──▶ pipeline ──▶ keeper
//!     ▲            │                 │
//!     └── router ◀─┴─────────────────┘
//! ```
//!
//! - [`assembly`]: the stages of a gateway and the queues between them.
//! - [`bounds`]: what the configuration means for the parts.
//! - [`budgets`]: what is used of every budget now, and how long the rest lasts.
//! - [`change_port`]: the ways of operators' changes into the journal.
//! - [`descriptors`]: how many connections there may be, so that files can always be opened.
//! - [`memory_budget`]: the memory that all parts together may take.
//! - [`open`]: the directory's lock, catalogue, both logs, and everything that is rebuilt from them; no thread runs.
//! - [`raw`]: raw messages out of the journal.
//! - [`rebuild`]: feeds, retained messages and hot rows as they were.
//! - [`refusal`]: what each refused start is called on the page for operators.
//! - [`running`]: the threads round what was opened, and the stop.
//! - [`simulated`]: the stages without threads, for the simulation.
//! - [`stages`]: pipeline and keeper while no thread runs.
//! - [`view`]: what HTTP and command line may ask.
//! - [`world`]: what comes from outside: disk, catalogue, clock.

mod assembly;
mod bounds;
mod budgets;
mod change_port;
mod descriptors;
mod lost_files;
mod memory_budget;
mod open;
mod raw;
mod rebuild;
mod refusal;
mod running;
pub mod simulated;
mod stages;
#[cfg(test)]
mod tests;
mod view;
mod world;

pub use refusal::StartRefusal;
use refusal::Topic;

use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::catalogue::CatalogueError;
use crate::cli::{Access, Backend, Damage, Failure, Running};
use crate::config::Config;
use crate::disk::{Disk, OsDisk, is_no_space, is_unwritable};
use crate::keeper::KeeperError;
use crate::log::{LogError, Prepared, SegmentRoom};
use crate::observation::ParseError;
use crate::query::GatewayView;
use crate::store::StoreError;
use crate::things::ThingsError;
pub use bounds::Sizes;
use descriptors::TooFewDescriptors;
pub use world::World;

/// Why a gateway cannot start, or cannot go on.
#[derive(Debug, Error)]
pub enum EngineError {
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{0}")]
    Keeper(#[from] KeeperError),
    #[error(
        "mqtt.listen {listen}: {source}; stop the program that has it, or take another address with --mqtt-listen"
    )]
    Listen { listen: SocketAddr, source: std::io::Error },
    #[error("{data_dir}: another gateway, or a command that opened it, uses this data directory")]
    Locked { data_dir: String },
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("--accept-lost-file {file_no}: {reason}; nothing was changed")]
    LossNotAccepted { file_no: u64, reason: String },
    #[error(
        "the journal ends at message {journal}, but the observation log covers messages up to {observed}: part of the journal is missing"
    )]
    JournalBehind { journal: u64, observed: u64 },
    #[error(
        "there is no space for the two segments of {log}/ that must stand ready: {}",
        if *is_budget { "raise journal.log_bytes_max".to_owned() } else { free_some(room) }
    )]
    NoSegments { log: &'static str, is_budget: bool, room: SegmentRoom },
    #[error("{0}")]
    Observation(#[from] ParseError),
    #[error(
        "the observation log ends at frame {ends_at}, but the catalogue reflects frames up to {reflected}: part of the observation log is missing"
    )]
    ObservationsBehind { ends_at: u64, reflected: u64 },
    #[error(
        "the observation log begins at record {first}, but record {needed} is needed to go on from the catalogue's checkpoint"
    )]
    ObservationsMissing { first: u64, needed: u64 },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Things(#[from] ThingsError),
    #[error(
        "what the logs hold could not be brought into the store and the catalogue (see the warning before): free some space in \
         the data directory, or end what holds catalogue.db"
    )]
    Unsettled,
    #[error("the {0} thread ended by a bug of the gateway; its log says where")]
    Thread(&'static str),
}

fn free_some(room: &SegmentRoom) -> String {
    let SegmentRoom { segment_bytes, needed_bytes, free_bytes } = room;
    let free = free_bytes.map_or_else(|| "an unknown number".to_owned(), |bytes| bytes.to_string());
    format!(
        "the next one takes {segment_bytes} bytes, and {needed_bytes} must be free with what a flush may take; {free} are: free \
         some space in the data directory"
    )
}

impl EngineError {
    /// `prepared`: what the log's last step towards a segment came to.
    fn no_segments(log: &'static str, prepared: Prepared, room: SegmentRoom) -> Self {
        Self::NoSegments { log, is_budget: prepared == Prepared::BudgetFull, room }
    }

    fn failure(&self) -> Failure {
        self.failure_of(self.topic())
    }

    /// Of a start. What a log may not write then is for the operator to mend, and nothing has failed under acknowledged messages;
    /// in a gateway that runs the same is the end of a log.
    fn refusal(&self) -> Failure {
        let topic = match self {
            Self::Log(LogError::Fatal { source, .. }) if is_no_space(source) => StartRefusal::NoSpace.into(),
            Self::Log(LogError::Fatal { source, .. }) if is_unwritable(source) => {
                StartRefusal::SystemError.into()
            }
            _ => self.topic(),
        };
        self.failure_of(topic)
    }

    fn failure_of(&self, topic: Topic) -> Failure {
        // Who has to act finds what to do.
        let sentence = format!("{self} ({}, \"{}\")", crate::verify::PAGE, topic.code());
        Failure {
            waits_for_space: self.waits_for_space(),
            is_in_use: topic == StartRefusal::DirectoryInUse.into(),
            ..Failure::new(topic.exit(), sentence)
        }
    }

    /// Free space on the disk is all that is missing.
    fn waits_for_space(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_no_space(source),
            Self::NoSegments { is_budget, .. } => !is_budget,
            Self::Log(LogError::Io { source, .. } | LogError::Fatal { source, .. }) => is_no_space(source),
            other => other.topic() == StartRefusal::NoSpace.into(),
        }
    }

    /// The directory may be read, and not written until the operator changes rights, mount or free space.
    fn is_unwritable(&self) -> bool {
        match self {
            Self::Io { source, .. }
            | Self::Log(LogError::Io { source, .. } | LogError::Fatal { source, .. })
            | Self::Keeper(KeeperError::Store(StoreError::Disk { source, .. }))
            | Self::Store(StoreError::Disk { source, .. }) => is_unwritable(source),
            Self::Catalogue(error) | Self::Keeper(KeeperError::Catalogue(error)) => error.is_unwritable(),
            other => other.topic() == StartRefusal::NoSpace.into(),
        }
    }
}

/// The real thing, for the command line.
#[derive(Clone, Copy, Debug)]
pub struct Engine;

impl Backend for Engine {
    fn start(&self, config: Arc<Config>, damage: Damage) -> Result<Box<dyn Running>, Failure> {
        let running = running::RunningEngine::start(&config, damage).map_err(|error| error.refusal())?;
        Ok(Box::new(running))
    }

    fn open_offline(&self, config: Arc<Config>, access: Access) -> Result<Arc<dyn GatewayView>, Failure> {
        let config = bounds::segments_as_found(config);
        let in_place = || {
            World::of_machine(&config)
                .and_then(|world| open::Opened::open(&config, Damage::Refuse, world))
                .and_then(|opened| view::offline(opened, access))
        };
        let view = if access == Access::Read && space_is_short(&config) {
            // What opening it would write is space that the next start needs, up to the last reserve.
            tracing::info!("the disk is nearly full; reading what is there, in memory");
            view::of_copy(config, Damage::Refuse)
        } else {
            match in_place() {
                Err(error) if access == Access::Read && error.is_unwritable() => {
                    tracing::info!("{error}; reading what is there, in memory");
                    view::of_copy(config, Damage::Refuse)
                }
                in_place => in_place,
            }
        };
        view.map(|view| Arc::new(view) as _).map_err(|error| error.refusal())
    }

    fn open_while_full(&self, config: Arc<Config>, damage: Damage) -> Result<Arc<dyn GatewayView>, Failure> {
        let view =
            view::of_copy(bounds::segments_as_found(config), damage).map_err(|error| error.refusal())?;
        view.tell_full_disk();
        Ok(Arc::new(view))
    }
}

/// Whether settling a directory for a question could need more than is free. Where nobody knows, it is tried.
fn space_is_short(config: &Config) -> bool {
    let free = OsDisk::open_existing(&config.data_dir).and_then(|disk| disk.free_space());
    free.is_ok_and(|free| free < bounds::settling_bytes(config, &Sizes::default()))
}
