//! Opening a log after whatever happened.
//!
//! All frames from what is needed on ([`LogConfig::needed_from`]) are read and checked (sequentially; about the speed of the
//! disk); of segments below only the beginning is, `journal verify` reads them all. Segments are ordered by
//! epoch; where two hold the same `frame_no`, the higher epoch wins. A hole with valid frames behind it is corruption;
//! damage with nothing valid behind it is the torn tail of a write that nobody was told of.
//!
//! The last frame may have been read from a page cache and never have reached the disk. So it is written again, into a
//! new segment, durably, before anybody may rely on it. Only then do segments become reusable.

use std::sync::Arc;

use super::format::{FRAME_HEADER_LEN, FrameMeta, LogId, LogKind};
use super::gaps::{AcceptedDamage, Gap};
use super::prepare::Prepared;
use super::segment::{
    FIRST_FRAME_OFFSET, FrameSource, Run, SegmentFile, SegmentFiles, common_log_id, io_error, scan, temp_path,
};
use super::writer::{Live, LogWriter, Spare};
use super::{AlignedBuf, LogConfig, LogError, Position};
use crate::disk::{BLOCK_BYTES, Disk, create_dir_durably, is_no_space, remove_durably};

const READ_AHEAD_BYTES: usize = 1 << 20;
/// Segments that must fit under `log_bytes_max`: current, two ready, one being released.
const SEGMENTS_MIN: u64 = 4;

/// What [`recover`] found and did.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The last frame, now durable in a new segment; none in a new log.
    pub last: Option<FrameMeta>,
    /// The lowest record there is; in an empty log the first one to come. Above what the caller still needs, segments
    /// are missing at the front.
    pub first_available_record_no: u64,
    pub first_available_message_no: u64,
    /// Accepted just now (`accept_gap`): the caller records them.
    pub new_gaps: Vec<Gap>,
    /// All that was ever accepted and is still remembered.
    pub gaps: Vec<Gap>,
    /// An unfinished frame stood at the end; it was never acknowledged.
    pub torn_tail: bool,
}

/// Opens a log for writing, or makes one: checks everything, writes the last frame again, makes segments ready.
/// The caller has made sure that no other process uses the directory.
pub fn recover(
    disk: Arc<dyn Disk>,
    dir: &str,
    config: LogConfig,
) -> Result<(Recovered, LogWriter), LogError> {
    check_config(&config)?;
    create_dir_durably(&*disk, dir).map_err(|source| setup_error(dir, "making the directory", source))?;
    let mut damage = AcceptedDamage::load(&*disk, dir)?;
    damage.everything = config.accept_gap;
    let stale_frames_pass = planted_stale_frames(&config);
    let mut contents = Contents::read(
        &*disk,
        dir,
        config.kind,
        damage,
        (config.needed_from, config.unneeded_bytes_read),
        stale_frames_pass,
    )?;
    let new_gaps = contents.accept_new_damage(&*disk, dir, &config)?;
    for epoch in &contents.files.temps {
        let path = temp_path(dir, *epoch);
        remove_durably(&*disk, &path).map_err(|source| setup_error(&path, "removing", source))?;
    }
    let log_id = contents.log_id.unwrap_or(config.new_log_id);
    let mut writer = LogWriter::new(disk, dir, config, log_id, contents.files.next_epoch());
    let (first_available_record_no, first_available_message_no) = contents.first_available();
    let torn_tail = contents.torn_tail()?;
    let last = match contents.chain.last().copied() {
        Some(link) => Some(continue_log(&mut contents, &mut writer, link)?),
        None => {
            contents.hand_over(&mut writer, |_| true);
            None
        }
    };
    while writer.prepare_step()? == Prepared::Progress {}
    let gaps = contents.damage.gaps;
    let found =
        Recovered { last, first_available_record_no, first_available_message_no, new_gaps, gaps, torn_tail };
    Ok((found, writer))
}

#[cfg(test)]
fn planted_stale_frames(config: &LogConfig) -> bool {
    config.planted_bug == Some(super::model_test::PlantedBug::StaleFrameAccepted)
}

#[cfg(not(test))]
fn planted_stale_frames(_: &LogConfig) -> bool {
    false
}

