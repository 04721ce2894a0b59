//! `segno gate`: many seeds, one verdict. A campaign can be run in shards, which are merged, and gone on with after it was
//! interrupted.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use reports::{GateReport, Tier, Violation, text};
use sim::campaign::{self, Journal, Settings};
use sim::corpus::{self, Entry};

use super::shrink;
use crate::exit::{Exit, NothingSelected, Usage};
use crate::mutants::Choice;
use crate::progress::Progress;
use crate::{artifacts, interrupt, output, pipelines, runs, units};

/// Seeds, and the time for them, when nothing else is asked for.
const COUNT_DEFAULT: u64 = 150;
const BUDGET_DEFAULT: Duration = Duration::from_secs(55);
/// A seed that takes this long on the wall counts as hanging.
const SEED_LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 180 } else { 30 });
/// One seed in twenty of each pipeline runs twice, in two processes.
const DOUBLE_EVERY: usize = 20;

/// Runs many seeds in the simulator and says whether every property held.
///
/// Each seed expands to a plan: a cluster, a workload, and faults with their moments. The pipeline runs live while they
/// strike, then the log is replayed, and every property is checked. Seeds go round-robin over the pipelines. Without
/// --seeds or --count there are 150, and without --time-budget too they get 55 s.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A pipeline's name, or `all`
    #[arg(long, value_name = "NAME", default_value = "all")]
    pipeline: String,

    /// The seeds to run: from A up to and without B
    #[arg(long, value_name = "A..B", value_parser = units::seeds, conflicts_with_all = ["count", "seed_base"])]
    seeds: Option<std::ops::Range<u64>>,

    /// How many seeds to run
    #[arg(long, value_name = "N", value_parser = units::count)]
    count: Option<u64>,

    /// The first seed
    #[arg(long, value_name = "S", value_parser = units::seed, default_value_t = 0)]
    seed_base: u64,

    /// How finely virtual time is cut: 1 ms (race), 10 ms (soak), or as each seed says (mixed)
    #[arg(long, value_enum, default_value_t = TierChoice::Mixed)]
    tier: TierChoice,

    /// Processes at a time; the number of cores by default
    #[arg(long, value_name = "N", value_parser = units::at_least_one)]
    jobs: Option<NonZeroUsize>,

    /// No seed begins after this long; what is left makes the verdict inconclusive
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    time_budget: Option<Duration>,

    /// No seed begins once so many have failed
    #[arg(long, value_name = "N", value_parser = units::at_least_one)]
    until_failures: Option<NonZeroUsize>,

    /// Run the I-th of N equal parts of the corpus and of the seeds; --merge puts the parts together. With more parts than
    /// seeds, a part may hold plans of the corpus alone, and passes with them
    #[arg(long, value_name = "I/N", value_parser = units::shard)]
    shard: Option<(usize, usize)>,

    /// Go on with the campaign in this folder, which was interrupted or ran out of time
    #[arg(long, value_name = "DIR", conflicts_with_all = SELECTION)]
    resume: Option<PathBuf>,

    /// Run nothing: merge the reports of shards in these folders, and judge the whole
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = SELECTION_OR_RESUME)]
    merge: Option<Vec<PathBuf>>,

    /// With the settings of this profile in segno.toml; `segno config` prints what holds
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// The folder for the report and the plans of violations, refused if it holds a gate's run; a new one under runs/ by default
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// For how long failures are made smaller, all together; 0s leaves them as they are
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "30s")]
    shrink_budget: Duration,

    /// Leave out the plans of past failures, which run before the seeds
    #[arg(long)]
    no_corpus: bool,

    #[command(flatten)]
    mutant: Choice,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What says which seeds a campaign has; one that goes on has them in its journal.
const SELECTION: [&str; 6] = ["pipeline", "seeds", "count", "seed_base", "tier", "shard"];
const SELECTION_OR_RESUME: [&str; 10] =
    ["pipeline", "seeds", "count", "seed_base", "tier", "shard", "resume", "jobs", "time_budget", "until_failures"];

const EXAMPLES: &str = "\
Examples:
  segno gate
  segno gate --pipeline clickstream-sessions --count 1000 --time-budget 10m
  segno gate --seeds 300..450 --tier race --jobs 2
  segno gate --profile nightly
  segno gate --until-failures 1 --count 100000 --time-budget 8h
  segno gate --resume runs/20261121-031007-gate
  segno gate --count 3000 --shard 2/4 --out shard-2
  segno gate --merge shard-1 shard-2 shard-3 shard-4";

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

