//! `segno bench --sweep`: the benchmark at several points, and how its cost grows.
//!
//! In: what is swept, and the plan of a point. Out: a table, and `sweep.csv`, `sweep.json`, `sweep.svg` in the run's folder.
//! Every point's output is checked: the first wrong one ends the sweep, and no speed is shown. What else ends it leaves the
//! points before it in the files.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: it reads the clock and writes files")]

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use benches::dataset::{Key, MAX_USERS};
use benches::ingest::MAX_VALUE_BYTES;
use benches::machine;
use benches::plan::{Plan, Runs, WrongOutput};
use benches::process::Launcher;
use benches::sums::Expected;
use engine::env::real::threads;
use reports::sweep::{SCHEMA, SweepPoint, SweepReport, Swept};
use reports::sweep_charts;

use crate::exit::Usage;
use crate::progress::Progress;
use crate::units;

/// How long an open loop runs at each rate, unless events are given.
const SECONDS_AT_A_RATE: u64 = 10;
const DEFAULT_EVENTS: u64 = 5_000_000;
/// Events of a kilobyte and more fill a disk.
const DEFAULT_LARGE_EVENTS: u64 = 2_000_000;
const MAX_PARTITIONS: u64 = 1_024;

/// What is swept, by its name.
///
/// # Errors
/// With all names.
pub fn swept(text: &str) -> Result<Swept, String> {
    let names = Swept::ALL.map(Swept::name).join(", ");
    let found = Swept::ALL.into_iter().find(|swept| swept.name() == text);
    found.ok_or_else(|| format!("`{text}` cannot be swept; {names} can"))
}

/// A list of counts or sizes in units.
///
/// # Errors
/// What is wrong with one of them.
pub fn points(text: &str) -> Result<Points, String> {
    let point = |text: &str| units::count(text).or_else(|error| units::size(text).map_err(|_| error));
    text.split(',').map(|text| point(text.trim())).collect::<Result<_, _>>().map(Points)
}

/// Where to measure.
#[derive(Clone, Debug)]
pub struct Points(Vec<u64>);

/// A sweep that can be run.
pub struct Sweep {
    pub swept: Swept,
    /// What the points have in common.
    pub plan: Plan,
    /// The events of every point, if they were given.
    pub events: Option<u64>,
    /// The partitions, if they were given.
    pub partitions: Option<i32>,
    points: Vec<u64>,
}

impl Sweep {
    /// # Errors
    /// Wrong use: a point that cannot be measured.
    pub fn new(
        swept: Swept,
        plan: Plan,
        events: Option<u64>,
        partitions: Option<i32>,
        points: Option<Points>,
    ) -> Result<Sweep, Usage> {
        let mut points = points.map_or_else(|| default_points(swept), |points| points.0);
        points.sort_unstable();
        points.dedup();
        let most = match swept {
            Swept::Rate => u64::from(u32::MAX),
            Swept::Keys => u64::from(MAX_USERS),
            Swept::Partitions => MAX_PARTITIONS,
            Swept::EventSize => u64::from(MAX_VALUE_BYTES),
            Swept::Threads => threads::cores() as u64,
        };
        if let Some(wrong) = points.iter().find(|point| !(1..=most).contains(*point)) {
            return Err(Usage(format!(
                "--points {wrong}: --sweep {swept} takes from 1 to {most} {} here",
                swept.unit()
            )));
        }
        let sweep = Sweep { swept, plan, events, partitions, points };
        sweep.fits(machine::free_bytes(&sweep.plan.log_dir))?;
        Ok(sweep)
    }

    /// Whether the log of the largest point can be written. (At most two runs of it: the source, and what the replay
    /// routes on; each point's log is removed before the next.)
    fn fits(&self, free: Option<u64>) -> Result<(), Usage> {
        let (Swept::EventSize, Some(free), Some(largest)) = (self.swept, free, self.points.last()) else {
            return Ok(());
        };
        let plan = self.point(*largest);
        let logs = if plan.dataset.key == Key::User { 1 } else { 2 };
        let needed = plan.dataset.events.saturating_mul(*largest).saturating_mul(logs);
        if needed < free {
            return Ok(());
        }
        Err(Usage(format!(
            "--points {largest}: {} events of {largest} bytes make a log of {:.1} GB, and there are {:.1} GB free in {}; take \
             fewer --events, or another --data-dir",
            plan.dataset.events,
            needed as f64 / 1e9,
            free as f64 / 1e9,
            self.plan.log_dir.parent().unwrap_or(&self.plan.log_dir).display()
        )))
    }

    /// Measures every point, and writes the files.
    ///
    /// # Errors
    /// When a phase fails, an output is wrong, or a file cannot be written. Unless an output is wrong, the points before
    /// are written all the same.
    pub fn run(&self, launcher: &Launcher, root: &Path) -> anyhow::Result<SweepReport> {
        let began = Instant::now();
        let plans: Vec<(u64, Plan)> = self.points.iter().map(|point| (*point, self.point(*point))).collect();
        let phases = plans.iter().map(|(_, plan)| plan.runs.phases()).sum();
        let mut progress = Progress::new("sweep", "phases");
        let mut done = 0;
        let mut expected = Expected::default();
        let mut points = Vec::new();
        for (value, plan) in plans {
            let before = done;
            let mut step = |what: &str| {
                progress.set(done, phases, began.elapsed(), &format!("{what} at {value} {}", self.swept.unit()));
                done += 1;
            };
            plan.clean()?;
            let measured = plan.measure(launcher, &mut expected, &mut step);
            plan.clean()?;
            // The last step is the checking, which is no phase.
            done = before + plan.runs.phases();
            match measured {
                Ok(measured) => points.push(SweepPoint { value, report: measured.report }),
                Err(error) if points.is_empty() || error.is::<WrongOutput>() => return Err(error),
                Err(error) => {
                    progress.finish();
                    let written = points.len();
                    write_files(root, &self.report(points, root))?;
                    return Err(error.context(format!(
                        "no figure at {value} {}; what was measured at {written} points before is in {}",
                        self.swept.unit(),
                        root.display()
                    )));
                }
            }
        }
        progress.finish();
        let report = self.report(points, root);
        write_files(root, &report)?;
        Ok(report)
    }

