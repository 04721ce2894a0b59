//! The kinds of fault. One file each; a new kind is a file and a line in [`ALL`].
//!
//! In: a seed's stream of draws, at plan time; the world, when the moment has come. Out: an entry of the plan; a change
//! of the world.
//!
//! Every kind is counted three ways. *Injected*: its moment came. *Effective*: it changed something: a process died, a
//! byte was lost, a frame was held. *Visible*: its own mechanism knows that the engine met it, or a call failed or a
//! task began again in its time, on a host that it touched; that is a coincidence, and another may have been the cause.
//!
//! Invariant: a fault heals by itself, `for_ms` after its moment, or when the world heals everything.

mod bit_rot;
mod bit_rot_in_recovery;
mod clock_jump;
mod clock_skew;
mod crash_at_point;
mod crash_in_recovery;
mod delayed_request;
mod duplicated_request;
mod failed_read_in_recovery;
mod failed_sync_in_recovery;
mod full_disk;
mod graceful_stop;
mod kill;
mod long_pause;
mod lost_names;
mod lost_pages;
mod lost_reply;
mod one_way_partition;
mod orphaned_request;
mod outliving_request;
mod partition;
mod pause_at_point;
mod pause_in_recovery;
mod pause_takeover;
mod power_cut;
mod power_cut_after_kill;
mod read_error;
mod rescale;
mod scattered_connections;
mod slow_disk;
mod slow_link;
mod sync_failure;
mod yield_at_point;
mod zombies;

use crate::draw::Draw;
use crate::plan::{Cluster, FaultKind, FaultSpec, Host, Phase};
use crate::world::World;

/// Every kind, in the order in which reports list them.
pub const ALL: &[&dyn Fault] = &[
    &kill::Kill,
    &power_cut::PowerCut,
    &crash_at_point::CrashAtPoint,
    &crash_in_recovery::CrashInRecovery,
    &pause_takeover::PauseTakeover,
    &partition::Partition,
    &one_way_partition::OneWayPartition,
    &slow_link::SlowLink,
    &delayed_request::DelayedRequest,
    &duplicated_request::DuplicatedRequest,
    &lost_reply::LostReply,
    &orphaned_request::OrphanedRequest,
    &slow_disk::SlowDisk,
    &sync_failure::SyncFailure,
    &pause_at_point::PauseAtPoint,
    &yield_at_point::YieldAtPoint,
    &pause_in_recovery::PauseInRecovery,
    &clock_skew::ClockSkew,
    &clock_jump::ClockJump,
    &read_error::ReadError,
    &failed_read_in_recovery::FailedReadInRecovery,
    &failed_sync_in_recovery::FailedSyncInRecovery,
    &lost_pages::LostPages,
    &lost_names::LostNames,
    &full_disk::FullDisk,
    &bit_rot::BitRot,
    &bit_rot_in_recovery::BitRotInRecovery,
    &outliving_request::OutlivingRequest,
    &scattered_connections::ScatteredConnections,
    &long_pause::LongPause,
    &zombies::Zombies,
    &rescale::Rescale,
    &graceful_stop::GracefulStop,
    &power_cut_after_kill::PowerCutAfterKill,
];

/// The kind with this name.
pub fn named(name: &str) -> Option<&'static dyn Fault> {
    ALL.iter().copied().find(|fault| fault.name() == name)
}

/// One kind of fault.
pub trait Fault: Sync {
    /// The name in plans and reports.
    fn name(&self) -> &'static str;

    /// Whether it can take effect in this cluster.
    fn possible(&self, _cluster: &Cluster) -> bool {
        true
    }

    /// A kind that has a stream of draws of its own, so that it moves no other's, and every how many seeds have it.
    fn one_in(&self) -> Option<u64> {
        None
    }

    /// How often it is drawn, beside the others that a seed has. Not asked of kinds with a stream of their own.
    fn weight(&self) -> u32 {
        2
    }

    /// One fault of this kind, at `at_ms` of `phase`; `unit_ms` is a span of time that fits the tier.
    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec;

    /// # Errors
    /// Which field is missing, or does not fit.
    fn validate(&self, _spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        Ok(())
    }

    /// When its trouble is over, in milliseconds since its phase began: nothing is healed before.
    fn over_ms(&self, spec: &FaultSpec) -> u64 {
        spec.at_ms + spec.for_ms
    }

    /// Its moment has come. `id` is what the world counts its effects under.
    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec);
}

/// A spec with the fields that every kind has.
fn spec(kind: &'static dyn Fault, phase: Phase, at_ms: u64, host: Host, for_ms: u64) -> FaultSpec {
    FaultSpec {
        kind: FaultKind(kind),
        phase,
        at_ms,
        host,
        peer: None,
        for_ms,
        nth: None,
        point: None,
        power_cut: false,
        amount: None,
    }
}

