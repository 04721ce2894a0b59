//! What happened in a run, host by host, as a person wants it told: the story of a violation.
//!
//! In: what the world wrote down while it ran ([`Diary`]), and the evidence. Out: a [`Story`], plain data. Telling it changes
//! nothing: no draw, no hash, no order of events depends on whether somebody listens.
//!
//! The diary knows moments as virtual milliseconds; histories know them as ordinals, which the diary's clock translates.

use std::collections::BTreeMap;

use engine::types::TopicPartition;
use reports::story::{Mark, MarkKind, PhaseSpan, Span, SpanKind};
use reports::{Cause, FirstDifference, Story};

use crate::checks::Case;
use crate::evidence::Moment;
use crate::plan::{FaultSpec, Host};
use crate::trace::{Kind, Told};
use crate::world::board::TaskKey;

/// Watermarks beyond this are of the end marker, or of a channel that has said nothing.
const NO_TIME_MS: i64 = i64::MAX / 4;

/// Points that a story keeps: the last ones. A run has ten thousand, and a campaign may have many stories.
const POINTS_MAX: usize = 4_000;

/// What the driver writes down as it goes.
#[derive(Clone, Debug, Default)]
pub struct Diary {
    /// What it began to do, and when.
    phases: Vec<(&'static str, u64)>,
    /// When a host stopped, or went on, and what for.
    turns: Vec<Turn>,
    /// How many moments there had been at a virtual millisecond, where that changed.
    clock: Vec<(Moment, u64)>,
    /// What the next host that stops was doing.
    reason: String,
}

#[derive(Clone, Debug)]
struct Turn {
    at_ms: u64,
    host: Host,
    /// `None`: it goes on.
    stopped: Option<SpanKind>,
    what: String,
    detail: String,
}

/// One fault of the plan, and what became of it.
pub struct Struck<'a> {
    pub spec: &'a FaultSpec,
    pub began_ms: u64,
    pub ended_ms: u64,
    pub effective: bool,
}

impl Diary {
    pub fn phase(&mut self, name: &'static str, at_ms: u64) {
        self.phases.push((name, at_ms));
    }

    /// The next host that stops does so for this.
    pub fn because(&mut self, reason: impl Into<String>) {
        self.reason = reason.into();
    }

    pub fn stopped(&mut self, at_ms: u64, host: Host, kind: SpanKind, what: &str) {
        let detail = std::mem::take(&mut self.reason);
        self.turns.push(Turn { at_ms, host, stopped: Some(kind), what: what.to_owned(), detail });
    }

    pub fn went_on(&mut self, at_ms: u64, host: Host) {
        self.turns.push(Turn { at_ms, host, stopped: None, what: String::new(), detail: String::new() });
    }

    /// It is `at_ms`, and `moment` is the last that there was.
    pub fn tick(&mut self, moment: Moment, at_ms: u64) {
        if self.clock.last().is_none_or(|(last, _)| *last < moment) {
            self.clock.push((moment, at_ms));
        }
    }

    /// The virtual millisecond of a moment: that of the step in which it was.
    fn at_ms(&self, moment: Moment) -> u64 {
        let later = self.clock.partition_point(|(last, _)| *last < moment);
        self.clock.get(later).or(self.clock.last()).map_or(0, |(_, at_ms)| *at_ms)
    }
}

/// All that a story is told from.
pub struct Sources<'a> {
    pub diary: &'a Diary,
    pub hosts: &'a [Host],
    pub faults: &'a [Struck<'a>],
    /// Points, log lines and take-overs, as the trace kept them.
    pub told: &'a [Told],
    /// Who asked for the end of each transaction of the history.
    pub end_hosts: &'a [Host],
    pub case: &'a Case<'a>,
    pub virtual_ms: u64,
}

/// Fills `story`, of which only the names are there yet.
pub fn tell(story: &mut Story, sources: &Sources<'_>, first_difference: Option<&FirstDifference>) {
    story.virtual_ms = sources.virtual_ms;
    for host in sources.hosts {
        story.lane(&host.to_string());
    }
    let phases = &sources.diary.phases;
    for (index, (name, from_ms)) in phases.iter().enumerate() {
        let to_ms = phases.get(index + 1).map_or(sources.virtual_ms, |(_, next)| *next);
        if to_ms > *from_ms {
            story.phases.push(PhaseSpan { name: (*name).to_owned(), from_ms: *from_ms, to_ms });
        }
    }
    outages(story, sources);
    faults(story, sources);
    transactions(story, sources);
    instances(story, sources);
    let points = sources.told.iter().filter(|told| told.kind == Kind::Point).count();
    let mut left_out = points.saturating_sub(POINTS_MAX);
    story.points_left_out = left_out as u64;
    for told in sources.told {
        if told.kind == Kind::Point && left_out > 0 {
            left_out -= 1;
        } else {
            note(story, told);
        }
    }
    if let Some(difference) = first_difference {
        arrivals(story, sources, difference);
        story.first_difference = Some(difference.clone());
    }
    story.finish();
}

