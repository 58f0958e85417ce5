//! Recognises re-sends of undated messages (design §4.2): a message whose readings have no time of their own is a re-send
//! if its station has sent the same `source_seq` with the same payload within the window, or if DUP is set, it equals the
//! last message of its client with that packet identifier, *and* the client may still have waited for the ack of that
//! message. The last condition tells a re-send from a new message that came to nothing on an earlier connection and has the
//! identifier, topic and payload of one long settled (a rain gauge that says 0 again and again). MQTT gives two hints:
//!
//! - Re-sends come in their old order [MQTT-4.6.0-1], and the journal has what a connection sent up to some point. So once a
//!   DUP matches an older message than the one before it did, or none, everything behind it is new too.
//! - A client that went on sending for [`ACK_OVERDUE_US`] behind a message has its ack.
//!
//! What is left: a client that has had the ack of a message, loses a new one with the same identifier, topic and payload
//! within that time, and loses it as the first of its connection. That one is taken for a re-send. A time or `seq` in the
//! payload avoids it.
//!
//! Keys and contents are 64-bit hashes. A key that is forgotten makes a new row at worst; two different contents with one
//! hash would lose one, at odds of 2⁻⁶⁴ each.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3;

use crate::observation::ResendMark;

/// A client that sent for so long behind a message was not waiting for its ack any more: TCP would have broken off.
pub const ACK_OVERDUE_US: i64 = 60_000_000;

/// No message has this number; the mark of a sequence number needs none.
const NO_MESSAGE: u64 = 0;
/// Bits of a packet key that hold the client; below them is the identifier.
const CLIENT_BITS: u64 = !0xffff;
/// Content of a connection's mark: a new message came, nothing behind it is a re-send.
const ALL_SETTLED: u64 = u64::MAX;

/// The last keys and their contents; the oldest goes first.
///
/// | kind | `key` | `content` | `message_no` | `time_us` |
/// |---|---|---|---|---|
/// | packet | client, identifier | client, topic, payload | of the message | when it last came |
/// | connection | client, identifier 0 | `message_no` that was re-sent last, or all ones | its first one | when the client was heard before |
/// | sequence | topic, `seq` | payload | 0 | 0 |
/// | replay | client, identifier | client, topic, payload | 0 | 0 |
#[derive(Debug)]
pub struct ResendWindow {
    marks: HashMap<u64, Entry, RandomState>,
    order: VecDeque<(u64, u64)>,
    /// Those who have marks, by the client bits of their keys.
    clients: HashMap<u64, Client, RandomState>,
    marks_max: usize,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mark: ResendMark,
    inserted: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Client {
    /// Marks in the window; the client goes with its last one.
    marks: usize,
    heard_us: i64,
    connection: Connection,
}

/// The connection that the client has now. The default is one that began before everything.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    first_message_no: u64,
    heard_before_us: i64,
    resent_last: u64,
}

