//! A worker on several threads: one runtime each, the tasks spread over them, nothing shared but the broker.

use std::io;

use super::super::Deployment;
use super::settings::{Stop, Until, WorkerSettings};
use super::supervisor::{WorkerFailure, WorkerSummary, run_worker};
use crate::client::Client;
use crate::env::Env;
use crate::env::real::threads;

/// Why a spread worker ended early.
#[derive(Debug, thiserror::Error)]
pub enum SpreadError {
    #[error("a worker's thread failed: {0}")]
    Thread(#[from] io::Error),
    #[error(transparent)]
    Worker(#[from] WorkerFailure),
}

/// Runs every task of the deployment, task *i* on thread *i* modulo `count`, each thread kept on a core of its own. A
/// thread whose worker fails stops the others, which commit first.
///
/// # Errors
/// The first failure.
pub async fn run_spread(
    env: &Env,
    client: &Client,
    deployment: &Deployment,
    settings: &WorkerSettings,
    count: usize,
    until: Until,
    stop: Stop,
) -> Result<WorkerSummary, SpreadError> {
    assert!(count > 0, "a worker has at least one thread");
    let tasks = deployment.tasks();
    let (stopper, all) = Stop::new();
    let mut workers = Vec::new();
    for thread in 0..count.min(tasks.len()) {
        let share: Vec<_> = tasks.iter().copied().skip(thread).step_by(count).collect();
        let (env, client, deployment) = (env.clone(), client.clone(), deployment.clone());
        let (settings, until, stopper, all) = (settings.clone(), until.clone(), stopper.clone(), all.clone());
        workers.push(threads::start(&format!("worker-{thread}"), Some(thread), move || async move {
            let outcome = run_worker(&env, &client, &deployment, &share, &settings, until, all).await;
            if outcome.is_err() {
                // The others would wait for what will never come.
                stopper.stop();
            }
            outcome
        })?);
    }
    let mut summary = WorkerSummary::default();
    let mut failure = None;
    let mut asked = stop;
    let mut forwarded = false;
    for worker in workers {
        let finished = worker.finished();
        tokio::pin!(finished);
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut finished => break outcome?,
                () = asked.asked(), if !forwarded => {
                    forwarded = true;
                    stopper.stop();
                }
            }
        };
        match outcome {
            Ok(done) => summary.tasks.extend(done.tasks),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        None => Ok(summary),
        Some(failure) => Err(failure.into()),
    }
}
