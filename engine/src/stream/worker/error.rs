//! Why a task ends before its time.

use super::super::{TaskFault, TaskId};
use crate::client::ClientError;
use crate::schema::SchemaError;
use crate::types::{Offset, Partition, Timestamp};

/// Why an instance of a task ended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TaskError {
    /// Another instance has taken over: final for this one, harmless for the task.
    #[error("task {task} is fenced: another instance holds it ({detail})")]
    Fenced { task: TaskId, detail: String },
    /// The log no longer holds what the task must read. Never skipped over.
    #[error("{topic}-{partition}: offsets {needed} to {start} are gone; the log starts at {start}")]
    MissingRange { topic: String, partition: Partition, needed: Offset, start: Offset },
    /// The log has lost records of a time that the task must read from. Never skipped over.
    #[error(
        "{topic}-{partition}: the log starts at {start}, and a start at a time needs every record from {needed} on: some of \
         offsets 0 to {start}, which are gone, {reach}", reach = Reach(*deleted_to)
    )]
    MissingTime {
        topic: String,
        partition: Partition,
        needed: Timestamp,
        /// The greatest timestamp that was deleted; `None` when nobody knows.
        deleted_to: Option<Timestamp>,
        start: Offset,
    },
    /// The log ends before what the task has read of it: it is not the log that was read.
    #[error("{topic}-{partition}: offset {needed} is needed and the log ends at {end}: it lost what was committed")]
    LogShrank { topic: String, partition: Partition, needed: Offset, end: Offset },
    /// The partitions of an input are fixed for a pipeline version.
    #[error(
        "topic `{topic}` has {found} partitions and the pipeline was made for {expected}; make a new version of it"
    )]
    PartitionsChanged { topic: String, expected: i32, found: i32 },
    #[error("topic `{topic}` does not exist; prepare the deployment first")]
    NoTopic { topic: String },
    #[error("task {task}: {fault}")]
    Fault { task: TaskId, fault: TaskFault },
    /// `_schemas` is not what it must be.
    #[error("task {task}: {error}")]
    Schemas { task: TaskId, error: SchemaError },
    #[error(transparent)]
    Client(ClientError),
}

struct Reach(Option<Timestamp>);

impl std::fmt::Display for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(Timestamp::MAX) | None => f.write_str("may be of that time, or after it"),
            Some(time) => write!(f, "may be needed: they reach to time {time}"),
        }
    }
}

impl TaskError {
    /// Whether the task may be started again from the log.
    pub fn is_retryable(&self) -> bool {
        match self {
            TaskError::Client(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// A client's error in the words of a task.
    pub(super) fn of(task: TaskId, error: ClientError) -> TaskError {
        match error {
            ClientError::Fenced { .. } => TaskError::Fenced { task, detail: error.to_string() },
            ClientError::OffsetOutOfRange { partition, needed, start, .. } if needed < start => {
                TaskError::MissingRange {
                    topic: partition.topic.to_string(),
                    partition: partition.partition,
                    needed,
                    start,
                }
            }
            ClientError::OffsetOutOfRange { partition, needed, end, .. } => {
                TaskError::LogShrank { topic: partition.topic.to_string(), partition: partition.partition, needed, end }
            }
            error => TaskError::Client(error),
        }
    }
}

/// Why a deployment cannot be prepared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
}
