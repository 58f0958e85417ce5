//! Every observation frame: that it can be read, that what it refers to exists, that no message is left out between two
//! frames; and what the books must say, counted anew.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::fault::Fault;
use super::finding::Finding;
use super::progress::Progress;
use crate::books::hour_of;
use crate::catalogue::{BookCounts, BookKey};
use crate::keeper::KeeperCursor;
use crate::log::{Frame, FrameVisitor};
use crate::observation::{
    Classification, MessageEntry, MessageOutcome, ObservationFrame, OutcomeKind, ResultKind, parse_frame,
};
use crate::registry::Registry;

/// What the catalogue's cut says about the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// The last frame in the books.
    pub(super) frame_no: u64,
    pub(super) keeper: KeeperCursor,
}

/// Rows that are stored by frames which no file reflects yet, and the recount of the books, as far as the log reaches.
pub(super) struct ObservationsVisitor<'a> {
    progress: &'a Progress,
    registry: &'a mut Registry,
    cut: Cut,
    pub(super) findings: Vec<Finding>,
    /// Messages that frames of the log do not cover, in between: lost, if the journal's gap was accepted.
    pub(super) uncovered: Vec<(Range<u64>, Finding)>,
    /// Behind the last frame, whatever the books reflect.
    pub(super) next_message_no: Option<u64>,
    recount: Recount,
    frame_before: Option<u64>,
}

/// The books counted anew, as far as the log reaches.
#[derive(Debug, Default)]
pub(super) struct Recount {
    /// The first message of the first frame that covers any: hours from there on are counted in full.
    pub(super) first_message_no: Option<u64>,
    pub(super) counts: BTreeMap<(i64, BookKey), BookCounts>,
    /// By hour: stored rows that lie in no file yet.
    pub(super) unflushed: BTreeMap<i64, u64>,
    /// Late rows of the log without an outcome up to the cut.
    waiting: HashMap<u64, (i64, BookKey)>,
    /// The same for rows of replayed messages, which the books have beside their hours.
    waiting_settled: HashMap<u64, i64>,
}

impl Recount {
    pub(super) fn waiting(&self) -> u64 {
        (self.waiting.len() + self.waiting_settled.len()) as u64
    }
}

impl<'a> ObservationsVisitor<'a> {
    pub(super) fn new(progress: &'a Progress, registry: &'a mut Registry, cut: Cut) -> Self {
        Self {
            progress,
            registry,
            cut,
            findings: Vec::new(),
            uncovered: Vec::new(),
            next_message_no: None,
            recount: Recount::default(),
            frame_before: None,
        }
    }

    pub(super) fn into_recount(self) -> Recount {
        self.recount
    }

    fn coverage(&mut self, frame: &ObservationFrame, finding: &dyn Fn(Fault, String) -> Finding) {
        let info = &frame.info;
        if info.next_message_no < info.first_message_no {
            let what = "it ends before the messages that it begins with".to_owned();
            self.findings.push(finding(Fault::ObservationFrame, what));
            return;
        }
        // A hole between frames of the log is told by the log's own check.
        let follows = self.frame_before.is_some_and(|before| before + 1 == frame.frame_no);
        let mut expected = self.next_message_no.filter(|_| follows).unwrap_or(info.first_message_no);
        if info.first_message_no < expected {
            let what = format!(
                "it covers messages from {} on, and the frame before covers up to {}",
                info.first_message_no,
                expected - 1
            );
            self.findings.push(finding(Fault::ObservationFrame, what));
            expected = info.first_message_no;
        }
        let came = frame.messages.iter().filter(|message| !message.is_replayed());
        let ends = came.map(|message| (message.message_no, message.message_no + 1));
        for (next, behind) in ends.chain([(info.next_message_no, info.next_message_no)]) {
            if next > expected {
                let what = format!("messages {expected} to {} are in no frame", next - 1);
                self.uncovered.push((expected..next, finding(Fault::ObservationGap, what)));
            }
            expected = behind.max(expected);
        }
        self.next_message_no = Some(info.next_message_no);
    }

    fn count(&mut self, frame: &ObservationFrame) {
        let stored_by_no_file = frame.frame_no >= self.cut.keeper.store.next_frame;
        let place = |message: &MessageEntry| {
            let MessageEntry { agency, client, station, .. } = *message;
            (hour_of(message.stamp_us()), BookKey { agency, client, station })
        };
        if let Some(first) = frame.messages.iter().find(|message| !message.is_replayed()) {
            self.recount.first_message_no.get_or_insert(first.message_no);
        }
        for message in frame.messages.iter().filter(|message| !message.is_replayed()) {
            let counts = self.recount.counts.entry(place(message)).or_default();
            *match message.message_outcome() {
                MessageOutcome::Decoded => &mut counts.decoded,
                MessageOutcome::Partial => &mut counts.partial,
                MessageOutcome::Quarantined => &mut counts.quarantined_messages,
                MessageOutcome::Ignored => &mut counts.ignored,
            } += 1;
            counts.quarantined_readings += u64::from(message.quarantined_readings);
        }
        for (obs_no, row) in (frame.first_obs_no..).zip(&frame.rows) {
            let Some(message) = frame.messages.get(row.message as usize) else { continue };
            let place = place(message);
            if message.is_replayed() {
                match row.classified() {
                    Classification::Inserted if stored_by_no_file => {
                        *self.recount.unflushed.entry(place.0).or_default() += 1;
                    }
                    Classification::Unresolved => {
                        self.recount.waiting_settled.insert(obs_no, place.0);
                    }
                    Classification::Inserted | Classification::Duplicate => {}
                }
                continue;
            }
            let counts = self.recount.counts.entry(place).or_default();
            match row.classified() {
                Classification::Inserted => {
                    counts.inserted += 1;
                    if stored_by_no_file {
                        *self.recount.unflushed.entry(place.0).or_default() += 1;
                    }
                }
                Classification::Duplicate => counts.duplicate += 1,
                Classification::Unresolved => {
                    counts.unresolved += 1;
                    self.recount.waiting.insert(obs_no, place);
                }
            }
        }
        for outcome in &frame.outcomes {
            let kind = outcome.outcome_kind();
            let is_stored = matches!(kind, OutcomeKind::Inserted | OutcomeKind::Corrected);
            if let Some(hour) = self.recount.waiting_settled.remove(&outcome.obs_no) {
                if stored_by_no_file && is_stored {
                    *self.recount.unflushed.entry(hour).or_default() += 1;
                }
                continue;
            }
            // The row stood before the log's beginning.
            let Some(place) = self.recount.waiting.remove(&outcome.obs_no) else { continue };
            let counts = self.recount.counts.entry(place).or_default();
            counts.unresolved -= 1;
            *match kind {
                OutcomeKind::Inserted => &mut counts.inserted,
                OutcomeKind::Corrected => &mut counts.corrected,
                OutcomeKind::Duplicate => &mut counts.duplicate,
                OutcomeKind::Outranked => &mut counts.outranked,
            } += 1;
            if stored_by_no_file && is_stored {
                *self.recount.unflushed.entry(place.0).or_default() += 1;
            }
        }
    }
}

