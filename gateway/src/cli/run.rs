//! `run`: the gateway until a signal ends it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded, select};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::arguments::RunArguments;
use super::control::ControlServer;
use super::waiting::{Waited, Waiting};
use super::{Backend, CommonArguments, Damage, Failure, Running};
use crate::config::Config;
use crate::http::{HttpListener, HttpServer, HttpSettings};
use crate::query::GatewayView;

/// The gateway is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal;

/// The contract gives a stop ten seconds. What was acknowledged is durable, so ending a slow one loses nothing.
const STOP_MS_MAX: u64 = 9_500;

pub(super) fn run(
    common: &CommonArguments,
    arguments: &RunArguments,
    backend: &dyn Backend,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let config = Arc::new(common.load()?);
    let stop = signals()?;
    let damage = match &arguments.accept_lost_file[..] {
        _ if arguments.accept_gap => Damage::AcceptGap,
        [] => Damage::Refuse,
        files => Damage::AcceptLostFiles(files.to_vec()),
    };
    run_until(config, damage, backend, &stop, out)
}

/// SIGTERM and SIGINT from now on. After the first one the process ends within ten seconds, whatever happens.
pub fn signals() -> Result<Receiver<Signal>, Failure> {
    let failed = |error: io::Error| Failure::environment(format!("signals can't be received: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
    let (sender, receiver) = bounded(1);
    let watch = move || {
        if signals.forever().next().is_some() {
            // A full channel means that the signal is known already.
            let _ = sender.try_send(Signal);
            std::thread::sleep(Duration::from_millis(STOP_MS_MAX));
            tracing::warn!("the stop takes too long and is cut short; all that was acknowledged is durable");
            std::process::exit(0);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(receiver)
}

/// Runs a gateway until `stop` says something (or is dropped) or the gateway fails.
pub fn run_until(
    config: Arc<Config>,
    damage: Damage,
    backend: &dyn Backend,
    stop: &Receiver<Signal>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let listener = bind_http(&config)?;
    let mut waiting = Waiting::new(&config, &damage, backend);
    let gateway = loop {
        match ServedGateway::start_on(&listener, &config, damage.clone(), backend) {
            Err(failure) if waiting.goes_on_after(&failure) => {
                let listener = listener.try_clone().map_err(http_failed)?;
                if waiting.wait(&failure, listener, stop)? == Waited::Stopped {
                    return Ok(());
                }
            }
            started => break started?,
        }
    };
    drop(listener);
    let (mqtt_addr, http_addr) = (gateway.mqtt_addr(), gateway.http_addr());
    // Nobody has to read the line.
    if let Err(error) = writeln!(out, "ready mqtt={mqtt_addr} http={http_addr}").and_then(|()| out.flush()) {
        tracing::warn!(%error, "stdout takes no line");
    }
    tracing::info!(mqtt = %mqtt_addr, http = %http_addr, data_dir = %config.data_dir.display(), "ready");

    let failed = gateway.failed();
    let failure = select! {
        recv(stop) -> _ => None,
        recv(failed) -> failure => Some(failure.unwrap_or_else(|_| ended_by_itself())),
    };
    tracing::info!("stopping");
    let stopped = gateway.stop();
    match failure {
        Some(failure) => Err(failure),
        None => stopped,
    }
}

/// A gateway that dropped its sender of failures is stopping by itself, which nobody asked for.
pub(super) fn ended_by_itself() -> Failure {
    Failure::environment("the gateway ended by itself; its log says why")
}

/// Before the directory is touched: a port in use is the likelier mistake.
fn bind_http(config: &Config) -> Result<HttpListener, Failure> {
    let listen = config.http.listen;
    HttpListener::bind(listen).map_err(|error| {
        let remedy = "stop the program that has it, or take another address with --http-listen";
        Failure::environment(format!("http.listen {listen}: {error}; {remedy}"))
    })
}

pub(super) fn http_failed(error: io::Error) -> Failure {
    Failure::environment(format!("the HTTP server can't start: {error}"))
}

/// A running gateway that answers over HTTP and its control socket.
#[derive(Debug)]
pub(super) struct ServedGateway {
    running: Box<dyn Running>,
    http: HttpServer,
    control: ControlServer,
}

impl ServedGateway {
    pub(super) fn start(
        config: &Arc<Config>,
        damage: Damage,
        backend: &dyn Backend,
    ) -> Result<Self, Failure> {
        Self::start_on(&bind_http(config)?, config, damage, backend)
    }

    fn start_on(
        listener: &HttpListener,
        config: &Arc<Config>,
        damage: Damage,
        backend: &dyn Backend,
    ) -> Result<Self, Failure> {
        let listener = listener.try_clone().map_err(http_failed)?;
        let running = backend.start(config.clone(), damage)?;
        // From here on the gateway runs, so whatever goes wrong it is stopped in order.
        let served = listener
            .serve(running.view(), HttpSettings::of(config, running.http_connections_max()))
            .map_err(http_failed)
            .and_then(|http| Ok((http, ControlServer::start(&config.data_dir, running.view())?)));
        match served {
            Ok((http, control)) => Ok(Self { running, http, control }),
            Err(failure) => {
                if let Err(second) = running.stop() {
                    tracing::error!(%second, "stopping failed too");
                }
                Err(failure)
            }
        }
    }

    pub(super) fn mqtt_addr(&self) -> SocketAddr {
        self.running.mqtt_addr()
    }

    pub(super) fn http_addr(&self) -> SocketAddr {
        self.http.addr()
    }

    pub(super) fn view(&self) -> Arc<dyn GatewayView> {
        self.running.view()
    }

    pub(super) fn failed(&self) -> Receiver<Failure> {
        self.running.failed()
    }

    /// Answers nothing any more, takes nothing in, settles what was acknowledged.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        self.control.stop();
        self.http.stop();
        self.running.stop()
    }
}
