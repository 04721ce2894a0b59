//! The campaign: many seeds in several processes, one report.
//!
//! In: pipelines, seeds, limits, and the command that starts a seed worker. Out: a [`GateReport`], with every violation's
//! plan written as a file.
//!
//! A seed worker is a process that reads one JSON [`Job`] a line and answers with one JSON `SeedReport` a line
//! ([`worker_main`]). A worker that dies, or does not answer in time, is that seed's violation, and a new one takes its
//! place. One seed in twenty of each pipeline, and every seed that violates, runs a second time in another process: the
//! traces must agree.
//!
//! Invariant: which jobs a campaign has is a function of its settings; the processes decide only when they run.

#![expect(
    clippy::disallowed_methods,
    reason = "the campaign is above the engine: it holds processes and watches the clock"
)]

mod failures;
mod journal;
mod merge;
mod tasks;
pub(crate) mod worker;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use reports::{Campaign, GateReport, SeedReport, Tier, Violation};
use serde::{Deserialize, Serialize};

use failures::Failures;
use journal::Line;
pub use journal::{Journal, JournalError};
pub use merge::{MergeError, merge};
use tasks::{Task, tasks};
pub use worker::worker_main;
use worker::{Answer, Worker};

use crate::checks::deterministic;
use crate::plan::tier_of;
use crate::{faults, states, trace};

/// What to run, and how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names. Seeds go round-robin over them: seed n is of pipeline n modulo their number.
    pub pipelines: Vec<String>,
    pub seeds: Range<u64>,
    /// Forced; else a function of (pipeline, seed).
    pub tier: Option<Tier>,
    /// Processes at a time.
    pub jobs: usize,
    /// No new seed begins after this long.
    pub time_budget: Option<Duration>,
    /// No new seed begins once so many have failed.
    pub until_failures: Option<NonZeroUsize>,
    /// Only every `.1`-th seed, from `.0` (counted from 0).
    pub shard: Option<(usize, usize)>,
    /// How long one seed may take before it counts as hanging.
    pub seed_limit: Duration,
    /// Of each pipeline every n-th seed also runs in another process; 20 is 5 %. 0: none.
    pub double_every: usize,
    /// Where plans and traces go.
    pub out_dir: PathBuf,
    /// Program and arguments that start a seed worker.
    pub worker: Vec<String>,
    /// What a seed worker finds in its environment, besides ours.
    pub worker_env: Vec<(String, String)>,
    /// The default gate: what was left untried makes the verdict inconclusive.
    pub require_everything: bool,
    /// A digest of the program that runs the seeds: results of two builds are not put together.
    pub build: String,
}

/// How the message of a seed begins that gave no answer in time.
const HANG: &str = "hang";

impl Settings {
    /// What makes this campaign, whatever share of it is run here.
    #[must_use]
    pub fn campaign(&self) -> Campaign {
        Campaign {
            pipelines: self.pipelines.clone(),
            seed_first: self.seeds.start,
            seed_end: self.seeds.end,
            tier: self.tier,
            whole: self.require_everything,
            double_every: self.double_every,
            build: self.build.clone(),
        }
    }
}

/// How long the seeds that run when the campaign is stopped may still take.
const GRACE: Duration = Duration::from_secs(2);

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub done: usize,
    pub total: usize,
    /// Seeds that failed.
    pub failed: usize,
    /// Different failures among them.
    pub failures: usize,
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

/// What a lane hands back.
struct Done {
    report: SeedReport,
    /// It ran twice; the violation if the two differ.
    doubled: Option<Option<Violation>>,
}

/// Whether the campaign is to end, and since when.
struct End<'a> {
    stop: &'a AtomicBool,
    since: Mutex<Option<Instant>>,
    /// Seeds that failed, and how many are enough.
    failed: AtomicUsize,
    enough: Option<NonZeroUsize>,
    deadline: Option<Instant>,
}

impl End<'_> {
    /// No new seed begins.
    fn near(&self) -> bool {
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let enough = self.enough.is_some_and(|enough| self.failed.load(Ordering::Relaxed) >= enough.get());
        late || enough || self.stop.load(Ordering::Relaxed)
    }

    /// Seeds that run are given up.
    fn reached(&self) -> bool {
        if !self.stop.load(Ordering::Relaxed) {
            return false;
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert_with(Instant::now).elapsed() >= GRACE
    }
}

