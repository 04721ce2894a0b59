//! `segno completions`: what a shell needs to complete the command line.

use clap::CommandFactory;

use crate::exit::Exit;
use crate::output;

/// Prints a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

const EXAMPLES: &str = "\
Examples:
  segno completions bash > ~/.local/share/bash-completion/completions/segno
  segno completions zsh > ~/.zfunc/_segno
  segno completions fish > ~/.config/fish/completions/segno.fish";

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "segno", &mut script);
    output::text(&String::from_utf8(script)?)?;
    Ok(Exit::Held)
}
