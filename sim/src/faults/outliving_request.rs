//! A request is held for longer than its connection lives, and its transaction too: it arrives when that has long timed out or
//! another has begun under the same id.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct OutlivingRequest;

impl Fault for OutlivingRequest {
    fn name(&self) -> &'static str {
        "outliving-request"
    }

    fn one_in(&self) -> Option<u64> {
        Some(5)
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::speaker(draw, cluster);
        FaultSpec {
            peer: Some(Host::Broker),
            nth: Some(draw.between(1, 12) as u32),
            // Plans time transactions out after 4 s at the most.
            ..faults::spec(&OutlivingRequest, phase, at_ms, host, 4_200 + unit_ms)
        }
    }

    fn over_ms(&self, spec: &FaultSpec) -> u64 {
        // What is under way stays under way when the world heals, and arrives in the next phase if need be.
        spec.at_ms
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_be_a_request(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.delay_request(id, spec.host, spec.nth.unwrap_or(1), spec.for_ms);
    }
}
