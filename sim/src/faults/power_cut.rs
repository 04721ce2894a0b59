//! The power goes: unsynced bytes are lost, torn or kept by the plan's draw, and the peers hear nothing, not even a
//! closed socket.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Phase};
use crate::world::{CrashKind, World};

pub struct PowerCut;

impl Fault for PowerCut {
    fn name(&self) -> &'static str {
        "power-cut"
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        FaultSpec { power_cut: true, ..faults::spec(&PowerCut, phase, at_ms, faults::victim(draw, cluster), unit_ms) }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_mortal(spec, cluster)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.crash(id, spec.host, CrashKind::PowerCut, spec.for_ms);
    }
}
