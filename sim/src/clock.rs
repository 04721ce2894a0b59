//! A host's wall clock: the epoch, the world's virtual time, and the host's own error.
//!
//! Always: virtual; while the host is frozen or being torn down it stands still.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::env::Clock;
use engine::types::Timestamp;
use tokio::time::Instant;

use crate::effects::{Effects, FaultId};
use crate::gate::Gate;

thread_local! {
    /// When the world began whose hosts run on this thread; `None` while none does.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Virtual milliseconds since the world began, as the running host sees them; `None` outside of a host.
pub fn virtual_ms() -> Option<u64> {
    BEGAN.get().map(|began| began.elapsed().as_millis() as u64)
}

/// While it lives, the hosts of one world run on this thread.
pub(crate) struct Running(());

impl Running {
    /// The world began at `began` of the runtime's clock.
    pub(crate) fn since(began: Instant) -> Running {
        assert!(BEGAN.replace(Some(began)).is_none(), "one world at a time runs on a thread");
        Running(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        BEGAN.set(None);
    }
}

/// How wrong a host's clock is; kept over restarts. Cheap to clone.
#[derive(Clone)]
pub struct Skew {
    effects: Effects,
    /// Each fault with its milliseconds.
    faults: Arc<Mutex<Vec<(FaultId, i64)>>>,
}

impl Skew {
    pub fn new(effects: Effects) -> Skew {
        Skew { effects, faults: Arc::default() }
    }

    /// From now on the clock is wrong by `ms` more, until `id` is lifted.
    pub fn add(&self, id: FaultId, ms: i64) {
        self.lock().push((id, ms));
    }

    pub fn lift(&self, id: FaultId) {
        self.lock().retain(|(other, _)| *other != id);
    }

    pub fn heal(&self) {
        self.lock().clear();
    }

    fn ms(&self) -> i64 {
        self.lock().iter().map(|(_, ms)| ms).sum()
    }

    /// The clock was read while it was wrong; `jumped`: and the reader can tell from what it read before.
    fn read(&self, jumped: bool) {
        for (id, _) in &*self.lock() {
            self.effects.effective(*id);
            if jumped {
                self.effects.visible(*id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(FaultId, i64)>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of one incarnation.
pub struct SimClock {
    epoch_ms: i64,
    skew: Skew,
    gate: Gate,
    /// The last answer, for moments without a time, and by how much it was wrong.
    last: AtomicI64,
    wrong_by: AtomicI64,
}

impl SimClock {
    pub fn new(epoch_ms: i64, skew: Skew, gate: Gate) -> SimClock {
        let wrong_by = AtomicI64::new(skew.ms());
        SimClock { epoch_ms, skew, gate, last: AtomicI64::new(epoch_ms), wrong_by }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        if !self.gate.is_frozen()
            && let Some(ms) = virtual_ms()
        {
            let wrong_by = self.skew.ms();
            self.skew.read(self.wrong_by.swap(wrong_by, Ordering::Relaxed) != wrong_by);
            self.last.store(self.epoch_ms + ms as i64 + wrong_by, Ordering::Relaxed);
        }
        Timestamp(self.last.load(Ordering::Relaxed))
    }
}
