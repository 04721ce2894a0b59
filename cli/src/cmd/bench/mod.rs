//! `segno bench`: ingests generated events into a real log and replays it, each phase in a process of its own.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: it reads the clock")]

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use benches::dataset::{DEFAULT_USERS, Dataset, Key, MAX_USERS};
use benches::plan::{Plan, Runs};
use benches::process::Launcher;
use benches::sums::{Expected, Summed};
use engine::env::real::threads;
use reports::text_measured;

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
    #[arg(
        long,
        value_name = "NAME",
        default_value = "clickstream-sessions",
        env = "SEGNO_PIPELINE",
        hide_env_values = true
    )]
    pipeline: String,

    /// How many events to generate
    #[arg(long, value_name = "N", value_parser = units::count, default_value = "20M")]
    events: u64,

    /// How many users the events are of
    #[arg(long, value_name = "N", value_parser = users, default_value_t = Users(DEFAULT_USERS))]
    users: Users,

    /// What the log is keyed by: with `event` (its id, 16 hexadecimal digits) the replay repartitions by user
    #[arg(long, value_name = "KEY", value_parser = key, default_value_t = Key::User)]
    key: Key,

    /// Events per second to ingest, each measured from the moment it should have been sent; or `max`
    #[arg(long, value_name = "N|max", value_parser = rate, default_value = "max")]
    rate: Rate,

    /// Partitions of the source topic; one a thread by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1024))]
    partitions: Option<i32>,

    /// Cores that each phase may use; all by default
    #[arg(long, value_name = "N", env = "SEGNO_THREADS", hide_env_values = true)]
    threads: Option<NonZeroUsize>,

    /// How often each phase is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,

    /// Where the log goes, and stays; by default a folder under runs/ that is emptied at the end
    #[arg(long, value_name = "DIR", env = "SEGNO_DATA_DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  segno bench --events 5M
  segno bench --pipeline clickstream-minutes --events 20M --rate 200k --runs 5 --json > minutes.json";

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
#[derive(Clone, Copy, Debug)]
struct Users(u32);

impl std::fmt::Display for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

fn users(text: &str) -> Result<Users, String> {
    match u32::try_from(units::count(text)?) {
        Ok(users @ 1..=MAX_USERS) => Ok(Users(users)),
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
    let root = runs::create(args.data_dir.as_deref(), "bench")?;
    let plan = Plan { log_dir: root.join("log"), ..plan };
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
    let report = outcome?.report;
    runs::write_report(&root, &report)?;
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&text_measured::bench(&report))?;
    }
    Ok(Exit::Held)
}

impl Args {
    /// What was asked for, without a place for the log.
    fn plan(&self) -> anyhow::Result<Plan> {
        let workload = pipelines::one(&self.pipeline)?;
        let summed = Summed::of(&self.pipeline).ok_or_else(|| {
            Usage(format!("there are no expected sums for `{}`, so no speed could be shown", self.pipeline))
        })?;
        if self.events == 0 {
            return Err(Usage("--events 0 leaves nothing to measure".to_owned()).into());
        }
        let threads = self.threads.map_or_else(threads::cores, NonZeroUsize::get);
        Ok(Plan {
            pipeline: self.pipeline.clone(),
            summed,
            topic: workload.source_topic().to_owned(),
            dataset: Dataset { events: self.events, users: self.users.0, key: self.key },
            rate: self.rate.0.map(NonZeroU64::get),
            partitions: self.partitions.unwrap_or(i32::try_from(threads).unwrap_or(i32::MAX)),
            threads,
            runs: Runs { ingest: self.runs, warm: self.runs, cold: self.runs },
            log_dir: PathBuf::new(),
        })
    }
}

/// Phases run in processes of this program.
fn launcher() -> anyhow::Result<Launcher> {
    let program = std::env::current_exe().context("cannot find this program, to start a phase")?;
    Ok(Launcher { program, arguments: vec!["bench-phase".to_owned()] })
}
