//! `segno shrink`: the smallest plan that breaks the same.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: it reads files and the clock")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use reports::{SeedReport, ShrinkReport, Verdict, Violation, text};
use sim::plan::Plan;
use sim::shrink::{self, Oracle as _, Processes, Settings};
use sim::workload::Workload;

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

    /// How long it may take, with the runs of the first plan and of the last
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "30s")]
    budget: Duration,

    /// Where the shrunk plan goes; by default beside the plan, as NAME.shrunk.plan.toml, where no smaller one is
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Processes at a time; the number of cores by default
    #[arg(long, value_name = "N", value_parser = units::at_least_one, env = "SEGNO_JOBS", hide_env_values = true)]
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
  segno shrink 7312.plan.toml --budget 5m --out small.plan.toml";

pub fn run(args: Args) -> anyhow::Result<Exit> {
    args.mutant.apply()?;
    let settings = settings(args.jobs, args.budget, &args.mutant)?;
    let report = shrunk(&args, &settings, &interrupt::flag())?;
    let next = match report.shrunk_plan.as_str() {
        "" => String::new(),
        path => format!("segno repro {path}{}", args.mutant.suffix()),
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&text::shrink(&report, &next))?;
    }
    Ok(Exit::from(&report))
}

/// Runs the plan, and makes it smaller if it breaks something, until the budget ends or `stop` is set.
fn shrunk(args: &Args, settings: &Settings, stop: &AtomicBool) -> anyhow::Result<ShrinkReport> {
    let started = Instant::now();
    let (workload, plan) = repro::read(&args.plan)?;
    let mut report = ShrinkReport {
        schema: reports::shrink::SCHEMA.to_owned(),
        verdict: Verdict::Inconclusive,
        pipeline: plan.pipeline.clone(),
        seed: plan.seed,
        tier: plan.tier.to_string(),
        plan: args.plan.display().to_string(),
        shrunk_plan: String::new(),
        fingerprint: String::new(),
        size: None,
        settled: false,
        interrupted: false,
        budget_ms: millis(args.budget),
        wall_ms: 0,
        violations: Vec::new(),
    };
    let path = args.plan.display();
    match shrink::run_once(settings, &plan, CANDIDATE_LIMIT, stop) {
        Some(first) => {
            // One plan with two traces is not this command's to find: whatever broke is a violation.
            report.verdict = if first.verdict == Verdict::Pass { Verdict::Pass } else { Verdict::Violation };
            if let Some(violation) = first.violations.into_iter().next() {
                let search = Settings { budget: for_search(args.budget, started.elapsed()), ..settings.clone() };
                smaller(&mut report, args, &search, (&*workload, &plan), violation, stop)?;
            }
        }
        None if stop.load(Ordering::Relaxed) => {}
        None => {
            let limit = CANDIDATE_LIMIT.as_secs();
            let problem = format!("its process died, or took more than {limit} s; `segno repro {path}` shows it");
            return Err(Usage(format!("{path}: {problem}")).into());
        }
    }
    for violation in &mut report.violations {
        violation.reproduce += &args.mutant.suffix();
    }
    report.interrupted = report.verdict != Verdict::Pass && stop.load(Ordering::Relaxed);
    report.wall_ms = millis(started.elapsed());
    Ok(report)
}

/// What is left of the budget to search in when the plan has run once, in `took`: the smallest plan found is to run once
/// more, for its story, and takes no longer; of a short budget that may have half of what is left.
fn for_search(budget: Duration, took: Duration) -> Duration {
    let left = budget.saturating_sub(took);
    left - took.min(left / 2)
}

/// Writes the smallest plan that breaks as `violation` does. Stopped before there was one, or when time was up, the report
/// has the violation.
fn smaller(
    report: &mut ShrinkReport,
    args: &Args,
    settings: &Settings,
    (workload, plan): (&dyn Workload, &Plan),
    violation: Violation,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    report.fingerprint = violation.fingerprint();
    output::note(format_args!("shrinking for at most {}", text::duration(millis(args.budget))));
    let mut oracle = Processes::new(settings, &report.fingerprint, stop);
    let Some(outcome) = shrink::shrink(workload, plan, &mut oracle) else {
        if oracle.is_over() {
            let reproduce = format!("segno repro {}", report.plan);
            report.violations = vec![Violation { plan: report.plan.clone(), reproduce, ..violation }];
            return Ok(());
        }
        anyhow::bail!("{} did not break the same again", args.plan.display());
    };
    let outcome = shrink::told(settings, outcome, stop);
    let size = |plan: &Plan| (plan.faults.len(), plan.events.as_ref().map_or(usize::MAX, Vec::len));
    let path =
        args.out.clone().unwrap_or_else(|| free(&beside(&args.plan), &|there| size(there) < size(&outcome.plan)));
    let header = shrink::header(&outcome, &report.fingerprint);
    std::fs::write(&path, header + &outcome.plan.to_toml())
        .with_context(|| format!("cannot write {}", path.display()))?;
    report.shrunk_plan = path.display().to_string();
    report.size = Some(outcome.size);
    report.settled = outcome.settled;
    report.violations = told(outcome.report, report);
    for violation in &mut report.violations {
        violation.shrunk = Some(outcome.size);
    }
    Ok(())
}

