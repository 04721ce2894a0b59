//! A zombie: a host stops for a while (a long collection, a suspended machine), another host takes its tasks over and
//! fences it, and then it wakes up and goes on as if nothing had been.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct PauseTakeover;

impl Fault for PauseTakeover {
    fn name(&self) -> &'static str {
        "pause-takeover"
    }

    fn possible(&self, cluster: &Cluster) -> bool {
        cluster.workers > 0 && cluster.task_hosts().len() > 1
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = Host::Worker(1 + draw.below(u64::from(cluster.workers)) as u32);
        let others: Vec<Host> = cluster.task_hosts().into_iter().filter(|other| *other != host).collect();
        FaultSpec {
            peer: Some(*draw.pick(&others)),
            ..faults::spec(&PauseTakeover, phase, at_ms, host, unit_ms.saturating_mul(2))
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        match spec.peer {
            _ if !matches!(spec.host, Host::Worker(_)) => Err("`host` must be a worker".into()),
            None => Err("`peer` is missing: the host that takes the tasks over".into()),
            Some(peer) if peer == spec.host => Err("`peer` must be another host than `host`".into()),
            Some(peer) if !cluster.task_hosts().contains(&peer) => Err(format!("{peer} runs no tasks")),
            Some(_) => Ok(()),
        }
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.pause(id, spec.host, spec.peer, spec.for_ms);
    }
}
