//! The checks: one property a file.
//!
//! In: [`Evidence`]. Out: [`Violation`]s. They read logs and histories, draw nothing, call neither `engine::log` nor
//! the client, and run after the world has ended. A new property costs one file and its two lines here.
//!
//! [`log`] decodes the disk, [`output`], [`source`] and [`panes`] say what the decoded topics mean, [`instances`] is the part of
//! [`history`] that is about where tasks begin to read; the rest are properties.

pub mod changelog;
pub mod deterministic;
pub mod history;
mod instances;
pub mod log;
pub mod output;
pub mod panes;
pub mod source;

mod aborted_read;
mod converges;
mod duplicate;
mod durable;
mod equals_expected;
mod inconsistent_offset;
mod lost_write;
mod loud_gap;
mod nonmonotonic;
mod replay_equals_live;
mod retention;
mod single_cut;
mod torn_transaction;
mod trimmed;
mod watermark_monotonic;

#[cfg(test)]
mod kit;
#[cfg(test)]
mod script;

use std::collections::BTreeMap;

use engine::types::TopicPartition;
use reports::FirstDifference;

use crate::evidence::{Evidence, RunNames, TaskNames};
use crate::workload::{Expected, Shape, Workload};
use changelog::Changelog;
use history::Reading;
use log::Logs;
use output::Output;
use source::Source;

/// What a property's check found broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub property: &'static str,
    /// What was seen, in one sentence.
    pub message: String,
    pub first_difference: Option<FirstDifference>,
}

impl Violation {
    pub fn new(property: &'static str, message: impl Into<String>) -> Violation {
        Violation { property, message: message.into(), first_difference: None }
    }

    /// As it stands in a report.
    pub fn report(self, pipeline: &str, seed: u64, tier: reports::Tier) -> reports::Violation {
        reports::Violation {
            property: self.property.to_owned(),
            pipeline: pipeline.to_owned(),
            seed,
            tier: tier.to_string(),
            message: self.message,
            first_difference: self.first_difference,
            ..reports::Violation::default()
        }
    }
}

/// The evidence of one seed with what every check needs of it, decoded once.
pub struct Case<'a> {
    pub evidence: &'a Evidence,
    pub workload: &'a dyn Workload,
    pub shape: &'a Shape,
    /// The final disk.
    pub logs: Logs,
    /// The committed source records and the watermark before each.
    pub source: Source,
    pub live: Output,
    pub replay: Output,
    /// The histories by partition.
    pub reading: Reading<'a>,
    /// What the independent function says of the source.
    pub expected: Expected,
    changelogs: BTreeMap<TopicPartition, Changelog>,
}

