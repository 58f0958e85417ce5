//! The binary: the command line round the engine.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::cli::main(std::env::args_os(), &gateway::engine::Engine)
}
