//! The data directory is made read-only under load, by rights (`chmod a-w`, everywhere in it) or by the kernel, which found an
//! error in the file system: the gateway ends with a sentence that names cause and place, and when the directory can be written
//! again the next start has everything.

use std::path::Path;
use std::process::Command;

use e2e_tests::{Gateway, RunOutput, Simulator, SmallDisk, binary, new_data_dir};

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
    assert_eq!(refused.code, Some(2), "the environment: {}", refused.stderr);
    assert!(
        refused.stderr.contains("ermission denied") || refused.stderr.contains("readonly"),
        "{}",
        refused.stderr
    );

    // Who only asks needs no more than to read.
    let path = data_dir.to_string_lossy();
    let question = Command::new(wrapper.first().copied().unwrap_or("env"))
        .args(wrapper.iter().skip(1))
        .arg(binary("sensor-gateway"))
        .args(["query", "--limit", "1", "--data-dir", &path])
        .output();
    let question = RunOutput::of(&question.expect("the binary can be run"));
    assert_eq!(question.success().lines().count(), 1 + 1);

    chmod("u+w", &data_dir);
    let gateway = Gateway::start_wrapped(wrapper, &data_dir, &again);
    wait_for_load(&gateway, 500);
    let truth = Simulator::stop(load);
    assert_balanced(&gateway);
    gateway.terminate();
    assert_nothing_lost(&truth, &data_dir, 1_000);
}

/// ext4 on a loop device; where the tests may not have one, the test above is all there is.
#[test]
fn b1_2_a_file_system_that_turns_read_only_ends_the_gateway_and_loses_nothing() {
    let Some(disk) = SmallDisk::new_loop(256) else {
        println!("no loop device: not tested");
        return;
    };
    let data_dir = disk.data_dir();
    let outside = data_dir.parent().expect("beside the mount").to_owned();
    let wrapper = disk.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let settings = [
        ["--set", "store.flush_interval_ms=300"],
        ["--set", "store.flush_rows_max=50000"],
        ["--set", "journal.segment_bytes_max=4194304"],
    ]
    .concat();
    let mut gateway = Gateway::start_wrapped(&wrapper, &data_dir, &settings);
    let ports = same_ports(&gateway);
    let again: Vec<&str> = settings.into_iter().chain(ports.iter().map(String::as_str)).collect();
    let load = start_load(&outside, &gateway, "DATED", DATED);
    wait_for_load(&gateway, 2_000);

    disk.break_down();
    let status = gateway.wait_for_exit();
    let stderr = gateway.stderr();
    assert!(matches!(status.code(), Some(2 | 3)), "{status}\n{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("ead-only file system") || last.contains("I/O error"),
        "the cause is named: {stderr}"
    );
    let refused = Gateway::try_start(&wrapper, &data_dir, &again).expect_err("it is read-only");
    assert_eq!(refused.code, Some(2), "the environment: {}", refused.stderr);

    disk.repair();
    let gateway = Gateway::start_wrapped(&wrapper, &data_dir, &again);
    wait_for_load(&gateway, 500);
    let truth = Simulator::stop(load);
    assert_balanced(&gateway);
    gateway.terminate();
    assert_nothing_lost(&truth, &disk.copy(), 1_000);
}
