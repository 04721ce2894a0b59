//! `segno bench`: ingests generated events into a real log and replays it, each phase in a process of its own.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: it removes the logs that it measured")]

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use benches::ingest::{self, IngestOutcome, IngestSpec};
use benches::phase::{Phase, PhaseOutcome};
use benches::replay::ReplayOutcome;
use benches::{machine, sums};
use engine::env::real::threads;
use engine::stream::worker::WorkerSettings;
use reports::bench::{BenchReport, Ingest, Latency, Replay, ReplayRuns, SCHEMA};
use reports::text_measured::{self, median};

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

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let workload = pipelines::one(&args.pipeline)?;
    if args.events == 0 {
        return Err(Usage("--events 0 leaves nothing to measure".to_owned()).into());
    }
    let threads = args.threads.map_or_else(threads::cores, NonZeroUsize::get);
    let bench = Bench {
        pipeline: args.pipeline.clone(),
        topic: workload.source_topic().to_owned(),
        events: args.events,
        rate: args.rate.0.map(NonZeroU64::get),
        partitions: args.partitions.unwrap_or(i32::try_from(threads).unwrap_or(i32::MAX)),
        threads,
        runs: args.runs,
        root: runs::create(args.data_dir.as_deref(), "bench")?,
    };
    let outcome = bench.measure();
    if args.data_dir.is_none() {
        bench.clean()?;
    }
    let report = outcome?;
    runs::write_report(&bench.root, &report)?;
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&text_measured::bench(&report))?;
    }
    Ok(Exit::Held)
}

struct Bench {
    pipeline: String,
    topic: String,
    events: u64,
    rate: Option<u64>,
    partitions: i32,
    threads: usize,
    runs: u32,
    root: PathBuf,
}

impl Bench {
    fn measure(&self) -> anyhow::Result<BenchReport> {
        let began = Instant::now();
        let steps = u64::from(self.runs) * 3;
        let mut progress = Progress::new("bench", "phases");
        let mut done = 0;
        let mut step = |what: &str| {
            progress.set(done, steps, began.elapsed(), what);
            done += 1;
        };

        let mut ingests = Vec::new();
        for run in 0..self.runs {
            step("ingesting");
            if run > 0 {
                // The last log is the one that is replayed.
                std::fs::remove_dir_all(self.log_dir()).context("failed to remove the log of the run before")?;
            }
            ingests.push(self.ingest()?);
        }
        let log_bytes = machine::topic_bytes(&self.log_dir(), &self.topic, self.partitions)?;
        let mut version = 0;
        let mut replays = |cold: bool, step: &mut dyn FnMut(&str)| -> anyhow::Result<Option<Vec<ReplayOutcome>>> {
            let mut outcomes = Vec::new();
            for _ in 0..self.runs {
                step(if cold { "replaying, cold" } else { "replaying, warm" });
                version += 1;
                match self.replay(version, cold)? {
                    Some(outcome) => outcomes.push(outcome),
                    None => return Ok(None),
                }
            }
            Ok(Some(outcomes))
        };
        let warm = replays(false, &mut step)?.context("a warm replay always runs")?;
        let cold = replays(true, &mut step)?;
        step("checking the sums");
        progress.finish();
        self.check(warm.iter().chain(cold.iter().flatten()))?;
        Ok(self.report(&ingests, &warm, cold.as_deref(), log_bytes))
    }

    fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    fn ingest(&self) -> anyhow::Result<IngestOutcome> {
        let spec = IngestSpec {
            topic: self.topic.clone(),
            events: self.events,
            rate: self.rate,
            partitions: self.partitions,
            threads: self.threads,
        };
        match phase(&Phase::Ingest { data_dir: self.log_dir(), spec })? {
            PhaseOutcome::Ingest(outcome) => Ok(outcome),
            other => bail!("an ingest answered with {other:?}"),
        }
    }

