//! Why a broker cannot start, or cannot go on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::log::LogError;
use crate::types::{Offset, TopicPartition};

/// Cheap to clone: it is told to everyone who waits.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("{data_dir} is in use by another broker", data_dir = data_dir.display())]
    Locked { data_dir: PathBuf },
    #[error("{action} {path}", path = path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("listen on {address}")]
    Listen {
        address: String,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("{address:?} is not host:port")]
    Address { address: String },
    /// Opening a log failed, or a write or sync did: the process must end, and what is durable is found at the next start.
    #[error("log of {partition}")]
    Log {
        partition: TopicPartition,
        #[source]
        source: Arc<LogError>,
    },
    /// A record of an internal topic is not one that this version writes. Nothing is guessed.
    #[error("{partition} offset {offset}: {reason}")]
    Internal { partition: TopicPartition, offset: Offset, reason: String },
    #[error("the broker is stopped")]
    Stopped,
}
