//! A gate in a test: say what is gated, then run it.
//!
//! In: a topology, a generator, an answer or none, and plans of past failures, if there are. Out: a report, or a panic with
//! the story of the first violations, which have been run again and shrunk, and whose plans lie in a folder.
//!
//! Seeds run in processes of their own, each this test binary running this one test: a seed that hangs or dies is a
//! violation and not the end of the test, and a seed that runs twice does so in two processes.

#![expect(clippy::disallowed_methods, reason = "the harness is above the engine: it reads the environment and plans")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::stream::{Pipeline, PipelineError};
use engine::types::{Millis, Timestamp};
use reports::{GateReport, Story, Verdict, Violation, html, text};
use serde_json::Value;
use sim::campaign::{self, Settings};
use sim::plan::Plan;
use sim::seed::{self, RunOptions};
use sim::shrink::{self, shrink_failures};
use sim::workload::{Draw, Expected, LogRecord, Shape, Workload};
use sim::{checks, corpus};

use crate::process;
use crate::topology::{Answer, Build, Event, Make, ReadRow, Topology, plain_row};

/// Seeds of a test that names no number.
const SEEDS_DEFAULT: u64 = 24;
/// One seed in twenty runs twice, in two processes.
const DOUBLE_EVERY: usize = 20;
/// A seed that takes this long on the wall counts as hanging; tests are often built without optimisation.
const SEED_LIMIT: Duration = Duration::from_secs(120);
/// How long failures are made smaller, and how long one try may take.
const SHRINK_DEFAULT: Duration = Duration::from_secs(30);
const CANDIDATE_LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 20 });

/// A gate for `topology`: a function from the shape of a cluster (partitions, bound, lateness) to a pipeline.
pub fn gate(topology: impl Fn(&Shape) -> Result<Pipeline, PipelineError> + Send + Sync + 'static) -> Gate {
    Gate {
        topology: Arc::new(topology),
        make: None,
        answer: Answer::None,
        read_row: Arc::new(plain_row),
        schemas: Vec::new(),
        first: 0,
        seeds: SEEDS_DEFAULT,
        corpus: None,
        shrink: SHRINK_DEFAULT,
    }
}

/// What is gated, and how. [`Gate::run`] runs it.
#[must_use = "a gate does nothing until it is run"]
pub struct Gate {
    topology: Arc<Build>,
    make: Option<Arc<Make>>,
    answer: Answer,
    read_row: Arc<ReadRow>,
    schemas: Vec<String>,
    first: u64,
    seeds: u64,
    corpus: Option<PathBuf>,
    shrink: Duration,
}

impl Gate {
    /// How one event is made: from a stream of draws and the event time about which it happens. It must be one that the
    /// topology takes; late, doubled, out of order and broken ones are made of it.
    pub fn events(mut self, make: impl Fn(&mut Draw, Timestamp) -> Event + Send + Sync + 'static) -> Gate {
        self.make = Some(Arc::new(make));
        self
    }

    /// What the row of a window must be, given the records that it holds, by event time. Which records those are is worked
    /// out by plain code over the log, without the engine. Without it live and replay are compared with each other only.
    pub fn expected(mut self, row: impl Fn(&[&LogRecord]) -> Value + Send + Sync + 'static) -> Gate {
        self.answer = Answer::Rows(Arc::new(row));
        self
    }

    /// What the whole output must be, given the whole log: for topologies with more than one stage of windows.
    pub fn expected_of_log(
        mut self,
        expected: impl Fn(&Shape, &[LogRecord]) -> Expected + Send + Sync + 'static,
    ) -> Gate {
        self.answer = Answer::Log(Arc::new(expected));
        self
    }

    /// How the value of an output row is read, where it is no JSON.
    pub fn rows(mut self, read: impl Fn(&[u8]) -> Result<Value, String> + Send + Sync + 'static) -> Gate {
        self.read_row = Arc::new(read);
        self
    }

    /// An Avro schema that events are written with.
    pub fn schema(mut self, json: impl Into<String>) -> Gate {
        self.schemas.push(json.into());
        self
    }

    /// How many seeds to run; `SEGNO_COUNT` overrides it.
    pub fn seeds(mut self, seeds: u64) -> Gate {
        self.seeds = seeds;
        self
    }

    /// The first of them; `SEGNO_SEED_BASE` overrides it.
    pub fn from_seed(mut self, first: u64) -> Gate {
        self.first = first;
        self
    }

