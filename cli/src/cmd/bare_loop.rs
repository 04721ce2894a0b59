//! `segno bare-loop`: the floor that `scripts/compare-peers` shows engines against. Not for people.

use benches::sums::Summed;
use benches::{bare, machine};
use engine::env::real::threads;
use serde_json::json;

use crate::exit::{Exit, Usage};
use crate::{output, units};

/// Runs a computation as a loop over records in memory and answers with JSON.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// clickstream-sessions or clickstream-minutes
    #[arg(long, value_name = "NAME")]
    pipeline: String,

    /// How many events to generate, at the density of 20M a day
    #[arg(long, value_name = "N", value_parser = units::count, default_value = "20M")]
    events: u64,
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let none = || Usage(format!("there is no bare loop for `{}`", args.pipeline));
    let computation = Summed::of(&args.pipeline).ok_or_else(none)?;
    let (seconds, sums) = bare::run(computation, args.events.max(1), threads::cores())?.ok_or_else(none)?;
    output::json(&json!({ "seconds": seconds, "sums": sums, "peak_rss_bytes": machine::peak_rss_bytes() }))?;
    Ok(Exit::Held)
}
