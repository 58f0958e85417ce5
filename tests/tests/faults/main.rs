//! B1-2, promises P1–P4, P6: the faults of a machine room, on the real binary. Behind each one every acknowledged reading is in
//! the store exactly once (`firmware-sim verify`) and the books balance.
//!
//! - [`stopped`]: `SIGSTOP` and `SIGCONT`; `STOP_SECONDS=60` for the long form.
//! - [`clock`]: the wall clock an hour forward and back.
//! - [`full`]: a start without one free byte; questions to a full and to a read-only directory.
//! - [`space`]: a full disk, with a crash loop while it is full.
//! - [`read_only`]: the data directory made read-only.
//! - [`small`]: the smallest budgets, and budgets smaller than what is on the disk.
//! - [`scarce`]: memory and descriptors.
//! - [`replay`]: a replay of the quarantine in whose middle the disk becomes full.
//!
//! `kill -9` has a file of its own (`tests/kill.rs`).

mod clock;
mod full;
mod load;
mod read_only;
mod replay;
mod scarce;
mod small;
mod space;
mod stopped;
