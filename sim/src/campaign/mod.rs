//! The campaign: many seeds in several processes, one report.
//!
//! In: pipelines, seeds, limits, and the command that starts a seed worker. Out: a [`GateReport`], with every violation's
//! plan written as a file.
//!
//! A seed worker is a process that reads one JSON [`Job`] a line and answers with one JSON `SeedReport` a line
//! ([`worker_main`]). A worker that dies, or does not answer in time, is that seed's violation, and a new one takes its
//! place. One seed in twenty, and every seed that violates, runs a second time in another process: the traces must agree.
//!
//! Invariant: which jobs a campaign has is a function of its settings; the processes decide only when they run.

#![expect(
    clippy::disallowed_methods,
    reason = "the campaign is above the engine: it holds processes and watches the clock"
)]

pub(crate) mod worker;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use reports::{GateReport, SeedReport, Tier, Verdict, Violation};
use serde::{Deserialize, Serialize};

pub use worker::worker_main;
use worker::{Answer, Worker};

use crate::checks::deterministic;
use crate::plan::tier_of;
use crate::{faults, seed, trace};

/// What to run, and how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names. Seeds go round-robin over them: seed n is of pipeline n modulo their number.
    pub pipelines: Vec<String>,
    pub seeds: Vec<u64>,
    /// Forced; else a function of (pipeline, seed).
    pub tier: Option<Tier>,
    /// Processes at a time.
    pub jobs: usize,
    /// No new seed begins after this long.
    pub time_budget: Option<Duration>,
    /// Only every `.1`-th seed, from `.0` (counted from 0).
    pub shard: Option<(usize, usize)>,
    /// How long one seed may take before it counts as hanging.
    pub seed_limit: Duration,
    /// Every n-th seed also runs in another process; 20 is 5 %. 0: none.
    pub double_every: usize,
    /// Where plans and traces go.
    pub out_dir: PathBuf,
    /// Program and arguments that start a seed worker.
    pub worker: Vec<String>,
    /// The default gate: what was left untried makes the verdict inconclusive.
    pub require_everything: bool,
}

/// How the message of a seed begins that gave no answer in time.
const HANG: &str = "hang";

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub done: usize,
    pub total: usize,
    pub violations: usize,
    pub elapsed: Duration,
}

/// One line to a seed worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub pipeline: String,
    pub seed: u64,
    #[serde(default)]
    pub tier: Option<Tier>,
    /// The text of the plan to run, instead of the one that the seed draws.
    #[serde(default)]
    pub plan: Option<String>,
    /// Write the trace to this file.
    #[serde(default)]
    pub trace: Option<PathBuf>,
    /// Tell the story of the run, if it breaks a property.
    #[serde(default)]
    pub tell: bool,
}

/// A job, and whether it is to run twice.
struct Task {
    job: Job,
    doubled: bool,
}

/// What a lane hands back.
struct Done {
    report: SeedReport,
    /// It ran twice; the violation if the two differ.
    doubled: Option<Option<Violation>>,
}

