//! What runs on each host.
//!
//! In: the plan and the workload. Out: a world whose broker, workers and control host are the engine itself, started as
//! a process would start it.
//!
//! Invariant: what a host starts with is its environment and the board; nothing else survives a crash.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::broker::{Broker, BrokerConfig, BrokerError};
use engine::client::{ClientConfig, SocketConfig, SocketTransport};
use engine::env::Env;
use engine::log::{LogConfig, LogError};
use engine::record::Compression;
use engine::schema::{Schema, SchemaId};
use engine::stream::worker::WorkerSettings;
use engine::stream::{Deployment, Pipeline};
use engine::types::Timestamp;
use engine::wire::Transport;

use super::World;
use super::board::{Board, Deleted};
use super::control::Control;
use super::observe::Observed;
use super::tasks::TaskHost;
use crate::clock::virtual_ms;
use crate::hosts::Ended;
use crate::plan::{EngineSettings, FromTime, Host, Plan};
use crate::workload::{SourceEvent, Workload};

/// Where the broker keeps its logs.
pub const DATA_DIR: &str = "/data";
const PORT: u16 = 9092;

/// What the hosts are made of.
#[derive(Clone)]
struct Parts {
    board: Board,
    engine: EngineSettings,
    embedded: bool,
    truncates: bool,
    deployments: Rc<[Deployment; 3]>,
}

/// The two versions of the pipeline that a run compares, and one more, which finds its input cut.
/// One of them may start at a time, if that is exact for these events.
pub fn deployments(
    workload: &dyn Workload,
    pipeline: Pipeline,
    plan: &Plan,
    events: &[SourceEvent],
) -> Rc<[Deployment; 3]> {
    let exact = |_: &FromTime| plan.may_start_at_a_time(workload, &pipeline, events).is_ok();
    let from = plan.replay.from.filter(exact);
    let pipeline = Arc::new(pipeline);
    Rc::new([1, 2, 3].map(|version| {
        let deployment = Deployment::new(pipeline.clone(), version);
        let from = from.filter(|_| version == plan.version_from_a_time());
        let Some(from) = from else { return deployment };
        let time = from.time(events, pipeline.windows().next().and_then(|windows| windows.size()));
        // A pipeline with several windowed stages starts at offset 0 alone.
        deployment.clone().starting_at(Timestamp(time)).unwrap_or(deployment)
    }))
}

/// Puts every host of the plan into the world.
pub fn populate(
    world: &mut World<'_>,
    workload: &dyn Workload,
    plan: &Plan,
    deployments: &Rc<[Deployment; 3]>,
    events: Vec<SourceEvent>,
) {
    world.source = workload.source_topic().to_owned();
    let times = || events.iter().filter(|event| event.watermark().is_none()).map(|event| event.timestamp);
    world.source_times = times().min().zip(times().max());
    let parts = Parts {
        board: world.board.clone(),
        engine: plan.engine.clone(),
        embedded: plan.cluster.embedded,
        truncates: plan.truncate.is_some(),
        deployments: deployments.clone(),
    };
    for host in plan.cluster.hosts() {
        let parts = parts.clone();
        match host {
            Host::Broker => world.add_host(host, move |env| run_broker(env, parts.clone())),
            Host::Worker(_) => world.add_host(host, move |env| run_worker(env, host, parts.clone())),
            Host::Control => world.add_immortal(host, |env| {
                let control = Control {
                    transport: socket(&env, host, &parts),
                    env,
                    board: parts.board.clone(),
                    client: client_config(&plan.engine),
                    source: workload.source_topic().to_owned(),
                    partitions: plan.shape.partitions,
                    events: events.clone(),
                    schemas: writer_schemas(workload, plan),
                    batch_events: plan.engine.batch_events.max(1) as usize,
                    compression: compression(&plan.engine),
                    patience: Duration::from_millis(plan.engine.patience_ms),
                    task_hosts: plan.cluster.task_hosts(),
                    rotate: plan.cluster.rotate as usize,
                    deployments: deployments.clone(),
                    truncate: plan.truncate,
                    replay: plan.replay,
                };
                async move {
                    control.run().await;
                    Ok(())
                }
            }),
        }
    }
}

/// What producers may have to register. What is no schema is found when the deployment is prepared.
fn writer_schemas(workload: &dyn Workload, plan: &Plan) -> RefCell<BTreeMap<SchemaId, Schema>> {
    let schemas = workload.schemas().into_iter().chain(plan.schemas.iter().cloned());
    let schemas = schemas.filter_map(|json| Schema::parse(&json).ok());
    RefCell::new(schemas.map(|schema| (schema.id(), schema)).collect())
}

