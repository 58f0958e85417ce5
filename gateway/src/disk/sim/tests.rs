//! The simulated disk is as unkind as it says, and no more.

use super::*;
use crate::disk::{Ballast, create_dir_durably, read_file, rename_durably, write_file_durably};

fn write(disk: &SimDisk, path: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let mut file = disk.create(path, OpenMode::Write).unwrap();
    file.write_at(0, &mut [IoSlice::new(bytes)]).unwrap();
    file
}

fn after(disk: &SimDisk, crash: Crash) {
    disk.crash(crash);
    assert!(disk.list("").is_err(), "a machine that is down answers nothing");
    disk.restart();
}

#[test]
fn kill_keeps_what_was_written_and_power_loss_may_lose_it() {
    let mut lost = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let file = write(&disk, "a", &[1; 6000]);
        after(&disk, Crash::Kill);
        assert!(file.size().is_err(), "handles die in a crash");
        assert_eq!(read_file(&disk, "a", 1 << 20).unwrap(), [1; 6000]);
        after(&disk, Crash::PowerLoss);
        lost += u32::from(read_file(&disk, "a", 1 << 20).ok() != Some(vec![1; 6000]));
    }
    assert!((10..40).contains(&lost), "lost in {lost} of 40 runs");
}

#[test]
fn synced_bytes_under_a_synced_name_survive() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        create_dir_durably(&disk, "x/y").unwrap();
        write(&disk, "x/y/a", &[1; 9000]).sync().unwrap();
        disk.sync_dir("x/y").unwrap();
        let mut file = disk.open("x/y/a", OpenMode::Write).unwrap();
        file.write_at(4096, &mut [IoSlice::new(&[2; 4096])]).unwrap();
        after(&disk, Crash::PowerLoss);
        let bytes = read_file(&disk, "x/y/a", 1 << 20).unwrap();
        assert_eq!((bytes.len(), &bytes[..4096], &bytes[8192..]), (9000, &[1; 4096][..], &[1; 808][..]));
        assert!(
            bytes[4096..8192].chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]),
            "torn inside"
        );
    }
}

#[test]
fn sectors_are_torn_reordered_and_stale() {
    let (mut torn, mut later_without_earlier, mut stale) = (0, 0, 0);
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        let mut file = write(&disk, "a", &[1; 16384]);
        file.sync().unwrap();
        disk.sync_dir("").unwrap();
        for value in [2, 3] {
            file.write_at(0, &mut [IoSlice::new(&[value; 16384])]).unwrap();
        }
        after(&disk, Crash::PowerLoss);
        let bytes = read_file(&disk, "a", 1 << 20).unwrap();
        let kinds = [1, 2, 3].map(|value| bytes.contains(&value));
        torn += u32::from(kinds[0] && kinds[2]);
        stale += u32::from(kinds[1]);
        later_without_earlier += u32::from(bytes[0] == 1 && bytes[16383] == 3);
    }
    assert!(torn > 50 && stale > 30 && later_without_earlier > 10, "{torn} {stale} {later_without_earlier}");
}

#[test]
fn a_failed_sync_is_told_once_and_proves_nothing_later() {
    let mut lost = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let mut file = write(&disk, "a", &[1; 8192]);
        file.sync().unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(0, &mut [IoSlice::new(&[2; 8192])]).unwrap();
        disk.fail(Fault { on: FaultOn::Sync, nth: 1, kind: FaultKind::Io });
        assert!(file.sync().is_err());
        file.sync().unwrap();
        assert_eq!(read_file(&disk, "a", 1 << 20).unwrap(), [2; 8192]);
        after(&disk, Crash::PowerLoss);
        lost += u32::from(read_file(&disk, "a", 1 << 20).unwrap() != [2; 8192]);
    }
    assert!(lost > 20, "lost in {lost} of 40 runs");
}

