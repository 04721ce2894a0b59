//! The way to a broker elsewhere: Kafka frames over connections of env's network.
//!
//! A broker answers each connection in order, so a long poll gets a connection that nobody else uses meanwhile, and other
//! calls spread over a few. Each connection is driven by one task of its own: a caller that gives up leaves whole frames
//! and a counted answer behind, never half a frame or an answer that the next caller would take for its own.
//!
//! Invariant: correlation ids are unique in a transport. An answer out of order ends its connection.
//! Invariant: every call ends by its deadline. A connection whose oldest call is past it is closed: in-order answers
//! would make all others wait too.

mod connection;

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use tokio::time::Instant;

use crate::env::{BoxFuture, Env};
use crate::wire::{Transport, TransportError, frame};
use connection::{Connection, Outgoing};

/// What we call ourselves in a request's header.
const CLIENT_ID: &str = "segno";

/// Limits of a [`SocketTransport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    pub connect_timeout: Duration,
    /// For an answer; a long poll adds what it asks the broker to wait.
    pub call_timeout: Duration,
    /// Connections that calls other than fetches share.
    pub connections: usize,
    pub max_frame_bytes: usize,
}

impl Default for SocketConfig {
    fn default() -> SocketConfig {
        SocketConfig {
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            connections: 8,
            max_frame_bytes: 128 << 20,
        }
    }
}

/// See the module.
pub struct SocketTransport {
    env: Env,
    address: String,
    config: SocketConfig,
    correlation: AtomicI32,
    lanes: Mutex<Lanes>,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Lanes {
    shared: Vec<Connection>,
    polls: Vec<Connection>,
}

impl Lanes {
    fn of(&mut self, poll: bool) -> &mut Vec<Connection> {
        if poll { &mut self.polls } else { &mut self.shared }
    }
}

impl SocketTransport {
    /// Connects when it is first called.
    pub fn new(env: Env, address: impl Into<String>, config: SocketConfig) -> SocketTransport {
        assert!(config.connections > 0, "calls need a connection");
        let address = address.into();
        SocketTransport {
            env,
            address,
            config,
            correlation: AtomicI32::new(1),
            lanes: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    async fn send(&self, api_version: i16, request: RequestKind) -> Result<ResponseKind, TransportError> {
        let Some(key) = frame::request_key(&request) else { panic!("not of our APIs: {request:?}") };
        let correlation = self.correlation.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let patience = match &request {
            RequestKind::Fetch(fetch) => Duration::from_millis(fetch.max_wait_ms.max(0) as u64),
            _ => Duration::ZERO,
        };
        let bytes = frame::encode_request(correlation, CLIENT_ID, api_version, &request)
            .map_err(|error| TransportError::Refused { address: self.address.clone(), reason: error.to_string() })?;
        drop(request);
        let connection = self.connection(key == ApiKey::Fetch).await?;
        let limit = self.config.call_timeout + patience;
        let (answered, answer) = tokio::sync::oneshot::channel();
        connection.send(Outgoing { frame: bytes, correlation, deadline: Instant::now() + limit, limit, answered });
        let broken = || TransportError::Broken { address: self.address.clone(), reason: "closed".to_owned() };
        let bytes = answer.await.map_err(|_| broken())??;
        match frame::decode_response(key, api_version, bytes) {
            Ok((_, response)) => Ok(response),
            Err(error) => Err(TransportError::Malformed { address: self.address.clone(), reason: error.to_string() }),
        }
    }

    /// An open connection, by preference one on which nothing is in flight.
    async fn connection(&self, poll: bool) -> Result<Connection, TransportError> {
        if let Some(connection) = self.pick(poll) {
            return Ok(connection);
        }
        let refused = |reason: String| TransportError::Refused { address: self.address.clone(), reason };
        let connecting = async {
            // One at a time, so that those who wait share what the first one opened; each poll has its own anyway.
            let _turn = if poll { None } else { Some(self.connecting.lock().await) };
            if let Some(connection) = self.pick(poll) {
                return Ok(connection);
            }
            let stream = self.env.network().connect(&self.address).await?;
            let connection = Connection::open(stream, self.address.clone(), self.config.max_frame_bytes);
            let reserved = connection.reserve();
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.of(poll).push(connection);
            Ok(reserved)
        };
        tokio::time::timeout(self.config.connect_timeout, connecting)
            .await
            .map_err(|_| refused(format!("no connection within {} ms", self.config.connect_timeout.as_millis())))?
            .map_err(|error: std::io::Error| refused(error.to_string()))
    }

    fn pick(&self, poll: bool) -> Option<Connection> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.of(poll);
        lane.retain(Connection::is_open);
        let full = !poll && lane.len() >= self.config.connections;
        let least = lane.iter().min_by_key(|connection| connection.in_flight())?;
        (least.in_flight() == 0 || full).then(|| least.reserve())
    }
}

impl Transport for SocketTransport {
    fn call(&self, api_version: i16, request: RequestKind) -> BoxFuture<'_, Result<ResponseKind, TransportError>> {
        Box::pin(self.send(api_version, request))
    }
}

#[cfg(test)]
mod tests;
