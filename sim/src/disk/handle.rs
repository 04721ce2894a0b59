//! The disk as one incarnation of the host uses it: [`engine::env::Disk`] over the shared state.
//!
//! Always: an operation takes effect in one poll, and only while the host runs; after the crash of its incarnation a
//! handle answers nothing for ever. Appends are in the file before their future is ready: a crash in between leaves
//! bytes that nobody was told of.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::env::{BoxFuture, Disk, File, LockGuard, OpenMode};

use super::state::{InodeId, Name, State, clean};
use super::{Inner, Pages, SimDisk, SyncFails};
use crate::entropy::{counted, counted_between};
use crate::gate::Gate;
use crate::trace::Kind;

#[derive(Clone)]
pub(super) struct Handle {
    pub(super) disk: SimDisk,
    pub(super) gate: Gate,
    pub(super) incarnation: u64,
}

impl Handle {
    fn inner(&self) -> &Inner {
        &self.disk.0
    }

    /// Applies `change`; never ready when the handle's incarnation is gone.
    async fn apply<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut state = self.disk.lock();
            if state.incarnation == self.incarnation {
                state.operations += 1;
                Some(change(&mut state))
            } else {
                None
            }
        };
        match result {
            Some(result) => result,
            None => pending().await,
        }
    }

    /// A call of the disk goes through threads, and others of the host may run before its answer comes.
    async fn dawdle(&self) {
        let ordinal = self.disk.lock().operations;
        for _ in 0..counted(self.inner().seed, "disk yields", &self.inner().host, ordinal) % 3 {
            tokio::task::yield_now().await;
        }
    }

    /// One append of eight takes a millisecond, so that a crash can strike within it.
    async fn now_and_then_a_moment(&self) {
        let ordinal = self.disk.lock().operations;
        if counted(self.inner().seed, "append", &self.inner().host, ordinal).is_multiple_of(8) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The time that a sync takes which is for so many bytes; how it fails, if it does.
    async fn wait_for_sync(&self, bytes: usize) -> Option<SyncFails> {
        let inner = self.inner();
        let ordinal = self
            .apply(|state| {
                state.syncs += 1;
                state.syncs
            })
            .await;
        let (extra_ms, failed) = inner.faults_of_sync(bytes);
        let time = inner.sync_time;
        let ms = counted_between(inner.seed, "sync", &inner.host, ordinal, time.min_ms, time.max_ms);
        tokio::time::sleep(Duration::from_millis(ms + extra_ms)).await;
        failed
    }

    fn trace(&self, kind: Kind, what: &str, payload: &[u8]) {
        self.inner().trace.record(&self.inner().host, kind, what, payload);
    }

    fn changes<'a, T: Send + 'a>(
        &'a self,
        what: &'static str,
        path: &'a Path,
        change: impl FnOnce(&mut State) -> io::Result<T> + Send + 'a,
    ) -> BoxFuture<'a, io::Result<T>> {
        Box::pin(self.gate.hold(async move {
            let result = self.apply(change).await;
            self.trace(Kind::DiskChange, &format!("{what} {}", path.display()), &[]);
            self.dawdle().await;
            result
        }))
    }
}

fn injected(what: &str) -> io::Error {
    io::Error::other(format!("{what} failed: the disk reports an error"))
}

impl Disk for Handle {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        self.changes("open", path, move |state| {
            let inode = state.open(path, mode)?;
            Ok(Arc::new(OpenFile { handle: self.clone(), inode, mode, path: (&*clean(path)).into() }) as Arc<dyn File>)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.changes("rename to", to, move |state| state.rename(from, to))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.changes("remove", path, move |state| state.remove(path))
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(self.gate.hold(async move {
            let names = self.apply(|state| state.list(dir)).await;
            self.dawdle().await;
            names
        }))
    }

    fn create_dir_all<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.changes("create directory", dir, move |state| state.create_dir_all(dir))
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.gate.hold(async move {
            self.apply(|state| state.must_be_dir(dir)).await?;
            if self.wait_for_sync(0).await.is_some() {
                return Err(injected("the directory's sync"));
            }
            self.trace(Kind::DiskSync, &dir.to_string_lossy(), &[]);
            self.apply(|state| state.sync_dir(dir)).await
        }))
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn LockGuard>>> {
        self.changes("lock", path, move |state| {
            let path = state.lock(path)?;
            Ok(Box::new(Locked { disk: self.disk.clone(), incarnation: self.incarnation, path }) as Box<dyn LockGuard>)
        })
    }
}

