//! Where a setting comes from: flags over `SEGNO_*` over `segno.toml` (a profile over the command's own table) over defaults.
//!
//! In: the command line's definition, its arguments, the environment, the nearest `segno.toml`. Out: matches as if every
//! setting had been a default of its flag, so that clap's own precedence holds; and for `segno config` where each is from.
//!
//! ```toml
//! [gate]                 # also [run] and [bench]
//! jobs = 2
//!
//! [profile.nightly]      # segno gate --profile nightly
//! count = 20_000
//! time-budget = "2h"
//! ```
//!
//! Invariant: a setting that contradicts a stronger one (`--seeds` and a configured `count`) gives way and is no error. Two that
//! contradict each other in one table, or as variables, are an error; so is one that cannot be understood, and the error names
//! file, line and column, or the variable.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::exit::Usage;

/// The commands that have settings.
pub const COMMANDS: [&str; 3] = ["gate", "run", "bench"];
/// The name of the file.
pub const FILE: &str = "segno.toml";
/// What speaks of one run only, and is no setting.
const PER_RUN: [&str; 9] = ["out", "resume", "merge", "profile", "input", "help", "version", "map", "json"];
/// Variables that are no settings of a command.
const OTHER_VARIABLES: [&str; 5] = ["SEGNO_CONFIG", "SEGNO_PROFILE", "SEGNO_PLAN", "SEGNO_WORKER", "SEGNO_SEED_BASE"];

/// Where a value stands, the weakest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    Table { file: PathBuf, line: usize, column: usize },
    Profile { file: PathBuf, line: usize, column: usize, profile: String },
    Variable(String),
    Flag,
}

impl Origin {
    fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::Table { .. } => 1,
            Origin::Profile { .. } => 2,
            Origin::Variable(_) => 3,
            Origin::Flag => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Table { file, line, .. } => write!(f, "{}:{line}", file.display()),
            Origin::Profile { file, line, profile, .. } => write!(f, "{}:{line}, profile {profile}", file.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag => f.write_str("flag"),
        }
    }
}

/// A configured value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub value: String,
    pub origin: Origin,
}

/// What is configured: (command, option) → value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(pub BTreeMap<(&'static str, String), Setting>);

/// Whatever the settings are made of besides the command line.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `segno.toml`: its path and text.
    pub file: Option<(PathBuf, String)>,
    pub variables: BTreeMap<String, String>,
}

impl Sources {
    /// The environment, and the file that `SEGNO_CONFIG` names or the nearest `segno.toml` from here upwards.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn of_process() -> Result<Sources, Usage> {
        let text = |text: OsString| text.into_string().ok();
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .filter(|(name, _)| name.starts_with("SEGNO_"))
            .collect();
        let path = match variables.get("SEGNO_CONFIG") {
            Some(named) => Some(PathBuf::from(named)),
            None => {
                let here = std::env::current_dir().unwrap_or_default();
                here.ancestors().map(|dir| dir.join(FILE)).find(|path| path.exists())
            }
        };
        let file = match path {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    let named = if variables.contains_key("SEGNO_CONFIG") { "SEGNO_CONFIG: " } else { "" };
                    Usage(format!("{named}cannot read {}: {error}", path.display()))
                })?;
                Some((shorten(&path), text))
            }
        };
        Ok(Sources { file, variables })
    }
}

/// As a person would name it from here.
fn shorten(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}

/// Parses the arguments with all settings applied.
///
/// # Errors
/// [`Usage`] when the settings are wrong; what is wrong with the arguments clap says itself, and ends the process.
pub fn parse(command: Command, arguments: Vec<OsString>, sources: &Sources) -> Result<ArgMatches, Usage> {
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let name = words.iter().find(|word| !word.starts_with('-')).copied();
    let Some(name) = COMMANDS.into_iter().find(|known| Some(*known) == name) else {
        return Ok(command.get_matches_from(arguments));
    };
    let settings = Settings::resolve(&command, sources, profile(&words, sources).as_deref())?;
    let mut given: BTreeMap<String, Setting> =
        settings.0.into_iter().filter(|((of, _), _)| *of == name).map(|((_, id), setting)| (id, setting)).collect();
    // Which flags are there is known only when the settings are, and a setting gives way to a flag that contradicts it.
    let flags = match with(&command, name, &given).try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => error.exit(),
    };
    let Some((_, matched)) = flags.subcommand() else { return Ok(flags) };
    let flagged = |id: &str| matched.value_source(id) == Some(ValueSource::CommandLine);
    let weaker = contradicted(sub(&command, name), &given, &flagged);
    if weaker.is_empty() {
        return Ok(flags);
    }
    weaker.iter().for_each(|(id, _)| drop(given.remove(id)));
    Ok(with(&command, name, &given).get_matches_from(arguments))
}

