//! One measured run: connect → warm up → wait until quiet → publish and await every ack → wait until quiet again.
//!
//! CPU time of the server counts from the first quiet to the second, so that work which the server put off past its
//! acks (decoding, flushing to a store) is in the figure. Rate and latency count from the first message to the last
//! ack. One thread drives all connections; it is kept lean so that it takes no more than one core.
//!
//! Units: `_ns`, `_us`, `_s` of time, `_bytes`; CPU is in seconds as `/proc` tells them (steps of 10 ms).

mod connection;
mod driver;
mod error;
mod options;
mod pacer;
mod payload;
mod process;
mod quiet;
mod report;
mod server;
mod timestamp;
mod wire;

pub use error::LoadError;
pub use options::{LoadOptions, PayloadKind};
pub use report::{Outcome, ratio_table};

use driver::{Driver, Stop};
use process::CpuTime;
use quiet::Quiet;
use server::Server;

/// Runs one load as the options say.
pub fn run(options: &LoadOptions) -> Result<Outcome, LoadError> {
    let server = Server::attach(options)?;
    let quiet = Quiet::new(&server, options);
    let mut driver = Driver::connect(server.mqtt_address, options)?;
    quiet.check()?;

    if options.warm_up_messages > 0 {
        driver.publish(Stop::AfterMessages(options.warm_up_messages))?;
    }
    quiet.wait(driver.published())?;
    driver.take_deliveries()?;
    driver.forget_measurements();

    let before = CpuSnapshot::take(&server)?;
    let stop = match (options.messages, options.duration_s) {
        (_, Some(seconds)) => Stop::AfterSeconds(seconds),
        (Some(messages), None) => Stop::AfterMessages(messages),
        (None, None) => Stop::AfterMessages(options::MESSAGES_DEFAULT),
    };
    let phase = driver.publish(stop)?;
    let quiet_s = quiet.wait(driver.published())?;
    let after = CpuSnapshot::take(&server)?;
    driver.take_deliveries()?;
    let memory = server.pid.map(process::memory).transpose()?;
    let outcome = Outcome::new(options, &driver, phase, quiet_s, &before, &after, memory);
    // Clients first, as it is in life: a server that stops under its clients says so in its log.
    drop(driver);
    server.stop();
    Ok(outcome)
}

/// CPU time so far of everything that is charged to the run.
#[derive(Debug)]
struct CpuSnapshot {
    /// Unknown where no process was named.
    server: Option<CpuTime>,
    kernel_threads: CpuTime,
    load_tool: CpuTime,
}

impl CpuSnapshot {
    fn take(server: &Server) -> Result<Self, LoadError> {
        Ok(Self {
            server: server.pid.map(process::cpu_time).transpose()?,
            kernel_threads: process::kernel_threads_cpu_time(),
            load_tool: process::cpu_time(std::process::id())?,
        })
    }
}