    /// `None` when the page cache could not be emptied.
    fn replay(&self, version: u32, cold: bool) -> anyhow::Result<Option<ReplayOutcome>> {
        let phase_asked = Phase::Replay {
            data_dir: self.log_dir(),
            pipeline: self.pipeline.clone(),
            partitions: self.partitions,
            version,
            threads: self.threads,
            cold,
        };
        match phase(&phase_asked)? {
            PhaseOutcome::Replay(outcome) => Ok(Some(outcome)),
            PhaseOutcome::StillWarm => Ok(None),
            other => bail!("a replay answered with {other:?}"),
        }
    }

    /// Holds every replay to the generator's own sums.
    fn check<'a>(&self, replays: impl Iterator<Item = &'a ReplayOutcome>) -> anyhow::Result<()> {
        let Some(expected) = sums::expected(&self.pipeline, self.events) else {
            return Err(
                Usage(format!("there are no expected sums for `{}`, so no speed is shown", self.pipeline)).into()
            );
        };
        for replay in replays {
            ensure!(
                replay.sums == expected && replay.events == self.events,
                "the output is wrong, so no speed is shown: {} events gave {:?}, expected {} giving {expected:?}",
                replay.events,
                replay.sums,
                self.events
            );
        }
        Ok(())
    }

    fn report(
        &self,
        ingests: &[IngestOutcome],
        warm: &[ReplayOutcome],
        cold: Option<&[ReplayOutcome]>,
        log_bytes: u64,
    ) -> BenchReport {
        let ingest = Ingest {
            events_per_s: ingests.iter().map(|run| run.events as f64 / run.seconds).collect(),
            latency_us: latency(ingests),
        };
        let replay = Replay { cold: cold.map(|runs| replay_runs(runs, log_bytes)), warm: replay_runs(warm, log_bytes) };
        let first = &warm[0];
        BenchReport {
            schema: SCHEMA.to_owned(),
            pipeline: self.pipeline.clone(),
            events: self.events,
            bytes: ingests.first().map_or(0, |run| run.bytes),
            threads: self.threads as u32,
            partitions: self.partitions as u32,
            machine: machine::describe(),
            commit: machine::commit(),
            ratio_replay_to_ingest: median(&replay.warm.events_per_s) / median(&ingest.events_per_s),
            ingest,
            replay,
            replay_spent_s: first.spent_s.clone(),
            commits: first.commits,
            commit_interval_ms: WorkerSettings::default().commit_interval.as_millis() as u64,
            codec: "none".to_owned(),
            log_bytes,
            panes: first.panes,
            output_checksum: first.output_checksum.clone(),
            output_sums: first.sums.clone(),
        }
    }

    /// Removes the log; the report stays.
    fn clean(&self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(self.log_dir()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove {}", self.log_dir().display()))
            }
            _ => Ok(()),
        }
    }
}

fn replay_runs(runs: &[ReplayOutcome], log_bytes: u64) -> ReplayRuns {
    ReplayRuns {
        events_per_s: runs.iter().map(|run| run.events as f64 / run.seconds).collect(),
        bytes_per_s: runs.iter().map(|run| log_bytes as f64 / run.seconds).collect(),
        cpu_s: runs.iter().map(|run| run.cpu_s).collect(),
        peak_rss_bytes: runs.iter().map(|run| run.peak_rss_bytes).max().unwrap_or(0),
    }
}

/// The runs' histograms, merged.
fn latency(runs: &[IngestOutcome]) -> Latency {
    let mut merged = ingest::histogram();
    for (us, count) in runs.iter().flat_map(|run| &run.latency_us) {
        merged.saturating_record_n(*us, *count);
    }
    Latency {
        p50: merged.value_at_quantile(0.5),
        p99: merged.value_at_quantile(0.99),
        p999: merged.value_at_quantile(0.999),
        max: merged.max(),
    }
}

/// Runs a phase in a process of its own.
fn phase(phase: &Phase) -> anyhow::Result<PhaseOutcome> {
    let program = std::env::current_exe().context("cannot find this program, to start a phase")?;
    let output = Command::new(&program)
        .arg("bench-phase")
        .arg(serde_json::to_string(phase)?)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to start {}", Path::new(&program).display()))?;
    ensure!(output.status.success(), "a phase ended with {}: {phase:?}", output.status);
    serde_json::from_slice(&output.stdout).context("a phase answered with what is no outcome")
}
