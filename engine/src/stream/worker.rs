//! The worker: the asynchronous shell around [`TaskCore`]s, from the log and back to it.
//!
//! In: committed records of a task's inputs. Out: transactions, each of them one cut: outputs, changelog, markers and the
//! input offsets, visible together or not at all. Between two commits everything is in memory alone, and whatever goes
//! wrong is answered the same way: the instance is dropped, and the next one starts from the log.
//!
//! An instance's life: take over the transactional id (which fences its predecessor), read the group's committed offsets,
//! read the changelog from its last snapshot up to the last stable offset, then read, process, commit until it is told to
//! end. Now and then a commit holds the whole state, and the changelog before it is deleted: a restore takes as long after
//! a year as after a day.
//!
//! - [`run_worker`] runs tasks side by side and restarts them. [`run_task`] runs one, once. [`run_spread`] runs all of
//!   them on several threads.
//! - [`prepare`] makes the topics and registers the schemas, before the first task runs.
//!
//! Beside the broker, and far from it:
//!
//! ```no_run
//! use std::sync::Arc;
//! use engine::broker::{Broker, BrokerConfig};
//! use engine::client::{Client, ClientConfig, SocketConfig, SocketTransport};
//! use engine::env::real::{EnvOptions, env};
//! use engine::stream::Deployment;
//! use engine::stream::worker::{Stop, Until, WorkerSettings, prepare, run_worker};
//!
//! # async fn example(deployment: Deployment, remote: bool) -> Result<(), Box<dyn std::error::Error>> {
//! let env = env(EnvOptions::default());
//! let client = if remote {
//!     let socket = SocketTransport::new(env.clone(), "broker:9092", SocketConfig::default());
//!     Client::new(env.clone(), Arc::new(socket), ClientConfig::default())
//! } else {
//!     let broker = Broker::start(env.clone(), BrokerConfig::new("data")).await?;
//!     Client::new(env.clone(), broker.local(), ClientConfig::default())
//! };
//! prepare(&client, &deployment).await?;
//! let (stopper, stop) = Stop::new();
//! let (tasks, settings) = (deployment.tasks(), WorkerSettings::default());
//! run_worker(&env, &client, &deployment, &tasks, &settings, Until::EndOfInput, stop).await?;
//! # drop(stopper);
//! # Ok(())
//! # }
//! ```
//!
//! A commit's writing overlaps the processing of what comes after its cut; at most one is under way.
//!
//! Invariant: one commit is one transaction. Invariant: a fenced instance ends; it never takes its id back.
//! Invariant: an offset that is needed and gone ends the task with the missing range.
//!
//! [`TaskCore`]: super::TaskCore

mod begin;
mod error;
mod instance;
mod pace;
mod prepare;
mod reader;
mod restore;
mod schemas;
mod settings;
mod spread;
mod supervisor;
mod writer;

pub use error::{PrepareError, TaskError};
pub use instance::{TaskSummary, run_task};
pub use prepare::prepare;
pub use settings::{Stop, Stopper, Until, WorkerSettings};
pub use spread::{SpreadError, run_spread};
pub use supervisor::{WorkerFailure, WorkerSummary, run_worker};
