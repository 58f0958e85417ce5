//! The catalogue's write-ahead log, frame by frame. SQLite takes the first frame that does not pass its checksum for the end, so
//! a flipped bit would take the commits behind it back without a word; here a frame that is not whole although whole ones
//! come behind it is damage. Layout: sqlite.org/fileformat2.html, "The Write-Ahead Log".

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;
/// With checksums over little and over big endian words.
const MAGIC_LITTLE: u32 = 0x377f_0682;
const MAGIC_BIG: u32 = 0x377f_0683;
const PAGE_BYTES_MAX: usize = 65_536;

/// The first place that is not whole and has whole frames behind it. What is not whole at the end is as a crash in the middle of
/// a commit leaves it, or frames of a former life of the file.
pub(super) fn check(path: &Path) -> io::Result<Option<u64>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    check_frames(BufReader::with_capacity(1 << 20, file))
}

fn check_frames(mut source: impl Read) -> io::Result<Option<u64>> {
    let mut header = [0; HEADER_LEN];
    if !fill(&mut source, &mut header)? {
        return Ok(None);
    }
    let is_big = word(&header, 0) == MAGIC_BIG;
    let found = pair(&header, 24);
    let is_whole = [MAGIC_LITTLE, MAGIC_BIG].contains(&word(&header, 0))
        && checksum(is_big, (0, 0), &header[..24]) == found;
    let page_bytes = match word(&header, 8) as usize {
        bytes if is_whole && bytes.is_power_of_two() && bytes <= PAGE_BYTES_MAX => bytes,
        // Pages of this catalogue, whatever its header says by now.
        _ => 4_096,
    };
    let mut flaw = (!is_whole).then_some(0);
    let mut salts = is_whole.then(|| pair(&header, 16));
    let mut before = found;
    let mut frame = vec![0; FRAME_HEADER_LEN + page_bytes];
    let mut offset = HEADER_LEN as u64;
    while fill(&mut source, &mut frame)? {
        let (own_salts, own) = (pair(&frame, 8), pair(&frame, 16));
        let is_of_this_life = salts.is_none_or(|salts| salts == own_salts);
        let sum = checksum(is_big, before, &frame[..8]);
        let passes = checksum(is_big, sum, &frame[FRAME_HEADER_LEN..]) == own;
        match flaw {
            Some(_) if is_of_this_life && passes => return Ok(flaw),
            // A former life of the file begins here, or a frame was damaged in its salts.
            None if !(is_of_this_life && passes) => flaw = Some(offset),
            _ => {}
        }
        salts = salts.or(Some(own_salts));
        before = own;
        offset += frame.len() as u64;
    }
    Ok(None)
}

/// False where the file ends before.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match source.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Numbers of the file are big endian; only what checksums run over is as the magic says.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn pair(bytes: &[u8], at: usize) -> (u32, u32) {
    (word(bytes, at), word(bytes, at + 4))
}

fn checksum(is_big: bool, from: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    bytes.chunks_exact(8).fold(from, |(first, second), words| {
        let (mut left, mut right) = pair(words, 0);
        if !is_big {
            (left, right) = (left.swap_bytes(), right.swap_bytes());
        }
        let first = first.wrapping_add(left).wrapping_add(second);
        (first, second.wrapping_add(right).wrapping_add(first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A real one of three commits and more.
    fn real() -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
        connection.execute("CREATE TABLE numbers (number INTEGER)", []).unwrap();
        for number in 0..3 {
            connection.execute("INSERT INTO numbers VALUES (?1)", [number]).unwrap();
        }
        std::fs::read(directory.path().join("some.db-wal")).unwrap()
    }

    /// B1-6: whichever bit; of the last frame nobody can say whether it was ever whole.
    #[test]
    fn b1_6_a_flipped_bit_before_the_last_frame_is_damage() {
        let whole = real();
        assert_eq!(check_frames(&whole[..]).unwrap(), None);
        let frame_len = FRAME_HEADER_LEN + 4_096;
        let frames = (whole.len() - HEADER_LEN) / frame_len;
        assert!(frames >= 4);
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            let frame = at.checked_sub(HEADER_LEN).map(|at| at / frame_len);
            let offset = frame.map_or(0, |frame| HEADER_LEN + frame * frame_len) as u64;
            // The last frame goes on from the sum that the frame before has stored.
            let is_last = frame.is_some_and(|frame| {
                frame + 1 == frames || (frame + 2 == frames && (at - HEADER_LEN) % frame_len / 8 == 2)
            });
            assert_eq!(check_frames(&bytes[..]).unwrap(), (!is_last).then_some(offset), "byte {at}");
        }
        assert_eq!(check_frames(&whole[..whole.len() - 100]).unwrap(), None, "SQLite writes headers first");
        assert_eq!(check_frames(&b""[..]).unwrap(), None);
    }

    /// Frames of a former life of the file stand behind those of this one after SQLite went over it again.
    #[test]
    fn b1_6_frames_of_a_former_life_are_no_damage() {
        let (mut first, second) = (real(), real());
        let of_second = HEADER_LEN + 2 * (FRAME_HEADER_LEN + 4_096);
        first[..of_second].copy_from_slice(&second[..of_second]);
        assert_eq!(check_frames(&first[..]).unwrap(), None);
    }
}
