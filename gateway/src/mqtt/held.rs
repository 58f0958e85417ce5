//! PUBLISH packets of one connection that wait for room in the journal, in the order in which they came.

/// Room beyond what an entry needs is taken in steps of this, so that what is counted is what is held.
const STEP_BYTES: usize = 4 << 10;
/// Before each packet: when it came (µs, u64), how long it is (u32), whether it is of QoS 0 (u8).
const HEAD_BYTES: usize = 13;

/// One connection's share of the hold pool.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// Where the oldest packet begins.
    start: usize,
    messages: u32,
    /// Those of QoS 1 and 2.
    identified: u32,
    /// When the journal last took one of them.
    pub(super) progress_us: u64,
}

/// A packet that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldPacket<'a> {
    pub(super) since_us: u64,
    pub(super) is_qos0: bool,
    pub(super) frame: &'a [u8],
}

impl Held {
    /// What a packet adds, at most.
    pub(super) fn needs(frame: &[u8]) -> usize {
        (HEAD_BYTES + frame.len()).next_multiple_of(STEP_BYTES)
    }

    pub(super) fn push(&mut self, frame: &[u8], is_qos0: bool, now_us: u64) {
        // The part before `start` has gone already.
        if self.start > 0 && self.start * 2 >= self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let needed = self.bytes.len() + HEAD_BYTES + frame.len();
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(needed.next_multiple_of(STEP_BYTES) - self.bytes.len());
        }
        self.bytes.extend_from_slice(&now_us.to_le_bytes());
        // No packet is longer than a Variable Byte Integer can say.
        self.bytes.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        self.bytes.push(u8::from(is_qos0));
        self.bytes.extend_from_slice(frame);
        self.messages += 1;
        self.identified += u32::from(!is_qos0);
    }

    /// The oldest packet.
    pub(super) fn front(&self) -> Option<HeldPacket<'_>> {
        let (since_us, rest) = self.bytes.get(self.start..)?.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (is_qos0, rest) = rest.split_first()?;
        let frame = rest.get(..u32::from_le_bytes(*len) as usize)?;
        Some(HeldPacket { since_us: u64::from_le_bytes(*since_us), is_qos0: *is_qos0 == 1, frame })
    }

    pub(super) fn pop_front(&mut self) {
        let Some(HeldPacket { is_qos0, frame, .. }) = self.front() else { return };
        self.start += HEAD_BYTES + frame.len();
        self.messages -= 1;
        self.identified -= u32::from(!is_qos0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(super) fn messages(&self) -> u32 {
        self.messages
    }

    /// Packets of QoS 1 and 2.
    pub(super) fn identified(&self) -> usize {
        self.identified as usize
    }

    /// Memory that is taken.
    pub(super) fn room(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_out_in_order_and_the_room_stays_near_it() {
        let mut held = Held::default();
        let mut next_in = 0_u64;
        let mut next_out = 0_u64;
        let mut most = 0;
        for round in 0..200_u64 {
            for _ in 0..3 + round % 5 {
                let frame = vec![next_in as u8; 10 + (next_in as usize * 37) % 3_000];
                held.push(&frame, next_in.is_multiple_of(3), next_in);
                next_in += 1;
            }
            most = most.max(held.bytes.len() - held.start);
            for _ in 0..5 {
                let packet = held.front().unwrap();
                assert_eq!((packet.since_us, packet.is_qos0), (next_out, next_out.is_multiple_of(3)));
                assert_eq!(packet.frame, vec![next_out as u8; 10 + (next_out as usize * 37) % 3_000]);
                held.pop_front();
                next_out += 1;
                if held.is_empty() {
                    break;
                }
            }
            let of_qos0 = (next_out..next_in).filter(|number| number.is_multiple_of(3)).count();
            assert_eq!(held.messages() as usize, (next_in - next_out) as usize);
            assert_eq!(held.identified(), held.messages() as usize - of_qos0);
        }
        assert!(held.room() <= 2 * most + 2 * STEP_BYTES, "{} for {most} at most", held.room());
        while !held.is_empty() {
            held.pop_front();
        }
        assert!(held.front().is_none());
        held.pop_front();
    }
}
