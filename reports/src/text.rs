//! Reports for people: aligned, in words, with the next command to type.
//!
//! The text carries ANSI colours on a few words; who prints it strips them where they are not wanted. Virtual and wall
//! time never share a column.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::gate::DETERMINISTIC;
use crate::{
    Cause, FaultCount, FirstDifference, GateReport, ReproReport, Row, ShrinkReport, Speed, Verdict, Violation,
};

/// Violations told in full; the others are counted.
const VIOLATIONS_SHOWN: usize = 5;
/// Seeds named that failed as the one that is told.
const SEEDS_SHOWN: usize = 8;

/// The report of a campaign. `next` is the command to type now.
pub fn gate(report: &GateReport, next: &str) -> String {
    let badge = if report.is_empty() { report.heading().to_uppercase() } else { badge(report.verdict) };
    let mut text = format!("{badge}  {}\n", gate_sentence(report));
    for reason in &report.reasons {
        writeln!(text, "  - {reason}").expect("a string takes everything");
    }
    // What broke comes first: the figures below it fill more than a screen.
    let (told, others) = report.told(VIOLATIONS_SHOWN);
    for violation in told {
        text.push('\n');
        text.push_str(&story(violation));
    }
    if let Some(others) = others {
        writeln!(text, "\nand {others}, in {}/run.json", report.run_dir).expect("a string takes everything");
    }
    let mut line = |body: std::fmt::Arguments<'_>| {
        text.write_fmt(body).expect("a string takes everything");
        text.push('\n');
    };
    line(format_args!(""));
    let tiers = report.tiers;
    line(format_args!("  pipelines     {}", pipelines(report)));
    let asked = if report.seeds_asked == report.seeds_run {
        String::new()
    } else {
        format!(" of {}", count(report.seeds_asked))
    };
    let shard = report.shard.as_deref().map(|shard| format!(", shard {shard}")).unwrap_or_default();
    line(format_args!(
        "  seeds         {}{asked}: {} race (1 ms ticks), {} soak (10 ms ticks){shard}",
        count(report.seeds_run),
        count(tiers.race),
        count(tiers.soak)
    ));
    if report.corpus_plans > 0 {
        line(format_args!(
            "  corpus        {} of past failures ran first",
            plural(report.corpus_plans as usize, "plan")
        ));
    }
    let mismatches = match report.determinism.mismatches {
        0 => "no trace differed".to_owned(),
        more => format!("{} traces differed", count(more)),
    };
    let doubled = plural(report.determinism.doubled as usize, "seed");
    line(format_args!("  run twice     {doubled} in a second process, {mismatches}"));
    let records = &report.records;
    line(format_args!(
        "  records       {} ingested: {} late, {} duplicates, {} out of order",
        count(records.ingested),
        count(records.late),
        count(records.duplicates),
        count(records.out_of_order)
    ));
    line(format_args!("  panes         {} live, {} replayed", count(report.panes.live), count(report.panes.replay)));
    line(format_args!("  virtual time  {}", duration(report.virtual_ms)));
    line(format_args!("  wall time     {}", duration(report.wall_ms)));
    line(format_args!("  speed         {}", speed(&report.speed)));
    text.push_str(&fault_table(&report.faults));
    text.push_str(&state_table(&report.states, Some(&report.states_required), &report.state_meanings));
    text.push_str(&property_table(&report.examined));
    if let Some(rate) = report.failure_rate_below {
        writeln!(
            text,
            "\n  no failure in {n} runs: fewer than {:.2} % of (pipeline, seed) pairs fail (3/n, 95 % confidence)",
            rate.min(1.0) * 100.0,
            n = count(report.seeds_run)
        )
        .expect("a string takes everything");
    }
    if !report.run_dir.is_empty() {
        write!(text, "\nreport: {}/report.html", report.run_dir).expect("a string takes everything");
    }
    writeln!(text, "\nnext:   {next}").expect("a string takes everything");
    text
}

