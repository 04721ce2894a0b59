//! What broke: one article a violation, from the sentence to the command that shows it again.

use std::collections::BTreeSet;
use std::fmt::{Result, Write};

use serde_json::Value;

use super::markup::{Text, beside};
use super::{Page, timeline};
use crate::story::Shrunk;
use crate::text::{count, duration, moment};
use crate::{FirstDifference, Row, Story, Violation};

/// Runs told in full; the violations of the others, and of those that show consequences alone, are a line each.
const TOLD: usize = 20;

/// The violations of one run: their past is the same.
struct Broken<'a> {
    violations: Vec<&'a Violation>,
    story: Option<&'a Story>,
}

pub fn all(html: &mut String, page: &Page<'_>) -> Result {
    let mut runs: Vec<Broken<'_>> = Vec::new();
    for violation in &page.report.violations {
        let run = |of: &Violation| (of.pipeline.clone(), of.seed, of.past.clone());
        let same = |other: &Violation| run(other) == run(violation);
        match runs.iter_mut().find(|run| same(run.violations[0])) {
            Some(run) => run.violations.push(violation),
            None => {
                let told = |story: &&Story| {
                    // A plan of the corpus and a seed of the campaign may have one number.
                    let its = violation.past.is_empty() || story.reproduce.contains(&violation.past);
                    (&story.pipeline, story.seed) == (&violation.pipeline, violation.seed) && its
                };
                runs.push(Broken { violations: vec![violation], story: page.stories.iter().find(told) });
            }
        }
    }
    if runs.is_empty() {
        return Ok(());
    }
    writeln!(html, "<section class=\"violations\">\n<h2>What broke</h2>")?;
    let shows_a_failure = |run: &Broken<'_>| run.violations.iter().any(|violation| !violation.consequence);
    runs.sort_by_key(|run| !shows_a_failure(run));
    let failed = runs.iter().filter(|run| shows_a_failure(run)).count();
    let (told, others) = runs.split_at(failed.min(TOLD));
    for run in told {
        article(html, page, run)?;
    }
    if !others.is_empty() {
        let runs = if others.len() == 1 { "run" } else { "runs" };
        writeln!(html, "<h3>And in {} more {runs}</h3>\n<ul class=\"more\">", count(others.len() as u64))?;
        for violation in others.iter().flat_map(|run| &run.violations) {
            writeln!(
                html,
                "<li><b>{}</b> {} {}: {} <code class=\"command\">{}</code></li>",
                Text(&violation.property),
                Text(&violation.pipeline),
                Text(&violation.run()),
                Text(&violation.message),
                Text(&violation.reproduce)
            )?;
        }
        html.push_str("</ul>\n");
    }
    html.push_str("</section>\n");
    Ok(())
}

