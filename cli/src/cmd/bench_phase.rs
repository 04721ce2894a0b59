//! `segno bench-phase`: one timed phase of a benchmark in a process of its own. Not for people.

use benches::phase::{self, Phase};

use crate::exit::Exit;
use crate::{output, pipelines};

/// Runs one phase and answers with its outcome as JSON.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The phase, as JSON
    phase: String,
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let phase: Phase = serde_json::from_str(&args.phase)?;
    benches::process::end_with_parent();
    let outcome = phase::run(&phase, |name| Ok(pipelines::one(name)?), output::line)?;
    output::json(&outcome)?;
    Ok(Exit::Held)
}
