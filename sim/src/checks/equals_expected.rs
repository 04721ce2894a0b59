//! Live and replay each equal `expected(log)`, a plain function over the whole log that runs no engine code. Without
//! it, two runs could agree on the same mistake. What is no event has its entry among the rejected records, which says why.

use super::output::{Output, Rejected, Side, compare, compare_rejected, compared, either};
use super::{Case, Check, Violation};

const NAME: &str = "equals-expected";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "live and replay both equal the independent function over the log",
    examined,
    run: check,
};

/// Which of the runs can be compared with an answer.
fn answered(case: &Case<'_>) -> [bool; 2] {
    let liveness = &case.evidence.liveness;
    [liveness.converged, liveness.replay_converged].map(|finished| finished && case.workload.has_expected())
}

/// What has to be among the rejected records.
fn due(case: &Case<'_>) -> Rejected {
    case.source.rejected.iter().map(|place| (*place, 1)).collect()
}

fn examined(case: &Case<'_>) -> u64 {
    let mut asked = 0;
    for ((name, names, output), _) in case.runs().into_iter().zip(answered(case)).filter(|(_, answered)| *answered) {
        let side = Side { name, table: &output.table, late: &output.late };
        let (table, late) = Output::spoken_for(&case.expected.table, &case.expected.late, names);
        let expected = Side { name: "expected", table: &table, late: &late };
        asked += compared(&side, &expected) + either(&output.rejected, &due(case));
    }
    asked
}

