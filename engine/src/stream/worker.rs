//! The worker: the asynchronous shell around [`TaskCore`]s, from the log and back to it.
//!
//! In: committed records of a task's inputs. Out: transactions, each of them one cut: outputs, changelog, markers and the
//! input offsets, visible together or not at all. Between two commits everything is in memory alone, and whatever goes
//! wrong is answered the same way: the instance is dropped, and the next one starts from the log.
//!
//! An instance's life: take over the transactional id (which fences its predecessor), read the group's committed offsets,
//! read the changelog up to the last stable offset, then read, process, commit until it is told to end.
//!
//! - [`run_worker`] runs tasks side by side and restarts them. [`run_task`] runs one, once.
//! - [`prepare`] makes the topics and registers the schemas, before the first task runs.
//!
//! Invariant: one commit is one transaction. Invariant: a fenced instance ends; it never takes its id back.
//! Invariant: an offset that is needed and gone ends the task with the missing range.
//!
//! [`TaskCore`]: super::TaskCore

mod error;
mod instance;
mod prepare;
mod reader;
mod restore;
mod settings;
mod supervisor;

pub use error::{PrepareError, TaskError};
pub use instance::{TaskSummary, run_task};
pub use prepare::prepare;
pub use settings::{Stop, Stopper, Until, WorkerSettings};
pub use supervisor::{WorkerFailure, WorkerSummary, run_worker};
