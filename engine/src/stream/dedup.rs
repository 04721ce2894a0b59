//! Which ids a source partition has kept, for as long as a copy must be recognised.
//!
//! Rule: a record is a duplicate iff an earlier *kept* record of its source partition has its id and the record's own
//! watermark is below that one's event time + horizon. Duplicates do not renew it.
//! Kept records of one id never overlap (a second is kept only once the first has expired), so the last one is enough.
//! Expired ids are forgotten when the table has doubled since they were last looked through; a lookup compares the expiry
//! itself, so that moment is not seen.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::types::Millis;

use super::changelog::{TAG_ID, state_share};

/// The table is not looked through while it is smaller.
const PURGE_MIN: usize = 1 << 12;

#[derive(Clone, Copy)]
struct Kept {
    id: u128,
    event_time: i64,
    /// Whether the changelog has it.
    persisted: bool,
}

/// The ids of one source partition.
pub(super) struct Dedup {
    horizon: i64,
    ids: HashTable<Kept>,
    /// The size at which expired ids are looked for.
    purge_at: usize,
    /// Kept since the last commit, unless there were too many to list: then all are looked through.
    changed: Vec<u128>,
    unlisted: bool,
    /// Forgotten since the last commit, although the changelog has them.
    gone: Vec<u128>,
    pub digest: u64,
}

/// A changed id: its event time, or `None` when it is forgotten.
pub(super) struct Change {
    pub key: [u8; 17],
    pub event_time: Option<i64>,
}

