//! A read of the broker's disk fails: whoever asked is told so and asks again; a broker that reads its logs at its start
//! starts anew.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct ReadError;

impl Fault for ReadError {
    fn name(&self) -> &'static str {
        "read-error"
    }

    fn one_in(&self) -> Option<u64> {
        Some(10)
    }

    fn draw(&self, draw: &mut Draw, _cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let nth = Some(*draw.pick(&[1, 2, 5, 20]));
        FaultSpec { nth, ..faults::spec(&ReadError, phase, at_ms, Host::Broker, unit_ms) }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_have_a_disk(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.fail_read(id, spec.host, spec.nth.unwrap_or(1));
    }
}
