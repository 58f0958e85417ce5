//! The reference model: what was sent, what was acknowledged, and so what must be there. It is dull on purpose: maps of what
//! clients know. It asks the gateway for rows, books and quarantine as anybody may, and never what is right.
//!
//! - A **message** is what a device means to say once; a **copy** is one PUBLISH of it. Re-sends are further copies.
//! - What was acknowledged or seen by a subscriber *must* be there; what was only sent *may* be there, whole, once.
//! - A dated reading is known by datastream, time and content; an undated one by datastream and content.
//! - What was seen once must be seen again, the same, for ever.

mod books;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use gateway::settle::{Change, SettleRequest};

use super::expiry::Expiry;
use super::plan::Rules;
use super::view::{Asked, QuarantineSeen, RowSeen};

pub(super) type MessageId = usize;

/// What a message should lead to.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    /// Every reading becomes a row or is known already.
    Readings(Vec<Expected>),
    /// Some do; the message is quarantined for the others, of which there are so many.
    Partial { readings: Vec<Expected>, bad: u64, reason: &'static str },
    /// Quarantined, with so many readings counted.
    Garbage { reason: &'static str, readings: u64 },
    /// Decoded like readings, or quarantined as a whole with so many of them counted: as the settings of the moment are.
    Refusable { readings: Vec<Expected>, reason: &'static str, counted: u64 },
    /// On an ordinary topic: routed, kept if it is retained.
    Plain,
}

#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) datastream: String,
    /// `None` = undated.
    pub(super) time_us: Option<i64>,
    pub(super) content: String,
    /// One of two values that its message has for one time.
    pub(super) is_one_of_two: bool,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) seq: Option<u64>,
    pub(super) meaning: Meaning,
    copies_sent: u64,
    copies_acked: u64,
    /// A copy was sent and not taken.
    was_refused: bool,
    first_sent: u64,
    /// Connection of the copy that was sent last; all connections are numbered.
    connection: u64,
    /// At most so often it can be lost on its way to a subscriber.
    qos: u8,
    /// By the wall clock.
    said_us: i64,
    /// The first proof that it is durable.
    first_proof: Option<u64>,
    clients: BTreeSet<String>,
}

impl Message {
    pub(super) fn must_be_there(&self) -> bool {
        self.first_proof.is_some()
    }
}

/// Copies of one client, by what becomes of them.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    received: u64,
    decoded: u64,
    partial: u64,
    quarantined: u64,
    ignored: u64,
    observations: u64,
    /// Messages that were decoded or quarantined, and their readings that may not have been counted.
    either: u64,
    perhaps: u64,
}

impl Sums {
    fn add(&mut self, meaning: &Meaning) {
        self.received += 1;
        match meaning {
            Meaning::Readings(readings) => {
                self.decoded += 1;
                self.observations += readings.len() as u64;
            }
            Meaning::Partial { readings, bad, .. } => {
                self.partial += 1;
                self.observations += readings.len() as u64 + bad;
            }
            Meaning::Garbage { readings, .. } => {
                self.quarantined += 1;
                self.observations += readings;
            }
            Meaning::Refusable { readings, counted, .. } => {
                self.either += 1;
                self.observations += counted;
                self.perhaps += readings.len() as u64 - counted;
            }
            Meaning::Plain => self.ignored += 1,
        }
    }

    fn subtract(&mut self, other: &Self) {
        self.received -= other.received;
        self.decoded -= other.decoded;
        self.partial -= other.partial;
        self.quarantined -= other.quarantined;
        self.ignored -= other.ignored;
        self.observations -= other.observations;
        self.either -= other.either;
        self.perhaps -= other.perhaps;
    }
}

/// Stations of this agency may be too many.
pub(super) const REFUSABLE_AGENCY: &str = "B/";

/// Positions that operators named for one change.
#[derive(Debug, Default)]
struct Named {
    positions: BTreeSet<u64>,
    /// Everything up to here.
    all_until: u64,
    /// The same for all times, while a session runs.
    all_now: bool,
}

impl Named {
    fn add(&mut self, request: &SettleRequest, until: u64) {
        self.positions.extend(&request.selection.positions);
        if request.selection.positions.is_empty() {
            self.all_now = until == u64::MAX;
            if !self.all_now {
                self.all_until = self.all_until.max(until);
            }
        }
    }

