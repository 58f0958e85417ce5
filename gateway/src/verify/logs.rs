//! Flaws of a log as findings, and the journal's records.

use super::fault::Fault;
use super::finding::Finding;
use super::progress::Progress;
use super::report::Report;
use crate::log::{Flaw, FlawKind, Frame, FrameVisitor, Gap, KIND_MESSAGE, LogReport};
use crate::record::{Control, KIND_CONTROL, Message};

/// Reads every message of the journal.
pub(super) struct JournalVisitor<'a> {
    pub(super) progress: &'a Progress,
    pub(super) malformed: Vec<Finding>,
    pub(super) payload_bytes: u64,
}

impl FrameVisitor for JournalVisitor<'_> {
    fn frame(&mut self, frame: &Frame<'_>, path: &str, offset: u64) {
        let mut message_no = frame.meta.first_message_no;
        for record in frame.records().map_while(Result::ok) {
            if record.kind != KIND_MESSAGE {
                if record.kind != KIND_CONTROL || Control::parse(record.flags, record.body).is_none() {
                    let what = format!("a record of kind {} cannot be read", record.kind);
                    self.malformed.push(
                        Finding::new(Fault::RecordMalformed, path, what)
                            .at(offset)
                            .number(format!("frame {}", frame.meta.frame_no)),
                    );
                }
                continue;
            }
            match Message::parse(record.flags, record.user, record.body) {
                Some(message) => self.payload_bytes += message.payload.len() as u64,
                None => {
                    let what = format!("message {message_no} cannot be read");
                    self.malformed.push(
                        Finding::new(Fault::RecordMalformed, path, what)
                            .at(offset)
                            .number(format!("frame {}", frame.meta.frame_no)),
                    );
                }
            }
            message_no += 1;
        }
    }

    fn progress(&mut self, bytes: u64) {
        self.progress.add(bytes);
    }
}

/// Everything that a log's check says, into the report. `counted`: what its messages are called. `next_message_no`: of the
/// journal, the first message that is not processed.
pub(super) fn tell(
    log: &LogReport,
    name: &str,
    counted: &str,
    next_message_no: Option<u64>,
    report: &mut Report,
) {
    for flaw in &log.flaws {
        let mut finding = finding(flaw, counted);
        if let (FlawKind::FramesMissing(gap), Some(next)) = (&flaw.kind, next_message_no) {
            finding.what.push_str(&processed(gap, next));
        }
        report.find(finding);
    }
    for gap in &log.accepted {
        report.note(format!(
            "{name}: frames {} to {} ({counted}s {} to {}) are missing, which an operator accepted",
            gap.first_frame_no, gap.last_frame_no, gap.first_message_no, gap.last_message_no
        ));
    }
    for epoch in &log.accepted_headers {
        report
            .note(format!("{name}: the damaged header of segment {epoch:016x} was accepted by an operator"));
    }
    if log.recycled > 0 {
        report.note(format!("{name}: {} segments were given up by the gateway meanwhile", log.recycled));
    }
}

/// The log ends before something that was made from it: then what looks like an unfinished frame was a whole one.
pub(super) fn ends_early(fault: Fault, log: &LogReport, dir: &str, what: String) -> Finding {
    match &log.torn_tail {
        Some((path, offset)) => Finding::new(fault, path.clone(), what).at(*offset),
        None => Finding::new(fault, format!("{dir}/"), what),
    }
}

/// Nothing was made from what stands behind the end of the log.
pub(super) fn tell_torn_tail(log: &LogReport, report: &mut Report) {
    if let Some((path, offset)) = &log.torn_tail {
        report.note(format!(
            "{path}: byte {offset}: an unfinished frame, which was never acknowledged; the next start drops it"
        ));
    }
}

fn finding(flaw: &Flaw, counted: &str) -> Finding {
    let (fault, number, what) = match &flaw.kind {
        FlawKind::AcceptedDamage => (
            Fault::AcceptedDamage,
            None,
            "not a list of accepted damage, or its checksum is wrong".to_owned(),
        ),
        FlawKind::FrameDamaged { frame_no } => {
            (Fault::FrameDamaged, Some(format!("frame {frame_no}")), "its checksum is wrong".to_owned())
        }
        FlawKind::FrameTime { frame_no } => (
            Fault::FrameTime,
            Some(format!("frame {frame_no}")),
            "its time is before that of the frame before".to_owned(),
        ),
        FlawKind::FramesMissing(gap) if gap.first_frame_no == 0 => (
            Fault::FramesMissing,
            Some(format!("up to frame {}", gap.last_frame_no)),
            format!(
                "the beginning is damaged: what stood before record {} ({counted} {}) is missing",
                gap.last_record_no + 1,
                gap.last_message_no + 1
            ),
        ),
        FlawKind::FramesMissing(gap) => (
            Fault::FramesMissing,
            Some(range("frame", gap.first_frame_no, gap.last_frame_no)),
            format!(
                "damaged or gone, with valid frames behind: {}, {} are missing",
                range("record", gap.first_record_no, gap.last_record_no),
                range(counted, gap.first_message_no, gap.last_message_no)
            ),
        ),
        FlawKind::Foreign(what) => (Fault::LogUnreadable, None, format!("of another log: {what}")),
        FlawKind::Header(reason) => (Fault::SegmentHeader, None, (*reason).to_owned()),
        FlawKind::Length { expected, found } => {
            (Fault::SegmentLength, None, format!("the file has {found} bytes, its header says {expected}"))
        }
        FlawKind::Unreadable(error) => (Fault::LogUnreadable, None, error.clone()),
        FlawKind::Records { frame_no, what } => {
            (Fault::RecordMalformed, Some(format!("frame {frame_no}")), (*what).to_owned())
        }
    };
    Finding { offset: flaw.offset, number, ..Finding::new(fault, flaw.path.clone(), what) }
}

/// What of a gap in the journal is in the observation log, and so not lost with it.
fn processed(gap: &Gap, next_message_no: u64) -> String {
    let first = gap.first_message_no.max(next_message_no);
    if first > gap.last_message_no {
        return "; all of these messages were processed, so --accept-gap loses none".to_owned();
    }
    format!(
        "; messages up to {} are processed, so --accept-gap counts {} as lost",
        next_message_no.saturating_sub(1),
        range("message", first, gap.last_message_no)
    )
}

fn range(what: &str, first: u64, last: u64) -> String {
    if first == last { format!("{what} {first}") } else { format!("{what}s {first} to {last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_says_what_of_it_was_processed() {
        let gap = Gap {
            first_frame_no: 3,
            last_frame_no: 4,
            first_record_no: 11,
            last_record_no: 20,
            first_message_no: 11,
            last_message_no: 20,
        };
        let all = "; all of these messages were processed, so --accept-gap loses none";
        assert_eq!(processed(&gap, 21), all);
        for (next, lost) in [(20, "message 20"), (15, "messages 15 to 20"), (5, "messages 11 to 20")] {
            let up_to = next - 1;
            let told =
                format!("; messages up to {up_to} are processed, so --accept-gap counts {lost} as lost");
            assert_eq!(processed(&gap, next), told);
        }
    }
}
