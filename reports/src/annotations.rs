//! What a GitHub run shows beside its steps: workflow commands, one a line, at most ten.
//!
//! In: a [`GateReport`]. Out: lines for stderr, where the runner reads them, too, and `--json`'s stdout stays one document.

use crate::{GateReport, Verdict};

/// GitHub shows ten of a kind for a step.
pub const MOST: usize = 10;

/// An error for each failure, then a warning for each reason; the tenth line counts what is left out.
pub fn lines(report: &GateReport) -> Vec<String> {
    let failures = report.violations.iter().filter(|violation| !violation.consequence);
    let errors = failures.map(|violation| {
        let title = format!("{} in {}", violation.property, violation.pipeline);
        let back = if violation.reproduce.is_empty() {
            String::new()
        } else {
            format!("\nreproduce: {}", violation.reproduce)
        };
        command("error", &title, &format!("{}: {}{back}", violation.run(), violation.message))
    });
    let level = if report.verdict == Verdict::Inconclusive { "error" } else { "warning" };
    let reasons = report.reasons.iter().map(|reason| command(level, "the gate is inconclusive", reason));
    let mut lines: Vec<String> = errors.chain(reasons).collect();
    if lines.len() > MOST {
        let more = lines.len() - (MOST - 1);
        lines.truncate(MOST - 1);
        lines.push(command("error", "and more", &format!("{more} more findings, in {}/report.html", report.run_dir)));
    }
    lines
}

fn command(level: &str, title: &str, message: &str) -> String {
    format!("::{level} title={}::{}", escape(title).replace(':', "%3A").replace(',', "%2C"), escape(message))
}

/// As the runner takes it back: a line break would end the command.
fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_violation_is_one_line_with_its_message_and_the_way_back() {
        let mut report = sample::violated();
        report.violations[0].message = "50% differ:\nlive, replay".into();
        let lines = lines(&report);
        assert_eq!(
            lines[0],
            "::error title=replay-equals-live in clickstream-sessions::seed 7312: 50%25 differ:%0Alive, replay%0A\
             reproduce: segno repro runs/20261121-031007-gate/7312.plan.toml"
        );
        assert!(lines.iter().all(|line| !line.contains('\n')));
    }

    #[test]
    fn what_a_plan_of_the_corpus_broke_is_no_seeds() {
        let mut report = sample::violated();
        report.violations[0].past = "torn-tail".into();
        let lines = lines(&report);
        assert!(lines[0].contains("::plan torn-tail of the corpus: row user-17"), "{}", lines[0]);
    }

    #[test]
    fn never_more_than_ten_and_the_last_counts_the_rest() {
        let mut report = sample::violated();
        let one = report.violations[0].clone();
        report.violations = vec![one; 25];
        let lines = lines(&report);
        assert_eq!(lines.len(), MOST);
        assert_eq!(
            lines[MOST - 1],
            "::error title=and more::17 more findings, in runs/20261121-031007-gate/report.html"
        );
        assert_eq!(super::lines(&sample::pass()), Vec::<String>::new());
    }
}
