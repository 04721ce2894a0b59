//! Bugs that ship as source, to measure what the gate finds: `mutant!("name", right, wrong)`.
//!
//! In: the name that a process chooses before it runs anything. Out: at every use of that name the wrong expression, at
//! every other the right one. Without the feature `mutants` the macro expands to the right one, and neither this registry
//! nor any name in it is compiled: `scripts/mutants` looks for them in the bytes of the plain binary.
//!
//! Each mutant is one decision that somebody could have taken, at one place or at the few where it shows. Harmless ones are
//! the opposite: a decision that may change when something happens, and never what comes out. Two kinds stand beside the
//! bugs and are not counted with them: a pair is two decisions, each of which has a guard in the other and a bug of its own;
//! what is guarded cannot be seen alone, because another decision never lets it matter.
//!
//! Invariant: every name in use is in the registry (it does not compile otherwise), and every name in the registry is used
//! (a test reads the sources).

/// Expands to `$right`; on a build with the feature `mutants`, to `$wrong` in a process that has chosen `$name`.
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:literal, $right:expr, $wrong:expr $(,)?) => {
        $right
    };
}

/// Expands to `$right`; on a build with the feature `mutants`, to `$wrong` in a process that has chosen `$name`.
#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:literal, $right:expr, $wrong:expr $(,)?) => {
        if $crate::mutant::is_chosen(const { $crate::mutant::number_of($name) }) { $wrong } else { $right }
    };
}

#[cfg(feature = "mutants")]
pub use registry::{ALL, Mutant, choose, chosen, named};
#[cfg(feature = "mutants")]
pub(crate) use registry::{is_chosen, machine_ms, noise, number_of};

#[cfg(feature = "mutants")]
mod registry {
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A change of the engine that a process can choose.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Mutant {
        pub name: &'static str,
        /// The part of the engine that decides wrongly.
        pub area: &'static str,
        /// What it does, in a sentence.
        pub about: &'static str,
        /// Nothing may come of it.
        pub harmless: bool,
        /// Why it is not counted among the bugs, if it is not.
        pub uncounted: Option<&'static str>,
    }

    const fn bug(area: &'static str, name: &'static str, about: &'static str) -> Mutant {
        Mutant { name, area, about, harmless: false, uncounted: None }
    }

    const fn pair(area: &'static str, name: &'static str, about: &'static str, halves: &'static str) -> Mutant {
        Mutant { name, area, about, harmless: false, uncounted: Some(halves) }
    }

    const fn guarded(area: &'static str, name: &'static str, about: &'static str, by: &'static str) -> Mutant {
        Mutant { name, area, about, harmless: false, uncounted: Some(by) }
    }

    const fn harmless(name: &'static str, about: &'static str) -> Mutant {
        Mutant { name, area: "harmless", about, harmless: true, uncounted: None }
    }

