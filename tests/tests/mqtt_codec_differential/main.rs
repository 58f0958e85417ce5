//! The MQTT codec against two independent readings of the standards, `rumqttd::protocol` and `mqtt-protocol-core`
//! (A1-2): legal and harmed packets are given to all three, and they must agree on what is a packet and on every field,
//! but for the differences listed in `known`.

mod core_oracle;
#[path = "../../../codecs/src/mqtt/tests/generate.rs"]
mod generate;
mod known;
mod ours;
mod rumqttd_oracle;

use codecs::mqtt as api;
use codecs::mqtt::{Packet, ProtocolVersion, decode};
use known::{Difference, KNOWN, KNOWN_MAX, Known, Oracle};
use ours::Lines;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Whether the bytes are one frame by their length alone. Only such are compared: how a stream is cut is a matter of
/// `frame_len`, which the oracles have no counterpart of.
fn is_one_frame(bytes: &[u8]) -> bool {
    let mut length = 0;
    for (index, &byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.len() == 2 + index + length;
        }
    }
    false
}

/// The version that the packet is read as: a CONNECT says so itself.
fn version_of(bytes: &[u8], version: ProtocolVersion) -> ProtocolVersion {
    match decode(bytes, version) {
        Ok(Packet::Connect(connect)) => connect.version,
        Ok(_) => version,
        Err(error) => error.version().unwrap_or(version),
    }
}

fn compare(oracle: Oracle, version: ProtocolVersion, bytes: &[u8]) -> Option<Difference> {
    let ours = decode(bytes, version).map(|packet| ours::describe(&packet, version));
    let theirs = match oracle {
        Oracle::Core => core_oracle::decode(bytes, version),
        Oracle::Rumqttd => rumqttd_oracle::decode(bytes, version),
    };
    match (ours, theirs) {
        (Err(_), Err(_)) => None,
        (Err(error), Ok(_)) => Some(Difference::WeRefuse(error.rule())),
        (Ok(lines), Err(error)) => Some(Difference::TheyRefuse(lines, error)),
        (Ok(ours), Ok(theirs)) => differing_fields(oracle, ours, theirs),
    }
}

fn differing_fields(oracle: Oracle, mut ours: Lines, mut theirs: Lines) -> Option<Difference> {
    // rumqttd keeps properties in the order of its structs, core writes those of the will at another place.
    let in_order = oracle == Oracle::Core && !ours.iter().any(|line| line.starts_with("will"));
    if !in_order {
        ours.sort();
        theirs.sort();
    }
    if ours == theirs {
        return None;
    }
    let only_ours = ours.iter().filter(|line| !theirs.contains(line)).cloned().collect();
    let only_theirs = theirs.iter().filter(|line| !ours.contains(line)).cloned().collect();
    Some(Difference::Fields { ours, only_ours, only_theirs })
}

fn explanation(oracle: Oracle, version: ProtocolVersion, difference: &Difference) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.explains(oracle, version, difference))
}

/// Compares many packets of a strategy. The generator's seed is fixed, so that a run finds the same on every machine.
fn compare_many(cases: u32, strategy: &impl Strategy<Value = (ProtocolVersion, Vec<u8>)>, legal: bool) {
    quiet_panics();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRunner::deterministic().new_rng());
    let result = runner.run(strategy, |(version, bytes)| {
        if !is_one_frame(&bytes) {
            return Ok(());
        }
        let version = version_of(&bytes, version);
        if legal && let Err(error) = decode(&bytes, version) {
            return Err(TestCaseError::fail(format!("{bytes:02x?} is legal: {error}")));
        }
        for oracle in [Oracle::Core, Oracle::Rumqttd] {
            if let Some(difference) = compare(oracle, version, &bytes)
                && explanation(oracle, version, &difference).is_none()
            {
                return Err(TestCaseError::fail(format!(
                    "{oracle:?} in {version}: {bytes:02x?}: {difference:#?}"
                )));
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("an unknown difference: {error}");
    }
}

/// Panics of the oracles are caught and counted as refusals; their text is only noise.
fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let of_an_oracle = panic.location().is_some_and(|it| {
                it.file().contains("rumqttd-") || it.file().contains("mqtt-protocol-core-")
            });
            if !of_an_oracle {
                report(panic);
            }
        }));
    });
}

#[test]
fn legal_packets_mean_the_same_to_the_oracles() {
    compare_many(4_000, &generate::legal_bytes(), true);
}

#[test]
fn harmed_packets_are_refused_alike_or_mean_the_same() {
    compare_many(16_000, &generate::mutated_bytes(), false);
}

/// Agreement about packets that were never made would say nothing.
#[test]
fn the_generated_packets_reach_every_packet_type_and_property() {
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10_000 {
        let (version, bytes) = match generate::legal_bytes().new_tree(&mut runner) {
            Ok(tree) => proptest::strategy::ValueTree::current(&tree),
            Err(reason) => panic!("{reason}"),
        };
        let packet = decode(&bytes, version).expect("legal");
        let kind = format!("{version} {:?}", packet.packet_type());
        for line in ours::describe(&packet, version) {
            let name: String = line.chars().take_while(|it| it.is_ascii_alphabetic() || *it == '.').collect();
            seen.insert(format!("{kind} {name}"));
        }
        seen.insert(kind);
    }
    for id in api::PropertyId::ALL {
        let name = format!("{id:?}");
        assert!(
            seen.iter().any(|it| it.rsplit([' ', '.']).next() == Some(&name)),
            "{id:?} was never generated"
        );
    }
    let kinds = seen.iter().filter(|it| it.matches(' ').count() == 1).count();
    assert_eq!(kinds, 14 + 15, "{seen:#?}");
}

#[test]
fn the_list_of_known_differences_is_short_and_every_entry_still_occurs() {
    quiet_panics();
    assert!(KNOWN.len() <= KNOWN_MAX, "{} known differences; the cap is {KNOWN_MAX}", KNOWN.len());
    for known in KNOWN {
        assert!(!known.reason.is_empty());
        let (oracle, version) = (known.oracles[0], known.versions[0]);
        let Some(difference) = compare(oracle, version, known.example) else {
            panic!("{oracle:?} in {version} agrees about {:02x?} now: {}", known.example, known.reason);
        };
        assert!(known.explains(oracle, version, &difference), "{}: {difference:?}", known.reason);
    }
}
