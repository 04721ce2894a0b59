//! Files of the machine.
//!
//! In: paths and bytes. Out: what POSIX promises: bytes are durable after `fdatasync`, names after `fsync` of their
//! directory. Whatever may block runs on the [`Pool`]; a read of bytes that are in the page cache is made in place
//! (`RWF_NOWAIT`), which spares a warm replay two thread switches a megabyte.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::io::Errno;

use super::ahead::ReadAhead;
use super::buffers::{Buffer, Buffers};
use super::pool::{Lane, Pool};
use crate::env::{BoxFuture, Disk, File, LockGuard, OpenMode};

/// Slices that one system call takes.
const MAX_SLICES: usize = 512;

pub(super) struct Files {
    pool: Pool,
    buffers: Buffers,
}

impl Files {
    pub(super) fn new(threads: usize) -> Files {
        Files { pool: Pool::start(threads), buffers: Buffers::default() }
    }

    fn on_path<'a, T: Send + 'static>(
        &'a self,
        path: &Path,
        job: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'a, io::Result<T>> {
        let path = path.to_path_buf();
        Box::pin(self.pool.run(move || job(path)))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the disk behind Env::disk")]
impl Disk for Files {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        let path = path.to_path_buf();
        Box::pin(async move {
            let file = self
                .pool
                .run(move || match mode {
                    OpenMode::Read => OpenOptions::new().read(true).open(path),
                    OpenMode::Append => {
                        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
                    }
                    OpenMode::Replace => {
                        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
                    }
                })
                .await?;
            let file = Arc::new(file);
            Ok(Arc::new(OpenFile {
                ahead: ReadAhead::new(self.pool.clone(), file.clone()),
                file,
                lane: Arc::new(Lane::default()),
                pool: self.pool.clone(),
                buffers: self.buffers.clone(),
                nowait: Arc::new(AtomicBool::new(cfg!(target_os = "linux"))),
            }) as Arc<dyn File>)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let to = to.to_path_buf();
        self.on_path(from, move |from| fs::rename(from, to))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.on_path(path, fs::remove_file)
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        self.on_path(dir, |dir| {
            let mut names = Vec::new();
            for entry in fs::read_dir(&dir)? {
                let name = entry?.file_name();
                let name = name.into_string().map_err(|name| {
                    io::Error::new(
                        ErrorKind::InvalidData,
                        format!("a name that is not UTF-8 in {}: {name:?}", dir.display()),
                    )
                })?;
                names.push(name);
            }
            names.sort_unstable();
            Ok(names)
        })
    }

    fn create_dir_all<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.on_path(dir, |dir| create_durably(&dir))
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.on_path(dir, |dir| fs::File::open(dir)?.sync_all())
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn LockGuard>>> {
        self.on_path(path, |path| {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            // flock: it is released with the file, by the kernel too when the process dies.
            match file.try_lock() {
                Ok(()) => Ok(Box::new(Locked { _file: file }) as Box<dyn LockGuard>),
                Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
                Err(TryLockError::Error(error)) => Err(error),
            }
        })
    }
}

/// Creates what is missing from the top down, each name synced in its parent.
#[expect(clippy::disallowed_methods, reason = "this is the disk behind Env::disk")]
fn create_durably(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    create_durably(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => {}
        other => other?,
    }
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    fs::File::open(parent)?.sync_all()
}

struct Locked {
    _file: fs::File,
}

impl LockGuard for Locked {}

struct OpenFile {
    file: Arc<fs::File>,
    lane: Arc<Lane>,
    pool: Pool,
    buffers: Buffers,
    /// Whether the file system answers `RWF_NOWAIT`; learned at the first read.
    nowait: Arc<AtomicBool>,
    ahead: ReadAhead,
}

impl File for OpenFile {
    fn append(&self, data: Vec<Bytes>) -> BoxFuture<'_, io::Result<u64>> {
        let file = self.file.clone();
        self.pool.run_in_order(&self.lane, move || {
            let end = file.metadata()?.len();
            write_all(&file, &data, end)?;
            Ok(end)
        })
    }

    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            let mut buffer = self.buffers.take(len);
            let mut filled = 0;
            let read = position..position + len as u64;
            if self.nowait.load(Ordering::Relaxed) {
                match read_cached(&self.file, position, buffer.space(len)) {
                    Ok(Cached::All(count)) => {
                        self.ahead.found(read);
                        return Ok(buffer.freeze(count));
                    }
                    Ok(Cached::Part(count)) => filled = count,
                    // Not all file systems can say that they would block.
                    Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => self.nowait.store(false, Ordering::Relaxed),
                    Err(error) => return Err(error.into()),
                }
            }
            let told = self.nowait.load(Ordering::Relaxed);
            let ask_ahead = self.ahead.missed(read, position + filled as u64, told);
            let file = self.file.clone();
            let rest = move || {
                ask_ahead();
                read_rest(&file, position, buffer, filled, len)
            };
            self.pool.run(rest).await
        })
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        let file = self.file.clone();
        self.pool.run_in_order(&self.lane, move || file.sync_data())
    }

    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        let file = self.file.clone();
        self.pool.run_in_order(&self.lane, move || {
            let end = file.metadata()?.len();
            if len > end {
                return Err(io::Error::new(ErrorKind::InvalidInput, format!("cannot cut {end} bytes to {len}")));
            }
            file.set_len(len)
        })
    }

    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        let file = self.file.clone();
        self.pool.run_in_order(&self.lane, move || Ok(file.metadata()?.len()))
    }
}

fn write_all(file: &fs::File, data: &[Bytes], mut position: u64) -> io::Result<()> {
    for group in data.chunks(MAX_SLICES) {
        let mut slices: Vec<IoSlice<'_>> =
            group.iter().filter(|bytes| !bytes.is_empty()).map(|bytes| IoSlice::new(bytes)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match rustix::io::pwritev(file, left, position) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    position += count as u64;
                    IoSlice::advance_slices(&mut left, count);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

enum Cached {
    /// The space is full, or the file ends there.
    All(usize),
    /// So many bytes are filled; the rest is not in memory.
    Part(usize),
}

/// Reads what is in the page cache, without ever waiting for the disk.
#[cfg(target_os = "linux")]
fn read_cached(file: &fs::File, position: u64, space: &mut [u8]) -> Result<Cached, Errno> {
    let mut filled = 0;
    while filled < space.len() {
        let mut slices = [io::IoSliceMut::new(&mut space[filled..])];
        match rustix::io::preadv2(file, &mut slices, position + filled as u64, rustix::io::ReadWriteFlags::NOWAIT) {
            // Only a read that may wait tells where the file ends.
            Ok(0) | Err(Errno::AGAIN) => return Ok(Cached::Part(filled)),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Cached::All(filled))
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_file: &fs::File, _position: u64, _space: &mut [u8]) -> Result<Cached, Errno> {
    Err(Errno::NOSYS)
}

fn read_rest(file: &fs::File, position: u64, mut buffer: Buffer, mut filled: usize, len: usize) -> io::Result<Bytes> {
    use std::os::unix::fs::FileExt as _;
    while filled < len {
        match file.read_at(&mut buffer.space(len)[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.freeze(filled))
}
