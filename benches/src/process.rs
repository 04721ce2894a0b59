//! A phase in a process of its own: what it leaves in memory, on a core or in an allocator is gone with it.
//!
//! The child says on stdout, in lines: `started` when its clock starts, milestones if it was asked for them, then its outcome
//! as JSON.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};

use crate::milestones::{COMMITTED, SNAPSHOT};
use crate::phase::{Phase, PhaseOutcome};

/// The line that says that the clock of a phase has started.
pub const STARTED: &str = "started";

/// How to start a phase: the program, and the arguments that come before the phase itself.
#[derive(Clone, Debug)]
pub struct Launcher {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// A phase under way in its process.
pub struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    what: String,
    first_line: String,
    pub spawned: Instant,
}

/// What a phase had said before it was killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    pub commits: u64,
    pub snapshots: u64,
}

impl Passed {
    fn hear(&mut self, line: &str) {
        match line.trim_end() {
            COMMITTED => self.commits += 1,
            SNAPSHOT => self.snapshots += 1,
            _ => {}
        }
    }
}

impl Launcher {
    /// Runs a phase to its end.
    ///
    /// # Errors
    /// When it cannot be started, or fails.
    pub fn run(&self, phase: &Phase) -> anyhow::Result<PhaseOutcome> {
        let mut running = self.start(phase)?;
        running.wait_for_start()?;
        running.outcome()
    }

    /// Starts a phase.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(&self, phase: &Phase) -> anyhow::Result<Running> {
        let spawned = Instant::now();
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(serde_json::to_string(phase)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("failed to start {}", self.program.display()))?;
        let stdout = BufReader::new(child.stdout.take().context("a child's stdout was not piped")?);
        Ok(Running { child, stdout, what: format!("{phase:?}"), first_line: String::new(), spawned })
    }
}

/// Has this process killed when the one that started it ends: a phase that nobody waits for would disturb the next. A wish:
/// where the system has no way to say so, it runs to its end.
pub fn end_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

impl Running {
    /// Waits until the clock of the phase starts, or until it is clear that it never will.
    ///
    /// # Errors
    /// When the pipe breaks.
    pub fn wait_for_start(&mut self) -> anyhow::Result<Instant> {
        self.stdout.read_line(&mut self.first_line).context("failed to read what a phase says")?;
        Ok(Instant::now())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When the phase failed, or answered with what is no outcome.
    pub fn outcome(mut self) -> anyhow::Result<PhaseOutcome> {
        let mut rest = if self.first_line.trim_end() == STARTED { String::new() } else { self.first_line.clone() };
        self.stdout.read_to_string(&mut rest).context("failed to read what a phase says")?;
        let status = self.child.wait().context("failed to wait for a phase")?;
        ensure!(status.success(), "a phase ended with {status}: {}", self.what);
        serde_json::from_str(&rest).with_context(|| format!("a phase answered with what is no outcome: {rest:?}"))
    }

    /// Kills the process with SIGKILL at `due`, or later: once it has said that `commits` were answered. `None` when it had
    /// ended before.
    ///
    /// # Errors
    /// When the phase had failed by itself, or somebody else killed it.
    pub fn kill_at(mut self, due: Instant, commits: u64) -> anyhow::Result<Option<Passed>> {
        let (sender, lines) = mpsc::channel();
        let stdout = self.stdout;
        let reading = std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).take_while(|line| sender.send(line.clone()).is_ok()).count()
        });
        let mut passed = Passed::default();
        while passed.commits < commits || Instant::now() < due {
            let wait = match passed.commits < commits {
                true => Duration::MAX,
                false => due.saturating_duration_since(Instant::now()),
            };
            match lines.recv_timeout(wait) {
                Ok(line) => passed.hear(&line),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                // It has nothing more to say: it is at its end, whether that is good or bad.
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        let killed = passed.commits >= commits && Instant::now() >= due;
        if killed {
            self.child.kill().context("failed to kill a phase")?;
        }
        let status = self.child.wait().context("failed to wait for a phase that was killed")?;
        match (status.signal(), status.success()) {
            (Some(9), _) if killed => {
                // What it said until the last moment.
                lines.iter().for_each(|line| passed.hear(&line));
                reading.join().map_err(|_| anyhow!("the thread that heard a phase panicked"))?;
                Ok(Some(passed))
            }
            (_, true) => Ok(None),
            _ => bail!("a phase ended with {status} before it was killed: {}", self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phase::{Pages, ReplaySpec};

    /// A phase that is a shell script.
    fn started(script: &str) -> Running {
        let launcher = Launcher { program: "sh".into(), arguments: vec!["-c".to_owned(), script.to_owned()] };
        let spec = ReplaySpec {
            pipeline: "p".to_owned(),
            key: crate::dataset::Key::User,
            partitions: 1,
            version: 1,
            threads: 1,
            pages: Pages::Warm,
            tell: true,
        };
        let mut running = launcher.start(&Phase::Replay { data_dir: "/nowhere".into(), spec }).expect("sh starts");
        running.wait_for_start().expect("it says something");
        running
    }

    #[test]
    fn a_phase_is_not_killed_before_its_commits() {
        let script = "echo started; sleep 0.2; echo committed; echo snapshot; sleep 0.2; echo committed; exec sleep 60";
        let passed = started(script).kill_at(Instant::now(), 2).expect("it is killed");
        assert_eq!(passed, Some(Passed { commits: 2, snapshots: 1 }));
    }

    #[test]
    fn a_phase_that_ends_first_was_not_killed_and_one_that_fails_is_an_error() {
        let due = Instant::now() + Duration::from_secs(60);
        assert_eq!(started("echo started; echo committed").kill_at(due, 1).expect("it ended well"), None);
        assert!(started("echo started; exit 3").kill_at(due, 1).is_err());
    }
}
