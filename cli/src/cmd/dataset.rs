//! `segno dataset`: the benchmark's records in a file, for programs that are compared on the same ones. Not for people:
//! `scripts/compare-peers` calls it.
//!
//! Out: 32 bytes a record in arrival order, little endian: `event_id u64, ts_ms i64, user_id u32, product_id u32, type u8`
//! and 7 zero bytes. Their SHA-256 is the dataset's published checksum.

#![expect(
    clippy::disallowed_methods,
    reason = "the command is above the engine: it writes a file that it was asked for"
)]

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use workloads::clickstream::{Clickstream, Settings};

use crate::exit::{Exit, Usage};
use crate::units;

/// Writes the benchmark's generated records to a file
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many events to generate, at the density of 20M a day
    #[arg(long, value_name = "N", value_parser = units::count, default_value = "20M")]
    events: u64,

    /// The file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Over a whole day, however few
    #[arg(long)]
    over_a_day: bool,
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    if args.events == 0 {
        return Err(Usage("--events 0 leaves nothing to write".to_owned()).into());
    }
    let settings = if args.over_a_day { Settings::over_a_day } else { Settings::at_density }(args.events);
    let writing = || format!("failed to write {}", args.out.display());
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&args.out).with_context(writing)?);
    for record in Clickstream::new(settings).iter() {
        file.write_all(&record.packed()).with_context(writing)?;
    }
    file.flush().with_context(writing)?;
    Ok(Exit::Held)
}
