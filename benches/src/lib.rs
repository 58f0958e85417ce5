//! Measures MQTT brokers from outside (`README.md` says how to run and read it).
//!
//! [`load`] is a load generator for any broker: it publishes, waits until the server is quiet and divides the CPU
//! time that the server took by the messages. The binary `load` is its command line, `rumqttd-peer` a broker to
//! compare with. The micro-benches stand in `benches/`.

pub mod load;
