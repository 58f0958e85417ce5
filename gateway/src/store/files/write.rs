//! Writes one sorted run as one Parquet file.

use std::io::{self, IoSlice, Write};
use std::mem;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{SchemaDescriptor, TypePtr};

use super::super::memory::Chunk;
use super::super::row::{KeyBounds, Version};
use super::super::sort::Place;
use super::column::{Numbering, Numbers, append_ascending, append_dictionary, append_nulls};
use super::schema::{self, PAGE_ROWS, ROW_GROUP_ROWS};
use crate::disk::DiskFile;
use crate::observation::ResultKind;
use crate::registry::{Registry, SharedRegistry};

/// Bytes that are collected before they go to the disk.
const WRITE_BYTES: usize = 1 << 20;

/// What all files share; made once.
#[derive(Debug)]
pub(in super::super) struct WriterParts {
    schema: TypePtr,
    descr: SchemaDescriptor,
    properties: WriterPropertiesPtr,
    columns: Columns,
    page: Vec<Version>,
}

impl WriterParts {
    pub(in super::super) fn new() -> Result<Self> {
        let schema = schema::schema()?;
        Ok(Self {
            descr: SchemaDescriptor::new(schema.clone()),
            schema,
            properties: schema::writer_properties(),
            columns: Columns::new(),
            page: Vec::with_capacity(PAGE_ROWS),
        })
    }
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Written {
    pub(in super::super) bytes: u64,
    /// Of all bytes of the file.
    pub(in super::super) crc32c: u32,
    pub(in super::super) bounds: KeyBounds,
}

/// Writes the rows at `places`, which are in file order, into a new file and syncs it.
pub(in super::super) fn write_file(
    parts: &mut WriterParts,
    registry: &SharedRegistry,
    file: Box<dyn DiskFile>,
    places: &[Place],
    chunks: &[Arc<Chunk>],
) -> Result<Written> {
    let sink = FileSink { file, buffer: Vec::with_capacity(WRITE_BYTES), offset: 0, crc32c: 0 };
    let mut writer = SerializedFileWriter::new(sink, parts.schema.clone(), parts.properties.clone())?;
    let mut bounds = KeyBounds::EMPTY;
    for group_places in places.chunks(ROW_GROUP_ROWS) {
        let WriterParts { columns, page, descr, .. } = parts;
        columns.clear();
        for page_places in group_places.chunks(PAGE_ROWS) {
            page.clear();
            page.extend(page_places.iter().map(|place| *place.row(chunks)));
            columns.push_page(page);
            for (place, row) in page_places.iter().zip(page.iter()) {
                bounds.add(row.datastream, row.time_us);
                if row.kind() == ResultKind::Text {
                    columns.texts.push(place.row_and_text(chunks).1);
                }
            }
        }
        columns.look_up(&registry.read().unwrap_or_else(PoisonError::into_inner));
        let mut group = writer.next_row_group()?;
        columns.append(&mut group, descr)?;
        group.close()?;
    }
    writer.finish()?;
    let sink = writer.inner_mut();
    let bytes = sink.finish()?;
    Ok(Written { bytes, crc32c: sink.crc32c, bounds })
}

/// Text results of a row group.
#[derive(Debug, Default)]
struct Texts {
    arena: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.arena.extend_from_slice(text);
        self.ends.push(self.arena.len());
    }

    fn take(&mut self) -> Vec<ByteArray> {
        let arena = Bytes::from(mem::take(&mut self.arena));
        let mut start = 0;
        let values = self.ends.drain(..).map(|end| {
            let text = arena.slice(start..end);
            start = end;
            ByteArray::from(text)
        });
        values.collect()
    }
}

/// The rows of one row group, column by column.
#[derive(Debug)]
struct Columns {
    datastreams: Numbering,
    times: Vec<i64>,
    ordinals: Numbering,
    revisions: Numbering,
    ranks: Numbering,
    kinds: Numbering,
    numbers: Numbers,
    texts: Texts,
    /// Definition levels of the text and the boolean column.
    text_levels: Vec<i16>,
    booleans: Vec<bool>,
    boolean_levels: Vec<i16>,
    units: Numbering,
    statuses: Numbering,
    qualities: Numbering,
    flags: Numbering,
    seqs: Vec<i64>,
    seq_levels: Vec<i16>,
    positions: Vec<i64>,
    result_times: Vec<i64>,
    /// Dictionary pages of the columns whose values are in the registry.
    datastream_names: Vec<u8>,
    period_values: Vec<u32>,
    unit_texts: Vec<u8>,
    status_texts: Vec<u8>,
}

