//! A file system of a few MiB that can be filled, in a mount namespace of its own, which nobody else sees and which is gone
//! with the test: a tmpfs, or ext4 on a loop device where the tests run as root and there are such devices.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::journal_count::frame_places;
use crate::paths::new_data_dir;

/// What ext4 needs for itself.
const EXT4_MIB: u32 = 16;

/// Dropping it takes the file system away. Needs root, or user namespaces.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    directory: TempDir,
    is_loop: bool,
}

impl SmallDisk {
    /// Of a gateway that finds room there and can fill it soon.
    pub const SETTINGS: [&str; 8] = [
        "--set",
        "journal.segment_bytes_max=4194304",
        "--set",
        "journal.log_bytes_max=67108864",
        "--set",
        "store.flush_interval_ms=300",
        // What a flush may need is kept free, twice: as the ballast, and by the logs.
        "--set",
        "store.flush_rows_max=50000",
    ];

    /// A tmpfs, where every page counts at once.
    pub fn new(mib: u32) -> Self {
        let directory = new_data_dir();
        let script = format!("mount -t tmpfs -o size={mib}m tmpfs \"$1\"");
        let holder = mount(&["--map-root-user", "--mount"], &script, directory.path());
        let holder = holder.expect("a mount namespace needs root or user namespaces");
        Self { holder, directory, is_loop: false }
    }

    /// ext4 where that is possible, else a tmpfs.
    pub fn new_real(mib: u32) -> Self {
        Self::new_loop(mib).unwrap_or_else(|| Self::new(mib))
    }

    /// ext4 on a loop device; `None` where that is not possible.
    pub fn new_loop(mib: u32) -> Option<Self> {
        let directory = new_data_dir();
        let script = format!(
            "truncate -s {}M \"$2\" && mkfs.ext4 -q -m 0 \"$2\" && mount -o loop,errors=remount-ro \"$2\" \"$1\"",
            mib + EXT4_MIB
        );
        let holder = mount(&["--mount"], &script, directory.path())?;
        Some(Self { holder, directory, is_loop: true })
    }

    /// What a process is started with so that it sees the file system.
    pub fn wrapper(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        let user: &[&str] = if self.is_loop { &[] } else { &["--user", "--preserve-credentials"] };
        let namespaces = ["nsenter", "--target", &target, "--mount"].into_iter().chain(user.iter().copied());
        namespaces.map(str::to_owned).collect()
    }

    /// The kernel finds an error in the file system and makes it read-only under whoever writes. Of a loop device only.
    pub fn break_down(&self) {
        self.run(
            "device=$(findmnt -n -o SOURCE \"$1\") && echo 1 >/sys/fs/ext4/${device#/dev/}/trigger_fs_error",
        );
    }

    /// What an operator does then: unmount, check, mount. Nobody may use it any more.
    pub fn repair(&self) {
        // e2fsck says 1 when it has corrected something.
        self.run("umount \"$1\" && { e2fsck -fy \"$2\" || [ $? -eq 1 ]; } && mount -o loop,errors=remount-ro \"$2\" \"$1\"");
    }

    /// Mounts it anew for reading only, or for writing again. Nobody may write to it then.
    pub fn set_read_only(&self, is_read_only: bool) {
        let mode = if is_read_only { "ro" } else { "rw" };
        self.run_in(&format!("mount -o remount,{mode} \"$1\""));
    }

    fn run(&self, script: &str) {
        assert!(self.is_loop, "only ext4 has this");
        self.run_in(script);
    }

    fn run_in(&self, script: &str) {
        let wrapper = self.wrapper();
        let output = Command::new(&wrapper[0])
            .args(&wrapper[1..])
            .args(["sh", "-c", script, "sh"])
            .args([self.data_dir(), self.directory.path().join("image")])
            .output()
            .expect("util-linux has nsenter");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The mount, for processes that see it. Beside it there is room on the ordinary disk.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What is in it, on the ordinary disk.
    pub fn copy(&self) -> PathBuf {
        let copy = self.directory.path().join("copy");
        let status = Command::new("cp").arg("-r").args([self.seen_from_outside(), copy.clone()]).status();
        assert!(status.is_ok_and(|status| status.success()), "the file system can be copied");
        copy
    }

    /// The same directory for whoever is not in the mount namespace.
    pub fn seen_from_outside(&self) -> PathBuf {
        let inside = self.data_dir();
        let inside = inside.strip_prefix("/").expect("a temporary directory has an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    /// Writes a file until nothing more fits; once more: takes what came free meanwhile.
    pub fn fill(&self) {
        let filler = OpenOptions::new().create(true).append(true).open(self.filler());
        let mut file = filler.expect("a file can be made");
        for block in [1 << 20, 4096] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
    }

    /// Removes that file.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("the disk was filled");
    }

    /// Takes away what a gateway that was killed had in reserve: the ballast, and segments that stand ready.
    pub fn remove_reserves(&self) {
        let inside = self.seen_from_outside();
        // It may have been used up.
        let _ = fs::remove_file(inside.join("ballast"));
        for log in ["journal", "observations"] {
            for entry in fs::read_dir(inside.join(log)).expect("the directory was used") {
                let path = entry.expect("it can be read").path();
                let is_segment = path.extension().is_some_and(|extension| extension == "seg");
                if is_segment && frame_places(&path).is_empty() {
                    fs::remove_file(&path).expect("the segment is there");
                }
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.seen_from_outside().join("filler")
    }
}

/// Makes a mount namespace, mounts in it and stays; `None` where that fails.
fn mount(namespaces: &[&str], script: &str, directory: &Path) -> Option<Child> {
    let data = directory.join("data");
    fs::create_dir(&data).expect("the directory is new");
    let mut holder = Command::new("unshare")
        .args(namespaces)
        .args(["sh", "-c", &format!("{script} && echo mounted && exec sleep infinity"), "sh"])
        .args([data, directory.join("image")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("util-linux has unshare");
    let stdout = holder.stdout.take().expect("stdout is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("stdout is text");
    if line == "mounted\n" {
        return Some(holder);
    }
    holder.wait().expect("the child can be waited for");
    None
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
