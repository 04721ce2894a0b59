//! A second fault inside the recovery from the first: the broker is killed, and as it dies a bit flips in a closed
//! segment of its own logs, if there is one. It must not start on what is damaged; the bit is put right again when the fault is
//! over. Or it is a host with tasks that is killed, and the bit is of a changelog: who restores must be refused.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::{CrashKind, Rotten, World};

pub struct BitRotInRecovery;

impl Fault for BitRotInRecovery {
    fn name(&self) -> &'static str {
        "bit-rot-in-recovery"
    }

    fn one_in(&self) -> Option<u64> {
        Some(2)
    }

    fn draw(&self, draw: &mut Draw, cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let nth = draw.between(1, 1_000) as u32;
        let power_cut = draw.chance(1, 2);
        // No draw of their own: what follows in this stream stays where it is.
        let of_tasks = nth.is_multiple_of(2);
        let hosts = cluster.task_hosts();
        FaultSpec {
            nth: Some(nth),
            power_cut,
            amount: of_tasks.then_some(faults::OF_TASKS),
            peer: of_tasks.then(|| hosts[nth as usize / 2 % hosts.len()]),
            ..faults::spec(&BitRotInRecovery, phase, at_ms, Host::Broker, unit_ms.saturating_mul(2))
        }
    }

    fn validate(&self, spec: &FaultSpec, cluster: &Cluster) -> Result<(), String> {
        faults::must_have_a_disk(spec)?;
        faults::may_rot(spec)?;
        match (spec.amount, spec.peer) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err("`peer` is killed where `amount` is 1: a bit of what tasks wrote flips".into()),
            (Some(_), Some(peer)) if cluster.task_hosts().contains(&peer) => Ok(()),
            (Some(_), Some(peer)) => Err(format!("`peer` is {peer}, which runs no tasks")),
            (Some(_), None) => Err("`peer` is missing: the host whose tasks restore".into()),
        }
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        let down_ms = (spec.for_ms / 4).max(1);
        let (of, dies) = match spec.peer {
            Some(peer) if spec.amount == Some(faults::OF_TASKS) => (Rotten::Changelogs, peer),
            _ => (Rotten::BrokersOwn, spec.host),
        };
        if world.rot(id, spec.host, of, u64::from(spec.nth.unwrap_or(1)), spec.for_ms) {
            world.crash_uncounted(dies, CrashKind::of(spec.power_cut), down_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::bit_rot::BitRot;
    use crate::plan::{Plan, Tier};

    #[test]
    fn rot_is_now_of_what_tasks_wrote_and_now_of_the_logs_that_it_always_struck() {
        let mut cluster = Plan::expand("p", 1, Some(Tier::Race)).cluster;
        (cluster.embedded, cluster.workers) = (false, 2);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..60 {
            for kind in [&BitRot as &dyn Fault, &BitRotInRecovery] {
                let spec = kind.draw(&mut Draw::new(seed, "rot"), &cluster, Phase::Live, 1, 100);
                kind.validate(&spec, &cluster).expect("what is drawn is valid");
                seen.insert((kind.name(), spec.amount, spec.peer));
            }
        }
        let tasks = Some(faults::OF_TASKS);
        let expected = [
            ("bit-rot", None, None),
            ("bit-rot", tasks, None),
            ("bit-rot-in-recovery", None, None),
            ("bit-rot-in-recovery", tasks, Some(Host::Worker(1))),
            ("bit-rot-in-recovery", tasks, Some(Host::Worker(2))),
        ];
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
        let spec = |amount, peer| FaultSpec {
            amount,
            peer,
            ..faults::spec(&BitRotInRecovery, Phase::Live, 1, Host::Broker, 100)
        };
        let said = |amount, peer| BitRotInRecovery.validate(&spec(amount, peer), &cluster).unwrap_err();
        assert!(said(Some(2), None).contains("`amount` is 2"));
        assert!(said(tasks, None).contains("`peer` is missing"));
        assert!(said(tasks, Some(Host::Broker)).contains("runs no tasks"));
    }
}