fn check(case: &Case<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for ((name, names, output), answered) in case.runs().into_iter().zip(answered(case)) {
        found.extend(output.problems.iter().map(|problem| Violation::new(NAME, format!("{name}: {problem}"))));
        if answered {
            let side = Side { name, table: &output.table, late: &output.late };
            let (table, late) = Output::spoken_for(&case.expected.table, &case.expected.late, names);
            let expected = Side { name: "expected", table: &table, late: &late };
            found.extend(compare(NAME, case, &side, &expected));
            let rejected = (name, names, &output.rejected);
            found.extend(compare_rejected(NAME, case, rejected, ("expected", &due(case))));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;
    use crate::evidence::FromTime;

    fn disk(live_sum: i64, replay_sum: i64) -> Disk {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 100, 1), event("a", 102, 2), watermark(i64::MAX)]);
        disk.plain(LIVE_OUT, 0, &[pane("a", 100, live_sum)]);
        disk.plain(REPLAY_OUT, 0, &[pane("a", 100, replay_sum)]);
        disk
    }

    #[test]
    fn the_right_sums_pass() {
        assert_eq!(messages(&super::CHECK, &evidence(&disk(3, 3))), Vec::<String>::new());
    }

    #[test]
    fn it_is_asked_of_each_run_that_came_to_its_end() {
        let mut evidence = evidence(&disk(3, 3));
        assert_eq!(asked(&super::CHECK, &evidence), 2);
        evidence.liveness.replay_converged = false;
        assert_eq!(asked(&super::CHECK, &evidence), 1);
    }

    #[test]
    fn two_runs_that_agree_on_a_mistake_are_both_caught() {
        let found = messages(&super::CHECK, &evidence(&disk(4, 4)));
        assert!(found[0].contains("row a @ 100: live sum=4, expected sum=3"), "{found:?}");
        assert!(found[1].contains("row a @ 100: replay sum=4, expected sum=3"), "{found:?}");
    }

    #[test]
    fn a_replay_from_a_time_is_asked_for_what_comes_then_and_may_write_nothing_else() {
        let later = |replay: &[Rec]| {
            let mut disk = disk(3, 3);
            disk.plain(SOURCE, 1, &[event("b", 230, 5), watermark(i64::MAX)]);
            disk.plain(LIVE_OUT, 0, &[pane("b", 230, 5)]);
            let mut evidence = evidence(&disk);
            evidence.replay.out_topic = "app.3.out".into();
            evidence.replay.from = Some(FromTime { time: 150, needs: 150, speaks_from: 150 });
            disk.plain("app.3.out", 0, replay);
            evidence.files = disk.files();
            messages(&super::CHECK, &evidence)
        };
        let row = pane("b", 230, 5);
        assert_eq!(later(std::slice::from_ref(&row)), Vec::<String>::new());
        assert_eq!(later(&[]).len(), 1);
        assert_eq!(
            later(&[row, retraction("a", 100)]),
            ["replay: app.3.out[0]@1 is of a window at 100, and this run speaks from 150 on"]
        );
    }

    #[test]
    fn a_rejected_record_has_one_entry_with_its_place_and_a_reason() {
        let said = |live: &[Rec]| {
            let mut disk = Disk::new();
            disk.plain(SOURCE, 0, &[event("a", 100, 3), record(101).key("a").value("poison"), watermark(i64::MAX)]);
            disk.plain(LIVE_OUT, 0, &[pane("a", 100, 3)]);
            disk.plain(REPLAY_OUT, 0, &[pane("a", 100, 3)]);
            disk.plain(REPLAY_REJECTED, 0, &[rejected(0, 1)]);
            if !live.is_empty() {
                disk.plain(LIVE_REJECTED, 0, live);
            }
            messages(&super::CHECK, &evidence(&disk))
        };
        let times = |offset: i64, live: u64, due: u64| {
            format!("rejected records: source[0]@{offset} is there {live} times in live and {due} times in expected")
        };
        assert_eq!(said(&[rejected(0, 1)]), Vec::<String>::new());
        assert_eq!(said(&[]), [times(1, 0, 1)]);
        assert_eq!(said(&[rejected(0, 1), rejected(0, 1)]), [times(1, 2, 1)]);
        assert_eq!(said(&[rejected(0, 0)]), [times(0, 1, 0)]);
        let without_reason = record(101).key([&0i32.to_be_bytes()[..], &1i64.to_be_bytes()].concat());
        assert_eq!(
            said(std::slice::from_ref(&without_reason)),
            ["live: app.1.rejected[0]@0 does not say why its record was rejected"]
        );
        assert_eq!(said(&[without_reason.header("segno.reason", " ")]).len(), 1);
        assert_eq!(
            said(&[rejected(0, 1), rejected(0, 1).key("1")]),
            ["live: app.1.rejected[0]@1 is no rejected record: its key must be partition and offset"]
        );
    }

    #[test]
    fn a_record_of_an_aborted_transaction_is_no_output() {
        let mut disk = disk(3, 3);
        disk.in_transaction(LIVE_OUT, 0, (5, 0), &[pane("a", 100, 77)]);
        disk.marker(LIVE_OUT, 0, (5, 1), false);
        assert_eq!(messages(&super::CHECK, &evidence(&disk)), Vec::<String>::new());
        disk.in_transaction(LIVE_OUT, 0, (5, 1), &[pane("a", 100, 77)]);
        disk.marker(LIVE_OUT, 0, (5, 2), true);
        assert_eq!(messages(&super::CHECK, &evidence(&disk)).len(), 1);
    }

    #[test]
    fn a_key_in_two_partitions_and_undecodable_bytes_are_violations() {
        let mut disk = disk(3, 3);
        disk.plain(LIVE_OUT, 1, &[pane("a", 100, 3)]);
        disk.plain(LIVE_OUT, 0, &[record(0).key("short").value("x")]);
        let found = messages(&super::CHECK, &evidence(&disk));
        assert!(found.iter().any(|message| message.contains("has a key that partition 0 has too")), "{found:?}");
        assert!(found.iter().any(|message| message.contains("cannot be decoded")), "{found:?}");
    }

    #[test]
    fn a_row_that_is_not_expected_is_a_violation() {
        let mut disk = disk(3, 3);
        disk.plain(REPLAY_OUT, 0, &[pane("ghost", 100, 1)]);
        let found = messages(&super::CHECK, &evidence(&disk));
        assert!(found[0].contains("row ghost @ 100: replay sum=1, expected absent"), "{found:?}");
    }
}
