//! The disk's threads and their queue.
//!
//! In: closures that may block. Out: their results, as futures. Jobs of one [`Lane`] run one at a time in the order in
//! which they were submitted (appends and syncs of a file); jobs without a lane run whenever a thread is free (reads: a
//! read must not wait for a sync in flight).

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::env::BoxFuture;

type Job = Box<dyn FnOnce() + Send>;

/// A handle to the threads; they end when the last handle is dropped.
#[derive(Clone)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    _open: Arc<Open>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

struct Queue {
    ready: VecDeque<Work>,
    closed: bool,
}

enum Work {
    Free(Job),
    /// The lane has at least one job, and no thread works on it.
    Lane(Arc<Lane>),
}

/// Jobs that keep their order.
#[derive(Default)]
pub(super) struct Lane {
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    waiting: VecDeque<Job>,
    /// In the queue, or on a thread.
    scheduled: bool,
}

/// Its drop tells the threads to end.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.0.queue).closed = true;
        self.0.work.notify_all();
    }
}

impl Pool {
    #[expect(clippy::disallowed_methods, reason = "these are the threads behind Env::disk")]
    pub(super) fn start(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { ready: VecDeque::new(), closed: false }),
            work: Condvar::new(),
        });
        for index in 0..threads.max(1) {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("disk-{index}"))
                .spawn(move || run(&shared))
                .expect("the operating system starts a thread for the disk");
        }
        Pool { _open: Arc::new(Open(shared.clone())), shared }
    }

    /// Runs `job` when a thread is free.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (job, answer) = answered(job);
        self.push(Work::Free(job));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Runs `job` when a thread is free; nobody waits for it.
    pub(super) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.push(Work::Free(Box::new(job)));
    }

    /// Runs `job` after every job submitted to `lane` before. It is submitted at the call, not at the first poll.
    pub(super) fn run_in_order<T: Send + 'static>(
        &self,
        lane: &Arc<Lane>,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, io::Result<T>> {
        let (job, answer) = answered(job);
        let idle = {
            let mut state = lock(&lane.state);
            state.waiting.push_back(job);
            !std::mem::replace(&mut state.scheduled, true)
        };
        if idle {
            self.push(Work::Lane(lane.clone()));
        }
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(gone())) })
    }

    fn push(&self, work: Work) {
        lock(&self.shared.queue).ready.push_back(work);
        self.shared.work.notify_one();
    }
}

fn answered<T: Send + 'static>(
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> (Job, oneshot::Receiver<io::Result<T>>) {
    let (sender, answer) = oneshot::channel();
    // Nobody may be waiting any more; the job runs all the same, since its effect was asked for.
    (Box::new(move || drop(sender.send(job()))), answer)
}

/// A job that panicked dropped its sender.
fn gone() -> io::Error {
    io::Error::other("the disk's thread stopped in the middle of the operation")
}

fn run(shared: &Arc<Shared>) {
    let mut queue = lock(&shared.queue);
    loop {
        match queue.ready.pop_front() {
            Some(Work::Free(job)) => {
                drop(queue);
                guarded(job);
            }
            Some(Work::Lane(lane)) => {
                drop(queue);
                let job = lock(&lane.state).waiting.pop_front().expect("a scheduled lane has a job");
                guarded(job);
                let more = {
                    let mut state = lock(&lane.state);
                    state.scheduled = !state.waiting.is_empty();
                    state.scheduled
                };
                if more {
                    lock(&shared.queue).ready.push_back(Work::Lane(lane));
                    shared.work.notify_one();
                }
            }
            None if queue.closed => return,
            None => {
                drop(shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner));
            }
        }
        queue = lock(&shared.queue);
    }
}

/// A panic in a job is its caller's error, and must not cost the pool a thread.
fn guarded(job: Job) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_of_a_lane_keep_their_order_on_many_threads() {
        let pool = Pool::start(4);
        let lane = Arc::new(Lane::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let jobs: Vec<_> = (0..500)
            .map(|index| {
                let seen = seen.clone();
                pool.run_in_order(&lane, move || {
                    lock(&seen).push(index);
                    Ok(index)
                })
            })
            .collect();
        for (index, job) in jobs.into_iter().enumerate() {
            assert_eq!(job.await.expect("runs"), index);
        }
        assert_eq!(*lock(&seen), (0..500).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_job_without_a_lane_overtakes_a_lane_that_is_stuck() {
        let pool = Pool::start(2);
        let lane = Arc::new(Lane::default());
        let (release, stuck) = std::sync::mpsc::channel::<()>();
        let slow = pool.run_in_order(&lane, move || stuck.recv().map_err(io::Error::other));
        assert_eq!(pool.run(|| Ok(7)).await.expect("runs"), 7);
        release.send(()).expect("the job waits");
        slow.await.expect("runs");
    }

    #[tokio::test]
    async fn a_panic_in_a_job_is_an_error_and_the_pool_goes_on() {
        let pool = Pool::start(1);
        let failed: io::Result<()> = pool.run(|| panic!("on purpose")).await;
        assert!(failed.is_err());
        assert_eq!(pool.run(|| Ok(1)).await.expect("runs"), 1);
    }
}
