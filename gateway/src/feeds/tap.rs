//! Where the HTTP interface listens to observations as they come. It costs the router one look while nobody listens, and
//! never makes it wait: frames that find no room are counted and let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use crate::observation::ObservationFrame;

/// Frames that wait for the listener; each is as large as what one sync made.
const FRAMES_WAITING_MAX: usize = 4;

#[derive(Debug)]
pub struct ObservationTap {
    open: AtomicBool,
    /// Rows of frames that found no room.
    missed: AtomicU64,
    sender: Sender<Arc<ObservationFrame>>,
    frames: Receiver<Arc<ObservationFrame>>,
}

impl Default for ObservationTap {
    fn default() -> Self {
        let (sender, frames) = bounded(FRAMES_WAITING_MAX);
        Self { open: AtomicBool::new(false), missed: AtomicU64::new(0), sender, frames }
    }
}

impl ObservationTap {
    /// A synced frame passes by.
    pub fn offer(&self, frame: &Arc<ObservationFrame>) {
        if !self.open.load(Ordering::Relaxed) {
            return;
        }
        if let Err(TrySendError::Full(frame) | TrySendError::Disconnected(frame)) =
            self.sender.try_send(frame.clone())
        {
            self.missed.fetch_add(frame.rows.len() as u64, Ordering::Relaxed);
        }
    }

    /// Somebody listens, or nobody any more.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
        if !open {
            while self.frames.try_recv().is_ok() {}
        }
    }

    pub fn frames(&self) -> &Receiver<Arc<ObservationFrame>> {
        &self.frames
    }

    /// Rows that were let go since this was asked last.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}
