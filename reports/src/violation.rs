//! A property that did not hold: what was seen, where the outputs first differ, and how to see it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An output row, decoded: its fields by name.
pub type Row = BTreeMap<String, serde_json::Value>;

/// One broken property of one seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// The check's name, `replay-equals-live` for one.
    pub property: String,
    pub pipeline: String,
    pub seed: u64,
    /// `race` or `soak`: with pipeline and seed it names the plan.
    #[serde(default)]
    pub tier: String,
    /// Where the plan was written; empty where none was.
    #[serde(default)]
    pub plan: String,
    /// Where the `segno.story/1` document was written; empty where none was.
    #[serde(default)]
    pub story_file: String,
    /// The command that shows it again.
    #[serde(default)]
    pub reproduce: String,
    /// What was seen, in one sentence.
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub first_difference: Option<FirstDifference>,
    /// What happened before, one line each: virtual time and event.
    #[serde(default)]
    pub story: Vec<String>,
}

/// The first row, by (key, window), in which two tables differ. An absent row is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FirstDifference {
    pub key: String,
    pub window_start_ms: i64,
    pub live: Option<Row>,
    pub replay: Option<Row>,
    /// What the independent function says; absent where it was not asked, or says that there is no such row.
    #[serde(default)]
    pub expected: Option<Row>,
    /// How many rows differ in all.
    #[serde(default)]
    pub rows_different: u64,
    /// The source records of this key that fall into or beside the window, in log order, at most a screenful.
    #[serde(default)]
    pub causes: Vec<Cause>,
}

/// A source record that may have contributed to a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub event_time_ms: i64,
    /// By how much the record was behind its own partition's watermark; zero or less is on time. Absent before the
    /// first event.
    #[serde(default)]
    pub behind_watermark_ms: Option<i64>,
}
