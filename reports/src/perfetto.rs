//! A story as a Chrome trace (`trace.json`), which Perfetto and `chrome://tracing` open.
//!
//! In: a [`Story`]. Out: one JSON document in the trace-event format. Timestamps are virtual microseconds. A process is a
//! host; its threads are tracks: faults, commits, points, and whatever else happened. Watermarks are counters, one a
//! task, in seconds after the first that was seen: an event time would not fit the axis.
//!
//! Invariant: no two spans of one track overlap, for viewers nest them by time alone. What overlaps gets a track more, and
//! what happened in one millisecond on one track stands a microsecond apart, in its order.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Story;
use crate::story::{Lane, MarkKind, SpanKind};

/// The process that is no host. Process 0 would be taken for the idle task.
const RUN: u64 = 1;
/// The tracks of a process; faults that overlap take those after [`FAULTS`].
const EVENTS: u64 = 1;
const COMMITS: u64 = 2;
const POINTS: u64 = 3;
const FAULTS: u64 = 10;

/// The document.
pub fn trace(story: &Story) -> String {
    let mut events = Vec::new();
    events.extend(process(RUN, "run"));
    events.extend(track(RUN, EVENTS, "phases"));
    for phase in &story.phases {
        events.push(span(RUN, EVENTS, &phase.name, "phase", phase.from_ms, phase.to_ms, &json!({})));
    }
    // A property is judged when the run has ended.
    if !story.property.is_empty() {
        let args = detail(first_sentence(&story.message));
        let kind = MarkKind::Violation.name();
        events.push(instant(RUN, EVENTS, micros(story.virtual_ms), &story.property, kind, &args));
    }
    let marks = || story.lanes.iter().flat_map(|lane| &lane.marks);
    let watermarks = marks().filter(|mark| mark.kind == MarkKind::Watermark);
    let zero_ms = watermarks.filter_map(|mark| mark.event_time_ms).min().unwrap_or(0);
    for (index, lane) in story.lanes.iter().enumerate() {
        host(&mut events, RUN + 1 + index as u64, lane, zero_ms);
    }
    let about = json!({
        "schema": story.schema,
        "pipeline": story.pipeline,
        "seed": story.seed.to_string(),
        "property": story.property,
        "clock": "virtual",
        "watermark zero": zero_ms.to_string(),
        "points left out": story.points_left_out.to_string(),
        "reproduce": story.reproduce,
    });
    json!({ "displayTimeUnit": "ms", "otherData": about, "traceEvents": events }).to_string()
}

fn host(events: &mut Vec<Value>, pid: u64, lane: &Lane, zero_ms: i64) {
    events.extend(process(pid, &lane.host));
    for (tid, name) in [(EVENTS, "events"), (COMMITS, "commits"), (POINTS, "points")] {
        events.extend(track(pid, tid, name));
    }
    // When the last span of each fault track ends.
    let mut ends: Vec<u64> = Vec::new();
    for fault in &lane.spans {
        let place = ends.iter().position(|end| *end <= fault.from_ms).unwrap_or_else(|| {
            let name = if ends.is_empty() { "faults".to_owned() } else { format!("faults {}", ends.len() + 1) };
            events.extend(track(pid, FAULTS + ends.len() as u64, &name));
            ends.push(0);
            ends.len() - 1
        });
        // A span without length would be lost to sight.
        let to_ms = fault.to_ms.max(fault.from_ms + 1);
        ends[place] = to_ms;
        let category = match fault.kind {
            SpanKind::Down => "down",
            SpanKind::Paused => "paused",
            SpanKind::Fault => "fault",
        };
        let args = detail(&fault.detail);
        events.push(span(pid, FAULTS + place as u64, &fault.what, category, fault.from_ms, to_ms, &args));
    }
    // Track → the millisecond of its last mark, and how many were in it before that one.
    let mut last: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for mark in &lane.marks {
        let track = match mark.kind {
            MarkKind::Commit | MarkKind::Abort => COMMITS,
            MarkKind::Point => POINTS,
            _ => EVENTS,
        };
        let task = mark.task.as_deref().unwrap_or_default();
        match (mark.kind, mark.event_time_ms) {
            (MarkKind::Watermark, Some(at_ms)) => {
                let seconds = (at_ms - zero_ms) as f64 / 1_000.0;
                let name = format!("watermark {task}");
                // Of the process: a thread would be one more track, without a name.
                events.push(json!({
                    "ph": "C", "pid": pid, "ts": micros(mark.at_ms), "name": name.trim_end(), "args": { "s": seconds },
                }));
            }
            (kind, event_time_ms) => {
                let name = match kind {
                    MarkKind::Commit | MarkKind::Abort => format!("{} {}", kind.name(), mark.what),
                    _ => mark.what.clone(),
                };
                let mut args = json!({});
                if !task.is_empty() {
                    args["task"] = task.into();
                }
                if let Some(at_ms) = event_time_ms {
                    args["event_time"] = crate::text::moment(at_ms).into();
                }
                let before = match last.get(&track) {
                    Some((at_ms, before)) if *at_ms == mark.at_ms => before + 1,
                    _ => 0,
                };
                last.insert(track, (mark.at_ms, before));
                let ts = micros(mark.at_ms) + before.min(MICROS_PER_MS - 1);
                events.push(instant(pid, track, ts, name.trim(), kind.name(), &args));
            }
        }
    }
}

