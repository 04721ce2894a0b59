//! `segno.gate/1`: many seeds, one verdict.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Breakdown, FaultCount, PaneCounts, RecordCounts, SeedReport, Speed, Tier, Verdict, Violation};

pub const SCHEMA: &str = "segno.gate/1";
/// The property of a plan that gave two traces.
pub const DETERMINISTIC: &str = "deterministic";

/// The result of a campaign. Sums over seeds; every sum counts each (pipeline, seed) once, doubled runs left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    pub schema: String,
    pub verdict: Verdict,
    /// Why the verdict is not a pass, in sentences; empty on a pass.
    #[serde(default)]
    pub reasons: Vec<String>,
    pub pipelines: Vec<String>,
    #[serde(default)]
    pub seeds_asked: u64,
    pub seeds_run: u64,
    #[serde(default)]
    pub tiers: TierCounts,
    pub wall_ms: u64,
    pub virtual_ms: u64,
    #[serde(default)]
    pub steps: u64,
    /// How fast that was.
    #[serde(default)]
    pub speed: Speed,
    pub records: RecordCounts,
    pub panes: PaneCounts,
    pub faults: BTreeMap<String, FaultCount>,
    /// Rare states, and how often each was reached; 0 for those that never were.
    pub states: BTreeMap<String, u64>,
    /// What is the case in each of them, in a sentence.
    #[serde(default)]
    pub state_meanings: BTreeMap<String, String>,
    /// Those that this campaign must have reached; a shard as a part of the whole. Of a campaign that is less than the
    /// default gate it is none.
    #[serde(default)]
    pub states_required: BTreeSet<String>,
    /// By pipeline, by tier, and faults by phase.
    #[serde(default)]
    pub breakdown: Breakdown,
    /// Property → how many things it was asked of: sends, reads, commits, crashes, rows.
    #[serde(default)]
    pub examined: BTreeMap<String, u64>,
    pub determinism: Determinism,
    /// What the run can claim: with no failure in n runs the rate of failing (pipeline, seed) pairs is below 3/n at
    /// 95 % confidence. Absent unless every run passed.
    #[serde(default)]
    pub failure_rate_below: Option<f64>,
    pub violations: Vec<Violation>,
    /// Plans of past failures that ran before the seeds; no other sum counts them. Each is run by one shard.
    #[serde(default)]
    pub corpus_plans: u64,
    #[serde(default)]
    pub interrupted: bool,
    /// `i/n` when this is one of several shards.
    #[serde(default)]
    pub shard: Option<String>,
    /// The folder that holds this document and the plans.
    #[serde(default)]
    pub run_dir: String,
    /// Seeds with a violation.
    #[serde(default)]
    pub seeds_failed: u64,
    /// Which campaign this is, or is a part of.
    #[serde(default)]
    pub campaign: Option<Campaign>,
}

/// What makes a campaign: shards of one campaign can be merged, and an interrupted one can be gone on with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    pub pipelines: Vec<String>,
    /// The seeds, shards taken together: from `seed_first` up to and without `seed_end`.
    pub seed_first: u64,
    pub seed_end: u64,
    /// Forced; else each seed has its own.
    #[serde(default)]
    pub tier: Option<Tier>,
    /// Everything that can be tried must have been: the default gate.
    pub whole: bool,
    /// Each so many seeds one runs twice.
    pub double_every: usize,
    /// A digest of the program.
    pub build: String,
}

/// Seeds run in each tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierCounts {
    pub race: u64,
    pub soak: u64,
}

/// Seeds that were run a second time in another process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Determinism {
    pub doubled: u64,
    pub mismatches: u64,
}

impl GateReport {
    /// A campaign before its first seed.
    pub fn new(pipelines: Vec<String>, seeds_asked: u64) -> GateReport {
        GateReport {
            schema: SCHEMA.to_owned(),
            verdict: Verdict::Pass,
            reasons: Vec::new(),
            pipelines,
            seeds_asked,
            seeds_run: 0,
            tiers: TierCounts::default(),
            wall_ms: 0,
            virtual_ms: 0,
            steps: 0,
            speed: Speed::default(),
            records: RecordCounts::default(),
            panes: PaneCounts::default(),
            faults: BTreeMap::new(),
            states: BTreeMap::new(),
            state_meanings: BTreeMap::new(),
            states_required: BTreeSet::new(),
            breakdown: Breakdown::default(),
            examined: BTreeMap::new(),
            determinism: Determinism::default(),
            failure_rate_below: None,
            violations: Vec::new(),
            corpus_plans: 0,
            interrupted: false,
            shard: None,
            run_dir: String::new(),
            seeds_failed: 0,
            campaign: None,
        }
    }

