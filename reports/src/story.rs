//! The story of one violation: what happened on each host, in virtual time, and where the outputs part.
//!
//! In: whoever ran the plan fills it from the trace. Out: plain data, a document of its own (`segno.story/1`) beside the
//! plan, from which the page's timeline, the Perfetto trace and the text are drawn.
//!
//! Invariant: every moment is virtual milliseconds since the world began, none of them after `virtual_ms`.
//! Invariant: lanes are in the order in which people read a cluster, marks and spans of a lane in the order of time:
//! [`Story::finish`] sees to it.

use serde::{Deserialize, Serialize};

use crate::FirstDifference;
use crate::format::{self, Refused};

pub const SCHEMA: &str = "segno.story/1";

/// What happened in one run that broke a property.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub schema: String,
    pub property: String,
    pub pipeline: String,
    pub seed: u64,
    #[serde(default)]
    pub tier: String,
    /// What was seen, in one sentence.
    #[serde(default)]
    pub message: String,
    /// The command that shows it again.
    #[serde(default)]
    pub reproduce: String,
    /// Where the run, and so the time axis, ends.
    pub virtual_ms: u64,
    /// What the driver was doing: `live`, `heal`, `replay`, … in order of time, without overlap.
    #[serde(default)]
    pub phases: Vec<PhaseSpan>,
    /// One a host.
    pub lanes: Vec<Lane>,
    /// Passings of points from the beginning of the run that are not among the marks: there would be too many.
    #[serde(default)]
    pub points_left_out: u64,
    /// Where the tables differ first, and the source records that make the difference.
    #[serde(default)]
    pub first_difference: Option<FirstDifference>,
    /// What shrinking took away; absent when the run is as it was drawn.
    #[serde(default)]
    pub shrunk: Option<Shrunk>,
}

/// A phase of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseSpan {
    pub name: String,
    pub from_ms: u64,
    pub to_ms: u64,
}

/// One host, from the world's beginning to its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// `broker`, `worker-1`, `control`.
    pub host: String,
    #[serde(default)]
    pub spans: Vec<Span>,
    #[serde(default)]
    pub marks: Vec<Mark>,
}

/// A stretch of time in which something was wrong with a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub kind: SpanKind,
    /// The fault's name, or why the host was down.
    pub what: String,
    pub from_ms: u64,
    pub to_ms: u64,
    /// More of it in words: the peer, the point, the fate of unsynced bytes.
    #[serde(default)]
    pub detail: String,
}

/// How a stretch of trouble is shaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpanKind {
    /// The host does not run.
    Down,
    /// The host is there and does nothing.
    Paused,
    /// A fault of the network, the disk or the clock.
    #[default]
    Fault,
}

/// Something that happened at one moment on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub at_ms: u64,
    pub kind: MarkKind,
    /// In a few words: `power-cut`, `commit to offset 40`, `task-state-flushed`.
    pub what: String,
    /// `0-2 v1`: stage, partition and version; absent where no task did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// A watermark's value, or the event time of a source record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time_ms: Option<i64>,
}

/// What kind of thing happened: how it is drawn, and what is left out when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    /// A fault struck.
    Fault,
    /// A host started again.
    Restart,
    /// Tasks moved to another host.
    TakeOver,
    /// An instance was told that a newer one exists.
    Fenced,
    /// A transaction was committed.
    Commit,
    /// A transaction was aborted.
    Abort,
    /// A task's watermark moved.
    Watermark,
    /// A source record that has to do with the difference was acknowledged, or read by a task.
    Event,
    /// The engine passed a named point. There are many of these: pages leave them out, Perfetto shows them.
    Point,
    /// The property was seen to be broken.
    Violation,
    /// Anything else that is worth a line.
    #[default]
    Note,
}

impl MarkKind {
    pub fn name(self) -> &'static str {
        match self {
            MarkKind::Fault => "fault",
            MarkKind::Restart => "restart",
            MarkKind::TakeOver => "take-over",
            MarkKind::Fenced => "fenced",
            MarkKind::Commit => "commit",
            MarkKind::Abort => "abort",
            MarkKind::Watermark => "watermark",
            MarkKind::Event => "event",
            MarkKind::Point => "point",
            MarkKind::Violation => "violation",
            MarkKind::Note => "note",
        }
    }
}

