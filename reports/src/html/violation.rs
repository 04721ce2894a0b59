//! What broke: one article a violation, from the sentence to the command that shows it again.

use std::fmt::{Result, Write};

use serde_json::Value;

use super::markup::{Text, beside};
use super::{Page, timeline};
use crate::text::{count, lateness, moment};
use crate::{FirstDifference, Row, Story, Violation};

/// Told in full; the others are a line each.
const TOLD: usize = 20;

pub fn all(html: &mut String, page: &Page<'_>) -> Result {
    let violations = &page.report.violations;
    if violations.is_empty() {
        return Ok(());
    }
    writeln!(html, "<section class=\"violations\">\n<h2>What broke</h2>")?;
    let mut drawn: Vec<(&str, u64)> = Vec::new();
    for violation in violations.iter().take(TOLD) {
        let run = (violation.pipeline.as_str(), violation.seed);
        let story = page.stories.iter().find(|story| (story.pipeline.as_str(), story.seed) == run);
        // One run may break several properties: its timeline is drawn once.
        let first = !drawn.contains(&run);
        drawn.push(run);
        article(html, page, violation, story.filter(|_| first))?;
    }
    if violations.len() > TOLD {
        writeln!(html, "<h3>And {} more</h3>\n<ul class=\"more\">", count((violations.len() - TOLD) as u64))?;
        for violation in &violations[TOLD..] {
            writeln!(
                html,
                "<li><b>{}</b> {} seed {}: {} <code class=\"command\">{}</code></li>",
                Text(&violation.property),
                Text(&violation.pipeline),
                violation.seed,
                Text(&violation.message),
                Text(&violation.reproduce)
            )?;
        }
        html.push_str("</ul>\n");
    }
    html.push_str("</section>\n");
    Ok(())
}

fn article(html: &mut String, page: &Page<'_>, violation: &Violation, story: Option<&Story>) -> Result {
    let tier = if violation.tier.is_empty() { String::new() } else { format!(" ({})", Text(&violation.tier)) };
    writeln!(
        html,
        "<article>\n<h3>{}</h3>\n<p class=\"of\">{} <span>seed {}{tier}</span></p>",
        Text(&violation.property),
        Text(&violation.pipeline),
        violation.seed
    )?;
    if let Some(meaning) = page.meanings.get(violation.property.as_str()) {
        writeln!(html, "<p class=\"meaning\">It holds when {}.</p>", Text(meaning.trim_end_matches('.')))?;
    }
    if !violation.message.is_empty() {
        writeln!(html, "<p class=\"message\">{}</p>", Text(&violation.message))?;
    }
    let told = story.and_then(|story| story.first_difference.as_ref());
    if let Some(difference) = told.or(violation.first_difference.as_ref()) {
        first_difference(html, difference)?;
    }
    if let Some(story) = story {
        shrunk(html, story)?;
        timeline::figure(html, story)?;
    } else if !violation.story.is_empty() {
        html.push_str("<h4>What happened before</h4>\n<pre>");
        for line in &violation.story {
            writeln!(html, "{}", Text(line))?;
        }
        html.push_str("</pre>\n");
    }
    writeln!(
        html,
        "<p class=\"next\"><span>reproduce</span> <code class=\"command\">{}</code></p>",
        Text(&violation.reproduce)
    )?;
    let mut files = Vec::new();
    if !violation.plan.is_empty() {
        files.push((beside(&violation.plan).to_owned(), "the plan"));
    }
    if !violation.story_file.is_empty() {
        files.push((format!("{}.trace.json", violation.seed), "for Perfetto"));
    }
    if !files.is_empty() {
        let links: Vec<String> = files
            .iter()
            .map(|(file, what)| format!("<a href=\"{}\">{}</a> ({what})", Text(file), Text(file)))
            .collect();
        writeln!(html, "<p class=\"files\">{}</p>", links.join(", "))?;
    }
    html.push_str("</article>\n");
    Ok(())
}

/// What is left of the plan, and how much that took.
fn shrunk(html: &mut String, story: &Story) -> Result {
    let Some(shrunk) = &story.shrunk else { return Ok(()) };
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

/// Field by field, what each of the three says; fields that agree are faint.
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
    html.push_str("<div class=\"wide\"><table class=\"difference\">\n<thead><tr><th>field</th>");
    for (name, _) in sides {
        write!(html, "<th>{name}</th>")?;
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    let mut fields: Vec<&String> = sides.iter().filter_map(|(_, row)| row.as_ref()).flat_map(Row::keys).collect();
    fields.sort_unstable();
    fields.dedup();
    let row_of = |value: &Option<Row>, field: &str| value.as_ref().and_then(|row| row.get(field).cloned());
    for field in fields {
        let values = sides.map(|(_, row)| row_of(row, field));
        // Where a whole row is absent, its column says so once.
        let present: Vec<&Value> = values.iter().flatten().collect();
        let odd = present.windows(2).any(|pair| pair[0] != pair[1]);
        let class = if odd { " class=\"odd\"" } else { "" };
        write!(html, "<tr{class}><th>{}</th>", Text(field))?;
        for ((_, row), value) in sides.iter().zip(&values) {
            match (row, value) {
                (None, _) => html.push_str("<td class=\"none\">no row</td>"),
                (Some(_), None) => html.push_str("<td class=\"none\">no field</td>"),
                (Some(_), Some(value)) => write!(html, "<td>{}</td>", Text(&shown(field, value)))?,
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    if difference.causes.is_empty() {
        return Ok(());
    }
    html.push_str(
        "<h4>Source records of this key, near the window</h4>\n<div class=\"wide\"><table class=\"causes\">\n<thead><tr>\
         <th>place in the log</th><th>event time</th><th>against its watermark</th></tr></thead>\n<tbody>\n",
    );
    for cause in &difference.causes {
        let late = cause.behind_watermark_ms.is_some_and(|behind| behind > 0);
        writeln!(
            html,
            "<tr><th><code>{}[{}]@{}</code></th><td>{}</td><td{}>{}</td></tr>",
            Text(&cause.topic),
            cause.partition,
            cause.offset,
            moment(cause.event_time_ms),
            if late { " class=\"late\"" } else { "" },
            lateness(cause)
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
