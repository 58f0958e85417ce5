//! One replay or erasure, batch by batch.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;

use super::{
    BATCH_ENTRIES, BATCH_PAYLOAD_BYTES, Change, DryRun, Selection, SettleReport, SettleRequest, message_of,
};
use crate::books::hour_of;
use crate::catalogue::{
    BookKey, CatalogueError, History, OTHER_ID, QuarantineFilter, QuarantineItem, QuarantineOrder,
    QuarantinePage, QuarantineWalk,
};
use crate::record::{BookedEntry, Control};

/// Why a session ended early. What it had settled by then stays settled.
#[derive(Debug, Error)]
pub enum SettleError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("nobody waits for it any more")]
    Cancelled,
    /// The gateway stops, or there is no space.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Failed(String),
}

/// The way of control records into the journal, and the wait for what becomes of them.
pub trait ChangePort: Send {
    /// Bytes of the largest body that one record may have.
    fn body_bytes_max(&self) -> usize;

    /// Appends a record; waits while the journal is full.
    fn append(&mut self, control: &Control<'_>) -> Result<(), SettleError>;

    /// Returns when a commit of the catalogue reflects everything that was appended before, by whomever.
    fn barrier(&mut self) -> Result<(), SettleError>;
}

/// Settles what the request names. `told` hears after every batch how far it is and may end it there.
pub fn run(
    port: &mut dyn ChangePort,
    history: &mut dyn History,
    request: &SettleRequest,
    dry_run: impl FnOnce() -> DryRun,
    told: &mut dyn FnMut(&SettleReport) -> ControlFlow<()>,
) -> Result<SettleReport, SettleError> {
    port.barrier()?;
    let mut session = Session {
        change: request.change,
        report: SettleReport { dry_run: request.dry_run, ..SettleReport::default() },
        last_settlement_no: history.last_settlement_no()?,
    };
    let mut dry_run = request.dry_run.then(dry_run);
    let mut batches = Batches::new(&request.selection, history)?;
    while let Some(batch) = batches.next(history)? {
        match &mut dry_run {
            Some(dry_run) => session.would_do(dry_run, &batch),
            None => session.settle(port, history, &batch)?,
        }
        if told(&session.report).is_break() {
            return Err(SettleError::Cancelled);
        }
    }
    Ok(session.report)
}

struct Session {
    change: Change,
    report: SettleReport,
    last_settlement_no: u64,
}

impl Session {
    fn would_do(&mut self, dry_run: &mut DryRun, batch: &[QuarantineItem]) {
        for item in batch {
            self.report.looked_at += 1;
            match self.change {
                Change::Erase => self.report.erased += 1,
                Change::Replay => dry_run.replay(item, &mut self.report),
            }
        }
    }

    fn settle(
        &mut self,
        port: &mut dyn ChangePort,
        history: &mut dyn History,
        batch: &[QuarantineItem],
    ) -> Result<(), SettleError> {
        let mut appended = Vec::with_capacity(batch.len());
        for item in batch {
            self.report.looked_at += 1;
            let entry = booked(item, history)?;
            let control = match self.change {
                Change::Replay => {
                    Control::Replay { entry, refused: &item.refused, message: message_of(item) }
                }
                Change::Erase => Control::Erase { entry, client: item.entry.client.as_bytes() },
            };
            let body_bytes: usize = control.with_body(|parts| parts.iter().map(|part| part.len()).sum());
            if body_bytes > port.body_bytes_max() {
                self.impossible(item);
                continue;
            }
            port.append(&control)?;
            appended.push(item);
        }
        // Also where nobody listens any more: what is in the journal is settled, and the next session must see that.
        port.barrier()?;
        self.count(&appended, history)
    }

    /// What the settlements say that the last batch has made.
    fn count(&mut self, appended: &[&QuarantineItem], history: &mut dyn History) -> Result<(), SettleError> {
        let settlements = history.settlements(self.last_settlement_no, appended.len())?;
        self.last_settlement_no =
            settlements.last().map_or(self.last_settlement_no, |last| last.settlement_no);
        let settled: HashMap<(u64, u32), _> =
            settlements.iter().map(|row| ((row.position, row.ordinal), row)).collect();
        for item in appended {
            let key = (item.entry.position, item.entry.ordinal);
            let row = settled.get(&key);
            self.report.readings += row.map_or(0, |row| row.rows);
            match row {
                Some(row) if row.erased => self.report.erased += 1,
                Some(row) if row.to_readings == 0 && row.to_outcome == DECODED => self.report.decoded += 1,
                other => {
                    match other {
                        Some(row) if row.rows > 0 => self.report.partial += 1,
                        _ => self.report.refused += 1,
                    }
                    self.report.stays(&reason_now(item, history)?);
                }
            }
        }
        Ok(())
    }

