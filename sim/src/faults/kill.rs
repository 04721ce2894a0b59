//! A process dies at a moment: `kill -9`. What it wrote stays in the page cache; its sockets close.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Phase};
use crate::world::{CrashKind, World};

pub struct Kill;

impl Fault for Kill {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        faults::spec(&Kill, phase, at_ms, faults::victim(draw, cluster), unit_ms)
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_mortal(spec, cluster)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.crash(id, spec.host, CrashKind::Kill, spec.for_ms);
    }
}
