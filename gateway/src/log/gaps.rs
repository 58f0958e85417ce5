//! Damage that an operator accepted (`--accept-gap`): remembered beside the segments, so that readers pass it and the
//! next start does not ask again.
//!
//! The file `accepted-damage` is text: a first line with the version, one line per entry, a last line with the CRC-32C
//! of all lines before it.

use std::fmt::Write as _;
use std::io;

use super::LogError;
use super::segment::io_error;
use crate::disk::{Disk, join, read_file, write_file_durably};

const FILE_NAME: &str = "accepted-damage";
const FIRST_LINE: &str = "accepted damage 1";
/// More damage than this is no log any more.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Frames that are missing in the middle of a log, all numbers inclusive. Where the beginning of the log is damaged,
/// the first numbers are 0: how much stood there is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub first_frame_no: u64,
    pub last_frame_no: u64,
    pub first_record_no: u64,
    pub last_record_no: u64,
    pub first_message_no: u64,
    pub last_message_no: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AcceptedDamage {
    pub(crate) gaps: Vec<Gap>,
    /// Epochs of segments with a damaged header; their frames are read all the same.
    pub(crate) headers: Vec<u64>,
    /// Whatever is found is accepted.
    pub(crate) everything: bool,
}

impl AcceptedDamage {
    pub(crate) fn load(disk: &dyn Disk, dir: &str) -> Result<Self, LogError> {
        let path = join(dir, FILE_NAME);
        match read_file(disk, &path, FILE_BYTES_MAX) {
            Ok(bytes) => parse(&bytes).ok_or(LogError::AcceptedDamage { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(io_error(&path, "reading", source)),
        }
    }

    pub(crate) fn store(&self, disk: &dyn Disk, dir: &str) -> Result<(), LogError> {
        let path = join(dir, FILE_NAME);
        write_file_durably(disk, &path, self.text().as_bytes())
            .map_err(|source| io_error(&path, "writing", source))
    }

    pub(crate) fn takes_header(&self, epoch: u64) -> bool {
        self.everything || self.headers.contains(&epoch)
    }

    /// Whether this gap was accepted before. When segments before a gap have been released, only its end is known.
    pub(crate) fn covers(&self, gap: &Gap) -> bool {
        let ends_alike = |known: &Gap| gap.first_frame_no == 0 && known.last_frame_no == gap.last_frame_no;
        self.gaps.iter().any(|known| known == gap || ends_alike(known))
    }

    /// The accepted gap that starts with this frame.
    pub(crate) fn gap_at(&self, frame_no: u64) -> Option<&Gap> {
        self.gaps.iter().find(|gap| gap.first_frame_no == frame_no)
    }

    fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        for gap in &self.gaps {
            let frames = (gap.first_frame_no, gap.last_frame_no);
            let records = (gap.first_record_no, gap.last_record_no);
            let messages = (gap.first_message_no, gap.last_message_no);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "gap {} {} {} {} {} {}",
                frames.0, frames.1, records.0, records.1, messages.0, messages.1
            );
        }
        for epoch in &self.headers {
            let _ = writeln!(text, "header {epoch}");
        }
        let crc = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "crc32c {crc:08x}");
        text
    }
}

fn parse(bytes: &[u8]) -> Option<AcceptedDamage> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let sum = u32::from_str_radix(sum.strip_prefix("crc32c ")?, 16).ok()?;
    if crc32c::crc32c(&bytes[..=body.len()]) != sum {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let mut damage = AcceptedDamage::default();
    for line in lines {
        let (what, numbers) = line.split_once(' ')?;
        let numbers: Vec<u64> = numbers.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        match (what, &numbers[..]) {
            ("gap", &[frame, last_frame, record, last_record, message, last_message]) => {
                damage.gaps.push(Gap {
                    first_frame_no: frame,
                    last_frame_no: last_frame,
                    first_record_no: record,
                    last_record_no: last_record,
                    first_message_no: message,
                    last_message_no: last_message,
                })
            }
            ("header", &[epoch]) => damage.headers.push(epoch),
            _ => return None,
        }
    }
    Some(damage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    #[test]
    fn accepted_damage_comes_back_and_a_changed_file_is_refused() {
        let disk = SimDisk::new(1);
        disk.create_dir("journal").unwrap();
        assert_eq!(AcceptedDamage::load(&disk, "journal").unwrap(), AcceptedDamage::default());
        let gap = Gap {
            first_frame_no: 3,
            last_frame_no: 4,
            first_record_no: 10,
            last_record_no: 25,
            first_message_no: 9,
            last_message_no: 20,
        };
        let damage = AcceptedDamage { gaps: vec![gap], headers: vec![7], everything: false };
        damage.store(&disk, "journal").unwrap();
        assert_eq!(AcceptedDamage::load(&disk, "journal").unwrap(), damage);
        disk.damage("journal/accepted-damage", 22, b"5").unwrap();
        let refused = AcceptedDamage::load(&disk, "journal");
        assert!(matches!(refused, Err(LogError::AcceptedDamage { .. })), "{refused:?}");
    }
}
