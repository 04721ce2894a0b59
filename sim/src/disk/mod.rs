//! A host's disk: it outlives the host's crashes and knows what was synced.
//!
//! In: the calls of [`engine::env::Disk`], and the world's verdict on a crash ([`Fate`]). Out: what POSIX promises and
//! not a byte more. Always: bytes are durable after a sync of their file, names after a sync of their directory; a kill
//! keeps all that was written, but perhaps part of the write it struck, and makes nothing durable; a power cut, then or
//! later, decides for each file and each directory by a draw of its own. Handles of an incarnation that crashed answer
//! nothing for ever.

mod handle;
mod settle;
mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::env::Disk;

pub use settle::{Fate, Losses};

use crate::effects::{Effects, FaultId};
use crate::gate::Gate;
use crate::trace::{Kind, Trace};
use state::{State, clean, is_segment};

/// How long a sync takes, at least and at most, in virtual milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncTime {
    pub min_ms: u64,
    pub max_ms: u64,
}

/// The disk of one host. Cheap to clone; every clone is the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Inner>);

struct Inner {
    host: String,
    seed: u64,
    sync_time: SyncTime,
    trace: Trace,
    effects: Effects,
    state: Mutex<State>,
    faults: Mutex<Vec<Fault>>,
}

/// A fault in force.
struct Fault {
    id: FaultId,
    kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultKind {
    SlowSync {
        extra_ms: u64,
    },
    /// The sync that many from now fails; 1 is the next.
    FailSync {
        left: u32,
        pages: Pages,
    },
    FailRead {
        left: u32,
    },
    Full,
}

/// What a failing sync does to the bytes that it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pages {
    /// They stay in the page cache.
    Stay,
    /// They are gone from there too, if there are any.
    Go,
    /// As [`Pages::Go`]; a sync for which there are none does not fail, and leaves the fault to the next.
    MustGo,
}

impl SimDisk {
    /// An empty disk.
    ///
    /// # Panics
    /// When a sync could take less than a millisecond: nothing would then lie between write and sync.
    pub fn new(host: &str, seed: u64, sync_time: SyncTime, trace: Trace, effects: Effects) -> SimDisk {
        let SyncTime { min_ms, max_ms } = sync_time;
        assert!(min_ms >= 1 && max_ms >= min_ms, "a sync takes {min_ms} to {max_ms} ms");
        SimDisk(Arc::new(Inner {
            host: host.to_string(),
            seed,
            sync_time,
            trace,
            effects,
            state: Mutex::new(State::default()),
            faults: Mutex::default(),
        }))
    }

    /// The disk as the present incarnation of the host sees it.
    pub fn handle(&self, gate: Gate) -> Arc<dyn Disk> {
        let incarnation = self.lock().incarnation;
        Arc::new(handle::Handle { disk: self.clone(), gate, incarnation })
    }

    /// The host is gone: decides what is left of its disk, ends its locks and handles.
    pub fn settle(&self, fate: Fate) -> Losses {
        let losses = settle::settle(&mut self.lock(), fate, self.0.seed);
        self.0.faults().retain(|fault| matches!(fault.kind, FaultKind::SlowSync { .. } | FaultKind::Full));
        self.0.trace.record(&self.0.host, Kind::Fault, &format!("settle {fate:?}: {losses:?}"), &[]);
        losses
    }

    /// Every sync takes `extra_ms` longer until `id` is lifted.
    pub fn slow_syncs(&self, id: FaultId, extra_ms: u64) {
        self.0.faults().push(Fault { id, kind: FaultKind::SlowSync { extra_ms } });
    }

    /// The `nth` sync from now (from 1) fails, and nothing of it is durable.
    pub fn fail_sync(&self, id: FaultId, nth: u32) {
        self.0.faults().push(Fault { id, kind: FaultKind::FailSync { left: nth.max(1), pages: Pages::Stay } });
    }

    /// The `nth` sync from now (from 1) fails, and the bytes that it was for, if any, are gone: nobody reads them
    /// again.
    pub fn fail_sync_for_good(&self, id: FaultId, nth: u32) {
        self.0.faults().push(Fault { id, kind: FaultKind::FailSync { left: nth.max(1), pages: Pages::Go } });
    }

    /// As [`SimDisk::fail_sync_for_good`], but for the first sync from the `nth` on that is for any bytes.
    pub fn lose_pages(&self, id: FaultId, nth: u32) {
        self.0.faults().push(Fault { id, kind: FaultKind::FailSync { left: nth.max(1), pages: Pages::MustGo } });
    }

    /// The next power cut undoes every change of names that no sync of its directory has made durable.
    pub fn lose_names(&self) {
        self.lock().loses_names = true;
    }

    /// Flips a bit of a closed log segment: bytes that were synced long ago, as far as the log can tell. Which bit, `draw`
    /// decides, and of which file, among those `of` whose path it may be. The bit is right again when `id` is lifted; nobody but
    /// the host ever sees the wrong one. Answers the file; `None` when there is none.
    pub fn rot(&self, id: FaultId, of: &dyn Fn(&str) -> bool, draw: u64) -> Option<PathBuf> {
        let mut state = self.lock();
        let (path, bit) = state.rot(id, of, draw)?;
        drop(state);
        self.0.trace.record(&self.0.host, Kind::Fault, &format!("bit {bit} of {} flips", path.display()), &[]);
        Some(path)
    }

