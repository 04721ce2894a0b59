//! At the n-th passing of a named point a task lets the others of its host go first, many times over: an order that the
//! host's queue alone would never bring about.

use engine::env::Point;

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Phase, PointName};
use crate::world::World;

pub struct YieldAtPoint;

/// A task yields no more often than this.
const YIELDS_MAX: i64 = 10_000;

impl Fault for YieldAtPoint {
    fn name(&self) -> &'static str {
        "yield-at-point"
    }

    fn one_in(&self) -> Option<u64> {
        Some(6)
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, _unit_ms: u64) -> FaultSpec {
        let host = faults::victim(draw, cluster);
        FaultSpec {
            point: Some(PointName(*draw.pick(&faults::points_of(host, cluster)))),
            nth: Some(draw.between(1, 12) as u32),
            amount: Some(*draw.pick(&[4, 16, 64])),
            ..faults::spec(&YieldAtPoint, phase, at_ms, host, 0)
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_mortal(spec, cluster)?;
        faults::must_pass_point(spec)?;
        faults::must_amount_to(spec, "how often it yields", 1..=YIELDS_MAX)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let point = spec.point.map_or(Point::TaskPolled, |point| point.0);
        let times = spec.amount.unwrap_or(1).clamp(1, YIELDS_MAX) as u32;
        world.yield_at(id, spec.host, point, spec.nth.unwrap_or(1), times);
    }
}
