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
    /// Where the record starts in the bytes given to [`records`].
    pub offset: usize,
    pub kind: u8,
    pub flags: u8,
    /// Free for the record's kind.
    pub user: u16,
    pub body: &'a [u8],
}

/// The bytes are not records. In a frame whose checksum is right this is a bug of its writer, not damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no record at byte {offset} of the payload: length {len} with {available} bytes left")]
pub struct RecordError {
    pub offset: usize,
    pub len: u32,
    pub available: usize,
}

/// The records of a frame's payload (the bytes behind the frame header), or of one part's. Pad records are skipped.
/// An error is the last item.
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
            let offset = self.offset;
            let rest = self.payload.get(offset..).unwrap_or_default();
            let Some((header, _)) = rest.split_first_chunk::<RECORD_HEADER_LEN>() else {
                return if rest.is_empty() { None } else { Some(Err(self.fail(0, rest.len()))) };
            };
            let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            if len == 0 {
                // The payload starts behind the frame header, so boundaries lie that much earlier in it.
                self.offset =
                    (offset + FRAME_HEADER_LEN + 1).next_multiple_of(BLOCK_BYTES) - FRAME_HEADER_LEN;
                continue;
            }
            let total = len as usize;
            if total < RECORD_HEADER_LEN || total > rest.len() {
                return Some(Err(self.fail(len, rest.len())));
            }
            self.offset += total.next_multiple_of(8);
            if header[4] != KIND_PAD {
                return Some(Ok(Record {
                    offset,
                    kind: header[4],
                    flags: header[5],
                    user: u16::from_le_bytes([header[6], header[7]]),
                    body: &rest[RECORD_HEADER_LEN..total],
                }));
            }
        }
    }
}

impl Records<'_> {
    #[cold]
    fn fail(&mut self, len: u32, available: usize) -> RecordError {
        let offset = std::mem::replace(&mut self.offset, self.payload.len());
        RecordError { offset, len, available }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::AlignedBuf;
    use proptest::prelude::*;

    #[test]
    fn records_come_back_with_pads_skipped() {
        let mut buffer = AlignedBuf::new(1 << 16);
        buffer.push_record(1, 2, 3, &[b"abc", b"defgh"]).unwrap();
        buffer.push_record(KIND_PAD, 0, 0, &[&[9; 20]]).unwrap();
        buffer.push_record(7, 0, 65535, &[]).unwrap();
        buffer.pad_to_block();
        buffer.push_record(8, 0, 0, &[&[5; 5000]]).unwrap();
        let found: Vec<_> = records(buffer.payload()).collect::<Result<_, _>>().unwrap();
        let found: Vec<_> =
            found.iter().map(|record| (record.kind, record.flags, record.user, record.body.len())).collect();
        assert_eq!(found, [(1, 2, 3, 8), (7, 0, 65535, 0), (8, 0, 0, 5000)]);
        let again = records(buffer.payload()).nth(1).unwrap().unwrap();
        assert_eq!(records(&buffer.payload()[again.offset..]).next().unwrap().unwrap().user, 65535);
    }

    #[test]
    fn wrong_lengths_end_with_an_error() {
        for (bytes, len) in
            [(&[7u8, 0, 0, 0, 1, 0, 0, 0][..], 7), (&[16, 0, 0, 0, 1, 0, 0, 0][..], 16), (&[1, 2, 3][..], 0)]
        {
            let mut all = records(bytes);
            assert_eq!(all.next(), Some(Err(RecordError { offset: 0, len, available: bytes.len() })));
            assert_eq!(all.next(), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let total: usize = records(&bytes).flatten().map(|record| record.body.len() + RECORD_HEADER_LEN).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}