/// `--profile NAME` or `--profile=NAME`, or the variable.
pub fn profile(words: &[&str], sources: &Sources) -> Option<String> {
    let flag = words.iter().enumerate().find_map(|(index, word)| match word.strip_prefix("--profile") {
        Some("") => words.get(index + 1).copied(),
        Some(rest) => rest.strip_prefix('='),
        None => None,
    });
    flag.map(str::to_owned).or_else(|| sources.variables.get("SEGNO_PROFILE").cloned())
}

/// The settings that a stronger one contradicts, each with that one.
pub fn contradicted(
    command: &Command,
    given: &BTreeMap<String, Setting>,
    flagged: &dyn Fn(&str) -> bool,
) -> Vec<(String, String)> {
    let strength = |id: &str| match given.get(id) {
        _ if flagged(id) => Origin::Flag.rank(),
        Some(setting) => setting.origin.rank(),
        None => 0,
    };
    let all: Vec<&Arg> = command.get_arguments().collect();
    let winner = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        let loses = given.contains_key(id) && !flagged(id);
        let stronger = |other: &&&Arg| strength(other.get_id().as_str()) > strength(id) && against(command, arg, other);
        let winner = all.iter().find(stronger).filter(|_| loses)?;
        Some((id.to_owned(), winner.get_id().to_string()))
    };
    all.iter().filter_map(winner).collect()
}

/// Whether the two options exclude each other.
fn against(command: &Command, one: &Arg, other: &Arg) -> bool {
    let conflicts = |a: &Arg, b: &Arg| command.get_arg_conflicts_with(a).iter().any(|arg| arg.get_id() == b.get_id());
    conflicts(one, other) || conflicts(other, one)
}

/// Two of the options that exclude each other.
fn exclusive<'a>(command: &Command, set: &[&'a Arg]) -> Option<(&'a Arg, &'a Arg)> {
    let pairs =
        || set.iter().enumerate().flat_map(|(index, one)| set[index + 1..].iter().map(move |other| (*one, *other)));
    pairs().find(|(one, other)| against(command, one, other))
}

/// The command with every setting as a default of its flag.
fn with(command: &Command, name: &str, given: &BTreeMap<String, Setting>) -> Command {
    command.clone().mut_subcommand(name, |mut sub| {
        for (id, setting) in given {
            let value = setting.value.clone();
            sub = sub.mut_arg(id, |arg| arg.default_value(value));
        }
        sub
    })
}

pub fn sub<'a>(command: &'a Command, name: &str) -> &'a Command {
    command.find_subcommand(name).expect("a command that has settings is a command")
}

/// The options of a command that are settings.
pub fn options<'a>(command: &'a Command, name: &str) -> Vec<&'a Arg> {
    let takes = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        arg.get_long().is_some() && arg.get_action().takes_values() && !PER_RUN.contains(&id) && !arg.is_hide_set()
    };
    sub(command, name).get_arguments().filter(takes).collect()
}

/// The variable of an option.
pub fn variable(option: &Arg) -> String {
    format!("SEGNO_{}", option.get_long().unwrap_or_default().replace('-', "_").to_uppercase())
}