fn record_key(id: u128) -> [u8; 17] {
    let mut key = [TAG_ID; 17];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

fn share(id: u128, event_time: i64) -> u64 {
    state_share(&record_key(id), &event_time.to_be_bytes())
}

/// The same in every process; the table's order is never seen.
#[inline]
fn hash(id: u128) -> u64 {
    // Both halves of the product are mixed: the table looks at the top bits and at the low ones.
    let seed: u64 = mutant!("another-hash-seed", 0x9e37_79b9_7f4a_7c15, 0x1f83_d9ab_fb41_bd6b);
    let folded = (id as u64 ^ seed) ^ ((id >> 64) as u64).rotate_left(32);
    let product = u128::from(folded) * 0xa076_1d64_78bd_642f;
    (product >> 64) as u64 ^ product as u64
}

impl Dedup {
    pub fn new(horizon: Millis) -> Dedup {
        Dedup {
            horizon: horizon.0,
            ids: HashTable::new(),
            purge_at: PURGE_MIN,
            changed: Vec::new(),
            unlisted: false,
            gone: Vec::new(),
            digest: 0,
        }
    }

    /// Judges a record by its own watermark: `true` = keep it, and remember it; `false` = a duplicate.
    #[inline]
    pub fn keep(&mut self, id: u128, event_time: i64, own: i64) -> bool {
        if self.ids.len() >= self.purge_at {
            self.purge(own);
        }
        // One that is expired at birth would never be found.
        let findable = own < event_time + self.horizon;
        let kept = Kept { id, event_time, persisted: false };
        match self.ids.entry(hash(id), |kept| kept.id == id, |kept| hash(kept.id)) {
            Entry::Occupied(mut entry) => {
                let before = *entry.get();
                let horizon = mutant!("horizon-one-short", self.horizon, self.horizon - 1);
                if mutant!("expired-id-still-counts", own < before.event_time + horizon, true) {
                    mutant!("copy-renews-horizon", {}, {
                        if findable && event_time > before.event_time {
                            *entry.get_mut() = kept;
                            self.forgotten(before);
                            self.list(id);
                        }
                    });
                    return false;
                }
                if findable {
                    *entry.get_mut() = kept;
                } else {
                    entry.remove();
                }
                self.forgotten(before);
            }
            Entry::Vacant(entry) => {
                if findable {
                    entry.insert(kept);
                }
            }
        }
        if findable && !self.unlisted {
            self.list(id);
        }
        true
    }

    fn list(&mut self, id: u128) {
        self.changed.push(id);
        // Beyond this, looking through the table is the shorter way.
        if self.changed.len() > PURGE_MIN.max(self.ids.len() / 8) {
            self.changed.clear();
            self.unlisted = true;
        }
    }

    fn forgotten(&mut self, kept: Kept) {
        if kept.persisted {
            self.digest = self.digest.wrapping_sub(share(kept.id, kept.event_time));
            self.gone.push(kept.id);
        }
    }

    /// Forgets what the watermark has passed.
    #[cold]
    fn purge(&mut self, watermark: i64) {
        let mut persisted = Vec::new();
        self.ids.retain(|kept| {
            let keep = watermark < kept.event_time + mutant!("ids-purged-early", self.horizon, 0);
            if !keep && kept.persisted {
                persisted.push(*kept);
            }
            keep
        });
        // The table's order ends here: `gone` is sorted before it is written, and the digest is a sum.
        persisted.into_iter().for_each(|kept| self.forgotten(kept));
        self.purge_at = PURGE_MIN.max(2 * self.ids.len());
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.ids.allocation_size() + (self.changed.capacity() + self.gone.capacity()) * size_of::<u128>()
    }

    /// What changed since the last call, with `whole` also every other id, in id order; what `watermark` has passed need
    /// not be known any more.
    pub fn take_changes(&mut self, watermark: i64, whole: bool, mut write: impl FnMut(Change)) {
        if whole {
            self.purge(watermark);
            // As if each were new.
            for kept in self.ids.iter_mut().filter(|kept| kept.persisted) {
                kept.persisted = false;
                self.digest = self.digest.wrapping_sub(share(kept.id, kept.event_time));
            }
            self.unlisted = true;
        }
        let mut ids = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.unlisted) {
            self.purge(watermark);
            ids.extend(self.ids.iter().filter(|kept| !kept.persisted).map(|kept| kept.id));
        }
        let mut gone = std::mem::take(&mut self.gone);
        gone.sort_unstable();
        ids.extend_from_slice(&gone);
        ids.sort_unstable();
        ids.dedup();
        for id in &ids {
            let kept = self.ids.find_mut(hash(*id), |kept| kept.id == *id);
            match kept {
                Some(kept) if kept.persisted => {}
                Some(kept) if watermark < kept.event_time + self.horizon => {
                    kept.persisted = true;
                    self.digest = self.digest.wrapping_add(share(*id, kept.event_time));
                    write(Change { key: record_key(*id), event_time: Some(kept.event_time) });
                }
                // Kept and expired between two commits: the changelog need not know it, only forget an earlier one.
                _ if gone.binary_search(id).is_ok() => write(Change { key: record_key(*id), event_time: None }),
                _ => {}
            }
        }
        ids.clear();
        // After a look through the whole table the list is as long as that, and will not be for long.
        ids.shrink_to(2 * PURGE_MIN);
        gone.clear();
        (self.changed, self.gone) = (ids, gone);
    }

    /// Takes one entry of the changelog.
    pub fn restore(&mut self, id: u128, event_time: Option<i64>) {
        if let Ok(entry) = self.ids.find_entry(hash(id), |kept| kept.id == id) {
            let (kept, _) = entry.remove();
            self.digest = self.digest.wrapping_sub(share(id, kept.event_time));
        }
        if let Some(event_time) = event_time {
            let kept = Kept { id, event_time, persisted: true };
            self.ids.insert_unique(hash(id), kept, |kept| hash(kept.id));
            self.digest = self.digest.wrapping_add(share(id, event_time));
            self.purge_at = self.purge_at.max(self.ids.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_copy_is_a_duplicate_until_the_watermark_passes_event_time_plus_horizon() {
        let mut dedup = Dedup::new(Millis(100));
        assert!(dedup.keep(1, 50, i64::MIN));
        assert!(!dedup.keep(1, 50, 149));
        assert!(dedup.keep(1, 50, 150), "and one that is kept then is expired at birth");
        assert!(dedup.keep(1, 50, 151));
        assert!(dedup.keep(1, 90, 151));
        assert!(!dedup.keep(1, 300, 189), "a duplicate does not renew");
        assert!(dedup.keep(1, 300, 190));
    }

    #[test]
    fn what_expires_between_two_commits_leaves_no_trace_and_what_was_written_is_deleted() {
        let mut dedup = Dedup::new(Millis(10));
        assert!(dedup.keep(1, 0, i64::MIN));
        dedup.take_changes(1_000, false, |_| panic!("nothing to write"));
        assert!(dedup.keep(2, 1_000, 1_000));
        let mut written = Vec::new();
        dedup.take_changes(1_000, false, |change| written.push((change.key[16], change.event_time)));
        assert_eq!(written, [(2, Some(1_000))]);
        dedup.purge(2_000);
        written.clear();
        dedup.take_changes(2_000, false, |change| written.push((change.key[16], change.event_time)));
        assert_eq!((written, dedup.digest, dedup.len()), (vec![(2, None)], 0, 0));
    }

    proptest! {
        /// Against the rule as it is written; many ids, so that lists overflow and tables are purged; restarts from what
        /// the changes add up to.
        #[test]
        fn the_rule_holds_through_purges_and_restores(
            steps in prop::collection::vec((0_u64..4, 0_u64..9_000, 0_i64..40, 0_u8..100), 1..12),
        ) {
            let horizon = 1_000;
            let mut dedup = Dedup::new(Millis(horizon));
            let mut model: BTreeMap<u128, i64> = BTreeMap::new();
            let mut changelog: BTreeMap<[u8; 17], i64> = BTreeMap::new();
            let mut own = i64::MIN;
            let mut clock = 0_i64;
            for (pattern, many, step, dice) in steps {
                for index in 0..many {
                    clock += step * i64::from(index % 8 == 0);
                    let id = u128::from(if pattern == 0 { index % 50 } else { index * pattern + clock as u64 });
                    let event_time = clock - (index % 300) as i64;
                    let kept = model.get(&id).is_none_or(|before| own >= before + horizon);
                    if kept {
                        model.insert(id, event_time);
                    }
                    prop_assert_eq!(dedup.keep(id, event_time, own), kept, "id {} at {}", id, own);
                    own = own.max(clock - 100);
                }
                if dice < 60 {
                    let whole = dice % 3 == 0;
                    let mut alone: BTreeMap<[u8; 17], i64> = BTreeMap::new();
                    dedup.take_changes(own, whole, |change| {
                        if let Some(event_time) = change.event_time {
                            alone.insert(change.key, event_time);
                        }
                        match change.event_time {
                            Some(event_time) => changelog.insert(change.key, event_time),
                            None => changelog.remove(&change.key),
                        };
                    });
                    let digest = changelog.iter().fold(0_u64, |sum, (key, event_time)| {
                        sum.wrapping_add(state_share(key, &event_time.to_be_bytes()))
                    });
                    prop_assert_eq!(dedup.digest, digest);
                    prop_assert!(!whole || alone == changelog, "a snapshot says all, without what came before");
                    if dice < 20 {
                        dedup = Dedup::new(Millis(horizon));
                        for (key, event_time) in &changelog {
                            let id = u128::from_be_bytes(key[1..].try_into().expect("16 bytes"));
                            dedup.restore(id, Some(*event_time));
                        }
                    }
                }
            }
        }
    }
}
