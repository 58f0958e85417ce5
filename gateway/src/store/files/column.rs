//! Column chunks that are encoded here, not by the parquet crate: the store knows more about them. Most columns hold few
//! different values in long runs, and the store already has numbers for them, so nothing needs to be hashed again.
//!
//! A chunk is a dictionary page (PLAIN) and data pages (v1) of [`PAGE_ROWS`] rows, not compressed: definition levels
//! where the column is optional, then indices or plain values.

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parquet::basic::{BoundaryOrder, Compression, Encoding, Type};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use std::hash::BuildHasher;
use std::io::Write;

use super::levels::{encode_hybrid, width_of};
use super::schema::PAGE_ROWS;

/// Index of a null.
pub(super) const NULL: u32 = u32::MAX;

/// Distinct numbers of a row group from which they are written plainly.
const NUMBERS_MAX: usize = 8_192;
const NUMBER_SLOT_BITS: u32 = 14;

/// Numbers the distinct values of a row group in the order in which they first appear.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    indices: HashMap<u32, u32, RandomState>,
    pub(super) values: Vec<u32>,
    /// What the rows hold, [`NULL`] for none.
    pub(super) rows: Vec<u32>,
    last: Option<(u32, u32)>,
}

impl Numbering {
    pub(super) fn clear(&mut self) {
        self.indices.clear();
        self.values.clear();
        self.rows.clear();
        self.last = None;
    }

    pub(super) fn extend(&mut self, values: impl Iterator<Item = u32>) {
        let Self { indices, values: distinct, rows, last } = self;
        let (mut last_value, mut last_index) = last.unwrap_or((0, NULL));
        rows.extend(values.map(|value| {
            if value != last_value || last_index == NULL {
                last_value = value;
                last_index = *indices.entry(value).or_insert_with(|| {
                    distinct.push(value);
                    distinct.len() as u32 - 1
                });
            }
            last_index
        }));
        *last = (last_index != NULL).then_some((last_value, last_index));
    }

    /// As [`Self::extend`], where 0 stands for null.
    pub(super) fn extend_optional(&mut self, values: impl Iterator<Item = u32>) {
        let from = self.rows.len();
        self.extend(values);
        if let Some(null) = self.indices.get(&0).copied() {
            for row in &mut self.rows[from..] {
                if *row == null {
                    *row = NULL;
                }
            }
        }
    }
}

/// Numbers the distinct results of a row group, until they are too many.
#[derive(Debug)]
pub(super) struct Numbers {
    /// Index + 1 into `values`; 0 = free.
    slots: Vec<u16>,
    /// Odd and random, so that nobody can choose numbers that collide.
    multiplier: u64,
    values: Vec<u64>,
    indices: Vec<u32>,
    /// Bits of the numbers, without nulls.
    plain: Vec<u64>,
    present: Vec<bool>,
    has_dictionary: bool,
}

impl Numbers {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![0; 1 << NUMBER_SLOT_BITS],
            multiplier: RandomState::default().hash_one(0) | 1,
            values: Vec::new(),
            indices: Vec::new(),
            plain: Vec::new(),
            present: Vec::new(),
            has_dictionary: true,
        }
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill(0);
        self.values.clear();
        self.indices.clear();
        self.plain.clear();
        self.present.clear();
        self.has_dictionary = true;
    }

    pub(super) fn push(&mut self, number: Option<u64>) {
        self.present.push(number.is_some());
        let Some(bits) = number else {
            if self.has_dictionary {
                self.indices.push(NULL);
            }
            return;
        };
        self.plain.push(bits);
        if self.has_dictionary {
            match self.index_of(bits) {
                Some(index) => self.indices.push(index),
                None => self.has_dictionary = false,
            }
        }
    }

    fn index_of(&mut self, bits: u64) -> Option<u32> {
        let mut slot = (bits.wrapping_mul(self.multiplier) >> (64 - NUMBER_SLOT_BITS)) as usize;
        loop {
            let held = usize::from(self.slots[slot]);
            if held == 0 {
                if self.values.len() == NUMBERS_MAX {
                    return None;
                }
                self.values.push(bits);
                self.slots[slot] = self.values.len() as u16;
                return Some(self.values.len() as u32 - 1);
            }
            if self.values[held - 1] == bits {
                return Some(held as u32 - 1);
            }
            slot = (slot + 1) % self.slots.len();
        }
    }

    pub(super) fn append<W: Write + Send>(
        &self,
        group: &mut SerializedRowGroupWriter<'_, W>,
        descr: &ColumnDescPtr,
    ) -> Result<()> {
        if self.has_dictionary {
            return append_dictionary(
                group,
                descr,
                bytemuck::cast_slice(&self.values),
                self.values.len(),
                &self.indices,
            );
        }
        let mut chunk = ChunkBuilder::new();
        let mut values = &self.plain[..];
        for present in self.present.chunks(PAGE_ROWS) {
            let count = present.iter().filter(|present| **present).count();
            let (page, rest) = values.split_at(count);
            values = rest;
            let mut body = Vec::with_capacity(count * 8 + PAGE_ROWS / 8 + 16);
            put_levels(count, present.len(), present.iter().map(|present| u32::from(*present)), &mut body);
            body.extend_from_slice(bytemuck::cast_slice(page));
            chunk.data_page(body, present.len(), Encoding::PLAIN)?;
        }
        chunk.append(group, descr, None)
    }
}

/// Appends a column of dictionary indices; `dictionary` holds `count` values in PLAIN encoding.
pub(super) fn append_dictionary<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    descr: &ColumnDescPtr,
    dictionary: &[u8],
    count: usize,
    rows: &[u32],
) -> Result<()> {
    dictionary_chunk(descr, dictionary, count, rows)?.append(group, descr, None)
}

