//! Rows that wait for their outcome, in `obs_no` order.

use std::collections::VecDeque;

use super::row::Version;

#[derive(Clone, Debug)]
pub(super) struct LateRow {
    pub(super) obs_no: u64,
    pub(super) frame_no: u64,
    /// Time of that frame.
    pub(super) frame_us: i64,
    /// Its text is in `text`.
    pub(super) row: Version,
    pub(super) text: Box<[u8]>,
}

/// Rows come in at the back with rising `obs_no` and leave when their outcome is known, mostly at the front.
#[derive(Debug, Default)]
pub(super) struct LateBuffer {
    /// `None` = settled, kept only until everything before it is settled too.
    rows: VecDeque<(u64, Option<LateRow>)>,
    len: u64,
    text_bytes: u64,
    /// Rows below this `obs_no` are out for classification; `outstanding` of them are not back.
    batch_end_obs_no: u64,
    outstanding: u64,
}

impl LateBuffer {
    pub(super) fn push(&mut self, row: LateRow) {
        self.len += 1;
        self.text_bytes += row.text.len() as u64;
        self.rows.push_back((row.obs_no, Some(row)));
    }

    /// Takes a row out; `None` if it is not there.
    pub(super) fn settle(&mut self, obs_no: u64) -> Option<LateRow> {
        let at = self.rows.binary_search_by_key(&obs_no, |(obs_no, _)| *obs_no).ok()?;
        let row = self.rows[at].1.take()?;
        self.len -= 1;
        self.text_bytes -= row.text.len() as u64;
        if obs_no < self.batch_end_obs_no {
            self.outstanding -= 1;
        }
        while matches!(self.rows.front(), Some((_, None))) {
            self.rows.pop_front();
        }
        Some(row)
    }

    /// The oldest rows, up to `rows_max`, in `obs_no` order.
    pub(super) fn oldest_rows(&self, rows_max: usize) -> Vec<&LateRow> {
        self.rows.iter().filter_map(|(_, row)| row.as_ref()).take(rows_max).collect()
    }

    /// The oldest `count` rows, the last of them `last_obs_no`, are out for classification.
    pub(super) fn batch_went_out(&mut self, count: u64, last_obs_no: u64) {
        self.outstanding = count;
        self.batch_end_obs_no = last_obs_no + 1;
    }

    pub(super) fn batch_is_out(&self) -> bool {
        self.outstanding > 0
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    pub(super) fn oldest(&self) -> Option<&LateRow> {
        self.rows.front().and_then(|(_, row)| row.as_ref())
    }
}
