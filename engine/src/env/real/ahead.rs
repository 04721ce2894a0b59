//! Reading a file from the disk in order: at the disk's full speed, and without filling memory with what was read.
//!
//! In: where large reads were made, and whether they found their bytes in memory. Out: advice to the kernel, and nothing
//! else: every read returns the same bytes without it. The kernel is asked for what follows a read that had to wait, and
//! goes on being asked while the reads keep coming. Pages that came because of it are given back once they were read. So
//! the replay of a history that is larger than memory displaces nothing that others read, at the log's end above all; and
//! where a virtual machine hands its free memory back, the replay takes a few pages again and again instead of new ones
//! for the whole log, each of which costs the host a fault and a clearing (measured: 1.7 s a gigabyte).
//! A range counts as having been in memory if the beginning of it was; where a file has several readers, the first one
//! gives back, and who comes later reads from the disk again.
//! Always: nothing is given back that was not asked for.

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::kernel::{Advice, advise, is_missing};
use super::pool::Pool;

/// A read of so many bytes is one of several that follow on each other.
const LARGE_READ: usize = 256 << 10;
/// How far ahead of a large read the kernel is asked to read, once one has found bytes missing.
const AHEAD: u64 = 8 << 20;
/// How far ahead of a small one, in a file of which the kernel reads nothing ahead any more; its own measure.
const AHEAD_OF_SMALL: u64 = 128 << 10;
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

    /// A read is about to wait for its bytes from `missing` on: what follows them is asked for with them. Whether they are
    /// missing the file system may not have `told`. Answers what the thread that makes the read does first.
    pub(super) fn missed(&self, read: Range<u64>, missing: u64, told: bool) -> impl FnOnce() + Send + 'static {
        let large = read.end - read.start >= LARGE_READ as u64;
        let asked = if large { missing..read.end + AHEAD } else { missing..read.end + AHEAD_OF_SMALL };
        let before =
            if large { self.asked.swap(asked.end, Ordering::Relaxed) } else { self.asked.load(Ordering::Relaxed) };
        let (file, brought) = (self.file.clone(), self.brought.clone());
        move || {
            if large && before == 0 {
                // From here on we ask ourselves: what the kernel reads ahead of its own cannot be told from what was there.
                advise(&file, &(0..0), Advice::Random);
            }
            if large || before > 0 {
                advise(&file, &asked, Advice::WillNeed);
            }
            if large && told {
                // What is missing although it was asked for is on its way; it is ours already.
                let start = if asked.contains(&before) { before } else { asked.start };
                brought.push(start..asked.end);
                brought.give_back(&file, read.start);
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

/// Advice is a wish: where it is not granted, the reads are as before, and slower.
#[cfg(target_os = "linux")]
mod kernel {
    use std::fs;
    use std::io::IoSliceMut;
    use std::num::NonZeroU64;
    use std::ops::Range;

    pub use rustix::fs::Advice;
    use rustix::io::{Errno, ReadWriteFlags};

    /// The kernel takes no more of a wish at once than its device's read-ahead, which is seldom set below this.
    const WISH_MAX: u64 = 128 << 10;

    /// An empty range is the file from its start on.
    pub fn advise(file: &fs::File, range: &Range<u64>, advice: Advice) {
        let step = if advice == Advice::WillNeed { WISH_MAX } else { u64::MAX };
        let mut from = range.start;
        loop {
            let len = (range.end - from).min(step);
            let _ = rustix::fs::fadvise(file, from, NonZeroU64::new(len), advice);
            from += len;
            if from >= range.end {
                return;
            }
        }
    }

    /// Whether the page at `position` is not in memory. `false` where that cannot be told.
    pub fn is_missing(file: &fs::File, position: u64) -> bool {
        let mut byte = [0];
        let mut slices = [IoSliceMut::new(&mut byte)];
        matches!(rustix::io::preadv2(file, &mut slices, position, ReadWriteFlags::NOWAIT), Err(Errno::AGAIN))
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::fs;
    use std::ops::Range;

    pub enum Advice {
        WillNeed,
        DontNeed,
        Random,
    }

    pub fn advise(_file: &fs::File, _range: &Range<u64>, _advice: Advice) {}

    pub fn is_missing(_file: &fs::File, _position: u64) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests of the real disk, which say what they skip"
)]
mod tests {
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::super::{EnvOptions, env};
    use super::*;
    use crate::env::OpenMode;

    const MIB: u64 = 1 << 20;
    const SIZE: u64 = 40 * MIB;

    fn byte_at(position: u64) -> u8 {
        (position / 4096 % 251) as u8
    }

    /// The MiB of which page number `page` is in memory. A look brings in the page that it misses, so no two looks should be
    /// at the same.
    fn in_memory(path: &Path, page: u64) -> Vec<u64> {
        let file = fs::File::open(path).expect("it is there");
        advise(&file, &(0..0), Advice::Random);
        (0..SIZE / MIB).filter(|mib| !is_missing(&file, mib * MIB + page * 4096)).collect()
    }

    /// A file whose first half is on the disk and not in memory; `None` where the file system keeps all in memory, or
    /// cannot tell.
    fn half_cold(dir: &Path) -> Option<PathBuf> {
        let path = dir.join("segment");
        let mut file = fs::File::create(&path).expect("a file");
        file.write_all(&(0..SIZE).map(byte_at).collect::<Vec<_>>()).expect("written");
        file.sync_all().expect("synced");
        advise(&file, &(0..SIZE / 2), Advice::DontNeed);
        (in_memory(&path, 0) == Vec::from_iter(SIZE / 2 / MIB..SIZE / MIB)).then_some(path)
    }

    async fn read_in_order(path: &Path) {
        let env = env(EnvOptions::default());
        let file = env.disk().open(path, OpenMode::Read).await.expect("it opens");
        let mut position = 0;
        while position < SIZE {
            let bytes = file.read_at(position, MIB.min(SIZE - position) as usize).await.expect("it reads");
            assert!(bytes.iter().zip(position..).all(|(&byte, at)| byte == byte_at(at)), "from {position} on");
            // As the log does, which reads the batch again that was cut short.
            position += if bytes.len() as u64 == MIB { MIB - 100 } else { bytes.len() as u64 };
        }
    }

    #[tokio::test]
    async fn what_a_reader_brought_into_memory_is_given_back_and_what_was_there_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let Some(path) = half_cold(dir.path()) else {
            eprintln!("nothing was tested: {} is on a file system that keeps all in memory", dir.path().display());
            return;
        };
        read_in_order(&path).await;
        // The last range is given back by a thread of the pool, once the file is closed.
        let mut left = Vec::new();
        for page in 1..200 {
            left = in_memory(&path, page);
            if left.iter().all(|mib| *mib >= SIZE / 2 / MIB) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let stays = (SIZE / 2 + AHEAD + MIB) / MIB..SIZE / MIB;
        assert!(stays.clone().all(|mib| left.contains(&mib)), "{left:?} are in memory, and {stays:?} were before");
        assert!(left.iter().all(|mib| *mib >= SIZE / 2 / MIB), "{left:?} are in memory");
    }
}