/// Appends a required column of ascending INT32 values, with statistics and column index.
pub(super) fn append_ascending<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    descr: &ColumnDescPtr,
    values: &[u32],
    rows: &[u32],
) -> Result<()> {
    let mut index = ColumnIndexBuilder::new(Type::INT32);
    index.set_boundary_order(BoundaryOrder::ASCENDING);
    let bounds = |rows: &[u32]| {
        let value = |row: Option<&u32>| row.map_or(0, |row| values[*row as usize] as i32);
        (value(rows.first()), value(rows.last()))
    };
    for page in rows.chunks(PAGE_ROWS) {
        let (min, max) = bounds(page);
        index.append(false, min.to_le_bytes().to_vec(), max.to_le_bytes().to_vec(), 0, None);
    }
    let (min, max) = bounds(rows);
    let statistics = Statistics::int32(Some(min), Some(max), None, Some(0), false);
    let chunk = dictionary_chunk(descr, bytemuck::cast_slice(values), values.len(), rows)?;
    chunk.append(group, descr, Some((statistics, index.build()?)))
}

/// Appends a column without a single value.
pub(super) fn append_nulls<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    descr: &ColumnDescPtr,
    row_count: usize,
) -> Result<()> {
    let mut chunk = ChunkBuilder::new();
    let mut left = row_count;
    while left > 0 {
        let rows = left.min(PAGE_ROWS);
        let mut body = Vec::with_capacity(8);
        put_levels(0, rows, std::iter::empty(), &mut body);
        chunk.data_page(body, rows, Encoding::PLAIN)?;
        left -= rows;
    }
    chunk.append(group, descr, None)
}

fn dictionary_chunk(
    descr: &ColumnDescPtr,
    dictionary: &[u8],
    count: usize,
    rows: &[u32],
) -> Result<ChunkBuilder> {
    let mut chunk = ChunkBuilder::new();
    chunk.dictionary_page(dictionary, count)?;
    // A width of zero is legal and not every reader takes it.
    let width = width_of(count).max(1);
    let optional = descr.max_def_level() > 0;
    let mut present = Vec::new();
    for page in rows.chunks(PAGE_ROWS) {
        let mut body = Vec::with_capacity(page.len() * usize::from(width) / 8 + 64);
        let mut indices = page;
        if optional {
            let count = page.iter().filter(|row| **row != NULL).count();
            put_levels(count, page.len(), page.iter().map(|row| u32::from(*row != NULL)), &mut body);
            if count < page.len() {
                present.clear();
                present.extend(page.iter().copied().filter(|row| *row != NULL));
                indices = &present;
            }
        }
        body.push(width);
        encode_hybrid(indices, width, &mut body);
        chunk.data_page(body, page.len(), Encoding::RLE_DICTIONARY)?;
    }
    Ok(chunk)
}

/// Definition levels of a page of `rows` rows of which `present` have a value, behind their length.
fn put_levels(present: usize, rows: usize, levels: impl Iterator<Item = u32>, body: &mut Vec<u8>) {
    let at = body.len();
    body.extend_from_slice(&[0; 4]);
    if present == 0 || present == rows {
        let level = u32::from(present > 0);
        encode_hybrid(&[level; PAGE_ROWS][..rows], 1, body);
    } else {
        let levels: Vec<u32> = levels.collect();
        encode_hybrid(&levels, 1, body);
    }
    let len = (body.len() - at - 4) as u32;
    body[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// Collects the pages of one column chunk.
struct ChunkBuilder {
    sink: TrackedWrite<Vec<u8>>,
    dictionary_bytes: Option<usize>,
    encodings: Vec<Encoding>,
    offsets: OffsetIndexBuilder,
    rows: usize,
}

impl ChunkBuilder {
    fn new() -> Self {
        Self {
            sink: TrackedWrite::new(Vec::new()),
            dictionary_bytes: None,
            encodings: vec![Encoding::RLE],
            offsets: OffsetIndexBuilder::new(),
            rows: 0,
        }
    }

    fn dictionary_page(&mut self, values: &[u8], count: usize) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: Bytes::copy_from_slice(values),
            num_values: count as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let spec =
            SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, values.len()))?;
        self.dictionary_bytes = Some(spec.bytes_written as usize);
        self.encodings.push(Encoding::PLAIN);
        Ok(())
    }

    fn data_page(&mut self, body: Vec<u8>, rows: usize, encoding: Encoding) -> Result<()> {
        let len = body.len();
        let page = Page::DataPage {
            buf: Bytes::from(body),
            num_values: rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, len))?;
        self.offsets.append_row_count(rows as i64);
        self.offsets.append_offset_and_size(spec.offset as i64, spec.bytes_written as i32);
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
        self.rows += rows;
        Ok(())
    }

    fn append<W: Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
        descr: &ColumnDescPtr,
        index: Option<(Statistics, ColumnIndexMetaData)>,
    ) -> Result<()> {
        let bytes = self.sink.into_inner()?;
        let mut metadata = ColumnChunkMetaData::builder(descr.clone())
            .set_compression(Compression::UNCOMPRESSED)
            .set_encodings(self.encodings)
            .set_num_values(self.rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(bytes.len() as i64)
            .set_dictionary_page_offset(self.dictionary_bytes.map(|_| 0))
            .set_data_page_offset(self.dictionary_bytes.unwrap_or(0) as i64);
        let mut column_index = None;
        if let Some((statistics, index)) = index {
            metadata = metadata.set_statistics(statistics);
            column_index = Some(index);
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.offsets.build()),
        };
        group.append_column(&Bytes::from(bytes), close)
    }
}
