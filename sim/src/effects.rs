//! What became of each fault: the ledger that the disk, the network and the points write to.
//!
//! In: the id under which the world injected a fault. Out: how often it took effect (a byte lost, a frame held, a process
//! frozen) and how often the engine had to deal with it (a call failed, a peer was gone). A fault that never took effect
//! is told apart from one that did and was survived.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The world numbers the faults of a plan.
pub type FaultId = usize;

/// How often one fault did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub effective: u64,
    pub visible: u64,
}

/// The effects of every fault of a run. Cheap to clone; every clone is the same ledger.
#[derive(Clone, Default)]
pub struct Effects(Arc<Mutex<BTreeMap<FaultId, Effect>>>);

impl Effects {
    /// The fault changed something.
    pub fn effective(&self, id: FaultId) {
        self.lock().entry(id).or_default().effective += 1;
    }

    /// The engine had to deal with it.
    pub fn visible(&self, id: FaultId) {
        self.lock().entry(id).or_default().visible += 1;
    }

    pub fn get(&self, id: FaultId) -> Effect {
        self.lock().get(&id).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FaultId, Effect>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
