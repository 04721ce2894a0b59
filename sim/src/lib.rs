//! The simulator: hosts on a virtual clock with a simulated disk and a frame-aware network, the plan that a seed expands to, the
//! faults, the checks and the campaign.

#[cfg(not(tokio_unstable))]
compile_error!(
    "segno-sim needs tokio's unstable configuration: a panic in a host's task ends the run through it. Add to .cargo/config.toml:\n\
     [build]\nrustflags = [\"--cfg\", \"tokio_unstable\"]\nrustdocflags = [\"--cfg\", \"tokio_unstable\"]"
);

pub mod campaign;
pub mod corpus;
pub mod draw;
pub mod faults;
pub mod names;
pub mod phases;
pub mod plan;
pub mod seed;
pub mod shrink;
pub mod states;
mod story;
pub mod trace;
pub mod workload;
pub mod world;

pub mod checks;
pub mod evidence;

pub mod clock;
pub mod conformance;
pub mod disk;
pub mod effects;
pub mod entropy;
pub mod env;
pub mod gate;
pub mod hosts;
pub mod net;
pub mod points;
