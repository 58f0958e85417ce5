//! The reference model: what was sent, what was acknowledged, and so what must be there. It is dull on purpose: maps of what
//! clients know. It asks the gateway for rows, books and quarantine as anybody may, and never what is right.
//!
//! - A **message** is what a device means to say once; a **copy** is one PUBLISH of it. Re-sends are further copies.
//! - What was acknowledged or seen by a subscriber *must* be there; what was only sent *may* be there, whole, once.
//! - A dated reading is known by datastream, time and content; an undated one by datastream and content.
//! - What was seen once must be seen again, the same, for ever.

use std::collections::{BTreeMap, BTreeSet};

use gateway::settle::{Change, SettleRequest};

use super::clock::BACK_US_MAX;
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
    /// What operators asked for.
    sessions: Sessions,
    /// Payloads of what has left the quarantine.
    gone: BTreeMap<(u64, u32), Vec<u8>>,
    counters_seen: BTreeMap<&'static str, u64>,
    pub(super) questions: u64,
    pub(super) refused: u64,
    connections: u64,
    rules: Rules,
    pub(super) expiry: Expiry,
}

impl Model {
    pub(super) fn new(rules: Rules, expiry: Expiry) -> Self {
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
            sessions: Sessions::default(),
            gone: BTreeMap::new(),
            counters_seen: BTreeMap::new(),
            questions: 0,
            refused: 0,
            connections: 0,
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
        self.check_clients(asked);
    }

    /// What has expired is not shown, once the gateway has looked at the clock.
    pub(super) fn check_expired(&self, asked: &Asked) {
        for row in &asked.rows {
            let is_expired = self.expiry.must_be_gone(&row.datastream, row.time_us);
            assert!(!is_expired, "{row:?} has expired, and it is {}", self.expiry.now_us());
        }
    }

    /// Rows that retention can have taken away by now: as many as there were copies of such readings.
    fn removed_most(&self) -> u64 {
        let most = |message: &Message| {
            let readings = match &message.meaning {
                Meaning::Readings(readings)
                | Meaning::Partial { readings, .. }
                | Meaning::Refusable { readings, .. } => readings.as_slice(),
                Meaning::Garbage { .. } | Meaning::Plain => &[],
            };
            let is_old = |reading: &&Expected| {
                let time_us = reading.time_us.unwrap_or(message.said_us - BACK_US_MAX);
                self.expiry.may_be_removed(&reading.datastream, time_us)
            };
            readings.iter().filter(is_old).count() as u64 * message.copies_sent
        };
        if self.expiry.is_limited() { self.messages.iter().map(most).sum() } else { 0 }
    }

    fn check_rows(&self, asked: &Asked) {
        let mut keys: BTreeMap<(&str, i64), Vec<&RowSeen>> = BTreeMap::new();
        let mut undated: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for row in &asked.rows {
            assert!(
                (1..=asked.ledger.processed).contains(&row.position),
                "{row:?} has a position beyond {}",
                asked.ledger.processed
            );
            let ids = self.senders(&row.datastream, row.time_us, &row.content);
            assert!(!ids.is_empty(), "{row:?} was never sent");
            assert!(
                ids.iter().any(|id| self.messages[*id].seq == row.seq),
                "{row:?} has a seq that nobody sent with it"
            );
            if self.dated.contains_key(&(row.datastream.clone(), row.time_us)) {
                keys.entry((&row.datastream, row.time_us)).or_default().push(row);
            } else {
                assert!(row.time_us >= row.result_time_us, "{row:?} is undated and older than its receipt");
                *undated.entry((&row.datastream, &row.content)).or_default() += 1;
            }
        }
        for ((datastream, time_us), rows) in keys {
            for row in &rows {
                let count = rows.iter().filter(|other| other.content == row.content).count();
                let most = self.rows_of_one_content(row);
                assert!(count <= most, "{datastream} at {time_us} has a content twice: {rows:?}");
            }
            if rows.iter().any(|row| self.has_many(row)) {
                continue;
            }
            for (revision, row) in (0..).zip(&rows) {
                assert_eq!(row.revision, revision, "revisions of {datastream} at {time_us}: {rows:?}");
            }
            // What was replayed came again later than its position says.
            let was_refusable = |row: &&RowSeen| {
                let ids = self.senders(datastream, time_us, &row.content);
                ids.iter().any(|id| matches!(self.messages[*id].meaning, Meaning::Refusable { .. }))
            };
            if rows.iter().any(was_refusable) {
                continue;
            }
            assert!(
                rows.is_sorted_by(|a, b| a.position <= b.position),
                "revisions of {datastream} at {time_us} are not in the order of their messages: {rows:?}"
            );
        }
        for ((datastream, content), count) in undated {
            let ids = &self.undated[&(datastream.to_owned(), content.to_owned())];
            let most = ids.iter().filter(|id| self.messages[**id].copies_sent > 0).count() as u64;
            assert!(
                count <= most,
                "{content} of {datastream} is there {count} times, it was said {most} times"
            );
        }
        self.check_order(asked);
    }

