//! A host's network: connections like TCP's, with faults that know where a request begins and ends.
//!
//! In: the calls of [`engine::env::Network`]; the rules of the world. Out: connections on which requests are delayed,
//! duplicated or lose their replies. Always: the sockets below lose nothing and take no time; all waiting is here, in a
//! task under each connection of the side that opened it.

mod courier;
mod frame;
mod pipe;
mod rules;
mod tcp;
mod wire;

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use engine::env::{BoxFuture, Duplex, Listener, Network};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use courier::COURIER;
pub(crate) use rules::Reach;
pub use rules::{FrameFault, Latency, NetRules, Which};

use crate::clock::virtual_ms;
use crate::effects::{Effects, FaultId};
use crate::gate::Gate;
use crate::trace::Kind;
use tcp::TcpListener;

/// The network as one incarnation of a host uses it.
pub struct SimNetwork {
    host: Arc<str>,
    rules: NetRules,
    gate: Gate,
}

impl SimNetwork {
    pub fn new(host: &str, rules: NetRules, gate: Gate) -> SimNetwork {
        SimNetwork { host: host.into(), rules, gate }
    }

    async fn connect_to(&self, address: &str) -> io::Result<Box<dyn Duplex>> {
        let (to, port) = host_and_port(address)?;
        let to: Arc<str> = to.into();
        let stream = loop {
            self.reachable(&to).await?;
            match self.rules.0.sockets.connect(&self.host, &to, port) {
                // The power went while the handshake was under way: nobody refuses it.
                Err(_) if self.rules.reach(&to) == Reach::Silent => {}
                connected => break connected?,
            }
        };
        self.rules.0.trace.record(&self.host, Kind::Connect, address, &[]);
        let (engine, end) = pipe::pipe();
        let wire = wire::Wire::new(self.rules.clone(), &self.host, &to, address, end);
        tokio::task::spawn_local(wire.carry(stream));
        Ok(Box::new(Gated::new(engine, self.gate.clone())))
    }

    /// Waits until a handshake with `to` can succeed.
    async fn reachable(&self, to: &str) -> io::Result<()> {
        let mut waits = Waits { effects: &self.rules.0.effects, held_by: Vec::new() };
        loop {
            let changed = self.rules.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let mut blocks = self.rules.blocks(&self.host, to);
            blocks.extend(self.rules.blocks(to, &self.host));
            if !blocks.is_empty() {
                blocks.iter().for_each(|id| self.rules.0.effects.effective(*id));
                waits.held_by = blocks;
                changed.await;
                continue;
            }
            waits.held_by.clear();
            match self.rules.reach(to) {
                Reach::Up => break,
                Reach::Refusing => {
                    self.travel(to).await;
                    return Err(io::Error::new(ErrorKind::ConnectionRefused, format!("{to}: connection refused")));
                }
                Reach::Silent => changed.await,
            }
        }
        self.travel(to).await;
        Ok(())
    }
}

impl SimNetwork {
    /// The time of a handshake's packet.
    async fn travel(&self, to: &str) {
        let time = self.rules.latency(&self.host, to, 0).time;
        tokio::time::sleep_until(self.rules.arrival(time)).await;
    }
}

/// A caller that gives up while a fault holds it back has seen the fault.
struct Waits<'a> {
    effects: &'a Effects,
    held_by: Vec<FaultId>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.held_by.iter().for_each(|id| self.effects.visible(*id));
    }
}

fn host_and_port(address: &str) -> io::Result<(&str, u16)> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, format!("`{address}` is not host:port")))
}

impl Network for SimNetwork {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Duplex>>> {
        Box::pin(self.gate.hold(self.connect_to(address)))
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(self.gate.hold(async move {
            let (host, port) = host_and_port(address)?;
            // A host has one address, whatever it is called.
            let listener = self.rules.0.sockets.bind(&self.host, port)?;
            let host = if host == "0.0.0.0" { &*self.host } else { host };
            let local = format!("{host}:{}", listener.port());
            Ok(Box::new(Port { listener, local, gate: self.gate.clone() }) as Box<dyn Listener>)
        }))
    }
}

struct Port {
    listener: TcpListener,
    local: String,
    gate: Gate,
}

impl Listener for Port {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Duplex>>> {
        Box::pin(self.gate.hold(async move {
            let stream = self.listener.accept().await;
            Ok(Box::new(Gated::new(stream, self.gate.clone())) as Box<dyn Duplex>)
        }))
    }

    fn local_address(&self) -> String {
        self.local.clone()
    }
}

/// A stream that stands still while its host is frozen, its close included.
struct Gated<S: Send + 'static> {
    /// Taken by the drop alone.
    stream: Option<S>,
    gate: Gate,
}

impl<S: Send + Unpin + 'static> Gated<S> {
    fn new(stream: S, gate: Gate) -> Gated<S> {
        Gated { stream: Some(stream), gate }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Pin<&mut S>> {
        ready!(self.gate.poll_open(cx));
        Poll::Ready(Pin::new(self.stream.as_mut().expect("the stream stays until the drop")))
    }
}

impl<S: AsyncRead + Send + Unpin + 'static> AsyncRead for Gated<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx)).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Send + Unpin + 'static> AsyncWrite for Gated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx)).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx)).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx)).poll_shutdown(cx)
    }
}

impl<S: Send + 'static> Drop for Gated<S> {
    fn drop(&mut self) {
        if !self.gate.is_frozen() {
            return;
        }
        // A host that stands still closes nothing. When it is torn down its tasks end at once, and its kernel closes for it.
        if let (true, Some(stream)) = (virtual_ms().is_some(), self.stream.take()) {
            let gate = self.gate.clone();
            tokio::task::spawn_local(async move {
                gate.open().await;
                drop(stream);
            });
        }
    }
}

#[cfg(test)]
mod tests;