fn check_config(config: &LogConfig) -> Result<(), LogError> {
    let block = BLOCK_BYTES as u64;
    if !config.segment_bytes.is_multiple_of(block) || !config.frame_bytes_max.is_multiple_of(block) {
        return Err(LogError::Config("segment_bytes and frame_bytes_max must be multiples of 4096"));
    }
    if config.frame_bytes_max < block || config.frame_bytes_max > u64::from(u32::MAX) {
        return Err(LogError::Config("frame_bytes_max must lie between 4096 and 4 GiB"));
    }
    if config.segment_bytes < FIRST_FRAME_OFFSET + config.frame_bytes_max {
        return Err(LogError::Config(
            "segment_bytes must hold its 4096-byte header and one frame of frame_bytes_max",
        ));
    }
    if config.log_bytes_max / config.segment_bytes < SEGMENTS_MIN {
        return Err(LogError::Config("log_bytes_max must hold at least four segments"));
    }
    if config.reserve_bytes > config.segment_bytes / 2 {
        return Err(LogError::Config("reserve_bytes must be at most half of segment_bytes"));
    }
    Ok(())
}

fn setup_error(path: &str, operation: &'static str, source: std::io::Error) -> LogError {
    if is_no_space(&source) {
        LogError::NoSpace { path: path.to_owned(), source }
    } else {
        io_error(path, operation, source)
    }
}

/// A run of frames with what belongs to it: up to `end_*`, where a higher epoch takes over.
#[derive(Clone, Copy, Debug)]
struct Link {
    segment: usize,
    run: Run,
    /// There is no valid frame in front of it where one must have been.
    is_behind_damage: bool,
    end_frame_no: u64,
    end_record_no: u64,
    end_message_no: u64,
}

/// All that stands in a log's directory.
struct Contents {
    files: SegmentFiles,
    damage: AcceptedDamage,
    log_id: Option<LogId>,
    /// By epoch, with whether any valid frame stands in it.
    sources: Vec<(FrameSource, bool)>,
    /// Epochs of segments whose damaged header was accepted just now.
    new_headers: Vec<u64>,
    chain: Vec<Link>,
    /// Path and offset where each was found.
    new_gaps: Vec<(String, u64, Gap)>,
}

impl Contents {
    fn read(
        disk: &dyn Disk,
        dir: &str,
        kind: LogKind,
        damage: AcceptedDamage,
        needed: (Option<Position>, u64),
        stale_frames_pass: bool,
    ) -> Result<Self, LogError> {
        let files = SegmentFiles::list(disk, dir)?;
        let mut segments = Vec::with_capacity(files.segments.len());
        for epoch in &files.segments {
            segments.extend(SegmentFile::open(disk, dir, *epoch, kind, &damage)?);
        }
        let log_id = common_log_id(segments.iter())?;
        let without_header = || segments.iter().filter(|segment| segment.header.is_none());
        if let (None, Some(segment)) = (log_id, without_header().next()) {
            let reason = "and no other segment is left that names the log's id";
            return Err(LogError::BadHeader { path: segment.path.clone(), reason });
        }
        let new_headers = without_header()
            .map(|segment| segment.epoch)
            .filter(|epoch| !damage.headers.contains(epoch))
            .collect();
        let mut contents = Self {
            files,
            damage,
            log_id,
            sources: Vec::new(),
            new_headers,
            chain: Vec::new(),
            new_gaps: Vec::new(),
        };
        let mut sources = Vec::with_capacity(segments.len());
        for segment in segments {
            // With a segment there is an id: that was checked above.
            let Some(log_id) = log_id else { break };
            let mut source = segment.into_frames(log_id, READ_AHEAD_BYTES);
            allow_stale_frames(&mut source, stale_frames_pass);
            sources.push(source);
        }
        let beginnings = unneeded_beginnings(&mut sources, needed)?;
        for (number, mut source) in sources.into_iter().enumerate() {
            if let Some(first) = beginnings.get(number).copied().flatten() {
                contents.sources.push((source, true));
                contents.add_beginning(number, first);
                continue;
            }
            let runs = scan(&mut source)?;
            // What was read ahead of a segment is not needed again, and there may be hundreds.
            source.give_back_buffer();
            contents.sources.push((source, !runs.is_empty()));
            for run in runs {
                contents.add(number, run);
            }
        }
        contents.find_gaps();
        Ok(contents)
    }

    /// The highest epoch wins: what stands there already from `run.first` on is cut off.
    fn add(&mut self, segment: usize, run: Run) {
        let first = run.first;
        // A run that does not begin its segment has damage before it, also where a rewritten frame takes its place.
        let mut is_behind_damage = run.start != FIRST_FRAME_OFFSET;
        while let Some(link) = self.chain.pop_if(|link| link.run.first.frame_no >= first.frame_no) {
            is_behind_damage |= link.is_behind_damage;
        }
        if let Some(link) = self.chain.last_mut()
            && link.end_frame_no > first.frame_no
        {
            link.end_frame_no = first.frame_no;
            link.end_record_no = first.first_record_no;
            link.end_message_no = first.first_message_no;
        }
        self.chain.push(Link {
            segment,
            run,
            is_behind_damage,
            end_frame_no: run.last.frame_no + 1,
            end_record_no: run.last.next_record_no(),
            end_message_no: run.last.next_message_no(),
        });
    }

