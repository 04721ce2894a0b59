//! What failed, grouped: one violation per group, that of the seed which shows it fastest.
//!
//! In: seeds as they end, in any order. Out: a violation per group with all of the group's seeds, and its plan as a file.
//! One bug breaks many properties at once, and one in many ways. What a seed broke first, in the order of the checks, is
//! its failure, and the rest a consequence; a group is a consequence if it is one in each of its seeds.
//!
//! Invariant: what is kept is a function of the seeds, not of the order in which they ended.

#![expect(clippy::disallowed_methods, reason = "the campaign is above the engine: it writes plans as files")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use reports::{SeedReport, Story, Tier, Violation};

use crate::checks;

/// The failures of a campaign.
#[derive(Debug, Default)]
pub(super) struct Failures {
    groups: BTreeMap<String, Group>,
    /// (pipeline, seed)
    failed: BTreeSet<(String, u64)>,
}

#[derive(Debug)]
struct Group {
    violation: Violation,
    /// The plan of the violation's seed, as text.
    plan: Option<String>,
    story: Option<Box<Story>>,
    seeds: BTreeSet<u64>,
}

impl Failures {
    /// How many seeds failed.
    pub fn seeds(&self) -> usize {
        self.failed.len()
    }

    /// How many different failures there are; their consequences are none.
    pub fn different(&self) -> usize {
        self.groups.values().filter(|group| !group.violation.consequence).count()
    }

    /// Takes what a seed's run found.
    pub fn add(&mut self, seed: &SeedReport, mut found: Vec<Violation>) {
        checks::mark_consequences(&mut found);
        for mut violation in found {
            violation.fingerprint = violation.group();
            violation.steps = seed.steps;
            self.join(violation, seed.plan.clone(), seed.story.clone(), &[seed.seed]);
        }
    }

    /// Takes a violation that another campaign has grouped.
    pub fn add_grouped(&mut self, mut violation: Violation) {
        // One that has been shrunk since shows the difference of the smaller plan, and stays in its group.
        if violation.fingerprint.is_empty() {
            violation.fingerprint = violation.group();
        }
        let seeds = if violation.seeds.is_empty() { vec![violation.seed] } else { violation.seeds.clone() };
        self.join(violation, None, None, &seeds);
    }

    fn join(&mut self, violation: Violation, plan: Option<String>, story: Option<Box<Story>>, seeds: &[u64]) {
        self.failed.extend(seeds.iter().map(|seed| (violation.pipeline.clone(), *seed)));
        match self.groups.get_mut(&violation.fingerprint) {
            None => {
                let seeds = seeds.iter().copied().collect();
                self.groups.insert(violation.fingerprint.clone(), Group { violation, plan, story, seeds });
            }
            Some(group) => {
                group.seeds.extend(seeds);
                if fastest(&violation) < fastest(&group.violation) {
                    group.violation = violation;
                    (group.plan, group.story) = (plan, story);
                }
            }
        }
    }

    /// One violation per group: failures before consequences, and among either causes first.
    pub fn finish(self) -> Vec<Violation> {
        let also = |of: &Group| {
            let theirs = self.groups.values().filter(|other| {
                let (failure, other_failure) = (&of.violation, &other.violation);
                other_failure.consequence
                    && other_failure.pipeline == failure.pipeline
                    && !of.seeds.is_disjoint(&other.seeds)
            });
            let mut theirs: Vec<&str> = theirs.map(|other| other.violation.property.as_str()).collect();
            theirs.sort_by_key(|property| checks::rank(property));
            theirs.dedup();
            let own = of.violation.property.as_str();
            let named = |property: &str| match property == own {
                true => format!("{property} in other ways"),
                false => property.to_owned(),
            };
            theirs.into_iter().map(named).collect()
        };
        let mut kept: Vec<Violation> = Vec::new();
        for group in self.groups.values() {
            let also = if group.violation.consequence { Vec::new() } else { also(group) };
            let seeds = group.seeds.iter().copied().collect();
            kept.push(Violation { seeds, also, ..group.violation.clone() });
        }
        kept.sort_by_cached_key(|of| {
            (of.consequence, checks::rank(&of.property), of.pipeline.clone(), Reverse(of.seeds.len()), of.seed)
        });
        kept
    }

    /// Writes plan and story of each kept violation into `dir`, and says in the violation where it is and how to run it.
    pub fn write_plans(&mut self, dir: &Path, forced: Option<Tier>) -> io::Result<()> {
        for Group { violation, plan, story, .. } in self.groups.values_mut() {
            let Some(text) = plan else {
                let tier = forced.map_or_else(String::new, |tier| format!(" --tier {tier}"));
                violation.reproduce =
                    format!("segno repro --pipeline {} --seed {}{tier}", violation.pipeline, violation.seed);
                continue;
            };
            let path = dir.join(format!("{}.plan.toml", violation.seed));
            std::fs::write(&path, text)?;
            violation.plan = path.display().to_string();
            violation.reproduce = format!("segno repro {}", violation.plan);
            if let Some(story) = story {
                story.reproduce.clone_from(&violation.reproduce);
                let path = dir.join(format!("{}.story.json", violation.seed));
                std::fs::write(&path, serde_json::to_string(story)?)?;
                violation.story_file = path.display().to_string();
            }
        }
        Ok(())
    }
}

