#![expect(clippy::disallowed_methods, reason = "a test runs on a runtime of its own")]

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use engine::env::{File, OpenMode};
use proptest::prelude::*;

use super::*;

const FILE: &str = "/d/f";

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new("host", seed, SyncTime { min_ms: 2, max_ms: 9 }, Trace::new(1, false), Effects::default());
    disk.lock().create_dir_all(Path::new("/d")).expect("created");
    disk
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

/// Whether `future` is still not ready after much virtual time.
async fn pends(future: impl Future) -> bool {
    tokio::time::timeout(Duration::from_secs(3_600), future).await.is_err()
}

async fn open(handle: &Arc<dyn Disk>, path: &str, mode: OpenMode) -> Arc<dyn File> {
    handle.open(Path::new(path), mode).await.expect("opened")
}

async fn append(file: &Arc<dyn File>, bytes: &[u8]) {
    file.append(vec![Bytes::copy_from_slice(bytes)]).await.expect("appended");
}

fn content(disk: &SimDisk) -> Option<Vec<u8>> {
    disk.read_file(Path::new(FILE))
}

/// A file of `synced`, then `unsynced`, its name durable.
async fn half_synced(disk: &SimDisk, synced: &[u8], unsynced: &[u8]) -> Arc<dyn File> {
    let handle = disk.handle(Gate::default());
    let file = open(&handle, FILE, OpenMode::Append).await;
    handle.sync_dir(Path::new("/d")).await.expect("synced");
    append(&file, synced).await;
    file.sync().await.expect("synced");
    append(&file, unsynced).await;
    file
}

#[test]
fn a_kill_keeps_what_was_written() {
    run(async {
        let disk = disk(1);
        half_synced(&disk, b"synced", b"and not").await;
        assert_eq!(disk.settle(Fate::Kill), Losses::default());
        assert_eq!(content(&disk).expect("there"), b"syncedand not");
        assert_eq!(disk.unsynced_bytes(), 7, "the page cache outlives the process, and is no more durable for it");
        assert_eq!(disk.settle(Fate::Kill), Losses::default());
        assert_eq!(content(&disk).expect("there"), b"syncedand not", "nor does a second kill take anything");
    });
}

#[test]
fn a_power_cut_after_a_kill_takes_what_nobody_has_synced_since() {
    let (mut bytes, mut cuts, mut names, mut torn) = (0, 0, 0, 0);
    for (draw, sync) in (0..100).flat_map(|draw| [(draw, false), (draw, true)]) {
        run(async {
            let disk = disk(1);
            half_synced(&disk, b"synced", &[7; 2_000]).await;
            let handle = disk.handle(Gate::default());
            handle.create_dir_all(Path::new("/e")).await.expect("created");
            let cut = open(&handle, "/e/cut", OpenMode::Append).await;
            handle.sync_dir(Path::new("/e")).await.expect("synced");
            append(&cut, b"0123456789").await;
            cut.sync().await.expect("synced");
            cut.truncate(4).await.expect("cut");
            // Created and removed: neither is durable, so the power cut may undo the one and not the other.
            append(&open(&handle, "/d/gone", OpenMode::Append).await, b"gone").await;
            handle.remove(Path::new("/d/gone")).await.expect("removed");
            append(&open(&handle, "/d/new.log", OpenMode::Append).await, b"new").await;
            let before = disk.files();
            assert!(disk.has_unsynced_segment());
            assert_eq!(disk.settle(Fate::Kill), Losses::default());
            assert_eq!(disk.files(), before, "a kill alone loses nothing");
            assert!(disk.has_unsynced_segment() && disk.has_unsynced_log(), "and makes nothing durable");
            if sync {
                let handle = disk.handle(Gate::default());
                for path in [FILE, "/e/cut", "/d/new.log"] {
                    open(&handle, path, OpenMode::Append).await.sync().await.expect("synced");
                }
                handle.sync_dir(Path::new("/d")).await.expect("synced");
                assert!(!disk.has_unsynced_segment());
                assert_eq!(disk.settle(Fate::PowerCut { draw }), Losses::default(), "draw {draw}");
                assert_eq!(disk.files(), before);
                return;
            }
            let losses = disk.settle(Fate::PowerCut { draw });
            bytes += u64::from(losses.bytes > 0);
            cuts += losses.cuts;
            names += losses.names;
            torn += losses.torn;
            assert!(content(&disk).expect("its name was synced").starts_with(b"synced"), "draw {draw}");
            assert_eq!(disk.settle(Fate::PowerCut { draw }), Losses::default(), "what it left is durable");
        });
    }
    assert!(bytes > 20 && cuts > 20 && names > 20 && torn > 20, "{bytes}, {cuts} cuts, {names} names, {torn} torn");
}

