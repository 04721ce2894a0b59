//! A property that did not hold: what was seen, where the outputs first differ, and how to see it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::story::Shrunk;

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
    /// The plan of the corpus that broke it; empty where a seed did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub past: String,
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
    /// Where the shrunk plan was written, which breaks the same with less; empty where none was.
    #[serde(default)]
    pub shrunk_plan: String,
    /// How much smaller it is.
    #[serde(default)]
    pub shrunk: Option<Shrunk>,
    /// What happened before, one line each: virtual time and event.
    #[serde(default)]
    pub story: Vec<String>,
    /// Equal for what is taken to be one failure; a report keeps one violation of each, that of the fastest seed.
    #[serde(default)]
    pub fingerprint: String,
    /// The seed that is kept broke something else before it, in the order of causes, and so did each that shows it; where
    /// there is room for few, these are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub consequence: bool,
    /// The consequences that show in some of this failure's seeds, as properties; its own among them where they broke it in
    /// other ways, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Every seed with this fingerprint, this one included.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// How many steps this seed took; 0 when it did not end by itself.
    #[serde(default)]
    pub steps: u64,
}

impl Violation {
    /// Which run broke it, in words.
    pub fn run(&self) -> String {
        match self.past.as_str() {
            "" => format!("seed {}", self.seed),
            past => format!("plan {past} of the corpus"),
        }
    }

    /// The command that shows the shrunk plan, which is the other one with another file: what chose a bug, or how a test is
    /// started, stays in it. `None` where nothing was shrunk, or the command shows the shrunk plan already.
    pub fn reproduce_shrunk(&self) -> Option<String> {
        let (plan, shrunk) = (self.plan.as_str(), self.shrunk_plan.as_str());
        if shrunk.is_empty() || self.reproduce.contains(shrunk) {
            return None;
        }
        Some(match !plan.is_empty() && self.reproduce.contains(plan) {
            true => self.reproduce.replacen(plan, shrunk, 1),
            false => format!("segno repro {shrunk}"),
        })
    }

    /// What is one failure in a report. Of rows that differ, also how, and on which side: two bugs may break one property of
    /// one pipeline, and each is to leave its plan. Of a panic, where it was. Of a message its first words, without names and
    /// numbers: the rest tells one torn byte from the next.
    pub fn group(&self) -> String {
        let fingerprint = self.fingerprint();
        let Some(first) = &self.first_difference else {
            return format!("{} {} {}", self.property, self.pipeline, beginning(&self.message));
        };
        let (live, replay, expected) = (first.live.as_ref(), first.replay.as_ref(), first.expected.as_ref());
        let how = match self.property.as_str() {
            "equals-expected" => kind("live", live, expected).or_else(|| kind("replay", replay, expected)),
            _ => kind("replay", replay, live),
        };
        match how {
            Some(how) => format!("{fingerprint} {how}"),
            None => fingerprint,
        }
    }

    /// What equal failures have in common, whatever seed or key they came with: property, pipeline, and the message
    /// without its numbers and names. It is what stays while a plan is made smaller.
    pub fn fingerprint(&self) -> String {
        let shape = match &self.first_difference {
            // Which fields differ, and on which side, changes with every event that is taken away.
            Some(_) => "row".to_owned(),
            None => shape(&self.message),
        };
        format!("{} {} {shape}", self.property, self.pipeline)
    }
}

/// How the row of a side is not as it should be.
fn kind(side: &str, found: Option<&Row>, due: Option<&Row>) -> Option<String> {
    let kind = match (found, due) {
        (None, Some(_)) => "missing",
        (Some(_), None) => "extra",
        (Some(found), Some(due)) if found != due => "different",
        _ => return None,
    };
    Some(format!("{kind} in {side}"))
}

/// How a message begins: the place of a panic, or the first words that are no name and no number.
fn beginning(message: &str) -> String {
    const WORDS: usize = 10;
    if let Some(panic) = message.strip_prefix("panicked at ") {
        // path:line:column: what was said
        let place = panic.split(": ").next().unwrap_or_default();
        return format!("panicked at {}", place.rsplit_once(':').map_or(place, |(line, _column)| line));
    }
    let shape = shape(message);
    let words = shape.split_whitespace().filter(|word| !word.contains('#'));
    words.take(WORDS).collect::<Vec<_>>().join(" ")
}

