//! A host's wall clock is wrong from early on, and stays so until everything is healed: seconds or days, ahead or behind.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Phase};
use crate::world::World;

pub struct ClockSkew;

/// A clock is wrong by no more than ten years.
pub(super) const WRONG_MS_MAX: i64 = 10 * 366 * 86_400_000;

impl Fault for ClockSkew {
    fn name(&self) -> &'static str {
        "clock-skew"
    }

    fn one_in(&self) -> Option<u64> {
        Some(8)
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let by = *draw.pick(&[1_000, 60_000, 3_600_000, 86_400_000]) + draw.between(0, 999);
        FaultSpec {
            amount: Some(if draw.chance(1, 2) { by } else { -by }),
            ..faults::spec(&ClockSkew, phase, at_ms / 8, faults::timekeeper(draw, cluster), unit_ms.saturating_mul(100))
        }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_amount_to(spec, "by how many milliseconds the clock is wrong", -WRONG_MS_MAX..=WRONG_MS_MAX)
    }

    fn over_ms(&self, spec: &FaultSpec) -> u64 {
        // It is no trouble that anybody has to wait for.
        spec.at_ms
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.skew_clock(id, spec.host, spec.amount.unwrap_or(0), spec.for_ms);
    }
}