/// How much smaller a plan became while it kept the same property broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    pub faults_before: u64,
    pub faults: u64,
    pub events_before: u64,
    pub events: u64,
    #[serde(default)]
    pub partitions_before: u64,
    #[serde(default)]
    pub partitions: u64,
    #[serde(default)]
    pub hosts_before: u64,
    #[serde(default)]
    pub hosts: u64,
    /// Runs that it took.
    #[serde(default)]
    pub runs: u64,
}

impl Story {
    /// The story of a run in which nothing has happened yet.
    pub fn new(pipeline: impl Into<String>, seed: u64, tier: impl Into<String>) -> Story {
        Story { schema: SCHEMA.to_owned(), pipeline: pipeline.into(), seed, tier: tier.into(), ..Story::default() }
    }

    /// The lane of `host`, made when there is none.
    pub fn lane(&mut self, host: &str) -> &mut Lane {
        let place = self.lanes.iter().position(|lane| lane.host == host).unwrap_or_else(|| {
            self.lanes.push(Lane { host: host.to_owned(), ..Lane::default() });
            self.lanes.len() - 1
        });
        &mut self.lanes[place]
    }

    /// Puts everything into its order, and ends the run no earlier than what happened in it; call once, at the end.
    pub fn finish(&mut self) {
        // The broker above those who speak to it, workers by their number, then whoever else there is.
        let place = |host: &str| match host.strip_prefix("worker-").and_then(|number| number.parse::<u64>().ok()) {
            Some(number) => (1, number),
            None if host == "broker" => (0, 0),
            None => (2, 0),
        };
        self.lanes.sort_by(|a, b| (place(&a.host), &a.host).cmp(&(place(&b.host), &b.host)));
        for lane in &mut self.lanes {
            lane.spans.sort_by_key(|span| (span.from_ms, span.to_ms));
            lane.marks.sort_by_key(|mark| (mark.at_ms, mark.kind));
            let spans = lane.spans.iter().map(|span| span.to_ms);
            let latest = spans.chain(lane.marks.iter().map(|mark| mark.at_ms)).max().unwrap_or(0);
            self.virtual_ms = self.virtual_ms.max(latest);
        }
        self.phases.sort_by_key(|phase| phase.from_ms);
        self.virtual_ms = self.phases.iter().fold(self.virtual_ms, |end, phase| end.max(phase.to_ms));
    }

    /// A story from its document.
    ///
    /// # Errors
    /// When it is of another format or version, or not a story.
    pub fn parse(text: &str) -> Result<Story, Refused> {
        format::parse(text, SCHEMA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(at_ms: u64, kind: MarkKind) -> Mark {
        Mark { at_ms, kind, ..Mark::default() }
    }

    #[test]
    fn a_story_reads_from_the_broker_down_and_from_the_first_moment_on() {
        let mut story = Story::new("clickstream-minutes", 7, "race");
        story.virtual_ms = 10;
        for host in ["control", "worker-10", "worker-2", "broker"] {
            story.lane(host).marks.extend([mark(90, MarkKind::Commit), mark(5, MarkKind::Fault)]);
        }
        story.finish();
        let hosts: Vec<&str> = story.lanes.iter().map(|lane| lane.host.as_str()).collect();
        assert_eq!(hosts, ["broker", "worker-2", "worker-10", "control"]);
        assert_eq!(story.lanes[0].marks[0].at_ms, 5);
        assert_eq!(story.virtual_ms, 90, "the axis covers what happened");
    }

    #[test]
    fn a_story_comes_back_as_it_was_and_a_newer_one_is_refused() {
        let mut story = Story::new("clickstream-minutes", 7, "race");
        story.lane("broker").marks.push(mark(5, MarkKind::TakeOver));
        let text = serde_json::to_string(&story).expect("plain data");
        assert!(text.contains("\"take-over\""), "{text}");
        assert_eq!(Story::parse(&text), Ok(story));
        let refused = Story::parse(&text.replace("segno.story/1", "segno.story/2")).expect_err("a newer one");
        assert!(refused.to_string().contains("segno.story/2"), "{refused}");
    }
}
