//! The gateway's side: a thread that accepts, and one per question.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{
    CHUNK_BYTES_MAX, Failed, KIND_DATA, KIND_END, KIND_FAILED, KIND_NOTE, QUESTION_BYTES_MAX, Question,
    SocketPath,
};
use crate::cli::Failure;
use crate::cli::ask::failure_of;
use crate::disk::is_no_space;
use crate::query::{GatewayView, Output, QueryError, Request, answer};

/// Questions that are answered at once; the next one is refused.
const QUESTIONS_MAX: usize = 8;
/// How long a question may take to arrive.
const QUESTION_MS_MAX: u64 = 5_000;
/// How long an answer may wait for its reader (somebody pages through it).
const READER_MS_MAX: u64 = 600_000;
/// How long a stop waits for answers that are under way.
const STOP_MS: u64 = 2_000;
/// Pause after an accept failed, so that a lack of descriptors does not make a busy loop.
const ACCEPT_PAUSE_MS: u64 = 100;

/// The open socket; dropping it closes it.
#[derive(Debug)]
pub struct ControlServer {
    socket: SocketPath,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    view: Arc<dyn GatewayView>,
    stopping: AtomicBool,
    /// The answers under way, so that a stop can cut them off.
    open: Mutex<HashMap<u64, UnixStream>>,
    closed: Condvar,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, UnixStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ControlServer {
    /// The caller holds the lock of the data directory, so a socket that lies there is a dead gateway's.
    pub fn start(data_dir: &Path, view: Arc<dyn GatewayView>) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            let sentence = format!("{}: the control socket can't be made: {error}", data_dir.display());
            Failure { waits_for_space: is_no_space(&error), ..Failure::environment(sentence) }
        };
        let socket = SocketPath::of(data_dir).map_err(failed)?;
        match fs::remove_file(&socket.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&socket.path).map_err(failed)?;
        fs::set_permissions(&socket.path, Permissions::from_mode(0o600)).map_err(failed)?;
        let shared = Arc::new(Shared {
            view,
            stopping: AtomicBool::new(false),
            open: Mutex::new(HashMap::new()),
            closed: Condvar::new(),
        });
        let accepting = shared.clone();
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept_all(&listener, &accepting))
            .map_err(failed)?;
        Ok(Self { socket, shared, thread: Some(thread) })
    }

    /// Takes no more questions and cuts off the answers under way.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; if that fails, it is not waiting.
        drop(UnixStream::connect(&self.socket.path));
        if thread.join().is_err() {
            tracing::error!("the control thread panicked");
        }
        if let Err(error) = fs::remove_file(&self.socket.path) {
            tracing::warn!(%error, "the control socket could not be removed");
        }
        let open = self.shared.open();
        for stream in open.values() {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let wait = Duration::from_millis(STOP_MS);
        let waited = self.shared.closed.wait_timeout_while(open, wait, |open| !open.is_empty());
        if waited.is_ok_and(|(_, waited)| waited.timed_out()) {
            tracing::warn!("a question is still being answered at the stop");
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept_all(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut next_id = 0;
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((stream, _)) => {
                next_id += 1;
                if let Err(error) = begin(stream, next_id, shared) {
                    tracing::warn!(%error, "a question on the control socket could not be taken");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket accepts nothing");
                std::thread::sleep(Duration::from_millis(ACCEPT_PAUSE_MS));
            }
        }
    }
}

fn begin(mut stream: UnixStream, id: u64, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(QUESTION_MS_MAX)))?;
    stream.set_write_timeout(Some(Duration::from_millis(READER_MS_MAX)))?;
    {
        let mut open = shared.open();
        if open.len() >= QUESTIONS_MAX {
            let busy = Failure::environment("the gateway is answering too many questions; ask again later");
            return write_failure(&mut stream, &busy);
        }
        open.insert(id, stream.try_clone()?);
    }
    let answering = shared.clone();
    let spawned = std::thread::Builder::new().name("control-answer".to_owned()).spawn(move || {
        let _open = Open { id, shared: &answering };
        if let Err(error) = converse(&mut stream, answering.view.as_ref()) {
            tracing::debug!(%error, "an answer on the control socket was cut off");
        }
    });
    spawned.map(drop).inspect_err(|_| {
        shared.open().remove(&id);
    })
}

/// Takes the answer off the list, also when its thread panics.
struct Open<'a> {
    id: u64,
    shared: &'a Shared,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.open().remove(&self.id);
        self.shared.closed.notify_all();
    }
}

fn converse(stream: &mut UnixStream, view: &dyn GatewayView) -> io::Result<()> {
    let failure = match read_question(stream)? {
        Ok(question) => match Request::parse(&question.name, &question.parameters) {
            Ok(request) => {
                let mut chunks = Chunks { stream, bytes: Vec::with_capacity(CHUNK_BYTES_MAX) };
                match answer(view, &request, &mut chunks) {
                    Ok(()) => {
                        chunks.flush()?;
                        return write_chunk(stream, KIND_END, &[]);
                    }
                    Err(QueryError::Output(error)) => return Err(error),
                    Err(error) => {
                        // What was said already goes first.
                        chunks.flush()?;
                        failure_of(&error)
                    }
                }
            }
            Err(bad) => Failure::environment(bad.to_string()),
        },
        Err(failure) => failure,
    };
    write_failure(stream, &failure)
}

fn read_question(stream: &mut UnixStream) -> io::Result<Result<Question, Failure>> {
    let mut line = Vec::new();
    let mut piece = [0; 4096];
    while line.last() != Some(&b'\n') {
        let length = stream.read(&mut piece)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&piece[..length]);
        if line.len() > QUESTION_BYTES_MAX {
            return Ok(Err(Failure::environment("the question is too long")));
        }
    }
    let unknown =
        |error| Failure::environment(format!("the gateway does not understand the question: {error}"));
    Ok(serde_json::from_slice(&line).map_err(unknown))
}

fn write_failure(stream: &mut UnixStream, failure: &Failure) -> io::Result<()> {
    let failed = Failed { exit: failure.exit as u8, sentence: failure.sentence.clone() };
    write_chunk(stream, KIND_FAILED, &serde_json::to_vec(&failed)?)
}

fn write_chunk(stream: &mut UnixStream, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let mut head = [kind, 0, 0, 0, 0];
    head[1..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    stream.write_all(&head)?;
    stream.write_all(bytes)
}

/// Collects the answer into chunks.
struct Chunks<'a> {
    stream: &'a mut UnixStream,
    bytes: Vec<u8>,
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() == CHUNK_BYTES_MAX {
            self.flush()?;
        }
        let taken = bytes.len().min(CHUNK_BYTES_MAX - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.bytes.is_empty() {
            write_chunk(self.stream, KIND_DATA, &self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

impl Output for Chunks<'_> {
    fn note(&mut self, sentence: &str) -> io::Result<()> {
        self.flush()?;
        let cut = sentence.floor_char_boundary(CHUNK_BYTES_MAX);
        write_chunk(self.stream, KIND_NOTE, &sentence.as_bytes()[..cut])
    }
}
