//! One file through a pipeline, live and again: the engine on a real disk, clock and network.
//!
//! In: an input file and a data directory. Out: the final panes as NDJSON, the rejected lines, a [`RunReport`].
//!
//! Every step is found again in the log: the ingest goes on at its committed byte, the live tasks and the replay's at
//! their committed offsets. So the same command after a `kill -9`, at any moment and any number of times, ends with the
//! same result.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: these are its own files")]

pub mod directory;
mod ingest;
mod lines;
mod tables;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use engine::broker::{Broker, BrokerConfig};
use engine::client::{Client, ClientConfig};
use engine::env::Env;
use engine::env::real::threads;
use engine::stream::Deployment;
use engine::stream::worker::{Stop, Until, WorkerSettings, prepare, run_worker};
use reports::RunReport;
use sha2::{Digest as _, Sha256};
use sim::workload::Workload;

pub use ingest::Reject;
use ingest::{Ingest, Parse};
use tables::Tables;

/// The version that processes events as they are ingested, and the one that reads the log again.
const LIVE: u32 = 1;
const REPLAY: u32 = 2;

/// What to run.
pub struct Job {
    pub workload: Arc<dyn Workload>,
    pub pipeline: Arc<engine::stream::Pipeline>,
    pub input: PathBuf,
    pub parse: Box<Parse>,
    pub partitions: i32,
    pub threads: usize,
}

/// What came of it, beside the report.
pub struct Finished {
    pub report: RunReport,
    /// One line a pane, sorted by key and window.
    pub ndjson: String,
    pub rejects: Vec<Reject>,
    /// Where live and replay first differ, in words.
    pub difference: Option<String>,
}

/// The size and SHA-256 of a file.
pub fn fingerprint(path: &Path) -> anyhow::Result<(u64, String)> {
    let mut file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("failed to read {}", path.display()))?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        hasher.update(&buffer[..read]);
    }
    let digest = hasher.finalize();
    Ok((bytes, digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))))
}

impl Job {
    /// Ingests, processes, replays and compares, in a directory that this process holds.
    ///
    /// # Errors
    /// When the input cannot be read, the disk fails, or a task cannot go on. All that was committed stays.
    pub async fn run(
        &self,
        env: &Env,
        log_dir: &Path,
        progress: impl Fn(Step) + Send + Sync,
    ) -> anyhow::Result<Finished> {
        let broker = Broker::start(env.clone(), BrokerConfig::new(log_dir)).await?;
        let client = Client::new(env.clone(), broker.local(), ClientConfig::default());
        let outcome = {
            let work = self.work(env, &client, &progress);
            tokio::select! {
                biased;
                error = broker.failed() => Err(anyhow::Error::from(error)),
                outcome = work => outcome,
            }
        };
        if outcome.is_ok() {
            broker.stop().await;
        }
        outcome
    }

    async fn work(
        &self,
        env: &Env,
        client: &Client,
        progress: &(impl Fn(Step) + Send + Sync),
    ) -> anyhow::Result<Finished> {
        let source_topic = self.workload.source_topic();
        ingest::prepare(client, self.workload.name(), source_topic, self.partitions).await?;
        let told = |byte| progress(Step::Ingested(byte));
        let ingest = Ingest {
            client,
            pipeline: self.workload.name(),
            source_topic,
            partitions: self.partitions,
            input: &self.input,
            parse: &*self.parse,
            progress: &told,
        };
        let live = self.deployment(LIVE);
        let (ingested, processed) = tokio::join!(ingest.run(), self.process(env, client, &live));
        ingested?;
        processed?;
        progress(Step::Live);
        let replay = self.deployment(REPLAY);
        self.process(env, client, &replay).await?;
        progress(Step::Replayed);
        self.compare(client, &live, &replay).await
    }

    fn deployment(&self, version: u32) -> Deployment {
        Deployment { pipeline: Arc::clone(&self.pipeline), version }
    }

