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
pub mod input;
mod lines;
mod tables;
mod watched;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use engine::broker::{Broker, BrokerConfig, BrokerError};
use engine::client::{Client, ClientConfig};
use engine::env::Env;
use engine::log::LogError;
use engine::stream::Deployment;
use engine::stream::worker::{Stop, Until, WorkerSettings, prepare, run_spread};
use reports::RunReport;
use sha2::{Digest as _, Sha256};
use sim::workload::Workload;

pub use ingest::Reject;
use ingest::{Ingest, Parse};
use tables::Tables;
use watched::Watched;

use crate::exit::Usage;

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
    if path == Path::new("-") {
        return Err(
            Usage("--input -: a run reads its input more than once; save the stream to a file first".into()).into()
        );
    }
    let mut file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    if !file.metadata()?.is_file() {
        // A resumed ingest reads it again from some byte on.
        return Err(Usage(format!("{} is not a regular file: save the stream to a file first", path.display())).into());
    }
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

/// The checksum of an output: the wrapping sum, over its lines, of the first 16 bytes of their SHA-256; 32 hex digits.
pub fn checksum(ndjson: &str) -> String {
    let sum = ndjson.lines().fold(0u128, |sum, line| {
        let digest = Sha256::digest(line.as_bytes());
        sum.wrapping_add(u128::from_le_bytes(digest[..16].try_into().expect("16 of 32 bytes")))
    });
    format!("{sum:032x}")
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
        let broker = Broker::start(env.clone(), BrokerConfig::new(log_dir)).await.map_err(|error| match &error {
            BrokerError::Log { partition, source } if matches!(**source, LogError::Damaged { .. }) => {
                env.log(format_args!("{source}"));
                damaged(&partition.to_string(), log_dir).into()
            }
            _ => anyhow::Error::from(error),
        })?;
        let watched = Arc::new(Watched::new(broker.local()));
        let client = Client::new(env.clone(), Arc::<Watched>::clone(&watched), ClientConfig::default());
        let outcome = {
            let work = self.work(env, &client, &progress);
            tokio::select! {
                biased;
                error = broker.failed() => Err(anyhow::Error::from(error)),
                partition = watched.damaged() => Err(damaged(&partition, log_dir).into()),
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
        let (stopper, stop) = Stop::new();
        let ingesting = async {
            let ingested = ingest.run().await;
            if ingested.is_err() {
                // The end markers will not come.
                stopper.stop();
            }
            ingested
        };
        let (ingested, processed) = tokio::join!(ingesting, self.process(env, client, &live, stop));
        ingested?;
        processed?;
        progress(Step::Live);
        let replay = self.deployment(REPLAY);
        self.process(env, client, &replay, Stop::never()).await?;
        progress(Step::Replayed);
        self.compare(client, &live, &replay).await
    }

    fn deployment(&self, version: u32) -> Deployment {
        Deployment::new(Arc::clone(&self.pipeline), version)
    }

    /// Runs every task of a version until its input has ended, or it is told to stop.
    async fn process(&self, env: &Env, client: &Client, deployment: &Deployment, stop: Stop) -> anyhow::Result<()> {
        prepare(client, deployment).await?;
        let settings = WorkerSettings::default();
        run_spread(env, client, deployment, &settings, self.threads, Until::EndOfInput, stop).await?;
        Ok(())
    }

    async fn compare(&self, client: &Client, live: &Deployment, replay: &Deployment) -> anyhow::Result<Finished> {
        let undecodable = tables::count_events(client, &live.rejected_topic()).await?;
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
            records: reports::run::RunRecords {
                ingested,
                rejected: rejects.len() as u64 + undecodable,
                late: live.late_records(),
            },
            panes: reports::PaneCounts { live: live.panes.len() as u64, replay: replay.panes.len() as u64 },
            equal,
            output_checksum: checksum,
            wall_ms: 0,
            data_dir: String::new(),
            out: String::new(),
            rejects: String::new(),
            first_difference: String::new(),
        };
        Ok(Finished { report, ndjson, rejects, difference })
    }

    /// The final panes as NDJSON, sorted by key and window, and the sum over their lines' hashes.
    fn lines(&self, tables: &Tables) -> anyhow::Result<(String, String)> {
        let mut rows = Vec::with_capacity(tables.panes.len());
        for (key, value) in &tables.panes {
            rows.push(self.workload.row(key, value).map_err(|reason| anyhow::anyhow!("an output record: {reason}"))?);
        }
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        let mut text = String::new();
        for (_, row) in &rows {
            text.push_str(&self.workload.line(row));
            text.push('\n');
        }
        let checksum = checksum(&text);
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

/// A log that cannot be read. The broker has said at which byte of which file.
fn damaged(partition: &str, log_dir: &Path) -> Usage {
    let root = log_dir.parent().unwrap_or(log_dir).display();
    Usage(format!(
        "the log {} is damaged, and nothing is made of it: remove {root}, or name another --data-dir, and the input is \
         ingested again",
        log_dir.join(partition).display()
    ))
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
