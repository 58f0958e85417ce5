//! What HTTP and command line may ask of a gateway, running or opened for the question.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use codecs::payload::Value;

use super::EngineError;
use super::change_port::{OfflinePort, Settling};
use super::open::Opened;
use super::raw;
use super::world::World;
use crate::books::{Books, Ledger, LedgerFilter};
use crate::cancel::Cancel;
use crate::catalogue::{
    CatalogueError, DatastreamState, History, QuarantineEntry, QuarantineFilter, QuarantineItem,
};
use crate::cli::{Access, Damage};
use crate::clock::{Clock, synchronised};
use crate::config::Config;
use crate::disk::{Disk, ReaderLock};
use crate::feeds::ObservationTap;
use crate::health::{Health, Trouble};
use crate::journal::Lanes;
use crate::keeper::{Shared, lock};
use crate::metrics::Metrics;
use crate::query::{
    ClockState, DatastreamFilter, DatastreamInfo, DatastreamSelector, GatewayView, ObservationQuery,
    ObservationRow, QueryError, RawMessage, Readiness, StationMessages,
};
use crate::registry::{Registry, SharedRegistry};
use crate::settle::{self, SettleError, SettleReport, SettleRequest};
use crate::sinks::Quarantine;
use crate::store::{NumberRow, NumberValue, Order, Query, StoreError, StoreReader, StoredValue};
use crate::things::{Directory, Freshness, Things};

/// Reads what the stages share; never waits for one of them longer than for a frame to be folded.
pub(super) struct EngineView {
    books: Shared<Books>,
    quarantine: Shared<Quarantine>,
    registry: SharedRegistry,
    store: StoreReader,
    metrics: Arc<Metrics>,
    lanes: Arc<Lanes>,
    health: Arc<Health>,
    states: Shared<Vec<DatastreamState>>,
    things: Things,
    clock: Arc<dyn Clock>,
    clock_skew_max_us: i64,
    disk: Arc<dyn Disk>,
    tap: Arc<ObservationTap>,
    history: Mutex<Box<dyn History>>,
    /// `None`: this view takes no changes.
    settling: Mutex<Option<Settling>>,
    /// Of a directory that nobody runs: no gateway removes what is read here.
    _reader: Option<ReaderLock>,
}

impl std::fmt::Debug for EngineView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineView").finish_non_exhaustive()
    }
}

/// A station's newest messages are looked for among its rows of so long before its newest one: an hour, a day, 30 days.
const MESSAGE_SPANS_US: [i64; 3] = [3_600_000_000, 86_400_000_000, 30 * 86_400_000_000];
/// Rows that are looked at for it.
const MESSAGE_ROWS_MAX: usize = 50_000;

/// Datastreams that are looked at under one lock of the registry.
const DATASTREAMS_AT_ONCE: usize = 16_384;

/// Settles a directory that no gateway runs on, and lets questions be asked of it.
pub(super) fn offline(mut opened: Opened, access: Access) -> Result<EngineView, EngineError> {
    opened.settle()?;
    // An answer without what could not be committed would lack some of the quarantine and of the books.
    if access == Access::Read && !opened.is_settled() {
        return Err(EngineError::Unsettled);
    }
    // To read, the lock goes with `opened`, so that a slow reader of the answer keeps no gateway from starting: what is asked for
    // lies in files and in the catalogue by now. Files that such a gateway replaces stay for as long as the readers' lock is held.
    let data_dir = &opened.config.data_dir;
    let reader = ReaderLock::take(data_dir)
        .map_err(|source| EngineError::Io { what: data_dir.display().to_string(), source })?;
    let view = EngineView::new(&mut opened, Directory::of_communes()?)?;
    if access == Access::Change {
        let (history, config) = (opened.stages.keeper.history()?, opened.config.clone());
        view.take_changes(Settling::new(Box::new(OfflinePort::new(opened)), history, config));
    }
    Ok(EngineView { _reader: Some(reader), ..view })
}

/// The same for reading only, where nothing can be written: what would be written stays in memory.
pub(super) fn of_copy(mut config: Arc<Config>, damage: Damage) -> Result<EngineView, EngineError> {
    // Segments take no space here, so their budget is no reason to refuse.
    let journal = &mut Arc::make_mut(&mut config).journal;
    journal.log_bytes_max = journal.log_bytes_max.saturating_add(8 * journal.segment_bytes_max);
    let (world, disk) = World::of_copy(&config)?;
    let view = offline(Opened::open(&config, damage, world)?, Access::Read)?;
    disk.show_real_space();
    Ok(view)
}

