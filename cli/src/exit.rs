//! Every exit code of the command, in one place.

use std::process::ExitCode;

use benches::plan::WrongOutput;
use engine::stream::worker::{SpreadError, TaskError};
use reports::{GateReport, ReproReport, ShrinkReport, Verdict};

/// What a command came to. Ordered as [`Exit::worst`] prefers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every property held.
    Held = 0,
    /// A property was violated.
    Violated = 1,
    /// Wrong use or configuration.
    Usage = 2,
    /// A performance gate failed.
    TooSlow = 3,
    /// Nothing was selected to run.
    Nothing = 4,
    /// The budget ended first, or the default gate left something untried.
    Inconclusive = 5,
    /// One plan gave two traces.
    Nondeterministic = 6,
    /// A bug in Segno.
    Bug = 70,
    /// Ctrl-C; the partial report is written.
    Interrupted = 130,
}

impl Exit {
    /// Where several apply: 70, 130, 6, 1, 5, 0 in that order.
    pub fn worst(self, other: Exit) -> Exit {
        if self.rank() >= other.rank() { self } else { other }
    }

    fn rank(self) -> u8 {
        match self {
            Exit::Held => 0,
            Exit::Nothing => 1,
            Exit::Inconclusive => 2,
            Exit::TooSlow => 3,
            Exit::Violated => 4,
            Exit::Nondeterministic => 5,
            Exit::Usage => 6,
            Exit::Interrupted => 7,
            Exit::Bug => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Exit {
        match verdict {
            Verdict::Pass => Exit::Held,
            Verdict::Inconclusive => Exit::Inconclusive,
            Verdict::Violation => Exit::Violated,
            Verdict::Nondeterministic => Exit::Nondeterministic,
        }
    }
}

impl From<&GateReport> for Exit {
    fn from(report: &GateReport) -> Exit {
        let interrupted = if report.interrupted { Exit::Interrupted } else { Exit::Held };
        let nothing = if report.is_empty() { Exit::Nothing } else { Exit::Held };
        Exit::from(report.verdict).worst(interrupted).worst(nothing)
    }
}

impl From<&ReproReport> for Exit {
    fn from(report: &ReproReport) -> Exit {
        report.verdict.into()
    }
}

impl From<&ShrinkReport> for Exit {
    fn from(report: &ShrinkReport) -> Exit {
        let interrupted = if report.interrupted { Exit::Interrupted } else { Exit::Held };
        Exit::from(report.verdict).worst(interrupted)
    }
}

/// Wrong use or configuration: exit 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Nothing was selected to run: exit 4.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NothingSelected(pub String);

/// A bug in Segno: exit 70.
#[derive(Debug, thiserror::Error)]
#[error("{0}; this is a bug in Segno")]
pub struct Bug(pub String);

/// The exit code of an error. A task whose input or changelog is not what its writer promised is our bug; a machine that refuses (a full disk, a missing file) is the configuration's: 2.
pub fn of_error(error: &anyhow::Error) -> Exit {
    let fault = match error.downcast_ref::<SpreadError>() {
        Some(SpreadError::Worker(failure)) => matches!(failure.error, TaskError::Fault { .. }),
        _ => false,
    };
    if fault || error.is::<Bug>() {
        Exit::Bug
    } else if error.is::<NothingSelected>() {
        Exit::Nothing
    } else if error.is::<WrongOutput>() {
        Exit::Violated
    } else {
        Exit::Usage
    }
}

#[cfg(test)]
mod tests {
    use reports::Violation;

    use super::*;

    #[test]
    fn the_codes_are_the_published_ones() {
        let all = [
            Exit::Held,
            Exit::Violated,
            Exit::Usage,
            Exit::TooSlow,
            Exit::Nothing,
            Exit::Inconclusive,
            Exit::Nondeterministic,
            Exit::Bug,
            Exit::Interrupted,
        ];
        assert_eq!(all.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5, 6, 70, 130]);
    }

    #[test]
    fn where_several_apply_the_published_order_decides() {
        let order =
            [Exit::Bug, Exit::Interrupted, Exit::Nondeterministic, Exit::Violated, Exit::Inconclusive, Exit::Nothing];
        for pair in order.windows(2) {
            assert_eq!(pair[0].worst(pair[1]), pair[0]);
            assert_eq!(pair[1].worst(pair[0]), pair[0]);
        }
    }

    #[test]
    fn an_interrupted_gate_exits_130_even_with_a_violation() {
        let mut report = GateReport::new(vec!["p".into()], 3);
        report.seeds_run = 1;
        report.verdict = Verdict::Violation;
        assert_eq!(Exit::from(&report), Exit::Violated);
        report.interrupted = true;
        assert_eq!(Exit::from(&report), Exit::Interrupted);
    }

    #[test]
    fn a_gate_exits_4_only_when_nothing_was_selected() {
        let empty = GateReport::new(vec!["p".into()], 0);
        assert_eq!(Exit::from(&empty), Exit::Nothing);
        let mut with_a_plan = empty.clone();
        with_a_plan.add_past(1, Vec::new());
        assert_eq!(Exit::from(&with_a_plan), Exit::Held);
        let mut with_a_broken_plan = empty.clone();
        with_a_broken_plan.add_past(1, vec![Violation { property: "durable".into(), ..Violation::default() }]);
        assert_eq!(Exit::from(&with_a_broken_plan), Exit::Violated);
        let mut out_of_time = GateReport::new(vec!["p".into()], 5);
        out_of_time.inconclusive("0 of 5 seeds ran before the time budget ended");
        assert_eq!(Exit::from(&out_of_time), Exit::Inconclusive);
        let mut merged = empty.clone();
        merged.inconclusive("these shards are missing: 1/2");
        assert_eq!(Exit::from(&merged), Exit::Inconclusive);
        let mut stopped = empty;
        stopped.interrupted = true;
        assert_eq!(Exit::from(&stopped), Exit::Interrupted);
    }

    #[test]
    fn errors_know_their_code() {
        assert_eq!(of_error(&Usage("x".into()).into()), Exit::Usage);
        assert_eq!(of_error(&NothingSelected("x".into()).into()), Exit::Nothing);
        assert_eq!(of_error(&Bug("x".into()).into()), Exit::Bug);
        assert_eq!(of_error(&anyhow::anyhow!("disk full")), Exit::Usage);
    }
}