    /// Adds one seed's first run.
    pub fn add(&mut self, seed: &SeedReport) {
        self.seeds_run += 1;
        match seed.tier {
            Tier::Race => self.tiers.race += 1,
            Tier::Soak => self.tiers.soak += 1,
        }
        self.virtual_ms += seed.virtual_ms;
        self.steps += seed.steps;
        self.records.add(&seed.records);
        self.panes.add(&seed.panes);
        for (name, count) in &seed.faults {
            self.faults.entry(name.clone()).or_default().add(count);
        }
        for (name, count) in &seed.states {
            *self.states.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &seed.examined {
            *self.examined.entry(name.clone()).or_default() += count;
        }
        self.breakdown.add(seed);
        self.violations.extend(seed.violations.iter().cloned());
        self.verdict = self.verdict.max(seed.verdict);
    }

    /// Records that one seed ran twice, and what came of it.
    pub fn add_doubled(&mut self, mismatch: Option<Violation>) {
        self.determinism.doubled += 1;
        if let Some(violation) = mismatch {
            self.determinism.mismatches += 1;
            self.violations.push(violation);
            self.verdict = self.verdict.max(Verdict::Nondeterministic);
        }
    }

    /// Plans of past failures ran before the seeds, and what they break stands before what the seeds break.
    pub fn add_past(&mut self, plans: u64, found: Vec<Violation>) {
        self.corpus_plans += plans;
        for violation in &found {
            let two_traces = violation.property == DETERMINISTIC;
            let verdict = if two_traces { Verdict::Nondeterministic } else { Verdict::Violation };
            self.verdict = self.verdict.max(verdict);
            self.failure_rate_below = None;
        }
        self.violations.splice(0..0, found);
    }

    /// Says why the campaign proves less than was asked of it.
    pub fn inconclusive(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
        self.verdict = self.verdict.max(Verdict::Inconclusive);
    }

    /// Adds a shard of the same campaign: its counts, its determinism; violations are the caller's to group.
    pub fn add_shard(&mut self, shard: &GateReport) {
        self.seeds_asked += shard.seeds_asked;
        self.seeds_run += shard.seeds_run;
        self.tiers.race += shard.tiers.race;
        self.tiers.soak += shard.tiers.soak;
        // Shards run side by side.
        self.wall_ms = self.wall_ms.max(shard.wall_ms);
        self.virtual_ms += shard.virtual_ms;
        self.steps += shard.steps;
        self.records.add(&shard.records);
        self.panes.add(&shard.panes);
        for (name, count) in &shard.faults {
            self.faults.entry(name.clone()).or_default().add(count);
        }
        self.state_meanings.extend(shard.state_meanings.clone());
        self.states_required.extend(shard.states_required.iter().cloned());
        let sums = [(&mut self.states, &shard.states), (&mut self.examined, &shard.examined)];
        for (sum, part) in sums {
            part.iter().for_each(|(name, count)| *sum.entry(name.clone()).or_default() += count);
        }
        self.breakdown.merge(&shard.breakdown);
        self.determinism.doubled += shard.determinism.doubled;
        self.determinism.mismatches += shard.determinism.mismatches;
        self.corpus_plans += shard.corpus_plans;
        self.interrupted |= shard.interrupted;
        self.verdict = self.verdict.max(shard.verdict);
    }

    /// The violations that are told in full where there is room for `most`, and words for the others, if there are any.
    pub fn told(&self, most: usize) -> (Vec<&Violation>, Option<String>) {
        let (failures, consequences): (Vec<&Violation>, Vec<&Violation>) =
            self.violations.iter().partition(|violation| !violation.consequence);
        let told: Vec<&Violation> = failures.iter().copied().take(most).collect();
        let more = (failures.len() - told.len(), consequences.len());
        let failures = crate::text::plural(more.0, "more failure");
        let of_theirs = crate::text::plural(more.1, "consequence");
        let others = match more {
            (0, 0) => None,
            (_, 0) => Some(failures),
            (0, _) => Some(format!("{of_theirs} of these")),
            _ => Some(format!("{failures} and {of_theirs}")),
        };
        (told, others)
    }

    /// Nothing was selected: no seed was asked, no plan of the corpus ran, and nothing else is to be said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.verdict == Verdict::Pass && self.seeds_asked == 0 && self.corpus_plans == 0 && !self.interrupted
    }

