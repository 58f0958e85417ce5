//! Sessions against decoder, books, quarantine and a catalogue whose commits fail and whose gateway dies (B1-5, P3, P6): whatever
//! dies in between, each position is settled once, and the books balance.

use std::ops::ControlFlow;
use std::sync::{Arc, RwLock};

use codecs::mqtt::ProtocolVersion;

use super::*;
use crate::books::{Books, Ledger, LedgerFilter};
use crate::catalogue::{Catalogue, Checkpoint, Commit, CommitFault, History, MemoryCatalogue};
use crate::observation::{ObservationFrame, Settlement};
use crate::pipeline::dictionary::{Dictionary, DictionaryLimits};
use crate::pipeline::resend::ResendWindow;
use crate::pipeline::{MessageDecoder, TimeBounds};
use crate::quarantine_quota::QuarantineQuota;
use crate::record::{CONTROL_HEAD_LEN, Control, QOS_1};
use crate::registry::SharedRegistry;
use crate::retention::RetentionSpans;
use crate::rules::{Ranks, SameTime};
use crate::sinks::Quarantine;

const NOW_US: i64 = 1_790_000_000_000_000;
const DAY_US: i64 = 86_400_000_000;
const MESSAGES: u64 = 30;

/// What outlives a gateway: the catalogue, and the journal's control records behind the messages.
#[derive(Default)]
struct Disk {
    catalogue: MemoryCatalogue,
    journal: Vec<(u8, Vec<u8>)>,
}

/// One life of a gateway, from the last commit on.
struct Life<'a> {
    disk: &'a mut Disk,
    registry: SharedRegistry,
    decoder: MessageDecoder,
    books: Books,
    quarantine: Quarantine,
    quota: Arc<QuarantineQuota>,
    checkpoint: Checkpoint,
    /// Control records that are appended and not durable.
    waiting: Vec<(u8, Vec<u8>)>,
    /// Dies at this append, counted down.
    dies_at_append: Option<usize>,
}

impl<'a> Life<'a> {
    fn start(disk: &'a mut Disk, backfill_days: i64) -> Self {
        let snapshot = disk.catalogue.load().unwrap();
        let mut registry = crate::registry::Registry::default();
        snapshot.definitions.iter().for_each(|definition| registry.apply(definition));
        let hot = registry
            .datastreams()
            .iter()
            .map(|datastream| crate::pipeline::hot::HotRow::new(datastream.unit, None, false))
            .collect();
        let registry: SharedRegistry = Arc::new(RwLock::new(registry));
        let limits = DictionaryLimits {
            clients_max: 100,
            agencies_max: 10,
            stations_per_agency_max: 10,
            datastreams_per_station_max: 10,
            datastreams_max: 50,
            symbols_max: 20,
        };
        let bounds = TimeBounds {
            backfill_max_us: backfill_days * DAY_US,
            clock_skew_max_us: 0,
            retention: RetentionSpans::default(),
        };
        let decoder = MessageDecoder::new(
            Dictionary::new(registry.clone(), limits),
            hot,
            ResendWindow::new(100),
            bounds,
            Ranks::default(),
            SameTime::default(),
        );
        let quota =
            Arc::new(QuarantineQuota::new(1 << 30, 1 << 30, snapshot.quarantine_of_clients.iter().cloned()));
        let mut life = Self {
            books: Books::new(100, &snapshot.checkpoint, &snapshot.books),
            quarantine: Quarantine::new(quota.clone(), &snapshot.checkpoint),
            checkpoint: snapshot.checkpoint,
            disk,
            registry,
            decoder,
            quota,
            waiting: Vec::new(),
            dies_at_append: None,
        };
        life.fold_journal();
        life
    }