/// What holds where an option is not set and has no default of its own.
pub fn implied(option: &str) -> Option<String> {
    let jobs = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get).to_string();
    match option {
        "count" => Some(COUNT_DEFAULT.to_string()),
        "time_budget" => Some(units::show_duration(BUDGET_DEFAULT)),
        "jobs" => Some(jobs()),
        _ => None,
    }
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    args.mutant.apply()?;
    if let Some(folders) = &args.merge {
        return merge(&args, folders);
    }
    let (settings, journal) = match &args.resume {
        Some(dir) => resume(&args, dir)?,
        None => {
            let settings = settings(&args)?;
            let journal = Journal::create(&settings.out_dir, settings.campaign(), settings.shard)
                .with_context(|| format!("cannot write a journal in {}", settings.out_dir.display()))?;
            (settings, journal)
        }
    };
    let stop = interrupt::flag();
    let how = shrink::settings(args.jobs, args.shrink_budget, &args.mutant)?;
    let (past_plans, past_failures) = past(&args, &settings, &how, &stop)?;
    let mut progress = Progress::new("gate", "seeds");
    let mut shown = |now: &campaign::Progress| {
        let remark = match (now.failed, now.failures) {
            (0, _) => "no violation".to_owned(),
            (1, _) => "1 seed failed".to_owned(),
            (failed, 1) => format!("{failed} seeds failed, all alike"),
            (failed, kinds) => format!("{failed} seeds failed in {kinds} ways"),
        };
        progress.set(now.done as u64, now.total as u64, now.elapsed, &remark);
    };
    let mut report =
        campaign::run(&settings, Some(journal), &stop, &mut shown).context("the campaign could not go on")?;
    progress.finish();
    report.add_past(past_plans, past_failures);
    sim::shrink::shrink_failures(&mut report, &pipelines::all(), &how, &stop, &mut |violation| {
        output::note(format_args!("shrinking {} of {}", violation.property, violation.run()));
    });
    if report.interrupted && report.seeds_run == report.seeds_asked {
        let dir = settings.out_dir.display();
        output::note(format_args!("failures may be larger than they have to be: segno gate --resume {dir} goes on"));
    }
    conclude(&args, report, &settings.out_dir)
}

/// Runs the plans of past failures: how many, and what they break. A plan that breaks something is written beside the
/// others.
fn past(
    args: &Args,
    settings: &Settings,
    how: &sim::shrink::Settings,
    stop: &AtomicBool,
) -> anyhow::Result<(u64, Vec<Violation>)> {
    let chosen = |entry: &&Entry| !args.no_corpus && settings.pipelines.contains(&entry.plan().pipeline);
    let entries: Vec<Entry> = workloads::corpus::ALL.iter().filter(chosen).cloned().collect();
    let ran = corpus::run(how, &corpus::part(entries, settings.shard), stop);
    let found = corpus::violations(&ran, &settings.out_dir, &|plan| format!("segno repro {plan}"))
        .with_context(|| format!("cannot write plans into {}", settings.out_dir.display()))?;
    Ok((ran.len() as u64, found))
}

/// Writes the report and what is made of it into the run's folder, and says it.
fn conclude(args: &Args, mut report: GateReport, dir: &Path) -> anyhow::Result<Exit> {
    report.run_dir = dir.display().to_string();
    if args.merge.is_none() {
        for violation in &mut report.violations {
            violation.reproduce += &args.mutant.suffix();
        }
    }
    runs::write_report(dir, &report)?;
    let next = next(args, &report);
    artifacts::write(dir, &report, &next, &args.mutant.suffix())?;
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&text::gate(&report, &next))?;
    }
    Ok(Exit::from(&report))
}

/// The campaign in `dir`, with its journal. Which seeds it has is in the journal; how long and how many at a time is new.
fn resume(args: &Args, dir: &Path) -> anyhow::Result<(Settings, Journal)> {
    let build = build(args)?;
    let journal = Journal::resume(dir, &build).map_err(|error| Usage(error.to_string()))?;
    let campaign = journal.campaign.clone();
    for name in &campaign.pipelines {
        pipelines::one(name)?;
    }
    output::note(format_args!("going on in {}: {} seeds are done", dir.display(), journal.seeds_done()));
    let settings = Settings {
        pipelines: campaign.pipelines,
        seeds: campaign.seed_first..campaign.seed_end,
        tier: campaign.tier,
        shard: journal.shard,
        double_every: campaign.double_every,
        require_everything: campaign.whole,
        build,
        ..running(args, args.time_budget, dir.to_owned())?
    };
    Ok((settings, journal))
}

/// Merges the shards in `folders` into a run of its own.
fn merge(args: &Args, folders: &[PathBuf]) -> anyhow::Result<Exit> {
    let parts: Vec<(String, GateReport)> = folders.iter().map(|dir| part(dir)).collect::<anyhow::Result<_>>()?;
    let mut report = campaign::merge(&parts).map_err(|error| Usage(error.to_string()))?;
    let out = runs::create_for_gate(args.out.as_deref())?;
    for violation in &mut report.violations {
        // Where the shard ran, its folder may have had another name.
        for file in [&mut violation.plan, &mut violation.story_file, &mut violation.shrunk_plan] {
            let Some(name) = Path::new(file.as_str()).file_name() else { continue };
            let Some(from) = folders.iter().map(|dir| dir.join(name)).find(|path| path.is_file()) else { continue };
            let to = out.join(name);
            if from != to {
                std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
            }
            violation.reproduce = violation.reproduce.replace(file.as_str(), &to.display().to_string());
            *file = to.display().to_string();
        }
    }
    conclude(args, report, &out)
}

