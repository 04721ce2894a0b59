//! The data directory of a run: whose it is, with which settings it was begun, and what came of it.
//!
//! ```text
//! lock            held while a process works on it
//! settings.json   written once, before anything else; a later run must name the same ones
//! log/            the broker's data
//! result.json     written last: the run is finished, and asking again returns it
//! ```
//!
//! Invariant: `settings.json` and `result.json` are written beside their name, synced, and renamed: whole or absent.

#![expect(clippy::disallowed_methods, reason = "the command is above the engine: these are its own files")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::Usage;

/// What decides the result of a run; two runs with equal settings have equal results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub pipeline: String,
    pub input_bytes: u64,
    pub input_sha256: String,
    pub format: String,
    pub map: Vec<String>,
    pub watermark_bound_ms: i64,
    pub allowed_lateness_ms: i64,
    pub partitions: i32,
}

/// A data directory that this process holds the lock of.
pub struct Directory {
    root: PathBuf,
    _lock: std::fs::File,
}

impl Directory {
    /// Takes the directory for this process, creating it when absent, and checks that it was begun with `settings`.
    ///
    /// # Errors
    /// Wrong use (exit 2) when another process holds it, when it holds something else, or when its settings differ: the
    /// message names every difference.
    pub fn open(root: &Path, settings: &Settings) -> anyhow::Result<Directory> {
        std::fs::create_dir_all(root).with_context(|| format!("failed to create {}", root.display()))?;
        let lock_path = root.join("lock");
        let lock = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .with_context(|| format!("failed to open {}", lock_path.display()))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Usage(format!(
                    "another process is working on {}: wait for it, or choose another --data-dir",
                    root.display()
                ))
                .into());
            }
            Err(errno) => return Err(anyhow::Error::from(errno).context("failed to lock the data directory")),
        }
        let directory = Directory { root: root.to_owned(), _lock: lock };
        directory.settle(settings)?;
        Ok(directory)
    }

    /// Compares the stored settings with `settings`, or stores them.
    fn settle(&self, settings: &Settings) -> anyhow::Result<()> {
        let path = self.root.join("settings.json");
        if let Some(stored) = read_json::<Settings>(&path)? {
            let differences = differences(&stored, settings);
            if differences.is_empty() {
                return Ok(());
            }
            return Err(Usage(format!(
                "{} was begun with other settings:\n{}\nuse the same ones, or another --data-dir",
                self.root.display(),
                differences.join("\n")
            ))
            .into());
        }
        if self.log_dir().exists() {
            return Err(Usage(format!(
                "{} has a log but no settings.json, so it is not a directory of `segno run`: choose another --data-dir",
                self.root.display()
            ))
            .into());
        }
        self.write_whole("settings.json", &to_pretty(settings)?)?;
        Ok(())
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the broker keeps its data.
    pub fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The stored result, when the run is finished.
    pub fn result<T: for<'de> Deserialize<'de>>(&self) -> anyhow::Result<Option<T>> {
        read_json(&self.root.join("result.json"))
    }

    /// Stores the result: the run is finished.
    pub fn finish(&self, result: &impl Serialize) -> anyhow::Result<()> {
        self.write_whole("result.json", &to_pretty(result)?)
    }

    /// Writes a file of the directory so that it is whole or absent, and durable on return.
    pub fn write_whole(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        write_whole(&self.root.join(name), bytes)
    }
}

/// Writes `bytes` to `path` through a temporary file in the same directory, synced and renamed.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    let temporary = parent.join(name);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        std::fs::File::open(parent)?.sync_all()
    };
    write().with_context(|| format!("failed to write {}", path.display()))?;
    Ok(())
}

fn to_pretty(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).context("failed to encode JSON")?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(anyhow::Error::from(error).context(format!("failed to read {}", path.display()))),
    };
    let value = serde_json::from_slice(&bytes)
        .map_err(|error| Usage(format!("{} is damaged ({error}): choose another --data-dir", path.display())))?;
    Ok(Some(value))
}

/// One line for each field in which the two differ.
fn differences(stored: &Settings, asked: &Settings) -> Vec<String> {
    let fields = |settings: &Settings| match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("settings are an object"),
    };
    let (stored, asked) = (fields(stored), fields(asked));
    let called = |name: &str| match name {
        "input_bytes" => "--input, its bytes".to_owned(),
        "input_sha256" => "--input, its SHA-256 (another file, or it has changed)".to_owned(),
        name => format!("--{}", name.trim_end_matches("_ms").replace('_', "-")),
    };
    let unit = |name: &str| if name.ends_with("_ms") { " ms" } else { "" };
    stored
        .iter()
        .filter(|(name, value)| asked.get(*name) != Some(value))
        .map(|(name, value)| {
            let (asked, unit) = (asked.get(name).unwrap_or(&Value::Null), unit(name));
            format!("  {}: {value}{unit} there, {asked}{unit} asked for", called(name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            pipeline: "clickstream-sessions".into(),
            input_bytes: 10,
            input_sha256: "ab".into(),
            format: "combined".into(),
            map: vec![],
            watermark_bound_ms: 60_000,
            allowed_lateness_ms: 0,
            partitions: 2,
        }
    }

    #[test]
    fn other_settings_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::open(dir.path(), &settings()).unwrap());
        let other = Settings { watermark_bound_ms: 30_000, ..settings() };
        let failure = Directory::open(dir.path(), &other).err().unwrap().to_string();
        assert!(failure.contains("--watermark-bound: 60000 ms there, 30000 ms asked for"), "{failure}");
        Directory::open(dir.path(), &settings()).unwrap();
    }

    #[test]
    fn a_second_holder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _held = Directory::open(dir.path(), &settings()).unwrap();
        let failure = Directory::open(dir.path(), &settings()).err().unwrap().to_string();
        assert!(failure.contains("another process"), "{failure}");
    }
}
