//! Topic filters as a tree of levels, so that a topic finds its subscriptions without asking each.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Node 0 is the root. Nodes that lose their last entry stay (they are few and bounded by the filters ever held) until
/// the tree is empty, when it starts anew.
#[derive(Debug)]
pub(super) struct TopicTree<T> {
    nodes: Vec<Node<T>>,
    entries: usize,
}

#[derive(Debug)]
struct Node<T> {
    levels: HashMap<Box<str>, u32, RandomState>,
    /// `+`
    any_level: Option<u32>,
    /// Filters that end here.
    entries: Vec<T>,
    /// Filters that end here with `#`.
    rest_entries: Vec<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { levels: HashMap::default(), any_level: None, entries: Vec::new(), rest_entries: Vec::new() }
    }
}

impl<T> Default for TopicTree<T> {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], entries: 0 }
    }
}

impl<T> TopicTree<T> {
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Adds an entry under a valid filter.
    pub(super) fn insert(&mut self, filter: &str, entry: T) {
        let (node, rest) = self.make_path(filter);
        let node = &mut self.nodes[node as usize];
        if rest { node.rest_entries.push(entry) } else { node.entries.push(entry) }
        self.entries += 1;
    }

    /// Removes the entries under exactly this filter that `is` names.
    pub(super) fn remove(&mut self, filter: &str, mut is: impl FnMut(&T) -> bool) {
        let Some((node, rest)) = self.find_path(filter) else { return };
        let node = &mut self.nodes[node as usize];
        let list = if rest { &mut node.rest_entries } else { &mut node.entries };
        let before = list.len();
        list.retain(|entry| !is(entry));
        self.entries -= before - list.len();
        if self.entries == 0 {
            *self = Self::default();
        }
    }

    /// Calls `found` for each entry whose filter matches the topic. Filters that start with a wildcard do not match
    /// topics that start with `$` [MQTT-4.7.2-1].
    pub(super) fn for_each_match<'a>(&'a self, topic: &str, found: &mut impl FnMut(&'a T)) {
        if self.entries == 0 {
            return;
        }
        self.visit(0, Some(topic), topic.starts_with('$'), found);
    }

    fn visit<'a>(&'a self, node: u32, rest: Option<&str>, no_wildcards: bool, found: &mut impl FnMut(&'a T)) {
        let node = &self.nodes[node as usize];
        if !no_wildcards {
            // `#` also matches the level above it.
            node.rest_entries.iter().for_each(&mut *found);
        }
        let Some(rest) = rest else {
            node.entries.iter().for_each(found);
            return;
        };
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        if let Some(child) = node.levels.get(level) {
            self.visit(*child, rest, false, found);
        }
        if let Some(child) = node.any_level
            && !no_wildcards
        {
            self.visit(child, rest, false, found);
        }
    }

    fn make_path(&mut self, filter: &str) -> (u32, bool) {
        let mut node = 0;
        for level in filter.split('/') {
            if level == "#" {
                return (node, true);
            }
            let next = self.nodes.len() as u32;
            let child = if level == "+" {
                *self.nodes[node as usize].any_level.get_or_insert(next)
            } else {
                let levels = &mut self.nodes[node as usize].levels;
                match levels.get(level) {
                    Some(child) => *child,
                    None => *levels.entry(level.into()).or_insert(next),
                }
            };
            if child == next {
                self.nodes.push(Node::default());
            }
            node = child;
        }
        (node, false)
    }

    fn find_path(&self, filter: &str) -> Option<(u32, bool)> {
        let mut node = 0;
        for level in filter.split('/') {
            if level == "#" {
                return Some((node, true));
            }
            let at = &self.nodes[node as usize];
            node = if level == "+" { at.any_level? } else { *at.levels.get(level)? };
        }
        Some((node, false))
    }
}

#[cfg(test)]
mod tests {
    use codecs::mqtt::topic::{filter_matches, validate_filter, validate_topic_name};
    use proptest::prelude::*;

    use super::*;

    fn matches(filters: &[&str], topic: &str) -> Vec<String> {
        let mut tree = TopicTree::default();
        for filter in filters {
            tree.insert(filter, (*filter).to_owned());
        }
        let mut found = Vec::new();
        tree.for_each_match(topic, &mut |filter| found.push(filter.clone()));
        found.sort();
        found
    }

    #[test]
    fn wildcards() {
        let filters = ["#", "+", "a/#", "a/+", "a/b", "+/b", "/+", "$SYS/#"];
        assert_eq!(matches(&filters, "a/b"), ["#", "+/b", "a/#", "a/+", "a/b"]);
        assert_eq!(matches(&filters, "a"), ["#", "+", "a/#"]);
        assert_eq!(matches(&filters, "/x"), ["#", "/+"]);
        assert_eq!(matches(&filters, "$SYS/x"), ["$SYS/#"]);
    }

    #[test]
    fn removal_takes_one_entry() {
        let mut tree = TopicTree::default();
        tree.insert("a/+", 1);
        tree.insert("a/+", 2);
        tree.remove("a/+", |entry| *entry == 1);
        let mut found = Vec::new();
        tree.for_each_match("a/b", &mut |entry| found.push(*entry));
        assert_eq!(found, [2]);
        tree.remove("a/+", |entry| *entry == 2);
        assert_eq!(tree.len(), 0);
    }

    proptest! {
        /// The tree and the codec's pairwise matching agree.
        #[test]
        fn agrees_with_the_codec(
            filters in prop::collection::vec("[ab$+#/]{1,6}", 1..8),
            topic in "[ab$/]{1,6}",
        ) {
            prop_assume!(validate_topic_name(&topic).is_ok());
            let filters: Vec<&str> = filters.iter().map(String::as_str).filter(|f| validate_filter(f).is_ok()).collect();
            let mut expected: Vec<String> =
                filters.iter().filter(|filter| filter_matches(filter, &topic)).map(|f| (*f).to_owned()).collect();
            expected.sort();
            prop_assert_eq!(matches(&filters, &topic), expected);
        }
    }
}
