//! A host's wall clock jumps, forwards or back, under a running process; a while later it jumps to where it should be.

use super::clock_skew::WRONG_MS_MAX;
use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Phase};
use crate::world::World;

pub struct ClockJump;

impl Fault for ClockJump {
    fn name(&self) -> &'static str {
        "clock-jump"
    }

    fn one_in(&self) -> Option<u64> {
        Some(8)
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let by = *draw.pick(&[50, 2_000, 600_000, 86_400_000]) + draw.between(0, 49);
        FaultSpec {
            amount: Some(if draw.chance(1, 2) { by } else { -by }),
            ..faults::spec(&ClockJump, phase, at_ms, faults::timekeeper(draw, cluster), unit_ms)
        }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_amount_to(spec, "by how many milliseconds the clock is wrong", -WRONG_MS_MAX..=WRONG_MS_MAX)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.skew_clock(id, spec.host, spec.amount.unwrap_or(0), spec.for_ms);
    }
}