/// The first clause of a message, with `#` for every word that has a digit in it.
fn shape(message: &str) -> String {
    let clause = message.split([';', '\n']).next().unwrap_or_default();
    let clause = clause.split(" (and ").next().unwrap_or_default();
    let mut shape = String::new();
    let mut rest = clause;
    while let Some(first) = rest.chars().next() {
        let in_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '[' | ']');
        let end = rest.find(|c| in_word(c) != in_word(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let named = in_word(first) && word.contains(|c: char| c.is_ascii_digit());
        shape.push_str(match word {
            _ if named => "#",
            "live" | "replay" => "run",
            word => word,
        });
        rest = after;
    }
    shape
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
    /// What it has to do with the difference, where that is known: `live is as if it were not there`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub part: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> String {
        let named = Violation { property: "durable".into(), pipeline: "p".into(), ..Violation::default() };
        Violation { message: message.into(), ..named }.fingerprint()
    }

    #[test]
    fn the_shrunk_plan_is_shown_as_the_plan_is() {
        let shown = |reproduce: &str| {
            let named = Violation {
                plan: "r/7.plan.toml".into(),
                shrunk_plan: "r/7.shrunk.plan.toml".into(),
                ..Violation::default()
            };
            Violation { reproduce: reproduce.into(), ..named }.reproduce_shrunk()
        };
        let with_a_bug = "segno repro r/7.shrunk.plan.toml --mutant ack-before-sync";
        assert_eq!(shown("segno repro r/7.plan.toml --mutant ack-before-sync").as_deref(), Some(with_a_bug));
        assert_eq!(
            shown("SEGNO_PLAN=r/7.plan.toml cargo test").as_deref(),
            Some("SEGNO_PLAN=r/7.shrunk.plan.toml cargo test")
        );
        assert_eq!(shown("SEGNO_PLAN=r/7.shrunk.plan.toml cargo test"), None, "it is said already");
        assert_eq!(shown("").as_deref(), Some("segno repro r/7.shrunk.plan.toml"));
        assert_eq!(Violation { reproduce: "segno repro x".into(), ..Violation::default() }.reproduce_shrunk(), None);
    }

    #[test]
    fn equal_failures_of_two_seeds_have_one_fingerprint() {
        let one = said("after the kill at 1.200s raw[2] ends at offset 7, and send 12 said 9; and more");
        assert_eq!(one, "durable p after the kill at # # ends at offset #, and send # said #");
        assert_eq!(one, said("after the kill at 0.007s raw[0] ends at offset 99, and send 1 said 100"));
        assert_eq!(said("replay task 0-1: x (and 3 more of this property)"), said("live task 1-3: x"));
        assert_ne!(said("panicked at engine/src/a.rs:1:2: no"), said("panicked at engine/src/b.rs:1:2: no"));
    }

    #[test]
    fn rows_that_differ_are_one_failure_whichever_they_are() {
        let row = |message: &str| {
            let first_difference = Some(FirstDifference::default());
            Violation { message: message.into(), first_difference, ..Violation::default() }.fingerprint()
        };
        assert_eq!(row("row a @ 1: live absent"), row("row b @ 2: live x=1"));
    }

    #[test]
    fn rows_are_grouped_by_how_they_differ_and_messages_by_how_they_begin() {
        let row = |count: i64| Some(Row::from([("count".to_owned(), count.into())]));
        let broken = |property: &str, live: Option<Row>, replay: Option<Row>, expected: Option<Row>| {
            let first_difference = Some(FirstDifference { live, replay, expected, ..FirstDifference::default() });
            let violation = Violation { property: property.into(), pipeline: "p".into(), ..Violation::default() };
            Violation { first_difference, ..violation }
        };
        let groups = |violations: &[Violation]| violations.iter().map(Violation::group).collect::<Vec<_>>();
        let against_live = [
            broken("replay-equals-live", row(1), None, row(1)),
            broken("replay-equals-live", None, row(1), None),
            broken("replay-equals-live", row(1), row(2), row(1)),
        ];
        let said = |what: &str| format!("replay-equals-live p row {what} in replay");
        assert_eq!(groups(&against_live), [said("missing"), said("extra"), said("different")]);
        assert!(against_live.iter().all(|broken| broken.fingerprint() == "replay-equals-live p row"));
        let against_the_answer = [
            broken("equals-expected", None, row(1), row(1)),
            broken("equals-expected", row(1), row(2), row(1)),
            broken("equals-expected", row(1), row(1), None),
        ];
        let said = |what: &str| format!("equals-expected p row {what}");
        assert_eq!(
            groups(&against_the_answer),
            [said("missing in live"), said("different in replay"), said("extra in live")]
        );
        let grouped = |message: &str| {
            let named = Violation { property: "durable".into(), pipeline: "p".into(), ..Violation::default() };
            Violation { message: message.into(), ..named }.group()
        };
        let torn = "after the kill at 1.200s raw[2] ends at offset 7, and send 12 said 9";
        let garbled = "after the kill at 0.007s raw[0] no longer holds send 3, acknowledged at offset 9";
        let elsewhere = "after the kill at 0.007s raw[0] ends at offset 3, and the high watermark that ReadCommitted-1 was told said 9";
        assert_eq!(grouped(torn), "durable p after the kill at ends at offset and send said");
        assert_ne!(grouped(torn), grouped(garbled));
        assert_ne!(grouped(torn), grouped(elsewhere));
        let cannot = |why: &str| grouped(&format!("task 0-1 of version 1 cannot go on: {why}"));
        assert_ne!(
            cannot("raw[1]: offset 7 is needed and the log ends at 3"),
            cannot("list offsets of raw[1]: no topic")
        );
        assert_eq!(grouped("panicked at a/src/x.rs:10:2: no: 7"), "durable p panicked at a/src/x.rs:10");
        assert_eq!(grouped("panicked at a/src/x.rs:10:9: yes"), grouped("panicked at a/src/x.rs:10:2: no: 7"));
        assert_ne!(grouped("panicked at a/src/x.rs:11:2: no"), grouped("panicked at a/src/x.rs:10:2: no"));
        assert_eq!(grouped("raw[2] is gone"), "durable p is gone");
        let without_rows = Violation { property: "durable".into(), message: "x".into(), ..Violation::default() };
        assert_eq!(without_rows.group(), "durable  x");
    }
}
