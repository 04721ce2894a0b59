//! The final table, the late set and the rejected records of the replay are those of live: the output is a function of the
//! log. Of a replay from a time: those of the windows that it speaks for, and of the records that it must read.

use super::output::{Output, Side, compare, compare_rejected, compared, either};
use super::{Case, Check, Violation};

const NAME: &str = "replay-equals-live";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "the replay's final table, late set and rejected records are those of live",
    examined,
    run: check,
};

/// Otherwise one side is unfinished, and `converges` says so.
fn finished(case: &Case<'_>) -> bool {
    case.evidence.liveness.converged && case.evidence.liveness.replay_converged
}

fn examined(case: &Case<'_>) -> u64 {
    if !finished(case) {
        return 0;
    }
    let (table, late) = Output::spoken_for(&case.live.table, &case.live.late, &case.evidence.replay);
    let live = Side { name: "live", table: &table, late: &late };
    let replay = Side { name: "replay", table: &case.replay.table, late: &case.replay.late };
    compared(&live, &replay) + either(&case.live.rejected, &case.replay.rejected)
}

fn check(case: &Case<'_>) -> Vec<Violation> {
    if !finished(case) {
        return Vec::new();
    }
    let (table, late) = Output::spoken_for(&case.live.table, &case.live.late, &case.evidence.replay);
    let live = Side { name: "live", table: &table, late: &late };
    let replay = Side { name: "replay", table: &case.replay.table, late: &case.replay.late };
    let mut found = compare(NAME, case, &live, &replay);
    let rejected = ("replay", &case.evidence.replay, &case.replay.rejected);
    found.extend(compare_rejected(NAME, case, rejected, ("live", &case.live.rejected)));
    found
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;
    use crate::evidence::FromTime;

    fn runs(replay_sum: i64, replay_late: &[(i32, i64, i64)]) -> Vec<String> {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 100, 1), event("b", 101, 5), event("a", 102, 2), watermark(i64::MAX)]);
        disk.plain(LIVE_OUT, 0, &[pane("a", 100, 1), pane("a", 100, 3), pane("b", 100, 5), pane("c", 100, 9)]);
        disk.plain(LIVE_OUT, 0, &[retraction("c", 100)]);
        disk.plain(LIVE_LATE, 0, &[late(0, 2, 100)]);
        disk.plain(REPLAY_OUT, 0, &[pane("b", 100, 5), pane("a", 100, replay_sum)]);
        for &(partition, offset, window) in replay_late {
            disk.plain(REPLAY_LATE, 0, &[late(partition, offset, window)]);
        }
        messages(&super::CHECK, &evidence(&disk))
    }

    #[test]
    fn equal_tables_pass_whatever_panes_came_before() {
        assert_eq!(runs(3, &[(0, 2, 100)]), Vec::<String>::new());
    }

    #[test]
    fn a_row_that_differs_is_named_with_both_values() {
        let [message] = runs(4, &[(0, 2, 100)]).try_into().expect("one violation");
        assert!(message.contains("row a @ 100: live sum=3, replay sum=4; 1 of 2 rows differ"), "{message}");
    }

    #[test]
    fn a_late_record_that_only_one_run_saw_is_named() {
        let [message] = runs(3, &[]).try_into().expect("one violation");
        assert!(message.contains("source[0]@2 for the window at 100 is there 1 times in live and 0 times in replay"));
    }

    #[test]
    fn a_rejected_record_that_only_one_run_wrote_is_named_unless_the_other_need_not_have_read_it() {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[record(100).key("a").value("poison"), watermark(i64::MAX)]);
        disk.plain(LIVE_REJECTED, 0, &[rejected(0, 0)]);
        let mut evidence = evidence(&disk);
        assert_eq!(
            messages(&super::CHECK, &evidence),
            ["rejected records: source[0]@0 is there 0 times in replay and 1 times in live"]
        );
        evidence.replay.from = Some(FromTime { time: 150, needs: 101, speaks_from: 150 });
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
        evidence.replay.from = Some(FromTime { time: 150, needs: 100, speaks_from: 150 });
        assert_eq!(messages(&super::CHECK, &evidence).len(), 1);
        disk.plain(REPLAY_REJECTED, 0, &[rejected(0, 0)]);
        evidence.files = disk.files();
        assert_eq!(messages(&super::CHECK, &evidence), Vec::<String>::new());
    }

    #[test]
    fn it_is_asked_of_what_is_compared_and_of_nothing_else() {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 100, 1), event("b", 200, 5), watermark(i64::MAX)]);
        disk.plain(LIVE_OUT, 0, &[pane("a", 100, 1), pane("b", 200, 5)]);
        disk.plain(LIVE_LATE, 0, &[late(0, 0, 100)]);
        disk.plain(REPLAY_OUT, 0, &[pane("b", 200, 5), pane("c", 200, 1)]);
        disk.plain(REPLAY_REJECTED, 0, &[rejected(0, 1)]);
        let mut evidence = evidence(&disk);
        // Rows a, b and c, a late entry, a rejected one.
        assert_eq!(asked(&super::CHECK, &evidence), 5);
        evidence.replay.from = Some(FromTime { time: 150, needs: 150, speaks_from: 150 });
        assert_eq!(asked(&super::CHECK, &evidence), 3);
        evidence.liveness.replay_converged = false;
        assert_eq!(asked(&super::CHECK, &evidence), 0);
    }

    #[test]
    fn the_first_difference_names_the_records_of_its_key() {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 100, 1), event("b", 101, 5), event("a", 102, 2)]);
        disk.plain(LIVE_OUT, 0, &[pane("a", 100, 3)]);
        let violations = run(&super::CHECK, &evidence(&disk));
        let difference = violations[0].first_difference.clone().expect("tables differ");
        assert_eq!((difference.key.as_str(), difference.window_start_ms), ("a", 100));
        assert_eq!(difference.replay, None);
        let offsets: Vec<i64> = difference.causes.iter().map(|cause| cause.offset).collect();
        assert_eq!(offsets, [0, 2]);
        assert_eq!(difference.causes[1].behind_watermark_ms, Some(101 - shape().bound.0 - 102));
    }
}
