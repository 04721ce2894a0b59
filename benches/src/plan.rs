//! One benchmark: what is ingested and replayed, how often, and the report that comes of it.
//!
//! In: a [`Plan`]. Out: [`Measured`]: the report and the latencies. Invariant: no report without the sums having been
//! checked; a wrong result is [`WrongOutput`] and shows no speed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use engine::stream::worker::WorkerSettings;
use hdrhistogram::Histogram;
use reports::bench::{BenchReport, Ingest, Latency, Recovery, Replay, ReplayRuns, SCHEMA};
use reports::spread::median;

use crate::dataset::Dataset;
use crate::ingest::{self, IngestOutcome, IngestSpec};
use crate::phase::{Pages, Phase, PhaseOutcome, ReplaySpec};
use crate::process::Launcher;
use crate::replay::ReplayOutcome;
use crate::sums::{Expected, Summed, Table};
use crate::{interrupted, machine};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    pub pipeline: String,
    pub summed: Summed,
    pub topic: String,
    pub dataset: Dataset,
    /// Events per second; `None` = as fast as it goes.
    pub rate: Option<u64>,
    pub partitions: i32,
    pub threads: usize,
    pub runs: Runs,
    /// Where the log goes. Nothing is there before the first ingest; each further one removes what the last one wrote.
    pub log_dir: PathBuf,
}

/// How often each phase is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    pub ingest: u32,
    /// At least one: the output's sums are checked in a replay.
    pub warm: u32,
    /// As many, or none: each is compared with the warm one right before it.
    pub cold: u32,
    /// Replays that are killed about half way and started again.
    pub kills: u32,
}

impl Runs {
    pub fn phases(self) -> u64 {
        u64::from(self.ingest) + u64::from(self.warm) + u64::from(self.cold) + u64::from(self.kills)
    }
}

/// What came of it.
pub struct Measured {
    pub report: BenchReport,
    /// µs from the intended send time to the acknowledgement; every run merged.
    pub latency: Histogram<u64>,
}

/// A replay whose output is not what the generator says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the output is wrong, so no speed is shown: {found}; expected {expected}")]
pub struct WrongOutput {
    pub found: String,
    pub expected: String,
}