    /// Plans of past failures, which run before the seeds: the `*.plan.toml` in this folder that are of this pipeline. By
    /// default `corpus/` beside your `Cargo.toml`, if it is there.
    pub fn corpus(mut self, folder: impl Into<PathBuf>) -> Gate {
        self.corpus = Some(folder.into());
        self
    }

    /// For how long failures are made smaller, all together; `SEGNO_SHRINK_BUDGET`, `0s` for one, overrides it.
    pub fn shrink_budget(mut self, budget: Duration) -> Gate {
        self.shrink = budget;
        self
    }

    /// Runs one plan in this process, and nothing else: what `SEGNO_PLAN=file` does with [`Gate::run`].
    ///
    /// # Panics
    /// As [`Gate::run`] does.
    pub fn repro(self, plan: impl AsRef<Path>) -> GateReport {
        run_plan(&self.build(), plan.as_ref(), "as now")
    }

    /// Runs plans of past failures, then the seeds; `SEGNO_PLAN=file` runs that one plan instead.
    ///
    /// # Panics
    /// With the story of what was violated, and when the verdict is anything else than a pass. And when its test has run
    /// another gate: each must be in a test of its own.
    #[track_caller]
    pub fn run(self) -> GateReport {
        let place = process::place(Location::caller());
        let (first, seeds) =
            (setting("SEGNO_SEED_BASE").unwrap_or(self.first), setting("SEGNO_COUNT").unwrap_or(self.seeds));
        let (past, budget) = (self.corpus.clone(), shrink_budget().unwrap_or(self.shrink));
        let topology: Arc<dyn Workload> = Arc::new(self.build());
        if let Ok(wanted) = std::env::var(process::WORKER) {
            process::only(&wanted, &place);
            answer_jobs(topology);
        }
        process::meet(&place);
        let test = process::test_name();
        let way_back = WayBack::of(test.as_deref());
        if let Ok(path) = std::env::var("SEGNO_PLAN") {
            return run_plan(&*topology, Path::new(&path), &way_back.plan(&path));
        }
        let settings = settings(topology.name(), first..first + seeds, test.as_deref(), place);
        let how = shrink::Settings {
            worker: settings.worker.clone(),
            worker_env: settings.worker_env.clone(),
            jobs: settings.jobs,
            budget,
            candidate_limit: CANDIDATE_LIMIT,
        };
        let never = AtomicBool::new(false);
        let dir = settings.out_dir.as_path();
        std::fs::create_dir_all(dir).unwrap_or_else(|error| panic!("cannot make {}: {error}", dir.display()));
        let past = past_plans(&*topology, past);
        assert!(
            seeds > 0 || !past.is_empty(),
            "SEGNO_COUNT, or .seeds(..), is 0 and no plan is committed: nothing is gated"
        );
        let past = corpus::run(&how, &past, &never);
        let broken = corpus::violations(&past, dir, &|plan| way_back.plan(plan))
            .unwrap_or_else(|error| panic!("cannot write a plan into {}: {error}", dir.display()));
        let mut report = campaign::run(&settings, None, &never, &mut |_| {})
            .unwrap_or_else(|error| panic!("the seeds of {} could not be run: {error}", topology.name()));
        if report.verdict == Verdict::Pass && report.panes.live == 0 {
            report.inconclusive("no pane came out of any seed, so nothing was compared: are the windows too long?");
        }
        report.add_past(past.len() as u64, broken);
        shrink_failures(&mut report, &[topology], &how, &never, &mut |_| {});
        leave(&mut report, dir, &way_back);
        judge(report)
    }

    fn build(self) -> Topology {
        let make = self.make.expect("say how an event is made: .events(|draw, at| Event::new(key, value))");
        let usual = Shape {
            partitions: 1,
            keyed_by_record: true,
            repartitions: 1,
            bound: Millis(0),
            allowed_lateness: Millis(0),
        };
        let pipeline = (self.topology)(&usual).unwrap_or_else(|error| panic!("the topology cannot be right: {error}"));
        assert!(
            !matches!(self.answer, Answer::Rows(_)) || pipeline.windows().len() == 1,
            "{} has {} stages of windows, and .expected(..) speaks of one: use .expected_of_log(..)",
            pipeline.name(),
            pipeline.windows().len()
        );
        Topology {
            // Once per gate: the simulator's names live as long as the program.
            name: pipeline.name().to_owned().leak(),
            topic: pipeline.source().topic.clone().leak(),
            build: self.topology,
            make,
            answer: self.answer,
            read_row: self.read_row,
            schemas: self.schemas,
            built: Mutex::new(None),
        }
    }
}

