//! Where SQLite keeps rows and entries of indices in its file, so that bits of theirs can be flipped: what stands between them is
//! free, and no value; so are pages on the free list, which keep what they held. Layout: sqlite.org/fileformat2.html, "B-tree
//! Pages" and "The Freelist".

use std::collections::BTreeSet;
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
    let free = free_pages(&bytes);
    let mut places = Vec::new();
    for (number, page) in bytes.chunks_exact(PAGE).enumerate().filter(|(number, _)| !free.contains(number)) {
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

/// Pages of the free list, the first page of the file being 0.
fn free_pages(bytes: &[u8]) -> BTreeSet<usize> {
    const FIRST_TRUNK: usize = 32;
    let mut free = BTreeSet::new();
    let mut trunk = u32_at(bytes, FIRST_TRUNK);
    while trunk > 0 {
        let at = (trunk - 1) * PAGE;
        free.insert(trunk - 1);
        free.extend((0..u32_at(bytes, at + 4)).map(|leaf| u32_at(bytes, at + 8 + 4 * leaf) - 1));
        trunk = u32_at(bytes, at);
    }
    free
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
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
