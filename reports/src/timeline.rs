//! A story as lines: the timeline of all hosts in one, with what matters of it.
//!
//! In: a [`Story`]. Out: at most a screenful of lines in virtual time: what struck, who started again or was fenced, the
//! events of the first difference and the commits that took them up with the watermark that each wrote down, and what was
//! said and committed near these.

use std::collections::BTreeSet;

use crate::Story;
use crate::story::{Mark, MarkKind, Span};
use crate::text::{duration, moment};

/// Lines of a story that are shown.
const LINES_MAX: usize = 40;
/// How long before and after an event, fault or start of interest a commit or a line of a log is of interest too.
const NEAR_MS: u64 = 1_000;

/// The timeline of all hosts in one: faults, starts, fences and the events of the difference; of commits and what hosts
/// said only what is near, and of that the first commit that takes an event up.
pub fn lines(story: &Story) -> Vec<String> {
    let struck: Vec<(&str, Mark)> =
        story.lanes.iter().flat_map(|lane| lane.spans.iter().map(|span| (lane.host.as_str(), began(span)))).collect();
    let marks = story.lanes.iter().flat_map(|lane| lane.marks.iter().map(|mark| (lane.host.as_str(), mark)));
    let mut all: Vec<(&str, &Mark)> = marks.chain(struck.iter().map(|(host, mark)| (*host, mark))).collect();
    all.sort_by_key(|(_, mark)| (mark.at_ms, mark.kind));
    let strong = |mark: &Mark| {
        use MarkKind::{Abort, Event, Fault, Fenced, Restart, TakeOver, Violation};
        matches!(mark.kind, Fault | Restart | TakeOver | Fenced | Event | Abort | Violation)
    };
    let mut chosen: BTreeSet<usize> = (0..all.len()).filter(|index| strong(all[*index].1)).collect();
    for index in taken_up(story, &all) {
        chosen.insert(index);
    }
    let moments: Vec<u64> = chosen.iter().map(|index| all[*index].1.at_ms).collect();
    let near = |mark: &Mark| moments.iter().any(|at| at.abs_diff(mark.at_ms) <= NEAR_MS);
    for (index, (_, mark)) in all.iter().enumerate() {
        let room = chosen.len() < LINES_MAX;
        if room && matches!(mark.kind, MarkKind::Note | MarkKind::Commit) && near(mark) {
            chosen.insert(index);
        }
    }
    let width = story.lanes.iter().map(|lane| lane.host.len()).max().unwrap_or(0);
    let left_out = chosen.len().saturating_sub(LINES_MAX);
    // What happened last is nearest to what broke.
    let mut lines: Vec<String> =
        chosen.iter().skip(left_out).map(|index| line(all[*index], watermark_at(&all, *index), width)).collect();
    if left_out > 0 {
        lines.insert(0, format!("({left_out} earlier lines: segno repro --json has all)"));
    }
    lines
}

/// For each event of the difference and each version, the commit of its partition's task that first goes beyond it.
fn taken_up(story: &Story, all: &[(&str, &Mark)]) -> Vec<usize> {
    let causes = story.first_difference.iter().flat_map(|difference| &difference.causes);
    let mut found = Vec::new();
    for cause in causes {
        let reader = format!("0-{}", cause.partition);
        let mut versions = BTreeSet::new();
        for (index, (_, mark)) in all.iter().enumerate().filter(|(_, (_, mark))| mark.kind == MarkKind::Commit) {
            let Some((task, version)) = mark.task.as_deref().and_then(|task| task.split_once(' ')) else { continue };
            let offset = mark.what.strip_prefix("to offset ").and_then(|offset| offset.parse::<i64>().ok());
            if task == reader && offset.is_some_and(|offset| offset > cause.offset) && versions.insert(version) {
                found.push(index);
            }
        }
    }
    found
}

/// A stretch of trouble as a line where it begins.
fn began(span: &Span) -> Mark {
    let detail = if span.detail.is_empty() { String::new() } else { format!(" {}", span.detail) };
    let what = format!("{}{detail}, for {}", span.what, duration(span.to_ms - span.from_ms));
    Mark { at_ms: span.from_ms, kind: MarkKind::Fault, what, ..Mark::default() }
}

