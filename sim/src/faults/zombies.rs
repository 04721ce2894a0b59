//! Several zombies at once: all workers but one stop, the one that is left takes all their tasks over, and then they all wake
//! up.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct Zombies;

impl Fault for Zombies {
    fn name(&self) -> &'static str {
        "zombies"
    }

    fn one_in(&self) -> Option<u64> {
        Some(3)
    }

    fn possible(&self, cluster: &Cluster) -> bool {
        !takers(cluster).is_empty()
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let host = *draw.pick(&takers(cluster));
        faults::spec(&Zombies, phase, at_ms, host, unit_ms.saturating_mul(2))
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        match cluster.task_hosts() {
            hosts if !hosts.contains(&spec.host) => Err("`host` must run tasks: it takes those of all others".into()),
            _ if !takers(cluster).contains(&spec.host) => {
                Err("there must be two workers or more besides `host`, to be zombies; for one there is pause-takeover"
                    .into())
            }
            _ => Ok(()),
        }
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.pause_all_but(id, spec.host, spec.for_ms);
    }
}

/// Who may be the one that is left: two workers or more are besides it. The broker's own process never sleeps here.
fn takers(cluster: &Cluster) -> Vec<Host> {
    let sleepers = |taker: Host| (1..=cluster.workers).filter(|number| Host::Worker(*number) != taker).count();
    cluster.task_hosts().into_iter().filter(|host| sleepers(*host) >= 2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Tier};

    #[test]
    fn there_are_two_workers_or_more_besides_whoever_is_left() {
        let mut cluster = Plan::expand("p", 1, Some(Tier::Race)).cluster;
        let workers = |numbers: &[u32]| numbers.iter().map(|number| Host::Worker(*number)).collect::<Vec<_>>();
        for (embedded, count, takers) in [
            (true, 0, vec![]),
            (true, 1, vec![]),
            (false, 2, vec![]),
            (true, 2, vec![Host::Broker]),
            (false, 3, workers(&[1, 2, 3])),
        ] {
            (cluster.embedded, cluster.workers) = (embedded, count);
            assert_eq!(Zombies.possible(&cluster), !takers.is_empty(), "{embedded} {count}");
            for host in cluster.task_hosts() {
                let spec = faults::spec(&Zombies, Phase::Live, 1, host, 1);
                let valid = Zombies.validate(&spec, &cluster);
                assert_eq!(valid.is_ok(), takers.contains(&host), "{embedded} {count} {host}: {valid:?}");
            }
            for seed in 0..20 {
                let mut draw = Draw::new(seed, "zombies");
                if Zombies.possible(&cluster) {
                    assert!(takers.contains(&Zombies.draw(&mut draw, &cluster, Phase::Live, 1, 1).host));
                }
            }
        }
    }
}
