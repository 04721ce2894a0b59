//! A story, drawn: one lane a host over one axis of virtual time, and under it what happened, numbered as in the drawing.
//!
//! In: a [`Story`]. Out: a figure of SVG and HTML. Positions along the axis are shares of its length, so that the drawing
//! fits any width without its letters being stretched. The hosts' names stand beside it and stay when it is scrolled.
//!
//! Drawn, per lane: faults as bars over the shaded time in which they lasted; numbered marks; the watermark of each task
//! as a line that climbs; commits as ticks below it. What would fall on one spot is drawn once.

use std::collections::BTreeMap;
use std::fmt::{Result, Write};

use super::markup::Text;
use crate::Story;
use crate::story::{Lane, Mark, MarkKind, SpanKind};

/// Heights, in CSS pixels.
const PHASES: u32 = 22;
const BAR: u32 = 17;
const MARKS: u32 = 20;
const CURVE: u32 = 30;
const TICKS: u32 = 12;
const PAD: u32 = 6;
const GAP: u32 = 8;
const AXIS: u32 = 26;
/// The narrowest that the drawing gets, without the names: whether letters have room is judged for this width.
const NARROW: f64 = 720.0;
/// How wide a letter is, about.
const LETTER: f64 = 6.6;
/// Marks of one lane nearer than this share one sign.
const SIGN: f64 = 19.0;
/// What is told below the drawing without being asked.
const TOLD: usize = 40;

/// Something that is told below the drawing.
struct Moment<'a> {
    at_ms: u64,
    /// Of its lane.
    lane: usize,
    class: &'static str,
    what: &'a str,
    detail: &'a str,
    to_ms: Option<u64>,
    task: Option<&'a str>,
    event_time_ms: Option<i64>,
    /// The span of the lane that this is.
    span: Option<usize>,
}

/// Where a lane and its parts are, from the top.
struct Place {
    top: u32,
    height: u32,
    /// Which row of bars each span has.
    rows: Vec<u32>,
    marks: u32,
    curve: u32,
    ticks: u32,
}

/// The figure, and the list of what happened.
pub fn figure(html: &mut String, story: &Story) -> Result {
    // A host on which nothing can be drawn has no lane.
    let mut drawn = story.clone();
    let seen = |mark: &Mark| !matches!(mark.kind, MarkKind::Point | MarkKind::Note);
    drawn.lanes.retain(|lane| !lane.spans.is_empty() || lane.marks.iter().any(seen));
    if drawn.lanes.is_empty() {
        return said(html, story);
    }
    draw(html, &drawn)?;
    said(html, story)?;
    html.push_str("</figure>\n");
    Ok(())
}

fn draw(html: &mut String, story: &Story) -> Result {
    let moments = moments(story);
    let places = places(story);
    let end = story.virtual_ms.max(1);
    let bottom = places.last().map_or(PHASES, |place| place.top + place.height);
    writeln!(
        html,
        "<figure class=\"timeline\">\n<figcaption><span>Virtual time, one lane a host</span><span class=\"key\"><span><i \
         class=\"down\"></i>down</span><span><i class=\"paused\"></i>paused</span><span><i class=\"fault\"></i>fault</span><span><i \
         class=\"watermark\"></i>watermark</span><span><i class=\"commit\"></i>commit</span><span><i \
         class=\"abort\"></i>abort</span></span></figcaption>"
    )?;
    html.push_str("<div class=\"scroll\"><div class=\"drawing\"><div class=\"hosts\">");
    for (lane, place) in story.lanes.iter().zip(&places) {
        write!(html, "<b style=\"top:{}px;height:{}px\">{}</b>", place.top, place.height, Text(&lane.host))?;
    }
    let height = bottom + AXIS;
    writeln!(
        html,
        "</div><svg height=\"{height}\" role=\"img\" aria-label=\"{} hosts over {}\">",
        story.lanes.len(),
        Text(&crate::text::duration(story.virtual_ms))
    )?;
    let axis = Axis { end };
    phases(html, story, &axis, bottom)?;
    for place in &places {
        let (top, height) = (place.top, place.height);
        writeln!(html, "<rect class=\"lane\" x=\"0\" width=\"100%\" y=\"{top}\" height=\"{height}\" rx=\"4\"/>")?;
    }
    axis.draw(html, bottom)?;
    let (low, high) = watermarks(story);
    for (index, (lane, place)) in story.lanes.iter().zip(&places).enumerate() {
        let numbered = moments.iter().enumerate().filter(|(_, moment)| moment.lane == index);
        draw_lane(
            html,
            lane,
            place,
            &axis,
            numbered.map(|(number, moment)| (number + 1, moment)).collect(),
            low,
            high,
        )?;
    }
    for (number, moment) in moments.iter().enumerate().filter(|(_, moment)| moment.class == "violation") {
        let x = axis.x(moment.at_ms);
        writeln!(
            html,
            "<line class=\"broke\" x1=\"{x}%\" x2=\"{x}%\" y1=\"{PHASES}\" y2=\"{bottom}\"><title>{}: {}</title></line>",
            number + 1,
            Text(moment.what)
        )?;
    }
    html.push_str("</svg></div></div>\n");
    list(html, story, &moments)
}

