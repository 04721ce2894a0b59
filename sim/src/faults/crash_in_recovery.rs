//! A second crash inside the recovery from the first: a host is killed, and killed again at a point that only a
//! recovery passes.

use engine::env::Point;

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase, PointName};
use crate::world::{CrashKind, World};

pub struct CrashInRecovery;

impl Fault for CrashInRecovery {
    fn name(&self) -> &'static str {
        "crash-in-recovery"
    }

    fn weight(&self) -> u32 {
        4
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::victim(draw, cluster);
        const OF_BROKER: &[Point] =
            &[Point::BrokerRecovered, Point::BrokerRecovered, Point::LogBeforeTruncate, Point::LogTruncated];
        const OF_TASKS: &[Point] =
            &[Point::TaskRestoreBegin, Point::TaskRestoreMiddle, Point::TaskRestoreEnd, Point::TaskRestoreSnapshot];
        let of_broker = host == Host::Broker && (!cluster.embedded || draw.chance(1, 2));
        let point = *draw.pick(if of_broker { OF_BROKER } else { OF_TASKS });
        // Only a power cut leaves a tail to cut.
        let needs_tail = matches!(point, Point::LogBeforeTruncate | Point::LogTruncated);
        FaultSpec {
            point: Some(PointName(point)),
            nth: Some(1),
            power_cut: needs_tail || draw.chance(1, 2),
            ..faults::spec(&CrashInRecovery, phase, at_ms, host, unit_ms)
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_mortal(spec, cluster)?;
        faults::must_pass_point(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let point = spec.point.map_or(Point::TaskRestoreBegin, |point| point.0);
        let kind = CrashKind::of(spec.power_cut);
        if world.crash_uncounted(spec.host, kind, spec.for_ms) {
            world.crash_at(id, spec.host, point, spec.nth.unwrap_or(1), kind, spec.for_ms);
        }
    }
}
