//! One partition's log on env's disk.

mod error;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::env::Env;
use crate::record::ControlMarker;
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
    inner: Arc<()>,
}

impl Log {
    pub async fn open(
        _env: &Env,
        _dir: &Path,
        _partition: TopicPartition,
        _config: LogConfig,
    ) -> Result<Log, LogError> {
        todo!()
    }
    /// The writer: writes, syncs, rolls. Ends after [`Log::close`], or with the error of a failed write or sync, after
    /// which every call answers `Poisoned`.
    pub async fn run(&self) -> Result<(), LogError> {
        todo!("{:?}", self.inner)
    }
    pub fn partition(&self) -> &TopicPartition {
        todo!()
    }
    /// Checks the batches, assigns their offsets and queues them. A batch that its producer sent before is answered
    /// with its first offsets.
    pub fn append(&self, _batches: Bytes) -> Result<Appended, AppendError> {
        todo!()
    }
    /// Ends the producer's transaction here. `epoch` is the bumped one; the same marker again is answered with the
    /// offset of the first.
    pub fn append_marker(
        &self,
        _marker: ControlMarker,
        _producer_id: ProducerId,
        _epoch: ProducerEpoch,
        _coordinator_epoch: i32,
    ) -> Result<Appended, AppendError> {
        todo!()
    }
    /// Returns when the high watermark has passed `appended`.
    pub async fn durable(&self, _appended: &Appended) -> Result<(), LogError> {
        todo!()
    }
    /// The first offset that may be read.
    pub fn start(&self) -> Offset {
        todo!()
    }
    /// The offset that the next append gets.
    pub fn end(&self) -> Offset {
        todo!()
    }
    /// Everything below is synced.
    pub fn high_watermark(&self) -> Offset {
        todo!()
    }
    /// Everything below is synced and belongs to no open transaction.
    pub fn last_stable(&self) -> Offset {
        todo!()
    }
    /// Whole batches from the one that holds `from`, about `max_bytes` of them, at least one if any is visible.
    pub async fn read(&self, _from: Offset, _max_bytes: usize, _isolation: Isolation) -> Result<Fetched, ReadError> {
        todo!()
    }
    /// A number that grows whenever the high watermark, the last stable offset or the start moves, or the log ends.
    pub fn generation(&self) -> u64 {
        todo!()
    }
    /// Returns the generation once it differs from `seen`.
    pub async fn changed(&self, _seen: u64) -> u64 {
        todo!()
    }
    /// The first visible data record with a timestamp of at least `at`.
    pub async fn offset_for_time(&self, _at: Timestamp) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        todo!()
    }
    /// Moves the log start, durably, to `offset` (held at the last stable offset); answers where it is now.
    pub async fn delete_below(&self, _offset: Offset) -> Result<Offset, LogError> {
        todo!()
    }
    /// By first offset.
    pub fn open_transactions(&self) -> Vec<OpenTransaction> {
        todo!()
    }
    /// Writes and syncs what is queued, advances the recovery point, ends [`Log::run`].
    pub async fn close(&self) {
        todo!()
    }
}
