//! Helpers of the end-to-end tests in `tests/tests/`: the real binary, clients of all kinds, no sleeping for luck.
//!
//! - [`Gateway`] starts `sensor-gateway run` and ends it, gently or by `kill -9`; [`sensor_gateway`] runs any other
//!   subcommand.
//! - [`RawMqtt`] speaks MQTT byte by byte, for packets that no decent client sends.
//! - [`mosquitto_pub`], [`MosquittoSub`] and [`python`] are the clients from outside that `tests/setup.sh` installs.
//! - [`Simulator`] is `firmware-sim` as load, and [`verify`] its verdict; [`JournalCount`] counts a journal without the
//!   gateway's code; [`check_ack_order`] reads what strace saw.
//! - [`assert_balanced`] holds of every ledger; [`kill_seed`] is the seed of what happens by chance.
//! - [`SmallDisk`] is a file system that can be filled, [`WallClock`] a wall clock that can be set.
//! - [`wait_until`] is how every test waits: for a condition, with a deadline.
//!
//! All helpers panic with a sentence when something is not as it must be: they run in tests only.

mod gateway;
mod http;
mod journal_count;
mod ledger;
mod mqtt;
mod outside;
mod paths;
mod random;
pub mod simulation;
mod simulator;
mod small_disk;
mod strace;
mod wait;
mod wall_clock;
pub mod wire;

pub use gateway::{
    Gateway, Row, RunOutput, Starting, assert_verified, parse_csv, sensor_gateway, sensor_gateway_command,
};
pub use http::{http_get, try_http_get};
pub use journal_count::{
    Fate, JournalCount, JournalMessage, Sums, crc32c, fate, frame_places, rewrite_frame,
};
pub use ledger::{assert_balanced, count};
pub use mqtt::{Frame, RawMqtt};
pub use outside::{MosquittoSub, mosquitto_pub, python, python_file};
pub use paths::{binary, new_data_dir, repository};
pub use random::{Random, SEED_VARIABLE, environment_number, kill_seed, milliseconds};
pub use simulator::{Simulator, verify};
pub use small_disk::SmallDisk;
pub use strace::{AckOrder, Call, check_ack_order, parse_strace};
pub use wait::{DEADLINE, wait_until};
pub use wall_clock::WallClock;
