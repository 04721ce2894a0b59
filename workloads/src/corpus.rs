//! The plans that every gate runs first: each once broke something. A file in `corpus/` and a line here, by name.

use std::borrow::Cow::Borrowed;

use sim::corpus::Entry;

macro_rules! corpus {
    ($($name:literal,)*) => {
        /// In the order in which they are run.
        pub const ALL: &[Entry] = &[
            $(Entry {
                name: Borrowed($name),
                text: Borrowed(include_str!(concat!("../../corpus/", $name, ".plan.toml"))),
            },)*
        ];
    };
}

corpus! {
    "a-copy-within-the-horizon-is-dropped",
    "a-gap-apart-is-one-session",
    "a-pause-in-a-graceful-stop",
    "a-restore-reads-the-whole-changelog",
    "a-takeover-aborts-what-it-finds",
    "a-watermark-stays-behind-by-the-bound",
    "acknowledged-before-it-was-synced",
    "an-aborted-transaction-is-not-read",
    "deleted-segments-come-back",
    "every-partition-gets-its-marker",
    "lateness-is-of-the-source-partition",
    "markers-carry-the-next-epoch",
    "offsets-belong-to-the-transaction",
    "schemas-behind-the-commit-late",
    "session-start-moves-after-its-pane",
    "timers-forgotten-at-recovery",
}