async fn run_broker(env: Env, parts: Parts) -> Ended {
    let config = BrokerConfig {
        advertised: format!("{}:{PORT}", Host::Broker),
        log: LogConfig {
            segment_bytes: parts.engine.segment_bytes,
            index_interval_bytes: parts.engine.index_interval_bytes,
            recovery_point_every_bytes: parts.engine.recovery_point_every_bytes,
            ..LogConfig::default()
        },
        internal_log_bytes: parts.engine.internal_log_bytes,
        ..BrokerConfig::new(DATA_DIR)
    };
    let broker = match Broker::start(env.clone(), config).await {
        Ok(broker) => broker,
        Err(error) => {
            let said = format!("the broker could not start: {}", chain(&error));
            env.log(format_args!("{said}"));
            match error {
                // It names the file with the wrong bit, and does not start: an operator gets the copy.
                BrokerError::Log { source, .. } if is_rotten(&parts.board, &source) => {
                    parts.board.reach("damage-refused-at-start");
                    parts.board.disturbed(Host::Broker, virtual_ms().unwrap_or(0));
                    wait_until(&parts.board, |board| !is_rotten(board, &source)).await;
                    parts.board.restart(Host::Broker, said);
                }
                // The disk failed under the recovery: as at any other time, the process ends, and another tries.
                BrokerError::Io { .. } => parts.board.restart(Host::Broker, said),
                BrokerError::Log { source, .. } if !matches!(*source, LogError::Damaged { .. }) => {
                    parts.board.restart(Host::Broker, said);
                }
                _ => parts.board.fail("durable", said),
            }
            return std::future::pending().await;
        }
    };
    if parts.embedded {
        let transport = Observed::around(broker.local(), parts.board.clone(), Host::Broker);
        tokio::task::spawn_local(tasks(&env, Host::Broker, &parts, transport).run());
    }
    if parts.truncates {
        tokio::task::spawn_local(delete_when_asked(env.clone(), broker.clone(), parts.board.clone()));
    }
    let address = format!("0.0.0.0:{PORT}");
    let why = tokio::select! {
        biased;
        error = broker.failed() => error.to_string(),
        () = wait_until(&parts.board, |board| board.is_leaving(Host::Broker)) => {
            // Its own tasks, which need it, end first.
            tokio::time::sleep(Duration::from_millis(parts.engine.request_timeout_ms / 2)).await;
            broker.stop().await;
            parts.board.left(Host::Broker);
            return std::future::pending().await;
        }
        served = broker.serve(&address) => match served {
            Ok(()) => "it stopped serving".to_owned(),
            Err(error) => error.to_string(),
        },
    };
    env.log(format_args!("the broker's process ends: {why}"));
    parts.board.restart(Host::Broker, why);
    std::future::pending().await
}

/// Whether the damage is a bit that the world has flipped.
fn is_rotten(board: &Board, error: &LogError) -> bool {
    matches!(error, LogError::Damaged { file, .. } if board.rotten().contains(file))
}

async fn wait_until(board: &Board, holds: impl Fn(&Board) -> bool) {
    let mut changed = board.watch();
    loop {
        changed.borrow_and_update();
        if holds(board) || changed.changed().await.is_err() {
            return;
        }
    }
}

/// Retention, at a moment of the board's choice.
async fn delete_when_asked(env: Env, broker: Broker, board: Board) {
    let mut changed = board.watch();
    loop {
        if let Some(deletion) = board.deletion().filter(|deletion| deletion.start.is_none()) {
            let deleted = match deletion.what {
                Deleted::Below(below) => broker.delete_records(&deletion.partition, below).await,
                Deleted::AllBut(keep) => broker.retain(&deletion.partition, keep).await,
            };
            match deleted {
                Ok(Some(start)) => board.deleted(start),
                Ok(None) => board.fail("durable", format!("{} is not there any more", deletion.partition)),
                // The broker ends; the next one is asked again.
                Err(error) => env.log(format_args!("could not delete: {error}")),
            }
            return;
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

async fn run_worker(env: Env, host: Host, parts: Parts) -> Ended {
    let transport = socket(&env, host, &parts);
    tasks(&env, host, &parts, transport).run().await;
    Ok(())
}

fn tasks(env: &Env, host: Host, parts: &Parts, transport: Arc<dyn Transport>) -> TaskHost {
    TaskHost {
        host,
        env: env.clone(),
        board: parts.board.clone(),
        transport,
        client: client_config(&parts.engine),
        worker: worker_settings(&parts.engine),
        deployments: parts.deployments.clone(),
    }
}

fn socket(env: &Env, host: Host, parts: &Parts) -> Arc<dyn Transport> {
    let timeout = Duration::from_millis(parts.engine.request_timeout_ms);
    let config = SocketConfig { connect_timeout: timeout, call_timeout: timeout, ..SocketConfig::default() };
    let socket = SocketTransport::new(env.clone(), format!("{}:{PORT}", Host::Broker), config);
    Observed::around(Arc::new(socket), parts.board.clone(), host)
}

fn client_config(engine: &EngineSettings) -> ClientConfig {
    ClientConfig {
        request_timeout: Duration::from_millis(engine.request_timeout_ms),
        retry_backoff: Duration::from_millis(10),
        retry_backoff_max: Duration::from_millis(200),
        retry_for: Duration::from_secs(600),
    }
}

fn worker_settings(engine: &EngineSettings) -> WorkerSettings {
    WorkerSettings {
        commit_interval: Duration::from_millis(engine.commit_interval_ms),
        fetch_bytes: engine.fetch_bytes as usize,
        fetch_wait: Duration::from_millis(engine.fetch_wait_ms),
        flush_bytes: engine.flush_bytes as usize,
        snapshot_every: engine.snapshot_every,
        txn_timeout: Duration::from_millis(engine.txn_timeout_ms),
        compression: compression(engine),
        restart_backoff: Duration::from_millis(50),
        restart_backoff_max: Duration::from_millis(500),
        ..WorkerSettings::default()
    }
}

fn compression(engine: &EngineSettings) -> Compression {
    if engine.lz4 { Compression::Lz4 } else { Compression::None }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}