    fn names(&self, position: u64) -> bool {
        self.all_now || position <= self.all_until || self.positions.contains(&position)
    }
}

#[derive(Debug, Default)]
struct Sessions {
    replay: Named,
    erase: Named,
}

impl Sessions {
    fn of(&mut self, request: &SettleRequest) -> Option<&mut Named> {
        match request.change {
            _ if request.dry_run => None,
            Change::Replay => Some(&mut self.replay),
            Change::Erase => Some(&mut self.erase),
        }
    }
}

#[derive(Debug)]
pub(super) struct Model {
    /// Order of everything that clients do and learn.
    pub(super) now: u64,
    pub(super) messages: Vec<Message>,
    dated: BTreeMap<(String, i64), Vec<(String, MessageId)>>,
    undated: BTreeMap<(String, String), Vec<MessageId>>,
    quarantined: BTreeMap<Vec<u8>, MessageId>,
    /// Keys with two values of one message.
    twos: BTreeSet<(String, i64)>,
    sent: BTreeMap<String, Sums>,
    acked: BTreeMap<String, Sums>,
    /// Wills of clients whose connections broke off under a gateway that goes on.
    wills: BTreeMap<String, BTreeSet<MessageId>>,
    wills_due: Vec<(String, MessageId)>,
    /// Plain messages of a client that are proven to be durable.
    plain_proven: BTreeMap<String, BTreeSet<MessageId>>,
    rows_seen: BTreeMap<(String, i64, u32, u64), RowSeen>,
    quarantine_seen: BTreeMap<(u64, u32), QuarantineSeen>,
    hours_seen: BTreeMap<i64, String>,
    /// So many must be closed.
    hours_closed: usize,
    /// What operators asked for.
    sessions: Sessions,
    /// Payloads of what has left the quarantine.
    gone: BTreeMap<(u64, u32), Vec<u8>>,
    counters_seen: BTreeMap<&'static str, u64>,
    pub(super) questions: u64,
    pub(super) refused: u64,
    connections: u64,
    /// What a client may have in quarantine, and those who were known to have so much when nothing waited.
    client_bytes_max: u64,
    full_since: BTreeMap<String, u64>,
    rules: Rules,
    pub(super) expiry: Expiry,
}

impl Model {
    pub(super) fn new(rules: Rules, client_bytes_max: u64, expiry: Expiry) -> Self {
        Self {
            now: 0,
            messages: Vec::new(),
            dated: BTreeMap::new(),
            undated: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            twos: BTreeSet::new(),
            sent: BTreeMap::new(),
            acked: BTreeMap::new(),
            wills: BTreeMap::new(),
            wills_due: Vec::new(),
            plain_proven: BTreeMap::new(),
            rows_seen: BTreeMap::new(),
            quarantine_seen: BTreeMap::new(),
            hours_seen: BTreeMap::new(),
            hours_closed: 0,
            sessions: Sessions::default(),
            gone: BTreeMap::new(),
            counters_seen: BTreeMap::new(),
            questions: 0,
            refused: 0,
            connections: 0,
            client_bytes_max,
            full_since: BTreeMap::new(),
            rules,
            expiry,
        }
    }

    /// A client is about to send a message for the first time.
    pub(super) fn say(
        &mut self,
        topic: String,
        payload: Vec<u8>,
        seq: Option<u64>,
        meaning: Meaning,
    ) -> MessageId {
        let id = self.messages.len();
        match &meaning {
            Meaning::Readings(readings)
            | Meaning::Partial { readings, .. }
            | Meaning::Refusable { readings, .. } => {
                for reading in readings {
                    let Expected { datastream, time_us, content, .. } = reading.clone();
                    match time_us {
                        Some(time_us) => {
                            self.dated.entry((datastream, time_us)).or_default().push((content, id));
                        }
                        None => self.undated.entry((datastream, content)).or_default().push(id),
                    }
                }
            }
            Meaning::Garbage { .. } | Meaning::Plain => {}
        }
        let may_be_refused =
            matches!(meaning, Meaning::Garbage { .. } | Meaning::Partial { .. } | Meaning::Refusable { .. });
        if may_be_refused {
            self.quarantined.insert(payload.clone(), id);
        }
        self.messages.push(Message {
            topic,
            payload,
            seq,
            meaning,
            copies_sent: 0,
            copies_acked: 0,
            was_refused: false,
            first_sent: u64::MAX,
            connection: 0,
            qos: 0,
            said_us: self.expiry.now_us(),
            first_proof: None,
            clients: BTreeSet::new(),
        });
        id
    }

