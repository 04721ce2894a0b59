//! `report.html`: a campaign as one page that stands alone. No script, no font and no picture from elsewhere; light and dark as
//! the reader's system says; a printout shows everything.
//!
//! In: a [`Page`], plain data. Out: the page's text. The parts: the verdict, then what broke (or nothing), then what was
//! tried and what was not, then how fast that went. Whoever reads only the first screen has the verdict and its reach.

mod exercised;
mod markup;
mod timeline;
mod violation;

use std::collections::BTreeMap;
use std::fmt::{Result, Write};

use crate::text::{capital, count, duration, gate_sentence, rounded};
use crate::{GateReport, Story, Verdict};
use markup::Text;

const STYLE: &str = include_str!("style.css");
/// The sign: an S, a stroke through it, and two dots.
const SIGN: &str = "<svg class=\"logo\" viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path d=\"M17 6.5C15.6 3.4 8.4 3 8 7.2c-.4 \
                    4.4 8.6 4.6 8 9.2-.5 4.2-7.8 3.8-9.2.8\"/><path d=\"M18.5 3 5.5 21\"/><circle cx=\"5.6\" cy=\"12.6\" \
                    r=\"1.5\"/><circle cx=\"18.4\" cy=\"11.4\" r=\"1.5\"/></svg>";

/// All that a page is made of.
pub struct Page<'a> {
    pub report: &'a GateReport,
    /// Of the violations that have one, in any order.
    pub stories: &'a [Story],
    /// Property → when it holds, in words.
    pub meanings: &'a BTreeMap<&'a str, &'a str>,
    /// The command to type now.
    pub next: &'a str,
}

/// The page.
pub fn page(page: &Page<'_>) -> String {
    let mut html = String::with_capacity(64 * 1024);
    write(&mut html, page).expect("a string takes everything");
    html
}

fn write(html: &mut String, page: &Page<'_>) -> Result {
    let report = page.report;
    let verdict = report.heading();
    write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"generator\" content=\"{}\">\n<title>{verdict}: segno gate</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body class=\"{verdict}\">\n",
        Text(&report.schema)
    )?;
    header(html, page)?;
    html.push_str("<main>\n");
    figures(html, report)?;
    violation::all(html, page)?;
    exercised::faults(html, report)?;
    exercised::properties(html, page)?;
    exercised::states(html, report)?;
    speed(html, report)?;
    html.push_str("</main>\n");
    footer(html, report)?;
    html.push_str("</body>\n</html>\n");
    Ok(())
}

fn header(html: &mut String, page: &Page<'_>) -> Result {
    let report = page.report;
    writeln!(html, "<header>\n<p class=\"brand\">{SIGN} segno gate <span>{}</span></p>", Text(&report.run_dir))?;
    writeln!(
        html,
        "<h1><span class=\"badge\">{}</span> {}.</h1>",
        report.heading(),
        Text(&capital(&gate_sentence(report)))
    )?;
    if !report.reasons.is_empty() {
        html.push_str("<ul class=\"reasons\">\n");
        for reason in &report.reasons {
            writeln!(html, "<li>{}</li>", Text(reason))?;
        }
        html.push_str("</ul>\n");
    }
    if let Some(rate) = report.failure_rate_below {
        writeln!(
            html,
            "<p class=\"reach\">No failure in {} runs: fewer than <b>{:.2} %</b> of (pipeline, seed) pairs fail, at 95 % \
             confidence. This speaks of this build, of these pipelines and of the faults below.</p>",
            count(report.seeds_run),
            rate.min(1.0) * 100.0
        )?;
    }
    writeln!(
        html,
        "<p class=\"next\"><span>next</span> <code class=\"command\">{}</code></p>\n</header>",
        Text(page.next)
    )
}

fn figures(html: &mut String, report: &GateReport) -> Result {
    html.push_str("<dl class=\"figures\">\n");
    let mut figure = |name: &str, value: String, more: String| {
        writeln!(html, "<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>")
    };
    let asked = if report.seeds_asked == report.seeds_run {
        String::new()
    } else {
        format!(" of {}", count(report.seeds_asked))
    };
    let shard = report.shard.as_deref().map(|shard| format!(", shard {}", Text(shard))).unwrap_or_default();
    figure(
        "seeds",
        format!("{}{asked}", count(report.seeds_run)),
        format!("{} race, {} soak{shard}", count(report.tiers.race), count(report.tiers.soak)),
    )?;
    figure(
        "run twice",
        count(report.determinism.doubled),
        match report.determinism.mismatches {
            0 => "no trace differed".to_owned(),
            more => format!("<b class=\"bad\">{} traces differed</b>", count(more)),
        },
    )?;
    let records = &report.records;
    figure(
        "records",
        count(records.ingested),
        format!(
            "{} late, {} twice, {} out of order",
            count(records.late),
            count(records.duplicates),
            count(records.out_of_order)
        ),
    )?;
    figure("panes", count(report.panes.live), format!("live; {} replayed", count(report.panes.replay)))?;
    let took_effect = report.faults.values().map(|count| count.effective).sum();
    let injected = report.faults.values().map(|count| count.injected).sum();
    figure("faults", count(took_effect), format!("took effect of {} injected", count(injected)))?;
    figure("virtual time", duration(report.virtual_ms), format!("in {} of wall time", duration(report.wall_ms)))?;
    html.push_str("</dl>\n");
    Ok(())
}

