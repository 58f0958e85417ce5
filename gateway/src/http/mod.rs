//! The HTTP interface: health, readiness, metrics, and the questions of the outside contract.
//!
//! Routes, parameters and answers come from one table ([`crate::api::Question`]); rows ([`output`]) and events ([`events`])
//! stream, everything else is answered as a whole ([`encoding`]).
//!
//! One thread with its own current-thread runtime; whatever may read a disk or wait for a lock runs on a small pool of
//! blocking threads. Errors are JSON problems ([`problem`]). There is no authentication yet, so the listener is on
//! loopback (the configuration sees to that) and only requests that name this machine are answered ([`limits`]).

mod console;
mod encoding;
mod events;
mod limits;
mod output;
mod problem;
mod query_string;
mod routes;

#[cfg(test)]
mod api_tests;
#[cfg(test)]
mod event_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub use console::ConsoleSettings;

use crate::config::Config;
use crate::query::GatewayView;

/// Questions that are answered at once; more wait, and are refused after [`QUERY_WAIT_MS`].
const QUERIES_MAX: usize = 4;
const QUERY_WAIT_MS: u64 = 10_000;
/// Threads for blocking work: the queries, and room for readiness beside them.
const BLOCKING_THREADS_MAX: usize = 2 * QUERIES_MAX + 2;
/// How long open requests may take when the server stops.
const STOP_MS: u64 = 2_000;

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// How long a question may take.
    pub question_ms_max: u64,
    pub event_listeners_max: usize,
    /// Connections that are served at once; more wait to be accepted.
    pub connections_max: usize,
    pub console: ConsoleSettings,
}

impl HttpSettings {
    /// `connections_max`: the share of the process's descriptors.
    pub fn of(config: &Config, connections_max: usize) -> Self {
        Self {
            connections_max,
            question_ms_max: config.http.question_ms_max,
            event_listeners_max: config.http.event_listeners_max,
            console: ConsoleSettings::of(config),
        }
    }
}

/// A port that is held, so that a port in use is known before anything else is started.
#[derive(Debug)]
pub struct HttpListener {
    listener: TcpListener,
    addr: SocketAddr,
}

impl HttpListener {
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr })
    }

    /// The address with its real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same port, for another server after this one's.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { listener: self.listener.try_clone()?, addr: self.addr })
    }

    /// Answers from now on.
    pub fn serve(self, view: Arc<dyn GatewayView>, settings: HttpSettings) -> io::Result<HttpServer> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener)?
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let stopping = Arc::new(AtomicBool::new(false));
        let events =
            Arc::new(events::EventHub::new(view.clone(), settings.event_listeners_max, stopping.clone()));
        let connections_max = settings.connections_max;
        let router = routes::router(view, settings, events.clone(), stopping.clone());
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
            runtime.block_on(async {
                let (begin, begun) = oneshot::channel::<()>();
                let serve = axum::serve(limits::LimitedListener::new(listener, connections_max), router)
                    .with_graceful_shutdown(async {
                        // A dropped sender means stop as well.
                        let _ = stopped.await;
                        let _ = begin.send(());
                    });
                let deadline = async {
                    let _ = begun.await;
                    tokio::time::sleep(Duration::from_millis(STOP_MS)).await;
                };
                tokio::select! {
                    served = serve => if let Err(error) = served {
                        tracing::error!(%error, "the HTTP server ended");
                    },
                    () = deadline => tracing::warn!("HTTP requests were cut off at the stop"),
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(STOP_MS));
        })?;
        let mut server =
            HttpServer { addr: self.addr, stop: Some(stop), stopping, events, threads: vec![thread] };
        server.threads.push(server.events.start()?);
        Ok(server)
    }
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct HttpServer {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    stopping: Arc<AtomicBool>,
    events: Arc<events::EventHub>,
    threads: Vec<JoinHandle<()>>,
}

impl HttpServer {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lets open requests end, within a few seconds.
    pub fn stop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.stop.take());
        self.events.wake();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the HTTP server panicked");
            }
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop();
    }
}