#[test]
fn names_without_a_directory_sync_may_go_back() {
    let (mut back, mut forward) = (0, 0);
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        write(&disk, "old", b"x").sync().unwrap();
        disk.sync_dir("").unwrap();
        disk.rename("old", "new").unwrap();
        after(&disk, Crash::PowerLoss);
        match disk.list("").unwrap().join(" ").as_str() {
            "old" => back += 1,
            "new" => forward += 1,
            other => panic!("neither name: {other}"),
        }
    }
    assert!(back > 10 && forward > 10, "{back} {forward}");
    let disk = SimDisk::new(1);
    write(&disk, "old", b"x").sync().unwrap();
    rename_durably(&disk, "old", "new").unwrap();
    after(&disk, Crash::PowerLoss);
    assert_eq!(disk.list("").unwrap(), ["new"]);
}

/// The helper that everything small goes through: old or new, at every step.
#[test]
fn a_file_written_durably_is_old_or_new_at_every_step() {
    for step in 0..8 {
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            write_file_durably(&disk, "f", b"old content").unwrap();
            disk.crash_at(disk.steps() + 1 + step, Crash::PowerLoss);
            let done = write_file_durably(&disk, "f", &[7; 5000]).is_ok();
            disk.crash(Crash::PowerLoss);
            disk.restart();
            let found = read_file(&disk, "f", 1 << 20).unwrap();
            assert!(found == [7; 5000] || (!done && found == b"old content"), "step {step} seed {seed}");
        }
    }
}

#[test]
fn a_crash_in_the_middle_of_a_write_leaves_its_first_sectors() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let mut file = disk.create("a", OpenMode::Write).unwrap();
        disk.crash_at(2, Crash::Kill);
        assert!(file.write_at(0, &mut [IoSlice::new(&[5; 8192])]).is_err());
        disk.restart();
        let bytes = read_file(&disk, "a", 1 << 20).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 5));
        lengths.insert(bytes.len());
    }
    assert!(lengths.contains(&0) && lengths.contains(&8192) && lengths.len() > 4, "{lengths:?}");
}

#[test]
fn a_full_disk_says_so_and_a_ballast_gives_room() {
    let disk = SimDisk::new(3);
    disk.set_capacity(300_000);
    let mut ballast = Ballast::open(&disk, "ballast", 200_000).unwrap();
    assert!(!ballast.is_present(), "a start takes no space before it has brought in what waits");
    assert!(ballast.restore(&disk).unwrap());
    assert_eq!(disk.free_space().unwrap(), 100_000);
    let mut file = disk.create("a", OpenMode::Write).unwrap();
    let error = file.write_at(0, &mut [IoSlice::new(&vec![1; 150_000])]).unwrap_err();
    assert!(crate::disk::is_no_space(&error));
    ballast.release(&disk).unwrap();
    file.write_at(0, &mut [IoSlice::new(&vec![1; 150_000])]).unwrap();
    assert!(!ballast.restore(&disk).unwrap(), "there is no room for it now");
    assert_eq!(disk.list("").unwrap(), ["a"]);
    disk.remove("a").unwrap();
    assert!(ballast.restore(&disk).unwrap());
    let again = Ballast::open(&disk, "ballast", 200_000).unwrap();
    assert!(again.is_present());
}

/// Where not even the name finds room there is nothing to remove (A1-7).
#[test]
fn a_ballast_that_cannot_be_made_is_no_error() {
    let disk = SimDisk::new(3);
    let mut ballast = Ballast::open(&disk, "ballast", 200_000).unwrap();
    disk.fail(Fault { on: FaultOn::Directory, nth: 1, kind: FaultKind::NoSpace });
    assert!(!ballast.restore(&disk).unwrap());
    assert!(ballast.restore(&disk).unwrap());
}

#[test]
fn durable_handles_insist_on_alignment() {
    let disk = SimDisk::new(1);
    let mut file = disk.create("a", OpenMode::WriteDurable).unwrap();
    assert!(file.write_durable(0, &mut [IoSlice::new(&[0; 100])]).is_err());
    assert!(disk.open("a", OpenMode::Read).unwrap().write_at(0, &mut [IoSlice::new(&[0; 100])]).is_err());
}