    /// Every change, by area.
    #[rustfmt::skip]
    pub const ALL: &[Mutant] = &[
        bug("log", "ack-before-sync", "an append is acknowledged as soon as it has its offset"),
        bug("log", "high-watermark-before-sync", "what is written is visible before it is synced"),
        bug("log", "sync-left-out", "a write is taken for durable without a sync"),
        bug("log", "replaced-file-unsynced", "a small file takes another's place before it is synced"),
        bug("log", "open-transactions-readable", "the last stable offset is the high watermark"),
        bug("log", "aborted-index-cut-short", "a read learns of the first aborted transaction that it overlaps, and of no other"),
        bug("log", "resent-batch-refused", "a batch that its producer sends again is refused as out of order"),
        bug("log", "old-sequences-appended", "a batch older than the last five of its producer is appended again"),
        pair("log", "same-batch-appended-twice", "a batch that its producer sends again is appended again",
            "a pair: resent-batch-refused and old-sequences-appended"),
        bug("client", "silence-taken-for-yes", "a send without an answer counts as acknowledged"),
        bug("client", "in-doubt-batch-dropped", "a batch of unknown outcome is forgotten, and its sequence used again"),
        bug("client", "aborted-records-read", "a reader of committed data sees what was aborted"),
        bug("client", "abort-marker-overlooked", "an aborted producer's next transaction is hidden, too"),
        bug("client", "sequences-go-on", "a producer counts on where its last transaction ended"),
        bug("transaction", "coordinator-sends-old-markers", "markers carry the epoch of the transaction; partitions refuse them"),
        guarded("transaction", "partitions-take-old-markers", "a partition takes a marker with the epoch of the open transaction",
            "guarded twice: the coordinator sends none"),
        pair("transaction", "old-epoch-markers", "markers carry the epoch of the transaction, and the partition takes them",
            "a pair: coordinator-sends-old-markers and partitions-take-old-markers"),
        bug("transaction", "decision-not-durable", "markers are written before the decision is durable"),
        bug("transaction", "complete-before-markers", "a transaction is complete before its markers are durable"),
        bug("transaction", "marker-left-out", "a transaction's last partition gets no marker"),
        bug("transaction", "time-out-commits", "a transaction that was left open is committed"),
        bug("transaction", "ongoing-not-durable", "a partition is written to before it is durably part of the transaction"),
        bug("watermark", "bound-left-out", "a watermark is the highest event time"),
        bug("watermark", "marker-sets-it-back", "a marker below the watermark lowers it"),
        bug("watermark", "silent-channel-left-out", "a channel that has said nothing does not hold the minimum back"),
        bug("watermark", "promise-without-lateness", "a task announces its minimum less the gap alone"),
        bug("watermark", "markers-before-panes", "a task announces its minimum before the panes that it caused"),
        bug("window", "lateness-by-minimum", "lateness behind a repartition topic is judged by the task's minimum"),
        bug("window", "late-from-the-next", "a record is late a millisecond too late"),
        bug("window", "no-allowed-lateness", "a record is late as soon as its window has ended"),
        bug("window", "purged-a-gap-early", "state is dropped when its window and the allowed lateness are over"),
        bug("window", "negative-times-truncated", "windows before 1970 are rounded towards zero"),
        bug("window", "due-at-birth-unfired", "a window whose end has passed when its first event comes never fires"),
        bug("session", "merge-without-retraction", "what a merged session had emitted stays in the table"),
        bug("session", "bridge-joins-one-side", "an event between two sessions joins the first alone"),
        bug("session", "exact-gap-splits", "two events exactly a gap apart are two sessions"),
        bug("session", "absorbed-state-lost", "of two merged sessions the second one's state is lost"),
        bug("session", "change-after-pane-unseen", "a session that changes after its pane is not emitted again"),
        bug("rejected", "reject-not-written", "a record that cannot be decoded is counted, and written nowhere"),
        bug("rejected", "reason-left-out", "the entry of a record that cannot be decoded does not say why"),
        bug("dedup", "copy-renews-horizon", "a duplicate's own time counts for the next one"),
        bug("dedup", "ids-purged-early", "a purge forgets ids whose horizon is not over"),
        bug("dedup", "expired-id-still-counts", "an id whose horizon is over makes duplicates until it is purged"),
        bug("dedup", "horizon-one-short", "a copy at the last millisecond of the horizon is kept"),
        bug("commit", "offsets-on-their-own", "offsets are committed in a transaction after that of the outputs"),
        bug("commit", "key-written-once", "a key that was written to the changelog once is not written again"),
        bug("commit", "dead-key-stays", "a key that has ended is not deleted from the changelog"),
        bug("commit", "snapshot-of-the-changed", "a snapshot holds the changed keys alone"),
        bug("commit", "offsets-one-too-far", "the committed offsets are one record further than the state"),
        bug("recovery", "timers-not-restored", "after a restore no window has a timer"),
        bug("recovery", "restore-of-one-fetch", "a restore reads one fetch of the changelog"),
        bug("recovery", "watermark-not-restored", "after a restore the watermark begins anew"),
        bug("recovery", "unsynced-batches-known", "the recovery point knows batches that are not synced"),
        bug("recovery", "producers-forgotten", "a log that is opened again does not know its producers"),
        bug("recovery", "torn-tail-kept", "a broken batch at the end of a log is left there"),
        bug("recovery", "recovered-tail-unsynced", "what is found at the end of a log is taken for durable without a sync"),
        bug("recovery", "recovered-directory-unsynced", "the files of a log that is opened again are taken for durable"),
        bug("fencing", "coordinator-takes-any-epoch", "the coordinator does not look at the epoch; partitions do"),
        bug("fencing", "partitions-take-any-epoch", "a partition does not look at the epoch; the coordinator does"),
        pair("fencing", "epochs-unchecked", "neither coordinator nor partition looks at the epoch",
            "a pair: coordinator-takes-any-epoch and partitions-take-any-epoch"),
        bug("fencing", "takeover-keeps-epoch", "whoever takes over a transactional id gets the epoch that it has"),
        bug("fencing", "takeover-commits", "the transaction of whoever is replaced is committed"),
        bug("fencing", "restored-before-fencing", "a task restores first and fences its predecessor then"),
        bug("retention", "trimmed-too-far", "a changelog is deleted one record beyond the snapshot's first"),
        bug("retention", "log-start-not-durable", "the log start moves in memory alone"),
        bug("retention", "gap-skipped", "a task whose input is gone begins where the log does"),
        bug("retention", "deleted-times-overlooked", "a start at a time takes what is left for all that there was"),
        bug("start", "starts-one-late", "a start at a time begins one record after the first that it needs"),
        bug("start", "horizon-before-start-unread", "a start at a time does not read back by the deduplication horizon"),
        bug("start", "speaks-a-gap-early", "a start at a time writes sessions that may be the rest of longer ones"),
        bug("start", "late-before-start-written", "a start at a time writes late entries of windows before it"),
        bug("retention", "rewrite-leaves-out-decided", "the rewritten log of offsets lacks those whose marker is not durable yet"),
        bug("retention", "files-removed-first", "segments are removed before the log start has moved durably"),
        bug("retention", "retention-one-too-many", "retention by age or size takes the first segment that it is to keep"),
        bug("retention", "retention-one-too-few", "retention by age or size leaves the last segment that it is to take"),
        bug("determinism", "emission-in-hash-order", "panes are emitted in the order of a map with a random seed"),
        bug("determinism", "machine-jitter", "waits between tries are drawn from the machine, not from the environment"),
        bug("determinism", "machine-clock", "the broker's own records carry the machine's time"),
        harmless("commits-three-times-as-often", "the commit interval is a third"),
        harmless("snapshots-twice-as-often", "half as many commits lie between two snapshots"),
        harmless("flushes-earlier", "outputs are sent at a quarter of the size"),
        harmless("chunks-of-seven", "a task takes seven records at a time"),
        harmless("small-groups", "a write and its sync are of 512 bytes, or of one batch"),
        harmless("no-round-ahead", "nothing is fetched while a round waits for the task"),
        harmless("another-hash-seed", "tables of keys and ids have another order"),
        harmless("yields-more-often", "tasks, the log and the client let others go first at more places"),
    ];

