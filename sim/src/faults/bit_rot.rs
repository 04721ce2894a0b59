//! A bit of a closed segment flips at rest, of the source or of what tasks wrote. Whoever reads it must be refused, and a
//! broker that needs it must not start: what is damaged is never served and never skipped. The bit is put right again when
//! the fault is over, as from a copy.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::{Rotten, World};

pub struct BitRot;

impl Fault for BitRot {
    fn name(&self) -> &'static str {
        "bit-rot"
    }

    fn one_in(&self) -> Option<u64> {
        Some(3)
    }

    fn draw(&self, draw: &mut Draw, _cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        // A replay reads everything once more: most rot that is met at all is met early in it.
        let (phase, at_ms) = if draw.chance(7, 8) { (Phase::Replay, at_ms % 20) } else { (phase, at_ms) };
        let nth = draw.between(1, 1_000) as u32;
        FaultSpec {
            nth: Some(nth),
            // No draw of its own: what follows in this stream stays where it is.
            amount: nth.is_multiple_of(3).then_some(faults::OF_TASKS),
            ..faults::spec(&BitRot, phase, at_ms, Host::Broker, unit_ms.saturating_mul(3))
        }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_have_a_disk(spec)?;
        faults::may_rot(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let of = if spec.amount == Some(faults::OF_TASKS) { Rotten::Tasks } else { Rotten::Source };
        world.rot(id, spec.host, of, u64::from(spec.nth.unwrap_or(1)), spec.for_ms);
    }
}
