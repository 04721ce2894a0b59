//! One request is held, if need be past the close of its connection, and then delivered: the retry overtakes it, and it
//! arrives in a world that has moved on.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct DelayedRequest;

impl Fault for DelayedRequest {
    fn name(&self) -> &'static str {
        "delayed-request"
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::speaker(draw, cluster);
        FaultSpec {
            peer: Some(Host::Broker),
            nth: Some(draw.between(1, 12) as u32),
            ..faults::spec(&DelayedRequest, phase, at_ms, host, unit_ms.saturating_mul(2))
        }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_be_a_request(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.delay_request(id, spec.host, spec.nth.unwrap_or(1), spec.for_ms);
    }
}
