//! The summary of a campaign as Markdown: for `$GITHUB_STEP_SUMMARY`, a pull request's comment, a file in the run's folder.
//!
//! In: a [`GateReport`] and the command to type now. Out: a page that begins with the verdict and folds the tables away.

use std::fmt::Write;

use crate::text::{capital, count, duration, gate_sentence, moment, pipelines, rounded, sides, some_of};
use crate::{GateReport, Verdict, Violation};

/// Violations told in full; the others are counted.
const VIOLATIONS_SHOWN: usize = 10;

/// The summary; `next` is the command to type now.
pub fn summary(report: &GateReport, next: &str) -> String {
    let mut page = String::new();
    write(&mut page, report, next).expect("a string takes everything");
    page
}

fn write(page: &mut String, report: &GateReport, next: &str) -> std::fmt::Result {
    let sign = match report.verdict {
        Verdict::Pass if !report.is_empty() => "✅",
        Verdict::Pass | Verdict::Inconclusive => "⚠️",
        Verdict::Violation | Verdict::Nondeterministic => "❌",
    };
    writeln!(page, "## {sign} segno gate: {}\n", report.heading())?;
    writeln!(page, "{}.\n", capital(&gate_sentence(report)))?;
    for reason in &report.reasons {
        writeln!(page, "- {}", escape(reason))?;
    }
    if !report.reasons.is_empty() {
        page.push('\n');
    }
    let (told, others) = report.told(VIOLATIONS_SHOWN);
    for violation in told {
        tell(page, violation)?;
    }
    if let Some(others) = others {
        writeln!(page, "And {others}, in `run.json`.\n")?;
    }
    figures(page, report)?;
    faults(page, report)?;
    states(page, report)?;
    properties(page, report)?;
    writeln!(page, "Next: `{next}`")
}

fn tell(page: &mut String, violation: &Violation) -> std::fmt::Result {
    let tier = if violation.tier.is_empty() { String::new() } else { format!(" ({})", violation.tier) };
    writeln!(page, "### `{}` in `{}`, {}{tier}\n", violation.property, violation.pipeline, violation.run())?;
    writeln!(page, "{}\n", escape(&violation.message))?;
    if violation.seeds.len() > 1 {
        writeln!(page, "{} seeds broke alike; this one is the fastest.\n", count(violation.seeds.len() as u64))?;
    }
    if !violation.also.is_empty() {
        writeln!(page, "{} also broke {}.\n", capital(some_of(&violation.seeds)), violation.also.join(", "))?;
    }
    if let Some(difference) = &violation.first_difference {
        let rows = match difference.rows_different {
            1 => "1 row differs".to_owned(),
            more => format!("{} rows differ", count(more)),
        };
        writeln!(
            page,
            "{rows}; the first is of key `{}`, window from {}:\n",
            difference.key,
            moment(difference.window_start_ms)
        )?;
        writeln!(page, "| | row |\n|---|---|")?;
        for (name, row) in sides(difference) {
            writeln!(page, "| {name} | `{row}` |")?;
        }
        page.push('\n');
        if !difference.causes.is_empty() {
            writeln!(page, "| source record | event time | lateness |\n|---|---|---|")?;
            for cause in &difference.causes {
                writeln!(
                    page,
                    "| `{}[{}]@{}` | {} | {} |",
                    cause.topic,
                    cause.partition,
                    cause.offset,
                    moment(cause.event_time_ms),
                    crate::text::lateness(cause)
                )?;
            }
            page.push('\n');
        }
    }
    if !violation.reproduce.is_empty() {
        writeln!(page, "```sh\n{}\n```\n", violation.reproduce)?;
    }
    Ok(())
}

fn figures(page: &mut String, report: &GateReport) -> std::fmt::Result {
    let asked = if report.seeds_asked == report.seeds_run {
        String::new()
    } else {
        format!(" of {}", count(report.seeds_asked))
    };
    let speed = &report.speed;
    writeln!(page, "| | |\n|---|---|")?;
    writeln!(
        page,
        "| seeds | {}{asked}: {} race, {} soak |",
        count(report.seeds_run),
        count(report.tiers.race),
        count(report.tiers.soak)
    )?;
    writeln!(
        page,
        "| run twice | {}, {} differed |",
        count(report.determinism.doubled),
        count(report.determinism.mismatches)
    )?;
    writeln!(page, "| pipelines | {} |", pipelines(report))?;
    if let Some(shard) = &report.shard {
        writeln!(page, "| shard | {shard} |")?;
    }
    writeln!(page, "| records | {} ingested, {} late |", count(report.records.ingested), count(report.records.late))?;
    writeln!(page, "| panes | {} live, {} replayed |", count(report.panes.live), count(report.panes.replay))?;
    writeln!(page, "| virtual time | {} |", duration(report.virtual_ms))?;
    writeln!(page, "| wall time | {} |", duration(report.wall_ms))?;
    writeln!(
        page,
        "| speed | {} : 1 virtual to wall, {} seeds/min, {} records/s |",
        rounded(speed.virtual_per_wall),
        rounded(speed.seeds_per_minute),
        rounded(speed.records_per_second)
    )?;
    if let Some(rate) = report.failure_rate_below {
        let percent = rate.min(1.0) * 100.0;
        writeln!(page, "| bound | fewer than {percent:.2} % of (pipeline, seed) pairs fail, at 95 % confidence |")?;
    }
    page.push('\n');
    Ok(())
}