/// The report of one seed.
pub fn repro(report: &ReproReport) -> String {
    let mut text = String::new();
    let what = match report.verdict {
        Verdict::Pass => "every property held",
        Verdict::Inconclusive => "nothing was seen to fail, and not everything was checked",
        Verdict::Violation => "a property was violated",
        Verdict::Nondeterministic => "one plan gave two traces",
    };
    let mut line = |body: std::fmt::Arguments<'_>| {
        text.write_fmt(body).expect("a string takes everything");
        text.push('\n');
    };
    line(format_args!(
        "{}  {what} in {} seed {} ({})",
        badge(report.verdict),
        report.pipeline,
        report.seed,
        report.tier
    ));
    for reason in &report.reasons {
        line(format_args!("  - {reason}"));
    }
    for violation in &report.violations {
        line(format_args!(""));
        line(format_args!("{}", story(violation).trim_end()));
    }
    line(format_args!(""));
    line(format_args!("  trace hash    {}", report.trace_hash));
    line(format_args!("  steps         {}", count(report.steps)));
    line(format_args!("  virtual time  {}", duration(report.virtual_ms)));
    line(format_args!("  wall time     {}", duration(report.wall_ms)));
    if let Some(detail) = &report.detail {
        let records = &detail.records;
        line(format_args!(
            "  records       {} ingested: {} late, {} duplicates, {} out of order",
            count(records.ingested),
            count(records.late),
            count(records.duplicates),
            count(records.out_of_order)
        ));
        line(format_args!(
            "  panes         {} live, {} replayed",
            count(detail.panes.live),
            count(detail.panes.replay)
        ));
        text.push_str(&fault_table(&detail.faults));
        text.push_str(&state_table(&detail.states, None, &BTreeMap::new()));
    }
    if !report.timeline.is_empty() {
        text.push('\n');
    }
    for event in &report.timeline {
        writeln!(text, "  {event}").expect("a string takes everything");
    }
    text
}

/// What shrinking came to. `next` is the command to type now.
pub fn shrink(report: &ShrinkReport, next: &str) -> String {
    let what = match report.verdict {
        Verdict::Pass => "every property held: there is nothing to shrink",
        _ if report.interrupted && report.size.is_none() => "interrupted before anything was made smaller",
        _ if report.size.is_none() => "the time was up before anything was made smaller (a longer --budget may do)",
        _ if report.interrupted => "shrunk until it was interrupted",
        _ if report.settled => "shrunk as far as it goes",
        _ => "shrunk as far as the time allowed",
    };
    let mut text =
        format!("{}  {what}: {} seed {} ({})\n", badge(report.verdict), report.pipeline, report.seed, report.tier);
    if let Some(size) = &report.size {
        let mut row = |name: &str, before: u64, after: u64| {
            writeln!(text, "  {name:<12}{:>8}{:>8}", count(before), count(after)).expect("a string takes everything");
        };
        row("faults", size.faults_before, size.faults);
        row("events", size.events_before, size.events);
        row("partitions", size.partitions_before, size.partitions);
        row("hosts", size.hosts_before, size.hosts);
        writeln!(text, "  in {} and {}", plural(size.runs as usize, "run"), duration(report.wall_ms))
            .expect("a string takes everything");
    }
    for violation in &report.violations {
        text.push('\n');
        text.push_str(&story(violation));
    }
    if !next.is_empty() {
        writeln!(text, "\nnext:   {next}").expect("a string takes everything");
    }
    text
}

