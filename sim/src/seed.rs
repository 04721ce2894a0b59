//! One seed in this process: live under faults, heal, liveness, replay under faults, liveness, checks.
//!
//! In: a workload and a plan. Out: a [`SeedReport`], and the trace's lines if they are asked for.
//!
//! Invariant: the same plan gives the same report but for `wall_ms`, in this process or another.
//! Invariant: a panic, wherever it happens in the engine, is a violation of this seed and of no other.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use engine::schema::{Schema, SchemaId, unframe};
use engine::stream::TaskStats;
use reports::{SeedReport, Story, Verdict, timeline};

use crate::checks::{self, Case, Violation};
use crate::evidence::{Evidence, Liveness};
use crate::phases::{Phases, Stop};
use crate::plan::{Host, Plan, PlanError};
use crate::states;
use crate::story::{self, Sources};
use crate::trace::Trace;
use crate::workload::{EventKind, Workload};
use crate::world::control::SEND_HEADER;
use crate::world::{World, hosts};

/// What to do besides running.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Keep every event of the trace as a line.
    pub keep_trace: bool,
    /// Tell the story of the run.
    pub tell: bool,
    /// Stop at this virtual millisecond, before any check.
    pub until_ms: Option<u64>,
}

/// A seed that was run.
pub struct Run {
    pub report: SeedReport,
    /// With [`RunOptions::keep_trace`].
    pub trace: Option<String>,
    /// [`RunOptions::until_ms`] ended it, and nothing was checked.
    pub cut_off: bool,
}

/// Runs a plan and judges it.
pub fn run_plan(workload: &dyn Workload, plan: &Plan) -> SeedReport {
    run_plan_with(workload, plan, RunOptions::default()).report
}

/// [`run_plan`], and more.
pub fn run_plan_with(workload: &dyn Workload, plan: &Plan, options: RunOptions) -> Run {
    let trace = Trace::new(plan.tick_ms(), options.keep_trace);
    if options.tell {
        trace.listen();
    }
    listen_to_panics();
    PANIC.with_borrow_mut(|panic| *panic = Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(|| run(workload, plan, options, &trace)));
    let said = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
    let panicked = |said| judged(plan, Violation::new("no-panic", said));
    let (mut report, cut_off) = match outcome {
        Ok((mut report, cut_off)) => {
            // A panic in a destructor, as a crash dropped its task: tokio keeps it to itself.
            report.violations.extend((!said.is_empty()).then(|| panicked(said)));
            (report, cut_off)
        }
        Err(payload) => {
            let said = if said.is_empty() { message_of(&*payload) } else { said };
            let mut report = SeedReport::empty(plan.pipeline.clone(), plan.seed, plan.tier);
            report.steps = trace.step();
            report.violations = vec![panicked(said)];
            (report, false)
        }
    };
    report.trace_hash = trace.hash();
    report.virtual_ms = report.steps * plan.tick_ms();
    if !report.violations.is_empty() {
        report.verdict = Verdict::Violation;
        report.plan = Some(plan.listed(workload).to_toml());
        // Once is enough: what comes after the first violation of a run has the same past.
        report.violations[0].story = report.story.as_deref().map_or_else(|| trace.story(), timeline::lines);
    }
    Run { report, trace: trace.take_lines(), cut_off }
}

