//! Reads the rows of a store file that a sink wants: by row group, then by page, then by key; the other columns are read
//! only where a key matched.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader};
use parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::statistics::Statistics;

use super::super::error::StoreError;
use super::super::row::{KeyBounds, RowSink, Version};
use super::super::shared::Symbols;
use super::schema::{self, FORMAT, FORMAT_KEY, PAGE_ROWS};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::observation::{ResultKind, TextSpan};

/// Footers that are kept; the least recently used goes first.
const FOOTERS_MAX: usize = 256;

/// Footers of the files that were read last.
#[derive(Debug, Default)]
pub(in super::super) struct FooterCache(Mutex<VecDeque<(u64, Arc<ParquetMetaData>)>>);

impl FooterCache {
    fn get(&self, file_no: u64) -> Option<Arc<ParquetMetaData>> {
        let mut footers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = footers.iter().position(|(no, _)| *no == file_no)?;
        let entry = footers.remove(at)?;
        let footer = entry.1.clone();
        footers.push_back(entry);
        Some(footer)
    }

    /// The file was put back: what was read of the damaged one does not count.
    pub(in super::super) fn forget(&self, file_no: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(no, _)| *no != file_no);
    }

    fn put(&self, file_no: u64, footer: Arc<ParquetMetaData>) {
        let mut footers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if footers.len() == FOOTERS_MAX {
            footers.pop_front();
        }
        footers.push_back((file_no, footer));
    }
}

/// Gives the wanted rows of one file to the sink, in file order.
pub(in super::super) fn read_file(
    disk: &dyn Disk,
    footers: &FooterCache,
    symbols: &mut Symbols,
    (file_no, path): (u64, &str),
    sink: &mut impl RowSink,
) -> std::result::Result<(), StoreError> {
    let file = disk.open(path, OpenMode::Read).map_err(StoreError::disk("open", path))?;
    let size = file.size().map_err(StoreError::disk("read the length of", path))?;
    let file = Arc::new(StoreFile { file: Arc::new(Mutex::new(file)), size });
    let footer = match footers.get(file_no) {
        Some(footer) => footer,
        None => {
            let footer = Arc::new(read_footer(&file, path)?);
            footers.put(file_no, footer.clone());
            footer
        }
    };
    for group in 0..footer.num_row_groups() {
        read_row_group(&file, &footer, group, symbols, sink)
            .map_err(|error| StoreError::reading(path, error))?;
    }
    Ok(())
}

pub(super) fn read_footer(file: &StoreFile, path: &str) -> std::result::Result<ParquetMetaData, StoreError> {
    let damaged = |error| StoreError::reading(path, error);
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let footer = reader.parse_and_finish(file).map_err(damaged)?;
    let metadata = footer.file_metadata();
    let format =
        metadata.key_value_metadata().and_then(|pairs| pairs.iter().find(|pair| pair.key == FORMAT_KEY));
    match format.and_then(|pair| pair.value.as_deref()?.parse().ok()) {
        Some(FORMAT) => {}
        Some(found) => {
            return Err(StoreError::OtherFormat { path: path.to_owned(), found, known: FORMAT });
        }
        None => return Err(damaged(ParquetError::General("it does not say its format".to_owned()))),
    }
    if metadata.schema() != schema::schema().map_err(damaged)?.as_ref() {
        return Err(damaged(ParquetError::General("its columns are not those of its format".to_owned())));
    }
    if !places_are_possible(&footer, file.size) {
        let what = "its footer names places that are not in the file".to_owned();
        return Err(damaged(ParquetError::General(what)));
    }
    Ok(footer)
}

/// Whether every page lies within its column, and every column within the file; the crate takes that for granted.
fn places_are_possible(footer: &ParquetMetaData, size: u64) -> bool {
    let columns = (0..footer.num_row_groups())
        .flat_map(|group| (0..footer.row_group(group).num_columns()).map(move |column| (group, column)));
    columns.into_iter().all(|(group_no, column_no)| {
        let group = footer.row_group(group_no);
        let column = group.column(column_no);
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let Some(end) = start.checked_add(column.compressed_size()) else { return false };
        let index = footer.page_index_for_row_group(group_no);
        let pages = index.offset_index(column_no).map_or(&[][..], |index| index.page_locations());
        let mut next = start;
        let mut are_in_order = pages.iter().all(|page| {
            let is_behind = page.offset >= next && page.compressed_page_size >= 0;
            next = page.offset.saturating_add(i64::from(page.compressed_page_size));
            is_behind
        });
        let mut row = -1;
        are_in_order &=
            pages.iter().all(|page| page.first_row_index > std::mem::replace(&mut row, page.first_row_index));
        0 <= start
            && start <= end
            && end as u64 <= size
            && next <= end
            && row < group.num_rows()
            && are_in_order
    })
}

