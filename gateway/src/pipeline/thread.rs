//! The pipeline's thread: journal frames and outcomes in turn, for as long as the keeper takes rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::stage::{Go, Pipeline, Surroundings};
use crate::clock::Clock;
use crate::journal::JournalFrame;
use crate::log::LogError;
use crate::observation::{ObservationFrame, Outcome};

/// How long the pipeline sleeps at most before it looks for outcomes and whether it is to stop.
const IDLE: Duration = Duration::from_millis(20);
/// A journal frame of at least this much is processed at once.
const SMALL_FRAME_BYTES: usize = 64 << 10;
/// The most time that journal frames may wait to share an observation frame.
const GAP_US_MAX: u64 = 20_000;
/// Journal frames that may share one observation frame.
const FRAMES_PER_TURN: usize = 16;

/// What the pipeline's thread is connected to.
#[derive(Debug)]
pub struct PipelineLinks {
    pub frames: Receiver<Arc<JournalFrame>>,
    pub outcomes: Receiver<Vec<Outcome>>,
    pub to_keeper: Sender<Arc<ObservationFrame>>,
    pub to_router: Sender<Arc<ObservationFrame>>,
    /// While little comes in, so long journal frames may wait to share one observation frame and its sync: with devices
    /// that send one message each at their own time, syncs are what a message costs.
    pub gap_us: u64,
    pub stop: Arc<AtomicBool>,
}

impl PipelineLinks {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

impl Surroundings for &PipelineLinks {
    fn accept(&mut self, frame: &Arc<ObservationFrame>) {
        // A consumer that is gone was stopped; what it misses is in the log.
        let _ = self.to_keeper.send(frame.clone());
        let _ = self.to_router.send(frame.clone());
    }

    fn outcomes(&mut self) -> Option<Vec<Outcome>> {
        self.outcomes.try_recv().ok()
    }

    fn wait_for_room(&mut self) -> Go {
        // The keeper lets go of segments when it commits; nothing wakes the pipeline.
        std::thread::sleep(IDLE);
        if self.stopping() { Go::Stop } else { Go::On }
    }
}

/// The pipeline's thread. Ends when the writer's end of the queue is gone and everything in it is processed, or when
/// `stop` is set while there is no space for what is in it (the journal keeps that for the next start).
pub fn run_pipeline(
    pipeline: &mut Pipeline,
    clock: &dyn Clock,
    links: &PipelineLinks,
) -> Result<(), LogError> {
    loop {
        match run_turn(pipeline, links) {
            Ok(Turn::Next) => {}
            Ok(Turn::Ended) => return Ok(()),
            Err(error) if error.is_backpressure() && links.stopping() => return Ok(()),
            Err(error) => return Err(error),
        }
        pipeline.prepare_if_due(clock.monotonic_us())?;
    }
}

enum Turn {
    Next,
    Ended,
}

fn run_turn(pipeline: &mut Pipeline, links: &PipelineLinks) -> Result<Turn, LogError> {
    let mut surroundings = links;
    if !pipeline.begin_turn(&mut surroundings, links.stopping())? {
        // The keeper makes room in its own time; nothing wakes the pipeline.
        std::thread::sleep(IDLE);
        return Ok(Turn::Next);
    }
    match links.frames.recv_timeout(IDLE) {
        Ok(frame) => {
            if frame.bytes() < SMALL_FRAME_BYTES && links.frames.is_empty() {
                // Several small journal frames share one observation frame.
                std::thread::sleep(Duration::from_micros(links.gap_us.min(GAP_US_MAX)));
            }
            let stopping = || links.stopping();
            pipeline.take_frames(frame, &links.frames, &mut surroundings, &stopping)?;
            Ok(Turn::Next)
        }
        Err(RecvTimeoutError::Timeout) => Ok(Turn::Next),
        Err(RecvTimeoutError::Disconnected) => Ok(Turn::Ended),
    }
}

/// A turn of the pipeline, in a thread or in a simulation.
impl Pipeline {
    /// Appends the outcomes that wait; true where journal frames may be taken behind them.
    pub fn begin_turn(
        &mut self,
        surroundings: &mut dyn Surroundings,
        stopping: bool,
    ) -> Result<bool, LogError> {
        self.take_outcomes(surroundings)?;
        // When the gateway stops, the buffers of the shards are all that still comes, and the keeper still takes rows.
        Ok(!self.holds() || stopping)
    }

    /// Decodes `first` and what waits behind it, and writes their observation frame.
    pub fn take_frames(
        &mut self,
        first: Arc<JournalFrame>,
        queue: &Receiver<Arc<JournalFrame>>,
        surroundings: &mut dyn Surroundings,
        stopping: &dyn Fn() -> bool,
    ) -> Result<(), LogError> {
        self.step(&first, surroundings)?;
        // Not held while a frame is written: its buffers are the shards'.
        drop(first);
        for _ in 1..FRAMES_PER_TURN {
            if !self.begin_turn(surroundings, stopping())? {
                break;
            }
            let Ok(frame) = queue.try_recv() else { break };
            self.step(&frame, surroundings)?;
        }
        self.close(surroundings)
    }
}
