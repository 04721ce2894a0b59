//! Gate your own topology from `cargo test`: the topology, a generator of its events, and what must come out, or nothing.
//!
//! Each seed is a cluster of its own in simulated time: the topology runs live on the real engine while hosts crash, links
//! break, disks tear, and events come late, out of order and twice. Then its log is replayed, under faults again. The
//! replay must equal the live output, both must equal what you expect, and every other property of the gate must hold.
//!
//! ```ignore
#![doc = include_str!("../tests/revenue.rs")]
//! ```
//!
//! A violation panics with its story: which key and window differ, how, which records made the difference, what struck
//! whom, and the command that runs that one plan again. It has been run a second time and shrunk, and its plans, story and
//! page are in `target/segno/<test>/`. Plans that you commit in `corpus/` beside your `Cargo.toml` run before any seed.
//!
//! One gate a test: seeds run in processes of their own, each this test binary running that one test from its start. A second
//! gate in a test panics and says so.
//!
//! A crate that uses this needs two lines of configuration, since the simulator seeds tokio's choices; without them it does
//! not compile, and says so:
//!
//! ```toml
//! # .cargo/config.toml
//! [build]
//! rustflags = ["--cfg", "tokio_unstable"]
//! rustdocflags = ["--cfg", "tokio_unstable"]
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `gate.rs` | the builder, and what a run does |
//! | `topology.rs` | a user's topology as the simulator's `Workload` |
//! | `swarm.rs` | when, where and how nasty: everything of an event that is not its content |
//! | `answer.rs` | which records a window must hold, by plain code over the log |

mod answer;
mod gate;
mod process;
mod swarm;
mod topology;

pub use gate::{Gate, gate};
pub use topology::{Event, json_rows};

/// What a gate in a test needs.
pub mod prelude {
    pub use engine::record::Record;
    pub use engine::stream::aggregates::*;
    pub use engine::stream::{
        Aggregate, CodecError, DecodeError, PayloadCodec, Pipeline, PipelineError, RecordTime, Window,
    };
    pub use engine::types::{Millis, Timestamp};
    pub use serde_json::json;
    pub use sim::workload::{Draw, LogRecord, Shape};

    pub use crate::{Event, json_rows};
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_shows_a_test_that_runs() {
        let readme = include_str!("../../README.md");
        let shown = readme.split_once("```rust\n").and_then(|(_, rest)| rest.split_once("```\n")).expect("a block");
        assert_eq!(shown.0, include_str!("../tests/revenue.rs"));
    }
}
