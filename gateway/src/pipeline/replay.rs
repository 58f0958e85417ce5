//! A quarantined message once more: decoded with its own receive time, in the place of its control record. A clock that was wrong when
//! it came is put right as far as can be known. Ahead: no message came later than it is replayed. Behind: a replay takes what is
//! measured up to its own time, and leaves the receive time as it is.
//!
//! Only readings that were refused bring rows: what was stored from the same message stays as it is and is not counted again.
//! A row that is newer than its datastream's watermark is inserted, as at any time; all else waits for the store:
//!
//! - A dated reading has a key. It is compared with what is stored, so it is there once, whatever else brought it.
//! - An undated one gets the receive time. Messages of one journal frame share it, so the store gives it the next free ordinal
//!   there: it is another reading than whatever has the time already ([`crate::store`]).
//!
//! Undated messages that came twice (DUP, or one `source_seq`) are told apart among those that are replayed as they were when
//! they came; whether a later re-send of one has been stored long since, nothing can tell that the gateway keeps.

use super::decode::{MessageDecoder, PayloadRead, Reader, same_result};
use super::dictionary::Route;
use super::faults::{Faults, REGISTRY_LIMIT, TOPIC_INVALID};
use super::reading_set::ReadingSet;
use super::resend::{replay_mark, sequence_mark};
use crate::observation::{
    Classification, MessageEntry, MessageOutcome, ObservationFrame, Remaining, Row, Settled,
};
use crate::record::{BookedEntry, Message};

/// A row of the message with the reading that it is.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    row: Row,
    reading: u16,
}

impl MessageDecoder {
    /// Decodes a quarantined message again and appends what it brings to `frame`. `now_us`: when an operator asked for it.
    pub fn replay(
        &mut self,
        entry: &BookedEntry,
        refused: &[u8],
        message: &Message<'_>,
        now_us: i64,
        frame: &mut ObservationFrame,
    ) -> Settled {
        let received = entry.received_before(now_us);
        let client = self.dictionary.client(message.client, &mut frame.definitions);
        let (mut agency, mut station) = (entry.agency, entry.station);
        let (first_row, first_text) = (frame.rows.len(), frame.texts.len());
        let mut faults = Faults::default();
        // Cheap: the names in a route are shared.
        match self.dictionary.route(message.topic, &mut frame.definitions).clone() {
            Route::Observations { agency: of_topic, station: of_station, property } => {
                (agency, station) = (of_topic, of_station);
                let receive_time_us = received.received_us();
                let rank = self.ranks.of(client, message.client);
                let topic_property = property.as_deref();
                let reader = Reader { station, topic_property, receive_time_us, now_us, rank };
                let numbers = Some(Vec::new());
                if let Some(read) = self.read_payload(message, reader, numbers, frame, &mut faults) {
                    let entry = BookedEntry { receive_time_us, ..*entry };
                    self.take_refused(&entry, refused, message, &read, first_row, frame);
                }
            }
            Route::Invalid { sentence, .. } => faults.add(0, TOPIC_INVALID, 0, sentence.to_string()),
            Route::Limit { limit, .. } => faults.add(0, REGISTRY_LIMIT, 0, limit.sentence()),
        }
        let rows = frame.rows.len() - first_row;
        let remaining = remaining(entry, refused, &faults, rows > 0);
        if rows == 0 {
            frame.texts.truncate(first_text);
        } else {
            frame.messages.push(MessageEntry {
                message_no: entry.position,
                receive_time_us: received.received_us(),
                client,
                agency,
                station,
                row_count: rows as u16,
                quarantined_readings: 0,
                outcome: remaining.as_ref().map_or(MessageOutcome::Decoded as u8, |it| it.outcome),
                unkeyed: 0,
                replayed: 1,
                zero: 0,
                behind_s: received.behind_s,
            });
        }
        Settled::Replayed { agency, client, station, rows: rows as u32, remaining }
    }