    /// All readings of a message are two values of one time.
    pub(super) fn mark_two(&mut self, id: MessageId) {
        if let Meaning::Readings(readings) = &mut self.messages[id].meaning {
            for reading in readings {
                reading.is_one_of_two = true;
                self.twos.extend(reading.time_us.map(|time_us| (reading.datastream.clone(), time_us)));
            }
        }
    }

    /// The newest retained message of a plain topic that is proven to be durable.
    pub(super) fn newest_proven(&self, topic: &str) -> Option<MessageId> {
        self.messages.iter().rposition(|message| message.topic == topic && message.must_be_there())
    }

    pub(super) fn next_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    /// A copy is on its way.
    pub(super) fn copy_sent(&mut self, id: MessageId, client: &str, connection: u64, qos: u8) {
        self.now += 1;
        let message = &mut self.messages[id];
        (message.connection, message.qos) = (connection, qos);
        message.copies_sent += 1;
        message.first_sent = message.first_sent.min(self.now);
        message.clients.insert(client.to_owned());
        self.sent.entry(client.to_owned()).or_default().add(&message.meaning);
    }

    /// PUBACK or PUBREC of a copy.
    pub(super) fn copy_acked(&mut self, id: MessageId, client: &str) {
        self.now += 1;
        let message = &mut self.messages[id];
        message.copies_acked += 1;
        message.first_proof.get_or_insert(self.now);
        let full_since = self.full_since.get(client).copied().unwrap_or(u64::MAX);
        assert!(
            !message.topic.starts_with("obs/") || message.first_sent < full_since,
            "message {id} was taken although {client} has its share of the quarantine and more"
        );
        self.acked.entry(client.to_owned()).or_default().add(&message.meaning);
        if matches!(message.meaning, Meaning::Plain) {
            self.plain_proven.entry(client.to_owned()).or_default().insert(id);
        }
    }

    /// PUBACK 0x97: this copy was not taken.
    pub(super) fn copy_refused(&mut self, id: MessageId, client: &str) {
        self.now += 1;
        self.refused += 1;
        let mut sums = Sums::default();
        sums.add(&self.messages[id].meaning);
        self.messages[id].copies_sent -= 1;
        self.messages[id].was_refused = true;
        if let Some(sent) = self.sent.get_mut(client) {
            sent.subtract(&sums);
        }
    }

    /// A connection broke off whose will the gateway has.
    pub(super) fn will_is_due(&mut self, id: MessageId, client: &str) {
        self.wills_due.push((client.to_owned(), id));
    }

    /// The gateway ended before anybody could know that it journaled them.
    pub(super) fn wills_may_be_lost(&mut self) {
        self.wills_due.clear();
    }

    /// A subscriber got a plain message.
    pub(super) fn plain_delivered(&mut self, topic: &str, payload: &[u8]) -> MessageId {
        self.now += 1;
        let found = self.messages.iter().position(|message| {
            message.copies_sent > 0 && message.topic == topic && message.payload == payload
        });
        let text = String::from_utf8_lossy(payload);
        let id = found.unwrap_or_else(|| panic!("a subscriber got {text:?} on {topic}, which nobody sent"));
        self.messages[id].first_proof.get_or_insert(self.now);
        // A plain message has one sender.
        let client = self.messages[id].clients.first().cloned().unwrap_or_default();
        self.plain_proven.entry(client).or_default().insert(id);
        id
    }

    /// A subscriber got an observation: it was sent, and is durable from here on.
    pub(super) fn observation_delivered(&mut self, datastream: &str, time_us: i64, content: &str) {
        self.now += 1;
        let ids = self.senders(datastream, time_us, content);
        assert!(!ids.is_empty(), "a feed has {content} of {datastream} at {time_us}, which nobody sent");
        // Where several messages say the same, only one of them needs to have come.
        if let [id] = ids[..] {
            self.messages[id].first_proof.get_or_insert(self.now);
        }
    }

