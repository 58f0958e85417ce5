//! Queries: rows by datastream and time, merged from memory and all files, in order of time and in bounded memory.
//!
//! Files overlap in time, and no file is in order of time. So a scan goes through time in windows: it collects the rows of
//! the window from everything that overlaps it, and when they become too many it halves the window at their median time
//! and forgets the later half. What is left is sorted and given; the next window starts where this one ended.

use std::sync::Arc;
use std::vec;

use super::files::read_file;
use super::memory::Chunk;
use super::row::{KeyBounds, RowSink, StoredRow, Version};
use super::shared::{Shared, Symbols};
use super::{FileEntry, StoreError};
use crate::cancel::Cancel;
use crate::observation::ResultKind;
use crate::retention::Horizon;

/// Rows that are turned into [`StoredRow`]s at once.
const READY_ROWS: usize = 1_024;
/// Rows that a scan with a small limit may hold all the same.
const WINDOW_ROWS_MIN: usize = 4_096;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By phenomenonTime, then datastream, ordinal, revision.
    #[default]
    OldestFirst,
    /// Newest phenomenonTime first; within one time as above.
    NewestFirst,
}

/// Which rows, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Empty = all.
    pub datastreams: Vec<u32>,
    /// phenomenonTime from here …
    pub from_us: i64,
    /// … to before here.
    pub to_us: i64,
    pub limit: Option<usize>,
    /// All revisions, not only the one in force.
    pub revisions: bool,
    pub order: Order,
}

impl Default for Query {
    /// Everything that is in force.
    fn default() -> Self {
        Self {
            datastreams: Vec::new(),
            from_us: i64::MIN,
            to_us: i64::MAX,
            limit: None,
            revisions: false,
            order: Order::OldestFirst,
        }
    }
}

/// What a chart needs of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberRow {
    pub datastream: u32,
    pub time_us: i64,
    /// Symbol, see [`crate::registry`].
    pub unit: u32,
    pub value: NumberValue,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NumberValue {
    Number(f64),
    Boolean(bool),
}

/// An iterator over the rows of a [`Query`]. After an error it ends.
#[derive(Debug)]
pub struct Scan {
    shared: Arc<Shared>,
    symbols: Symbols,
    chunks: Vec<Arc<Chunk>>,
    /// Those that may have rows from the window on, by the first place that they may have.
    files: Vec<Arc<FileEntry>>,
    window: Window,
    /// Where the whole scan ends.
    end_place: i64,
    left: usize,
    revisions: bool,
    cancel: Cancel,
    /// Rows of the window that were made ready.
    given: usize,
    ready: vec::IntoIter<StoredRow>,
    #[cfg(test)]
    pub(super) rows_held_max: usize,
}

impl Scan {
    pub(super) fn new(shared: Arc<Shared>, query: &Query, numbers_only: bool, cancel: &Cancel) -> Self {
        let mut datastreams = query.datastreams.clone();
        datastreams.sort_unstable();
        datastreams.dedup();
        let descending = query.order == Order::NewestFirst;
        let order = TimeOrder { descending };
        // An empty range must stay empty when it is mirrored, and `to` is exclusive on both sides.
        let (start_place, end_place) = match (query.from_us < query.to_us, descending) {
            (false, _) => (0, 0),
            (true, false) => (query.from_us, query.to_us),
            (true, true) => (order.place(query.to_us - 1), order.place(query.from_us).saturating_add(1)),
        };
        let left = query.limit.unwrap_or(usize::MAX);
        let rows_max = left.saturating_mul(4).max(WINDOW_ROWS_MIN).min(shared.scan_rows_max);
        let view = shared.view();
        let mut window = Window {
            order,
            datastreams,
            last_datastream: None,
            start_place,
            end_place,
            rows_max,
            halve_at: rows_max,
            rows: Vec::new(),
            texts: Vec::new(),
            numbers_only,
            horizon: shared.retention.horizon(0),
            cancel: cancel.clone(),
        };
        let mut files: Vec<_> =
            view.files.iter().filter(|file| window.may_match(&file.bounds())).cloned().collect();
        files.sort_by_key(|file| order.range(&file.bounds()).0);
        // The first window begins where an empty one before it ended.
        window.end_place = start_place;
        Self {
            cancel: cancel.clone(),
            symbols: Symbols::new(shared.registry.clone()),
            shared,
            chunks: view.chunks,
            files,
            window,
            end_place,
            left,
            revisions: query.revisions,
            given: 0,
            ready: Vec::new().into_iter(),
            #[cfg(test)]
            rows_held_max: 0,
        }
    }

