//! What is on a disk, twice: as the running host sees it, and as much of it as is known to be durable.
//!
//! In: operations, applied at once. Out: the live view. Always: an inode's durable bytes are `data[..synced]`, followed,
//! if the file was cut and not synced since, by `cut`; a directory's durable names are `durable` restricted to it, and
//! `pending` lists, in order, what leads from there to `live`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use engine::env::OpenMode;

use crate::draw::Draw;
use crate::effects::FaultId;

pub(super) type InodeId = u64;

/// A [`clean`] path. Text: to compare paths is to compare their components, one by one, and a world does little else.
pub(super) type Name = Arc<str>;

#[derive(Default)]
pub(super) struct State {
    pub(super) incarnation: u64,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) live: BTreeMap<Name, InodeId>,
    pub(super) durable: BTreeMap<Name, InodeId>,
    pub(super) dirs: BTreeSet<Name>,
    pub(super) pending: Vec<NameChange>,
    pub(super) locks: BTreeSet<Name>,
    /// What each removed file held, the last time that it was removed: no host sees it, the checks do.
    pub(super) removed: BTreeMap<Name, Vec<u8>>,
    /// Bits that are wrong when they are read.
    pub(super) rotten: Vec<Rot>,
    /// The next power cut keeps no name that is not durable.
    pub(super) loses_names: bool,
    pub(super) lost_pages: u64,
    next_inode: InodeId,
    /// Counts operations, syncs and crashes: the ordinals of their draws.
    pub(super) operations: u64,
    pub(super) syncs: u64,
}

/// A bit that reads wrong. The bytes themselves stay as they were written: healing forgets the rot.
pub(super) struct Rot {
    pub(super) id: FaultId,
    inode: InodeId,
    position: usize,
    mask: u8,
}

#[derive(Default)]
pub(super) struct Inode {
    pub(super) data: Vec<u8>,
    pub(super) synced: usize,
    /// Durable bytes from `synced` on that were cut off; the cut is not durable.
    pub(super) cut: Vec<u8>,
    /// Appends whose callers have not been told, and where the first of them begins.
    pub(super) in_flight: u32,
    pub(super) in_flight_from: usize,
}

/// A change of names that no sync of its directory has made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameChange {
    Create { path: Name, inode: InodeId },
    Remove { path: Name },
    Rename { from: Name, to: Name, inode: InodeId },
}

impl NameChange {
    /// The directory whose sync makes it durable: where the name appears, or was.
    pub(super) fn dir(&self) -> &str {
        let (NameChange::Create { path, .. } | NameChange::Remove { path } | NameChange::Rename { to: path, .. }) =
            self;
        parent(path)
    }

    /// What it gives a name to.
    pub(super) fn inode(&self) -> Option<InodeId> {
        match self {
            NameChange::Create { inode, .. } | NameChange::Rename { inode, .. } => Some(*inode),
            NameChange::Remove { .. } => None,
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<Name, InodeId>) {
        match self {
            NameChange::Create { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Remove { path } => {
                names.remove(path);
            }
            NameChange::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }
}

/// Whether it is a file of a log's records.
pub(super) fn is_segment(path: &str) -> bool {
    path.ends_with(".log")
}

/// The path without what does not matter (`a//b/./c`).
pub(super) fn clean(path: &Path) -> Cow<'_, str> {
    let text = path.to_string_lossy();
    let plain = !text.contains("//") && !text.contains("/.") && !text.starts_with('.') && !text.ends_with('/');
    if plain {
        return text;
    }
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir));
    Cow::Owned(parts.collect::<PathBuf>().to_string_lossy().into_owned())
}

/// Of a clean path; of a name without a directory, and of the root itself, the empty one.
fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) if path.len() > 1 => "/",
        Some(end) => &path[..end],
        None => "",
    }
}

/// A clean path and all that it lies in.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| Some(parent(path)).filter(|parent| parent != path && !parent.is_empty()))
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{path}: no such file or directory"))
}

fn is_a_directory(path: &str) -> io::Error {
    io::Error::new(ErrorKind::IsADirectory, format!("{path} is a directory"))
}