fn settings(pipeline: &str, seeds: std::ops::Range<u64>, test: Option<&str>, place: String) -> Settings {
    let worker = process::command(test).expect("this program can be started again");
    let safe = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-");
    let jobs =
        setting("SEGNO_JOBS").unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u64));
    Settings {
        pipelines: vec![pipeline.to_owned()],
        seeds,
        tier: None,
        jobs: jobs.max(1) as usize,
        time_budget: None,
        until_failures: NonZeroUsize::new(3),
        shard: None,
        seed_limit: SEED_LIMIT,
        double_every: DOUBLE_EVERY,
        out_dir: process::folder().join(safe(test.unwrap_or(pipeline))),
        worker,
        worker_env: vec![(process::WORKER.to_owned(), place)],
        require_everything: false,
        build: String::new(),
    }
}

/// Answers the campaign's jobs until there are none; this process is a seed worker and nothing else.
fn answer_jobs(topology: Arc<dyn Workload>) -> ! {
    // Of its own, for a test may have a runtime on its thread, and a seed makes one too.
    let answered = std::thread::scope(|scope| scope.spawn(|| campaign::worker_main(&[topology])).join());
    let fine = matches!(answered, Ok(Ok(())));
    std::process::exit(i32::from(!fine));
}

/// The plans of past failures of this topology.
fn past_plans(topology: &dyn Workload, folder: Option<PathBuf>) -> Vec<corpus::Entry> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let asked_for = folder.is_some();
    let folder = manifest.join(folder.unwrap_or_else(|| PathBuf::from("corpus")));
    if !asked_for && !folder.is_dir() {
        return Vec::new();
    }
    let plans = corpus::folder(&folder, topology.name()).unwrap_or_else(|error| panic!("a plan to run first: {error}"));
    for entry in &plans {
        if let Err(error) = entry.plan().fits(topology) {
            panic!("{}/{}.plan.toml cannot be run: {error}", folder.display(), entry.name);
        }
    }
    plans
}

/// The commands that show a failure of this test again.
struct WayBack {
    test: String,
}

impl WayBack {
    fn of(test: Option<&str>) -> WayBack {
        let package = std::env::var("CARGO_PKG_NAME").map(|name| format!(" -p {name}")).unwrap_or_default();
        let name = test.map(|name| format!(" {name} -- --exact")).unwrap_or_default();
        WayBack { test: format!("cargo test{package}{name}") }
    }

    fn plan(&self, path: &str) -> String {
        format!("SEGNO_PLAN={path} {}", self.test)
    }

    fn of_violation(&self, violation: &Violation) -> String {
        match (violation.shrunk_plan.as_str(), violation.plan.as_str()) {
            ("", "") => format!("SEGNO_SEED_BASE={} SEGNO_COUNT=1 {}", violation.seed, self.test),
            ("", plan) | (plan, _) => self.plan(plan),
        }
    }
}

/// Says how each violation is run again, and leaves the page beside the plans.
fn leave(report: &mut GateReport, dir: &Path, way_back: &WayBack) {
    let mut stories = Vec::new();
    for violation in &mut report.violations {
        violation.reproduce = way_back.of_violation(violation);
        let story = std::fs::read_to_string(&violation.story_file).ok().and_then(|text| Story::parse(&text).ok());
        if let Some(mut story) = story {
            story.reproduce.clone_from(&violation.reproduce);
            let _ = std::fs::write(&violation.story_file, serde_json::to_string(&story).unwrap_or_default());
            stories.push(story);
        }
    }
    if report.violations.is_empty() {
        return;
    }
    report.run_dir = dir.display().to_string();
    let meanings: BTreeMap<&str, &str> = checks::ALL.iter().map(|check| (check.name, check.holds_when)).collect();
    let next = next(report);
    let page = html::page(&html::Page { report, stories: &stories, meanings: &meanings, next: &next });
    let path = dir.join("report.html");
    // A verdict must not depend on a disk that is full.
    if let Err(error) = std::fs::write(&path, page) {
        report.reasons.push(format!("{} could not be written: {error}", path.display()));
        report.run_dir.clear();
    }
}

fn next(report: &GateReport) -> String {
    report.violations.first().map_or("cargo test", |violation| &violation.reproduce).to_owned()
}

