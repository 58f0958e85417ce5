//! `firmware-sim` as a process: load that goes on over kills of the gateway, and `verify`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::paths::binary;
use crate::wait::wait_until;

/// A running `firmware-sim run` or `replay`. Dropping it kills it.
#[derive(Debug)]
pub struct Simulator {
    child: Child,
    truth: PathBuf,
}

impl Simulator {
    /// Starts `firmware-sim` with these arguments and a truth ledger at `truth`.
    pub fn start(truth: &Path, args: &[&str]) -> Self {
        // What it says of itself is told where it fails.
        let stderr = File::create(stderr_path(truth)).expect("the truth ledger's directory is writable");
        let child = Command::new(binary("firmware-sim"))
            .args(args)
            .arg("--ledger")
            .arg(truth)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("firmware-sim can be run");
        Self { child, truth: truth.to_owned() }
    }

    /// The truth ledger.
    pub fn truth(&self) -> &Path {
        &self.truth
    }

    /// Asks it to end and waits until it has what it sent acknowledged.
    pub fn stop(mut self) -> PathBuf {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "firmware-sim runs until it is stopped");
        self.wait();
        self.truth.clone()
    }

    /// Waits until it has ended by itself.
    pub fn finish(mut self) -> PathBuf {
        self.wait();
        self.truth.clone()
    }

    fn wait(&mut self) {
        let status =
            wait_until("firmware-sim to end", || self.child.try_wait().expect("the child can be waited for"));
        let stderr = fs::read_to_string(stderr_path(&self.truth)).unwrap_or_default();
        assert!(status.success(), "firmware-sim: {status}\n{stderr}");
    }
}

fn stderr_path(truth: &Path) -> PathBuf {
    truth.with_extension("stderr")
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `firmware-sim verify` of a truth ledger against a data directory; panics with its report if anything was lost, doubled,
/// altered or unexpected. Gives the report.
pub fn verify(truth: &Path, data_dir: &Path) -> Value {
    let output = Command::new(binary("firmware-sim"))
        .args(["verify", "--json", "--ledger"])
        .arg(truth)
        .arg("--gateway-bin")
        .arg(binary("sensor-gateway"))
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null())
        .output()
        .expect("firmware-sim can be run");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: verify found:\n{stdout}\n{stderr}", output.status);
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}
