//! A wall clock for a gateway of its own: libfaketime stands between it and `CLOCK_REALTIME`; the monotonic clock stays what it is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::gateway::Gateway;

/// Of Debian's `libfaketime`, wherever this machine's libraries are.
fn libfaketime() -> PathBuf {
    let machines = fs::read_dir("/usr/lib").expect("there are libraries").filter_map(Result::ok);
    machines
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("no libfaketime: run tests/setup.sh")
}

/// The file that the gateways' libfaketime reads.
#[derive(Debug)]
pub struct WallClock(PathBuf);

impl WallClock {
    /// In a file that nobody else uses.
    pub fn new(file: &Path, offset_s: i64) -> Self {
        let clock = Self(file.to_owned());
        clock.set(offset_s);
        clock
    }

    /// The wall clock is so many seconds ahead of the machine's from now on.
    pub fn set(&self, offset_s: i64) {
        // Written aside and renamed: whoever asks the time reads a whole number.
        let aside = self.0.with_extension("new");
        fs::write(&aside, format!("{offset_s:+}\n")).expect("the directory is writable");
        fs::rename(aside, &self.0).expect("the directory is writable");
    }

    pub fn start_gateway(&self, data_dir: &Path, args: &[&str]) -> Gateway {
        let preload = format!("LD_PRELOAD={}", libfaketime().display());
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", self.0.display());
        let wrapper = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
        Gateway::start_wrapped(&wrapper, data_dir, args)
    }
}
