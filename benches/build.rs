//! Writes down which commit is being built, for the figures that the benchmark reports.

#![expect(clippy::disallowed_macros, reason = "a build script speaks to cargo on stdout")]

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../.git/HEAD");
    println!("cargo::rerun-if-changed=../.git/logs/HEAD");
    // An edited tree is no commit.
    for edited in [
        "../.cargo",
        "../Cargo.lock",
        "../Cargo.toml",
        "../rust-toolchain.toml",
        "../benches",
        "../cli/Cargo.toml",
        "../cli/src",
        "../engine/Cargo.toml",
        "../engine/src",
        "../harness/Cargo.toml",
        "../harness/src",
        "../reports/Cargo.toml",
        "../reports/src",
        "../sim/Cargo.toml",
        "../sim/src",
        "../workloads/Cargo.toml",
        "../workloads/src",
    ] {
        println!("cargo::rerun-if-changed={edited}");
    }
    println!("cargo::rustc-env=SEGNO_COMMIT={}", commit());
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => head,
        _ => format!("{head}-dirty"),
    }
}