impl Settings {
    /// Reads file and variables.
    ///
    /// # Errors
    /// What cannot be understood, and where it stands.
    pub fn resolve(command: &Command, sources: &Sources, profile: Option<&str>) -> Result<Settings, Usage> {
        let mut settings = Settings::default();
        match &sources.file {
            Some((path, text)) => settings.read(command, path, text, profile)?,
            None => {
                if let Some(profile) = profile {
                    let problem = format!("there is no {FILE} here or above, so there is no profile {profile:?}");
                    return Err(Usage(format!("{problem}; write one with a table [profile.{profile}]")));
                }
            }
        }
        for name in COMMANDS {
            for option in options(command, name) {
                let variable = variable(option);
                let Some(value) = sources.variables.get(&variable) else { continue };
                understood(command, name, option, value).map_err(|problem| Usage(format!("{variable}: {problem}")))?;
                settings.put(name, option, value.clone(), Origin::Variable(variable));
            }
            let set = |option: &&Arg| sources.variables.contains_key(&variable(option));
            let set: Vec<&Arg> = options(command, name).into_iter().filter(set).collect();
            if let Some((one, other)) = exclusive(sub(command, name), &set) {
                let (one, other) = (variable(one), variable(other));
                return Err(Usage(format!("{one} and {other} exclude each other: unset one of them")));
            }
        }
        Ok(settings)
    }

    fn put(&mut self, name: &'static str, option: &Arg, value: String, origin: Origin) {
        let slot = self.0.entry((name, option.get_id().to_string()));
        let setting = slot.or_insert(Setting { value: String::new(), origin: Origin::Default });
        if origin.rank() >= setting.origin.rank() {
            *setting = Setting { value, origin };
        }
    }

    fn read(&mut self, command: &Command, path: &Path, text: &str, wanted: Option<&str>) -> Result<(), Usage> {
        let at = |offset: usize, problem: String| {
            let (line, column) = position(text, offset);
            Usage(format!("{}:{line}:{column}: {problem}", path.display()))
        };
        let root = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let named = match error.message() {
                "duplicate key" => format!(" {}", text.get(span.clone()).unwrap_or_default()),
                _ => String::new(),
            };
            at(span.start, format!("{}{named}", error.message()))
        })?;
        let tables: Vec<&str> = COMMANDS.into_iter().chain(["profile"]).collect();
        let mut profiles = Vec::new();
        for (key, value) in root.get_ref() {
            let name = key.get_ref().as_ref();
            let Some(known) = tables.iter().find(|known| **known == name) else {
                return Err(at(key.span().start, unknown("a table of settings", name, &tables)));
            };
            let table = value.get_ref().as_table();
            let table = table.ok_or_else(|| at(value.span().start, format!("{name} is a table: write [{name}]")))?;
            let Some(name) = COMMANDS.into_iter().find(|name| name == known) else {
                for (key, value) in table {
                    let profile = key.get_ref().as_ref();
                    profiles.push(profile.to_owned());
                    let table = value.get_ref().as_table().ok_or_else(|| {
                        at(key.span().start, format!("{profile} is no profile: write a table [profile.{profile}]"))
                    })?;
                    self.table(command, path, text, "gate", table, Some((profile, wanted == Some(profile))))?;
                }
                continue;
            };
            self.table(command, path, text, name, table, None)?;
        }
        match wanted {
            Some(wanted) if !profiles.iter().any(|profile| profile == wanted) => {
                let known: Vec<&str> = profiles.iter().map(String::as_str).collect();
                let problem = match known.is_empty() {
                    true => format!("there is no profile {wanted:?}; write a table [profile.{wanted}]"),
                    false => unknown("a profile", wanted, &known),
                };
                Err(Usage(format!("{}: {problem}", path.display())))
            }
            _ => Ok(()),
        }
    }

    /// One table of the file; every key in it is checked, also of a profile that is not asked for.
    fn table(
        &mut self,
        command: &Command,
        path: &Path,
        text: &str,
        name: &'static str,
        table: &DeTable<'_>,
        profile: Option<(&str, bool)>,
    ) -> Result<(), Usage> {
        let at = |offset: usize, problem: String| {
            let (line, column) = position(text, offset);
            Usage(format!("{}:{line}:{column}: {problem}", path.display()))
        };
        let options = options(command, name);
        let known: Vec<&str> = options.iter().filter_map(|option| option.get_long()).collect();
        let mut set: Vec<&Arg> = Vec::new();
        for (key, value) in table {
            let long = key.get_ref().as_ref();
            let Some(option) = options.iter().find(|option| option.get_long() == Some(long)) else {
                return Err(at(key.span().start, unknown(&format!("a setting of segno {name}"), long, &known)));
            };
            let start = value.span().start;
            let value = plain(value).ok_or_else(|| at(start, format!("{long} is a text or a whole number")))?;
            understood(command, name, option, &value).map_err(|problem| at(start, format!("{long}: {problem}")))?;
            // A variable is of every command, and one of them takes `all`.
            if long == "pipeline" && !(name == "gate" && value == "all") {
                crate::pipelines::one(&value).map_err(|problem| at(start, format!("{long}: {problem}")))?;
            }
            set.push(option);
            if let Some((one, other)) = exclusive(sub(command, name), &set) {
                let (one, other) = (one.get_long().unwrap_or_default(), other.get_long().unwrap_or_default());
                return Err(at(key.span().start, format!("{one} and {other} exclude each other: keep one of them")));
            }
            let (line, column) = position(text, key.span().start);
            let file = path.to_owned();
            match profile {
                None => self.put(name, option, value, Origin::Table { file, line, column }),
                Some((profile, true)) => {
                    let origin = Origin::Profile { file, line, column, profile: profile.to_owned() };
                    self.put(name, option, value, origin);
                }
                Some((_, false)) => {}
            }
        }
        Ok(())
    }
}