    /// The chosen one's number, or [`NONE`]. Of the process, and not of a run: it is chosen once, before the first.
    static CHOSEN: AtomicUsize = AtomicUsize::new(NONE);
    const NONE: usize = usize::MAX;

    /// From now on the process has this bug, or this harmless change.
    ///
    /// # Panics
    /// When another was chosen before: what ran until then would be neither.
    pub fn choose(mutant: &Mutant) {
        let number = number_of(mutant.name);
        let before = CHOSEN.swap(number, Ordering::Relaxed);
        assert!(before == NONE || before == number, "{} is chosen after {}", mutant.name, ALL[before].name);
    }

    /// The change that this process has.
    pub fn chosen() -> Option<&'static Mutant> {
        ALL.get(CHOSEN.load(Ordering::Relaxed))
    }

    pub fn named(name: &str) -> Option<&'static Mutant> {
        ALL.iter().find(|mutant| mutant.name == name)
    }

    /// The place of `name` in the registry.
    ///
    /// # Panics
    /// While compiling, when it is not there.
    pub(crate) const fn number_of(name: &str) -> usize {
        let mut number = 0;
        while number < ALL.len() {
            if equal(ALL[number].name.as_bytes(), name.as_bytes()) {
                return number;
            }
            number += 1;
        }
        panic!("this mutant is not in the registry");
    }

    const fn equal(left: &[u8], right: &[u8]) -> bool {
        let mut at = 0;
        while at < left.len() && at < right.len() && left[at] == right[at] {
            at += 1;
        }
        at == left.len() && at == right.len()
    }

    #[inline]
    pub(crate) fn is_chosen(number: usize) -> bool {
        CHOSEN.load(Ordering::Relaxed) == number
    }

    /// A number that nobody seeded, for mutants that make runs differ.
    #[expect(clippy::disallowed_types, reason = "the bug that the ban is there to prevent")]
    pub(crate) fn noise(of: &[u8]) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        use std::sync::OnceLock;
        static STATE: OnceLock<RandomState> = OnceLock::new();
        STATE.get_or_init(RandomState::new).hash_one(of)
    }

    /// The machine's clock, for the same.
    #[expect(clippy::disallowed_methods, reason = "the bug that the ban is there to prevent")]
    pub(crate) fn machine_ms() -> i64 {
        use std::time::{SystemTime, UNIX_EPOCH};
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }
}
