//! Rows: what may be there, what must be, in which order, and which are in force.

use std::collections::{BTreeMap, BTreeSet};

use super::super::clock::BACK_US_MAX;
use super::super::plan::Rules;
use super::super::view::{Asked, RowSeen};
use super::{Expected, Meaning, Message, MessageId, Model, REFUSABLE_AGENCY};

impl Model {
    /// What has expired is not shown, once the gateway has looked at the clock.
    pub(in crate::simulation) fn check_expired(&self, asked: &Asked) {
        for row in &asked.rows {
            let is_expired = self.expiry.must_be_gone(&row.datastream, row.time_us);
            assert!(!is_expired, "{row:?} has expired, and it is {}", self.expiry.now_us());
        }
    }

    /// Rows that retention can have taken away by now: as many as there were copies of such readings.
    pub(super) fn removed_most(&self) -> u64 {
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

    pub(super) fn check_rows(&self, asked: &Asked) {
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
    pub(super) fn check_order(&self, asked: &Asked) {
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
            // Of several quarantined copies nobody knows which one was replayed.
            let is_one = |id: MessageId| {
                let message = &self.messages[id];
                message.copies_sent == 1 || !matches!(message.meaning, Meaning::Refusable { .. })
            };
            if let [id] = ids[..]
                && lowest == highest
                && is_one(id)
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
    pub(super) fn check_order_of_connections(&self, rows: &[&RowSeen]) {
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
    pub(in crate::simulation) fn must_have_got(
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
    pub(super) fn check_in_force(&self, asked: &Asked) {
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

    pub(super) fn check_completeness(&self, asked: &Asked) {
        let mut there: BTreeSet<(&str, i64, &str)> = BTreeSet::new();
        let mut undated: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for row in &asked.rows {
            there.insert((&row.datastream, row.time_us, &row.content));
            *undated.entry((&row.datastream, &row.content)).or_default() += 1;
        }
        for ((datastream, time_us), contents) in &self.dated {
            for (content, id) in contents {
                let message = &self.messages[*id];
                let is_kept = self.rules.keeps(datastream) && message.must_be_there();
                if is_kept && !self.expiry.may_be_gone(datastream, *time_us) {
                    self.check_kept_number(message, datastream, *time_us, content, asked);
                }
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

    /// Where times are kept, two numbers of a sender are two readings, and one without a number is any of them.
    fn check_kept_number(
        &self,
        message: &Message,
        datastream: &str,
        time_us: i64,
        content: &str,
        asked: &Asked,
    ) {
        let of_key =
            |row: &&RowSeen| row.time_us == time_us && row.datastream == datastream && row.content == content;
        let mut rows = asked.rows.iter().filter(of_key).peekable();
        // Nothing there at all is another sentence.
        assert!(
            message.seq.is_none()
                || rows.peek().is_none()
                || rows.any(|row| row.seq.is_none() || row.seq == message.seq),
            "lost: {content} of {datastream} at {time_us} under the number {:?}",
            message.seq
        );
    }

    /// Whether nothing says that the readings of a message are stored by now.
    pub(super) fn may_be_refused(&self, id: MessageId, asked: &Asked) -> bool {
        let message = &self.messages[id];
        matches!(message.meaning, Meaning::Refusable { .. })
            && (asked.quarantine.iter().any(|entry| entry.payload == message.payload)
                || self.gone.iter().any(|((position, _), payload)| {
                    *payload == message.payload && self.sessions.erase.names(*position)
                }))
    }

    /// Most rows of one key that say the same.
    pub(super) fn rows_of_one_content(&self, row: &RowSeen) -> usize {
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
    pub(super) fn ranks(&self, row: &RowSeen) -> (u8, u8) {
        let ids = self.senders(&row.datastream, row.time_us, &row.content);
        let ranks = ids.iter().flat_map(|id| &self.messages[*id].clients).map(|it| self.rules.rank(it));
        (ranks.clone().min().unwrap_or(0), ranks.max().unwrap_or(0))
    }

    /// Whether a row of a source with a higher rank stands where this content was to stand.
    pub(super) fn may_be_outranked(
        &self,
        datastream: &str,
        time_us: i64,
        content: &str,
        asked: &Asked,
    ) -> bool {
        let ids = self.senders(datastream, time_us, content);
        let ranks = ids.iter().flat_map(|id| &self.messages[*id].clients).map(|it| self.rules.rank(it));
        let lowest = ranks.min().unwrap_or(0);
        self.rules == Rules::Ranks
            && asked.rows.iter().any(|row| {
                row.datastream == datastream && row.time_us == time_us && self.ranks(row).1 > lowest
            })
    }

    /// Rows that have their time together with others: two values of one message, undated ones that were replayed.
    pub(in crate::simulation) fn has_many(&self, row: &RowSeen) -> bool {
        row.datastream.starts_with(REFUSABLE_AGENCY)
            || self.rules.keeps(&row.datastream)
            || self.twos.contains(&(row.datastream.clone(), row.time_us))
    }
}
