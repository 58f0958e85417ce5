//! A gateway's load and what must be true behind a fault.

use std::path::Path;

use e2e_tests::{Gateway, Simulator, assert_verified, verify, wait_until};
use serde_json::Value;

/// Dated readings, some of them twice, late or corrected.
pub(crate) const DATED: &str = "--format json --clients 2 --stations 10 --rate 1500 --in-flight 50 --duplicates 0.1 \
                                --reorder 0.1 --corrections 0.05";
/// Undated readings that their sequence numbers tell apart.
pub(crate) const UNDATED: &str = "--format json --undated --clients 1 --stations 5 --rate 200 --in-flight 50";

/// A load of its own agency, with its truth ledger in `directory`.
pub(crate) fn start_load(directory: &Path, gateway: &Gateway, name: &str, options: &str) -> Simulator {
    let mqtt = gateway.mqtt.to_string();
    let common =
        ["run", "--broker", &mqtt, "--seed", "7", "--resend-after-reconnect", "--client-prefix", name];
    let args: Vec<&str> =
        common.into_iter().chain(["--agency", name]).chain(options.split_whitespace()).collect();
    Simulator::start(&directory.join(format!("{name}.ndjson")), &args)
}

/// Ports of a gateway, so that its clients find the next one.
pub(crate) fn same_ports(gateway: &Gateway) -> Vec<String> {
    [
        "--mqtt-listen".to_owned(),
        gateway.mqtt.to_string(),
        "--http-listen".to_owned(),
        gateway.http.to_string(),
    ]
    .to_vec()
}

/// So many further messages come in.
pub(crate) fn wait_for_load(gateway: &Gateway, more: u64) {
    let before = gateway.received();
    wait_until("messages of the clients", || (gateway.received() > before + more).then_some(()));
}

/// Everything is in the store, and the ledger's parts are its sums.
pub(crate) fn assert_balanced(gateway: &Gateway) -> Value {
    let ledger = gateway.wait_until_flushed(gateway.received());
    e2e_tests::assert_balanced(&ledger);
    ledger
}

/// What `firmware-sim` sent and had acknowledged is there, once, and `journal verify` finds nothing.
pub(crate) fn assert_nothing_lost(truth: &Path, data_dir: &Path, rows_min: u64) {
    assert_verified(data_dir);
    let report = verify(truth, data_dir);
    assert!(
        report["rows_required"].as_u64().is_some_and(|rows| rows >= rows_min),
        "there was a load: {report}"
    );
}