    /// Positions are the order of arrival: what was proven before another message was sent lies before it, and receive
    /// times never go back.
    fn check_order(&self, asked: &Asked) {
        let mut rows: Vec<&RowSeen> = asked.rows.iter().collect();
        rows.sort_by_key(|row| row.position);
        let mut earliest_proof = u64::MAX;
        for row in rows.iter().rev() {
            let ids = self.senders(&row.datastream, row.time_us, &row.content);
            let sent = ids.iter().map(|id| self.messages[*id].first_sent).min().unwrap_or(u64::MAX);
            assert!(
                sent <= earliest_proof,
                "{row:?} lies before a message that was acknowledged before this one was sent"
            );
            // A copy from a source of a higher rank brings a row of its own, later than what was acknowledged first.
            let (lowest, highest) = self.ranks(row);
            if let [id] = ids[..]
                && lowest == highest
            {
                earliest_proof = earliest_proof.min(self.messages[id].first_proof.unwrap_or(u64::MAX));
            }
        }
        self.check_order_of_connections(&rows);
        for pair in rows.windows(2) {
            assert!(
                pair[0].result_time_us <= pair[1].result_time_us,
                "receive times go back: {:?}, {:?}",
                pair[0],
                pair[1]
            );
            let (before, after) = (&pair[0].result_time_us, &pair[1].result_time_us);
            assert!(pair[0].position != pair[1].position || before == after);
        }
    }

    /// What a connection sent comes in its order, also where some of it had to wait.
    fn check_order_of_connections(&self, rows: &[&RowSeen]) {
        let mut before: BTreeMap<u64, (u64, &RowSeen)> = BTreeMap::new();
        for row in rows {
            let [id] = self.senders(&row.datastream, row.time_us, &row.content)[..] else { continue };
            let message = &self.messages[id];
            // Of several copies nobody knows which one brought the row, and a replay brings it later.
            let is_simple = message.copies_sent == 1 && !message.was_refused;
            if !is_simple || matches!(message.meaning, Meaning::Refusable { .. }) {
                continue;
            }
            if let Some((sent, other)) = before.insert(message.connection, (message.first_sent, row)) {
                assert!(
                    sent <= message.first_sent,
                    "{row:?} was sent before {other:?} on one connection, and came behind it"
                );
            }
        }
    }

    /// What a subscriber at QoS 1 must have got that has been there since `since`, but for what only others said before.
    pub(super) fn must_have_got(
        &self,
        since: u64,
        asked: &Asked,
    ) -> (Vec<(String, i64, String)>, Vec<MessageId>) {
        let is_new = |id: &MessageId| self.messages[*id].first_sent > since;
        let rows = asked.rows.iter().filter(|row| {
            let ids = self.senders(&row.datastream, row.time_us, &row.content);
            ids.iter().all(is_new)
        });
        let rows = rows.map(|row| (row.datastream.clone(), row.time_us, row.content.clone())).collect();
        let is_due = |id: &MessageId| {
            let message = &self.messages[*id];
            matches!(message.meaning, Meaning::Plain)
                && message.must_be_there()
                && message.qos > 0
                && is_new(id)
        };
        (rows, (0..self.messages.len()).filter(is_due).collect())
    }

    /// One row per key: the newest revision.
    fn check_in_force(&self, asked: &Asked) {
        let mut rows: BTreeMap<(&str, i64), Vec<&RowSeen>> = BTreeMap::new();
        let mut two: BTreeSet<(&str, i64, &str)> = BTreeSet::new();
        let mut expected = 0;
        for row in &asked.rows {
            let key = (row.datastream.as_str(), row.time_us);
            let of_key = rows.entry(key).or_default();
            of_key.push(row);
            let is_new = if self.twos.contains(&(row.datastream.clone(), row.time_us)) {
                two.insert((key.0, key.1, &row.content))
            } else {
                self.has_many(row) || of_key.len() == 1
            };
            expected += usize::from(is_new);
        }
        assert_eq!(asked.in_force.len(), expected, "rows in force are not one for each key");
        let mut keys = BTreeSet::new();
        for row in &asked.in_force {
            if self.has_many(row) {
                continue;
            }
            assert!(keys.insert((&row.datastream, row.time_us)), "two rows in force for one key: {row:?}");
            let of_key = rows.get(&(&*row.datastream, row.time_us)).map_or(&[][..], Vec::as_slice);
            assert!(of_key.contains(&row), "{row:?} is in force and no row");
            let (_, highest) = self.ranks(row);
            for other in of_key {
                let (lowest, _) = self.ranks(other);
                assert!(
                    lowest < highest || lowest == highest && other.revision <= row.revision,
                    "the row in force is {row:?}, and not {other:?}"
                );
            }
        }
    }

