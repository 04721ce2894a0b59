//! One request arrives twice: its frame is sent again, a while later, on a second connection, and that
//! reply is thrown away.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct DuplicatedRequest;

impl Fault for DuplicatedRequest {
    fn name(&self) -> &'static str {
        "duplicated-request"
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::speaker(draw, cluster);
        FaultSpec {
            peer: Some(Host::Broker),
            nth: Some(draw.between(1, 12) as u32),
            ..faults::spec(&DuplicatedRequest, phase, at_ms, host, unit_ms)
        }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_be_a_request(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.duplicate_request(id, spec.host, spec.nth.unwrap_or(1), spec.for_ms);
    }
}
