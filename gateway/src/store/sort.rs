//! Puts the rows of a flush in file order: (datastream, time, ordinal, revision).

use std::cmp::Ordering;
use std::sync::Arc;

use super::memory::Chunk;
use super::row::Version;

/// Where a row lies among the chunks of a flush, with its time for sorting.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) time_us: i64,
    chunk: u32,
    row: u32,
}

impl Place {
    pub(super) fn row<'a>(&self, chunks: &'a [Arc<Chunk>]) -> &'a Version {
        &chunks[self.chunk as usize].rows[self.row as usize]
    }

    /// The row with the bytes of its text.
    pub(super) fn row_and_text<'a>(&self, chunks: &'a [Arc<Chunk>]) -> (&'a Version, &'a [u8]) {
        let chunk = &chunks[self.chunk as usize];
        let row = &chunk.rows[self.row as usize];
        (row, row.text(&chunk.texts))
    }
}

/// All rows of the chunks in file order.
///
/// Datastream ids are dense and each datastream's rows come mostly in order, so this is a counting sort by datastream and
/// a check of each datastream's times; only what is out of order there is compared and moved.
pub(super) fn places_in_file_order(chunks: &[Arc<Chunk>]) -> Vec<Place> {
    let row_count: usize = chunks.iter().map(|chunk| chunk.rows.len()).sum();
    let min = chunks.iter().map(|chunk| chunk.bounds.datastream_min).min().unwrap_or(0);
    let max = chunks.iter().map(|chunk| chunk.bounds.datastream_max).max().unwrap_or(0);
    let span = max.saturating_sub(min) as usize + 1;
    if row_count == 0 {
        return Vec::new();
    }
    if span > 65_536 + 4 * row_count {
        return by_comparison(chunks, row_count);
    }
    let mut ends = vec![0u32; span + 1];
    for row in chunks.iter().flat_map(|chunk| &chunk.rows) {
        ends[(row.datastream - min) as usize + 1] += 1;
    }
    for at in 1..ends.len() {
        ends[at] += ends[at - 1];
    }
    // `ends[d]` is where the next row of datastream d goes; in the end it is where d's rows end.
    let mut places = vec![Place::default(); row_count];
    for_each_place(chunks, |row, place| {
        let end = &mut ends[(row.datastream - min) as usize];
        places[*end as usize] = place;
        *end += 1;
    });
    let mut start = 0;
    for end in &ends[..span] {
        let end = *end as usize;
        sort_one_datastream(&mut places[start..end], chunks);
        start = end;
    }
    places
}

fn by_comparison(chunks: &[Arc<Chunk>], row_count: usize) -> Vec<Place> {
    let mut places = Vec::with_capacity(row_count);
    for_each_place(chunks, |_, place| places.push(place));
    places.sort_by(|a, b| {
        let datastreams = a.row(chunks).datastream.cmp(&b.row(chunks).datastream);
        datastreams.then_with(|| within_datastream(a, b, chunks))
    });
    places
}

fn for_each_place(chunks: &[Arc<Chunk>], mut take: impl FnMut(&Version, Place)) {
    for (chunk_no, chunk) in chunks.iter().enumerate() {
        for (row_no, row) in chunk.rows.iter().enumerate() {
            take(row, Place { time_us: row.time_us, chunk: chunk_no as u32, row: row_no as u32 });
        }
    }
}

fn sort_one_datastream(places: &mut [Place], chunks: &[Arc<Chunk>]) {
    if !places.is_sorted_by(|a, b| a.time_us < b.time_us) {
        places.sort_by(|a, b| within_datastream(a, b, chunks));
    }
}

fn within_datastream(a: &Place, b: &Place, chunks: &[Arc<Chunk>]) -> Ordering {
    a.time_us.cmp(&b.time_us).then_with(|| {
        let (a, b) = (a.row(chunks), b.row(chunks));
        (a.ordinal, a.revision).cmp(&(b.ordinal, b.revision))
    })
}
