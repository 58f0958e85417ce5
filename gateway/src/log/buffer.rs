//! [`AlignedBuf`]: 4 KiB aligned bytes that grow up to a bound, so that `O_DIRECT` writes go straight from them.
//!
//! The first [`FRAME_HEADER_LEN`] bytes are kept free: the log writes the frame header there if the buffer becomes
//! the first part of a frame, else a pad record that readers skip. Memory is kept over [`AlignedBuf::clear`].

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

use crate::disk::BLOCK_BYTES;

use super::format::FRAME_HEADER_LEN;
use super::record::{KIND_PAD, RECORD_HEADER_LEN, record_header};

/// The bytes do not fit under the buffer's bound; nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record buffer is full")]
pub struct BufferFull;

pub struct AlignedBuf {
    pointer: NonNull<u8>,
    capacity: usize,
    capacity_max: usize,
    len: usize,
}

// SAFETY: the buffer owns its memory alone; nothing in it is tied to a thread.
unsafe impl Send for AlignedBuf {}
// SAFETY: a shared reference gives only `&[u8]`.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// An empty buffer that starts with one block and grows (doubling) up to `capacity_max`, rounded up to 4 KiB.
    pub fn new(capacity_max: usize) -> Self {
        Self::sized(BLOCK_BYTES, capacity_max)
    }

    /// An empty buffer that has its full capacity from the start and never grows.
    pub fn with_capacity(capacity: usize) -> Self {
        Self::sized(capacity, capacity)
    }

    fn sized(capacity: usize, capacity_max: usize) -> Self {
        let capacity_max = capacity_max.max(BLOCK_BYTES).next_multiple_of(BLOCK_BYTES);
        let capacity = capacity.clamp(BLOCK_BYTES, capacity_max).next_multiple_of(BLOCK_BYTES);
        Self { pointer: allocate(capacity), capacity, capacity_max, len: FRAME_HEADER_LEN }
    }

    /// Bytes used, the header room included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No bytes behind the header room.
    pub fn is_empty(&self) -> bool {
        self.len == FRAME_HEADER_LEN
    }

    /// Bytes that still fit under the bound.
    pub fn room(&self) -> usize {
        self.capacity_max - self.len
    }

    /// Forgets the content, keeps the memory.
    pub fn clear(&mut self) {
        self.len = FRAME_HEADER_LEN;
    }

    /// Everything, the header room included.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len ≤ capacity` bytes from `pointer` are ours and were initialised (zeros at least).
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.len) }
    }

    /// The bytes behind the header room: what [`super::records`] reads.
    pub fn payload(&self) -> &[u8] {
        &self.as_slice()[FRAME_HEADER_LEN..]
    }

    pub fn push(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.extend(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Adds `count` bytes for the caller to fill; what stands in them before is unspecified.
    pub fn extend(&mut self, count: usize) -> Result<&mut [u8], BufferFull> {
        if count > self.room() {
            return Err(BufferFull);
        }
        let start = self.len;
        if start + count > self.capacity {
            self.grow(start + count);
        }
        self.len = start + count;
        Ok(&mut self.as_mut_slice()[start..])
    }

    /// Adds one record: header, the parts of its body one behind the other, zeros up to 8 bytes.
    pub fn push_record(&mut self, kind: u8, flags: u8, user: u16, body: &[&[u8]]) -> Result<(), BufferFull> {
        let body_len: usize = body.iter().map(|part| part.len()).sum();
        let len = RECORD_HEADER_LEN + body_len;
        let header = record_header(u32::try_from(len).map_err(|_| BufferFull)?, kind, flags, user);
        let room = self.extend(len.next_multiple_of(8))?;
        room[..RECORD_HEADER_LEN].copy_from_slice(&header);
        let mut at = RECORD_HEADER_LEN;
        for part in body {
            room[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        room[at..].fill(0);
        Ok(())
    }

    /// Takes back everything behind `len` (a value that `len()` gave before).
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len.max(FRAME_HEADER_LEN));
    }

    /// Zeros up to the next 4 KiB: what makes the buffer a part of a frame.
    pub(crate) fn pad_to_block(&mut self) {
        let padded = self.len.next_multiple_of(BLOCK_BYTES);
        let start = self.len;
        // The capacity is a multiple of 4 KiB, so the padded length fits without growing.
        self.len = padded;
        self.as_mut_slice()[start..].fill(0);
    }

    /// What stands in the header room of a part that is not the first: a record to skip.
    pub(crate) fn put_pad_header(&mut self) {
        let header = &mut self.as_mut_slice()[..FRAME_HEADER_LEN];
        header.fill(0);
        header[..RECORD_HEADER_LEN].copy_from_slice(&record_header(FRAME_HEADER_LEN as u32, KIND_PAD, 0, 0));
    }

    fn grow(&mut self, needed: usize) {
        let capacity = needed.max(self.capacity * 2).next_multiple_of(BLOCK_BYTES).min(self.capacity_max);
        let pointer = allocate(capacity);
        // SAFETY: both areas are ours, apart from one another, and at least `len` bytes long.
        unsafe { pointer.as_ptr().copy_from_nonoverlapping(self.pointer.as_ptr(), self.len) };
        // SAFETY: allocated by `allocate` with the same capacity, and replaced below.
        unsafe { dealloc(self.pointer.as_ptr(), layout(self.capacity)) };
        self.pointer = pointer;
        self.capacity = capacity;
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated by `allocate` with the same capacity; not used any more.
        unsafe { dealloc(self.pointer.as_ptr(), layout(self.capacity)) };
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "AlignedBuf {{ len: {}, capacity: {}, capacity_max: {} }}",
            self.len, self.capacity, self.capacity_max
        )
    }
}

fn layout(capacity: usize) -> Layout {
    // A capacity above `isize::MAX` is the only way to fail, and no machine has that much memory.
    Layout::from_size_align(capacity, BLOCK_BYTES).expect("a buffer's capacity is below isize::MAX")
}

fn allocate(capacity: usize) -> NonNull<u8> {
    let layout = layout(capacity);
    // SAFETY: the layout's size is at least one block, never zero.
    let pointer = unsafe { alloc_zeroed(layout) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout))
}
