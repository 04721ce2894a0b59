//! Where a figure was measured: the machine, the build, what this process has used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The machine, in a few fields that decide whether two figures may be compared; `data_dir` is where it writes.
pub fn describe(data_dir: &Path) -> BTreeMap<String, Value> {
    let uname = rustix::system::uname();
    let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
    BTreeMap::from([
        ("cpu".to_owned(), json!(cpu_model())),
        ("filesystem".to_owned(), json!(filesystem(data_dir).unwrap_or_else(|| "unknown".to_owned()))),
        ("cores".to_owned(), json!(engine::env::real::threads::cores())),
        ("memory_bytes".to_owned(), json!(memory_bytes())),
        ("os".to_owned(), json!(format!("{} {}", text(uname.sysname()), text(uname.release())))),
        ("arch".to_owned(), json!(text(uname.machine()))),
    ])
}

/// The commit that this program was built from, `-dirty` when the checkout had changes; `unknown` outside of one.
pub fn commit() -> String {
    env!("SEGNO_COMMIT").to_owned()
}

/// How this program was compiled: figures of the two are worlds apart.
pub fn build() -> &'static str {
    if cfg!(debug_assertions) { "dev" } else { "release" }
}

fn cpu_model() -> String {
    field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned())
}

fn memory_bytes() -> u64 {
    field("/proc/meminfo", "MemTotal").and_then(|text| kib(&text)).unwrap_or(0)
}

/// The kind of file system that `path` lies on, or will lie on, and of what device: `ext4 on vda`.
fn filesystem(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let existing = path.ancestors().find_map(|ancestor| std::fs::canonicalize(ancestor).ok())?;
    // One mount a line: id, parent, device, root, mount point, options, ..., `-`, kind, source, options (proc(5)). Of several
    // that hold the path the longest is the innermost, and of several at one place the last is on top.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let (mount, device) = line.split_once(" - ")?;
        let point = Path::new(mount.split(' ').nth(4)?);
        let mut device = device.split(' ');
        let (kind, source) = (device.next()?, device.next()?);
        let source = source.rsplit('/').next().unwrap_or(source);
        existing.starts_with(point).then(|| (point.components().count(), format!("{kind} on {source}")))
    });
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, what)| what)
}

/// Bytes that may still be written where `path` lies, or will lie; `None` where nobody can tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
    let found = rustix::fs::statvfs(existing).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The most memory this process has held at once.
pub fn peak_rss_bytes() -> u64 {
    field("/proc/self/status", "VmHWM").and_then(|text| kib(&text)).unwrap_or(0)
}

/// CPU time of all threads of this process so far, user and system.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The value of `name: value` in a file of `/proc`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Keeps this whole process, and the threads that it will start, on its first `count` cores.
///
/// # Errors
/// When the machine does not let it: a figure for fewer cores would be one for all.
pub fn limit_cores(count: usize) -> std::io::Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None)?;
    let mut few = CpuSet::new();
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).take(count.max(1)).for_each(|core| few.set(core));
    Ok(sched_setaffinity(None, &few)?)
}

/// The directories of a topic's partitions below a broker's data directory.
pub fn topic_dirs(data_dir: &Path, topic: &str, partitions: i32) -> Vec<PathBuf> {
    (0..partitions).map(|partition| data_dir.join(format!("{topic}-{partition}"))).collect()
}

/// Bytes of the segment files of a topic's partitions below a broker's data directory.
///
/// # Errors
/// When a directory cannot be read.
pub fn topic_bytes(data_dir: &Path, topic: &str, partitions: i32) -> std::io::Result<u64> {
    let mut bytes = 0;
    for dir in topic_dirs(data_dir, topic, partitions) {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}