/// A value as it would be written on the command line.
fn plain(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}

/// Whether the option takes this value; otherwise what is wrong, in clap's words.
fn understood(command: &Command, name: &str, option: &Arg, value: &str) -> Result<(), String> {
    let word = format!("--{}={value}", option.get_long().unwrap_or_default());
    let tried = sub(command, name).clone().try_get_matches_from([name, &word]);
    match tried {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) => {
            let said = error.to_string();
            let lines = said.lines().take_while(|line| !line.starts_with("For more information"));
            let words: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
            Err(words.join(" ").trim_start_matches("error: ").to_owned())
        }
        _ => Ok(()),
    }
}

/// Variables that look like settings and are none.
pub fn strange_variables(command: &Command, sources: &Sources) -> Vec<String> {
    let known: Vec<String> = COMMANDS
        .iter()
        .flat_map(|name| options(command, name))
        .map(variable)
        .chain(OTHER_VARIABLES.map(String::from))
        .collect();
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    let why = |name: &str| match PER_RUN.iter().find(|id| name == format!("SEGNO_{}", id.to_uppercase())) {
        Some(id) => format!("--{id} is of one run, and said on its command line alone"),
        None => match sim::names::nearest(name, &names) {
            Some(nearest) => format!("no setting has that name; is {nearest} meant?"),
            None => "no setting has that name; `segno config` lists all: count is SEGNO_COUNT".to_owned(),
        },
    };
    let strange = sources.variables.keys().filter(|name| !known.contains(name));
    strange.map(|name| format!("{name} is set and has no effect: {}", why(name))).collect()
}

/// `"cuont" is not a setting; the nearest is "count", all are …`
fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let nearest = sim::names::hint(sim::names::nearest(name, known));
    let mut all: Vec<&str> = known.to_vec();
    all.sort_unstable();
    all.dedup();
    format!("{name:?} is not {what};{nearest} all are {}", all.join(", "))
}

/// Line and column of a byte, both from 1; columns count characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn sources(text: &str, variables: &[(&str, &str)]) -> Sources {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { file: Some((FILE.into(), text.to_owned())), variables }
    }

    const TEXT: &str = "\
[gate]
jobs = 3
count = 200

[profile.pr]
count = 300
time-budget = \"90s\"

[profile.nightly]
seeds = \"0..9\"

