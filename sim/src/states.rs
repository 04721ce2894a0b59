//! The rare states that a campaign keeps count of. One line each; a new state is a line here and a count where it is met.
//!
//! In: nothing. Out: names, what they mean, and which of them the default gate must have seen.
//!
//! Invariant: whatever is counted has a line here, so that a report can say of each that it was reached n times, or never.

use engine::env::Point;

/// A state that is easy to describe and hard to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub name: &'static str,
    /// What is the case then, in a sentence.
    pub meaning: &'static str,
    /// The default gate is inconclusive without it.
    pub required: bool,
}

const fn rare(name: &'static str, meaning: &'static str) -> State {
    State { name, meaning, required: false }
}

const fn must(name: &'static str, meaning: &'static str) -> State {
    State { name, meaning, required: true }
}

/// Bytes of a log that are written and not synced when a fault ends the broker.
pub const WRITTEN_AND_UNSYNCED: &str = "crash-between-write-and-sync";

/// Every state, by what it is about.
pub const ALL: &[State] = &[
    // A process ends between two steps.
    must("crash-between-flush-and-commit", "A task dies with outputs in its transaction and nothing decided."),
    rare("crash-inside-a-commit-without-outputs", "A task dies in a commit with no output in it, and nothing decided."),
    must("crash-between-decision-and-end", "The broker dies after a decision, with markers still to be seen to."),
    rare("crash-between-markers-and-end", "The broker dies with every marker in its log, and no completion."),
    must(WRITTEN_AND_UNSYNCED, "A fault ends the broker with bytes of a log written and not synced."),
    rare("crash-between-sync-and-answer", "The broker dies with bytes durable and nobody told."),
    rare("crash-while-rolling", "The broker dies between two segments, or beside a new recovery point."),
    rare("crash-around-trim", "A process dies while the beginning of a log goes away."),
    rare(
        "crash-between-snapshot-and-trim",
        "A task dies with a snapshot committed and the changelog before it still there.",
    ),
    rare("crash-between-rewrite-and-trim", "The broker dies with a log of its own there twice."),
    rare("crash-after-commit", "A task dies when its commit is answered and before it goes on."),
    rare("crash-before-a-batch", "A task dies with a batch fetched, and none of it processed."),
    rare("crash-after-a-batch", "A task dies with a batch processed, and what came of it not committed."),
    rare("crash-inside-a-cut", "A task dies with a cut taken, and its commit not begun."),
    rare("crash-while-stopping", "A task dies when it is asked to stop, before its last commit."),
    rare("crash-with-request-under-way", "A process dies between a request and what it does with the reply."),
    rare("crash-around-timeout-or-takeover", "The broker dies while it aborts what a producer left open."),
    must("crash-during-restore", "A task dies while it restores: the second fault inside the recovery from the first."),
    rare("crash-during-recovery", "The broker dies while it recovers, or with a torn tail half cut."),
    rare("crash-at-another-point", "A process dies at a point without a state of its own."),
    // A process stops and goes on.
    rare("pause-inside-a-write", "The broker stops inside a write, a roll, a cut or a trim of a log, and goes on."),
    rare("pause-inside-a-conclusion", "The broker stops between a decision and its completion, and goes on."),
    rare("pause-beside-a-decision", "The broker stops before a transaction's decision, or after its end, and goes on."),
    rare("pause-inside-a-commit", "A task stops between two steps of its loop, and goes on."),
    rare("pause-inside-recovery", "A host stops inside its recovery, and goes on."),
    rare("pause-at-another-point", "A host stops at a point without a state of its own, and goes on."),
    must("zombie-fenced", "An instance that was paused comes back to find its task taken over."),
    must("several-zombies-at-once", "Two workers or more wake up to find their tasks taken over."),
    must("transaction-timed-out", "The broker aborts a transaction that was open for too long."),
    must("transaction-taken-over", "A successor finds its predecessor's transaction open."),
    must("restarted-with-other-workers", "All workers end, and another number of them carries on."),
    must("stopped-gracefully", "A process is asked to stop, and commits or closes what it has."),
    // What a disk does.
    must("unsynced-bytes-lost", "A power cut takes bytes that were written and not synced."),
    must("torn-write", "Part of a write survives its crash."),
    rare("garbage-in-place-of-bytes", "A power cut leaves zeros or old bytes where a write should be."),
    must("unsynced-names-lost", "A power cut undoes the creation, removal or renaming of a file."),
    rare("cut-undone-by-power-cut", "A power cut brings a torn tail back that recovery had cut off."),
    must("torn-tail-recovered", "Recovery cuts a log where it is no longer whole."),
    must("pages-lost-by-a-failed-sync", "A sync fails, and the bytes that it was for are gone."),
    must("damage-refused-to-reader", "A reader meets a flipped bit, and is refused instead of served."),
    rare("damage-refused-to-restore", "A task reads its changelog back, meets a flipped bit, and is refused."),
    rare("damage-refused-downstream", "A task meets a flipped bit in what another task sent it, and is refused."),
    rare("damage-refused-at-start", "The broker meets a flipped bit in a log of its own, and does not start."),
    // What the logs go through.
    must("segment-rolled", "A segment is full, and the next begins."),
    must("state-restored", "A task reads its changelog back."),
    must("restored-from-snapshot", "A changelog has lost its beginning, and what it begins with stands in for it."),
    must("changelog-trimmed", "What came before a snapshot is deleted."),
    must("internal-log-rewritten", "A log of the broker's own says everything anew, and forgets what came before."),
    must("needed-offset-gone", "A run needs records that were deleted."),
    rare("retention-under-a-running-replay", "The log's beginning goes away under a replay that is reading it."),
    rare("replay-outran-retention", "The log's beginning goes away behind a replay that had already read it."),
    rare("retention-by-time", "Everything older than a moment is deleted."),
    rare("retention-by-size", "Everything but the last bytes is deleted."),
    // What clients meet.
    must("aborted-transaction", "A transaction is aborted, and readers of committed data step over it."),
    must("send-in-doubt", "A send has no answer: it may be in the log or not."),
    // How a pipeline is run.
    must("more-workers-than-tasks", "Some workers have nothing to do."),
    rare("embedded-tasks", "Tasks run in the broker's own process."),
    rare("remote-tasks", "Tasks run far from the broker."),
    rare("repartitioned", "Records travel to the owner of their key through a topic."),
    rare("replay-beside-live", "Tasks of a replay begin while those of the live version still run."),
    rare("replay-by-fewer-hosts", "A replay is run by another number of hosts than live."),
    must("replay-from-a-timestamp", "A replay starts at a time with events before it and after, and gets to its end."),
    rare("start-above-a-deleted-beginning", "A replay starts at a time, on a log without what came before."),
    rare("start-refused-for-what-is-gone", "A replay is to start at a time of which the log has lost records."),
    rare("second-replay", "The log is replayed twice, and both get to their end."),
    // What the events are.
    must("empty-log", "There is not one event."),
    rare("one-record-log", "The whole log is one event."),
    must("late-event-after-close", "An event comes when its window is closed."),
    must("session-bridge-after-emission", "An event joins two sessions whose panes are out."),
    must("emitted-pane-changed", "An event changes a pane that is out."),
    must("pane-retracted", "A pane that is out is taken back."),
    must("pane-taken-back", "A pane that went into a second window is taken back from it."),
    must("row-without-contributors", "A second window loses the last pane that it was made of."),
    rare("panes-restored-from-two-tasks", "A task that reads panes is restored with what two others or more had sent."),
    must("duplicate-dropped", "An event comes a second time within the horizon."),
    must("poison-record-rejected", "A record that cannot be decoded goes to the rejected topic, with the reason."),
    must("schema-change-mid-log", "A record is written with another schema than those before it."),
    rare("exact-gap", "Two events are exactly as far apart as still makes one session, or on a window's edge."),
    rare("idle-partition", "A partition has nothing to say for a while, and only its markers move it."),
    rare("unused-partition", "A partition never has an event."),
    rare("hot-key", "Most events are of one key."),
    rare("equal-timestamps", "Two events of a key have one event time."),
];