impl ResendWindow {
    pub fn new(marks_max: usize) -> Self {
        Self {
            marks: HashMap::default(),
            order: VecDeque::new(),
            clients: HashMap::default(),
            marks_max,
            next: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Is there a mark with this key, whatever its content?
    pub fn knows(&self, key: u64) -> bool {
        self.marks.contains_key(&key)
    }

    pub fn contains(&self, mark: ResendMark) -> bool {
        self.marks.get(&mark.key).is_some_and(|entry| entry.mark.content == mark.content)
    }

    pub fn insert(&mut self, mark: ResendMark) {
        if mark.message_no != NO_MESSAGE {
            let client = self.clients.entry(mark.key & CLIENT_BITS).or_default();
            client.marks += 1;
            if is_connection(mark.key) {
                client.connection = Connection {
                    first_message_no: mark.message_no,
                    heard_before_us: mark.time_us,
                    resent_last: mark.content,
                };
            } else {
                client.heard_us = client.heard_us.max(mark.time_us);
            }
        }
        if let Some(replaced) = self.marks.insert(mark.key, Entry { mark, inserted: self.next }) {
            self.forget(replaced.mark);
        }
        self.order.push_back((mark.key, self.next));
        self.next += 1;
        while self.order.len() > self.marks_max {
            if let Some((key, inserted)) = self.order.pop_front()
                && self.marks.get(&key).is_some_and(|entry| entry.inserted == inserted)
                && let Some(entry) = self.marks.remove(&key)
            {
                self.forget(entry.mark);
            }
        }
    }

    /// One mark of its client is gone.
    fn forget(&mut self, mark: ResendMark) {
        let client = mark.key & CLIENT_BITS;
        if mark.message_no != NO_MESSAGE
            && let Some(entry) = self.clients.get_mut(&client)
        {
            entry.marks -= 1;
            if entry.marks == 0 {
                self.clients.remove(&client);
            }
        }
    }

    /// A client speaks on a new connection, and this is the first of its messages there: the mark to keep, if anything of
    /// the client is known.
    pub fn connected(&self, client: &[u8], message_no: u64) -> Option<ResendMark> {
        let key = packet_key(client, 0);
        let known = self.clients.get(&(key & CLIENT_BITS))?;
        Some(ResendMark { key, content: NO_MESSAGE, message_no, time_us: known.heard_us })
    }

    /// Is the message with this mark, which has DUP set, one that was here? With it what is to be inserted in either case:
    /// how far the re-sends of its connection are.
    pub fn judge(&self, mark: ResendMark) -> (bool, Option<ResendMark>) {
        let Some(client) = self.clients.get(&(mark.key & CLIENT_BITS)) else { return (false, None) };
        let Some(Entry { mark: known, .. }) = self.marks.get(&mark.key) else { return (false, None) };
        let connection = client.connection;
        let is_same = known.content == mark.content;
        if known.message_no >= connection.first_message_no {
            // Sent on this very connection, or nothing is known of the connection: the bare rule.
            return (is_same, None);
        }
        let was_open = known.time_us.saturating_add(ACK_OVERDUE_US) >= connection.heard_before_us;
        let is_resend = is_same && was_open && known.message_no >= connection.resent_last;
        let progress = ResendMark {
            key: mark.key & CLIENT_BITS,
            content: if is_resend { known.message_no } else { ALL_SETTLED },
            message_no: connection.first_message_no,
            time_us: connection.heard_before_us,
        };
        (is_resend, Some(progress))
    }

    /// The mark as it is kept after a re-send: the place of the message, and when it last came.
    pub fn seen_again(&self, mark: ResendMark) -> ResendMark {
        let message_no = self.marks.get(&mark.key).map_or(mark.message_no, |entry| entry.mark.message_no);
        ResendMark { message_no, ..mark }
    }

    /// Oldest first, for the catalogue.
    pub fn marks(&self) -> impl Iterator<Item = ResendMark> {
        self.order.iter().filter_map(|(key, inserted)| {
            let entry = self.marks.get(key)?;
            (entry.inserted == *inserted).then_some(entry.mark)
        })
    }
}

/// "The last message of this client with this packet identifier."
pub fn packet_mark(
    client: &[u8],
    packet_id: u16,
    topic: &[u8],
    payload: &[u8],
    message_no: u64,
    time_us: i64,
) -> ResendMark {
    let mut content = Xxh3::with_seed(2);
    content.update(&(client.len() as u32).to_le_bytes());
    content.update(client);
    content.update(&(topic.len() as u32).to_le_bytes());
    content.update(topic);
    content.update(payload);
    ResendMark { key: packet_key(client, packet_id), content: content.digest(), message_no, time_us }
}

/// The key of [`packet_mark`].
pub fn packet_key(client: &[u8], packet_id: u16) -> u64 {
    let mut key = Xxh3::with_seed(1);
    key.update(client);
    key.digest() & CLIENT_BITS | u64::from(packet_id)
}

/// "This sequence number on this topic." A station's bare values of different properties may share a number.
pub fn sequence_mark(topic: &[u8], seq: u64, payload: &[u8]) -> ResendMark {
    let mut key = Xxh3::with_seed(3);
    key.update(&seq.to_le_bytes());
    key.update(topic);
    let mut content = Xxh3::with_seed(4);
    content.update(payload);
    ResendMark { key: key.digest(), content: content.digest(), message_no: NO_MESSAGE, time_us: 0 }
}

/// "A quarantined message of this client with this packet identifier was decoded again." Kept apart from [`packet_mark`]: what is
/// replayed says nothing of what a live connection waits for.
pub fn replay_mark(client: &[u8], packet_id: u16, topic: &[u8], payload: &[u8]) -> ResendMark {
    let mut key = Xxh3::with_seed(5);
    key.update(&packet_id.to_le_bytes());
    key.update(client);
    let mark = packet_mark(client, packet_id, topic, payload, NO_MESSAGE, 0);
    ResendMark { key: key.digest(), ..mark }
}

fn is_connection(key: u64) -> bool {
    key & !CLIENT_BITS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    fn mark(id: u16, payload: &[u8], message_no: u64) -> ResendMark {
        packet_mark(b"c", id, b"t", payload, message_no, message_no as i64 * SECOND_US)
    }

    /// A client that sent `messages` (identifier, payload) as messages 1, 2, … and comes back as message `first`.
    fn back_again(messages: &[(u16, &[u8])], first: u64) -> ResendWindow {
        let mut window = ResendWindow::new(100);
        for (no, (id, payload)) in (1..).zip(messages) {
            window.insert(mark(*id, payload, no));
        }
        window.insert(window.connected(b"c", first).expect("the client is known"));
        window
    }

    fn is_resend(window: &mut ResendWindow, id: u16, payload: &[u8], message_no: u64) -> bool {
        let mark = mark(id, payload, message_no);
        let (is_resend, progress) = window.judge(mark);
        progress.into_iter().for_each(|progress| window.insert(progress));
        window.insert(if is_resend { window.seen_again(mark) } else { mark });
        is_resend
    }

    #[test]
    fn forgets_the_oldest_and_keeps_the_newest_content() {
        let mut window = ResendWindow::new(2);
        let (first, changed) = (mark(1, b"1", 1), mark(1, b"2", 2));
        window.insert(first);
        assert!(window.contains(first));
        window.insert(changed);
        assert!(!window.contains(first) && window.contains(changed));
        window.insert(mark(2, b"1", 3));
        assert!(window.contains(changed), "the evicted entry was the older content of the same key");
        window.insert(mark(3, b"1", 4));
        assert!(!window.contains(changed));
        assert_eq!(window.marks().count(), 2);
        assert_eq!(window.clients.len(), 1);
        window.insert(sequence_mark(b"t", 1, b""));
        window.insert(sequence_mark(b"t", 2, b""));
        assert_eq!(window.clients.len(), 0, "a client goes with its last mark");
    }

    #[test]
    fn one_sequence_number_may_stand_on_two_topics() {
        let mut window = ResendWindow::new(8);
        window.insert(sequence_mark(b"obs/a/s/flow", 5, b"{\"seq\":5,\"value\":0}"));
        assert!(!window.contains(sequence_mark(b"obs/a/s/speed", 5, b"{\"seq\":5,\"value\":0}")));
        assert!(window.contains(sequence_mark(b"obs/a/s/flow", 5, b"{\"seq\":5,\"value\":0}")));
    }

    #[test]
    fn what_was_open_is_a_resend_and_what_follows_out_of_order_is_new() {
        // Window of three; 2 and 3 were not acked, 1 is a new message that the gateway never saw.
        let mut window = back_again(&[(1, b"0"), (2, b"0"), (3, b"0")], 4);
        assert!(is_resend(&mut window, 2, b"0", 4));
        assert!(is_resend(&mut window, 3, b"0", 5));
        assert!(!is_resend(&mut window, 1, b"0", 6), "it would be older than the one before it");
        // The connection breaks once more before any ack: all three are known now, in the order in which they came.
        window.insert(window.connected(b"c", 7).expect("the client is known"));
        assert!(is_resend(&mut window, 2, b"0", 7));
        assert!(is_resend(&mut window, 3, b"0", 8));
        assert!(is_resend(&mut window, 1, b"0", 9));
    }

    #[test]
    fn behind_a_new_message_everything_is_new() {
        let mut window = back_again(&[(1, b"0"), (2, b"0"), (3, b"0")], 4);
        assert!(!is_resend(&mut window, 1, b"9", 4));
        assert!(!is_resend(&mut window, 2, b"0", 5));
        assert!(!is_resend(&mut window, 3, b"0", 6));
    }

    #[test]
    fn a_message_whose_ack_is_long_there_is_not_sent_again() {
        // A message each minute, two identifiers in turn, always dry.
        let minute = |id, no: u64| packet_mark(b"c", id, b"t", b"0", no, no as i64 * 61 * SECOND_US);
        let mut window = ResendWindow::new(100);
        (1..=4).for_each(|no| window.insert(minute(if no % 2 == 1 { 1 } else { 2 }, no)));
        window.insert(window.connected(b"c", 5).expect("the client is known"));
        assert!(!window.judge(minute(1, 5)).0, "message 4 came a minute behind message 3");
        assert!(window.judge(minute(2, 5)).0, "nothing came behind message 4");
    }

    #[test]
    fn on_one_connection_dup_is_a_resend_however_late() {
        let mut window = back_again(&[(9, b"0")], 2);
        assert!(!is_resend(&mut window, 1, b"0", 2));
        window.insert(mark(2, b"0", 900));
        assert!(is_resend(&mut window, 1, b"0", 901));
    }

    #[test]
    fn marks_bring_the_state_of_connections_back() {
        let mut window = back_again(&[(1, b"0"), (2, b"0")], 3);
        assert!(is_resend(&mut window, 2, b"0", 3));
        let mut restored = ResendWindow::new(100);
        window.marks().for_each(|mark| restored.insert(mark));
        assert!(!is_resend(&mut restored, 1, b"0", 4), "older than what came before the restart");
    }
}
