//! Gate your own topology from `cargo test`: the topology, a generator of its events, and what must come out, or nothing.
//!
//! Each seed is a cluster of its own in simulated time: the topology runs live on the real engine while hosts crash, links
//! break, disks tear, and events come late, out of order and twice. Then its log is replayed, under faults again. The
//! replay must equal the live output, both must equal what you expect, and every other property of the gate must hold.
//!
//! ```
//! use segno::prelude::*;
//!
//! segno::gate(|shape| {
//!     Pipeline::named("revenue-per-minute")
//!         .source(shape.source("payments"), text::<i64>)
//!         .key_by_record()
//!         .tumbling(Millis(60_000), shape.allowed_lateness)
//!         .aggregate("revenue", Sum::of(|cents: &i64| *cents))
//!         .output(json_rows(|_window, sum: &i128| json!({ "cents": *sum as i64 })))
//! })
//! .events(|draw, _at| Event::new(*draw.pick(&["ada", "bob", "eve"]), draw.between(1, 900).to_string()))
//! .expected(|paid| json!({ "cents": paid.iter().map(|one| one.text().parse::<i64>().unwrap()).sum::<i64>() }))
//! .run();
//! ```
//!
//! In a crate that uses this, these lines are the body of a `#[test]` function.
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
pub use topology::{Event, json_rows, text};

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

    pub use crate::{Event, json_rows, text};
}

#[cfg(test)]
mod tests {
    fn between<'a>(text: &'a str, from: &str, until: &str) -> &'a str {
        text.split_once(from).and_then(|(_, rest)| rest.split_once(until)).expect("a block").0
    }

    #[test]
    fn the_readme_shows_the_doctest_and_it_is_short() {
        let shown = between(include_str!("../../README.md"), "```rust\n", "```\n");
        let run = between(include_str!("lib.rs"), "//! ```\n", "//! ```\n");
        let run = run.replace("//! ", "").replace("//!", "");
        assert_eq!(shown, run);
        assert!(shown.lines().count() < 15, "{} lines", shown.lines().count());
    }
}
