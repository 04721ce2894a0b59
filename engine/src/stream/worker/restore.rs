//! From the log back to the state at the last commit.

use std::time::Duration;

use super::super::{Deployment, TaskCore, TaskFault, TaskId};
use super::error::TaskError;
use super::settings::WorkerSettings;
use crate::client::{Client, ClientError, Isolation, for_each_committed};
use crate::env::Point;
use crate::record::Record;
use crate::types::{Offset, TopicPartition};

/// Fills `core` from its changelog and returns where to read each input from. The predecessor must be fenced, and its
/// last transaction concluded: from then on nobody else writes what is read here.
pub async fn restore(
    client: &Client,
    deployment: &Deployment,
    task: TaskId,
    core: &mut dyn TaskCore,
    settings: &WorkerSettings,
) -> Result<Vec<Offset>, TaskError> {
    let of = |error| TaskError::of(task, error);
    let inputs = core.inputs().to_vec();
    let committed = client.committed_offsets(&deployment.group(), &inputs, true).await.map_err(of)?;
    if let Some(changelog) = core.changelog().cloned() {
        read_changelog(client, task, &changelog, core, settings).await?;
    }
    let positions = match core.restored(&committed) {
        Ok(positions) => positions,
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
    settings: &WorkerSettings,
) -> Result<(), TaskError> {
    let of = |error| TaskError::of(task, error);
    require(client.log_start(changelog).await.map_err(of)?, changelog, Offset::ZERO)?;
    let end = client.stable_end(changelog).await.map_err(of)?;
    let mut next = Offset::ZERO;
    let mut scratch = Vec::new();
    while next < end {
        let isolation = Isolation::ReadCommitted;
        let fetched =
            client.fetch(changelog, next, settings.fetch_bytes, Duration::ZERO, isolation).await.map_err(of)?;
        let each = |record: &Record<'_>| core.restore(record).map_err(RestoreError::Fault);
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
        next = read;
        client.env().reach(Point::TaskRestoreMiddle).await;
    }
    Ok(())
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