fn process(pid: u64, name: &str) -> [Value; 2] {
    [
        json!({ "ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": { "name": name } }),
        json!({ "ph": "M", "pid": pid, "tid": 0, "name": "process_sort_index", "args": { "sort_index": pid } }),
    ]
}

/// Threads are numbered over all processes: some viewers take a number for one thread wherever it is.
fn thread(pid: u64, track: u64) -> u64 {
    pid * 1_000 + track
}

fn track(pid: u64, track: u64, name: &str) -> [Value; 2] {
    let tid = thread(pid, track);
    [
        json!({ "ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": { "name": name } }),
        json!({ "ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": { "sort_index": track } }),
    ]
}

fn span(pid: u64, track: u64, name: &str, category: &str, from_ms: u64, to_ms: u64, args: &Value) -> Value {
    json!({
        "ph": "X", "pid": pid, "tid": thread(pid, track), "name": name, "cat": category,
        "ts": micros(from_ms), "dur": micros(to_ms.saturating_sub(from_ms)), "args": args,
    })
}

fn instant(pid: u64, track: u64, ts: u64, name: &str, category: &str, args: &Value) -> Value {
    json!({
        "ph": "i", "s": "t", "pid": pid, "tid": thread(pid, track), "ts": ts, "name": name, "cat": category, "args": args,
    })
}

/// Nothing where there is nothing to say.
fn detail(text: &str) -> Value {
    if text.is_empty() { json!({}) } else { json!({ "detail": text }) }
}

fn first_sentence(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    line.split_once(". ").map_or(line, |(first, _)| first)
}

const MICROS_PER_MS: u64 = 1_000;

fn micros(ms: u64) -> u64 {
    ms * MICROS_PER_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::story::{Mark, Span};

    #[test]
    fn a_story_becomes_processes_tracks_and_counters_in_virtual_time() {
        let trace: Value = serde_json::from_str(&trace(&sample::story())).expect("JSON");
        let lines: Vec<String> =
            trace["traceEvents"].as_array().expect("events").iter().map(Value::to_string).collect();
        insta::assert_snapshot!("perfetto", lines.join("\n"));
    }

    fn events(story: &Story) -> Vec<Value> {
        let trace: Value = serde_json::from_str(&trace(story)).expect("JSON");
        trace["traceEvents"].as_array().expect("events").clone()
    }

    #[test]
    fn what_broke_is_marked_where_the_run_ends_and_nothing_is_where_nothing_broke() {
        let mut story = sample::story();
        story.lanes.clear();
        story.message = "it ended at 1.5 s. And more".into();
        let marks = |story: &Story| -> Vec<Value> {
            events(story).into_iter().filter(|event| event["cat"] == "violation").collect()
        };
        let [mark] = &marks(&story)[..] else { panic!("one mark") };
        assert_eq!((&mark["name"], &mark["ts"]), (&json!("replay-equals-live"), &json!(story.virtual_ms * 1_000)));
        assert_eq!(mark["args"], json!({ "detail": "it ended at 1.5 s" }));
        story.property.clear();
        assert_eq!(marks(&story), Vec::<Value>::new());
    }

    #[test]
    fn what_happened_in_one_millisecond_stands_side_by_side_and_within_it() {
        let mut story = Story::new("p", 1, "race");
        let point = |at_ms, n: usize| Mark { at_ms, kind: MarkKind::Point, what: n.to_string(), ..Mark::default() };
        story.lane("broker").marks = (0..1_200).map(|n| point(7, n)).chain([point(8, 1_200)]).collect();
        story.lane("broker").marks.push(Mark { at_ms: 7, kind: MarkKind::Fault, ..Mark::default() });
        story.finish();
        let instants: Vec<Value> = events(&story).into_iter().filter(|event| event["ph"] == "i").collect();
        let points: Vec<(u64, String)> = instants
            .iter()
            .filter(|event| event["cat"] == "point")
            .map(|event| (event["ts"].as_u64().expect("a number"), event["name"].as_str().expect("text").to_owned()))
            .collect();
        assert_eq!(
            points.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>(),
            (0..=1_200).map(|n| n.to_string()).collect::<Vec<_>>()
        );
        assert_eq!([points[0].0, points[1].0, points[999].0, points[1_199].0], [7_000, 7_001, 7_999, 7_999]);
        assert_eq!(points[1_200].0, 8_000);
        assert_eq!(instants[0]["ts"], 7_000, "another track counts for itself");
    }

    #[test]
    fn spans_of_a_track_never_overlap() {
        let mut story = Story::new("p", 1, "race");
        let spans = [(0, 50), (10, 20), (20, 60), (50, 50), (55, 90), (15, 95)];
        story.lane("broker").spans = spans
            .iter()
            .map(|&(from_ms, to_ms)| Span { from_ms, to_ms, what: "f".into(), ..Span::default() })
            .collect();
        story.finish();
        let trace: Value = serde_json::from_str(&trace(&story)).expect("JSON");
        let mut taken: Vec<(u64, u64, u64)> = Vec::new();
        for event in trace["traceEvents"].as_array().expect("events").iter().filter(|event| event["ph"] == "X") {
            let number = |field: &str| event[field].as_u64().expect("a number");
            let (tid, from, to) = (number("tid"), number("ts"), number("ts") + number("dur"));
            assert!(from < to, "{event} cannot be seen");
            let overlapping = taken.iter().find(|other| other.0 == tid && other.1 < to && from < other.2);
            assert_eq!(overlapping, None, "{event}");
            taken.push((tid, from, to));
        }
        assert_eq!(taken.len(), spans.len());
    }
}