/// A host that can crash: the broker is as likely as all workers together.
fn victim(draw: &mut Draw, cluster: &Cluster) -> Host {
    match cluster.workers {
        0 => Host::Broker,
        _ if draw.chance(1, 2) => Host::Broker,
        workers => Host::Worker(1 + draw.below(u64::from(workers)) as u32),
    }
}

/// A host that speaks to the broker over the network.
fn speaker(draw: &mut Draw, cluster: &Cluster) -> Host {
    let number = draw.below(u64::from(cluster.workers) + 1) as u32;
    if number == 0 { Host::Control } else { Host::Worker(number) }
}

/// A host whose clock is read: mostly the broker, which stamps its own records.
fn timekeeper(draw: &mut Draw, cluster: &Cluster) -> Host {
    if draw.chance(3, 4) { Host::Broker } else { *draw.pick(&cluster.hosts()) }
}

/// Another host that could take the tasks of `host` over.
fn taker(draw: &mut Draw, cluster: &Cluster, host: Host) -> Option<Host> {
    let others: Vec<Host> = cluster.task_hosts().into_iter().filter(|other| *other != host).collect();
    let takes = cluster.task_hosts().contains(&host) && !others.is_empty();
    takes.then(|| *draw.pick(&others))
}

/// Where a crash can hit this host.
fn points_of(host: Host, cluster: &Cluster) -> Vec<engine::env::Point> {
    crash_at_point::points_of(host, cluster)
}

/// The broker dies with a topic recorded and not made.
pub(crate) fn crash_while_creating_topics(draw: &mut Draw, at_ms: u64, unit_ms: u64) -> FaultSpec {
    crash_at_point::while_creating_topics(draw, at_ms, unit_ms)
}

/// The broker dies between a decision and the markers of its transaction.
pub(crate) fn crash_while_concluding(draw: &mut Draw, at_ms: u64, unit_ms: u64) -> FaultSpec {
    crash_at_point::while_concluding(draw, at_ms, unit_ms)
}

fn must_be_mortal(spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
    match spec.host {
        Host::Control => Err("`control` holds the histories and cannot crash".into()),
        Host::Broker | Host::Worker(_) => Ok(()),
    }
}

fn must_pass_point(spec: &FaultSpec) -> Result<(), String> {
    match (spec.point, spec.nth) {
        (None, _) => Err("`point` is missing".into()),
        (_, None) => Err("`nth` is missing: which passing, from 1".into()),
        _ => Ok(()),
    }
}

fn may_have_a_taker(spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
    match spec.peer {
        Some(peer) if peer == spec.host => Err("`peer` must be another host than `host`".into()),
        Some(peer) if !cluster.task_hosts().contains(&peer) => Err(format!("`peer` is {peer}, which runs no tasks")),
        _ => Ok(()),
    }
}

fn must_amount_to(spec: &FaultSpec, what: &str, range: std::ops::RangeInclusive<i64>) -> Result<(), String> {
    match spec.amount {
        None => Err(format!("`amount` is missing: {what}")),
        Some(amount) if range.contains(&amount) => Ok(()),
        Some(amount) => Err(format!("`amount` is {amount}; {what} must be from {} to {}", range.start(), range.end())),
    }
}

/// The `amount` of bit rot in what tasks wrote; without one it is in the logs that the kind has of old.
const OF_TASKS: i64 = 1;

fn may_rot(spec: &FaultSpec) -> Result<(), String> {
    match spec.amount {
        None | Some(OF_TASKS) => Ok(()),
        Some(amount) => Err(format!("`amount` is {amount}; 1 is rot in what tasks wrote, and none is in other logs")),
    }
}

fn must_be_a_pair(spec: &FaultSpec) -> Result<(), String> {
    match spec.peer {
        None => Err("`peer` is missing".into()),
        Some(peer) if (peer == Host::Broker) == (spec.host == Host::Broker) => {
            Err("one of `host` and `peer` must be the broker: nobody else is spoken to".into())
        }
        Some(_) => Ok(()),
    }
}

/// A fault of one request needs who sends it; only the broker is sent any.
fn must_be_a_request(spec: &FaultSpec) -> Result<(), String> {
    match spec.peer {
        Some(Host::Broker) if spec.host != Host::Broker => Ok(()),
        _ => Err("`host` sends the request and `peer` is the broker: nobody else is asked".into()),
    }
}

fn must_have_a_disk(spec: &FaultSpec) -> Result<(), String> {
    match spec.host {
        Host::Broker => Ok(()),
        host => Err(format!("{host} has no disk of interest")),
    }
}
