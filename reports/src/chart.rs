//! Lines over measured points, as SVG: labelled axes, a legend, and bars that show how far apart the runs lie.
//!
//! In: [`Chart`]s, plain data. Out: one SVG with a panel each. The points' own values are the marks of the x axis.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::spread::Spread;

const PANEL: (u32, u32) = (620, 440);
/// Told apart also by those who see few colours (Okabe and Ito).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(150, 110, 160)];
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(222, 222, 222);

/// One panel.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    /// With its unit.
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    pub logarithmic: bool,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, Spread)>,
    /// What would be, not what was measured: dashed, without marks.
    pub ideal: bool,
}

/// Draws the charts side by side under one title.
///
/// # Errors
/// What the drawing failed with.
pub fn svg(title: &str, subtitle: &str, charts: &[Chart]) -> Result<String, String> {
    let mut text = String::new();
    {
        let size = (PANEL.0 * charts.len().max(1) as u32, PANEL.1 + 60);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&root, title, subtitle, charts).map_err(|error| error.to_string())?;
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(root: &Area<'_>, title: &str, subtitle: &str, charts: &[Chart]) -> Drawn {
    root.fill(&WHITE)?;
    let heading = ("sans-serif", 20).into_font().color(&INK);
    let small = ("sans-serif", 13).into_font().color(&INK);
    root.draw(&Text::new(title.to_owned(), (16, 12), heading))?;
    root.draw(&Text::new(subtitle.to_owned(), (16, 38), small))?;
    let (_, below) = root.split_vertically(60);
    for (area, chart) in below.split_evenly((1, charts.len().max(1))).iter().zip(charts) {
        panel(area, chart)?;
    }
    Ok(())
}

fn panel(area: &Area<'_>, chart: &Chart) -> Drawn {
    let xs: Vec<f64> = chart.lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x).collect();
    let ys = chart.lines.iter().flat_map(|line| &line.points).flat_map(|(_, y)| [y.least, y.most]);
    let x_scale = Scale::of_points(&xs, chart.x.logarithmic);
    let y_scale = Scale::of_values(&ys.collect::<Vec<_>>(), chart.y.logarithmic);
    let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let mut drawn = ChartBuilder::on(area)
        .caption(&chart.title, text(16))
        .margin(14)
        .margin_right(26)
        .x_label_area_size(50)
        .y_label_area_size(72)
        .build_cartesian_2d(x_scale, y_scale)?;
    drawn
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .x_desc(&chart.x.label)
        .y_desc(&chart.y.label)
        .x_labels(20)
        .y_labels(20)
        .label_style(text(12))
        .axis_desc_style(text(14))
        .draw()?;
    for (index, line) in chart.lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let medians = line.points.iter().map(|(x, y)| (*x, y.median));
        if line.ideal {
            let dashed = DashedLineSeries::new(medians, 6, 5, INK.mix(0.6).stroke_width(1));
            drawn
                .draw_series(dashed)?
                .label(&line.name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], INK.mix(0.6).stroke_width(1)));
            continue;
        }
        drawn
            .draw_series(LineSeries::new(medians, colour.stroke_width(2)))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3)));
        drawn.draw_series(
            line.points.iter().map(|(x, y)| {
                ErrorBar::new_vertical(*x, y.least, y.median, y.most, colour.filled().stroke_width(1), 9)
            }),
        )?;
        drawn.draw_series(line.points.iter().map(|(x, y)| Circle::new((*x, y.median), 4, colour.filled())))?;
    }
    if chart.lines.len() > 1 {
        drawn
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .legend_area_size(30)
            .label_font(text(12))
            .draw()?;
    }
    Ok(())
}

/// An axis with its marks.
#[derive(Clone, Debug, PartialEq)]
struct Scale {
    logarithmic: bool,
    range: Range<f64>,
    marks: Vec<f64>,
}

impl Scale {
    /// The points that were measured are the marks.
    fn of_points(values: &[f64], logarithmic: bool) -> Scale {
        let mut marks = values.to_vec();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        let (least, most) = (marks.first().copied().unwrap_or(0.0), marks.last().copied().unwrap_or(1.0));
        let range = if logarithmic && least > 0.0 {
            let room = (most / least).powf(0.06).max(1.1);
            least / room..most * room
        } else {
            let room = ((most - least) * 0.06).max(0.25);
            least - room..most + room
        };
        Scale { logarithmic: logarithmic && least > 0.0, range, marks }
    }

    /// Round marks, from zero unless logarithmic.
    fn of_values(values: &[f64], logarithmic: bool) -> Scale {
        let most = values.iter().copied().fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        let least = values.iter().copied().filter(|value| *value > 0.0).fold(most, f64::min);
        if logarithmic {
            let decades = (least.log10().floor() as i32)..=(most.log10().ceil() as i32 + 1);
            let all: Vec<f64> =
                decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(decade))).collect();
            let from = all.iter().copied().rfind(|mark| *mark <= least).unwrap_or(least);
            let to = all.iter().copied().find(|mark| *mark >= most && *mark > from).unwrap_or(most * 2.0);
            let marks = all.into_iter().filter(|mark| (from..=to).contains(mark)).collect();
            // Room for the legend above.
            return Scale { logarithmic, range: from..to * 2.0, marks };
        }
        let rough = most / 5.0;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * magnitude).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let top = (most * 1.25 / step).ceil() * step;
        let marks = (0..).map(|index| f64::from(index) * step).take_while(|mark| *mark <= top * 1.000_001).collect();
        Scale { logarithmic: false, range: 0.0..top, marks }
    }

    fn position(&self, value: f64) -> f64 {
        let Range { start, end } = self.range;
        if self.logarithmic { (value / start).ln() / (end / start).ln() } else { (value - start) / (end - start) }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.position(*value) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        short(*value)
    }
}

/// `0.25`, `7.5`, `200`, `50k`, `10M`: as short as its value allows.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_an_axis_are_short() {
        let all = [0.0, 0.25, 7.5, 200.0, 1_024.0, 50_000.0, 10_000_000.0, 1_600_000.0].map(short);
        assert_eq!(all, ["0", "0.25", "7.5", "200", "1024", "50k", "10M", "1.6M"]);
    }

    #[test]
    fn marks_are_round_and_every_value_is_inside() {
        for values in [vec![0.3, 1.7], vec![320.0, 810.0], vec![6.2], vec![]] {
            for logarithmic in [false, true] {
                let scale = Scale::of_values(&values, logarithmic);
                assert!((2..=14).contains(&scale.marks.len()), "{scale:?}");
                for value in &values {
                    let at = scale.position(*value);
                    assert!((0.0..=1.0).contains(&at), "{value} lies at {at} of {scale:?}");
                }
            }
        }
    }

    #[test]
    fn the_measured_points_are_the_marks_of_their_axis() {
        let scale = Scale::of_points(&[4.0, 1.0, 2.0, 1.0], true);
        assert_eq!(scale.marks, [1.0, 2.0, 4.0]);
        assert!((scale.position(2.0) - 0.5).abs() < 1e-9, "2 is not half way from 1 to 4");
    }

    #[test]
    fn a_chart_without_points_is_drawn_too() {
        let axis = || Axis { label: "x".to_owned(), logarithmic: true };
        let chart = Chart { title: "nothing".to_owned(), x: axis(), y: axis(), lines: Vec::new() };
        assert!(svg("title", "subtitle", &[chart]).expect("is drawn").contains("nothing"));
    }
}
