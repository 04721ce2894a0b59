//! The boundary between a task and whoever reads and writes the log for it.
//!
//! A task is one partition of each input of a stage, with the state of its keys. The caller hands it committed records and
//! writes what it asks for; between two commits everything is in memory, and dropping the task forgets it.
//!
//! Order of calls: [`TaskCore::restore_from`] once, [`TaskCore::restore`] for each committed record of the changelog,
//! [`TaskCore::restored`] once; then
//! [`TaskCore::process`] and [`TaskCore::advance_to`] in offset order, [`TaskCore::fire`] after each batch, and
//! [`TaskCore::prepare_commit`] before each commit of a transaction that holds all that the outbox ever got.

use crate::record::Record;
use crate::schema::{Schema, SchemaId};
use crate::types::{Offset, Partition, Timestamp, TopicPartition};

use super::aggregate::CodecError;
use super::changelog::Tally;
use super::outbox::Outbox;

/// Which task of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The place of the stage in the pipeline; 0 reads the source.
    pub stage: u16,
    pub partition: Partition,
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.stage, self.partition)
    }
}

/// The synchronous heart of a task.
pub trait TaskCore: Send {
    /// One partition per input topic.
    fn inputs(&self) -> &[TopicPartition];
    fn changelog(&self) -> Option<&TopicPartition>;
    /// The changelog that is about to be read begins at `start`; unless that is 0, with a snapshot.
    fn restore_from(&mut self, start: Offset);
    /// Takes one committed record of the changelog.
    ///
    /// # Errors
    /// When it is not what this version of the task writes.
    fn restore(&mut self, record: &Record<'_>) -> Result<(), TaskFault>;
    /// Ends the restore: checks that changelog and group describe one cut, rebuilds the timers, and returns where to read
    /// each input from.
    ///
    /// # Errors
    /// When the group's committed offsets, or the digests, are not those of the last commit record.
    fn restored(&mut self, committed: &[Option<Offset>]) -> Result<Vec<Offset>, TaskFault>;
    /// Takes committed data records of an input, in offset order. Many at a time let a task look up many keys at once;
    /// what comes out is the same.
    ///
    /// # Errors
    /// When the input breaks what its writer promised. Bad *source* records are no fault: they are rejected and counted.
    fn process(&mut self, input: usize, records: &[Record<'_>], out: &mut Outbox) -> Result<(), TaskFault>;
    /// Adds the schemas that these records' values name and the task does not know. They are to be looked up in
    /// [`crate::schema::SCHEMAS_TOPIC`] and taught before [`TaskCore::process`] takes the records; a record whose schema is
    /// in no log is rejected.
    fn unknown_schemas(&self, input: usize, records: &[Record<'_>], ids: &mut Vec<SchemaId>);
    /// Takes note of a schema that values were written with.
    fn learn(&mut self, writer: &Schema);
    /// The next record of `input` to read is at least `next`: also past aborted and control records.
    fn advance_to(&mut self, input: usize, next: Offset);
    /// Emits the panes that the minimum has passed, then purges.
    fn fire(&mut self, out: &mut Outbox);
    /// Whether a commit would say anything new: a record was processed since the last one.
    fn pending(&self) -> bool;
    /// Fires; then writes markers, changed state (with `snapshot` the whole state) and the commit record, and returns the
    /// offsets that the transaction must carry, one per input.
    fn prepare_commit(&mut self, out: &mut Outbox, snapshot: bool) -> Vec<Offset>;
    /// What the changelog holds since its last snapshot.
    fn tally(&self) -> Tally;
    /// Whether every channel has ended: nothing that follows can change the output.
    fn finished(&self) -> bool;
    fn stats(&self) -> TaskStats;
}

/// What a task has seen and written since it was built, committed or not. A source record is exactly one of: marker,
/// rejected, filtered, duplicate, late, accepted, routed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskStats {
    /// Records handed to the task.
    pub records: u64,
    pub markers: u64,
    /// Undecodable; each has its entry in the rejected topic.
    pub rejected: u64,
    pub filtered: u64,
    pub duplicates: u64,
    /// Each has its entry in the late topic, unless its window is before those that a version started at a time speaks for.
    pub late: u64,
    /// Records that entered a window (a retraction of an upstream pane counts as one).
    pub accepted: u64,
    /// Records sent on to a repartition topic.
    pub routed: u64,
    /// Panes emitted, again ones included, and those that a version started at a time does not write.
    pub panes: u64,
    /// Panes withdrawn.
    pub retractions: u64,
    /// Sessions that an accepted record made one after the pane of one of them was out: the bridge that hurts.
    pub merges_after_emission: u64,
    /// Single cells that an accepted record changed after their pane was out.
    pub changes_after_emission: u64,
    /// Cells that lost the last pane they were made of.
    pub emptied: u64,
    /// Upstream tasks of which the restored state knew a watermark, where the task is fed by panes.
    pub pane_channels_restored: u64,
    /// Keys with state.
    pub keys: u64,
    /// Memory that the keyed state and its timers hold, in bytes.
    pub state_bytes: u64,
    /// Ids remembered by deduplication.
    pub ids: u64,
    /// The minimum over the channels.
    pub watermark: Timestamp,
}

/// Where a version was started: at a time, or at offset 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started(pub Option<Timestamp>);

impl std::fmt::Display for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("at offset 0"),
            Some(time) => write!(f, "at time {time}"),
        }
    }
}

/// A task that cannot go on: its input or its changelog is not what its writer promised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskFault {
    #[error("changelog {changelog} ends with a commit of offsets {commit:?}, the group has committed {group:?}")]
    OffsetsDisagree { changelog: TopicPartition, commit: Option<Vec<i64>>, group: Vec<Option<i64>> },
    #[error("changelog {changelog}: the {what} digest is {found:016x} and the commit record says {expected:016x}")]
    DigestDiffers { changelog: TopicPartition, what: &'static str, expected: u64, found: u64 },
    #[error("changelog {changelog} begins at offset {start}, and not with a snapshot: part of the state is gone")]
    NoSnapshot { changelog: TopicPartition, start: Offset },
    #[error(
        "changelog {changelog}: this version was started {committed}, and is to go on as if it had been started {asked}; \
         start it {committed}, or make a new version of it"
    )]
    StartDiffers { changelog: TopicPartition, committed: Started, asked: Started },
    #[error("changelog {changelog}: {changes} records after the last commit record")]
    TornChangelog { changelog: TopicPartition, changes: u64 },
    #[error("changelog {changelog} at offset {offset}: {error}")]
    BadChangelog { changelog: TopicPartition, offset: Offset, error: CodecError },
    #[error("{partition} at offset {offset}: {error}")]
    BadRecord { partition: TopicPartition, offset: Offset, error: CodecError },
    #[error("{partition} at offset {offset}: expected an offset of at least {expected}")]
    WentBack { partition: TopicPartition, offset: Offset, expected: Offset },
    #[error("{partition} at offset {offset}: channel {channel} announced {watermark} and now sends {found}")]
    PromiseBroken { partition: TopicPartition, offset: Offset, channel: i32, watermark: Timestamp, found: Timestamp },
    #[error("{partition} at offset {offset}: a pane is taken back that is not there")]
    UnknownPane { partition: TopicPartition, offset: Offset },
}