#[test]
fn a_kill_may_tear_the_write_that_it_strikes_and_no_other() {
    let (mut whole, mut torn, mut none) = (0, 0, 0);
    for seed in 0..400 {
        run(async {
            let disk = disk(seed);
            let gate = Gate::default();
            half_synced(&disk, b"synced", b"").await;
            let file = open(&disk.handle(gate.clone()), FILE, OpenMode::Append).await;
            // One that nobody waits for any more was written all the same.
            drop(tokio::time::timeout(Duration::ZERO, file.append(vec![Bytes::from_static(b"wri")])).await);
            append(&file, b"tten").await;
            let mut struck = file.append(vec![Bytes::from_static(b"12345678")]);
            let waker = std::task::Waker::noop();
            if struck.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready() {
                return;
            }
            gate.freeze();
            drop(struck);
            let losses = disk.settle(Fate::Kill);
            let left = content(&disk).expect("there");
            let kept = left.strip_prefix(b"syncedwritten").expect("what was written stays");
            assert!(b"12345678".starts_with(kept));
            assert_eq!(losses.bytes as usize, 8 - kept.len());
            match kept.len() {
                0 => none += 1,
                8 => whole += 1,
                _ => torn += 1,
            }
        });
    }
    assert!(whole > 20 && torn > 20 && none > 5, "{whole} whole, {torn} torn, {none} without a byte");
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_tears_the_rest_in_every_way() {
    let unsynced: Vec<u8> = (0..2_000u32).map(|i| (i % 250) as u8 + 1).collect();
    let (mut none, mut all, mut prefix, mut garbage) = (0, 0, 0, 0);
    for draw in 0..300 {
        run(async {
            let disk = disk(1);
            half_synced(&disk, b"synced", &unsynced).await;
            assert_eq!(disk.unsynced_bytes(), 2_000);
            let losses = disk.settle(Fate::PowerCut { draw });
            let left = content(&disk).expect("its name was synced");
            assert_eq!(&left[..6], b"synced", "draw {draw}");
            let rest = &left[6..];
            if losses.garbage > 0 {
                assert!(!unsynced.starts_with(rest), "draw {draw}: garbage is not what was written");
                garbage += 1;
            } else {
                assert!(unsynced.starts_with(rest), "draw {draw}: a prefix");
                assert_eq!(losses.bytes as usize, 2_000 - rest.len());
                match rest.len() {
                    0 => none += 1,
                    2_000 => all += 1,
                    _ => {
                        assert_eq!(losses.torn, 1);
                        prefix += 1;
                    }
                }
            }
        });
    }
    for (what, count) in [("none", none), ("all", all), ("prefix", prefix), ("garbage", garbage)] {
        assert!(count >= 10, "{what} of 300: {count}");
    }
}

#[test]
fn a_sync_that_the_power_cut_interrupts_promises_nothing() {
    let lost = (0..50).filter(|draw| {
        run(async {
            let disk = disk(1);
            let file = half_synced(&disk, b"synced", b"in flight").await;
            assert!(tokio::time::timeout(Duration::from_millis(1), file.sync()).await.is_err(), "it takes longer");
            disk.settle(Fate::PowerCut { draw: *draw });
            content(&disk).expect("there") != b"syncedin flight"
        })
    });
    assert!(lost.count() > 5);
}

#[test]
fn a_name_is_durable_when_its_directory_was_synced_and_else_perhaps() {
    let mut kept = BTreeSet::new();
    for draw in 0..40 {
        run(async {
            let disk = disk(1);
            let handle = disk.handle(Gate::default());
            let file = open(&handle, FILE, OpenMode::Append).await;
            append(&file, b"bytes").await;
            file.sync().await.expect("synced");
            let losses = disk.settle(Fate::PowerCut { draw });
            let there = content(&disk);
            assert_eq!(losses.names, u64::from(there.is_none()));
            assert!(there.is_none_or(|bytes| bytes == b"bytes"), "synced bytes are whole, if they have a name");
            kept.insert(losses.names);
        });
    }
    assert_eq!(kept, BTreeSet::from([0, 1]));
}

#[test]
fn a_rename_leaves_the_old_file_or_the_new_one_until_its_directory_is_synced() {
    let mut seen = BTreeSet::new();
    for (draw, sync) in (0..60).flat_map(|draw| [(draw, false), (draw, true)]) {
        run(async {
            let disk = disk(1);
            half_synced(&disk, b"old", b"").await;
            let handle = disk.handle(Gate::default());
            let new = open(&handle, "/d/f.tmp", OpenMode::Replace).await;
            append(&new, b"new").await;
            new.sync().await.expect("synced");
            handle.rename(Path::new("/d/f.tmp"), Path::new(FILE)).await.expect("renamed");
            if sync {
                handle.sync_dir(Path::new("/d")).await.expect("synced");
            }
            disk.settle(Fate::PowerCut { draw });
            let left = content(&disk).expect("never neither");
            if sync {
                assert_eq!(left, b"new");
                assert_eq!(disk.list_files(), [PathBuf::from(FILE)]);
            } else {
                seen.insert(left);
            }
        });
    }
    assert_eq!(seen, BTreeSet::from([b"new".to_vec(), b"old".to_vec()]));
}

#[test]
fn a_cut_that_was_not_synced_may_come_back() {
    let mut seen = BTreeSet::new();
    for draw in 0..60 {
        run(async {
            let disk = disk(1);
            let file = half_synced(&disk, b"0123456789", b"").await;
            file.truncate(4).await.expect("cut");
            disk.settle(Fate::PowerCut { draw });
            seen.insert(content(&disk).expect("there"));
        });
    }
    assert_eq!(seen, BTreeSet::from([b"0123".to_vec(), b"0123456789".to_vec()]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_was_synced_last_survives_any_power_cut(
        operations in prop::collection::vec((0u8..4, 0usize..1_500), 0..30),
        draw: u64,
    ) {
        let (left, durable, cut) = run(async {
            let disk = disk(draw);
            let file = half_synced(&disk, b"", b"").await;
            // What the last sync covered; whether the file was cut into it since.
            let (mut model, mut durable, mut cut) = (Vec::new(), Vec::new(), false);
            for (index, (operation, size)) in operations.into_iter().enumerate() {
                match operation {
                    0 => {
                        file.sync().await.expect("synced");
                        durable = model.clone();
                        cut = false;
                    }
                    1 if size % 3 == 0 => {
                        let to = size.min(model.len());
                        file.truncate(to as u64).await.expect("cut");
                        model.truncate(to);
                        cut |= to < durable.len();
                        if cut {
                            // Either way what lies below the cut is there.
                            durable.truncate(to);
                        }
                    }
                    _ => {
                        let bytes = vec![index as u8; size];
                        append(&file, &bytes).await;
                        model.extend(bytes);
                    }
                }
            }
            prop_assert_eq!(content(&disk), Some(model));
            disk.settle(Fate::PowerCut { draw });
            Ok((content(&disk).expect("there"), durable, cut))
        })?;
        prop_assert!(left.len() >= durable.len(), "{} of {} durable bytes (cut: {cut})", left.len(), durable.len());
        prop_assert!(left.starts_with(&durable), "durable bytes differ");
    }
}

#[test]
fn the_same_crash_leaves_the_same() {
    let crash = |draw| {
        run(async {
            let disk = disk(3);
            half_synced(&disk, b"synced", &[7; 5_000]).await;
            let losses = disk.settle(Fate::PowerCut { draw });
            (losses, disk.files(), disk.0.trace.hash())
        })
    };
    for draw in 0..20 {
        assert_eq!(crash(draw), crash(draw));
    }
}

#[test]
fn a_handle_of_a_crashed_incarnation_answers_nothing() {
    run(async {
        let disk = disk(1);
        let file = half_synced(&disk, b"x", b"").await;
        let old = disk.handle(Gate::default());
        let lock = old.lock(Path::new("/d/lock")).await.expect("locked");
        disk.settle(Fate::Kill);
        assert!(pends(file.append(vec![Bytes::from_static(b"late")])).await);
        assert!(pends(file.read_at(0, 1)).await);
        assert!(pends(file.sync()).await);
        assert!(pends(old.remove(Path::new(FILE))).await);
        let again =
            disk.handle(Gate::default()).lock(Path::new("/d/lock")).await.expect("the lock died with its holder");
        drop(lock);
        let taken = disk.handle(Gate::default()).lock(Path::new("/d/lock")).await;
        assert!(taken.is_err(), "the guard of the dead one opened the lock of the living");
        drop(again);
        assert_eq!(content(&disk).expect("there"), b"x");
    });
}

#[test]
fn a_frozen_host_neither_begins_nor_ends_an_operation() {
    run(async {
        let disk = disk(1);
        let gate = Gate::default();
        half_synced(&disk, b"x", b"").await;
        let handle = disk.handle(gate.clone());
        let file = open(&handle, FILE, OpenMode::Append).await;
        append(&file, b"y").await;
        let waiting = tokio::spawn({
            let file = file.clone();
            async move { file.sync().await }
        });
        tokio::task::yield_now().await;
        gate.freeze();
        assert!(pends(file.append(vec![Bytes::from_static(b"no")])).await);
        assert!(pends(file.read_at(0, 1)).await);
        assert!(pends(file.truncate(0)).await);
        assert!(pends(file.len()).await);
        assert!(pends(handle.open(Path::new("/d/new"), OpenMode::Append)).await);
        assert!(pends(handle.rename(Path::new(FILE), Path::new("/d/g"))).await);
        assert!(pends(handle.remove(Path::new(FILE))).await);
        assert!(pends(handle.list(Path::new("/d"))).await);
        assert!(pends(handle.create_dir_all(Path::new("/e"))).await);
        assert!(pends(handle.sync_dir(Path::new("/d"))).await);
        assert!(pends(handle.lock(Path::new("/d/lock"))).await);
        assert!(!waiting.is_finished(), "the sync was under way");
        assert_eq!(disk.unsynced_bytes(), 1, "and took no effect");
        assert_eq!(disk.files(), BTreeMap::from([(PathBuf::from(FILE), b"xy".to_vec())]));
        gate.thaw();
        waiting.await.expect("no panic").expect("synced after the thaw");
        assert_eq!(disk.unsynced_bytes(), 0);
    });
}

#[test]
fn a_sync_can_fail_and_be_slow_and_the_disk_can_be_full() {
    run(async {
        let disk = disk(1);
        let file = half_synced(&disk, b"synced", b"tail").await;
        disk.fail_sync(4, 2);
        disk.slow_syncs(5, 500);
        let began = tokio::time::Instant::now();
        file.sync().await.expect("the first does not fail");
        assert!(began.elapsed() >= Duration::from_millis(502), "{:?}", began.elapsed());
        append(&file, b"more").await;
        assert!(file.sync().await.is_err());
        assert_eq!(disk.unsynced_bytes(), 4, "a failed sync made nothing durable");
        disk.lift(5);
        let began = tokio::time::Instant::now();
        file.sync().await.expect("it fails once");
        assert!(began.elapsed() <= Duration::from_millis(9), "{:?}", began.elapsed());
        disk.fail_read(6, 1);
        assert!(file.read_at(0, 1).await.is_err());
        file.read_at(0, 1).await.expect("it fails once");
        disk.fill(7);
        let full = file.append(vec![Bytes::from_static(b"12345678")]).await.expect_err("no space");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(content(&disk).expect("there"), b"syncedtailmore1234", "part of it was written");
        disk.heal();
        append(&file, b"!").await;
        for id in [4, 6, 7] {
            assert_eq!(disk.0.effects.get(id).visible, 1, "fault {id}");
        }
        assert_eq!(disk.0.effects.get(5).effective, 2);
        assert_eq!(disk.0.effects.get(99).effective, 0);
    });
}

#[test]
fn a_bit_that_rots_reads_wrong_on_the_host_alone_and_right_again_once_it_is_lifted() {
    run(async {
        let disk = disk(1);
        let handle = disk.handle(Gate::default());
        for (name, bytes) in [("/d/0.log", b"closed"), ("/d/6.log", b"active")] {
            let file = open(&handle, name, OpenMode::Append).await;
            append(&file, bytes).await;
            file.sync().await.expect("synced");
        }
        assert_eq!(disk.rot(7, &|path| path.starts_with("/d/"), 3), None, "a power cut may take the successor away");
        handle.sync_dir(Path::new("/d")).await.expect("synced");
        assert_eq!(disk.rot(7, &|path| path.starts_with("/elsewhere"), 3), None);
        let rotten = disk.rot(7, &|path| path.starts_with("/d/"), 3).expect("a closed segment");
        assert_eq!(rotten, PathBuf::from("/d/0.log"), "the active segment never rots");
        let file = open(&handle, "/d/0.log", OpenMode::Read).await;
        assert_eq!(disk.0.effects.get(7).effective, 0, "nobody has read it");
        let read = file.read_at(0, 6).await.expect("read");
        let wrong: u32 = read.iter().zip(b"closed").map(|(found, good)| (found ^ good).count_ones()).sum();
        assert_eq!((wrong, disk.0.effects.get(7).effective), (1, 1));
        assert_eq!(disk.read_file(&rotten).expect("there"), b"closed", "the checks see what was written");
        disk.settle(Fate::Kill);
        disk.lift(7);
        let file = open(&disk.handle(Gate::default()), "/d/0.log", OpenMode::Read).await;
        assert_eq!(&file.read_at(0, 6).await.expect("read")[..], b"closed");
    });
}

#[test]
fn a_failed_sync_may_take_its_bytes_with_it_and_none_before() {
    let mut ends: BTreeSet<usize> = BTreeSet::new();
    for seed in 0..20 {
        run(async {
            let disk = disk(seed);
            let file = half_synced(&disk, b"synced", b"lost").await;
            disk.lose_pages(1, 1);
            file.sync().await.expect_err("it fails");
            assert_eq!(disk.lost_pages(), 1);
            let left = content(&disk).expect("there");
            assert!(left == b"synced" || left == b"synced\0\0\0\0", "{left:?}");
            ends.insert(left.len());
            // Whoever syncs once more is told that all is well, and nothing comes back.
            file.sync().await.expect("the next one works");
            disk.settle(Fate::Kill);
            assert_eq!(content(&disk).expect("there"), left);
        });
    }
    assert_eq!(ends.len(), 2, "both ways are drawn");
}

#[test]
fn lost_pages_wait_for_a_sync_that_is_for_any() {
    run(async {
        let disk = disk(1);
        let file = half_synced(&disk, b"synced", b"").await;
        let handle = disk.handle(Gate::default());
        disk.lose_pages(1, 1);
        file.sync().await.expect("there is nothing to lose");
        handle.sync_dir(Path::new("/d")).await.expect("a directory has no pages");
        assert_eq!((disk.lost_pages(), disk.0.effects.get(1).effective), (0, 0));
        append(&file, b"lost").await;
        file.sync().await.expect_err("it fails");
        assert_eq!((disk.lost_pages(), disk.0.effects.get(1).effective), (1, 1));
        disk.fail_sync_for_good(2, 1);
        handle.sync_dir(Path::new("/d")).await.expect_err("this one fails, pages or not");
        assert_eq!((disk.lost_pages(), disk.0.effects.get(2).effective), (1, 1));
    });
}

#[test]
fn a_power_cut_can_be_told_to_lose_every_name_that_is_not_durable() {
    for draw in 0..50 {
        run(async {
            let disk = disk(1);
            let handle = disk.handle(Gate::default());
            half_synced(&disk, b"kept", b"").await;
            handle.remove(Path::new(FILE)).await.expect("removed");
            open(&handle, "/d/new", OpenMode::Append).await;
            disk.lose_names();
            assert_eq!(disk.settle(Fate::PowerCut { draw }).names, 2);
            assert_eq!(disk.list_files(), [PathBuf::from(FILE)]);
        });
    }
}
