//! One seed's result: what a worker process hands to the campaign, one JSON document a line.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{FaultGrid, Story, Verdict, Violation};

/// How finely virtual time is cut: the seed decides unless a tier is forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// 1 ms ticks: orders of events within a request.
    Race,
    /// 10 ms ticks: long stretches.
    Soak,
}

impl Tier {
    pub fn name(self) -> &'static str {
        match self {
            Tier::Race => "race",
            Tier::Soak => "soak",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Source records in the log, and how many of them were trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounts {
    /// Committed source records, markers left out.
    pub ingested: u64,
    /// Entries in the late topic.
    pub late: u64,
    /// Records that say again what an earlier one of their partition says.
    pub duplicates: u64,
    /// Records whose event time is below an earlier one's of their partition.
    pub out_of_order: u64,
}

impl RecordCounts {
    pub fn add(&mut self, other: &RecordCounts) {
        self.ingested += other.ingested;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
    }
}

/// Rows of the final tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaneCounts {
    pub live: u64,
    pub replay: u64,
}

impl PaneCounts {
    pub fn add(&mut self, other: &PaneCounts) {
        self.live += other.live;
        self.replay += other.replay;
    }
}

/// How often a fault was ordered, did something, and did something while a host that it touched met trouble: a failed
/// call, a task that began again. Trouble names no cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    pub injected: u64,
    pub effective: u64,
    pub visible: u64,
}

impl FaultCount {
    pub fn add(&mut self, other: &FaultCount) {
        self.injected += other.injected;
        self.effective += other.effective;
        self.visible += other.visible;
    }
}

/// One seed of one pipeline, run once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedReport {
    pub pipeline: String,
    pub seed: u64,
    pub tier: Tier,
    pub verdict: Verdict,
    /// 32 hex digits over every step of the run; empty when the run did not end by itself.
    pub trace_hash: String,
    pub steps: u64,
    pub virtual_ms: u64,
    pub wall_ms: u64,
    pub records: RecordCounts,
    pub panes: PaneCounts,
    /// 32 hex digits over the live run's final table and late set; empty when the run did not get there.
    #[serde(default)]
    pub outputs: String,
    pub faults: BTreeMap<String, FaultCount>,
    /// The same counts, by phase.
    #[serde(default)]
    pub faults_by_phase: FaultGrid,
    pub states: BTreeMap<String, u64>,
    /// Property → how many things it was asked of.
    #[serde(default)]
    pub examined: BTreeMap<String, u64>,
    pub violations: Vec<Violation>,
    /// The plan as a file's text; filled when something is wrong.
    #[serde(default)]
    pub plan: Option<String>,
    /// What happened, host by host; filled when something is wrong and the run kept its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub story: Option<Box<Story>>,
}

impl SeedReport {
    /// A seed that broke `property`, and of which nothing else is known.
    pub fn broken(
        pipeline: impl Into<String>,
        seed: u64,
        tier: Tier,
        property: &str,
        message: impl Into<String>,
    ) -> SeedReport {
        let mut report = SeedReport::empty(pipeline, seed, tier);
        report.verdict = Verdict::Violation;
        report.violations.push(report.violation(property, message));
        report
    }

    /// A violation of this seed.
    pub fn violation(&self, property: &str, message: impl Into<String>) -> Violation {
        Violation {
            property: property.to_owned(),
            pipeline: self.pipeline.clone(),
            seed: self.seed,
            tier: self.tier.to_string(),
            message: message.into(),
            ..Violation::default()
        }
    }

    /// A seed of which nothing is known yet.
    pub fn empty(pipeline: impl Into<String>, seed: u64, tier: Tier) -> SeedReport {
        SeedReport {
            pipeline: pipeline.into(),
            seed,
            tier,
            verdict: Verdict::Pass,
            trace_hash: String::new(),
            steps: 0,
            virtual_ms: 0,
            wall_ms: 0,
            records: RecordCounts::default(),
            panes: PaneCounts::default(),
            outputs: String::new(),
            faults: BTreeMap::new(),
            faults_by_phase: FaultGrid::new(),
            states: BTreeMap::new(),
            examined: BTreeMap::new(),
            violations: Vec::new(),
            plan: None,
            story: None,
        }
    }
}