/// Runs the plan in `path` in this process; `again` is the command that does it again.
fn run_plan(topology: &dyn Workload, path: &Path, again: &str) -> GateReport {
    // `cargo test` runs a test in its crate's folder, whoever typed the path was perhaps in the workspace's.
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        let from = std::env::current_dir().unwrap_or_default();
        panic!("the plan {}: {error}; a relative path begins at {}", path.display(), from.display())
    });
    let plan = Plan::parse(&text).unwrap_or_else(|error| panic!("the plan {}: {error}", path.display()));
    let mut report = GateReport::new(vec![topology.name().to_owned()], 1);
    if plan.pipeline != topology.name() {
        report.inconclusive(format!("the plan is of {}, and this gate of {}", plan.pipeline, topology.name()));
        return judge(report);
    }
    plan.fits(topology).unwrap_or_else(|error| panic!("the plan {}: {error}", path.display()));
    let options = RunOptions { tell: true, ..RunOptions::default() };
    let ran = std::thread::scope(|scope| scope.spawn(|| seed::run_plan_with(topology, &plan, options)).join());
    let seed = ran.unwrap_or_else(|_| panic!("{} could not be run", path.display())).report;
    report.add(&seed);
    report.seeds_failed = u64::from(!report.violations.is_empty());
    for violation in &mut report.violations {
        violation.reproduce = again.to_owned();
    }
    if let (Some(first), Some(story)) = (report.violations.first_mut(), &seed.story) {
        first.story = reports::timeline::lines(story);
    }
    report.finish();
    judge(report)
}

/// The report, if it is a pass.
fn judge(report: GateReport) -> GateReport {
    if report.verdict == Verdict::Pass {
        return report;
    }
    let told = text::gate(&report, &next(&report));
    panic!("{}\n\n{}", report.pipelines.join(", "), anstream::adapter::strip_str(&told));
}

/// `SEGNO_SHRINK_BUDGET`, in whole seconds or minutes.
fn shrink_budget() -> Option<Duration> {
    let text = std::env::var("SEGNO_SHRINK_BUDGET").ok()?;
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match (digits.parse::<u64>(), unit) {
        (Ok(seconds), "s") => Some(seconds),
        (Ok(minutes), "m") => minutes.checked_mul(60),
        _ => None,
    };
    Some(Duration::from_secs(
        seconds.unwrap_or_else(|| panic!("SEGNO_SHRINK_BUDGET={text} is no duration; write one like 30s or 2m")),
    ))
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number; write one like {name}=200")))
}

#[cfg(test)]
mod tests {
    use engine::record::Record;
    use engine::stream::DecodeError;
    use engine::stream::aggregates::Count;
    use serde_json::json;
    use sim::plan::FromTime;
    use sim::workload::EventKind;

    use super::*;
    use crate::json_rows;

    fn number(record: &Record<'_>) -> Result<u64, DecodeError> {
        let text = record.value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        text.parse().map_err(|_| DecodeError(format!("{text:?} is no number")))
    }

    /// A value that is sent again is a copy, however much later that is.
    fn unique(shape: &Shape) -> Result<Pipeline, PipelineError> {
        Pipeline::named("unique-numbers")
            .source(shape.source("numbers"), number)
            .dedup(|number: &u64| u128::from(*number), Millis(60_000 + shape.allowed_lateness.0))
            .key_by_record()
            .tumbling(Millis(60_000), shape.allowed_lateness)
            .aggregate("numbers", Count::of())
            .output(json_rows(|_minute, numbers: &u64| json!({ "numbers": numbers })))
    }

    #[test]
    fn a_replay_starts_at_a_time_only_where_copies_lie_within_the_horizon() {
        let topology = gate(unique)
            .events(|draw, _at| Event::new(*draw.pick(&["a", "b", "c"]), draw.below(1 << 40).to_string()))
            .expected(|records| json!({ "numbers": records.len() }))
            .build();
        let plan = |seed| {
            let mut plan = Plan::draw(&topology, seed, None);
            plan.replay.from = Some(FromTime { per_mille: 700, aligned: false, at_ms: None });
            plan
        };
        let far: Vec<Plan> = (0..100).map(plan).filter(|plan| plan.fits(&topology).is_err()).take(3).collect();
        assert_eq!(far.len(), 3, "values come again");
        for plan in far {
            let said = plan.fits(&topology).expect_err("as above").to_string();
            assert!(said.starts_with("replay.from: unique-numbers drops copies within "), "{said}");
            assert_eq!(plan.listed(&topology).replay.from, None, "what has no meaning is not written into a file");
            let report = seed::run_plan(&topology, &plan);
            assert!(report.violations.is_empty(), "seed {}, from offset 0: {:?}", plan.seed, report.violations);
        }
        let mut near = plan(1);
        near.knobs.kinds.remove(&EventKind::RepeatedValue);
        assert!(near.fits(&topology).is_ok(), "a copy has the time of what it copies");
        assert!(near.listed(&topology).replay.from.is_some());
    }
}