fn read_row_group(
    file: &Arc<StoreFile>,
    footer: &ParquetMetaData,
    group_no: usize,
    symbols: &mut Symbols,
    sink: &mut impl RowSink,
) -> Result<()> {
    let group = footer.row_group(group_no);
    if group_bounds(group).is_some_and(|bounds| !sink.may_match(&bounds)) {
        return Ok(());
    }
    let rows = group.num_rows() as usize;
    let pages = page_bounds(footer, group_no);
    let open = Opener { file, footer, group_no };
    let (mut ids, mut times) = (
        open.column::<Int32Type>(schema::DATASTREAM_ID)?,
        open.column::<Int64Type>(schema::PHENOMENON_TIME)?,
    );
    let mut values = None;
    for first_row in (0..rows).step_by(PAGE_ROWS) {
        let bounds = pages.as_ref().and_then(|pages| pages.get(first_row / PAGE_ROWS));
        if bounds.is_some_and(|bounds| !sink.may_match(bounds)) {
            continue;
        }
        let page = first_row..rows.min(first_row + PAGE_ROWS);
        ids.read(page.clone())?;
        times.read(page.clone())?;
        let keys = ids.values.iter().zip(&times.values);
        let wanted: Vec<bool> = keys.map(|(id, time)| sink.matches(*id as u32, *time)).collect();
        let Some(first) = wanted.iter().position(|wanted| *wanted) else { continue };
        let last = wanted.iter().rposition(|wanted| *wanted).unwrap_or(first);
        let values = match &mut values {
            Some(values) => values,
            none => none.insert(ValueColumns::open(&open, sink.numbers_only())?),
        };
        values.read(page.start + first..page.start + last + 1)?;
        let keys = (&ids.values[first..=last], &times.values[first..=last]);
        values.give(keys, &wanted[first..=last], symbols, sink);
    }
    Ok(())
}

pub(super) fn group_bounds(group: &RowGroupMetaData) -> Option<KeyBounds> {
    let id_statistics = group.column(schema::DATASTREAM_ID).statistics()?;
    let time_statistics = group.column(schema::PHENOMENON_TIME).statistics()?;
    let (Statistics::Int32(ids), Statistics::Int64(times)) = (id_statistics, time_statistics) else {
        return None;
    };
    Some(KeyBounds {
        datastream_min: *ids.min_opt()? as u32,
        datastream_max: *ids.max_opt()? as u32,
        time_min_us: *times.min_opt()?,
        time_max_us: *times.max_opt()?,
    })
}

pub(super) fn page_bounds(footer: &ParquetMetaData, group_no: usize) -> Option<Vec<KeyBounds>> {
    let index = footer.page_index_for_row_group(group_no);
    let (ids, times) =
        (index.column_index(schema::DATASTREAM_ID)?, index.column_index(schema::PHENOMENON_TIME)?);
    let (ColumnIndexMetaData::INT32(ids), ColumnIndexMetaData::INT64(times)) = (ids, times) else {
        return None;
    };
    let ids = ids.min_values().iter().zip(ids.max_values());
    let times = times.min_values().iter().zip(times.max_values());
    let bounds = ids.zip(times).map(|(ids, times)| KeyBounds {
        datastream_min: *ids.0 as u32,
        datastream_max: *ids.1 as u32,
        time_min_us: *times.0,
        time_max_us: *times.1,
    });
    Some(bounds.collect())
}

pub(super) struct Opener<'a> {
    pub(super) file: &'a Arc<StoreFile>,
    pub(super) footer: &'a ParquetMetaData,
    pub(super) group_no: usize,
}

impl Opener<'_> {
    pub(super) fn column<T: DataType>(&self, column: usize) -> Result<Column<T>> {
        let group = self.footer.row_group(self.group_no);
        let index = self.footer.page_index_for_row_group(self.group_no);
        let locations = index.offset_index(column).map(|index| index.page_locations().clone());
        let chunk = group.column(column);
        let pages =
            SerializedPageReader::new(self.file.clone(), chunk, group.num_rows() as usize, locations)?;
        // The schema was compared when the footer was read, so the type is the right one.
        let reader =
            get_typed_column_reader::<T>(get_column_reader(chunk.column_descr_ptr(), Box::new(pages)));
        Ok(Column { reader, next_row: 0, levels: Vec::new(), values: Vec::new() })
    }
}

