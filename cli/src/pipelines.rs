//! The pipelines that can be named, and the nearest name when one is misspelt.

use std::sync::Arc;

use sim::workload::Workload;

use crate::exit::Usage;

/// Every pipeline, by name.
pub fn all() -> Vec<Arc<dyn Workload>> {
    Vec::new()
}

/// The pipelines that `name` stands for: one, or `all`.
///
/// # Errors
/// [`Usage`] with the nearest name.
pub fn select(name: &str) -> Result<Vec<Arc<dyn Workload>>, Usage> {
    if name == "all" { Ok(all()) } else { Ok(vec![one(name)?]) }
}

/// The pipeline with this name.
///
/// # Errors
/// [`Usage`] with the nearest name.
pub fn one(name: &str) -> Result<Arc<dyn Workload>, Usage> {
    let mut all = all();
    match all.iter().position(|workload| workload.name() == name) {
        Some(index) => Ok(all.swap_remove(index)),
        None => {
            let names: Vec<&str> = all.iter().map(|workload| workload.name()).collect();
            Err(Usage(unknown("pipeline", name, &names)))
        }
    }
}

/// "no pipeline `x`; did you mean `y`? There are: …"
pub fn unknown(what: &str, name: &str, names: &[&str]) -> String {
    let near = match nearest(name, names) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => ".".to_owned(),
    };
    format!("there is no {what} `{name}`{near} There are: {}", names.join(", "))
}

/// The name that was probably meant: the one that contains it, or the one with the fewest letters to change, if that is
/// at most a third.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    if name.len() >= 3
        && let Some(found) = names.iter().find(|candidate| candidate.contains(name))
    {
        return Some(found);
    }
    let (distance, found) = names.iter().map(|candidate| (edits(name, candidate), *candidate)).min()?;
    (distance * 3 <= found.chars().count()).then_some(found)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["clickstream-sessions", "clickstream-minutes", "clickstream-unique-minutes"];

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        assert_eq!(nearest("clickstream-session", NAMES), Some("clickstream-sessions"));
        assert_eq!(nearest("clikstream-minute", NAMES), Some("clickstream-minutes"));
        assert_eq!(nearest("sessions", NAMES), Some("clickstream-sessions"));
        assert_eq!(nearest("unique", NAMES), Some("clickstream-unique-minutes"));
        assert_eq!(nearest("payments", NAMES), None);
        assert_eq!(nearest("", NAMES), None);
    }

    #[test]
    fn the_error_names_what_there_is() {
        assert_eq!(unknown("pipeline", "x", &["a", "b"]), "there is no pipeline `x`. There are: a, b");
        assert!(unknown("pipeline", "sessions", NAMES).contains("did you mean `clickstream-sessions`?"));
    }

    #[test]
    fn distances_are_symmetric() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("sitting", "kitten"), 3);
        assert_eq!(edits("", "abc"), 3);
    }
}
