//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The top of the repository.
pub fn repository() -> &'static Path {
    // The manifest of this crate lies in `tests/`.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the repository")
}

/// `target/e2e`: the test binary lies in its `deps/`.
fn profile_dir() -> PathBuf {
    let test_binary = env::current_exe().expect("the path of the test binary is known");
    let dir = test_binary.ancestors().find(|dir| dir.file_name().is_some_and(|name| name == "deps"));
    dir.and_then(Path::parent).expect("cargo puts test binaries into target/PROFILE/deps").to_owned()
}

/// A binary of the workspace, built in the same profile as the tests.
pub fn binary(name: &str) -> PathBuf {
    let path = profile_dir().join(name);
    assert!(
        path.exists(),
        "{} is missing; build it first: cargo build --profile e2e --workspace --bins (tests/run.sh does)",
        path.display()
    );
    path
}

/// An empty directory on the disk that the build uses, and not in a RAM disk: durability is tested in it. Removed when
/// dropped.
pub fn new_data_dir() -> TempDir {
    let parent = profile_dir().join("test-data");
    std::fs::create_dir_all(&parent).expect("the target directory is writable");
    tempfile::Builder::new().prefix("gateway-").tempdir_in(parent).expect("the target directory is writable")
}
