//! A start that finds no space on the disk: until there is some, what is kept is served and nothing is taken in. Clients are
//! refused a connection, `/ready` says why and what to do, and the start is tried again by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, select};

use super::control::ControlServer;
use super::run::{Signal, http_failed};
use super::{Backend, Damage, Exit, Failure};
use crate::config::Config;
use crate::disk::{Disk, OsDisk};
use crate::http::{HttpListener, HttpServer, HttpSettings};
use crate::query::GatewayView;

/// Between two looks at the disk.
const LOOK_MS: u64 = 1_000;
/// So much more free space than there was, and a start is tried: a start that fails again takes and gives a few KiB itself.
const GROWTH_BYTES: u64 = 1 << 20;
/// A start is tried in any case after so long.
const TRY_S: u64 = 60;
/// The same where somebody else had the directory, who may be through with it at any time.
const TRY_IN_USE_S: u64 = 5;
/// HTTP connections that are served at once meanwhile.
const CONNECTIONS_MAX: usize = 64;

/// Why the waiting is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// Somebody asked the gateway to stop.
    Stopped,
    /// A start is worth a try.
    TryAgain,
}

/// A start that may have to wait, once or several times.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    config: &'a Arc<Config>,
    damage: &'a Damage,
    backend: &'a dyn Backend,
    /// It has waited before.
    has_begun: bool,
    /// The log was told that nothing can be served meanwhile.
    is_told: bool,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(config: &'a Arc<Config>, damage: &'a Damage, backend: &'a dyn Backend) -> Self {
        Self { config, damage, backend, has_begun: false, is_told: false }
    }

    /// Whether a start that failed like this is to be tried again. A gateway that waits holds no lock, so that the directory can be
    /// verified and asked meanwhile; whoever does that then keeps the next try from starting, and not for ever.
    pub(super) fn goes_on_after(&self, failure: &Failure) -> bool {
        failure.waits_for_space || self.has_begun && failure.is_in_use
    }

    /// Serves what is kept, if that is possible, until a start is worth a try.
    pub(super) fn wait(
        &mut self,
        failure: &Failure,
        listener: HttpListener,
        stop: &Receiver<Signal>,
    ) -> Result<Waited, Failure> {
        self.has_begun = true;
        if failure.is_in_use {
            tracing::info!("{failure}; the start is tried again");
        } else {
            tracing::warn!(
                "{failure}; until then what is kept is served over HTTP, nothing is taken in, and the start is tried again"
            );
        }
        let addr = listener.addr();
        let mut served = match self.backend.open_while_full(self.config.clone(), self.damage.clone()) {
            Ok(view) => Some(Served::start(self.config, listener, view)?),
            // Space mends no damage.
            Err(damaged) if damaged.exit == Exit::Journal => return Err(damaged),
            Err(why) => {
                if !std::mem::replace(&mut self.is_told, true) {
                    tracing::warn!("meanwhile nothing can be served over HTTP: {why}");
                }
                None
            }
        };
        tracing::info!(http = %addr, "waiting for space");
        let try_s = if failure.is_in_use { TRY_IN_USE_S } else { TRY_S };
        let waited = self.wait_for_growth(Duration::from_secs(try_s), stop);
        if let Some(served) = &mut served {
            served.stop();
        }
        Ok(waited)
    }

    fn wait_for_growth(&self, at_most: Duration, stop: &Receiver<Signal>) -> Waited {
        let data_dir = &self.config.data_dir;
        let (started, mut least) = (Instant::now(), free_space(data_dir));
        loop {
            select! {
                recv(stop) -> _ => return Waited::Stopped,
                default(Duration::from_millis(LOOK_MS)) => {}
            }
            let free = free_space(data_dir);
            if free >= least.saturating_add(GROWTH_BYTES) || started.elapsed() > at_most {
                return Waited::TryAgain;
            }
            least = least.min(free);
        }
    }
}

/// A view over HTTP and the control socket.
struct Served {
    http: HttpServer,
    /// `None`: there is no room for its socket, and commands read the directory themselves.
    control: Option<ControlServer>,
}

impl Served {
    fn start(config: &Config, listener: HttpListener, view: Arc<dyn GatewayView>) -> Result<Self, Failure> {
        let settings = HttpSettings::of(config, CONNECTIONS_MAX);
        let http = listener.serve(view.clone(), settings).map_err(http_failed)?;
        Ok(Self { http, control: ControlServer::start(&config.data_dir, view).ok() })
    }

    fn stop(&mut self) {
        self.control = None;
        self.http.stop();
    }
}

/// Of the directory, or of the one that it is to be made in. 0 where it cannot be asked for.
fn free_space(data_dir: &Path) -> u64 {
    let there = data_dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(data_dir);
    OsDisk::open_existing(there).and_then(|disk| disk.free_space()).unwrap_or(0)
}
