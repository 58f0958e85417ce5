//! Segments of the logs go when every holder has let go, and `/metrics` shows it.

use e2e_tests::{Gateway, wait_until};

use super::{Directory, now_s, publish_all};

/// Rows of a flush: more than three segments of the observation log hold.
const SETTINGS: [&str; 6] = [
    "--set",
    "journal.segment_bytes_max=4194304",
    "--set",
    "store.flush_interval_ms=3600000",
    "--set",
    "store.flush_rows_max=1000000",
];
const READINGS: usize = 100;
const MESSAGES: usize = 500;
const BATCHES_MAX: usize = 60;

fn live(gateway: &Gateway, log: &str) -> u64 {
    gateway.metric(&format!("log_segments{{log=\"{log}\",state=\"live\"}}"))
}

#[test]
fn b1_7_segments_go_when_their_holders_let_go() {
    let directory = Directory::new();
    let gateway = Gateway::start(&directory.path, &SETTINGS);
    let first_s = now_s() - 1_000_000;
    let mut sent = 0;
    let mut send = || {
        let message = |number: usize| {
            let time = first_s + ((sent * MESSAGES + number) / 10) as i64;
            let reading = |at: usize| format!(r#"{{"property":"p{at}","value":{number}}}"#);
            let readings: Vec<String> = (0..READINGS).map(reading).collect();
            let payload = format!(r#"{{"time":{time},"readings":[{}]}}"#, readings.join(","));
            (format!("obs/A/S{}", number % 10), payload)
        };
        publish_all(&gateway, "box", &(0..MESSAGES).map(message).collect::<Vec<_>>());
        sent += 1;
        assert!(sent <= BATCHES_MAX, "{} readings", sent * MESSAGES * READINGS);
    };
    // What the journal has is decoded: so the count of segments is that of what was sent.
    let live_when_processed = |log: &str| {
        gateway.wait_until_processed();
        live(&gateway, log)
    };
    let flushed = || gateway.metric("store_rows_flushed_total");
    // Nothing is flushed: the store holds the observation log.
    let mut most = 0;
    while flushed() == 0 {
        send();
        most = most.max(live_when_processed("observations"));
    }
    assert!(most >= 3, "segments before the flush: {most}");
    wait_until("segments of the observation log to go", || {
        (live(&gateway, "observations") < most).then_some(())
    });
    let held_from = gateway.metric("log_needed_from{log=\"observations\",holder=\"flush\"}");
    let oldest = gateway.metric("log_oldest_record{log=\"observations\"}");
    assert!(1 < oldest && oldest <= held_from, "from {oldest} on, held from {held_from} on");
    let bytes = gateway.metric("journal_bytes_total");
    assert!(bytes > 5 << 22, "the journal has filled five segments: {bytes}");
    // The pipeline is its only holder.
    wait_until("segments of the journal to go", || (live(&gateway, "journal") <= 2).then_some(()));
    let oldest = gateway.metric("log_oldest_record{log=\"journal\"}");
    assert!(oldest > 1, "its first record is gone: {oldest}");
}
