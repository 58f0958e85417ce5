//! What the operator says about sources and datastreams by pattern: ranks of clients, datastreams whose readings of one time
//! are all kept. `*` in a pattern stands for any characters.

use std::fmt;
use std::str::FromStr;

/// Rules of one list: a look-up goes through them once per client or datastream.
pub const RULES_MAX: usize = 1_000;

/// A text with `*` for any run of characters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Each piece between two stars is taken where it comes first: a later place would leave less for the others.
    pub fn matches(&self, name: &[u8]) -> bool {
        let mut pieces = self.0.as_bytes().split(|byte| *byte == b'*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut pieces = pieces.peekable();
        if pieces.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                return rest.ends_with(piece);
            }
            if piece.is_empty() {
                continue;
            }
            match rest.windows(piece.len()).position(|window| window == piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a pattern is empty".to_owned()) } else { Ok(Self::new(text)) }
    }
}

/// `client pattern = rank`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankRule {
    pub client: Pattern,
    pub rank: u8,
}

impl FromStr for RankRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("{text:?} is no rule: expected `client pattern = rank` with a rank from 0 to 255");
        let (client, rank) = text.rsplit_once('=').ok_or_else(expected)?;
        let rank = rank.trim().parse().map_err(|_| expected())?;
        Ok(Self { client: client.trim().parse()?, rank })
    }
}

impl fmt::Display for RankRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.client, self.rank)
    }
}

/// The rank of each client: the first rule that matches, else 0. Remembered by the client's number.
#[derive(Debug, Default)]
pub struct Ranks {
    rules: Vec<RankRule>,
    by_client: Vec<Option<u8>>,
}

impl Ranks {
    pub fn new(rules: Vec<RankRule>) -> Self {
        Self { rules, by_client: Vec::new() }
    }

    /// `id` is the dictionary's number of the client; 0 stands for many clients, which are looked up each time.
    #[inline]
    pub fn of(&mut self, id: u32, client: &[u8]) -> u8 {
        if self.rules.is_empty() { 0 } else { self.look_up(id as usize, client) }
    }

    fn look_up(&mut self, id: usize, client: &[u8]) -> u8 {
        if let Some(Some(rank)) = self.by_client.get(id).filter(|_| id > 0) {
            return *rank;
        }
        let rank = self.rules.iter().find(|rule| rule.client.matches(client)).map_or(0, |rule| rule.rank);
        if self.by_client.len() <= id {
            self.by_client.resize(id + 1, None);
        }
        self.by_client[id] = Some(rank);
        rank
    }
}

/// Which datastreams keep all readings of one time, by their name `{agency}/{station}/{property}`.
#[derive(Clone, Debug, Default)]
pub struct SameTime {
    keep: Vec<Pattern>,
}

impl SameTime {
    pub fn new(keep: Vec<Pattern>) -> Self {
        Self { keep }
    }

    pub fn is_kept(&self, datastream: &str) -> bool {
        self.keep.iter().any(|pattern| pattern.matches(datastream.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, name, matches) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("*c", "cb", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "ac", false),
            ("ab*ba", "aba", false),
            ("ab*ba", "abba", true),
            ("A/*/acceleration*", "A/S1/acceleration;axis=x", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name.as_bytes()), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_gives_the_rank() {
        let rules = ["operator-* = 30", "archive=20", "a=b = 7", "* = 1"];
        let mut ranks = Ranks::new(rules.iter().map(|rule| rule.parse().unwrap()).collect());
        assert_eq!(ranks.of(1, b"operator-7"), 30);
        assert_eq!(ranks.of(2, b"archive"), 20);
        assert_eq!(ranks.of(3, b"a=b"), 7);
        assert_eq!(ranks.of(4, b"station"), 1);
        assert_eq!(ranks.of(1, b"operator-7"), 30);
        assert_eq!((ranks.of(0, b"archive"), ranks.of(0, b"x")), (20, 1), "client 0 is many");
        assert_eq!(Ranks::default().of(1, b"operator-7"), 0);
    }

    #[test]
    fn a_rule_that_is_none_says_so() {
        for text in ["archive", "archive = 256", "archive = -1", "= 3", "archive = high"] {
            assert!(text.parse::<RankRule>().is_err(), "{text}");
        }
    }
}