impl<'a> Case<'a> {
    pub fn new(evidence: &'a Evidence, workload: &'a dyn Workload, shape: &'a Shape) -> Case<'a> {
        let logs = Logs::decode_whole(&evidence.files, &evidence.removed, &evidence.data_dir);
        let source = Source::read(&logs, evidence, workload, shape);
        let live = Output::read(&logs, &evidence.live, workload);
        let replay = Output::read(&logs, &evidence.replay, workload);
        let expected = workload.expected(shape, &source.records);
        let mut changelogs = BTreeMap::new();
        let second = evidence.second_replay.iter().flat_map(|second| &second.names.tasks);
        for task in evidence.live.tasks.iter().chain(&evidence.replay.tasks).chain(second) {
            if let Some(name) = &task.changelog {
                let log = logs.get(&name.topic, name.partition.0);
                changelogs.insert(name.clone(), Changelog::read(log, task.window));
            }
        }
        // Histories need no files: what was seen after these were taken is judged, too.
        let reading = Reading::of(evidence.whole());
        Case { evidence, workload, shape, logs, source, live, replay, reading, expected, changelogs }
    }

    /// Both runs of the pipeline, with the name that messages use.
    pub fn runs(&self) -> [(&'static str, &RunNames, &Output); 2] {
        [("live", &self.evidence.live, &self.live), ("replay", &self.evidence.replay, &self.replay)]
    }

    /// The tasks of a run that have a changelog, with what is in it.
    pub(crate) fn changelogs<'n>(
        &'n self,
        names: &'n RunNames,
    ) -> impl Iterator<Item = (&'n TaskNames, &'n Changelog)> {
        names.tasks.iter().filter_map(|task| Some((task, self.changelogs.get(task.changelog.as_ref()?)?)))
    }

    /// The commits of all tasks.
    fn cuts(&self) -> u64 {
        self.changelogs.values().map(|changelog| changelog.cuts.len() as u64).sum()
    }
}

/// A property and how it is judged.
pub struct Check {
    /// The name in reports, `lost-write` for one.
    pub name: &'static str,
    /// The property in words.
    pub holds_when: &'static str,
    /// How many things of this case it judges: a property that was never asked of anything has not been checked.
    pub examined: fn(&Case<'_>) -> u64,
    pub run: fn(&Case<'_>) -> Vec<Violation>,
}

/// The place of a property among causes and consequences, causes first: two traces of one plan make everything else
/// doubtful, then what no check says (a panic, for one, comes before what it left undone), then as the checks are listed.
pub fn rank(property: &str) -> usize {
    if property == deterministic::NAME {
        return 0;
    }
    ALL.iter().position(|check| check.name == property).map_or(1, |place| place + 2)
}

/// Marks as consequences what one run broke besides the first, in the order of causes and then as its check said it. That
/// the run gave two traces is said besides, and takes nothing away from the rest.
pub fn mark_consequences(of_one_run: &mut [reports::Violation]) {
    let places = of_one_run.iter().enumerate().map(|(place, violation)| (rank(&violation.property), place));
    let first = places.filter(|(rank, _)| *rank > 0).min();
    for (place, violation) in of_one_run.iter_mut().enumerate() {
        violation.consequence = first.is_some_and(|first| (rank(&violation.property), place) > first);
    }
}

/// Every check of one seed, in the order in which violations are shown: causes before consequences.
/// ([`deterministic`] compares two runs, and is the campaign's.)
pub const ALL: &[Check] = &[
    durable::CHECK,
    lost_write::CHECK,
    duplicate::CHECK,
    inconsistent_offset::CHECK,
    nonmonotonic::CHECK,
    torn_transaction::CHECK,
    aborted_read::CHECK,
    single_cut::CHECK,
    trimmed::CHECK,
    watermark_monotonic::CHECK,
    loud_gap::CHECK,
    retention::CHECK,
    history::LOST_WRITE,
    history::DUPLICATE,
    history::INCONSISTENT_OFFSET,
    history::NONMONOTONIC,
    history::SKIPPED,
    history::ABORTED_READ,
    history::TORN_TRANSACTION,
    converges::CHECK,
    history::UNSEEN,
    equals_expected::CHECK,
    replay_equals_live::CHECK,
];

/// At most this many violations of one property are reported: the first says it, and a broken log breaks thousands.
const SHOWN_PER_PROPERTY: usize = 3;

/// Runs every check.
pub fn run_case(case: &Case<'_>) -> Vec<Violation> {
    ALL.iter().flat_map(|check| few((check.run)(case))).collect()
}

/// Runs what is asked of a replay beside others: its output, that its commits are what they say, and that nothing goes from
/// stage to stage twice.
pub fn run_replay(case: &Case<'_>) -> Vec<Violation> {
    let asked: [fn(&Case<'_>) -> Vec<Violation>; 5] = [
        duplicate::of_replay,
        single_cut::CHECK.run,
        watermark_monotonic::CHECK.run,
        equals_expected::CHECK.run,
        replay_equals_live::CHECK.run,
    ];
    asked.iter().flat_map(|run| few(run(case))).collect()
}

/// How many things each property was asked of: of two checks of one property, which look at much the same, the larger.
pub fn examined(case: &Case<'_>) -> BTreeMap<String, u64> {
    let mut examined = BTreeMap::new();
    for check in ALL {
        let most: &mut u64 = examined.entry(check.name.to_owned()).or_default();
        *most = (check.examined)(case).max(*most);
    }
    examined
}

fn few(mut found: Vec<Violation>) -> Vec<Violation> {
    let more = found.len().saturating_sub(SHOWN_PER_PROPERTY);
    found.truncate(SHOWN_PER_PROPERTY);
    if let Some(last) = found.last_mut().filter(|_| more > 0) {
        last.message.push_str(&format!(" (and {more} more of this property)"));
    }
    found
}
