//! What a replay would do: the present build and configuration, on a copy of all names, with nothing written.

use super::{SettleReport, message_of};
use crate::catalogue::QuarantineItem;
use crate::observation::{ObservationFrame, Settled};
use crate::pipeline::MessageDecoder;

/// A decoder that nobody else uses. It takes as much memory as the gateway's names do, for as long as it lives.
#[derive(Debug)]
pub struct DryRun {
    decoder: MessageDecoder,
    now_us: i64,
}

impl DryRun {
    /// With names that nobody else uses.
    pub fn new(decoder: MessageDecoder, now_us: i64) -> Self {
        Self { decoder, now_us }
    }

    pub(super) fn replay(&mut self, item: &QuarantineItem, report: &mut SettleReport) {
        let mut frame = ObservationFrame::default();
        let settled =
            self.decoder.replay(&item.booked, &item.refused, &message_of(item), self.now_us, &mut frame);
        let Settled::Replayed { rows, remaining, .. } = settled else { return };
        report.readings += u64::from(rows);
        match &remaining {
            None => report.decoded += 1,
            Some(_) if rows > 0 => report.partial += 1,
            Some(_) => report.refused += 1,
        }
        if let Some(remaining) = &remaining {
            report.stays(&remaining.reason);
        }
    }
}
