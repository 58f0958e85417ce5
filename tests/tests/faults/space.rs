//! A crash loop on a full disk: whatever is started and killed while nothing can be written, everything is there when space
//! comes back. (`tests/disk.rs` has the full disk without crashes.)

use e2e_tests::{Gateway, Simulator, SmallDisk, Starting, try_http_get, wait_until};

use super::load::{DATED, assert_balanced, assert_nothing_lost, same_ports, start_load, wait_for_load};

#[test]
fn b1_2_a_crash_loop_on_a_full_disk_loses_nothing() {
    let disk = SmallDisk::new_real(96);
    let data_dir = disk.data_dir();
    let wrapper = disk.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let gateway = Gateway::start_wrapped(&wrapper, &data_dir, &SmallDisk::SETTINGS);
    let (ports, http) = (same_ports(&gateway), gateway.http);
    let again: Vec<&str> = SmallDisk::SETTINGS.into_iter().chain(ports.iter().map(String::as_str)).collect();
    let outside = data_dir.parent().expect("beside the mount").to_owned();
    let load = start_load(&outside, &gateway, "DATED", DATED);
    wait_for_load(&gateway, 2_000);
    disk.fill();
    wait_until("/ready to say that there is no space", || {
        (gateway.http_get("/ready").0 == 503).then_some(())
    });
    gateway.kill9();

    for start in 0..6 {
        // What a start gave back is taken by somebody else at once.
        disk.fill();
        // It lives with what it has, or waits for space: either way it answers, and says why it is not ready.
        let starting = Starting::new(&wrapper, &data_dir, &again);
        let (status, body) = wait_until("an answer", || try_http_get(http, "/ready"));
        println!("start {start}: {status} {body}");
        drop(starting);
    }
    disk.free();
    let gateway = Gateway::start_wrapped(&wrapper, &data_dir, &again);
    wait_until("/ready", || (gateway.http_get("/ready").0 == 200).then_some(()));
    let before = gateway.received();
    wait_until("work to go on", || (gateway.received() > before + 1_000).then_some(()));
    let truth = Simulator::stop(load);
    assert_balanced(&gateway);
    gateway.terminate();
    assert_nothing_lost(&truth, &disk.copy(), 1_000);
}