/// The watermark that a commit wrote down.
fn watermark_at(all: &[(&str, &Mark)], commit: usize) -> Option<i64> {
    let (host, commit) = all[commit];
    let same = all.iter().find(|(at, mark)| {
        (mark.kind, mark.at_ms, *at, &mark.task) == (MarkKind::Watermark, commit.at_ms, host, &commit.task)
    });
    same.filter(|_| commit.kind == MarkKind::Commit)?.1.event_time_ms
}

/// A `watermark` is shown where there is one.
fn line((host, mark): (&str, &Mark), watermark: Option<i64>, width: usize) -> String {
    let at = mark.at_ms;
    let task = mark.task.as_ref().map(|task| format!("task {task} ")).unwrap_or_default();
    let verb = match mark.kind {
        MarkKind::Commit => "commits ",
        MarkKind::Abort => "aborts ",
        _ => "",
    };
    let time = mark.event_time_ms.map(|time| format!("  (event time {})", moment(time))).unwrap_or_default();
    let watermark = watermark.map(|time| format!("  (watermark {})", moment(time))).unwrap_or_default();
    format!("{:>3}.{:03}s  {host:<width$}  {task}{verb}{}{time}{watermark}", at / 1_000, at % 1_000, mark.what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cause;
    use crate::story::SpanKind;

    fn mark(at_ms: u64, kind: MarkKind, what: &str) -> Mark {
        Mark { at_ms, kind, what: what.into(), ..Mark::default() }
    }

    fn story() -> Story {
        let mut story = Story::new("p", 7, "race");
        let commit = |at_ms, to: u32, task: &str| Mark {
            task: Some(task.to_owned()),
            ..mark(at_ms, MarkKind::Commit, &format!("to offset {to}"))
        };
        story.lane("worker-1").marks = vec![
            commit(1_500, 40, "0-2 v1"),
            commit(9_000, 42, "0-2 v1"),
            commit(20_000, 44, "0-2 v1"),
            Mark {
                task: Some("0-2 v2".to_owned()),
                event_time_ms: Some(1_767_225_612_000),
                ..mark(30_000, MarkKind::Watermark, "watermark")
            },
            commit(30_000, 90, "0-2 v2"),
        ];
        story.lane("broker").marks =
            vec![mark(8_900, MarkKind::Event, "raw[2]@41 acknowledged"), mark(8_950, MarkKind::Fault, "lost-reply")];
        story.lane("broker").spans = vec![Span {
            kind: SpanKind::Down,
            what: "kill".into(),
            from_ms: 100,
            to_ms: 300,
            detail: "at log-synced".into(),
        }];
        let cause = Cause { topic: "raw".into(), partition: 2, offset: 41, ..Cause::default() };
        story.first_difference = Some(crate::FirstDifference { causes: vec![cause], ..Default::default() });
        story.finish();
        story
    }

    #[test]
    fn the_timeline_has_what_struck_and_the_commits_that_took_the_events_up() {
        assert_eq!(
            lines(&story()),
            [
                "  0.100s  broker    kill at log-synced, for 200ms",
                "  8.900s  broker    raw[2]@41 acknowledged",
                "  8.950s  broker    lost-reply",
                "  9.000s  worker-1  task 0-2 v1 commits to offset 42",
                " 30.000s  worker-1  task 0-2 v2 commits to offset 90  (watermark 2026-01-01 00:00:12.000)",
            ]
        );
    }

    #[test]
    fn a_story_without_end_is_told_from_its_end() {
        let mut story = story();
        story.lane("broker").marks.extend((0..100).map(|n| mark(40_000 + n, MarkKind::Fault, &format!("fault {n}"))));
        let lines = lines(&story);
        assert!(lines[0].starts_with("(65 earlier lines"), "{}", lines[0]);
        assert!(lines[LINES_MAX].ends_with("fault 99"));
    }
}
