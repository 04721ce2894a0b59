//! Nothing passes between a host and the broker, in neither direction, for a while.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct Partition;

impl Fault for Partition {
    fn name(&self) -> &'static str {
        "partition"
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::speaker(draw, cluster);
        FaultSpec { peer: Some(Host::Broker), ..faults::spec(&Partition, phase, at_ms, host, unit_ms) }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_be_a_pair(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let peer = spec.peer.unwrap_or(Host::Broker);
        world.block(id, spec.host, peer, spec.for_ms);
        world.block(id, peer, spec.host, spec.for_ms);
    }
}
