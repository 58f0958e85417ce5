//! Which readings of a message.

use codecs::payload::READINGS_PER_MESSAGE_MAX;

const WORDS: usize = READINGS_PER_MESSAGE_MAX / 64;

/// Numbers of readings in the order in which the decoder gives them; a message has at most [`READINGS_PER_MESSAGE_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadingSet {
    words: [u64; WORDS],
}

impl ReadingSet {
    /// Bit *i* of the bytes = reading *i*.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut set = Self::default();
        for (at, byte) in bytes.iter().enumerate().take(WORDS * 8) {
            set.words[at / 8] |= u64::from(*byte) << (at % 8 * 8);
        }
        set
    }

    /// Without zeros at the end.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(len);
        bytes
    }

    pub(super) fn insert(&mut self, reading: u16) {
        if let Some(word) = self.words.get_mut(usize::from(reading) / 64) {
            *word |= 1 << (reading % 64);
        }
    }

    pub(super) fn contains(&self, reading: u16) -> bool {
        self.words.get(usize::from(reading) / 64).is_some_and(|word| word >> (reading % 64) & 1 == 1)
    }

    pub(super) fn intersection(mut self, other: &Self) -> Self {
        self.words.iter_mut().zip(other.words).for_each(|(word, other)| *word &= other);
        self
    }

    pub(super) fn len(&self) -> u16 {
        self.words.iter().map(|word| word.count_ones() as u16).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b1_5_a_set_of_readings_travels_as_bytes() {
        let mut set = ReadingSet::default();
        assert!(set.to_bytes().is_empty());
        for reading in [0, 9, 64, 1023, 1024, u16::MAX] {
            set.insert(reading);
        }
        assert_eq!((set.len(), set.to_bytes().len()), (4, 128), "what no message has is passed over");
        assert_eq!(ReadingSet::from_bytes(&set.to_bytes()), set);
        assert!(set.contains(1023) && !set.contains(1) && !set.contains(1024));
        let other = ReadingSet::from_bytes(&[0b10, 0b10]);
        assert_eq!(set.intersection(&other).to_bytes(), [0, 0b10]);
    }
}
