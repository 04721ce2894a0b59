//! The power goes while names are on their way to the disk, and none of them arrives: new files are gone, removed ones are
//! back, and a file that was renamed has its old name.

use engine::env::Point;

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase, PointName};
use crate::world::{CrashKind, World};

pub struct LostNames;

impl Fault for LostNames {
    fn name(&self) -> &'static str {
        "lost-names"
    }

    fn one_in(&self) -> Option<u64> {
        Some(4)
    }

    fn draw(&self, draw: &mut Draw, _cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        const WITH_NAMES_PENDING: &[Point] = &[
            Point::LogIndexWritten,
            Point::LogIndexWritten,
            Point::LogRecoveryPointWritten,
            Point::LogRecoveryPointWritten,
            Point::LogSegmentsRemoved,
        ];
        FaultSpec {
            point: Some(PointName(*draw.pick(WITH_NAMES_PENDING))),
            nth: Some(draw.between(1, 3) as u32),
            power_cut: true,
            ..faults::spec(&LostNames, phase, at_ms, Host::Broker, unit_ms)
        }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_have_a_disk(spec)?;
        faults::must_pass_point(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let point = spec.point.map_or(Point::LogIndexWritten, |point| point.0);
        world.crash_at(id, spec.host, point, spec.nth.unwrap_or(1), CrashKind::NamesLost, spec.for_ms);
    }
}