    /// A segment that nobody needs: it reaches up to where the next one begins.
    fn add_beginning(&mut self, segment: usize, first: FrameMeta) {
        let start = FIRST_FRAME_OFFSET;
        self.add(segment, Run { first, start, last: first, last_offset: start, end: start });
        if let Some(link) = self.chain.last_mut() {
            link.end_frame_no = u64::MAX;
            link.end_record_no = u64::MAX;
            link.end_message_no = u64::MAX;
        }
    }

    fn find_gaps(&mut self) {
        let mut before: Option<&Link> = None;
        for link in &self.chain {
            let first = link.run.first;
            let (frame, record, message) = match before {
                Some(before) => (before.end_frame_no, before.end_record_no, before.end_message_no),
                // The front of a log is where a segment starts; where it was damaged, nobody knows what stood there.
                None if link.is_behind_damage => (0, 0, 0),
                None => (first.frame_no, first.first_record_no, first.first_message_no),
            };
            if (frame, record, message) != (first.frame_no, first.first_record_no, first.first_message_no) {
                let gap = Gap {
                    first_frame_no: frame,
                    last_frame_no: first.frame_no - 1,
                    first_record_no: record,
                    last_record_no: first.first_record_no - 1,
                    first_message_no: message,
                    last_message_no: first.first_message_no - 1,
                };
                if !self.damage.covers(&gap) {
                    let (source, offset) = match before {
                        Some(before) => (before.segment, before.run.end),
                        None => (link.segment, FIRST_FRAME_OFFSET),
                    };
                    self.new_gaps.push((self.sources[source].0.path.clone(), offset, gap));
                }
            }
            before = Some(link);
        }
    }

    /// Refuses new damage, or remembers it durably before anything else happens.
    fn accept_new_damage(
        &mut self,
        disk: &dyn Disk,
        dir: &str,
        config: &LogConfig,
    ) -> Result<Vec<Gap>, LogError> {
        let indispensable = |gap: &Gap| gap.last_record_no >= config.indispensable_from_record_no;
        if let Some((path, offset, gap)) = self.new_gaps.iter().find(|(_, _, gap)| indispensable(gap)) {
            return Err(LogError::Indispensable { path: path.clone(), offset: *offset, gap: *gap });
        }
        let new: Vec<Gap> = self.new_gaps.iter().map(|(_, _, gap)| *gap).collect();
        match self.new_gaps.first() {
            Some((path, offset, gap)) if !config.accept_gap => {
                return Err(LogError::Corrupt { path: path.clone(), offset: *offset, gap: *gap });
            }
            _ => {}
        }
        if !new.is_empty() || !self.new_headers.is_empty() {
            self.damage.gaps.extend(&new);
            self.damage.headers.append(&mut self.new_headers);
            self.damage.store(disk, dir)?;
        }
        Ok(new)
    }

    fn first_available(&self) -> (u64, u64) {
        self.chain
            .first()
            .map_or((1, 1), |link| (link.run.first.first_record_no, link.run.first.first_message_no))
    }

