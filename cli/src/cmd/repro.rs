//! `segno repro`: one plan, run again in this process.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: it reads files and the clock")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use reports::{ReproReport, SeedReport, Verdict, perfetto, text, timeline};
use sim::plan::Plan;
use sim::seed::{self, Run, RunOptions};
use sim::workload::Workload;

use super::gate::TierChoice;
use crate::exit::{Exit, Usage};
use crate::mutants::Choice;
use crate::{output, pipelines, units};

/// Runs one plan or seed again.
///
/// The trace hash is the same in every process of one build. A plan is a file that can be edited; a pipeline and a seed
/// name the plan that the gate draws for them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A plan file, as the gate writes for each violation
    #[arg(value_name = "PLAN", conflicts_with_all = ["pipeline", "seed", "tier"])]
    plan: Option<PathBuf>,

    /// A pipeline's name
    #[arg(long, value_name = "NAME", requires = "seed")]
    pipeline: Option<String>,

    /// The seed
    #[arg(long, value_name = "N", value_parser = units::seed, requires = "pipeline")]
    seed: Option<u64>,

    /// The tier, where it is not the one that the seed draws
    #[arg(long, value_enum, default_value_t = TierChoice::Mixed)]
    tier: TierChoice,

    /// Write every event of the run to this file, one a line
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Write the run to this file as a Chrome trace in virtual time, which Perfetto opens
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,

    /// Stop at this virtual millisecond, before any check, if the run has not ended by then
    #[arg(long, value_name = "T", value_parser = units::moment)]
    until_ms: Option<u64>,

    /// Write the plan to this file, with its events listed: it survives a changed generator
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    #[command(flatten)]
    mutant: Choice,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  segno repro runs/20261121-031007-gate/7312.plan.toml
  segno repro --pipeline clickstream-sessions --seed 7312 --json
  segno repro --pipeline clickstream-minutes --seed 5 --trace run.txt --until-ms 14200
  segno repro --pipeline clickstream-minutes --seed 5 --perfetto run.trace.json";

pub fn run(args: Args) -> anyhow::Result<Exit> {
    args.mutant.apply()?;
    let (workload, plan) = choose(&args)?;
    if let Some(path) = &args.save {
        let listed = plan.listed(&*workload).to_toml();
        std::fs::write(path, listed).with_context(|| format!("cannot write {}", path.display()))?;
        output::note(format_args!("the plan is in {}", path.display()));
    }
    let options = RunOptions { keep_trace: args.trace.is_some(), until_ms: args.until_ms, tell: true };
    let started = Instant::now();
    let Run { mut report, trace, cut_off } = run_or_panic(&*workload, &plan, options);
    report.wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if let (Some(path), Some(trace)) = (&args.trace, trace) {
        std::fs::write(path, trace).with_context(|| format!("cannot write {}", path.display()))?;
        output::note(format_args!("the trace is in {}", path.display()));
    }
    let reproduce = reproduce(&args) + &args.mutant.suffix();
    if let (Some(path), Some(story)) = (&args.perfetto, report.story.as_deref_mut()) {
        story.reproduce.clone_from(&reproduce);
        std::fs::write(path, perfetto::trace(story)).with_context(|| format!("cannot write {}", path.display()))?;
        output::note(format_args!("the run for Perfetto is in {}", path.display()));
    }
    for violation in &mut report.violations {
        violation.reproduce.clone_from(&reproduce);
        violation.plan = args.plan.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    }
    let mut report = ReproReport::from(report);
    if let Some(until_ms) = args.until_ms.filter(|_| cut_off) {
        report.reasons.push(format!("it was stopped at {until_ms} ms of virtual time, before any check"));
        report.verdict = report.verdict.max(Verdict::Inconclusive);
        report.timeline =
            report.detail.iter().filter_map(|seed| seed.story.as_deref()).flat_map(timeline::lines).collect();
    }
    // It is a document of its own, and a long one.
    report.detail.iter_mut().for_each(|seed| seed.story = None);
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&text::repro(&report))?;
    }
    Ok(Exit::from(&report))
}

fn choose(args: &Args) -> anyhow::Result<(Arc<dyn Workload>, Plan)> {
    match (&args.plan, &args.pipeline, args.seed) {
        (Some(path), _, _) => read(path),
        (None, Some(name), Some(seed)) => {
            let workload = pipelines::one(name)?;
            let plan = Plan::draw(&*workload, seed, args.tier.forced());
            Ok((workload, plan))
        }
        _ => {
            Err(Usage("name a plan file, or --pipeline NAME with --seed N; `segno repro --help` shows both".into())
                .into())
        }
    }
}