    /// Old and new readings by turns, every third message in garbage.
    fn receive(&mut self) {
        let mut frame = ObservationFrame::default();
        for number in 1..=MESSAGES {
            let time_s = (NOW_US - number as i64 % 2 * 100 * DAY_US) / 1_000_000;
            let payload = match number % 3 {
                0 => "{oops".to_owned(),
                _ => format!(r#"{{"time":{time_s},"readings":[{{"property":"a","value":{number}}}]}}"#),
            };
            let message = Message {
                version: ProtocolVersion::V5,
                client: b"box",
                topic: b"obs/A/S",
                payload: payload.as_bytes(),
                ..Message::of_flags(QOS_1, 7)
            };
            self.decoder.decode(&message, number, NOW_US, &mut frame);
        }
        frame.info.next_message_no = MESSAGES + 1;
        self.fold(frame, 1);
        self.commit().unwrap();
    }

    /// The records that no commit reflects yet.
    fn fold_journal(&mut self) {
        // Record 1 stands for all messages.
        let reflected = self.checkpoint.next_record_no.saturating_sub(2) as usize;
        for index in reflected..self.disk.journal.len() {
            let (kind, body) = self.disk.journal[index].clone();
            let control = Control::parse(kind, &body).expect("a control record");
            let mut frame = ObservationFrame::default();
            let settled = match &control {
                Control::Replay { entry, refused, message } => {
                    self.decoder.replay(entry, refused, message, NOW_US + 1, &mut frame)
                }
                Control::Erase { .. } => crate::observation::Settled::Erased,
            };
            let record_no = index as u64 + 2;
            frame.settlements.push(Settlement {
                record_no,
                settled_us: NOW_US + 1,
                entry: *control.entry(),
                client: String::from_utf8_lossy(control.client()).into_owned(),
                settled,
            });
            frame.info.next_message_no = MESSAGES + 1;
            self.fold(frame, record_no);
        }
    }

    fn fold(&mut self, mut frame: ObservationFrame, record_no: u64) {
        frame.frame_no = self.checkpoint.observation_frame_no + 1;
        frame.first_obs_no = self.checkpoint.next_obs_no;
        frame.info.time_us = NOW_US;
        self.books.apply(&frame);
        self.quarantine.apply(&frame, &self.registry.read().unwrap());
        self.checkpoint.observation_frame_no = frame.frame_no;
        self.checkpoint.next_obs_no += frame.rows.len() as u64;
        self.checkpoint.next_record_no = record_no + 1;
        self.checkpoint.next_message_no = frame.info.next_message_no;
    }

    fn commit(&mut self) -> Result<(), SettleError> {
        let registry = self.registry.read().unwrap();
        let commit = Commit {
            checkpoint: self.checkpoint.clone(),
            definitions: definitions(&registry),
            books: self.books.delta(&registry, 0, 0),
            quarantine: self.quarantine.delta(),
            ..Commit::default()
        };
        drop(registry);
        self.disk.catalogue.commit(&commit)?;
        self.books.committed(&commit.books);
        self.quarantine.committed(&commit.quarantine);
        Ok(())
    }

    fn ledger(&self) -> Ledger {
        let registry = self.registry.read().unwrap();
        let part = self.books.ledger(&LedgerFilter::default(), &registry, MESSAGES);
        part.complete(&mut self.disk.catalogue.clone()).unwrap()
    }

    fn run(&mut self, change: Change, dry_run: bool) -> Result<SettleReport, SettleError> {
        let selection = Selection { positions: Vec::new(), filter: QuarantineFilter::default() };
        let request = SettleRequest { change, selection, dry_run };
        let mut history = self.disk.catalogue.clone();
        let no_dry_run = || unreachable!("nothing is asked for dry here");
        run(self, &mut history, &request, no_dry_run, &mut |_| ControlFlow::Continue(()))
    }
}

/// All that a registry knows, as definitions.
fn definitions(registry: &crate::registry::Registry) -> Vec<crate::observation::Definition> {
    use crate::observation::Definition;
    let agencies = (1..registry.agency_count())
        .map(|id| Definition::Agency { id, code: registry.agency(id).to_string() });
    let clients = (1..registry.client_count())
        .map(|id| Definition::Client { id, name: registry.client(id).to_string() });
    let stations = (1..registry.station_count()).map(|id| {
        let station = registry.station(id);
        Definition::Station { id, agency: station.agency, code: station.code.to_string() }
    });
    let symbols = (1..registry.symbol_count())
        .map(|id| Definition::Symbol { id, text: registry.symbol(id).to_string() });
    let datastreams = (0..).zip(registry.datastreams()).map(|(id, datastream)| Definition::Datastream {
        id,
        station: datastream.station,
        property: datastream.property.to_string(),
        period_s: datastream.period_s,
        domain: datastream.domain.to_string(),
        unit: datastream.unit,
    });
    agencies.chain(clients).chain(stations).chain(symbols).chain(datastreams).collect()
}

impl ChangePort for Life<'_> {
    fn body_bytes_max(&self) -> usize {
        1 << 20
    }

