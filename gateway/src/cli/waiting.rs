//! A start that finds no space on the disk: until there is some, what is kept is served and nothing is taken in. Clients are
//! refused a connection, `/ready` says why and what to do, and the start is tried again by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, select};

use super::control::ControlServer;
use super::run::{Signal, http_failed};
use super::{Backend, Failure};
use crate::config::Config;
use crate::disk::{Disk, OsDisk};
use crate::http::{HttpListener, HttpSettings};

/// Between two looks at the disk.
const LOOK_MS: u64 = 1_000;
/// So much more free space than there was, and a start is tried: a start that fails again takes and gives a few KiB itself.
const GROWTH_BYTES: u64 = 1 << 20;
/// A start is tried in any case after so long.
const TRY_S: u64 = 60;
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

pub(super) fn wait_for_space(
    config: &Arc<Config>,
    failure: &Failure,
    backend: &dyn Backend,
    listener: HttpListener,
    stop: &Receiver<Signal>,
) -> Result<Waited, Failure> {
    tracing::warn!(
        "{failure}; until then what is kept is served over HTTP, nothing is taken in, and the start is tried again"
    );
    let addr = listener.addr();
    let view = backend.open_while_full(config.clone())?;
    let mut http =
        listener.serve(view.clone(), HttpSettings::of(config, CONNECTIONS_MAX)).map_err(http_failed)?;
    // Without it, commands read the directory themselves.
    let control = ControlServer::start(&config.data_dir, view);
    tracing::info!(http = %addr, "waiting for space");
    let (started, mut least) = (Instant::now(), free_space(&config.data_dir));
    let waited = loop {
        select! {
            recv(stop) -> _ => break Waited::Stopped,
            default(Duration::from_millis(LOOK_MS)) => {}
        }
        let free = free_space(&config.data_dir);
        if free >= least.saturating_add(GROWTH_BYTES) || started.elapsed() > Duration::from_secs(TRY_S) {
            break Waited::TryAgain;
        }
        least = least.min(free);
    };
    drop(control);
    http.stop();
    Ok(waited)
}

/// 0 where it cannot be asked for.
fn free_space(data_dir: &Path) -> u64 {
    OsDisk::open_existing(data_dir).and_then(|disk| disk.free_space()).unwrap_or(0)
}
