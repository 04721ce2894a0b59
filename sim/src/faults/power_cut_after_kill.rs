//! A kill, and then the power goes: the broker is killed while something that it wrote is in the page cache alone,
//! another starts and takes what it finds for its own, and then it loses its power. Whatever the second one has told
//! anybody of must be there for the third.

use engine::env::Point;

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase, PointName};
use crate::world::{Unsynced, World};

/// Moments at which what was found has been read, and perhaps acknowledged a second time.
const AFTER_RECOVERY: &[Point] =
    &[Point::LogBeforeWrite, Point::LogWritten, Point::LogSynced, Point::TxnBeforeOngoing, Point::TxnBeforeDecision];

pub struct PowerCutAfterKill;

impl Fault for PowerCutAfterKill {
    fn name(&self) -> &'static str {
        "power-cut-after-kill"
    }

    fn one_in(&self) -> Option<u64> {
        Some(3)
    }

    fn draw(&self, draw: &mut Draw, _cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        FaultSpec {
            // What the kill waits for.
            amount: Some(i64::from(draw.chance(1, 2))),
            point: Some(PointName(*draw.pick(AFTER_RECOVERY))),
            nth: Some(draw.between(1, 8) as u32),
            power_cut: true,
            ..faults::spec(&PowerCutAfterKill, phase, at_ms, Host::Broker, unit_ms)
        }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_have_a_disk(spec)?;
        faults::must_pass_point(spec)?;
        faults::must_amount_to(spec, "what is unsynced at the kill, 0 for bytes or 1 for a segment's name", 0..=1)
    }

    /// Two starts, and the wait for something unsynced.
    fn over_ms(&self, spec: &FaultSpec) -> u64 {
        spec.at_ms.saturating_add(spec.for_ms.saturating_mul(3))
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let what = if spec.amount == Some(1) { Unsynced::Segment } else { Unsynced::Bytes };
        let point = spec.point.map_or(Point::LogBeforeWrite, |point| point.0);
        world.kill_and_cut(id, spec.host, what, point, spec.nth.unwrap_or(1), spec.for_ms);
    }
}
