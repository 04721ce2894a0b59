//! `segno completions`: what a shell needs to complete the command line.

use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory};

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
    clap_complete::generate(args.shell, &mut shown(), "segno", &mut script);
    output::text(&String::from_utf8(script)?)?;
    Ok(Exit::Held)
}

/// The command as its help shows it, with the names that its pipelines and properties have. Generators take hidden commands
/// too, which only this program itself starts.
fn shown() -> Command {
    let whole = crate::Cli::command();
    let pipelines: Vec<&'static str> = crate::pipelines::all().iter().map(|workload| workload.name()).collect();
    let mut shown = Command::new("segno").version(env!("CARGO_PKG_VERSION"));
    for sub in whole.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let takes = |id: &str| sub.get_arguments().any(|option| option.get_id() == id);
        let (pipeline, property, gate) = (takes("pipeline"), takes("property"), sub.get_name() == "gate");
        let mut sub = sub.clone();
        if pipeline {
            let names: Vec<&'static str> = pipelines.iter().copied().chain(gate.then_some("all")).collect();
            sub = sub.mut_arg("pipeline", |option| option.value_parser(PossibleValuesParser::new(names)));
        }
        if property {
            let names: Vec<&'static str> = super::explain::names().collect();
            sub = sub.mut_arg("property", |option| option.value_parser(PossibleValuesParser::new(names)));
        }
        shown = shown.subcommand(sub);
    }
    shown
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn scripts_know_pipelines_and_properties_and_no_hidden_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut shown(), "segno", &mut script);
            let script = String::from_utf8(script).expect("text");
            for hidden in ["seed-worker", "bare-loop", "bench-phase", "dataset"] {
                assert!(!script.contains(hidden), "{shell}: {hidden}");
            }
            assert!(script.contains("clickstream-sessions"), "{shell}");
            // The generator for fish completes no values but those of options.
            assert_eq!(script.contains("replay-equals-live"), shell != Shell::Fish, "{shell}");
        }
    }
}
