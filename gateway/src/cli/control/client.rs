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
        Ok(stream) => Some(exchange(stream, question, out, &Patience::default())),
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

fn exchange(
    stream: UnixStream,
    question: &Question,
    out: &mut dyn Output,
    patience: &Patience,
) -> Result<(), Failure> {
    let cut_off = |error: io::Error| {
        if is_timeout(&error) {
            return patience.gave_up();
        }
        let what = "the gateway broke off its answer";
        let remedy = "give the command again; what a replay or erasure had settled stays settled";
        Failure::environment(format!("{what}: {error} ({remedy})"))
    };
    // Strings always serialise.
    let mut line = serde_json::to_vec(question).unwrap_or_default();
    line.push(b'\n');
    let mut gateway = Patient { stream, patience };
    gateway.say(&line).map_err(cut_off)?;
    let mut chunk = Vec::new();
    loop {
        let mut head = [0; 5];
        gateway.hear(&mut head, out).map_err(cut_off)?;
        let [kind, length @ ..] = head;
        let length = u32::from_le_bytes(length) as usize;
        if length > CHUNK_BYTES_MAX {
            return Err(cut_off(io::Error::new(io::ErrorKind::InvalidData, "a chunk is too long")));
        }
        chunk.resize(length, 0);
        gateway.hear(&mut chunk, out).map_err(cut_off)?;
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

/// How long the asking side waits without a byte from the gateway; each byte begins the time anew.
struct Patience {
    /// Then the one who waits is told.
    tell_after: Duration,
    /// Then the command ends.
    give_up_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tell_after: Duration::from_secs(10), give_up_after: Duration::from_secs(300) }
    }
}

impl Patience {
    fn gave_up(&self) -> Failure {
        Failure::environment(format!(
            "the gateway has not answered for {} s: its process is stopped, or it has more to do than it can; look at it (ps, \
             /ready, its log) and give the command again; what a replay or erasure had settled stays settled",
            self.give_up_after.as_secs()
        ))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The gateway at the other end, which may be stopped.
struct Patient<'a> {
    stream: UnixStream,
    patience: &'a Patience,
}

impl Patient<'_> {
    fn say(&mut self, line: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.patience.give_up_after))?;
        self.stream.write_all(line)
    }

    /// Fills the buffer; a timeout where nothing came for too long.
    fn hear(&mut self, buffer: &mut [u8], out: &mut dyn Output) -> io::Result<()> {
        let Patience { tell_after, give_up_after } = *self.patience;
        let mut heard = 0;
        let mut told = false;
        while heard < buffer.len() {
            let wait = if told { give_up_after.saturating_sub(tell_after) } else { tell_after };
            self.stream.set_read_timeout(Some(wait))?;
            match self.stream.read(&mut buffer[heard..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => {
                    heard += bytes;
                    told = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) && !told => {
                    told = true;
                    // A closed stderr is no reason to stop.
                    drop(out.note(&format!(
                        "the gateway has not answered for {} s: it is busy, or its process is stopped\n",
                        tell_after.as_secs()
                    )));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told(Vec<u8>, usize);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output for Told {
        fn note(&mut self, _sentence: &str) -> io::Result<()> {
            self.1 += 1;
            Ok(())
        }
    }

    /// F7: a gateway that is stopped, before its answer or in the middle of it, is told once and then given up.
    #[test]
    fn b1_2_a_gateway_that_does_not_answer_is_given_up() {
        for said in [&b""[..], b"D", b"D\x03\0\0\0abcD\x03\0\0\0a"] {
            let (ours, mut gateways) = UnixStream::pair().unwrap();
            gateways.write_all(said).unwrap();
            let patience =
                Patience { tell_after: Duration::from_millis(10), give_up_after: Duration::from_millis(20) };
            let question = Question { name: "ledger".to_owned(), parameters: Vec::new() };
            let mut out = Told(Vec::new(), 0);
            let failure = exchange(ours, &question, &mut out, &patience).unwrap_err();
            assert_eq!(failure.exit, crate::cli::Exit::Environment);
            assert!(failure.sentence.contains("has not answered"), "{failure}");
            assert_eq!(out.1, 1);
            assert_eq!(out.0, if said.len() > 1 { &b"abc"[..] } else { b"" });
        }
    }
}
