//! `segno bench`: ingests generated events into a real log and replays it, each phase in a process of its own.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: it reads the clock and writes files")]

mod limits;
mod sweep;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use benches::dataset::{DEFAULT_USERS, Dataset, Key, MAX_USERS};
use benches::percentiles;
use benches::plan::{Measured, Plan, Runs};
use benches::process::Launcher;
use benches::sums::{Expected, Summed};
use engine::env::real::threads;
use reports::sweep::Swept;
use reports::{text_measured, text_sweep};

use self::sweep::Sweep;
use crate::exit::{Exit, Usage};
use crate::progress::Progress;
use crate::{output, pipelines, runs, units};

/// Measures ingest and replay on this machine's disk.
///
/// Generated events are ingested through the broker and acknowledged after their sync; then the log is replayed from
/// offset 0 with exactly-once commits, in a fresh process, cold and warm. What the output adds up to is compared with the
/// generator's own sums: a wrong result shows no speed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A pipeline's name
    #[arg(long, value_name = "NAME", default_value = "clickstream-sessions")]
    pipeline: String,

    /// How many events to generate [default: 20M; in a sweep 5M, 2M of event sizes, 10 s of each rate]
    #[arg(long, value_name = "N", value_parser = units::count)]
    events: Option<u64>,

    /// How many users the events are of [default: 100k]
    #[arg(long, value_name = "N", value_parser = users)]
    users: Option<u32>,

    /// What the log is keyed by: with `event` (its id, 16 hexadecimal digits) the replay repartitions by user
    #[arg(long, value_name = "KEY", value_parser = key, default_value_t = Key::User)]
    key: Key,

    /// Events per second to ingest, each measured from the moment it should have been sent; or `max` [default: max]
    #[arg(long, value_name = "N|max", value_parser = rate)]
    rate: Option<Rate>,

    /// Partitions of the source topic; one a thread by default
    #[arg(long, value_name = "N", value_parser = units::partitions)]
    partitions: Option<i32>,

    /// Cores that each phase may use; all by default
    #[arg(long, value_name = "N", value_parser = units::at_least_one)]
    threads: Option<NonZeroUsize>,

    /// How often each phase is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = units::runs)]
    runs: u32,

    /// Where the log goes, and stays; by default a folder under runs/, of which the log is removed at the end
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Also kill a replay about half way with SIGKILL and start it again, as often as --runs; the output must be the same
    #[arg(long)]
    kill: bool,

    /// Replay with a warm page cache only
    #[arg(long)]
    no_cold: bool,

    /// Measure at several points and show how the cost grows: rate, keys, partitions, event-size or threads
    #[arg(long, value_name = "WHAT", value_parser = sweep::swept, conflicts_with_all = ["kill", "baseline", "min_replay", "min_ingest", "min_cold", "max_p99", "max_memory", "max_commit_gap", "no_cold"])]
    sweep: Option<Swept>,

    /// The points of a sweep: `100k,1M,10M` users, `64,1KiB` bytes of an event's value, …
    #[arg(long, value_name = "LIST", value_parser = sweep::points, requires = "sweep")]
    points: Option<sweep::Points>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    limits: limits::Flags,
}

const DEFAULT_EVENTS: u64 = 20_000_000;

const EXAMPLES: &str = "\
Examples:
  segno bench --events 5M
  segno bench --pipeline clickstream-minutes --key event --kill --json > minutes.json
  segno bench --rate 200k --events 4M --max-p99 50ms
  segno bench --pipeline clickstream-minutes --key event --baseline minutes.json --max-regression 5%
  segno bench --sweep keys --points 100k,1M,10M
  segno bench --sweep rate --runs 1

The folder of the run holds run.json (every figure) and latency.hgrm (percentiles, ms, for HdrHistogram's plotter).

A rate is judged by its median, memory, commit gaps and what a kill costs by the worst run, latency by all runs together. With --baseline \
a median that is worse by more than --max-regression fails, unless it lies within the middle half of the baseline's runs (between its \
quartiles): then it is shown as within the spread. Latency is compared only at a --rate. \
What the baseline or a limit judges and this run did not measure fails too. Unlike runs are refused (exit 2), and so are unlike \
machines without --any-machine. A sweep leaves sweep.csv, sweep.json \
and sweep.svg in its folder.";

#[derive(Clone, Copy, Debug)]
struct Rate(Option<NonZeroU64>);

fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate(None));
    }
    let rate = units::count(text).map_err(|error| format!("{error}; or `max`"))?;
    NonZeroU64::new(rate).map(|rate| Rate(Some(rate))).ok_or_else(|| "a rate of 0 never ends; or `max`".to_owned())
}

