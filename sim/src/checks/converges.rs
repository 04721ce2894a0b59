//! Once everything is healed, live and replay catch up: no lag, no open transaction, the watermark past the last event.
//! Until then some commit brings some group further at least once in the bound of virtual time.

use super::{Case, Check, Violation};

const NAME: &str = "converges";

pub const CHECK: Check = Check {
    name: NAME,
    holds_when: "after healing, commits get further until lag is zero and no transaction is open",
    examined: |case| {
        let second = case.evidence.second_replay.is_some() || case.evidence.liveness.second_replay_missing.is_some();
        2 + u64::from(second)
    },
    run: check,
};

fn check(case: &Case<'_>) -> Vec<Violation> {
    let liveness = &case.evidence.liveness;
    let (second, nothing) = (liveness.second_replay_missing.as_ref(), Vec::new());
    let sides = [
        ("live", liveness.converged, &liveness.missing),
        ("the replay", liveness.replay_converged, &liveness.replay_missing),
        ("the second replay", second.is_none(), second.unwrap_or(&nothing)),
    ];
    let mut found = Vec::new();
    for (name, converged, missing) in sides {
        if !converged {
            let (took, stalled) = (liveness.took_virtual_ms / 1000, liveness.stalled_virtual_ms / 1000);
            let missing = if missing.is_empty() { "it did not end".to_owned() } else { missing.join("; ") };
            let message = format!(
                "{name} was not done {took} s after healing, and nothing had got further for {stalled} s: {missing}"
            );
            found.push(Violation::new(NAME, message));
        }
    }
    if liveness.converged {
        // What the world measured through the client, again from the log alone.
        for partition in 0..case.evidence.source_partitions {
            let log = case.logs.get(&case.evidence.source, partition);
            let watermark = case.source.watermark_before(partition, log.end);
            let last = case.source.records.iter().filter(|record| record.partition == partition);
            let last = last.filter(|record| record.watermark().is_none()).map(|record| record.timestamp).max();
            if let Some(last) = last.filter(|last| watermark <= *last) {
                let message = format!(
                    "{}[{partition}] was called finished while its watermark, {watermark}, had not passed its last event, \
                     {last}",
                    case.evidence.source
                );
                found.push(Violation::new(NAME, message));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::kit::*;

    #[test]
    fn a_run_that_ended_in_time_passes() {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 1, 1), watermark(i64::MAX)]);
        assert_eq!(messages(&super::CHECK, &evidence(&disk)), Vec::<String>::new());
    }

    #[test]
    fn a_run_that_did_not_end_in_time_is_caught_with_what_was_missing() {
        let mut evidence = evidence(&Disk::new());
        evidence.liveness.converged = false;
        evidence.liveness.took_virtual_ms = 82_000;
        evidence.liveness.stalled_virtual_ms = 60_000;
        evidence.liveness.missing = vec!["source-0 has a lag of 3".into(), "app.1.0-0 is open".into()];
        evidence.liveness.replay_converged = false;
        assert_eq!(
            messages(&super::CHECK, &evidence),
            [
                "live was not done 82 s after healing, and nothing had got further for 60 s: source-0 has a lag of 3; app.1.0-0 is open",
                "the replay was not done 82 s after healing, and nothing had got further for 60 s: it did not end"
            ]
        );
    }

    #[test]
    fn a_second_replay_that_comes_to_no_end_is_caught_by_itself() {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 1, 1), watermark(i64::MAX)]);
        disk.plain(LIVE_OUT, 0, &[pane("a", 0, 1)]);
        disk.plain(REPLAY_OUT, 0, &[pane("a", 0, 2)]);
        let mut evidence = evidence(&disk);
        evidence.liveness.second_replay_missing = Some(vec!["task 0-0 of version 3 has not committed".into()]);
        assert_eq!(
            messages(&super::CHECK, &evidence),
            [
                "the second replay was not done 0 s after healing, and nothing had got further for 0 s: task 0-0 of version 3 has not committed"
            ]
        );
        assert_eq!(
            messages(&super::super::replay_equals_live::CHECK, &evidence).len(),
            1,
            "the first replay is compared all the same"
        );
    }

    #[test]
    fn a_partition_whose_watermark_stands_before_its_last_event_is_not_finished() {
        let mut disk = Disk::new();
        disk.plain(SOURCE, 0, &[event("a", 100, 1)]);
        let found = messages(&super::CHECK, &evidence(&disk));
        assert!(found[0].contains("source[0] was called finished while its watermark, 95"), "{found:?}");
    }
}
