//! One partition's log on env's disk.
//!
//! In: record batches. Out: the same batches with offsets, for ever, once they are synced. Start with [`state`], the
//! bookkeeping without I/O; around it stand [`writer`], [`read`], [`recovery`] and [`retention`], which do the I/O.
//!
//! ```text
//! 00000000000000000000.log     batches, as Kafka writes them; the name is the first offset
//! 00000000000000000000.index   of a closed segment: a cache
//! recovery-point               up to where the log is known to be good, and what was known there
//! log-start                    the first offset that may be read, once it has moved
//! ```
//!
//! Invariant: no read hands out anything at or beyond the high watermark, which is the last *synced* offset; a reader of
//! committed data nothing at or beyond the last stable offset.
//! Invariant: what was visible once is visible for ever, at the same offset, until the start moves past it.
//! Invariant: after a failed write or sync nothing is acknowledged any more.

mod append;
mod codec;
mod error;
mod files;
mod producers;
mod read;
mod recovery;
mod recovery_point;
mod retention;
mod segment;
mod state;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use self::state::{State, Status};
use crate::env::Env;
use crate::record::{self, ControlMarker};
pub use crate::types::{Aborted, Isolation};
use crate::types::{Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
pub use error::{AppendError, LogError, ReadError};

/// How a log lays out its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is closed before it would exceed this.
    pub segment_bytes: u64,
    /// At most this many bytes of a segment are walked to find an offset.
    pub index_interval_bytes: u32,
    /// The recovery point advances at least this often.
    pub recovery_point_every_bytes: u64,
    /// A larger batch is refused.
    pub batch_bytes_max: usize,
    /// Check each batch's checksum when it is read.
    pub verify_reads: bool,
    /// Check the whole log when it is opened, not only what lies above the recovery point.
    pub verify_on_open: bool,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 256 << 20,
            index_interval_bytes: 64 << 10,
            recovery_point_every_bytes: 64 << 20,
            batch_bytes_max: 16 << 20,
            verify_reads: true,
            verify_on_open: false,
        }
    }
}

/// Where an append went. It is acknowledged only after [`Log::durable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base: Offset,
    /// The offset after the last record.
    pub next: Offset,
    /// The producer had sent this before: these are the offsets of that time.
    pub duplicate: bool,
}

/// What a read found.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whole batches in offset order; the first may begin below the asked offset.
    pub bytes: Bytes,
    /// Where to read next: after the last batch in `bytes`, or the asked offset when there is none.
    pub next: Offset,
    pub high_watermark: Offset,
    pub last_stable: Offset,
    pub log_start: Offset,
    /// The aborted transactions that touch `bytes`, by first offset.
    pub aborted: Vec<Aborted>,
}

/// How much of a log is kept. Whole segments go, and never the active one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Segments with a data record at or after this, and those that follow.
    From(Timestamp),
    /// The last segments that together hold at least so many bytes.
    Bytes(u64),
}

/// A transaction without a marker in this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub first_offset: Offset,
}

