//! Shrinking: from a plan that breaks a property to the smallest one found that breaks it in the same way.
//!
//! In: a plan, the fingerprint of its violation, a way to run candidates ([`Oracle`]) and a budget. Out: a plan with its
//! events listed, the report of its run, and how much went away.
//!
//! Delta debugging, one dimension after another ([`passes`]): faults, keys, events, partitions, hosts, moments and
//! durations, the engine's settings; again from the start until a whole round takes nothing away.
//!
//! Invariant: whatever is returned was run, and broke with the same fingerprint.
//! Invariant: of the candidates of one step the first that breaks is taken, however many run at a time: with enough budget
//! the result is a function of the plan, the fingerprint and the build.

mod failures;
mod lists;
mod passes;
mod runner;

use std::sync::atomic::AtomicBool;

use reports::story::Shrunk;
use reports::{SeedReport, Violation};

pub use failures::shrink_failures;
pub(crate) use runner::run;
pub use runner::{Processes, Settings, run_once};

use crate::plan::Plan;
use crate::workload::{SourceEvent, Workload};

/// The candidates of one step, made as they are asked for.
pub type Candidates<'a> = &'a mut (dyn Iterator<Item = Plan> + Send + 'a);

/// Runs candidates.
pub trait Oracle {
    /// The first of the candidates that breaks in the way that is looked for. `None` when none does, or time is up.
    fn first_broken(&mut self, candidates: Candidates<'_>) -> Option<Found>;

    /// Time is up.
    fn is_over(&self) -> bool;

    /// How many candidates were run.
    fn runs(&self) -> u64;
}

/// A candidate that breaks.
#[derive(Clone, Debug)]
pub struct Found {
    pub plan: Plan,
    pub report: SeedReport,
}

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub plan: Plan,
    /// Of the run of `plan`.
    pub report: SeedReport,
    pub size: Shrunk,
    /// A whole round took nothing away: more time would not help.
    pub settled: bool,
}

/// Shrinks `plan`. `None` when it does not break in the way that is looked for.
pub fn shrink(workload: &dyn Workload, plan: &Plan, oracle: &mut dyn Oracle) -> Option<Outcome> {
    let listed = plan.listed(workload);
    let mut best = oracle.first_broken(&mut std::iter::once(passes::tidied(listed.clone())))?;
    for pass in passes::COARSE {
        pass(&mut passes::Step { workload, best: &mut best, oracle, coarse: true });
    }
    let mut settled = false;
    while !oracle.is_over() && !settled {
        let before = best.plan.clone();
        for pass in passes::ALL {
            pass(&mut passes::Step { workload, best: &mut best, oracle, coarse: false });
        }
        settled = best.plan == before && !oracle.is_over();
    }
    let (before, after) = (size(&listed), size(&best.plan));
    let size = Shrunk {
        faults_before: before.faults,
        events_before: before.events,
        partitions_before: before.partitions,
        hosts_before: before.hosts,
        runs: oracle.runs(),
        ..after
    };
    Some(Outcome { plan: best.plan, report: best.report, size, settled })
}

/// The outcome with the story of its run, which is run once more for it unless `stop` is set.
pub fn told(settings: &Settings, outcome: Outcome, stop: &AtomicBool) -> Outcome {
    match run_once(settings, &outcome.plan, settings.candidate_limit, stop) {
        Some(report) if report.trace_hash == outcome.report.trace_hash => Outcome { report, ..outcome },
        // The story is left out rather than told of another run.
        _ => outcome,
    }
}

/// What people count of a plan. End markers are not events: a partition cannot do without one.
pub fn size(plan: &Plan) -> Shrunk {
    let events = plan.events.iter().flatten().filter(|event| !is_end(event)).count();
    Shrunk {
        faults: plan.faults.len() as u64,
        events: events as u64,
        partitions: plan.shape.partitions as u64,
        hosts: plan.cluster.hosts().len() as u64 - 1,
        ..Shrunk::default()
    }
}

/// The last word of its partition, which no list of events can do without.
fn is_end(event: &SourceEvent) -> bool {
    event.watermark() == Some(crate::workload::END_OF_INPUT)
}

/// What a person wants to read above a shrunk plan, as comments of the file.
pub fn header(outcome: &Outcome, fingerprint: &str) -> String {
    let Shrunk { faults_before, events_before, partitions_before, hosts_before, runs, .. } = outcome.size;
    let same = outcome.report.violations.iter().find(|violation| violation.fingerprint() == fingerprint);
    let mut header = String::new();
    if let Some(violation) = same {
        let Violation { property, message, .. } = violation;
        header.push_str(&format!("# {property}: {}\n", message.replace('\n', " ")));
    }
    header.push_str(&format!(
        "# Shrunk in {runs} runs to {}, from {faults_before}, {events_before}, {partitions_before}, {hosts_before}.\n\n",
        outcome.size.words()
    ));
    header
}
