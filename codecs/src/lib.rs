//! Bytes to values and back. No I/O, no clock, no threads, no async: everything here is a pure function of its input.

pub mod mqtt;
pub mod name;
pub mod payload;
pub mod property_catalogue;
pub mod time;
pub mod units;