/// The state with this name.
pub fn named(name: &str) -> Option<&'static State> {
    ALL.iter().find(|state| state.name == name)
}

/// Those that the default gate must have seen.
pub fn required() -> impl Iterator<Item = &'static str> {
    ALL.iter().filter(|state| state.required).map(|state| state.name)
}

/// What a crash at a point is called; `outputs` when a task that dies of it has written any into its open transaction.
pub fn of_crash(point: Point, outputs: bool) -> &'static str {
    match point {
        Point::TaskOutputsFlushed | Point::TaskStateFlushed | Point::TaskOffsetsSent => match outputs {
            true => "crash-between-flush-and-commit",
            false => "crash-inside-a-commit-without-outputs",
        },
        Point::TaskPolled => "crash-before-a-batch",
        Point::TaskProcessed => "crash-after-a-batch",
        Point::TaskCut => "crash-inside-a-cut",
        Point::TaskStopping => "crash-while-stopping",
        Point::TaskCommitted => "crash-after-commit",
        Point::TaskSnapshotCommitted => "crash-between-snapshot-and-trim",
        Point::TaskTrimmed | Point::LogBeforeStartMoves | Point::LogStartMoved | Point::LogSegmentsRemoved => {
            "crash-around-trim"
        }
        Point::BrokerLogRewritten => "crash-between-rewrite-and-trim",
        Point::TaskRestoreBegin | Point::TaskRestoreSnapshot | Point::TaskRestoreMiddle | Point::TaskRestoreEnd => {
            "crash-during-restore"
        }
        Point::BrokerRecovered | Point::LogBeforeTruncate | Point::LogTruncated => "crash-during-recovery",
        Point::TxnDecided | Point::TxnBeforeMarker => "crash-between-decision-and-end",
        // All markers are appended before the first is waited for.
        Point::TxnMarkerWritten | Point::TxnMarkersWritten => "crash-between-markers-and-end",
        Point::TxnTakenOver | Point::TxnTimedOut => "crash-around-timeout-or-takeover",
        Point::LogWritten => WRITTEN_AND_UNSYNCED,
        Point::LogSynced => "crash-between-sync-and-answer",
        Point::LogBeforeRoll | Point::LogRolled | Point::LogIndexWritten | Point::LogRecoveryPointWritten => {
            "crash-while-rolling"
        }
        Point::ClientSent | Point::ClientReplied => "crash-with-request-under-way",
        _ => "crash-at-another-point",
    }
}

