//! A second fault inside the recovery from the first: the power is cut, and a sync of the recovery fails and loses what it
//! was for.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::{CrashKind, World};

pub struct FailedSyncInRecovery;

impl Fault for FailedSyncInRecovery {
    fn name(&self) -> &'static str {
        "failed-sync-in-recovery"
    }

    fn one_in(&self) -> Option<u64> {
        Some(12)
    }

    fn draw(&self, draw: &mut Draw, _cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let nth = Some(draw.between(1, 8) as u32);
        FaultSpec { nth, power_cut: true, ..faults::spec(&FailedSyncInRecovery, phase, at_ms, Host::Broker, unit_ms) }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_have_a_disk(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        if world.crash_uncounted(spec.host, CrashKind::of(spec.power_cut), spec.for_ms) {
            world.fail_sync_for_good(id, spec.host, spec.nth.unwrap_or(1));
        }
    }
}
