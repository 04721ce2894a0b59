//! Sockets: ports that listen, and connections between hosts.
//!
//! In: binds, connects, bytes. Out: the same bytes in order at the other end, at once: time, loss and delay are the
//! business of the wire above ([`super::wire`]). Always: the end of a process closes its connections, which its peers
//! read after what was sent before; the end of a machine's power tells nobody, and who still writes to it is reset once
//! the machine is back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first port that a bind to port 0 gets.
const FIRST_FREE: u16 = 49_152;

/// The ports and machines of a world. Cheap to clone; every clone is the same.
#[derive(Clone, Default)]
pub(super) struct Sockets(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    ports: BTreeMap<(Arc<str>, u16), Arc<Mutex<Backlog>>>,
    /// Machines without power.
    dark: BTreeSet<Arc<str>>,
    /// Connections on which a side has sent something to such a machine.
    unanswered: Vec<(Arc<Connection>, usize)>,
}

/// Connections that nobody has accepted yet.
#[derive(Default)]
struct Backlog {
    waiting: VecDeque<TcpStream>,
    acceptor: Option<Waker>,
}

impl Sockets {
    /// The machine has no power, or has it again; then it answers what was sent to its former self: it knows of no such
    /// connection.
    pub(super) fn power(&self, host: &str, on: bool) {
        let mut state = self.lock();
        if !on {
            state.dark.insert(host.into());
            return;
        }
        state.dark.remove(host);
        let to_host = |(connection, side): &mut (Arc<Connection>, usize)| *connection.hosts[1 - *side] == *host;
        let answered: Vec<_> = state.unanswered.extract_if(.., to_host).collect();
        drop(state);
        for (connection, side) in answered {
            let lane = &mut locked(&connection.lanes)[1 - side];
            lane.reset = true;
            wake(&mut lane.reader);
        }
    }

    fn is_dark(&self, host: &str) -> bool {
        self.lock().dark.contains(host)
    }

    /// Listens on a port of `host`; 0 picks a free one.
    pub(super) fn bind(&self, host: &Arc<str>, port: u16) -> io::Result<TcpListener> {
        let mut state = self.lock();
        let is_free = |port: &u16| !state.ports.contains_key(&(host.clone(), *port));
        let port = match port {
            0 => (FIRST_FREE..=u16::MAX).find(is_free),
            port => Some(port).filter(is_free),
        };
        let Some(port) = port else { return Err(ErrorKind::AddrInUse.into()) };
        let backlog = Arc::<Mutex<Backlog>>::default();
        state.ports.insert((host.clone(), port), backlog.clone());
        Ok(TcpListener { sockets: self.clone(), host: host.clone(), port, backlog })
    }

    /// A connection from `from` to a port of `to`.
    pub(super) fn connect(&self, from: &Arc<str>, to: &Arc<str>, port: u16) -> io::Result<TcpStream> {
        let Some(backlog) = self.lock().ports.get(&(to.clone(), port)).cloned() else {
            return Err(io::Error::new(ErrorKind::ConnectionRefused, format!("{to}:{port}: connection refused")));
        };
        let connection = Arc::new(Connection { hosts: [from.clone(), to.clone()], lanes: Mutex::default() });
        let [near, far] = [0, 1].map(|side| TcpStream { sockets: self.clone(), connection: connection.clone(), side });
        let mut backlog = locked(&backlog);
        backlog.waiting.push_back(far);
        wake(&mut backlog.acceptor);
        Ok(near)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.0)
    }
}

/// A port that listens, until it is dropped.
pub(super) struct TcpListener {
    sockets: Sockets,
    host: Arc<str>,
    port: u16,
    backlog: Arc<Mutex<Backlog>>,
}

impl TcpListener {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The next connection. Dropping the future loses none.
    pub(super) async fn accept(&self) -> TcpStream {
        std::future::poll_fn(|cx| {
            let mut backlog = locked(&self.backlog);
            match backlog.waiting.pop_front() {
                Some(stream) => Poll::Ready(stream),
                None => {
                    backlog.acceptor = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.sockets.lock().ports.remove(&(self.host.clone(), self.port));
        // Nobody will accept them: they are closed, and not under the lock.
        let waiting = std::mem::take(&mut locked(&self.backlog).waiting);
        drop(waiting);
    }
}

struct Connection {
    /// Who opened it, and who accepted it.
    hosts: [Arc<str>; 2],
    /// What each side wrote.
    lanes: Mutex<[Lane; 2]>,
}

/// One direction of a connection.
#[derive(Default)]
struct Lane {
    bytes: BytesMut,
    /// No more will be written.
    finished: bool,
    /// The connection is broken, and what is unread is lost.
    reset: bool,
    reader_gone: Option<Gone>,
    reader: Option<Waker>,
}

/// How a reader went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gone {
    /// It closed.
    Closed,
    /// Its machine lost its power.
    Dark,
}

/// One end of a connection.
pub(super) struct TcpStream {
    sockets: Sockets,
    connection: Arc<Connection>,
    side: usize,
}

impl TcpStream {
    /// Sends `bytes`.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let peer_is_dark = self.sockets.is_dark(&self.connection.hosts[1 - self.side]);
        let mut lanes = locked(&self.connection.lanes);
        if lanes[1 - self.side].reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let lane = &mut lanes[self.side];
        match lane.reader_gone {
            _ if lane.finished => return Err(ErrorKind::BrokenPipe.into()),
            // Nobody answers yet, not even to say that nobody is there.
            Some(Gone::Dark) if peer_is_dark => {
                drop(lanes);
                self.sockets.lock().unanswered.push((self.connection.clone(), self.side));
                return Ok(());
            }
            Some(Gone::Dark | Gone::Closed) => {
                lanes[1 - self.side].reset = true;
                return Err(ErrorKind::ConnectionReset.into());
            }
            None => {}
        }
        lane.bytes.extend_from_slice(bytes);
        wake(&mut lane.reader);
        Ok(())
    }

    /// Sends no more.
    pub(super) fn finish(&mut self) {
        let mut lanes = locked(&self.connection.lanes);
        lanes[self.side].finished = true;
        wake(&mut lanes[self.side].reader);
    }

    /// Everything that has arrived, once there is something: so many bytes, 0 at the end.
    pub(super) async fn receive(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            self.poll_lane(cx, |bytes| {
                let all = bytes.len();
                into.unsplit(bytes.split());
                all
            })
        })
        .await
    }

    fn poll_lane(&self, cx: &Context<'_>, take: impl FnOnce(&mut BytesMut) -> usize) -> Poll<io::Result<usize>> {
        let mut lanes = locked(&self.connection.lanes);
        let lane = &mut lanes[1 - self.side];
        if lane.reset {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        if !lane.bytes.is_empty() {
            return Poll::Ready(Ok(take(&mut lane.bytes)));
        }
        if lane.finished {
            return Poll::Ready(Ok(0));
        }
        lane.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.poll_lane(cx, |bytes| {
            let some = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..some]);
            bytes.advance(some);
            some
        });
        read.map_ok(|_| ())
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.send(bytes).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        let dark = self.sockets.is_dark(&self.connection.hosts[self.side]);
        let mut lanes = locked(&self.connection.lanes);
        lanes[1 - self.side].reader_gone = Some(if dark { Gone::Dark } else { Gone::Closed });
        if !dark {
            lanes[self.side].finished = true;
            wake(&mut lanes[self.side].reader);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
