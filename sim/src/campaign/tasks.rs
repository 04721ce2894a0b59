//! The tasks of a campaign: which seeds it runs, each on its pipeline, and which of them twice.
//!
//! In: the settings. Out: the queue that the lanes work through.
//!
//! Invariant: the shards' tasks are the whole campaign's, each in one shard; whether a seed runs twice does not depend on
//! how many shards there are.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use super::{Job, Settings};

/// A job, and whether it is to run twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub job: Job,
    pub doubled: bool,
}

/// What is to run, in the order of seeds.
pub(super) fn tasks(settings: &Settings) -> VecDeque<Task> {
    let Some(pipelines) = NonZeroU64::new(settings.pipelines.len() as u64) else {
        return VecDeque::new();
    };
    let (shard, shards) = settings.shard.unwrap_or((0, 1));
    let seeds = settings.seeds.clone().enumerate().filter(|(index, _)| index % shards.max(1) == shard);
    seeds
        .map(|(index, seed)| {
            let pipeline = settings.pipelines[(seed % pipelines) as usize].clone();
            let doubled = is_doubled(index, settings.pipelines.len(), settings.double_every);
            Task { job: Job { pipeline, seed, tier: settings.tier, plan: None, trace: None, tell: false }, doubled }
        })
        .collect()
}

/// Whether the seed at this place of the whole campaign runs twice: the first, and then one in `every` of each pipeline. Of a
/// pipeline that is `turn` places after the first seed's, that is its seed number `turn * (every - 1) / pipelines`, and each
/// `every`-th from there. The j-th doubled seed after a first is thus at most `j * every` places behind it: however many
/// seeds a campaign has, at least one in `every` of them is doubled.
fn is_doubled(index: usize, pipelines: usize, every: usize) -> bool {
    let (number, turn) = (index / pipelines, index % pipelines);
    every > 0 && number % every == turn * (every - 1) / pipelines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::tests::settings;
    use super::*;

    #[test]
    fn of_every_pipeline_a_default_gate_runs_seeds_twice() {
        let dir = tempfile::tempdir().unwrap();
        for pipelines in 1..=7 {
            for first in [0, 10_000, 12_345] {
                let mut settings = settings(dir.path(), "", 0);
                settings.seeds = first..first + 150;
                settings.double_every = 20;
                settings.pipelines = (0..pipelines).map(|number| format!("p{number}")).collect();
                let doubled: Vec<Job> =
                    tasks(&settings).into_iter().filter(|task| task.doubled).map(|task| task.job).collect();
                assert_eq!((doubled[0].seed, doubled.len()), (first, 8), "{pipelines} pipelines from seed {first}");
                let tested: BTreeSet<String> = doubled.into_iter().map(|job| job.pipeline).collect();
                assert_eq!(tested.len(), pipelines, "{tested:?} of {pipelines} pipelines from seed {first}");
            }
        }
    }

    proptest! {
        #[test]
        fn one_seed_in_so_many_of_each_pipeline_runs_twice(every in 1..30usize, pipelines in 1..9usize, seeds in 0..900usize) {
            let doubled: Vec<usize> = (0..seeds).filter(|index| is_doubled(*index, pipelines, every)).collect();
            prop_assert!(doubled.len() >= seeds.div_ceil(every), "{doubled:?}");
            for turn in 0..pipelines {
                let of_pipeline = (0..seeds).filter(|index| index % pipelines == turn).count();
                let twice = doubled.iter().filter(|index| *index % pipelines == turn).count();
                let share = of_pipeline / every..=of_pipeline.div_ceil(every);
                prop_assert!(share.contains(&twice), "{twice} of {of_pipeline}: {doubled:?}");
            }
        }
    }
}
