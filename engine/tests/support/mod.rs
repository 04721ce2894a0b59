//! A disk in memory that can lose what was not synced, fail, and freeze at a named point; and an `Env` around it.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use engine::env::{
    BoxFuture, Clock, Disk, Duplex, Entropy, Env, File, Listener, LockGuard, Logger, Network, OpenMode, Point, Points,
};
use engine::types::Timestamp;

/// Deterministic numbers for the fate of unsynced bytes.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

#[derive(Default)]
struct Inode {
    content: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Default)]
struct Platter {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    synced_names: BTreeMap<PathBuf, u64>,
    dirs: Vec<PathBuf>,
    next_inode: u64,
    /// Every call pends from now on.
    frozen: bool,
    /// Freezes at the n-th passing of this point.
    freeze_at: Option<(Point, u32)>,
    /// Whoever reaches this point stays there; the disk works on.
    hold_at: Option<Point>,
    /// Freezes before the n-th operation.
    freeze_after: Option<u32>,
    fail_syncs: bool,
    fail_appends: bool,
    passed: BTreeMap<Point, u32>,
    reads: u32,
    bytes_read: u64,
    syncs: u32,
}

/// The disk; clones share it.
#[derive(Clone, Default)]
pub struct TestDisk(Arc<Mutex<Platter>>);

impl TestDisk {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    pub fn env(&self) -> Env {
        let parts = Arc::new(self.clone());
        Env::new(parts.clone(), parts.clone(), parts.clone(), parts.clone(), Some(parts.clone()), parts)
    }

    /// Every call of whoever uses the disk pends, for ever: the host is dead and does not know it. [`TestDisk::thaw`] is
    /// for its successor.
    pub fn freeze(&self) {
        self.platter().frozen = true;
    }

    pub fn freeze_at(&self, point: Point, passing: u32) {
        self.platter().freeze_at = Some((point, passing));
    }

    pub fn hold_at(&self, point: Point) {
        self.platter().hold_at = Some(point);
    }

    pub fn freeze_after(&self, operations: u32) {
        self.platter().freeze_after = Some(operations);
    }

    pub fn is_frozen(&self) -> bool {
        self.platter().frozen
    }

    pub fn fail_syncs(&self, fail: bool) {
        self.platter().fail_syncs = fail;
    }

    pub fn fail_appends(&self, fail: bool) {
        self.platter().fail_appends = fail;
    }

    pub fn thaw(&self) {
        let mut platter = self.platter();
        platter.frozen = false;
        platter.freeze_at = None;
        platter.hold_at = None;
        platter.freeze_after = None;
    }

    pub fn passed(&self, point: Point) -> u32 {
        self.platter().passed.get(&point).copied().unwrap_or(0)
    }

    /// (reads, bytes read, syncs) so far.
    pub fn counts(&self) -> (u32, u64, u32) {
        let platter = self.platter();
        (platter.reads, platter.bytes_read, platter.syncs)
    }

    /// What was not synced is lost, kept or torn, as the dice fall.
    pub fn power_cut(&self, dice: &mut Dice) {
        let mut platter = self.platter();
        let platter = &mut *platter;
        for inode in platter.inodes.values_mut() {
            if inode.content == inode.synced {
                continue;
            }
            if !inode.content.starts_with(&inode.synced) {
                if dice.below(2) == 0 {
                    inode.content = inode.synced.clone();
                }
                continue;
            }
            let unsynced = inode.content.len() - inode.synced.len();
            let kept = inode.synced.len() + dice.below(unsynced + 1);
            inode.content.truncate(kept);
            if kept > inode.synced.len() && dice.below(2) == 0 {
                // Torn: a piece of what was kept never reached the platter.
                let from = inode.synced.len() + dice.below(kept - inode.synced.len());
                let fill = if dice.below(2) == 0 { 0 } else { dice.next() as u8 };
                let to = from + dice.below(kept - from + 1);
                inode.content[from..to].fill(fill);
            }
        }
        let paths: Vec<PathBuf> = platter.names.keys().chain(platter.synced_names.keys()).cloned().collect();
        for path in paths {
            let (now, synced) = (platter.names.get(&path).copied(), platter.synced_names.get(&path).copied());
            if now != synced && dice.below(2) == 0 {
                match synced {
                    Some(inode) => platter.names.insert(path, inode),
                    None => platter.names.remove(&path),
                };
            }
        }
        platter.synced_names = platter.names.clone();
        for inode in platter.inodes.values_mut() {
            inode.synced = inode.content.clone();
        }
    }

    pub fn list_files(&self) -> Vec<PathBuf> {
        self.platter().names.keys().cloned().collect()
    }

    pub fn read_file(&self, path: &Path) -> Option<Vec<u8>> {
        let platter = self.platter();
        let inode = platter.names.get(path)?;
        Some(platter.inodes[inode].content.clone())
    }

