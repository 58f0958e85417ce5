//! A gateway that knows a few rows, for tests of the doors.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use codecs::payload::Value;

use super::{
    ClockState, DatastreamFilter, DatastreamInfo, DatastreamSelector, GatewayView, ObservationQuery,
    ObservationRow, QueryError, RawMessage, Readiness, StationMessages,
};
use crate::books::{Ledger, LedgerFilter, MessageLedger, ObservationLedger, SettledLedger};
use crate::cancel::Cancel;
use crate::catalogue::{QuarantineEntry, QuarantineFilter, QuarantineItem};
use crate::feeds::ObservationTap;
use crate::metrics::Metrics;
use crate::settle::{Change, SettleReport, SettleRequest};
use crate::things::Things;
use crate::things::fake::city;

/// 2026-11-21T01:05:00Z.
pub(crate) const TIME_US: i64 = 1_795_223_100_000_000;

/// Answers with [`rows`], or with `many` rows of one datastream.
#[derive(Debug)]
pub(crate) struct FakeView {
    pub(crate) many: Option<u64>,
    pub(crate) not_ready: AtomicBool,
    pub(crate) broken: bool,
    /// Numbers take for ever.
    pub(crate) slow: bool,
    pub(crate) metrics: Metrics,
    pub(crate) things: Things,
    pub(crate) tap: Arc<ObservationTap>,
}

impl Default for FakeView {
    fn default() -> Self {
        Self {
            many: None,
            not_ready: AtomicBool::new(false),
            broken: false,
            slow: false,
            metrics: Metrics::default(),
            things: city(),
            tap: Arc::default(),
        }
    }
}

/// One row of each kind, with everything that is hard to write.
pub(crate) fn rows() -> Vec<ObservationRow<'static>> {
    let row = ObservationRow {
        datastream: "H24.05/KHI003/pm2_5",
        phenomenon_time_us: TIME_US,
        result_time_us: TIME_US + 214_000,
        result: Value::Number(38.4),
        unit: Some("ug/m3"),
        period_s: None,
        quality: 1,
        status: None,
        revision: 0,
        seq: Some(1042),
        position: 93_112,
    };
    vec![
        row,
        ObservationRow { result: Value::Number(1e300), period_s: Some(3600), revision: 1, seq: None, ..row },
        ObservationRow { datastream: "H24.05/KHI003/door", result: Value::Boolean(true), unit: None, ..row },
        ObservationRow {
            datastream: "H24.05/KHI003/note",
            result: Value::Text("a \"b\",\nc"),
            unit: None,
            status: Some("0,0"),
            ..row
        },
        ObservationRow { result: Value::Null, quality: 9, ..row },
    ]
}

pub(crate) fn ledger() -> Ledger {
    Ledger {
        lost: Some(0),
        expired: Some(0),
        durable: 12,
        processed: 11,
        messages: MessageLedger {
            received: 12,
            decoded: 8,
            partial: 1,
            quarantined: 1,
            ignored: 1,
            pending: 1,
        },
        observations: ObservationLedger {
            total: 10,
            inserted: 5,
            corrected: 1,
            outranked: 0,
            duplicate: 2,
            unresolved: 1,
            quarantined: 1,
            flushed: Some(6),
        },
        settled: SettledLedger { messages: 2, readings: 3, erased_messages: 1, erased_readings: 1 },
    }
}

fn quarantined() -> QuarantineItem {
    let payload = b"{\"readings\":\x1b[31m".to_vec();
    let entry = QuarantineEntry {
        position: 7,
        ordinal: 0,
        receive_time_us: TIME_US,
        offset: 12,
        readings: 0,
        reason: "not_json".to_owned(),
        sentence: "the payload ends early".to_owned(),
        topic: "obs/H24.05/KHI003".to_owned(),
        client: "box-1".to_owned(),
        agency: "H24.05".to_owned(),
        payload_bytes: payload.len() as u32,
    };
    QuarantineItem {
        entry,
        booked: crate::record::BookedEntry::default(),
        settled: false,
        flags: 1,
        packet_id: 0,
        properties: Vec::new(),
        refused: Vec::new(),
        payload,
    }
}

impl FakeView {
    fn check(&self) -> Result<(), QueryError> {
        if self.broken {
            Err(QueryError::Failed("the store file 7.parquet is damaged".to_owned()))
        } else {
            Ok(())
        }
    }
}

impl GatewayView for FakeView {
    fn ledger(&self, filter: &LedgerFilter) -> Result<Ledger, QueryError> {
        self.check()?;
        let mut ledger = ledger();
        if *filter != LedgerFilter::default() {
            ledger.observations.flushed = None;
        }
        Ok(ledger)
    }

