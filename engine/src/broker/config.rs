//! What a broker is told at its start.

use std::path::PathBuf;
use std::time::Duration;

use crate::log::LogConfig;

/// Settings of a [`super::Broker`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// One directory per partition, and the lock.
    pub data_dir: PathBuf,
    /// The `host:port` that clients are sent to; empty: the one that [`super::Broker::serve`] is bound to.
    pub advertised: String,
    pub log: LogConfig,
    /// The longest transaction timeout that a producer may ask for.
    pub txn_timeout_max: Duration,
    /// A longer request ends its connection.
    pub max_frame_bytes: usize,
    /// The most that one Fetch answers with, whatever it asks for (one batch more, if that is larger).
    pub fetch_bytes_max: usize,
    /// Answers of one connection that may wait for their turn; further requests are not read meanwhile.
    pub pipeline_max: usize,
    /// The logs of the broker's own (transactions, committed offsets) are rewritten when they have grown by so much, and
    /// are several times as large as what they say. A start reads about as much of each.
    pub internal_log_bytes: u64,
    /// Partitions of all topics together: each has a directory, open files and a task.
    pub partitions_max: usize,
}

impl BrokerConfig {
    pub fn new(data_dir: impl Into<PathBuf>) -> BrokerConfig {
        BrokerConfig {
            data_dir: data_dir.into(),
            advertised: String::new(),
            log: LogConfig::default(),
            txn_timeout_max: Duration::from_secs(15 * 60),
            max_frame_bytes: 100 << 20,
            fetch_bytes_max: 55 << 20,
            pipeline_max: 32,
            internal_log_bytes: 16 << 20,
            partitions_max: 10_000,
        }
    }
}
