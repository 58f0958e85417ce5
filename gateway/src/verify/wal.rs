//! The catalogue's write-ahead log, frame by frame. SQLite takes the first frame that does not pass its checksum for the end, so
//! a flipped bit would take the commits behind it back without a word; here a frame that is not whole although whole ones
//! come behind it is damage. Layout: sqlite.org/fileformat2.html, "The Write-Ahead Log".

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;
/// With checksums over little and over big endian words.
const MAGIC_LITTLE: u32 = 0x377f_0682;
const MAGIC_BIG: u32 = 0x377f_0683;
const PAGE_BYTES_MAX: usize = 65_536;
/// Of the wal-index, of which there are two copies.
const INDEX_HEADER_LEN: usize = 48;
/// Looks at a log that is begun again all the time.
const LOOKS_MAX: usize = 100;

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

/// Beside a gateway: the first committed frame that is not whole. `None` also where the log was begun again each time before it
/// was read: what it held is in the catalogue itself then.
pub(super) fn check_beside_gateway(path: &Path) -> io::Result<Option<u64>> {
    for _ in 0..LOOKS_MAX {
        let Some(index) = Index::read(path)? else { continue };
        if index.frames == 0 {
            return Ok(None);
        }
        let flaw = match File::open(path) {
            Ok(file) => check_committed(BufReader::with_capacity(1 << 20, file), &index)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // SQLite writes the index before it goes over frames again: what was read belongs to this index, or to none.
        if flaw.is_none() || Index::read(path)?.is_some_and(|now| now.salts == index.salts) {
            return Ok(flaw);
        }
    }
    Ok(None)
}

/// What SQLite's wal-index says of the log; numbers of that file are in the machine's order.
#[derive(Debug, PartialEq, Eq)]
struct Index {
    /// That are committed.
    frames: u32,
    salts: (u32, u32),
}

impl Index {
    /// `None` while it is being written.
    fn read(log: &Path) -> io::Result<Option<Self>> {
        let nothing = Self { frames: 0, salts: (0, 0) };
        let mut header = [0; 2 * INDEX_HEADER_LEN];
        match File::open(index_path(log)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(nothing)),
            file => {
                if !fill(&mut file?, &mut header)? {
                    return Ok(Some(nothing));
                }
            }
        }
        let (first, second) = header.split_at(INDEX_HEADER_LEN);
        let is_whole = checksum(cfg!(target_endian = "big"), (0, 0), &first[..40])
            == (native(first, 40), native(first, 44));
        if first != second || !is_whole {
            return Ok(None);
        }
        // The salts stand there byte by byte as in the log.
        Ok(Some(Self { frames: native(first, 16), salts: pair(first, 32) }))
    }
}

fn index_path(log: &Path) -> PathBuf {
    log.with_extension("db-shm")
}

fn native(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

/// Frames that the index calls committed are whole, one after the other.
fn check_committed(mut source: impl Read, index: &Index) -> io::Result<Option<u64>> {
    let mut header = [0; HEADER_LEN];
    if !fill(&mut source, &mut header)? {
        return Ok(Some(0));
    }
    let is_big = word(&header, 0) == MAGIC_BIG;
    let mut before = pair(&header, 24);
    let page_bytes = word(&header, 8) as usize;
    let is_whole = [MAGIC_LITTLE, MAGIC_BIG].contains(&word(&header, 0))
        && checksum(is_big, (0, 0), &header[..24]) == before
        && pair(&header, 16) == index.salts
        && page_bytes.is_power_of_two()
        && page_bytes <= PAGE_BYTES_MAX;
    if !is_whole {
        return Ok(Some(0));
    }
    let mut frame = vec![0; FRAME_HEADER_LEN + page_bytes];
    let mut offset = HEADER_LEN as u64;
    for _ in 0..index.frames {
        let is_there = fill(&mut source, &mut frame)?;
        let sum = checksum(is_big, before, &frame[..8]);
        before = pair(&frame, 16);
        if !is_there
            || pair(&frame, 8) != index.salts
            || checksum(is_big, sum, &frame[FRAME_HEADER_LEN..]) != before
        {
            return Ok(Some(offset));
        }
        offset += frame.len() as u64;
    }
    Ok(None)
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
        // Page 0 is none: blocks of zeros, as a power loss leaves them, have the right sum.
        let passes = word(&frame, 0) != 0 && checksum(is_big, sum, &frame[FRAME_HEADER_LEN..]) == own;
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

    /// A catalogue that is written, and a reader that keeps its log from being emptied.
    fn written(directory: &Path) -> (rusqlite::Connection, rusqlite::Connection, PathBuf) {
        let path = directory.join("catalogue.db");
        let connect = || rusqlite::Connection::open(&path).unwrap();
        let (writer, reader) = (connect(), connect());
        writer.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
        writer.execute("CREATE TABLE numbers (number INTEGER)", []).unwrap();
        (writer, reader, directory.join("catalogue.db-wal"))
    }

    /// F2: what a crash would take back is told while the gateway runs, whichever committed frame it is.
    #[test]
    fn b1_6_beside_a_gateway_a_flipped_bit_of_any_committed_frame_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, reader, log) = written(directory.path());
        assert_eq!(check_beside_gateway(&log).unwrap(), None);
        reader.execute_batch("BEGIN; SELECT * FROM numbers").unwrap();
        for number in 0..3 {
            writer.execute("INSERT INTO numbers VALUES (?1)", [number]).unwrap();
        }
        let whole = std::fs::read(&log).unwrap();
        assert_eq!(check_beside_gateway(&log).unwrap(), None);
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&log, bytes).unwrap();
            let frame = at.checked_sub(HEADER_LEN).map(|at| at / (FRAME_HEADER_LEN + 4_096));
            let offset = frame.map_or(0, |frame| HEADER_LEN + frame * (FRAME_HEADER_LEN + 4_096)) as u64;
            assert_eq!(check_beside_gateway(&log).unwrap(), Some(offset), "byte {at}");
        }
        std::fs::write(&log, &whole[..whole.len() - 1]).unwrap();
        assert!(check_beside_gateway(&log).unwrap().is_some(), "it was cut");
        // Nothing behind the last commit is anybody's concern.
        std::fs::write(&log, [&whole[..], &[7; 9_000]].concat()).unwrap();
        assert_eq!(check_beside_gateway(&log).unwrap(), None);
    }

    /// F2: no false alarm, however often the log is begun again.
    #[test]
    fn b1_6_beside_a_gateway_that_commits_all_the_time_nothing_is_damage() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let directory = tempfile::tempdir().unwrap();
        let (writer, _reader, log) = written(directory.path());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stop = &stop;
            scope.spawn(move || {
                for number in 0.. {
                    writer.execute("INSERT INTO numbers VALUES (?1)", [number]).unwrap();
                    let mode = if number % 3 == 0 { "TRUNCATE" } else { "PASSIVE" };
                    let pragma = format!("PRAGMA wal_checkpoint({mode})");
                    writer.query_row(&pragma, [], |_| Ok(())).unwrap();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            for look in 0..2_000 {
                assert_eq!(check_beside_gateway(&log).unwrap(), None, "look {look}");
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn b1_6_blocks_of_zeros_are_no_frames() {
        assert_eq!(check_frames(&[0; 50_000][..]).unwrap(), None);
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
