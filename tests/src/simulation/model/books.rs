//! Books and quarantine: what they must count, and what was seen of them before.

use std::collections::{BTreeMap, BTreeSet};

use super::super::view::Asked;
use super::super::view::RowSeen;
use super::{Meaning, MessageId, Model};

impl Model {
    pub(super) fn check_books(&self, asked: &Asked) {
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
    pub(super) fn check_against_the_past(&mut self, asked: &Asked) {
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
        assert!(asked.closed_hours.len() >= self.hours_closed, "closed hours are gone");
        self.hours_closed = asked.closed_hours.len();
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

    pub(super) fn check_quarantine(&self, asked: &Asked) {
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

    pub(super) fn check_quarantine_completeness(&self, asked: &Asked) {
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
    pub(super) fn check_clients(&self, asked: &Asked) {
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

    /// Behind a replay of everything with settings that refuse none of what may be decoded.
    pub(in crate::simulation) fn check_replayed(&self, asked: &Asked) {
        for entry in &asked.quarantine {
            let id = self.quarantined.get(&entry.payload);
            let is_refusable =
                id.is_some_and(|id| matches!(self.messages[*id].meaning, Meaning::Refusable { .. }));
            assert!(!is_refusable, "a replay left what can be decoded by now: {entry:?}");
        }
    }
}
