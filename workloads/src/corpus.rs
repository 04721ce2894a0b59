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
    "acknowledged-before-it-was-synced",
    "deleted-segments-come-back",
    "deleted-segments-come-back-in-recovery",
    "lateness-is-of-the-source-partition",
    "schemas-behind-the-commit-late",
    "schemas-behind-the-commit-twice",
    "session-start-moves-after-its-pane",
    "slow-is-not-stuck-sessions",
    "slow-is-not-stuck-unique",
    "timers-forgotten-at-recovery",
}
