//! What a replay of a dataset must come to, pane by pane, computed from the generator alone.

use std::collections::BTreeMap;

use workloads::expected::sums;

use crate::dataset::Dataset;

pub(crate) const SESSION_GAP_MS: i64 = 30 * 60_000;
pub(crate) const MINUTE_MS: i64 = 60_000;

/// The sums of final panes, by name.
pub type Sums = BTreeMap<String, i64>;

/// What a final table comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub sums: Sums,
    /// Over the line of every pane, as 32 hex digits.
    pub checksum: String,
}

/// The clickstream's pipelines, whose sums are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Summed {
    Sessions,
    Minutes,
    UniqueMinutes,
}

impl Summed {
    /// `None` for a pipeline that is none of the clickstream's.
    pub fn of(pipeline: &str) -> Option<Summed> {
        match pipeline {
            "clickstream-sessions" => Some(Summed::Sessions),
            "clickstream-minutes" => Some(Summed::Minutes),
            "clickstream-unique-minutes" => Some(Summed::UniqueMinutes),
            _ => None,
        }
    }
}

/// What was expected so far: a sweep asks for the same at many points.
#[derive(Default)]
pub struct Expected {
    known: BTreeMap<(Summed, u64, u32), Table>,
}

impl Expected {
    /// The pipeline's final panes over the dataset. How the log is keyed and laid out does not show in them.
    pub fn table(&mut self, pipeline: Summed, dataset: &Dataset) -> &Table {
        self.known.entry((pipeline, dataset.events, dataset.users)).or_insert_with(|| compute(pipeline, dataset))
    }
}

fn compute(pipeline: Summed, dataset: &Dataset) -> Table {
    let stream = dataset.stream();
    let minutes = |unique| {
        let sums = sums::minutes(&stream, MINUTE_MS, unique);
        (vec![("panes", sums.panes), ("events", sums.events), ("max_events", sums.max_events)], sums.checksum)
    };
    let (sums, checksum) = match pipeline {
        Summed::Sessions => {
            let sums = sums::sessions(&stream, SESSION_GAP_MS);
            let named = vec![("sessions", sums.sessions), ("events", sums.events), ("duration_ms", sums.duration_ms)];
            (named, sums.checksum)
        }
        Summed::Minutes => minutes(false),
        Summed::UniqueMinutes => minutes(true),
    };
    let sums = sums.into_iter().map(|(name, sum)| (name.to_owned(), sum as i64)).collect();
    Table { sums, checksum: format!("{:032x}", checksum.0) }
}