impl FrameVisitor for ObservationsVisitor<'_> {
    fn frame(&mut self, frame: &Frame<'_>, path: &str, offset: u64) {
        let frame_no = frame.meta.frame_no;
        let finding = |fault, what: String| {
            Finding::new(fault, path, what).at(offset).number(format!("frame {frame_no}"))
        };
        let parsed = match parse_frame(&frame.meta, frame.payload) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.findings.push(finding(Fault::ObservationFrame, error.to_string()));
                self.frame_before = None;
                return;
            }
        };
        for definition in &parsed.definitions {
            self.registry.apply(definition);
        }
        self.coverage(&parsed, &finding);
        self.frame_before = Some(frame_no);
        if frame.meta.message_count as usize != parsed.rows.len() {
            let what =
                format!("it has {} rows, its header says {}", parsed.rows.len(), frame.meta.message_count);
            self.findings.push(finding(Fault::ObservationFrame, what));
        }
        if let Some(what) = wrong_content(&parsed, self.registry) {
            self.findings.push(finding(Fault::ObservationFrame, what));
        }
        if frame_no <= self.cut.frame_no {
            self.count(&parsed);
        }
    }

    fn progress(&mut self, bytes: u64) {
        self.progress.add(bytes);
    }
}

/// What a frame refers to must be in it, or in the registry by now.
fn wrong_content(frame: &ObservationFrame, registry: &Registry) -> Option<String> {
    let info = &frame.info;
    let mut rows = vec![0u32; frame.messages.len()];
    let mut before = 0;
    for (at, row) in frame.rows.iter().enumerate() {
        let Some(count) = rows.get_mut(row.message as usize) else {
            return Some(format!("row {at} refers to message {} of {}", row.message, frame.messages.len()));
        };
        *count += 1;
        if row.message < before {
            return Some(format!("row {at} stands behind rows of later messages"));
        }
        before = row.message;
        if row.datastream as usize >= registry.datastreams().len() {
            return Some(format!("row {at} is of datastream {}, which nothing defines", row.datastream));
        }
        if row.status >= registry.symbol_count() || row.unit >= registry.symbol_count() {
            return Some(format!("row {at} has a status or unit that nothing defines"));
        }
        if row.kind > 3 || row.classification > 2 || ![1, 2, 3, 4, 9].contains(&row.quality) {
            return Some(format!("row {at} has an impossible kind, class or quality"));
        }
        if row.result_kind() == ResultKind::Text {
            let span = row.text_span();
            if u64::from(span.offset) + u64::from(span.len) > frame.texts.len() as u64 {
                return Some(format!("the text of row {at} lies outside"));
            }
        }
    }
    let mut expected = info.first_message_no;
    for (at, message) in frame.messages.iter().enumerate() {
        if message.is_replayed() {
            if !frame.settlements.iter().any(|settlement| settlement.entry.position == message.message_no) {
                return Some(format!("message {} is replayed and not settled", message.message_no));
            }
        } else if message.message_no < expected || message.message_no >= info.next_message_no {
            return Some(format!(
                "its entry {at} is of message {}, and it covers {} to {}",
                message.message_no,
                info.first_message_no,
                info.next_message_no.saturating_sub(1)
            ));
        }
        if !message.is_replayed() {
            expected = message.message_no + 1;
        }
        if u32::from(message.row_count) != rows[at] {
            return Some(format!(
                "message {} says {} rows and has {}",
                message.message_no, message.row_count, rows[at]
            ));
        }
        if message.client >= registry.client_count()
            || message.agency >= registry.agency_count()
            || message.station >= registry.station_count()
            || message.outcome > 3
        {
            return Some(format!("message {} names somebody whom nothing defines", message.message_no));
        }
    }
    for outcome in &frame.outcomes {
        if outcome.obs_no >= frame.first_obs_no || outcome.kind > 3 {
            return Some(format!("it settles row {}, which does not come before it", outcome.obs_no));
        }
    }
    for quarantined in &frame.quarantined {
        if !(info.first_message_no..info.next_message_no).contains(&quarantined.message_no) {
            return Some(format!(
                "it quarantines message {}, which it does not cover",
                quarantined.message_no
            ));
        }
    }
    None
}
