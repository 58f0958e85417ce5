//! How many retained messages of clients there may be. Router (live) and pipeline (log) ask the same question in the same
//! order and so agree on what is kept.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Count and bytes of what is retained, by topic.
#[derive(Debug)]
pub struct RetainedBudget {
    sizes: HashMap<Box<[u8]>, usize, RandomState>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

impl RetainedBudget {
    pub fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { sizes: HashMap::default(), bytes: 0, messages_max, bytes_max }
    }

    /// Of all that is kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// May the topic's retained message be set to one of these lengths (payload 0 = removed)? If so it is counted. A message
    /// over the budget is routed like any other, but not kept; what was kept for the topic stays.
    pub fn admit(&mut self, topic: &[u8], properties_len: usize, payload_len: usize) -> bool {
        let old = self.sizes.get(topic).copied();
        if payload_len == 0 {
            if let Some(old) = old {
                self.sizes.remove(topic);
                self.bytes -= old;
            }
            return old.is_some();
        }
        let size = topic.len() + properties_len + payload_len;
        let bytes = self.bytes - old.unwrap_or(0) + size;
        if bytes > self.bytes_max || (old.is_none() && self.sizes.len() >= self.messages_max) {
            return false;
        }
        self.sizes.insert(topic.into(), size);
        self.bytes = bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_admits() {
        let mut budget = RetainedBudget::new(2, 20);
        assert!(budget.admit(b"a", 0, 5));
        assert!(budget.admit(b"b", 0, 5));
        assert!(!budget.admit(b"c", 0, 1), "two at most");
        assert!(!budget.admit(b"a", 0, 15), "20 bytes at most");
        assert!(budget.admit(b"a", 0, 0));
        assert!(!budget.admit(b"a", 0, 0), "nothing to remove");
        assert!(budget.admit(b"c", 0, 12));
    }
}
