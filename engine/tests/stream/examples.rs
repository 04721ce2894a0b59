//! The cases that break engines, one by one, as text: events in, table and late records out.
//!
//! `k@5` is an event of key k at 5, `k@5!` a copy of the event of that key and time, `wm 9` a marker, `end` the end
//! marker, `fire` and `commit` and `crash` what the worker does there.

use std::fmt::Write as _;

use engine::types::TopicPartition;

use super::memory::{Log, Running};
use super::shape::{Event, Shape, TOPIC, Windows, deployment, fill};

const SHAPE: Shape = Shape {
    partitions: 1,
    bound: 0,
    repartitions: None,
    horizon: None,
    windows: Windows::Sessions(10),
    lateness: 0,
    second: None,
};

/// Runs one partition through one task and compares the rows: `key [start, end) count`, then the late offsets.
fn check(shape: Shape, script: &str, expected: &str) {
    let deployment = deployment(&shape);
    let mut log = Log::default();
    let mut events = Vec::new();
    for word in script.split_whitespace() {
        if let Some((key, at)) = word.split_once('@') {
            let at = at.trim_end_matches('!').parse().expect("a time");
            // The id is the time: a copy is an event of the same time, where ids matter.
            events.push(Event::Click { at, key: key.as_bytes()[0] - b'a', id: at as u8, amount: 1 });
        } else if word == "end" {
            events.push(Event::Marker { watermark: i64::MAX });
        } else if let Some(watermark) = word.strip_prefix("wm=") {
            events.push(Event::Marker { watermark: watermark.parse().expect("a watermark") });
        }
    }
    fill(&mut log, &shape, &[events]);
    let id = deployment.tasks()[0];
    let mut task = Running::start(&log, &deployment, id);
    for word in script.split_whitespace() {
        match word {
            "fire" => task.fire(),
            "commit" => task.commit(&mut log),
            "crash" => task = Running::start(&log, &deployment, id),
            _ => assert_eq!(task.process(&log, 1), 1, "{word}"),
        }
    }
    task.commit(&mut log);
    let mut text = String::new();
    for (key, value) in log.table(&deployment.out_topic()) {
        let (key, start) = key.split_at(key.len() - 8);
        let start = i64::from_be_bytes(start.try_into().expect("8 bytes"));
        let value = String::from_utf8(value).expect("text");
        let words: Vec<&str> = value.split(' ').collect();
        let key = (key[3] - b'0' + b'a') as char;
        write!(text, "{key}[{start},{}) {}  ", words[1], words[3]).expect("a string grows");
    }
    let late = log.records(&TopicPartition::new(deployment.late_topic(), 0));
    for record in late {
        write!(text, "late@{}  ", record.timestamp).expect("a string grows");
    }
    assert_eq!(text.trim_end(), expected, "{script}");
    assert!(!log.records(&TopicPartition::new(TOPIC, 0)).is_empty());
}

#[test]
fn events_exactly_one_gap_apart_are_one_session_and_one_more_are_two() {
    check(SHAPE, "a@0 a@10 end", "a[0,21) 2");
    check(SHAPE, "a@0 a@11 end", "a[0,11) 1  a[11,22) 1");
}

#[test]
fn the_end_of_a_session_is_exact_for_the_watermark_too() {
    check(SHAPE, "a@0 wm=10 fire", "");
    check(SHAPE, "a@0 wm=11 fire", "a[0,11) 1");
}

#[test]
fn a_late_event_bridges_two_sessions_whose_panes_are_out() {
    let shape = Shape { lateness: 100, ..SHAPE };
    check(shape, "a@0 a@20 wm=40 fire", "a[0,11) 1  a[20,31) 1");
    check(shape, "a@0 a@20 wm=40 fire commit a@10", "a[0,31) 3");
    check(shape, "a@0 a@20 wm=40 fire commit crash a@10 crash a@10", "a[0,31) 3");
    check(shape, "a@0 a@20 wm=25 fire a@10", "");
}