    fn append(&mut self, control: &Control<'_>) -> Result<(), SettleError> {
        if let Some(left) = &mut self.dies_at_append {
            *left = left.checked_sub(1).ok_or(SettleError::Unavailable("it died".to_owned()))?;
        }
        let body = control.with_body(|parts| parts.concat());
        assert!(body.len() >= CONTROL_HEAD_LEN);
        self.waiting.push((control.kind(), body));
        // The journal's frames are synced in between as they fill.
        if self.waiting.len() == 4 {
            self.disk.journal.append(&mut self.waiting);
        }
        Ok(())
    }

    fn barrier(&mut self) -> Result<(), SettleError> {
        self.disk.journal.append(&mut self.waiting);
        self.fold_journal();
        self.commit()
    }
}

fn quarantined(disk: &Disk) -> u64 {
    disk.catalogue.clone().quarantine_totals().unwrap().entries
}

fn check(life: &Life<'_>) {
    let ledger = life.ledger();
    let (messages, observations) = (ledger.messages, ledger.observations);
    assert_eq!(messages.received, MESSAGES);
    assert_eq!(
        messages.received,
        messages.decoded + messages.partial + messages.quarantined + messages.ignored
    );
    let parts =
        observations.inserted + observations.duplicate + observations.unresolved + observations.quarantined;
    assert_eq!(observations.total, parts);
    assert_eq!(life.quota.bytes(), {
        let mut catalogue = life.disk.catalogue.clone();
        catalogue.quarantine_totals().unwrap().bytes
    });
}

/// The session dies at every append, and each commit behind it is lost, done and not told, or fails for space.
#[test]
fn b1_5_whatever_dies_in_a_replay_each_position_is_settled_once() {
    for fault in [None, Some(CommitFault::Lost), Some(CommitFault::DoneAndLost), Some(CommitFault::NoSpace)] {
        for dies_at in 0..22 {
            let mut disk = Disk::default();
            Life::start(&mut disk, 10).receive();
            // 10 messages of garbage, and 10 of the others are old.
            assert_eq!(quarantined(&disk), 20);
            let mut life = Life::start(&mut disk, 1_000);
            life.dies_at_append = Some(dies_at);
            if let Some(fault) = fault {
                // The first commit is that of the barrier at the beginning.
                life.disk.catalogue.fail_commit(1, fault);
            }
            let ended = life.run(Change::Replay, false);
            assert_eq!(ended.is_ok(), fault.is_none() && dies_at >= 20, "{fault:?} {dies_at}");
            // What was not durable is gone with the process; a fault that was not reached comes now.
            while Life::start(&mut disk, 1_000).run(Change::Replay, false).is_err() {}
            let mut life = Life::start(&mut disk, 1_000);
            check(&life);
            assert_eq!(quarantined(life.disk), 10);
            let ledger = life.ledger();
            assert_eq!((ledger.settled.messages, ledger.settled.readings), (10, 10), "{fault:?} {dies_at}");
            assert_eq!((ledger.messages.decoded, ledger.observations.quarantined), (20, 0));
            let settlements = life.disk.catalogue.clone().settlements(0, 100).unwrap();
            let mut positions: Vec<u64> = settlements.iter().map(|row| row.position).collect();
            positions.dedup();
            assert_eq!((positions.len(), settlements.last().map(|row| row.settlement_no)), (10, Some(10)));
            // Again: nothing.
            let again = life.run(Change::Replay, false).unwrap();
            assert_eq!((again.looked_at, again.refused), (10, 10));
            assert_eq!(life.ledger().settled, ledger.settled);
            let erased = life.run(Change::Erase, false).unwrap();
            assert_eq!((erased.erased, quarantined(life.disk)), (10, 0));
            check(&life);
            assert_eq!(life.quota.bytes(), 0);
            let ledger = life.ledger();
            assert_eq!((ledger.messages.quarantined, ledger.settled.erased_messages), (10, 10));
        }
    }
}

