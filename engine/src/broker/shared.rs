//! What all requests share: the topics, the coordinator, the committed offsets, and the logs under them.
//!
//! The parts that decide are synchronous ([`Coordinator`], [`Offsets`], [`Topics`]), each behind a mutex that is never
//! held across an await. What they decide is appended to their log under the same mutex, so that the log has the order of
//! the decisions.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::coordinator::{Coordinator, Records};
use super::life::Life;
use super::offsets::Offsets;
use super::topics::Topics;
use super::{BrokerConfig, BrokerError};
use crate::env::{Env, LockGuard, Tasks};
use crate::log::{AppendError, Appended, Log, LogError};
use crate::record::{BatchBuilder, Compression, ProducerStamp};

/// Serialises the writes of one transactional id up to their append, in the order of their arrival. Holds the last record
/// that made partitions part of the transaction: whoever comes next waits for it, too, in case its writer went away.
pub type Gate = Arc<tokio::sync::Mutex<Option<Appended>>>;

pub struct Shared {
    pub env: Env,
    pub config: BrokerConfig,
    /// Where the broker's own tasks live, whoever calls.
    pub tasks: Arc<dyn Tasks>,
    pub life: Life,
    started: Instant,
    topics: Mutex<Topics>,
    /// Creating topics, one request at a time.
    pub creating: tokio::sync::Mutex<()>,
    coordinator: Mutex<Coordinator>,
    offsets: Mutex<Offsets>,
    gates: Mutex<BTreeMap<Arc<str>, Gate>>,
    pub metadata_log: Log,
    pub txn_log: Log,
    pub offsets_log: Log,
    /// A transaction was begun: the next time-out may be earlier.
    pub deadlines: Notify,
    pub address: Mutex<Option<String>>,
    pub lock: Mutex<Option<Box<dyn LockGuard>>>,
}

/// The logs of the internal topics, the lock, and what was read from them.
pub struct Parts {
    pub topics: Topics,
    pub coordinator: Coordinator,
    pub offsets: Offsets,
    pub metadata_log: Log,
    pub txn_log: Log,
    pub offsets_log: Log,
    pub lock: Box<dyn LockGuard>,
}

impl Shared {
    pub fn new(env: Env, config: BrokerConfig, parts: Parts) -> Shared {
        Shared {
            tasks: env.tasks(),
            env,
            config,
            life: Life::new(),
            started: Instant::now(),
            topics: Mutex::new(parts.topics),
            creating: tokio::sync::Mutex::new(()),
            coordinator: Mutex::new(parts.coordinator),
            offsets: Mutex::new(parts.offsets),
            gates: Mutex::default(),
            metadata_log: parts.metadata_log,
            txn_log: parts.txn_log,
            offsets_log: parts.offsets_log,
            deadlines: Notify::new(),
            address: Mutex::new(None),
            lock: Mutex::new(Some(parts.lock)),
        }
    }

    pub fn topics(&self) -> MutexGuard<'_, Topics> {
        locked(&self.topics)
    }

    pub fn coordinator(&self) -> MutexGuard<'_, Coordinator> {
        locked(&self.coordinator)
    }

    pub fn offsets(&self) -> MutexGuard<'_, Offsets> {
        locked(&self.offsets)
    }

    pub fn gate(&self, transactional_id: &str) -> Gate {
        let mut gates = locked(&self.gates);
        match gates.get(transactional_id) {
            Some(gate) => gate.clone(),
            None => gates.entry(Arc::from(transactional_id)).or_default().clone(),
        }
    }

    /// Milliseconds since the start: the coordinator's time.
    pub fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment that is `elapsed` ms after the start.
    pub fn at(&self, elapsed: u64) -> Instant {
        self.started + std::time::Duration::from_millis(elapsed)
    }

    /// The `host:port` that clients are sent to.
    pub fn advertised(&self) -> String {
        if !self.config.advertised.is_empty() {
            return self.config.advertised.clone();
        }
        locked(&self.address).clone().unwrap_or_else(|| "localhost:9092".to_owned())
    }

    /// Does `work` among the broker's tasks to its end, even if the caller goes away.
    pub async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, BrokerError>> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let (told, done) = oneshot::channel();
        // Nobody hears it when the caller has gone.
        self.tasks.spawn(Box::pin(async move { drop(told.send(work.await)) }));
        match done.await {
            Ok(done) => done,
            // The runtime is shutting down, or the work panicked; either way nobody will answer.
            Err(_) => Err(self.life.reason().unwrap_or(BrokerError::Stopped)),
        }
    }

    /// Runs the writer of `log` until it is closed.
    pub fn spawn_writer(self: &Arc<Shared>, log: &Log) {
        let (shared, log) = (self.clone(), log.clone());
        self.tasks.spawn(Box::pin(async move {
            if let Err(error) = log.run().await {
                shared.log_failed(&log, error);
            }
        }));
    }

    /// A write or sync failed: what is durable is unknown, so nothing is acknowledged any more.
    pub fn log_failed(&self, log: &Log, error: LogError) -> BrokerError {
        let error = match error {
            LogError::Closed => BrokerError::Stopped,
            error => BrokerError::Log { partition: log.partition().clone(), source: Arc::new(error) },
        };
        self.failed(error)
    }

    /// Ends the broker, unless it has ended already; answers the first reason.
    pub fn failed(&self, error: BrokerError) -> BrokerError {
        if self.life.end(error.clone()) {
            self.env.log(format_args!("broker ends: {}", chain(&error)));
        }
        self.life.reason().unwrap_or(error)
    }

    pub async fn durable(&self, log: &Log, appended: &Appended) -> Result<(), BrokerError> {
        log.durable(appended).await.map_err(|error| self.log_failed(log, error))
    }

    /// Appends the coordinator's records as one batch. Called under the coordinator's mutex.
    pub fn append_records(&self, records: Records) -> Result<Appended, BrokerError> {
        assert!(!records.is_empty(), "a step without records has nothing to wait for");
        let records: Vec<(Vec<u8>, Vec<u8>)> = records.iter().map(super::coordinator::Record::encode).collect();
        self.append_internal(&self.txn_log, &records)
    }

    /// Appends records of the broker's own as one batch.
    pub fn append_internal(&self, log: &Log, records: &[(Vec<u8>, Vec<u8>)]) -> Result<Appended, BrokerError> {
        let mut builder = BatchBuilder::new(Compression::None);
        let now = mutant!("machine-clock", self.env.now(), crate::types::Timestamp(crate::mutant::machine_ms()));
        for (key, value) in records {
            builder.push(now, Some(key), Some(value), &[]);
        }
        log.append(builder.finish(ProducerStamp::NONE)).map_err(|error| self.refused(log, error))
    }

    /// The broker's own record was refused: that is an end, too.
    pub fn refused(&self, log: &Log, error: AppendError) -> BrokerError {
        match error {
            AppendError::Poisoned => self.log_failed(log, LogError::Poisoned),
            AppendError::Closed => self.log_failed(log, LogError::Closed),
            error => self.failed(BrokerError::Internal {
                partition: log.partition().clone(),
                offset: log.end(),
                reason: error.to_string(),
            }),
        }
    }
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Where a partition's log lives.
pub fn partition_dir(data_dir: &Path, topic: &str, partition: i32) -> PathBuf {
    data_dir.join(format!("{topic}-{partition}"))
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
