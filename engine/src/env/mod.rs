//! The only door to time, network, disk, entropy and the tasks of a process.
//!
//! Everything above this module is the same code in production and in the simulator: [`real`] implements these traits
//! on the machine, the simulator implements them on its world. Waiting is always `tokio::time`.

pub mod point;
pub mod real;

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::types::Timestamp;
pub use point::Point;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Wall time. May be skewed, may jump; never decides an output.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// Reliable byte streams between named addresses (`host:port`).
pub trait Network: Send + Sync {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Duplex>>>;
    /// Listens on `address`; port 0 picks a free one.
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
}

/// A connection: bytes in order both ways, until either side closes or the network breaks it.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open port.
pub trait Listener: Send + Sync {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Duplex>>>;
    /// The bound `host:port`, with the real port where 0 was asked for.
    fn local_address(&self) -> String;
}

/// How [`Disk::open`] treats a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist; writes fail.
    Read,
    /// Read and append; created when absent.
    Append,
    /// Read and append; created when absent, emptied when present.
    Replace,
}

/// Files in directories.
///
/// What is durable: bytes of a file after [`File::sync`]; that a file exists under a name, or no longer does, after
/// [`Disk::sync_dir`] on its directory. Before that a power cut may keep or lose either, in any combination; a kill of
/// the process loses nothing that was written.
pub trait Disk: Send + Sync {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> BoxFuture<'a, io::Result<Arc<dyn File>>>;
    /// Atomic; replaces `to`.
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// Removes a file.
    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// The names in a directory (files and directories), sorted. `NotFound` when it does not exist.
    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>>;
    /// Creates a directory and its parents, durably; fine when it exists.
    fn create_dir_all<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>>;
    /// Takes an exclusive lock that lasts until the guard is dropped or the process dies. `WouldBlock` when held.
    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn LockGuard>>>;
}

/// Held for as long as the lock is.
pub trait LockGuard: Send + Sync {}

#[expect(clippy::len_without_is_empty, reason = "a length asked of the disk, not a collection's")]
/// An open file. Appends go to its end; there are no holes and no overwrites.
pub trait File: Send + Sync {
    /// Appends the slices in order and returns the position of the first byte. After an error the file's tail is
    /// unknown.
    fn append(&self, data: Vec<Bytes>) -> BoxFuture<'_, io::Result<u64>>;
    /// Reads up to `len` bytes at `position`; shorter only at the end of the file.
    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>>;
    /// Makes every append that returned before this call durable. After an error nothing is known of them.
    fn sync(&self) -> BoxFuture<'_, io::Result<()>>;
    /// Cuts the file to `len` bytes; durable after [`File::sync`].
    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>>;
    fn len(&self) -> BoxFuture<'_, io::Result<u64>>;
}

/// Random bits.
pub trait Entropy: Send + Sync {
    fn next_u64(&self) -> u64;
}

/// Where the engine tells its surroundings that it passes a named moment; a no-op in production. The simulator crashes,
/// pauses or yields here.
pub trait Points: Send + Sync {
    fn reach(&self, point: Point) -> BoxFuture<'_, ()>;
}

/// Where tasks run: what is started here ends with the process, in the simulator with the host. There, whoever starts one
/// must be a task of that host.
pub trait Tasks: Send + Sync {
    /// Runs `task` beside the others, to its end or to theirs.
    fn spawn(&self, task: BoxFuture<'static, ()>) -> JoinHandle<()>;
}

impl Tasks for Handle {
    #[expect(clippy::disallowed_methods, reason = "this is what others are to call")]
    fn spawn(&self, task: BoxFuture<'static, ()>) -> JoinHandle<()> {
        Handle::spawn(self, task)
    }
}

/// The parts, held together; cheap to clone.
#[derive(Clone)]
pub struct Env {
    clock: Arc<dyn Clock>,
    network: Arc<dyn Network>,
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    /// `None` in production: passing a point then costs one branch.
    points: Option<Arc<dyn Points>>,
    logger: Arc<dyn Logger>,
    tasks: fn() -> Arc<dyn Tasks>,
}

/// Where the engine's own log lines go (stderr in production, the trace in the simulator).
pub trait Logger: Send + Sync {
    fn log(&self, line: std::fmt::Arguments<'_>);
}

impl Env {
    pub fn new(
        clock: Arc<dyn Clock>,
        network: Arc<dyn Network>,
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        points: Option<Arc<dyn Points>>,
        logger: Arc<dyn Logger>,
    ) -> Env {
        Env { clock, network, disk, entropy, points, logger, tasks: || Arc::new(Handle::current()) }
    }

    /// The same surroundings with other tasks than those of tokio's runtime.
    #[must_use]
    pub fn with_tasks(mut self, tasks: fn() -> Arc<dyn Tasks>) -> Env {
        self.tasks = tasks;
        self
    }

    /// The tasks beside which the caller runs, to start others there, also from another runtime of the same process.
    pub fn tasks(&self) -> Arc<dyn Tasks> {
        (self.tasks)()
    }

    /// The same surroundings, told of every point that is passed.
    #[must_use]
    pub fn with_points(mut self, points: Arc<dyn Points>) -> Env {
        self.points = Some(points);
        self
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn network(&self) -> &dyn Network {
        &*self.network
    }

    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub fn next_u64(&self) -> u64 {
        self.entropy.next_u64()
    }

    /// Passes a named moment.
    pub async fn reach(&self, point: Point) {
        if let Some(points) = &self.points {
            points.reach(point).await;
        }
    }

    /// Logs one line: `env.log(format_args!("closed {peer}: {reason}"))`.
    pub fn log(&self, line: std::fmt::Arguments<'_>) {
        self.logger.log(line);
    }
}