impl Plan {
    /// Runs every phase; `step` is told of each before it begins.
    ///
    /// # Errors
    /// When a phase fails, or an output is wrong.
    pub fn measure(
        &self,
        launcher: &Launcher,
        expected: &mut Expected,
        step: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Measured> {
        assert!(self.log_dir.file_name().is_some(), "{:?} is no folder for a log", self.log_dir);
        assert!(self.runs.ingest > 0 && self.runs.warm > 0, "nothing is measured by {:?}", self.runs);
        assert!(
            [0, self.runs.warm].contains(&self.runs.cold),
            "each cold replay has its warm one, not {:?}",
            self.runs
        );
        let mut ingests = Vec::new();
        for run in 0..self.runs.ingest {
            step("ingesting");
            if run > 0 {
                // The last log is the one that is replayed.
                std::fs::remove_dir_all(&self.log_dir).context("failed to remove the log of the run before")?;
            }
            ingests.push(self.ingest(launcher)?);
        }
        let log_bytes = machine::topic_bytes(&self.log_dir, &self.topic, self.partitions)?;
        let mut version = 0;
        let mut warm = Vec::new();
        let mut cold = (self.runs.cold > 0).then(Vec::new);
        for run in 0..self.runs.warm {
            step("replaying, warm");
            version += 1;
            warm.push(self.replay(launcher, version, Pages::Warm)?.context("a warm replay always runs")?);
            // In turn, so that each is compared with one of the same minutes.
            if let Some(runs) = cold.as_mut().filter(|_| run < self.runs.cold) {
                step("replaying, cold");
                version += 1;
                match self.replay(launcher, version, Pages::Cold)? {
                    Some(outcome) => runs.push(outcome),
                    None => cold = None,
                }
            }
        }
        let seconds = median(&warm.iter().map(|run| run.seconds).collect::<Vec<_>>());
        let uninterrupted = Duration::try_from_secs_f64(seconds).context("a replay took no time")?;
        let mut killed = Vec::new();
        for _ in 0..self.runs.kills {
            step("killing a replay");
            killed.push(interrupted::kill_once(self, launcher, &mut version, uninterrupted)?);
        }
        step("checking the output");
        let table = expected.table(self.summed, &self.dataset);
        for replay in warm.iter().chain(cold.iter().flatten()) {
            self.check(replay, replay.events == self.dataset.events, table)?;
        }
        for (_, replay) in &killed {
            // What was committed before the kill, and something was, is not read again.
            self.check(replay, replay.events_before + replay.events == self.dataset.events, table)?;
        }
        let latency = merged(&ingests);
        let mut report = self.report(&ingests, &warm, cold.as_deref(), log_bytes, &latency);
        report.recovery = (!killed.is_empty()).then(|| Recovery {
            uninterrupted_ms: uninterrupted.as_millis() as u64,
            kills: killed.iter().map(|(kill, _)| *kill).collect(),
        });
        let gaps = report.commit_gaps();
        report.longest_commit_gap_ms = gaps.into_iter().map(|(gap, _)| gap).max().unwrap_or(0);
        Ok(Measured { report, latency })
    }

    fn ingest(&self, launcher: &Launcher) -> anyhow::Result<IngestOutcome> {
        let spec = IngestSpec {
            topic: self.topic.clone(),
            dataset: self.dataset.clone(),
            rate: self.rate,
            partitions: self.partitions,
            threads: self.threads,
        };
        match launcher.run(&Phase::Ingest { data_dir: self.log_dir.clone(), spec })? {
            PhaseOutcome::Ingest(outcome) => Ok(outcome),
            other => bail!("an ingest answered with {other:?}"),
        }
    }

    /// The replay as version `version` of the pipeline; `tell` makes it say its milestones.
    pub(crate) fn replay_phase(&self, version: u32, pages: Pages, tell: bool) -> Phase {
        let spec = ReplaySpec {
            pipeline: self.pipeline.clone(),
            key: self.dataset.key,
            partitions: self.partitions,
            version,
            threads: self.threads,
            pages,
            tell,
        };
        Phase::Replay { data_dir: self.log_dir.clone(), spec }
    }

    /// `None` when the page cache could not be emptied.
    fn replay(&self, launcher: &Launcher, version: u32, pages: Pages) -> anyhow::Result<Option<ReplayOutcome>> {
        match launcher.run(&self.replay_phase(version, pages, false))? {
            PhaseOutcome::Replay(outcome) => Ok(Some(outcome)),
            PhaseOutcome::StillWarm => Ok(None),
            other => bail!("a replay answered with {other:?}"),
        }
    }

    /// Holds a replay to the panes that follow from the generator.
    fn check(&self, replay: &ReplayOutcome, all_read: bool, table: &Table) -> Result<(), WrongOutput> {
        let Table { sums, checksum } = table;
        if all_read && replay.sums == *sums && replay.output_checksum == *checksum {
            return Ok(());
        }
        Err(WrongOutput {
            found: format!(
                "{} events after {} gave {:?}, checksum {}",
                replay.events, replay.events_before, replay.sums, replay.output_checksum
            ),
            expected: format!("{} events to give {sums:?}, checksum {checksum}", self.dataset.events),
        })
    }

    fn report(
        &self,
        ingests: &[IngestOutcome],
        warm: &[ReplayOutcome],
        cold: Option<&[ReplayOutcome]>,
        log_bytes: u64,
        latency: &Histogram<u64>,
    ) -> BenchReport {
        let ingest = Ingest {
            events_per_s: ingests.iter().map(|run| run.events as f64 / run.seconds).collect(),
            latency_us: quantiles(latency),
            p99_us: ingests.iter().map(|run| quantiles(&merged(std::slice::from_ref(run))).p99).collect(),
        };
        let pairs = warm.iter().zip(cold.unwrap_or_default());
        let replay = Replay {
            cold: cold.map(|runs| replay_runs(runs, log_bytes)),
            warm: replay_runs(warm, log_bytes),
            cold_to_warm: pairs.map(|(warm, cold)| warm.seconds / cold.seconds).collect(),
            no_cold: self.runs.cold == 0,
        };
        let typical = middle(warm);
        BenchReport {
            bytes: ingests.first().map_or(0, |run| run.bytes),
            ratio_replay_to_ingest: median(&replay.warm.events_per_s) / median(&ingest.events_per_s),
            ingest,
            replay,
            replay_spent_s: typical.spent_s.clone(),
            commits: typical.commits,
            log_bytes,
            panes: typical.panes,
            output_checksum: typical.output_checksum.clone(),
            output_sums: typical.sums.clone(),
            keys: typical.keys,
            state_bytes_per_key: typical.state_bytes_per_key(),
            state_bytes_per_key_per_run: warm.iter().filter_map(ReplayOutcome::state_bytes_per_key).collect(),
            ..self.head()
        }
    }

    /// What is known before anything is measured: the settings, the machine, the program.
    pub fn head(&self) -> BenchReport {
        BenchReport {
            schema: SCHEMA.to_owned(),
            pipeline: self.pipeline.clone(),
            events: self.dataset.events,
            users: self.dataset.users,
            key: self.dataset.key.name().to_owned(),
            value_bytes: self.dataset.value_bytes,
            rate: self.rate,
            threads: self.threads as u32,
            partitions: self.partitions as u32,
            machine: machine::describe(&self.log_dir),
            commit: machine::commit(),
            build: machine::build().to_owned(),
            commit_interval_ms: WorkerSettings::default().commit_interval.as_millis() as u64,
            codec: "none".to_owned(),
            replay: Replay { no_cold: self.runs.cold == 0, ..Replay::default() },
            ..BenchReport::default()
        }
    }

    /// Removes the log; the report stays.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn clean(&self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.log_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove {}", self.log_dir.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The run of median time.
fn middle(runs: &[ReplayOutcome]) -> &ReplayOutcome {
    let mut sorted: Vec<&ReplayOutcome> = runs.iter().collect();
    sorted.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    sorted[sorted.len() / 2]
}

fn replay_runs(runs: &[ReplayOutcome], log_bytes: u64) -> ReplayRuns {
    ReplayRuns {
        events_per_s: runs.iter().map(|run| run.events as f64 / run.seconds).collect(),
        bytes_per_s: runs.iter().map(|run| log_bytes as f64 / run.seconds).collect(),
        cpu_s: runs.iter().map(|run| run.cpu_s).collect(),
        peak_rss_bytes: runs.iter().map(|run| run.peak_rss_bytes).max().unwrap_or(0),
        peak_rss_bytes_per_run: runs.iter().map(|run| run.peak_rss_bytes).collect(),
        longest_commit_gap_ms_per_run: runs.iter().map(|run| run.longest_commit_gap_ms).collect(),
        resident_share: runs.iter().filter_map(|run| run.resident).collect(),
    }
}

/// The runs' histograms as one.
fn merged(runs: &[IngestOutcome]) -> Histogram<u64> {
    let mut merged = ingest::histogram();
    for (us, count) in runs.iter().flat_map(|run| &run.latency_us) {
        merged.saturating_record_n(*us, *count);
    }
    merged
}

fn quantiles(latency: &Histogram<u64>) -> Latency {
    Latency {
        p50: latency.value_at_quantile(0.5),
        p99: latency.value_at_quantile(0.99),
        p999: latency.value_at_quantile(0.999),
        max: latency.max(),
    }
}
