//! A second fault inside the recovery from the first: a host is killed, and in its recovery it stops for a while; another
//! may take its tasks over before it goes on to restore what is no longer its own.

use engine::env::Point;

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase, PointName};
use crate::world::{CrashKind, World};

pub struct PauseInRecovery;

impl Fault for PauseInRecovery {
    fn name(&self) -> &'static str {
        "pause-in-recovery"
    }

    fn one_in(&self) -> Option<u64> {
        Some(10)
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::victim(draw, cluster);
        const OF_TASKS: &[Point] =
            &[Point::TaskRestoreBegin, Point::TaskRestoreMiddle, Point::TaskRestoreEnd, Point::TaskRestoreSnapshot];
        let of_broker = host == Host::Broker && (!cluster.embedded || draw.chance(1, 2));
        FaultSpec {
            point: Some(PointName(if of_broker { Point::BrokerRecovered } else { *draw.pick(OF_TASKS) })),
            nth: Some(1),
            power_cut: draw.chance(1, 3),
            peer: faults::taker(draw, cluster, host).filter(|_| !of_broker),
            ..faults::spec(&PauseInRecovery, phase, at_ms, host, unit_ms)
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_mortal(spec, cluster)?;
        faults::must_pass_point(spec)?;
        faults::may_have_a_taker(spec, cluster)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let point = spec.point.map_or(Point::TaskRestoreBegin, |point| point.0);
        if world.crash_uncounted(spec.host, CrashKind::of(spec.power_cut), (spec.for_ms / 4).max(1)) {
            world.pause_at(id, spec.host, point, spec.nth.unwrap_or(1), spec.peer, spec.for_ms);
        }
    }
}
