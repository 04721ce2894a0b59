//! The journal: which seeds of a campaign are done, and what came of them, so that an interrupted one can go on.
//!
//! In: seeds as they end. Out: a file in the run's folder, one JSON document a line: first what the campaign is, then a
//! line per seed.
//!
//! Invariant: a journal goes on only as the same campaign of the same build. A last line that was torn by the end of the
//! process is cut off, and its seed runs again; damage before it is refused.

#![expect(clippy::disallowed_methods, reason = "the campaign is above the engine: it writes files of its own")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use reports::{Campaign, SeedReport, Violation};
use serde::{Deserialize, Serialize};

/// The version of the journal that this build writes and reads.
pub const FORMAT: u32 = 1;
/// Its name in the run's folder.
pub const FILE: &str = "journal.ndjson";

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// Of the journal.
    format: u32,
    campaign: Campaign,
    #[serde(default)]
    shard: Option<(usize, usize)>,
}

/// A seed that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    pub report: SeedReport,
    /// It ran in a second process too.
    pub doubled: bool,
    /// How the two runs differ.
    pub mismatch: Option<Violation>,
    /// Wall time of the campaign so far.
    pub elapsed_ms: u64,
}

/// A journal that cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{}: {source}; is it the folder of a gate's run?", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "{}: it is of format {found}, and this build reads {FORMAT}: go on with the build that began it, or begin anew",
        path.display()
    )]
    Format { path: PathBuf, found: u32 },
    #[error("{}:{line}: {problem}; begin the campaign anew", path.display())]
    Damaged { path: PathBuf, line: usize, problem: String },
    #[error(
        "{}: another build of segno began this campaign ({theirs}; this is {ours}), and seeds of two builds prove nothing \
         together: go on with that build, or begin anew",
        path.display()
    )]
    Build { path: PathBuf, ours: String, theirs: String },
}

/// A journal under way.
pub struct Journal {
    file: File,
    pub(super) done: BTreeMap<(String, u64), Line>,
    pub campaign: Campaign,
    pub shard: Option<(usize, usize)>,
}

impl Journal {
    /// A new journal in `dir`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(dir: &Path, campaign: Campaign, shard: Option<(usize, usize)>) -> io::Result<Journal> {
        let mut file = File::create(dir.join(FILE))?;
        let head = Head { format: FORMAT, campaign: campaign.clone(), shard };
        write_line(&mut file, &head)?;
        Ok(Journal { file, done: BTreeMap::new(), campaign, shard })
    }

    /// The journal in `dir`, to go on with.
    ///
    /// # Errors
    /// When it cannot be read, is of another format or build, or is damaged.
    pub fn resume(dir: &Path, build: &str) -> Result<Journal, JournalError> {
        let path = dir.join(FILE);
        let unreadable = |source| JournalError::Unreadable { path: path.clone(), source };
        let mut file = File::options().read(true).write(true).open(&path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        // Without its newline a line was not finished.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let damaged = |line: usize, problem: String| JournalError::Damaged { path: path.clone(), line, problem };
        let text = std::str::from_utf8(&bytes[..whole]).map_err(|error| damaged(1, error.to_string()))?;
        let mut lines = text.lines();
        let head = lines.next().ok_or_else(|| damaged(1, "it is empty".to_owned()))?;
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let Version { format } = serde_json::from_str(head).map_err(|error| damaged(1, error.to_string()))?;
        if format != FORMAT {
            return Err(JournalError::Format { path, found: format });
        }
        let Head { campaign, shard, .. } = serde_json::from_str(head).map_err(|error| damaged(1, error.to_string()))?;
        if campaign.build != build {
            return Err(JournalError::Build { path, ours: build.to_owned(), theirs: campaign.build });
        }
        let mut done = BTreeMap::new();
        for (index, line) in lines.enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|error| damaged(index + 2, error.to_string()))?;
            done.insert((line.report.pipeline.clone(), line.report.seed), line);
        }
        file.set_len(whole as u64).map_err(unreadable)?;
        file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        Ok(Journal { file, done, campaign, shard })
    }

    /// How many seeds are done.
    #[must_use]
    pub fn seeds_done(&self) -> usize {
        self.done.len()
    }

    /// Wall time that went into what is done.
    pub(super) fn elapsed_ms(&self) -> u64 {
        self.done.values().map(|line| line.elapsed_ms).max().unwrap_or(0)
    }

    pub(super) fn write(&mut self, line: &Line) -> io::Result<()> {
        write_line(&mut self.file, line)
    }
}

/// In one write, so that the end of the process leaves it whole or torn, never mixed.
fn write_line(file: &mut File, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    file.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use reports::Tier;

    use super::*;

    fn campaign() -> Campaign {
        Campaign { pipelines: vec!["p".into()], seed_end: 9, build: "b1".into(), ..Campaign::default() }
    }

    fn line(seed: u64) -> Line {
        let report = SeedReport::empty("p", seed, Tier::Race);
        Line { report, doubled: seed == 0, mismatch: None, elapsed_ms: seed * 10 }
    }

    fn journal() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), campaign(), Some((1, 4))).unwrap();
        (0..3).for_each(|seed| journal.write(&line(seed)).unwrap());
        let path = dir.path().join(FILE);
        (dir, path)
    }

    #[test]
    fn what_was_done_is_known_again_and_a_torn_line_is_not() {
        let (dir, path) = journal();
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..40 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut resumed = Journal::resume(dir.path(), "b1").unwrap();
            assert_eq!((resumed.seeds_done(), resumed.elapsed_ms()), (2, 10), "without the last {cut} bytes");
            assert_eq!((&resumed.campaign, resumed.shard), (&campaign(), Some((1, 4))));
            resumed.write(&line(7)).unwrap();
            let again = Journal::resume(dir.path(), "b1").unwrap();
            assert_eq!(again.done.into_values().collect::<Vec<_>>(), [line(0), line(1), line(7)]);
        }
    }

    #[test]
    fn another_format_another_build_and_damage_are_refused_with_what_to_do() {
        let (dir, path) = journal();
        let refused = |build: &str| Journal::resume(dir.path(), build).err().expect("it is refused").to_string();
        let said = refused("b2");
        assert!(said.contains("another build of segno began this campaign (b1; this is b2)"), "{said}");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"format\":1", "\"format\":2", 1)).unwrap();
        let said = refused("b1");
        assert!(said.contains("it is of format 2, and this build reads 1"), "{said}");
        std::fs::write(&path, text.replacen("\"doubled\":true", "\"doubled\":7", 1)).unwrap();
        let said = refused("b1");
        assert!(said.contains("journal.ndjson:2: ") && said.contains("begin the campaign anew"), "{said}");
        std::fs::remove_file(&path).unwrap();
        assert!(refused("b1").contains("is it the folder of a gate's run?"));
    }
}
