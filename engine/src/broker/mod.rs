//! A broker: Kafka requests against the logs of this process.
//!
//! What decides is synchronous and does no I/O: [`coordinator`] (transactions), [`offsets`] (what groups have committed),
//! [`topics`], and the log's own state. Around them stands a thin shell that appends what they decide and waits until it
//! is durable: [`produce`], [`fetch`], [`transactions`], [`committed`], [`deletion`], [`cluster`], all entered through [`dispatch`],
//! from a [`connection`] or from this process. [`recovery`] builds the state from the logs, and [`rewrite`] keeps the
//! logs as short as the state allows.
//!
//! Invariant: nothing is acknowledged before it is durable, and no decision is acted on before it is.
//! Invariant: after a failed write or sync every call fails and [`Broker::failed`] resolves.

mod cluster;
mod codec;
mod committed;
mod config;
mod connection;
mod coordinator;
mod deletion;
mod dispatch;
mod error;
mod fetch;
mod life;
mod offsets;
mod produce;
mod recovery;
mod rewrite;
mod shared;
mod topics;
mod transactions;

use std::sync::Arc;

use kafka_protocol::messages::{RequestKind, ResponseKind};

pub use config::BrokerConfig;
pub use error::BrokerError;

use crate::env::{BoxFuture, Env, Listener};
use crate::log::{Log, Retention};
use crate::types::{Offset, TopicPartition};
use crate::wire::{Transport, TransportError, api, frame};
use shared::{Shared, chain, locked};

/// A running broker; a handle, cheap to clone, usable from any runtime.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

/// A port that is bound and not yet served.
pub struct Bound {
    shared: Arc<Shared>,
    listener: Box<dyn Listener>,
}

impl Broker {
    /// Locks the data directory, recovers its logs and transactions, and begins to write. Its tasks live on the runtime
    /// that this is called on.
    pub async fn start(env: Env, config: BrokerConfig) -> Result<Broker, BrokerError> {
        if !config.advertised.is_empty() && split_address(&config.advertised).is_none() {
            return Err(BrokerError::Address { address: config.advertised });
        }
        let shared = recovery::recover(env, config).await?;
        shared.tasks.spawn(Box::pin(transactions::run_timeouts(shared.clone())));
        Ok(Broker { shared })
    }

    /// Listens on `address` and answers until [`Broker::stop`].
    pub async fn serve(&self, address: &str) -> Result<(), BrokerError> {
        self.bind(address).await?.serve().await
    }

    /// Listens on `address`; port 0 picks a free one.
    pub async fn bind(&self, address: &str) -> Result<Bound, BrokerError> {
        let bound = self.shared.env.network().bind(address).await;
        let listener =
            bound.map_err(|error| BrokerError::Listen { address: address.to_owned(), source: Arc::new(error) })?;
        let local = listener.local_address();
        if split_address(&local).is_none() {
            return Err(BrokerError::Address { address: local });
        }
        *locked(&self.shared.address) = Some(local);
        Ok(Bound { shared: self.shared.clone(), listener })
    }

    /// The way in from this process: the same entry point, no encoding.
    pub fn local(&self) -> Arc<dyn Transport> {
        Arc::new(Local { shared: self.shared.clone() })
    }

    /// Ends every call and connection, then writes and syncs what is queued, and gives up the data directory.
    pub async fn stop(&self) {
        let shared = &self.shared;
        shared.life.end(BrokerError::Stopped);
        // No topic is made while the logs are closed.
        let _turn = shared.creating.lock().await;
        let logs: Vec<Log> = shared.topics().iter().flat_map(|(_, logs)| logs.iter().cloned()).collect();
        for log in &logs {
            log.close().await;
        }
        let lock = locked(&shared.lock).take();
        drop(lock);
    }

    /// What a DeleteRecords request does: deletes the records of `partition` below `offset`, durably; of those that are
    /// stable, so at most up to the last stable offset. Answers where the log starts now; `None` when there is no such
    /// partition.
    ///
    /// # Errors
    /// When the log cannot say whether its start has moved: the broker ends.
    pub async fn delete_records(
        &self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<Option<Offset>, BrokerError> {
        let Some(log) = self.shared.topics().log(&partition.topic, partition.partition) else { return Ok(None) };
        deletion::delete_below(&self.shared, &log, offset).await.map(Some)
    }

    /// Deletes what `keep` does not ask to keep of `partition`, whole segments at a time; answers where the log starts now,
    /// `None` when there is no such partition.
    ///
    /// # Errors
    /// As [`Broker::delete_records`].
    pub async fn retain(&self, partition: &TopicPartition, keep: Retention) -> Result<Option<Offset>, BrokerError> {
        let Some(log) = self.shared.topics().log(&partition.topic, partition.partition) else { return Ok(None) };
        let below = log.retained_from(keep);
        deletion::delete_below(&self.shared, &log, below).await.map(Some)
    }

    /// Resolves when a write or sync failed: what is durable is unknown, and the process must end. For ever pending
    /// after [`Broker::stop`].
    pub async fn failed(&self) -> BrokerError {
        match self.shared.life.ended().await {
            BrokerError::Stopped => std::future::pending().await,
            error => error,
        }
    }
}

impl Bound {
    /// The bound `host:port`.
    pub fn address(&self) -> String {
        self.listener.local_address()
    }

    /// Answers until [`Broker::stop`], or until the broker fails.
    pub async fn serve(self) -> Result<(), BrokerError> {
        let mut number = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                error = self.shared.life.ended() => {
                    return if matches!(error, BrokerError::Stopped) { Ok(()) } else { Err(error) };
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) => {
                    number += 1;
                    self.shared.tasks.spawn(Box::pin(connection::serve(self.shared.clone(), stream, number)));
                }
                Err(error) => {
                    // Out of descriptors, or a connection that was gone at once: the port is still there.
                    self.shared.env.log(format_args!("accept failed: {}", chain(&error)));
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

struct Local {
    shared: Arc<Shared>,
}

impl Local {
    async fn answer(&self, api_version: i16, request: RequestKind) -> Result<ResponseKind, TransportError> {
        let address = "the broker in this process";
        let refused = |reason: String| TransportError::Refused { address: address.to_owned(), reason };
        let range = frame::request_key(&request).and_then(api::lookup);
        if !range.is_some_and(|range| (range.min..=range.max).contains(&api_version)) {
            return Err(refused(format!("version {api_version} of this request is not spoken here")));
        }
        if let Some(reason) = self.shared.life.reason() {
            return Err(refused(chain(&reason)));
        }
        let answered = tokio::select! {
            biased;
            reason = self.shared.life.ended() => Err(reason),
            answered = dispatch::answer(&self.shared, api_version, request) => answered,
        };
        answered.map_err(|reason| TransportError::Broken { address: address.to_owned(), reason: chain(&reason) })
    }
}

impl Transport for Local {
    fn call(&self, api_version: i16, request: RequestKind) -> BoxFuture<'_, Result<ResponseKind, TransportError>> {
        Box::pin(self.answer(api_version, request))
    }
}

/// `host:port`.
fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}
