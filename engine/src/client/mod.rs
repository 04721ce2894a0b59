//! The client: one, pure Rust, over a [`Transport`], be it a socket or the broker in this process.
//!
//! In: calls in the engine's words. Out: what the broker answered, or a [`ClientError`] that names what was tried. Every
//! call ends within [`ClientConfig::retry_for`]; every request may safely arrive twice.
//!
//! - [`Client`]: topics, offsets, fetches. Cheap to clone.
//! - [`Producer`]: idempotent writes. [`TransactionalProducer`]: the same, all or nothing, fenced by its name.
//! - [`Consumer`]: reads many partitions, never moves back, skips no gap.
//! - [`SocketTransport`]: the way to a broker elsewhere.
//! - [`Witness`]: is told what a client's readers take, if somebody looks on.

mod admin;
mod committed;
mod consumer;
mod error;
mod fetch;
mod producer;
mod retry;
mod socket;
mod transaction;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{RequestKind, ResponseKind};

pub use admin::{ListedOffset, OffsetSpec, partition_for_key};
pub use committed::{Committed, for_each_committed};
pub use consumer::{Consumer, Polled};
pub use error::ClientError;
pub use fetch::{Aborted, Fetched, Isolation};
pub use producer::Producer;
pub use socket::{SocketConfig, SocketTransport};
pub use transaction::{Sealed, TransactionalProducer};
pub use witness::{Taken, Witness};

use crate::env::{Env, Point};
use crate::wire::{Transport, api, frame};
use retry::{About, Failure, Tries};

/// How long to wait, and how often to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// For the answer to one request; a long poll adds what it asks the broker to wait.
    pub request_timeout: Duration,
    /// Before the second try; doubles from then on.
    pub retry_backoff: Duration,
    pub retry_backoff_max: Duration,
    /// For a call as a whole, over all its tries.
    pub retry_for: Duration,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            request_timeout: Duration::from_secs(10),
            retry_backoff: Duration::from_millis(20),
            retry_backoff_max: Duration::from_secs(1),
            retry_for: Duration::from_secs(60),
        }
    }
}

/// A way to talk to the broker; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    transport: Arc<dyn Transport>,
    config: ClientConfig,
    /// `None` in production.
    witness: Option<Arc<dyn Witness>>,
}

impl Client {
    pub fn new(env: Env, transport: Arc<dyn Transport>, config: ClientConfig) -> Client {
        assert!(config.retry_backoff > Duration::ZERO, "a backoff of zero would spin");
        Client { inner: Arc::new(Inner { env, transport, config, witness: None }) }
    }

    /// The same client, while `witness` looks on.
    #[must_use]
    pub fn witnessed(&self, witness: Arc<dyn Witness>) -> Client {
        let Inner { env, transport, config, witness: _ } = &*self.inner;
        let (env, transport, config) = (env.clone(), transport.clone(), config.clone());
        Client { inner: Arc::new(Inner { env, transport, config, witness: Some(witness) }) }
    }

    /// Who looks on.
    pub(crate) fn witness(&self) -> Option<&dyn Witness> {
        self.inner.witness.as_deref()
    }

    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// One try. `patience` is what the request itself asks the broker to wait.
    pub(crate) async fn attempt(&self, request: RequestKind, patience: Duration) -> Result<ResponseKind, Failure> {
        let Some(key) = frame::request_key(&request) else { panic!("not of our APIs: {request:?}") };
        let version = api::latest(key);
        mutant!("yields-more-often", {}, tokio::task::yield_now().await);
        self.inner.env.reach(Point::ClientBeforeSend).await;
        let limit = self.inner.config.request_timeout + patience;
        let answer = tokio::time::timeout(limit, self.inner.transport.call(version, request)).await;
        let answer = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Failure::Again(error.to_string())),
            Err(_) => return Err(Failure::Again(format!("no answer within {} ms", limit.as_millis()))),
        };
        self.inner.env.reach(Point::ClientReplied).await;
        Ok(answer)
    }

    /// Tries until `read` makes sense of an answer, a failure is final, or time is up.
    pub(crate) async fn exchange<T>(
        &self,
        about: About<'_>,
        transactional_id: Option<&str>,
        patience: Duration,
        request: RequestKind,
        mut read: impl FnMut(ResponseKind) -> Result<T, Failure>,
    ) -> Result<T, ClientError> {
        let mut tries = Tries::new(self, about);
        loop {
            let failure = match self.attempt(request.clone(), patience).await.and_then(&mut read) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            tries.failed(failure, transactional_id).await?;
        }
    }
}

/// The answer was of another kind than the question.
pub(crate) fn misfit(about: About<'_>, response: &ResponseKind) -> Failure {
    let reason = match frame::response_key(response) {
        Some(key) => format!("it is a {key:?} response"),
        None => "it is not of our APIs".to_owned(),
    };
    Failure::Final(ClientError::Malformed { about: about.to_string(), reason })
}

/// The answer lacks something that it must have.
pub(crate) fn lacks(about: About<'_>, what: &str) -> Failure {
    Failure::Final(ClientError::Malformed { about: about.to_string(), reason: format!("it lacks {what}") })
}

#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;
