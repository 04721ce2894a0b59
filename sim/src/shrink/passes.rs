//! The dimensions in which a plan becomes smaller, in the order in which they are tried.
//!
//! In: the smallest plan so far. Out: a smaller one that breaks in the same way, or the same. What frees most goes first:
//! without faults there is less to recover from, with fewer events every later candidate runs faster.
//!
//! Invariant: a candidate can be run: its plan is valid, its pipeline takes the shape, and a replay that starts at a time
//! may still do so. An event keeps its id and its place among those that stay; every partition keeps its end marker.

use std::collections::{BTreeMap, BTreeSet};

use engine::types::Millis;

use super::{Found, Oracle, is_end, lists};
use crate::plan::{EngineSettings, FaultSpec, Host, Phase, Plan};
use crate::workload::{LogRecord, SourceEvent, Workload};

/// The best plan, and how to find a better one.
pub struct Step<'a> {
    pub workload: &'a dyn Workload,
    pub best: &'a mut Found,
    pub oracle: &'a mut dyn Oracle,
    /// Take large parts only: what is left runs faster, and so does every later candidate.
    pub coarse: bool,
}

pub const ALL: &[fn(&mut Step<'_>)] =
    &[features, faults, passings, keys, events, partitions, hosts, moments, durations, settings];

/// The first round, with large steps.
pub const COARSE: &[fn(&mut Step<'_>)] = &[features, faults, keys, events, partitions, hosts];

impl Step<'_> {
    /// Takes the first of these that breaks; whether one did.
    fn take_first(&mut self, candidates: impl Iterator<Item = Plan> + Send) -> bool {
        let (workload, best) = (self.workload, self.best.plan.clone());
        let runnable = |plan: &Plan| plan.validate().is_ok() && plan.fits(workload).is_ok();
        let mut candidates = candidates.map(tidied).filter(|plan| *plan != best && runnable(plan));
        match self.oracle.first_broken(&mut candidates) {
            Some(found) => {
                *self.best = found;
                true
            }
            None => false,
        }
    }

    /// Takes what of these changes of the best plan can be had, one after the other.
    fn take_each(&mut self, changes: &[fn(&mut Plan)]) {
        let mut changes = changes;
        while !changes.is_empty() && !self.oracle.is_over() {
            let plan = self.best.plan.clone();
            let tried: Vec<(usize, Plan)> = changes.iter().map(|change| changed(&plan, change)).enumerate().collect();
            let tried: Vec<(usize, Plan)> = tried.into_iter().map(|(index, plan)| (index, tidied(plan))).collect();
            if !self.take_first(tried.iter().map(|(_, plan)| plan.clone())) {
                return;
            }
            let taken = tried.iter().find(|(_, plan)| *plan == self.best.plan).map_or(0, |(index, _)| *index);
            changes = &changes[taken + 1..];
        }
    }

    /// Takes as many of `len` things away as will go; `keep` makes the plan in which only some are left.
    fn take_away(&mut self, len: usize, keep: &(dyn Fn(&Plan, &[usize]) -> Plan + Sync)) {
        let plan = self.best.plan.clone();
        let finest = if self.coarse { len / 6 } else { 1 };
        // Both closures need the oracle; only one runs at a time.
        let step = std::cell::RefCell::new(self);
        lists::reduce(
            len,
            finest,
            &mut |parts| {
                let mut step = step.borrow_mut();
                if !step.take_first(parts.iter().map(|part| keep(&plan, part))) {
                    return None;
                }
                parts.iter().position(|part| tidied(keep(&plan, part)) == step.best.plan)
            },
            &|| step.borrow().oracle.is_over(),
        );
    }
}

fn changed(plan: &Plan, change: impl Fn(&mut Plan)) -> Plan {
    let mut plan = plan.clone();
    change(&mut plan);
    plan
}

/// The knobs of a plan with listed events only describe them.
pub fn tidied(mut plan: Plan) -> Plan {
    let events = plan.events.as_deref().unwrap_or_default();
    let real: Vec<&SourceEvent> = events.iter().filter(|event| event.watermark().is_none()).collect();
    plan.knobs.events = real.len() as u32;
    plan.knobs.span_ms = events.iter().map(|event| event.at_ms).max().unwrap_or(0).max(1);
    plan.knobs.kinds = real.iter().flat_map(|event| event.kinds.iter().copied()).collect();
    plan
}

/// What comes beside the run and its replay.
fn features(step: &mut Step<'_>) {
    step.take_each(&[
        |plan| plan.truncate = None,
        |plan| plan.replay.twice = false,
        |plan| plan.replay.beside_live_ms = None,
        |plan| plan.replay.hosts = None,
        |plan| plan.replay.from = None,
    ]);
}

fn faults(step: &mut Step<'_>) {
    step.take_away(step.best.plan.faults.len(), &|plan, kept| {
        let faults = kept.iter().map(|index| plan.faults[*index].clone()).collect();
        Plan { faults, ..plan.clone() }
    });
}

/// A fault at the first passing of its point does not depend on how often it was passed before.
fn passings(step: &mut Step<'_>) {
    each_fault(step, |fault| {
        let nth = fault.nth.filter(|nth| *nth > 1)?;
        Some([1, nth / 2, nth - 1].map(|nth| FaultSpec { nth: Some(nth), ..fault.clone() }).into())
    });
}

/// Tries other forms of each fault, the best first.
fn each_fault(step: &mut Step<'_>, forms: impl Fn(&FaultSpec) -> Option<Vec<FaultSpec>>) {
    for index in 0..step.best.plan.faults.len() {
        let plan = step.best.plan.clone();
        let forms: Vec<FaultSpec> = forms(&plan.faults[index]).unwrap_or_default();
        step.take_first(forms.into_iter().filter(|form| *form != plan.faults[index]).map(|form| {
            let mut plan = plan.clone();
            plan.faults[index] = form;
            plan
        }));
        if step.oracle.is_over() {
            return;
        }
    }
}

/// Whole keys: first all but the one whose row differs.
fn keys(step: &mut Step<'_>) {
    let events = step.best.plan.events.clone().unwrap_or_default();
    let of: Vec<Option<String>> = events.iter().map(|event| key_of(step, event)).collect();
    let keys: BTreeSet<&String> = of.iter().flatten().collect();
    if keys.len() < 2 {
        return;
    }
    let only = |plan: &Plan, wanted: &BTreeSet<&String>| {
        let kept = events.iter().zip(&of).filter(|(_, key)| key.as_ref().is_none_or(|key| wanted.contains(key)));
        Plan { events: Some(kept.map(|(event, _)| event.clone()).collect()), ..plan.clone() }
    };
    let differs = step.best.report.violations.iter().find_map(|violation| violation.first_difference.as_ref());
    if let Some(key) = differs.map(|difference| difference.key.clone()).filter(|key| keys.contains(key)) {
        let candidate = only(&step.best.plan, &BTreeSet::from([&key]));
        if step.take_first(std::iter::once(candidate)) {
            return;
        }
    }
    let keys: Vec<&String> = keys.into_iter().collect();
    step.take_away(keys.len(), &|plan, kept| only(plan, &kept.iter().map(|index| keys[*index]).collect()));
}

/// The key of the rows that the event makes, asked of the independent function.
fn key_of(step: &Step<'_>, event: &SourceEvent) -> Option<String> {
    let record = LogRecord {
        partition: event.partition,
        offset: 0,
        timestamp: event.timestamp,
        key: event.key.clone(),
        value: event.value.clone(),
        headers: event.headers.clone(),
    };
    let made = step.workload.expected(&step.best.plan.shape, &[record]).table;
    made.into_keys().next().map(|row| row.key)
}

fn events(step: &mut Step<'_>) {
    let events = step.best.plan.events.clone().unwrap_or_default();
    let can_go: Vec<usize> = (0..events.len()).filter(|index| !is_end(&events[*index])).collect();
    step.take_away(can_go.len(), &|plan, kept| {
        let kept: BTreeSet<usize> = kept.iter().map(|place| can_go[*place]).collect();
        let left = events.iter().enumerate().filter(|(index, event)| is_end(event) || kept.contains(index));
        Plan { events: Some(left.map(|(_, event)| event.clone()).collect()), ..plan.clone() }
    });
}

/// All events in one partition; else without the partitions that have only their end marker. Keys stay together, since
/// partitions are only merged or closed up.
fn partitions(step: &mut Step<'_>) {
    step.take_each(&[|plan| plan.shape.repartitions = 1]);
    let plan = step.best.plan.clone();
    if plan.shape.partitions < 2 {
        return;
    }
    let events = plan.events.clone().unwrap_or_default();
    let used: BTreeSet<i32> = events.iter().filter(|event| !is_end(event)).map(|event| event.partition).collect();
    let all = BTreeMap::from_iter((0..plan.shape.partitions).map(|partition| (partition, 0)));
    let close_up = |used: &BTreeSet<i32>| used.iter().enumerate().map(|(to, from)| (*from, to as i32)).collect();
    let mut maps: Vec<BTreeMap<i32, i32>> = vec![close_up(&used)];
    if used.len() > 1 {
        maps.push(all);
        for left_out in &used {
            maps.push(close_up(&used.iter().copied().filter(|one| one != left_out).collect()));
        }
    }
    step.take_first(maps.into_iter().map(|map| moved(&plan, &events, &map)));
}

/// The plan with events moved to other partitions, and those of partitions without a new place left out.
fn moved(plan: &Plan, events: &[SourceEvent], map: &BTreeMap<i32, i32>) -> Plan {
    let partitions = map.values().max().map_or(1, |highest| highest + 1);
    let mut plan = plan.clone();
    plan.shape.partitions = partitions;
    let mut left = Vec::new();
    let mut ends: BTreeMap<i32, SourceEvent> = BTreeMap::new();
    for event in events {
        let Some(to) = map.get(&event.partition) else { continue };
        let event = SourceEvent { partition: *to, ..event.clone() };
        match is_end(&event) {
            // The last of those that were merged.
            true => drop(ends.insert(*to, event)),
            false => left.push(event),
        }
    }
    for partition in 0..partitions {
        let end = || SourceEvent::marker(plan.span_ms(), partition, crate::workload::END_OF_INPUT);
        left.push(ends.remove(&partition).unwrap_or_else(end));
    }
    left.sort_by_key(|event| event.at_ms);
    plan.events = Some(left);
    if let Some(truncate) = &mut plan.truncate {
        truncate.partition = map.get(&truncate.partition).copied().unwrap_or(0);
    }
    plan
}

/// Fewer hosts; the faults of those that go are those of others then.
fn hosts(step: &mut Step<'_>) {
    let plan = step.best.plan.clone();
    let (embedded, workers) = (plan.cluster.embedded, plan.cluster.workers);
    let smaller = [(true, 0), (false, 1), (true, 1), (false, 2), (true, 2), (false, 3)];
    let count = |(embedded, workers): (bool, u32)| workers * 2 + u32::from(embedded);
    let smaller = smaller.into_iter().filter(|shape| count(*shape) < count((embedded, workers)));
    let candidates = smaller.map(|(embedded, workers)| {
        let mut plan = plan.clone();
        plan.cluster.embedded = embedded;
        plan.cluster.workers = workers;
        let to = |host: Host| match host {
            Host::Worker(_) if workers == 0 => Host::Broker,
            Host::Worker(number) => Host::Worker((number - 1) % workers + 1),
            Host::Broker | Host::Control => host,
        };
        for fault in &mut plan.faults {
            fault.host = to(fault.host);
            fault.peer = fault.peer.map(to);
        }
        plan
    });
    step.take_first(candidates);
    step.take_each(&[|plan| plan.cluster.rotate = 0]);
}

/// Events and faults come sooner, and at rounder moments.
fn moments(step: &mut Step<'_>) {
    type Change = fn(u64) -> u64;
    let changes: [Change; 4] = [|_| 0, |ms| ms / 4, |ms| ms / 2, |ms| ms / 100 * 100];
    let plan = step.best.plan.clone();
    step.take_first(changes.into_iter().map(|change| {
        let mut plan = plan.clone();
        let live = plan.faults.iter_mut().filter(|fault| fault.phase == Phase::Live);
        live.for_each(|fault| fault.at_ms = change(fault.at_ms));
        plan.events.iter_mut().flatten().for_each(|event| event.at_ms = change(event.at_ms));
        plan
    }));
    each_fault(step, |fault| {
        let halves = [0, fault.at_ms / 2, fault.at_ms / 100 * 100];
        Some(halves.map(|at_ms| FaultSpec { at_ms, ..fault.clone() }).into())
    });
}

fn durations(step: &mut Step<'_>) {
    each_fault(step, |fault| {
        let shorter = [1, fault.for_ms / 4, fault.for_ms / 2, fault.for_ms / 100 * 100];
        let mut forms: Vec<FaultSpec> =
            shorter.into_iter().filter(|ms| *ms > 0).map(|for_ms| FaultSpec { for_ms, ..fault.clone() }).collect();
        if fault.power_cut {
            forms.push(FaultSpec { power_cut: false, ..fault.clone() });
        }
        Some(forms)
    });
}

/// Settings that nobody would wonder at: all at once, or those that can be had.
fn settings(step: &mut Step<'_>) {
    let plan = step.best.plan.clone();
    let all = Plan { engine: EngineSettings::plain(), ..plan };
    let all_calm = changed(&all, |plan| CALM.iter().for_each(|change| change(plan)));
    step.take_first([all_calm, all].into_iter());
    step.take_each(CALM);
    step.take_each(&[
        |plan| plan.engine.segment_bytes = EngineSettings::plain().segment_bytes,
        |plan| plan.engine.fetch_bytes = EngineSettings::plain().fetch_bytes,
        |plan| plan.engine.flush_bytes = EngineSettings::plain().flush_bytes,
        |plan| plan.engine.index_interval_bytes = EngineSettings::plain().index_interval_bytes,
        |plan| plan.engine.recovery_point_every_bytes = EngineSettings::plain().recovery_point_every_bytes,
        |plan| plan.engine.internal_log_bytes = EngineSettings::plain().internal_log_bytes,
        |plan| plan.engine.snapshot_every = EngineSettings::plain().snapshot_every,
        |plan| plan.engine.patience_ms = EngineSettings::plain().patience_ms,
        |plan| plan.engine.batch_events = EngineSettings::plain().batch_events,
        |plan| plan.engine.lz4 = EngineSettings::plain().lz4,
        |plan| plan.engine.commit_interval_ms = EngineSettings::plain().commit_interval_ms,
        |plan| plan.engine.fetch_wait_ms = EngineSettings::plain().fetch_wait_ms,
        |plan| plan.engine.request_timeout_ms = EngineSettings::plain().request_timeout_ms,
        |plan| plan.engine.txn_timeout_ms = EngineSettings::plain().txn_timeout_ms,
    ]);
}

/// A cluster without surprises, and a pipeline without patience.
const CALM: &[fn(&mut Plan)] = &[
    |plan| plan.cluster.yield_percent = 0,
    |plan| plan.cluster.latency_max_ms = plan.cluster.latency_min_ms,
    |plan| plan.cluster.sync_max_ms = plan.cluster.sync_min_ms,
    |plan| plan.shape.allowed_lateness = Millis(0),
    |plan| plan.shape.bound = Millis(0),
];