    /// Runs every task of a version until its input has ended, spread over the threads.
    async fn process(&self, env: &Env, client: &Client, deployment: &Deployment) -> anyhow::Result<()> {
        prepare(client, deployment).await?;
        let tasks = deployment.tasks();
        let (stopper, stop) = Stop::new();
        let mut workers = Vec::new();
        for thread in 0..self.threads {
            let share: Vec<_> = tasks.iter().copied().skip(thread).step_by(self.threads).collect();
            if share.is_empty() {
                continue;
            }
            let (env, client, deployment) = (env.clone(), client.clone(), deployment.clone());
            let (stopper, stop) = (stopper.clone(), stop.clone());
            workers.push(threads::start(&format!("worker-{thread}"), None, move || async move {
                let settings = WorkerSettings::default();
                let outcome = run_worker(&env, &client, &deployment, &share, &settings, Until::EndOfInput, stop).await;
                if outcome.is_err() {
                    // The others would wait for what will never come.
                    stopper.stop();
                }
                outcome
            })?);
        }
        let mut failure = None;
        for worker in workers {
            if let Err(error) = worker.finished().await? {
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn compare(&self, client: &Client, live: &Deployment, replay: &Deployment) -> anyhow::Result<Finished> {
        let live = Tables::read(client, &live.out_topic(), &live.late_topic()).await?;
        let replay = Tables::read(client, &replay.out_topic(), &replay.late_topic()).await?;
        let rejects = tables::read_rejects(client, &ingest::rejects_topic(self.workload.name())).await?;
        let ingested = tables::count_events(client, self.workload.source_topic()).await?;

        let (ndjson, checksum) = self.lines(&replay)?;
        let equal = live == replay;
        let difference = (!equal).then(|| self.difference(&live, &replay));
        let report = RunReport {
            schema: reports::run::SCHEMA.to_owned(),
            pipeline: String::new(),
            records: reports::run::RunRecords { ingested, rejected: rejects.len() as u64, late: live.late_records() },
            panes: reports::PaneCounts { live: live.panes.len() as u64, replay: replay.panes.len() as u64 },
            equal,
            output_checksum: format!("{checksum:032x}"),
            wall_ms: 0,
            data_dir: String::new(),
            out: String::new(),
            rejects: String::new(),
            first_difference: String::new(),
        };
        Ok(Finished { report, ndjson, rejects, difference })
    }

    /// The final panes as NDJSON, sorted by key and window, and the sum over their lines' hashes.
    fn lines(&self, tables: &Tables) -> anyhow::Result<(String, u128)> {
        let mut rows = Vec::with_capacity(tables.panes.len());
        for (key, value) in &tables.panes {
            rows.push(self.workload.row(key, value).map_err(|reason| anyhow::anyhow!("an output record: {reason}"))?);
        }
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        let mut text = String::new();
        let mut checksum = 0u128;
        for (_, row) in &rows {
            let line = self.workload.line(row);
            let digest = Sha256::digest(line.as_bytes());
            let first = u128::from_le_bytes(digest[..16].try_into().expect("16 of 32 bytes"));
            checksum = checksum.wrapping_add(first);
            text.push_str(&line);
            text.push('\n');
        }
        Ok((text, checksum))
    }

    fn difference(&self, live: &Tables, replay: &Tables) -> String {
        let Some(key) = live.first_difference(replay) else {
            return format!("late entries: {} live, {} in the replay", live.late.len(), replay.late.len());
        };
        let mut text = String::new();
        for (name, tables) in [("live", live), ("replay", replay)] {
            let row = match tables.panes.get(key) {
                Some(value) => match self.workload.row(key, value) {
                    Ok((_, row)) => self.workload.line(&row),
                    Err(reason) => format!("unreadable: {reason}"),
                },
                None => "no pane".to_owned(),
            };
            let _ = writeln!(text, "  {name:<7} {row}");
        }
        text
    }
}

/// What the run has just done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The input up to this byte is in the log.
    Ingested(u64),
    /// The live version has processed all of it.
    Live,
    /// The replay has.
    Replayed,
}
