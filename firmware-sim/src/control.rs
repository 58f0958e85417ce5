//! The handle on a run from outside: stop it, and see how far it is.

mod latency;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;

pub use latency::{AckLatency, Latencies};

/// Counts of one run. All of them only grow, except that `unacked` is what is missing at the time of asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Messages given to the MQTT client; every one has its line in the ledger. Includes all kinds below.
    pub messages_sent: u64,
    /// Messages whose PUBACK arrived. Messages with QoS 0 are never acknowledged.
    pub messages_acked: u64,
    pub readings_sent: u64,
    pub readings_acked: u64,
    /// Messages sent once more as messages of their own.
    pub duplicates: u64,
    pub corrections: u64,
    /// Messages that nothing can decode.
    pub garbage: u64,
    /// Messages of devices that lost the year; a gateway takes none of their readings.
    pub misdated: u64,
    /// Messages sent later than their turn.
    pub reordered: u64,
    /// Messages that a station skipped, their sequence numbers with them.
    pub gaps: u64,
    /// Messages published again with DUP after a reconnect.
    pub resent: u64,
    /// Connections lost.
    pub connections_lost: u64,
    /// Clients that ended without a connection before everything of theirs was sent and acknowledged.
    pub clients_gave_up: u64,
}

impl Summary {
    /// Messages whose fate the ledger does not know.
    pub fn unacked(&self) -> u64 {
        self.messages_sent - self.messages_acked.min(self.messages_sent)
    }
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// Shared between the thread that runs devices and the one that watches it.
        #[derive(Debug, Default)]
        pub struct Control {
            stop: Arc<AtomicBool>,
            pub(crate) ack_latency: AckLatency,
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Control {
            /// The counts so far.
            pub fn summary(&self) -> Summary {
                Summary { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters!(
    messages_sent,
    messages_acked,
    readings_sent,
    readings_acked,
    duplicates,
    corrections,
    garbage,
    misdated,
    reordered,
    gaps,
    resent,
    connections_lost,
    clients_gave_up,
);

impl Control {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Asks the run to send nothing more, wait for what is in flight, and return.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// From handing a message to the MQTT client until its PUBACK.
    pub fn ack_latency(&self) -> Latencies {
        self.ack_latency.so_far()
    }

    /// The flag behind [`Self::stop`], for a signal handler.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }
}

/// Adds to a counter; relaxed, because nothing else is ordered by it.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