/// A row a kind, a group of columns a phase.
fn faults(page: &mut String, report: &GateReport) -> std::fmt::Result {
    let phases = report.breakdown.phases();
    if report.faults.is_empty() || phases.is_empty() {
        return Ok(());
    }
    writeln!(page, "<details><summary>Faults: injected / took effect / trouble met meanwhile</summary>\n")?;
    writeln!(page, "| fault | {} |", phases.join(" | "))?;
    writeln!(page, "|---|{}", "--:|".repeat(phases.len()))?;
    for kind in report.faults.keys() {
        write!(page, "| {kind} |")?;
        for phase in &phases {
            match report.breakdown.faults.get(kind).and_then(|row| row.get(*phase)) {
                Some(cell) => {
                    write!(page, " {} / {} / {} |", count(cell.injected), count(cell.effective), count(cell.visible))?
                }
                None => write!(page, " — |")?,
            }
        }
        page.push('\n');
    }
    writeln!(page, "\n</details>\n")
}

fn states(page: &mut String, report: &GateReport) -> std::fmt::Result {
    if report.states.is_empty() {
        return Ok(());
    }
    let reached = report.states.values().filter(|times| **times > 0).count();
    let never = report.states.iter().filter(|(_, times)| **times == 0).map(|(name, _)| name.as_str());
    let (required, others): (Vec<&str>, Vec<&str>) = never.partition(|name| report.states_required.contains(*name));
    writeln!(page, "<details><summary>Rare states: {reached} of {} reached</summary>\n", report.states.len())?;
    if !required.is_empty() {
        writeln!(page, "Not reached: {}\n", required.join(", "))?;
    }
    if !others.is_empty() {
        writeln!(page, "Not reached (not required): {}\n", others.join(", "))?;
    }
    writeln!(page, "| state | reached |\n|---|--:|")?;
    for (name, times) in report.states.iter().filter(|(_, times)| **times > 0) {
        writeln!(page, "| {name} | {} |", count(*times))?;
    }
    writeln!(page, "\n</details>\n")
}

fn properties(page: &mut String, report: &GateReport) -> std::fmt::Result {
    if report.examined.is_empty() {
        return Ok(());
    }
    writeln!(page, "<details><summary>Properties: how often each was asked</summary>\n")?;
    writeln!(page, "| property | asked of |\n|---|--:|")?;
    for (name, times) in &report.examined {
        match times {
            0 => writeln!(page, "| {name} | never asked |")?,
            times => writeln!(page, "| {name} | {} |", count(*times))?,
        }
    }
    writeln!(page, "\n</details>\n")
}

/// Text that came from a run, so that it is read as text.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '`' | '*' | '_' | '|' | '[' | '\\' => {
                safe.push('\\');
                safe.push(letter);
            }
            '\n' => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_pass_begins_with_its_verdict_and_folds_the_tables_away() {
        insta::assert_snapshot!("summary-pass", summary(&sample::pass(), "segno gate --seed-base 2 --count 20"));
    }

    #[test]
    fn a_violation_comes_before_the_figures() {
        let report = sample::violated();
        insta::assert_snapshot!("summary-violation", summary(&report, &report.violations[0].reproduce));
    }

    #[test]
    fn a_state_that_had_to_be_reached_is_told_from_others() {
        let mut report = sample::pass();
        report.states.insert("exact-gap".into(), 0);
        report.states_required = ["session-bridge-after-emission".to_owned()].into();
        let page = summary(&report, "segno gate");
        assert!(page.contains("\nNot reached: session-bridge-after-emission\n"), "{page}");
        assert!(page.contains("\nNot reached (not required): exact-gap\n"), "{page}");
    }

    #[test]
    fn what_a_run_said_cannot_become_markup() {
        assert_eq!(escape("a<b> `c` | *d*\ne"), "a&lt;b> \\`c\\` \\| \\*d\\* e");
    }
}
