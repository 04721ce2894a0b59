//! A sync fails, and the bytes that it was for are gone, from the page cache too: to sync again and be told "done" would mean
//! nothing. The process must end; a new one finds a log that ends earlier, or zeros.

use crate::draw::Draw;
use crate::faults::{self, Fault};
use crate::plan::{Cluster, FaultSpec, Host, Phase};
use crate::world::World;

pub struct LostPages;

impl Fault for LostPages {
    fn name(&self) -> &'static str {
        "lost-pages"
    }

    fn one_in(&self) -> Option<u64> {
        Some(8)
    }

    fn draw(&self, draw: &mut Draw, _cluster: &Cluster, phase: Phase, at_ms: u64, unit_ms: u64) -> FaultSpec {
        let nth = Some(draw.between(1, 12) as u32);
        FaultSpec { nth, ..faults::spec(&LostPages, phase, at_ms, Host::Broker, unit_ms) }
    }

    fn validate(&self, spec: &FaultSpec, _cluster: &Cluster) -> Result<(), String> {
        faults::must_have_a_disk(spec)
    }

    fn inject(&self, world: &mut World<'_>, id: usize, spec: &FaultSpec) {
        world.lose_pages(id, spec.host, spec.nth.unwrap_or(1));
    }
}
