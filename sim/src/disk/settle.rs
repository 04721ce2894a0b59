//! What a crash leaves of a disk.
//!
//! In: the state at the crash, and the fate. Out: the state that the next incarnation finds, and what was lost. Always:
//! what was synced is there, byte for byte. After a kill the rest is there too, and no more durable than before: a power
//! cut may take it later. A power cut decides now, and what it leaves is durable; each file and each directory has a
//! draw of its own, so that a draw more or less in one moves no other.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Inode, NameChange, State};
use crate::draw::Draw;
use crate::entropy::{counted, counted_between};

/// How a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The process died: all that was written is in the page cache, and stays there, unsynced. A write that it died in
    /// may be there in part.
    Kill,
    /// The power went: what was not synced survives by this draw, or does not.
    PowerCut { draw: u64 },
}

/// What the crash took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Written, unsynced bytes that are gone.
    pub bytes: u64,
    /// Files that kept a part of their unsynced bytes, or garbage in their place.
    pub torn: u64,
    /// Among them those with bytes that were never written there.
    pub garbage: u64,
    /// Creations, removals and renames that are undone.
    pub names: u64,
    /// Cuts that are undone: old bytes are back.
    pub cuts: u64,
}

impl Losses {
    /// Whether the next incarnation can find anything else than the last one left.
    pub fn any(&self) -> bool {
        *self != Losses::default()
    }
}

/// What a disk writes at once.
const SECTOR: usize = 512;

pub(super) fn settle(state: &mut State, fate: Fate, seed: u64) -> Losses {
    state.incarnation += 1;
    state.locks.clear();
    forget_nameless(state);
    let mut losses = Losses::default();
    let operations = state.operations;
    for (id, inode) in state.inodes.iter_mut().filter(|(_, inode)| inode.in_flight > 0) {
        inode.in_flight = 0;
        let from = inode.in_flight_from.max(inode.synced).min(inode.data.len());
        let len = (inode.data.len() - from) as u64;
        let kept = match counted(seed, "interrupted?", &id.to_string(), operations) % 2 {
            0 => len,
            _ => counted_between(seed, "interrupted", &id.to_string(), operations, 0, len),
        };
        losses.bytes += len - kept;
        losses.torn += u64::from(kept > 0 && kept < len);
        inode.data.truncate(from + kept as usize);
    }
    if let Fate::PowerCut { draw } = fate {
        // Names and inodes are numbered, not hashed by address: the same crash draws the same.
        for (id, inode) in &mut state.inodes {
            let mut draw = Draw::new(counted(draw, "power cut", "file", *id), "fate");
            settle_bytes(inode, &mut draw, &mut losses);
        }
        settle_names(state, draw, &mut losses);
        for inode in state.inodes.values_mut() {
            inode.synced = inode.data.len();
            inode.cut.clear();
        }
    }
    forget_nameless(state);
    losses
}

/// Nobody has a file open any more: what has no name, and none that a power cut could bring back, is gone.
fn forget_nameless(state: &mut State) {
    let pending = state.pending.iter().filter_map(NameChange::inode);
    let named: BTreeSet<_> = state.live.values().chain(state.durable.values()).copied().chain(pending).collect();
    state.inodes.retain(|id, _| named.contains(id));
}

fn settle_bytes(inode: &mut Inode, draw: &mut Draw, losses: &mut Losses) {
    let unsynced = inode.data.len() - inode.synced;
    if !inode.cut.is_empty() && draw.chance(1, 2) {
        // The cut never reached the disk, and then nothing that was appended after it did.
        losses.cuts += 1;
        losses.bytes += unsynced as u64;
        inode.data.truncate(inode.synced);
        inode.data.append(&mut inode.cut);
        return;
    }
    if unsynced == 0 {
        return;
    }
    let kept = match draw.weighted(&[4, 2, 8, 3]) {
        0 => 0,
        1 => unsynced,
        // Anywhere, also within a batch or within its header.
        2 => draw.below(unsynced as u64 + 1) as usize,
        // Often just short of the end, where a tear is hardest to see.
        _ => unsynced - (draw.below(24) as usize).min(unsynced),
    };
    losses.bytes += (unsynced - kept) as u64;
    if kept > 0 && kept < unsynced {
        losses.torn += 1;
    }
    let end = inode.synced + kept;
    if kept == unsynced {
        return;
    }
    match draw.weighted(&[5, 2, 2, 2]) {
        0 => inode.data.truncate(end),
        // The last sector is there in name, and holds zeros or what was on the disk before.
        wrong @ (1 | 2) => {
            let zeros = wrong == 1;
            let from = inode.synced.max(end - end % SECTOR);
            let to = (from + SECTOR).min(inode.data.len());
            inode.data.truncate(to);
            inode.data[from..].iter_mut().for_each(|byte| *byte = if zeros { 0 } else { draw.next_u64() as u8 });
            losses.garbage += 1;
        }
        // The length reached the disk and the bytes did not: zeros to the end.
        _ => {
            inode.data[end..].fill(0);
            losses.garbage += 1;
        }
    }
}

fn settle_names(state: &mut State, draw: u64, losses: &mut Losses) {
    let mut by_dir: BTreeMap<String, Vec<NameChange>> = BTreeMap::new();
    for change in std::mem::take(&mut state.pending) {
        by_dir.entry(change.dir().to_owned()).or_default().push(change);
    }
    let all_lost = std::mem::take(&mut state.loses_names);
    for (dir, changes) in by_dir {
        let mut draw = Draw::new(counted(draw, "power cut", &dir, 0), "fate");
        let kept: Vec<bool> = match draw.weighted(&[3, 3, 3, 2]) {
            _ if all_lost => vec![false; changes.len()],
            0 => vec![false; changes.len()],
            1 => vec![true; changes.len()],
            // As a journal keeps them.
            2 => {
                let count = draw.below(changes.len() as u64 + 1) as usize;
                (0..changes.len()).map(|index| index < count).collect()
            }
            // As nothing forbids.
            _ => changes.iter().map(|_| draw.chance(1, 2)).collect(),
        };
        for (change, kept) in changes.iter().zip(kept) {
            if kept {
                change.apply(&mut state.durable);
            } else {
                losses.names += 1;
            }
        }
    }
    state.live = state.durable.clone();
}
