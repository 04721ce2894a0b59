//! `segno mutants`: the bugs that this build has in it, for a process to choose.

use std::fmt::Write as _;

use engine::mutant::ALL;

use crate::exit::Exit;
use crate::output;

/// Lists the bugs that `gate --mutant NAME` and `repro --mutant NAME` can run with.
///
/// Each is one wrong decision of the engine; the gate is measured by how soon it finds them. The harmless ones change when
/// things happen and never what comes out: the gate must not report them. Pairs of decisions, and decisions behind which
/// another stands guard, are not counted.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  segno mutants
  segno gate --mutant ack-before-sync --count 20
  scripts/mutants --bases 1 ack-before-sync";

#[derive(serde::Serialize)]
struct Document {
    schema: &'static str,
    mutants: Vec<Line>,
}

#[derive(serde::Serialize)]
struct Line {
    name: &'static str,
    area: &'static str,
    about: &'static str,
    harmless: bool,
    /// Why it is not counted among the bugs.
    uncounted: Option<&'static str>,
}

pub fn run(Args { json }: Args) -> anyhow::Result<Exit> {
    if json {
        let line = |it: &engine::mutant::Mutant| Line {
            name: it.name,
            area: it.area,
            about: it.about,
            harmless: it.harmless,
            uncounted: it.uncounted,
        };
        output::json(&Document { schema: "segno.mutants/1", mutants: ALL.iter().map(line).collect() })?;
        return Ok(Exit::Held);
    }
    let (name, area) = (width(|it| it.name), width(|it| it.area));
    let mut text = String::new();
    for mutant in ALL {
        let why = mutant.uncounted.map(|why| format!(" (not counted; {why})")).unwrap_or_default();
        writeln!(text, "{:area$}  {:name$}  {}{why}", mutant.area, mutant.name, mutant.about)?;
    }
    text.push_str("\nnext: segno gate --mutant NAME\n");
    output::text(&text)?;
    Ok(Exit::Held)
}

fn width(of: impl Fn(&'static engine::mutant::Mutant) -> &'static str) -> usize {
    ALL.iter().map(|mutant| of(mutant).len()).max().unwrap_or(0)
}
