//! Topic filters as a tree of levels, so that a topic finds its subscriptions without asking each.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Node 0 is the root. A node that has neither entries nor children is taken out and used again, so the tree is as large as
/// the filters that it holds.
#[derive(Debug)]
pub(super) struct TopicTree<T> {
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
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
        Self { nodes: vec![Node::default()], free: Vec::new(), entries: 0 }
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
        if rest {
            node.rest_entries.push(entry)
        } else {
            node.entries.push(entry)
        }
        self.entries += 1;
    }

    /// Removes the entries under exactly this filter that `is` names.
    pub(super) fn remove(&mut self, filter: &str, mut is: impl FnMut(&T) -> bool) {
        let Some((path, rest)) = self.find_path(filter) else { return };
        let Some(last) = path.last() else { return };
        let node = &mut self.nodes[*last as usize];
        let list = if rest { &mut node.rest_entries } else { &mut node.entries };
        let before = list.len();
        list.retain(|entry| !is(entry));
        self.entries -= before - list.len();
        if self.entries == 0 {
            *self = Self::default();
        } else {
            self.prune(filter, &path);
        }
    }

    /// Takes out the nodes of a path, from its end, that lead nowhere any more.
    fn prune(&mut self, filter: &str, path: &[u32]) {
        let levels: Vec<&str> = filter.split('/').take(path.len() - 1).collect();
        for (depth, level) in levels.iter().enumerate().rev() {
            let (parent, child) = (path[depth], path[depth + 1]);
            if !self.nodes[child as usize].leads_nowhere() {
                return;
            }
            let parent = &mut self.nodes[parent as usize];
            if *level == "+" {
                parent.any_level = None;
            } else {
                parent.levels.remove(*level);
            }
            self.nodes[child as usize] = Node::default();
            self.free.push(child);
        }
    }

    /// Calls `found` for each entry whose filter matches the topic. Filters that start with a wildcard do not match
    /// topics that start with `$` [MQTT-4.7.2-1].
    pub(super) fn for_each_match<'a>(&'a self, topic: &str, found: &mut impl FnMut(&'a T)) {
        if self.entries == 0 {
            return;
        }
        // Topics may have tens of thousands of levels, so no recursion.
        let mut open: Vec<(u32, Option<&str>)> = vec![(0, Some(topic))];
        while let Some((index, rest)) = open.pop() {
            let node = &self.nodes[index as usize];
            let wildcards = index != 0 || !topic.starts_with('$');
            if wildcards {
                // `#` also matches the level above it.
                node.rest_entries.iter().for_each(&mut *found);
            }
            let Some(rest) = rest else {
                node.entries.iter().for_each(&mut *found);
                continue;
            };
            let (level, rest) = match rest.split_once('/') {
                Some((level, rest)) => (level, Some(rest)),
                None => (rest, None),
            };
            open.extend(node.levels.get(level).map(|child| (*child, rest)));
            open.extend(node.any_level.filter(|_| wildcards).map(|child| (child, rest)));
        }
    }

    fn make_path(&mut self, filter: &str) -> (u32, bool) {
        let mut node = 0;
        for level in filter.split('/') {
            if level == "#" {
                return (node, true);
            }
            let next = self.free.last().copied().unwrap_or(self.nodes.len() as u32);
            let child = if level == "+" {
                *self.nodes[node as usize].any_level.get_or_insert(next)
            } else {
                let levels = &mut self.nodes[node as usize].levels;
                match levels.get(level) {
                    Some(child) => *child,
                    None => *levels.entry(level.into()).or_insert(next),
                }
            };
            if child == next && self.free.pop().is_none() {
                self.nodes.push(Node::default());
            }
            node = child;
        }
        (node, false)
    }

    /// The nodes from the root to where the filter ends, and whether it ends with `#`.
    fn find_path(&self, filter: &str) -> Option<(Vec<u32>, bool)> {
        let mut node = 0;
        let mut path = vec![node];
        for level in filter.split('/') {
            if level == "#" {
                return Some((path, true));
            }
            let at = &self.nodes[node as usize];
            node = if level == "+" { at.any_level? } else { *at.levels.get(level)? };
            path.push(node);
        }
        Some((path, false))
    }
}

impl<T> Node<T> {
    fn leads_nowhere(&self) -> bool {
        self.levels.is_empty()
            && self.any_level.is_none()
            && self.entries.is_empty()
            && self.rest_entries.is_empty()
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

    #[test]
    fn memory_is_that_of_the_filters_held() {
        let mut tree = TopicTree::default();
        tree.insert("stays/+", 0);
        let nodes = tree.nodes.len();
        for i in 0..1_000 {
            let filter = format!("goes/{i}/+/x/#");
            tree.insert(&filter, i);
            tree.remove(&filter, |entry| *entry == i);
        }
        assert_eq!(tree.nodes.len() - tree.free.len(), nodes);
        assert!(tree.nodes.len() < 20, "{} nodes", tree.nodes.len());
    }

    #[test]
    fn a_topic_of_the_longest_kind_is_matched() {
        let mut tree = TopicTree::default();
        let filter = "+/".repeat(32_000);
        tree.insert(&filter, ());
        let mut found = 0;
        tree.for_each_match(&"/".repeat(32_000), &mut |()| found += 1);
        assert_eq!(found, 1);
    }

    proptest! {
        /// Filters that come and go leave nothing behind that matches, and take nothing with them.
        #[test]
        fn removed_filters_match_no_more(
            filters in prop::collection::vec("[ab+#/]{1,6}", 1..12),
            topic in "[ab/]{1,6}",
        ) {
            let filters: Vec<&str> = filters.iter().map(String::as_str).filter(|f| validate_filter(f).is_ok()).collect();
            let mut tree = TopicTree::default();
            for (i, filter) in filters.iter().enumerate() {
                tree.insert(filter, i);
            }
            for (i, filter) in filters.iter().enumerate().filter(|(i, _)| i % 2 == 0) {
                tree.remove(filter, |entry| *entry == i);
            }
            for (i, filter) in filters.iter().enumerate().filter(|(i, _)| i % 3 == 0) {
                tree.insert(filter, 100 + i);
            }
            let mut found = Vec::new();
            tree.for_each_match(&topic, &mut |entry| found.push(*entry));
            found.sort_unstable();
            let kept = filters.iter().enumerate().filter(|(i, f)| i % 2 == 1 && filter_matches(f, &topic)).map(|(i, _)| i);
            let added = filters.iter().enumerate().filter(|(i, f)| i % 3 == 0 && filter_matches(f, &topic)).map(|(i, _)| 100 + i);
            prop_assert_eq!(found, kept.chain(added).collect::<Vec<_>>());
        }

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
