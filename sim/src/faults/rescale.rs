//! The workers are restarted with another number of them: all are killed at once, and their tasks are dealt anew to so many
//! hosts; when it is over, once more, to all.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct Rescale;

impl Fault for Rescale {
    fn name(&self) -> &'static str {
        "rescale"
    }

    fn one_in(&self) -> Option<u64> {
        Some(8)
    }

    fn possible(&self, cluster: &Cluster) -> bool {
        cluster.task_hosts().len() > 1
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let hosts = cluster.task_hosts().len() as i64;
        FaultSpec {
            amount: Some(draw.between(1, hosts - 1)),
            ..faults::spec(&Rescale, phase, at_ms, Host::Worker(1), unit_ms.saturating_mul(2))
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_amount_to(spec, "how many hosts run tasks meanwhile", 1..=cluster.task_hosts().len() as i64)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.rescale(id, spec.amount.unwrap_or(1).max(1) as usize, spec.for_ms);
    }
}
