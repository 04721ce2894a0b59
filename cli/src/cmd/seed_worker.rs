//! `segno seed-worker`: a process of a campaign. Reads a job a line, answers with a report a line.

use crate::exit::Exit;
use crate::mutants::Choice;
use crate::{interrupt, pipelines};

/// Answers a campaign's jobs on stdin; not for people.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    mutant: Choice,
}

pub fn run(Args { mutant }: Args) -> anyhow::Result<Exit> {
    interrupt::ignore();
    mutant.apply()?;
    sim::campaign::worker_main(&pipelines::all())?;
    Ok(Exit::Held)
}