fn article(html: &mut String, page: &Page<'_>, run: &Broken<'_>) -> Result {
    let first = run.violations[0];
    let tier = if first.tier.is_empty() { String::new() } else { format!(" ({})", Text(&first.tier)) };
    writeln!(
        html,
        "<article>\n<p class=\"of\">{} <span>{}{tier}</span></p>",
        Text(&first.pipeline),
        Text(&first.run())
    )?;
    let failures = || run.violations.iter().filter(|violation| !violation.consequence);
    let seeds = failures().flat_map(|violation| violation.seeds.iter().copied());
    let alike_seeds: BTreeSet<u64> = seeds.filter(|seed| *seed != first.seed).collect();
    alike(html, &alike_seeds)?;
    let shown: BTreeSet<&str> = run.violations.iter().map(|violation| violation.property.as_str()).collect();
    let also: BTreeSet<&str> = failures().flat_map(|violation| violation.also.iter().map(String::as_str)).collect();
    let also: Vec<&str> = also.difference(&shown).copied().collect();
    if !also.is_empty() {
        let who = if alike_seeds.is_empty() { "It" } else { "Some of these seeds" };
        writeln!(html, "<p class=\"alike\">{who} also broke {}.</p>", also.join(", "))?;
    }
    for (index, violation) in run.violations.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| run.violations[before].property.as_str());
        if before != Some(violation.property.as_str()) {
            let meaning = page.meanings.get(violation.property.as_str()).copied().unwrap_or_default();
            let meaning =
                if meaning.is_empty() { String::new() } else { format!(" <small>holds when {meaning}</small>") };
            writeln!(html, "<h3>{}{meaning}</h3>", Text(&violation.property))?;
        }
        // The table says it better.
        let place = |difference: &FirstDifference| (difference.key.clone(), difference.window_start_ms);
        let mut before = run.violations[..index].iter().filter_map(|other| other.first_difference.as_ref()).map(place);
        match &violation.first_difference {
            Some(difference) if before.any(|shown| shown == place(difference)) => {
                writeln!(
                    html,
                    "<p class=\"message\">The row of key <code>{}</code>, above.</p>",
                    Text(&difference.key)
                )?;
            }
            Some(difference) => first_difference(html, difference)?,
            None if !violation.message.is_empty() => {
                writeln!(html, "<p class=\"message\">{}</p>", Text(&violation.message))?;
            }
            None => {}
        }
    }
    let shrunk = run.story.and_then(|story| story.shrunk.as_ref());
    shrunk_to(html, shrunk.or(run.violations.iter().find_map(|violation| violation.shrunk.as_ref())))?;
    if let Some(story) = run.story {
        timeline::figure(html, story)?;
    } else if let Some(told) = run.violations.iter().find(|violation| !violation.story.is_empty()) {
        html.push_str("<h4>What happened before</h4>\n<pre>");
        for line in &told.story {
            writeln!(html, "{}", Text(line))?;
        }
        html.push_str("</pre>\n");
    }
    // What is told above is the story's run: of a shrunk plan, if there is one.
    let told = run.story.map(|story| story.reproduce.as_str()).filter(|command| !command.is_empty());
    let command = |html: &mut String, name: &str, command: &str| {
        writeln!(html, "<p class=\"next\"><span>{name}</span> <code class=\"command\">{}</code></p>", Text(command))
    };
    command(html, "reproduce", told.unwrap_or(&first.reproduce))?;
    if told.is_some_and(|told| told != first.reproduce) {
        command(html, "as it was drawn", &first.reproduce)?;
    }
    let mut files = Vec::new();
    if !first.plan.is_empty() {
        files.push((beside(&first.plan).to_owned(), "the plan"));
    }
    if !first.shrunk_plan.is_empty() {
        files.push((beside(&first.shrunk_plan).to_owned(), "what is left of it"));
    }
    if run.story.is_some() {
        files.push((format!("{}.trace.json", first.seed), "for Perfetto, in virtual time"));
    }
    let links: Vec<String> =
        files.iter().map(|(file, what)| format!("<a href=\"{}\">{}</a> ({what})", Text(file), Text(file))).collect();
    if !links.is_empty() {
        writeln!(html, "<p class=\"files\">{}</p>", links.join(", "))?;
    }
    html.push_str("</article>\n");
    Ok(())
}

/// The other seeds that broke in the same way, as far as they fit a line.
fn alike(html: &mut String, others: &BTreeSet<u64>) -> Result {
    const LISTED: usize = 12;
    if others.is_empty() {
        return Ok(());
    }
    let listed: Vec<String> = others.iter().take(LISTED).map(u64::to_string).collect();
    let more = match others.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {} more", count(more as u64)),
    };
    let seeds = if others.len() == 1 { "seed" } else { "seeds" };
    writeln!(html, "<p class=\"alike\">Broken alike: {seeds} {}{more}. This one is the fastest.</p>", listed.join(", "))
}