impl EngineView {
    pub(super) fn new(opened: &mut Opened, directory: Directory) -> Result<Self, EngineError> {
        let states = opened.stages.keeper.states();
        let freshness = Freshness {
            fresh_max_s: opened.config.api.fresh_max_s,
            late_max_s: opened.config.api.late_max_s,
        };
        Ok(Self {
            things: Things::new(directory, opened.registry.clone(), states.clone(), freshness),
            clock: opened.clock.clone(),
            clock_skew_max_us: i64::from(opened.config.pipeline.clock_skew_max_s) * 1_000_000,
            disk: opened.disk.clone(),
            tap: Arc::default(),
            books: opened.books.clone(),
            quarantine: opened.quarantine.clone(),
            registry: opened.registry.clone(),
            store: opened.store.clone(),
            metrics: opened.metrics.clone(),
            lanes: opened.lanes.clone(),
            health: opened.health.clone(),
            states,
            history: Mutex::new(opened.stages.keeper.history()?),
            settling: Mutex::new(None),
            _reader: None,
        })
    }

    /// What a gateway that waits for space has to say of itself.
    pub(super) fn tell_full_disk(&self) {
        self.health.set(Trouble::JournalFull, true);
        self.health.set(Trouble::DiskFull, true);
        self.health.watch(self.clock.monotonic_us());
    }

    /// From here on operators may replay and erase.
    pub(super) fn take_changes(&self, settling: Settling) {
        *self.settling.lock().unwrap_or_else(PoisonError::into_inner) = Some(settling);
    }

    fn describe(&self, datastreams: &[(Arc<str>, u32, u32)], list: &mut Vec<DatastreamInfo>) {
        // Copied, so that the keeper does not wait while names are written.
        let watermarks: Vec<i64> = {
            let states = lock(&self.states);
            let watermark = |id: u32| states.get(id as usize).map_or(i64::MIN, |state| state.watermark_us);
            datastreams.iter().map(|(.., id)| watermark(*id)).collect()
        };
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        list.extend(datastreams.iter().zip(watermarks).map(|((.., id), watermark_us)| {
            let datastream = registry.datastream(*id);
            let station = registry.station(datastream.station);
            DatastreamInfo {
                datastream: datastream.name.to_string(),
                agency: registry.agency(station.agency).to_string(),
                station: station.code.to_string(),
                property: datastream.property.to_string(),
                period_s: (datastream.period_s != 0).then_some(datastream.period_s),
                domain: datastream.domain.to_string(),
                unit: (datastream.unit != 0).then(|| registry.symbol(datastream.unit).to_string()),
                phenomenon_time_us: Some(watermark_us).filter(|time_us| *time_us != i64::MIN),
            }
        }));
    }

    fn with_history<T>(
        &self,
        ask: impl FnOnce(&mut dyn History) -> Result<T, CatalogueError>,
    ) -> Result<T, QueryError> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut **history).map_err(catalogue_error)
    }

    /// The store's form of a query; `None` = it means no datastream.
    fn store_query(&self, query: &ObservationQuery) -> Option<Query> {
        let datastreams = match &query.datastream {
            DatastreamSelector::All => Vec::new(),
            selector => {
                let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
                Some(self.select(&registry, selector)).filter(|datastreams| !datastreams.is_empty())?
            }
        };
        Some(Query {
            datastreams,
            from_us: query.from_us.unwrap_or(i64::MIN),
            to_us: query.to_us.unwrap_or(i64::MAX),
            limit: query.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            revisions: query.revisions,
            ..Query::default()
        })
    }

    /// Numbers of the datastreams that a selector means.
    fn select(&self, registry: &Registry, selector: &DatastreamSelector) -> Vec<u32> {
        if let DatastreamSelector::Exact { agency, station, property } = selector {
            return registry.datastream_ids(&format!("{agency}/{station}/{property}")).to_vec();
        }
        let included = |(id, datastream): (usize, &crate::registry::Datastream)| {
            let station = registry.station(datastream.station);
            let agency = registry.agency(station.agency);
            selector.includes(agency, &station.code, &datastream.property).then_some(id as u32)
        };
        registry.datastreams().iter().enumerate().filter_map(included).collect()
    }
}

fn catalogue_error(error: CatalogueError) -> QueryError {
    if error.is_backpressure() {
        QueryError::Unavailable(error.to_string())
    } else {
        EngineError::from(error).of_question()
    }
}

fn settle_error(error: SettleError) -> QueryError {
    match error {
        SettleError::Catalogue(error) => catalogue_error(error),
        SettleError::Cancelled => QueryError::Cancelled,
        SettleError::Unavailable(sentence) => QueryError::Unavailable(sentence),
        SettleError::Failed(sentence) => QueryError::Failed(sentence),
    }
}

fn query_error(error: StoreError) -> QueryError {
    match error {
        StoreError::Cancelled => QueryError::Cancelled,
        other => EngineError::from(other).of_question(),
    }
}