    /// Of the rows behind `first_row`, keeps those whose readings were refused, with time, ordinal and class.
    fn take_refused(
        &mut self,
        entry: &BookedEntry,
        refused: &[u8],
        message: &Message<'_>,
        read: &PayloadRead,
        first_row: usize,
        frame: &mut ObservationFrame,
    ) {
        let open = ReadingSet::from_bytes(refused);
        let is_open = |reading: u16| refused.is_empty() || open.contains(reading);
        let rows = frame.rows.drain(first_row..).zip(&read.readings_of_rows);
        let (new, stored): (Vec<Candidate>, Vec<Candidate>) = rows
            .map(|(row, reading)| Candidate { row, reading: *reading })
            .partition(|candidate| is_open(candidate.reading));
        let has_undated = new.iter().any(|new| new.row.flags & Row::FLAG_UNDATED != 0);
        // A part of this message that is stored has left its own marks.
        let resent = has_undated && stored.is_empty() && self.was_replayed(message, read.seq, frame);
        // What is stored has its ordinals; a refused reading comes behind them.
        let mut seen = SeenTimes::default();
        for candidate in stored {
            seen.ordinal(&candidate.row, &frame.texts);
        }
        for Candidate { mut row, .. } in new {
            let hot = &mut self.hot[row.datastream as usize];
            row.classification = if row.flags & Row::FLAG_UNDATED != 0 {
                row.time_us = entry.receive_time_us;
                match (resent, row.time_us > hot.watermark_us) {
                    (true, _) => Classification::Duplicate,
                    (false, true) => Classification::Inserted,
                    (false, false) => Classification::Unresolved,
                }
            } else {
                match seen.ordinal(&row, &frame.texts) {
                    Some(ordinal) => {
                        row.ordinal = ordinal;
                        // Since it came, another message may have got this ordinal: only the store knows.
                        match row.ordinal > 0 && row.time_us <= hot.watermark_us {
                            true => Classification::Unresolved,
                            false => hot.classify(&row, entry.position),
                        }
                    }
                    None => Classification::Duplicate,
                }
            } as u8;
            hot.fold(&row, entry.position, true);
            frame.rows.push(row);
        }
    }

    /// Has this undated message been replayed before, under another position? Marks it in either case.
    fn was_replayed(
        &mut self,
        message: &Message<'_>,
        seq: Option<u64>,
        frame: &mut ObservationFrame,
    ) -> bool {
        let by_sequence = seq.map(|seq| sequence_mark(message.topic, seq, message.payload));
        let by_packet = (message.packet_id != 0)
            .then(|| replay_mark(message.client, message.packet_id, message.topic, message.payload));
        let was_here = by_sequence.is_some_and(|mark| self.resend.contains(mark))
            || message.dup && by_packet.is_some_and(|mark| self.resend.contains(mark));
        if !was_here {
            by_sequence.into_iter().chain(by_packet).for_each(|mark| self.mark(mark, frame));
        }
        was_here
    }
}

/// What still cannot be decoded. `has_rows`: something could.
fn remaining(entry: &BookedEntry, refused: &[u8], faults: &Faults, has_rows: bool) -> Option<Remaining> {
    let fault = faults.first.as_ref()?;
    let now = faults.refused();
    let (readings, still_refused) = match (refused.is_empty(), now.len()) {
        // The whole message is refused: what was open stays open.
        (false, 0) => (entry.readings, refused.to_vec()),
        (false, _) => {
            let still = now.intersection(&ReadingSet::from_bytes(refused));
            (still.len(), still.to_bytes())
        }
        (true, _) if has_rows => (faults.readings, now.to_bytes()),
        (true, _) => (faults.readings, Vec::new()),
    };
    if !refused.is_empty() && readings == 0 {
        // What is refused now was taken before.
        return None;
    }
    let was_partial = entry.outcome == MessageOutcome::Partial as u8;
    let outcome = if was_partial || has_rows { MessageOutcome::Partial } else { MessageOutcome::Quarantined };
    Some(Remaining {
        outcome: outcome as u8,
        readings,
        offset: fault.offset,
        reason: fault.reason.to_owned(),
        sentence: faults.sentence(),
        refused: still_refused,
    })
}

/// The rows of one message so far, to give a second value at one time another ordinal.
#[derive(Debug, Default)]
struct SeenTimes {
    rows: hashbrown::HashMap<(u32, i64), Vec<Row>, foldhash::fast::RandomState>,
}

impl SeenTimes {
    /// The ordinal of a row, or `None` where one before it says the same.
    fn ordinal(&mut self, row: &Row, texts: &[u8]) -> Option<u16> {
        let others = self.rows.entry((row.datastream, row.time_us)).or_default();
        if others.iter().any(|other| same_result(other, row, texts)) {
            return None;
        }
        others.push(*row);
        Some((others.len() - 1) as u16)
    }
}