/// What is left of the plan, and how much that took.
fn shrunk_to(html: &mut String, shrunk: Option<&Shrunk>) -> Result {
    let Some(shrunk) = shrunk else { return Ok(()) };
    html.push_str("<p class=\"shrunk\">Shrunk to ");
    let parts = [
        (shrunk.faults_before, shrunk.faults, "fault"),
        (shrunk.events_before, shrunk.events, "event"),
        (shrunk.partitions_before, shrunk.partitions, "partition"),
        (shrunk.hosts_before, shrunk.hosts, "host"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(before, _, _)| *before > 0)
        .map(|(before, now, what)| {
            let plural = if *now == 1 { "" } else { "s" };
            format!("<b>{}</b> {what}{plural} of {}", count(*now), count(*before))
        })
        .collect();
    writeln!(html, "{}, in {} runs.</p>", parts.join(", "), count(shrunk.runs))
}

/// A row a side, a column a field: those that are not the same first, the others faint.
fn first_difference(html: &mut String, difference: &FirstDifference) -> Result {
    let rows = match difference.rows_different {
        0 | 1 => "One row differs".to_owned(),
        more => format!("{} rows differ; the first", count(more)),
    };
    writeln!(
        html,
        "<p class=\"where\">{rows}: key <code>{}</code>, window from <code>{}</code></p>",
        Text(&difference.key),
        moment(difference.window_start_ms)
    )?;
    let sides = [("expected", &difference.expected), ("live", &difference.live), ("replay", &difference.replay)];
    let there: Vec<&Row> = sides.iter().filter_map(|(_, row)| row.as_ref()).collect();
    let odd = |field: &str| there.iter().any(|row| row.get(field) != there[0].get(field));
    let mut fields: Vec<&str> = there.iter().flat_map(|row| row.keys()).map(String::as_str).collect();
    fields.sort_by_key(|field| (!odd(field), *field));
    fields.dedup();
    html.push_str("<div class=\"wide\"><table class=\"difference\">\n<thead><tr><th></th>");
    for field in &fields {
        write!(html, "<th{}>{}</th>", if odd(field) { " class=\"odd\"" } else { "" }, Text(field))?;
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for (name, row) in &sides {
        write!(html, "<tr><th>{name}</th>")?;
        let Some(row) = row else {
            writeln!(html, "<td class=\"absent\" colspan=\"{}\">no such row</td></tr>", fields.len().max(1))?;
            continue;
        };
        for field in &fields {
            let value = row.get(*field);
            // Of several that are not the same, the one that stands alone.
            let alike = there.iter().filter(|other| other.get(*field) == value).count();
            let class = match (odd(field), alike) {
                (true, 1) => " class=\"alone\"",
                (true, _) => " class=\"odd\"",
                (false, _) if there.len() < sides.len() => " class=\"there\"",
                (false, _) => "",
            };
            let value = value.map_or_else(|| "no such field".to_owned(), |value| shown(field, value));
            write!(html, "<td{class}>{}</td>", Text(&value))?;
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    if difference.causes.is_empty() {
        return Ok(());
    }
    html.push_str(
        "<h4>Source records of this key, near the window</h4>\n<div class=\"wide\"><table class=\"causes\">\n<thead><tr>\
         <th>place in the log</th><th>lateness</th><th>event time</th></tr></thead>\n<tbody>\n",
    );
    for cause in &difference.causes {
        let (class, lateness) = match cause.behind_watermark_ms {
            Some(behind) if behind > 0 => (" class=\"late\"", format!("{} behind", duration(behind.unsigned_abs()))),
            _ => ("", "on time".to_owned()),
        };
        writeln!(
            html,
            "<tr><th><code>{}[{}]@{}</code></th><td{class}>{lateness}</td><td>{}</td></tr>",
            Text(&cause.topic),
            cause.partition,
            cause.offset,
            moment(cause.event_time_ms)
        )?;
    }
    html.push_str("</tbody></table></div>\n");
    Ok(())
}

/// A value as a person reads it: a field in milliseconds since the epoch also as a time.
fn shown(field: &str, value: &Value) -> String {
    let plain = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match value.as_i64() {
        Some(ms) if field.ends_with("_ms") && ms.abs() > 100_000_000_000 => moment(ms),
        _ => plain,
    }
}