/// A violation as a story: what broke, where the tables first differ and which records have to do with it, what happened
/// before, and how to see it again.
pub fn story(violation: &Violation) -> String {
    let bold = Style::new().bold();
    let red = AnsiColor::Red.on_default().bold();
    let mut text = String::new();
    let mut line = |body: std::fmt::Arguments<'_>| {
        text.write_fmt(body).expect("a string takes everything");
        text.push('\n');
    };
    let tier = if violation.tier.is_empty() { String::new() } else { format!(" ({})", violation.tier) };
    let shrunk = violation.shrunk.as_ref().map(|size| format!("  (shrunk: {})", size.words())).unwrap_or_default();
    line(format_args!(
        "{red}violation{red:#}  {bold}{}{bold:#}  {}  {}{tier}{shrunk}",
        violation.property,
        violation.pipeline,
        violation.run()
    ));
    if let Some(difference) = &violation.first_difference {
        let rows = match difference.rows_different {
            1 => "1 row differs".to_owned(),
            more => format!("{} rows differ", count(more)),
        };
        line(format_args!(
            "  {rows}; the first: key {}, window from {}",
            difference.key,
            moment(difference.window_start_ms)
        ));
        for (name, row) in sides(difference) {
            line(format_args!("    {name:<8}  {row}"));
        }
        if !difference.causes.is_empty() {
            line(format_args!("  source records of this key near the window:"));
        }
        for cause in &difference.causes {
            line(format_args!(
                "    {}[{}]@{:<6} {}  {}{}",
                cause.topic,
                cause.partition,
                cause.offset,
                moment(cause.event_time_ms),
                lateness(cause),
                if cause.part.is_empty() { String::new() } else { format!("  <- {}", cause.part) }
            ));
        }
    }
    if violation.first_difference.is_none() && !violation.message.is_empty() {
        line(format_args!("  {}", violation.message));
    }
    for event in &violation.story {
        line(format_args!("  {event}"));
    }
    let others: Vec<u64> = violation.seeds.iter().copied().filter(|seed| *seed != violation.seed).collect();
    if !others.is_empty() {
        let shown: Vec<String> = others.iter().take(SEEDS_SHOWN).map(u64::to_string).collect();
        let more = if others.len() > SEEDS_SHOWN { ", …" } else { "" };
        let seeds = plural(others.len(), "other seed");
        line(format_args!("  the fastest of its kind; so failed {seeds}: {}{more}", shown.join(", ")));
    }
    if !violation.also.is_empty() {
        line(format_args!("  {} also broke: {}", some_of(&violation.seeds), violation.also.join(", ")));
    }
    if !violation.reproduce.is_empty() {
        line(format_args!("reproduce: {}", violation.reproduce));
    }
    if let Some(command) = violation.reproduce_shrunk() {
        line(format_args!("shrunk:    {command}"));
    }
    text
}

/// Who broke what a failure has besides.
pub(crate) fn some_of(seeds: &[u64]) -> &'static str {
    if seeds.len() > 1 { "some of them" } else { "it" }
}

/// How a source record stood to its own partition's watermark.
pub(crate) fn lateness(cause: &Cause) -> String {
    match cause.behind_watermark_ms {
        Some(behind) if behind > 0 => format!("behind its watermark by {}", duration(behind.unsigned_abs())),
        _ => "on time".to_owned(),
    }
}

/// Each side's row, reduced to the fields that are not the same on all sides.
pub(crate) fn sides(difference: &FirstDifference) -> Vec<(&'static str, String)> {
    let sides = [("expected", &difference.expected), ("live", &difference.live), ("replay", &difference.replay)];
    let same = |field: &str| {
        let mut values = sides.iter().filter_map(|(_, row)| row.as_ref()).map(|row| row.get(field));
        let first = values.next();
        values.all(|value| Some(value) == first)
    };
    let show = |row: &Row| {
        let different: Vec<_> = row.iter().filter(|(field, _)| !same(field)).collect();
        let fields = if different.is_empty() { row.iter().collect() } else { different };
        fields.iter().map(|(field, value)| format!("{field}={value}")).collect::<Vec<_>>().join(" ")
    };
    sides.iter().map(|(name, row)| (*name, row.as_ref().map_or_else(|| "absent".to_owned(), show))).collect()
}

pub(crate) fn badge(verdict: Verdict) -> String {
    let colour = match verdict {
        Verdict::Pass => AnsiColor::Green,
        Verdict::Inconclusive => AnsiColor::Yellow,
        Verdict::Violation | Verdict::Nondeterministic => AnsiColor::Red,
    };
    let style = colour.on_default().bold();
    format!("{style}{}{style:#}", verdict.name().to_uppercase())
}

