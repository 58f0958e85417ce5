//! Recognises re-sends of undated messages (design §4.2): a message whose readings have no time of their own is a re-send
//! if DUP is set and it equals the last message of that client with that packet identifier, or if its station has sent the
//! same `source_seq` with the same payload within the window.
//!
//! Both questions are one: a key (what it claims to be) with a content (what it says), as 64-bit hashes. A key that is
//! forgotten makes a new row at worst; two different contents with one hash would lose one, at odds of 2⁻⁶⁴ each.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3;

use crate::observation::ResendMark;

/// The last keys and their contents; the oldest goes first.
#[derive(Debug)]
pub struct ResendWindow {
    contents: HashMap<u64, Entry, RandomState>,
    order: VecDeque<(u64, u64)>,
    marks_max: usize,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    content: u64,
    inserted: u64,
}

impl ResendWindow {
    pub fn new(marks_max: usize) -> Self {
        Self { contents: HashMap::default(), order: VecDeque::new(), marks_max, next: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Is there a mark with this key, whatever its content?
    pub fn knows(&self, key: u64) -> bool {
        self.contents.contains_key(&key)
    }

    pub fn contains(&self, mark: ResendMark) -> bool {
        self.contents.get(&mark.key).is_some_and(|entry| entry.content == mark.content)
    }

    pub fn insert(&mut self, mark: ResendMark) {
        self.contents.insert(mark.key, Entry { content: mark.content, inserted: self.next });
        self.order.push_back((mark.key, self.next));
        self.next += 1;
        while self.order.len() > self.marks_max {
            if let Some((key, inserted)) = self.order.pop_front()
                && self.contents.get(&key).is_some_and(|entry| entry.inserted == inserted)
            {
                self.contents.remove(&key);
            }
        }
    }

    /// Oldest first, for the catalogue.
    pub fn marks(&self) -> impl Iterator<Item = ResendMark> {
        self.order.iter().filter_map(|(key, inserted)| {
            let entry = self.contents.get(key)?;
            (entry.inserted == *inserted).then_some(ResendMark { key: *key, content: entry.content })
        })
    }
}

/// "The last message of this client with this packet identifier."
pub fn packet_mark(client: &[u8], packet_id: u16, topic: &[u8], payload: &[u8]) -> ResendMark {
    let mut content = Xxh3::with_seed(2);
    content.update(&(topic.len() as u32).to_le_bytes());
    content.update(topic);
    content.update(payload);
    ResendMark { key: packet_key(client, packet_id), content: content.digest() }
}

/// The key of [`packet_mark`].
pub fn packet_key(client: &[u8], packet_id: u16) -> u64 {
    let mut key = Xxh3::with_seed(1);
    key.update(client);
    key.update(&packet_id.to_le_bytes());
    key.digest()
}

/// "This sequence number on this topic." A station's bare values of different properties may share a number.
pub fn sequence_mark(topic: &[u8], seq: u64, payload: &[u8]) -> ResendMark {
    let mut key = Xxh3::with_seed(3);
    key.update(&seq.to_le_bytes());
    key.update(topic);
    let mut content = Xxh3::with_seed(4);
    content.update(payload);
    ResendMark { key: key.digest(), content: content.digest() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_and_keeps_the_newest_content() {
        let mut window = ResendWindow::new(2);
        let first = packet_mark(b"c", 1, b"t", b"1");
        let changed = packet_mark(b"c", 1, b"t", b"2");
        window.insert(first);
        assert!(window.contains(first));
        window.insert(changed);
        assert!(!window.contains(first) && window.contains(changed));
        window.insert(packet_mark(b"c", 2, b"t", b"1"));
        assert!(window.contains(changed), "the evicted entry was the older content of the same key");
        window.insert(packet_mark(b"c", 3, b"t", b"1"));
        assert!(!window.contains(changed));
        assert_eq!(window.marks().count(), 2);
    }

    #[test]
    fn one_sequence_number_may_stand_on_two_topics() {
        let mut window = ResendWindow::new(8);
        window.insert(sequence_mark(b"obs/a/s/flow", 5, b"{\"seq\":5,\"value\":0}"));
        assert!(!window.contains(sequence_mark(b"obs/a/s/speed", 5, b"{\"seq\":5,\"value\":0}")));
        assert!(window.contains(sequence_mark(b"obs/a/s/flow", 5, b"{\"seq\":5,\"value\":0}")));
    }
}
