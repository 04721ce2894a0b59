//! A host of the simulated world, from the engine's side: what its [`Env`] is made of, and how it freezes, dies and
//! comes back.
//!
//! In: the surroundings that all hosts share. Out: an [`Env`] for each incarnation. Always: the disk, the entropy's
//! counter and the clock's error outlive a crash; the gate does not, so nothing of a dead incarnation ever moves again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use engine::env::{Env, Logger};

use crate::clock::{SimClock, Skew};
use crate::disk::{Fate, Losses, SimDisk, SyncTime};
use crate::effects::Effects;
use crate::entropy::SimEntropy;
use crate::gate::Gate;
use crate::hosts::{HostTasks, Hosts};
use crate::net::{Latency, NetRules, Reach, SimNetwork};
use crate::points::PointRules;
use crate::trace::{Kind, Trace};

/// What every host of a world shares. Cheap to clone.
#[derive(Clone)]
pub struct Surroundings {
    pub seed: u64,
    /// The wall time at which the world begins.
    pub epoch_ms: i64,
    pub sync_time: SyncTime,
    pub trace: Trace,
    pub effects: Effects,
    pub net: NetRules,
    pub points: PointRules,
}

impl Surroundings {
    /// A world without faults; all draws at run time follow from `seed`.
    pub fn new(
        seed: u64,
        epoch_ms: i64,
        latency: Latency,
        sync_time: SyncTime,
        yield_percent: u32,
        trace: Trace,
    ) -> Surroundings {
        let effects = Effects::default();
        Surroundings {
            seed,
            epoch_ms,
            sync_time,
            net: NetRules::new(seed, latency, trace.clone(), effects.clone()),
            points: PointRules::new(seed, yield_percent, trace.clone(), effects.clone()),
            trace,
            effects,
        }
    }
}

/// One host, over all its incarnations. Cheap to clone; every clone is the same host.
#[derive(Clone)]
pub struct HostEnv(Arc<Inner>);

struct Inner {
    name: String,
    around: Surroundings,
    disk: SimDisk,
    entropy: SimEntropy,
    skew: Skew,
    gate: Mutex<Gate>,
}

impl HostEnv {
    pub fn new(name: &str, around: &Surroundings) -> HostEnv {
        let disk = SimDisk::new(name, around.seed, around.sync_time, around.trace.clone(), around.effects.clone());
        HostEnv(Arc::new(Inner {
            name: name.to_string(),
            around: around.clone(),
            disk,
            entropy: SimEntropy::new(around.seed, name),
            skew: Skew::new(around.effects.clone()),
            gate: Mutex::default(),
        }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A new incarnation and its [`Env`]: to be called where the host starts, and starts again.
    pub fn start(&self) -> Env {
        *self.0.gate.lock().unwrap_or_else(PoisonError::into_inner) = Gate::default();
        self.0.around.net.set_reach(&self.0.name, Reach::Up);
        self.env()
    }

    /// The present incarnation's [`Env`].
    pub fn env(&self) -> Env {
        let Inner { name, around, disk, entropy, skew, .. } = &*self.0;
        let gate = self.gate();
        Env::new(
            Arc::new(SimClock::new(around.epoch_ms, skew.clone(), gate.clone())),
            Arc::new(SimNetwork::new(name, around.net.clone(), gate.clone())),
            disk.handle(gate.clone()),
            Arc::new(entropy.clone()),
            Some(around.points.of_host(name, gate)),
            Arc::new(TraceLog { host: name.clone(), trace: around.trace.clone() }),
        )
        .with_tasks(|| Arc::new(HostTasks))
    }

    /// The disk, for its faults and for the checks.
    pub fn disk(&self) -> &SimDisk {
        &self.0.disk
    }

    /// The error of the wall clock, for its faults.
    pub fn skew(&self) -> &Skew {
        &self.0.skew
    }

    /// From now on every call of the host pends.
    pub fn freeze(&self) {
        self.gate().freeze();
    }

    /// The host goes on.
    pub fn thaw(&self) {
        self.gate().thaw();
    }

    pub fn is_frozen(&self) -> bool {
        self.gate().is_frozen()
    }

    /// Crashes the host between two ticks. A kill closes its sockets and still sends what it had written; a power cut is
    /// silent. The disk is settled; [`HostEnv::bounce`] starts the next incarnation.
    pub fn crash(&self, hosts: &mut Hosts<'_>, fate: Fate) -> Losses {
        let Inner { name, around, disk, .. } = &*self.0;
        around.trace.record(name, Kind::Fault, &format!("crash {fate:?}"), &[]);
        self.freeze();
        around.net.set_reach(
            name,
            match fate {
                Fate::Kill => Reach::Refusing,
                Fate::PowerCut { .. } => Reach::Silent,
            },
        );
        hosts.crash(name);
        disk.settle(fate)
    }

    /// Starts the next incarnation of a host that crashed.
    pub fn bounce(&self, hosts: &mut Hosts<'_>) {
        self.0.around.trace.record(&self.0.name, Kind::Control, "restart", &[]);
        hosts.start(&self.0.name);
    }

    fn gate(&self) -> Gate {
        self.0.gate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct TraceLog {
    host: String,
    trace: Trace,
}

impl Logger for TraceLog {
    fn log(&self, line: fmt::Arguments<'_>) {
        self.trace.record(&self.host, Kind::Log, &line.to_string(), &[]);
    }
}

#[cfg(test)]
mod tests;
