//! A crash at the n-th passing of a named point of the engine: the moments where it hurts, hit exactly.

use engine::env::Point;

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase, PointName};
use crate::world::{CrashKind, World};

pub struct CrashAtPoint;

impl Fault for CrashAtPoint {
    fn name(&self) -> &'static str {
        "crash-at-point"
    }

    fn weight(&self) -> u32 {
        6
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = faults::victim(draw, cluster);
        let points = faults::points_of(host, cluster);
        FaultSpec {
            point: Some(PointName(*draw.pick(&points))),
            nth: Some(draw.between(1, 6) as u32),
            power_cut: draw.chance(1, 2),
            ..faults::spec(&CrashAtPoint, phase, at_ms, host, unit_ms)
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_be_mortal(spec, cluster)?;
        faults::must_pass_point(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let point = spec.point.map_or(Point::TaskPolled, |point| point.0);
        world.crash_at(id, spec.host, point, spec.nth.unwrap_or(1), CrashKind::of(spec.power_cut), spec.for_ms);
    }
}

/// See [`faults::crash_while_creating_topics`].
pub(super) fn while_creating_topics(draw: &mut Draw, at_ms: u64, unit_ms: u64) -> FaultSpec {
    FaultSpec {
        point: Some(PointName(Point::BrokerTopicRecorded)),
        nth: Some(draw.between(1, 3) as u32),
        power_cut: draw.chance(1, 2),
        ..faults::spec(&CrashAtPoint, Phase::Live, at_ms, Host::Broker, unit_ms)
    }
}

/// See [`faults::crash_while_concluding`].
pub(super) fn while_concluding(draw: &mut Draw, at_ms: u64, unit_ms: u64) -> FaultSpec {
    FaultSpec {
        point: Some(PointName(*draw.pick(&[Point::TxnDecided, Point::TxnBeforeMarker]))),
        nth: Some(draw.between(1, 6) as u32),
        power_cut: draw.chance(1, 2),
        ..faults::spec(&CrashAtPoint, Phase::Live, at_ms, Host::Broker, unit_ms)
    }
}

/// Points that every process which runs a log passes now and then.
pub(super) const OF_BROKER: &[Point] = &[
    Point::LogBeforeWrite,
    // Twice: between a write and its sync is where most is at stake.
    Point::LogWritten,
    Point::LogWritten,
    Point::LogSynced,
    Point::LogBeforeRoll,
    Point::LogRolled,
    Point::LogIndexWritten,
    Point::LogRecoveryPointWritten,
    Point::LogBeforeStartMoves,
    Point::LogStartMoved,
    Point::LogSegmentsRemoved,
    Point::BrokerTopicRecorded,
    Point::BrokerLogRewritten,
    Point::TxnBeforeOngoing,
    Point::TxnBeforeDecision,
    Point::TxnDecided,
    Point::TxnBeforeMarker,
    Point::TxnMarkerWritten,
    Point::TxnMarkersWritten,
    Point::TxnCompleted,
    Point::TxnTakenOver,
    Point::TxnTimedOut,
];

/// Points that every host with a task passes with each commit.
pub(super) const OF_TASKS: &[Point] = &[
    Point::ClientBeforeSend,
    Point::ClientSent,
    Point::ClientReplied,
    Point::TaskPolled,
    Point::TaskProcessed,
    Point::TaskCut,
    Point::TaskOutputsFlushed,
    Point::TaskStateFlushed,
    Point::TaskOffsetsSent,
    Point::TaskCommitted,
    Point::TaskSnapshotCommitted,
    Point::TaskTrimmed,
];

/// Where this host can be hit.
pub(super) fn points_of(host: Host, cluster: &Cluster) -> Vec<Point> {
    match host {
        Host::Broker if cluster.embedded => OF_BROKER.iter().chain(OF_TASKS).copied().collect(),
        Host::Broker => OF_BROKER.to_vec(),
        _ => OF_TASKS.to_vec(),
    }
}
