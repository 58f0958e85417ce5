//! What is rebuilt at start from the catalogue's snapshot and the frames behind it: feeds, retained messages, the pipeline's
//! hot rows and re-send marks.

use std::sync::PoisonError;

use codecs::property_catalogue;

use crate::catalogue::{DatastreamState, Snapshot};
use crate::config::Config;
use crate::feeds::{LastValue, LastValues, RetainedStore};
use crate::observation::ObservationFrame;
use crate::pipeline::hot::HotRow;
use crate::pipeline::resend::ResendWindow;
use crate::registry::SharedRegistry;
use crate::retained::RetainedBudget;
use crate::rules::SameTime;

/// What feeds and retained messages are rebuilt from.
pub(super) struct Rebuilt {
    pub(super) retained: RetainedStore,
    pub(super) pipeline_retained: RetainedBudget,
    pub(super) last_values: LastValues,
}

impl Rebuilt {
    pub(super) fn new(config: &Config, snapshot: &Snapshot) -> Self {
        let budget =
            || RetainedBudget::new(config.mqtt.retained_messages_max, config.mqtt.retained_bytes_max);
        let mut rebuilt = Self {
            retained: RetainedStore::new(budget()),
            pipeline_retained: budget(),
            last_values: LastValues::default(),
        };
        for change in &snapshot.retained {
            rebuilt.retained.restore(change);
            rebuilt.pipeline_retained.admit(&change.topic, change.properties.len(), change.payload.len());
        }
        for (datastream, state) in &snapshot.datastream_states {
            if let Some(value) = LastValue::of_state(state) {
                rebuilt.last_values.set(*datastream, value);
            }
        }
        rebuilt
    }

    pub(super) fn fold(&mut self, frame: &ObservationFrame) {
        fold_feeds(frame, &mut self.retained, &mut self.last_values);
        for change in &frame.retained {
            self.pipeline_retained.admit(&change.topic, change.properties.len(), change.payload.len());
        }
    }
}

pub(super) fn fold_feeds(
    frame: &ObservationFrame,
    retained: &mut RetainedStore,
    last_values: &mut LastValues,
) {
    frame.retained.iter().for_each(|change| retained.restore(change));
    last_values.apply(frame);
}

pub(super) fn resend_of(config: &Config, snapshot: &Snapshot) -> ResendWindow {
    let mut window = ResendWindow::new(config.pipeline.resend_window);
    snapshot.resend_marks.iter().for_each(|mark| window.insert(*mark));
    window
}

pub(super) fn hot_rows(
    registry: &SharedRegistry,
    states: &[(u32, DatastreamState)],
    same_time: &SameTime,
) -> Vec<HotRow> {
    let mut hot = Vec::new();
    grow_hot_rows(&mut hot, registry, same_time);
    for (datastream, state) in states {
        let Some(row) = hot.get_mut(*datastream as usize) else { continue };
        row.watermark_us = state.watermark_us;
        row.value = state.value;
        row.kind = state.kind;
        row.status = state.status;
        row.unit = state.unit;
        row.ordinal = state.ordinal;
        row.rank = state.rank;
        row.is_lost = state.is_lost();
        row.watermark_message = state.position;
        row.last_message = state.position;
        if state.last_undated_us != 0 {
            row.last_undated_us = state.last_undated_us;
        }
    }
    hot
}

/// A hot row for every datastream that the registry knows.
pub(super) fn grow_hot_rows(hot: &mut Vec<HotRow>, registry: &SharedRegistry, same_time: &SameTime) {
    let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
    for datastream in &registry.datastreams()[hot.len()..] {
        let entry = property_catalogue::property(codecs::name::base(&datastream.property));
        let plausible = entry.and_then(|entry| entry.plausible);
        hot.push(HotRow::new(datastream.unit, plausible, same_time.is_kept(&datastream.name)));
    }
}