    /// Collects, sorts and gives the next window.
    fn fill(&mut self) -> Result<(), StoreError> {
        let window = &mut self.window;
        window.start_place = window.end_place;
        window.end_place = self.end_place;
        window.rows.clear();
        window.texts.clear();
        window.halve_at = window.rows_max;
        for chunk in &self.chunks {
            chunk.give(window);
        }
        let order = window.order;
        self.files.retain(|file| order.range(&file.bounds()).1 >= window.start_place);
        for file in &self.files {
            let bounds = file.bounds();
            if order.range(&bounds).0 >= window.end_place {
                break;
            }
            if window.may_match(&bounds) {
                let file = (file.file_no, file.path.as_str());
                read_file(&*self.shared.disk, &self.shared.footers, &mut self.symbols, file, window)?;
            }
        }
        // What was not looked at is missing.
        if self.cancel.is_cancelled() {
            return Err(StoreError::Cancelled);
        }
        #[cfg(test)]
        {
            self.rows_held_max = self.rows_held_max.max(window.rows.capacity());
        }
        let rows = &mut window.rows;
        let key = |row: &Version| (order.place(row.time_us), row.datastream, row.ordinal);
        if self.revisions {
            rows.sort_unstable_by_key(|row| (key(row), row.revision));
        } else {
            rows.sort_unstable_by_key(|row| (key(row), row.precedence()));
            keep_those_in_force(rows);
        }
        rows.truncate(self.left);
        self.left -= rows.len();
        self.given = 0;
        Ok(())
    }

    /// Turns the next rows of the window into what is given; false = the window is used up.
    fn make_ready(&mut self) -> bool {
        let Window { rows, texts, .. } = &self.window;
        let end = rows.len().min(self.given + READY_ROWS);
        let next = &rows[self.given..end];
        self.ready = self.symbols.stored_rows(next.iter().map(|row| (row, row.text(texts)))).into_iter();
        let got_some = self.given < end;
        self.given = end;
        got_some
    }

    /// Hands over the numbers and booleans of all windows, in order.
    pub(super) fn numbers(mut self, each: &mut dyn FnMut(NumberRow)) -> Result<(), StoreError> {
        while !self.is_finished() {
            self.fill()?;
            for row in &self.window.rows {
                let value = match row.kind() {
                    ResultKind::Number => NumberValue::Number(f64::from_bits(row.value)),
                    ResultKind::Boolean => NumberValue::Boolean(row.value != 0),
                    ResultKind::Text | ResultKind::Null => continue,
                };
                each(NumberRow { datastream: row.datastream, time_us: row.time_us, unit: row.unit, value });
            }
        }
        Ok(())
    }

    /// Are there more than `limit` rows?
    pub(super) fn has_more_than(mut self, limit: usize) -> Result<bool, StoreError> {
        let mut rows = 0;
        while !self.is_finished() && rows <= limit {
            self.fill()?;
            rows += self.window.rows.len();
        }
        Ok(rows > limit)
    }

    fn is_finished(&self) -> bool {
        self.left == 0 || self.window.end_place >= self.end_place
    }
}

impl Iterator for Scan {
    type Item = Result<StoredRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.ready.next() {
                return Some(Ok(row));
            }
            if self.make_ready() {
                continue;
            }
            if self.is_finished() {
                return None;
            }
            if let Err(error) = self.fill() {
                self.left = 0;
                self.window.rows.clear();
                self.given = 0;
                return Some(Err(error));
            }
        }
    }
}

/// Of neighbours with the same key only the last, which is in force, stays.
fn keep_those_in_force(rows: &mut Vec<Version>) {
    let key = |row: &Version| (row.time_us, row.datastream, row.ordinal);
    let mut kept = 0;
    for at in 0..rows.len() {
        if at + 1 == rows.len() || key(&rows[at]) != key(&rows[at + 1]) {
            rows[kept] = rows[at];
            kept += 1;
        }
    }
    rows.truncate(kept);
}

