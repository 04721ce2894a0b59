//! Several zombies at once: all workers but one stop, the one that is left takes all their tasks over, and then they all wake
//! up.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Phase};
use crate::world::World;

pub struct Zombies;

impl Fault for Zombies {
    fn name(&self) -> &'static str {
        "zombies"
    }

    fn one_in(&self) -> Option<u64> {
        Some(3)
    }

    fn possible(&self, cluster: &Cluster) -> bool {
        cluster.workers > 0 && cluster.task_hosts().len() > 2
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = *draw.pick(&cluster.task_hosts());
        faults::spec(&Zombies, phase, at_ms, host, unit_ms.saturating_mul(2))
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        match cluster.task_hosts() {
            hosts if !hosts.contains(&spec.host) => Err("`host` must run tasks: it takes those of all others".into()),
            hosts if hosts.len() < 3 => Err("there must be two other hosts with tasks, to be zombies".into()),
            _ => Ok(()),
        }
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.pause_all_but(id, spec.host, spec.for_ms);
    }
}