/// How many users, within what the expected sums can tell apart.
fn users(text: &str) -> Result<u32, String> {
    match u32::try_from(units::count(text)?) {
        Ok(users @ 1..=MAX_USERS) => Ok(users),
        _ => Err(format!("from 1 to {} M users can be generated", MAX_USERS / 1_000_000)),
    }
}

fn key(text: &str) -> Result<Key, String> {
    [Key::User, Key::Event]
        .into_iter()
        .find(|key| key.name() == text)
        .ok_or_else(|| format!("`{text}` is no key; the log is keyed by `user` or by `event`"))
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let plan = args.plan()?;
    match args.sweep {
        Some(swept) => sweep(&args, swept, plan),
        None => once(&args, plan),
    }
}

fn once(args: &Args, plan: Plan) -> anyhow::Result<Exit> {
    let limits = args.limits.read(&plan.head())?;
    let root = runs::create(args.data_dir.as_deref(), "bench")?;
    let plan = Plan { log_dir: fresh_log(&root)?, ..plan };
    let began = Instant::now();
    let mut progress = Progress::new("bench", "phases");
    let mut done = 0;
    let outcome = plan.measure(&launcher()?, &mut Expected::default(), &mut |what| {
        progress.set(done, plan.runs.phases(), began.elapsed(), what);
        done += 1;
    });
    progress.finish();
    if args.data_dir.is_none() {
        plan.clean()?;
    }
    let Measured { mut report, latency } = outcome?;
    report.run_dir = root.display().to_string();
    report.comparison = limits.judge(&report);
    write(&root.join("latency.hgrm"), &percentiles::hgrm(&latency))?;
    runs::write_report(&root, &report)?;
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&text_measured::bench(&report))?;
    }
    let held = report.comparison.is_none_or(|comparison| comparison.held);
    Ok(if held { Exit::Held } else { Exit::TooSlow })
}

/// Where the log will lie: nothing may be there, since it is removed and written anew between runs.
fn fresh_log(root: &Path) -> anyhow::Result<PathBuf> {
    let log = root.join("log");
    match log.exists() {
        false => Ok(log),
        true => Err(Usage(format!(
            "--data-dir {} holds `log` already, and a benchmark begins with an empty log: remove it, or name another folder",
            root.display()
        ))
        .into()),
    }
}

fn sweep(args: &Args, swept: Swept, plan: Plan) -> anyhow::Result<Exit> {
    let own = match swept {
        Swept::Rate => args.rate.is_some().then_some("--rate"),
        Swept::Keys => args.users.is_some().then_some("--users"),
        Swept::Partitions => args.partitions.is_some().then_some("--partitions"),
        Swept::EventSize => None,
        Swept::Threads => args.threads.is_some().then_some("--threads"),
    };
    if let Some(own) = own {
        return Err(Usage(format!("{own} is what --sweep {swept} changes; choose its --points")).into());
    }
    let mut sweep = Sweep::new(swept, plan, args.events, args.partitions, args.points.clone())?;
    let root = runs::create(args.data_dir.as_deref(), "sweep")?;
    sweep.plan.log_dir = fresh_log(&root)?;
    let report = sweep.run(&launcher()?, &root)?;
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&text_sweep::sweep(&report))?;
    }
    Ok(Exit::Held)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

impl Args {
    /// What was asked for, without a place for the log.
    fn plan(&self) -> anyhow::Result<Plan> {
        let workload = pipelines::one(&self.pipeline)?;
        let summed = Summed::of(&self.pipeline).ok_or_else(|| {
            let measured: Vec<&str> =
                pipelines::all().iter().map(|all| all.name()).filter(|name| Summed::of(name).is_some()).collect();
            Usage(format!(
                "the generator knows no sums of `{}`, so no speed could be shown; it knows those of {}",
                self.pipeline,
                measured.join(", ")
            ))
        })?;
        if self.events == Some(0) {
            return Err(Usage("--events 0 leaves nothing to measure".to_owned()).into());
        }
        let cores = threads::cores();
        let threads = self.threads.map_or(cores, NonZeroUsize::get);
        if threads > cores {
            return Err(Usage(format!("--threads {threads} needs as many cores, and there are {cores} here")).into());
        }
        Ok(Plan {
            pipeline: self.pipeline.clone(),
            summed,
            topic: workload.source_topic().to_owned(),
            dataset: Dataset {
                events: self.events.unwrap_or(DEFAULT_EVENTS),
                users: self.users.unwrap_or(DEFAULT_USERS),
                key: self.key,
                value_bytes: None,
            },
            rate: self.rate.and_then(|rate| rate.0).map(NonZeroU64::get),
            partitions: self.partitions.unwrap_or(i32::try_from(threads).unwrap_or(i32::MAX)),
            threads,
            runs: Runs {
                ingest: self.runs,
                warm: self.runs,
                cold: if self.no_cold { 0 } else { self.runs },
                kills: if self.kill { self.runs } else { 0 },
            },
            // Where it will be, about: a baseline is asked for its file system before there is a folder.
            log_dir: self.data_dir.clone().unwrap_or_else(|| PathBuf::from("runs")).join("log"),
        })
    }
}

