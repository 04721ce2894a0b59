//! The way to a broker elsewhere: Kafka frames over connections of env's network.
//!
//! A broker answers each connection in order, so a long poll gets a connection that nobody else uses meanwhile, and other
//! calls spread over a few. Each connection is driven by one task of its own: a caller that gives up leaves whole frames
//! and a counted answer behind, never half a frame or an answer that the next caller would take for its own.
//!
//! Invariant: correlation ids are unique in a transport. An answer out of order ends its connection.
//! Invariant: every call ends by its deadline; the time until its connection is there is limited by itself. A connection whose oldest call is past it is closed: in-order answers
//! would make all others wait too.

mod connection;

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use tokio::time::Instant;

use crate::env::{BoxFuture, Env};
use crate::wire::{Transport, TransportError, frame};
use connection::{Connection, Outgoing, Route};

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
    route: Route,
    config: SocketConfig,
    correlation: AtomicI32,
    lanes: Mutex<Lanes>,
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
        let SocketConfig { connect_timeout, max_frame_bytes, .. } = config;
        let route = Route { env, address: address.into(), connect_timeout, max_frame_bytes };
        SocketTransport { route, config, correlation: AtomicI32::new(1), lanes: Mutex::default() }
    }

    async fn send(&self, api_version: i16, request: RequestKind) -> Result<ResponseKind, TransportError> {
        let Some(key) = frame::request_key(&request) else { panic!("not of our APIs: {request:?}") };
        let correlation = self.correlation.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let patience = match &request {
            RequestKind::Fetch(fetch) => Duration::from_millis(fetch.max_wait_ms.max(0) as u64),
            _ => Duration::ZERO,
        };
        let bytes = frame::encode_request(correlation, CLIENT_ID, api_version, &request).map_err(|error| {
            TransportError::Refused { address: self.route.address.clone(), reason: error.to_string() }
        })?;
        drop(request);
        let limit = self.config.call_timeout + patience;
        let (answered, answer) = tokio::sync::oneshot::channel();
        let request = Outgoing { frame: bytes, correlation, asked: Instant::now(), limit, answered };
        self.connection(key == ApiKey::Fetch).send(request);
        let broken = || TransportError::Broken { address: self.route.address.clone(), reason: "closed".to_owned() };
        let bytes = answer.await.map_err(|_| broken())??;
        match frame::decode_response(key, api_version, bytes) {
            Ok((_, response)) => Ok(response),
            Err(error) => {
                Err(TransportError::Malformed { address: self.route.address.clone(), reason: error.to_string() })
            }
        }
    }

    /// A connection on which nothing is in flight: an open one, or a new one while there may be more; else the one with
    /// the least in flight. A poll always gets one to itself.
    fn connection(&self, poll: bool) -> Connection {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.of(poll);
        lane.retain(Connection::is_open);
        let full = !poll && lane.len() >= self.config.connections;
        let least = lane.iter().min_by_key(|connection| connection.in_flight());
        if let Some(connection) = least.filter(|connection| full || connection.in_flight() == 0) {
            return connection.reserve();
        }
        let connection = Connection::open(self.route.clone());
        let reserved = connection.reserve();
        lane.push(connection);
        reserved
    }
}

impl Transport for SocketTransport {
    fn call(&self, api_version: i16, request: RequestKind) -> BoxFuture<'_, Result<ResponseKind, TransportError>> {
        Box::pin(self.send(api_version, request))
    }
}

#[cfg(test)]
mod tests;
