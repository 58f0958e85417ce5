//! Rows that are not in a file yet: immutable chunks that readers share.

use std::sync::Arc;

use super::row::{KeyBounds, RowSink, Version};

/// Chunks below this size are merged as frames come, so that a flood of small frames leaves few chunks.
const MERGE_ROWS_MAX: usize = 4_096;

/// Rows in the order in which they were applied, with the bytes of their texts.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) rows: Vec<Version>,
    pub(super) texts: Vec<u8>,
    pub(super) bounds: KeyBounds,
}

impl Chunk {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), texts: Vec::new(), bounds: KeyBounds::EMPTY }
    }

    /// Takes over a row and its text.
    pub(super) fn push(&mut self, mut row: Version, text: &[u8]) {
        row.move_text(text, &mut self.texts);
        self.bounds.add(row.datastream, row.time_us);
        self.rows.push(row);
    }

    pub(super) fn give(&self, sink: &mut impl RowSink) {
        if !sink.may_match(&self.bounds) {
            return;
        }
        for row in &self.rows {
            if sink.matches(row.datastream, row.time_us) {
                sink.take(row, row.text(&self.texts));
            }
        }
    }

    fn merged(first: &Self, second: &Self) -> Self {
        let mut merged = Self::with_capacity(first.rows.len() + second.rows.len());
        merged.rows.extend_from_slice(&first.rows);
        merged.texts.reserve_exact(first.texts.len() + second.texts.len());
        merged.texts.extend_from_slice(&first.texts);
        merged.bounds = first.bounds;
        merged.bounds.merge(&second.bounds);
        if second.texts.is_empty() {
            merged.rows.extend_from_slice(&second.rows);
        } else {
            for row in &second.rows {
                let mut row = *row;
                let text = row.text(&second.texts);
                row.move_text(text, &mut merged.texts);
                merged.rows.push(row);
            }
        }
        merged
    }
}

/// The chunks in memory. The first `frozen` of them belong to a flush that is not committed yet.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) frozen: usize,
    pub(super) rows: u64,
    pub(super) text_bytes: u64,
}

impl Memory {
    /// Adds a chunk and merges small neighbours of similar size (as a binary counter carries): every row is copied at
    /// most log2 of [`MERGE_ROWS_MAX`] times.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.rows += chunk.rows.len() as u64;
        self.text_bytes += chunk.texts.len() as u64;
        self.chunks.push(Arc::new(chunk));
        while self.chunks.len() >= self.frozen + 2 {
            let last = &self.chunks[self.chunks.len() - 1];
            let before = &self.chunks[self.chunks.len() - 2];
            if before.rows.len() > last.rows.len() || before.rows.len() + last.rows.len() > MERGE_ROWS_MAX {
                break;
            }
            let merged = Arc::new(Chunk::merged(before, last));
            self.chunks.truncate(self.chunks.len() - 2);
            self.chunks.push(merged);
        }
    }

    /// Forgets the frozen chunks: their rows are in files that count.
    pub(super) fn drop_frozen(&mut self) {
        for chunk in self.chunks.drain(..self.frozen) {
            self.rows -= chunk.rows.len() as u64;
            self.text_bytes -= chunk.texts.len() as u64;
        }
        self.frozen = 0;
    }
}
