//! Quarantined payloads are listed and shown at every moment, and are in the catalogue exactly once (A1-6).

use super::*;
use crate::catalogue::{Catalogue, Checkpoint, Commit, History, MemoryCatalogue, QuarantineFilter};
use crate::observation::{Definition, MessageEntry, ObservationFrame, Quarantined};
use crate::quarantine_quota::QuarantineQuota;
use crate::registry::Registry;
use bytemuck::Zeroable;

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.apply(&Definition::Agency { id: 1, code: "H24.05".to_owned() });
    registry
}

/// A frame of two messages; the first has two entries, the second one.
fn frame(frame_no: u64) -> ObservationFrame {
    let first = frame_no * 10;
    let quarantined = |message_no, reason: &str| Quarantined {
        message_no,
        receive_time_us: 1,
        offset: 4,
        readings: 1,
        reason: reason.to_owned(),
        sentence: "the value is not a number".to_owned(),
        topic: "obs/H24.05/KHI003".to_owned(),
        client: "station".to_owned(),
        flags: 1,
        packet_id: 0,
        properties: Vec::new(),
        refused: Vec::new(),
        payload: message_no.to_le_bytes().to_vec(),
    };
    let message = |message_no, agency| MessageEntry { message_no, agency, ..MessageEntry::zeroed() };
    ObservationFrame {
        frame_no,
        messages: vec![message(first, 1), message(first + 1, 0)],
        quarantined: vec![
            quarantined(first, "not_a_number"),
            quarantined(first, "bad_time"),
            quarantined(first + 1, "not_json"),
        ],
        ..ObservationFrame::default()
    }
}

fn positions(
    quarantine: &Quarantine,
    catalogue: &MemoryCatalogue,
    filter: &QuarantineFilter,
) -> Vec<(u64, u32)> {
    let mut history = catalogue.clone();
    let listed = quarantine.list(filter).complete(|walk| history.quarantine_page(walk)).unwrap();
    listed.iter().map(|entry| (entry.position, entry.ordinal)).collect()
}

fn commit(quarantine: &Quarantine, frame_no: u64) -> Commit {
    let checkpoint = Checkpoint { observation_frame_no: frame_no, ..Checkpoint::default() };
    Commit { checkpoint, quarantine: quarantine.delta(), ..Commit::default() }
}

#[test]
fn a1_6_lists_are_the_same_before_during_and_after_a_commit_and_a_restart() {
    let (registry, mut catalogue) = (registry(), MemoryCatalogue::default());
    let any = QuarantineFilter::default();
    let mut quarantine = Quarantine::new(quota(), &Checkpoint::default());
    for frame_no in 1..=2 {
        quarantine.apply(&frame(frame_no), &registry);
        quarantine.apply(&frame(frame_no), &registry);
    }
    let expected = vec![(21, 0), (20, 1), (20, 0), (11, 0), (10, 1), (10, 0)];
    assert_eq!(positions(&quarantine, &catalogue, &any), expected);
    let commit = commit(&quarantine, 2);
    let listing = quarantine.list(&any);
    catalogue.commit(&commit).unwrap();
    assert_eq!(positions(&quarantine, &catalogue, &any), expected, "committed, and not told so yet");
    let listed = listing.complete(|walk| catalogue.quarantine_page(walk)).unwrap();
    assert_eq!(listed.len(), 6, "committed while it was listed");
    quarantine.apply(&frame(3), &registry);
    quarantine.committed(&commit.quarantine);
    let with_third: Vec<_> = [(31, 0), (30, 1), (30, 0)].into_iter().chain(expected.clone()).collect();
    assert_eq!(positions(&quarantine, &catalogue, &any), with_third);
    let limited = QuarantineFilter { limit: 4, ..any.clone() };
    assert_eq!(positions(&quarantine, &catalogue, &limited), with_third[..4]);

    let mut quarantine = Quarantine::new(quota(), &catalogue.load().unwrap().checkpoint);
    assert_eq!(positions(&quarantine, &catalogue, &any), expected);
    for frame_no in 1..=3 {
        quarantine.apply(&frame(frame_no), &registry);
    }
    assert_eq!(positions(&quarantine, &catalogue, &any), with_third);
}

#[test]
fn a1_6_show_gives_the_payload_with_its_reason_from_memory_and_from_the_catalogue() {
    let (registry, mut catalogue) = (registry(), MemoryCatalogue::default());
    let mut quarantine = Quarantine::new(quota(), &Checkpoint::default());
    quarantine.apply(&frame(1), &registry);
    for committed in [false, true] {
        if committed {
            let commit = commit(&quarantine, 1);
            catalogue.commit(&commit).unwrap();
            quarantine.committed(&commit.quarantine);
            assert_eq!(quarantine.pending_bytes(), 0);
        }
        let items = quarantine.show(10).complete(&mut catalogue).unwrap();
        let reasons: Vec<&str> = items.iter().map(|item| item.entry.reason.as_str()).collect();
        assert_eq!(reasons, ["not_a_number", "bad_time"]);
        assert_eq!(items[1].payload, 10_u64.to_le_bytes());
        assert_eq!((items[1].entry.agency.as_str(), items[1].entry.payload_bytes), ("H24.05", 8));
        assert_eq!(quarantine.show(11).complete(&mut catalogue).unwrap()[0].entry.agency, "");
        assert_eq!(quarantine.show(12).complete(&mut catalogue).unwrap(), []);
    }
}

/// The quota knows each entry once, from the fold on, and again after a restart.
#[test]
fn b1_3_the_quota_counts_every_entry_once() {
    let (registry, mut catalogue) = (registry(), MemoryCatalogue::default());
    let quota = quota();
    let mut quarantine = Quarantine::new(quota.clone(), &Checkpoint::default());
    quarantine.apply(&frame(1), &registry);
    quarantine.apply(&frame(1), &registry);
    assert_eq!(quota.bytes(), quarantine.pending_bytes());
    let commit = commit(&quarantine, 1);
    catalogue.commit(&commit).unwrap();
    quarantine.committed(&commit.quarantine);
    let held = catalogue.load().unwrap().quarantine_of_clients;
    assert_eq!(held, [("station".to_owned(), quota.bytes())]);
}

#[test]
fn memory_asks_for_a_commit_before_it_is_full() {
    let (registry, mut catalogue) = (registry(), MemoryCatalogue::default());
    let mut large = frame(1);
    large.quarantined[0].payload = vec![0; PENDING_BYTES_MAX as usize];
    let mut quarantine = Quarantine::new(quota(), &Checkpoint::default());
    assert!(!quarantine.wants_commit());
    quarantine.apply(&large, &registry);
    assert!(quarantine.wants_commit());
    let commit = commit(&quarantine, 1);
    catalogue.commit(&commit).unwrap();
    quarantine.committed(&commit.quarantine);
    assert!(!quarantine.wants_commit());
}

fn quota() -> std::sync::Arc<QuarantineQuota> {
    std::sync::Arc::new(QuarantineQuota::new(1_000, 10_000, []))
}
