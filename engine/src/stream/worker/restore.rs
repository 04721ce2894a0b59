//! From the log back to the state at the last commit.
//!
//! In: the changelog from where it begins: 0, or the snapshot below which it was trimmed. Out: a task with that state, or a
//! fault: what begins above 0 with anything but a snapshot is half a state.

use std::slice;
use std::time::Duration;

use super::super::{Deployment, TaskCore, TaskFault, TaskId};
use super::begin::begin_at;
use super::error::TaskError;
use super::settings::WorkerSettings;
use crate::client::{Client, ClientError, Isolation, Taken, Witness, for_each_committed};
use crate::env::Point;
use crate::record::Record;
use crate::types::{Offset, TopicPartition};

/// A task as it was at its last commit.
pub struct Restored {
    pub core: Box<dyn TaskCore>,
    /// Where to read each input from.
    pub positions: Vec<Offset>,
    /// Records of the changelog that were read.
    pub records: u64,
}

/// Makes the task from its changelog. The predecessor must be fenced, and its last transaction concluded: from then on nobody else writes what is read here.
pub async fn restore(
    client: &Client,
    deployment: &Deployment,
    task: TaskId,
    settings: &WorkerSettings,
) -> Result<Restored, TaskError> {
    let mut began = None;
    loop {
        let mut core = deployment.task(task);
        let start = match core.changelog() {
            Some(changelog) => client.log_start(changelog).await.map_err(|error| TaskError::of(task, error))?,
            None => Offset::ZERO,
        };
        let mut records = 0;
        match read_whole(client, deployment, task, &mut *core, start, settings, &mut records).await {
            Ok(positions) => return Ok(Restored { core, positions, records }),
            // The predecessor is fenced, and may still trim below what it has committed: begin again at the snapshot.
            Err(TaskError::MissingRange { topic, start: now, .. })
                if core.changelog().is_some_and(|changelog| *changelog.topic == topic) && began < Some(now) =>
            {
                client.env().log(format_args!("task {task} restores anew: its changelog was trimmed to offset {now}"));
                began = Some(now);
            }
            Err(error) => return Err(error),
        }
    }
}

async fn read_whole(
    client: &Client,
    deployment: &Deployment,
    task: TaskId,
    core: &mut dyn TaskCore,
    start: Offset,
    settings: &WorkerSettings,
    records: &mut u64,
) -> Result<Vec<Offset>, TaskError> {
    let of = |error| TaskError::of(task, error);
    let inputs = core.inputs().to_vec();
    let committed = client.committed_offsets(&deployment.group(), &inputs, true).await.map_err(of)?;
    if let Some(changelog) = core.changelog().cloned() {
        core.restore_from(start);
        if start > Offset::ZERO {
            client.env().reach(Point::TaskRestoreSnapshot).await;
        }
        *records = read_changelog(client, task, &changelog, core, start, settings).await?;
    }
    let mut positions = match core.restored(&committed) {
        Ok(positions) => mutant!("gap-skipped", positions, {
            let mut there = Vec::new();
            for (input, needed) in inputs.iter().zip(positions) {
                there.push(needed.max(client.log_start(input).await.map_err(of)?));
            }
            there
        }),
        // The offsets were read before the changelog. If they have moved since, a successor committed in between: this
        // instance was paused for long and is fenced, and what it read is two cuts, not a torn one.
        Err(fault @ TaskFault::OffsetsDisagree { .. }) => {
            let now = client.committed_offsets(&deployment.group(), &inputs, true).await.map_err(of)?;
            if now == committed {
                return Err(TaskError::Fault { task, fault });
            }
            let detail = format!("the group's offsets moved from {committed:?} to {now:?} while it restored");
            return Err(TaskError::Fenced { task, detail });
        }
        Err(fault) => return Err(TaskError::Fault { task, fault }),
    };
    assert_eq!(positions.len(), inputs.len(), "one position an input");
    if let Some(time) = deployment.reads_from() {
        for (index, input) in inputs.iter().enumerate() {
            if committed[index].is_none() && *input.topic == *deployment.source_topic() {
                positions[index] = begin_at(client, task, input, time, settings.fetch_bytes).await?;
                core.advance_to(index, positions[index]);
            }
        }
    }
    for (input, needed) in inputs.iter().zip(&positions) {
        require(client.log_start(input).await.map_err(of)?, input, *needed)?;
    }
    Ok(positions)
}

async fn read_changelog(
    client: &Client,
    task: TaskId,
    changelog: &TopicPartition,
    core: &mut dyn TaskCore,
    start: Offset,
    settings: &WorkerSettings,
) -> Result<u64, TaskError> {
    let of = |error| TaskError::of(task, error);
    let end = client.stable_end(changelog).await.map_err(of)?;
    let witness = client.witness();
    if let Some(witness) = witness {
        witness.begins(slice::from_ref(changelog), &[start]);
    }
    let mut next = start;
    let mut records = 0;
    let mut scratch = Vec::new();
    while next < end {
        let isolation = Isolation::ReadCommitted;
        let asked = witness.map_or(0, Witness::asks);
        let fetched =
            client.fetch(changelog, next, settings.fetch_bytes, Duration::ZERO, isolation).await.map_err(of)?;
        let each = |record: &Record<'_>| {
            records += 1;
            if let Some(witness) = witness {
                witness.takes(slice::from_ref(record));
            }
            core.restore(record).map_err(RestoreError::Fault)
        };
        let read = for_each_committed(changelog, &fetched, next, isolation, &mut scratch, each);
        let read = read.map_err(|error| match error {
            RestoreError::Fault(fault) => TaskError::Fault { task, fault },
            RestoreError::Client(error) => of(error),
        })?;
        if read == next {
            // Below the last stable offset there is always something to read.
            let reason = format!("nothing at offset {next} although the log is stable up to {end}");
            return Err(TaskError::Client(ClientError::Malformed { about: format!("restore {changelog}"), reason }));
        }
        if let Some(witness) = witness {
            witness.took(&Taken { partition: changelog, asked, from: next, next: read, isolation, fetched: &fetched });
        }
        next = read;
        mutant!("restore-of-one-fetch", {}, break);
        client.env().reach(Point::TaskRestoreMiddle).await;
    }
    Ok(records)
}

enum RestoreError {
    Fault(TaskFault),
    Client(ClientError),
}

impl From<ClientError> for RestoreError {
    fn from(error: ClientError) -> RestoreError {
        RestoreError::Client(error)
    }
}

fn require(start: Offset, partition: &TopicPartition, needed: Offset) -> Result<(), TaskError> {
    if start <= needed {
        return Ok(());
    }
    Err(TaskError::MissingRange { topic: partition.topic.to_string(), partition: partition.partition, needed, start })
}