/// From each stop of a host to where it goes on.
fn outages(story: &mut Story, sources: &Sources<'_>) {
    let turns = &sources.diary.turns;
    for (index, turn) in turns.iter().enumerate() {
        let Some(kind) = turn.stopped else { continue };
        let next = turns[index + 1..].iter().find(|later| later.host == turn.host);
        let to_ms = next.map_or(sources.virtual_ms, |later| later.at_ms);
        let lane = story.lane(&turn.host.to_string());
        let (what, detail) = (turn.what.clone(), turn.detail.clone());
        lane.spans.push(Span { kind, what, from_ms: turn.at_ms, to_ms, detail });
        if next.is_some_and(|later| later.stopped.is_none()) {
            let what = if kind == SpanKind::Down { "starts again" } else { "goes on" };
            let mark = Mark { at_ms: to_ms, kind: MarkKind::Restart, what: what.to_owned(), ..Mark::default() };
            lane.marks.push(mark);
        }
    }
}

/// Faults that changed something. One that stopped its host at once is that outage's name, one that waits for a point is a
/// mark where it began to wait.
fn faults(story: &mut Story, sources: &Sources<'_>) {
    let healed = |at_ms: u64| {
        let heals = sources.diary.phases.iter().filter(|(name, _)| *name == "heal").map(|(_, heal_ms)| *heal_ms);
        heals.filter(|heal_ms| *heal_ms >= at_ms).min().unwrap_or(sources.virtual_ms)
    };
    for fault in sources.faults.iter().filter(|fault| fault.effective) {
        let spec = fault.spec;
        let name = spec.kind.0.name();
        let mut detail = Vec::new();
        detail.extend(spec.peer.map(|peer| format!("with {peer}")));
        match (spec.nth, spec.point) {
            (Some(nth), Some(point)) => detail.push(format!("waits for passing {nth} of {}", point.0.name())),
            (Some(nth), None) => detail.push(format!("number {nth}")),
            (None, _) => {}
        }
        let detail = detail.join(", ");
        let lane = story.lane(&spec.host.to_string());
        let outage = lane
            .spans
            .iter_mut()
            .find(|span| matches!(span.kind, SpanKind::Down | SpanKind::Paused) && span.from_ms == fault.began_ms);
        let to_ms = fault.ended_ms.min(healed(fault.began_ms)).max(fault.began_ms);
        match outage {
            Some(span) => span.what = name.to_owned(),
            None if spec.point.is_some() || to_ms == fault.began_ms => {
                let what = if detail.is_empty() { name.to_owned() } else { format!("{name} {detail}") };
                lane.marks.push(Mark { at_ms: fault.began_ms, kind: MarkKind::Fault, what, ..Mark::default() });
            }
            None => lane.spans.push(Span {
                kind: SpanKind::Fault,
                what: name.to_owned(),
                from_ms: fault.began_ms,
                to_ms,
                detail,
            }),
        }
    }
}

/// Commits and aborts where their answer arrived, and the watermark that each commit wrote down.
fn transactions(story: &mut Story, sources: &Sources<'_>) {
    let evidence = sources.case.evidence;
    let mut ended: BTreeMap<(i64, i16), (u64, String)> = BTreeMap::new();
    for (end, host) in evidence.history.ends.iter().zip(sources.end_hosts) {
        let Some(answered) = end.answered else { continue };
        let (at_ms, host) = (sources.diary.at_ms(answered), host.to_string());
        ended.insert((end.producer_id.0, end.epoch.0), (at_ms, host.clone()));
        let kind = if end.commit { MarkKind::Commit } else { MarkKind::Abort };
        let mark =
            Mark { at_ms, kind, what: String::new(), task: Some(end.transactional_id.clone()), event_time_ms: None };
        story.lane(&host).marks.push(mark);
    }
    for (names, version) in [(&evidence.live, 1), (&evidence.replay, 2)] {
        for (task, changelog) in sources.case.changelogs(names) {
            let name = name_of(task.key(version));
            for cut in &changelog.cuts {
                let Some((at_ms, host)) = ended.get(&(cut.writer.producer_id, cut.writer.epoch)) else { continue };
                let offsets: Vec<String> = cut.said.offsets.iter().map(i64::to_string).collect();
                let lane = story.lane(host);
                let commit = lane.marks.iter_mut().find(|mark| {
                    mark.at_ms == *at_ms
                        && mark.kind == MarkKind::Commit
                        && mark.task.as_deref() == Some(&task.transactional_id)
                });
                if let Some(commit) = commit {
                    commit.what = format!("to offset {}", offsets.join(", "));
                    commit.task = Some(name.clone());
                }
                let Some(lowest) = cut.said.watermarks.iter().copied().min() else { continue };
                if lowest.saturating_abs() < NO_TIME_MS {
                    lane.marks.push(Mark {
                        at_ms: *at_ms,
                        kind: MarkKind::Watermark,
                        what: "watermark".to_owned(),
                        task: Some(name.clone()),
                        event_time_ms: Some(lowest),
                    });
                }
            }
        }
    }
}

