//! Seed workers: the process that answers jobs, and the handle by which the campaign holds one.
//!
//! In: a [`Job`] a line on stdin. Out: a `SeedReport` a line on stdout; the end of whatever else a worker says, there or on
//! stderr, is kept for the day it dies.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reports::SeedReport;

use super::Job;
use crate::plan::Plan;
use crate::seed::{self, RunOptions};
use crate::workload::Workload;

/// Answers jobs from stdin on stdout until stdin ends.
///
/// # Errors
/// When stdin or stdout breaks, or a line is not a job.
pub fn worker_main(workloads: &[Arc<dyn Workload>]) -> io::Result<()> {
    let stdin = io::stdin().lock();
    let mut stdout = io::stdout().lock();
    for line in stdin.lines() {
        let job: Job = serde_json::from_str(&line?)?;
        let workload = workloads.iter().find(|workload| workload.name() == job.pipeline).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("there is no pipeline {}", job.pipeline))
        })?;
        let plan = match &job.plan {
            Some(text) => Plan::parse(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
            None => Plan::draw(&**workload, job.seed, job.tier),
        };
        let started = Instant::now();
        let options = RunOptions { keep_trace: job.trace.is_some(), tell: job.tell, ..RunOptions::default() };
        let mut run = seed::run_plan_with(&**workload, &plan, options);
        run.report.wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if run.report.violations.is_empty() {
            run.report.story = None;
        }
        if let (Some(path), Some(trace)) = (&job.trace, &run.trace) {
            std::fs::write(path, trace)?;
        }
        // On a line of its own, whatever was printed before.
        stdout.write_all(b"\n")?;
        serde_json::to_writer(&mut stdout, &run.report)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    Ok(())
}

/// What became of a job.
pub(crate) enum Answer {
    Report(Box<SeedReport>),
    /// No answer within the limit; the process was killed.
    Hang,
    /// The campaign was stopped; the process was killed.
    GivenUp,
    /// The process ended instead: how, and the end of what it said.
    Died(String),
}

/// A running seed worker.
pub(crate) struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<io::Result<String>>,
    said: Arc<Mutex<VecDeque<String>>>,
}

/// How many lines of what a worker says besides its answers are kept.
const SAID_LINES_MAX: usize = 30;
/// How an answer begins.
const ANSWER: &str = "{\"pipeline\":";
/// How often a waiting campaign looks whether it was stopped.
const GIVE_UP_EVERY: Duration = Duration::from_millis(50);

impl Worker {
    /// Starts a worker. `elsewhere` gives it another time zone than ours, so that a doubled seed would notice.
    pub(crate) fn start(command: &[String], env: &[(String, String)], elsewhere: bool) -> io::Result<Worker> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no worker command"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(env.iter().map(|(name, value)| (name, value)));
        if elsewhere {
            command.env("TZ", "Asia/Kathmandu");
        }
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a pipe of the worker is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let kept = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                keep(&kept, line);
            }
        });
        Ok(Worker { child, stdin: Some(stdin), lines, said })
    }

    /// Runs one job, until `give_up`. After anything but a report the worker is dead, and another must be started.
    pub(crate) fn run(&mut self, job: &Job, limit: Duration, give_up: &dyn Fn() -> bool) -> Answer {
        let mut line = serde_json::to_string(job).expect("a job is plain data");
        line.push('\n');
        let sent = match &mut self.stdin {
            Some(stdin) => stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()),
            None => Err(io::Error::other("the worker was stopped")),
        };
        if let Err(error) = sent {
            return self.died(&format!("it took no job: {error}"));
        }
        let until = Instant::now() + limit;
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(wait.min(GIVE_UP_EVERY)) {
                // A worker inside a test's process shares stdout with the test.
                Ok(Ok(line)) if !line.starts_with(ANSWER) => self.hear(line),
                Ok(Ok(line)) => match serde_json::from_str(&line) {
                    Ok(report) => return Answer::Report(Box::new(report)),
                    Err(error) => return self.died(&format!("it answered with something else ({error}): {line}")),
                },
                Ok(Err(error)) => return self.died(&format!("its answer could not be read: {error}")),
                Err(RecvTimeoutError::Disconnected) => return self.died("it ended"),
                Err(RecvTimeoutError::Timeout) if give_up() => {
                    self.end();
                    return Answer::GivenUp;
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                    self.end();
                    return Answer::Hang;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn hear(&self, line: String) {
        keep(&self.said, line);
    }

    fn died(&mut self, how: &str) -> Answer {
        self.stdin = None;
        let _ = self.child.kill();
        let status = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        // The reader of stderr may be a moment behind the death.
        std::thread::sleep(Duration::from_millis(20));
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        Answer::Died(format!("{how} ({status}); it last said: {}", said.join(" | ")))
    }

    fn end(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keep(said: &Mutex<VecDeque<String>>, line: String) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.len() == SAID_LINES_MAX {
        said.pop_front();
    }
    said.push_back(line);
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}
