//! `segno run`: a file through a pipeline, live and replayed, on this machine's disk and clock.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: it measures its own wall time")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use engine::env::real::{self, EnvOptions, threads};
use engine::types::Millis;
use reports::{RunReport, text_measured};
use sim::workload::Shape;
use workloads::combined;

use crate::exit::{Exit, Usage};
use crate::progress::Progress;
use crate::run::directory::{Directory, Settings, write_whole};
use crate::run::{self, Job, Step};
use crate::{output, pipelines, runs, units};

/// Runs a file through a pipeline, replays the log into a second version, and compares the two.
///
/// The file is ingested through the broker and processed while it arrives; then the log is replayed from offset 0. Lines
/// that are not events are kept in `rejects.ndjson` of the data directory, with their place and the reason. A run that was
/// killed goes on where it was when the same command is given the same --data-dir.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A pipeline's name
    #[arg(long, value_name = "NAME")]
    pipeline: String,

    /// The file to ingest
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// How its lines are written: `combined` is the access log of Apache and nginx
    #[arg(long, value_enum, default_value_t = Format::Combined)]
    format: Format,

    /// How far the watermark stays behind the latest event of its partition
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "30s")]
    watermark_bound: Duration,

    /// How long after its end a window still takes late events
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "0s")]
    allowed_lateness: Duration,

    /// Where the log lives; a new folder under runs/ by default
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Partitions of the source topic
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = units::partitions)]
    partitions: i32,

    /// Threads to process with; the number of cores by default
    #[arg(long, value_name = "N", value_parser = units::at_least_one)]
    threads: Option<NonZeroUsize>,

    /// Where the final panes go, one JSON object a line; `panes.ndjson` in the data directory by default
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  segno run --pipeline clickstream-sessions --input access.log --watermark-bound 60s
  segno run --pipeline clickstream-minutes --input access.log --data-dir runs/minutes --out minutes.ndjson --json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Combined,
}

/// What a line of the format is, and one of them.
const COMBINED: &str = "the combined log format of Apache and nginx, a line of which is\n  \
    83.149.9.216 - - [17/May/2015:10:05:03 +0000] \"GET /blog HTTP/1.1\" 200 203023 \"http://referrer/\" \"agent\"";

/// Rejected lines shown to people; all of them are in the rejects file.
const REJECTS_SHOWN: usize = 5;

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let workload = pipelines::one(&args.pipeline)?;
    let shape = Shape {
        partitions: args.partitions,
        keyed_by_record: true,
        repartitions: args.partitions,
        bound: millis(args.watermark_bound),
        allowed_lateness: millis(args.allowed_lateness),
    };
    let pipeline = workload.pipeline(&shape).map_err(|error| Usage(error.to_string()))?;
    if let Some(out) = &args.out {
        has_folder(out)?;
    }
    let (input_bytes, input_sha256) = run::fingerprint(&args.input)?;
    run::input::has_an_event(&args.input, &parse_combined, COMBINED)?;
    let settings = Settings {
        pipeline: args.pipeline.clone(),
        input_bytes,
        input_sha256,
        format: "combined".to_owned(),
        map: Vec::new(),
        watermark_bound_ms: shape.bound.0,
        allowed_lateness_ms: shape.allowed_lateness.0,
        partitions: args.partitions,
    };
    let root = match &args.data_dir {
        Some(dir) => dir.clone(),
        None => runs::create(None, "run")?,
    };
    let directory = Directory::open(&root, &settings)?;
    let finished = match directory.result::<RunReport>()?.filter(|stored| is_intact(stored, &directory)) {
        Some(stored) => {
            output::note(format_args!(
                "{} holds the result of this very run, which is shown again; --data-dir with another folder runs anew",
                root.display()
            ));
            stored
        }
        None => {
            let job = Job {
                workload,
                pipeline: Arc::new(pipeline),
                input: args.input.clone(),
                parse: Box::new(parse_combined),
                partitions: args.partitions,
                threads: args.threads.map_or_else(threads::cores, NonZeroUsize::get),
            };
            work(&job, &directory, input_bytes, began)?
        }
    };
    let report = place_output(finished, &directory, args.out.as_deref())?;
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&text_measured::run(&report))?;
    }
    Ok(if report.equal { Exit::Held } else { Exit::Violated })
}

