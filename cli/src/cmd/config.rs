//! `segno config`: every setting as it stands, and where it comes from.

use std::collections::BTreeMap;

use clap::CommandFactory;
use serde::Serialize;

use super::gate;
use crate::exit::Exit;
use crate::output;
use crate::settings::{self, COMMANDS, Origin, Setting, Settings, Sources};

/// Prints every setting as it stands, and where it comes from.
///
/// Flags win over SEGNO_* variables, these over segno.toml (the profile over the command's own table), and that over
/// defaults. segno.toml is the nearest from this folder upwards, or the file that SEGNO_CONFIG names.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// With this profile of segno.toml
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  segno config
  segno config --profile nightly
  SEGNO_COUNT=500 segno config --json

A segno.toml:
  [gate]
  jobs = 2

  [profile.pr]
  count = 600
  time-budget = \"5m\"

  [profile.nightly]
  count = 20_000
  time-budget = \"2h\"";

/// `segno.config/1`
#[derive(Debug, Serialize)]
struct Document {
    schema: &'static str,
    file: Option<String>,
    profile: Option<String>,
    settings: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    command: &'static str,
    option: String,
    /// Absent where nothing is set and nothing is the default.
    value: Option<String>,
    from: String,
    variable: String,
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let sources = Sources::of_process()?;
    let document = document(&sources, args.profile.or_else(|| sources.variables.get("SEGNO_PROFILE").cloned()))?;
    if args.json {
        output::json(&document)?;
    } else {
        output::text(&text(&document))?;
    }
    Ok(Exit::Held)
}

fn document(sources: &Sources, profile: Option<String>) -> anyhow::Result<Document> {
    let command = crate::Cli::command();
    let settings = Settings::resolve(&command, sources, profile.as_deref())?;
    let mut lines = Vec::new();
    for name in COMMANDS {
        let of_this: BTreeMap<String, Setting> = settings
            .0
            .iter()
            .filter(|((of, _), _)| *of == name)
            .map(|((_, id), setting)| (id.clone(), setting.clone()))
            .collect();
        let weaker: BTreeMap<String, String> =
            settings::contradicted(settings::sub(&command, name), &of_this, &|_| false).into_iter().collect();
        let holds = |id: &str| of_this.contains_key(id) && !weaker.contains_key(id);
        for option in settings::options(&command, name) {
            let set = settings.0.get(&(name, option.get_id().to_string()));
            let default = option.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
            if let (Some(set), Some(winner)) = (set, weaker.get(option.get_id().as_str())) {
                let winner = winner.replace('_', "-");
                lines.push(Line {
                    command: name,
                    option: option.get_long().unwrap_or_default().to_owned(),
                    value: None,
                    from: format!("{} of {}, overridden by {winner}", set.value, set.origin),
                    variable: settings::variable(option),
                });
                continue;
            }
            let chosen = holds("seeds") || holds("count");
            let of_default = !chosen || !["count", "time_budget"].contains(&option.get_id().as_str());
            let implied = (name == "gate" && of_default).then(|| gate::implied(option.get_id().as_str())).flatten();
            lines.push(Line {
                command: name,
                option: option.get_long().unwrap_or_default().to_owned(),
                value: set.map(|set| set.value.clone()).or(default).or_else(|| implied.clone()),
                from: match (set, option.get_default_values().is_empty() && implied.is_none()) {
                    (Some(set), _) => set.origin.to_string(),
                    (None, true) => "not set".to_owned(),
                    (None, false) => Origin::Default.to_string(),
                },
                variable: settings::variable(option),
            });
        }
    }
    let file = sources.file.as_ref().map(|(path, _)| path.display().to_string());
    Ok(Document { schema: "segno.config/1", file, profile, settings: lines })
}

fn text(document: &Document) -> String {
    let mut text = match &document.file {
        Some(file) => format!("file     {file}\n"),
        None => format!("file     no {} here or above\n", settings::FILE),
    };
    if let Some(profile) = &document.profile {
        text.push_str(&format!("profile  {profile}\n"));
    }
    let width = |of: fn(&Line) -> &str| document.settings.iter().map(|line| of(line).len()).max().unwrap_or(0);
    let (option, value) = (width(|line| &line.option), width(|line| line.value.as_deref().unwrap_or("-")));
    let mut command = "";
    for line in &document.settings {
        if line.command != command {
            command = line.command;
            text.push_str(&format!("\nsegno {command}\n"));
        }
        let shown = line.value.as_deref().unwrap_or("-");
        text.push_str(&format!("  {:<option$}  {shown:<value$}  {}\n", line.option, line.from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_listed_with_where_it_comes_from() {
        let toml = "[gate]\njobs = 3\n\n[profile.nightly]\ncount = 20_000\n";
        let sources = Sources {
            file: Some((settings::FILE.into(), toml.into())),
            variables: [("SEGNO_TIME_BUDGET".to_owned(), "2h".to_owned())].into(),
        };
        let document = document(&sources, Some("nightly".into())).expect("settings");
        let gate: Vec<&Line> = document.settings.iter().filter(|line| line.command == "gate").collect();
        let of = |option: &str| {
            let line = gate.iter().find(|line| line.option == option).unwrap_or_else(|| panic!("no {option}"));
            (line.value.as_deref(), line.from.as_str())
        };
        assert_eq!(of("count"), (Some("20000"), "segno.toml:5, profile nightly"));
        assert_eq!(of("time-budget"), (Some("2h"), "SEGNO_TIME_BUDGET"));
        assert_eq!(of("jobs"), (Some("3"), "segno.toml:2"));
        assert_eq!(of("pipeline"), (Some("all"), "default"));
        let overridden = Sources {
            file: Some((settings::FILE.into(), "[gate]\nseeds = \"0..3\"\n".into())),
            variables: [("SEGNO_COUNT".to_owned(), "5".to_owned())].into(),
        };
        let lines = super::document(&overridden, None).expect("settings").settings;
        let seeds = lines.iter().find(|line| line.option == "seeds").expect("a line");
        let said = (seeds.value.as_deref(), seeds.from.as_str());
        assert_eq!(said, (None, "0..3 of segno.toml:2, overridden by count"));
        let text = text(&document);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.lines().any(|line| words(line) == "count 20000 segno.toml:5, profile nightly"), "{text}");
    }
}
