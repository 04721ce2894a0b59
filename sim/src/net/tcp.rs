//! Sockets: ports that listen, and connections between hosts.
//!
//! In: binds, connects, bytes. Out: the same bytes in order at the other end, at once: time, loss and delay are the
//! business of the wire above ([`super::wire`]). Always: the end of a process closes its connections, which its peers
//! read after what was sent before; the end of a machine's power tells nobody, and who still writes to it is reset once
//! the machine is back.
//!
//! Unlike TCP: a write to a peer that has closed fails at once, not the one after it; a close with unread input takes
//! nothing from the peer (a lost reply is a fault of the wire); buffers have no bound here, but in the engine's end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pipe::wake;

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
            wake(lane.reader.take());
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
        wake(backlog.acceptor.take());
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
                wake(lanes[1 - self.side].reader.take());
                return Err(ErrorKind::ConnectionReset.into());
            }
            None => {}
        }
        lane.bytes.extend_from_slice(bytes);
        wake(lane.reader.take());
        Ok(())
    }

    /// Sends no more.
    pub(super) fn finish(&mut self) {
        let mut lanes = locked(&self.connection.lanes);
        lanes[self.side].finished = true;
        wake(lanes[self.side].reader.take());
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
            wake(lanes[self.side].reader.take());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn names() -> [Arc<str>; 2] {
        ["client".into(), "server".into()]
    }

    async fn pair(sockets: &Sockets) -> (TcpStream, TcpStream, TcpListener) {
        let [client, server] = names();
        let listener = sockets.bind(&server, 7).expect("it is free");
        let near = sockets.connect(&client, &server, 7).expect("it listens");
        let far = listener.accept().await;
        (near, far, listener)
    }

    async fn rest(stream: &mut TcpStream) -> io::Result<String> {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.map(|_| text)
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_each_way_ends_by_itself() {
        let (mut near, mut far, _listener) = pair(&Sockets::default()).await;
        near.write_all(b"question").await.expect("written");
        near.shutdown().await.expect("shut");
        assert_eq!(near.send(b"more").expect_err("it is shut").kind(), ErrorKind::BrokenPipe);
        assert_eq!(rest(&mut far).await.expect("read"), "question");
        far.write_all(b"answer").await.expect("this way is open");
        drop(far);
        assert_eq!(rest(&mut near).await.expect("what was sent before the close"), "answer");
        assert_eq!(rest(&mut near).await.expect("the end stays"), "");
    }

    #[tokio::test]
    async fn who_writes_to_a_peer_that_has_closed_is_reset_and_so_is_who_reads_beside() {
        let (mut near, far, _listener) = pair(&Sockets::default()).await;
        drop(far);
        assert_eq!(near.send(b"x").expect_err("nobody reads").kind(), ErrorKind::ConnectionReset);
        assert_eq!(rest(&mut near).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_port_is_refused_taken_free_again_and_takes_its_backlog_with_it() {
        let (sockets, [client, server]) = (Sockets::default(), names());
        assert_eq!(sockets.connect(&client, &server, 7).err().expect("refused").kind(), ErrorKind::ConnectionRefused);
        let listener = sockets.bind(&server, 7).expect("it is free");
        assert_eq!(sockets.bind(&server, 7).err().expect("taken").kind(), ErrorKind::AddrInUse);
        assert!(sockets.bind(&client, 7).is_ok(), "another host has ports of its own");
        let mut waiting = sockets.connect(&client, &server, 7).expect("it listens");
        drop(listener);
        assert_eq!(rest(&mut waiting).await.expect("closed"), "");
        assert!(sockets.bind(&server, 7).is_ok());
        let (one, two) = (sockets.bind(&server, 0).expect("free"), sockets.bind(&server, 0).expect("free"));
        assert_ne!(one.port(), two.port());
    }

    #[tokio::test]
    async fn a_machine_without_power_says_nothing_and_resets_what_was_sent_to_it_once_it_is_back() {
        let sockets = Sockets::default();
        let (mut asks, far, listener) = pair(&sockets).await;
        let mut waits = sockets.connect(&names()[0], &names()[1], 7).expect("it listens");
        sockets.power("server", false);
        drop((far, listener));
        assert!(asks.send(b"are you there?").is_ok(), "nobody says that nobody is there");
        for stream in [&mut asks, &mut waits] {
            assert!(tokio::time::timeout(std::time::Duration::from_millis(5), rest(stream)).await.is_err(), "silence");
        }
        sockets.power("server", true);
        assert_eq!(rest(&mut asks).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        let still = tokio::time::timeout(std::time::Duration::from_millis(5), rest(&mut waits)).await;
        assert!(still.is_err(), "who has sent nothing hears nothing");
        assert_eq!(waits.send(b"and now?").expect_err("reset").kind(), ErrorKind::ConnectionReset);
    }
}
