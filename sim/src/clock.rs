//! A host's wall clock: the epoch, the world's virtual time, and the host's own error.
//!
//! Always: virtual; while the host is frozen or being torn down it stands still, because turmoil's clock means nothing
//! between ticks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use engine::env::Clock;
use engine::types::Timestamp;

use crate::gate::Gate;

/// Virtual milliseconds since the world began, as the running host sees them; `None` outside of a host.
///
/// Not to be called from `Drop`: while turmoil tears a host down its clock falls back to the machine's.
pub fn virtual_ms() -> Option<u64> {
    turmoil::sim_elapsed().map(|elapsed| elapsed.as_millis() as u64)
}

/// How wrong a host's clock is, in milliseconds; kept over restarts. Cheap to clone.
#[derive(Clone, Default)]
pub struct Skew(Arc<AtomicI64>);

impl Skew {
    pub fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The clock of one incarnation.
pub struct SimClock {
    epoch_ms: i64,
    skew: Skew,
    gate: Gate,
    /// The last answer, for moments without a time.
    last: AtomicI64,
}

impl SimClock {
    pub fn new(epoch_ms: i64, skew: Skew, gate: Gate) -> SimClock {
        SimClock { epoch_ms, skew, gate, last: AtomicI64::new(epoch_ms) }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        if !self.gate.is_frozen()
            && let Some(ms) = virtual_ms()
        {
            self.last.store(self.epoch_ms + ms as i64 + self.skew.get(), Ordering::Relaxed);
        }
        Timestamp(self.last.load(Ordering::Relaxed))
    }
}
