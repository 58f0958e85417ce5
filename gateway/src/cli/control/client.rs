//! The side that asks.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{CHUNK_BYTES_MAX, Failed, KIND_DATA, KIND_END, KIND_FAILED, KIND_NOTE, Question, SocketPath};
use crate::cli::Failure;
use crate::query::Output;

/// Asks the gateway of `data_dir` and passes its answer on. `None`: no gateway listens there.
pub fn ask(data_dir: &Path, question: &Question, out: &mut dyn Output) -> Option<Result<(), Failure>> {
    let stream = SocketPath::of(data_dir).and_then(|socket| UnixStream::connect(&socket.path));
    match stream {
        Ok(stream) => Some(exchange(stream, question, out)),
        // Never started, or ended without taking its socket away.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            None
        }
        Err(error) => {
            let sentence = format!("{}: the gateway's socket can't be used: {error}", data_dir.display());
            Some(Err(Failure::environment(sentence)))
        }
    }
}

fn exchange(mut stream: UnixStream, question: &Question, out: &mut dyn Output) -> Result<(), Failure> {
    let cut_off = |error: io::Error| {
        let what = "the gateway broke off its answer";
        let remedy = "give the command again; what a replay or erasure had settled stays settled";
        Failure::environment(format!("{what}: {error} ({remedy})"))
    };
    // Strings always serialise.
    let mut line = serde_json::to_vec(question).unwrap_or_default();
    line.push(b'\n');
    stream.write_all(&line).map_err(cut_off)?;
    let mut chunk = Vec::new();
    loop {
        let kind = next_kind(&mut stream, out).map_err(cut_off)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length).map_err(cut_off)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > CHUNK_BYTES_MAX {
            return Err(cut_off(io::Error::new(io::ErrorKind::InvalidData, "a chunk is too long")));
        }
        chunk.resize(length, 0);
        stream.read_exact(&mut chunk).map_err(cut_off)?;
        match kind {
            KIND_DATA => match out.write_all(&chunk) {
                Ok(()) => {}
                // Nobody reads any more; the gateway notices when the socket closes.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(Failure::environment(format!("stdout: {error}"))),
            },
            // A closed stderr is no reason to stop.
            KIND_NOTE => drop(out.note(&String::from_utf8_lossy(&chunk))),
            KIND_END => return Ok(()),
            KIND_FAILED => {
                let failed: Failed =
                    serde_json::from_slice(&chunk).map_err(|error| cut_off(io::Error::other(error)))?;
                return Err(Failure::new(failed.exit(), failed.sentence));
            }
            _ => {
                return Err(cut_off(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a chunk is of no known kind",
                )));
            }
        }
    }
}

/// Without a word from the gateway for so long, the one who waits is told.
const SILENCE: Duration = Duration::from_secs(10);

fn next_kind(stream: &mut UnixStream, out: &mut dyn Output) -> io::Result<u8> {
    let mut kind = [0];
    stream.set_read_timeout(Some(SILENCE))?;
    let mut told = false;
    loop {
        match stream.read(&mut kind) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if !std::mem::replace(&mut told, true) {
                    // A closed stderr is no reason to stop.
                    drop(out.note(
                        "the gateway has not answered for 10 s: it is busy, or its process is stopped\n",
                    ));
                }
            }
            Err(error) => return Err(error),
        }
    }
    stream.set_read_timeout(None)?;
    Ok(kind[0])
}
