//! A sweep for people: a line a point, aligned, with its cost beside that of the first point.

use crate::figure::Figure;
use crate::sweep::{SweepReport, Swept};
use crate::text::count;
use crate::text_measured::machine;

/// The table, and where the files are.
pub fn sweep(report: &SweepReport) -> String {
    let mut text = format!("{} by {}, {} a point\n\n", report.pipeline, report.sweep, runs(report.runs));
    text.push_str(&format!("  machine  {}\n", machine(&report.machine)));
    let build = if report.build == "dev" { ", compiled without optimisation: no figure to quote" } else { "" };
    text.push_str(&format!("  commit   {}{build}\n\n", report.commit));
    text.push_str(&aligned(&table(report), false));
    text.push_str("\n  the output sums are as expected at every point\n\n");
    for (what, file) in [("table", "csv"), ("plot", "svg"), ("raw", "json")] {
        text.push_str(&format!("{:<6} {}/sweep.{file}\n", format!("{what}:"), report.run_dir));
    }
    text
}

/// What a sweep's table shows, in its order.
#[derive(Clone, Copy)]
enum Shown {
    /// The median, and least to most.
    Range(Figure),
    Median(Figure),
    /// The median as a multiple of the first point's.
    Times(Figure, &'static str),
    /// How much of the rate that was asked for was reached.
    Reached,
}

fn shown(sweep: Swept) -> &'static [Shown] {
    use Figure as F;
    use Shown::{Median, Range, Reached, Times};
    match sweep {
        Swept::Rate => &[Reached, Median(F::P50), Range(F::P99), Median(F::P999), Median(F::Max)],
        Swept::Keys => &[
            Range(F::Replay),
            Range(F::CpuNs),
            Times(F::CpuNs, "cost"),
            Median(F::OpenKeys),
            Median(F::BytesPerKey),
            Median(F::PeakMemory),
        ],
        Swept::Partitions => {
            &[Range(F::Ingest), Range(F::Replay), Range(F::CpuNs), Times(F::CpuNs, "cost"), Median(F::PeakMemory)]
        }
        Swept::EventSize => &[
            Median(F::LogBytesPerEvent),
            Range(F::Ingest),
            Range(F::Replay),
            Median(F::ReplayBytes),
            Range(F::CpuNs),
            Times(F::CpuNs, "cost"),
            Median(F::PeakMemory),
        ],
        Swept::Threads => &[
            Range(F::Ingest),
            Times(F::Ingest, "ingest"),
            Range(F::Replay),
            Times(F::Replay, "replay"),
            Range(F::CpuNs),
            Median(F::PeakMemory),
        ],
    }
}

/// Two lines of headings, then a line a point.
fn table(report: &SweepReport) -> Vec<Vec<String>> {
    let columns: Vec<Shown> = shown(report.sweep).iter().copied().filter(|shown| is_known(report, *shown)).collect();
    let mut rows = vec![vec![heading(report.sweep).to_owned()], vec![report.sweep.unit().to_owned()]];
    for shown in &columns {
        let (first, second) = shown.heading();
        rows[0].push(first.to_owned());
        rows[1].push(second.to_owned());
    }
    let first = report.points.first();
    for point in &report.points {
        let mut row = vec![count(point.value)];
        for shown in &columns {
            row.push(
                match *shown {
                    Shown::Range(figure) => figure.of(&point.report).map(|spread| figure.show_spread(spread)),
                    Shown::Median(figure) => figure.of(&point.report).map(|spread| figure.show(spread.median)),
                    Shown::Times(figure, _) => {
                        let first = first.and_then(|first| figure.of(&first.report));
                        let now = figure.of(&point.report);
                        first.zip(now).map(|(first, now)| format!("{:.2}x", now.median / first.median))
                    }
                    Shown::Reached => Figure::Ingest
                        .of(&point.report)
                        .map(|reached| format!("{:.1} %", reached.median / point.value.max(1) as f64 * 100.0)),
                }
                .unwrap_or_else(|| "-".to_owned()),
            );
        }
        rows.push(row);
    }
    rows
}

/// Whether a column has a value anywhere.
fn is_known(report: &SweepReport, shown: Shown) -> bool {
    let figure = match shown {
        Shown::Range(figure) | Shown::Median(figure) | Shown::Times(figure, _) => figure,
        Shown::Reached => Figure::Ingest,
    };
    report.column(figure).iter().any(Option::is_some)
}

fn heading(sweep: Swept) -> &'static str {
    match sweep {
        Swept::Rate => "asked for",
        Swept::EventSize => "value",
        Swept::Keys | Swept::Partitions | Swept::Threads => "",
    }
}

impl Shown {
    fn heading(self) -> (&'static str, &'static str) {
        match self {
            Shown::Reached => ("reached", "of it"),
            Shown::Times(_, what) => (what, "to the first"),
            Shown::Range(figure) | Shown::Median(figure) => figure.heading(),
        }
    }
}

fn runs(count: u32) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("median and range of {count} runs") }
}

/// Columns as wide as their widest cell, written to the right, the first to the left if it is `named`; two spaces between
/// them, and before the first.
pub(crate) fn aligned(rows: &[Vec<String>], named: bool) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 if named => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::tests::example;

    #[test]
    fn sweeps_are_aligned_tables() {
        let text: Vec<String> = [
            example(Swept::Rate, [100_000, 200_000, 400_000]),
            example(Swept::Keys, [100_000, 1_000_000, 10_000_000]),
            example(Swept::EventSize, [64, 256, 1_024]),
            example(Swept::Threads, [1, 2, 4]),
        ]
        .iter()
        .map(sweep)
        .collect();
        insta::assert_snapshot!("sweeps", text.join("\n\n"));
    }

    #[test]
    fn what_was_not_measured_has_no_column() {
        let mut report = example(Swept::Keys, [1, 2, 3]);
        report.points.iter_mut().for_each(|point| point.report.state_bytes_per_key = None);
        assert!(!sweep(&report).contains("a key's state"));
    }
}