/// The axis of virtual time.
struct Axis {
    end: u64,
}

impl Axis {
    /// A moment's share of the axis, in percent.
    fn share(&self, at_ms: u64) -> f64 {
        at_ms.min(self.end) as f64 * 100.0 / self.end as f64
    }

    fn x(&self, at_ms: u64) -> String {
        trim(self.share(at_ms))
    }

    /// In pixels where the drawing is narrowest.
    fn pixels(&self, at_ms: u64) -> f64 {
        self.share(at_ms) * NARROW / 100.0
    }

    /// Marks at round times, about eight of them.
    fn draw(&self, html: &mut String, bottom: u32) -> Result {
        let step = step_ms(self.end);
        let digits = if step.is_multiple_of(1_000) {
            0
        } else if step.is_multiple_of(100) {
            1
        } else {
            2
        };
        let mut at_ms = 0;
        while at_ms <= self.end {
            let (x, share) = (self.x(at_ms), self.share(at_ms));
            let anchor = match share {
                share if share < 1.0 => "start",
                share if share > 97.0 => "end",
                _ => "middle",
            };
            writeln!(
                html,
                "<line class=\"grid\" x1=\"{x}%\" x2=\"{x}%\" y1=\"{PHASES}\" y2=\"{bottom}\"/><text class=\"time\" x=\"{x}%\" \
                 y=\"{}\" text-anchor=\"{anchor}\">{:.digits$} s</text>",
                bottom + 18,
                at_ms as f64 / 1_000.0
            )?;
            at_ms += step;
        }
        Ok(())
    }
}

fn step_ms(end: u64) -> u64 {
    let round = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10u64.pow(power)));
    round.into_iter().find(|step| *step >= 10 && end / step <= 9).unwrap_or(end)
}