/// The list of reasons is closed: the operator's page says of each what to do.
#[test]
fn b1_5_the_operators_page_names_every_reason() {
    let page = include_str!("../../../docs/operations/quarantine.md");
    let of_pipeline = [
        "format_unknown",
        "topic_invalid",
        "registry_limit",
        "time_out_of_range",
        "retention",
        "seq_invalid",
    ];
    let of_decoders = codecs::payload::ErrorKind::ALL.iter().map(|kind| kind.as_str());
    for reason in of_decoders.chain(of_pipeline) {
        assert!(page.contains(&format!("`{reason}`")), "{reason}");
    }
}

/// The hour of the messages is forgotten before their replay (`retention.books_days`): the settlements keep the right names, the
/// whole balances, and a narrowed ledger shows neither the hour nor what was changed in it, at no moment.
#[test]
fn b1_5_b1_7_a_replay_into_hours_that_the_books_have_forgotten() {
    let mut disk = Disk::default();
    Life::start(&mut disk, 10).receive();
    let hour = crate::books::hour_of(NOW_US);
    let closed = |hour| crate::catalogue::BookHour {
        hour,
        first_message_no: 1,
        next_message_no: MESSAGES + 1,
        digest: Some([1; 32]),
    };
    let snapshot = disk.catalogue.load().unwrap();
    let books = crate::catalogue::BooksDelta {
        totals: snapshot.books.totals,
        hours: vec![closed(hour), closed(hour + 1)],
        ..Default::default()
    };
    let forgetting = Commit {
        checkpoint: snapshot.checkpoint,
        books,
        forget_books_before: Some(hour + 1),
        ..Commit::default()
    };
    disk.catalogue.commit(&forgetting).unwrap();
    assert_eq!(disk.catalogue.clone().forgotten_to_hour().unwrap(), Some(hour));

    let mut life = Life::start(&mut disk, 1_000);
    assert_eq!(life.run(Change::Replay, false).unwrap().decoded, 10);
    check(&life);
    let settlements = life.disk.catalogue.clone().settlements(0, 100).unwrap();
    assert_eq!(settlements.len(), 10);
    for row in &settlements {
        assert_eq!((row.from, row.to), (row.to, row.from), "replayed under its own names");
        assert!(![row.from.agency, row.from.client].contains(&crate::catalogue::OTHER_ID), "{row:?}");
    }
    let narrowed = |life: &Life<'_>, filter: LedgerFilter| {
        let part = life.books.ledger(&filter, &life.registry.read().unwrap(), MESSAGES);
        part.complete(&mut life.disk.catalogue.clone()).unwrap()
    };
    let of_box = LedgerFilter { client: Some("box".to_owned()), ..LedgerFilter::default() };
    let of_hour = LedgerFilter { from_us: Some(NOW_US), to_us: Some(NOW_US + 1), ..LedgerFilter::default() };
    for filter in [of_box, of_hour] {
        let ledger = narrowed(&life, filter.clone());
        let counts = (ledger.messages.received, ledger.observations.total, ledger.settled.messages);
        assert_eq!(counts, (0, 0, 0), "{filter:?}");
        // Also while what is changed waits for its commit.
        life.disk.catalogue.fail_commit(1, CommitFault::NoSpace);
        let _ = life.run(Change::Erase, false);
        let ledger = narrowed(&life, filter);
        assert_eq!((ledger.messages.received, ledger.settled.erased_messages), (0, 0));
    }
}