/// What a pause at a point is called.
pub fn of_pause(point: Point) -> &'static str {
    match point {
        Point::TaskRestoreBegin
        | Point::TaskRestoreSnapshot
        | Point::TaskRestoreMiddle
        | Point::TaskRestoreEnd
        | Point::BrokerRecovered => "pause-inside-recovery",
        Point::TxnDecided | Point::TxnBeforeMarker | Point::TxnMarkerWritten | Point::TxnMarkersWritten => {
            "pause-inside-a-conclusion"
        }
        _ => match point.name().split_once('-') {
            Some(("txn", _)) => "pause-beside-a-decision",
            Some(("log", _)) => "pause-inside-a-write",
            Some(("task", _)) => "pause-inside-a-commit",
            _ => "pause-at-another-point",
        },
    }
}

/// What it is called that a point was passed at all, if that is rare.
pub fn of_passing(point: Point) -> Option<&'static str> {
    Some(match point {
        Point::LogTruncated => "torn-tail-recovered",
        Point::LogRolled => "segment-rolled",
        Point::TaskRestoreMiddle => "state-restored",
        Point::TaskRestoreSnapshot => "restored-from-snapshot",
        Point::TaskTrimmed => "changelog-trimmed",
        Point::BrokerLogRewritten => "internal-log-rewritten",
        Point::TxnTimedOut => "transaction-timed-out",
        Point::TxnTakenOver => "transaction-taken-over",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_state_has_a_name_of_its_own_and_a_sentence() {
        let names: BTreeSet<&str> = ALL.iter().map(|state| state.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.len() >= 40, "{}", ALL.len());
        for State { name, meaning, .. } in ALL {
            assert!(meaning.ends_with('.') && meaning.len() < 100, "{name}: {meaning}");
        }
    }

    #[test]
    fn what_happens_at_a_point_has_a_line_here() {
        for point in Point::ALL {
            let crashes = [of_crash(*point, false), of_crash(*point, true)];
            for name in crashes.into_iter().chain([of_pause(*point)]).chain(of_passing(*point)) {
                assert!(named(name).is_some(), "{name} at {}", point.name());
            }
        }
    }

    #[test]
    fn a_state_is_counted_at_the_points_where_its_sentence_is_true() {
        for (point, crash, pause) in [
            (Point::TxnBeforeOngoing, "crash-at-another-point", "pause-beside-a-decision"),
            (Point::TxnBeforeDecision, "crash-at-another-point", "pause-beside-a-decision"),
            (Point::TxnDecided, "crash-between-decision-and-end", "pause-inside-a-conclusion"),
            (Point::TxnBeforeMarker, "crash-between-decision-and-end", "pause-inside-a-conclusion"),
            (Point::TxnMarkerWritten, "crash-between-markers-and-end", "pause-inside-a-conclusion"),
            (Point::TxnMarkersWritten, "crash-between-markers-and-end", "pause-inside-a-conclusion"),
            (Point::TxnCompleted, "crash-at-another-point", "pause-beside-a-decision"),
            (Point::TaskPolled, "crash-before-a-batch", "pause-inside-a-commit"),
            (Point::TaskProcessed, "crash-after-a-batch", "pause-inside-a-commit"),
            (Point::TaskCut, "crash-inside-a-cut", "pause-inside-a-commit"),
        ] {
            assert_eq!((of_crash(point, true), of_pause(point)), (crash, pause), "{}", point.name());
        }
        for point in [Point::TaskOutputsFlushed, Point::TaskStateFlushed, Point::TaskOffsetsSent] {
            assert_eq!(of_crash(point, true), "crash-between-flush-and-commit");
            assert_eq!(of_crash(point, false), "crash-inside-a-commit-without-outputs");
        }
    }
}