/// A column of a row group and what was read of it last.
pub(super) struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    next_row: usize,
    /// One for each row of an optional column: 1 = has a value.
    levels: Vec<i16>,
    /// The values of the rows that have one.
    pub(super) values: Vec<T::T>,
}

impl<T: DataType> Column<T> {
    pub(super) fn read(&mut self, rows: Range<usize>) -> Result<()> {
        self.levels.clear();
        self.values.clear();
        let skipped = self.reader.skip_records(rows.start - self.next_row)?;
        let (got, ..) =
            self.reader.read_records(rows.len(), Some(&mut self.levels), None, &mut self.values)?;
        if self.next_row + skipped != rows.start || got != rows.len() {
            return Err(ParquetError::General("a column is shorter than its row group".to_owned()));
        }
        self.next_row = rows.end;
        Ok(())
    }
}

/// The columns beside the key that every reader wants.
pub(super) struct ValueColumns {
    ordinals: Column<Int32Type>,
    revisions: Column<Int32Type>,
    ranks: Column<Int32Type>,
    numbers: Column<DoubleType>,
    booleans: Column<BoolType>,
    units: Column<ByteArrayType>,
    /// `None`: the sink wants numbers only.
    rest: Option<RestColumns>,
}

/// The columns that only whole rows need.
struct RestColumns {
    texts: Column<ByteArrayType>,
    statuses: Column<ByteArrayType>,
    qualities: Column<Int32Type>,
    flags: Column<Int32Type>,
    seqs: Column<Int64Type>,
    positions: Column<Int64Type>,
    result_times: Column<Int64Type>,
}

impl ValueColumns {
    pub(super) fn open(open: &Opener<'_>, numbers_only: bool) -> Result<Self> {
        Ok(Self {
            ordinals: open.column(schema::ORDINAL)?,
            revisions: open.column(schema::REVISION)?,
            ranks: open.column(schema::RANK)?,
            numbers: open.column(schema::NUMBER)?,
            booleans: open.column(schema::BOOLEAN)?,
            units: open.column(schema::UNIT)?,
            rest: if numbers_only { None } else { Some(RestColumns::open(open)?) },
        })
    }

    pub(super) fn read(&mut self, rows: Range<usize>) -> Result<()> {
        self.ordinals.read(rows.clone())?;
        self.revisions.read(rows.clone())?;
        self.ranks.read(rows.clone())?;
        self.numbers.read(rows.clone())?;
        self.booleans.read(rows.clone())?;
        self.units.read(rows.clone())?;
        self.rest.as_mut().map_or(Ok(()), |rest| rest.read(rows))
    }

    /// Puts the wanted rows of what was read together.
    pub(super) fn give(
        &self,
        (ids, times): (&[i32], &[i64]),
        wanted: &[bool],
        symbols: &mut Symbols,
        sink: &mut impl RowSink,
    ) {
        let (mut numbers, mut booleans) = (Optional::new(&self.numbers), Optional::new(&self.booleans));
        let mut units = Optional::new(&self.units);
        let mut rest = self.rest.as_ref().map(Rest::new);
        let mut last_unit = LastSymbol::default();
        let mut last_status = LastSymbol::default();
        for (row, wanted) in wanted.iter().enumerate() {
            let (number, boolean, unit) = (numbers.next(row), booleans.next(row), units.next(row));
            let rest = rest.as_mut().map(|rest| rest.next(row)).unwrap_or_default();
            if !wanted {
                continue;
            }
            let text = rest.text;
            let (kind, value) = match (number, boolean, text) {
                (Some(number), ..) => (ResultKind::Number, number.to_bits()),
                (_, Some(boolean), _) => (ResultKind::Boolean, u64::from(*boolean)),
                (.., Some(text)) => {
                    (ResultKind::Text, TextSpan { offset: 0, len: text.len() as u32 }.to_bits())
                }
                _ => (ResultKind::Null, 0),
            };
            let version = Version {
                time_us: times[row],
                value,
                seq_plus_1: rest.seq_plus_1,
                position: rest.position,
                result_time_us: rest.result_time_us,
                datastream: ids[row] as u32,
                unit: unit.map_or(0, |unit| last_unit.id(unit.data(), symbols)),
                status: rest.status.map_or(0, |status| last_status.id(status, symbols)),
                revision: self.revisions.values[row] as u32,
                ordinal: self.ordinals.values[row] as u16,
                kind: kind as u8,
                quality: rest.quality,
                flags: rest.flags,
                rank: self.ranks.values[row] as u8,
            };
            sink.take(&version, text.unwrap_or_default());
        }
    }
}

