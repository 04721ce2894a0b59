//! A zombie that sleeps past the end of its transaction: a worker stops, at some moment or with its transaction open, for
//! longer than any may stay so; the broker aborts what it left, or another takes over; then it goes on as if no time had
//! passed.

use engine::env::Point;

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase, PointName};
use crate::world::World;

/// Moments with a transaction open: who stops there leaves it to its timeout, or to a successor.
const OPEN: &[Point] = &[Point::TaskOutputsFlushed, Point::TaskStateFlushed, Point::TaskOffsetsSent];

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
        let point = draw.chance(1, 2).then(|| PointName(*draw.pick(OPEN)));
        FaultSpec {
            point,
            nth: point.map(|_| draw.between(1, 4) as u32),
            peer: faults::taker(draw, cluster, host).filter(|_| draw.chance(1, 2)),
            // Plans time transactions out after 4 s at the most.
            ..faults::spec(&LongPause, phase, at_ms, host, 4_200 + unit_ms / 4)
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_mortal(spec, cluster)?;
        faults::may_have_a_taker(spec, cluster)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        match spec.point {
            Some(point) => world.pause_at(id, spec.host, point.0, spec.nth.unwrap_or(1), spec.peer, spec.for_ms),
            None => world.pause(id, spec.host, spec.peer, spec.for_ms),
        }
    }
}
