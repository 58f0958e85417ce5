//! Reads a whole log without changing anything and names everything that is not as its writer left it (`journal verify`).
//!
//! Every frame in force is checked and handed to the caller in order. It works beside a running writer: what looks wrong
//! is looked at again, because the writer may just have been there, and segments that were given up meanwhile are no
//! flaws. What goes wrong with one segment does not end the check.

use super::format::{FRAME_HEADER_LEN, FrameMeta, LogId, LogKind};
use super::gaps::{AcceptedDamage, Gap};
use super::record::{KIND_MESSAGE, records};
use super::segment::{
    FIRST_FRAME_OFFSET, FrameSource, SegmentFile, SegmentFiles, follows, io_error, segment_path,
};
use super::{Frame, LogError};
use crate::disk::{BLOCK_BYTES, Disk, OpenMode};

const READ_AHEAD_BYTES: usize = 1 << 20;
const BLOCK: u64 = BLOCK_BYTES as u64;
/// A superseded copy of a frame that differs from it in no more bytes than this was damaged; more, and it is another frame.
const COPY_BYTES_DIFFERENT_MAX: usize = 64;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub path: String,
    pub offset: Option<u64>,
    pub kind: FlawKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlawKind {
    /// The list of accepted damage cannot be read.
    AcceptedDamage,
    /// A frame is damaged though nothing is missing: it stands in a later segment again, or was the only one of its segment.
    FrameDamaged {
        frame_no: u64,
    },
    /// The frame's time is before that of the frame before.
    FrameTime {
        frame_no: u64,
    },
    /// Frames are missing and later ones are there.
    FramesMissing(Gap),
    /// A segment of another log, or of another kind of log.
    Foreign(&'static str),
    Header(&'static str),
    Length {
        expected: u64,
        found: u64,
    },
    /// The disk does not give the bytes.
    Unreadable(String),
    /// The frame passes its checksum, and its records are not what its header says.
    Records {
        frame_no: u64,
        what: &'static str,
    },
}

/// What stands in a log.
#[derive(Clone, Debug, Default)]
pub struct LogReport {
    pub segments: u64,
    pub bytes: u64,
    pub frames: u64,
    pub records: u64,
    pub messages: u64,
    /// The first and the last frame in force.
    pub first: Option<FrameMeta>,
    pub last: Option<FrameMeta>,
    /// Missing in the middle, and accepted by an operator.
    pub accepted: Vec<Gap>,
    /// Headers whose damage an operator accepted, by epoch.
    pub accepted_headers: Vec<u64>,
    /// Where an unfinished frame stands at the end; it was never acknowledged.
    pub torn_tail: Option<(String, u64)>,
    /// Damaged segments of which nobody knows what stood in them: no frame is whole, or the last one was cut short.
    pub unread: Vec<String>,
    /// Segments that the writer gave up while they were read.
    pub recycled: u64,
    pub flaws: Vec<Flaw>,
}

/// Who takes the frames.
pub trait FrameVisitor {
    /// The next frame in force, at this place. Behind a hole the numbers jump.
    fn frame(&mut self, frame: &Frame<'_>, path: &str, offset: u64);
    /// So many bytes more were looked at.
    fn progress(&mut self, bytes: u64);
    /// Whether the frames from `first` up to, not including, `next` (none: up to the end) are to be read at all.
    fn wants(&self, _first: &FrameMeta, _next: Option<&FrameMeta>) -> bool {
        true
    }
    /// Nothing further is to be read.
    fn is_done(&self) -> bool {
        false
    }
}

/// Checks the log in `dir`. An error is only what makes a check impossible: the directory cannot be listed, or a segment has
/// another format.
pub fn check(
    disk: &dyn Disk,
    dir: &str,
    kind: LogKind,
    beside_writer: bool,
    visitor: &mut dyn FrameVisitor,
) -> Result<LogReport, LogError> {
    let mut report = LogReport::default();
    let damage = match AcceptedDamage::load(disk, dir) {
        Ok(damage) => damage,
        Err(LogError::AcceptedDamage { path } | LogError::Io { path, .. }) => {
            report.flaws.push(Flaw { path, offset: None, kind: FlawKind::AcceptedDamage });
            AcceptedDamage::default()
        }
        Err(other) => return Err(other),
    };
    let segments = open_segments(disk, dir, kind, &damage, &mut report)?;
    let mut walk =
        Walk { disk, dir, kind, beside_writer, damage, report, expected: None, resembling: None, visitor };
    for at in 0..segments.len() {
        let cut =
            segments[at + 1..].iter().filter_map(|segment| segment.first).map(|first| first.frame_no).min();
        let next = segments[at + 1..].iter().find(|segment| segment.first.is_some());
        if let Some(first) = &segments[at].first
            && !walk.visitor.wants(first, next.and_then(|segment| segment.first.as_ref()))
        {
            walk.passed_over(first);
            continue;
        }
        walk.segment(&segments[at], next, cut.unwrap_or(u64::MAX))?;
        if walk.visitor.is_done() {
            break;
        }
    }
    Ok(walk.finish())
}

/// A segment with the first valid frame in it.
struct Segment {
    epoch: u64,
    path: String,
    log_id: LogId,
    bytes: u64,
    header_is_damaged: bool,
    first: Option<FrameMeta>,
    first_offset: u64,
}

fn open_segments(
    disk: &dyn Disk,
    dir: &str,
    kind: LogKind,
    damage: &AcceptedDamage,
    report: &mut LogReport,
) -> Result<Vec<Segment>, LogError> {
    let everything = AcceptedDamage { everything: true, ..damage.clone() };
    let mut files = Vec::new();
    for epoch in SegmentFiles::list(disk, dir)?.segments {
        let path = segment_path(dir, epoch);
        let mut flaw = |kind| report.flaws.push(Flaw { path: path.clone(), offset: Some(0), kind });
        match SegmentFile::open(disk, dir, epoch, kind, damage) {
            Ok(Some(file)) => {
                if let Some(header) = file.header
                    && let Ok(found) = disk.size_of(&path)
                    && found != header.segment_bytes
                {
                    flaw(FlawKind::Length { expected: header.segment_bytes, found });
                }
                if file.header.is_none() {
                    report.accepted_headers.push(epoch);
                }
                files.push(file);
            }
            Ok(None) => report.recycled += 1,
            Err(error @ (LogError::BadHeader { .. } | LogError::ShortSegment { .. })) => {
                // Renamed and written anew between the listing and the reading.
                if disk.size_of(&path).is_err() {
                    report.recycled += 1;
                    continue;
                }
                match error {
                    LogError::BadHeader { reason, .. } => flaw(FlawKind::Header(reason)),
                    LogError::ShortSegment { expected, found, .. } => {
                        flaw(FlawKind::Length { expected, found });
                    }
                    other => return Err(other),
                }
                if let Ok(Some(file)) = SegmentFile::open(disk, dir, epoch, kind, &everything) {
                    files.push(file);
                }
            }
            Err(LogError::Foreign { what, .. }) => flaw(FlawKind::Foreign(what)),
            Err(LogError::Io { source, .. }) => flaw(FlawKind::Unreadable(source.to_string())),
            Err(other) => return Err(other),
        }
    }
    // The id that most headers name: one foreign segment must not make all others foreign.
    let ids: Vec<LogId> = files.iter().filter_map(|file| file.header.map(|header| header.log_id)).collect();
    let common = ids.iter().max_by_key(|id| ids.iter().filter(|other| other == id).count()).copied();
    let mut segments = Vec::with_capacity(files.len());
    for file in files {
        let Some(log_id) = common else { break };
        if file.header.is_some_and(|header| header.log_id != log_id) {
            let kind = FlawKind::Foreign("its log id is a different one");
            report.flaws.push(Flaw { path: file.path, offset: Some(16), kind });
            continue;
        }
        segments.push(first_frame_of(file, log_id, report));
    }
    let without_frames = |path: &str| segments.iter().all(|it| it.path != path || it.first.is_none());
    let is_damaged = |flaw: &&Flaw| match flaw.kind {
        FlawKind::Header(_) => without_frames(&flaw.path),
        FlawKind::Length { expected, found } => {
            let last = segments.iter().rfind(|segment| segment.first.is_some());
            let is_last = last.is_none_or(|last| last.path == flaw.path);
            found < expected && (is_last || without_frames(&flaw.path))
        }
        _ => false,
    };
    report.unread = report.flaws.iter().filter(is_damaged).map(|flaw| flaw.path.clone()).collect();
    Ok(segments)
}

fn first_frame_of(file: SegmentFile, log_id: LogId, report: &mut LogReport) -> Segment {
    let mut segment = Segment {
        epoch: file.epoch,
        path: file.path.clone(),
        log_id,
        bytes: file.segment_bytes,
        header_is_damaged: file.header.is_none(),
        first: None,
        first_offset: FIRST_FRAME_OFFSET,
    };
    let mut source = file.into_frames(log_id, READ_AHEAD_BYTES);
    let mut offset = FIRST_FRAME_OFFSET;
    while offset + BLOCK <= source.segment_bytes {
        match source.frame_at(offset) {
            Ok(Some(first)) => {
                segment.first = Some(first);
                segment.first_offset = offset;
                break;
            }
            Ok(None) => offset += BLOCK,
            Err(error) => {
                let kind = FlawKind::Unreadable(error.to_string());
                report.flaws.push(Flaw { path: segment.path.clone(), offset: Some(offset), kind });
                break;
            }
        }
    }
    segment
}

/// A place that looks like a frame of its segment and is none.
#[derive(Clone, Debug)]
struct Resembling {
    path: String,
    offset: u64,
    frame_no: u64,
}

struct Walk<'a> {
    disk: &'a dyn Disk,
    dir: &'a str,
    kind: LogKind,
    beside_writer: bool,
    damage: AcceptedDamage,
    report: LogReport,
    /// The frame before, and where it ended.
    expected: Option<(FrameMeta, String, u64)>,
    /// The last one found, if no frame in force came behind it.
    resembling: Option<Resembling>,
    visitor: &'a mut dyn FrameVisitor,
}

impl Walk<'_> {
    /// `cut`: from this frame on later segments are in force.
    fn segment(&mut self, segment: &Segment, next: Option<&Segment>, cut: u64) -> Result<(), LogError> {
        let opened = self.open(segment.epoch);
        let file = match opened {
            Ok(Some(file)) => file,
            Ok(None) => return self.gone(),
            Err(error) => {
                self.flaw(&segment.path, None, FlawKind::Unreadable(error.to_string()));
                return Ok(());
            }
        };
        let before = self.report.flaws.len();
        let resembling = self.resembling.clone();
        let mut source = file.into_frames(segment.log_id, READ_AHEAD_BYTES);
        let scanned = self.frames(segment, &mut source, cut);
        if let Err(error) = scanned {
            self.flaw(&segment.path, None, FlawKind::Unreadable(error.to_string()));
        }
        if self.disk.size_of(&segment.path).is_err() {
            self.report.flaws.truncate(before);
            self.resembling = resembling;
            return self.gone();
        }
        self.report.segments += 1;
        self.report.bytes += segment.bytes;
        if let Some(next) = next
            && let Err(error) = self.copy(segment, &mut source, next)
        {
            self.flaw(&segment.path, None, FlawKind::Unreadable(error.to_string()));
        }
        Ok(())
    }

    /// The caller wants nothing of this segment.
    fn passed_over(&mut self, first: &FrameMeta) {
        self.report.first.get_or_insert(*first);
        self.expected = None;
        self.resembling = None;
    }

    /// Whatever its header says by now: that was told when the segment was found.
    fn open(&self, epoch: u64) -> Result<Option<SegmentFile>, LogError> {
        let everything = AcceptedDamage { everything: true, ..self.damage.clone() };
        SegmentFile::open(self.disk, self.dir, epoch, self.kind, &everything)
    }

    /// The writer gave the segment up meanwhile: the log starts behind it.
    fn gone(&mut self) -> Result<(), LogError> {
        if !self.beside_writer {
            let source =
                std::io::Error::other("files vanish while they are read; is something else at work here?");
            return Err(io_error(self.dir, "reading", source));
        }
        self.report.recycled += 1;
        self.expected = None;
        Ok(())
    }

    fn frames(&mut self, segment: &Segment, source: &mut FrameSource, cut: u64) -> Result<(), LogError> {
        let mut offset = FIRST_FRAME_OFFSET;
        // Where the first block of a hole stands.
        let mut hole = None;
        // The writer is at work behind the last frame: nothing but its own later frames makes that a hole.
        while offset + BLOCK <= source.segment_bytes && !self.visitor.is_done() {
            let Some(meta) = source.frame_at(offset)? else {
                if hole.is_none() {
                    hole = Some(offset);
                }
                self.look_at_no_frame(segment, source, offset)?;
                offset += BLOCK;
                self.visitor.progress(BLOCK);
                continue;
            };
            if let Some(start) = hole.take() {
                // Written since it was looked at?
                source.forget_read_ahead();
                if source.frame_at(start)?.is_some() {
                    offset = start;
                    self.resembling = None;
                    continue;
                }
                source.frame_at(offset)?;
            }
            if meta.frame_no < cut {
                self.take(segment, source, &meta, offset);
            }
            offset += u64::from(meta.len);
            self.visitor.progress(u64::from(meta.len));
        }
        Ok(())
    }

    /// A frame in force.
    fn take(&mut self, segment: &Segment, source: &FrameSource, meta: &FrameMeta, offset: u64) {
        match &self.expected {
            Some((before, _, _)) if follows(before, meta) => {
                if meta.stamp.time_us < before.stamp.time_us {
                    self.flaw(&segment.path, Some(offset), FlawKind::FrameTime { frame_no: meta.frame_no });
                }
                // Nothing is missing, so what resembled a frame before was a write that never ended, or a damaged copy.
                self.judge_resembling(meta);
            }
            // The copy that recovery wrote of the frame before: counted already.
            Some((before, _, _)) if before.frame_no == meta.frame_no => {
                self.judge_resembling(meta);
                self.expected = Some((*meta, segment.path.clone(), offset + u64::from(meta.len)));
                return;
            }
            Some(_) => self.hole_before(meta, segment, offset),
            None if self.report.first.is_none() => self.front(meta, segment, offset),
            None => {}
        }
        self.resembling = None;
        self.expected = Some((*meta, segment.path.clone(), offset + u64::from(meta.len)));
        self.report.first.get_or_insert(*meta);
        self.report.last = Some(*meta);
        self.report.frames += 1;
        self.report.records += u64::from(meta.record_count);
        self.report.messages += u64::from(meta.message_count);
        let frame = Frame { meta: *meta, payload: &source.frame_bytes()[FRAME_HEADER_LEN..] };
        if let Some(what) = wrong_records(&frame, self.kind) {
            self.flaw(&segment.path, Some(offset), FlawKind::Records { frame_no: meta.frame_no, what });
        }
        self.visitor.frame(&frame, &segment.path, offset);
    }

    /// The log starts here; where something stood before in the same segment, that is gone.
    fn front(&mut self, meta: &FrameMeta, segment: &Segment, offset: u64) {
        if offset == FIRST_FRAME_OFFSET {
            if let Some(before) = self.resembling.take() {
                self.flaw_of(&before);
            }
            return;
        }
        let gap = gap_between((0, 0, 0), meta);
        self.missing(gap, segment.path.clone(), FIRST_FRAME_OFFSET);
    }

    fn hole_before(&mut self, meta: &FrameMeta, segment: &Segment, offset: u64) {
        let Some((before, path, end)) = self.expected.clone() else { return };
        if meta.frame_no <= before.frame_no {
            let what = "its number is not above that of the frame before";
            self.flaw(&segment.path, Some(offset), FlawKind::Records { frame_no: meta.frame_no, what });
            return;
        }
        let gap = gap_between((before.frame_no + 1, before.next_record_no(), before.next_message_no()), meta);
        let place = match &self.resembling {
            Some(found) => (found.path.clone(), found.offset),
            None => (path, end),
        };
        self.missing(gap, place.0, place.1);
    }

    fn missing(&mut self, gap: Gap, path: String, offset: u64) {
        if self.damage.covers(&gap) {
            self.report.accepted.push(gap);
        } else {
            self.report.flaws.push(Flaw { path, offset: Some(offset), kind: FlawKind::FramesMissing(gap) });
        }
    }

    /// Behind the end of the frames of a segment: zeros, frames of former lives, or something that was a frame.
    fn look_at_no_frame(
        &mut self,
        segment: &Segment,
        source: &mut FrameSource,
        offset: u64,
    ) -> Result<(), LogError> {
        if let Some(frame_no) = source.resembles_frame(offset)?
            && self.resembling.is_none()
        {
            self.resembling = Some(Resembling { path: segment.path.clone(), offset, frame_no });
        }
        Ok(())
    }

    /// `meta` is in force and follows what was before. What resembled a frame in between was its own torn first write or a
    /// later one's (nobody was told of either), or a copy of an earlier frame.
    fn judge_resembling(&mut self, meta: &FrameMeta) {
        if let Some(found) = self.resembling.take()
            && found.frame_no < meta.frame_no
        {
            self.flaw_of(&found);
        }
    }

    fn flaw_of(&mut self, found: &Resembling) {
        let kind = FlawKind::FrameDamaged { frame_no: found.frame_no };
        self.flaw(&found.path, Some(found.offset), kind);
    }

    /// The first frame of the next segment may be a copy that recovery made: the original stood at the end of this one, and
    /// if it differs in a few bytes only, it was damaged since.
    fn copy(&mut self, segment: &Segment, source: &mut FrameSource, next: &Segment) -> Result<(), LogError> {
        let Some((last, path, end)) = &self.expected else { return Ok(()) };
        let (last, end) = (*last, *end);
        let Some(first) = next.first else { return Ok(()) };
        if *path != segment.path || first.frame_no != last.frame_no + 1 || end + BLOCK > source.segment_bytes
        {
            return Ok(());
        }
        if segment.header_is_damaged || source.frame_at(end)?.is_some() {
            return Ok(());
        }
        let Some(file) = self.open(next.epoch)? else { return Ok(()) };
        let mut other = file.into_frames(next.log_id, first.len as usize);
        if other.frame_at(next.first_offset)? != Some(first) {
            return Ok(());
        }
        let Some(here) = source.bytes_at(end, first.len as usize)? else { return Ok(()) };
        if is_damaged_copy(here, other.frame_bytes()) {
            self.resembling = None;
            self.flaw(&segment.path, Some(end), FlawKind::FrameDamaged { frame_no: first.frame_no });
        }
        Ok(())
    }

    fn flaw(&mut self, path: &str, offset: Option<u64>, kind: FlawKind) {
        self.report.flaws.push(Flaw { path: path.to_owned(), offset, kind });
    }

    fn finish(mut self) -> LogReport {
        if let Some(found) = self.resembling.take() {
            // An unreadable one is told already.
            if self.is_copy_of_last(&found).unwrap_or(false) {
                self.flaw_of(&found);
            } else {
                self.report.torn_tail = Some((found.path, found.offset));
            }
        }
        self.report
    }

    /// Whether what stands behind the last frame is that frame once more, as recovery writes it, and damaged since. A crash
    /// in the middle of that recovery leaves less of it.
    fn is_copy_of_last(&self, found: &Resembling) -> Result<bool, LogError> {
        let Some((last, path, end)) = &self.expected else { return Ok(false) };
        let bytes = |path: &str, offset| -> Result<Option<Vec<u8>>, LogError> {
            let reading = |source| io_error(path, "reading", source);
            let file = self.disk.open(path, OpenMode::Read).map_err(reading)?;
            let mut bytes = vec![0; last.len as usize];
            let got = file.read_at(offset, &mut bytes).map_err(reading)?;
            Ok((got == bytes.len()).then_some(bytes))
        };
        let original = bytes(path, end - u64::from(last.len))?;
        let copy = bytes(&found.path, found.offset)?;
        Ok(original.zip(copy).is_some_and(|(original, copy)| is_damaged_copy(&copy, &original)))
    }
}

/// Two copies of one frame differ in checksum and epoch, and in what was damaged.
fn is_damaged_copy(copy: &[u8], original: &[u8]) -> bool {
    let of_any_copy = |at: usize| (4..8).contains(&at) || (16..24).contains(&at);
    let bytes = copy.iter().zip(original).enumerate();
    bytes.filter(|(at, (a, b))| a != b && !of_any_copy(*at)).count() <= COPY_BYTES_DIFFERENT_MAX
}

fn gap_between((frame, record, message): (u64, u64, u64), next: &FrameMeta) -> Gap {
    Gap {
        first_frame_no: frame,
        last_frame_no: next.frame_no.saturating_sub(1),
        first_record_no: record,
        last_record_no: next.first_record_no.saturating_sub(1),
        first_message_no: message,
        last_message_no: next.first_message_no.saturating_sub(1),
    }
}

fn wrong_records(frame: &Frame<'_>, kind: LogKind) -> Option<&'static str> {
    let (mut count, mut messages) = (0, 0);
    for record in records(frame.payload) {
        let Ok(record) = record else { return Some("its records do not fit into it") };
        count += 1;
        messages += u32::from(record.kind == KIND_MESSAGE);
    }
    if count != frame.meta.record_count {
        return Some("it has another number of records than its header says");
    }
    if kind == LogKind::Journal && messages != frame.meta.message_count {
        return Some("it has another number of messages than its header says");
    }
    None
}
