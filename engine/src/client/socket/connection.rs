//! One connection: frames out, frames in, answers in the order of their requests.
//!
//! Its task opens it, too: a caller that is not polled for a while holds up nobody else who waits for it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::env::{Duplex, Env, Point};
use crate::wire::TransportError;

/// Where a connection leads, and its limits.
#[derive(Clone)]
pub struct Route {
    pub env: Env,
    pub address: String,
    pub connect_timeout: Duration,
    pub max_frame_bytes: usize,
}

/// A request on its way, and who waits for its answer.
pub struct Outgoing {
    pub frame: Bytes,
    pub correlation: i32,
    pub asked: Instant,
    /// For the answer, from when it was asked, or from when the connection was there.
    pub limit: Duration,
    pub answered: oneshot::Sender<Result<Bytes, TransportError>>,
}

/// A handle to a connection's task. The task ends when the connection breaks, or when all handles are gone and every
/// answer is in.
pub struct Connection {
    queue: mpsc::UnboundedSender<Outgoing>,
    in_flight: Arc<AtomicUsize>,
}

impl Connection {
    /// Starts the task that connects, and then drives the stream.
    pub fn open(route: Route) -> Connection {
        let (queue, incoming) = mpsc::unbounded_channel();
        let in_flight = Arc::new(AtomicUsize::new(0));
        let tasks = route.env.tasks();
        let driver = Driver { route, queue: incoming, waiting: VecDeque::new(), in_flight: Arc::clone(&in_flight) };
        tasks.spawn(Box::pin(driver.run()));
        Connection { queue, in_flight }
    }

    pub fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Requests whose answers are not in, and those about to be sent.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A handle for one request.
    pub fn reserve(&self) -> Connection {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Connection { queue: self.queue.clone(), in_flight: Arc::clone(&self.in_flight) }
    }

    /// Uses up a handle from [`Connection::reserve`]. On a broken connection the waiter learns by its channel.
    pub fn send(self, request: Outgoing) {
        drop(self.queue.send(request));
    }
}

struct Driver {
    route: Route,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    /// Sent, or being sent, oldest first.
    waiting: VecDeque<Waiting>,
    in_flight: Arc<AtomicUsize>,
}

struct Waiting {
    correlation: i32,
    deadline: Instant,
    limit: Duration,
    answered: oneshot::Sender<Result<Bytes, TransportError>>,
}

impl Driver {
    async fn run(mut self) {
        let (error, later) = match self.connect().await {
            // Nothing was sent: all learn the same.
            Err(refused) => (Some(refused.clone()), refused),
            Ok(stream) => {
                let error = self.converse(stream).await;
                let later = self.broken(error.as_ref().map_or("closed".to_owned(), ToString::to_string));
                (error, later)
            }
        };
        self.queue.close();
        if let Some(error) = error {
            // Of the oldest the reason is known; the others went down with it.
            let mut told = false;
            for waiting in self.waiting.drain(..) {
                let reason = if told { later.clone() } else { error.clone() };
                drop(waiting.answered.send(Err(reason)));
                told = true;
            }
            while let Ok(request) = self.queue.try_recv() {
                drop(request.answered.send(Err(later.clone())));
            }
        }
    }

    async fn connect(&self) -> Result<Box<dyn Duplex>, TransportError> {
        let Route { env, address, connect_timeout, .. } = &self.route;
        let refused = |reason: String| TransportError::Refused { address: address.clone(), reason };
        tokio::time::timeout(*connect_timeout, env.network().connect(address))
            .await
            .map_err(|_| refused(format!("no connection within {} ms", connect_timeout.as_millis())))?
            .map_err(|error| refused(error.to_string()))
    }

    /// Until the connection ends; `None` when nobody needs it any more.
    async fn converse(&mut self, stream: Box<dyn Duplex>) -> Option<TransportError> {
        let connected = Instant::now();
        let (mut read, mut write) = tokio::io::split(stream);
        let mut outgoing = Bytes::new();
        let mut incoming = BytesMut::new();
        let mut more = true;
        loop {
            if !more && self.waiting.is_empty() && outgoing.is_empty() {
                // The peer sees an orderly end; whether it does is no longer our concern.
                drop(write.shutdown().await);
                return None;
            }
            let deadline = self.waiting.front().map(|waiting| waiting.deadline);
            tokio::select! {
                biased;
                got = read.read_buf(&mut incoming) => match got {
                    Ok(0) => return Some(self.broken("the peer closed it".to_owned())),
                    Ok(_) => {
                        if let Err(error) = self.deliver(&mut incoming) {
                            return Some(error);
                        }
                    }
                    Err(error) => return Some(self.broken(error.to_string())),
                },
                sent = write_some(&mut write, &mut outgoing), if !outgoing.is_empty() => {
                    if let Err(error) = sent {
                        return Some(self.broken(error.to_string()));
                    }
                    if outgoing.is_empty() {
                        self.route.env.reach(Point::ClientSent).await;
                    }
                }
                request = self.queue.recv(), if more && outgoing.is_empty() => match request {
                    None => more = false,
                    // Nobody waits for it any more: sent now, it could overtake what its sender's successor does.
                    Some(request) if request.answered.is_closed() => drop(self.in_flight.fetch_sub(1, Ordering::Relaxed)),
                    Some(Outgoing { frame, correlation, asked, limit, answered }) => {
                        outgoing = frame;
                        let deadline = asked.max(connected) + limit;
                        self.waiting.push_back(Waiting { correlation, deadline, limit, answered });
                    }
                },
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    let ms = self.waiting.front().map_or(0, |waiting| waiting.limit.as_millis() as u64);
                    return Some(TransportError::Deadline { address: self.route.address.clone(), ms });
                }
            }
        }
    }

    /// Hands every whole frame of `incoming` to the oldest waiter.
    fn deliver(&mut self, incoming: &mut BytesMut) -> Result<(), TransportError> {
        loop {
            let Some(size) = incoming.first_chunk::<4>() else { return Ok(()) };
            let size = i32::from_be_bytes(*size);
            let fits = usize::try_from(size).ok().filter(|size| (4..=self.route.max_frame_bytes).contains(size));
            let Some(size) = fits else { return Err(self.malformed(format!("a frame of {size} bytes"))) };
            if incoming.len() < 4 + size {
                incoming.reserve(4 + size - incoming.len());
                return Ok(());
            }
            incoming.advance(4);
            let frame = incoming.split_to(size).freeze();
            let correlation = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
            match self.waiting.front() {
                Some(waiting) if waiting.correlation == correlation => {}
                Some(waiting) => {
                    let expected = waiting.correlation;
                    return Err(self.malformed(format!("answer {correlation} where {expected} was due")));
                }
                None => return Err(self.malformed(format!("answer {correlation} that nobody asked for"))),
            }
            let waiting = self.waiting.pop_front().expect("matched above");
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            // Nobody listens when the caller gave up.
            drop(waiting.answered.send(Ok(frame)));
        }
    }

    fn broken(&self, reason: String) -> TransportError {
        TransportError::Broken { address: self.route.address.clone(), reason }
    }

    fn malformed(&self, reason: String) -> TransportError {
        TransportError::Malformed { address: self.route.address.clone(), reason }
    }
}

/// Writes what the stream takes now. May be dropped while it waits: nothing is written then.
async fn write_some(write: &mut (impl AsyncWriteExt + Unpin), outgoing: &mut Bytes) -> io::Result<()> {
    if write.write_buf(outgoing).await? == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}
