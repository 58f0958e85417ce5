//! The command line of the simulator; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    firmware_sim::cli::main()
}