/// The order in which seeds of a group are preferred: those first of which it is the failure.
fn fastest(violation: &Violation) -> (bool, u64, u64) {
    // A run that did not end by itself has no steps, and is the slowest of all.
    (violation.consequence, if violation.steps == 0 { u64::MAX } else { violation.steps }, violation.seed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seed(number: u64, steps: u64) -> SeedReport {
        let mut seed = SeedReport::empty("p", number, Tier::Race);
        seed.steps = steps;
        seed.plan = Some(format!("seed = {number}"));
        seed
    }

    fn violation(property: &str, seed: u64) -> Violation {
        Violation { property: property.into(), pipeline: "p".into(), seed, ..Violation::default() }
    }

    proptest! {
        #[test]
        fn the_fastest_seed_of_a_group_is_kept_whatever_ends_first(
            (steps, order) in prop::collection::vec(1..6u64, 1..8)
                .prop_flat_map(|steps| {
                    let order: Vec<usize> = (0..steps.len()).collect();
                    (Just(steps), Just(order).prop_shuffle())
                })
        ) {
            let mut failures = Failures::default();
            for index in order {
                failures.add(&seed(index as u64, steps[index]), vec![violation("durable", index as u64)]);
            }
            let kept = failures.finish();
            prop_assert_eq!(kept.len(), 1);
            let least = steps.iter().min().expect("at least one");
            let first = steps.iter().position(|steps| steps == least).expect("it is there");
            prop_assert_eq!(kept[0].seed, first as u64);
            prop_assert_eq!(&kept[0].seeds, &(0..steps.len() as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn causes_come_before_consequences_and_a_run_without_an_end_is_the_slowest() {
        let mut failures = Failures::default();
        for (number, property) in [(1, "replay-equals-live"), (2, "lost-write"), (3, "no-panic"), (4, "deterministic")]
        {
            failures.add(&seed(number, 0), vec![violation(property, number)]);
        }
        failures.add(&seed(9, 1_000), vec![violation("no-panic", 9)]);
        let kept = failures.finish();
        let names: Vec<(&str, u64)> = kept.iter().map(|kept| (kept.property.as_str(), kept.seed)).collect();
        assert_eq!(names, [("deterministic", 4), ("no-panic", 9), ("lost-write", 2), ("replay-equals-live", 1)]);
    }

    #[test]
    fn what_every_seed_broke_after_something_else_is_a_consequence() {
        let mut failures = Failures::default();
        for (number, broken) in [
            (1, &["single-cut", "durable", "replay-equals-live"][..]),
            (2, &["durable", "single-cut", "deterministic"]),
            (3, &["replay-equals-live"]),
        ] {
            failures.add(&seed(number, 10), broken.iter().map(|property| violation(property, number)).collect());
        }
        assert_eq!((failures.seeds(), failures.different()), (3, 3));
        let kept = failures.finish();
        let told: Vec<_> = kept
            .iter()
            .map(|kept| (kept.property.as_str(), kept.seed, kept.consequence, kept.also.join(" ")))
            .collect();
        assert_eq!(
            told,
            [
                ("deterministic", 2, false, "single-cut".to_owned()),
                ("durable", 1, false, "single-cut".to_owned()),
                // Told by the seed that broke nothing else, though another is as fast.
                ("replay-equals-live", 3, false, "single-cut".to_owned()),
                ("single-cut", 1, true, String::new()),
            ]
        );
    }

    #[test]
    fn a_property_that_a_seed_broke_in_two_ways_is_one_failure() {
        let mut failures = Failures::default();
        let said = |message: &str| Violation { message: message.into(), ..violation("durable", 1) };
        failures.add(&seed(1, 10), vec![said("raw[0] is cut short"), said("a marker is gone")]);
        assert_eq!(failures.different(), 1);
        let kept = failures.finish();
        assert_eq!(kept.iter().map(|kept| kept.consequence).collect::<Vec<_>>(), [false, true]);
        assert_eq!(
            (kept[0].message.as_str(), &kept[0].also[..]),
            ("raw[0] is cut short", &["durable in other ways".to_owned()][..])
        );
    }

    #[test]
    fn only_what_is_kept_leaves_a_plan() {
        let dir = tempfile::tempdir().unwrap();
        let mut failures = Failures::default();
        for (number, steps) in [(5, 30), (3, 20), (4, 25)] {
            failures.add(&seed(number, steps), vec![violation("durable", number)]);
        }
        failures.write_plans(dir.path(), None).unwrap();
        assert_eq!((failures.seeds(), failures.different()), (3, 1));
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, ["3.plan.toml"]);
        let kept = failures.finish();
        assert_eq!(kept[0].reproduce, format!("segno repro {}", dir.path().join("3.plan.toml").display()));
    }
}