/// Runs the job to its end and stores what came of it.
fn work(job: &Job, directory: &Directory, input_bytes: u64, began: Instant) -> anyhow::Result<RunReport> {
    let env = real::env(EnvOptions::default());
    let progress = Mutex::new(Progress::new("ingest", "bytes"));
    let told = |step| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        match step {
            Step::Ingested(byte) => progress.set(byte, input_bytes, began.elapsed(), "processing live"),
            Step::Live => progress.stage("replaying the log"),
            Step::Replayed => progress.stage("comparing live and replay"),
        }
    };
    let runtime = threads::runtime().context("cannot start a runtime")?;
    let finished = runtime.block_on(job.run(&env, &directory.log_dir(), told))?;
    progress.into_inner().unwrap_or_else(PoisonError::into_inner).finish();

    directory.write_whole("panes.ndjson", finished.ndjson.as_bytes())?;
    let mut report = finished.report;
    report.pipeline = job.workload.name().to_owned();
    report.data_dir = directory.root().display().to_string();
    report.first_difference = finished.difference.unwrap_or_default();
    if !finished.rejects.is_empty() {
        let lines: Vec<String> = finished.rejects.iter().map(run::Reject::line).collect();
        directory.write_whole("rejects.ndjson", (lines.join("\n") + "\n").as_bytes())?;
        report.rejects = directory.root().join("rejects.ndjson").display().to_string();
        for reject in finished.rejects.iter().take(REJECTS_SHOWN) {
            output::note(format_args!("rejected {}", reject.told()));
        }
        let more = finished.rejects.len().saturating_sub(REJECTS_SHOWN);
        if more > 0 {
            output::note(format_args!("and {more} more in {}", report.rejects));
        }
    }
    report.wall_ms = began.elapsed().as_millis() as u64;
    // Last: from here on the directory is finished.
    directory.finish(&report)?;
    Ok(report)
}

/// Whether the files that a finished run left are still what it says; if not, they are written again from the log.
fn is_intact(stored: &RunReport, directory: &Directory) -> bool {
    let panes = std::fs::read_to_string(directory.root().join("panes.ndjson"));
    panes.is_ok_and(|panes| run::checksum(&panes) == stored.output_checksum)
        && (stored.rejects.is_empty() || directory.root().join("rejects.ndjson").is_file())
}

/// The panes are placed at the very end: a folder that is not there is said at the beginning.
fn has_folder(out: &Path) -> anyhow::Result<()> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.is_dir(), out.is_dir()) {
        (true, false) => Ok(()),
        (true, true) => Err(Usage(format!("--out {}: it is a folder; name a file", out.display())).into()),
        (false, _) => Err(Usage(format!("--out {}: there is no folder {}", out.display(), folder.display())).into()),
    }
}

/// Copies the panes to where they were asked for.
fn place_output(mut report: RunReport, directory: &Directory, out: Option<&Path>) -> anyhow::Result<RunReport> {
    let stored = directory.root().join("panes.ndjson");
    report.out = match out {
        Some(path) => {
            let panes = std::fs::read(&stored).with_context(|| format!("failed to read {}", stored.display()))?;
            place(path, &panes)?;
            path.display().to_string()
        }
        None => stored.display().to_string(),
    };
    Ok(report)
}

/// Writes a regular file whole or not at all; anything else that stands there (a pipe, a device) is written into.
fn place(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match std::fs::metadata(&real) {
        Ok(there) if !there.is_file() => {
            std::fs::write(&real, bytes).with_context(|| format!("failed to write {}", path.display()))
        }
        _ => write_whole(&real, bytes),
    }
}

fn parse_combined(bytes: &[u8], number: u64, offset: u64) -> Result<workloads::click::Click, String> {
    let line = combined::Line { number, offset, next: offset + bytes.len() as u64, bytes };
    combined::click(&line).map_err(|error| error.to_string())
}

/// A duration that is an event time's distance: at most what milliseconds in an i64 can hold.
fn millis(duration: Duration) -> Millis {
    Millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
