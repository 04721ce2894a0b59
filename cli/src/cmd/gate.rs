//! `segno gate`: many seeds, one verdict.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use reports::{GateReport, Tier, text};
use sim::campaign::{self, Settings};

use crate::exit::{Exit, NothingSelected, Usage};
use crate::mutants::Choice;
use crate::progress::Progress;
use crate::{artifacts, interrupt, output, pipelines, runs, units};

/// Seeds, and the time for them, when nothing else is asked for.
const COUNT_DEFAULT: u64 = 150;
const BUDGET_DEFAULT: Duration = Duration::from_secs(55);
/// A seed that takes this long on the wall counts as hanging.
const SEED_LIMIT: Duration = Duration::from_secs(30);
/// One seed in twenty runs twice, in two processes.
const DOUBLE_EVERY: usize = 20;

/// Runs many seeds in the simulator and says whether every property held.
///
/// Each seed expands to a plan: a cluster, a workload, and faults with their moments. The pipeline runs live while they
/// strike, then the log is replayed, and every property is checked. Seeds go round-robin over the pipelines. Without
/// --seeds, --count or --time-budget: 150 seeds in 55 s.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A pipeline's name, or `all`
    #[arg(long, value_name = "NAME", default_value = "all", env = "SEGNO_PIPELINE", hide_env_values = true)]
    pipeline: String,

    /// The seeds to run: from A up to and without B
    #[arg(long, value_name = "A..B", value_parser = units::seeds, conflicts_with_all = ["count", "seed_base"])]
    seeds: Option<std::ops::Range<u64>>,

    /// How many seeds to run
    #[arg(long, value_name = "N", value_parser = units::count)]
    count: Option<u64>,

    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed_base: u64,

    /// How finely virtual time is cut: 1 ms (race), 10 ms (soak), or as each seed says (mixed)
    #[arg(long, value_enum, default_value_t = TierChoice::Mixed)]
    tier: TierChoice,

    /// Processes at a time; the number of cores by default
    #[arg(long, value_name = "N", env = "SEGNO_JOBS", hide_env_values = true)]
    jobs: Option<NonZeroUsize>,

    /// No seed begins after this long; what is left makes the verdict inconclusive
    #[arg(long, value_name = "DURATION", value_parser = units::duration, env = "SEGNO_TIME_BUDGET", hide_env_values = true)]
    time_budget: Option<Duration>,

    /// Run the I-th of N equal parts of the seeds
    #[arg(long, value_name = "I/N", value_parser = units::shard)]
    shard: Option<(usize, usize)>,

    /// The folder for the report and the plans of violations; a new one under runs/ by default
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    mutant: Choice,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  segno gate
  segno gate --pipeline clickstream-sessions --count 1000 --time-budget 10m
  segno gate --seeds 300..450 --tier race --jobs 2
  segno gate --count 3000 --shard 2/4 --json > shard-2.json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TierChoice {
    Race,
    Soak,
    Mixed,
}

