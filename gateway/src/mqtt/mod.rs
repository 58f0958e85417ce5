//! The MQTT front end: one listener, N shards, a sans-IO session per connection.
//!
//! ```text
//!  listener ──▶ shard 0 ── CONNECT read ──▶ shard hash(client id): Connection { socket, Session }
//!                                              │ PUBLISH ─▶ JournalPort      acks wait for durable, in order
//!                                              │ SUBSCRIBE ─▶ router ─▶ ShardMessage::{Subscribed, Deliver}
//! ```
//!
//! - [`session`]: the protocol of one connection, without socket and clock: packets in, bytes and requests out.
//! - [`connect`]: CONNECT to session or refusal.
//! - [`shard`]: all connections of one thread; `step(now, readiness)`.
//! - [`listener`]: the mio loop round a shard.

pub mod connect;
mod connection;
mod delivery;
mod held;
pub mod limits;
pub mod listener;
mod log_limit;
mod outgoing;
mod refusal;
pub mod session;
pub mod shard;
mod socket;

pub use delivery::{
    ConnectionId, Delivery, DeliveryBatch, DeliveryPlace, DeliverySource, FilterRequest, Publication,
    RouterRequest, ShardMessage,
};
pub use limits::MqttLimits;
pub use refusal::{PublishRefusal, Undelivered};
pub use shard::{Readiness, Shard};
pub use socket::Socket;
