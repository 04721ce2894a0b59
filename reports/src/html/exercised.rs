//! What a campaign tried: faults by phase, properties by pipeline, rare states. What was not tried stands out.

use std::fmt::{Result, Write};

use super::Page;
use super::markup::Text;
use crate::text::count;
use crate::{FaultCount, GateReport};

/// A row a kind of fault, a column a phase. A cell is three numbers, and a bar in which they lie within each other.
pub fn faults(html: &mut String, report: &GateReport) -> Result {
    if report.faults.is_empty() {
        return Ok(());
    }
    let grid = &report.breakdown.faults;
    let phases = report.breakdown.phases();
    let most = grid.values().flat_map(|row| row.values()).map(|cell| cell.injected).max().unwrap_or(1).max(1);
    html.push_str(
        "<section>\n<h2>Faults, by phase</h2>\n<p class=\"key\"><span><i class=\"injected\"></i>injected</span> \
         <span><i class=\"effective\"></i>took effect</span> <span><i class=\"visible\"></i>trouble met meanwhile</span></p>\n\
         <div class=\"wide\"><table class=\"faults\">\n<thead><tr><th>fault</th>",
    );
    for phase in &phases {
        write!(html, "<th>{}</th>", Text(phase))?;
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for (kind, total) in &report.faults {
        let class = if total.effective == 0 { " class=\"untried\"" } else { "" };
        write!(html, "<tr{class}><th>{}</th>", Text(kind))?;
        for phase in &phases {
            match grid.get(kind).and_then(|row| row.get(*phase)) {
                Some(cell) => fault(html, cell, most)?,
                None => html.push_str("<td class=\"none\" title=\"never drawn\">—</td>"),
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    let idle: Vec<&str> =
        report.faults.iter().filter(|(_, total)| total.effective == 0).map(|(kind, _)| kind.as_str()).collect();
    if !idle.is_empty() {
        writeln!(html, "<p class=\"warn\">Without any effect: {}.</p>", Text(&idle.join(", ")))?;
    }
    html.push_str("</section>\n");
    Ok(())
}

fn fault(html: &mut String, cell: &FaultCount, most: u64) -> Result {
    let share = |count: u64| count as f64 * 100.0 / most as f64;
    let class = if cell.effective == 0 { " class=\"warn\"" } else { "" };
    write!(html, "<td{class}><span class=\"bar\">")?;
    for (name, number) in [("injected", cell.injected), ("effective", cell.effective), ("visible", cell.visible)] {
        if number > 0 {
            write!(html, "<i class=\"{name}\" style=\"width:{:.1}%\"></i>", share(number))?;
        }
    }
    write!(
        html,
        "</span><span class=\"three\"><b>{}</b><b>{}</b><b>{}</b></span></td>",
        count(cell.injected),
        count(cell.effective),
        count(cell.visible)
    )
}

/// A row a property, a column a pipeline: how many things it was asked of.
pub fn properties(html: &mut String, page: &Page<'_>) -> Result {
    let report = page.report;
    let mut names: Vec<&str> = report.examined.keys().map(String::as_str).collect();
    names.extend(report.violations.iter().map(|violation| violation.property.as_str()));
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(());
    }
    html.push_str(
        "<section>\n<h2>Properties, and what each was asked of</h2>\n<div class=\"wide\"><table class=\"properties\">\n\
         <thead><tr><th>property</th>",
    );
    for pipeline in &report.pipelines {
        write!(html, "<th>{}</th>", Text(pipeline))?;
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for name in names {
        let meaning = page.meanings.get(name).copied().unwrap_or_default();
        write!(html, "<tr><th><code>{}</code><small>{}</small></th>", Text(name), Text(meaning))?;
        for pipeline in &report.pipelines {
            let broken = report
                .violations
                .iter()
                .filter(|violation| violation.property == name && violation.pipeline == *pipeline)
                .count();
            let part = report.breakdown.pipelines.get(pipeline);
            let asked = part.and_then(|part| part.examined.get(name)).copied().unwrap_or(0);
            match (broken, asked) {
                (0, 0) if report.examined.contains_key(name) => html.push_str("<td class=\"warn\">never asked</td>"),
                (0, 0) => html.push_str("<td class=\"none\">held</td>"),
                (0, asked) => write!(html, "<td>{}</td>", count(asked))?,
                (_, 0) => html.push_str("<td class=\"bad\">broken</td>"),
                (_, asked) => write!(html, "<td class=\"bad\">broken <small>asked of {}</small></td>", count(asked))?,
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n</section>\n");
    Ok(())
}

/// Which rare states were reached, the missing ones first, and of these the required ones.
pub fn states(html: &mut String, report: &GateReport) -> Result {
    if report.states.is_empty() {
        return Ok(());
    }
    let reached = report.states.values().filter(|times| **times > 0).count();
    writeln!(
        html,
        "<section>\n<h2>Rare states <span class=\"aside\">{reached} of {} reached</span></h2>\n<ul class=\"states\">",
        report.states.len()
    )?;
    let missing = report.states.iter().filter(|(_, times)| **times == 0).map(|(name, _)| name.as_str());
    let (required, others): (Vec<&str>, Vec<&str>) = missing.partition(|name| report.states_required.contains(*name));
    for name in required {
        writeln!(html, "<li class=\"warn\"><span>{}</span><b>not reached</b></li>", Text(name))?;
    }
    for name in others {
        writeln!(html, "<li class=\"none\"><span>{}</span><b>not reached, not required</b></li>", Text(name))?;
    }
    for (name, times) in report.states.iter().filter(|(_, times)| **times > 0) {
        writeln!(html, "<li><span>{}</span><b>{}</b></li>", Text(name), count(*times))?;
    }
    html.push_str("</ul>\n</section>\n");
    Ok(())
}
