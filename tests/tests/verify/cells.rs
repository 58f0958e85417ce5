//! Where SQLite keeps rows and entries of indices in its file, so that bits of theirs can be flipped: what stands between them is
//! free, and no value. Layout: sqlite.org/fileformat2.html, "B-tree Pages".

use std::fs;
use std::path::Path;

const PAGE: usize = 4_096;
const LEAF_OF_INDEX: u8 = 10;
const LEAF_OF_TABLE: u8 = 13;
/// So much of a cell is never on an overflow page.
const LOCAL_MIN: usize = 400;

/// First and last byte of every cell on a leaf, and of every header of a leaf.
pub(crate) fn places(catalogue: &Path) -> Vec<(u64, u64)> {
    let bytes = fs::read(catalogue).expect("a catalogue");
    let mut places = Vec::new();
    for (number, page) in bytes.chunks_exact(PAGE).enumerate() {
        // The file's own header stands before that of the first page.
        let header = if number == 0 { 100 } else { 0 };
        let is_table = page[header] == LEAF_OF_TABLE;
        // A page of an overflowing payload begins with a page number, which is small.
        if !is_table && page[header] != LEAF_OF_INDEX {
            continue;
        }
        let cells = u16_at(page, header + 3);
        let start = number * PAGE;
        places.push(((start + header) as u64, (start + header) as u64));
        for cell in 0..cells {
            let at = u16_at(page, header + 8 + 2 * cell);
            let (payload, behind) = variable_length(page, at);
            let behind = if is_table { variable_length(page, behind).1 } else { behind };
            let last = (behind + payload.min(LOCAL_MIN)).min(PAGE) - 1;
            places.push(((start + at) as u64, (start + last) as u64));
        }
    }
    places
}

fn u16_at(page: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([page[at], page[at + 1]]))
}

/// A number of SQLite's variable length, and the place behind it.
fn variable_length(page: &[u8], mut at: usize) -> (usize, usize) {
    let mut value = 0;
    loop {
        let byte = page[at];
        at += 1;
        value = value << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return (value, at);
        }
    }
}