    /// How often a failed sync took the bytes that it was for with it.
    pub fn lost_pages(&self) -> u64 {
        self.lock().lost_pages
    }

    /// The `nth` read from now (from 1) fails.
    pub fn fail_read(&self, id: FaultId, nth: u32) {
        self.0.faults().push(Fault { id, kind: FaultKind::FailRead { left: nth.max(1) } });
    }

    /// Appends find no space, after part of their bytes, until `id` is lifted.
    pub fn fill(&self, id: FaultId) {
        self.0.faults().push(Fault { id, kind: FaultKind::Full });
    }

    /// Ends the faults of `id`.
    pub fn lift(&self, id: FaultId) {
        self.0.faults().retain(|fault| fault.id != id);
        self.lock().rotten.retain(|rot| rot.id != id);
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.0.faults().clear();
        self.lock().rotten.clear();
    }

    /// What a process on the host would read now; `None` when there is no such file. For the checks, outside of any
    /// host.
    pub fn read_file(&self, path: &Path) -> Option<Vec<u8>> {
        self.lock().content(&clean(path))
    }

    /// Every file's path, sorted.
    pub fn list_files(&self) -> Vec<PathBuf> {
        self.lock().live.keys().map(|path| PathBuf::from(&**path)).collect()
    }

    /// Every file.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.lock();
        state.live.keys().map(|path| (PathBuf::from(&**path), state.content(path).unwrap_or_default())).collect()
    }

    /// What every file held that was removed, when it was last removed. For the checks: an engine that deletes what it
    /// needs must not delete the proof, too.
    pub fn removed(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.lock().removed.iter().map(|(path, bytes)| (PathBuf::from(&**path), bytes.clone())).collect()
    }

    /// How many bytes a power cut could lose now.
    pub fn unsynced_bytes(&self) -> u64 {
        self.lock().inodes.values().map(|inode| (inode.data.len() - inode.synced) as u64).sum()
    }

    /// Whether a log holds bytes that were written and not synced.
    pub fn has_unsynced_log(&self) -> bool {
        let state = self.lock();
        let mut logs = state.live.iter().filter(|(path, _)| is_segment(path));
        logs.any(|(_, inode)| state.inodes.get(inode).is_some_and(|inode| inode.data.len() > inode.synced))
    }

    /// Whether a segment of a log has a name that a power cut could take.
    pub fn has_unsynced_segment(&self) -> bool {
        let state = self.lock();
        let mut logs = state.live.iter().filter(|(path, _)| is_segment(path));
        logs.any(|(path, inode)| state.durable.get(path) != Some(inode))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By how much a sync that is for so many bytes is slower, and how it fails, if it does.
    fn faults_of_sync(&self, bytes: usize) -> (u64, Option<SyncFails>) {
        let (mut extra, mut failed, mut lost) = (0, None, Pages::Stay);
        self.faults().retain_mut(|fault| match &mut fault.kind {
            FaultKind::SlowSync { extra_ms } => {
                // Only a call that fails for it makes it visible; the world sees that.
                extra += *extra_ms;
                self.effects.effective(fault.id);
                true
            }
            FaultKind::FailSync { left, pages: Pages::MustGo } if bytes == 0 => {
                *left = (*left - 1).max(1);
                true
            }
            FaultKind::FailSync { left, pages } => {
                let stays = due(left, fault.id, &mut failed);
                if !stays {
                    lost = *pages;
                }
                stays
            }
            FaultKind::FailRead { .. } | FaultKind::Full => true,
        });
        let failed = failed.map(|id| SyncFails { id, pages: lost });
        // What must lose something tells when it has.
        self.tell(failed.filter(|fails| fails.pages != Pages::MustGo).map(|fails| fails.id));
        (extra, failed)
    }

    fn read_fails(&self) -> bool {
        let mut failed = None;
        self.faults().retain_mut(|fault| match &mut fault.kind {
            FaultKind::FailRead { left } => due(left, fault.id, &mut failed),
            _ => true,
        });
        self.tell(failed);
        failed.is_some()
    }

    fn is_full(&self) -> bool {
        let full = self.faults().iter().find(|fault| fault.kind == FaultKind::Full).map(|fault| fault.id);
        self.tell(full);
        full.is_some()
    }

    /// An injected failure takes effect, and the engine sees it: as an error.
    fn tell(&self, id: Option<FaultId>) {
        if let Some(id) = id {
            self.effects.effective(id);
            self.effects.visible(id);
        }
    }
}

/// How a sync fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SyncFails {
    id: FaultId,
    pages: Pages,
}

/// Counts a fault down; whether it stays.
fn due(left: &mut u32, id: FaultId, struck: &mut Option<FaultId>) -> bool {
    if *left == 1 && struck.is_none() {
        *struck = Some(id);
        return false;
    }
    *left = (*left - 1).max(1);
    true
}

#[cfg(test)]
mod tests;