impl GatewayView for EngineView {
    fn ledger(&self, filter: &LedgerFilter) -> Result<Ledger, QueryError> {
        // Processed is read under the books' lock, durable before it: so durable is never behind.
        let part = {
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            let durable = self.lanes.positions.durable_messages.load(Ordering::Acquire);
            lock(&self.books).ledger(filter, &registry, durable)
        };
        self.with_history(|history| part.complete(history))
    }

    fn observations(
        &self,
        query: &ObservationQuery,
        each: &mut dyn FnMut(&ObservationRow<'_>) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let Some(store_query) = self.store_query(query) else { return Ok(()) };
        let scan = self.store.scan_until(&store_query, &query.cancel);
        let mut names: Vec<Option<Arc<str>>> = Vec::new();
        for row in scan {
            let row = row.map_err(query_error)?;
            let index = row.datastream as usize;
            if names.len() <= index {
                names.resize(index + 1, None);
            }
            let name = names[index].get_or_insert_with(|| {
                self.registry
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .datastream(row.datastream)
                    .name
                    .clone()
            });
            let flow = each(&ObservationRow {
                datastream: name,
                phenomenon_time_us: row.time_us,
                result_time_us: row.result_time_us,
                result: match &row.value {
                    StoredValue::Number(number) => Value::Number(*number),
                    StoredValue::Boolean(value) => Value::Boolean(*value),
                    StoredValue::Text(text) => Value::Text(text),
                    StoredValue::Null => Value::Null,
                },
                unit: (!row.unit.is_empty()).then_some(&*row.unit),
                period_s: (row.period_s != 0).then_some(row.period_s),
                quality: row.quality,
                status: (!row.status.is_empty()).then_some(&*row.status),
                revision: row.revision,
                seq: row.seq,
                position: row.position,
            });
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn has_more_than(&self, query: &ObservationQuery, limit: u64) -> Result<bool, QueryError> {
        let Some(store_query) = self.store_query(query) else { return Ok(false) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.store.has_more_than(&store_query, limit, &query.cancel).map_err(query_error)
    }

    fn numbers(
        &self,
        datastream: u32,
        times_us: Range<i64>,
        cancel: &Cancel,
        each: &mut dyn FnMut(i64, f64),
    ) -> Result<Option<String>, QueryError> {
        let of_property = {
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            registry.datastreams().get(datastream as usize).map_or(0, |datastream| datastream.unit)
        };
        // A property that no catalogue knows has the unit that it was last sent in.
        let as_sent = || lock(&self.states).get(datastream as usize).map_or(0, |state| state.unit);
        let unit = if of_property == 0 { as_sent() } else { of_property };
        let query = Query {
            datastreams: vec![datastream],
            from_us: times_us.start,
            to_us: times_us.end,
            ..Query::default()
        };
        let mut fold = |row: NumberRow| match row.value {
            // What came in a unit that could not be converted is another quantity.
            NumberValue::Number(number) if row.unit == unit => each(row.time_us, number),
            NumberValue::Number(_) => {}
            NumberValue::Boolean(value) => each(row.time_us, f64::from(u8::from(value))),
        };
        self.store.numbers(&query, cancel, &mut fold).map_err(query_error)?;
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        Ok((unit != 0).then(|| registry.symbol(unit).to_string()))
    }

    fn messages(
        &self,
        agency: &str,
        station: &str,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Option<StationMessages>, QueryError> {
        let Some(datastreams) = self.things.datastreams_of(agency, station) else { return Ok(None) };
        let newest_us = {
            let states = lock(&self.states);
            let times = datastreams.iter().filter_map(|id| states.get(*id as usize));
            times.map(|state| state.watermark_us).max().unwrap_or(i64::MIN)
        };
        if newest_us == i64::MIN {
            return Ok(Some(StationMessages::default()));
        }
        let mut query = Query {
            datastreams,
            limit: Some(MESSAGE_ROWS_MAX),
            order: Order::NewestFirst,
            ..Query::default()
        };
        let mut positions = BTreeSet::new();
        for span_us in MESSAGE_SPANS_US {
            query.from_us = newest_us.saturating_sub(span_us);
            for row in self.store.scan_until(&query, cancel) {
                positions.insert(row.map_err(query_error)?.position);
                if positions.len() >= limit {
                    break;
                }
            }
            if positions.len() >= limit {
                break;
            }
        }
        let positions: Vec<u64> = positions.into_iter().collect();
        let mut found = raw::read(&self.disk, &positions, cancel)?;
        let messages: Vec<RawMessage> =
            positions.iter().rev().filter_map(|position| found.remove(position)).collect();
        let recycled = positions.len() - messages.len();
        Ok(Some(StationMessages { messages, recycled }))
    }

    fn tap(&self) -> &Arc<ObservationTap> {
        &self.tap
    }

    fn datastreams(&self, filter: &DatastreamFilter) -> Result<Vec<DatastreamInfo>, QueryError> {
        let (agency, station) = match filter.station.as_deref() {
            Some(station) => match station.split_once('/') {
                Some((agency, code)) => (Some(agency), Some(code)),
                None => (None, Some(station)),
            },
            None => (None, None),
        };
        let behind = |name: &str, period_s: u32| {
            filter.after.as_ref().is_none_or(|(after, of)| (name, period_s) > (after.as_str(), *of))
        };
        let mut wanted: Vec<(Arc<str>, u32, u32)> = Vec::new();
        let mut next = 0;
        loop {
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            let rest = registry.datastreams().get(next..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            for (id, datastream) in (next..).zip(rest.iter().take(DATASTREAMS_AT_ONCE)) {
                let of_station = registry.station(datastream.station);
                let of_agency: &str = registry.agency(of_station.agency);
                if filter.agency.as_deref().is_none_or(|wanted| wanted == of_agency)
                    && agency.is_none_or(|wanted| wanted == of_agency)
                    && station.is_none_or(|wanted| wanted == &*of_station.code)
                    && behind(&datastream.name, datastream.period_s)
                {
                    wanted.push((datastream.name.clone(), datastream.period_s, id as u32));
                }
                next = id + 1;
            }
        }
        wanted.sort();
        wanted
            .truncate(filter.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)));
        let mut list = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(DATASTREAMS_AT_ONCE) {
            self.describe(some, &mut list);
        }
        Ok(list)
    }

    fn quarantine_list(&self, filter: &QuarantineFilter) -> Result<Vec<QuarantineEntry>, QueryError> {
        let listing = lock(&self.quarantine).list(filter);
        // A step at a time: a long walk lets others have the catalogue in between.
        listing.complete(|walk| {
            if filter.cancel.is_cancelled() {
                return Err(QueryError::Cancelled);
            }
            self.with_history(|history| history.quarantine_page(walk))
        })
    }

    fn quarantine_export(
        &self,
        filter: &QuarantineFilter,
        each: &mut dyn FnMut(&QuarantineItem) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let export = lock(&self.quarantine).export(filter);
        export.complete(|walk| self.with_history(|history| history.quarantine_page(walk)), each)
    }

    fn settle(
        &self,
        request: &SettleRequest,
        told: &mut dyn FnMut(&SettleReport) -> ControlFlow<()>,
    ) -> Result<SettleReport, QueryError> {
        let Ok(mut settling) = self.settling.try_lock() else {
            let sentence = "another replay or erasure is under way; ask again when it has ended";
            return Err(QueryError::Unavailable(sentence.to_owned()));
        };
        let Some(settling) = settling.as_mut() else {
            return Err(QueryError::Unavailable("the gateway takes no changes yet; ask again".to_owned()));
        };
        let config = settling.config();
        let names = || self.registry.read().unwrap_or_else(PoisonError::into_inner).clone();
        let dry_run = || Settling::dry_run(&config, names(), self.clock.receive_time_us());
        settle::run(&mut *settling.port, &mut *settling.history, request, dry_run, told).map_err(settle_error)
    }

    fn quarantine_show(&self, position: u64) -> Result<Vec<QuarantineItem>, QueryError> {
        let showing = lock(&self.quarantine).show(position);
        self.with_history(|history| showing.complete(history))
    }

    fn readiness(&self) -> Readiness {
        let clock = match synchronised() {
            Some(true) => ClockState::Synchronised,
            Some(false) => ClockState::NotSynchronised,
            None => ClockState::Unknown,
        };
        let reasons = self.health.reasons();
        let budgets = self.health.budgets().map(|budgets| budgets.all()).unwrap_or_default();
        let disk = budgets.iter().find(|budget| budget.budget == "disk");
        Readiness {
            ready: reasons.is_empty(),
            reasons,
            clock,
            disk_hours_left: disk.and_then(|budget| budget.hours_left),
            states: self.health.states(self.clock.monotonic_us()),
            destinations: self.health.budgets().map(|budgets| budgets.lags()).unwrap_or_default(),
            budgets,
        }
    }

    fn refresh_metrics(&self) {
        let next = self.lanes.positions.next_unprocessed_record.load(Ordering::Acquire);
        self.metrics.logs.holds("journal", "pipeline", next);
        if let Some(budgets) = self.health.budgets() {
            self.metrics.set_budgets(&budgets.all(), &budgets.lags(), self.health.all());
        }
    }

    fn things(&self) -> &Things {
        &self.things
    }

    fn now_us(&self) -> i64 {
        self.clock.receive_time_us()
    }

    fn clock_skew_max_us(&self) -> i64 {
        self.clock_skew_max_us
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
