//! One timed phase, in a process of its own: what its parent tells it, and what it answers.

use std::path::PathBuf;
use std::sync::Arc;

use engine::env::real::{self, EnvOptions};
use engine::types::Millis;
use serde::{Deserialize, Serialize};
use sim::workload::{Shape, Workload};

use crate::ingest::{self, IngestOutcome, IngestSpec};
use crate::replay::{self, ReplayOutcome};
use crate::{cache, machine};

/// How far behind the latest event the watermark stays: the dataset's delays are shorter, within a partition by user.
pub const WATERMARK_BOUND: Millis = Millis(30_000);

/// A phase to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    Ingest { data_dir: PathBuf, spec: IngestSpec },
    Replay { data_dir: PathBuf, pipeline: String, partitions: i32, version: u32, threads: usize, cold: bool },
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

/// Runs a phase in this process, on as many cores as it has threads.
///
/// # Errors
/// What the phase failed with.
pub fn run(
    phase: &Phase,
    workload: impl Fn(&str) -> anyhow::Result<Arc<dyn Workload>>,
) -> anyhow::Result<PhaseOutcome> {
    match phase {
        Phase::Ingest { data_dir, spec } => {
            machine::limit_cores(spec.threads);
            let env = real::env(EnvOptions::default());
            Ok(PhaseOutcome::Ingest(ingest::run(&env, data_dir, spec)?))
        }
        Phase::Replay { data_dir, pipeline, partitions, version, threads, cold } => {
            machine::limit_cores(*threads);
            if *cold && !cache::empty(data_dir)? {
                return Ok(PhaseOutcome::StillWarm);
            }
            let env = real::env(EnvOptions::default());
            let workload = workload(pipeline)?;
            let pipeline = workload.pipeline(&shape(*partitions))?;
            Ok(PhaseOutcome::Replay(replay::run(&env, data_dir, &workload, pipeline, *version, *threads)?))
        }
    }
}

/// The layout of the measured log: keyed by user.
pub fn shape(partitions: i32) -> Shape {
    Shape {
        partitions,
        keyed_by_record: true,
        repartitions: partitions,
        bound: WATERMARK_BOUND,
        allowed_lateness: Millis(0),
    }
}
