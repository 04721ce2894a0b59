//! One timed phase, in a process of its own: what its parent tells it, and what it answers.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use engine::env::real::{self, EnvOptions};
use engine::types::Millis;
use serde::{Deserialize, Serialize};
use sim::workload::{Shape, Workload};

use crate::dataset::Key;
use crate::ingest::{self, IngestOutcome, IngestSpec};
use crate::milestones::Milestones;
use crate::process::STARTED;
use crate::replay::{self, ReplayOutcome};
use crate::{cache, machine};

/// How far behind the latest event the watermark stays: the dataset's delays are shorter.
pub const WATERMARK_BOUND: Millis = Millis(30_000);

/// A phase to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    Ingest { data_dir: PathBuf, spec: IngestSpec },
    Replay { data_dir: PathBuf, spec: ReplaySpec },
}

/// What to replay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplaySpec {
    pub pipeline: String,
    pub key: Key,
    pub partitions: i32,
    pub version: u32,
    pub threads: usize,
    pub pages: Pages,
    /// Say every commit.
    #[serde(default)]
    pub tell: bool,
}

/// What is done to the page cache before a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pages {
    /// The source is read into it.
    Warm,
    /// It is emptied.
    Cold,
    /// Nothing: the time until the clock starts is part of what is measured.
    AsTheyAre,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum PhaseOutcome {
    Ingest(IngestOutcome),
    Replay(ReplayOutcome),
    /// The page cache could not be emptied, so there is no cold replay to be had.
    StillWarm,
}

/// Runs a phase in this process, on as many cores as it has threads. `say` is called with [`STARTED`] when its clock starts,
/// and with a milestone whenever one is passed, if the phase asks for them.
///
/// # Errors
/// What the phase failed with.
pub fn run(
    phase: &Phase,
    workload: impl Fn(&str) -> anyhow::Result<Arc<dyn Workload>>,
    say: impl Fn(&'static str) + Copy + Send + Sync + 'static,
) -> anyhow::Result<PhaseOutcome> {
    match phase {
        Phase::Ingest { data_dir, spec } => {
            machine::limit_cores(spec.threads).with_context(|| format!("cannot keep to {} cores", spec.threads))?;
            let env = real::env(EnvOptions::default());
            Ok(PhaseOutcome::Ingest(ingest::run(&env, data_dir, spec, move || say(STARTED))?))
        }
        Phase::Replay { data_dir, spec } => {
            machine::limit_cores(spec.threads).with_context(|| format!("cannot keep to {} cores", spec.threads))?;
            if spec.pages == Pages::Cold && !cache::empty(data_dir)? {
                return Ok(PhaseOutcome::StillWarm);
            }
            let workload = workload(&spec.pipeline)?;
            let pipeline = workload.pipeline(&shape(spec))?;
            let resident = match spec.pages {
                Pages::Warm => cache::fill(&machine::topic_dirs(data_dir, workload.source_topic(), spec.partitions))?,
                Pages::Cold | Pages::AsTheyAre => None,
            };
            let mut env = real::env(EnvOptions::default());
            if spec.tell {
                env = env.with_points(Arc::new(Milestones(say)));
            }
            let (version, threads) = (spec.version, spec.threads);
            let started = || say(STARTED);
            let outcome = replay::run(&env, data_dir, &workload, pipeline, version, threads, started)?;
            Ok(PhaseOutcome::Replay(ReplayOutcome { resident, ..outcome }))
        }
    }
}

/// The layout of the measured log. By whichever key, a partition has its events in arrival order, and an event is less
/// than the bound behind any that arrived before it; so nothing is late.
pub fn shape(spec: &ReplaySpec) -> Shape {
    Shape {
        partitions: spec.partitions,
        keyed_by_record: spec.key == Key::User,
        repartitions: spec.partitions,
        bound: WATERMARK_BOUND,
        allowed_lateness: Millis(0),
    }
}
