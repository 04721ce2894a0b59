//! The registry of mutants against the sources: every name is used, and every use is in the registry. Reads text, so it
//! holds in a build without the feature, too.

#![expect(clippy::disallowed_methods, reason = "a test reads the sources of the engine")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The registry's lines: name, area; of what is not counted, "uncounted".
fn registered() -> BTreeMap<String, String> {
    let source = include_str!("../src/mutant.rs");
    let list = source.split("pub const ALL").nth(1).and_then(|rest| rest.split("];").next()).expect("the registry");
    let mut found = BTreeMap::new();
    for line in list.lines().map(str::trim) {
        let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        let (name, area) = match line.split('(').next() {
            Some("bug") => (quoted[1], quoted[0]),
            Some("harmless") => (quoted[0], "harmless"),
            Some("pair" | "guarded") => (quoted[1], "uncounted"),
            _ => continue,
        };
        assert!(found.insert(name.to_owned(), area.to_owned()).is_none(), "{name} is registered twice");
    }
    found
}

fn uses(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).expect("the sources").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            uses(&entry, found);
        } else if entry.extension().is_some_and(|end| end == "rs") && !entry.ends_with("mutant.rs") {
            let text = std::fs::read_to_string(&entry).expect("a source file");
            for call in text.split("mutant!(").skip(1) {
                let name = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                found.insert(
                    name.unwrap_or_else(|| panic!("a mutant without a name in {}", entry.display())).to_owned(),
                );
            }
        }
    }
}

#[test]
fn every_registered_mutant_is_used_and_every_used_one_is_registered() {
    let mut used = BTreeSet::new();
    uses(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
    let registered: BTreeSet<String> = registered().into_keys().collect();
    assert_eq!(used, registered);
}

/// What a bug does alone is counted; what two do together has the name of both in its reason.
#[test]
fn the_halves_of_a_pair_are_mutants_of_their_own() {
    let registered = registered();
    let pairs = include_str!("../src/mutant.rs").split("\"a pair: ").skip(1);
    let halves: Vec<Vec<&str>> =
        pairs.map(|text| text.split('"').next().unwrap_or("").split(" and ").collect()).collect();
    assert_eq!(halves.len(), 3);
    for half in halves.iter().flat_map(|halves| halves.iter()) {
        assert!(registered.contains_key(*half), "{half}");
    }
}

#[test]
fn each_area_has_its_bugs_and_there_are_eight_harmless_changes() {
    let mut areas: BTreeMap<String, u32> = BTreeMap::new();
    for area in registered().into_values() {
        *areas.entry(area).or_default() += 1;
    }
    let asked = [
        "log",
        "client",
        "transaction",
        "watermark",
        "window",
        "session",
        "dedup",
        "commit",
        "recovery",
        "fencing",
        "retention",
        "determinism",
    ];
    for area in asked {
        assert!(areas.get(area).is_some_and(|count| *count >= 2), "{area}: {areas:?}");
    }
    areas.remove("uncounted");
    let harmless = areas.remove("harmless").unwrap_or(0);
    assert!(harmless >= 8, "{harmless} harmless changes");
    let bugs: u32 = areas.values().sum();
    assert!(bugs >= 30, "{bugs} bugs: {areas:?}");
}
