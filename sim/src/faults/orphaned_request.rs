//! A request outlives its sender: it is held, the process that sent it dies, and it arrives after the next process has
//! taken over.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct OrphanedRequest;

impl Fault for OrphanedRequest {
    fn name(&self) -> &'static str {
        "orphaned-request"
    }

    fn possible(&self, cluster: &Cluster) -> bool {
        cluster.workers > 0
    }

    fn weight(&self) -> u32 {
        4
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = Host::Worker(1 + draw.below(u64::from(cluster.workers)) as u32);
        FaultSpec {
            peer: Some(Host::Broker),
            nth: Some(draw.between(1, 12) as u32),
            ..faults::spec(&OrphanedRequest, phase, at_ms, host, unit_ms)
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_a_request(spec)?;
        faults::must_be_mortal(spec, cluster)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        // Half of it down, the other half for the successor to settle in.
        let down_ms = (spec.for_ms / 2).max(1);
        world.orphan_request(id, spec.host, spec.nth.unwrap_or(1), spec.for_ms.saturating_mul(2), down_ms);
    }
}