impl Columns {
    fn new() -> Self {
        Self {
            datastreams: Numbering::default(),
            times: Vec::new(),
            ordinals: Numbering::default(),
            revisions: Numbering::default(),
            ranks: Numbering::default(),
            kinds: Numbering::default(),
            numbers: Numbers::new(),
            texts: Texts::default(),
            text_levels: Vec::new(),
            booleans: Vec::new(),
            boolean_levels: Vec::new(),
            units: Numbering::default(),
            statuses: Numbering::default(),
            qualities: Numbering::default(),
            flags: Numbering::default(),
            seqs: Vec::new(),
            seq_levels: Vec::new(),
            positions: Vec::new(),
            result_times: Vec::new(),
            datastream_names: Vec::new(),
            period_values: Vec::new(),
            unit_texts: Vec::new(),
            status_texts: Vec::new(),
        }
    }

    fn clear(&mut self) {
        for numbering in [
            &mut self.datastreams,
            &mut self.ordinals,
            &mut self.revisions,
            &mut self.ranks,
            &mut self.kinds,
            &mut self.units,
            &mut self.statuses,
            &mut self.qualities,
            &mut self.flags,
        ] {
            numbering.clear();
        }
        self.numbers.clear();
        for values in [&mut self.times, &mut self.seqs, &mut self.positions, &mut self.result_times] {
            values.clear();
        }
        for levels in [&mut self.text_levels, &mut self.boolean_levels, &mut self.seq_levels] {
            levels.clear();
        }
        self.booleans.clear();
    }

    /// Adds the rows of a page, which fit in the cache, column by column.
    fn push_page(&mut self, rows: &[Version]) {
        self.datastreams.extend(rows.iter().map(|row| row.datastream));
        self.times.extend(rows.iter().map(|row| row.time_us));
        self.ordinals.extend(rows.iter().map(|row| u32::from(row.ordinal)));
        self.revisions.extend(rows.iter().map(|row| row.revision));
        self.ranks.extend(rows.iter().map(|row| u32::from(row.rank)));
        self.kinds.extend(rows.iter().map(|row| u32::from(row.kind)));
        for row in rows {
            self.numbers.push((row.kind() == ResultKind::Number).then_some(row.value));
        }
        self.text_levels.extend(rows.iter().map(|row| i16::from(row.kind() == ResultKind::Text)));
        let is_boolean = |row: &&Version| row.kind() == ResultKind::Boolean;
        self.booleans.extend(rows.iter().filter(is_boolean).map(|row| row.value != 0));
        self.boolean_levels.extend(rows.iter().map(|row| i16::from(is_boolean(&row))));
        self.units.extend_optional(rows.iter().map(|row| row.unit));
        self.statuses.extend_optional(rows.iter().map(|row| row.status));
        self.qualities.extend(rows.iter().map(|row| u32::from(row.quality)));
        self.flags.extend(rows.iter().map(|row| u32::from(row.flags)));
        self.seqs.extend(rows.iter().filter_map(|row| row.seq_plus_1.checked_sub(1)).map(|seq| seq as i64));
        self.seq_levels.extend(rows.iter().map(|row| i16::from(row.seq_plus_1 > 0)));
        self.positions.extend(rows.iter().map(|row| row.position as i64));
        self.result_times.extend(rows.iter().map(|row| row.result_time_us));
    }

    /// Names, periods, units and statuses of the row group.
    fn look_up(&mut self, registry: &Registry) {
        self.datastream_names.clear();
        self.period_values.clear();
        for id in &self.datastreams.values {
            // Rows follow the definitions of what they name; an id that is not there would be a bug of the pipeline, and
            // its rows are then found by id only.
            let datastream = registry.datastreams().get(*id as usize);
            put_plain(datastream.map_or("", |datastream| &datastream.name), &mut self.datastream_names);
            self.period_values.push(datastream.map_or(0, |datastream| datastream.period_s));
        }
        for (symbols, texts) in
            [(&self.units, &mut self.unit_texts), (&self.statuses, &mut self.status_texts)]
        {
            texts.clear();
            for id in &symbols.values {
                put_plain(if *id < registry.symbol_count() { registry.symbol(*id) } else { "" }, texts);
            }
        }
    }