    fn impossible(&mut self, item: &QuarantineItem) {
        self.report.impossible += 1;
        self.report.stays(&item.entry.reason);
    }
}

/// Between two looks at what is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

const DECODED: u8 = crate::observation::MessageOutcome::Decoded as u8;

/// The reason that an entry has by now.
fn reason_now(item: &QuarantineItem, history: &mut dyn History) -> Result<String, SettleError> {
    let filter = QuarantineFilter { position: Some(item.entry.position), ..QuarantineFilter::default() };
    let page = history.quarantine_page(&walk(&filter, None, false))?;
    let found = page.items.into_iter().find(|found| found.entry.ordinal == item.entry.ordinal);
    Ok(found.map_or_else(|| item.entry.reason.clone(), |found| found.entry.reason))
}

/// What the books have of an entry: where its hour had no room for its names, under "(other)".
fn booked(item: &QuarantineItem, history: &mut dyn History) -> Result<BookedEntry, CatalogueError> {
    let booked = BookedEntry {
        bytes: item.entry.bytes() as u32,
        text_bytes: (item.entry.reason.len() + item.entry.sentence.len()) as u32,
        ..item.booked
    };
    if item.settled {
        return Ok(booked);
    }
    let hour = hour_of(booked.stamp_us());
    // The row is in the sums of what the books have forgotten, under whatever name: the settlement keeps the right one.
    if history.forgotten_to_hour()?.is_some_and(|last| hour <= last) {
        return Ok(booked);
    }
    let names = [
        (booked.agency, booked.client, booked.station),
        (booked.agency, booked.client, OTHER_ID),
        (booked.agency, OTHER_ID, OTHER_ID),
    ];
    for (agency, client, station) in names {
        if history.has_book_row(hour, &BookKey { agency, client, station })? {
            return Ok(BookedEntry { agency, client, station, ..booked });
        }
    }
    Ok(BookedEntry { agency: OTHER_ID, client: OTHER_ID, station: OTHER_ID, ..booked })
}

fn walk(filter: &QuarantineFilter, behind: Option<(u64, u32)>, payloads: bool) -> QuarantineWalk<'_> {
    QuarantineWalk {
        filter,
        order: QuarantineOrder::OldestFirst,
        behind,
        payloads,
        entries_max: BATCH_ENTRIES,
        looked_at_max: QuarantineWalk::LOOKED_AT_MAX,
        payload_bytes_max: BATCH_PAYLOAD_BYTES,
    }
}

/// The entries that are meant, oldest first. What comes into quarantine meanwhile is not among them, so there is an end.
struct Batches {
    filter: QuarantineFilter,
    positions: std::vec::IntoIter<u64>,
    by_position: bool,
    behind: Option<(u64, u32)>,
    ended: bool,
}

impl Batches {
    fn new(selection: &Selection, history: &mut dyn History) -> Result<Self, CatalogueError> {
        let mut positions = selection.positions.clone();
        positions.sort_unstable();
        positions.dedup();
        let any = QuarantineFilter::default();
        let newest =
            QuarantineWalk { order: QuarantineOrder::NewestFirst, entries_max: 1, ..walk(&any, None, false) };
        let newest = history.quarantine_page(&newest)?.items;
        let end = newest.first().map(|item| (item.entry.position, item.entry.ordinal.saturating_add(1)));
        let mut filter = selection.filter.clone();
        filter.before = filter.before.min(end).or(end);
        Ok(Self {
            filter,
            by_position: !positions.is_empty(),
            positions: positions.into_iter(),
            behind: None,
            ended: end.is_none(),
        })
    }

    /// `None` at the end; never an empty batch.
    fn next(&mut self, history: &mut dyn History) -> Result<Option<Vec<QuarantineItem>>, CatalogueError> {
        let mut batch: Vec<QuarantineItem> = Vec::new();
        let mut bytes = 0;
        while !self.ended && batch.len() < BATCH_ENTRIES && bytes < BATCH_PAYLOAD_BYTES {
            if self.by_position {
                let Some(position) = self.positions.next() else { break };
                self.filter.position = Some(position);
            }
            let QuarantinePage { items, next } =
                history.quarantine_page(&walk(&self.filter, self.behind, true))?;
            bytes += items.iter().map(|item| item.payload.len()).sum::<usize>();
            batch.extend(items);
            if !self.by_position {
                self.behind = next;
                self.ended = next.is_none();
            }
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }
}

/// How somebody waits for others: returns when it is worth to look again; false where nobody works any more.
pub type Wait = Box<dyn FnMut() -> bool + Send>;

/// As a thread beside threads: what is waited for takes a sync or a commit.
pub fn wait_of_thread(stop: Arc<AtomicBool>) -> Wait {
    Box::new(move || {
        let goes_on = !stop.load(Ordering::Acquire);
        if goes_on {
            std::thread::sleep(LOOK_AGAIN);
        }
        goes_on
    })
}

/// Waits by looking.
pub fn wait_until(mut is_done: impl FnMut() -> bool, wait: &mut Wait) -> Result<(), SettleError> {
    while !is_done() {
        if !wait() {
            let sentence = "the gateway stops; what its journal has of this is settled at the next start: ask again then";
            return Err(SettleError::Unavailable(sentence.to_owned()));
        }
    }
    Ok(())
}