/// A shard's report: `run.json` in a folder, or a file that `--json` was written to.
fn part(path: &Path) -> anyhow::Result<(String, GateReport)> {
    #[derive(serde::Deserialize)]
    struct Head {
        schema: String,
    }
    let file = if path.is_dir() { path.join("run.json") } else { path.to_owned() };
    let wrong = |problem: String| Usage(format!("{}: {problem}", file.display()));
    let text = std::fs::read_to_string(&file)
        .map_err(|error| wrong(format!("{error}; name the folder that a gate wrote its report to")))?;
    let Head { schema } = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if schema != reports::gate::SCHEMA {
        return Err(
            wrong(format!("it is of schema {schema:?}, and this build reads {:?}", reports::gate::SCHEMA)).into()
        );
    }
    let report = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    Ok((path.display().to_string(), report))
}

/// A digest of this program, and the mutant that it runs.
fn build(args: &Args) -> anyhow::Result<String> {
    let digest = campaign::build_of(&std::env::current_exe()?).context("cannot read this program")?;
    Ok(digest + &args.mutant.suffix())
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
        return Err(
            NothingSelected("no seed is selected: --count 0, or --seeds with as much on both sides".into()).into()
        );
    }
    let asked_for_seeds = args.seeds.is_some() || args.count.is_some();
    let time_budget = args.time_budget.or((!asked_for_seeds).then_some(BUDGET_DEFAULT));
    let out = runs::create_for_gate(args.out.as_deref())?;
    Ok(Settings {
        pipelines,
        seeds,
        tier: args.tier.forced(),
        shard: args.shard,
        require_everything: is_whole(args, count),
        build: build(args)?,
        ..running(args, time_budget, out)?
    })
}

/// How a campaign is run, whatever its seeds are.
fn running(args: &Args, time_budget: Option<Duration>, out_dir: PathBuf) -> anyhow::Result<Settings> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let program = std::env::current_exe().context("cannot find this program, to start seed workers")?;
    let program = program.to_str().context("this program's path is not UTF-8")?.to_owned();
    Ok(Settings {
        pipelines: Vec::new(),
        seeds: 0..0,
        tier: None,
        jobs: args.jobs.map_or(cores, NonZeroUsize::get),
        time_budget,
        until_failures: args.until_failures,
        shard: None,
        seed_limit: SEED_LIMIT,
        double_every: DOUBLE_EVERY,
        out_dir,
        worker: [program, "seed-worker".to_owned()].into_iter().chain(args.mutant.arguments()).collect(),
        worker_env: Vec::new(),
        require_everything: false,
        build: String::new(),
    })
}

/// Whether this is the default gate or more than it: then everything that can be tried must have been. Of shards it is
/// asked when they are merged.
fn is_whole(args: &Args, count: u64) -> bool {
    args.pipeline == "all" && args.seeds.is_none() && args.tier == TierChoice::Mixed && count >= COUNT_DEFAULT
}

/// The command to type after this report.
fn next(args: &Args, report: &GateReport) -> String {
    if let Some(violation) = report.violations.first() {
        return violation.reproduce_shrunk().unwrap_or_else(|| violation.reproduce.clone());
    }
    if args.merge.is_none() && report.seeds_run < report.seeds_asked {
        return format!("segno gate --resume {}", report.run_dir);
    }
    if report.shard.is_some() {
        return "segno gate --merge, with the folders of all shards".to_owned();
    }
    let pipeline = if args.pipeline == "all" { String::new() } else { format!(" --pipeline {}", args.pipeline) };
    let base = report.campaign.as_ref().map_or(0, |campaign| campaign.seed_end);
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
        assert!(whole("--count 300 --shard 1/2"), "of the shards together it is asked");
        for part in ["--count 10", "--tier race", "--seeds 0..500", "--pipeline clickstream-minutes"] {
            assert!(!whole(part), "{part}");
        }
    }

    #[test]
    fn the_next_command_goes_on_after_these_seeds() {
        let mut report = GateReport::new(vec!["p".into()], 150);
        report.campaign = Some(reports::Campaign { seed_end: 250, ..Default::default() });
        report.run_dir = "runs/x".into();
        let args = parse("--seed-base 100");
        assert_eq!(next(&args, &report), "segno gate --resume runs/x");
        report.seeds_run = 150;
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
