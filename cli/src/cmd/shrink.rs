//! `segno shrink`: the smallest plan that breaks the same.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: it reads files and the clock")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use reports::{SeedReport, ShrinkReport, Verdict, text};
use sim::shrink::{self, Processes, Settings};

use super::repro;
use crate::exit::{Exit, Usage};
use crate::mutants::Choice;
use crate::{interrupt, output, units};

/// How long one candidate may take.
pub const CANDIDATE_LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 20 });

/// Makes a plan that breaks a property as small as it goes, while it breaks in the same way.
///
/// Faults go first, then keys, events, partitions, hosts, moments and durations; settings become those that nobody would
/// wonder at. What is left lists its events, so that no change of a generator can move it. With enough budget the result is
/// a function of the plan.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A plan file, as the gate writes for each violation
    #[arg(value_name = "PLAN")]
    plan: PathBuf,

    /// How long to try
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "30s")]
    budget: Duration,

    /// Where the shrunk plan goes; by default beside the plan, as NAME.shrunk.plan.toml
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Processes at a time; the number of cores by default
    #[arg(long, value_name = "N", env = "SEGNO_JOBS", hide_env_values = true)]
    jobs: Option<NonZeroUsize>,

    #[command(flatten)]
    mutant: Choice,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  segno shrink runs/20261121-031007-gate/7312.plan.toml
  segno shrink 7312.plan.toml --budget 5m --out corpus/7312.plan.toml";

pub fn run(args: Args) -> anyhow::Result<Exit> {
    args.mutant.apply()?;
    let started = Instant::now();
    let (workload, plan) = repro::read(&args.plan)?;
    let settings = settings(args.jobs, args.budget, &args.mutant)?;
    let first = shrink::run_once(&settings, &plan, CANDIDATE_LIMIT).ok_or_else(|| {
        let limit = CANDIDATE_LIMIT.as_secs();
        let path = args.plan.display();
        Usage(format!("{path}: its process died, or took more than {limit} s; `segno repro {path}` shows it"))
    })?;
    let mut report = ShrinkReport {
        schema: reports::shrink::SCHEMA.to_owned(),
        verdict: first.verdict,
        pipeline: plan.pipeline.clone(),
        seed: plan.seed,
        tier: plan.tier.to_string(),
        plan: args.plan.display().to_string(),
        shrunk_plan: String::new(),
        fingerprint: String::new(),
        size: None,
        settled: false,
        budget_ms: millis(args.budget),
        wall_ms: 0,
        violations: Vec::new(),
    };
    if let Some(violation) = first.violations.first() {
        report.fingerprint = violation.fingerprint();
        let stop = interrupt::flag();
        output::note(format_args!("shrinking for at most {}", text::duration(millis(args.budget))));
        let mut oracle = Processes::new(&settings, &report.fingerprint, &stop);
        let found = shrink::shrink(&*workload, &plan, &mut oracle);
        let outcome = found.with_context(|| format!("{} did not break the same again", args.plan.display()))?;
        let outcome = shrink::told(&settings, outcome);
        let path = args.out.clone().unwrap_or_else(|| beside(&args.plan));
        let header = shrink::header(&outcome, &report.fingerprint);
        std::fs::write(&path, header + &outcome.plan.to_toml())
            .with_context(|| format!("cannot write {}", path.display()))?;
        report.shrunk_plan = path.display().to_string();
        report.violations = told(outcome.report, &report);
        for violation in &mut report.violations {
            violation.reproduce += &args.mutant.suffix();
            violation.shrunk = Some(outcome.size);
        }
        report.size = Some(outcome.size);
        report.settled = outcome.settled;
    }
    report.wall_ms = millis(started.elapsed());
    let next = match report.shrunk_plan.as_str() {
        "" => String::new(),
        path => format!("segno repro {path}{}", args.mutant.suffix()),
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&text::shrink(&report, &next))?;
    }
    Ok(Exit::from(match report.verdict {
        Verdict::Pass => Verdict::Pass,
        _ => Verdict::Violation,
    }))
}

/// Of the violations of the shrunk plan the one that was asked for.
fn told(run: SeedReport, report: &ShrinkReport) -> Vec<reports::Violation> {
    let same = run.violations.into_iter().find(|violation| violation.fingerprint() == report.fingerprint);
    let reproduce = format!("segno repro {}", report.shrunk_plan);
    same.map(|same| reports::Violation { plan: report.shrunk_plan.clone(), reproduce, ..same }).into_iter().collect()
}

/// How candidates are run by this program.
pub fn settings(jobs: Option<NonZeroUsize>, budget: Duration, mutant: &Choice) -> anyhow::Result<Settings> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let program = std::env::current_exe().context("cannot find this program, to start seed workers")?;
    let program = program.to_str().context("this program's path is not UTF-8")?.to_owned();
    Ok(Settings {
        worker: [program, "seed-worker".to_owned()].into_iter().chain(mutant.arguments()).collect(),
        worker_env: Vec::new(),
        jobs: jobs.map_or(cores, NonZeroUsize::get),
        budget,
        candidate_limit: CANDIDATE_LIMIT,
    })
}

/// `NAME.plan.toml` becomes `NAME.shrunk.plan.toml`.
fn beside(plan: &Path) -> PathBuf {
    let name = plan.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(".plan.toml").or_else(|| name.strip_suffix(".toml")).unwrap_or(&name);
    plan.with_file_name(format!("{stem}.shrunk.plan.toml"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shrunk_plan_lies_beside_its_plan() {
        assert_eq!(beside(Path::new("runs/x/7.plan.toml")), Path::new("runs/x/7.shrunk.plan.toml"));
        assert_eq!(beside(Path::new("seven")), Path::new("seven.shrunk.plan.toml"));
    }
}