/// A plan file with its workload.
pub fn read(path: &Path) -> anyhow::Result<(Arc<dyn Workload>, Plan)> {
    let source = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let plan = Plan::parse(&source).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
    let workload = pipelines::one(&plan.pipeline).map_err(|error| {
        let line = source.lines().position(|line| line.starts_with("pipeline")).map_or(1, |index| index + 1);
        let path = path.display();
        Usage(format!(
            "{path}:{line}: {error}; a plan that a test left is run by that test: SEGNO_PLAN={path} cargo test"
        ))
    })?;
    // Otherwise the run would say it, as a violation of the engine's.
    plan.fits(&*workload).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
    Ok((workload, plan))
}

/// Runs the plan; a panic in it is its violation, as it is in a campaign.
fn run_or_panic(workload: &dyn Workload, plan: &Plan, options: RunOptions) -> Run {
    let said = Arc::new(Mutex::new(String::new()));
    let heard = said.clone();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string().replace('\n', " ");
        print(info);
    }));
    let ran = catch_unwind(AssertUnwindSafe(|| seed::run_plan_with(workload, plan, options)));
    let _ = std::panic::take_hook();
    match ran {
        Ok(run) => run,
        Err(_) => {
            let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let report = SeedReport::broken(plan.pipeline.clone(), plan.seed, plan.tier, "no-panic", said);
            Run { report, trace: None, cut_off: false }
        }
    }
}

fn reproduce(args: &Args) -> String {
    match (&args.plan, &args.pipeline, args.seed) {
        (Some(path), _, _) => format!("segno repro {}", path.display()),
        (None, Some(name), Some(seed)) => {
            let tier = args.tier.forced().map(|tier| format!(" --tier {tier}")).unwrap_or_default();
            format!("segno repro --pipeline {name} --seed {seed}{tier}")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Repro {
        #[command(flatten)]
        args: Args,
    }

    /// What `repro` says of seed 3's plan with one line of the file changed.
    fn refused(from: &str, to: &str) -> String {
        let workload = pipelines::one("clickstream-sessions").expect("a built-in pipeline");
        let text = Plan::draw(&*workload, 3, None).to_toml();
        let line = text.lines().find(|line| line.starts_with(from)).unwrap_or_else(|| panic!("no {from} in {text}"));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("changed.plan.toml");
        std::fs::write(&path, text.replacen(line, to, 1)).expect("a file in it");
        let args = Args {
            plan: Some(path),
            pipeline: None,
            seed: None,
            mutant: Choice::default(),
            tier: TierChoice::Mixed,
            trace: None,
            save: None,
            perfetto: None,
            until_ms: None,
            json: false,
        };
        let error = run(args).expect_err("it cannot be run");
        assert!(error.is::<Usage>(), "{error:?} is not the caller's mistake");
        error.to_string()
    }

    #[test]
    fn a_run_that_ends_before_it_would_be_stopped_was_checked() {
        let until = |until_ms: u64| {
            let plan = std::iter::once("repro").chain("--pipeline clickstream-minutes --seed 5 --until-ms".split(' '));
            let args = Repro::parse_from(plan.map(str::to_owned).chain([until_ms.to_string()])).args;
            run(args).expect("it runs")
        };
        assert_eq!(until(99_999_999), Exit::Held);
        assert_eq!(until(100), Exit::Inconclusive);
    }

    #[test]
    fn a_plan_that_cannot_be_run_is_the_callers_mistake_and_no_violation() {
        let said = refused("bound = ", "bound = -5");
        assert!(said.contains("shape.bound is -5; it must be from 0 to "), "{said}");
        let said = refused("fetch_bytes = ", "fetch_bytes = 0");
        assert!(said.contains("engine.fetch_bytes is 0; it must be from 1 to "), "{said}");
        let said = refused("pipeline = ", "pipeline = \"payments\"");
        assert!(said.contains("changed.plan.toml:2: no pipeline is named \"payments\"; all are "), "{said}");
        assert!(said.contains("; a plan that a test left is run by that test: SEGNO_PLAN="), "{said}");
    }
}
