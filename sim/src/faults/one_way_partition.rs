//! Nothing passes from one host to another, while the other direction works: requests arrive and are answered into
//! the void, or replies find their way and requests do not.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct OneWayPartition;

impl Fault for OneWayPartition {
    fn name(&self) -> &'static str {
        "one-way-partition"
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let speaker = faults::speaker(draw, cluster);
        let (from, to) = if draw.chance(1, 2) { (speaker, Host::Broker) } else { (Host::Broker, speaker) };
        FaultSpec { peer: Some(to), ..faults::spec(&OneWayPartition, phase, at_ms, from, unit_ms) }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_be_a_pair(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.block(id, spec.host, spec.peer.unwrap_or(Host::Broker), spec.for_ms);
    }
}