/// Phases run in processes of this program.
fn launcher() -> anyhow::Result<Launcher> {
    let program = std::env::current_exe().context("cannot find this program, to start a phase")?;
    Ok(Launcher { program, arguments: vec!["bench-phase".to_owned()] })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Bench {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_baseline_is_compared_with_the_file_system_on_which_the_log_will_lie() {
        let dir = tempfile::tempdir().expect("a folder");
        let here = benches::machine::describe(dir.path())["filesystem"].clone();
        let not_yet = dir.path().join("not/there/yet").display().to_string();
        let args = Bench::parse_from(["bench", "--data-dir", &not_yet]).args;
        assert_eq!(args.plan().expect("a plan").head().machine["filesystem"], here);
        let args = Bench::parse_from(["bench"]).args;
        assert_ne!(args.plan().expect("a plan").head().machine["filesystem"], "unknown");
    }

    #[test]
    fn a_limit_on_what_would_not_be_measured_is_refused() {
        let parse = |line: &str| Bench::try_parse_from(["bench"].into_iter().chain(line.split(' ')));
        let refused = |line: &str| parse(line).err().map(|error| error.kind());
        let conflict = Some(clap::error::ErrorKind::ArgumentConflict);
        assert_eq!(refused("--no-cold --min-cold 80%"), conflict);
        assert_eq!(refused("--sweep keys --min-cold 80%"), conflict);
        assert_eq!(refused("--sweep keys --no-cold"), conflict);
        assert_eq!(refused("--sweep keys --max-commit-gap 500ms"), conflict);
        assert_eq!(refused("--min-cold 80% --max-commit-gap 500ms"), None);
    }

    #[test]
    fn each_cold_replay_has_a_warm_one_unless_none_is_wanted() {
        let runs = |line: &str| {
            let args = Bench::parse_from(["bench"].into_iter().chain(line.split(' '))).args;
            let runs = args.plan().expect("a plan").runs;
            (runs.warm, runs.cold)
        };
        assert_eq!(runs("--runs 2"), (2, 2));
        assert_eq!(runs("--runs 2 --no-cold"), (2, 0));
    }

    #[test]
    fn cold_replays_and_commit_gaps_are_held_to_the_flags() {
        let line = ["bench", "--min-cold", "80%", "--max-commit-gap", "500ms", "--max-memory", "100MiB"];
        let args = Bench::parse_from(line).args;
        let mut report = args.plan().expect("a plan").head();
        report.ingest.events_per_s = vec![1e6];
        report.replay.warm.events_per_s = vec![2e6];
        report.replay.warm.longest_commit_gap_ms_per_run = vec![450];
        report.replay.warm.peak_rss_bytes_per_run = vec![90 << 20];
        report.replay.cold = Some(report.replay.warm.clone());
        report.replay.cold_to_warm = vec![0.85];
        let held = |report: &reports::BenchReport| {
            let judged = args.limits.read(report).expect("limits").judge(report).expect("a comparison");
            let failed = judged.rows.iter().filter(|row| row.outcome == reports::baseline::Outcome::Failed);
            (judged.held, failed.map(|row| row.metric.clone()).collect::<Vec<_>>())
        };
        assert_eq!(held(&report), (true, vec![]));
        report.replay.cold_to_warm = vec![0.75];
        assert_eq!(held(&report), (false, vec!["replay_cold_to_warm".to_owned()]));
        let cold = report.replay.cold.as_mut().expect("it is there");
        cold.longest_commit_gap_ms_per_run = vec![501];
        cold.peak_rss_bytes_per_run = vec![101 << 20];
        let all = ["replay_cold_to_warm", "all_replays_peak_rss_bytes", "all_replays_longest_commit_gap_ms"];
        assert_eq!(held(&report), (false, all.map(str::to_owned).to_vec()));
    }
}