impl TierChoice {
    pub fn forced(self) -> Option<Tier> {
        match self {
            TierChoice::Race => Some(Tier::Race),
            TierChoice::Soak => Some(Tier::Soak),
            TierChoice::Mixed => None,
        }
    }
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    args.mutant.apply()?;
    let settings = settings(&args)?;
    let stop = interrupt::flag();
    let mut progress = Progress::new("gate", "seeds");
    let mut shown = |now: &campaign::Progress| {
        let remark = match now.violations {
            0 => "no violation".to_owned(),
            1 => "1 violation".to_owned(),
            more => format!("{more} violations"),
        };
        progress.set(now.done as u64, now.total as u64, now.elapsed, &remark);
    };
    let mut report = campaign::run(&settings, &stop, &mut shown).context("the campaign could not go on")?;
    progress.finish();
    report.run_dir = settings.out_dir.display().to_string();
    for violation in &mut report.violations {
        violation.reproduce += &args.mutant.suffix();
    }
    runs::write_report(&settings.out_dir, &report)?;
    let next = next(&args, &report);
    artifacts::write(&settings.out_dir, &report, &next)?;
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&text::gate(&report, &next))?;
    }
    Ok(Exit::from(&report))
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let pipelines = pipelines::select(&args.pipeline)?.iter().map(|workload| workload.name().to_owned()).collect();
    let count = args.count.unwrap_or(COUNT_DEFAULT);
    let end = || args.seed_base.checked_add(count).ok_or_else(|| Usage("--seed-base and --count are too large".into()));
    let seeds = match &args.seeds {
        Some(seeds) => seeds.clone(),
        None => args.seed_base..end()?,
    };
    if seeds.is_empty() {
        return Err(NothingSelected("no seed is selected".into()).into());
    }
    let asked_for_seeds = args.seeds.is_some() || args.count.is_some();
    let time_budget = args.time_budget.or((!asked_for_seeds).then_some(BUDGET_DEFAULT));
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let program = std::env::current_exe().context("cannot find this program, to start seed workers")?;
    let program = program.to_str().context("this program's path is not UTF-8")?.to_owned();
    Ok(Settings {
        pipelines,
        seeds: seeds.collect(),
        tier: args.tier.forced(),
        jobs: args.jobs.map_or(cores, NonZeroUsize::get),
        time_budget,
        shard: args.shard,
        seed_limit: SEED_LIMIT,
        double_every: DOUBLE_EVERY,
        out_dir: runs::create(args.out.as_deref(), "gate")?,
        worker: [program, "seed-worker".to_owned()].into_iter().chain(args.mutant.arguments()).collect(),
        require_everything: is_whole(args, count),
    })
}

/// Whether this is the default gate or more than it: then everything that can be tried must have been.
fn is_whole(args: &Args, count: u64) -> bool {
    args.pipeline == "all"
        && args.seeds.is_none()
        && args.tier == TierChoice::Mixed
        && args.shard.is_none()
        && count >= COUNT_DEFAULT
}

/// The command to type after this report.
fn next(args: &Args, report: &GateReport) -> String {
    if let Some(violation) = report.violations.first() {
        return violation.reproduce.clone();
    }
    let pipeline = if args.pipeline == "all" { String::new() } else { format!(" --pipeline {}", args.pipeline) };
    let base = args.seeds.as_ref().map_or(args.seed_base + report.seeds_asked, |seeds| seeds.end);
    format!("segno gate{pipeline} --seed-base {base} --count {} --time-budget 10m", report.seeds_asked.max(1) * 10)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Gate {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Args {
        Gate::parse_from(std::iter::once("gate").chain(line.split_whitespace())).args
    }

    #[test]
    fn only_the_default_gate_or_more_must_have_tried_everything() {
        let whole = |line: &str| {
            let args = parse(line);
            is_whole(&args, args.count.unwrap_or(COUNT_DEFAULT))
        };
        assert!(whole(""));
        assert!(whole("--count 300"));
        for part in ["--count 10", "--tier race", "--seeds 0..500", "--shard 1/2", "--pipeline clickstream-minutes"] {
            assert!(!whole(part), "{part}");
        }
    }

    #[test]
    fn the_next_command_goes_on_after_these_seeds() {
        let mut report = GateReport::new(vec!["p".into()], 150);
        let args = parse("--seed-base 100");
        assert_eq!(next(&args, &report), "segno gate --seed-base 250 --count 1500 --time-budget 10m");
        report.violations.push(reports::Violation { reproduce: "segno repro x".into(), ..Default::default() });
        assert_eq!(next(&args, &report), "segno repro x");
    }

    #[test]
    fn an_empty_range_selects_nothing() {
        let error = settings(&parse("--seeds 5..5")).expect_err("nothing");
        assert!(error.is::<NothingSelected>(), "{error}");
    }

    #[test]
    fn a_misspelt_pipeline_is_wrong_use() {
        let error = settings(&parse("--pipeline clickstream-session")).expect_err("no such pipeline");
        assert!(error.is::<Usage>());
        assert!(error.to_string().contains("the nearest is \"clickstream-sessions\""), "{error}");
    }
}
