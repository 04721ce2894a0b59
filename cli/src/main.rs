//! The `segno` command.
//!
//! Start here: [`cmd`] lists the subcommands, a file each; [`exit`] holds every exit code; [`units`] reads what people
//! write (`30m`, `64MiB`, `5M`). JSON and human text go to stdout through [`output`], progress to stderr through
//! [`progress`].

mod artifacts;
mod cmd;
mod exit;
mod interrupt;
mod mutants;
mod output;
mod pipelines;
mod progress;
mod run;
mod runs;
mod settings;
mod units;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use exit::Exit;

/// Proves that a pipeline's replay equals its live output, and measures how fast it replays.
#[derive(Debug, Parser)]
#[command(name = "segno", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: cmd::Command,
}

const EXAMPLES: &str = "\
Examples:
  segno gate                                    150 seeds over all pipelines, for at most 55 s
  segno gate --pipeline clickstream-sessions --count 1000 --time-budget 10m
  segno repro --pipeline clickstream-sessions --seed 7312
  segno run --pipeline clickstream-sessions --input access.log --format combined
  segno bench --events 5M

Settings: flags win over SEGNO_* variables (SEGNO_COUNT for --count), these over segno.toml,
and that over defaults; `segno config` prints what holds and where it comes from.

Exit codes:
  0    every property held
  1    a property was violated
  2    wrong use or configuration
  3    a performance gate failed
  4    nothing was selected to run
  5    inconclusive: the budget ended first, or the default gate left something untried
  6    nondeterminism
  70   a bug in Segno
  130  interrupted; the partial report is written";

fn main() -> ExitCode {
    let cli = match settings() {
        Ok(cli) => cli,
        Err(error) => {
            output::error(&error.into());
            return Exit::Usage.into();
        }
    };
    let exit = match catch_unwind(AssertUnwindSafe(|| cli.command.run())) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            output::error(&error);
            exit::of_error(&error)
        }
        Err(_) => {
            output::note("this is a bug in Segno; the lines above say where");
            Exit::Bug
        }
    };
    exit.into()
}

/// The command line, with variables and `segno.toml` for what it leaves open.
fn settings() -> Result<Cli, exit::Usage> {
    let sources = settings::Sources::of_process()?;
    // A process that this program has started itself has the same variables, and they have been spoken of.
    let inner = std::env::args_os().nth(1).is_some_and(|name| name == "seed-worker" || name == "bench-phase");
    if !inner {
        settings::strange_variables(&Cli::command(), &sources).iter().for_each(output::note);
    }
    let matches = settings::parse(Cli::command(), std::env::args_os().collect(), &sources)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help_of(path: &[&str]) -> String {
        let mut command = Cli::command();
        command.build();
        let mut at = &mut command;
        for name in path {
            at = at.find_subcommand_mut(name).expect("a subcommand");
        }
        // A fixed width: the terminal of whoever runs the tests must not matter.
        at.clone().term_width(100).render_long_help().to_string()
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_names_every_command_and_shows_examples() {
        insta::assert_snapshot!("help", help_of(&[]));
    }

    #[test]
    fn help_of_gate() {
        insta::assert_snapshot!("help-gate", help_of(&["gate"]));
    }

    #[test]
    fn help_of_bench() {
        insta::assert_snapshot!("help-bench", help_of(&["bench"]));
    }

    #[test]
    fn help_of_repro() {
        insta::assert_snapshot!("help-repro", help_of(&["repro"]));
    }
}
