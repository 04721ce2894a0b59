//! The charts of a sweep: what grows, over what is swept.

use crate::chart::{self, Axis, Chart, Line};
use crate::figure::Figure;
use crate::spread::Spread;
use crate::sweep::{SweepReport, Swept};

/// The sweep as one SVG.
///
/// # Errors
/// What the drawing failed with.
pub fn svg(report: &SweepReport) -> Result<String, String> {
    let title = format!("{} by {}", report.pipeline, report.sweep);
    let cpu = report.machine.get("cpu").and_then(serde_json::Value::as_str).unwrap_or("unknown machine");
    let cores = report.machine.get("cores").map(|cores| format!(", {cores} cores")).unwrap_or_default();
    let events = report.points.iter().map(|point| point.report.events).max().unwrap_or(0);
    let subtitle = format!(
        "median of {} runs, bars from the least to the most; {} events a point at most; {cpu}{cores}; commit {}",
        report.runs,
        chart::short(events as f64),
        report.commit
    );
    chart::svg(&title, &subtitle, &charts(report))
}

fn charts(report: &SweepReport) -> Vec<Chart> {
    let speed = || {
        let lines = [line(report, "replay", Figure::Replay, 1e-6), line(report, "ingest", Figure::Ingest, 1e-6)];
        chart(report, "Throughput", "M events/s", false, lines)
    };
    let cost = || {
        chart(
            report,
            "Cost of an event in the replay",
            "ns of CPU",
            false,
            [line(report, "replay", Figure::CpuNs, 1.0)],
        )
    };
    match report.sweep {
        Swept::Rate => {
            let lines = [("p50", Figure::P50), ("p99", Figure::P99), ("p99.9", Figure::P999)]
                .map(|(name, figure)| line(report, name, figure, 1e-3));
            let asked = report.points.iter().map(|point| (point.value as f64, Spread::only(point.value as f64 / 1e6)));
            let asked = Line { name: "asked for".to_owned(), points: asked.collect(), ideal: true };
            let reached = [line(report, "reached", Figure::Ingest, 1e-6), asked];
            vec![
                chart(report, "Latency from the intended send time", "ms", true, lines),
                chart(report, "Rate that was reached", "M events/s", false, reached),
            ]
        }
        Swept::Keys => {
            let state = [line(report, "state", Figure::BytesPerKey, 1.0)];
            let memory = [line(report, "peak memory", Figure::PeakMemory, 1.0 / f64::from(1 << 20))];
            let second = match state[0].points.is_empty() {
                false => chart(report, "State of an open key", "bytes", false, state),
                true => chart(report, "Peak memory of the replay", "MiB", false, memory),
            };
            vec![cost(), second]
        }
        Swept::Partitions => vec![speed(), cost()],
        Swept::EventSize => {
            let bytes =
                [line(report, "replay", Figure::ReplayBytes, 1e-6), line(report, "ingest", Figure::IngestBytes, 1e-6)];
            vec![speed(), chart(report, "Bytes", "MB/s", false, bytes)]
        }
        Swept::Threads => vec![speed_up(report), speed()],
    }
}

/// As a multiple of the first point, beside what perfect scaling would give.
fn speed_up(report: &SweepReport) -> Chart {
    let relative = |name: &str, figure: Figure| {
        let first = report.column(figure).into_iter().next().flatten().map_or(1.0, |first| first.median);
        line(report, name, figure, 1.0 / first)
    };
    let first = report.points.first().map_or(1, |point| point.value.max(1));
    let ideal = report.points.iter().map(|point| (point.value as f64, Spread::only(point.value as f64 / first as f64)));
    let ideal = Line { name: "ideal".to_owned(), points: ideal.collect(), ideal: true };
    let lines = [relative("replay", Figure::Replay), relative("ingest", Figure::Ingest), ideal];
    chart(report, "Speed-up", "times the first point", false, lines)
}

fn line(report: &SweepReport, name: &str, figure: Figure, factor: f64) -> Line {
    let values = report.points.iter().map(|point| point.value as f64);
    let points = values.zip(report.column(figure));
    let points = points.filter_map(|(x, y)| Some((x, y?.scaled(factor)))).collect();
    Line { name: name.to_owned(), points, ideal: false }
}

fn chart(report: &SweepReport, title: &str, unit: &str, logarithmic: bool, lines: impl Into<Vec<Line>>) -> Chart {
    let (label, linear) = match report.sweep {
        Swept::Rate => ("events sent per second, open loop", false),
        Swept::Keys => ("users", false),
        Swept::Partitions => ("partitions of the source", false),
        Swept::EventSize => ("bytes of an event's value", false),
        Swept::Threads => ("threads, each on a core", true),
    };
    Chart {
        title: title.to_owned(),
        x: Axis { label: if linear { label.to_owned() } else { format!("{label} (log scale)") }, logarithmic: !linear },
        y: Axis { label: if logarithmic { format!("{unit} (log scale)") } else { unit.to_owned() }, logarithmic },
        lines: lines.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::tests::example;

    #[test]
    fn every_sweep_is_drawn_with_its_axes_and_lines_named() {
        for (sweep, words) in [
            (Swept::Rate, ["p99.9", "ms (log scale)"]),
            (Swept::Keys, ["users (log scale)", "bytes"]),
            (Swept::Partitions, ["M events/s", "partitions of the source"]),
            (Swept::EventSize, ["MB/s", "bytes of an event"]),
            (Swept::Threads, ["ideal", "Speed-up"]),
        ] {
            let svg = svg(&example(sweep, [1, 2, 4])).expect("is drawn");
            for word in words {
                assert!(svg.contains(word), "the chart of {sweep} does not say {word:?}");
            }
        }
    }
}
