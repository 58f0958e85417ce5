//! Records inside a frame: `{u32 len; u8 kind; u8 flags; u16 user}` then the body; `len` counts header and body, and
//! the next record starts at the next multiple of 8. A `len` of 0 means: nothing more up to the next 4 KiB boundary.

use crate::disk::BLOCK_BYTES;

use super::format::FRAME_HEADER_LEN;

/// Bytes of a record header.
pub const RECORD_HEADER_LEN: usize = 8;
/// A record to skip; it has no number.
pub const KIND_PAD: u8 = 0;
/// The kind that `message_no` counts in the journal.
pub const KIND_MESSAGE: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub kind: u8,
    pub flags: u8,
    /// Free for the record's kind.
    pub user: u16,
    pub body: &'a [u8],
}

/// The bytes are not records. In a frame whose checksum is right this is a bug of the writer, not damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no record at byte {offset} of the frame: length {len} with {available} bytes left")]
pub struct RecordError {
    pub offset: usize,
    pub len: u32,
    pub available: usize,
}

/// The records of a frame's payload (the bytes behind the frame header), or of one part's.
pub fn records(payload: &[u8]) -> Records<'_> {
    Records { payload, offset: 0 }
}

#[derive(Clone, Debug)]
pub struct Records<'a> {
    payload: &'a [u8],
    offset: usize,
}

pub(crate) fn record_header(len: u32, kind: u8, flags: u8, user: u16) -> [u8; RECORD_HEADER_LEN] {
    let len = len.to_le_bytes();
    let user = user.to_le_bytes();
    [len[0], len[1], len[2], len[3], kind, flags, user[0], user[1]]
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.payload.get(self.offset..).unwrap_or_default();
            let Some((header, _)) = rest.split_first_chunk::<RECORD_HEADER_LEN>() else {
                if rest.is_empty() {
                    return None;
                }
                return Some(Err(self.fail(0, rest.len())));
            };
            let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            if len == 0 {
                // The payload starts behind the frame header, so boundaries lie that much earlier in it.
                let in_frame = self.offset + FRAME_HEADER_LEN;
                self.offset = (in_frame + 1).next_multiple_of(BLOCK_BYTES) - FRAME_HEADER_LEN;
                continue;
            }
            let total = len as usize;
            if total < RECORD_HEADER_LEN || total > rest.len() {
                return Some(Err(self.fail(len, rest.len())));
            }
            self.offset += total.next_multiple_of(8);
            if header[4] == KIND_PAD {
                continue;
            }
            return Some(Ok(Record {
                kind: header[4],
                flags: header[5],
                user: u16::from_le_bytes([header[6], header[7]]),
                body: &rest[RECORD_HEADER_LEN..total],
            }));
        }
    }
}

impl Records<'_> {
    /// Where the next record would start, from the start of the payload.
    pub fn offset(&self) -> usize {
        self.offset
    }

    #[cold]
    fn fail(&mut self, len: u32, available: usize) -> RecordError {
        let offset = self.offset + FRAME_HEADER_LEN;
        self.offset = self.payload.len();
        RecordError { offset, len, available }
    }
}