/// A partition's log; a handle, cheap to clone, usable from any runtime.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    dir: PathBuf,
    partition: TopicPartition,
    config: LogConfig,
    /// Held for bookkeeping only, never across I/O.
    state: Mutex<State>,
    /// There is something for the writer.
    work: Notify,
    /// Something moved: the high watermark, the last stable offset, the start, the status.
    changed: Notify,
    retention: tokio::sync::Mutex<()>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` has an answer; it is asked again after every change.
    async fn wait<T>(&self, mut ready: impl FnMut(&State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(answer) = ready(&self.state()) {
                return answer;
            }
            changed.await;
        }
    }
}

impl Log {
    /// Opens the log in `dir`, or makes one there: recovers what was durable, cuts off what an unlucky stop left.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when something is wrong that no unlucky stop explains.
    pub async fn open(env: &Env, dir: &Path, partition: TopicPartition, config: LogConfig) -> Result<Log, LogError> {
        assert!(config.batch_bytes_max <= record::BATCH_BYTES_MAX, "batch_bytes_max is {}", config.batch_bytes_max);
        let state = recovery::recover(env, dir, &partition, &config).await?;
        let inner = Inner {
            env: env.clone(),
            dir: dir.to_owned(),
            partition,
            config,
            state: Mutex::new(state),
            work: Notify::new(),
            changed: Notify::new(),
            retention: tokio::sync::Mutex::new(()),
        };
        Ok(Log { inner: Arc::new(inner) })
    }

    /// The writer: writes, syncs, rolls. Ends after [`Log::close`], or with the error of a failed write or sync, after
    /// which every call answers `Poisoned`. One runs at a time; a second waits for its turn.
    pub async fn run(&self) -> Result<(), LogError> {
        self.inner.run().await
    }

    pub fn partition(&self) -> &TopicPartition {
        &self.inner.partition
    }

    /// Checks the batches, assigns their offsets and queues them. A batch that its producer sent before is answered
    /// with its first offsets.
    pub fn append(&self, batches: Bytes) -> Result<Appended, AppendError> {
        let batches = append::validate(&batches, &self.inner.config)?;
        let appended = self.inner.state().append(batches)?;
        self.inner.work.notify_one();
        Ok(appended)
    }

    /// Ends the producer's transaction here. `epoch` is the bumped one; the same marker again is answered with the
    /// offset of the first.
    pub fn append_marker(
        &self,
        marker: ControlMarker,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
    ) -> Result<Appended, AppendError> {
        let now = self.inner.env.now();
        let build = || record::control_batch(marker, producer_id, epoch, coordinator_epoch, now);
        let appended = self.inner.state().append_marker(marker, producer_id, epoch, build)?;
        self.inner.work.notify_one();
        Ok(appended)
    }

    /// Returns when the high watermark has passed `appended`.
    pub async fn durable(&self, appended: &Appended) -> Result<(), LogError> {
        let ready = |state: &State| match state.status {
            _ if mutant!("ack-before-sync", state.high_watermark(), state.end()) >= appended.next => Some(Ok(())),
            Status::Poisoned => Some(Err(LogError::Poisoned)),
            Status::Closed => Some(Err(LogError::Closed)),
            Status::Open | Status::Closing => None,
        };
        self.inner.wait(ready).await
    }

    /// The first offset that may be read.
    pub fn start(&self) -> Offset {
        self.inner.state().start()
    }

    /// The greatest timestamp of a data record below the start: [`Timestamp::MIN`] when none was deleted,
    /// [`Timestamp::MAX`] when it is not known.
    pub fn deleted_to(&self) -> Timestamp {
        self.inner.state().deleted_to()
    }

    /// The offset that the next append gets.
    pub fn end(&self) -> Offset {
        self.inner.state().end()
    }

    /// Bytes of all batches, markers included, that were appended since the log was opened.
    pub fn appended_bytes(&self) -> u64 {
        self.inner.state().appended_bytes()
    }

    /// Everything below is synced.
    pub fn high_watermark(&self) -> Offset {
        self.inner.state().high_watermark()
    }

    /// Everything below is synced and belongs to no open transaction.
    pub fn last_stable(&self) -> Offset {
        self.inner.state().last_stable()
    }

    /// Where recovery would begin to scan.
    pub fn recovery_point(&self) -> Offset {
        self.inner.state().recovery_point()
    }

    /// Whole batches from the one that holds `from`, about `max_bytes` of them, at least one if any is visible.
    pub async fn read(&self, from: Offset, max_bytes: usize, isolation: Isolation) -> Result<Fetched, ReadError> {
        self.inner.read(from, max_bytes, isolation).await
    }

    /// A number that grows whenever the high watermark, the last stable offset or the start moves, or the log ends.
    pub fn generation(&self) -> u64 {
        self.inner.state().generation
    }

    /// Returns the generation once it differs from `seen`.
    pub async fn changed(&self, seen: u64) -> u64 {
        self.inner.wait(|state| (state.generation != seen).then_some(state.generation)).await
    }

    /// The first visible data record with a timestamp of at least `at`. Markers do not count; records of open and
    /// aborted transactions do, as in Kafka.
    pub async fn offset_for_time(&self, at: Timestamp) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        self.inner.offset_for_time(at).await
    }

    /// Where the log would start if it kept no more than `keep`: the beginning of a segment, or where it starts now.
    pub fn retained_from(&self, keep: Retention) -> Offset {
        self.inner.state().retained_from(keep)
    }

    /// Moves the log start, durably, to `offset` (held at the last stable offset); answers where it is now.
    pub async fn delete_below(&self, offset: Offset) -> Result<Offset, LogError> {
        self.inner.delete_below(offset).await
    }

    /// By first offset; also those whose batches are not synced yet.
    pub fn open_transactions(&self) -> Vec<OpenTransaction> {
        self.inner.state().open_transactions()
    }

    /// Writes and syncs what is queued, advances the recovery point, ends [`Log::run`]. Reads still work.
    pub async fn close(&self) {
        self.inner.update(|state| {
            if state.status == Status::Open {
                state.status = Status::Closing;
            }
        });
        self.inner.work.notify_one();
        // Whether a writer is running or none was started: this waits for the one, or is the other. Its error, if any,
        // is the writer's to report; the log is poisoned then.
        let _ = self.inner.run().await;
    }
}
