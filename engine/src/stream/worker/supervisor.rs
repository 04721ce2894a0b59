//! Many tasks side by side, each restarted from the log when it may be.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::super::{Deployment, TaskId};
use super::error::TaskError;
use super::instance::{Cause, TaskSummary};
use super::settings::{Stop, Until, WorkerSettings};
use crate::client::Client;
use crate::env::Env;

/// What each task did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerSummary {
    pub tasks: BTreeMap<TaskId, TaskSummary>,
}

impl WorkerSummary {
    pub fn records(&self) -> u64 {
        self.tasks.values().map(|task| task.records).sum()
    }

    pub fn commits(&self) -> u64 {
        self.tasks.values().map(|task| task.commits).sum()
    }

    pub fn restarts(&self) -> u64 {
        self.tasks.values().map(|task| task.restarts).sum()
    }
}

/// A task could not be brought to its end; the others were.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{error}")]
pub struct WorkerFailure {
    /// The first that failed for good; one that was fenced only if none did.
    pub task: TaskId,
    pub error: TaskError,
    /// All that were fenced.
    pub fenced: Vec<TaskId>,
    pub summary: WorkerSummary,
}

/// Runs `tasks` until each has come to its end. A task that fails and may be started again is, after a pause; one that is
/// fenced ends alone; one that fails for good stops the others, which commit first.
pub async fn run_worker(
    env: &Env,
    client: &Client,
    deployment: &Deployment,
    tasks: &[TaskId],
    settings: &WorkerSettings,
    until: Until,
    mut stop: Stop,
) -> Result<WorkerSummary, WorkerFailure> {
    let (all, ear) = Stop::new();
    let mut running = JoinSet::new();
    for task in tasks {
        let (env, client, deployment) = (env.clone(), client.clone(), deployment.clone());
        let (task, settings, until, ear) = (*task, settings.clone(), until.clone(), ear.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "they end with this call, on a thread that a worker has to itself; simulated hosts run `run_task`"
        )]
        running.spawn(async move {
            let cause =
                Cause { env: &env, client: &client, deployment: &deployment, task, settings: &settings, until: &until };
            let mut summary = TaskSummary::default();
            let outcome = supervise(&cause, ear, &mut summary).await;
            (task, summary, outcome)
        });
    }
    let mut summary = WorkerSummary::default();
    let mut fenced = Vec::new();
    let mut failed = None;
    let mut stopping = false;
    loop {
        let ended = tokio::select! {
            biased;
            () = stop.asked(), if !stopping => {
                stopping = true;
                all.stop();
                continue;
            }
            ended = running.join_next() => ended,
        };
        let (task, done, outcome) = match ended {
            None => break,
            Some(Ok(ended)) => ended,
            Some(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => panic!("a task was cancelled by nobody: {error}"),
            },
        };
        summary.tasks.insert(task, done);
        match outcome {
            Ok(()) => {}
            Err(error @ TaskError::Fenced { .. }) => {
                env.log(format_args!("{error}"));
                fenced.push((task, error));
            }
            Err(error) => {
                env.log(format_args!("task {task} ends the worker: {error}"));
                failed.get_or_insert((task, error));
                all.stop();
            }
        }
    }
    match failed.or_else(|| fenced.first().cloned()) {
        None => Ok(summary),
        Some((task, error)) => {
            let fenced = fenced.into_iter().map(|(task, _)| task).collect();
            Err(WorkerFailure { task, error, fenced, summary })
        }
    }
}

/// Instance after instance, until one ends well or for good.
async fn supervise(cause: &Cause<'_>, mut stop: Stop, summary: &mut TaskSummary) -> Result<(), TaskError> {
    let settings = cause.settings;
    let mut backoff = settings.restart_backoff;
    loop {
        let commits = summary.commits;
        let error = match cause.run(stop.clone(), summary).await {
            Ok(()) => return Ok(()),
            Err(error) if !error.is_retryable() => return Err(error),
            Err(error) => error,
        };
        if summary.commits > commits {
            backoff = settings.restart_backoff;
        }
        cause.env.log(format_args!("task {} starts again in {} ms: {error}", cause.task, backoff.as_millis()));
        tokio::select! {
            biased;
            () = stop.asked() => return Ok(()),
            () = tokio::time::sleep(backoff) => {}
        }
        backoff = (backoff * 2).min(settings.restart_backoff_max);
        summary.restarts += 1;
    }
}
