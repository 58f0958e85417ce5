//! Parquet's hybrid of runs and bit-packed groups, for dictionary indices and definition levels.

/// Runs shorter than this are bit-packed.
const RUN_MIN: usize = 8;

/// Bits that the values `0..count` need.
pub(super) fn width_of(count: usize) -> u8 {
    (usize::BITS - count.saturating_sub(1).leading_zeros()) as u8
}

/// Appends `values`, each below `2^width`.
pub(super) fn encode_hybrid(values: &[u32], width: u8, out: &mut Vec<u8>) {
    let mut packed_from = 0;
    let mut at = 0;
    while at < values.len() {
        let value = values[at];
        let run = 1 + values[at + 1..].iter().take_while(|next| **next == value).count();
        // What is packed before a run fills whole groups of eight; the run gives what is missing.
        let missing = (at - packed_from).wrapping_neg() % 8;
        if run >= missing + RUN_MIN {
            pack(&values[packed_from..at + missing], width, out);
            put_varint(((run - missing) as u64) << 1, out);
            out.extend_from_slice(&value.to_le_bytes()[..usize::from(width.div_ceil(8))]);
            packed_from = at + run;
        }
        at += run;
    }
    pack(&values[packed_from..], width, out);
}

/// One bit-packed stretch; the last group is filled up with zeros.
fn pack(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    put_varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * usize::from(width);
    let (mut bits, mut held) = (0u64, 0u32);
    for value in values {
        bits |= u64::from(*value) << held;
        held += u32::from(width);
        if held >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            held -= 32;
        }
    }
    let rest = bits.to_le_bytes();
    out.extend_from_slice(&rest[..held.div_ceil(8) as usize]);
    out.resize(end, 0);
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the hybrid back the dull way, bit by bit.
    fn decode(mut bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let (mut head, mut shift) = (0u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                head |= u64::from(byte & 0x7F) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            if head & 1 == 0 {
                let len = usize::from(width.div_ceil(8));
                let mut value = [0; 4];
                value[..len].copy_from_slice(&bytes[..len]);
                bytes = &bytes[len..];
                values.extend(std::iter::repeat_n(u32::from_le_bytes(value), (head >> 1) as usize));
            } else {
                let bits = (head >> 1) as usize * 8;
                for at in 0..bits {
                    let value = (0..usize::from(width))
                        .map(|bit| at * usize::from(width) + bit)
                        .enumerate()
                        .map(|(bit, place)| u32::from(bytes[place / 8] >> (place % 8) & 1) << bit)
                        .sum();
                    values.push(value);
                }
                bytes = &bytes[bits * usize::from(width) / 8..];
            }
        }
        assert!(bytes.is_empty(), "{} bytes too many", bytes.len());
        assert!(values[count..].iter().all(|value| *value == 0), "padding is not zero");
        values.truncate(count);
        values
    }

    proptest::proptest! {
        #[test]
        fn what_was_encoded_is_read_back(
            runs in proptest::collection::vec((0u32..1 << 17, 1usize..40), 0..60),
            width in 0u8..18,
        ) {
            let values: Vec<u32> = runs
                .iter()
                .flat_map(|(value, run)| std::iter::repeat_n(value & ((1 << width) - 1), *run))
                .collect();
            let mut bytes = Vec::new();
            encode_hybrid(&values, width, &mut bytes);
            proptest::prop_assert_eq!(decode(&bytes, width, values.len()), values);
        }
    }

    #[test]
    fn widths() {
        let widths = [0, 1, 2, 3, 4, 5, 256, 257].map(width_of);
        assert_eq!(widths, [0, 0, 1, 2, 2, 3, 8, 9]);
    }
}
