//! The test's own program, run again: a seed worker is this test binary with the name of the one test.
//!
//! In: the test that is running. Out: a command that runs only it, and on the other side the knowledge of being one.

use std::panic::Location;
use std::path::PathBuf;

/// Set in a seed worker: the gate that it belongs to.
pub const WORKER: &str = "SEGNO_WORKER";

/// Where in the source a gate is; it names the gate among those of a test.
pub fn place(location: &Location<'_>) -> String {
    format!("{}:{}:{}", location.file(), location.line(), location.column())
}

/// The test that this thread runs: its name as `cargo test` knows it. `None` where there is no harness, as in a doctest's
/// `main`.
///
/// # Panics
/// On a thread that is not the test's own.
pub fn test_name() -> Option<String> {
    match std::thread::current().name() {
        Some("main") => None,
        Some(name) => Some(name.to_owned()),
        None => panic!("run a gate on the thread of its test: the seeds run in processes that are started by its name"),
    }
}

/// What starts this program again for the one test.
pub fn command(test: Option<&str>) -> std::io::Result<Vec<String>> {
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or_else(|| std::io::Error::other("this program's path is not UTF-8"))?.to_owned();
    let arguments = test.map(|name| [name, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]);
    Ok(std::iter::once(program).chain(arguments.into_iter().flatten().map(str::to_owned)).collect())
}

/// Where plans of violations go: `segno/` in Cargo's target directory, if this program lies in one.
pub fn folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    // target/<profile>/deps/<program>
    let target = program.parent().filter(|deps| deps.ends_with("deps")).and_then(|deps| deps.parent()?.parent());
    target.map_or_else(std::env::temp_dir, std::path::Path::to_owned).join("segno")
}