/// Of the violations of the shrunk plan the one that was asked for.
fn told(run: SeedReport, report: &ShrinkReport) -> Vec<Violation> {
    let same = run.violations.into_iter().find(|violation| violation.fingerprint() == report.fingerprint);
    let reproduce = format!("segno repro {}", report.shrunk_plan);
    same.map(|same| Violation { plan: report.shrunk_plan.clone(), reproduce, ..same }).into_iter().collect()
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

/// `path`, unless an earlier try has left something there that is better: then the next name, so that it stays.
fn free(path: &Path, better: &dyn Fn(&Plan) -> bool) -> PathBuf {
    let read = |path: &Path| Plan::parse(&std::fs::read_to_string(path).ok()?).ok();
    if !read(path).is_some_and(|there| better(&there)) {
        return path.to_owned();
    }
    output::note(format_args!("{} holds a smaller plan, of an earlier try, and stays", path.display()));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let numbered =
        |number: u32| path.with_file_name(name.replace(".shrunk.plan.toml", &format!(".shrunk-{number}.plan.toml")));
    (2..).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| path.to_owned())
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

    /// What is left of `segno shrink` when Ctrl-C comes while its seed workers, which are this shell script, have come to
    /// `sleep 100`. `$answer` is a violation, and `$once` a file that is not there yet.
    fn interrupted(script: &str) -> (ShrinkReport, bool) {
        tried(script, Duration::from_secs(60), true)
    }

    fn tried(script: &str, budget: Duration, interrupt: bool) -> (ShrinkReport, bool) {
        let dir = tempfile::tempdir().expect("a folder");
        let workload = crate::pipelines::one("clickstream-minutes").expect("a built-in pipeline");
        let plan = Plan::draw(&*workload, 3, None);
        let path = dir.path().join("3.plan.toml");
        std::fs::write(&path, plan.to_toml()).expect("a file in it");
        let broken = SeedReport::broken(plan.pipeline.clone(), plan.seed, plan.tier, "durable", "it broke");
        let answer = serde_json::to_string(&broken).expect("plain data");
        let once = dir.path().join("once");
        let script = format!("answer='{answer}'; once={}; {script}", once.display());
        let mutant = Choice::default();
        let args = Args { plan: path, budget, out: None, jobs: NonZeroUsize::new(1), mutant, json: false };
        let settings = Settings {
            worker: ["sh", "-c", &script].map(str::to_owned).to_vec(),
            worker_env: Vec::new(),
            jobs: 1,
            budget,
            candidate_limit: Duration::from_secs(60),
        };
        let stop = AtomicBool::new(false);
        let report = std::thread::scope(|scope| {
            let running = scope.spawn(|| shrunk(&args, &settings, &stop));
            if interrupt {
                std::thread::sleep(Duration::from_secs(1));
                stop.store(true, Ordering::Relaxed);
            }
            running.join().expect("no panic").expect("a report")
        });
        let written = dir.path().join("3.shrunk.plan.toml").is_file();
        (report, written)
    }

    #[test]
    fn who_stops_it_gets_what_was_done_and_exit_130() {
        let (report, written) = interrupted("exec sleep 100");
        assert_eq!((report.verdict, written, Exit::from(&report)), (Verdict::Inconclusive, false, Exit::Interrupted));
        assert!(
            text::plain(&text::shrink(&report, "")).starts_with("INCONCLUSIVE  interrupted before anything was made")
        );

        let (report, written) =
            interrupted("[ -e $once ] && exec sleep 100; touch $once; read -r line; echo \"$answer\"; read -r line");
        assert_eq!((report.verdict, written, Exit::from(&report)), (Verdict::Violation, false, Exit::Interrupted));
        assert_eq!(report.violations[0].reproduce, format!("segno repro {}", report.plan));

        let (report, written) = interrupted("read -r line; echo \"$answer\"; read -r line; exec sleep 100");
        assert_eq!((report.verdict, written, Exit::from(&report)), (Verdict::Violation, true, Exit::Interrupted));
        assert_eq!(report.violations[0].plan, report.shrunk_plan);
        assert!(text::plain(&text::shrink(&report, "")).starts_with("VIOLATION  shrunk until it was interrupted"));
    }

    #[test]
    fn the_runs_before_and_after_the_search_are_part_of_the_budget() {
        let search =
            |budget: u64, took: u64| for_search(Duration::from_millis(budget), Duration::from_millis(took)).as_millis();
        assert_eq!((search(3_000, 500), search(3_000, 2_000), search(3_000, 4_000)), (2_000, 500, 0));

        let (report, written) = tried("read -r line; echo \"$answer\"; read -r line", Duration::ZERO, false);
        assert_eq!((report.verdict, written, Exit::from(&report)), (Verdict::Violation, false, Exit::Violated));
        assert_eq!(report.violations[0].reproduce, format!("segno repro {}", report.plan));
        let said = text::plain(&text::shrink(&report, ""));
        assert!(said.starts_with("VIOLATION  the time was up before anything was made smaller"), "{said}");
    }

    #[test]
    fn a_smaller_plan_of_an_earlier_try_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("7.shrunk.plan.toml");
        assert_eq!(free(&path, &|_| true), path, "there is none");
        std::fs::write(&path, Plan::expand("p", 3, None).to_toml()).expect("a plan");
        assert_eq!(free(&path, &|_| false), path, "it is no better");
        assert_eq!(free(&path, &|_| true), dir.path().join("7.shrunk-2.plan.toml"));
    }

    #[test]
    fn a_shrunk_plan_lies_beside_its_plan() {
        assert_eq!(beside(Path::new("runs/x/7.plan.toml")), Path::new("runs/x/7.shrunk.plan.toml"));
        assert_eq!(beside(Path::new("seven")), Path::new("seven.shrunk.plan.toml"));
    }
}
