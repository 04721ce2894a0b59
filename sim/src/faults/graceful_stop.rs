//! A process is asked to stop: its tasks commit what they have and end, a broker closes its logs; then the process goes, and
//! a while later another starts. Another host may have the tasks by then. Now and then the process dies while it stops.

use engine::env::Point;

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Phase, PointName};
use crate::world::{CrashKind, World};

pub struct GracefulStop;

impl Fault for GracefulStop {
    fn name(&self) -> &'static str {
        "graceful-stop"
    }

    fn one_in(&self) -> Option<u64> {
        Some(6)
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::victim(draw, cluster);
        let peer = faults::taker(draw, cluster, host).filter(|_| draw.chance(1, 2));
        let dies = draw.chance(1, 3) && cluster.task_hosts().contains(&host);
        FaultSpec {
            peer,
            point: dies.then_some(PointName(Point::TaskStopping)),
            nth: dies.then_some(1),
            power_cut: dies && draw.chance(1, 2),
            ..faults::spec(&GracefulStop, phase, at_ms, host, unit_ms.saturating_mul(2))
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_mortal(spec, cluster)?;
        faults::may_have_a_taker(spec, cluster)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.stop_gracefully(id, spec.host, spec.peer, spec.for_ms);
        if let Some(point) = spec.point {
            let kind = CrashKind::of(spec.power_cut);
            world.crash_at(id, spec.host, point.0, spec.nth.unwrap_or(1), kind, spec.for_ms);
        }
    }
}