/// The pipelines that ran a seed, and the others that were chosen: few seeds do not come round to all of them.
fn ran(report: &GateReport) -> (Vec<&str>, Vec<&str>) {
    let seeds = |name: &str| report.breakdown.pipelines.get(name).map_or(0, |part| part.seeds_run);
    report.pipelines.iter().map(String::as_str).partition(|name| seeds(name) > 0)
}

/// The pipelines of a campaign, and which of them ran no seed where others did.
pub(crate) fn pipelines(report: &GateReport) -> String {
    let (ran, idle) = ran(report);
    match (ran.is_empty(), idle.is_empty()) {
        (false, false) => format!("{}; no seed of {}", ran.join(", "), idle.join(", ")),
        _ => report.pipelines.join(", "),
    }
}

pub(crate) fn gate_sentence(report: &GateReport) -> String {
    let seeds = plural(report.seeds_run as usize, "seed");
    let (ran, idle) = ran(report);
    let runs = match (report.seeds_run, report.corpus_plans) {
        (0, 1..) => format!("{} of the corpus", plural(report.corpus_plans as usize, "plan")),
        (1.., _) if !ran.is_empty() && !idle.is_empty() => format!("{seeds} of {}", ran.join(", ")),
        _ => format!("{seeds} of {}", plural(report.pipelines.len(), "pipeline")),
    };
    match report.verdict {
        Verdict::Pass if report.is_empty() => match &report.shard {
            Some(shard) => format!("no seed and no plan falls to shard {shard}"),
            None => "no seed was selected to run".to_owned(),
        },
        Verdict::Pass => format!("every property held in {runs}"),
        Verdict::Inconclusive if report.interrupted => format!("interrupted; no property was violated in {runs}"),
        Verdict::Inconclusive => format!("no property was violated in {runs}, and not all was tried"),
        Verdict::Violation => {
            let properties: BTreeSet<&str> =
                report.violations.iter().map(|violation| violation.property.as_str()).collect();
            let properties: Vec<&str> = properties.into_iter().collect();
            let plans: BTreeSet<&str> = report.violations.iter().map(|violation| violation.past.as_str()).collect();
            let plans = plans.iter().filter(|past| !past.is_empty()).count();
            let broke = match (report.seeds_failed, plans) {
                (0, 1..) => format!("{} of the corpus", plural(plans, "plan")),
                (failed, 0) => format!("{} of {seeds}", count(failed)),
                (failed, plans) => {
                    format!("{} of {seeds} and {} of the corpus", count(failed), plural(plans, "plan"))
                }
            };
            format!("{broke} broke: {}", properties.join(", "))
        }
        Verdict::Nondeterministic => {
            let parted = report.violations.iter().filter(|violation| violation.property == DETERMINISTIC);
            let of_corpus = parted.filter(|violation| !violation.past.is_empty());
            format!(
                "{} gave two traces: no other result of this build can be trusted",
                plural(report.determinism.mismatches as usize + of_corpus.count(), "plan")
            )
        }
    }
}

fn fault_table(faults: &BTreeMap<String, FaultCount>) -> String {
    if faults.is_empty() {
        return String::new();
    }
    let width = faults.keys().map(String::len).max().unwrap_or(0).max("fault".len());
    let mut text = format!("\n  {:<width$}  {:>9}  {:>9}  {:>9}\n", "fault", "injected", "effective", "visible");
    for (name, counts) in faults {
        let cells = [counts.injected, counts.effective, counts.visible].map(count);
        writeln!(text, "  {name:<width$}  {:>9}  {:>9}  {:>9}", cells[0], cells[1], cells[2])
            .expect("a string takes everything");
    }
    text
}