    /// Messages that were sent and hold this reading.
    fn senders(&self, datastream: &str, time_us: i64, content: &str) -> Vec<MessageId> {
        let was_sent = |id: &MessageId| self.messages[*id].copies_sent > 0;
        let dated = self.dated.get(&(datastream.to_owned(), time_us)).into_iter().flatten();
        let ids: Vec<MessageId> =
            dated.filter(|(said, _)| said == content).map(|(_, id)| *id).filter(was_sent).collect();
        if !ids.is_empty() {
            return ids;
        }
        let undated = self.undated.get(&(datastream.to_owned(), content.to_owned()));
        undated.into_iter().flatten().copied().filter(was_sent).collect()
    }

    /// What must hold at every instant, in the middle of a flush too.
    pub(super) fn check_instant(&mut self, asked: &Asked) {
        self.questions += 1;
        self.check_rows(asked);
        self.check_in_force(asked);
        self.check_books(asked);
    }

    /// Beside that: what must hold between any two turns, whatever happened before.
    pub(super) fn check_between(&mut self, asked: &Asked) {
        self.check_instant(asked);
        self.check_against_the_past(asked);
        self.check_quarantine(asked);
        let books = &asked.ledger.observations;
        let (stored, flushed) = (books.inserted + books.corrected, books.flushed.unwrap_or(0));
        let (shown, expired) = (asked.rows.len() as u64, asked.ledger.expired.unwrap_or(0));
        assert!(
            shown == stored || self.expiry.is_limited() && shown + expired <= stored,
            "the books count other rows than the store has: {books:?}, {shown} are there"
        );
        let in_files = asked.rows_in_files;
        assert_eq!(flushed - expired, in_files, "the files have other rows than the books count: {books:?}");
        let most = self.removed_most();
        assert!(expired <= most, "{expired} rows were removed, and {most} may have been: {books:?}");
    }

    /// Beside that: everything is processed, classified, folded. Nothing may be missing.
    pub(super) fn check_quiet(&mut self, asked: &Asked) {
        self.check_between(asked);
        assert_eq!(asked.ledger.messages.pending, 0, "something is pending: {:?}", asked.ledger);
        assert_eq!(asked.ledger.observations.unresolved, 0, "something is unresolved: {:?}", asked.ledger);
        for (client, id) in std::mem::take(&mut self.wills_due) {
            self.messages[id].first_proof.get_or_insert(self.now);
            self.wills.entry(client).or_default().insert(id);
        }
        self.check_completeness(asked);
        self.check_quarantine_completeness(asked);
        self.note_full_shares(asked);
        self.check_clients(asked);
    }

    fn note_full_shares(&mut self, asked: &Asked) {
        for (client, bytes) in &asked.quarantine_bytes {
            if *bytes >= self.client_bytes_max {
                self.full_since.entry(client.clone()).or_insert(self.now + 1);
            }
        }
    }

    /// The catalogue went back: rows of its files come from the logs again, and hours close again, as they were.
    pub(super) fn commits_lost(&mut self) {
        self.counters_seen.remove("flushed");
        self.hours_closed = 0;
    }

    /// Positions of what is known to lie in quarantine.
    pub(super) fn quarantined_positions(&self) -> Vec<u64> {
        let there = self.quarantine_seen.keys().filter(|key| !self.gone.contains_key(key));
        there.map(|(position, _)| *position).collect()
    }

    pub(super) fn session_begins(&mut self, request: &SettleRequest) {
        if let Some(asked) = self.sessions.of(request) {
            self.full_since.clear();
            asked.add(request, u64::MAX);
        }
    }

    /// What comes later is not meant any more; what was meant may still be settled, at the next start if need be.
    pub(super) fn session_ends(&mut self, request: &SettleRequest) {
        let sent = self.sent.values().map(|sums| sums.received).sum();
        if let Some(asked) = self.sessions.of(request) {
            asked.add(request, sent);
        }
    }

    /// Clients that have sent something.
    pub(super) fn clients(&self) -> Vec<String> {
        self.sent.keys().cloned().collect()
    }
}
