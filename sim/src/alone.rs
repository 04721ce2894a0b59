//! One plan at a time in a process, and each begins as the first one did.
//!
//! Tokio numbers the tasks of a process from one counter, and a runtime that is shut down, as a crashed host's is, drops
//! its tasks by their number modulo 4 (its list of tasks has four shards). What is dropped first closes its connection
//! first, so the order goes into the trace, and a seed's trace would depend on how many tasks the seeds before it had
//! spawned in the same process: about one seed in two hundred did differ.
//!
//! Invariant: while a [`Turn`] is held, nothing else in this process that takes one spawns tasks, and the first task has a
//! number that is a multiple of [`SHARDS`].

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A multiple of the shards of a current-thread runtime's list of tasks (4 in tokio 1.54), with room for more.
const SHARDS: u64 = 64;

static RUNNING: Mutex<()> = Mutex::new(());

/// The right to run a plan.
pub struct Turn {
    _held: MutexGuard<'static, ()>,
}

impl Turn {
    /// Waits for whoever runs a plan in this process, then moves the number of the next task to a multiple.
    ///
    /// # Panics
    /// If no runtime can be made: the machine has no memory.
    pub fn take() -> Turn {
        let held = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O");
        runtime.block_on(async { while !(next_number().await + 1).is_multiple_of(SHARDS) {} });
        Turn { _held: held }
    }
}

/// Spends the number of a task that does nothing.
async fn next_number() -> u64 {
    let task = tokio::spawn(async {});
    let number = task.id().to_string().parse().expect("a task's id is a number");
    task.await.expect("a task that does nothing");
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spent_one_by_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (first, second) = runtime.block_on(async { (next_number().await, next_number().await) });
        // Other tests of this process may take some in between.
        assert!(second > first, "{first} {second}");
    }
}
