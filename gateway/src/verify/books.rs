//! The books against everything else: their own sums and digests, the observation log counted anew, the rows in the store's
//! files, the quarantine. Nothing here uses the fold that made them.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::files::Stored;
use super::finding::Finding;
use super::observations::Recount;
use super::report::Report;
use crate::books::{hour_digest, settlement_digest};
use crate::catalogue::{
    BookCounts, BookHour, BookKey, BookRemovals, BookRow, CATALOGUE_FILE, CatalogueCut, CatalogueError,
    OTHER_ID, SettledCounts, Snapshot,
};
use crate::registry::Registry;

/// What the books are compared with.
pub(super) struct Books<'a> {
    pub(super) cut: &'a CatalogueCut,
    pub(super) snapshot: &'a Snapshot,
    pub(super) registry: &'a Registry,
    /// `None`: the log is damaged, so its recount says nothing.
    pub(super) observations: Option<&'a Recount>,
    pub(super) stored: &'a Stored,
}

impl Books<'_> {
    pub(super) fn check(&self, report: &mut Report) -> Result<(), CatalogueError> {
        let hours = self.cut.book_hours()?;
        let removals = self.cut.removals()?;
        let mut sum = removals.counts;
        let mut by_hour = BTreeMap::new();
        let mut digest = removals.anchor.map_or([0; 32], |(_, digest)| digest);
        let mut is_broken = false;
        let mut rows_count = 0;
        for hour in &hours {
            let rows = self.cut.book_rows(hour.hour)?;
            rows_count += rows.len() as u64;
            let mut of_hour = BookCounts::default();
            rows.iter().for_each(|row| of_hour.add(&row.counts));
            sum.add(&of_hour);
            by_hour.insert(hour.hour, of_hour);
            if let Some(found) = hour.digest {
                let expected = hour_digest(&digest, hour, &rows, self.registry);
                // One broken link makes all later ones wrong: the chain goes on from what stands there.
                if found != expected && !is_broken {
                    report.find(of_books(
                        Fault::BooksChain,
                        hour.hour,
                        "its digest is not that of its rows and of the hour before".to_owned(),
                    ));
                    is_broken = true;
                }
                if found == expected {
                    is_broken = false;
                }
                digest = found;
            }
            self.recounted(hour, &rows, &of_hour, report);
        }
        report.checked("book hours", hours.len() as u64, None);
        report.checked("book rows", rows_count, None);
        self.totals(&sum, report);
        self.messages(&hours, &by_hour, &removals, report);
        let settled = self.cut.settled_by_hour()?;
        let erased = self.settlements(&settled, report)?;
        for (hour, counts) in &mut by_hour {
            *counts = settled.get(hour).map_or(*counts, |settled| settled.applied_to(counts));
        }
        self.store(&by_hour, report);
        self.unresolved(report);
        self.quarantine(erased, report)
    }

    /// The sums over everything, settlements included.
    fn counts_now(&self) -> BookCounts {
        let totals = &self.snapshot.books.totals;
        totals.settled.applied_to(&totals.counts)
    }

    /// The chain of settlements, and what they sum to; gives how many messages were erased.
    fn settlements(
        &self,
        by_hour: &BTreeMap<i64, SettledCounts>,
        report: &mut Report,
    ) -> Result<u64, CatalogueError> {
        let mut sum = SettledCounts::default();
        by_hour.values().for_each(|counts| sum.add(counts));
        if sum != self.snapshot.books.totals.settled {
            let what = "what the settlements changed does not sum to its totals".to_owned();
            report.find(Finding::new(Fault::BooksSum, CATALOGUE_FILE, what));
        }
        let (mut count, mut digest, mut erased, mut rows, mut is_broken) = (0, [0; 32], 0, 0, false);
        loop {
            let settlements = self.cut.settlements(count, SETTLEMENTS_AT_ONCE)?;
            for row in &settlements {
                count += 1;
                let expected = settlement_digest(&digest, row, self.registry);
                if (row.settlement_no != count || row.digest != expected) && !is_broken {
                    let what =
                        "its number or digest is not that of what it says and of the one before".to_owned();
                    let finding = Finding::new(Fault::BooksChain, CATALOGUE_FILE, what);
                    report.find(finding.number(format!("settlement {}", row.settlement_no)));
                    is_broken = true;
                }
                digest = row.digest;
                count = row.settlement_no;
                erased += u64::from(row.erased);
                rows += row.rows;
            }
            if settlements.len() < SETTLEMENTS_AT_ONCE {
                break;
            }
        }
        report.checked("settlements", count, None);
        if count != sum.messages + erased || rows != sum.readings {
            let what = format!(
                "{count} settlements brought {rows} rows and erased {erased} entries, the books have {} and {} of them",
                sum.messages + erased,
                sum.readings
            );
            report.find(Finding::new(Fault::BooksSum, CATALOGUE_FILE, what));
        }
        Ok(erased)
    }

    fn lost(&self) -> u64 {
        self.snapshot.books.totals.lost
    }

    fn totals(&self, sum: &BookCounts, report: &mut Report) {
        let totals = &self.snapshot.books.totals;
        for ((name, total), part) in
            BookCounts::COLUMNS.iter().zip(totals.counts.to_array()).zip(sum.to_array())
        {
            if total != part {
                let what = format!("{name}: the total is {total}, the hours sum to {part}");
                report.find(Finding::new(Fault::BooksSum, CATALOGUE_FILE, what));
            }
        }
        let now = self.counts_now();
        let rows = now.observations() - now.quarantined_readings;
        let made = self.snapshot.checkpoint.next_obs_no - 1;
        if rows != made {
            let what =
                format!("the books count {rows} observations, the checkpoint says that {made} were made");
            report.find(Finding::new(Fault::BooksSum, CATALOGUE_FILE, what));
        }
        let states: u64 = self.snapshot.datastream_states.iter().map(|(_, state)| state.observations).sum();
        if states != made {
            let what = format!("the datastreams count {states} observations, the checkpoint says {made}");
            report.find(Finding::new(Fault::StateWatermark, CATALOGUE_FILE, what));
        }
    }

    /// Every message up to the checkpoint is in one hour, once.
    fn messages(
        &self,
        hours: &[BookHour],
        by_hour: &BTreeMap<i64, BookCounts>,
        removals: &BookRemovals,
        report: &mut Report,
    ) {
        let processed = self.snapshot.checkpoint.next_message_no - 1;
        let counted = self.snapshot.books.totals.counts.messages();
        if counted + self.lost() != processed {
            let what = format!(
                "{processed} messages are processed, the books count {counted} and {} that are lost",
                self.lost()
            );
            report.find(Finding::new(Fault::BooksSum, CATALOGUE_FILE, what));
        }
        let mut next = removals.counts.messages() + 1;
        for hour in hours {
            let range = hour.next_message_no - hour.first_message_no;
            let counted = by_hour.get(&hour.hour).map_or(0, BookCounts::messages);
            if counted > range || (counted < range && self.lost() == 0) {
                let what = format!(
                    "it has messages {} to {}, and its rows count {counted}",
                    hour.first_message_no,
                    hour.next_message_no - 1
                );
                report.find(of_books(Fault::BooksSum, hour.hour, what));
            }
            if hour.first_message_no < next || (hour.first_message_no > next && self.lost() == 0) {
                let what =
                    format!("it begins with message {}, and {next} is the next one", hour.first_message_no);
                report.find(of_books(Fault::BooksSum, hour.hour, what));
            }
            next = hour.next_message_no;
        }
    }

    /// An hour that lies in the observation log as a whole.
    fn recounted(&self, hour: &BookHour, rows: &[BookRow], of_hour: &BookCounts, report: &mut Report) {
        let Some(log) = self.observations else { return };
        let reaches = log.first_message_no.is_some_and(|first| first <= hour.first_message_no);
        if !reaches {
            return;
        }
        let of_log = log.counts.range((hour.hour, BookKey::default())..(hour.hour + 1, BookKey::default()));
        if rows.iter().any(|row| [row.key.agency, row.key.client, row.key.station].contains(&OTHER_ID)) {
            let mut sum = BookCounts::default();
            of_log.for_each(|(_, counts)| sum.add(counts));
            self.compare(hour.hour, "all", of_hour, &sum, report);
            return;
        }
        let mut booked: BTreeMap<BookKey, BookCounts> =
            rows.iter().map(|row| (row.key, row.counts)).collect();
        for ((_, key), counts) in of_log {
            self.compare(hour.hour, &self.name(key), &booked.remove(key).unwrap_or_default(), counts, report);
        }
        for (key, counts) in booked {
            self.compare(hour.hour, &self.name(&key), &counts, &BookCounts::default(), report);
        }
    }

    fn compare(&self, hour: i64, whose: &str, booked: &BookCounts, log: &BookCounts, report: &mut Report) {
        for ((name, booked), log) in BookCounts::COLUMNS.iter().zip(booked.to_array()).zip(log.to_array()) {
            if booked != log {
                let name = name.replace('_', " ");
                let what = format!("{name} of {whose}: the books say {booked}, the observation log {log}");
                report.find(of_books(Fault::BooksRecount, hour, what));
            }
        }
    }

    fn name(&self, key: &BookKey) -> String {
        let known = |id: u32, count: u32| id > 0 && id < count;
        let registry = self.registry;
        let mut parts = Vec::new();
        if known(key.agency, registry.agency_count()) {
            parts.push(format!("agency {}", registry.agency(key.agency)));
        }
        if known(key.client, registry.client_count()) {
            parts.push(format!("client {}", registry.client(key.client)));
        }
        if known(key.station, registry.station_count()) {
            parts.push(format!("station {}", registry.station(key.station).code));
        }
        if parts.is_empty() { "nobody".to_owned() } else { parts.join(", ") }
    }

    fn lost_rows(&self) -> u64 {
        self.snapshot.lost_files.iter().map(|file| file.row_count).sum()
    }

    /// stored = inserted + corrected − expired − lost with their file, together and by hour.
    fn store(&self, by_hour: &BTreeMap<i64, BookCounts>, report: &mut Report) {
        let totals = &self.snapshot.books.totals;
        let in_files: u64 = self.snapshot.files.iter().map(|file| file.row_count).sum();
        let lost = self.lost_rows();
        if in_files + totals.expired + lost != totals.flushed {
            let what = format!(
                "{} rows were flushed, {} expired and {lost} are lost with their files, the catalogue's files have {in_files}",
                totals.flushed, totals.expired
            );
            report.find(Finding::new(Fault::BooksStore, "store/", what));
        }
        if !self.stored.incomplete && self.stored.rows != in_files {
            let what = format!("the files hold {} rows, the catalogue says {in_files}", self.stored.rows);
            report.find(Finding::new(Fault::BooksStore, "store/", what));
        }
        let Some(log) = self.observations else { return };
        let unflushed: u64 = log.unflushed.values().sum();
        let now = self.counts_now();
        let stored = now.inserted + now.corrected;
        if totals.flushed + unflushed != stored {
            let what = format!(
                "the books count {stored} stored rows; {} were flushed and {unflushed} wait in the observation log",
                totals.flushed
            );
            report.find(Finding::new(Fault::BooksStore, "store/", what));
        }
        if self.stored.incomplete {
            return;
        }
        for (hour, counts) in by_hour {
            let of = |rows: &BTreeMap<i64, u64>| rows.get(hour).copied().unwrap_or(0);
            let found = of(&self.stored.by_hour) + of(&log.unflushed);
            let booked = counts.inserted + counts.corrected;
            if found > booked || (found < booked && totals.expired + lost == 0) {
                let what = format!(
                    "the books count {booked} stored rows of messages of this hour, files and observation log have {found}"
                );
                report.find(of_books(Fault::BooksStore, *hour, what));
            }
        }
    }

    fn unresolved(&self, report: &mut Report) {
        let total = self.counts_now().unresolved;
        let books = &self.snapshot.books;
        let runs = books.unresolved.iter().chain(&books.settled_unresolved);
        let listed: u64 = runs.map(|run| u64::from(run.count)).sum();
        if listed != total {
            let what = format!("the books count {total} unresolved rows, {listed} are listed");
            report.find(Finding::new(Fault::BooksSum, CATALOGUE_FILE, what));
        }
        if let Some(log) = self.observations
            && log.waiting() != total
        {
            let what = format!(
                "the books count {total} unresolved rows, {} of the observation log have no outcome",
                log.waiting()
            );
            report.find(Finding::new(Fault::BooksRecount, "observations/", what));
        }
    }

    /// `erased`: entries that operators took out; the books count their messages as before.
    fn quarantine(&self, erased: u64, report: &mut Report) -> Result<(), CatalogueError> {
        let found = self.cut.quarantine()?;
        let totals = &self.snapshot.quarantine;
        report.checked("quarantine entries", found.entries, Some(found.bytes));
        let mut wrong = |what: String| report.find(Finding::new(Fault::QuarantineSum, CATALOGUE_FILE, what));
        if (found.entries, found.bytes) != (totals.entries, totals.bytes) {
            wrong(format!(
                "it has {} entries of {} bytes, its totals say {} of {}",
                found.entries, found.bytes, totals.entries, totals.bytes
            ));
        }
        let counts = self.counts_now();
        let messages = counts.quarantined_messages + counts.partial;
        let erased_readings = self.snapshot.books.totals.settled.erased_readings;
        if found.positions + erased != messages {
            wrong(format!(
                "it has entries of {} messages and {erased} are erased, the books count {messages} (quarantined and partial)",
                found.positions
            ));
        }
        if found.readings + erased_readings != counts.quarantined_readings {
            wrong(format!(
                "its entries count {} readings and {erased_readings} are erased, the books {}",
                found.readings, counts.quarantined_readings
            ));
        }
        Ok(())
    }
}

/// Settlements that are read at once.
const SETTLEMENTS_AT_ONCE: usize = 10_000;

fn of_books(fault: Fault, hour: i64, what: String) -> Finding {
    let begin = hour.checked_mul(3_600).and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let begin = begin.map_or(String::new(), |begin| format!(" ({begin})"));
    Finding::new(fault, CATALOGUE_FILE, what).number(format!("hour {hour}{begin}"))
}
