//! Pipeline and keeper while no thread runs: at start, at the end, and for a question to a directory that nobody runs.

use std::sync::Arc;

use crossbeam::channel::Receiver;

use super::EngineError;
use crate::journal::JournalFrame;
use crate::keeper::{Keeper, KeeperBallast, KeeperError};
use crate::observation::{ObservationFrame, Outcome};
use crate::pipeline::{Go, Pipeline, Surroundings};

/// Pipeline and keeper with the queue back from one to the other.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) pipeline: Pipeline,
    pub(super) keeper: Keeper,
    pub(super) outcomes: Receiver<Vec<Outcome>>,
    pub(super) ballast: KeeperBallast,
}

/// One moment, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) receive_us: i64,
    pub(super) monotonic_us: u64,
}

/// Who gets the frames beside the keeper.
pub(super) type Feeds<'a> = &'a mut dyn FnMut(&Arc<ObservationFrame>);

type Parts<'a> = (&'a mut Pipeline, &'a mut Keeper, &'a Receiver<Vec<Outcome>>, &'a mut KeeperBallast);

impl Stages {
    /// Runs a journal frame through the pipeline, and what it makes into the keeper.
    pub(super) fn process(
        &mut self,
        frame: &JournalFrame,
        now: Now,
        feeds: Feeds<'_>,
    ) -> Result<(), EngineError> {
        let (pipeline, mut alone) = self.alone(now, feeds);
        let processed = pipeline
            .step(frame, &mut alone)
            .and_then(|()| pipeline.close(&mut alone))
            .and_then(|()| pipeline.take_outcomes(&mut alone));
        alone.result()?;
        Ok(processed?)
    }

    /// Late rows classified, files written, one commit. Without space it stays in the logs, where the next start finds it.
    pub(super) fn settle(&mut self, now: Now, feeds: Feeds<'_>) -> Result<(), EngineError> {
        let Self { pipeline, keeper, outcomes, ballast } = self;
        Self::settle_parts((pipeline, keeper, outcomes, ballast), now, feeds)
    }

    /// The same where the parts do not lie together.
    pub(super) fn settle_parts(
        (pipeline, keeper, outcomes, ballast): Parts<'_>,
        now: Now,
        feeds: Feeds<'_>,
    ) -> Result<(), EngineError> {
        let mut alone = Alone { keeper, outcomes, ballast, feeds, now, failed: None };
        loop {
            match pipeline.take_outcomes(&mut alone) {
                Err(error) if error.is_backpressure() => {
                    alone.result()?;
                    tracing::warn!("late rows have to wait for the next start: {error}");
                    break;
                }
                other => other?,
            }
            alone.result()?;
            if !alone.keeper.classify_all(now.receive_us)? && alone.outcomes.is_empty() {
                break;
            }
        }
        alone.commit()?;
        Ok(())
    }

    fn alone<'a>(&'a mut self, now: Now, feeds: Feeds<'a>) -> (&'a mut Pipeline, Alone<'a>) {
        let Self { pipeline, keeper, outcomes, ballast } = self;
        (pipeline, Alone { keeper, outcomes, ballast, feeds, now, failed: None })
    }
}

/// What surrounds a pipeline without threads: the keeper takes each frame at once, and when there is no room it commits.
struct Alone<'a> {
    keeper: &'a mut Keeper,
    outcomes: &'a Receiver<Vec<Outcome>>,
    ballast: &'a mut KeeperBallast,
    feeds: Feeds<'a>,
    now: Now,
    /// The pipeline knows nothing of the keeper's errors: the first one waits here.
    failed: Option<KeeperError>,
}

impl Alone<'_> {
    fn result(&mut self) -> Result<(), KeeperError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn take(&mut self, frame: &Arc<ObservationFrame>) -> Result<(), KeeperError> {
        (self.feeds)(frame);
        self.keeper.apply(frame)?;
        let now_us = self.now.receive_us;
        match self.with_ballast(|keeper| keeper.step(now_us)) {
            // It stays in memory, as long as that has a bound.
            Err(error) if error.is_backpressure() && !self.keeper.is_full() => {
                tracing::warn!("no flush is possible: {error}");
                Ok(())
            }
            other => other,
        }
    }

    /// Commits everything; without space that is told and stays undone.
    fn commit(&mut self) -> Result<(), KeeperError> {
        let now_us = self.now.receive_us;
        match self.with_ballast(|keeper| keeper.commit_due(now_us, true)) {
            Err(error) if error.is_backpressure() => {
                tracing::warn!("a flush has to wait for space: {error}");
                Ok(())
            }
            other => other,
        }
    }

    /// On a full disk once more with the ballast's space.
    fn with_ballast(
        &mut self,
        work: impl Fn(&mut Keeper) -> Result<(), KeeperError>,
    ) -> Result<(), KeeperError> {
        match work(self.keeper) {
            Err(error) if error.is_backpressure() && self.ballast.give_away(self.now.monotonic_us) => {
                work(self.keeper)
            }
            other => other,
        }
    }

    fn make_room(&mut self) -> Result<(), KeeperError> {
        self.keeper.classify_all(self.now.receive_us)?;
        self.commit()?;
        self.keeper.let_go();
        Ok(())
    }
}

impl Surroundings for Alone<'_> {
    fn accept(&mut self, frame: &Arc<ObservationFrame>) {
        if self.failed.is_none() {
            self.failed = self.take(frame).err();
        }
    }

    fn outcomes(&mut self) -> Option<Vec<Outcome>> {
        self.outcomes.try_recv().ok()
    }

    fn wait_for_room(&mut self) -> Go {
        if self.failed.is_some() {
            return Go::Stop;
        }
        let needed_from = self.keeper.needed_from();
        self.failed = self.make_room().err();
        let has_made_some = self.keeper.needed_from() > needed_from || !self.outcomes.is_empty();
        if self.failed.is_none() && has_made_some { Go::On } else { Go::Stop }
    }
}