/// How often each state was reached. Of one run nothing is `required`, and no word is lost on that.
fn state_table(
    states: &BTreeMap<String, u64>,
    required: Option<&BTreeSet<String>>,
    meanings: &BTreeMap<String, String>,
) -> String {
    if states.is_empty() {
        return String::new();
    }
    let width = states.keys().map(String::len).max().unwrap_or(0).max("rare state".len());
    let mut text = format!("\n  {:<width$}  {:>9}\n", "rare state", "reached");
    for (name, times) in states.iter().filter(|(_, times)| **times > 0) {
        writeln!(text, "  {name:<width$}  {:>9}", count(*times)).expect("a string takes everything");
    }
    let never = |name: &str| match required {
        Some(required) if !required.contains(name) => "never (not required)",
        _ => "never",
    };
    let missing = || states.iter().filter(|(_, times)| **times == 0).map(|(name, _)| name);
    let pad = missing().map(|name| never(name).len()).max().unwrap_or(0);
    for name in missing() {
        let meaning = meanings.get(name).map_or("", String::as_str);
        let line = format!("  {name:<width$}      {:<pad$}  {meaning}", never(name));
        writeln!(text, "{}", line.trim_end()).expect("a string takes everything");
    }
    text
}

/// How often each property was asked of something: one that never was has not been checked.
fn property_table(examined: &BTreeMap<String, u64>) -> String {
    if examined.is_empty() {
        return String::new();
    }
    let width = examined.keys().map(String::len).max().unwrap_or(0).max("property".len());
    let mut text = format!("\n  {:<width$}  {:>9}\n", "property", "asked of");
    for (name, times) in examined.iter().filter(|(_, times)| **times > 0) {
        writeln!(text, "  {name:<width$}  {:>9}", count(*times)).expect("a string takes everything");
    }
    let never: Vec<&str> = examined.iter().filter(|(_, times)| **times == 0).map(|(name, _)| name.as_str()).collect();
    if !never.is_empty() {
        writeln!(text, "  never asked: {}", never.join(", ")).expect("a string takes everything");
    }
    text
}

pub(crate) fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Without the colours.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        out.push_str(&rest[..at]);
        let after = &rest[at..];
        rest = after.find('m').map_or("", |end| &after[end + 1..]);
    }
    out + rest
}

/// `340 : 1 virtual to wall, 1 045 seeds per minute, 3 120 records per second`
pub fn speed(speed: &Speed) -> String {
    format!(
        "{} : 1 virtual to wall, {} seeds per minute, {} records per second",
        rounded(speed.virtual_per_wall),
        rounded(speed.seeds_per_minute),
        rounded(speed.records_per_second)
    )
}

/// Whole from ten on, with one digit after the point below.
pub fn rounded(rate: f64) -> String {
    if rate < 9.95 { format!("{rate:.1}") } else { count(rate.round() as u64) }
}

pub(crate) fn plural(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{} {noun}s", count(number as u64)) }
}

/// `1 234 567`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `850ms`, `41.2s`, `12m 20s`, `2h 5m`, `3d 4h`: as precise as its size asks for.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 if ms.is_multiple_of(1_000) => format!("{seconds}s"),
        1_000..60_000 => format!("{seconds}.{}s", ms % 1_000 / 100),
        60_000..3_600_000 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600_000..86_400_000 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// An event time, in UTC: `2026-11-21 10:02:00.000`; times beyond the calendar as plain milliseconds.
