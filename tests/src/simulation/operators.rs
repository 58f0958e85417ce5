//! Operators who replay and erase what lies in quarantine, while devices, flushes, commits and crashes go on.
//!
//! A session is the product's own and waits for the stages as it would beside threads: on a thread of its own that goes on
//! only while the simulation waits for it, so one of the two works at any moment and a seed repeats.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use gateway::catalogue::QuarantineFilter;
use gateway::disk::Disk;
use gateway::query::GatewayView;
use gateway::settle::{Change, Selection, SettleReport, SettleRequest, Wait};

use super::run::Run;

enum Told {
    Waits,
    Ended(Result<SettleReport, String>),
}

/// Of one life of a gateway.
pub(super) struct Operators {
    go: Sender<()>,
    told: Receiver<Told>,
    tells: Sender<Told>,
    session: Option<(SettleRequest, JoinHandle<()>)>,
}

impl Operators {
    /// And how their sessions wait.
    pub(super) fn new() -> (Self, Wait) {
        let (go, may_go) = channel();
        let (tells, told) = channel();
        let waits = tells.clone();
        let wait = Box::new(move || waits.send(Told::Waits).is_ok() && may_go.recv().is_ok());
        (Self { go, told, tells, session: None }, wait)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.session.is_some()
    }

    fn begin(&mut self, view: Arc<dyn GatewayView>, request: SettleRequest) {
        let (tells, asked) = (self.tells.clone(), request.clone());
        let session = std::thread::spawn(move || {
            let settle = || view.settle(&asked, &mut |_| ControlFlow::Continue(()));
            let result = match catch_unwind(AssertUnwindSafe(settle)) {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err("a panic".to_owned()),
            };
            drop(view);
            // Whoever does not listen any more has ended the simulation.
            let _ = tells.send(Told::Ended(result));
        });
        self.session = Some((request, session));
    }

    /// Until it waits again (`None`) or has ended.
    fn listen(&mut self) -> Option<(SettleRequest, Result<SettleReport, String>)> {
        match self.told.recv() {
            Ok(Told::Ended(result)) => {
                let (request, session) = self.session.take()?;
                let _ = session.join();
                Some((request, result))
            }
            Ok(Told::Waits) | Err(_) => None,
        }
    }

    /// The gateway ends: a session that waits for it is told so.
    fn end(self) -> Option<SettleRequest> {
        let Self { go, told, session, .. } = self;
        drop(go);
        let (request, session) = session?;
        while let Ok(Told::Waits) = told.recv() {}
        let _ = session.join();
        Some(request)
    }
}

impl Run {
    /// Somebody begins a session, or the one there is goes on.
    pub(super) fn operate(&mut self) {
        if self.operators.as_ref().is_some_and(Operators::is_busy) {
            return self.operators_go_on();
        }
        let positions = self.model().quarantined_positions();
        let some = |run: &mut Self| -> Vec<u64> {
            positions.iter().copied().filter(|_| run.random.chance(50)).collect()
        };
        let mut filter = QuarantineFilter::default();
        let (change, positions, dry_run) = match self.random.below(10) {
            0..4 => (Change::Replay, some(self), false),
            4 => (Change::Replay, Vec::new(), false),
            5 => {
                filter.client = Some(format!("c{}", self.random.below(self.plan.clients)));
                (Change::Replay, Vec::new(), false)
            }
            6 => (Change::Replay, Vec::new(), true),
            7 => (Change::Erase, some(self), true),
            _ => (Change::Erase, some(self).into_iter().take(3).collect(), false),
        };
        if positions.is_empty()
            && (change == Change::Erase || filter == QuarantineFilter::default() && !dry_run)
        {
            // Nobody erases everything here, and replays everything now and then.
            if change == Change::Erase || self.random.chance(50) {
                return;
            }
        }
        self.begin_session(SettleRequest { change, selection: Selection { positions, filter }, dry_run });
    }

    pub(super) fn begin_session(&mut self, request: SettleRequest) {
        let Some(view) = self.gateway.as_ref().map(|gateway| gateway.view()) else { return };
        self.story().tell(|| format!("an operator asks for {request:?}"));
        self.model().session_begins(&request);
        // Nobody has so much.
        let is_full = self.disk.free_space().is_ok_and(|bytes| bytes < 1 << 40);
        self.report.sessions_on_a_full_disk += u64::from(is_full);
        if let Some(operators) = &mut self.operators {
            operators.begin(view, request);
            self.hear_operators();
        }
    }

    /// A session looks whether what it waits for is there.
    pub(super) fn operators_go_on(&mut self) {
        let Some(operators) = self.operators.as_mut().filter(|operators| operators.is_busy()) else { return };
        if operators.go.send(()).is_ok() {
            self.hear_operators();
        }
    }

    fn hear_operators(&mut self) {
        let heard = self.operators.as_mut().and_then(Operators::listen);
        let Some((request, result)) = heard else {
            return self.story().tell(|| "the operator waits".to_owned());
        };
        self.story().tell(|| format!("the operator's session ended: {result:?}"));
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                assert!(self.shared.errors() > 0, "a session failed although nothing else did: {error}");
                return self.model().session_ends(&request);
            }
        };
        let SettleReport { looked_at, decoded, partial, refused, erased, impossible, .. } = report;
        assert_eq!(
            looked_at,
            decoded + partial + refused + erased + impossible,
            "the parts of a session's report do not sum up: {report:?}"
        );
        if !request.dry_run {
            self.report.replayed += decoded + partial;
            self.report.erased += erased;
        }
        self.model().session_ends(&request);
    }

    /// The gateway is about to end.
    pub(super) fn end_operators(&mut self) {
        if let Some(request) = self.operators.take().and_then(Operators::end) {
            self.story().tell(|| "the operator's session breaks off".to_owned());
            self.report.sessions_broken_off += 1;
            self.model().session_ends(&request);
        }
    }
}
