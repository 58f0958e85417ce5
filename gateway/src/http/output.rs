//! An answer on its way from the thread that makes it to the connection that sends it, in bounded memory.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http_body::Frame;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::problem::Problem;
use crate::cancel::CancelOnDrop;

/// Bytes that are sent at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that wait for the connection.
const CHUNKS_WAITING_MAX: usize = 4;
/// A client that takes nothing for so long has its answer cut off: it holds one of few places.
const SLOW_CLIENT_MS: u64 = 10_000;
/// So does one that takes longer than this for all of it.
const ANSWER_MS_MAX: u64 = 600_000;

enum Piece {
    Bytes(Bytes),
    /// The answer is whole. Without this the thread died on the way.
    End,
    Failed(Problem),
}

/// The two ends of one answer. To be called within the server's runtime. `cancel` goes with the body.
pub(super) fn answer_stream(stopping: Arc<AtomicBool>, cancel: CancelOnDrop) -> (AnswerWriter, AnswerBody) {
    let (pieces, receiver) = channel(CHUNKS_WAITING_MAX);
    let writer = AnswerWriter {
        pieces,
        runtime: Handle::current(),
        stopping,
        deadline: Instant::now() + Duration::from_millis(ANSWER_MS_MAX),
        chunk: Vec::new(),
    };
    (writer, AnswerBody { pieces: receiver, first: None, ended: false, _cancel: cancel })
}

/// Written to by a blocking thread.
pub(super) struct AnswerWriter {
    pieces: Sender<Piece>,
    runtime: Handle,
    stopping: Arc<AtomicBool>,
    deadline: Instant,
    chunk: Vec<u8>,
}

impl AnswerWriter {
    /// The end of the answer, or why there is none.
    pub(super) fn finish(mut self, result: Result<(), Problem>) {
        let sent = match result {
            Ok(()) => self.send_chunk().and_then(|()| self.send(Piece::End)),
            Err(problem) => self.send(Piece::Failed(problem)),
        };
        // Nobody listens any more: then nobody misses it.
        let _ = sent;
    }

    fn send_chunk(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.send(Piece::Bytes(chunk.into()))
    }

    fn send(&self, piece: Piece) -> io::Result<()> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(io::Error::other("the gateway is stopping"));
        }
        if Instant::now() > self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let limit = Duration::from_millis(SLOW_CLIENT_MS);
        let sent =
            self.runtime.block_on(async { tokio::time::timeout(limit, self.pieces.send(piece)).await });
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for AnswerWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_BYTES {
            self.send_chunk()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the connection sends. An answer that fails after its first bytes ends in an error, so that HTTP's framing shows
/// that it is not whole.
pub(super) struct AnswerBody {
    pieces: Receiver<Piece>,
    first: Option<Bytes>,
    ended: bool,
    /// Nobody looks for more rows when the client has gone.
    _cancel: CancelOnDrop,
}

impl AnswerBody {
    /// Waits for the first bytes; an answer that fails before them is its problem (`None` where the thread died).
    pub(super) async fn started(mut self) -> Result<Self, Option<Problem>> {
        match self.pieces.recv().await {
            Some(Piece::Bytes(bytes)) => self.first = Some(bytes),
            Some(Piece::End) => self.ended = true,
            Some(Piece::Failed(problem)) => return Err(Some(problem)),
            None => return Err(None),
        }
        Ok(self)
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.pieces.poll_recv(context));
        self.ended = !matches!(piece, Some(Piece::Bytes(_)));
        Poll::Ready(match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => None,
            Some(Piece::Failed(_)) | None => Some(Err(io::Error::other("the answer could not be completed"))),
        })
    }
}