    /// What stands before the sentence of the verdict: that nothing broke in nothing is no pass.
    #[must_use]
    pub fn heading(&self) -> &'static str {
        if self.is_empty() { "nothing" } else { self.verdict.name() }
    }

    /// Fills in what the whole supports; call once, at the end.
    pub fn finish(&mut self) {
        self.speed = Speed::of(self.wall_ms, self.virtual_ms, self.seeds_run, self.records.ingested);
        let clean = self.violations.is_empty() && self.seeds_run > 0;
        self.failure_rate_below = clean.then(|| 3.0 / self.seeds_run as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(number: u64, tier: Tier) -> SeedReport {
        let mut seed = SeedReport::empty("clickstream-sessions", number, tier);
        seed.records.ingested = 10;
        seed.faults.insert("power-cut".into(), FaultCount { injected: 2, effective: 1, visible: 1 });
        seed
    }

    #[test]
    fn a_campaign_is_the_sum_of_its_seeds() {
        let mut report = GateReport::new(vec!["clickstream-sessions".into()], 2);
        report.add(&seed(1, Tier::Race));
        report.add(&seed(2, Tier::Soak));
        report.finish();
        assert_eq!(report.records.ingested, 20);
        assert_eq!(report.faults["power-cut"], FaultCount { injected: 4, effective: 2, visible: 2 });
        assert_eq!(report.tiers, TierCounts { race: 1, soak: 1 });
        assert_eq!(report.failure_rate_below, Some(1.5));
        assert_eq!(report.verdict, Verdict::Pass);
    }

    #[test]
    fn a_failed_seed_takes_the_bound_away() {
        let mut report = GateReport::new(vec!["clickstream-sessions".into()], 1);
        let mut bad = seed(1, Tier::Race);
        bad.verdict = Verdict::Violation;
        bad.violations.push(Violation { property: "lost-write".into(), ..Violation::default() });
        report.add(&bad);
        report.inconclusive("the budget ended first");
        report.finish();
        assert_eq!(report.verdict, Verdict::Violation);
        assert_eq!(report.failure_rate_below, None);
    }

    #[test]
    fn a_plan_of_the_corpus_with_two_traces_makes_the_campaign_nondeterministic() {
        let broken =
            |property: &str| Violation { property: property.into(), past: "torn".into(), ..Violation::default() };
        let mut report = GateReport::new(vec!["p".into()], 0);
        report.add_past(1, vec![broken("durable")]);
        assert_eq!(report.verdict, Verdict::Violation);
        report.add_past(1, vec![broken("durable"), broken(DETERMINISTIC)]);
        assert_eq!((report.verdict, report.corpus_plans), (Verdict::Nondeterministic, 2));
        assert!(crate::text::gate_sentence(&report).starts_with("1 plan gave two traces"));
    }

    #[test]
    fn the_documented_fields_are_all_there() {
        let json = serde_json::to_value(GateReport::new(vec![], 0)).unwrap();
        for field in [
            "schema",
            "verdict",
            "pipelines",
            "seeds_run",
            "wall_ms",
            "virtual_ms",
            "records",
            "panes",
            "faults",
            "states",
            "determinism",
            "violations",
        ] {
            assert!(json.get(field).is_some(), "{field} is missing");
        }
        assert_eq!(json["schema"], "segno.gate/1");
        for field in ["ingested", "late", "duplicates", "out_of_order"] {
            assert_eq!(json["records"][field], 0);
        }
    }
}
