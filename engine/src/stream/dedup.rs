//! Which ids a source partition has kept, for as long as a copy must be recognised.
//!
//! Rule: a record is a duplicate iff an earlier *kept* record of its source partition has its id and the record's own
//! watermark is below that one's event time + horizon. Duplicates do not renew it.
//! Kept records of one id never overlap (a second is kept only once the first has expired), so the last one is enough.
//! Ids are forgotten some time after they expire; a lookup compares the expiry itself, so that moment is not seen.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

use hashbrown::HashMap;

use crate::types::Millis;

use super::changelog::{TAG_ID, state_share};

/// A hasher with a fixed seed; the order of a map that uses it is never seen.
#[derive(Clone, Copy, Debug, Default)]
struct Fixed;

struct FixedHasher(u64);

impl BuildHasher for Fixed {
    type Hasher = FixedHasher;
    fn build_hasher(&self) -> FixedHasher {
        FixedHasher(0)
    }
}

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }
    fn write_u128(&mut self, id: u128) {
        // Both halves of the product are mixed: the map looks at the top bits and at the low ones.
        let folded = (id as u64 ^ 0x9e37_79b9_7f4a_7c15) ^ ((id >> 64) as u64).rotate_left(32);
        let product = u128::from(folded) * 0xa076_1d64_78bd_642f;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

#[derive(Clone, Copy)]
struct Kept {
    event_time: i64,
    /// Whether the changelog has it.
    persisted: bool,
}

/// The ids of one source partition.
pub(super) struct Dedup {
    horizon: i64,
    /// Ids by expiry are purged a slice at a time.
    slice: i64,
    ids: HashMap<u128, Kept, Fixed>,
    /// expiry / slice → ids that may have expired by the slice's end.
    expiries: BTreeMap<i64, Vec<u128>>,
    changed: Vec<u128>,
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

impl Dedup {
    pub fn new(horizon: Millis) -> Dedup {
        Dedup {
            horizon: horizon.0,
            slice: (horizon.0 / 16).max(1),
            ids: HashMap::with_hasher(Fixed),
            expiries: BTreeMap::new(),
            changed: Vec::new(),
            gone: Vec::new(),
            digest: 0,
        }
    }

    /// Judges a record by its own watermark: `true` = keep it, and remember it; `false` = a duplicate.
    pub fn keep(&mut self, id: u128, event_time: i64, own: i64) -> bool {
        let horizon = self.horizon;
        if let Some(kept) = self.ids.get(&id) {
            if own < kept.event_time + horizon {
                return false;
            }
            self.forget(id);
        }
        // One that is expired at birth would never be found.
        if own < event_time + horizon {
            self.ids.insert(id, Kept { event_time, persisted: false });
            self.changed.push(id);
            self.expiries.entry((event_time + horizon).div_euclid(self.slice)).or_default().push(id);
        }
        true
    }

    fn forget(&mut self, id: u128) {
        if let Some(kept) = self.ids.remove(&id)
            && kept.persisted
        {
            self.digest = self.digest.wrapping_sub(share(id, kept.event_time));
            self.gone.push(id);
        }
    }

    /// Forgets what the watermark has passed.
    pub fn purge(&mut self, watermark: i64) {
        while let Some(slice) = self.expiries.first_entry() {
            // Everything in the slice expires before the next one begins.
            if watermark < (*slice.key() + 1) * self.slice {
                return;
            }
            for id in slice.remove() {
                // The id may have been kept again since, with a later expiry and an entry of its own.
                if self.ids.get(&id).is_some_and(|kept| kept.event_time + self.horizon <= watermark) {
                    self.forget(id);
                }
            }
        }
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// What changed since the last call, in id order.
    pub fn take_changes(&mut self, mut write: impl FnMut(Change)) {
        let mut ids = std::mem::take(&mut self.changed);
        ids.append(&mut self.gone.clone());
        ids.sort_unstable();
        ids.dedup();
        self.gone.sort_unstable();
        for id in &ids {
            match self.ids.get_mut(id) {
                Some(kept) if !kept.persisted => {
                    kept.persisted = true;
                    self.digest = self.digest.wrapping_add(share(*id, kept.event_time));
                    write(Change { key: record_key(*id), event_time: Some(kept.event_time) });
                }
                Some(_) => {}
                None if self.gone.binary_search(id).is_ok() => {
                    write(Change { key: record_key(*id), event_time: None });
                }
                // Kept and forgotten between two commits: the changelog never knew it.
                None => {}
            }
        }
        self.gone.clear();
        ids.clear();
        self.changed = ids;
    }

    /// Takes one entry of the changelog.
    pub fn restore(&mut self, id: u128, event_time: Option<i64>) {
        if let Some(kept) = self.ids.remove(&id) {
            self.digest = self.digest.wrapping_sub(share(id, kept.event_time));
        }
        if let Some(event_time) = event_time {
            self.ids.insert(id, Kept { event_time, persisted: true });
            self.digest = self.digest.wrapping_add(share(id, event_time));
            self.expiries.entry((event_time + self.horizon).div_euclid(self.slice)).or_default().push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        dedup.purge(1_000);
        dedup.take_changes(|_| panic!("nothing to write"));
        assert!(dedup.keep(2, 1_000, 1_000));
        let mut written = Vec::new();
        dedup.take_changes(|change| written.push((change.key[16], change.event_time)));
        assert_eq!(written, [(2, Some(1_000))]);
        dedup.purge(2_000);
        written.clear();
        dedup.take_changes(|change| written.push((change.key[16], change.event_time)));
        assert_eq!((written, dedup.digest, dedup.len()), (vec![(2, None)], 0, 0));
    }
}
