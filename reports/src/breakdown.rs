//! What each part of a campaign did: its pipelines, its tiers, its faults by phase; and how fast the whole went.
//!
//! In: seeds' results, or the breakdowns of shards. Out: sums.
//!
//! Invariant: each of the three adds up to the campaign's own count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{FaultCount, SeedReport, SeedSet, Verdict};

/// Fault kind → phase (`live`, `replay`) → how often.
pub type FaultGrid = BTreeMap<String, BTreeMap<String, FaultCount>>;

/// A campaign, cut three ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breakdown {
    #[serde(default)]
    pub pipelines: BTreeMap<String, Part>,
    /// `race`, `soak`.
    #[serde(default)]
    pub tiers: BTreeMap<String, Part>,
    #[serde(default)]
    pub faults: FaultGrid,
}

/// Some of a campaign's seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub seeds_run: u64,
    pub seeds_failed: u64,
    /// The smallest and the largest of them; both 0 when there is none.
    pub seed_first: u64,
    pub seed_last: u64,
    #[serde(default)]
    pub seeds: SeedSet,
    /// Wall time of the seeds, one after the other: with several processes it is more than the campaign's.
    pub seed_wall_ms: u64,
    pub virtual_ms: u64,
    pub records_ingested: u64,
    /// Property → how many things it was asked of.
    #[serde(default)]
    pub examined: BTreeMap<String, u64>,
}

/// How fast a campaign went. Records are those ingested, and each is also replayed: no throughput of the engine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Virtual time that passed in a wall second, over all processes.
    pub virtual_per_wall: f64,
    pub seeds_per_minute: f64,
    pub records_per_second: f64,
}

impl Breakdown {
    /// Adds one seed's first run.
    pub fn add(&mut self, seed: &SeedReport) {
        self.pipelines.entry(seed.pipeline.clone()).or_default().add_seed(seed);
        self.tiers.entry(seed.tier.to_string()).or_default().add_seed(seed);
        add_grid(&mut self.faults, &seed.faults_by_phase);
    }

    /// The phases in which faults struck, in the order in which a run has them.
    pub fn phases(&self) -> Vec<&str> {
        let mut phases: Vec<&str> = self.faults.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
        phases.sort_unstable();
        phases.dedup();
        phases
    }

    /// Adds another part of the same campaign.
    pub fn merge(&mut self, other: &Breakdown) {
        for (mine, theirs) in [(&mut self.pipelines, &other.pipelines), (&mut self.tiers, &other.tiers)] {
            theirs.iter().for_each(|(name, part)| mine.entry(name.clone()).or_default().merge(part));
        }
        add_grid(&mut self.faults, &other.faults);
    }
}

impl Part {
    fn add_seed(&mut self, seed: &SeedReport) {
        self.merge(&Part {
            seeds_run: 1,
            seeds_failed: u64::from(seed.verdict >= Verdict::Violation),
            seed_first: seed.seed,
            seed_last: seed.seed,
            seeds: SeedSet::one(seed.seed),
            seed_wall_ms: seed.wall_ms,
            virtual_ms: seed.virtual_ms,
            records_ingested: seed.records.ingested,
            examined: seed.examined.clone(),
        });
    }

    fn merge(&mut self, other: &Part) {
        if other.seeds_run == 0 {
            return;
        }
        let first = if self.seeds_run == 0 { other.seed_first } else { self.seed_first.min(other.seed_first) };
        self.seed_first = first;
        self.seed_last = self.seed_last.max(other.seed_last);
        self.seeds.merge(&other.seeds);
        self.seeds_run += other.seeds_run;
        self.seeds_failed += other.seeds_failed;
        self.seed_wall_ms += other.seed_wall_ms;
        self.virtual_ms += other.virtual_ms;
        self.records_ingested += other.records_ingested;
        other.examined.iter().for_each(|(name, count)| *self.examined.entry(name.clone()).or_default() += count);
    }
}

impl Speed {
    /// Of so much in `wall_ms`; zero where no time passed.
    pub fn of(wall_ms: u64, virtual_ms: u64, seeds: u64, records: u64) -> Speed {
        let per_wall_ms = |amount: u64| if wall_ms == 0 { 0.0 } else { amount as f64 / wall_ms as f64 };
        Speed {
            virtual_per_wall: per_wall_ms(virtual_ms),
            seeds_per_minute: per_wall_ms(seeds) * 60_000.0,
            records_per_second: per_wall_ms(records) * 1_000.0,
        }
    }
}

fn add_grid(mine: &mut FaultGrid, theirs: &FaultGrid) {
    for (kind, phases) in theirs {
        let row = mine.entry(kind.clone()).or_default();
        phases.iter().for_each(|(phase, count)| row.entry(phase.clone()).or_default().add(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tier;

    fn seed(number: u64, tier: Tier) -> SeedReport {
        let mut seed = SeedReport::empty("clickstream-minutes", number, tier);
        seed.wall_ms = 40;
        seed.virtual_ms = 9_000;
        seed.records.ingested = 100;
        seed.examined.insert("durable".into(), 3);
        let count = FaultCount { injected: 2, effective: 1, visible: 1 };
        seed.faults_by_phase.entry("kill".into()).or_default().insert("live".into(), count);
        seed
    }

    #[test]
    fn two_shards_merge_into_what_one_campaign_would_have_said() {
        let seeds = [seed(3, Tier::Race), seed(4, Tier::Soak), seed(9, Tier::Race)];
        let (mut whole, mut left, mut right) = (Breakdown::default(), Breakdown::default(), Breakdown::default());
        for (index, seed) in seeds.iter().enumerate() {
            whole.add(seed);
            if index % 2 == 0 { left.add(seed) } else { right.add(seed) }
        }
        left.merge(&right);
        left.merge(&Breakdown::default());
        assert_eq!(left, whole);
        let part = &whole.pipelines["clickstream-minutes"];
        assert_eq!((part.seeds_run, part.seed_first, part.seed_last, part.examined["durable"]), (3, 3, 9, 9));
        assert_eq!(part.seeds.to_string(), "3, 4, 9");
        assert_eq!(whole.tiers["race"].seed_wall_ms, 80);
        assert_eq!(whole.faults["kill"]["live"], FaultCount { injected: 6, effective: 3, visible: 3 });
    }

    #[test]
    fn speed_is_what_passed_in_wall_time() {
        let speed = Speed::of(30_000, 9_000_000, 300, 60_000);
        assert_eq!(speed, Speed { virtual_per_wall: 300.0, seeds_per_minute: 600.0, records_per_second: 2_000.0 });
        assert_eq!(Speed::of(0, 5, 5, 5), Speed::default());
    }
}