[bench]
events = \"5M\"
";

    /// What `segno gate <line>` has for an option.
    fn resolved(line: &str, variables: &[(&str, &str)], id: &str) -> Option<String> {
        let arguments: Vec<OsString> =
            ["segno", "gate"].into_iter().chain(line.split_whitespace()).map(OsString::from).collect();
        let matches = parse(crate::Cli::command(), arguments, &sources(TEXT, variables)).expect("settings");
        let (_, gate) = matches.subcommand().expect("gate");
        let raw = gate.get_raw(id)?;
        Some(raw.map(|value| value.to_str().expect("text")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn flags_beat_variables_beat_a_profile_beats_the_table_beats_defaults() {
        let count = |line: &str, variables: &[(&str, &str)]| resolved(line, variables, "count");
        assert_eq!(count("", &[]).as_deref(), Some("200"));
        assert_eq!(count("--profile pr", &[]).as_deref(), Some("300"));
        assert_eq!(count("", &[("SEGNO_PROFILE", "pr")]).as_deref(), Some("300"));
        assert_eq!(count("--profile=pr", &[("SEGNO_COUNT", "400")]).as_deref(), Some("400"));
        assert_eq!(count("--profile pr --count 500", &[("SEGNO_COUNT", "400")]).as_deref(), Some("500"));
        assert_eq!(resolved("", &[], "jobs").as_deref(), Some("3"));
        assert_eq!(resolved("", &[], "shard"), None);
    }

    #[test]
    fn a_setting_gives_way_to_a_stronger_one_that_contradicts_it() {
        assert_eq!(resolved("--seeds 5..6", &[("SEGNO_COUNT", "400")], "count"), None);
        assert_eq!(resolved("--profile nightly", &[], "count"), None, "seeds of the profile");
        assert_eq!(resolved("--profile nightly", &[("SEGNO_COUNT", "7")], "seeds"), None);
        assert_eq!(resolved("--profile nightly --count 7", &[], "seeds"), None);
        assert_eq!(resolved("--resume x", &[("SEGNO_PIPELINE", "all")], "count"), None);
    }

    fn wrong(text: &str, variables: &[(&str, &str)], profile: Option<&str>) -> String {
        let command = crate::Cli::command();
        Settings::resolve(&command, &sources(text, variables), profile).expect_err("it is wrong").to_string()
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_column_and_what_would_be_right() {
        let said = wrong("[gate]\n  cuont = 5\n", &[], None);
        assert!(
            said.starts_with(
                "segno.toml:2:3: \"cuont\" is not a setting of segno gate; the nearest is \"count\", all are count, "
            ),
            "{said}"
        );
        let said = wrong("[gaet]\n", &[], None);
        assert!(
            said.starts_with("segno.toml:1:2: \"gaet\" is not a table of settings; the nearest is \"gate\""),
            "{said}"
        );
        let said = wrong("[profile.pr]\njobs = 1\ntime-budget = \"30\"\n", &[], None);
        assert!(said.starts_with("segno.toml:3:15: time-budget: invalid value '30'"), "{said}");
        assert!(said.contains("`30` has no unit; write a duration like 30m"), "{said}");
        let said = wrong("[gate]\ntier = \"fast\"\n", &[], None);
        assert!(
            said.contains("segno.toml:2:8: tier: invalid value 'fast'") && said.contains("race, soak, mixed"),
            "{said}"
        );
        let said = wrong("[gate]\npipeline = \"clickstream-sesions\"\n", &[], None);
        assert!(
            said.starts_with(
                "segno.toml:2:12: pipeline: no pipeline is named \"clickstream-sesions\"; the nearest is "
            ),
            "{said}"
        );
        let said = wrong("[gate]\ncount = [1]\n", &[], None);
        assert_eq!(said, "segno.toml:2:9: count is a text or a whole number");
        let said = wrong("[gate]\nseeds = \"0..3\"\ncount = 4\n", &[], None);
        assert!(
            said.starts_with("segno.toml:2:1: ") && said.ends_with(" exclude each other: keep one of them"),
            "{said}"
        );
        let said = wrong("", &[("SEGNO_SEEDS", "0..3"), ("SEGNO_COUNT", "4")], None);
        assert!(said.ends_with(" exclude each other: unset one of them"), "{said}");
        let said = wrong("[gate\n", &[], None);
        assert!(said.starts_with("segno.toml:1:"), "{said}");
        let said = wrong(TEXT, &[], Some("nigthly"));
        assert_eq!(said, "segno.toml: \"nigthly\" is not a profile; the nearest is \"nightly\", all are nightly, pr");
        let said = wrong("", &[("SEGNO_JOBS", "none")], None);
        assert!(said.starts_with("SEGNO_JOBS: invalid value 'none'"), "{said}");
        let said = strange_variables(&crate::Cli::command(), &sources("", &[("SEGNO_CUONT", "5")]));
        assert!(
            said[0] == "SEGNO_CUONT is set and has no effect: no setting has that name; is SEGNO_COUNT meant?",
            "{said:?}"
        );
        let said = strange_variables(&crate::Cli::command(), &sources("", &[("SEGNO_OUT", "x")]));
        assert_eq!(
            said,
            ["SEGNO_OUT is set and has no effect: --out is of one run, and said on its command line alone"]
        );
    }
}