    fn check_books(&self, asked: &Asked) {
        let ledger = &asked.ledger;
        let messages = &ledger.messages;
        assert_eq!(
            messages.received,
            messages.decoded + messages.partial + messages.quarantined + messages.ignored + messages.pending,
            "the parts of the messages do not sum up: {messages:?}"
        );
        let observations = &ledger.observations;
        assert_eq!(
            observations.total,
            observations.inserted
                + observations.corrected
                + observations.outranked
                + observations.duplicate
                + observations.unresolved
                + observations.quarantined,
            "the parts of the observations do not sum up: {observations:?}"
        );
        assert!(ledger.durable >= ledger.processed, "processed is ahead of durable: {ledger:?}");
        assert_eq!(messages.received, ledger.durable, "positions are not dense: {ledger:?}");
        let flushed = observations.flushed.unwrap_or(0);
        assert!(flushed <= observations.inserted + observations.corrected, "{observations:?}");
        let sent: u64 = self.sent.values().map(|sums| sums.received).sum();
        let acked: u64 = self.acked.values().map(|sums| sums.received).sum();
        assert!(
            (acked..=sent).contains(&messages.received),
            "{} received, {acked} acknowledged, {sent} sent",
            messages.received
        );
    }

    /// What was seen before, perhaps before a crash, is there, and is what it was.
    fn check_against_the_past(&mut self, asked: &Asked) {
        let key = |row: &RowSeen| (row.datastream.clone(), row.time_us, row.revision, row.position);
        let rows: BTreeMap<_, _> = asked.rows.iter().map(|row| (key(row), row)).collect();
        for (key, seen) in &self.rows_seen {
            let row = rows.get(key);
            if row.is_none() && self.expiry.may_be_gone(&seen.datastream, seen.time_us) {
                continue;
            }
            assert_eq!(row, Some(&seen), "a row that was there changed or is gone");
        }
        self.rows_seen.extend(rows.into_iter().map(|(key, row)| (key, row.clone())));
        let entries: BTreeMap<_, _> =
            asked.quarantine.iter().map(|it| ((it.position, it.ordinal), it)).collect();
        for (key, seen) in &self.quarantine_seen {
            match entries.get(key) {
                Some(entry) => assert_eq!(entry, &seen, "a quarantined entry changed"),
                None => assert!(
                    self.sessions.replay.names(seen.position) || self.sessions.erase.names(seen.position),
                    "a quarantined entry is gone that nobody replayed or erased: {seen:?}"
                ),
            }
        }
        for (key, seen) in &self.quarantine_seen {
            if !entries.contains_key(key) {
                self.gone.insert(*key, seen.payload.clone());
            }
        }
        for key in entries.keys() {
            assert!(!self.gone.contains_key(key), "an entry that had left the quarantine is back: {key:?}");
        }
        self.quarantine_seen.extend(entries.into_iter().map(|(key, entry)| (key, entry.clone())));
        for (hour, digest) in &asked.closed_hours {
            let seen = self.hours_seen.entry(*hour).or_insert_with(|| digest.clone());
            assert_eq!(seen, digest, "the closed hour {hour} of the books changed");
        }
        assert!(asked.closed_hours.len() >= self.hours_seen.len(), "closed hours are gone");
        let (messages, observations) = (&asked.ledger.messages, &asked.ledger.observations);
        let settled = &asked.ledger.settled;
        for (what, count) in [
            ("durable", asked.ledger.durable),
            ("processed", asked.ledger.processed),
            ("decoded", messages.decoded),
            ("settled", settled.messages),
            ("settled readings", settled.readings),
            ("erased", settled.erased_messages),
            // A replay that decodes a part makes a partial message of a quarantined one.
            ("undecoded", messages.partial + messages.quarantined + settled.messages),
            ("ignored", messages.ignored),
            ("observations", observations.total),
            ("inserted", observations.inserted),
            ("corrected", observations.corrected),
            ("duplicate", observations.duplicate),
            ("flushed", observations.flushed.unwrap_or(0)),
        ] {
            let before = self.counters_seen.insert(what, count).unwrap_or(0);
            assert!(before <= count, "{what} went back from {before} to {count}");
        }
    }