/// The report, and whether the caller's `until_ms` ended the run.
fn run(workload: &dyn Workload, plan: &Plan, options: RunOptions, trace: &Trace) -> (SeedReport, bool) {
    let mut report = SeedReport::empty(plan.pipeline.clone(), plan.seed, plan.tier);
    let events = plan.source_events(workload);
    let deployments = match workload.pipeline(&plan.shape) {
        Ok(pipeline) => hosts::deployments(workload, pipeline, plan, &events),
        Err(error) => panic!("{}", PlanError::Invalid(format!("the pipeline cannot have this shape: {error}"))),
    };
    let mut kinds: BTreeMap<EventKind, u64> = BTreeMap::new();
    for kind in events.iter().flat_map(|event| &event.kinds) {
        *kinds.entry(*kind).or_default() += 1;
    }
    // Not dropped when a host panics: its runtime would be torn down in the middle of the panic.
    let mut world = ManuallyDrop::new(World::new(plan, trace.clone()));
    hosts::populate(&mut world, workload, plan, &deployments, events.clone());
    let mut phases = Phases {
        world: &mut world,
        plan,
        until_ms: options.until_ms,
        liveness: Liveness::default(),
        source: workload.source_topic(),
        deployments: &deployments,
    };
    let mut stopped = phases.run();
    let mut evidence = phases.evidence();
    evidence.cut_short = stopped.is_err();
    if stopped.is_ok() {
        stopped = phases.run_cut(&mut evidence);
        if plan.truncate.is_some() {
            evidence.whole_history = Some(phases.world.board.history());
        }
    }
    world.freeze_all();
    let mut found: Vec<Violation> =
        world.board.take_failed().into_iter().map(|(property, message)| Violation::new(property, message)).collect();
    if let Err(Stop::Host(error)) = &stopped {
        found.push(Violation::new("converges", format!("the software of a host ended: {error}")));
    }
    let case = Case::new(&evidence, workload, &plan.shape);
    let cut_off = matches!(stopped, Err(Stop::Until));
    if !cut_off {
        // What an engine gave up on may have its cause in the log. That the run did not end has been said.
        let said = |found: &Violation| evidence.cut_short && found.property == "converges";
        found.extend(checks::run_case(&case).into_iter().filter(|found| !said(found)));
    }
    if let Some(second) = &evidence.second_replay
        && found.is_empty()
    {
        let removed = world.broker_disk().removed();
        let evidence =
            Evidence { replay: second.names.clone(), files: second.files.clone(), removed, ..evidence.clone() };
        found.extend(checks::run_replay(&Case::new(&evidence, workload, &plan.shape)));
    }
    count(&mut report, &case);
    report.states = states(&world, plan, &case, &report, &kinds, deployments[0].tasks().len());
    let changed = changed_schema(workload, plan, &case);
    if changed > 0 {
        report.states.insert("schema-change-mid-log".to_owned(), changed);
    }
    report.faults_by_phase = world.faults_by_phase();
    report.faults = world.fault_counts();
    report.examined = checks::examined(&case);
    report.steps = world.steps();
    report.violations = found.into_iter().map(|violation| judged(plan, violation)).collect();
    if options.tell {
        report.story = Some(Box::new(told(&world, plan, &case, &report)));
    }
    drop(ManuallyDrop::into_inner(world));
    (report, cut_off)
}

/// The story of the run, and of its first violation if there is one.
fn told(world: &World<'_>, plan: &Plan, case: &Case<'_>, report: &SeedReport) -> Story {
    let mut story = Story::new(plan.pipeline.clone(), plan.seed, plan.tier.to_string());
    if let Some(broken) = report.violations.first() {
        story.property.clone_from(&broken.property);
        story.message.clone_from(&broken.message);
    }
    let difference = report.violations.iter().find_map(|violation| violation.first_difference.as_ref());
    let sources = Sources {
        diary: &world.diary,
        hosts: &world.hosts(),
        faults: &world.struck(),
        told: &world.trace.take_told(),
        end_hosts: &world.board.end_hosts(),
        case,
        virtual_ms: world.now_ms(),
    };
    story::tell(&mut story, &sources, difference);
    story
}

fn judged(plan: &Plan, violation: Violation) -> reports::Violation {
    violation.report(&plan.pipeline, plan.seed, plan.tier)
}

fn count(report: &mut SeedReport, case: &Case<'_>) {
    let mut highest: BTreeMap<i32, i64> = BTreeMap::new();
    for record in case.source.records.iter().filter(|record| record.watermark().is_none()) {
        report.records.ingested += 1;
        let highest = highest.entry(record.partition).or_insert(i64::MIN);
        report.records.out_of_order += u64::from(record.timestamp < *highest);
        *highest = record.timestamp.max(*highest);
    }
    report.records.late = case.live.late.values().sum();
    report.records.duplicates = copies(case);
    let outputs = format!("{:?}{:?}", case.live.table, case.live.late);
    report.outputs = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(outputs.as_bytes()));
    report.panes.live = case.live.table.len() as u64;
    report.panes.replay = case.replay.table.len() as u64;
}

/// Records of the log that say again what an earlier one of their partition says: all but the send's own id.
fn copies(case: &Case<'_>) -> u64 {
    let mut seen = BTreeSet::new();
    let records = case.source.records.iter().filter(|record| record.watermark().is_none());
    let copies = records.filter(|record| {
        let headers: Vec<_> = record.headers.iter().filter(|(name, _)| name != SEND_HEADER).collect();
        !seen.insert((record.partition, record.timestamp, &record.key, &record.value, headers))
    });
    copies.count() as u64
}

