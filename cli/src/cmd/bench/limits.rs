//! `segno bench --baseline` and its fellows: what must hold, and the earlier figures that it is held to.
//!
//! In: flags, and a file that an earlier run wrote. Out: a [`Comparison`], or wrong use (exit 2) that names the file, the
//! line and the field. Everything that can be refused is refused before anything is measured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reports::BenchReport;
use reports::baseline::{self, Comparison};
use reports::bench::SCHEMA;
use serde_json::Value;

use crate::exit::Usage;
use crate::units;

/// What must hold; exit 3 when it does not.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits (exit 3 when one fails)")]
pub struct Flags {
    /// Compare with the document that an earlier `segno bench --json` printed. A median that is worse by more than
    /// --max-regression fails, unless it lies within the middle half of the baseline's runs (between its quartiles)
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// How much worse than the baseline a median may be
    #[arg(long, value_name = "SHARE", value_parser = units::percent, default_value = "10%", requires = "baseline")]
    max_regression: f64,

    /// Compare although the baseline is of another machine
    #[arg(long, requires = "baseline")]
    any_machine: bool,

    /// Events per second that the warm replay must reach
    #[arg(long, value_name = "N", value_parser = units::count)]
    min_replay: Option<u64>,

    /// Events per second that the ingest must reach
    #[arg(long, value_name = "N", value_parser = units::count)]
    min_ingest: Option<u64>,

    /// Latency within which 99 % of the events must be acknowledged (with --rate N)
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    max_p99: Option<Duration>,

    /// Share of the speed of the warm replay right before it that a cold one must reach, by the median of the pairs
    #[arg(long, value_name = "SHARE", value_parser = units::percent, conflicts_with = "no_cold")]
    min_cold: Option<f64>,

    /// Memory that no replay may exceed, be it warm, cold, or resumed after a kill
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_memory: Option<u64>,

    /// Longest that a task of any replay may go from one commit to the next
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    max_commit_gap: Option<Duration>,

    /// Time that no replay which is killed may lose more than (with --kill)
    #[arg(long, value_name = "TIME", value_parser = units::duration, requires = "kill")]
    max_lost: Option<Duration>,
}

/// Limits that fit what will be measured.
pub struct Limits {
    limits: baseline::Limits,
    baseline: Option<(String, BenchReport)>,
}

impl Flags {
    /// Reads the baseline and makes sure that it is comparable with what `head` announces.
    ///
    /// # Errors
    /// Wrong use: no such file, no such document, unlike runs, another machine.
    pub fn read(&self, head: &BenchReport) -> anyhow::Result<Limits> {
        if self.max_p99.is_some() && head.rate.is_none() {
            let why = "--max-p99 needs --rate N: sent as fast as they go, batches only say how large they are";
            return Err(Usage(why.to_owned()).into());
        }
        let baseline = match &self.baseline {
            Some(path) => Some((path.display().to_string(), self.read_baseline(path, head)?)),
            None => None,
        };
        let limits = baseline::Limits {
            max_regression: self.max_regression,
            min_ingest: self.min_ingest.map(|rate| rate as f64),
            max_p99_us: self.max_p99.map(|time| time.as_micros() as f64),
            min_replay: self.min_replay.map(|rate| rate as f64),
            max_memory_bytes: self.max_memory.map(|bytes| bytes as f64),
            max_lost_ms: self.max_lost.map(|time| time.as_millis() as f64),
            min_cold_to_warm: self.min_cold,
            max_commit_gap_ms: self.max_commit_gap.map(|time| time.as_millis() as f64),
        };
        Ok(Limits { limits, baseline })
    }

    fn read_baseline(&self, path: &Path, head: &BenchReport) -> Result<BenchReport, Usage> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Usage(format!("cannot read the baseline {name}: {error}")))?;
        let before = parse(&name.to_string(), &text)?;
        let unlike = baseline::unlike_runs(&before, head);
        if !unlike.is_empty() {
            return Err(Usage(format!(
                "{name} is of another benchmark: {}; run with the settings of the baseline, or write a new one",
                unlike.join(", ")
            )));
        }
        let machines = baseline::unlike_machines(&before, head);
        if !machines.is_empty() && !self.any_machine {
            return Err(Usage(format!(
                "{name} is of another machine: {}; measure the baseline here, or say --any-machine",
                machines.join(", ")
            )));
        }
        Ok(before)
    }
}

impl Limits {
    /// `None` where nothing was asked for.
    pub fn judge(&self, report: &BenchReport) -> Option<Comparison> {
        let asked = baseline::Limits { max_regression: self.limits.max_regression, ..baseline::Limits::default() };
        if self.baseline.is_none() && self.limits == asked {
            return None;
        }
        let baseline = self.baseline.as_ref().map(|(file, before)| (file.as_str(), before));
        Some(baseline::compare(baseline, report, &self.limits))
    }
}

/// A document of `segno bench --json`.
fn parse(name: &str, text: &str) -> Result<BenchReport, Usage> {
    const REMEDY: &str = "write one with `segno bench --json > FILE`";
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Usage(format!("{name}:{}:{}: no JSON: {error}; {REMEDY}", error.line(), error.column())))?;
    match value.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => {}
        Some(other) => {
            return Err(Usage(format!("{name}: the field `schema` is {other:?}, expected {SCHEMA:?}; {REMEDY}")));
        }
        None => return Err(Usage(format!("{name}: there is no field `schema`, expected {SCHEMA:?}; {REMEDY}"))),
    }
    let report: BenchReport = serde_json::from_str(text).map_err(|error| {
        Usage(format!("{name}:{}:{}: no document of {SCHEMA}: {error}; {REMEDY}", error.line(), error.column()))
    })?;
    for (field, values) in [
        ("ingest.events_per_s", &report.ingest.events_per_s),
        ("replay.warm.events_per_s", &report.replay.warm.events_per_s),
    ] {
        if values.is_empty() {
            return Err(Usage(format!("{name}: the field `{field}` holds no run; {REMEDY}")));
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse("before.json", text).expect_err("no document").0
    }

    #[test]
    fn what_is_no_benchmark_is_refused_by_line_and_field() {
        assert!(
            refusal("{\n  \"schema\": oops}").starts_with("before.json:2:13: no JSON"),
            "{}",
            refusal("{\n  \"schema\": oops}")
        );
        assert!(refusal("{}").starts_with("before.json: there is no field `schema`"));
        assert!(refusal(r#"{"schema":"segno.gate/1"}"#).contains("the field `schema` is \"segno.gate/1\""));
        let without = refusal("{\"schema\":\"segno.bench/1\",\n\"pipeline\":7}");
        assert!(without.starts_with("before.json:2:"), "{without}");
        let without = refusal("{\"schema\":\"segno.bench/1\"}");
        assert!(without.contains("missing field `pipeline`"), "{without}");
    }

    #[test]
    fn a_document_that_this_program_writes_is_read() {
        let mut report = BenchReport { schema: SCHEMA.to_owned(), ..BenchReport::default() };
        let text = |report: &BenchReport| serde_json::to_string(report).expect("plain data");
        assert!(refusal(&text(&report)).contains("`ingest.events_per_s` holds no run"));
        report.ingest.events_per_s = vec![1.0];
        report.replay.warm.events_per_s = vec![2.0];
        assert_eq!(parse("before.json", &text(&report)).expect("a document"), report);
    }
}