/// Where the wall time went.
fn speed(html: &mut String, report: &GateReport) -> Result {
    let speed = &report.speed;
    html.push_str("<section>\n<h2>How fast</h2>\n");
    writeln!(
        html,
        "<p class=\"lead\"><b>{}</b> s of virtual time in a second of wall time, <b>{}</b> seeds a minute, <b>{}</b> \
         records a second through live and replay.</p>",
        rounded(speed.virtual_per_wall),
        rounded(speed.seeds_per_minute),
        rounded(speed.records_per_second)
    )?;
    html.push_str(
        "<div class=\"wide\"><table class=\"numbers\">\n<thead><tr><th></th><th>seeds</th><th>records</th><th>virtual \
         time</th><th>wall time of its seeds</th><th>a seed</th><th>virtual : wall</th></tr></thead>\n<tbody>\n",
    );
    let parts = report.breakdown.tiers.iter().chain(&report.breakdown.pipelines);
    for (name, part) in parts {
        let each = part.seed_wall_ms.checked_div(part.seeds_run).unwrap_or(0);
        let ratio = if part.seed_wall_ms == 0 { 0.0 } else { part.virtual_ms as f64 / part.seed_wall_ms as f64 };
        writeln!(
            html,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{} : 1</td></tr>",
            Text(name),
            count(part.seeds_run),
            count(part.records_ingested),
            duration(part.virtual_ms),
            duration(part.seed_wall_ms),
            duration(each),
            rounded(ratio)
        )?;
    }
    html.push_str(
        "</tbody></table></div>\n<p class=\"note\">Virtual time is what the simulated clock counted; it says nothing of \
         the engine's throughput. Seeds run in several processes, so their wall times add up to more than the \
         campaign's.</p>\n</section>\n",
    );
    Ok(())
}

fn footer(html: &mut String, report: &GateReport) -> Result {
    let says = match report.verdict {
        Verdict::Pass | Verdict::Inconclusive => {
            "A pass says that nothing listed here broke, in what was tried. It says nothing of faults that are not listed, \
             of other workloads, or of speed."
        }
        Verdict::Violation | Verdict::Nondeterministic => {
            "Each plan above runs again the same way on any machine that has this build."
        }
    };
    writeln!(
        html,
        "<footer><p>{says}</p><p>Beside this page: <a href=\"run.json\">run.json</a>, <a href=\"junit.xml\">junit.xml</a>, <a \
         href=\"summary.md\">summary.md</a>. {}</p></footer>",
        Text(&report.schema)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Violation, sample};

    fn render(report: &GateReport, stories: &[Story]) -> String {
        let meanings =
            BTreeMap::from([("replay-equals-live", "final table and late set of the replay = those of live")]);
        page(&Page { report, stories, meanings: &meanings, next: "segno gate --count 3" })
    }

    #[test]
    fn a_page_of_a_pass() {
        insta::assert_snapshot!("page-pass", render(&sample::pass(), &[]).replace(STYLE, "…\n"));
    }

    #[test]
    fn a_page_of_a_violation() {
        let html = render(&sample::violated(), &[sample::story()]);
        insta::assert_snapshot!("page-violation", html.replace(STYLE, "…\n"));
    }

    #[test]
    fn every_run_that_shows_a_failure_is_told_whatever_is_listed_before_it() {
        let mut report = sample::violated();
        let one = report.violations[0].clone();
        let of = |seed: u64, consequence: bool| Violation { seed, consequence, ..one.clone() };
        report.violations = vec![of(1, true), of(1, false), of(2, true), of(3, false)];
        let html = render(&report, &[]);
        assert_eq!(html.matches("<article>").count(), 2, "seeds 1 and 3");
        assert_eq!(html.matches("And in 1 more run<").count(), 1, "seed 2");
    }

    #[test]
    fn a_page_asks_nothing_of_the_network() {
        let html = render(&sample::violated(), &[sample::story()]);
        for door in ["http:", "https:", "src=", "@import", "url(", "<script", "<link"] {
            assert!(!html.contains(door), "the page has {door}");
        }
    }

    #[test]
    fn tags_are_closed_in_the_order_in_which_they_were_opened() {
        for html in [render(&sample::violated(), &[sample::story()]), render(&sample::pass(), &[])] {
            let mut open: Vec<&str> = Vec::new();
            for tag in html.split('<').skip(1).map(|part| part.split('>').next().unwrap_or_default()) {
                let name = tag.split([' ', '/', '\n']).find(|name| !name.is_empty()).unwrap_or_default();
                if tag.starts_with('/') {
                    assert_eq!(open.pop(), Some(name), "</{name}> closes what is not open: {open:?}");
                } else if !tag.ends_with('/') && !tag.starts_with('!') && !["meta", "br", "col"].contains(&name) {
                    open.push(name);
                }
            }
            assert_eq!(open, Vec::<&str>::new());
        }
    }
}