struct Locked {
    disk: SimDisk,
    incarnation: u64,
    path: Name,
}

impl LockGuard for Locked {}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        // The crash took the locks of its incarnation with it; one of that name now is another's.
        if state.incarnation == self.incarnation {
            state.locks.remove(&self.path);
        }
    }
}

struct OpenFile {
    handle: Handle,
    inode: InodeId,
    mode: OpenMode,
    path: Name,
}

impl OpenFile {
    fn writable(&self) -> io::Result<()> {
        match self.mode {
            OpenMode::Read => Err(io::Error::new(ErrorKind::PermissionDenied, "the file is open for reading")),
            OpenMode::Append | OpenMode::Replace => Ok(()),
        }
    }
}

/// An append whose caller has not been told. Its end comes with the answer, or when the caller waits no longer; not with
/// a crash, which finds it under way.
struct InFlight<'a> {
    file: &'a OpenFile,
    end: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let handle = &self.file.handle;
        let mut state = handle.disk.lock();
        if !handle.gate.is_frozen() && state.incarnation == handle.incarnation {
            state.appended(self.file.inode, self.end);
        }
    }
}

fn len_of(data: &[Bytes]) -> u64 {
    data.iter().map(|bytes| bytes.len() as u64).sum()
}

impl File for OpenFile {
    fn append(&self, data: Vec<Bytes>) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(self.handle.gate.hold(async move {
            self.writable()?;
            if self.handle.inner().is_full() {
                let part: Vec<Bytes> = data.iter().take(1).map(|bytes| bytes.slice(..bytes.len() / 2)).collect();
                let position = self.handle.apply(|state| state.append(self.inode, &part)).await;
                drop(InFlight { file: self, end: position + len_of(&part) });
                return Err(io::Error::new(ErrorKind::StorageFull, "no space left on the disk"));
            }
            let position = self.handle.apply(|state| state.append(self.inode, &data)).await;
            let in_flight = InFlight { file: self, end: position + len_of(&data) };
            self.handle.trace(Kind::DiskWrite, &format!("{}@{position}", self.path), &data.concat());
            self.handle.dawdle().await;
            self.handle.now_and_then_a_moment().await;
            drop(in_flight);
            Ok(position)
        }))
    }

    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(self.handle.gate.hold(async move {
            if self.handle.inner().read_fails() {
                return Err(injected("the read"));
            }
            let (bytes, rotten) = self.handle.apply(|state| state.read(self.inode, position, len)).await;
            rotten.into_iter().for_each(|id| self.handle.inner().effects.effective(id));
            self.handle.dawdle().await;
            Ok(bytes)
        }))
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.handle.gate.hold(async move {
            let (len, unsynced) =
                self.handle.apply(|state| (state.sync_begins(self.inode), state.unsynced(self.inode))).await;
            if let Some(fails) = self.handle.wait_for_sync(unsynced).await {
                if fails.pages != Pages::Stay {
                    let inner = self.handle.inner();
                    let draw = counted(inner.seed, "lost pages", &inner.host, len as u64);
                    let lost = self.handle.apply(|state| state.lose_pages(self.inode, draw)).await;
                    // The others have told already.
                    inner.tell((fails.pages == Pages::MustGo && lost > 0).then_some(fails.id));
                }
                self.handle.trace(Kind::Fault, &format!("sync failed {}", self.path), &[]);
                return Err(injected("the sync"));
            }
            self.handle.apply(|state| state.sync_ends(self.inode, len)).await;
            self.handle.trace(Kind::DiskSync, &format!("{} to {len}", self.path), &[]);
            Ok(())
        }))
    }

    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.handle.gate.hold(async move {
            self.writable()?;
            let result = self.handle.apply(|state| state.truncate(self.inode, len)).await;
            self.handle.trace(Kind::DiskChange, &format!("truncate {} to {len}", self.path), &[]);
            self.handle.dawdle().await;
            result
        }))
    }

    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(
            self.handle
                .gate
                .hold(async move { Ok(self.handle.apply(|state| state.sync_begins(self.inode) as u64).await) }),
        )
    }
}