/// Runs the campaign. `stop` set ends it after the seeds that are running; the report then says that it was interrupted.
///
/// # Errors
/// When no worker can be started, or a plan cannot be written.
pub fn run(settings: &Settings, stop: &AtomicBool, progress: &mut dyn FnMut(&Progress)) -> io::Result<GateReport> {
    let started = Instant::now();
    std::fs::create_dir_all(&settings.out_dir)?;
    let queue: VecDeque<Task> = tasks(settings);
    let total = queue.len();
    let queue = Mutex::new(queue);
    let mut report = GateReport::new(settings.pipelines.clone(), total as u64);
    report.shard = settings.shard.map(|(index, count)| format!("{}/{count}", index + 1));
    let over =
        || stop.load(Ordering::Relaxed) || settings.time_budget.is_some_and(|budget| started.elapsed() >= budget);
    let mut done = 0;
    let mut said = Progress { total, ..Progress::default() };
    progress(&said);
    std::thread::scope(|scope| -> io::Result<()> {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..settings.jobs.max(1) {
            let (sender, queue, over) = (sender.clone(), &queue, &over);
            scope.spawn(move || lane(settings, queue, over, &sender));
        }
        drop(sender);
        let mut first_error = None;
        for finished in receiver {
            match finished {
                Ok(finished) => {
                    done += 1;
                    if let Err(error) = take(settings, &mut report, finished) {
                        first_error.get_or_insert(error);
                    }
                    said = Progress { done, total, violations: report.violations.len(), elapsed: started.elapsed() };
                    progress(&said);
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                    queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    })?;
    report.interrupted = stop.load(Ordering::Relaxed);
    if done < total {
        let why = if report.interrupted { "it was interrupted" } else { "the time budget ended" };
        report.inconclusive(format!("{done} of {total} seeds ran before {why}"));
    }
    if settings.require_everything && settings.shard.is_none() {
        untried(&mut report);
    }
    report.wall_ms = millis(started.elapsed());
    report.finish();
    Ok(report)
}

/// Says what a campaign never saw take effect. Merged shards are asked again, as a whole.
pub fn untried(report: &mut GateReport) {
    let faults: Vec<&str> = faults::ALL
        .iter()
        .map(|fault| fault.name())
        .filter(|name| report.faults.get(*name).is_none_or(|count| count.effective == 0))
        .collect();
    if !faults.is_empty() {
        report.inconclusive(format!("no fault of these kinds took effect: {}", faults.join(", ")));
    }
    let states: Vec<&str> = seed::REQUIRED_STATES
        .iter()
        .copied()
        .filter(|name| report.states.get(*name).is_none_or(|count| *count == 0))
        .collect();
    if !states.is_empty() {
        report.inconclusive(format!("these states were never reached: {}", states.join(", ")));
    }
}

fn tasks(settings: &Settings) -> VecDeque<Task> {
    let Some(pipelines) = std::num::NonZeroU64::new(settings.pipelines.len() as u64) else {
        return VecDeque::new();
    };
    let (shard, shards) = settings.shard.unwrap_or((0, 1));
    settings
        .seeds
        .iter()
        .enumerate()
        .filter(|(index, _)| index % shards.max(1) == shard)
        .enumerate()
        .map(|(index, (_, &seed))| {
            let pipeline = settings.pipelines[(seed % pipelines) as usize].clone();
            let doubled = settings.double_every > 0 && index % settings.double_every == 0;
            Task { job: Job { pipeline, seed, tier: settings.tier, plan: None, trace: None, tell: false }, doubled }
        })
        .collect()
}

/// One process at a time works through the queue, with a second one for what runs twice.
fn lane(
    settings: &Settings,
    queue: &Mutex<VecDeque<Task>>,
    over: &dyn Fn() -> bool,
    out: &mpsc::Sender<io::Result<Done>>,
) {
    let mut processes = [None, None];
    while !over() {
        let Some(task) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return };
        let done = run_task(settings, &mut processes, &task);
        let failed = done.is_err();
        if out.send(done).is_err() || failed {
            return;
        }
    }
}

fn run_task(settings: &Settings, processes: &mut [Option<Worker>; 2], task: &Task) -> io::Result<Done> {
    let [first, second] = processes;
    let mut report = ask(settings, first, false, &task.job)?;
    if !task.doubled && report.violations.is_empty() {
        return Ok(Done { report, doubled: None });
    }
    // A violation is shown only if its plan, as it would be written to a file, breaks the same in another process.
    let again = Job { plan: report.plan.clone(), tell: true, ..task.job.clone() };
    let mut again = ask(settings, second, true, &again)?;
    report.story = again.story.take();
    if report.trace_hash.is_empty() {
        return Ok(died_again(report, again));
    }
    let Some(violation) = deterministic::compare(&report, &again) else {
        return Ok(Done { report, doubled: Some(None) });
    };
    if again.trace_hash == report.trace_hash {
        return Ok(Done { report, doubled: Some(Some(violation)) });
    }
    // Both once more, with every event as a line, to the first that differs.
    let mut paths = Vec::new();
    for (process, elsewhere, name) in [(first, false, "a"), (second, true, "b")] {
        let path = settings.out_dir.join(format!("{}.{name}.trace", task.job.seed));
        ask(settings, process, elsewhere, &Job { trace: Some(path.clone()), ..task.job.clone() })?;
        paths.push(path);
    }
    let message = format!("{}; {}", violation.message, compare(&paths[0], &paths[1]));
    let violation = Violation { message, ..violation };
    Ok(Done { report, doubled: Some(Some(violation)) })
}

/// A seed whose process died, or gave no answer in time, was run once more. What is not seen twice is not shown as the
/// seed's: a death that does not come again is nondeterminism, an answer that was only slow is no hang.
fn died_again(report: SeedReport, again: SeedReport) -> Done {
    let said = |report: &SeedReport| report.violations.first().map(|violation| violation.property.clone());
    if said(&report) == said(&again) && again.trace_hash.is_empty() {
        return Done { report, doubled: None };
    }
    let message = report.violations.first().map_or_else(String::new, |violation| violation.message.clone());
    if message.starts_with(HANG) {
        return Done { report: again, doubled: None };
    }
    let ended = said(&again).map_or("no violation".to_owned(), |property| format!("a violation of {property}"));
    let message = format!("{message}; another process ran the same plan to its end, with {ended}");
    let violation = Violation { message, ..violation_of(&report, "deterministic") };
    Done { report: again, doubled: Some(Some(violation)) }
}

/// Runs a job in `process`, starting one if there is none. Whatever ends the process is the seed's violation.
fn ask(settings: &Settings, process: &mut Option<Worker>, elsewhere: bool, job: &Job) -> io::Result<SeedReport> {
    let worker = match process {
        Some(worker) => worker,
        None => process.insert(Worker::start(&settings.worker, elsewhere)?),
    };
    let (property, message) = match worker.run(job, settings.seed_limit) {
        Answer::Report(report) => return Ok(*report),
        Answer::Hang => {
            ("converges", format!("{HANG}: no result within {} s of wall time", settings.seed_limit.as_secs()))
        }
        Answer::Died(how) => ("no-panic", format!("the process of this seed died: {how}")),
    };
    *process = None;
    let tier = job.tier.unwrap_or_else(|| tier_of(&job.pipeline, job.seed));
    let mut report = SeedReport::empty(job.pipeline.clone(), job.seed, tier);
    report.verdict = Verdict::Violation;
    report.violations.push(Violation { message, ..violation_of(&report, property) });
    Ok(report)
}

fn violation_of(report: &SeedReport, property: &str) -> Violation {
    Violation {
        property: property.to_owned(),
        pipeline: report.pipeline.clone(),
        seed: report.seed,
        tier: report.tier.to_string(),
        ..Violation::default()
    }
}

fn compare(left: &Path, right: &Path) -> String {
    let read = |path| std::fs::read_to_string(path).map_err(|error| error.to_string());
    let (left, right) = match (read(left), read(right)) {
        (Ok(left), Ok(right)) => (left, right),
        (Err(error), _) | (_, Err(error)) => return format!("the traces could not be compared: {error}"),
    };
    match trace::first_difference(&left, &right) {
        None => "run again, they agree".to_owned(),
        Some(found) => format!(
            "they part at event {}: `{}` or `{}`",
            found.line,
            found.left.as_deref().unwrap_or("(ended)"),
            found.right.as_deref().unwrap_or("(ended)")
        ),
    }
}

/// Adds a seed to the report; writes its plan if something is wrong with it.
fn take(settings: &Settings, report: &mut GateReport, done: Done) -> io::Result<()> {
    let Done { report: mut seed, doubled } = done;
    let mut mismatch = doubled.clone().flatten();
    if !seed.violations.is_empty() || mismatch.is_some() {
        let path = settings.out_dir.join(format!("{}.plan.toml", seed.seed));
        let tier = settings.tier.map_or_else(String::new, |tier| format!(" --tier {tier}"));
        let by_seed = format!("segno repro --pipeline {} --seed {}{tier}", seed.pipeline, seed.seed);
        let (plan, reproduce) = match &seed.plan {
            Some(text) => {
                std::fs::write(&path, text)?;
                (path.display().to_string(), format!("segno repro {}", path.display()))
            }
            None => (String::new(), by_seed),
        };
        let mut story_file = String::new();
        if let Some(mut story) = seed.story.take() {
            story.reproduce.clone_from(&reproduce);
            let path = settings.out_dir.join(format!("{}.story.json", seed.seed));
            std::fs::write(&path, serde_json::to_string(&story)?)?;
            story_file = path.display().to_string();
        }
        for violation in seed.violations.iter_mut().chain(mismatch.as_mut()) {
            violation.story_file.clone_from(&story_file);
            violation.plan.clone_from(&plan);
            violation.reproduce.clone_from(&reproduce);
        }
    }
    report.add(&seed);
    if doubled.is_some() {
        report.add_doubled(mismatch);
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A campaign whose seed worker is a shell script; `$line` is the job.
    fn campaign(script: &str, seeds: u64) -> GateReport {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            pipelines: vec!["p".into()],
            seeds: (0..seeds).collect(),
            tier: Some(Tier::Race),
            jobs: 2,
            time_budget: None,
            shard: None,
            seed_limit: Duration::from_millis(800),
            double_every: 2,
            out_dir: dir.path().to_path_buf(),
            worker: vec!["sh".into(), "-c".into(), format!("while read -r line; do {script}; done")],
            require_everything: false,
        };
        run(&settings, &AtomicBool::new(false), &mut |_| {}).unwrap()
    }

    fn answer(hash: &str) -> String {
        let mut report = SeedReport::empty("p", 0, Tier::Race);
        report.trace_hash = hash.to_owned();
        serde_json::to_string(&report).unwrap().replace(hash, "'$$'")
    }

    #[test]
    fn a_worker_that_dies_or_hangs_is_its_seeds_violation_and_others_go_on() {
        let good = answer("HASH").replace("'$$'", "HASH");
        let script = format!(
            "case $line in *:1,*) echo '{good}';; *:2,*) echo oops >&2; exit 9;; *:3,*) sleep 5;; *) echo '{good}';; esac"
        );
        let report = campaign(&script, 6);
        assert_eq!(report.verdict, Verdict::Violation);
        assert_eq!(report.seeds_run, 6);
        let found: Vec<(u64, &str)> = report.violations.iter().map(|v| (v.seed, v.property.as_str())).collect();
        assert_eq!(found, [(2, "no-panic"), (3, "converges")], "{:?}", report.violations);
        assert!(report.violations[0].message.contains("oops"), "{}", report.violations[0].message);
        assert_eq!(report.violations[0].reproduce, "segno repro --pipeline p --seed 2 --tier race");
    }

    #[test]
    fn a_death_that_does_not_come_again_is_nondeterminism() {
        let good = answer("HASH").replace("'$$'", "HASH");
        // The second process has another time zone than the first.
        let script = format!("case $TZ$line in Asia*) echo '{good}';; *:1,*) exit 9;; *) echo '{good}';; esac");
        let report = campaign(&script, 2);
        assert_eq!(report.verdict, Verdict::Nondeterministic, "{:?}", report.violations);
        let said = &report.violations.last().expect("a violation").message;
        assert!(said.contains("another process ran the same plan to its end, with no violation"), "{said}");
    }

    #[test]
    fn two_processes_with_two_traces_make_the_campaign_nondeterministic() {
        let report = campaign(&format!("echo '{}'", answer("HASH")), 4);
        assert_eq!(report.verdict, Verdict::Nondeterministic);
        assert_eq!((report.determinism.doubled, report.determinism.mismatches), (2, 2));
        assert!(report.violations.iter().all(|violation| violation.property == "deterministic"));
    }

    #[test]
    fn what_never_took_effect_makes_the_default_gate_inconclusive() {
        let mut report = GateReport::new(vec!["p".into()], 1);
        untried(&mut report);
        assert_eq!(report.verdict, Verdict::Inconclusive);
        assert!(report.reasons[0].contains("power-cut"), "{:?}", report.reasons);
    }
}