/// Runs the campaign. `stop` set ends it: seeds that run have two seconds to end, and the report says that it was
/// interrupted. With a journal, seeds that are done in it are not run again, and others are added to it.
///
/// # Errors
/// When no worker can be started, or a plan or the journal cannot be written.
pub fn run(
    settings: &Settings,
    mut journal: Option<Journal>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&Progress),
) -> io::Result<GateReport> {
    let started = Instant::now();
    std::fs::create_dir_all(&settings.out_dir)?;
    let mut queue: VecDeque<Task> = tasks(settings);
    let mut whole = Whole::new(settings, queue.len());
    let mut before = Duration::ZERO;
    if let Some(journal) = &journal {
        before = Duration::from_millis(journal.elapsed_ms());
        queue.retain(|task| match journal.done.get(&(task.job.pipeline.clone(), task.job.seed)) {
            Some(line) => {
                whole.take(line.clone());
                false
            }
            None => true,
        });
    }
    let end = End {
        stop,
        since: Mutex::new(None),
        failed: AtomicUsize::new(whole.failures.seeds()),
        enough: settings.until_failures,
        deadline: settings.time_budget.map(|budget| started + budget),
    };
    progress(&whole.progress(before));
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| -> io::Result<()> {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..settings.jobs.max(1) {
            let (sender, queue, end) = (sender.clone(), &queue, &end);
            scope.spawn(move || lane(settings, queue, end, &sender));
        }
        drop(sender);
        let mut first_error = None;
        for finished in receiver {
            let kept = finished.and_then(|Done { report, doubled }| {
                let elapsed_ms = millis(before + started.elapsed());
                let line = Line { report, doubled: doubled.is_some(), mismatch: doubled.flatten(), elapsed_ms };
                if let Some(journal) = &mut journal {
                    journal.write(&line)?;
                }
                whole.take(line);
                Ok(())
            });
            if let Err(error) = kept {
                first_error.get_or_insert(error);
                queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            progress(&whole.progress(before + started.elapsed()));
        }
        first_error.map_or(Ok(()), Err)
    })?;
    whole.finish(stop.load(Ordering::Relaxed), millis(before + started.elapsed()))
}

/// The report while it grows.
struct Whole<'a> {
    settings: &'a Settings,
    report: GateReport,
    failures: Failures,
    done: usize,
    total: usize,
}