    fn observations(
        &self,
        query: &ObservationQuery,
        each: &mut dyn FnMut(&ObservationRow<'_>) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let rows = rows();
        let limit = query.limit.unwrap_or(u64::MAX);
        let many = (0..self.many.unwrap_or(0)).map(|position| ObservationRow { position, ..rows[0] });
        let few = rows.iter().copied().filter(|row| {
            let [agency, station, property] = row.datastream.splitn(3, '/').collect::<Vec<_>>()[..] else {
                panic!("three parts")
            };
            self.many.is_none()
                && query.datastream.includes(agency, station, property)
                && query.from_us.is_none_or(|from| row.phenomenon_time_us >= from)
                && query.to_us.is_none_or(|to| row.phenomenon_time_us < to)
                && (query.revisions || row.revision == 0 || query.datastream == DatastreamSelector::All)
        });
        for row in many.chain(few).take(usize::try_from(limit).unwrap_or(usize::MAX)) {
            if each(&row).is_break() {
                return Ok(());
            }
        }
        self.check()
    }

    fn has_more_than(&self, _: &ObservationQuery, limit: u64) -> Result<bool, QueryError> {
        Ok(self.many.unwrap_or(5) > limit)
    }

    /// One value per minute; of a slow view none, until nobody waits any more.
    fn numbers(
        &self,
        _: u32,
        times_us: Range<i64>,
        cancel: &Cancel,
        each: &mut dyn FnMut(i64, f64),
    ) -> Result<Option<String>, QueryError> {
        self.check()?;
        if self.slow {
            while !cancel.is_cancelled() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            return Err(QueryError::Cancelled);
        }
        let minutes = (times_us.end - times_us.start) / 60_000_000;
        (0..minutes.min(50_000)).for_each(|minute| each(times_us.start + minute * 60_000_000, minute as f64));
        Ok(Some("ug/m3".to_owned()))
    }

    fn datastreams(&self, filter: &DatastreamFilter) -> Result<Vec<DatastreamInfo>, QueryError> {
        let datastream = |property: &str, phenomenon_time_us| DatastreamInfo {
            datastream: format!("H24.05/KHI003/{property}"),
            agency: "H24.05".to_owned(),
            station: "KHI003".to_owned(),
            property: property.to_owned(),
            period_s: None,
            domain: "environment".to_owned(),
            unit: None,
            phenomenon_time_us,
        };
        let known = filter.agency.as_deref().is_none_or(|agency| agency == "H24.05");
        let mut list = match known {
            true => vec![datastream("door", None), datastream("pm2_5", Some(TIME_US))],
            false => Vec::new(),
        };
        list.retain(|entry| filter.after.as_ref().is_none_or(|(after, _)| entry.datastream > *after));
        list.truncate(filter.limit.unwrap_or(u64::MAX) as usize);
        Ok(list)
    }

    fn quarantine_list(&self, filter: &QuarantineFilter) -> Result<Vec<QuarantineEntry>, QueryError> {
        Ok(Some(quarantined().entry).filter(|entry| filter.includes(entry)).into_iter().collect())
    }

    fn quarantine_show(&self, position: u64) -> Result<Vec<QuarantineItem>, QueryError> {
        Ok(Some(quarantined()).filter(|item| item.entry.position == position).into_iter().collect())
    }

    fn quarantine_export(
        &self,
        filter: &QuarantineFilter,
        each: &mut dyn FnMut(&QuarantineItem) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        Some(quarantined()).filter(|item| filter.includes(&item.entry)).iter().try_for_each(each)
    }

    fn settle(
        &self,
        request: &SettleRequest,
        told: &mut dyn FnMut(&SettleReport) -> ControlFlow<()>,
    ) -> Result<SettleReport, QueryError> {
        let SettleRequest { change, selection, dry_run } = request;
        let entry = quarantined().entry;
        let is_meant = selection.filter.includes(&entry)
            && (selection.positions.is_empty() || selection.positions.contains(&entry.position));
        let count = |wanted| u64::from(is_meant && *change == wanted);
        let report = SettleReport {
            dry_run: *dry_run,
            looked_at: u64::from(is_meant),
            decoded: count(Change::Replay),
            readings: 2 * count(Change::Replay),
            erased: count(Change::Erase),
            ..SettleReport::default()
        };
        match told(&report) {
            ControlFlow::Continue(()) => Ok(report),
            ControlFlow::Break(()) => Err(QueryError::Cancelled),
        }
    }

    fn messages(
        &self,
        agency: &str,
        station: &str,
        limit: usize,
        _: &Cancel,
    ) -> Result<Option<StationMessages>, QueryError> {
        if self.things.datastreams_of(agency, station).is_none() {
            return Ok(None);
        }
        let message = |position, payload: &[u8]| RawMessage {
            position,
            receive_time_us: TIME_US,
            client: "box-1".to_owned(),
            topic: format!("obs/{agency}/{station}"),
            qos: 1,
            dup: false,
            payload: payload.to_vec(),
        };
        let mut messages = vec![message(9, b"\xff\x00"), message(8, "{\"m\":\"m\u{1b0}a\"}".as_bytes())];
        messages.truncate(limit);
        Ok(Some(StationMessages { messages, recycled: 3 }))
    }

    fn tap(&self) -> &Arc<ObservationTap> {
        &self.tap
    }

    fn readiness(&self) -> Readiness {
        let ready = !self.not_ready.load(Ordering::Relaxed);
        let reasons = if ready { Vec::new() } else { vec!["the journal has no segment ready".to_owned()] };
        Readiness {
            ready,
            reasons,
            clock: ClockState::Synchronised,
            disk_hours_left: Some(1234.5),
            states: Vec::new(),
            budgets: Vec::new(),
            destinations: Vec::new(),
        }
    }

    fn things(&self) -> &Things {
        &self.things
    }

    fn now_us(&self) -> i64 {
        TIME_US + 60_000_000
    }

    fn clock_skew_max_us(&self) -> i64 {
        300_000_000
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
