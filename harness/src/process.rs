//! The test's own program, run again: a seed worker is this test binary with the name of the one test.
//!
//! In: the test that is running. Out: a command that runs only it, and on the other side the knowledge of being one.

use std::cell::RefCell;
use std::panic::Location;
use std::path::PathBuf;

/// Set in a seed worker: the gate that it belongs to.
pub const WORKER: &str = "SEGNO_WORKER";

thread_local! {
    /// The gate that the test of this thread has run.
    static MET: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Where in the source a gate is; it names the gate.
pub fn place(location: &Location<'_>) -> String {
    format!("{}:{}:{}", location.file(), location.line(), location.column())
}

/// The test of this thread runs the gate at `place`.
///
/// # Panics
/// If it has run another.
pub fn meet(place: &str) {
    let first = MET.with_borrow_mut(|met| met.get_or_insert_with(|| place.to_owned()).clone());
    only(&first, place);
}

/// A test has one gate. Its seed workers run the test up to its first: they would never come to a second, and if they did
/// they would have run the first one's seeds.
///
/// # Panics
/// If the gates are two.
pub fn only(first: &str, place: &str) {
    assert!(
        first == place,
        "two gates in one test, at {first} and at {place}; put each in a test of its own: the seeds of a gate run in \
         processes that run its test from the start"
    );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_may_run_its_gate_again_and_no_other() {
        meet("tests/gate.rs:9:5");
        meet("tests/gate.rs:9:5");
        let said = std::panic::catch_unwind(|| meet("tests/gate.rs:12:5")).expect_err("it is another");
        let said = said.downcast::<String>().expect("text");
        assert!(
            said.starts_with("two gates in one test, at tests/gate.rs:9:5 and at tests/gate.rs:12:5; put each"),
            "{said}"
        );
    }
}
