use super::*;
use crate::client::Planned;
use crate::ledger::Kind;
use crate::message::Value;
use std::collections::{HashMap, HashSet};

fn config() -> SimConfig {
    SimConfig {
        stations: 15,
        clients: 2,
        seed: 42,
        times: Times::Steps { start_us: 1_795_000_000_000_000, step_us: 60_000_000 },
        messages_max: Some(4000),
        ..SimConfig::default()
    }
}

fn messages(config: &SimConfig) -> (Vec<Planned>, Summary) {
    let control = Control::new();
    let mut all = Vec::new();
    for client in 0..config.clients {
        let mut generator = generator(config, client, &control);
        all.extend(std::iter::from_fn(|| generator.next(1_795_000_000_000_000)));
    }
    (all, control.summary())
}

fn all_faults() -> Faults {
    Faults { duplicates: 0.1, reorder: 0.1, gaps: 0.05, garbage: 0.05, corrections: 0.1 }
}

/// A1-9: the same seed gives the same bytes, another seed others.
#[test]
fn a_run_is_repeatable_by_seed() {
    let config = SimConfig { faults: all_faults(), ..config() };
    let bytes = |config: &SimConfig| -> Vec<(String, Vec<u8>)> {
        let (planned, _) = messages(config);
        planned.into_iter().map(|planned| (planned.encoded.topic, planned.encoded.payload)).collect()
    };
    assert_eq!(bytes(&config), bytes(&config));
    assert_ne!(bytes(&config), bytes(&SimConfig { seed: 43, ..config.clone() }));
}

#[test]
fn a_station_says_the_same_whichever_client_carries_it() {
    let of_station = |clients: usize| -> Vec<Vec<u8>> {
        let (planned, _) = messages(&SimConfig { clients, messages_max: Some(3000), ..config() });
        let its = planned.into_iter().filter(|planned| planned.encoded.topic == "obs/H24.05/TRI007");
        its.take(100).map(|planned| planned.encoded.payload).collect()
    };
    assert_eq!(of_station(1), of_station(5));
    assert_eq!(of_station(1).len(), 100);
}

#[test]
fn the_number_of_messages_is_exact() {
    let (planned, _) = messages(&SimConfig { messages_max: Some(1001), faults: all_faults(), ..config() });
    assert_eq!(planned.len(), 1001);
}

#[test]
fn every_fault_occurs_about_as_often_as_asked_for() {
    let (planned, summary) = messages(&SimConfig { faults: all_faults(), ..config() });
    let count = |kind| planned.iter().filter(|planned| planned.kind == kind).count();
    for (kind, range) in [
        (Kind::Duplicate, 200..500),
        (Kind::Correction, 200..500),
        (Kind::Garbage, 80..300),
        (Kind::Reading, 2500..3900),
    ] {
        assert!(range.contains(&count(kind)), "{kind:?}: {}", count(kind));
    }
    assert!((100..600).contains(&summary.reordered), "{}", summary.reordered);
    assert!(summary.gaps > 100, "{}", summary.gaps);

    // Out of order: some message of a station has an earlier time than the one sent before it.
    let mut newest: HashMap<&str, i64> = HashMap::new();
    let mut late = 0;
    for planned in planned.iter().filter(|planned| planned.kind == Kind::Reading) {
        let time_us = planned.encoded.message.time_us.expect("dated");
        let newest = newest.entry(&planned.encoded.topic).or_insert(time_us);
        late += i32::from(time_us < *newest);
        *newest = time_us.max(*newest);
    }
    assert!(late > 20, "{late}");
}

#[test]
fn without_faults_a_key_is_never_sent_twice() {
    let (planned, _) = messages(&SimConfig { format: FormatChoice::Mixed, ..config() });
    let mut keys = HashSet::new();
    for planned in &planned {
        let message = &planned.encoded.message;
        for reading in message.readings.iter().filter(|_| message.time_us.is_some()) {
            assert!(keys.insert((message.station.clone(), reading.property.clone(), message.time_us)));
        }
    }
}

#[test]
fn a_correction_says_something_else_at_a_time_that_was_sent_before() {
    let faults = Faults { corrections: 0.3, ..Faults::default() };
    let (planned, _) = messages(&SimConfig { faults, clients: 1, ..config() });
    let mut sent: HashMap<(String, Option<i64>), Value> = HashMap::new();
    let mut corrections = 0;
    for planned in planned {
        let message = planned.encoded.message;
        let key = (planned.encoded.topic, message.time_us);
        let value = message.readings[0].value.clone();
        let before = sent.insert(key, value.clone());
        if planned.kind == Kind::Correction {
            assert!(before.is_some_and(|before| before != value));
            corrections += 1;
        }
    }
    assert!(corrections > 500, "{corrections}");
}

#[test]
fn undated_messages_carry_no_time() {
    let (planned, _) = messages(&SimConfig { times: Times::Undated, faults: all_faults(), ..config() });
    assert!(planned.iter().all(|planned| planned.encoded.message.time_us.is_none()));
    assert!(planned.iter().all(|planned| planned.kind != Kind::Correction));
}

#[test]
fn nonsense_is_refused_in_one_sentence() {
    let refused = |config: SimConfig| check(&config).expect_err("refused").to_string();
    assert!(refused(SimConfig { clients: 20, stations: 10, ..config() }).contains("no more than stations"));
    assert!(refused(SimConfig { messages_per_s: Some(0.0), ..config() }).contains("rate"));
    assert!(refused(SimConfig { agency: "a/b".to_owned(), ..config() }).contains("a/b"));
    let faults = Faults { garbage: 1.5, ..Faults::default() };
    assert!(refused(SimConfig { faults, ..config() }).contains("0 to 1"));
}

/// The gateway's decoder must find in every payload what the ledger says is in it, and in garbage nothing.
#[test]
fn the_truth_says_what_the_payload_says() {
    // A clock that stands still gives times one microsecond apart; steps give whole minutes.
    let of = |times| {
        messages(&SimConfig { format: FormatChoice::Mixed, faults: all_faults(), times, ..config() }).0
    };
    let planned = [of(config().times), of(Times::Clock), of(Times::Undated)].into_iter().flatten();
    let formats: HashSet<_> = planned.filter_map(|planned| crate::truth::check(&planned)).collect();
    assert_eq!(formats.len(), 3);
}
