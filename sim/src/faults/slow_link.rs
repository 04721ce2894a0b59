//! Everything between a host and the broker takes longer, both ways.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct SlowLink;

impl Fault for SlowLink {
    fn name(&self) -> &'static str {
        "slow-link"
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::speaker(draw, cluster);
        FaultSpec { peer: Some(Host::Broker), ..faults::spec(&SlowLink, phase, at_ms, host, unit_ms.saturating_mul(2)) }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_be_a_pair(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        // Long enough that some requests pass their deadline.
        let extra_ms = (spec.for_ms / 3).max(20);
        let peer = spec.peer.unwrap_or(Host::Broker);
        world.slow_link(id, spec.host, peer, extra_ms, spec.for_ms);
        world.slow_link(id, peer, spec.host, extra_ms, spec.for_ms);
    }
}
