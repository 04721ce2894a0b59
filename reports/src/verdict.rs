//! What a run came to. Never "ok": a pass says what it tried, and everything else says why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Ordered by how much it matters: where several apply, the greatest is the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every property held in everything that was asked for.
    Pass,
    /// Nothing was seen to fail, and something that was asked for was not tried.
    Inconclusive,
    /// A property was violated.
    Violation,
    /// The same plan gave two traces: no other result of this build can be trusted.
    Nondeterministic,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Violation => "violation",
            Verdict::Nondeterministic => "nondeterministic",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nondeterminism_outranks_a_violation_and_a_violation_an_unfinished_run() {
        let mut all = [Verdict::Violation, Verdict::Pass, Verdict::Nondeterministic, Verdict::Inconclusive];
        all.sort();
        assert_eq!(all, [Verdict::Pass, Verdict::Inconclusive, Verdict::Violation, Verdict::Nondeterministic]);
    }

    #[test]
    fn the_name_in_json_is_the_name_in_text() {
        for verdict in [Verdict::Pass, Verdict::Inconclusive, Verdict::Violation, Verdict::Nondeterministic] {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.name());
        }
    }
}