impl State {
    fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || path == "/" || self.dirs.contains(path)
    }

    pub(super) fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.live.get(path).map(|inode| self.inodes[inode].data.clone())
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<InodeId> {
        let path = &*clean(path);
        if self.is_dir(path) {
            return Err(is_a_directory(path));
        }
        match (self.live.get(path).copied(), mode) {
            (Some(inode), OpenMode::Read | OpenMode::Append) => Ok(inode),
            (Some(inode), OpenMode::Replace) => {
                self.truncate(inode, 0)?;
                Ok(inode)
            }
            (None, OpenMode::Read) => Err(not_found(path)),
            (None, _) if !self.is_dir(parent(path)) => Err(not_found(parent(path))),
            (None, OpenMode::Append | OpenMode::Replace) => {
                let inode = self.next_inode;
                self.next_inode += 1;
                self.inodes.insert(inode, Inode::default());
                self.change(NameChange::Create { path: path.into(), inode });
                Ok(inode)
            }
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (&*clean(from), &*clean(to));
        if self.is_dir(from) {
            return Err(io::Error::new(ErrorKind::Unsupported, "directories are not renamed here"));
        }
        let inode = *self.live.get(from).ok_or_else(|| not_found(from))?;
        if self.is_dir(to) {
            return Err(is_a_directory(to));
        }
        if !self.is_dir(parent(to)) {
            return Err(not_found(parent(to)));
        }
        if from != to {
            self.change(NameChange::Rename { from: from.into(), to: to.into(), inode });
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let path = &*clean(path);
        let (name, inode) = self.live.get_key_value(path).ok_or_else(|| not_found(path))?;
        let name = name.clone();
        self.removed.insert(name.clone(), self.inodes[inode].data.clone());
        self.change(NameChange::Remove { path: name });
        Ok(())
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    pub(super) fn must_be_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = &*clean(dir);
        if self.is_dir(dir) { Ok(()) } else { Err(not_found(dir)) }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let dir = &*clean(dir);
        if !self.is_dir(dir) {
            return Err(not_found(dir));
        }
        let below = if dir.is_empty() || dir == "/" { dir.to_owned() } else { format!("{dir}/") };
        let from = (Bound::Included(&*below), Bound::Unbounded);
        let files = self.live.range::<str, _>(from).map(|(path, _)| path).map_while(|path| path.strip_prefix(&*below));
        let dirs = self.dirs.range::<str, _>(from).map_while(|path| path.strip_prefix(&*below));
        let inside = files.chain(dirs).filter(|name| !name.is_empty() && !name.contains('/'));
        let mut names: Vec<String> = inside.map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        let dir = &*clean(dir);
        if let Some(file) = ancestors(dir).find(|path| self.live.contains_key(*path)) {
            return Err(io::Error::new(ErrorKind::NotADirectory, format!("{file} is a file")));
        }
        let missing: Vec<Name> = ancestors(dir).filter(|path| !self.is_dir(path)).map(Name::from).collect();
        self.dirs.extend(missing);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let dir = &*clean(dir);
        if !self.is_dir(dir) {
            return Err(not_found(dir));
        }
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let synced = change.dir() == dir;
            if synced {
                change.apply(durable);
            }
            !synced
        });
        Ok(())
    }

    pub(super) fn lock(&mut self, path: &Path) -> io::Result<Name> {
        self.open(path, OpenMode::Append)?;
        let path: Name = (&*clean(path)).into();
        if !self.locks.insert(path.clone()) {
            return Err(io::Error::new(ErrorKind::WouldBlock, format!("{path} is locked")));
        }
        Ok(path)
    }

    pub(super) fn append(&mut self, inode: InodeId, data: &[Bytes]) -> u64 {
        let inode = self.inodes.get_mut(&inode).expect("an open file has an inode");
        let position = inode.data.len();
        if inode.in_flight == 0 {
            inode.in_flight_from = position;
        }
        inode.in_flight += 1;
        data.iter().for_each(|bytes| inode.data.extend_from_slice(bytes));
        position as u64
    }

    /// The caller of the append that ended there is told: it is written, and so is what was appended before it.
    pub(super) fn appended(&mut self, inode: InodeId, end: u64) {
        let inode = self.inodes.get_mut(&inode).expect("an open file has an inode");
        inode.in_flight -= 1;
        inode.in_flight_from = inode.in_flight_from.max(end as usize);
    }

    /// The bytes, and the rot that is among them.
    pub(super) fn read(&self, inode: InodeId, position: u64, len: usize) -> (Bytes, Vec<FaultId>) {
        let data = &self.inodes[&inode].data;
        let start = usize::try_from(position).unwrap_or(usize::MAX).min(data.len());
        let end = start.saturating_add(len).min(data.len());
        let mut met = Vec::new();
        if self.rotten.is_empty() {
            return (Bytes::copy_from_slice(&data[start..end]), met);
        }
        let mut bytes = data[start..end].to_vec();
        for rot in self.rotten.iter().filter(|rot| rot.inode == inode && (start..end).contains(&rot.position)) {
            bytes[rot.position - start] ^= rot.mask;
            met.push(rot.id);
        }
        (bytes.into(), met)
    }

    /// See [`super::SimDisk::rot`].
    pub(super) fn rot(&mut self, id: FaultId, of: &dyn Fn(&str) -> bool, draw: u64) -> Option<(PathBuf, usize)> {
        let segments: Vec<&Name> = self.live.keys().filter(|path| is_segment(path) && of(path)).collect();
        // Names sort by offset: a segment that has a successor is closed. While a power cut can still take the successor
        // away, the segment may yet be the last, where a flipped bit cannot be told from a torn write.
        let closes = |pair: &&[&Name]| parent(pair[0]) == parent(pair[1]) && self.durable.contains_key(pair[1]);
        let closed = segments.windows(2).filter(closes).map(|pair| pair[0]);
        let closed: Vec<&Name> = closed.filter(|path| !self.inodes[&self.live[*path]].data.is_empty()).collect();
        let mut draw = Draw::new(draw, "rot");
        let path = (!closed.is_empty()).then(|| (*draw.pick(&closed)).clone())?;
        let inode = self.live[&path];
        let len = self.inodes[&inode].data.len() as u64;
        // Every third time within the first header, parts of which no checksum covers.
        let position = if draw.chance(1, 3) { draw.below(len.min(61)) } else { draw.below(len) } as usize;
        let bit = draw.below(8) as usize;
        self.rotten.push(Rot { id, inode, position, mask: 1 << bit });
        Some((PathBuf::from(&*path), position * 8 + bit))
    }

    /// How many bytes of a file are not durable.
    pub(super) fn unsynced(&self, inode: InodeId) -> usize {
        let inode = &self.inodes[&inode];
        inode.data.len() - inode.synced
    }

    /// The unsynced bytes of a file are gone from the page cache, and were never on the disk: the file ends before them,
    /// or has zeros in their place. How many they were.
    pub(super) fn lose_pages(&mut self, inode: InodeId, draw: u64) -> usize {
        let lost = self.unsynced(inode);
        let inode = self.inodes.get_mut(&inode).expect("an open file has an inode");
        self.lost_pages += u64::from(lost > 0);
        match draw % 2 {
            0 => inode.data.truncate(inode.synced),
            _ => inode.data[inode.synced..].fill(0),
        }
        lost
    }

    pub(super) fn truncate(&mut self, inode: InodeId, len: u64) -> io::Result<()> {
        let inode = self.inodes.get_mut(&inode).expect("an open file has an inode");
        let end = inode.data.len();
        if len > end as u64 {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("cannot cut {end} bytes to {len}")));
        }
        let len = len as usize;
        if len < inode.synced {
            let mut cut = inode.data[len..inode.synced].to_vec();
            cut.append(&mut inode.cut);
            inode.cut = cut;
            inode.synced = len;
        }
        inode.data.truncate(len);
        Ok(())
    }

    /// What a sync that begins now will make durable.
    pub(super) fn sync_begins(&self, inode: InodeId) -> usize {
        self.inodes[&inode].data.len()
    }

    /// The sync has ended. Bytes that were cut meanwhile are not there any more.
    pub(super) fn sync_ends(&mut self, inode: InodeId, len: usize) {
        let inode = self.inodes.get_mut(&inode).expect("an open file has an inode");
        inode.synced = inode.synced.max(len.min(inode.data.len()));
        inode.cut.clear();
    }
}