pub fn moment(ms: i64) -> String {
    let days = ms.div_euclid(86_400_000);
    if days.unsigned_abs() > 3_000_000 {
        return format!("{ms} ms");
    }
    let (year, month, day) = civil(days);
    let of_day = ms.rem_euclid(86_400_000);
    let (seconds, ms) = (of_day / 1_000, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{ms:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of a day since 1970-01-01, in the proleptic Gregorian calendar. (Years are counted from March, so
/// that the leap day is a year's last.)
pub fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tier, sample};

    #[test]
    fn a_pass_says_what_was_tried_and_what_it_supports() {
        let report = sample::pass();
        insta::assert_snapshot!(
            "gate-pass",
            plain(&gate(&report, "segno gate --seed-base 2 --count 20 --time-budget 10m"))
        );
    }

    #[test]
    fn a_violation_is_told_as_a_story_with_the_way_back_to_it() {
        let report = sample::violated();
        insta::assert_snapshot!("gate-violation", plain(&gate(&report, &sample::violation().reproduce)));
    }

    #[test]
    fn one_seed_is_told_with_its_trace_hash() {
        let mut bad = sample::seed("clickstream-sessions", 7312, Tier::Race);
        bad.verdict = Verdict::Violation;
        bad.violations.push(sample::violation());
        insta::assert_snapshot!("repro", plain(&repro(&bad.into())));
    }

    #[test]
    fn an_empty_gate_still_reads_well() {
        let mut report = GateReport::new(vec!["clickstream-sessions".into()], 150);
        report.inconclusive("0 of 150 seeds ran before the time budget ended");
        report.finish();
        let text = plain(&gate(&report, "segno gate"));
        assert!(text.starts_with("INCONCLUSIVE  no property was violated in 0 seeds of 1 pipeline"), "{text}");
        assert!(text.contains("0 of 150: 0 race"), "{text}");
    }

    #[test]
    fn a_pass_of_few_seeds_names_the_pipelines_that_ran_one() {
        let mut report = GateReport::new(vec!["clickstream-hours".into(), "clickstream-minutes".into()], 1);
        report.add(&sample::seed("clickstream-minutes", 1, Tier::Race));
        report.finish();
        let text = plain(&gate(&report, "segno gate"));
        assert!(text.starts_with("PASS  every property held in 1 seed of clickstream-minutes\n"), "{text}");
        assert!(text.contains("  pipelines     clickstream-minutes; no seed of clickstream-hours\n"), "{text}");
    }

    #[test]
    fn a_gate_without_seeds_passes_only_what_it_ran() {
        let mut report = GateReport::new(vec!["clickstream-sessions".into()], 0);
        report.shard = Some("3/9".into());
        report.finish();
        let text = plain(&gate(&report, "segno gate"));
        assert!(text.starts_with("NOTHING  no seed and no plan falls to shard 3/9\n"), "{text}");
        report.add_past(2, Vec::new());
        let text = plain(&gate(&report, "segno gate"));
        assert!(text.starts_with("PASS  every property held in 2 plans of the corpus\n"), "{text}");
        let broken = Violation { property: "durable".into(), past: "torn".into(), ..Violation::default() };
        report.add_past(0, vec![broken]);
        let text = plain(&gate(&report, "segno gate"));
        assert!(text.starts_with("VIOLATION  1 plan of the corpus broke: durable\n"), "{text}");
        (report.seeds_run, report.seeds_failed) = (4, 1);
        let text = plain(&gate(&report, "segno gate"));
        assert!(text.starts_with("VIOLATION  1 of 4 seeds and 1 plan of the corpus broke: durable\n"), "{text}");
    }

    #[test]
    fn a_state_that_had_to_be_reached_is_told_from_others() {
        let mut report = sample::pass();
        report.states.insert("exact-gap".into(), 0);
        report.state_meanings.insert("exact-gap".into(), "Two events are a gap apart.".into());
        report.states_required = ["session-bridge-after-emission".to_owned()].into();
        let text = plain(&gate(&report, "segno gate"));
        let row = "  exact-gap                           never (not required)  Two events are a gap apart.\n";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("  session-bridge-after-emission       never\n"), "{text}");
    }

    #[test]
    fn numbers_are_grouped_and_durations_as_precise_as_their_size() {
        assert_eq!([0, 999, 1_000, 21_034, 1_000_000].map(count), ["0", "999", "1 000", "21 034", "1 000 000"]);
        let durations = [0, 850, 1_000, 41_250, 740_000, 7_500_000, 277_200_000];
        assert_eq!(durations.map(duration), ["0ms", "850ms", "1s", "41.2s", "12m 20s", "2h 5m", "3d 5h"]);
    }

    #[test]
    fn days_become_dates_both_ways_of_the_epoch() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(-1), (1969, 12, 31));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(-719_162), (1, 1, 1));
        assert_eq!(moment(-1), "1969-12-31 23:59:59.999");
        assert_eq!(moment(i64::MAX), format!("{} ms", i64::MAX));
    }
}
