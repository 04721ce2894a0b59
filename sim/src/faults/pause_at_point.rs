//! A host stops at the n-th passing of a named point, and goes on from there a while later; if another host takes its
//! tasks over meanwhile, it is a zombie with that point still ahead of it.

use engine::env::Point;

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Phase, PointName};
use crate::world::World;

pub struct PauseAtPoint;

impl Fault for PauseAtPoint {
    fn name(&self) -> &'static str {
        "pause-at-point"
    }

    fn one_in(&self) -> Option<u64> {
        Some(8)
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::victim(draw, cluster);
        FaultSpec {
            point: Some(PointName(*draw.pick(&faults::points_of(host, cluster)))),
            nth: Some(draw.between(1, 6) as u32),
            peer: faults::taker(draw, cluster, host).filter(|_| draw.chance(2, 3)),
            ..faults::spec(&PauseAtPoint, phase, at_ms, host, unit_ms.saturating_mul(2))
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_mortal(spec, cluster)?;
        faults::must_pass_point(spec)?;
        faults::may_have_a_taker(spec, cluster)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let point = spec.point.map_or(Point::TaskPolled, |point| point.0);
        world.pause_at(id, spec.host, point, spec.nth.unwrap_or(1), spec.peer, spec.for_ms);
    }
}
