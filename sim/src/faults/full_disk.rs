//! The broker's disk is full for a while: a write gets as far as half of its first piece. The process ends, and so does each
//! that is started before there is room again.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct FullDisk;

impl Fault for FullDisk {
    fn name(&self) -> &'static str {
        "full-disk"
    }

    fn one_in(&self) -> Option<u64> {
        Some(10)
    }

    fn draw(&self, _draw: &mut Draw, _cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        faults::spec(&FullDisk, phase, at_ms, Host::Broker, unit_ms)
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_have_a_disk(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.fill_disk(id, spec.host, spec.for_ms);
    }
}
