//! A gate in a test: say what is gated, then run it.
//!
//! In: a topology, a generator, an answer or none. Out: a report, or a panic with the story of the first violations.
//!
//! Seeds run in processes of their own, each this test binary running this one test: a seed that hangs or dies is a
//! violation and not the end of the test, and a seed that runs twice does so in two processes.

#![expect(clippy::disallowed_methods, reason = "the harness is above the engine: it reads the environment and plans")]

use std::num::NonZeroUsize;
use std::panic::Location;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::stream::{Pipeline, PipelineError};
use engine::types::{Millis, Timestamp};
use reports::{GateReport, Verdict, text};
use serde_json::Value;
use sim::campaign::{self, Settings};
use sim::plan::Plan;
use sim::seed;
use sim::workload::{Draw, Expected, LogRecord, Shape, Workload};

use crate::process;
use crate::topology::{Answer, Build, Event, Make, ReadRow, Topology, plain_row};

/// Seeds of a test that names no number.
const SEEDS_DEFAULT: u64 = 24;
/// One seed in twenty runs twice, in two processes.
const DOUBLE_EVERY: usize = 20;
/// A seed that takes this long on the wall counts as hanging; tests are often built without optimisation.
const SEED_LIMIT: Duration = Duration::from_secs(120);

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

    /// Runs the seeds; `SEGNO_PLAN=file` runs that one plan instead.
    ///
    /// # Panics
    /// With the story of what was violated, and when the verdict is anything else than a pass.
    #[track_caller]
    pub fn run(self) -> GateReport {
        let place = process::place(Location::caller());
        let (first, seeds) =
            (setting("SEGNO_SEED_BASE").unwrap_or(self.first), setting("SEGNO_COUNT").unwrap_or(self.seeds));
        let topology: Arc<dyn Workload> = Arc::new(self.build());
        if let Ok(wanted) = std::env::var(process::WORKER) {
            if wanted == place {
                answer_jobs(topology);
            }
            // Another gate of this test is meant.
            return GateReport::new(vec![topology.name().to_owned()], 0);
        }
        let test = process::test_name();
        if let Ok(path) = std::env::var("SEGNO_PLAN") {
            return run_plan(&*topology, Path::new(&path));
        }
        let settings = settings(topology.name(), first..first + seeds, test.as_deref(), place);
        let mut report = campaign::run(&settings, None, &AtomicBool::new(false), &mut |_| {})
            .unwrap_or_else(|error| panic!("the seeds of {} could not be run: {error}", topology.name()));
        if report.verdict == Verdict::Pass && report.panes.live == 0 {
            report.inconclusive("no pane came out of any seed, so nothing was compared: are the windows too long?");
        }
        let package = std::env::var("CARGO_PKG_NAME").map(|name| format!(" -p {name}")).unwrap_or_default();
        let name = test.map(|name| format!(" {name} -- --exact")).unwrap_or_default();
        for violation in &mut report.violations {
            violation.reproduce = match violation.plan.as_str() {
                "" => format!("SEGNO_SEED_BASE={} SEGNO_COUNT=1 cargo test{package}{name}", violation.seed),
                plan => format!("SEGNO_PLAN={plan} cargo test{package}{name}"),
            };
        }
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

fn run_plan(topology: &dyn Workload, path: &Path) -> GateReport {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("SEGNO_PLAN={}: {error}", path.display()));
    let plan = Plan::parse(&text).unwrap_or_else(|error| panic!("SEGNO_PLAN={}: {error}", path.display()));
    let mut report = GateReport::new(vec![topology.name().to_owned()], 1);
    if plan.pipeline != topology.name() {
        report.inconclusive(format!("the plan is of {}, and this gate of {}", plan.pipeline, topology.name()));
        return judge(report);
    }
    let seed = std::thread::scope(|scope| scope.spawn(|| seed::run_plan(topology, &plan)).join());
    report.add(&seed.unwrap_or_else(|_| panic!("{} could not be run", path.display())));
    report.seeds_failed = u64::from(!report.violations.is_empty());
    for violation in &mut report.violations {
        violation.reproduce = "as now".to_owned();
    }
    report.finish();
    judge(report)
}

/// The report, if it is a pass.
fn judge(report: GateReport) -> GateReport {
    if report.verdict == Verdict::Pass {
        return report;
    }
    let next = report.violations.first().map_or("cargo test", |violation| &violation.reproduce).to_owned();
    let told = text::gate(&report, &next);
    panic!("{}\n\n{}", report.pipelines.join(", "), anstream::adapter::strip_str(&told));
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number; write one like {name}=200")))
}
