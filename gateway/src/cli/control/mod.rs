//! How the command line asks a running gateway: `control.sock` in the data directory, for the owner only.
//!
//! The asking side sends one line of JSON, [`Question`], of at most [`QUESTION_BYTES_MAX`] bytes. The answer is a row of
//! chunks, each a kind (1 byte), a length (4 bytes, little endian) and so many bytes:
//!
//! | kind | means |
//! |---|---|
//! | `D` | a piece of the answer, to be passed on as it is |
//! | `N` | a sentence beside the answer (how far it is, that there is more), for stderr |
//! | `E` | the end: all was said; length 0 |
//! | `F` | failed: JSON `{"exit":2,"sentence":"…"}` |
//!
//! An answer without `E` or `F` is cut off. Nothing is buffered beyond one chunk, so an answer of any size takes a bounded
//! memory; who reads slowly waits on the socket.

mod client;
mod server;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Exit;

pub use client::ask;
pub use server::ControlServer;

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "control.sock";
/// Longest question.
const QUESTION_BYTES_MAX: usize = 64 << 10;
/// Most bytes in one chunk.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Longest path that a Unix socket's address holds, its final zero included.
const SOCKET_PATH_BYTES_MAX: usize = 108;

const KIND_DATA: u8 = b'D';
const KIND_NOTE: u8 = b'N';
const KIND_END: u8 = b'E';
const KIND_FAILED: u8 = b'F';

/// What is asked; see [`crate::query::Request::parse`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub name: String,
    pub parameters: Vec<(String, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Failed {
    exit: u8,
    sentence: String,
}

impl Failed {
    fn exit(&self) -> Exit {
        match self.exit {
            1 => Exit::CheckFailed,
            3 => Exit::Journal,
            _ => Exit::Environment,
        }
    }
}

/// A path to the socket that its address can hold: for a long one it leads through an open handle of the directory, which
/// must live as long as the path is used.
#[derive(Debug)]
struct SocketPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl SocketPath {
    fn of(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(SOCKET_NAME);
        if path.as_os_str().len() < SOCKET_PATH_BYTES_MAX {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(data_dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd()));
        Ok(Self { path, _directory: Some(directory) })
    }
}
