//! How far a check is: a bar where a person looks, one line per part where a file does.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Told what is being read.
#[derive(Debug)]
pub enum Progress {
    Bar(ProgressBar),
    Lines,
}

impl Progress {
    /// On standard error.
    pub fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::new(0);
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta} {msg}";
        // The template is a constant; without it the bar is the usual one.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::Bar(bar)
    }

    pub(super) fn total(&self, bytes: u64) {
        if let Self::Bar(bar) = self {
            bar.set_length(bytes);
        }
    }

    pub(super) fn part(&self, what: &str) {
        match self {
            Self::Bar(bar) => bar.set_message(what.to_owned()),
            // A closed stderr is nobody's loss.
            Self::Lines => drop(writeln!(std::io::stderr(), "checking {what}")),
        }
    }

    pub(super) fn add(&self, bytes: u64) {
        if let Self::Bar(bar) = self {
            bar.inc(bytes);
        }
    }

    pub(super) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
