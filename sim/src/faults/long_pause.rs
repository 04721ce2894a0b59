//! A zombie that sleeps past the end of its transaction: a worker stops for longer than any transaction may stay open, another
//! takes over, and then the first goes on as if no time had passed.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct LongPause;

impl Fault for LongPause {
    fn name(&self) -> &'static str {
        "long-pause"
    }

    fn one_in(&self) -> Option<u64> {
        Some(12)
    }

    fn possible(&self, cluster: &Cluster) -> bool {
        cluster.workers > 0
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = Host::Worker(1 + draw.below(u64::from(cluster.workers)) as u32);
        FaultSpec {
            peer: faults::taker(draw, cluster, host).filter(|_| draw.chance(3, 4)),
            // Plans time transactions out after 4 s at the most.
            ..faults::spec(&LongPause, phase, at_ms, host, 4_200 + unit_ms / 4)
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_mortal(spec, cluster)?;
        faults::may_have_a_taker(spec, cluster)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.pause(id, spec.host, spec.peer, spec.for_ms);
    }
}
