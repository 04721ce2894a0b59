//! The moments where a crash hurts.
//!
//! Reading this file teaches the engine: what is written before what, and what an unlucky stop may leave behind. Points
//! sit in the async shell, where effects run, never in a sync core. The simulator can crash, pause or yield at the n-th
//! passing of each.

macro_rules! points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A named moment of the engine.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point { $($(#[$doc])* $variant,)* }

        impl Point {
            /// Every point, in the order of this file.
            pub const ALL: &'static [Point] = &[$(Point::$variant),*];

            /// The name used in plans and reports.
            pub fn name(self) -> &'static str {
                match self { $(Point::$variant => $name,)* }
            }

            /// The point with this name.
            pub fn from_name(name: &str) -> Option<Point> {
                Point::ALL.iter().copied().find(|point| point.name() == name)
            }
        }
    };
}

points! {
    // The log: write, sync, acknowledge; roll; truncate.
    /// A group of batches has offsets and is about to be written. A crash loses it; nobody was told.
    LogBeforeWrite = "log-before-write",
    /// Written, not synced: a kill keeps it, a power cut may tear it. Nobody was told.
    LogWritten = "log-written",
    /// Synced; the high watermark has not moved. After a crash it is there although nobody was told.
    LogSynced = "log-synced",
    /// The active segment is full and synced; the next one does not exist.
    LogBeforeRoll = "log-before-roll",
    /// The next segment exists; the recovery point still names the old one.
    LogRolled = "log-rolled",
    /// The index of the segment that was closed is written, and not synced: a cache, which may be torn or missing.
    LogIndexWritten = "log-index-written",
    /// The new recovery point is written beside the old one, and not yet renamed over it.
    LogRecoveryPointWritten = "log-recovery-point-written",
    /// Recovery found a bad tail and is about to cut it.
    LogBeforeTruncate = "log-before-truncate",
    /// The bad tail is cut, and not yet synced.
    LogTruncated = "log-truncated",
    /// The log start is about to move: readers still get what lies below.
    LogBeforeStartMoves = "log-before-start-moves",
    /// The log start has moved durably; segments below it still exist.
    LogStartMoved = "log-start-moved",
    /// The segments below the log start are removed; the directory is not synced, and they may come back.
    LogSegmentsRemoved = "log-segments-removed",

    // The broker.
    /// The topic is in the metadata log; its partitions' directories do not exist.
    BrokerTopicRecorded = "broker-topic-recorded",
    /// Every log is recovered; open transactions that the coordinator does not know are about to be aborted.
    BrokerRecovered = "broker-recovered",

    /// All that a log of the broker's own says is written anew and durable; what came before is still there.
    BrokerLogRewritten = "broker-log-rewritten",

    // The transaction coordinator.
    /// `Ongoing` with a new partition is about to become durable.
    TxnBeforeOngoing = "txn-before-ongoing",
    /// EndTxn arrived; the decision is not durable. A crash leaves the transaction open.
    TxnBeforeDecision = "txn-before-decision",
    /// The decision and its list are durable; no marker is written. A crash must finish the markers.
    TxnDecided = "txn-decided",
    /// The next marker is about to be appended; those before it may be durable or not.
    TxnBeforeMarker = "txn-before-marker",
    /// One marker is durable, and others may not be: the moment a transaction would tear.
    TxnMarkerWritten = "txn-marker-written",
    /// All markers are durable; completion is not.
    TxnMarkersWritten = "txn-markers-written",
    /// Completion is durable; the client has not been told.
    TxnCompleted = "txn-completed",
    /// A successor found its predecessor's transaction open: the abort is decided, not durable.
    TxnTakenOver = "txn-taken-over",
    /// A transaction was open for too long: the abort is decided, not durable.
    TxnTimedOut = "txn-timed-out",

    // The client.
    /// A request is about to leave.
    ClientBeforeSend = "client-before-send",
    /// A request has left for a connection: what becomes of it, nobody can tell before the reply is there.
    ClientSent = "client-sent",
    /// A reply arrived and nobody has acted on it: what it acknowledged is done, and the caller does not know.
    ClientReplied = "client-replied",

    // A task of the stream engine.
    /// The task has fenced its predecessor and is about to read its committed offsets.
    TaskRestoreBegin = "task-restore-begin",
    /// The changelog has lost its beginning: what it begins with now must be a snapshot.
    TaskRestoreSnapshot = "task-restore-snapshot",
    /// Part of the changelog is in memory.
    TaskRestoreMiddle = "task-restore-middle",
    /// State, watermarks and offsets are restored; nothing is processed.
    TaskRestoreEnd = "task-restore-end",
    /// A batch was fetched and not processed.
    TaskPolled = "task-polled",
    /// A batch is processed: state and outputs are in memory alone.
    TaskProcessed = "task-processed",
    /// A cut is taken, and nothing of it is written: what comes now belongs to the next transaction.
    TaskCut = "task-cut",
    /// Outputs are in the open transaction; the changelog is not.
    TaskOutputsFlushed = "task-outputs-flushed",
    /// Outputs and changelog are in the open transaction; the offsets are not.
    TaskStateFlushed = "task-state-flushed",
    /// Offsets are in the open transaction; nothing is decided.
    TaskOffsetsSent = "task-offsets-sent",
    /// The task was asked to stop: what it has processed is still to be committed.
    TaskStopping = "task-stopping",
    /// The commit was acknowledged; the task has not gone on.
    TaskCommitted = "task-committed",
    /// A commit that holds the whole state was acknowledged: the changelog before it is no longer needed, and still there.
    TaskSnapshotCommitted = "task-snapshot-committed",
    /// The changelog before the snapshot is deleted, durably.
    TaskTrimmed = "task-trimmed",
}
