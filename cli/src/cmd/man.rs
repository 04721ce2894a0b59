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
    let text = rendered(name, command)?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn rendered(name: &str, command: &Command) -> std::io::Result<Vec<u8>> {
    let mut command = command.clone().name(name.to_owned().leak() as &str);
    if !command.has_subcommands() {
        let usage = synopsis(&command);
        command = command.override_usage(usage);
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(text)
}

/// How the command is called, every option with its value: left to itself the generator leaves the values out.
fn synopsis(command: &Command) -> String {
    let mut words = vec![command.get_bin_name().unwrap_or(command.get_name()).to_owned()];
    let shown = || command.get_arguments().filter(|argument| !argument.is_hide_set());
    let options = || shown().filter(|argument| !argument.is_positional());
    words.extend(options().filter(|option| option.is_required_set()).map(ToString::to_string));
    words.extend(options().filter(|option| !option.is_required_set()).map(|option| format!("[{option}]")));
    words.extend(shown().filter(|argument| argument.is_positional()).map(ToString::to_string));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synopsis_has_the_values_of_options_and_the_page_shows_it() {
        let mut command = crate::Cli::command();
        command.build();
        let of = |name: &str| command.find_subcommand(name).expect("a command");
        let said = synopsis(of("gate"));
        assert!(said.starts_with("segno gate [--pipeline <NAME>] [--seeds <A..B>] [--count <N>] "), "{said}");
        assert!(said.contains(" [--merge <DIR>...] ") && said.contains(" [--json]"), "{said}");
        assert_eq!(synopsis(of("completions")), "segno completions [--help] <SHELL>");
        assert!(synopsis(of("repro")).ends_with(" [PLAN]"), "{}", synopsis(of("repro")));
        assert!(synopsis(of("run")).starts_with("segno run --pipeline <NAME> --input <FILE> [--format <FORMAT>] "));
        let page = String::from_utf8(rendered("segno-gate", of("gate")).expect("a page")).expect("text");
        let synopsis = page.lines().skip_while(|line| !line.contains("SYNOPSIS")).nth(1).expect("a line");
        assert!(synopsis.replace('\\', "").contains("segno gatefR [--pipeline <NAME>] "), "{synopsis}");
    }
}
