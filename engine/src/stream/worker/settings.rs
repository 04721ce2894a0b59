//! How a worker works, how far, and how it is told to end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::record::Compression;
use crate::types::{Offset, TopicPartition};

/// The knobs of a worker. None of them changes what comes out, only when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// The most from the start of one commit to the start of the next while there is something to commit. It is due earlier
    /// by what has kept the last ones waiting, a quarter at least. One that takes longer delays the next.
    pub commit_interval: Duration,
    /// Of one input in one fetch.
    pub fetch_bytes: usize,
    /// How long a fetch waits at the broker while there is nothing.
    pub fetch_wait: Duration,
    /// Outputs beyond this are sent into the open transaction before the commit is due. While a write is under way several
    /// times as much may gather in memory.
    pub flush_bytes: usize,
    /// At most one commit in so many is a snapshot of a task's state; fewer while the changelog has not grown by twice the
    /// last one's size.
    pub snapshot_every: u32,
    /// The coordinator aborts a transaction that is open for longer.
    pub txn_timeout: Duration,
    pub compression: Compression,
    /// How often the inputs' partitions are counted again.
    pub partition_check: Duration,
    /// Before the first restart of a task; doubles until a commit succeeds.
    pub restart_backoff: Duration,
    pub restart_backoff_max: Duration,
}

impl Default for WorkerSettings {
    fn default() -> WorkerSettings {
        WorkerSettings {
            commit_interval: Duration::from_millis(500),
            fetch_bytes: 1 << 20,
            fetch_wait: Duration::from_millis(500),
            flush_bytes: 1 << 20,
            snapshot_every: 10,
            txn_timeout: Duration::from_secs(60),
            compression: Compression::None,
            partition_check: Duration::from_secs(5),
            restart_backoff: Duration::from_millis(100),
            restart_backoff_max: Duration::from_secs(5),
        }
    }
}

/// How far a task runs. However it ends, what it processed is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// Until it is stopped.
    #[default]
    Stopped,
    /// Until it has read its inputs up to these offsets. A task none of whose inputs is named runs until it is stopped:
    /// how far a repartition topic will reach, nobody knows before it is written.
    Reached(Arc<[(TopicPartition, Offset)]>),
    /// Until every input channel has seen its end marker.
    EndOfInput,
}

/// The ear of a [`Stopper`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: watch::Receiver<bool>,
}

/// Asks all that hold its [`Stop`] to end gracefully. Dropping it asks nothing.
#[derive(Clone, Debug)]
pub struct Stopper {
    asked: watch::Sender<bool>,
}

impl Stop {
    pub fn new() -> (Stopper, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Stopper { asked: sender }, Stop { asked: receiver })
    }

    /// Nobody will ask.
    pub fn never() -> Stop {
        Stop::new().1
    }

    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until it is asked.
    pub async fn asked(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            // The stopper is gone without having asked.
            std::future::pending::<()>().await;
        }
    }
}

impl Stopper {
    pub fn stop(&self) {
        self.asked.send_replace(true);
    }
}
