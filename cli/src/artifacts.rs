//! What a gate leaves behind for people and for CI, beside `run.json`: a page, JUnit, a summary, a trace for Perfetto of
//! each violation.
//!
//! In: the report, and the story documents that it names. Out: files in the run's folder; where a GitHub runner asks for
//! them, the summary appended to its file, and annotations on stderr.

#![expect(
    clippy::disallowed_methods,
    reason = "the command is above the engine: it reads the environment and writes files"
)]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use reports::{GateReport, Story, annotations, html, junit, markdown, perfetto};

use sim::checks;

use crate::output;

/// Writes everything; `next` is the command to type now, and `suffix` what every command that shows a run again ends with.
///
/// # Errors
/// When a file of the run's folder cannot be written.
pub fn write(dir: &Path, report: &GateReport, next: &str, suffix: &str) -> anyhow::Result<()> {
    let mut stories = stories(report);
    for (name, story) in &mut stories {
        story.reproduce += suffix;
        put(&dir.join(format!("{name}.trace.json")), &perfetto::trace(story))?;
    }
    let stories: Vec<Story> = stories.into_iter().map(|(_, story)| story).collect();
    let meanings = checks::ALL.iter().map(|check| (check.name, check.holds_when)).collect();
    let page = html::Page { report, stories: &stories, meanings: &meanings, next };
    put(&dir.join("report.html"), &html::page(&page))?;
    let summary = markdown::summary(report, next);
    put(&dir.join("summary.md"), &summary)?;
    put(&dir.join("junit.xml"), &junit::document(report))?;
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        // A verdict must not depend on whether a runner lets us write there.
        if let Err(error) = append(Path::new(&path), &summary) {
            output::note(format_args!("the summary could not be appended to {}: {error}", Path::new(&path).display()));
        }
    }
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|set| set == "true") {
        annotations::lines(report).into_iter().for_each(output::note);
    }
    Ok(())
}

/// The story documents of the report's violations, each once, by name. One that cannot be read is said, and left out.
fn stories(report: &GateReport) -> Vec<(String, Story)> {
    let mut files: Vec<&str> = report
        .violations
        .iter()
        .filter(|violation| !violation.story_file.is_empty())
        .map(|violation| violation.story_file.as_str())
        .collect();
    files.sort_unstable();
    files.dedup();
    let read = |file: &str| -> anyhow::Result<Story> { Ok(Story::parse(&std::fs::read_to_string(file)?)?) };
    let mut stories = Vec::new();
    for file in files {
        match read(file) {
            Ok(story) => {
                let name = Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned());
                let name = name.map(|name| name.trim_end_matches(".story.json").to_owned());
                stories.push((name.unwrap_or_else(|| story.seed.to_string()), story));
            }
            Err(error) => output::note(format_args!("the story in {file} is left out: {error}")),
        }
    }
    stories
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn append(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())
}