    fn check_quarantine(&self, asked: &Asked) {
        let mut copies: BTreeMap<MessageId, u64> = BTreeMap::new();
        for entry in &asked.quarantine {
            let Some(id) = self.quarantined.get(&entry.payload) else {
                panic!("quarantine has a payload that nobody sent, or that was to be decoded: {entry:?}")
            };
            let message = &self.messages[*id];
            let (Meaning::Garbage { reason, .. }
            | Meaning::Partial { reason, .. }
            | Meaning::Refusable { reason, .. }) = &message.meaning
            else {
                panic!("{entry:?} is no garbage")
            };
            assert_eq!(&entry.reason, reason, "the reason of {entry:?}");
            assert_eq!(entry.topic, message.topic, "the topic of {entry:?}");
            assert!(message.clients.contains(&entry.client), "the client of {entry:?}");
            *copies.entry(*id).or_default() += 1;
        }
        for (id, count) in copies {
            let sent = self.messages[id].copies_sent;
            assert!(count <= sent, "{count} entries of message {id}, which was sent {sent} times");
        }
        // These are messages that were taken: only their readings count as erased. No replay decodes the rest of one here.
        let is_partial = |payload: &&Vec<u8>| {
            let id = self.quarantined.get(*payload);
            id.is_some_and(|id| matches!(self.messages[*id].meaning, Meaning::Partial { .. }))
        };
        let partials_erased = self.gone.values().filter(is_partial).count() as u64;
        let books = &asked.ledger.messages;
        assert_eq!(
            books.quarantined + books.partial,
            asked.quarantine.len() as u64 + asked.ledger.settled.erased_messages + partials_erased,
            "the books count other entries than the quarantine has"
        );
    }

    fn check_completeness(&self, asked: &Asked) {
        let mut there: BTreeSet<(&str, i64, &str)> = BTreeSet::new();
        let mut undated: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for row in &asked.rows {
            there.insert((&row.datastream, row.time_us, &row.content));
            *undated.entry((&row.datastream, &row.content)).or_default() += 1;
        }
        for ((datastream, time_us), contents) in &self.dated {
            for (content, id) in contents {
                let message = &self.messages[*id];
                assert!(
                    !message.must_be_there()
                        || there.contains(&(datastream, *time_us, content))
                        || self.expiry.may_be_gone(datastream, *time_us)
                        || self.may_be_refused(*id, asked)
                        || self.may_be_outranked(datastream, *time_us, content, asked),
                    "lost: {content} of {datastream} at {time_us} (message {id} on {})",
                    message.topic
                );
            }
        }
        for ((datastream, content), ids) in &self.undated {
            let must = |id: &&MessageId| {
                let message = &self.messages[**id];
                message.must_be_there()
                    && !self.may_be_refused(**id, asked)
                    // Its time is that of its receipt.
                    && !self.expiry.may_be_gone(datastream, message.said_us - BACK_US_MAX)
            };
            let least = ids.iter().filter(must).count() as u64;
            let count = undated.get(&(&**datastream, &**content)).copied().unwrap_or(0);
            assert!(
                count >= least,
                "lost: the undated {content} of {datastream} (messages {ids:?}) is there {count} times, not {least}"
            );
        }
    }

    fn check_quarantine_completeness(&self, asked: &Asked) {
        for (payload, id) in &self.quarantined {
            let count = asked.quarantine.iter().filter(|entry| entry.payload == *payload).count() as u64;
            let gone = self.gone.values().filter(|gone| *gone == payload).count() as u64;
            let count = count + gone;
            if matches!(self.messages[*id].meaning, Meaning::Refusable { .. }) {
                continue;
            }
            let least = self.messages[*id].copies_acked;
            assert!(
                count >= least,
                "lost: {count} quarantined entries of message {id} ({:?}), not {least}",
                String::from_utf8_lossy(payload)
            );
        }
    }

