//! A host that runs tasks: told by the board which, it starts each and starts it again when it ends early.
//!
//! In: the board, an environment, a way to make clients. Out: finished tasks on the board.
//!
//! Membership is static: nobody asks another host whether it still runs a task. So one task may run on two hosts at once,
//! and the fence alone keeps them apart. An instance that was fenced, or lost its way, is gone; whether another starts
//! here is up to the board.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use engine::client::{Client, ClientConfig};
use engine::env::Env;
use engine::stream::worker::{Stop, Stopper, TaskError, Until, WorkerSettings, run_task};
use engine::stream::{Deployment, TaskFault, TaskId};
use engine::wire::Transport;

use super::board::{Board, GaveUp, TaskKey};
use super::witness::TaskWitness;
use crate::clock::virtual_ms;
use crate::evidence::TaskReader;
use crate::plan::Host;

/// What every task of a host shares.
#[derive(Clone)]
pub struct TaskHost {
    pub host: Host,
    pub env: Env,
    pub board: Board,
    pub transport: Arc<dyn Transport>,
    pub client: ClientConfig,
    pub worker: WorkerSettings,
    pub deployments: Rc<[Deployment; 3]>,
}

impl TaskHost {
    /// Runs whatever the board assigns, for ever.
    pub async fn run(self) {
        let running: Rc<RefCell<BTreeSet<TaskKey>>> = Rc::default();
        let mut changed = self.board.watch();
        loop {
            changed.borrow_and_update();
            for key in self.board.tasks_of(self.host) {
                if !running.borrow_mut().insert(key) {
                    continue;
                }
                let (this, running) = (self.clone(), running.clone());
                tokio::task::spawn_local(async move {
                    this.keep_running(key).await;
                    running.borrow_mut().remove(&key);
                });
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// One instance after another, until the task has finished or lives elsewhere.
    async fn keep_running(&self, key: TaskKey) {
        let deployment = &self.deployments[key.version as usize - 1];
        let task = TaskId { stage: key.stage, partition: key.partition };
        let mut backoff = self.worker.restart_backoff;
        while self.board.is_home(key, self.host) && !self.board.is_leaving(self.host) {
            let instance = self.board.starting(key, self.host, virtual_ms().unwrap_or(0));
            let witness = self.witness(key, instance, deployment);
            let client =
                Client::new(self.env.clone(), self.transport.clone(), self.client.clone()).witnessed(Arc::new(witness));
            let (stopper, stop) = Stop::new();
            let running = run_task(&self.env, &client, deployment, task, &self.worker, Until::EndOfInput, stop);
            let outcome = self.stopping(stopper, running).await;
            if matches!(outcome, Err(TaskError::Fenced { .. })) {
                self.board.fenced(instance);
            }
            self.board.ended(instance);
            let error = match outcome {
                // It may have come to its end all the same: the next instance will find that out.
                Ok(_) if self.board.is_leaving(self.host) => return self.board.left(self.host),
                Ok(summary) => {
                    self.board.finish(key, summary.stats);
                    return;
                }
                Err(error) => error,
            };
            self.env.log(format_args!("{key} ended: {error}"));
            let missing = match &error {
                TaskError::MissingRange { topic, partition, needed, start } => {
                    Some((topic, partition, start, Some(*needed)))
                }
                TaskError::MissingTime { topic, partition, start, .. } => Some((topic, partition, start, None)),
                _ => None,
            };
            if let Some((topic, partition, start, needed)) = missing
                && let Some(deletion) = self.board.deletion()
            {
                let gone = &deletion.partition;
                // Readers may meet the new start before whoever moved it is answered.
                let is_that = (topic.as_str(), *partition) == (&*gone.topic, gone.partition)
                    && deletion.start.is_none_or(|moved| moved == *start);
                if is_that && needed.is_none_or(|needed| needed < *start) {
                    return self.board.give_up(key, GaveUp { needed, said: error.to_string() });
                }
                let message = format!("{key} misses what is there: {error}; deleted was {deletion:?}");
                return self.board.fail("loud-gap", message);
            }
            self.board.disturbed(self.host, virtual_ms().unwrap_or(0));
            if !error.is_retryable() && !matches!(error, TaskError::Fenced { .. }) {
                // An operator would look at it: an engine that gives up on an honest log is wrong.
                return self.board.fail(property_of(&error), format!("{key} cannot go on: {error}"));
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(self.worker.restart_backoff_max);
        }
    }
}

impl TaskHost {
    fn witness(&self, key: TaskKey, instance: u64, deployment: &Deployment) -> TaskWitness {
        let inputs = deployment.task(TaskId { stage: key.stage, partition: key.partition }).inputs().to_vec();
        let now = self.board.moment();
        let of = TaskReader {
            task: key,
            group: deployment.group(),
            host: self.host,
            instance,
            started: now,
            began: now,
            restores: false,
            from_time: deployment.start().is_some(),
            positions: Vec::new(),
        };
        TaskWitness::new(self.board.clone(), of, inputs)
    }

    /// Runs an instance, and asks it to stop when the host is asked to leave.
    async fn stopping<T>(&self, stopper: Stopper, running: impl Future<Output = T>) -> T {
        let mut changed = self.board.watch();
        let mut running = std::pin::pin!(running);
        loop {
            changed.borrow_and_update();
            if self.board.is_leaving(self.host) {
                stopper.stop();
            }
            tokio::select! {
                biased;
                ended = &mut running => return ended,
                // The world outlives its hosts.
                _ = changed.changed() => {}
            }
        }
    }
}

/// What does not hold when a task ends for good.
fn property_of(error: &TaskError) -> &'static str {
    match error {
        TaskError::Fault { fault: TaskFault::PromiseBroken { .. }, .. } => "watermark-monotonic",
        TaskError::Fault { .. } => "single-cut",
        TaskError::MissingRange { .. } | TaskError::MissingTime { .. } | TaskError::LogShrank { .. } => "durable",
        _ => "converges",
    }
}
