//! The journal: shards hand over buffers of message records, one writer makes each sync one frame, and what is durable
//! goes on to the pipeline and the router.
//!
//! ```text
//!  shard ── JournalPort ──▶ lane (batches, free buffers) ──▶ JournalWriter ──▶ log ──▶ JournalFrame ──▶ consumers
//!    ▲                        │                                   │                        │
//!    └──── waker ◀── durable batch number ◀───────────────────────┘     buffers return ◀───┘ (last consumer done)
//! ```
//!
//! Operators' changes (control records) come through a lane of their own, behind the shards', with the same port.
//!
//! Nothing is copied between a shard's buffer and the disk. The buffers are all there is: a shard without a free buffer
//! has to stop taking messages, so the frames that consumers still hold bound what is in flight.

mod frame;
mod lane;
mod port;
mod stamp;
mod thread;
mod writer;

pub use frame::{Entry, JournalFrame, Malformed, Place};
pub use lane::{CONTROL_BUFFERS, Lanes, LanesConfig, Positions};
pub use port::{JournalFull, JournalPort};
pub use stamp::Stamps;
pub use thread::{WriterTurn, WriterTurns, run_writer};
pub use writer::{FrameConsumer, JournalWriter, WriterStep};