/// The rare states that this run reached, and how often.
fn states(
    world: &World<'_>,
    plan: &Plan,
    case: &Case<'_>,
    report: &SeedReport,
    kinds: &BTreeMap<EventKind, u64>,
    tasks: usize,
) -> BTreeMap<String, u64> {
    let mut states = world.states();
    let mut reach = |name: &str, count: u64| {
        if count > 0 {
            *states.entry(name.to_owned()).or_default() += count;
        }
    };
    let stats: Vec<_> = world.board.finished().into_values().collect();
    reach("session-bridge-after-emission", stats.iter().map(|stats| stats.merges_after_emission).sum());
    reach("emitted-pane-changed", stats.iter().map(|stats| stats.changes_after_emission).sum());
    reach("needed-offset-gone", case.evidence.gaps.len() as u64);
    reach("pane-retracted", stats.iter().map(|stats| stats.retractions).sum());
    reach("pane-taken-back", case.runs().iter().map(|(_, names, _)| checks::panes::taken_back(case, names)).sum());
    reach("row-without-contributors", stats.iter().map(|stats| stats.emptied).sum());
    let restored = |stats: &&TaskStats| stats.pane_channels_restored >= 2;
    reach("panes-restored-from-two-tasks", stats.iter().filter(restored).count() as u64);
    // As the topic has them, and not as the engine counts.
    reach("poison-record-rejected", case.runs().iter().flat_map(|(_, _, output)| output.rejected.values()).sum());
    reach("duplicate-dropped", stats.iter().map(|stats| stats.duplicates).sum());
    reach("late-event-after-close", report.records.late);
    let transactions = case.logs.all().flat_map(|(_, _, log)| &log.transactions);
    let aborted = transactions.filter(|transaction| transaction.marker.as_ref().is_some_and(|marker| !marker.commit));
    reach("aborted-transaction", aborted.count() as u64);
    let in_doubt = case.evidence.history.sends.iter().filter(|send| send.acks.is_empty());
    reach("send-in-doubt", in_doubt.count() as u64);
    // As they were dealt: the tasks of all stages.
    reach("more-workers-than-tasks", u64::from(tasks < plan.cluster.task_hosts().len()));
    reach("empty-log", u64::from(report.records.ingested == 0));
    reach("one-record-log", u64::from(report.records.ingested == 1));
    let ran = world.board.ran();
    reach("embedded-tasks", u64::from(ran.contains(&Host::Broker)));
    reach("remote-tasks", u64::from(ran.iter().any(|host| *host != Host::Broker)));
    reach("repartitioned", u64::from(!plan.shape.keyed_by_record));
    for (kind, name) in [
        (EventKind::ExactGap, "exact-gap"),
        (EventKind::IdlePartition, "idle-partition"),
        (EventKind::UnusedPartition, "unused-partition"),
        (EventKind::HotKey, "hot-key"),
        (EventKind::EqualTimestamps, "equal-timestamps"),
    ] {
        reach(name, kinds.get(&kind).copied().unwrap_or(0));
    }
    for name in states.keys() {
        assert!(states::named(name).is_some(), "`{name}` is counted and has no line in the registry of states");
    }
    states
}

/// Records whose value is of another schema of the workload's than the first that its partition has.
fn changed_schema(workload: &dyn Workload, plan: &Plan, case: &Case<'_>) -> u64 {
    let known = workload.schemas().into_iter().chain(plan.schemas.iter().cloned());
    let known: Vec<Schema> = known.filter_map(|json| Schema::parse(&json).ok()).collect();
    let mut first: BTreeMap<i32, SchemaId> = BTreeMap::new();
    let mut changed = 0;
    for record in &case.source.records {
        let Some(Ok((id, _))) = record.value.as_deref().map(unframe) else { continue };
        if known.iter().any(|schema| schema.id() == id) {
            changed += u64::from(*first.entry(record.partition).or_insert(id) != id);
        }
    }
    changed
}

thread_local! {
    /// What the first panic of the run on this thread said, and where; `None` while no run is on.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic in a host's task reaches the driver as tokio's own words; only the hook hears what was said first.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let said = format!("panicked at {}: {}", info.location().map_or_else(String::new, ToString::to_string), {
                message_of(info.payload())
            });
            let listening = PANIC.try_with(|panic| {
                panic.try_borrow_mut().is_ok_and(|mut panic| match panic.as_mut() {
                    Some(first) => {
                        if first.is_empty() {
                            *first = said;
                        }
                        true
                    }
                    None => false,
                })
            });
            if !listening.unwrap_or(false) {
                before(info);
            }
        }));
    });
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(said), _) => (*said).to_owned(),
        (_, Some(said)) => said.clone(),
        _ => "without a word".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hosts::Hosts;

    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("a bug in a destructor");
        }
    }

    #[test]
    fn a_panic_in_a_destructor_is_heard_although_tokio_keeps_it_to_itself() {
        listen_to_panics();
        PANIC.with_borrow_mut(|panic| *panic = Some(String::new()));
        let mut hosts = Hosts::new(1, Duration::from_millis(1));
        hosts.host("a", || async {
            let _held = Panics;
            std::future::pending().await
        });
        hosts.step().expect("nobody fails");
        hosts.crash("a");
        let said = PANIC.with_borrow_mut(Option::take).expect("somebody listened");
        assert!(said.ends_with("a bug in a destructor"), "{said}");
    }
}
