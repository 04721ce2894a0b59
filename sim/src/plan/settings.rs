//! The engine's settings of a plan.
//!
//! In: a stream of draws and the cluster that they are for. Out: settings so small that what is rare in production happens
//! often in a short run. Always: what is drawn is within reach of the cluster's disk, so that a run can end.

use serde::{Deserialize, Serialize};

use super::{Cluster, Tier};
use crate::draw::Draw;

/// The engine's own settings, small enough that rolls, retries and several fetches happen in a short run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    pub commit_interval_ms: u64,
    pub segment_bytes: u64,
    pub index_interval_bytes: u32,
    pub recovery_point_every_bytes: u64,
    pub fetch_bytes: u32,
    pub fetch_wait_ms: u64,
    pub request_timeout_ms: u64,
    pub txn_timeout_ms: u64,
    /// Outputs beyond this go into the open transaction before its commit is due.
    pub flush_bytes: u64,
    /// A task writes its whole state about every so many commits.
    #[serde(default = "seldom")]
    pub snapshot_every: u32,
    /// A send of the source's producer that takes longer is left in doubt, and the next goes ahead.
    pub patience_ms: u64,
    /// Events that the source's producer puts into one batch at most.
    pub batch_events: u32,
    pub lz4: bool,
    /// The broker rewrites a log of its own when it has grown by so much.
    #[serde(default = "never")]
    pub internal_log_bytes: u64,
}

impl EngineSettings {
    /// Settings that nobody would wonder at: nothing is so small that something happens often for it.
    pub fn plain() -> EngineSettings {
        EngineSettings {
            commit_interval_ms: 100,
            segment_bytes: 1 << 20,
            index_interval_bytes: 4_096,
            recovery_point_every_bytes: 64 << 20,
            fetch_bytes: 65_536,
            fetch_wait_ms: 100,
            request_timeout_ms: 800,
            txn_timeout_ms: 4_000,
            flush_bytes: 1 << 20,
            snapshot_every: seldom(),
            patience_ms: 2_000,
            batch_events: 1,
            lz4: false,
            internal_log_bytes: never(),
        }
    }

    pub(super) fn draw(draw: &mut Draw, tier: Tier) -> EngineSettings {
        let commits: &[u64] = match tier {
            Tier::Race => &[20, 50, 100, 200],
            Tier::Soak => &[100, 200, 500],
        };
        EngineSettings {
            commit_interval_ms: *draw.pick(commits),
            segment_bytes: *draw.pick(&[1_024, 4_096, 16_384, 1 << 20]),
            index_interval_bytes: *draw.pick(&[64, 512, 4_096]),
            recovery_point_every_bytes: *draw.pick(&[512, 8_192, 64 << 20]),
            fetch_bytes: *draw.pick(&[256, 2_048, 65_536]),
            fetch_wait_ms: *draw.pick(&[50, 100, 250]),
            request_timeout_ms: *draw.pick(&[400, 800]),
            txn_timeout_ms: *draw.pick(&[2_000, 4_000]),
            flush_bytes: *draw.pick(&[1, 1_024, 1 << 20]),
            patience_ms: *draw.pick(&[100, 300, 2_000]),
            batch_events: *draw.pick(&[1, 4, 16, 64]),
            lz4: draw.chance(1, 2),
            snapshot_every: *draw.pick(&[1, 2, 3, 5, 20]),
            internal_log_bytes: *draw.pick(&[1, 1_024, 8_192, 16 << 20]),
        }
    }

    /// On the slowest disks a broker that rolls a segment for every few records syncs five times for each, and with many
    /// tasks their transactions run out of time one after the other: the plan would ask more than any engine could do, and
    /// come to no end.
    pub(super) fn within_reach_of(self, cluster: &Cluster) -> EngineSettings {
        if cluster.sync_max_ms <= 20 {
            return self;
        }
        EngineSettings {
            segment_bytes: self.segment_bytes.max(4_096),
            txn_timeout_ms: self.txn_timeout_ms.max(4_000),
            ..self
        }
    }
}

/// What plans mean that were written before there was a choice.
fn seldom() -> u32 {
    20
}

/// As [`seldom`]: more than a run writes.
fn never() -> u64 {
    16 << 20
}
