//! `segno.shrink/1`: a plan made smaller, and what it still breaks.

use serde::{Deserialize, Serialize};

use crate::story::Shrunk;
use crate::{Verdict, Violation};

pub const SCHEMA: &str = "segno.shrink/1";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShrinkReport {
    pub schema: String,
    /// Of the plan that was given: `pass` when there was nothing to shrink, `inconclusive` when it had not run to its end.
    pub verdict: Verdict,
    pub pipeline: String,
    pub seed: u64,
    pub tier: String,
    /// The plan that was given.
    pub plan: String,
    /// The plan that is left; empty when there was nothing to shrink.
    #[serde(default)]
    pub shrunk_plan: String,
    /// What both plans break: property, pipeline, and the message without its numbers.
    #[serde(default)]
    pub fingerprint: String,
    #[serde(default)]
    pub size: Option<Shrunk>,
    /// A whole round took nothing away: more time would not help.
    pub settled: bool,
    /// It was stopped before its time was up: what is there is what had been done.
    #[serde(default)]
    pub interrupted: bool,
    pub budget_ms: u64,
    pub wall_ms: u64,
    /// Of the run of the plan that is left; of the plan that was given, where nothing became of it.
    #[serde(default)]
    pub violations: Vec<Violation>,
}

impl Shrunk {
    /// `2 faults, 6 events, 1 partition, 1 host`
    pub fn words(&self) -> String {
        let part =
            |number: u64, noun: &str| if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") };
        let parts = [
            part(self.faults, "fault"),
            part(self.events, "event"),
            part(self.partitions, "partition"),
            part(self.hosts, "host"),
        ];
        parts.join(", ")
    }
}