impl<'a> Whole<'a> {
    fn new(settings: &'a Settings, total: usize) -> Whole<'a> {
        let mut report = GateReport::new(settings.pipelines.clone(), total as u64);
        report.shard = settings.shard.map(|(index, count)| format!("{}/{count}", index + 1));
        report.campaign = Some(settings.campaign());
        Whole { settings, report, failures: Failures::default(), done: 0, total }
    }

    fn take(&mut self, line: Line) {
        let Line { report: mut seed, doubled, mismatch, .. } = line;
        self.done += 1;
        let found = std::mem::take(&mut seed.violations);
        self.failures.add(&seed, found.into_iter().chain(mismatch.clone()).collect());
        self.report.add(&seed);
        if doubled {
            self.report.add_doubled(mismatch);
        }
    }

    /// As many seeds failed as were asked for.
    fn enough(&self) -> bool {
        self.settings.until_failures.is_some_and(|most| self.failures.seeds() >= most.get())
    }

    fn progress(&self, elapsed: Duration) -> Progress {
        let (failed, failures) = (self.failures.seeds(), self.failures.different());
        Progress { done: self.done, total: self.total, failed, failures, elapsed }
    }

    fn finish(self, interrupted: bool, wall_ms: u64) -> io::Result<GateReport> {
        let enough = self.enough();
        let Whole { settings, mut report, mut failures, done, total } = self;
        report.interrupted = interrupted;
        if done < total {
            let why = match settings.until_failures {
                _ if interrupted => "it was interrupted".to_owned(),
                Some(most) if enough => format!("{most} had failed, which is as many as were asked for"),
                _ => "the time budget ended".to_owned(),
            };
            report.inconclusive(format!("{done} of {total} seeds ran before {why}"));
        }
        list_everything(&mut report, settings.require_everything);
        if settings.require_everything && settings.shard.is_none() {
            untried(&mut report);
        }
        report.wall_ms = wall_ms;
        failures.write_plans(&settings.out_dir, settings.tier)?;
        report.seeds_failed = failures.seeds() as u64;
        report.violations = failures.finish();
        report.finish();
        Ok(report)
    }
}

/// Every kind of fault and every rare state is in the report, also with 0; `required` when some states must be reached.
fn list_everything(report: &mut GateReport, required: bool) {
    for fault in faults::ALL {
        report.faults.entry(fault.name().to_owned()).or_default();
    }
    for state in states::ALL {
        report.states.entry(state.name.to_owned()).or_default();
        report.state_meanings.insert(state.name.to_owned(), state.meaning.to_owned());
    }
    if required {
        report.states_required.extend(states::required().map(str::to_owned));
    }
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
    let states: Vec<&str> =
        states::required().filter(|name| report.states.get(*name).is_none_or(|count| *count == 0)).collect();
    if !states.is_empty() {
        report.inconclusive(format!("these states were never reached: {}", states.join(", ")));
    }
}

/// One process at a time works through the queue, with a second one for what runs twice.
fn lane(settings: &Settings, queue: &Mutex<VecDeque<Task>>, end: &End<'_>, out: &mpsc::Sender<io::Result<Done>>) {
    let mut processes = [None, None];
    while !end.near() {
        let Some(task) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return };
        let done = run_task(settings, &mut processes, &task, end);
        let failed = done.is_err();
        if let Ok(Some(Done { report, doubled })) = &done
            && (!report.violations.is_empty() || doubled.iter().flatten().next().is_some())
        {
            end.failed.fetch_add(1, Ordering::Relaxed);
        }
        // A seed that was given up is not done, and nothing is said of it.
        let Some(done) = done.transpose() else { return };
        if out.send(done).is_err() || failed {
            return;
        }
    }
}

/// `None` when the campaign was stopped before the seed had ended.
fn run_task(
    settings: &Settings,
    processes: &mut [Option<Worker>; 2],
    task: &Task,
    end: &End<'_>,
) -> io::Result<Option<Done>> {
    let [first, second] = processes;
    let Some(mut report) = ask(settings, first, false, &task.job, end)? else { return Ok(None) };
    if !task.doubled && report.violations.is_empty() {
        return Ok(Some(Done { report, doubled: None }));
    }
    // A violation is shown only if its plan, as it would be written to a file, breaks the same in another process.
    let doubled = Job { plan: report.plan.clone(), tell: true, ..task.job.clone() };
    let Some(mut again) = ask(settings, second, true, &doubled, end)? else { return Ok(None) };
    // Only slow, perhaps: a process that gave no answer in time has no trace that could differ.
    if !report.trace_hash.is_empty() && is_hang(&again) {
        let Some(once_more) = ask(settings, second, true, &doubled, end)? else { return Ok(None) };
        again = once_more;
    }
    report.story = again.story.take();
    if let (Some(story), Some(first)) = (&report.story, report.violations.first_mut()) {
        first.story = reports::timeline::lines(story);
    }
    if report.trace_hash.is_empty() {
        return Ok(Some(died_again(report, again)));
    }
    let Some(violation) = deterministic::compare(&report, &again) else {
        return Ok(Some(Done { report, doubled: Some(None) }));
    };
    if again.trace_hash == report.trace_hash {
        return Ok(Some(Done { report, doubled: Some(Some(violation)) }));
    }
    // Both once more, with every event as a line, to the first that differs.
    let mut paths = Vec::new();
    for (process, elsewhere, name) in [(first, false, "a"), (second, true, "b")] {
        let path = settings.out_dir.join(format!("{}.{name}.trace", task.job.seed));
        let traced = Job { trace: Some(path.clone()), ..task.job.clone() };
        if ask(settings, process, elsewhere, &traced, end)?.is_none() {
            return Ok(None);
        }
        paths.push(path);
    }
    let message = format!("{}; {}", violation.message, compare(&paths[0], &paths[1]));
    let violation = Violation { message, ..violation };
    Ok(Some(Done { report, doubled: Some(Some(violation)) }))
}