#[test]
fn a_record_may_be_on_time_for_a_session_whose_pane_is_out() {
    // own watermark 11 < 8 + 10 + 1, and the session [0, 11) is out: without keeping it for 2 gaps, there would be two.
    check(SHAPE, "a@0 wm=11 fire commit a@8 end", "a[0,19) 2");
    check(SHAPE, "a@0 wm=18 fire commit a@8 end", "a[0,19) 2");
    check(SHAPE, "a@0 wm=19 fire commit a@8 end", "a[0,11) 1  late@8");
}

#[test]
fn a_changed_session_whose_end_is_ahead_is_not_out() {
    check(SHAPE, "a@0 wm=11 fire commit a@10", "");
    check(SHAPE, "a@0 wm=11 fire commit a@10 wm=21", "a[0,21) 2");
}

#[test]
fn a_stale_row_goes_when_a_second_change_moves_the_start() {
    let shape = Shape { lateness: 100, ..SHAPE };
    check(shape, "a@20 wm=60 fire a@25 a@12", "a[12,36) 3");
    check(shape, "a@20 wm=60 fire a@25 a@12 fire a@5 a@30 commit crash a@0", "a[0,41) 6");
}

#[test]
fn equal_times_and_negative_times_count() {
    check(SHAPE, "a@-26 a@-15 a@-5 a@-5 end", "a[-26,-15) 1  a[-15,6) 3");
    let minutes = Shape { windows: Windows::Tumbling(10), ..SHAPE };
    check(minutes, "a@-11 a@-10 a@-1 a@0 wm=10", "a[0,10) 1  a[-20,-10) 1  a[-10,0) 2");
}

#[test]
fn a_tumbling_window_takes_late_events_until_its_lateness_ends() {
    let shape = Shape { windows: Windows::Tumbling(10), lateness: 5, ..SHAPE };
    check(shape, "a@1 wm=10 fire commit a@2 wm=14 a@3 wm=15 a@4", "a[0,10) 3  late@4");
}

#[test]
fn only_the_partitions_own_watermark_judges_and_a_record_does_not_judge_itself() {
    check(SHAPE, "a@0 a@100 b@90 b@89 end", "a[0,11) 1  a[100,111) 1  b[90,101) 1  late@89");
}

#[test]
fn copies_are_dropped_until_the_horizon_and_do_not_renew() {
    let shape = Shape { horizon: Some(11), ..SHAPE };
    check(shape, "a@0 a@0! commit crash a@0! end", "a[0,11) 1");
    // At watermark 10 the copy is one still; at 11 it is kept, and late.
    check(shape, "a@0 wm=10 a@0! wm=11 a@0! end", "a[0,11) 1  late@0");
}

#[test]
fn a_partition_with_nothing_but_its_end_is_finished() {
    check(SHAPE, "end", "");
    check(SHAPE, "end a@0", "late@0");
}

#[test]
fn a_changelog_that_does_not_belong_to_the_groups_offsets_is_a_fault_that_names_both() {
    let deployment = deployment(&SHAPE);
    let mut log = Log::default();
    fill(&mut log, &SHAPE, &[vec![Event::Click { at: 0, key: 0, id: 0, amount: 1 }; 4]]);
    let id = deployment.tasks()[0];
    let mut task = Running::start(&log, &deployment, id);
    task.process(&log, 2);
    task.commit(&mut log);

    let mut core = deployment.task(id);
    let changelog = core.changelog().expect("a changelog").clone();
    for record in log.records(&changelog) {
        core.restore(&record.record()).expect("restores");
    }
    let fault = core.restored(&[Some(engine::types::Offset(1))]).expect_err("offsets of another commit");
    assert_eq!(
        fault.to_string(),
        "changelog app.v1.first-changelog-0 ends with a commit of offsets Some([2]), the group has committed [Some(1)]"
    );

    let mut core = deployment.task(id);
    for record in log.records(&changelog).iter().filter(|record| record.key.as_deref() != Some(b"\x01p0k0")) {
        core.restore(&record.record()).expect("restores");
    }
    let fault = core.restored(&[Some(engine::types::Offset(2))]).expect_err("state is missing");
    assert!(fault.to_string().contains("the state digest is 0000000000000000"), "{fault}");
}
