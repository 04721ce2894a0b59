//! Reports and a story for the tests of everything that is made of them.

use crate::story::{Lane, Mark, MarkKind, PhaseSpan, Shrunk, Span, SpanKind};
use crate::{
    Campaign, Cause, FaultCount, FirstDifference, GateReport, PaneCounts, RecordCounts, Row, SeedReport, Story, Tier,
    Verdict, Violation,
};

const WINDOW_MS: i64 = 1_795_255_320_000;
const RUN_DIR: &str = "runs/20261121-031007-gate";

pub fn seed(pipeline: &str, number: u64, tier: Tier) -> SeedReport {
    let mut seed = SeedReport::empty(pipeline, number, tier);
    seed.trace_hash = "00112233445566778899aabbccddeeff".into();
    seed.steps = 18_204;
    seed.virtual_ms = 14_480;
    seed.wall_ms = 312;
    seed.records = RecordCounts { ingested: 1_140, late: 12, duplicates: 31, out_of_order: 207 };
    seed.panes = PaneCounts { live: 88, replay: 88 };
    for (kind, phase, injected, effective, visible) in
        [("power-cut", "live", 2, 2, 1), ("power-cut", "replay", 1, 0, 0), ("lost-reply", "live", 1, 1, 1)]
    {
        let count = FaultCount { injected, effective, visible };
        seed.faults.entry(kind.into()).or_default().add(&count);
        seed.faults_by_phase.entry(kind.into()).or_default().insert(phase.into(), count);
    }
    seed.examined.insert("lost-write".into(), 1_140);
    seed.examined.insert("replay-equals-live".into(), 88);
    seed.examined.insert("loud-gap".into(), u64::from(pipeline == "clickstream-sessions"));
    seed.states.insert("crash-between-flush-and-commit".into(), 1);
    seed.states.insert("session-bridge-after-emission".into(), 0);
    seed
}

pub fn difference() -> FirstDifference {
    let row = |views: i64| Row::from([("user_id".into(), "user-17".into()), ("views".into(), views.into())]);
    let cause = |partition, offset: i64, at: i64, behind| Cause {
        topic: "clickstream.raw".into(),
        partition,
        offset,
        event_time_ms: WINDOW_MS + at,
        behind_watermark_ms: behind,
        part: if offset == 41 { "replay is as if it were there twice".into() } else { String::new() },
    };
    FirstDifference {
        key: "user-17".into(),
        window_start_ms: WINDOW_MS,
        live: Some(row(3)),
        replay: Some(row(4)),
        expected: Some(row(3)),
        rows_different: 1,
        causes: vec![cause(2, 38, 0, None), cause(2, 41, 9_000, Some(3_000)), cause(2, 44, 60_000, Some(-500))],
    }
}

pub fn violation() -> Violation {
    Violation {
        property: "replay-equals-live".into(),
        pipeline: "clickstream-sessions".into(),
        seed: 7312,
        tier: "race".into(),
        plan: format!("{RUN_DIR}/7312.plan.toml"),
        story_file: format!("{RUN_DIR}/7312.story.json"),
        reproduce: format!("segno repro {RUN_DIR}/7312.plan.toml"),
        message: "row user-17 @ 1795255320000: live views=3, replay views=4; 1 of 88 rows differ".into(),
        first_difference: Some(difference()),
        story: vec![" 14.120s  worker-1: power-cut".into(), " 14.480s  worker-1: restores to offset 40".into()],
        shrunk_plan: format!("{RUN_DIR}/7312.shrunk.plan.toml"),
        shrunk: Some(crate::story::Shrunk { faults: 2, events: 6, partitions: 1, hosts: 1, ..Default::default() }),
        seeds: vec![41, 7312, 7400],
        ..Violation::default()
    }
}