/// A share with as many digits as a screen can tell apart.
fn trim(share: f64) -> String {
    let text = format!("{share:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What is numbered, in order of time: not what there is much of (commits, watermarks, points, log lines), and no mark of
/// what a bar says.
fn moments(story: &Story) -> Vec<Moment<'_>> {
    let mut moments = Vec::new();
    for (index, lane) in story.lanes.iter().enumerate() {
        for (number, span) in lane.spans.iter().enumerate() {
            let class = match span.kind {
                SpanKind::Down => "down",
                SpanKind::Paused => "paused",
                SpanKind::Fault => "fault",
            };
            moments.push(Moment {
                at_ms: span.from_ms,
                lane: index,
                class,
                what: &span.what,
                detail: &span.detail,
                to_ms: Some(span.to_ms),
                task: None,
                event_time_ms: None,
                span: Some(number),
            });
        }
        let said = |mark: &Mark| {
            mark.kind == MarkKind::Fault
                && lane.spans.iter().any(|span| span.from_ms == mark.at_ms && mark.what.starts_with(&span.what))
        };
        // That it goes on is where the bar ends.
        let ends =
            |mark: &Mark| mark.kind == MarkKind::Restart && lane.spans.iter().any(|span| span.to_ms == mark.at_ms);
        let quiet = |kind: MarkKind| {
            use MarkKind::{Abort, Commit, Note, Point, Watermark};
            matches!(kind, Commit | Abort | Watermark | Point | Note)
        };
        for mark in lane.marks.iter().filter(|mark| !quiet(mark.kind) && !said(mark) && !ends(mark)) {
            moments.push(Moment {
                at_ms: mark.at_ms,
                lane: index,
                class: mark.kind.name(),
                what: &mark.what,
                detail: "",
                to_ms: None,
                task: mark.task.as_deref(),
                event_time_ms: mark.event_time_ms,
                span: None,
            });
        }
    }
    moments.sort_by_key(|moment| (moment.at_ms, moment.lane));
    moments
}

/// Lanes from top to bottom; bars that overlap are put below each other.
fn places(story: &Story) -> Vec<Place> {
    let mut top = PHASES + GAP;
    let mut places = Vec::new();
    let axis = Axis { end: story.virtual_ms.max(1) };
    for lane in &story.lanes {
        // Where the last bar of each row, and its name, end.
        let mut ends: Vec<f64> = Vec::new();
        let mut rows = Vec::new();
        for span in &lane.spans {
            let from = axis.pixels(span.from_ms);
            let to = axis.pixels(span.to_ms).max(from + (span.what.len() + 4) as f64 * LETTER);
            let row = ends.iter().position(|end| *end <= from).unwrap_or(ends.len());
            if row == ends.len() {
                ends.push(0.0);
            }
            ends[row] = to;
            rows.push(row as u32);
        }
        let marks = top + PAD + ends.len() as u32 * BAR;
        let curve = marks + MARKS;
        let ticks = curve + CURVE + 2;
        let height = ticks + TICKS + PAD - top;
        places.push(Place { top, height, rows, marks, curve, ticks });
        top += height + GAP;
    }
    places
}

fn phases(html: &mut String, story: &Story, axis: &Axis, bottom: u32) -> Result {
    for (index, phase) in story.phases.iter().enumerate() {
        let (from, to) = (axis.share(phase.from_ms), axis.share(phase.to_ms));
        let room = (to - from) * NARROW / 100.0;
        let odd = if index % 2 == 1 { " odd" } else { "" };
        write!(
            html,
            "<rect class=\"phase{odd}\" x=\"{}%\" width=\"{}%\" y=\"0\" height=\"{bottom}\"><title>{} from {} to {}</title></rect>",
            trim(from),
            trim(to - from),
            Text(&phase.name),
            seconds(phase.from_ms),
            seconds(phase.to_ms)
        )?;
        if room > phase.name.len() as f64 * LETTER + 8.0 {
            write!(html, "<text class=\"phase\" x=\"{}%\" dx=\"5\" y=\"15\">{}</text>", trim(from), Text(&phase.name))?;
        }
        html.push('\n');
    }
    Ok(())
}

fn draw_lane(
    html: &mut String,
    lane: &Lane,
    place: &Place,
    axis: &Axis,
    numbered: Vec<(usize, &Moment<'_>)>,
    low: i64,
    high: i64,
) -> Result {
    for (number, moment) in &numbered {
        let Some(span) = moment.span.map(|index| (&lane.spans[index], place.rows[index])) else { continue };
        let (span, row) = span;
        let (x, width) = (axis.x(span.from_ms), trim((axis.share(span.to_ms) - axis.share(span.from_ms)).max(0.15)));
        let y = place.top + PAD / 2 + row * BAR;
        writeln!(
            html,
            "<g class=\"{}\"><rect class=\"shade\" x=\"{x}%\" width=\"{width}%\" y=\"{}\" height=\"{}\"/><rect class=\"bar\" \
             x=\"{x}%\" width=\"{width}%\" y=\"{y}\" height=\"{}\" rx=\"2\"/><text x=\"{x}%\" dx=\"4\" y=\"{}\">{number} \
             {}</text><title>{}, {} to {} {}</title></g>",
            moment.class,
            place.top,
            place.height,
            BAR - 2,
            y + 11,
            Text(&span.what),
            Text(&span.what),
            seconds(span.from_ms),
            seconds(span.to_ms),
            Text(&span.detail)
        )?;
    }
    curves(html, lane, place, axis, low, high)?;
    ticks(html, lane, place, axis)?;
    signs(html, &numbered, place, axis)
}

/// The watermark of each task: it holds its value until the next.
fn curves(html: &mut String, lane: &Lane, place: &Place, axis: &Axis, low: i64, high: i64) -> Result {
    let mut tasks: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    let span = (high - low).max(1) as f64;
    for mark in lane.marks.iter().filter(|mark| mark.kind == MarkKind::Watermark) {
        let Some(value) = mark.event_time_ms else { continue };
        let y = f64::from(place.curve + CURVE) - (value.clamp(low, high) - low) as f64 * f64::from(CURVE) / span;
        let steps = tasks.entry(mark.task.as_deref().unwrap_or_default()).or_default();
        let x = axis.share(mark.at_ms);
        match steps.last_mut() {
            // Nearer than a screen can show.
            Some(last) if x - last.0 < 0.12 => last.1 = y,
            _ => steps.push((x, y)),
        }
    }
    for (task, steps) in tasks {
        write!(html, "<g class=\"watermark\"><title>watermark of task {}</title>", Text(task))?;
        for pair in steps.windows(2) {
            let ((from, y), (to, next)) = (pair[0], pair[1]);
            write!(html, "<line x1=\"{}%\" x2=\"{}%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>", trim(from), trim(to))?;
            if (next - y).abs() > 0.3 {
                write!(html, "<line x1=\"{0}%\" x2=\"{0}%\" y1=\"{y:.1}\" y2=\"{next:.1}\"/>", trim(to))?;
            }
        }
        if let Some((x, y)) = steps.last() {
            write!(html, "<circle cx=\"{}%\" cy=\"{y:.1}\" r=\"2\"/>", trim(*x))?;
        }
        html.push_str("</g>\n");
    }
    Ok(())
}

fn ticks(html: &mut String, lane: &Lane, place: &Place, axis: &Axis) -> Result {
    for (kind, class) in [(MarkKind::Commit, "commit"), (MarkKind::Abort, "abort")] {
        let mut shares: Vec<String> = lane
            .marks
            .iter()
            .filter(|mark| mark.kind == kind)
            .map(|mark| format!("{:.1}", axis.share(mark.at_ms)))
            .collect();
        shares.dedup();
        if shares.is_empty() {
            continue;
        }
        write!(html, "<g class=\"{class}\">")?;
        for x in shares {
            write!(html, "<line x1=\"{x}%\" x2=\"{x}%\" y1=\"{}\" y2=\"{}\"/>", place.ticks, place.ticks + TICKS)?;
        }
        html.push_str("</g>\n");
    }
    Ok(())
}

/// Numbers in discs; neighbours without room for two share one.
fn signs(html: &mut String, numbered: &[(usize, &Moment<'_>)], place: &Place, axis: &Axis) -> Result {
    let mut groups: Vec<Vec<&(usize, &Moment<'_>)>> = Vec::new();
    for entry in numbered.iter().filter(|(_, moment)| moment.span.is_none()) {
        match groups.last_mut() {
            Some(group) if axis.pixels(entry.1.at_ms) - axis.pixels(group[0].1.at_ms) < SIGN * group_width(group) => {
                group.push(entry);
            }
            _ => groups.push(vec![entry]),
        }
    }
    for group in groups {
        let (first, moment) = group[0];
        let (last, _) = group[group.len() - 1];
        let worst = group.iter().map(|(_, moment)| rank(moment.class)).max().unwrap_or(0);
        let class = group.iter().find(|(_, moment)| rank(moment.class) == worst).map_or("", |(_, moment)| moment.class);
        let label = if group.len() == 1 { first.to_string() } else { format!("{first}–{last}") };
        let width = 10.0 + label.chars().count() as f64 * LETTER;
        let said: Vec<String> = group
            .iter()
            .map(|(number, moment)| format!("{number}: {} {}", seconds(moment.at_ms), moment.what))
            .collect();
        let share = axis.share(moment.at_ms);
        // At the ends a sign leans inward.
        let lean = match share {
            share if share < 1.5 => 0.0,
            share if share > 98.0 => -width,
            _ => -width / 2.0,
        };
        let x = trim(share);
        writeln!(
            html,
            "<g class=\"sign {class}\"><svg x=\"{x}%\" y=\"{}\" overflow=\"visible\"><rect x=\"{lean:.1}\" width=\"{width:.1}\" \
             height=\"16\" rx=\"8\"/><text x=\"{:.1}\" y=\"12\" text-anchor=\"middle\">{label}</text></svg><title>{}</title></g>",
            place.marks + 1,
            lean + width / 2.0,
            Text(&said.join("\n"))
        )?;
    }
    Ok(())
}

fn group_width(group: &[&(usize, &Moment<'_>)]) -> f64 {
    if group.len() == 1 { 1.0 } else { 1.8 }
}

/// Which of several marks on one spot lends its colour.
fn rank(class: &str) -> u8 {
    match class {
        "violation" => 5,
        "event" => 4,
        "fault" => 3,
        "fenced" | "abort" => 2,
        "restart" | "take-over" => 1,
        _ => 0,
    }
}

/// The lowest and the highest watermark that can be drawn: the end marker's is beyond any scale.
fn watermarks(story: &Story) -> (i64, i64) {
    let marks = story.lanes.iter().flat_map(|lane| &lane.marks).filter(|mark| mark.kind == MarkKind::Watermark);
    let times: Vec<i64> = marks.filter_map(|mark| mark.event_time_ms).filter(|at| at.abs() < i64::MAX / 4).collect();
    (times.iter().copied().min().unwrap_or(0), times.iter().copied().max().unwrap_or(1))
}

fn list(html: &mut String, story: &Story, moments: &[Moment<'_>]) -> Result {
    let row = |html: &mut String, number: usize, moment: &Moment<'_>| {
        write!(
            html,
            "<li class=\"{}\"><b>{number}</b><time>{}</time><span class=\"host\">{}</span><span>{}",
            moment.class,
            seconds(moment.at_ms),
            Text(&story.lanes[moment.lane].host),
            Text(moment.what)
        )?;
        if let Some(task) = moment.task {
            write!(html, " <em>task {}</em>", Text(task))?;
        }
        if !moment.detail.is_empty() {
            write!(html, " <em>{}</em>", Text(moment.detail))?;
        }
        if let Some(at_ms) = moment.event_time_ms {
            write!(html, " <em>event time {}</em>", crate::text::moment(at_ms))?;
        }
        if let Some(to_ms) = moment.to_ms {
            write!(html, " <em>until {}</em>", seconds(to_ms))?;
        }
        html.push_str("</span></li>\n");
        Ok(())
    };
    html.push_str("<ol class=\"moments\">\n");
    for (index, moment) in moments.iter().take(TOLD).enumerate() {
        row(html, index + 1, moment)?;
    }
    html.push_str("</ol>\n");
    if moments.len() > TOLD {
        writeln!(html, "<details><summary>and {} more</summary>\n<ol class=\"moments\">", moments.len() - TOLD)?;
        for (index, moment) in moments.iter().enumerate().skip(TOLD) {
            row(html, index + 1, moment)?;
        }
        html.push_str("</ol></details>\n");
    }
    Ok(())
}

/// What the hosts logged, each line once where it came again and again.
fn said(html: &mut String, story: &Story) -> Result {
    let mut lines: Vec<(u64, &str, &str)> = story
        .lanes
        .iter()
        .flat_map(|lane| lane.marks.iter().map(move |mark| (lane, mark)))
        .filter(|(_, mark)| mark.kind == MarkKind::Note)
        .map(|(lane, mark)| (mark.at_ms, lane.host.as_str(), mark.what.as_str()))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    lines.sort_by_key(|(at_ms, _, _)| *at_ms);
    writeln!(html, "<details><summary>what the hosts logged, {} lines</summary>\n<ol class=\"moments\">", lines.len())?;
    for (at_ms, host, what) in lines {
        writeln!(
            html,
            "<li><i></i><time>{}</time><span class=\"host\">{}</span><span>{}</span></li>",
            seconds(at_ms),
            Text(host),
            Text(what)
        )?;
    }
    html.push_str("</ol></details>\n");
    Ok(())
}

fn seconds(at_ms: u64) -> String {
    format!("{}.{:03} s", at_ms / 1_000, at_ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_has_round_steps_and_never_too_many() {
        for (end, step) in [(1, 10), (95, 10), (2_400, 500), (14_480, 2_000), (90_000, 10_000), (3_600_000, 500_000)] {
            assert_eq!(step_ms(end), step, "for {end} ms");
            assert!(end / step <= 9);
        }
    }

    #[test]
    fn a_share_has_no_more_digits_than_a_screen_can_tell_apart() {
        assert_eq!([0.0, 100.0, 33.333_33, 12.5].map(trim), ["0", "100", "33.33", "12.5"]);
    }
}
