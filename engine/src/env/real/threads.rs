//! Threads with a runtime each: one a core, tasks spread over them, nothing shared but the broker's log.
//!
//! In: a function that builds the thread's main future. Out: a handle to wait for its result. This is the only place that
//! starts threads besides the disk's pool.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// After how many polls of tasks a runtime looks at its timers and sockets. A task that replays takes milliseconds a poll,
/// and there is always one that is ready: with tokio's 61 a timer would be noticed a quarter of a second late.
const EVENT_INTERVAL: u32 = 4;
/// After how many polls it looks for tasks that another thread has woken: a disk's answer should not wait for the rounds.
const REMOTE_INTERVAL: u32 = 1;

/// A current-thread runtime with timers and network, for this thread.
///
/// # Errors
/// When the operating system refuses what it needs.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .event_interval(EVENT_INTERVAL)
        .global_queue_interval(REMOTE_INTERVAL)
        .enable_all()
        .build()
}

/// A thread at work.
pub struct Worker<T> {
    thread: std::thread::JoinHandle<()>,
    result: oneshot::Receiver<io::Result<T>>,
}

/// Starts a thread named `name` with a current-thread runtime of its own, and runs there what `main` builds. With `core`
/// the thread stays on that core (counted among those the process may use, and wrapped around); where that cannot be
/// done it runs anywhere.
///
/// # Errors
/// When the thread cannot be started.
#[expect(clippy::disallowed_methods, reason = "this is where a process gets its threads")]
pub fn start<T, F, M>(name: &str, core: Option<usize>, main: M) -> io::Result<Worker<T>>
where
    T: Send + 'static,
    F: Future<Output = T>,
    M: FnOnce() -> F + Send + 'static,
{
    let (sender, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_string()).spawn(move || {
        if let Some(core) = core {
            pin(core);
        }
        // A receiver that is gone wanted no result.
        let _ = sender.send(runtime().map(|runtime| runtime.block_on(async { main().await })));
    })?;
    Ok(Worker { thread, result })
}

impl<T> Worker<T> {
    /// Waits for the result without blocking the caller's thread.
    ///
    /// # Errors
    /// When the thread's runtime could not be built, or the thread panicked.
    pub async fn finished(self) -> io::Result<T> {
        self.result.await.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    }

    /// Blocks until the thread has ended: for a caller that is no async code.
    ///
    /// # Panics
    /// When the thread panicked, with its panic.
    ///
    /// # Errors
    /// When the thread's runtime could not be built.
    pub fn join(mut self) -> io::Result<T> {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
        self.result.try_recv().expect("a thread that ended without a panic left its result")
    }
}

/// Keeps the calling thread on the `index`-th core that it may use. A wish, not a promise: where it fails the thread
/// runs where it likes.
#[cfg(target_os = "linux")]
pub fn pin(index: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    if cores.is_empty() {
        return;
    }
    let mut one = CpuSet::new();
    one.set(cores[index % cores.len()]);
    let _ = sched_setaffinity(None, &one);
}

/// Keeps the calling thread on a core, where the system has a way to say so.
#[cfg(not(target_os = "linux"))]
pub fn pin(_index: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_runs_its_future_on_its_own_runtime_and_returns_the_result() {
        let worker = start("worker", Some(0), || async {
            let local = std::rc::Rc::new(20);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            *local + 1
        })
        .expect("starts");
        assert_eq!(worker.join().expect("has a result"), 21);
    }

    #[tokio::test]
    async fn a_panic_in_a_worker_reaches_the_one_who_waits() {
        let worker = start("worker", None, || async { panic!("on purpose") }).expect("starts");
        let result: io::Result<()> = worker.finished().await;
        assert!(result.is_err());
    }
}
