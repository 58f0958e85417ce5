//! Reads the whole content of a store file and compares it with what its footer and its catalogue row say.

use std::sync::{Arc, Mutex};

use parquet::data_type::{ByteArrayType, Int32Type, Int64Type};
use parquet::errors::Result;
use parquet::file::metadata::ParquetMetaData;

use super::super::check::{FileFlaw, FileFlawKind};
use super::super::row::{KeyBounds, RowSink, Version};
use super::super::shared::Symbols;
use super::read::{Column, Opener, StoreFile, ValueColumns, group_bounds, page_bounds, read_footer};
use super::schema::{self, PAGE_ROWS};
use crate::disk::DiskFile;
use crate::registry::Registry;

/// What a file has beside its flaws.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Content {
    pub(in super::super) rows: u64,
    pub(in super::super) bounds: KeyBounds,
}

/// Every row of the file in order; what is wrong goes to `flaws`. Stops at the first flaw of a row group, since one wrong
/// page makes thousands of rows wrong.
pub(in super::super) fn check_content(
    file: Box<dyn DiskFile>,
    size: u64,
    path: &str,
    (registry, symbols): (&Registry, &mut Symbols),
    flaws: &mut Vec<FileFlaw>,
    each: &mut dyn FnMut(&Version, &[u8]),
) -> Option<Content> {
    let file = Arc::new(StoreFile { file: Arc::new(Mutex::new(file)), size });
    let footer = match read_footer(&file, path) {
        Ok(footer) => footer,
        Err(error) => {
            flaws.push(FileFlaw::new(
                FileFlawKind::Unreadable,
                Some(size.saturating_sub(8)),
                error.to_string(),
            ));
            return None;
        }
    };
    let mut content = Content { rows: 0, bounds: KeyBounds::EMPTY };
    let mut before = None;
    for group in 0..footer.num_row_groups() {
        let offset = footer.row_group(group).column(0).byte_range().0;
        let mut rows =
            GroupRows { first_row: content.rows, offset, before, bounds: KeyBounds::EMPTY, flaws, each };
        let found = check_group(&file, &footer, group, (registry, symbols), &mut rows);
        before = rows.before;
        content.bounds.merge(&rows.bounds);
        content.rows += footer.row_group(group).num_rows().max(0) as u64;
        if let Err(error) = found {
            flaws.push(FileFlaw::new(FileFlawKind::Unreadable, Some(offset), error.to_string()));
        }
    }
    Some(content)
}

/// Key of the row before: (datastream, time, ordinal, revision).
type KeyOfRow = (u32, i64, u16, u32);

struct GroupRows<'a> {
    first_row: u64,
    offset: u64,
    before: Option<KeyOfRow>,
    bounds: KeyBounds,
    flaws: &'a mut Vec<FileFlaw>,
    each: &'a mut dyn FnMut(&Version, &[u8]),
}

impl GroupRows<'_> {
    fn flaw(&mut self, kind: FileFlawKind, row: u64, what: String) {
        self.flaws.push(FileFlaw { row: Some(row), ..FileFlaw::new(kind, Some(self.offset), what) });
    }
}

impl RowSink for GroupRows<'_> {
    fn may_match(&self, _bounds: &KeyBounds) -> bool {
        true
    }

    fn matches(&mut self, _datastream: u32, _time_us: i64) -> bool {
        true
    }

    fn take(&mut self, row: &Version, text: &[u8]) {
        let key = (row.datastream, row.time_us, row.ordinal, row.revision);
        let at = self.first_row;
        self.first_row += 1;
        match self.before {
            Some(before) if before == key => {
                self.flaw(FileFlawKind::Order, at, "the row before has the same key and revision".to_owned());
            }
            Some(before) if before > key => {
                self.flaw(FileFlawKind::Order, at, "it sorts before the row before it".to_owned());
            }
            _ => {}
        }
        self.before = Some(key);
        self.bounds.add(row.datastream, row.time_us);
        (self.each)(row, text);
    }
}