pub fn pass() -> GateReport {
    let mut report = GateReport::new(vec!["clickstream-minutes".into(), "clickstream-sessions".into()], 2);
    report.add(&seed("clickstream-minutes", 0, Tier::Race));
    report.add(&seed("clickstream-sessions", 1, Tier::Soak));
    report.add_doubled(None);
    report.states_required = ["crash-between-flush-and-commit".to_owned()].into();
    report.campaign = Some(Campaign { pipelines: report.pipelines.clone(), whole: true, ..Campaign::default() });
    report.wall_ms = 41_200;
    report.run_dir = RUN_DIR.into();
    report.finish();
    report
}

pub fn violated() -> GateReport {
    let mut report = GateReport::new(vec!["clickstream-sessions".into()], 150);
    let mut bad = seed("clickstream-sessions", 7312, Tier::Race);
    bad.verdict = Verdict::Violation;
    bad.violations.push(violation());
    report.add(&bad);
    report.states_required = ["session-bridge-after-emission".to_owned()].into();
    report.seeds_failed = 1;
    report.inconclusive("1 of 150 seeds ran before it was interrupted");
    report.interrupted = true;
    report.wall_ms = 700;
    report.run_dir = RUN_DIR.into();
    report.finish();
    report
}

/// A worker loses power between flush and commit; the broker's link is slow meanwhile.
pub fn story() -> Story {
    let violation = violation();
    let mut story = Story::new(violation.pipeline, violation.seed, violation.tier);
    story.property = violation.property;
    story.message = violation.message;
    story.reproduce = violation.reproduce;
    story.first_difference = violation.first_difference;
    story.shrunk =
        Some(Shrunk { faults_before: 7, faults: 2, events_before: 140, events: 6, runs: 41, ..Shrunk::default() });
    let phase = |name: &str, from_ms, to_ms| PhaseSpan { name: name.into(), from_ms, to_ms };
    story.phases = vec![
        phase("setup", 0, 60),
        phase("live", 60, 1_400),
        phase("heal", 1_400, 1_800),
        phase("replay", 1_800, 2_400),
    ];
    let mark = |at_ms, kind, what: &str| Mark { at_ms, kind, what: what.into(), ..Mark::default() };
    let commit = |at_ms, offset: u32, watermark: i64| {
        let task = Some("0-2 v1".to_owned());
        let commit = Mark { task: task.clone(), ..mark(at_ms, MarkKind::Commit, &format!("to offset {offset}")) };
        let what = Mark { task, ..mark(at_ms, MarkKind::Watermark, "watermark") };
        [commit, Mark { event_time_ms: Some(WINDOW_MS + watermark), ..what }]
    };
    let broker = Lane {
        host: "broker".into(),
        spans: vec![Span {
            kind: SpanKind::Fault,
            what: "slow-disk".into(),
            from_ms: 420,
            to_ms: 980,
            detail: "every sync takes 40 ms longer".into(),
        }],
        marks: vec![
            mark(420, MarkKind::Fault, "slow-disk"),
            mark(300, MarkKind::Event, "clickstream.raw[2]@38"),
            mark(505, MarkKind::Event, "clickstream.raw[2]@41"),
        ],
    };
    let mut worker = Lane {
        host: "worker-1".into(),
        spans: vec![Span {
            kind: SpanKind::Down,
            what: "power-cut".into(),
            from_ms: 720,
            to_ms: 1_080,
            detail: "at task-state-flushed".into(),
        }],
        marks: vec![
            mark(720, MarkKind::Fault, "power-cut at task-state-flushed"),
            mark(1_080, MarkKind::Restart, "starts again"),
            mark(700, MarkKind::Point, "task-state-flushed"),
        ],
    };
    worker.marks.extend((1..7).flat_map(|n| commit(n * 100, n as u32 * 7, n as i64 * 8_000)));
    worker.marks.extend((11..14).flat_map(|n| commit(n * 100, n as u32 * 7, n as i64 * 8_000)));
    worker.marks.push(mark(2_400, MarkKind::Violation, "replay-equals-live"));
    story.lanes = vec![worker, broker];
    story.finish();
    story
}
