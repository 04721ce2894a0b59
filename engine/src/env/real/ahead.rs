//! Reading a file from the disk in order: at the disk's full speed, and without filling memory with what was read.
//!
//! In: where large reads were made, and whether they found their bytes in memory. Out: advice to the kernel, and nothing
//! else: every read returns the same bytes without it. The kernel is asked for what follows a read that had to wait, and
//! goes on being asked while the reads keep coming. Pages that came because of it are given back once they were read. So
//! the replay of a history that is larger than memory displaces nothing that others read, at the log's end above all; and
//! where a virtual machine hands its free memory back, the replay takes a few pages again and again instead of new ones
//! for the whole log, each of which costs the host a fault and a clearing (measured: 1.7 s a gigabyte).
//! Always: no page is given back that was in memory when its range was asked for.

use std::collections::VecDeque;
use std::fs;
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::pool::Pool;

/// A read of so many bytes is one of several that follow on each other.
const LARGE_READ: usize = 256 << 10;
/// How far ahead of a large read the kernel is asked to read, once one has found bytes missing.
const AHEAD: u64 = 8 << 20;
/// No page is larger (of arm64, where they are largest).
const PAGE_MAX: u64 = 64 << 10;
/// Ranges that wait to be given back. Reads in order leave three; who reads here and there leaves the rest to the kernel.
const WAITING_MAX: usize = 16;

/// What was asked of the kernel for one file.
pub(super) struct ReadAhead {
    pool: Pool,
    file: Arc<fs::File>,
    /// Where the bytes end that were asked for; zero while no large read has found any missing.
    asked: AtomicU64,
    brought: Arc<Brought>,
}

/// Ranges that were asked for and were not in memory, in the order of asking.
#[derive(Default)]
struct Brought(Mutex<VecDeque<Range<u64>>>);

impl ReadAhead {
    pub(super) fn new(pool: Pool, file: Arc<fs::File>) -> ReadAhead {
        ReadAhead { pool, file, asked: AtomicU64::new(0), brought: Arc::default() }
    }

    /// A read found all its bytes in memory. Where it found them because they were asked for, what follows is asked for
    /// while half of that is still unread. A log in memory asks for nothing.
    pub(super) fn found(&self, read: Range<u64>) {
        let asked = self.asked.load(Ordering::Relaxed);
        if read.end - read.start < LARGE_READ as u64 || !(read.end..read.end + AHEAD / 2).contains(&asked) {
            return;
        }
        let next = asked..read.end + AHEAD;
        self.asked.store(next.end, Ordering::Relaxed);
        let (file, brought) = (self.file.clone(), self.brought.clone());
        self.pool.submit(move || {
            // The page at the start may have come with the bytes before it.
            let missing = is_missing(&file, next.start + PAGE_MAX);
            advise(&file, &next, Advice::WillNeed);
            if missing {
                brought.push(next);
            }
            // The next read begins no earlier than this one did.
            brought.give_back(&file, read.start);
        });
    }

    /// A read is about to wait for its bytes from `missing` on: what follows them is asked for with them. Answers what
    /// the thread that makes the read does first.
    pub(super) fn missed(&self, read: Range<u64>, missing: u64) -> impl FnOnce() + Send + 'static {
        let large = read.end - read.start >= LARGE_READ as u64;
        let asked = missing..read.end + AHEAD;
        let first = large && self.asked.swap(asked.end, Ordering::Relaxed) == 0;
        let (file, brought) = (self.file.clone(), self.brought.clone());
        move || {
            if first {
                // From here on we ask ourselves: what the kernel reads ahead of its own cannot be told from what was there.
                let _ = fadvise(&file, 0, None, Advice::Random);
            }
            if large {
                advise(&file, &asked, Advice::WillNeed);
                brought.push(asked);
            }
        }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        let (file, brought) = (self.file.clone(), self.brought.clone());
        if !brought.lock().is_empty() {
            self.pool.submit(move || brought.give_back(&file, u64::MAX));
        }
    }
}

impl Brought {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Range<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, range: Range<u64>) {
        let mut waiting = self.lock();
        if waiting.len() == WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(range);
    }

    /// Gives back what ends at `until` or before it.
    fn give_back(&self, file: &fs::File, until: u64) {
        let mut read = Vec::new();
        self.lock().retain(|range| {
            let done = range.end <= until;
            if done {
                read.push(range.clone());
            }
            !done
        });
        for range in read {
            advise(file, &range, Advice::DontNeed);
        }
    }
}

/// Whether the page at `position` is not in memory. `false` where that cannot be told.
fn is_missing(file: &fs::File, position: u64) -> bool {
    let mut byte = [0];
    let mut slices = [IoSliceMut::new(&mut byte)];
    matches!(preadv2(file, &mut slices, position, ReadWriteFlags::NOWAIT), Err(Errno::AGAIN))
}

/// The kernel's own read-ahead is made for slower readers. A wish: where it is not granted, the reads are as before.
#[cfg(target_os = "linux")]
fn advise(file: &fs::File, range: &Range<u64>, advice: Advice) {
    let _ = fadvise(file, range.start, NonZeroU64::new(range.end - range.start), advice);
}
