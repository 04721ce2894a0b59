//! A sync fails. Nobody knows what became of the bytes, so the process must end; a new one recovers.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct SyncFailure;

impl Fault for SyncFailure {
    fn name(&self) -> &'static str {
        "sync-failure"
    }

    fn draw(&self, _draw: &mut Draw, _cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        faults::spec(&SyncFailure, phase, at_ms, Host::Broker, unit_ms)
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_have_a_disk(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.fail_sync(id, spec.host);
    }
}
