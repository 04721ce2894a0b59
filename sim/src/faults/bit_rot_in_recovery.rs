//! A second fault inside the recovery from the first: the broker is killed, and as it dies a bit flips in a closed
//! segment of its own logs, if there is one. It must not start on what is damaged; the bit is put right again when the fault is over.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::{CrashKind, Rotten, World};

pub struct BitRotInRecovery;

impl Fault for BitRotInRecovery {
    fn name(&self) -> &'static str {
        "bit-rot-in-recovery"
    }

    fn one_in(&self) -> Option<u64> {
        Some(2)
    }

    fn draw(&self, draw: &mut Draw, _cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let nth = Some(draw.between(1, 1_000) as u32);
        let power_cut = draw.chance(1, 2);
        FaultSpec {
            nth,
            power_cut,
            ..faults::spec(&BitRotInRecovery, phase, at_ms, Host::Broker, unit_ms.saturating_mul(2))
        }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_have_a_disk(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let down_ms = (spec.for_ms / 4).max(1);
        if world.rot(id, spec.host, Rotten::BrokersOwn, u64::from(spec.nth.unwrap_or(1)), spec.for_ms) {
            world.crash_uncounted(spec.host, CrashKind::of(spec.power_cut), down_ms);
        }
    }
}
