//! The pipelines in the simulator: a few seeds of each, faults and all, and what a run owes its reader.

use sim::plan::Plan;
use sim::seed::{RunOptions, run_plan, run_plan_with};
use sim::trace::first_difference;

#[test]
fn a_few_seeds_of_every_pipeline_hold_every_property() {
    for workload in workloads::all() {
        for seed in 0..4 {
            let plan = Plan::draw(&*workload, seed, None);
            let report = run_plan(&*workload, &plan);
            assert!(report.violations.is_empty(), "{} seed {seed}: {:#?}", plan.pipeline, report.violations);
            assert!(report.steps > 100, "{} seed {seed} took {} steps", plan.pipeline, report.steps);
        }
    }
}

#[test]
fn the_same_plan_leaves_the_same_trace_twice() {
    let options = RunOptions { keep_trace: true, ..RunOptions::default() };
    for (workload, seed) in workloads::all().into_iter().zip(10..) {
        let plan = Plan::draw(&*workload, seed, None);
        let (one, two) = (run_plan_with(&*workload, &plan, options), run_plan_with(&*workload, &plan, options));
        let (left, right) = (one.trace.expect("it was asked for"), two.trace.expect("it was asked for"));
        assert_eq!(first_difference(&left, &right), None, "{} seed {seed}", plan.pipeline);
        assert_eq!(one.report.trace_hash, two.report.trace_hash);
        assert_eq!(one.report.trace_hash, run_plan(&*workload, &plan).trace_hash, "keeping the trace changes nothing");
    }
}

#[test]
fn a_run_that_is_told_to_stop_stops_there() {
    let workload = &workloads::all()[0];
    let plan = Plan::draw(&**workload, 1, None);
    let options = RunOptions { until_ms: Some(200), ..RunOptions::default() };
    let run = run_plan_with(&**workload, &plan, options);
    assert!(run.report.virtual_ms <= 200 + plan.tick_ms(), "{} ms", run.report.virtual_ms);
    assert!(run.report.violations.is_empty(), "{:?}", run.report.violations);
}
