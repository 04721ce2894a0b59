//! `segno man`: the manual pages, one of the whole and one of each command.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: it writes files")]

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Command, CommandFactory};

use crate::exit::Exit;
use crate::output;

/// Writes the manual pages.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The folder to write them into
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  segno man --out ~/.local/share/man/man1
  segno man --out man && man -l man/segno-gate.1";

pub fn run(args: Args) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let mut command = crate::Cli::command();
    command.build();
    let mut pages = vec![page(&args.out, "segno", &command)?];
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        pages.push(page(&args.out, &format!("segno-{}", sub.get_name()), sub)?);
    }
    output::text(&format!("{} pages in {}\n", pages.len(), args.out.display()))?;
    Ok(Exit::Held)
}

fn page(dir: &Path, name: &str, command: &Command) -> anyhow::Result<PathBuf> {
    let path = dir.join(format!("{name}.1"));
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone().name(name.to_owned().leak() as &str)).render(&mut text)?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