    fn report(&self, points: Vec<SweepPoint>, root: &Path) -> SweepReport {
        let head = self.plan.head();
        SweepReport {
            schema: SCHEMA.to_owned(),
            sweep: self.swept,
            pipeline: head.pipeline,
            runs: self.plan.runs.warm,
            machine: head.machine,
            commit: head.commit,
            build: head.build,
            points,
            run_dir: root.display().to_string(),
        }
    }

    /// The plan of one point.
    fn point(&self, value: u64) -> Plan {
        let mut plan = self.plan.clone();
        let runs = plan.runs.warm;
        plan.dataset.events = self.events.unwrap_or(DEFAULT_EVENTS);
        plan.runs = Runs { ingest: runs, warm: runs, cold: 0, kills: 0 };
        match self.swept {
            Swept::Rate => {
                plan.rate = Some(value);
                plan.dataset.events = self.events.unwrap_or(value * SECONDS_AT_A_RATE);
                // What is measured is the ingest; the replay is for the sums.
                plan.runs.warm = 1;
            }
            Swept::Keys => {
                plan.dataset.users = value as u32;
                plan.runs.ingest = 1;
            }
            Swept::Partitions => plan.partitions = value as i32,
            Swept::EventSize => {
                plan.dataset.value_bytes = Some(value as u32);
                plan.dataset.events = self.events.unwrap_or(DEFAULT_LARGE_EVENTS);
            }
            Swept::Threads => {
                plan.threads = value as usize;
                // The same log at every point, with a partition for each thread of the largest.
                let most = self.points.last().copied().unwrap_or(1);
                plan.partitions = self.partitions.unwrap_or(most as i32);
            }
        }
        plan
    }
}

fn default_points(swept: Swept) -> Vec<u64> {
    match swept {
        Swept::Rate => vec![50_000, 100_000, 200_000, 400_000, 800_000],
        Swept::Keys => vec![100_000, 1_000_000, 10_000_000],
        Swept::Partitions => vec![1, 2, 4, 8, 16],
        Swept::EventSize => vec![64, 128, 256, 512, 1_024],
        Swept::Threads => {
            let cores = threads::cores() as u64;
            let mut points: Vec<u64> = (0..).map(|power| 1 << power).take_while(|threads| *threads < cores).collect();
            points.push(cores);
            points
        }
    }
}

fn write_files(root: &Path, report: &SweepReport) -> anyhow::Result<()> {
    let svg = sweep_charts::svg(report).map_err(|error| anyhow::anyhow!("failed to draw the sweep: {error}"))?;
    let mut json = serde_json::to_string_pretty(report)?;
    json.push('\n');
    for (name, text) in [("sweep.csv", report.csv()), ("sweep.json", json), ("sweep.svg", svg)] {
        let path = root.join(name);
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_in_units() {
        assert_eq!(points("100k, 1M,10M").expect("points").0, [100_000, 1_000_000, 10_000_000]);
        assert_eq!(points("64,1KiB").expect("points").0, [64, 1_024]);
        assert!(points("100k,,1M").is_err());
        assert!(points("fast").expect_err("no points").contains("`fast` begins with no number"));
    }

    #[test]
    fn threads_are_doubled_up_to_all_cores() {
        let points = default_points(Swept::Threads);
        assert_eq!(points.first(), Some(&1));
        assert_eq!(points.last(), Some(&(threads::cores() as u64)));
        assert!(points.is_sorted());
    }

    #[test]
    fn values_that_make_no_batch_or_no_room_are_refused_before_anything_runs() {
        let plan = |dir: &Path| Plan {
            pipeline: "clickstream-sessions".to_owned(),
            summed: benches::sums::Summed::of("clickstream-sessions").expect("it has sums"),
            topic: "source".to_owned(),
            dataset: benches::dataset::Dataset { events: 1, users: 1, key: Key::User, value_bytes: None },
            rate: None,
            partitions: 1,
            threads: 1,
            runs: Runs { ingest: 1, warm: 1, cold: 0, kills: 0 },
            log_dir: dir.join("log"),
        };
        let dir = tempfile::tempdir().expect("a folder");
        let sweep = |events: u64, points: &str| {
            let points = Some(super::points(points).expect("points"));
            Sweep::new(Swept::EventSize, plan(dir.path()), Some(events), None, points)
        };
        let refused = |events, points| sweep(events, points).err().expect("it is refused").0;
        assert!(refused(1, "64,2MiB").contains("takes from 1 to 1048576 bytes"), "{}", refused(1, "64,2MiB"));
        let sweep = sweep(20, "1KiB,32KiB").expect("it can be measured");
        assert!(sweep.fits(Some(20 * (32 << 10) + 1)).is_ok());
        let why = sweep.fits(Some(20 * (32 << 10))).expect_err("no room").0;
        assert!(why.contains("20 events of 32768 bytes") && why.contains("fewer --events"), "{why}");
        assert!(refused(u64::MAX, "64").contains("GB free"));
    }

    #[test]
    fn a_sweep_is_chosen_by_its_name() {
        assert_eq!(swept("event-size"), Ok(Swept::EventSize));
        assert!(swept("size").expect_err("no sweep").contains("rate, keys, partitions, event-size, threads"));
    }
}