fn check_group(
    file: &Arc<StoreFile>,
    footer: &ParquetMetaData,
    group_no: usize,
    (registry, symbols): (&Registry, &mut Symbols),
    rows: &mut GroupRows<'_>,
) -> Result<()> {
    let count = footer.row_group(group_no).num_rows() as usize;
    let first_row = rows.first_row;
    let open = Opener { file, footer, group_no };
    let (mut ids, mut times) = (
        open.column::<Int32Type>(schema::DATASTREAM_ID)?,
        open.column::<Int64Type>(schema::PHENOMENON_TIME)?,
    );
    let mut values = ValueColumns::open(&open, false)?;
    let mut names = open.column::<ByteArrayType>(schema::DATASTREAM)?;
    let mut periods = open.column::<Int32Type>(schema::PERIOD_S)?;
    let mut kinds = open.column::<ByteArrayType>(schema::KIND)?;
    let pages = page_bounds(footer, group_no);
    for start in (0..count).step_by(PAGE_ROWS) {
        let page = start..count.min(start + PAGE_ROWS);
        ids.read(page.clone())?;
        times.read(page.clone())?;
        values.read(page.clone())?;
        names.read(page.clone())?;
        periods.read(page.clone())?;
        kinds.read(page.clone())?;
        let mut bounds = KeyBounds::EMPTY;
        ids.values.iter().zip(&times.values).for_each(|(id, time)| bounds.add(*id as u32, *time));
        let page_no = start / PAGE_ROWS;
        if pages.as_ref().is_some_and(|pages| pages.get(page_no) != Some(&bounds)) {
            let what =
                format!("the bounds in the index of its page {page_no} are not those of the page's rows");
            rows.flaw(FileFlawKind::Bounds, first_row + start as u64, what);
        }
        let all = vec![true; page.len()];
        values.give((&ids.values, &times.values), &all, symbols, rows);
        check_names(registry, first_row + start as u64, &ids, &names, &periods, rows);
        if let Some(at) = kinds.values.iter().position(|kind| !KINDS.contains(&kind.data())) {
            rows.flaw(
                FileFlawKind::Reference,
                first_row + (start + at) as u64,
                "its kind is no known word".to_owned(),
            );
        }
    }
    if group_bounds(footer.row_group(group_no))
        .is_some_and(|found| found != group_rows_bounds(&rows.bounds, found))
    {
        let what = "the statistics of its row group do not enclose its rows".to_owned();
        rows.flaw(FileFlawKind::Bounds, first_row, what);
    }
    Ok(())
}

const KINDS: [&[u8]; 4] = [b"number", b"boolean", b"text", b"null"];

/// `found` if it encloses `rows`, else something else.
fn group_rows_bounds(rows: &KeyBounds, found: KeyBounds) -> KeyBounds {
    let mut merged = found;
    if *rows != KeyBounds::EMPTY {
        merged.merge(rows);
    }
    merged
}

fn check_names(
    registry: &Registry,
    first_row: u64,
    ids: &Column<Int32Type>,
    names: &Column<ByteArrayType>,
    periods: &Column<Int32Type>,
    rows: &mut GroupRows<'_>,
) {
    for (at, ((id, name), period)) in ids.values.iter().zip(&names.values).zip(&periods.values).enumerate() {
        let Some(datastream) = registry.datastreams().get(*id as usize) else {
            rows.flaw(
                FileFlawKind::Reference,
                first_row + at as u64,
                format!("the catalogue has no datastream {id}"),
            );
            return;
        };
        if datastream.name.as_bytes() != name.data() || datastream.period_s != *period as u32 {
            let what = format!(
                "it belongs to datastream {id}, which the catalogue calls {} and the file {}",
                datastream.name,
                String::from_utf8_lossy(name.data())
            );
            rows.flaw(FileFlawKind::Reference, first_row + at as u64, what);
            return;
        }
    }
}