    /// Appends all columns in the order of the schema.
    fn append<W: Write + Send>(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, W>,
        descr: &SchemaDescriptor,
    ) -> Result<()> {
        let column = |at: usize| descr.column(at);
        let rows = self.times.len();
        let datastreams = &self.datastreams;
        let count = datastreams.values.len();
        append_dictionary(
            group,
            &column(schema::DATASTREAM),
            &self.datastream_names,
            count,
            &datastreams.rows,
        )?;
        append_ascending(group, &column(schema::DATASTREAM_ID), &datastreams.values, &datastreams.rows)?;
        append_crate_column(group, &self.times, None)?;
        append_integers(group, &column(schema::ORDINAL), &self.ordinals)?;
        append_integers(group, &column(schema::REVISION), &self.revisions)?;
        append_integers(group, &column(schema::RANK), &self.ranks)?;
        let periods = bytemuck::cast_slice(&self.period_values);
        append_dictionary(group, &column(schema::PERIOD_S), periods, count, &datastreams.rows)?;
        let mut kinds = Vec::new();
        for kind in &self.kinds.values {
            put_plain(ResultKind::from_u8(*kind as u8).as_str(), &mut kinds);
        }
        append_dictionary(group, &column(schema::KIND), &kinds, self.kinds.values.len(), &self.kinds.rows)?;
        self.numbers.append(group, &column(schema::NUMBER))?;
        let texts = self.texts.take();
        if texts.is_empty() {
            append_nulls(group, &column(schema::TEXT), rows)?;
        } else {
            let mut writer = group.next_column()?.ok_or_else(missing_column)?;
            writer.typed::<ByteArrayType>().write_batch(&texts, Some(&self.text_levels), None)?;
            writer.close()?;
        }
        if self.booleans.is_empty() {
            append_nulls(group, &column(schema::BOOLEAN), rows)?;
        } else {
            let mut writer = group.next_column()?.ok_or_else(missing_column)?;
            writer.typed::<BoolType>().write_batch(&self.booleans, Some(&self.boolean_levels), None)?;
            writer.close()?;
        }
        let (units, statuses) = (&self.units, &self.statuses);
        append_dictionary(group, &column(schema::UNIT), &self.unit_texts, units.values.len(), &units.rows)?;
        append_dictionary(
            group,
            &column(schema::STATUS),
            &self.status_texts,
            statuses.values.len(),
            &statuses.rows,
        )?;
        append_integers(group, &column(schema::QUALITY), &self.qualities)?;
        append_integers(group, &column(schema::FLAGS), &self.flags)?;
        if self.seqs.is_empty() {
            append_nulls(group, &column(schema::SEQ), rows)?;
        } else {
            append_crate_column(group, &self.seqs, Some(&self.seq_levels))?;
        }
        append_crate_column(group, &self.positions, None)?;
        append_crate_column(group, &self.result_times, None)
    }
}

fn append_integers<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    descr: &parquet::schema::types::ColumnDescPtr,
    values: &Numbering,
) -> Result<()> {
    append_dictionary(group, descr, bytemuck::cast_slice(&values.values), values.values.len(), &values.rows)
}

fn append_crate_column<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[i64],
    levels: Option<&[i16]>,
) -> Result<()> {
    let mut writer = group.next_column()?.ok_or_else(missing_column)?;
    writer.typed::<Int64Type>().write_batch(values, levels, None)?;
    writer.close()
}

fn missing_column() -> ParquetError {
    ParquetError::General("the schema has fewer columns than the writer".to_owned())
}

/// A string as PLAIN encoding has it: length, then bytes.
fn put_plain(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Hands the bytes to the disk in large pieces.
#[derive(Debug)]
struct FileSink {
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    offset: u64,
    crc32c: u32,
}

impl FileSink {
    fn write_buffer(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.crc32c = crc32c::crc32c_append(self.crc32c, &self.buffer);
            self.file.write_at(self.offset, &mut [IoSlice::new(&self.buffer)])?;
            self.offset += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Writes what is left, syncs, and gives the length of the file.
    fn finish(&mut self) -> io::Result<u64> {
        self.write_buffer()?;
        self.file.sync()?;
        Ok(self.offset)
    }
}

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.write_buffer()?;
        }
        Ok(bytes.len())
    }

    /// Nothing needs to reach the disk before [`Self::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
