//! `segno.repro/1`: one plan, run again.

use serde::{Deserialize, Serialize};

use crate::{SeedReport, Verdict, Violation};

pub const SCHEMA: &str = "segno.repro/1";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReproReport {
    pub schema: String,
    pub verdict: Verdict,
    #[serde(default)]
    pub pipeline: String,
    pub seed: u64,
    #[serde(default)]
    pub tier: String,
    /// 32 hex digits over every step of the run.
    pub trace_hash: String,
    pub steps: u64,
    pub virtual_ms: u64,
    pub wall_ms: u64,
    pub violations: Vec<Violation>,
    /// Why the verdict is not a pass, where no violation says so.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// What happened until the run was stopped, one line each; of a run that ended, each violation has its own.
    #[serde(default)]
    pub timeline: Vec<String>,
    /// Everything else that is known of the seed.
    #[serde(default)]
    pub detail: Option<SeedReport>,
}

impl From<SeedReport> for ReproReport {
    fn from(seed: SeedReport) -> ReproReport {
        ReproReport {
            schema: SCHEMA.to_owned(),
            verdict: seed.verdict,
            pipeline: seed.pipeline.clone(),
            seed: seed.seed,
            tier: seed.tier.to_string(),
            trace_hash: seed.trace_hash.clone(),
            steps: seed.steps,
            virtual_ms: seed.virtual_ms,
            wall_ms: seed.wall_ms,
            violations: seed.violations.clone(),
            reasons: Vec::new(),
            timeline: Vec::new(),
            detail: Some(SeedReport { violations: Vec::new(), plan: None, ..seed }),
        }
    }
}
