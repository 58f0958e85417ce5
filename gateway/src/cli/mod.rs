//! The command line, one file per subcommand.
//!
//! Exit codes: 0 fine, 1 the check failed, 2 wrong usage, configuration or environment, 3 journal failure or corruption.
//! What a command was asked for goes to stdout, everything else to stderr. Who closes stdout early (`| head`) gets 0.
//!
//! `query`, `ledger` and `quarantine` ask the running gateway through its [`control`] socket, or open the data directory
//! themselves where there is none ([`ask`]). The engine comes in through [`Backend`], so that all of this runs in tests.

mod arguments;
mod ask;
mod backend;
mod config;
pub mod control;
mod demo;
mod journal;
mod journal_dump;
mod ledger;
mod logging;
mod quarantine;
mod query;
mod run;
mod waiting;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

pub use arguments::{Arguments, Command, CommonArguments};
#[cfg(test)]
pub(crate) use ask::failure_of;
pub use backend::{Access, Backend, Damage, Exit, Failure, Running};
pub use run::{Signal, run_until, signals};

/// Runs the command that `arguments` name; the first one is the program's own name. Sets up logging for the whole process.
pub fn main(arguments: impl IntoIterator<Item = OsString>, backend: &dyn Backend) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to stdout and are no error; a closed stdout is none either.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Environment as u8 } else { 0 });
        }
    };
    if let Err(failure) = logging::set_up(matches!(arguments.command, Command::Run(_))) {
        return report(&failure);
    }
    let mut stdout = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let result = dispatch(&arguments, backend, &mut stdout);
    let flushed = stdout.flush();
    // What a broken stdout still holds must not be tried again when it is dropped.
    drop(stdout.into_parts());
    match result.and_then(|()| output_result(flushed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// Runs one command and writes what it was asked for to `out`.
pub fn dispatch(arguments: &Arguments, backend: &dyn Backend, out: &mut dyn Write) -> Result<(), Failure> {
    let common = &arguments.common;
    match &arguments.command {
        Command::Run(run) => run::run(common, run, backend, out),
        Command::Demo(demo) => demo::demo(common, demo, backend, out),
        Command::Query(query) => query::query(common, query, backend, out),
        Command::Ledger(ledger) => ledger::ledger(common, ledger, backend, out),
        Command::Quarantine(quarantine) => quarantine::quarantine(common, quarantine, backend, out),
        Command::Journal(journal) => journal::journal(common, journal, out),
        Command::Config(config) => config::config(common, config, out),
    }
}

/// Nobody reading any more is fine.
fn output_result(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::environment(format!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}

fn report(failure: &Failure) -> ExitCode {
    // Nothing can be done about a closed stderr.
    let _ = writeln!(io::stderr(), "{failure}");
    ExitCode::from(failure.exit as u8)
}