    fn torn_tail(&mut self) -> Result<bool, LogError> {
        let (segment, end) =
            self.chain.last().map_or((0, FIRST_FRAME_OFFSET), |link| (link.segment, link.run.end));
        for (number, (source, _)) in self.sources.iter_mut().enumerate().skip(segment) {
            let offset = if number == segment { end } else { FIRST_FRAME_OFFSET };
            if source.torn_frame_at(offset)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives the writer the segments that hold no part of the log and fit `which` (given: any valid frame in it).
    fn hand_over(&self, writer: &mut LogWriter, which: impl Fn(bool) -> bool) {
        for (number, (source, has_frames)) in self.sources.iter().enumerate() {
            if which(*has_frames) && !self.chain.iter().any(|link| link.segment == number) {
                writer.spare.push_back(Spare { path: source.path.clone(), bytes: source.segment_bytes });
            }
        }
    }

    /// Segments that hold a part of the log, and from where.
    fn live(&self) -> impl Iterator<Item = Live> {
        let mut before = None;
        self.chain.iter().filter_map(move |link| {
            if before.replace(link.segment) == Some(link.segment) {
                return None;
            }
            let source = &self.sources[link.segment].0;
            Some(Live {
                path: source.path.clone(),
                bytes: source.segment_bytes,
                first_record_no: link.run.first.first_record_no,
                first_message_no: link.run.first.first_message_no,
                first_received_us: link.run.first.stamp.received_us(),
            })
        })
    }
}

/// The first frames of the segments that lie below what is needed as a whole; `None` where a segment is to be read. A segment
/// lies below if a later one begins at or below it; one that does not begin with a frame is read.
fn unneeded_beginnings(
    sources: &mut [FrameSource],
    (needed_from, unneeded_bytes_read): (Option<Position>, u64),
) -> Result<Vec<Option<FrameMeta>>, LogError> {
    let Some(needed_from) = needed_from else { return Ok(Vec::new()) };
    let mut beginnings = Vec::with_capacity(sources.len());
    for source in sources.iter_mut() {
        beginnings.push(source.with_read_ahead(BLOCK_BYTES, |source| source.frame_at(FIRST_FRAME_OFFSET))?);
    }
    let is_below = |first: &FrameMeta| match needed_from {
        Position::Record(record_no) => first.first_record_no <= record_no,
        Position::Message(message_no) => first.first_message_no <= message_no,
    };
    let read_from = beginnings.iter().rposition(|first| first.as_ref().is_some_and(is_below)).unwrap_or(0);
    let mut unneeded_bytes = 0;
    let mut next_frame_no = beginnings.get(read_from).copied().flatten().map_or(0, |first| first.frame_no);
    let mut next_begins = true;
    for (at, beginning) in beginnings.iter_mut().enumerate().rev() {
        if at < read_from {
            unneeded_bytes += sources[at].segment_bytes;
        }
        let in_order = next_begins && beginning.is_some_and(|first| first.frame_no < next_frame_no);
        // Where the next one begins with damage, this one may end before what was there, so it is read.
        next_begins = beginning.is_some();
        if let Some(first) = beginning.filter(|_| at < read_from && in_order) {
            next_frame_no = first.frame_no;
        }
        if at >= read_from || !in_order || unneeded_bytes <= unneeded_bytes_read {
            *beginning = None;
        }
    }
    Ok(beginnings)
}

#[cfg(test)]
fn allow_stale_frames(source: &mut FrameSource, pass: bool) {
    source.check.stale_frames_pass = pass;
}

#[cfg(not(test))]
fn allow_stale_frames(_: &mut FrameSource, _: bool) {}

/// Writes the last frame again and lets the writer go on behind it.
fn continue_log(contents: &mut Contents, writer: &mut LogWriter, link: Link) -> Result<FrameMeta, LogError> {
    writer.live.extend(contents.live());
    writer.continue_after(&link.run.last);
    #[cfg(test)]
    if writer.config.planted_bug == Some(super::model_test::PlantedBug::TailTrusted) {
        return super::model_test::trust_tail(
            contents.sources[link.segment].0.path.clone(),
            writer,
            &link.run,
        );
    }
    let mut frame = read_again(&mut contents.sources[link.segment].0, &link.run)?;
    // Until the frame is durable again, every segment with a valid frame may hold the only copy of it.
    contents.hand_over(writer, |has_frames| !has_frames);
    while writer.ready_segments() == 0 {
        // Whatever there is: without this frame nothing can be released.
        match writer.prepare_step_within(u64::MAX, 0)? {
            Prepared::NoSpace => {
                let source = std::io::Error::from_raw_os_error(libc::ENOSPC);
                return Err(LogError::NoSpace { path: writer.dir.clone(), source });
            }
            Prepared::Ready | Prepared::BudgetFull | Prepared::Progress => {}
        }
    }
    let last = writer.rewrite(&mut frame, &link.run.last)?;
    // Where the frame was the only one of its segment, that segment has nothing of its own any more.
    if link.run.first.frame_no == link.run.last.frame_no
        && contents.chain.iter().filter(|other| other.segment == link.segment).count() == 1
    {
        let path = &contents.sources[link.segment].0.path;
        if let Some(place) = writer.live.iter().position(|live| live.path == *path)
            && let Some(Live { path, bytes, .. }) = writer.live.remove(place)
        {
            writer.spare.push_back(Spare { path, bytes });
        }
    }
    contents.hand_over(writer, |has_frames| has_frames);
    Ok(last)
}

fn read_again(source: &mut FrameSource, run: &Run) -> Result<AlignedBuf, LogError> {
    let offset = run.last_offset;
    let unreadable = |path: &str| LogError::Unreadable {
        path: path.to_owned(),
        offset,
        frame_no: run.last.frame_no,
        record_no: run.last.first_record_no,
    };
    if source.frame_at(offset)? != Some(run.last) {
        return Err(unreadable(&source.path));
    }
    let bytes = source.frame_bytes();
    let mut frame = AlignedBuf::with_capacity(bytes.len());
    // The buffer was made as large as the frame, header room included.
    frame.push(&bytes[FRAME_HEADER_LEN..]).map_err(|_| unreadable(&source.path))?;
    Ok(frame)
}
