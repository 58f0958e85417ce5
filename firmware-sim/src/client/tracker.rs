//! Which packet id carries which message of the ledger.
//!
//! rumqttc gives out packet ids itself and says so by events only: `Outgoing::Publish(id)` in the order in which messages
//! were handed over, and `Incoming::PubAck(id)`. An id is used again once its message is acknowledged. A message goes
//! `queued` (handed over, no id yet) → `in_flight` (written, has an id) → acknowledged.

use std::collections::VecDeque;

use tokio::time::Instant;

/// A message that was handed to rumqttc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handed {
    /// Number in the ledger.
    pub(crate) number: u64,
    pub(crate) readings: u32,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// When it was handed over, or handed in again after a reconnect.
    pub(crate) since: Instant,
}

/// Messages between hand-over and PUBACK. Never more than the client's window, so searching is cheap.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    queued: VecDeque<Handed>,
    in_flight: VecDeque<(u16, Handed)>,
}

impl Tracker {
    pub(crate) fn outstanding(&self) -> usize {
        self.queued.len() + self.in_flight.len()
    }

    pub(crate) fn queue(&mut self, message: Handed) {
        self.queued.push_back(message);
    }

    /// rumqttc wrote a PUBLISH with this id; 0 with QoS 0, where that is the end of the message.
    pub(crate) fn published(&mut self, packet_id: u16) {
        let is_sent_again = self.in_flight.iter().any(|(id, _)| *id == packet_id);
        if is_sent_again {
            return;
        }
        if let Some(message) = self.queued.pop_front()
            && packet_id != 0
        {
            self.in_flight.push_back((packet_id, message));
        }
    }

    /// The message that this PUBACK is for.
    pub(crate) fn acked(&mut self, packet_id: u16) -> Option<Handed> {
        let at = self.in_flight.iter().position(|(id, _)| *id == packet_id)?;
        self.in_flight.remove(at).map(|(_, message)| message)
    }

    /// Written, but not acknowledged on the connection that was lost: oldest first, with their ids.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (u16, &Handed)> {
        self.in_flight.iter().map(|(id, message)| (*id, message))
    }

    /// Handed over, but never written: oldest first.
    pub(crate) fn queued(&self) -> impl Iterator<Item = &Handed> {
        self.queued.iter()
    }

    /// What is outstanding goes out again on a new connection: its wait begins anew.
    pub(crate) fn restart(&mut self, now: Instant) {
        let in_flight = self.in_flight.iter_mut().map(|(_, message)| message);
        in_flight.chain(&mut self.queued).for_each(|message| message.since = now);
    }

    /// Stops waiting for what was in flight.
    pub(crate) fn abandon_in_flight(&mut self) {
        self.in_flight.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64) -> Handed {
        Handed { number, readings: 1, topic: "t".to_owned(), payload: vec![], since: Instant::now() }
    }

    fn tracker(count: u64) -> Tracker {
        let mut tracker = Tracker::default();
        (1..=count).for_each(|number| tracker.queue(message(number)));
        tracker
    }

    #[test]
    fn ids_are_matched_in_order_and_may_be_used_again() {
        let mut tracker = tracker(4);
        tracker.published(1);
        tracker.published(2);
        assert_eq!(tracker.acked(1).map(|message| message.number), Some(1));
        tracker.published(1);
        assert_eq!(tracker.acked(2).map(|message| message.number), Some(2));
        assert_eq!(tracker.acked(1).map(|message| message.number), Some(3));
        assert_eq!(tracker.acked(1), None);
        assert_eq!(tracker.outstanding(), 1);
    }

    #[test]
    fn a_message_sent_again_keeps_its_number() {
        let mut tracker = tracker(3);
        tracker.published(7);
        tracker.published(8);
        // Reconnected: 7 and 8 go out again, then the third message for the first time.
        tracker.published(7);
        tracker.published(8);
        tracker.published(9);
        assert_eq!(tracker.acked(9).map(|message| message.number), Some(3));
        assert_eq!(tracker.acked(7).map(|message| message.number), Some(1));
        assert_eq!(tracker.acked(8).map(|message| message.number), Some(2));
    }

    #[test]
    fn qos_0_leaves_nothing_to_wait_for() {
        let mut tracker = tracker(2);
        tracker.published(0);
        tracker.published(0);
        assert_eq!(tracker.outstanding(), 0);
    }
}