impl RestColumns {
    fn open(open: &Opener<'_>) -> Result<Self> {
        Ok(Self {
            texts: open.column(schema::TEXT)?,
            statuses: open.column(schema::STATUS)?,
            qualities: open.column(schema::QUALITY)?,
            flags: open.column(schema::FLAGS)?,
            seqs: open.column(schema::SEQ)?,
            positions: open.column(schema::POSITION)?,
            result_times: open.column(schema::RESULT_TIME)?,
        })
    }

    fn read(&mut self, rows: Range<usize>) -> Result<()> {
        self.texts.read(rows.clone())?;
        self.statuses.read(rows.clone())?;
        self.qualities.read(rows.clone())?;
        self.flags.read(rows.clone())?;
        self.seqs.read(rows.clone())?;
        self.positions.read(rows.clone())?;
        self.result_times.read(rows)
    }
}

/// Steps through the rest.
struct Rest<'a> {
    columns: &'a RestColumns,
    texts: Optional<'a, ByteArrayType>,
    statuses: Optional<'a, ByteArrayType>,
    seqs: Optional<'a, Int64Type>,
}

/// What a row has beside its number; of a row whose rest is not read, nothing.
#[derive(Default)]
struct RestOfRow<'a> {
    text: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    seq_plus_1: u64,
    position: u64,
    result_time_us: i64,
    quality: u8,
    flags: u8,
}

impl<'a> Rest<'a> {
    fn new(columns: &'a RestColumns) -> Self {
        Self {
            columns,
            texts: Optional::new(&columns.texts),
            statuses: Optional::new(&columns.statuses),
            seqs: Optional::new(&columns.seqs),
        }
    }

    fn next(&mut self, row: usize) -> RestOfRow<'a> {
        RestOfRow {
            text: self.texts.next(row).map(|text| text.data()),
            status: self.statuses.next(row).map(|status| status.data()),
            seq_plus_1: self.seqs.next(row).map_or(0, |seq| (*seq as u64).wrapping_add(1)),
            position: self.columns.positions.values[row] as u64,
            result_time_us: self.columns.result_times.values[row],
            quality: self.columns.qualities.values[row] as u8,
            flags: self.columns.flags.values[row] as u8,
        }
    }
}

/// Steps through a column with nulls.
struct Optional<'a, T: DataType> {
    column: &'a Column<T>,
    next: usize,
}

impl<'a, T: DataType> Optional<'a, T> {
    fn new(column: &'a Column<T>) -> Self {
        Self { column, next: 0 }
    }

    fn next(&mut self, row: usize) -> Option<&'a T::T> {
        if self.column.levels[row] == 0 {
            return None;
        }
        self.next += 1;
        self.column.values.get(self.next - 1)
    }
}

/// Neighbours mostly have the same unit and status.
#[derive(Default)]
struct LastSymbol {
    text: Vec<u8>,
    id: u32,
}

impl LastSymbol {
    fn id(&mut self, text: &[u8], symbols: &mut Symbols) -> u32 {
        if self.text != text {
            self.text.clear();
            self.text.extend_from_slice(text);
            self.id = symbols.id(text);
        }
        self.id
    }
}

/// A store file as the parquet crate wants to read it.
pub(super) struct StoreFile {
    pub(super) file: Arc<Mutex<Box<dyn DiskFile>>>,
    pub(super) size: u64,
}

impl Length for StoreFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for StoreFile {
    type T = StoreFileRead;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(StoreFileRead { file: self.file.clone(), offset: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.size) {
            return Err(ParquetError::EOF("the file is shorter than its footer says".to_owned()));
        }
        let mut bytes = vec![0; length];
        let got = self.file.lock().unwrap_or_else(PoisonError::into_inner).read_at(start, &mut bytes)?;
        if got < length {
            return Err(ParquetError::EOF("the file ended early".to_owned()));
        }
        Ok(Bytes::from(bytes))
    }
}

pub(super) struct StoreFileRead {
    file: Arc<Mutex<Box<dyn DiskFile>>>,
    offset: u64,
}

impl Read for StoreFileRead {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let got = self.file.lock().unwrap_or_else(PoisonError::into_inner).read_at(self.offset, bytes)?;
        self.offset += got as u64;
        Ok(got)
    }
}