/// Makes one order of both directions: places rise in the order of the scan.
#[derive(Clone, Copy, Debug)]
struct TimeOrder {
    descending: bool,
}

impl TimeOrder {
    fn place(self, time_us: i64) -> i64 {
        if self.descending { !time_us } else { time_us }
    }

    /// Lowest and highest place within bounds.
    fn range(self, bounds: &KeyBounds) -> (i64, i64) {
        if self.descending {
            (!bounds.time_max_us, !bounds.time_min_us)
        } else {
            (bounds.time_min_us, bounds.time_max_us)
        }
    }
}

/// The rows of `start_place .. end_place`; shrinks when they become too many.
#[derive(Debug)]
struct Window {
    order: TimeOrder,
    /// Sorted; empty = all.
    datastreams: Vec<u32>,
    /// The datastream that was looked up last, and whether it is wanted.
    last_datastream: Option<(u32, bool)>,
    start_place: i64,
    end_place: i64,
    rows_max: usize,
    /// Rows at which the window is halved next.
    halve_at: usize,
    rows: Vec<Version>,
    texts: Vec<u8>,
    numbers_only: bool,
    /// What has expired is not shown, whether or not it lies in a file still.
    horizon: Option<Horizon>,
    cancel: Cancel,
}

impl Window {
    fn wants(&mut self, datastream: u32) -> bool {
        match self.last_datastream {
            Some((last, wanted)) if last == datastream => wanted,
            _ => {
                let wanted =
                    self.datastreams.is_empty() || self.datastreams.binary_search(&datastream).is_ok();
                self.last_datastream = Some((datastream, wanted));
                wanted
            }
        }
    }

    /// Ends the window at the median of its rows and forgets the rows behind. Rows of one time can't be parted: if all have
    /// the same, there is nothing to halve and the window holds more than it should.
    fn halve(&mut self) {
        let mut places: Vec<i64> = self.rows.iter().map(|row| self.order.place(row.time_us)).collect();
        let middle = places.len() / 2;
        let median = *places.select_nth_unstable(middle).1;
        let lowest = places.iter().copied().min().unwrap_or(median);
        let end = if median > lowest {
            Some(median)
        } else {
            places.iter().copied().filter(|place| *place > lowest).min()
        };
        let Some(end) = end else { return };
        self.end_place = end;
        let order = self.order;
        self.rows.retain(|row| order.place(row.time_us) < end);
        let old_texts = std::mem::take(&mut self.texts);
        for row in &mut self.rows {
            let text = row.text(&old_texts);
            row.move_text(text, &mut self.texts);
        }
    }
}

impl RowSink for Window {
    fn may_match(&self, bounds: &KeyBounds) -> bool {
        let (low, high) = self.order.range(bounds);
        if self.cancel.is_cancelled() || low >= self.end_place || high < self.start_place {
            return false;
        }
        let at = self.datastreams.partition_point(|datastream| *datastream < bounds.datastream_min);
        self.datastreams.is_empty()
            || self.datastreams.get(at).is_some_and(|next| *next <= bounds.datastream_max)
    }

    fn matches(&mut self, datastream: u32, time_us: i64) -> bool {
        let place = self.order.place(time_us);
        (self.start_place..self.end_place).contains(&place)
            && self.wants(datastream)
            && self.horizon.as_ref().is_none_or(|horizon| !horizon.is_expired(datastream, time_us))
    }

    fn numbers_only(&self) -> bool {
        self.numbers_only
    }

    fn take(&mut self, row: &Version, text: &[u8]) {
        // The window may have shrunk since `matches`.
        if self.order.place(row.time_us) >= self.end_place {
            return;
        }
        let mut row = *row;
        row.move_text(if self.numbers_only { &[] } else { text }, &mut self.texts);
        self.rows.push(row);
        if self.rows.len() >= self.halve_at {
            self.halve();
            self.halve_at = self.rows_max.max(2 * self.rows.len());
        }
    }
}