/// A seed whose process died, or gave no answer in time, was run once more. What is not seen twice is not shown as the
/// seed's: a death that does not come again is nondeterminism, an answer that was only slow is no hang.
fn died_again(report: SeedReport, again: SeedReport) -> Done {
    let said = |report: &SeedReport| report.violations.first().map(|violation| violation.property.clone());
    if said(&report) == said(&again) && again.trace_hash.is_empty() {
        return Done { report, doubled: None };
    }
    if is_hang(&report) {
        return Done { report: again, doubled: None };
    }
    let message = report.violations.first().map_or_else(String::new, |violation| violation.message.clone());
    let ended = said(&again).map_or("no violation".to_owned(), |property| format!("a violation of {property}"));
    let message = format!("{message}; another process ran the same plan to its end, with {ended}");
    let violation = report.violation(deterministic::NAME, message);
    Done { report: again, doubled: Some(Some(violation)) }
}

fn is_hang(report: &SeedReport) -> bool {
    report.violations.first().is_some_and(|violation| violation.message.starts_with(HANG))
}

/// Runs a job in `process`, starting one if there is none. Whatever ends the process is the seed's violation; `None` when
/// the campaign was stopped first.
fn ask(
    settings: &Settings,
    process: &mut Option<Worker>,
    elsewhere: bool,
    job: &Job,
    end: &End<'_>,
) -> io::Result<Option<SeedReport>> {
    let worker = match process {
        Some(worker) => worker,
        None => process.insert(Worker::start(&settings.worker, &settings.worker_env, elsewhere)?),
    };
    let (property, message) = match worker.run(job, settings.seed_limit, &|| end.reached()) {
        Answer::Report(report) if (&report.pipeline, report.seed) == (&job.pipeline, job.seed) => {
            return Ok(Some(*report));
        }
        Answer::Report(report) => {
            ("no-panic", format!("the process of this seed answered for {} seed {}", report.pipeline, report.seed))
        }
        Answer::GivenUp => {
            *process = None;
            return Ok(None);
        }
        Answer::Hang => {
            ("converges", format!("{HANG}: no result within {} s of wall time", settings.seed_limit.as_secs()))
        }
        Answer::Died(how) => ("no-panic", format!("the process of this seed died: {how}")),
    };
    *process = None;
    let tier = job.tier.unwrap_or_else(|| tier_of(&job.pipeline, job.seed));
    Ok(Some(SeedReport::broken(job.pipeline.clone(), job.seed, tier, property, message)))
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

/// A digest of a program, which tells builds apart.
///
/// # Errors
/// When it cannot be read.
pub fn build_of(program: &Path) -> io::Result<String> {
    let mut digest = xxhash_rust::xxh3::Xxh3::new();
    let mut file = std::fs::File::open(program)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:032x}", digest.digest128())),
            some => digest.update(&buffer[..some]),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reports::Verdict;

    use super::*;

    /// Long enough for a shell on a busy machine.
    const LONG: Duration = Duration::from_secs(100);

    /// Of a campaign whose seed worker is a shell script; `$line` is the job, `$n` its seed.
    pub(super) fn settings(dir: &Path, script: &str, seeds: u64) -> Settings {
        let read = "n=${line#*seed??}; n=${n%%,*}";
        Settings {
            pipelines: vec!["p".into()],
            seeds: 0..seeds,
            tier: Some(Tier::Race),
            jobs: 2,
            time_budget: None,
            until_failures: None,
            shard: None,
            seed_limit: LONG,
            double_every: 2,
            out_dir: dir.to_path_buf(),
            worker: vec!["sh".into(), "-c".into(), format!("while read -r line; do {read}; {script}; done")],
            worker_env: Vec::new(),
            require_everything: false,
            build: "b".into(),
        }
    }

    fn campaign(script: &str, seeds: u64) -> GateReport {
        let dir = tempfile::tempdir().unwrap();
        run(&settings(dir.path(), script, seeds), None, &AtomicBool::new(false), &mut |_| {}).unwrap()
    }

    /// With a limit that a script which sleeps does not keep.
    fn impatient(script: &str, seeds: u64) -> GateReport {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { seed_limit: Duration::from_secs(2), ..settings(dir.path(), script, seeds) };
        run(&settings, None, &AtomicBool::new(false), &mut |_| {}).unwrap()
    }

    /// A command that prints a report of seed `$n`.
    fn answer(hash: &str, property: Option<&str>) -> String {
        let mut report = SeedReport::empty("p", 987_654, Tier::Race);
        report.trace_hash = "HASH".to_owned();
        report.steps = 10;
        report.records.ingested = 3;
        if let Some(property) = property {
            report.verdict = Verdict::Violation;
            report.violations.push(report.violation(property, "it broke"));
        }
        let text = serde_json::to_string(&report).unwrap();
        format!("echo '{}'", text.replace("987654", "'$n'").replace("HASH", hash))
    }

    #[test]
    fn a_worker_that_dies_or_hangs_is_its_seeds_violation_and_others_go_on() {
        let good = answer("h", None);
        let script = format!("case $n in 1) {good};; 2) echo oops >&2; exit 9;; 3) sleep 100;; *) {good};; esac");
        let report = impatient(&script, 6);
        assert_eq!(report.verdict, Verdict::Violation);
        assert_eq!((report.seeds_run, report.seeds_failed), (6, 2));
        let found: Vec<(u64, &str)> = report.violations.iter().map(|v| (v.seed, v.property.as_str())).collect();
        assert_eq!(found, [(2, "no-panic"), (3, "converges")], "{:?}", report.violations);
        assert!(report.violations[0].message.contains("oops"), "{}", report.violations[0].message);
        assert_eq!(report.violations[0].reproduce, "segno repro --pipeline p --seed 2 --tier race");
    }

    #[test]
    fn a_death_that_does_not_come_again_is_nondeterminism() {
        let good = answer("h", None);
        // The second process has another time zone than the first.
        let script = format!("case $TZ$n in Asia*) {good};; 1) exit 9;; *) {good};; esac");
        let report = campaign(&script, 2);
        assert_eq!(report.verdict, Verdict::Nondeterministic, "{:?}", report.violations);
        let said = &report.violations.last().expect("a violation").message;
        assert!(said.contains("another process ran the same plan to its end, with no violation"), "{said}");
    }

    #[test]
    fn a_second_process_that_is_slow_once_is_asked_again_and_is_no_nondeterminism() {
        let good = answer("h", None);
        let once = tempfile::tempdir().unwrap();
        let slow = once.path().join("slow").display().to_string();
        let script = format!("case $TZ in Asia*) [ -e {slow} ] || {{ touch {slow}; sleep 100; }};; esac; {good}");
        let report = impatient(&script, 2);
        assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.violations);
        assert!(report.determinism.doubled > 0 && report.determinism.mismatches == 0, "{:?}", report.determinism);
    }

    #[test]
    fn two_processes_with_two_traces_make_the_campaign_nondeterministic() {
        let report = campaign(&answer("'$$'", None), 4);
        assert_eq!(report.verdict, Verdict::Nondeterministic);
        assert_eq!((report.determinism.doubled, report.determinism.mismatches), (2, 2));
        let [violation] = &report.violations[..] else { panic!("{:?}", report.violations) };
        assert_eq!((violation.property.as_str(), &violation.seeds[..]), ("deterministic", &[0, 2][..]));
    }

    #[test]
    fn what_a_worker_says_besides_its_answers_is_no_answer() {
        let report = campaign(&format!("echo running 1 test; {}", answer("h", None)), 3);
        assert_eq!((report.verdict, report.seeds_run), (Verdict::Pass, 3), "{:?}", report.violations);
    }

    #[test]
    fn an_answer_for_another_seed_is_no_answer() {
        let report = campaign(&answer("h", None).replace("'$n'", "7"), 1);
        assert_eq!(report.violations[0].property, "no-panic");
        assert!(report.violations[0].message.contains("seed 7"), "{}", report.violations[0].message);
    }

    #[test]
    fn a_campaign_that_was_stopped_goes_on_and_ends_as_one_that_was_not() {
        // From the seventh on, seeds wait until the first campaign is stopped: how far it comes is no matter of speed.
        let gate = tempfile::tempdir().unwrap();
        let open = gate.path().join("open");
        let wait = format!("[ $n -lt 6 ] || until [ -e {} ]; do sleep 0.01; done", open.display());
        let (bad, good) = (answer("h", Some("durable")), answer("h", None));
        let script = format!("{wait}; case $n in 4|5) {bad};; *) {good};; esac");

        let dir = tempfile::tempdir().unwrap();
        let part = settings(dir.path(), &script, 9);
        let stop = AtomicBool::new(false);
        let journal = Journal::create(dir.path(), part.campaign(), None).unwrap();
        let mut stop_after_three = |now: &Progress| {
            if now.done >= 3 {
                stop.store(true, Ordering::Relaxed);
                std::fs::write(&open, "").unwrap();
            }
        };
        let stopped = run(&part, Some(journal), &stop, &mut stop_after_three).unwrap();
        // Each lane ends with the seed that it is at.
        assert!(stopped.interrupted && (3..9).contains(&stopped.seeds_run), "{} seeds", stopped.seeds_run);
        assert!(stopped.reasons[0].contains("of 9 seeds ran before it was interrupted"), "{:?}", stopped.reasons);

        let whole = tempfile::tempdir().unwrap();
        let all = settings(whole.path(), &script, 9);
        let never = AtomicBool::new(false);
        let mut one = run(&all, None, &never, &mut |_| {}).unwrap();

        let journal = Journal::resume(dir.path(), &part.build).unwrap();
        assert_eq!(journal.seeds_done() as u64, stopped.seeds_run);
        let mut went_on = run(&part, Some(journal), &never, &mut |_| {}).unwrap();
        for report in [&mut one, &mut went_on] {
            (report.wall_ms, report.speed) = Default::default();
            for violation in &mut report.violations {
                (violation.plan, violation.reproduce) = Default::default();
            }
        }
        assert_eq!(one, went_on);
        assert_eq!(one.violations[0].seeds, [4, 5]);
        let journal = Journal::resume(dir.path(), &part.build).unwrap();
        assert_eq!(journal.seeds_done(), 9);
    }

    #[test]
    fn a_seed_that_hangs_does_not_keep_a_stopped_campaign() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), "sleep 100", 3);
        let report = run(&settings, None, &AtomicBool::new(true), &mut |_| {}).unwrap();
        assert_eq!((report.seeds_run, report.interrupted), (0, true));
        let stop = AtomicBool::new(false);
        let report = std::thread::scope(|scope| {
            let running = scope.spawn(|| run(&settings, None, &stop, &mut |_| {}));
            std::thread::sleep(Duration::from_millis(100));
            stop.store(true, Ordering::Relaxed);
            running.join().unwrap().unwrap()
        });
        assert_eq!((report.seeds_run, report.violations.len(), report.interrupted), (0, 0, true));
    }

    #[test]
    fn no_seed_begins_once_as_many_failed_as_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path(), &answer("h", Some("durable")), 50);
        settings.until_failures = NonZeroUsize::new(3);
        let report = run(&settings, None, &AtomicBool::new(false), &mut |_| {}).unwrap();
        // One that ran beside the third still counts.
        assert!((3..=4).contains(&report.seeds_failed), "{}", report.seeds_failed);
        assert_eq!(report.violations.len(), 1);
        assert!(
            report.reasons[0].ends_with("before 3 had failed, which is as many as were asked for"),
            "{:?}",
            report.reasons
        );
    }

    /// What a campaign makes of seeds whose reports are a function of the seed.
    fn imagined(settings: &Settings) -> GateReport {
        let tasks = tasks(settings);
        let mut whole = Whole::new(settings, tasks.len());
        for Task { job, .. } in tasks {
            let mut report = SeedReport::empty(job.pipeline, job.seed, tier_of("p", job.seed));
            report.steps = 1 + job.seed * 7 % 5;
            report.records.ingested = job.seed;
            report.states.insert(format!("state-{}", job.seed % 3), 1);
            if job.seed % 11 == 3 {
                report.verdict = Verdict::Violation;
                report
                    .violations
                    .push(report.violation(if job.seed % 2 == 0 { "durable" } else { "duplicate" }, "it broke"));
            }
            whole.take(Line { report, doubled: false, mismatch: None, elapsed_ms: 0 });
        }
        let mut report = whole.finish(false, 0).unwrap();
        let plan = |number: u64| crate::corpus::Entry { name: format!("plan-{number:02}").into(), text: "".into() };
        let share = crate::corpus::part((0..settings.seeds.start % 13).map(plan).collect(), settings.shard);
        let broken = share.iter().filter(|entry| entry.name.ends_with(['2', '7'])).flat_map(|entry| {
            ["lost-write", "durable"].map(|property| Violation {
                property: property.into(),
                past: entry.name.to_string(),
                ..Violation::default()
            })
        });
        report.add_past(share.len() as u64, broken.collect());
        report
    }

    proptest! {
        #[test]
        fn the_union_of_the_shards_is_the_whole(
            first in 0..1_000u64, seeds in 0..60u64, shards in 1..9usize, pipelines in 1..4usize, whole in any::<bool>()
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut settings = settings(dir.path(), "", 0);
            settings.seeds = first..first + seeds;
            settings.pipelines = (0..pipelines).map(|number| format!("p{number}")).collect();
            settings.require_everything = whole;
            let jobs = |settings: &Settings| {
                tasks(settings).into_iter().map(|task| (task.job.seed, task.job.pipeline, task.doubled))
            };
            let wanted: Vec<_> = jobs(&settings).collect();
            let parts: Vec<Settings> =
                (0..shards).map(|index| Settings { shard: Some((index, shards)), ..settings.clone() }).collect();
            let mut union: Vec<_> = parts.iter().flat_map(jobs).collect();
            union.sort();
            prop_assert_eq!(union, wanted);

            let parts: Vec<(String, GateReport)> =
                parts.iter().map(|part| (part.shard.unwrap().0.to_string(), imagined(part))).collect();
            let merged = merge(&parts).unwrap();
            prop_assert_eq!(merged.corpus_plans, first % 13, "each plan of the corpus is run by one shard");
            prop_assert_eq!(merged, imagined(&settings));
            // Each shard is missed.
            for missing in 0..shards {
                let some: Vec<_> = parts.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, p)| p.clone()).collect();
                if let Ok(merged) = merge(&some) {
                    prop_assert!(merged.verdict >= Verdict::Inconclusive);
                    prop_assert!(merged.reasons.iter().any(|reason| reason.contains("are missing")));
                }
            }
        }
    }

    #[test]
    fn what_is_no_shard_of_one_campaign_is_not_merged() {
        let dir = tempfile::tempdir().unwrap();
        let shard = |index, build: &str, seeds| {
            let settings = Settings { shard: Some((index, 2)), build: build.into(), ..settings(dir.path(), "", seeds) };
            (format!("dir-{index}"), imagined(&settings))
        };
        let refused = |parts: &[(String, GateReport)]| merge(parts).unwrap_err().to_string();
        assert_eq!(refused(&[]), "there is nothing to merge");
        assert_eq!(
            refused(&[shard(0, "b", 4), shard(0, "b", 4)]),
            "dir-0 and dir-0 are both shard 1/2: each shard counts once"
        );
        assert_eq!(
            refused(&[shard(0, "b", 4), shard(1, "c", 4)]),
            "dir-0 and dir-1 are of different campaigns: the builds differ (b, and c)"
        );
        assert_eq!(
            refused(&[shard(0, "b", 4), shard(1, "b", 5)]),
            "dir-0 and dir-1 are of different campaigns: the seeds differ (0..4 race of p, and 0..5 race of p)"
        );
        let whole = imagined(&settings(dir.path(), "", 4));
        assert!(refused(&[("all".into(), whole)]).starts_with("all is no shard's report: run the parts with --shard"));
    }

    #[test]
    fn what_never_took_effect_makes_the_default_gate_inconclusive() {
        let mut report = GateReport::new(vec!["p".into()], 1);
        untried(&mut report);
        assert_eq!(report.verdict, Verdict::Inconclusive);
        assert!(report.reasons[0].contains("power-cut"), "{:?}", report.reasons);
    }
}
