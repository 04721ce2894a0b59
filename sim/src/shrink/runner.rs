//! Candidates in child processes: several at a time, each with a limit of wall time, all within one budget.
//!
//! In: plans. Out: the first that breaks with the fingerprint that is looked for. A candidate that dies, hangs or takes too
//! long does not break in that way. What was run once and did not break is not run again.

#![expect(
    clippy::disallowed_methods,
    reason = "shrinking is above the engine: it holds processes and watches the clock"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reports::SeedReport;
use xxhash_rust::xxh3::xxh3_128;

use super::{Candidates, Found, Oracle};
use crate::campaign::Job;
use crate::campaign::worker::{Answer, Worker};
use crate::plan::Plan;

/// How candidates are run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Program and arguments that start a seed worker.
    pub worker: Vec<String>,
    /// What a seed worker finds in its environment, besides ours.
    pub worker_env: Vec<(String, String)>,
    /// Processes at a time.
    pub jobs: usize,
    /// How long shrinking may take.
    pub budget: Duration,
    /// How long one candidate may take.
    pub candidate_limit: Duration,
}

/// Candidates in child processes, on as many cores as [`Settings::jobs`] says.
pub struct Processes<'a> {
    settings: &'a Settings,
    fingerprint: &'a str,
    stop: &'a AtomicBool,
    ends: Instant,
    lanes: Vec<Option<Worker>>,
    /// Digests of the plans that did not break.
    held: BTreeSet<u128>,
    runs: u64,
}

impl<'a> Processes<'a> {
    /// `stop` set ends the search as the budget does.
    pub fn new(settings: &'a Settings, fingerprint: &'a str, stop: &'a AtomicBool) -> Processes<'a> {
        let lanes = (0..settings.jobs.max(1)).map(|_| None).collect();
        let ends = Instant::now() + settings.budget;
        Processes { settings, fingerprint, stop, ends, lanes, held: BTreeSet::new(), runs: 0 }
    }
}

/// What the lanes of one step share.
struct Step<'c> {
    candidates: Candidates<'c>,
    given: usize,
    /// The first that broke, so far.
    found: Option<(usize, Found)>,
    held: Vec<u128>,
    runs: u64,
}

impl Oracle for Processes<'_> {
    fn first_broken(&mut self, candidates: Candidates<'_>) -> Option<Found> {
        let seen = &self.held;
        let mut fresh = candidates.filter(|plan| !seen.contains(&digest(plan)));
        let step = Mutex::new(Step { candidates: &mut fresh, given: 0, found: None, held: Vec::new(), runs: 0 });
        let (settings, fingerprint, ends) = (self.settings, self.fingerprint, self.ends);
        let over = || self.stop.load(Ordering::Relaxed) || Instant::now() >= ends;
        std::thread::scope(|scope| {
            for lane in &mut self.lanes {
                let (step, over) = (&step, &over);
                scope.spawn(move || {
                    while let Some((index, plan)) = next(step, over) {
                        let limit = settings.candidate_limit.min(ends.saturating_duration_since(Instant::now()));
                        let report = run(settings, lane, &plan, limit, false, over);
                        let broken = report.is_some_and(|report| keep(step, index, &plan, report, fingerprint));
                        if !broken && !over() {
                            lock(step).held.push(digest(&plan));
                        }
                    }
                });
            }
        });
        let Step { found, held, runs, .. } = step.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.runs += runs;
        self.held.extend(held);
        found.map(|(_, found)| found)
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || Instant::now() >= self.ends
    }

    fn runs(&self) -> u64 {
        self.runs
    }
}

/// The next candidate, unless one before it has broken already.
fn next(step: &Mutex<Step<'_>>, over: &dyn Fn() -> bool) -> Option<(usize, Plan)> {
    let mut step = lock(step);
    if step.found.is_some() || over() {
        return None;
    }
    let plan = step.candidates.next()?;
    let index = step.given;
    step.given += 1;
    step.runs += 1;
    Some((index, plan))
}

/// Takes the candidate if its run broke as it shall; whether it did.
fn keep(step: &Mutex<Step<'_>>, index: usize, plan: &Plan, report: SeedReport, fingerprint: &str) -> bool {
    if !breaks(&report, fingerprint) {
        return false;
    }
    let mut step = lock(step);
    if step.found.as_ref().is_none_or(|(first, _)| index < *first) {
        step.found = Some((index, Found { plan: plan.clone(), report }));
    }
    true
}

/// The report of one run of `plan` with its story, in a process of its own. `None` when the process died or took too long,
/// or `stop` was set before it ended.
pub fn run_once(settings: &Settings, plan: &Plan, limit: Duration, stop: &AtomicBool) -> Option<SeedReport> {
    run(settings, &mut None, plan, limit, true, &|| stop.load(Ordering::Relaxed))
}

/// Whether a violation of this fingerprint is among those of the report.
fn breaks(report: &SeedReport, fingerprint: &str) -> bool {
    report.violations.iter().any(|violation| violation.fingerprint() == fingerprint)
}

/// One run of `plan` in the lane's process, which is started if there is none. `None` when it died or took too long.
pub fn run(
    settings: &Settings,
    lane: &mut Option<Worker>,
    plan: &Plan,
    limit: Duration,
    tell: bool,
    given_up: &dyn Fn() -> bool,
) -> Option<SeedReport> {
    let worker = match lane {
        Some(worker) => worker,
        None => lane.insert(Worker::start(&settings.worker, &settings.worker_env, false).ok()?),
    };
    let job = Job {
        pipeline: plan.pipeline.clone(),
        seed: plan.seed,
        tier: Some(plan.tier),
        plan: Some(plan.to_toml()),
        trace: None,
        tell,
    };
    match worker.run(&job, limit, given_up) {
        Answer::Report(report) => Some(*report),
        Answer::Hang | Answer::Died(_) | Answer::GivenUp => {
            *lane = None;
            None
        }
    }
}

fn digest(plan: &Plan) -> u128 {
    xxh3_128(plan.to_toml().as_bytes())
}

fn lock<'m, 'c>(step: &'m Mutex<Step<'c>>) -> MutexGuard<'m, Step<'c>> {
    step.lock().unwrap_or_else(PoisonError::into_inner)
}