    /// Changes a file behind the engine's back.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut platter = self.platter();
        let id = platter.names[path];
        let inode = platter.inodes.get_mut(&id).unwrap();
        change(&mut inode.content);
        inode.synced = inode.content.clone();
    }

    pub fn put_file(&self, path: &Path, content: Vec<u8>) {
        let mut platter = self.platter();
        platter.next_inode += 1;
        let id = platter.next_inode;
        platter.inodes.insert(id, Inode { synced: content.clone(), content });
        platter.names.insert(path.to_owned(), id);
        platter.synced_names.insert(path.to_owned(), id);
    }

    pub fn remove_file(&self, path: &Path) {
        let mut platter = self.platter();
        platter.names.remove(path);
        platter.synced_names.remove(path);
    }

    /// Runs one operation; it may be the one that never ends.
    fn operate<'a, T: Send + 'a>(
        &'a self,
        work: impl FnOnce(&mut Platter) -> io::Result<T> + Send + 'a,
    ) -> BoxFuture<'a, io::Result<T>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let result = {
                let mut platter = self.platter();
                if let Some(left) = &mut platter.freeze_after {
                    match left.checked_sub(1) {
                        Some(less) => *left = less,
                        None => platter.frozen = true,
                    }
                }
                if platter.frozen { None } else { Some(work(&mut platter)) }
            };
            match result {
                Some(result) => {
                    tokio::task::yield_now().await;
                    result
                }
                None => pending().await,
            }
        })
    }
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for TestDisk {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        self.operate(move |platter| {
            let id = match platter.names.get(path) {
                Some(&id) => id,
                None if mode == OpenMode::Read => return Err(not_found()),
                None => {
                    platter.next_inode += 1;
                    platter.inodes.insert(platter.next_inode, Inode::default());
                    platter.names.insert(path.to_owned(), platter.next_inode);
                    platter.next_inode
                }
            };
            if mode == OpenMode::Replace {
                platter.inodes.get_mut(&id).unwrap().content.clear();
            }
            let writable = mode != OpenMode::Read;
            Ok(Arc::new(TestFile { disk: self.clone(), id, writable }) as Arc<dyn File>)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.operate(move |platter| {
            let id = platter.names.remove(from).ok_or_else(not_found)?;
            platter.names.insert(to.to_owned(), id);
            Ok(())
        })
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.operate(move |platter| platter.names.remove(path).map(|_| ()).ok_or_else(not_found))
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        self.operate(move |platter| {
            if !platter.dirs.iter().any(|known| known == dir) {
                return Err(not_found());
            }
            let inside = platter.names.keys().filter(|path| path.parent() == Some(dir));
            Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
        })
    }

    fn create_dir_all<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.operate(move |platter| {
            if !platter.dirs.iter().any(|known| known == dir) {
                platter.dirs.push(dir.to_owned());
            }
            Ok(())
        })
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.operate(move |platter| {
            platter.synced_names.retain(|path, _| path.parent() != Some(dir));
            let inside = platter.names.iter().filter(|(path, _)| path.parent() == Some(dir));
            platter.synced_names.extend(inside.map(|(path, id)| (path.clone(), *id)));
            Ok(())
        })
    }

    fn lock<'a>(&'a self, _path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn LockGuard>>> {
        unreachable!("a log takes no lock")
    }
}

struct TestFile {
    disk: TestDisk,
    id: u64,
    writable: bool,
}

impl File for TestFile {
    fn append(&self, data: Vec<Bytes>) -> BoxFuture<'_, io::Result<u64>> {
        self.disk.operate(move |platter| {
            assert!(self.writable, "append to a file that was opened for reading");
            if platter.fail_appends {
                return Err(io::Error::other("no space"));
            }
            let content = &mut platter.inodes.get_mut(&self.id).unwrap().content;
            let position = content.len() as u64;
            for piece in data {
                content.extend_from_slice(&piece);
            }
            Ok(position)
        })
    }

    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        self.disk.operate(move |platter| {
            let content = &platter.inodes[&self.id].content;
            let from = (position as usize).min(content.len());
            let to = from.saturating_add(len).min(content.len());
            let bytes = Bytes::copy_from_slice(&content[from..to]);
            platter.reads += 1;
            platter.bytes_read += bytes.len() as u64;
            Ok(bytes)
        })
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        self.disk.operate(move |platter| {
            if platter.fail_syncs {
                return Err(io::Error::other("broken"));
            }
            platter.syncs += 1;
            let inode = platter.inodes.get_mut(&self.id).unwrap();
            inode.synced = inode.content.clone();
            Ok(())
        })
    }

    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        self.disk.operate(move |platter| {
            platter.inodes.get_mut(&self.id).unwrap().content.truncate(len as usize);
            Ok(())
        })
    }

    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.disk.operate(move |platter| Ok(platter.inodes[&self.id].content.len() as u64))
    }
}

impl Points for TestDisk {
    fn reach(&self, point: Point) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let frozen = {
                let mut platter = self.platter();
                let passed = platter.passed.entry(point).or_default();
                *passed += 1;
                if let Some((at, left)) = &mut platter.freeze_at
                    && *at == point
                {
                    match left.checked_sub(1) {
                        Some(less) => *left = less,
                        None => platter.frozen = true,
                    }
                }
                platter.frozen || platter.hold_at == Some(point)
            };
            if frozen {
                pending::<()>().await;
            }
            tokio::task::yield_now().await;
        })
    }
}

impl Clock for TestDisk {
    fn now(&self) -> Timestamp {
        // Far from any event time of the tests: a marker must not be taken for data.
        Timestamp(1 << 50)
    }
}

impl Entropy for TestDisk {
    fn next_u64(&self) -> u64 {
        unreachable!("a log draws nothing")
    }
}

impl Network for TestDisk {
    fn connect<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Duplex>>> {
        unreachable!("a log has no network")
    }

    fn bind<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        unreachable!("a log has no network")
    }
}

impl Logger for TestDisk {
    fn log(&self, _line: std::fmt::Arguments<'_>) {}
}
