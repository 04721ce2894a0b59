//! The engine's end of a connection, and the wire's: bytes in memory both ways.
//!
//! In: reads and writes of the engine. Out: the same to the task that carries them ([`super::wire`]). Always: bytes keep
//! their order; an end that is gone is told to the other; a pipe holds a bounded number of bytes each way.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// What fits each way, as in a socket's buffers.
const ROOM: usize = 256 * 1024;

#[derive(Default)]
struct State {
    outbound: BytesMut,
    /// The engine will write no more.
    finished: bool,
    /// The engine's end is dropped.
    gone: bool,
    inbound: VecDeque<Bytes>,
    inbound_bytes: usize,
    /// The peer will write no more.
    ended: bool,
    broken: Option<ErrorKind>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Default)]
struct Pipe {
    state: Mutex<State>,
    /// Something for the wire to do.
    moved: Notify,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine's end.
pub(super) struct EngineEnd(Arc<Pipe>);

/// The wire's end.
pub(super) struct WireEnd(Arc<Pipe>);

pub(super) fn pipe() -> (EngineEnd, WireEnd) {
    let pipe = Arc::new(Pipe::default());
    (EngineEnd(pipe.clone()), WireEnd(pipe))
}

/// What the engine has asked of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Open,
    /// It reads on, and writes no more.
    HalfClosed,
    Closed,
}

impl WireEnd {
    /// Waits until the engine did something; once for many things.
    pub(super) async fn moved(&self) {
        self.0.moved.notified().await;
    }

    /// Takes what the engine wrote.
    pub(super) fn take(&self, into: &mut BytesMut) {
        let mut state = self.0.lock();
        if !state.outbound.is_empty() {
            into.unsplit(state.outbound.split());
            wake(state.writer.take());
        }
    }

    pub(super) fn wish(&self) -> Wish {
        let state = self.0.lock();
        match (state.gone, state.finished) {
            (true, _) => Wish::Closed,
            (false, true) => Wish::HalfClosed,
            (false, false) => Wish::Open,
        }
    }

    /// Whether the engine keeps up with what arrives.
    pub(super) fn has_room(&self) -> bool {
        self.0.lock().inbound_bytes < ROOM
    }

    pub(super) fn give(&self, bytes: Bytes) {
        let mut state = self.0.lock();
        state.inbound_bytes += bytes.len();
        state.inbound.push_back(bytes);
        wake(state.reader.take());
    }

    /// The peer has closed.
    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        state.ended = true;
        wake(state.reader.take());
    }

    /// The connection is broken: what arrived before is lost too, as after a reset.
    pub(super) fn break_off(&self, kind: ErrorKind) {
        let mut state = self.0.lock();
        state.broken = Some(kind);
        state.inbound.clear();
        state.inbound_bytes = 0;
        wake(state.reader.take());
        wake(state.writer.take());
    }
}

pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl AsyncRead for EngineEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if let Some(kind) = state.broken {
            return Poll::Ready(Err(kind.into()));
        }
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(front) = state.inbound.front_mut() else {
            if state.ended {
                return Poll::Ready(Ok(()));
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let count = front.len().min(buf.remaining());
        buf.put_slice(&front[..count]);
        front.advance(count);
        if front.is_empty() {
            state.inbound.pop_front();
        }
        let was_full = state.inbound_bytes >= ROOM;
        state.inbound_bytes -= count;
        if was_full && state.inbound_bytes < ROOM {
            self.0.moved.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EngineEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        if let Some(kind) = state.broken {
            return Poll::Ready(Err(kind.into()));
        }
        if state.finished {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let room = ROOM.saturating_sub(state.outbound.len());
        if room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = room.min(buf.len());
        state.outbound.extend_from_slice(&buf[..count]);
        self.0.moved.notify_one();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.lock().broken {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().finished = true;
        self.0.moved.notify_one();
        Poll::Ready(Ok(()))
    }
}

impl Drop for EngineEnd {
    fn drop(&mut self) {
        self.0.lock().gone = true;
        self.0.moved.notify_one();
    }
}
