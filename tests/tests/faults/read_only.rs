//! The data directory is made read-only under load (`chmod a-w`, everywhere in it): the gateway ends with a sentence that
//! names cause and place, and when the directory can be written again the next start has everything.

use std::path::Path;
use std::process::Command;

use e2e_tests::{Gateway, Simulator, new_data_dir};

use super::load::{DATED, assert_balanced, assert_nothing_lost, same_ports, start_load, wait_for_load};

/// Root may write anywhere; without these two capabilities it is like everybody else.
const ORDINARY: [&str; 3] = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"];

fn chmod(mode: &str, data_dir: &Path) {
    let status =
        Command::new("find").arg(data_dir).args(["-type", "d", "-exec", "chmod", mode, "{}", "+"]).status();
    assert!(status.is_ok_and(|status| status.success()), "chmod {mode}");
}

#[test]
fn b1_2_a_read_only_directory_ends_the_gateway_with_a_sentence_and_loses_nothing() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let settings = ["--set", "store.flush_interval_ms=300", "--set", "journal.segment_bytes_max=4194304"];
    // Who is not root has none of the capabilities that setpriv would take.
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let wrapper = if is_root { &ORDINARY[..] } else { &[] };
    let mut gateway = Gateway::start_wrapped(wrapper, &data_dir, &settings);
    let ports = same_ports(&gateway);
    let load = start_load(directory.path(), &gateway, "DATED", DATED);
    wait_for_load(&gateway, 2_000);

    chmod("a-w", &data_dir);
    let status = gateway.wait_for_exit();
    let stderr = gateway.stderr();
    assert!(matches!(status.code(), Some(2 | 3)), "{status}\n{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.contains("ermission denied"), "the cause is named: {stderr}");
    assert!(
        last.contains("store/") || last.contains("journal/") || last.contains("observations/"),
        "{stderr}"
    );

    // Still read-only: refused with a sentence, and nothing is harmed.
    let again: Vec<&str> = settings.into_iter().chain(ports.iter().map(String::as_str)).collect();
    let refused = Gateway::try_start(wrapper, &data_dir, &again).expect_err("the directory is read-only");
    assert!(matches!(refused.code, Some(2 | 3)), "{:?} {}", refused.code, refused.stderr);
    assert!(
        refused.stderr.contains("ermission denied") || refused.stderr.contains("readonly"),
        "{}",
        refused.stderr
    );

    chmod("u+w", &data_dir);
    let gateway = Gateway::start_wrapped(wrapper, &data_dir, &again);
    wait_for_load(&gateway, 500);
    let truth = Simulator::stop(load);
    assert_balanced(&gateway);
    gateway.terminate();
    assert_nothing_lost(&truth, &data_dir, 1_000);
}
