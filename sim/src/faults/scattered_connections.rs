//! For a while each connection from a host has a slowness of its own: what was sent later on one overtakes what was sent
//! earlier on another.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct ScatteredConnections;

impl Fault for ScatteredConnections {
    fn name(&self) -> &'static str {
        "scattered-connections"
    }

    fn one_in(&self) -> Option<u64> {
        Some(8)
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::speaker(draw, cluster);
        FaultSpec {
            peer: Some(Host::Broker),
            amount: Some(*draw.pick(&[10, 40, 150])),
            ..faults::spec(&ScatteredConnections, phase, at_ms, host, unit_ms.saturating_mul(4))
        }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_be_a_pair(spec)?;
        faults::must_amount_to(spec, "how many milliseconds a connection is late at most", 1..=60_000)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let peer = spec.peer.unwrap_or(Host::Broker);
        world.scatter_connections(id, spec.host, peer, spec.amount.unwrap_or(1).max(1) as u64, spec.for_ms);
    }
}
