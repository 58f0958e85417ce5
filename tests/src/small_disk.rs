//! A file system of a few MiB that can be filled: a tmpfs in a mount namespace of its own, which nobody else sees and which
//! is gone with the test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::paths::new_data_dir;

/// Dropping it takes the file system away. Needs root, or user namespaces.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    directory: TempDir,
}

impl SmallDisk {
    pub fn new(mib: u32) -> Self {
        let directory = new_data_dir();
        let mount = directory.path().join("data");
        fs::create_dir(&mount).expect("the directory is new");
        let script =
            format!("mount -t tmpfs -o size={mib}m tmpfs \"$1\" && echo mounted && exec sleep infinity");
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
            .arg(&mount)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has unshare");
        let stdout = holder.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("stdout is text");
        assert_eq!(line, "mounted\n", "a mount namespace needs root or user namespaces");
        Self { holder, directory }
    }

    /// What a process is started with so that it sees the file system.
    pub fn wrapper(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        ["nsenter", "--target", &target, "--user", "--preserve-credentials", "--mount"]
            .map(str::to_owned)
            .to_vec()
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

    fn seen_from_outside(&self) -> PathBuf {
        let inside = self.data_dir();
        let inside = inside.strip_prefix("/").expect("a temporary directory has an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    /// Writes a file until nothing more fits.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a file can be made");
        for block in [1 << 20, 4096] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
    }

    /// Removes that file.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("the disk was filled");
    }

    fn filler(&self) -> PathBuf {
        self.seen_from_outside().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
