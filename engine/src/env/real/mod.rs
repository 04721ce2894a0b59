//! The machine: its clock, TCP, files, entropy and stderr, behind the traits of [`env`](super).
//!
//! In: [`EnvOptions`]. Out: an [`Env`]. Always: no call made through it blocks a runtime's thread longer than a copy of
//! bytes that are already in memory; what can block runs on the disk's own threads. Threads are started here and nowhere
//! else: see [`threads`].

mod ahead;
mod buffers;
mod disk;
mod net;
mod pool;
pub mod threads;

use std::fmt;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Clock, Entropy, Env, Logger};
use crate::types::Timestamp;

/// How the machine is used.
#[derive(Clone, Debug)]
pub struct EnvOptions {
    /// Threads that do the disk's blocking work: at least one sync and one cold read should overlap.
    pub disk_threads: usize,
    /// Whether the engine's log lines go to stderr, or nowhere.
    pub log: bool,
}

impl Default for EnvOptions {
    fn default() -> EnvOptions {
        EnvOptions { disk_threads: 3, log: true }
    }
}

/// The machine's [`Env`]. Its threads end when the last clone, and the last file opened through it, are gone.
///
/// # Panics
/// When the operating system refuses to start a thread.
pub fn env(options: EnvOptions) -> Env {
    let logger: Arc<dyn Logger> = if options.log { Arc::new(Stderr) } else { Arc::new(Silent) };
    Env::new(
        Arc::new(WallClock),
        Arc::new(net::Tcp),
        Arc::new(disk::Files::new(options.disk_threads)),
        Arc::new(OsEntropy),
        None,
        logger,
    )
}

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock behind Env::now")]
        let now = SystemTime::now();
        match now.duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Err(before) => Timestamp(-i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

struct OsEntropy;

impl Entropy for OsEntropy {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0u8; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            #[expect(clippy::disallowed_methods, reason = "this is the entropy behind Env::entropy")]
            let got = rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty());
            match got {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                // Identities are drawn from this: going on without it would be worse than stopping.
                Err(error) => panic!("the operating system gives no entropy: {error}"),
            }
        }
        u64::from_ne_bytes(bytes)
    }
}

struct Stderr;

impl Logger for Stderr {
    fn log(&self, line: fmt::Arguments<'_>) {
        // One write a line, so that lines of several threads do not mix. A closed stderr is nobody's failure.
        let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
    }
}

struct Silent;

impl Logger for Silent {
    fn log(&self, _line: fmt::Arguments<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_differs_between_calls() {
        let env = env(EnvOptions::default());
        let draws: std::collections::BTreeSet<u64> = (0..64).map(|_| env.next_u64()).collect();
        assert_eq!(draws.len(), 64);
    }

    #[test]
    fn the_clock_is_past_the_day_this_was_written() {
        assert!(env(EnvOptions::default()).now() > Timestamp(1_700_000_000_000));
    }
}