/// `0-2 v1`, as marks name a task.
fn name_of(task: TaskKey) -> String {
    format!("{}-{} v{}", task.stage, task.partition, task.version)
}

/// Where each instance of a task began to read its inputs.
fn instances(story: &mut Story, sources: &Sources<'_>) {
    for reader in sources.case.evidence.history.task_readers.values().filter(|reader| !reader.restores) {
        let positions: Vec<String> =
            reader.positions.iter().map(|(partition, offset)| format!("{partition} from {offset}")).collect();
        story.lane(&reader.host.to_string()).marks.push(Mark {
            at_ms: sources.diary.at_ms(reader.began),
            kind: MarkKind::Note,
            what: format!("reads {}", positions.join(", ")),
            task: Some(name_of(reader.task)),
            event_time_ms: None,
        });
    }
}

/// What the hosts passed and said.
fn note(story: &mut Story, told: &Told) {
    let kind = match told.kind {
        Kind::Point => MarkKind::Point,
        Kind::Log if told.what.contains("fenced") => MarkKind::Fenced,
        Kind::Log => MarkKind::Note,
        Kind::Fault if told.what == "take-over" => MarkKind::TakeOver,
        // The diary says the rest with its length.
        _ => return,
    };
    let what = match kind {
        MarkKind::TakeOver => "takes over its tasks".to_owned(),
        _ => told.what.clone(),
    };
    let mark = Mark { at_ms: told.at_ms, kind, what, ..Mark::default() };
    story.lane(&told.host).marks.push(mark);
}

/// When the records that make the difference came into the log, and when tasks had read them.
fn arrivals(story: &mut Story, sources: &Sources<'_>, difference: &FirstDifference) {
    for cause in &difference.causes {
        let sends = sources.case.evidence.history.sends.iter();
        let mut acks = sends
            .filter(|send| {
                (&*send.partition.topic, send.partition.partition.0) == (cause.topic.as_str(), cause.partition)
            })
            .flat_map(|send| &send.acks);
        let Some(ack) = acks.find(|ack| ack.offset.0 == cause.offset) else { continue };
        story.lane(&Host::Broker.to_string()).marks.push(Mark {
            at_ms: sources.diary.at_ms(ack.at),
            kind: MarkKind::Event,
            what: format!("{}[{}]@{} acknowledged", cause.topic, cause.partition, cause.offset),
            task: None,
            event_time_ms: Some(cause.event_time_ms),
        });
    }
    readings(story, sources, difference);
}

/// When a task had taken the records that make the difference: every instance that did, a line for what it took at once.
fn readings(story: &mut Story, sources: &Sources<'_>, difference: &FirstDifference) {
    let history = &sources.case.evidence.history;
    for poll in &history.polls {
        let Some(reader) = history.task_readers.get(&poll.reader) else { continue };
        let TopicPartition { topic, partition } = &poll.partition;
        let took = |cause: &&Cause| {
            (cause.topic.as_str(), cause.partition) == (&**topic, partition.0)
                && poll.seen.binary_search_by_key(&cause.offset, |seen| seen.offset.0).is_ok()
        };
        let taken: Vec<&Cause> = difference.causes.iter().filter(took).collect();
        let offsets: Vec<String> = taken.iter().map(|cause| cause.offset.to_string()).collect();
        let Some(first) = taken.first() else { continue };
        story.lane(&reader.host.to_string()).marks.push(Mark {
            at_ms: sources.diary.at_ms(poll.answered),
            kind: MarkKind::Event,
            what: format!("{topic}[{partition}]@{} read", offsets.join(", ")),
            task: Some(name_of(reader.task)),
            event_time_ms: Some(first.event_time_ms),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_at_the_step_in_which_it_was() {
        let mut diary = Diary::default();
        for (moment, at_ms) in [(0, 0), (4, 10), (4, 20), (9, 30)] {
            diary.tick(Moment(moment), at_ms);
        }
        assert_eq!([0, 1, 4, 5, 9, 12].map(|moment| diary.at_ms(Moment(moment))), [0, 10, 10, 30, 30, 30]);
    }
}