    /// The books of each client.
    fn check_clients(&self, asked: &Asked) {
        for (client, sent) in &self.sent {
            let Some(ledger) = asked.clients.get(client) else { continue };
            let acked = self.acked.get(client).copied().unwrap_or_default();
            let (messages, observations) = (&ledger.messages, &ledger.observations);
            let no_ids = BTreeSet::new();
            // Nobody acknowledges a will.
            let wills = self.wills.get(client).unwrap_or(&no_ids);
            let proven = self.plain_proven.get(client).unwrap_or(&no_ids).difference(wills).count() as u64;
            let wills = wills.len() as u64;
            for (what, least, count, most) in [
                ("received", acked.received, messages.received, sent.received),
                ("decoded", acked.decoded, messages.decoded, sent.decoded + sent.either),
                ("partial", acked.partial, messages.partial, sent.partial),
                ("quarantined", acked.quarantined, messages.quarantined, sent.quarantined + sent.either),
                ("ignored", acked.ignored.max(proven) + wills, messages.ignored, sent.ignored),
                ("observations", acked.observations, observations.total, sent.observations + sent.perhaps),
            ] {
                assert!(
                    (least..=most).contains(&count),
                    "{client}: {what} is {count} in the books, and must lie between {least} and {most}"
                );
            }
        }
    }

    /// Whether nothing says that the readings of a message are stored by now.
    fn may_be_refused(&self, id: MessageId, asked: &Asked) -> bool {
        let message = &self.messages[id];
        matches!(message.meaning, Meaning::Refusable { .. })
            && (asked.quarantine.iter().any(|entry| entry.payload == message.payload)
                || self.gone.iter().any(|((position, _), payload)| {
                    *payload == message.payload && self.sessions.erase.names(*position)
                }))
    }

    /// Most rows of one key that say the same.
    fn rows_of_one_content(&self, row: &RowSeen) -> usize {
        let ids = self.senders(&row.datastream, row.time_us, &row.content);
        if self.rules.keeps(&row.datastream) {
            let seqs: BTreeSet<u64> = ids.iter().filter_map(|id| self.messages[*id].seq).collect();
            return seqs.len().max(1);
        }
        // A source of a higher rank confirms it.
        let clients = ids.iter().flat_map(|id| &self.messages[*id].clients);
        clients.map(|client| self.rules.rank(client)).collect::<BTreeSet<u8>>().len()
    }

    /// The lowest and the highest rank that a row can have: nobody but the gateway knows which copy brought it.
    fn ranks(&self, row: &RowSeen) -> (u8, u8) {
        let ids = self.senders(&row.datastream, row.time_us, &row.content);
        let ranks = ids.iter().flat_map(|id| &self.messages[*id].clients).map(|it| self.rules.rank(it));
        (ranks.clone().min().unwrap_or(0), ranks.max().unwrap_or(0))
    }

    /// Whether a row of a source with a higher rank stands where this content was to stand.
    fn may_be_outranked(&self, datastream: &str, time_us: i64, content: &str, asked: &Asked) -> bool {
        let ids = self.senders(datastream, time_us, content);
        let ranks = ids.iter().flat_map(|id| &self.messages[*id].clients).map(|it| self.rules.rank(it));
        let lowest = ranks.min().unwrap_or(0);
        self.rules == Rules::Ranks
            && asked.rows.iter().any(|row| {
                row.datastream == datastream && row.time_us == time_us && self.ranks(row).1 > lowest
            })
    }

    /// Rows that have their time together with others: two values of one message, undated ones that were replayed.
    pub(super) fn has_many(&self, row: &RowSeen) -> bool {
        row.datastream.starts_with(REFUSABLE_AGENCY)
            || self.rules.keeps(&row.datastream)
            || self.twos.contains(&(row.datastream.clone(), row.time_us))
    }

    /// Positions of what is known to lie in quarantine.
    pub(super) fn quarantined_positions(&self) -> Vec<u64> {
        let there = self.quarantine_seen.keys().filter(|key| !self.gone.contains_key(key));
        there.map(|(position, _)| *position).collect()
    }

    pub(super) fn session_begins(&mut self, request: &SettleRequest) {
        if let Some(asked) = self.sessions.of(request) {
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

    /// Behind a replay of everything with settings that refuse none of what may be decoded.
    pub(super) fn check_replayed(&self, asked: &Asked) {
        for entry in &asked.quarantine {
            let id = self.quarantined.get(&entry.payload);
            let is_refusable =
                id.is_some_and(|id| matches!(self.messages[*id].meaning, Meaning::Refusable { .. }));
            assert!(!is_refusable, "a replay left what can be decoded by now: {entry:?}");
        }
    }

    /// Clients that have sent something.
    pub(super) fn clients(&self) -> Vec<String> {
        self.sent.keys().cloned().collect()
    }
}
